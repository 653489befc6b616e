//! PostObject: what a form asks for is done as PutObject does it.

use super::Form;
use crate::access::{Circumstances, Signed, expected_owner, right_region};
use crate::error::Result;
use crate::front::Peer;
use crate::object;
use crate::service::S3;
use http::HeaderMap;
use http::request::Parts;
use s3s::dto::{PutObjectInput, StreamingBlob, Tagging};
use s3s::xml::{Deserialize as _, Deserializer};
use s3s::{S3Request, s3_error};
use std::sync::Arc;

/// Longest key, in bytes.
const KEY_BYTES_MAX: usize = 1024;

/// Whether the form's sender may put what it describes, where it says. Asked before the file is read.
pub(super) async fn authorize(s3: &S3, form: &Form, head: &Parts, bucket: &str) -> Result<()> {
    let bucket = s3.bucket(bucket)?;
    if let Some(region) = form.region() {
        right_region(&bucket, region, Signed::Form)?;
    }
    let key = form.field("key").unwrap_or_default();
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return Err(s3_error!(KeyTooLongError, "Your key is too long"));
    }
    let headers = form.headers()?;
    expected_owner(&bucket.owner, headers.get("x-amz-expected-bucket-owner").and_then(|owner| owner.to_str().ok()))?;
    let peer = head.extensions.get::<Peer>().map(|peer| peer.0.ip());
    let around = Circumstances::new(&head.headers, &head.uri, peer, s3.now()).of_form(headers).telling(head.extensions.get());
    s3.allow_form(&form.caller, &bucket, key, &around).await
}

/// Puts what a form holds, as PutObject does, and says what PutObject says.
pub(super) async fn put(s3: &S3, form: &Arc<Form>, head: Parts, file: StreamingBlob, bucket: &str) -> Result<HeaderMap> {
    let input = PutObjectInput {
        body: Some(file),
        bucket: bucket.to_owned(),
        key: form.field("key").unwrap_or_default().to_owned(),
        metadata: Some(form.metadata()),
        ..PutObjectInput::default()
    };
    let mut extensions = head.extensions;
    extensions.insert(form.caller.clone());
    extensions.insert(form.clone());
    let request = S3Request {
        input,
        method: head.method,
        uri: head.uri,
        headers: form.headers()?,
        extensions,
        credentials: None,
        region: None,
        service: None,
        trailing_headers: None,
    };
    let watching = s3.watching(&request);
    Ok(object::put(watching.as_ref().unwrap_or(s3), request).await?.headers)
}

/// A document of tags, as the header that stands for it.
pub(super) fn tagging(document: &str) -> Result<String> {
    let tagging = Tagging::deserialize(&mut Deserializer::new(document.as_bytes())).map_err(|_| crate::error::malformed_xml())?;
    let mut header = form_urlencoded::Serializer::new(String::new());
    for tag in tagging.tag_set {
        header.append_pair(&tag.key.unwrap_or_default(), &tag.value.unwrap_or_default());
    }
    Ok(header.finish())
}
