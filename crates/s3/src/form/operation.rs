//! PostObject: what a form asks for is done as PutObject does it.

use super::Form;
use crate::access::{Circumstances, expected_owner, right_region};
use crate::error::{self, Result};
use crate::front::Peer;
use crate::object;
use crate::service::S3;
use http::request::Parts;
use s3s::dto::{PostObjectInput, PostObjectOutput, PutObjectInput, Tagging};
use s3s::xml::{Deserialize as _, Deserializer};
use s3s::{S3Request, S3Response, s3_error};
use std::sync::Arc;

/// Longest key, in bytes.
const KEY_BYTES_MAX: usize = 1024;

/// Whether the form's sender may put what it describes, where it says. Asked before the file is read, which `s3s` keeps in memory.
pub(super) async fn authorize(s3: &S3, form: &Form, head: &Parts, bucket: &str) -> Result<()> {
    let bucket = s3.bucket(bucket)?;
    if let Some(region) = form.region() {
        right_region(&bucket, region)?;
    }
    let key = form.field("key").unwrap_or_default();
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return Err(s3_error!(KeyTooLongError, "Your key is too long"));
    }
    let headers = form.headers()?;
    expected_owner(&bucket.owner, headers.get("x-amz-expected-bucket-owner").and_then(|owner| owner.to_str().ok()))?;
    let peer = head.extensions.get::<Peer>().map(|peer| peer.0.ip());
    let around = Circumstances::new(&head.headers, &head.uri, peer, s3.now()).of_form(headers);
    s3.allow_form(&form.caller, &bucket, key, &around).await
}

/// PostObject: of a form that was read and allowed.
pub(crate) async fn post(s3: &S3, request: S3Request<PostObjectInput>) -> Result<S3Response<PostObjectOutput>> {
    let form: Arc<Form> = request.extensions.get().cloned().ok_or_else(error::denied)?;
    // s3s read the request anew; it must have found what was allowed.
    if request.input.bucket != form.bucket || form.field("key") != Some(&request.input.key) {
        return Err(error::denied());
    }
    let headers = form.headers()?;
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
