//! CopyImage: the copy stands on the same files as its source, so it is there at once.

use crate::action::{Call, Write};
use crate::ec2::common::{client_token, idempotent_result, invalid_value, missing, tag_specifications, unsupported};
use crate::ec2::kind;
use crate::ec2::shown::text;
use crate::operator::{ImageError, description_check, name_check};
use model::ids::{ImageId, SnapshotId};
use model::image::Image;
use model::scope::Region;
use std::collections::BTreeSet;
use store::{AccountTx, IdempotencyToken, View};
use wire::ApiError;
use wire::shapes::ec2 as shapes;

/// The durations that a copy may be asked to complete in, in minutes: multiples of the first, up to the second.
const COMPLETION_MINUTES: (i64, i64) = (15, 2880);

pub(super) struct CopyImage;

impl Write for CopyImage {
    const SERVICE: &'static str = "ec2";
    const NAME: &'static str = "CopyImage";
    type Input = shapes::CopyImageRequest;
    type Output = shapes::CopyImageResult;

    fn run(call: &mut Call, tx: &mut AccountTx<'_>, input: Self::Input) -> Result<Self::Output, ApiError> {
        let token = client_token(Self::NAME, input.client_token.as_deref())?;
        if let Some(done) = idempotent_result(call, tx, token.as_ref())? {
            return Ok(shapes::CopyImageResult { image_id: done.result_ids.first().cloned() });
        }
        refuse(&input)?;
        let source = source(tx.view(), &input)?;
        let (name, description) = (name(tx.view(), input.name)?, description(input.description)?);
        let mut tags = match (input.copy_image_tags, tx.view().image_tags(&source.1)) {
            (Some(true), Some(tags)) => tags.clone(),
            _ => Default::default(),
        };
        let mut given = tag_specifications(input.tag_specifications.as_ref(), &["image", "snapshot"])?;
        if given.contains_key("snapshot") {
            return Err(unsupported("tags on snapshots"));
        }
        tags.0.extend(given.remove("image").unwrap_or_default().0);
        crate::ec2::common::tags_limit(&tags)?;
        let (region, source) = source;
        let copy = Image {
            id: ImageId::generate(&mut call.rng),
            owner: tx.scope().account.clone(),
            name,
            description,
            public: false,
            snapshot_id: SnapshotId::generate(&mut call.rng),
            created: call.now,
            tags,
            content: Some(source.content().clone()),
            launch_permissions: BTreeSet::new(),
            source: Some((source.id.clone(), region)),
            ..source
        };
        if let Some(id) = token {
            let result_ids = vec![copy.id.to_string()];
            tx.put(IdempotencyToken { id, params_hash: call.fingerprint().into(), result_ids, at: call.now });
        }
        let image_id = text(&copy.id);
        tx.put(copy);
        Ok(shapes::CopyImageResult { image_id })
    }
}

/// What no copy here can be.
fn refuse(input: &shapes::CopyImageRequest) -> Result<(), ApiError> {
    let asked = [
        ("Encrypted", input.encrypted == Some(true)),
        ("KmsKeyId", input.kms_key_id.is_some()),
        ("DestinationOutpostArn", input.destination_outpost_arn.is_some()),
        ("DestinationAvailabilityZone", input.destination_availability_zone.is_some()),
        ("DestinationAvailabilityZoneId", input.destination_availability_zone_id.is_some()),
    ];
    if let Some((name, _)) = asked.iter().find(|(_, asked)| *asked) {
        return Err(unsupported(&format!("{name} of a copied image")));
    }
    let (step, most) = COMPLETION_MINUTES;
    match input.snapshot_copy_completion_duration_minutes {
        Some(minutes) if minutes % step != 0 || !(step..=most).contains(&minutes) => Err(invalid_value(format!(
            "Value ({minutes}) for parameter snapshotCopyCompletionDurationMinutes is invalid. Expecting a multiple of {step} up to {most}."
        ))),
        _ => Ok(()),
    }
}

/// The source, and its region.
fn source(view: View<'_>, input: &shapes::CopyImageRequest) -> Result<(Region, Image), ApiError> {
    let given = |text: &Option<String>, name: &str| text.clone().filter(|t| !t.is_empty()).ok_or_else(|| missing(name));
    let (region, id) = (given(&input.source_region, "SourceRegion")?, given(&input.source_image_id, "SourceImageId")?);
    let region: Region = region.parse().map_err(|_| invalid_value(format!("Invalid value '{region}' for SourceRegion.")))?;
    let id: ImageId = kind::IMAGE.parse(&id)?;
    let image = view.image_in(&region, &id).ok_or_else(|| kind::IMAGE.not_found(&[id]))?;
    Ok((region, (**image).clone()))
}

fn name(view: View<'_>, name: Option<String>) -> Result<String, ApiError> {
    let name = name.filter(|n| !n.is_empty()).ok_or_else(|| missing("Name"))?;
    name_check(&name).map_err(|_| {
        let text = "AMI names must be between 3 and 128 characters long, and may contain letters, numbers, '(', ')', '.', '-', '/' and '_'";
        ApiError::new("InvalidAMIName.Malformed", text)
    })?;
    match view.list::<Image>().find(|i| i.name == name) {
        Some(other) => {
            let text = format!("AMI name {name} is already in use by AMI {}", other.id);
            Err(ApiError::new("InvalidAMIName.Duplicate", text))
        }
        None => Ok(name),
    }
}

fn description(description: Option<String>) -> Result<Option<String>, ApiError> {
    description_check(description.as_deref()).map_err(|error: ImageError| invalid_value(error.to_string()))?;
    Ok(description.filter(|d| !d.is_empty()))
}
