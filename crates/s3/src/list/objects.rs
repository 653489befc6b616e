//! ListObjects and ListObjectsV2: current objects by key.

use super::{Encoding, Owners, checksums, entries, etag, given, size};
use crate::error::{self, Result};
use crate::object::archive;
use crate::service::S3;
use crate::time;
use ::objects::{List, Version};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use s3s::dto::{self, ListObjectsInput, ListObjectsOutput, ListObjectsV2Input, ListObjectsV2Output};
use s3s::{S3Request, S3Response, s3_error};

/// What a continuation token begins with, so that other text isn't taken for one.
const TOKEN_FORM: u8 = 1;

/// ListObjects.
pub(crate) async fn list_v1(s3: &S3, request: S3Request<ListObjectsInput>) -> Result<S3Response<ListObjectsOutput>> {
    let input = request.input;
    let encoding = Encoding::new(input.encoding_type)?;
    let (max_keys, max) = entries(input.max_keys, "maxKeys")?;
    let delimiter = given(input.delimiter.as_deref()).map(str::to_owned);
    let q = List {
        bucket: input.bucket.clone(),
        prefix: input.prefix.clone().unwrap_or_default(),
        delimiter: delimiter.clone(),
        after: given(input.marker.as_deref()).map(str::to_owned),
        max,
    };
    let listing = s3.objects.list(q).await.map_err(error::engine)?;
    let mut owners = Owners::new(s3, &input.bucket);
    let now = s3.now();
    let restored = |v: &Version| archive::listed(input.optional_object_attributes.as_ref(), &v.record, now);
    let contents = listing.objects.iter().map(|v| object(&encoding, v, Some(owners.show(&v.record.owner)), restored(v))).collect();
    Ok(S3Response::new(ListObjectsOutput {
        name: Some(input.bucket),
        prefix: encoding.shown(input.prefix.as_deref()),
        marker: encoding.shown(input.marker.as_deref()),
        max_keys: Some(max_keys),
        is_truncated: Some(listing.next.is_some()),
        contents: Some(contents),
        common_prefixes: encoding.prefixes(&listing.prefixes),
        // Without a delimiter, the last key is the marker ("ListObjects", NextMarker).
        next_marker: listing.next.filter(|_| delimiter.is_some()).map(|next| encoding.text(&next)),
        delimiter: encoding.given(delimiter.as_deref()),
        encoding_type: encoding.0,
        request_charged: None,
    }))
}

/// ListObjectsV2.
pub(crate) async fn list_v2(s3: &S3, request: S3Request<ListObjectsV2Input>) -> Result<S3Response<ListObjectsV2Output>> {
    let input = request.input;
    let encoding = Encoding::new(input.encoding_type)?;
    let (max_keys, max) = entries(input.max_keys, "maxKeys")?;
    let after = match given(input.continuation_token.as_deref()) {
        Some(token) => Some(token_read(token)?),
        None => given(input.start_after.as_deref()).map(str::to_owned),
    };
    let q = List {
        bucket: input.bucket.clone(),
        prefix: input.prefix.clone().unwrap_or_default(),
        delimiter: input.delimiter.clone(),
        after,
        max,
    };
    let listing = s3.objects.list(q).await.map_err(error::engine)?;
    let mut owners = Owners::new(s3, &input.bucket);
    let now = s3.now();
    let mut owner = |version: &Version| (input.fetch_owner == Some(true)).then(|| owners.show(&version.record.owner));
    let restored = |v: &Version| archive::listed(input.optional_object_attributes.as_ref(), &v.record, now);
    let contents: Vec<_> = listing.objects.iter().map(|v| object(&encoding, v, owner(v), restored(v))).collect();
    Ok(S3Response::new(ListObjectsV2Output {
        name: Some(input.bucket),
        prefix: encoding.shown(input.prefix.as_deref()),
        max_keys: Some(max_keys),
        key_count: i32::try_from(contents.len() + listing.prefixes.len()).ok(),
        continuation_token: input.continuation_token,
        is_truncated: Some(listing.next.is_some()),
        next_continuation_token: listing.next.as_deref().map(token),
        contents: Some(contents),
        common_prefixes: encoding.prefixes(&listing.prefixes),
        delimiter: encoding.given(input.delimiter.as_deref()),
        start_after: encoding.given(input.start_after.as_deref()),
        encoding_type: encoding.0,
        request_charged: None,
    }))
}

fn object(encoding: &Encoding, version: &Version, owner: Option<dto::Owner>, restore_status: Option<dto::RestoreStatus>) -> dto::Object {
    let (checksum_algorithm, checksum_type) = checksums(&version.record.checksums);
    let class = version.record.storage_class.clone().unwrap_or_else(|| dto::ObjectStorageClass::STANDARD.into());
    dto::Object {
        checksum_algorithm,
        checksum_type,
        e_tag: etag(&version.etag),
        key: Some(encoding.text(&version.key)),
        last_modified: Some(time::show(version.last_modified)),
        owner,
        restore_status,
        size: size(version.size),
        storage_class: Some(dto::ObjectStorageClass::from(class)),
    }
}

/// Where a listing goes on, as text that says nothing to its reader.
fn token(next: &str) -> String {
    URL_SAFE_NO_PAD.encode([&[TOKEN_FORM], next.as_bytes()].concat())
}

fn token_read(token: &str) -> Result<String> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok();
    let next = bytes.as_deref().and_then(|bytes| bytes.strip_prefix(&[TOKEN_FORM])).and_then(|next| std::str::from_utf8(next).ok());
    next.map(str::to_owned).ok_or_else(|| s3_error!(InvalidArgument, "The continuation token provided is incorrect"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn tokens_are_read() {
        for key in ["a", "a/b c", "\u{e4}\n", ""] {
            assert_eq!(token_read(&token(key)).unwrap(), key);
        }
        for other in ["a", "foo/bar", "YQ", "AcM", "AQ=="] {
            assert_eq!(token_read(other).unwrap_err().code().as_str(), "InvalidArgument", "{other}");
        }
    }
}
