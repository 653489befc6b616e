//! UploadPart.

use super::{checksums, number};
use crate::checksum::{self, Algorithm, Computed, DEFAULT, Expected};
use crate::error::{self, Result};
use crate::intake::{self, Incoming};
use crate::service::S3;
use crate::{record, sse};
use ::objects::{Lock, Part, PartPut, Staged, Upload, UploadId};
use http::HeaderMap;
use s3s::dto::{UploadPartInput, UploadPartOutput};
use s3s::{S3Request, S3Response, s3_error};

/// UploadPart.
pub(crate) async fn upload_part(s3: &S3, request: S3Request<UploadPartInput>) -> Result<S3Response<UploadPartOutput>> {
    let S3Request { input, headers, trailing_headers, .. } = request;
    let number = number(input.part_number)?;
    let length = intake::length(input.content_length, &headers)?;
    let expected = Expected::read(&headers, trailing_headers)?;
    let upload = s3.objects.upload(&input.bucket, &input.key, &UploadId::from(input.upload_id)).await.map_err(error::engine)?;
    let algorithm = algorithm(&upload);
    match (algorithm, expected.given()) {
        (Some(wanted), Some(given)) if wanted != given => return Err(checksums::mismatch(Some(wanted), given)),
        _ => {}
    }
    if upload.record.lock != Lock::default() && !expected.any() {
        let text = "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Part requests with Object Lock parameters";
        return Err(s3_error!(InvalidRequest, "{text}"));
    }
    let seal = sse::of_part(upload.record.encryption.as_ref(), sse::customer_key(&headers)?)?;
    let expected = expected.with(kept(&upload));
    let (staged, computed) = intake::take(s3, Incoming { body: input.body, length: Some(length), seal, expected }).await?;
    let part = put(s3, &upload, number, staged, &computed).await?;
    let mut reply = HeaderMap::with_capacity(8);
    record::put(&mut reply, "etag", &format!("\"{}\"", part.etag));
    sse::show(upload.record.encryption.as_ref(), &mut reply);
    // A part's checksum is always of all of the part, which is not said.
    checksum::show(&computed.checksums(), &mut reply);
    reply.remove("x-amz-checksum-type");
    Ok(S3Response::with_headers(UploadPartOutput::default(), reply))
}

/// The algorithm that an upload was begun with.
pub(super) fn algorithm(upload: &Upload) -> Option<Algorithm> {
    upload.checksum.as_ref().and_then(|(name, _)| Algorithm::parse(name))
}

/// The algorithm that the parts of an upload are kept with, whatever their own are.
pub(super) fn kept(upload: &Upload) -> Algorithm {
    algorithm(upload).unwrap_or(DEFAULT)
}

/// Makes a staged body a part.
pub(super) async fn put(s3: &S3, upload: &Upload, number: u32, staged: Staged, computed: &Computed) -> Result<Part> {
    let put = PartPut {
        bucket: upload.bucket.clone(),
        key: upload.key.clone(),
        upload: upload.id.clone(),
        number,
        staged,
        etag: sse::etag(s3, upload.record.encryption.as_ref(), computed),
        checksums: computed.values_of(kept(upload)),
        now: s3.now(),
    };
    s3.objects.part_put(put).await.map_err(error::engine)
}
