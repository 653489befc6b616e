//! DeleteObject.

use crate::error::{self, Result};
use crate::object::version_id;
use crate::service::S3;
use crate::{condition, record};
use http::HeaderMap;
use objects::{Delete, Deleted};
use s3s::dto::{DeleteObjectInput, DeleteObjectOutput};
use s3s::{S3Request, S3Response};

/// DeleteObject.
pub(crate) async fn delete(s3: &S3, request: S3Request<DeleteObjectInput>) -> Result<S3Response<DeleteObjectOutput>> {
    let input = request.input;
    if input.if_match_last_modified_time.is_some() || input.if_match_size.is_some() {
        // For directory buckets only ("DeleteObject").
        return Err(condition::not_implemented());
    }
    let delete = Delete {
        version: version_id(input.version_id.as_deref())?,
        bucket: input.bucket,
        key: input.key,
        if_match: input.if_match.as_ref().map(condition::etags),
        bypass_governance: input.bypass_governance_retention.unwrap_or_default(),
        now: s3.now(),
    };
    let Deleted { version, marker } = s3.objects.delete(delete).await.map_err(error::engine)?;
    let mut headers = HeaderMap::new();
    if let Some(version) = version {
        record::put(&mut headers, "x-amz-version-id", version.as_str());
    }
    if marker {
        record::put(&mut headers, "x-amz-delete-marker", "true");
    }
    Ok(S3Response::with_headers(DeleteObjectOutput::default(), headers))
}
