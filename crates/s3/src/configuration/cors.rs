//! Cross-origin rules ("Using cross-origin resource sharing (CORS)"): kept here, used by the front.

use super::{document, document_delete, document_put, reading};
use crate::error::{Result, custom, malformed_xml};
use crate::service::S3;
use model::cors::{Rule, check};
use objects::Bucket;
use s3s::dto::*;
use s3s::{S3Request, S3Response, s3_error};
use std::sync::Arc;

const NAME: &str = "cors";

/// A bucket's rules; `None` if it has none.
pub(crate) fn rules(bucket: &Bucket) -> Result<Option<Arc<Vec<Rule>>>> {
    reading(bucket, NAME, |found: CORSConfiguration| Ok(found.cors_rules.iter().map(rule).collect()))
}

fn rule(rule: &CORSRule) -> Rule {
    Rule {
        id: rule.id.clone(),
        origins: rule.allowed_origins.clone(),
        methods: rule.allowed_methods.clone(),
        headers: rule.allowed_headers.clone().unwrap_or_default(),
        expose: rule.expose_headers.clone().unwrap_or_default(),
        max_age: rule.max_age_seconds.and_then(|s| u32::try_from(s).ok()),
    }
}

/// GetBucketCors.
pub(crate) async fn cors_get(s3: &S3, request: S3Request<GetBucketCorsInput>) -> Result<S3Response<GetBucketCorsOutput>> {
    let found: Option<CORSConfiguration> = document(&*s3.bucket(&request.input.bucket)?, NAME)?;
    let none = || custom("NoSuchCORSConfiguration", 404, "The CORS configuration does not exist");
    Ok(S3Response::new(GetBucketCorsOutput { cors_rules: Some(found.ok_or_else(none)?.cors_rules) }))
}

/// PutBucketCors.
pub(crate) async fn cors_put(s3: &S3, request: S3Request<PutBucketCorsInput>) -> Result<S3Response<PutBucketCorsOutput>> {
    let wanted = request.input.cors_configuration;
    if wanted.cors_rules.is_empty() || wanted.cors_rules.iter().any(|r| r.allowed_methods.is_empty() || r.allowed_origins.is_empty()) {
        return Err(malformed_xml());
    }
    let rules: Vec<Rule> = wanted.cors_rules.iter().map(rule).collect();
    check(&rules).map_err(|text| s3_error!(InvalidRequest, "{text}"))?;
    document_put(s3, &request.input.bucket, NAME, &wanted).await?;
    Ok(S3Response::new(PutBucketCorsOutput {}))
}

/// DeleteBucketCors.
pub(crate) async fn cors_delete(s3: &S3, request: S3Request<DeleteBucketCorsInput>) -> Result<S3Response<DeleteBucketCorsOutput>> {
    document_delete(s3, &request.input.bucket, NAME).await?;
    Ok(S3Response::with_status(DeleteBucketCorsOutput {}, http::StatusCode::NO_CONTENT))
}
