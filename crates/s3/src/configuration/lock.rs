//! Object lock of a bucket ("Locking objects with Object Lock"): whether versions may be locked, and how new ones are.

use super::{document, update, xml};
use crate::error::{Result, custom, malformed_xml};
use crate::service::S3;
use objects::{Bucket, Versioning};
use s3s::dto::*;
use s3s::{S3Request, S3Response, s3_error};

const NAME: &str = "object-lock";
/// Longest default retention ("Object Lock retention": 100 years).
const DAYS_MAX: i32 = 36_500;
const YEARS_MAX: i32 = 100;

/// GetObjectLockConfiguration.
pub(crate) async fn lock_get(
    s3: &S3,
    request: S3Request<GetObjectLockConfigurationInput>,
) -> Result<S3Response<GetObjectLockConfigurationOutput>> {
    let bucket = s3.bucket(&request.input.bucket)?;
    if !bucket.object_lock {
        return Err(custom("ObjectLockConfigurationNotFoundError", 404, "Object Lock configuration does not exist for this bucket"));
    }
    let enabled = || ObjectLockConfiguration { object_lock_enabled: Some(enabled()), rule: None };
    let object_lock_configuration = Some(document(&bucket, NAME)?.unwrap_or_else(enabled));
    Ok(S3Response::new(GetObjectLockConfigurationOutput { object_lock_configuration }))
}

/// PutObjectLockConfiguration: on any bucket that keeps versions; it can't be taken back.
pub(crate) async fn lock_put(
    s3: &S3,
    request: S3Request<PutObjectLockConfigurationInput>,
) -> Result<S3Response<PutObjectLockConfigurationOutput>> {
    let wanted = request.input.object_lock_configuration.ok_or_else(malformed_xml)?;
    check(&wanted)?;
    let text = xml(&wanted)?;
    let set = move |bucket: &mut Bucket| {
        if bucket.versioning != Versioning::Enabled {
            let text = "Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration";
            return Err(s3_error!(InvalidBucketState, "{text}"));
        }
        bucket.object_lock = true;
        bucket.documents.insert(NAME.into(), text);
        Ok(())
    };
    update(s3, &request.input.bucket, set).await?;
    Ok(S3Response::new(PutObjectLockConfigurationOutput::default()))
}

fn enabled() -> ObjectLockEnabled {
    ObjectLockEnabled::from_static(ObjectLockEnabled::ENABLED)
}

fn check(wanted: &ObjectLockConfiguration) -> Result<()> {
    if wanted.object_lock_enabled.as_ref().map(ObjectLockEnabled::as_str) != Some(ObjectLockEnabled::ENABLED) {
        return Err(malformed_xml());
    }
    let Some(rule) = &wanted.rule else { return Ok(()) };
    let Some(default) = &rule.default_retention else { return Err(malformed_xml()) };
    let known = [ObjectLockRetentionMode::GOVERNANCE, ObjectLockRetentionMode::COMPLIANCE];
    if !default.mode.as_ref().is_some_and(|mode| known.contains(&mode.as_str())) {
        return Err(malformed_xml());
    }
    let (value, max) = match (default.days, default.years) {
        (Some(days), None) => (days, DAYS_MAX),
        (None, Some(years)) => (years, YEARS_MAX),
        (Some(_), Some(_)) | (None, None) => return Err(malformed_xml()),
    };
    if value < 1 {
        return Err(custom("InvalidRetentionPeriod", 400, "Default retention period must be a positive integer value."));
    }
    if value > max {
        return Err(custom("InvalidRetentionPeriod", 400, "Default retention period too large"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retention_has_a_mode_and_one_length() {
        let of = |mode: &'static str, days, years| ObjectLockConfiguration {
            object_lock_enabled: Some(enabled()),
            rule: Some(ObjectLockRule {
                default_retention: Some(DefaultRetention { days, years, mode: Some(ObjectLockRetentionMode::from_static(mode)) }),
            }),
        };
        let code = |wanted| check(&wanted).err().map(|e| e.code().as_str().to_owned());
        assert_eq!(code(of("GOVERNANCE", Some(1), None)), None);
        assert_eq!(code(of("COMPLIANCE", None, Some(100))), None);
        assert_eq!(code(of("COMPLIANCE", Some(1), Some(1))).as_deref(), Some("MalformedXML"));
        assert_eq!(code(of("COMPLIANCE", None, None)).as_deref(), Some("MalformedXML"));
        assert_eq!(code(of("governance", Some(1), None)).as_deref(), Some("MalformedXML"));
        assert_eq!(code(of("GOVERNANCE", Some(0), None)).as_deref(), Some("InvalidRetentionPeriod"));
        assert_eq!(code(of("GOVERNANCE", None, Some(101))).as_deref(), Some("InvalidRetentionPeriod"));
        assert_eq!(code(ObjectLockConfiguration { object_lock_enabled: None, rule: None }).as_deref(), Some("MalformedXML"));
    }
}
