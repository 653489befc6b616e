//! Where a bucket's access logs go ("Enabling Amazon S3 server access logging"): kept here, written by `crate::access_log`.

use super::{document, document_delete, document_put};
use crate::access::{grants_count, logs_expected};
use crate::caller::Caller;
use crate::error::{Result, custom, malformed_xml};
use crate::service::S3;
use objects::{Acl, Bucket};
use s3s::dto::*;
use s3s::{S3Error, S3Request, S3Response, s3_error};

/// The document's name.
pub(crate) const LOGGING: &str = "logging";
/// Longest prefix, in characters; what comes behind it must fit into a key.
const PREFIX_CHARS_MAX: usize = 800;

/// Where a bucket's lines go.
pub(crate) fn target(bucket: &Bucket) -> Result<Option<LoggingEnabled>> {
    let found: Option<BucketLoggingStatus> = document(bucket, LOGGING)?;
    Ok(found.and_then(|status| status.logging_enabled))
}

/// GetBucketLogging.
pub(crate) async fn logging_get(s3: &S3, request: S3Request<GetBucketLoggingInput>) -> Result<S3Response<GetBucketLoggingOutput>> {
    let logging_enabled = target(&*s3.bucket(&request.input.bucket)?)?;
    Ok(S3Response::new(GetBucketLoggingOutput { logging_enabled }))
}

/// PutBucketLogging.
pub(crate) async fn logging_put(s3: &S3, request: S3Request<PutBucketLoggingInput>) -> Result<S3Response<PutBucketLoggingOutput>> {
    let caller = Caller::of(&request);
    let input = request.input;
    let bucket = s3.bucket(&input.bucket)?;
    match &input.bucket_logging_status.logging_enabled {
        None => document_delete(s3, &input.bucket, LOGGING).await?,
        Some(wanted) => {
            check(s3, &bucket, wanted, &caller)?;
            document_put(s3, &input.bucket, LOGGING, &input.bucket_logging_status).await?;
        }
    }
    Ok(S3Response::new(PutBucketLoggingOutput {}))
}

fn invalid_target(text: &'static str) -> S3Error {
    custom("InvalidTargetBucketForLogging", 400, text)
}

fn check(s3: &S3, bucket: &Bucket, wanted: &LoggingEnabled, caller: &Caller) -> Result<()> {
    if wanted.target_prefix.chars().count() > PREFIX_CHARS_MAX {
        return Err(s3_error!(InvalidArgument, "The target prefix must not be longer than {PREFIX_CHARS_MAX} characters"));
    }
    if let Some(format) = &wanted.target_object_key_format {
        let known = [PartitionDateSource::EVENT_TIME, PartitionDateSource::DELIVERY_TIME];
        let source = |p: &PartitionedPrefix| p.partition_date_source.as_ref().is_none_or(|source| known.contains(&source.as_str()));
        match (&format.partitioned_prefix, &format.simple_prefix) {
            (None, Some(_)) => {}
            (Some(partitioned), None) if source(partitioned) => {}
            _ => return Err(malformed_xml()),
        }
    }
    let target = s3.objects.bucket(&wanted.target_bucket);
    let target = target.ok_or_else(|| invalid_target("The target bucket for logging does not exist"))?;
    if target.owner != bucket.owner || caller.account() != Some(&target.owner) {
        return Err(invalid_target("The owner for the bucket to be logged and the target bucket must be the same."));
    }
    if target.region != bucket.region {
        return Err(custom("CrossLocationLoggingProhibited", 403, "Cross S3 location logging not allowed."));
    }
    if super::payer(&target)?.as_str() == Payer::REQUESTER {
        return Err(invalid_target("The target bucket must not have Requester Pays enabled"));
    }
    let lists = grants_count(&target);
    // A bucket without lists needs a policy. It may come later: then lines are delivered from then on.
    if lists && !logs_expected(&target)? {
        return Err(invalid_target("You must give the log-delivery group WRITE and READ_ACP permissions to the target bucket"));
    }
    if wanted.target_grants.as_ref().is_some_and(|grants| !grants.is_empty()) {
        if !lists {
            return Err(custom("AccessControlListNotSupported", 400, "The bucket does not allow ACLs"));
        }
        grants(s3, &target, wanted)?;
    }
    Ok(())
}

/// The list of grants of the objects to be; `None` if none is wanted or counts.
pub(crate) fn grants(s3: &S3, target: &Bucket, wanted: &LoggingEnabled) -> Result<Option<Acl>> {
    let Some(grants) = wanted.target_grants.as_ref().filter(|grants| !grants.is_empty() && grants_count(target)) else { return Ok(None) };
    let allowed = [BucketLogsPermission::FULL_CONTROL, BucketLogsPermission::READ, BucketLogsPermission::WRITE];
    let grant = |grant: &TargetGrant| {
        let permission = grant.permission.as_ref().map(BucketLogsPermission::as_str).filter(|p| allowed.contains(p));
        permission.map(|p| Grant { grantee: grant.grantee.clone(), permission: Some(p.to_owned().into()) }).ok_or_else(malformed_xml)
    };
    let grants = grants.iter().map(grant).collect::<Result<_>>()?;
    let owner = s3.owner(&target.owner);
    s3.grants_of_document(AccessControlPolicy { grants: Some(grants), owner: Some(owner) }, &target.owner).map(Some)
}
