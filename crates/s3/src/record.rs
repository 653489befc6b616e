//! Between a request's headers and what is kept with an object, and back into a reply's.

use crate::caller::Caller;
use crate::configuration::lifecycle_rules;
use crate::error::Result;
use crate::object::{lock, tags};
use crate::service::S3;
use crate::{sse, time};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use model::lifecycle::{Facts, State, expiration_header};
use model::tag::Tags;
use model::time::Timestamp;
use objects::{Bucket, Record, Version, Versioning};
use s3s::dto::Metadata;
use s3s::s3_error;
use std::collections::BTreeMap;

/// Most bytes of a client's metadata, names and values together, and of the system's that it gives ("Working with object metadata").
const METADATA_BYTES_MAX: usize = 2048;
/// Most bytes of a website's redirect ("x-amz-website-redirect-location").
const REDIRECT_BYTES_MAX: usize = 2048;
/// What an object is of which nobody says.
const DEFAULT_TYPE: &str = "binary/octet-stream";

/// Headers that are kept and answered again.
const KEPT: [HeaderName; 6] = [
    header::CONTENT_TYPE,
    header::CACHE_CONTROL,
    header::CONTENT_DISPOSITION,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::EXPIRES,
];

/// Where objects may be said to lie. All lie in one place; the name is kept.
const STORAGE_CLASSES: [&str; 8] =
    ["STANDARD", "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER", "DEEP_ARCHIVE", "GLACIER_IR"];

/// What a request says of an object that it makes.
pub(crate) struct Described {
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) metadata: BTreeMap<String, String>,
}

/// The headers that are kept, and the client's metadata, which s3s has decoded.
///
/// # Errors
/// `MetadataTooLarge`.
pub(crate) fn described(headers: &HeaderMap, metadata: Option<Metadata>) -> Result<Described> {
    let metadata: BTreeMap<String, String> = metadata.unwrap_or_default().into_iter().collect();
    limited(&metadata)?;
    let mut kept = BTreeMap::new();
    for name in KEPT {
        let Some(value) = headers.get(&name) else { continue };
        let mut value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        if name == header::CONTENT_ENCODING {
            // How the body came over the wire is no property of the object.
            let chunked = |encoding: &&str| encoding.eq_ignore_ascii_case("aws-chunked");
            let encodings: Vec<&str> = value.split(',').map(str::trim).collect();
            if encodings.iter().any(chunked) {
                value = encodings.into_iter().filter(|encoding| !chunked(encoding)).collect::<Vec<_>>().join(",");
            }
        }
        if !value.is_empty() {
            kept.insert(name.as_str().to_owned(), value);
        }
    }
    kept.entry(header::CONTENT_TYPE.as_str().to_owned()).or_insert_with(|| DEFAULT_TYPE.to_owned());
    limited(&kept)?;
    Ok(Described { headers: kept, metadata })
}

fn limited(metadata: &BTreeMap<String, String>) -> Result<()> {
    if metadata.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > METADATA_BYTES_MAX {
        return Err(s3_error!(MetadataTooLarge, "Your metadata headers exceed the maximum allowed metadata size"));
    }
    Ok(())
}

/// The record of an object that a request makes, but for its checksums and encryption.
///
/// # Errors
/// S3's, for what the headers say wrongly.
pub(crate) fn of_request(
    s3: &S3,
    bucket: &Bucket,
    caller: &Caller,
    headers: &HeaderMap,
    described: Described,
    now: Timestamp,
) -> Result<Record> {
    // Whether it may be was asked before, with its key.
    let (owner, acl) = s3.new_object(bucket, caller, headers, None)?;
    let mut record = Record::new(owner);
    record.acl = acl;
    (record.headers, record.metadata) = (described.headers, described.metadata);
    record.tags = tags::of_header(headers)?;
    record.lock = lock::of_request(bucket, headers, now)?;
    record.storage_class = storage_class(headers)?;
    record.website_redirect = website_redirect(headers)?;
    Ok(record)
}

fn storage_class(headers: &HeaderMap) -> Result<Option<String>> {
    let Some(class) = headers.get("x-amz-storage-class") else { return Ok(None) };
    let known = STORAGE_CLASSES.into_iter().find(|known| class.as_bytes() == known.as_bytes());
    let class = known.ok_or_else(|| s3_error!(InvalidStorageClass, "The storage class you specified is not valid"))?;
    Ok((class != STORAGE_CLASSES[0]).then(|| class.to_owned()))
}

fn website_redirect(headers: &HeaderMap) -> Result<Option<String>> {
    let Some(location) = headers.get("x-amz-website-redirect-location") else { return Ok(None) };
    let location = String::from_utf8_lossy(location.as_bytes());
    if !["/", "http://", "https://"].iter().any(|prefix| location.starts_with(prefix)) {
        let text = "The website redirect location must have a prefix of 'http://' or 'https://' or '/'.";
        return Err(crate::error::custom("InvalidRedirectLocation", 400, text));
    }
    if location.contains(char::is_control) {
        let text = "The website redirect location must not contain control characters.";
        return Err(crate::error::custom("InvalidRedirectLocation", 400, text));
    }
    if location.len() > REDIRECT_BYTES_MAX {
        return Err(crate::error::custom(
            "InvalidRedirectLocation",
            400,
            "The length of website redirect location cannot exceed 2,048 characters.",
        ));
    }
    Ok(Some(location.into_owned()))
}

/// What a reply to GetObject or HeadObject says of a version: all but its length, range and checksums.
///
/// # Errors
/// `InternalError` if the bucket's lifecycle can't be read.
pub(crate) fn show(bucket: &Bucket, version: &Version) -> Result<HeaderMap> {
    let record = &version.record;
    let mut headers = HeaderMap::with_capacity(16);
    for (name, value) in &record.headers {
        put(&mut headers, name, value);
    }
    put(&mut headers, "accept-ranges", "bytes");
    put(&mut headers, "etag", &format!("\"{}\"", version.etag));
    put(&mut headers, "last-modified", &time::http_date(version.last_modified));
    version_id(bucket, version, &mut headers);
    sse::show(record.encryption.as_ref(), &mut headers);
    if let Some(class) = &record.storage_class {
        put(&mut headers, "x-amz-storage-class", class);
    }
    if let Some(location) = &record.website_redirect {
        put(&mut headers, "x-amz-website-redirect-location", location);
    }
    if !record.tags.is_empty() {
        put(&mut headers, "x-amz-tagging-count", &record.tags.len().to_string());
    }
    lock::show(&record.lock, &mut headers);
    expiration(bucket, version, &mut headers)?;
    Ok(headers)
}

/// Names the version, if the bucket has any.
pub(crate) fn version_id(bucket: &Bucket, version: &Version, headers: &mut HeaderMap) {
    if bucket.versioning != Versioning::Off {
        put(headers, "x-amz-version-id", version.id.as_str());
    }
}

/// Names the version that a write made. Unlike reads, writes into a bucket with suspended versioning name none.
pub(crate) fn written_version_id(version: &Version, headers: &mut HeaderMap) {
    if !version.id.is_null() {
        put(headers, "x-amz-version-id", version.id.as_str());
    }
}

/// Says when a rule of the bucket's lifecycle will end a current version.
pub(crate) fn expiration(bucket: &Bucket, version: &Version, headers: &mut HeaderMap) -> Result<()> {
    let Some(rules) = lifecycle_rules(bucket)?.filter(|_| version.is_latest) else { return Ok(()) };
    let tags = Tags(version.record.tags.clone());
    let facts = Facts { key: &version.key, size: version.size, tags: &tags, made: version.last_modified, state: State::Current };
    if let Some(value) = expiration_header(&rules, &facts) {
        put(headers, "x-amz-expiration", &value);
    }
    Ok(())
}

/// Values with other characters than a header can have are sent as bytes: they came so.
pub(crate) fn put(headers: &mut HeaderMap, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(value.as_bytes())) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn what_is_kept_of_headers() {
        let asked = headers(&[("content-encoding", "aws-chunked, gzip"), ("cache-control", "no-cache"), ("x-other", "1")]);
        let kept = described(&asked, None).unwrap().headers;
        let pairs: Vec<_> = kept.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(pairs, [("cache-control", "no-cache"), ("content-encoding", "gzip"), ("content-type", DEFAULT_TYPE)]);
        let two = described(&headers(&[("content-encoding", "deflate, gzip")]), None).unwrap().headers;
        assert_eq!(two["content-encoding"], "deflate, gzip");
        let only = described(&headers(&[("content-encoding", "aws-chunked")]), None).unwrap().headers;
        assert!(!only.contains_key("content-encoding"));
    }

    #[test]
    fn metadata_has_a_limit() {
        let of = |length: usize| described(&HeaderMap::new(), Some(Metadata::from_iter([("k".to_owned(), "v".repeat(length))])));
        assert!(of(METADATA_BYTES_MAX - 1).is_ok());
        assert_eq!(of(METADATA_BYTES_MAX).err().unwrap().code().as_str(), "MetadataTooLarge");
        let long = HeaderMap::from_iter([(header::CACHE_CONTROL, HeaderValue::try_from("a".repeat(METADATA_BYTES_MAX)).unwrap())]);
        let long = described(&long, None);
        assert_eq!(long.err().unwrap().code().as_str(), "MetadataTooLarge");
    }

    #[test]
    fn classes_and_redirects_are_known_or_refused() {
        let class = |value| storage_class(&headers(&[("x-amz-storage-class", value)])).map_err(|e| e.code().as_str().to_owned());
        assert_eq!(class("STANDARD"), Ok(None));
        assert_eq!(class("GLACIER_IR"), Ok(Some("GLACIER_IR".to_owned())));
        assert_eq!(class("TAPE"), Err("InvalidStorageClass".to_owned()));
        let redirect = |value| website_redirect(&headers(&[("x-amz-website-redirect-location", value)])).is_ok();
        assert!(redirect("/a") && redirect("https://x") && !redirect("x") && !redirect("/a\tb"));
    }
}
