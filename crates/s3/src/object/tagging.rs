//! GetObjectTagging, PutObjectTagging, DeleteObjectTagging.

use crate::error::{self, Result};
use crate::object::{tags, version_id};
use crate::record;
use crate::service::S3;
use http::HeaderMap;
use objects::{Bucket, Version};
use s3s::dto::*;
use s3s::{S3Request, S3Response};
use std::collections::BTreeMap;
use std::sync::Arc;

/// GetObjectTagging.
pub(crate) async fn get(s3: &S3, request: S3Request<GetObjectTaggingInput>) -> Result<S3Response<GetObjectTaggingOutput>> {
    let input = request.input;
    let bucket = s3.bucket(&input.bucket)?;
    let id = version_id(input.version_id.as_deref())?;
    let version = s3.objects.get(&input.bucket, &input.key, id.as_ref()).await.map_err(error::engine)?;
    let output = GetObjectTaggingOutput { tag_set: tags::show(&version.record.tags), ..GetObjectTaggingOutput::default() };
    Ok(S3Response::with_headers(output, named(&bucket, &version)))
}

/// PutObjectTagging.
pub(crate) async fn put(s3: &S3, request: S3Request<PutObjectTaggingInput>) -> Result<S3Response<PutObjectTaggingOutput>> {
    let input = request.input;
    let tags = tags::of_set(input.tagging.tag_set)?;
    let headers = set(s3, &input.bucket, &input.key, input.version_id.as_deref(), tags).await?;
    Ok(S3Response::with_headers(PutObjectTaggingOutput::default(), headers))
}

/// DeleteObjectTagging.
pub(crate) async fn delete(s3: &S3, request: S3Request<DeleteObjectTaggingInput>) -> Result<S3Response<DeleteObjectTaggingOutput>> {
    let input = request.input;
    let headers = set(s3, &input.bucket, &input.key, input.version_id.as_deref(), BTreeMap::new()).await?;
    Ok(S3Response::with_headers(DeleteObjectTaggingOutput::default(), headers))
}

async fn set(s3: &S3, bucket: &str, key: &str, version: Option<&str>, tags: BTreeMap<String, String>) -> Result<HeaderMap> {
    let found = s3.bucket(bucket)?;
    let change = move |version: &mut Version| {
        version.record.tags = tags;
        Ok::<(), std::convert::Infallible>(())
    };
    let updated = s3.objects.update(bucket, key, version_id(version)?, change).await.map_err(error::engine)?;
    Ok(updated.map_or_else(|never| match never {}, |version| named(&found, &version)))
}

fn named(bucket: &Bucket, version: &Arc<Version>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    record::version_id(bucket, version, &mut headers);
    headers
}
