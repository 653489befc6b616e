//! Archived objects and RestoreObject ("Working with archived objects"). The bodies lie where all lie, so a copy is there at once and the
//! request never finds one under way; until it is asked for, and after it has expired, an archived object isn't read, as on AWS.

use crate::answer::Status;
use crate::error::{self, Result, malformed_xml};
use crate::object::version_id;
use crate::record::put;
use crate::service::S3;
use crate::time;
use http::{HeaderMap, StatusCode};
use model::lifecycle::days_after;
use model::time::Timestamp;
use objects::{Record, Version};
use s3s::dto::{
    OptionalObjectAttributes, OptionalObjectAttributesList, RestoreObjectInput, RestoreObjectOutput, RestoreRequest, RestoreStatus, Tier,
};
use s3s::{S3Error, S3Request, S3Response, s3_error};

/// The storage classes whose objects are read from a restored copy only.
const ARCHIVES: [&str; 2] = [FLEXIBLE, DEEP];
/// S3 Glacier Flexible Retrieval.
const FLEXIBLE: &str = "GLACIER";
/// S3 Glacier Deep Archive.
const DEEP: &str = "DEEP_ARCHIVE";
/// Most days that a copy is kept: a hundred years, as for a retention.
const DAYS_MAX: u32 = 36_500;

fn archived(record: &Record) -> bool {
    record.storage_class.as_deref().is_some_and(|class| ARCHIVES.contains(&class))
}

/// Until when there is a restored copy.
fn restored(record: &Record, now: Timestamp) -> Option<Timestamp> {
    record.restored_until.filter(|until| archived(record) && now < *until)
}

/// Whether the body may be read.
///
/// # Errors
/// `InvalidObjectState`.
pub(crate) fn readable(record: &Record, now: Timestamp) -> Result<()> {
    if archived(record) && restored(record, now).is_none() {
        let refusal = s3_error!(InvalidObjectState, "The operation is not valid for the object's storage class");
        return Err(error::with(refusal, "StorageClass", record.storage_class.as_deref().unwrap_or_default()));
    }
    Ok(())
}

/// The same for the source of a copy.
///
/// # Errors
/// `ObjectNotInActiveTierError`.
pub(crate) fn copyable(record: &Record, now: Timestamp) -> Result<()> {
    let text = "The source object of the COPY operation is not in the active tier and is only stored in Amazon S3 Glacier.";
    readable(record, now).map_err(|_| error::custom("ObjectNotInActiveTierError", 403, text))
}

/// Says in a reply that there is a restored copy, and until when.
pub(crate) fn show(record: &Record, now: Timestamp, headers: &mut HeaderMap) {
    if let Some(until) = restored(record, now) {
        put(headers, "x-amz-restore", &format!("ongoing-request=\"false\", expiry-date=\"{}\"", time::http_date(until)));
    }
}

/// The same in a listing, if it is asked for.
pub(crate) fn listed(asked: Option<&OptionalObjectAttributesList>, record: &Record, now: Timestamp) -> Option<RestoreStatus> {
    let wanted = |list: &&OptionalObjectAttributesList| list.iter().any(|one| one.as_str() == OptionalObjectAttributes::RESTORE_STATUS);
    asked.filter(wanted)?;
    let until = restored(record, now)?;
    Some(RestoreStatus { is_restore_in_progress: Some(false), restore_expiry_date: Some(time::show(until)) })
}

/// RestoreObject. A copy that is there lasts until the new date.
pub(crate) async fn restore(s3: &S3, request: S3Request<RestoreObjectInput>) -> Result<S3Response<RestoreObjectOutput>> {
    let input = request.input;
    let asked = Asked::read(input.restore_request)?;
    let now = s3.now();
    let id = version_id(input.version_id.as_deref())?;
    let before = s3.objects.get(&input.bucket, &input.key, id.as_ref()).await.map_err(error::engine)?;
    let status = if restored(&before.record, now).is_some() { StatusCode::OK } else { StatusCode::ACCEPTED };
    let change = move |version: &mut Version| {
        version.record.restored_until = Some(asked.until(&version.record, now)?);
        Ok::<(), S3Error>(())
    };
    s3.objects.update(&input.bucket, &input.key, id, change).await.map_err(error::engine)??;
    let mut response = S3Response::new(RestoreObjectOutput::default());
    response.extensions.insert(Status(status));
    Ok(response)
}

/// What a request wants.
#[derive(Debug, Clone, Copy)]
struct Asked {
    days: u32,
    expedited: bool,
}

impl Asked {
    /// # Errors
    /// `MalformedXML`, `NotImplemented`.
    fn read(request: Option<RestoreRequest>) -> Result<Self> {
        let request = request.ok_or_else(malformed_xml)?;
        if request.type_.is_some() || request.select_parameters.is_some() || request.output_location.is_some() {
            return Err(s3_error!(NotImplemented, "Restores that select are not implemented"));
        }
        let tier = request.glacier_job_parameters.map(|parameters| parameters.tier).or(request.tier);
        let expedited = match tier.as_ref().map(Tier::as_str) {
            None | Some(Tier::STANDARD | Tier::BULK) => false,
            Some(Tier::EXPEDITED) => true,
            Some(_) => return Err(malformed_xml()),
        };
        let days = request.days.and_then(|days| u32::try_from(days).ok()).filter(|days| *days > 0).ok_or_else(malformed_xml)?;
        if days > DAYS_MAX {
            return Err(error::argument("Days", days, "The number of days is too large"));
        }
        Ok(Self { days, expedited })
    }

    /// When the copy ends: the midnight (UTC) after so many days.
    ///
    /// # Errors
    /// `InvalidObjectState` for an object that isn't archived; `InvalidArgument` for a way that its archive doesn't have.
    fn until(self, record: &Record, now: Timestamp) -> Result<Timestamp> {
        if !archived(record) {
            let refusal = s3_error!(InvalidObjectState, "Restore is not allowed for the object's current storage class");
            return Err(error::with(refusal, "StorageClass", record.storage_class.as_deref().unwrap_or("STANDARD")));
        }
        if self.expedited && record.storage_class.as_deref() == Some(DEEP) {
            return Err(s3_error!(InvalidArgument, "Retrieval option is not supported by this storage class"));
        }
        Ok(days_after(now, self.days))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use model::scope::AccountId;
    use s3s::dto::GlacierJobParameters;

    const DAY_MILLIS: i64 = 24 * 60 * 60 * 1000;

    fn record(class: Option<&str>) -> Record {
        Record { storage_class: class.map(Into::into), ..Record::new("123456789012".parse::<AccountId>().unwrap()) }
    }

    fn asked(days: i32, tier: &'static str) -> Result<Asked> {
        let tier = GlacierJobParameters { tier: Tier::from_static(tier) };
        Asked::read(Some(RestoreRequest { days: Some(days), glacier_job_parameters: Some(tier), ..RestoreRequest::default() }))
    }

    fn code<T>(refused: Result<T>) -> String {
        refused.map(|_| ()).unwrap_err().code().as_str().to_owned()
    }

    #[test]
    fn a_copy_ends_at_a_midnight() {
        let at = |days: i64, millis: i64| Timestamp(days * DAY_MILLIS + millis);
        let mut kept = record(Some(FLEXIBLE));
        assert_eq!(code(readable(&kept, at(10, 5))), "InvalidObjectState");
        assert_eq!(code(copyable(&kept, at(10, 5))), "ObjectNotInActiveTierError");
        kept.restored_until = Some(asked(2, "Bulk").unwrap().until(&kept, at(10, 5)).unwrap());
        assert_eq!(kept.restored_until, Some(at(13, 0)));
        assert!(readable(&kept, at(12, DAY_MILLIS - 1)).is_ok() && copyable(&kept, at(12, 0)).is_ok());
        assert!(readable(&kept, at(13, 0)).is_err());
        let mut headers = HeaderMap::new();
        show(&kept, at(13, 0), &mut headers);
        assert!(headers.is_empty());
        show(&kept, at(12, 0), &mut headers);
        assert_eq!(headers["x-amz-restore"], "ongoing-request=\"false\", expiry-date=\"Wed, 14 Jan 1970 00:00:00 GMT\"");
    }

    #[test]
    fn what_is_not_archived_is_not_restored() {
        let now = Timestamp(0);
        for class in [None, Some("GLACIER_IR"), Some("STANDARD_IA")] {
            assert!(readable(&record(class), now).is_ok());
            assert_eq!(code(asked(1, "Standard").unwrap().until(&record(class), now)), "InvalidObjectState");
        }
        assert_eq!(code(asked(1, "Expedited").unwrap().until(&record(Some(DEEP)), now)), "InvalidArgument");
        assert_eq!(code(asked(0, "Standard")), "MalformedXML");
        assert_eq!(code(asked(36_501, "Standard")), "InvalidArgument");
        assert_eq!(code(asked(1, "Slow")), "MalformedXML");
        assert_eq!(code(Asked::read(None)), "MalformedXML");
    }
}
