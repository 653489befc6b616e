//! ListParts: the parts of an unfinished upload by number.

use super::{checksum_type, entries, etag, initiator, size};
use crate::error::{self, Result};
use crate::multipart::abort_rule;
use crate::service::S3;
use crate::time;
use crate::xml::Added;
use ::objects::{Part, UploadId};
use s3s::dto::{self, ListPartsInput, ListPartsOutput};
use s3s::{S3Request, S3Response, s3_error};

/// ListParts.
pub(crate) async fn list_parts(s3: &S3, request: S3Request<ListPartsInput>) -> Result<S3Response<ListPartsOutput>> {
    let input = request.input;
    let bucket = s3.bucket(&input.bucket)?;
    let (max_parts, max) = entries(input.max_parts, "max-parts")?;
    let marker = input.part_number_marker.unwrap_or_default();
    let after = u32::try_from(marker)
        .map_err(|_| s3_error!(InvalidArgument, "Argument part-number-marker must be an integer between 0 and 2147483647"))?;
    let id = UploadId::from(input.upload_id.as_str());
    let upload = s3.objects.upload(&input.bucket, &input.key, &id).await.map_err(error::engine)?;
    let (parts, more) = s3.objects.parts(&input.bucket, &input.key, &id, after, max).await.map_err(error::engine)?;
    let more = more && max > 0;
    let (algorithm, kind) = upload.checksum.clone().unzip();
    // An upload that was begun without an algorithm shows none.
    let with_checksums = algorithm.is_some();
    let class = upload.record.storage_class.clone().unwrap_or_else(|| dto::StorageClass::STANDARD.into());
    let (abort_date, abort_rule_id) = abort_rule(&bucket, &upload)?.unzip();
    let last = parts.last().and_then(|part| i32::try_from(part.number).ok());
    let added = Added::checksums("</Part>", parts.iter().map(|part| &part.checksums));
    let mut response = S3Response::new(ListPartsOutput {
        abort_date,
        abort_rule_id,
        bucket: Some(input.bucket),
        checksum_algorithm: algorithm.map(dto::ChecksumAlgorithm::from),
        checksum_type: kind.map(checksum_type),
        initiator: Some(initiator(s3, &upload.initiator)),
        is_truncated: Some(more),
        key: Some(input.key),
        max_parts: Some(max_parts),
        next_part_number_marker: Some(last.unwrap_or_default()),
        owner: Some(s3.owner(&upload.record.owner)),
        part_number_marker: Some(marker),
        parts: Some(parts.iter().map(|part| show(part, with_checksums)).collect()),
        storage_class: Some(dto::StorageClass::from(class)),
        upload_id: Some(input.upload_id),
        request_charged: None,
    });
    // None of them is kept of an upload that was begun without an algorithm.
    response.extensions.insert(added);
    Ok(response)
}

fn show(part: &Part, with_checksums: bool) -> dto::Part {
    let checksum = |algorithm: &str| part.checksums.get(algorithm).filter(|_| with_checksums).cloned();
    dto::Part {
        checksum_crc32: checksum("CRC32"),
        checksum_crc32c: checksum("CRC32C"),
        checksum_crc64nvme: checksum("CRC64NVME"),
        checksum_sha1: checksum("SHA1"),
        checksum_sha256: checksum("SHA256"),
        e_tag: etag(&part.etag),
        last_modified: Some(time::show(part.last_modified)),
        part_number: i32::try_from(part.number).ok(),
        size: size(part.size),
    }
}
