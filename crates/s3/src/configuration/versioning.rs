//! Versioning ("Using versioning in S3 buckets").

use super::update;
use crate::error::{Result, custom, malformed_xml};
use crate::service::S3;
use objects::Versioning;
use s3s::dto::*;
use s3s::{S3Request, S3Response, s3_error};

/// GetBucketVersioning.
pub(crate) async fn versioning_get(s3: &S3, request: S3Request<GetBucketVersioningInput>) -> Result<S3Response<GetBucketVersioningOutput>> {
    let status = match s3.bucket(&request.input.bucket)?.versioning {
        Versioning::Off => None,
        Versioning::Enabled => Some(BucketVersioningStatus::from_static(BucketVersioningStatus::ENABLED)),
        Versioning::Suspended => Some(BucketVersioningStatus::from_static(BucketVersioningStatus::SUSPENDED)),
    };
    Ok(S3Response::new(GetBucketVersioningOutput { status, mfa_delete: None }))
}

/// PutBucketVersioning. There are no MFA devices: what asks for one is refused.
pub(crate) async fn versioning_put(s3: &S3, request: S3Request<PutBucketVersioningInput>) -> Result<S3Response<PutBucketVersioningOutput>> {
    let input = request.input;
    let wanted = input.versioning_configuration;
    if wanted.mfa_delete.is_some_and(|mfa| mfa.as_str() == MFADelete::ENABLED) {
        return Err(custom("NotImplemented", 501, "MFA delete is not implemented"));
    }
    let versioning = match wanted.status.as_ref().map(BucketVersioningStatus::as_str) {
        Some(BucketVersioningStatus::ENABLED) => Versioning::Enabled,
        Some(BucketVersioningStatus::SUSPENDED) => Versioning::Suspended,
        Some(_) => return Err(malformed_xml()),
        None => return Err(s3_error!(IllegalVersioningConfigurationException, "The Versioning element must be specified")),
    };
    let set = move |bucket: &mut objects::Bucket| {
        if bucket.object_lock && versioning == Versioning::Suspended {
            let text = "An Object Lock configuration is present on this bucket, so the versioning state cannot be changed.";
            return Err(s3_error!(InvalidBucketState, "{text}"));
        }
        bucket.versioning = versioning;
        Ok(())
    };
    update(s3, &input.bucket, set).await?;
    Ok(S3Response::new(PutBucketVersioningOutput {}))
}
