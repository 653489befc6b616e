//! UploadPartCopy: a part is made of an object, or of a range of it.

use super::{number, part};
use crate::checksum::{Algorithm, Computed, Expected};
use crate::condition::Reading;
use crate::error::{self, Result};
use crate::intake::{self, BODY_BYTES_MAX, Incoming};
use crate::object::copy::Source;
use crate::outgoing::Outgoing;
use crate::service::S3;
use crate::xml::Added;
use crate::{sse, time};
use ::objects::{Part, UploadId};
use http::HeaderMap;
use s3s::dto::{CopyPartResult, ETag, StreamingBlob, UploadPartCopyInput, UploadPartCopyOutput};
use s3s::{S3Request, S3Response, s3_error};
use std::ops::Range;

/// UploadPartCopy.
pub(crate) async fn upload_part_copy(s3: &S3, request: S3Request<UploadPartCopyInput>) -> Result<S3Response<UploadPartCopyOutput>> {
    let S3Request { input, headers, .. } = request;
    let number = number(input.part_number)?;
    let upload = s3.objects.upload(&input.bucket, &input.key, &UploadId::from(input.upload_id)).await.map_err(error::engine)?;
    let seal = sse::of_part(upload.record.encryption.as_ref(), sse::customer_key(&headers)?)?;
    let asked = input.copy_source_range.as_deref().map(parse).transpose()?;
    let reading = Reading {
        if_match: input.copy_source_if_match.as_ref(),
        if_none_match: input.copy_source_if_none_match.as_ref(),
        if_modified_since: input.copy_source_if_modified_since.as_ref(),
        if_unmodified_since: input.copy_source_if_unmodified_since.as_ref(),
    };
    let source = Source::find(s3, &input.copy_source, &headers, reading).await?;
    let range = within(asked, source.version.size)?;
    let length = range.end - range.start;
    let body = Outgoing::new(s3.objects.read(&source.version, range, source.key));
    let expected = Expected::nothing(part::kept(&upload));
    let (staged, computed) =
        intake::take(s3, Incoming { body: Some(StreamingBlob::new(body)), length: Some(length), seal, expected }).await?;
    let made = part::put(s3, &upload, number, staged, &computed).await?;
    let mut reply = HeaderMap::with_capacity(8);
    source.show(&mut reply);
    sse::show(upload.record.encryption.as_ref(), &mut reply);
    let output = UploadPartCopyOutput { copy_part_result: Some(result(&made, &computed)), ..UploadPartCopyOutput::default() };
    let mut response = S3Response::with_headers(output, reply);
    response.extensions.insert(Added::checksums("</CopyPartResult>", [&computed.values()]));
    Ok(response)
}

/// First and last byte of `bytes=first-last`: S3 takes no other form here.
pub(crate) fn parse(text: &str) -> Result<(u64, u64)> {
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten();
    let read = || {
        let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
        let (first, last) = (digits(first)?, digits(last)?);
        (first <= last).then_some((first, last))
    };
    let form = "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy";
    read().ok_or_else(|| error::argument("x-amz-copy-source-range", text, form))
}

/// The bytes to copy: all of an object of this size, unless a range is asked for, which must lie in it.
fn within(asked: Option<(u64, u64)>, size: u64) -> Result<Range<u64>> {
    let range = match asked {
        None => 0..size,
        Some((first, last)) if last < size => first..last + 1,
        Some(_) => return Err(s3_error!(InvalidRange, "Range specified is not valid for source object of size: {size}")),
    };
    if range.end - range.start > BODY_BYTES_MAX {
        let text = "The specified copy source is larger than the maximum allowable size for a copy source:";
        return Err(s3_error!(InvalidRequest, "{text} {BODY_BYTES_MAX}"));
    }
    Ok(range)
}

/// The document of the reply, without the checksums that s3s doesn't know.
fn result(part: &Part, computed: &Computed) -> CopyPartResult {
    let value = |algorithm: Algorithm| (computed.algorithm == algorithm).then(|| computed.value.clone());
    CopyPartResult {
        checksum_crc32: value(Algorithm::Crc32),
        checksum_crc32c: value(Algorithm::Crc32c),
        checksum_crc64nvme: value(Algorithm::Crc64Nvme),
        checksum_sha1: value(Algorithm::Sha1),
        checksum_sha256: value(Algorithm::Sha256),
        e_tag: Some(ETag::Strong(part.etag.clone())),
        last_modified: Some(time::show(part.last_modified)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_have_one_form() {
        let code = |range: Result<_>| range.map_err(|error| error.code().as_str().to_owned());
        assert_eq!(code(parse("bytes=0-2")), Ok((0, 2)));
        for text in [
            "0-2",
            "bytes=0",
            "bytes=hello-world",
            "bytes=0-bar",
            "bytes=hello-",
            "bytes=0-2,3-5",
            "bytes=-5",
            "bytes=3-",
            "bytes=3-2",
            "bytes=+0-2",
            "",
        ] {
            assert_eq!(code(parse(text)), Err("InvalidArgument".to_owned()), "{text}");
        }
    }

    #[test]
    fn ranges_lie_in_the_source() {
        let code = |range: Result<_>| range.map_err(|error| error.code().as_str().to_owned());
        assert_eq!(code(within(None, 5)), Ok(0..5));
        assert_eq!(code(within(Some((1, 4)), 5)), Ok(1..5));
        assert_eq!(code(within(Some((1, 5)), 5)), Err("InvalidRange".to_owned()));
        assert_eq!(code(within(Some((0, 0)), 0)), Err("InvalidRange".to_owned()));
        assert_eq!(code(within(None, BODY_BYTES_MAX + 1)), Err("InvalidRequest".to_owned()));
        assert_eq!(code(within(Some((0, 9)), BODY_BYTES_MAX + 1)), Ok(0..10));
    }
}
