//! PutObject.

use crate::caller::Caller;
use crate::checksum::{self, Computed, Expected};
use crate::error::Result;
use crate::form::Form;
use crate::intake::{self, Incoming};
use crate::object::{lock, write};
use crate::service::S3;
use crate::{condition, record, sse};
use http::HeaderMap;
use objects::{Bucket, Version};
use s3s::dto::{PutObjectInput, PutObjectOutput};
use s3s::{S3Request, S3Response, s3_error};
use std::sync::Arc;

/// PutObject.
pub(crate) async fn put(s3: &S3, request: S3Request<PutObjectInput>) -> Result<S3Response<PutObjectOutput>> {
    let caller = Caller::of(&request);
    let S3Request { input, headers, trailing_headers, extensions, .. } = request;
    let bucket = s3.bucket(&input.bucket)?;
    if input.write_offset_bytes.is_some() {
        return Err(condition::not_implemented());
    }
    let condition = condition::of_write(input.if_match.as_ref(), input.if_none_match.as_ref());
    let of_form = extensions.get::<Arc<Form>>().is_some();
    let length = if of_form { None } else { Some(intake::length(input.content_length, &headers)?) };
    // A request that was read twice (`route.rs`) has its trailing headers beside it.
    let trailing_headers = trailing_headers.or_else(|| extensions.get().cloned());
    let expected = Expected::read(&headers, trailing_headers)?;
    if lock::asked(&headers) && !expected.any() {
        let text = "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters";
        return Err(s3_error!(InvalidRequest, "{text}"));
    }
    let described = record::described(&headers, input.metadata)?;
    let mut record = record::of_request(s3, &bucket, &caller, &headers, described, s3.now())?;
    let sealing = sse::of_write(&bucket, &headers)?;
    record.encryption = sealing.encryption;
    let incoming = Incoming { body: input.body, length, seal: sealing.seal, expected };
    let (version, computed) = write(s3, &bucket, input.key, record, condition, incoming).await?;
    Ok(S3Response::with_headers(PutObjectOutput::default(), reply(&bucket, &version, &computed)?))
}

/// What is said of a new object.
fn reply(bucket: &Bucket, version: &Version, computed: &Computed) -> Result<HeaderMap> {
    let mut headers = HeaderMap::with_capacity(8);
    record::put(&mut headers, "etag", &format!("\"{}\"", version.etag));
    record::written_version_id(version, &mut headers);
    sse::show(version.record.encryption.as_ref(), &mut headers);
    checksum::show(&computed.checksums(), &mut headers);
    record::expiration(bucket, version, &mut headers)?;
    Ok(headers)
}
