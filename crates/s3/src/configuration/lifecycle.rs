//! Lifecycle rules ("Managing the lifecycle of objects"): kept here, followed by the loop.

use super::{document, document_delete, reading, update, xml};
use crate::error::{Result, custom, malformed_xml};
use crate::service::S3;
use crate::time;
use model::lifecycle::{Expiration, Filter, Noncurrent, Rule, check};
use model::tag::Tags;
use model::time::Timestamp;
use objects::Bucket;
use s3s::dto::*;
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, s3_error};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

const DAY_MILLIS: i64 = 24 * 60 * 60 * 1000;
const NAME: &str = "lifecycle";
/// Which objects transitions pass over: kept beside the rules, for whoever asks.
const MINIMUM_SIZE: &str = "lifecycle-minimum-size";

/// A bucket's rules; `None` if it has none.
pub(crate) fn rules(bucket: &Bucket) -> Result<Option<Arc<Vec<Rule>>>> {
    reading(bucket, NAME, |found: BucketLifecycleConfiguration| found.rules.iter().map(read).collect())
}

/// GetBucketLifecycleConfiguration.
pub(crate) async fn lifecycle_get(
    s3: &S3,
    request: S3Request<GetBucketLifecycleConfigurationInput>,
) -> Result<S3Response<GetBucketLifecycleConfigurationOutput>> {
    let bucket = s3.bucket(&request.input.bucket)?;
    let found: Option<BucketLifecycleConfiguration> = document(&bucket, NAME)?;
    let none = || custom("NoSuchLifecycleConfiguration", 404, "The lifecycle configuration does not exist");
    let usual = TransitionDefaultMinimumObjectSize::ALL_STORAGE_CLASSES_128K;
    let size = bucket.documents.get(MINIMUM_SIZE).map_or(usual, String::as_str);
    Ok(S3Response::new(GetBucketLifecycleConfigurationOutput {
        rules: Some(found.ok_or_else(none)?.rules),
        transition_default_minimum_object_size: Some(size.to_owned().into()),
    }))
}

/// PutBucketLifecycleConfiguration.
pub(crate) async fn lifecycle_put(
    s3: &S3,
    request: S3Request<PutBucketLifecycleConfigurationInput>,
) -> Result<S3Response<PutBucketLifecycleConfigurationOutput>> {
    let mut wanted = request.input.lifecycle_configuration.ok_or_else(malformed_xml)?;
    for (number, rule) in wanted.rules.iter_mut().enumerate() {
        if rule.id.as_deref().is_none_or(str::is_empty) {
            rule.id = Some(drawn_id(&request.input.bucket, number, s3.now()));
        }
    }
    let rules: Vec<Rule> = wanted.rules.iter().map(read).collect::<Result<_>>()?;
    check(&rules).map_err(|bad| match bad.code {
        "MalformedXML" => malformed_xml(),
        code => S3Error::with_message(S3ErrorCode::from_bytes(code.as_bytes()).unwrap_or(S3ErrorCode::InvalidRequest), bad.message),
    })?;
    let usual = || TransitionDefaultMinimumObjectSize::from_static(TransitionDefaultMinimumObjectSize::ALL_STORAGE_CLASSES_128K);
    let size = request.input.transition_default_minimum_object_size.unwrap_or_else(usual);
    let known = [TransitionDefaultMinimumObjectSize::ALL_STORAGE_CLASSES_128K, TransitionDefaultMinimumObjectSize::VARIES_BY_STORAGE_CLASS];
    if !known.contains(&size.as_str()) {
        return Err(s3_error!(InvalidRequest, "The provided TransitionDefaultMinimumObjectSize is not valid"));
    }
    let (text, size_text) = (xml(&wanted)?, size.as_str().to_owned());
    let put = move |bucket: &mut Bucket| {
        bucket.documents.insert(NAME.into(), text);
        bucket.documents.insert(MINIMUM_SIZE.into(), size_text);
        Ok(())
    };
    update(s3, &request.input.bucket, put).await?;
    Ok(S3Response::new(PutBucketLifecycleConfigurationOutput { transition_default_minimum_object_size: Some(size) }))
}

/// DeleteBucketLifecycle.
pub(crate) async fn lifecycle_delete(
    s3: &S3,
    request: S3Request<DeleteBucketLifecycleInput>,
) -> Result<S3Response<DeleteBucketLifecycleOutput>> {
    document_delete(s3, &request.input.bucket, NAME).await?;
    Ok(S3Response::with_status(DeleteBucketLifecycleOutput {}, http::StatusCode::NO_CONTENT))
}

/// An id for a rule that has none.
fn drawn_id(bucket: &str, number: usize, now: Timestamp) -> String {
    use base64::Engine as _;
    let digest = Sha256::digest(format!("{bucket} {number} {}", now.0));
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(digest)
}

/// A rule as it is judged. Other storage classes than the one there is are refused by name.
fn read(rule: &LifecycleRule) -> Result<Rule> {
    if !rule.transitions.iter().flatten().collect::<Vec<_>>().is_empty() || rule.noncurrent_version_transitions.iter().flatten().count() > 0
    {
        let midnight = |t: &Transition| t.date.as_ref().is_none_or(|date| time::read(date).0.rem_euclid(DAY_MILLIS) == 0);
        if !rule.transitions.iter().flatten().all(midnight) {
            return Err(s3_error!(InvalidArgument, "'Date' must be at midnight GMT"));
        }
        return Err(custom("NotImplemented", 501, "Transitions are not implemented: there is one storage class"));
    }
    let enabled = match rule.status.as_str() {
        ExpirationStatus::ENABLED => true,
        ExpirationStatus::DISABLED => false,
        _ => return Err(malformed_xml()),
    };
    let days =
        |days: i32| u32::try_from(days).map_err(|_| s3_error!(InvalidArgument, "'Days' for Expiration action must be a positive integer"));
    let expiration = match &rule.expiration {
        None => None,
        Some(LifecycleExpiration { days: Some(n), date: None, expired_object_delete_marker: None }) => Some(Expiration::Days(days(*n)?)),
        Some(LifecycleExpiration { days: None, date: Some(date), expired_object_delete_marker: None }) => {
            Some(Expiration::Date(time::read(date)))
        }
        Some(LifecycleExpiration { days: None, date: None, expired_object_delete_marker: Some(true) }) => {
            Some(Expiration::ExpiredObjectDeleteMarker)
        }
        Some(LifecycleExpiration { days: None, date: None, expired_object_delete_marker: Some(false) }) => None,
        Some(_) => return Err(malformed_xml()),
    };
    let noncurrent = match &rule.noncurrent_version_expiration {
        None => None,
        Some(n) => Some(Noncurrent {
            days: days(n.noncurrent_days.ok_or_else(malformed_xml)?)?,
            newer_versions: n.newer_noncurrent_versions.map(days).transpose()?,
        }),
    };
    let abort = rule.abort_incomplete_multipart_upload.as_ref();
    let abort_multipart_days = abort.map(|a| days(a.days_after_initiation.ok_or_else(malformed_xml)?)).transpose()?;
    Ok(Rule { id: rule.id.clone().unwrap_or_default(), enabled, filter: filter(rule)?, expiration, noncurrent, abort_multipart_days })
}

fn filter(rule: &LifecycleRule) -> Result<Filter> {
    let size = |n: i64| u64::try_from(n).map_err(|_| s3_error!(InvalidArgument, "'ObjectSize' must not be negative"));
    let tag = |t: &Tag| (t.key.clone().unwrap_or_default(), t.value.clone().unwrap_or_default());
    let (filter, old_prefix) = match (&rule.filter, &rule.prefix) {
        (Some(_), Some(_)) | (None, None) => return Err(malformed_xml()),
        (Some(filter), None) => (filter, None),
        (None, Some(prefix)) => return Ok(Filter { prefix: prefix.clone(), ..Filter::default() }),
    };
    let alone = [
        filter.prefix.is_some(),
        filter.tag.is_some(),
        filter.object_size_greater_than.is_some(),
        filter.object_size_less_than.is_some(),
        filter.and.is_some(),
    ];
    if alone.iter().filter(|is| **is).count() > 1 {
        return Err(malformed_xml());
    }
    let and = filter.and.clone().unwrap_or_default();
    let mut tags: Tags = Tags::default();
    for (key, value) in filter.tag.iter().chain(and.tags.iter().flatten()).map(tag) {
        if tags.0.insert(key, value).is_some() {
            return Err(s3_error!(InvalidRequest, "Duplicate Tag Keys are not allowed."));
        }
    }
    let prefix = filter.prefix.clone().or(and.prefix).or(old_prefix).unwrap_or_default();
    let size_greater = filter.object_size_greater_than.or(and.object_size_greater_than).map(size).transpose()?;
    let size_less = filter.object_size_less_than.or(and.object_size_less_than).map(size).transpose()?;
    Ok(Filter { prefix, tags, size_greater, size_less })
}
