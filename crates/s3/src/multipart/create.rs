//! CreateMultipartUpload: what the object will be is said here.

use super::checksums;
use crate::caller::Caller;
use crate::configuration::lifecycle_rules;
use crate::error::{self, Result};
use crate::service::S3;
use crate::{record, sse, time};
use ::objects::{Bucket, Upload};
use http::HeaderMap;
use model::lifecycle::{self, Facts, State};
use model::tag::Tags;
use s3s::dto::{self, CreateMultipartUploadInput, CreateMultipartUploadOutput};
use s3s::{S3Request, S3Response};

/// CreateMultipartUpload.
pub(crate) async fn create(s3: &S3, request: S3Request<CreateMultipartUploadInput>) -> Result<S3Response<CreateMultipartUploadOutput>> {
    let caller = Caller::of(&request);
    let initiator = caller.account().cloned();
    let S3Request { input, headers, .. } = request;
    let bucket = s3.bucket(&input.bucket)?;
    let now = s3.now();
    let asked = checksums::asked(
        input.checksum_algorithm.as_ref().map(dto::ChecksumAlgorithm::as_str),
        input.checksum_type.as_ref().map(dto::ChecksumType::as_str),
    )?;
    let described = record::described(&headers, input.metadata)?;
    let mut record = record::of_request(s3, &bucket, &caller, &headers, described, now)?;
    record.encryption = sse::of_write(&bucket, &headers)?.encryption;
    let upload = Upload {
        id: s3.objects.upload_id(now),
        bucket: input.bucket.clone(),
        key: input.key.clone(),
        initiated: now,
        // What nobody signed is the bucket's owner's, as its parts are.
        initiator: initiator.unwrap_or_else(|| bucket.owner.clone()),
        record,
        checksum: asked.map(|(algorithm, kind)| (algorithm.name().to_owned(), kind)),
    };
    let mut reply = HeaderMap::new();
    sse::show(upload.record.encryption.as_ref(), &mut reply);
    let (abort_date, abort_rule_id) = abort_rule(&bucket, &upload)?.unzip();
    let output = CreateMultipartUploadOutput {
        abort_date,
        abort_rule_id,
        bucket: Some(input.bucket),
        checksum_algorithm: asked.map(|(algorithm, _)| dto::ChecksumAlgorithm::from_static(algorithm.name())),
        checksum_type: asked.map(|(_, kind)| checksums::kind(kind)),
        key: Some(input.key),
        upload_id: Some(upload.id.as_str().to_owned()),
        ..CreateMultipartUploadOutput::default()
    };
    s3.objects.upload_create(upload).await.map_err(error::engine)?;
    Ok(S3Response::with_headers(output, reply))
}

/// When a rule of the bucket will abort an upload, and which.
pub(crate) fn abort_rule(bucket: &Bucket, upload: &Upload) -> Result<Option<(dto::Timestamp, String)>> {
    let Some(rules) = lifecycle_rules(bucket)? else { return Ok(None) };
    let tags = Tags::default();
    let facts = Facts { key: &upload.key, size: 0, tags: &tags, made: upload.initiated, state: State::Upload };
    Ok(lifecycle::next(&rules, &facts).map(|due| (time::show(due.at), due.rule.to_owned())))
}
