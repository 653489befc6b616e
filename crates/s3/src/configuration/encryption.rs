//! What new objects are encrypted with by default ("Setting default server-side encryption behavior for Amazon S3 buckets").

use super::{document, document_delete, document_put};
use crate::error::{Result, custom, malformed_xml};
use crate::service::S3;
use s3s::dto::*;
use s3s::{S3Request, S3Response, s3_error};

const NAME: &str = "encryption";

/// GetBucketEncryption. A bucket whose owner asked for nothing encrypts nothing, and says so as Amazon's did before 2023.
pub(crate) async fn encryption_get(s3: &S3, request: S3Request<GetBucketEncryptionInput>) -> Result<S3Response<GetBucketEncryptionOutput>> {
    let found: Option<ServerSideEncryptionConfiguration> = document(&*s3.bucket(&request.input.bucket)?, NAME)?;
    let text = "The server side encryption configuration was not found";
    let none = || custom("ServerSideEncryptionConfigurationNotFoundError", 404, text);
    let server_side_encryption_configuration = Some(found.ok_or_else(none)?);
    Ok(S3Response::new(GetBucketEncryptionOutput { server_side_encryption_configuration }))
}

/// PutBucketEncryption.
pub(crate) async fn encryption_put(s3: &S3, request: S3Request<PutBucketEncryptionInput>) -> Result<S3Response<PutBucketEncryptionOutput>> {
    let mut wanted = request.input.server_side_encryption_configuration;
    let [rule] = wanted.rules.as_mut_slice() else { return Err(malformed_xml()) };
    // GetBucketEncryption always says it.
    rule.bucket_key_enabled.get_or_insert(false);
    if let Some(default) = &rule.apply_server_side_encryption_by_default {
        let key = default.kms_master_key_id.as_deref();
        match (default.sse_algorithm.as_str(), key) {
            (ServerSideEncryption::AES256, None) | (ServerSideEncryption::AWS_KMS, _) => {}
            (ServerSideEncryption::AES256, Some(_)) => {
                let text = "a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms or aws:kms:dsse";
                return Err(s3_error!(InvalidArgument, "{text}"));
            }
            (ServerSideEncryption::AWS_KMS_DSSE, _) => {
                return Err(custom("NotImplemented", 501, "Two layers of encryption (aws:kms:dsse) are not implemented"));
            }
            _ => return Err(malformed_xml()),
        }
    }
    document_put(s3, &request.input.bucket, NAME, &wanted).await?;
    Ok(S3Response::new(PutBucketEncryptionOutput {}))
}

/// DeleteBucketEncryption.
pub(crate) async fn encryption_delete(
    s3: &S3,
    request: S3Request<DeleteBucketEncryptionInput>,
) -> Result<S3Response<DeleteBucketEncryptionOutput>> {
    document_delete(s3, &request.input.bucket, NAME).await?;
    Ok(S3Response::with_status(DeleteBucketEncryptionOutput {}, http::StatusCode::NO_CONTENT))
}
