//! The switches against public access.

use crate::configuration::update;
use crate::error::{Result, custom};
use crate::service::S3;
use objects::{Bucket, PublicAccessBlock};
use s3s::dto::*;
use s3s::{S3Request, S3Response};

/// GetPublicAccessBlock.
pub(crate) async fn public_access_block_get(
    s3: &S3,
    request: S3Request<GetPublicAccessBlockInput>,
) -> Result<S3Response<GetPublicAccessBlockOutput>> {
    let bucket = s3.bucket(&request.input.bucket)?;
    let none = || custom("NoSuchPublicAccessBlockConfiguration", 404, "The public access block configuration was not found");
    let block = bucket.public_access_block.ok_or_else(none)?;
    let configuration = PublicAccessBlockConfiguration {
        block_public_acls: Some(block.block_public_acls),
        ignore_public_acls: Some(block.ignore_public_acls),
        block_public_policy: Some(block.block_public_policy),
        restrict_public_buckets: Some(block.restrict_public_buckets),
    };
    Ok(S3Response::new(GetPublicAccessBlockOutput { public_access_block_configuration: Some(configuration) }))
}

/// PutPublicAccessBlock. What isn't named is off.
pub(crate) async fn public_access_block_put(
    s3: &S3,
    request: S3Request<PutPublicAccessBlockInput>,
) -> Result<S3Response<PutPublicAccessBlockOutput>> {
    let asked = &request.input.public_access_block_configuration;
    let block = PublicAccessBlock {
        block_public_acls: asked.block_public_acls.unwrap_or_default(),
        ignore_public_acls: asked.ignore_public_acls.unwrap_or_default(),
        block_public_policy: asked.block_public_policy.unwrap_or_default(),
        restrict_public_buckets: asked.restrict_public_buckets.unwrap_or_default(),
    };
    let change = move |bucket: &mut Bucket| {
        bucket.public_access_block = Some(block);
        Ok(())
    };
    update(s3, &request.input.bucket, change).await?;
    Ok(S3Response::new(PutPublicAccessBlockOutput {}))
}

/// DeletePublicAccessBlock.
pub(crate) async fn public_access_block_delete(
    s3: &S3,
    request: S3Request<DeletePublicAccessBlockInput>,
) -> Result<S3Response<DeletePublicAccessBlockOutput>> {
    let change = |bucket: &mut Bucket| {
        bucket.public_access_block = None;
        Ok(())
    };
    update(s3, &request.input.bucket, change).await?;
    Ok(S3Response::new(DeletePublicAccessBlockOutput {}))
}
