//! Replication, which is not built: what can be said of a bucket that has none.

use crate::error::{Result, custom};
use crate::service::S3;
use s3s::dto::*;
use s3s::{S3Request, S3Response};

/// GetBucketReplication: there never is one, since PutBucketReplication is refused.
pub(crate) async fn replication_get(
    s3: &S3,
    request: S3Request<GetBucketReplicationInput>,
) -> Result<S3Response<GetBucketReplicationOutput>> {
    s3.bucket(&request.input.bucket)?;
    Err(custom("ReplicationConfigurationNotFoundError", 404, "The replication configuration was not found"))
}

/// DeleteBucketReplication, of none.
pub(crate) async fn replication_delete(
    s3: &S3,
    request: S3Request<DeleteBucketReplicationInput>,
) -> Result<S3Response<DeleteBucketReplicationOutput>> {
    s3.bucket(&request.input.bucket)?;
    Ok(S3Response::with_status(DeleteBucketReplicationOutput {}, http::StatusCode::NO_CONTENT))
}
