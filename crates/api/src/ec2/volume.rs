//! DescribeVolumes.

use super::common::{Paging, filters, tag_list_if_any};
use super::kind;
use super::shown::{bool_text, fixed, none, number, operator, text, time};
use crate::action::{Call, Read, actions};
use model::filter::Field;
use model::volume::{Attachment, FileState, Volume};
use store::View;
use wire::ApiError;
use wire::shapes::ec2 as shapes;

actions![read DescribeVolumes,];

const PAGE_LEAST: i32 = 5;
const PAGE_MOST: i32 = 1000;
const ATTACHED: &str = "attached";

pub(super) struct DescribeVolumes;

impl Read for DescribeVolumes {
    const SERVICE: &'static str = "ec2";
    const NAME: &'static str = "DescribeVolumes";
    type Input = shapes::DescribeVolumesRequest;
    type Output = shapes::DescribeVolumesResult;

    fn run(call: &Call, view: View<'_>, input: Self::Input) -> Result<Self::Output, ApiError> {
        let paging = Paging::new(call, input.max_results, input.next_token.as_deref(), PAGE_LEAST, PAGE_MOST)?;
        let filters = filters(input.filters.as_ref(), fields(), true)?;
        let volumes: Vec<&Volume> = match input.volume_ids.as_deref().unwrap_or_default() {
            [] => view.list::<Volume>().map(|v| &**v).collect(),
            named => kind::VOLUME.find_all(named, |id| view.get::<Volume>(id))?.into_iter().map(|v| &**v).collect(),
        };
        let mut rows: Vec<Row<'_>> = volumes.into_iter().map(|volume| Row { view, volume }).collect();
        rows.retain(|row| filters.matches(row, &row.volume.tags));
        rows.sort_by(|a, b| a.volume.id.cmp(&b.volume.id));
        let (page, next_token) = paging.cut(rows, |r| r.volume.id.to_string());
        Ok(shapes::DescribeVolumesResult { next_token, volumes: Some(page.iter().map(Row::show).collect()) })
    }
}

struct Row<'a> {
    view: View<'a>,
    volume: &'a Volume,
}

fn fields<'a>() -> &'a [Field<Row<'a>>] {
    &[
        ("attachment.attach-time", |r, is| r.attachment(|a| is(&a.attach_time.iso8601()))),
        ("attachment.delete-on-termination", |r, is| r.attachment(|a| is(bool_text(a.delete_on_termination)))),
        ("attachment.device", |r, is| r.attachment(|a| is(&a.device_name))),
        ("attachment.instance-id", |r, is| r.attachment(|a| is(a.instance_id.as_str()))),
        ("attachment.status", |r, is| r.attachment(|_| is(ATTACHED))),
        ("availability-zone", |r, is| is(&r.volume.zone)),
        ("availability-zone-id", |r, is| r.zone_id().iter().for_each(|id| is(id))),
        ("create-time", |r, is| is(&r.volume.created.iso8601())),
        ("encrypted", |_, is| is("false")),
        ("fast-restored", |_, is| is("false")),
        ("multi-attach-enabled", |_, is| is("false")),
        ("operator.managed", |_, is| is("false")),
        ("operator.principal", none),
        ("size", |r, is| is(&r.volume.size_gib.to_string())),
        ("snapshot-id", |r, is| r.volume.snapshot_id.iter().for_each(|id| is(id.as_str()))),
        ("status", |r, is| is(r.state())),
        ("volume-id", |r, is| is(r.volume.id.as_str())),
        ("volume-type", |r, is| is(&r.volume.volume_type)),
    ]
}

impl Row<'_> {
    fn attachment(&self, then: impl FnMut(&Attachment)) {
        self.volume.attachment.iter().for_each(then);
    }

    fn zone_id(&self) -> Option<String> {
        self.view.scope().region.zone_id(&self.volume.zone)
    }

    fn state(&self) -> &'static str {
        match (self.volume.deleting, &self.volume.attachment) {
            (true, _) => "deleting",
            (false, _) if matches!(self.volume.file, FileState::Lost { .. }) => "error",
            (false, Some(_)) => "in-use",
            (false, None) => "available",
        }
    }

    fn show(&self) -> shapes::Volume {
        let volume = self.volume;
        let attachments = volume.attachment.iter().map(|a| shapes::VolumeAttachment {
            volume_id: text(&volume.id),
            instance_id: text(&a.instance_id),
            device: text(&a.device_name),
            state: fixed(ATTACHED),
            attach_time: time(a.attach_time),
            delete_on_termination: Some(a.delete_on_termination),
            ..Default::default()
        });
        shapes::Volume {
            volume_id: text(&volume.id),
            state: fixed(self.state()),
            size: number(volume.size_gib),
            volume_type: text(&volume.volume_type),
            iops: iops(volume).and_then(number),
            throughput: (volume.volume_type == "gp3").then_some(GP3_MIB_PER_SECOND),
            snapshot_id: Some(volume.snapshot_id.as_ref().map(ToString::to_string).unwrap_or_default()),
            availability_zone: text(&volume.zone),
            availability_zone_id: self.zone_id(),
            create_time: time(volume.created),
            encrypted: Some(false),
            multi_attach_enabled: Some(false),
            operator: operator(),
            attachments: Some(attachments.collect()),
            tags: tag_list_if_any(&volume.tags),
            ..Default::default()
        }
    }
}

/// What a gp3 volume has unless more is paid for ("Amazon EBS volume types"), in MiB/s and operations a second.
const GP3_MIB_PER_SECOND: i32 = 125;
const GP3_IOPS: u32 = 3_000;

/// What AWS says the volume can do: for gp2 three operations a second for each GiB. A host promises none of it.
fn iops(volume: &Volume) -> Option<u32> {
    match volume.volume_type.as_str() {
        "gp3" => Some(GP3_IOPS),
        "gp2" => Some((volume.size_gib * 3).clamp(100, 16_000)),
        _ => None,
    }
}
