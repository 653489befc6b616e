//! The volumes that a launch makes: the root, and what `BlockDeviceMappings` adds.

use crate::ec2::common::{invalid_combination, invalid_value, missing, unsupported};
use model::ids::SnapshotId;
use model::image::{Image, ROOT_VOLUME_TYPE as DEFAULT_VOLUME_TYPE};
use model::instance_type::InstanceType;
use model::volume::Source;
use std::collections::BTreeSet;
use store::View;
use wire::ApiError;
use wire::shapes::ec2 as shapes;

/// A volume to be made for each instance of a launch.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    pub(super) device_name: String,
    pub(super) size_gib: u32,
    pub(super) volume_type: String,
    pub(super) source: Source,
    pub(super) snapshot_id: Option<SnapshotId>,
    pub(super) delete_on_termination: bool,
}

/// The volumes of a launch, the root first.
pub(super) fn plan(
    view: View<'_>,
    mappings: &[shapes::BlockDeviceMapping],
    image: &Image,
    kind: &InstanceType,
) -> Result<Vec<Disk>, ApiError> {
    let mut root = Disk {
        device_name: image.root_device_name.clone(),
        size_gib: image.size_gib,
        volume_type: image.root_volume_type.clone(),
        source: Source::Image(image.content().clone()),
        snapshot_id: Some(image.snapshot_id.clone()),
        delete_on_termination: true,
    };
    let (mut names, mut extra) = (BTreeSet::new(), Vec::new());
    for mapping in mappings {
        let name = mapping.device_name.clone().filter(|n| !n.is_empty()).ok_or_else(|| missing("deviceName"))?;
        if !is_device_name(&name) {
            return Err(invalid_value(format!("Value ({name}) for parameter device is invalid. {name} is not a valid EBS device name.")));
        }
        if !names.insert(name.clone()) {
            let text = format!("The device '{name}' is used in more than one block-device mapping");
            return Err(ApiError::new("InvalidBlockDeviceMapping", text));
        }
        let is_root = name == image.root_device_name;
        match (&mapping.ebs, mapping.no_device.is_some(), &mapping.virtual_name) {
            // An image has no other device than its root, so there is nothing to leave out.
            (None, true, None) if !is_root => {}
            (None, false, Some(virtual_name)) if !is_root && is_ephemeral(virtual_name) => instance_store(kind, virtual_name)?,
            (Some(ebs), false, None) if is_root => root_change(&mut root, ebs, image)?,
            (Some(ebs), false, None) => extra.push(blank(view, name, ebs)?),
            (None, true, None) => {
                return Err(ApiError::new("InvalidBlockDeviceMapping", "Missing the specified root device in the block device mapping"));
            }
            _ => {
                let text = format!("The block-device mapping of '{name}' must be exactly one of ebs, noDevice and virtualName");
                return Err(ApiError::new("InvalidBlockDeviceMapping", text));
            }
        }
    }
    Ok([root].into_iter().chain(extra).collect())
}

fn root_change(root: &mut Disk, ebs: &shapes::EbsBlockDevice, image: &Image) -> Result<(), ApiError> {
    refuse(ebs)?;
    if let Some(snapshot) = ebs.snapshot_id.as_deref().filter(|s| *s != image.snapshot_id.as_str()) {
        snapshot_parse(snapshot)?;
        return Err(ApiError::new("InvalidBlockDeviceMapping", format!("snapshotId can only be modified on EBS devices: '{snapshot}'")));
    }
    root.volume_type = volume_type(ebs, &root.volume_type)?;
    root.delete_on_termination = ebs.delete_on_termination.unwrap_or(true);
    // Also without a size: the image's may be out of the range of the new type.
    let size = ebs.volume_size.map_or(i64::from(root.size_gib), i64::from);
    root.size_gib = volume_size(size, &root.volume_type)?;
    check_size(root.size_gib, image)
}

/// A volume beside the root: empty, or from a snapshot that an image stands on.
fn blank(view: View<'_>, device_name: String, ebs: &shapes::EbsBlockDevice) -> Result<Disk, ApiError> {
    refuse(ebs)?;
    let volume_type = volume_type(ebs, DEFAULT_VOLUME_TYPE)?;
    let image = ebs.snapshot_id.as_deref().map(|s| image_of(view, s)).transpose()?;
    let size = ebs.volume_size.map(i64::from).or(image.map(|i| i.size_gib.into())).ok_or_else(|| missing("size or snapshotId"))?;
    let size_gib = volume_size(size, &volume_type)?;
    if let Some(image) = image {
        check_size(size_gib, image)?;
    }
    Ok(Disk {
        device_name,
        size_gib,
        volume_type,
        source: image.map_or(Source::Blank, |i| Source::Image(i.content().clone())),
        snapshot_id: image.map(|i| i.snapshot_id.clone()),
        delete_on_termination: ebs.delete_on_termination.unwrap_or(true),
    })
}

fn check_size(size_gib: u32, image: &Image) -> Result<(), ApiError> {
    if size_gib < image.size_gib {
        let text =
            format!("Volume of size {size_gib}GB is smaller than snapshot '{}', expect size >= {}GB", image.snapshot_id, image.size_gib);
        return Err(ApiError::new("InvalidBlockDeviceMapping", text));
    }
    Ok(())
}

fn snapshot_parse(text: &str) -> Result<SnapshotId, ApiError> {
    let malformed = |_| ApiError::new("InvalidSnapshotID.Malformed", format!("Invalid id: \"{text}\" (expecting \"snap-...\")"));
    text.parse().map_err(malformed)
}

/// The snapshots that there are stand for images.
fn image_of<'a>(view: View<'a>, snapshot: &str) -> Result<&'a Image, ApiError> {
    let id = snapshot_parse(snapshot)?;
    let found = view.images().find(|i| i.snapshot_id == id).map(|i| &**i);
    found.ok_or_else(|| ApiError::new("InvalidSnapshot.NotFound", format!("The snapshot '{id}' does not exist.")))
}

/// What no volume here has yet.
fn refuse(ebs: &shapes::EbsBlockDevice) -> Result<(), ApiError> {
    let asked = [
        ("Ebs.Encrypted", ebs.encrypted == Some(true)),
        ("Ebs.KmsKeyId", ebs.kms_key_id.is_some()),
        ("Ebs.Throughput", ebs.throughput.is_some()),
        ("Ebs.OutpostArn", ebs.outpost_arn.is_some()),
        ("Ebs.AvailabilityZone", ebs.availability_zone.is_some()),
        ("Ebs.AvailabilityZoneId", ebs.availability_zone_id.is_some()),
        ("Ebs.VolumeInitializationRate", ebs.volume_initialization_rate.is_some()),
        ("Ebs.EbsCardIndex", ebs.ebs_card_index.is_some_and(|i| i != 0)),
    ];
    match asked.iter().find(|(_, asked)| *asked) {
        Some((name, _)) => Err(unsupported(&format!("{name} in a block device mapping"))),
        None => Ok(()),
    }
}

/// The type; those whose performance is bought need what isn't enforced here yet.
fn volume_type(ebs: &shapes::EbsBlockDevice, default: &str) -> Result<String, ApiError> {
    let kind = ebs.volume_type.as_deref().unwrap_or(default);
    match (kind, ebs.iops) {
        ("io1" | "io2", None) => Err(invalid_combination(format!("The parameter iops must be specified for {kind} volumes."))),
        ("gp2" | "standard" | "st1" | "sc1", Some(_)) => {
            Err(invalid_combination(format!("The parameter iops is not supported for {kind} volumes.")))
        }
        (_, Some(_)) => Err(unsupported("Ebs.Iops in a block device mapping")),
        (kind, None) => Ok(kind.into()),
    }
}

/// The least and the greatest size of each type, in GiB ("Amazon EBS volume types").
fn volume_size(size: i64, kind: &str) -> Result<u32, ApiError> {
    let (least, most) = match kind {
        "gp3" => (1, 65_536),
        "standard" => (1, 1024),
        "st1" | "sc1" => (125, 16_384),
        _ => (1, 16_384),
    };
    let size = u32::try_from(size).unwrap_or(0);
    if (least..=most).contains(&size) {
        return Ok(size);
    }
    let (what, bound) = if size < least { ("small", format!("minimum is {least}")) } else { ("large", format!("maximum is {most}")) };
    Err(invalid_value(format!("Volume of {size}GiB is too {what} for volume type {kind}; {bound}GiB")))
}

/// `/dev/sda1`, `/dev/sd[a-z]`, `/dev/sd[b-z][1-15]`, `xvda`, `/dev/xvd[a-z]`, `/dev/xvd[b-d][a-z]` ("Device names for volumes").
pub(super) fn is_device_name(name: &str) -> bool {
    let short = name.strip_prefix("/dev/").unwrap_or(name);
    let Some(rest) = short.strip_prefix("sd").or_else(|| short.strip_prefix("xvd")) else { return false };
    let letters = rest.trim_end_matches(|c: char| c.is_ascii_digit());
    let digits = &rest[letters.len()..];
    let number = digits.is_empty() || digits.parse::<u8>().is_ok_and(|n| (1..=15).contains(&n) && !digits.starts_with('0'));
    matches!(letters.len(), 1 | 2) && letters.bytes().all(|b| b.is_ascii_lowercase()) && number
}

/// Maps an instance-store disk. NVMe disks are attached by type, whatever the mapping says, and a disk that the type doesn't have is
/// left out ("Instance store volumes").
fn instance_store(kind: &InstanceType, name: &str) -> Result<(), ApiError> {
    let has = kind.storage.is_some_and(|s| ephemeral_index(name).is_some_and(|index| index < s.count));
    if has && !kind.storage_nvme() {
        return Err(unsupported(&format!("instance store volumes of the type {}", kind.name)));
    }
    Ok(())
}

fn is_ephemeral(name: &str) -> bool {
    ephemeral_index(name).is_some_and(|index| index < 24)
}

fn ephemeral_index(name: &str) -> Option<u32> {
    name.strip_prefix("ephemeral")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_names() {
        for good in ["/dev/sda1", "/dev/xvda", "xvdb", "sdf", "/dev/sdp15", "/dev/xvdba"] {
            assert!(is_device_name(good), "{good}");
        }
        for bad in ["", "/dev/", "/dev/sd", "/dev/sda0", "/dev/sda16", "/dev/sda01", "/dev/nvme0n1", "/dev/sdA", "../sda", "/dev/xvdabc"] {
            assert!(!is_device_name(bad), "{bad}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(volume_size(8, "gp3").ok(), Some(8));
        for (size, kind) in [(0, "gp3"), (-1, "gp2"), (16_385, "gp2"), (1025, "standard"), (124, "st1"), (i32::MAX.into(), "gp3")] {
            assert!(volume_size(size, kind).is_err(), "{size} {kind}");
        }
    }
}
