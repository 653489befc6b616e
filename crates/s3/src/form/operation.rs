//! PostObject: what a form asks for is done as PutObject does it.

use super::Form;
use crate::access::{Circumstances, expected_owner, right_region};
use crate::caller::Caller;
use crate::error::{self, Result};
use crate::object;
use crate::service::S3;
use s3s::dto::{PostObjectInput, PostObjectOutput, PutObjectInput, Tagging};
use s3s::xml::{Deserialize as _, Deserializer};
use s3s::{S3Request, S3Response, s3_error};
use std::sync::Arc;

/// Longest key, in bytes.
const KEY_BYTES_MAX: usize = 1024;

/// PostObject.
pub(crate) async fn post(s3: &S3, request: S3Request<PostObjectInput>) -> Result<S3Response<PostObjectOutput>> {
    let form: Arc<Form> = request.extensions.get().cloned().ok_or_else(error::denied)?;
    let around = Circumstances::of(&request).ok_or_else(error::denied)?;
    let caller = Caller::of(&request);
    let bucket = s3.bucket(&request.input.bucket)?;
    if let Some(region) = form.region() {
        right_region(&bucket, region)?;
    }
    let key = &request.input.key;
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return Err(s3_error!(KeyTooLongError, "Your key is too long"));
    }
    let headers = form.headers()?;
    expected_owner(&bucket.owner, headers.get("x-amz-expected-bucket-owner").and_then(|owner| owner.to_str().ok()))?;
    let around = Circumstances::clone(&around).of_form(headers.clone());
    s3.allow_form(&caller, &bucket, key, &around).await?;
    let put = request.map_input(|form| PutObjectInput {
        body: form.body,
        bucket: form.bucket,
        // An empty file has no length in s3s's eyes.
        content_length: form.content_length.or(Some(0)),
        key: form.key,
        metadata: form.metadata,
        ..PutObjectInput::default()
    });
    let stored = object::put(s3, S3Request { headers, ..put }).await?;
    // Nothing else sets it.
    _ = form.posted.set(stored.headers);
    Ok(S3Response::new(PostObjectOutput::default()))
}

/// A document of tags, as the header that stands for it.
pub(super) fn tagging(document: &str) -> Result<String> {
    let malformed =
        |_| s3_error!(MalformedXML, "The XML you provided was not well-formed or did not validate against our published schema");
    let tagging = Tagging::deserialize(&mut Deserializer::new(document.as_bytes())).map_err(malformed)?;
    let mut header = form_urlencoded::Serializer::new(String::new());
    for tag in tagging.tag_set {
        header.append_pair(&tag.key.unwrap_or_default(), &tag.value.unwrap_or_default());
    }
    Ok(header.finish())
}
