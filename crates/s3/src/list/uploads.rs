//! ListMultipartUploads: unfinished uploads by key, oldest first.

use super::{Encoding, Owners, checksum_type, entries, given, initiator};
use crate::error::{self, Result};
use crate::service::S3;
use crate::time;
use ::objects::{ListUploads, Upload, UploadId};
use s3s::dto::{self, ListMultipartUploadsInput, ListMultipartUploadsOutput};
use s3s::{S3Request, S3Response};

/// ListMultipartUploads.
pub(crate) async fn list_uploads(s3: &S3, request: S3Request<ListMultipartUploadsInput>) -> Result<S3Response<ListMultipartUploadsOutput>> {
    let input = request.input;
    let encoding = Encoding::new(input.encoding_type)?;
    let (max_uploads, max) = entries(input.max_uploads, "max-uploads")?;
    // Without a key marker, an upload's marker is ignored ("ListMultipartUploads", upload-id-marker).
    let upload = given(input.upload_id_marker.as_deref()).map(UploadId::from);
    let q = ListUploads {
        bucket: input.bucket.clone(),
        prefix: input.prefix.clone().unwrap_or_default(),
        delimiter: input.delimiter.clone(),
        after: given(input.key_marker.as_deref()).map(|key| (key.to_owned(), upload)),
        max,
    };
    let listing = s3.objects.uploads(q).await.map_err(error::engine)?;
    let mut owners = Owners::new(s3, &input.bucket);
    let uploads = listing.uploads.iter().map(|upload| show(s3, &encoding, upload, owners.show(&upload.record.owner))).collect();
    let is_truncated = listing.next.is_some();
    let (next_key, next_upload) = listing.next.unzip();
    Ok(S3Response::new(ListMultipartUploadsOutput {
        bucket: Some(input.bucket),
        common_prefixes: encoding.prefixes(&listing.prefixes),
        delimiter: encoding.given(input.delimiter.as_deref()),
        is_truncated: Some(is_truncated),
        key_marker: encoding.shown(input.key_marker.as_deref()),
        max_uploads: Some(max_uploads),
        next_key_marker: next_key.map(|key| encoding.text(&key)),
        next_upload_id_marker: next_upload.flatten().map(|id| id.as_str().to_owned()),
        prefix: encoding.shown(input.prefix.as_deref()),
        upload_id_marker: Some(input.upload_id_marker.unwrap_or_default()),
        uploads: Some(uploads),
        encoding_type: encoding.0,
        request_charged: None,
    }))
}

fn show(s3: &S3, encoding: &Encoding, upload: &Upload, owner: dto::Owner) -> dto::MultipartUpload {
    let (algorithm, kind) = upload.checksum.clone().unzip();
    let class = upload.record.storage_class.clone().unwrap_or_else(|| dto::StorageClass::STANDARD.into());
    dto::MultipartUpload {
        checksum_algorithm: algorithm.map(dto::ChecksumAlgorithm::from),
        checksum_type: kind.map(checksum_type),
        initiated: Some(time::show(upload.initiated)),
        initiator: Some(initiator(s3, &upload.initiator)),
        key: Some(encoding.text(&upload.key)),
        owner: Some(owner),
        storage_class: Some(dto::StorageClass::from(class)),
        upload_id: Some(upload.id.as_str().to_owned()),
    }
}
