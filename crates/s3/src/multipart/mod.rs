//! Uploads in parts: begun, filled, completed, aborted ("Uploading and copying objects using multipart upload").

mod checksums;
mod complete;
mod copy;
mod create;
mod part;
mod request;

pub(crate) use complete::complete;
#[cfg(feature = "fuzz")]
pub(crate) use copy::parse as copy_range;
pub(crate) use copy::upload_part_copy;
pub(crate) use create::{abort_rule, create};
pub(crate) use part::upload_part;
pub(crate) use request::{COMPLETE, complete_by_document, completes};

use crate::condition;
use crate::error::{self, Result};
use crate::service::S3;
use ::objects::UploadId;
use s3s::dto::{AbortMultipartUploadInput, AbortMultipartUploadOutput};
use s3s::{S3Request, S3Response};

/// Most parts of an upload, and the highest number ("Amazon S3 multipart upload limits").
const PARTS_MAX: u32 = 10_000;
/// Fewest bytes of a part that isn't the last.
pub(crate) const PART_BYTES_MIN: u64 = 5 << 20;

/// AbortMultipartUpload.
pub(crate) async fn abort(s3: &S3, request: S3Request<AbortMultipartUploadInput>) -> Result<S3Response<AbortMultipartUploadOutput>> {
    let input = request.input;
    if input.if_match_initiated_time.is_some() {
        // Directory buckets have it.
        return Err(condition::not_implemented());
    }
    let id = UploadId::from(input.upload_id);
    s3.objects.upload_abort(&input.bucket, &input.key, &id).await.map_err(error::engine)?;
    Ok(S3Response::with_status(AbortMultipartUploadOutput::default(), http::StatusCode::NO_CONTENT))
}

/// A part's number as the engine has it.
fn number(asked: i32) -> Result<u32> {
    let number = u32::try_from(asked).ok().filter(|number| (1..=PARTS_MAX).contains(number));
    number.ok_or_else(|| error::argument("partNumber", asked, "Part number must be an integer between 1 and 10000, inclusive"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_numbers() {
        for (asked, read) in [(0, None), (1, Some(1)), (10_000, Some(10_000)), (10_001, None), (-1, None)] {
            assert_eq!(number(asked).ok(), read);
        }
    }
}
