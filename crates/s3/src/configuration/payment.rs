//! Who pays, and which way uploads take: settings that are kept and shown, since here nobody pays and there is one way.

use super::{document, document_put};
use crate::error::{Result, malformed_xml};
use crate::service::S3;
use objects::Bucket;
use s3s::dto::*;
use s3s::{S3Request, S3Response, s3_error};

const PAYMENT: &str = "request-payment";
const ACCELERATE: &str = "accelerate";

/// Who pays for requests to a bucket.
pub(super) fn payer(bucket: &Bucket) -> Result<Payer> {
    let found: Option<RequestPaymentConfiguration> = document(bucket, PAYMENT)?;
    Ok(found.map_or_else(|| Payer::from_static(Payer::BUCKET_OWNER), |c| c.payer))
}

/// GetBucketRequestPayment.
pub(crate) async fn payment_get(
    s3: &S3,
    request: S3Request<GetBucketRequestPaymentInput>,
) -> Result<S3Response<GetBucketRequestPaymentOutput>> {
    Ok(S3Response::new(GetBucketRequestPaymentOutput { payer: Some(payer(&*s3.bucket(&request.input.bucket)?)?) }))
}

/// PutBucketRequestPayment.
pub(crate) async fn payment_put(
    s3: &S3,
    request: S3Request<PutBucketRequestPaymentInput>,
) -> Result<S3Response<PutBucketRequestPaymentOutput>> {
    let wanted = request.input.request_payment_configuration;
    if ![Payer::BUCKET_OWNER, Payer::REQUESTER].contains(&wanted.payer.as_str()) {
        return Err(malformed_xml());
    }
    document_put(s3, &request.input.bucket, PAYMENT, &wanted).await?;
    Ok(S3Response::new(PutBucketRequestPaymentOutput {}))
}

/// GetBucketAccelerateConfiguration.
pub(crate) async fn accelerate_get(
    s3: &S3,
    request: S3Request<GetBucketAccelerateConfigurationInput>,
) -> Result<S3Response<GetBucketAccelerateConfigurationOutput>> {
    let found: Option<AccelerateConfiguration> = document(&*s3.bucket(&request.input.bucket)?, ACCELERATE)?;
    let output = GetBucketAccelerateConfigurationOutput { status: found.and_then(|c| c.status), request_charged: None };
    Ok(S3Response::new(output))
}

/// PutBucketAccelerateConfiguration.
pub(crate) async fn accelerate_put(
    s3: &S3,
    request: S3Request<PutBucketAccelerateConfigurationInput>,
) -> Result<S3Response<PutBucketAccelerateConfigurationOutput>> {
    let (bucket, wanted) = (request.input.bucket, request.input.accelerate_configuration);
    let known = [BucketAccelerateStatus::ENABLED, BucketAccelerateStatus::SUSPENDED];
    if !wanted.status.as_ref().is_some_and(|status| known.contains(&status.as_str())) {
        return Err(malformed_xml());
    }
    if bucket.contains('.') {
        return Err(s3_error!(InvalidRequest, "S3 Transfer Acceleration is not supported for buckets with periods (.) in their names"));
    }
    document_put(s3, &bucket, ACCELERATE, &wanted).await?;
    Ok(S3Response::new(PutBucketAccelerateConfigurationOutput {}))
}
