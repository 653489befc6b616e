//! CopyObject.

use crate::caller::Caller;
use crate::checksum::{self, Algorithm, Expected};
use crate::condition::{Reading, Verdict};
use crate::error::{self, Result};
use crate::intake::{BODY_BYTES_MAX, Incoming};
use crate::object::{archive, tags, version_id, write};
use crate::outgoing::Outgoing;
use crate::record::Described;
use crate::service::S3;
use crate::xml::Added;
use crate::{condition, record, sse, time};
use http::{HeaderMap, HeaderValue};
use objects::{Bucket, Record, Version, Versioning};
use s3s::dto::{
    ChecksumType, CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopySource, ETag, ETagCondition, Metadata, StreamingBlob,
};
use s3s::{S3Request, S3Response, s3_error};
use std::sync::Arc;

/// Where a copy comes from.
pub(crate) struct Source {
    pub(crate) bucket: Arc<Bucket>,
    pub(crate) version: Arc<Version>,
    /// The customer's key, if the body is sealed with one.
    pub(crate) key: Option<[u8; 32]>,
    /// Whether the request named the version.
    named: bool,
}

impl Source {
    /// Finds what a copy is to be made of, and judges its conditions.
    ///
    /// # Errors
    /// S3's: there is none, its conditions don't hold. Whether it may be read was asked before the operation.
    pub(crate) async fn find(s3: &S3, source: &CopySource, headers: &HeaderMap, reading: Reading<'_>) -> Result<Self> {
        let CopySource::Bucket { bucket, key, version_id: id } = source else {
            return Err(s3_error!(NotImplemented, "Copies from access points are not implemented"));
        };
        let found = s3.bucket(bucket)?;
        let id = version_id(id.as_deref())?;
        let version = s3.objects.get(bucket, key, id.as_ref()).await.map_err(|error| {
            if matches!(error, objects::Error::DeleteMarker { current: false, .. }) {
                let text = "The source of a copy request may not specifically refer to a delete marker by version id.";
                return s3_error!(InvalidRequest, "{text}");
            }
            error::of_key(error, key)
        })?;
        let key = sse::of_read(version.record.encryption.as_ref(), sse::source_key(headers)?)?;
        // Written in AWS's letter case; a lookup of a header is in any case.
        let refused = |conditions: [&str; 2]| {
            let condition = conditions.into_iter().find(|name| headers.contains_key(*name)).unwrap_or(conditions[0]);
            error::with(error::precondition_failed(), "Condition", condition)
        };
        match reading.judge(&version) {
            Ok(Verdict::Holds) => {}
            Ok(Verdict::NotModified) => {
                return Err(refused(["x-amz-copy-source-If-None-Match", "x-amz-copy-source-If-Modified-Since"]));
            }
            Err(_) => return Err(refused(["x-amz-copy-source-If-Match", "x-amz-copy-source-If-Unmodified-Since"])),
        }
        archive::copyable(&version.record, s3.now())?;
        Ok(Self { bucket: found, version, key, named: id.is_some() })
    }

    /// Names the source's version in a reply, if its bucket has any.
    pub(crate) fn show(&self, headers: &mut HeaderMap) {
        if self.bucket.versioning != Versioning::Off {
            record::put(headers, "x-amz-copy-source-version-id", self.version.id.as_str());
        }
    }
}

/// CopyObject.
pub(crate) async fn copy(s3: &S3, request: S3Request<CopyObjectInput>) -> Result<S3Response<CopyObjectOutput>> {
    let caller = Caller::of(&request);
    let S3Request { input, headers, .. } = request;
    let bucket = s3.bucket(&input.bucket)?;
    let condition = condition::of_write(etags(&headers, "if-match")?.as_ref(), etags(&headers, "if-none-match")?.as_ref());
    let replace_metadata = replaces(&headers, "x-amz-metadata-directive", "Unknown metadata directive.")?;
    let replace_tags = replaces(&headers, "x-amz-tagging-directive", "Unknown tagging directive.")?;
    let reading = Reading {
        if_match: input.copy_source_if_match.as_ref(),
        if_none_match: input.copy_source_if_none_match.as_ref(),
        if_modified_since: input.copy_source_if_modified_since.as_ref(),
        if_unmodified_since: input.copy_source_if_unmodified_since.as_ref(),
    };
    let source = Source::find(s3, &input.copy_source, &headers, reading).await?;
    let to_itself = source.bucket.name == bucket.name && source.version.key == input.key && !source.named;
    if to_itself && !replace_metadata && !changes(&bucket, &headers) {
        let text = "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.";
        return Err(s3_error!(InvalidRequest, "{text}"));
    }
    if source.version.size > BODY_BYTES_MAX {
        let text = "The specified copy source is larger than the maximum allowable size for a copy source:";
        return Err(s3_error!(InvalidRequest, "{text} {BODY_BYTES_MAX}"));
    }
    let from = &source.version.record;
    let described = described(&headers, input.metadata, from, replace_metadata)?;
    let mut record = record::of_request(s3, &bucket, &caller, &headers, described, s3.now())?;
    record.tags = if replace_tags { tags::of_header(&headers)? } else { from.tags.clone() };
    let sealing = sse::of_write(&bucket, &headers)?;
    record.encryption = sealing.encryption;
    let expected = Expected::nothing(algorithm(&headers, from)?);
    let size = source.version.size;
    let body = Outgoing::new(s3.objects.read(&source.version, 0..size, source.key));
    let incoming = Incoming { body: Some(StreamingBlob::new(body)), length: Some(size), seal: sealing.seal, expected };
    let (version, _) = write(s3, &bucket, input.key, record, condition, incoming).await?;
    let mut shown = HeaderMap::new();
    source.show(&mut shown);
    record::written_version_id(&version, &mut shown);
    sse::show(version.record.encryption.as_ref(), &mut shown);
    record::expiration(&bucket, &version, &mut shown)?;
    let output = CopyObjectOutput { copy_object_result: Some(result(&version)), ..CopyObjectOutput::default() };
    let mut response = S3Response::with_headers(output, shown);
    response.extensions.insert(Added::checksums("</CopyObjectResult>", [&version.record.checksums.values]));
    Ok(response)
}

/// Whether a copy to itself changes anything that S3 lets it.
fn changes(bucket: &Bucket, headers: &HeaderMap) -> bool {
    let named = |name: &str| headers.contains_key(name);
    named("x-amz-storage-class")
        || named("x-amz-website-redirect-location")
        || headers.keys().any(|name| name.as_str().starts_with("x-amz-server-side-encryption"))
        || bucket.documents.contains_key("encryption")
}

/// What the copy keeps of its source, or has new.
fn described(headers: &HeaderMap, metadata: Option<Metadata>, from: &Record, replace: bool) -> Result<Described> {
    if replace {
        return record::described(headers, metadata);
    }
    Ok(Described { headers: from.headers.clone(), metadata: from.metadata.clone() })
}

/// Whether a directive says `REPLACE`.
fn replaces(headers: &HeaderMap, name: &str, refusal: &'static str) -> Result<bool> {
    match headers.get(name).map(HeaderValue::as_bytes) {
        None | Some(b"COPY") => Ok(false),
        Some(b"REPLACE") => Ok(true),
        Some(value) => Err(error::argument(name, String::from_utf8_lossy(value), refusal)),
    }
}

fn etags(headers: &HeaderMap, name: &str) -> Result<Option<ETagCondition>> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let read = condition::read(value).ok_or_else(|| s3_error!(InvalidArgument, "The value of {name} is no entity tag"));
    read.map(Some)
}

/// The algorithm of the copy's checksum: what is asked for, else the source's.
fn algorithm(headers: &HeaderMap, from: &Record) -> Result<Algorithm> {
    if let Some(name) = headers.get("x-amz-checksum-algorithm") {
        return name.to_str().ok().and_then(Algorithm::parse).ok_or_else(checksum::unsupported);
    }
    Ok(from.checksums.values.keys().find_map(|name| Algorithm::parse(name)).unwrap_or(checksum::DEFAULT))
}

/// The document of the reply, without the checksums that s3s doesn't know.
fn result(version: &Version) -> CopyObjectResult {
    let checksums = &version.record.checksums;
    let value = |algorithm: Algorithm| checksums.values.get(algorithm.name()).cloned();
    CopyObjectResult {
        e_tag: Some(ETag::Strong(version.etag.clone())),
        last_modified: Some(time::show(version.last_modified)),
        checksum_crc32: value(Algorithm::Crc32),
        checksum_crc32c: value(Algorithm::Crc32c),
        checksum_crc64nvme: value(Algorithm::Crc64Nvme),
        checksum_sha1: value(Algorithm::Sha1),
        checksum_sha256: value(Algorithm::Sha256),
        checksum_type: Some(ChecksumType::from_static(checksum::kind_name(checksums.kind))),
    }
}
