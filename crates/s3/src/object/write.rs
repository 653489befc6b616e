//! What makes an object of a body, whoever sends it.

use crate::checksum::Computed;
use crate::error::{self, Result};
use crate::intake::{self, Incoming};
use crate::service::S3;
use crate::sse;
use objects::{Bucket, Condition, Put, Record, Version};
use std::sync::Arc;

/// Takes a body, and makes it an object of the bucket that this was allowed for; `record` is all that is kept but the checksums.
///
/// # Errors
/// As [`intake::take`]; the engine's.
pub(crate) async fn write(
    s3: &S3,
    bucket: &Bucket,
    key: String,
    mut record: Record,
    condition: Condition,
    incoming: Incoming,
) -> Result<(Arc<Version>, Computed)> {
    let (staged, computed) = intake::take(s3, incoming).await?;
    record.checksums = computed.checksums();
    let etag = sse::etag(s3, record.encryption.as_ref(), &computed);
    let put = Put { bucket: bucket.name.clone(), bucket_created: bucket.created, key, staged, etag, record, condition, now: s3.now() };
    let stored = s3.objects.put(put).await.map_err(error::engine)?;
    Ok((stored.version, computed))
}
