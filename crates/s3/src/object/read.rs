//! GetObject and HeadObject.

use crate::answer::Status;
use crate::caller::Caller;
use crate::condition::{Reading, Verdict};
use crate::error::{self, Result};
use crate::object::{archive, version_id};
use crate::outgoing::Outgoing;
use crate::service::S3;
use crate::{checksum, range, record, sse};
use http::{HeaderMap, StatusCode, header};
use objects::{Checksums, Version};
use s3s::dto::{self, GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput, StreamingBlob};
use s3s::{S3Request, S3Response, s3_error};
use std::ops::Range;
use std::sync::Arc;

/// What both ask.
struct Asked<'a> {
    bucket: &'a str,
    key: &'a str,
    version: Option<&'a str>,
    reading: Reading<'a>,
    range: Option<dto::Range>,
    part: Option<i32>,
    checksums: bool,
    headers: &'a HeaderMap,
}

/// What both find.
struct Found {
    version: Arc<Version>,
    /// The customer's key, if the body is sealed with one.
    key: Option<[u8; 32]>,
    range: Range<u64>,
    status: StatusCode,
    headers: HeaderMap,
}

/// GetObject.
pub(crate) async fn get(s3: &S3, request: S3Request<GetObjectInput>) -> Result<S3Response<GetObjectOutput>> {
    let overrides = overrides(&request)?;
    let input = &request.input;
    let asked = Asked {
        bucket: &input.bucket,
        key: &input.key,
        version: input.version_id.as_deref(),
        reading: Reading {
            if_match: input.if_match.as_ref(),
            if_none_match: input.if_none_match.as_ref(),
            if_modified_since: input.if_modified_since.as_ref(),
            if_unmodified_since: input.if_unmodified_since.as_ref(),
        },
        range: input.range,
        part: input.part_number,
        checksums: input.checksum_mode.is_some(),
        headers: &request.headers,
    };
    let Found { version, key, range, status, mut headers } = find(s3, asked).await?;
    let mut output = GetObjectOutput { metadata: metadata(&version), ..GetObjectOutput::default() };
    if status == StatusCode::NOT_MODIFIED {
        output.metadata = None;
    } else {
        archive::readable(&version.record, s3.now())?;
        headers.extend(overrides);
        output.content_length = i64::try_from(range.end - range.start).ok();
        let mut body = Outgoing::new(s3.objects.send(&version, range, key));
        body.begin().await.map_err(error::engine)?;
        output.body = Some(StreamingBlob::new(body));
    }
    let mut response = S3Response::with_headers(output, headers);
    response.extensions.insert(Status(status));
    Ok(response)
}

/// HeadObject.
pub(crate) async fn head(s3: &S3, request: S3Request<HeadObjectInput>) -> Result<S3Response<HeadObjectOutput>> {
    let input = &request.input;
    let asked = Asked {
        bucket: &input.bucket,
        key: &input.key,
        version: input.version_id.as_deref(),
        reading: Reading {
            if_match: input.if_match.as_ref(),
            if_none_match: input.if_none_match.as_ref(),
            if_modified_since: input.if_modified_since.as_ref(),
            if_unmodified_since: input.if_unmodified_since.as_ref(),
        },
        range: input.range,
        part: input.part_number,
        checksums: input.checksum_mode.is_some(),
        headers: &request.headers,
    };
    let Found { version, range, status, headers, .. } = find(s3, asked).await?;
    let mut output = HeadObjectOutput { metadata: metadata(&version), ..HeadObjectOutput::default() };
    if status == StatusCode::NOT_MODIFIED {
        output.metadata = None;
    } else {
        output.content_length = i64::try_from(range.end - range.start).ok();
    }
    let mut response = S3Response::with_headers(output, headers);
    response.extensions.insert(Status(status));
    Ok(response)
}

async fn find(s3: &S3, asked: Asked<'_>) -> Result<Found> {
    let bucket = s3.bucket(asked.bucket)?;
    if asked.range.is_some() && asked.part.is_some() {
        return Err(s3_error!(InvalidRequest, "Cannot specify both Range header and partNumber query parameter"));
    }
    if asked.headers.contains_key("x-amz-server-side-encryption") {
        let text = "x-amz-server-side-encryption header is not supported for this operation.";
        return Err(s3_error!(InvalidArgument, "{text}"));
    }
    let id = version_id(asked.version)?;
    let version = s3.objects.get(asked.bucket, asked.key, id.as_ref()).await.map_err(error::engine)?;
    let key = sse::of_read(version.record.encryption.as_ref(), sse::customer_key(asked.headers)?)?;
    let verdict = asked.reading.judge(&version)?;
    let mut headers = record::show(&bucket, &version)?;
    archive::show(&version.record, s3.now(), &mut headers);
    if verdict == Verdict::NotModified {
        headers.remove(header::CONTENT_TYPE);
        return Ok(Found { version, key, range: 0..0, status: StatusCode::NOT_MODIFIED, headers });
    }
    let (range, status) = part_of(&version, &asked, &mut headers)?;
    Ok(Found { version, key, range, status, headers })
}

/// Which bytes are asked for, and what is said of them.
fn part_of(version: &Version, asked: &Asked<'_>, headers: &mut HeaderMap) -> Result<(Range<u64>, StatusCode)> {
    let size = version.size;
    let whole = 0..size;
    let (range, checksums) = match (asked.range, asked.part) {
        (Some(asked), _) => {
            let range = range::resolve(asked, size)?;
            let checksums = (range == whole).then(|| version.record.checksums.clone());
            (Some(range), checksums)
        }
        (None, Some(number)) => {
            let range = range::part(version, number)?;
            let parts = &version.record.parts;
            if !parts.is_empty() {
                record::put(headers, "x-amz-mp-parts-count", &parts.len().to_string());
            }
            let part = usize::try_from(number - 1).ok().and_then(|at| parts.get(at));
            // The part's value, and the kind of the object's.
            let kind = version.record.checksums.kind;
            let of_part = |part: &objects::PartInfo| Checksums { kind, values: part.checksums.clone() };
            let checksums = part.map_or_else(|| version.record.checksums.clone(), of_part);
            (Some(range).filter(|range| !range.is_empty()), Some(checksums))
        }
        (None, None) => (None, Some(version.record.checksums.clone())),
    };
    if asked.checksums
        && let Some(checksums) = checksums
    {
        checksum::show(&checksums, headers);
    }
    let Some(range) = range else { return Ok((whole, StatusCode::OK)) };
    record::put(headers, "content-range", &range::show(&range, size));
    Ok((range, StatusCode::PARTIAL_CONTENT))
}

fn metadata(version: &Version) -> Option<dto::Metadata> {
    let metadata = &version.record.metadata;
    (!metadata.is_empty()).then(|| metadata.iter().map(|(name, value)| (name.clone(), value.clone())).collect())
}

/// The headers that a reader wants instead of the object's.
fn overrides(request: &S3Request<GetObjectInput>) -> Result<HeaderMap> {
    let input = &request.input;
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("content-type", &input.response_content_type),
        ("content-language", &input.response_content_language),
        ("cache-control", &input.response_cache_control),
        ("content-disposition", &input.response_content_disposition),
        ("content-encoding", &input.response_content_encoding),
    ] {
        if let Some(value) = value {
            record::put(&mut headers, name, value);
        }
    }
    if let Some(expires) = &input.response_expires {
        record::put(&mut headers, "expires", &crate::time::http_date(crate::time::read(expires)));
    }
    if !headers.is_empty() && Caller::of(request) == Caller::Anonymous {
        return Err(s3_error!(InvalidRequest, "Request specific response headers cannot be used for anonymous GET requests."));
    }
    Ok(headers)
}
