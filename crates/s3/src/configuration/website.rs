//! A bucket as a website ("Hosting a static website using Amazon S3"): kept here, served by the front.

use super::{document, document_delete, document_put, reading};
use crate::error::{Result, custom, custom_text, malformed_xml};
use crate::service::S3;
use model::website::{self, Config, RedirectAll, RuleRedirect, check};
use objects::Bucket;
use s3s::dto::*;
use s3s::{S3Request, S3Response};
use std::sync::Arc;

const NAME: &str = "website";

/// How a bucket is a website; `None` if it isn't.
pub(crate) fn config(bucket: &Bucket) -> Result<Option<Arc<Config>>> {
    reading(bucket, NAME, |found| read(&found))
}

/// GetBucketWebsite.
pub(crate) async fn website_get(s3: &S3, request: S3Request<GetBucketWebsiteInput>) -> Result<S3Response<GetBucketWebsiteOutput>> {
    let found: Option<WebsiteConfiguration> = document(&*s3.bucket(&request.input.bucket)?, NAME)?;
    let none = || custom("NoSuchWebsiteConfiguration", 404, "The specified bucket does not have a website configuration");
    let WebsiteConfiguration { error_document, index_document, redirect_all_requests_to, routing_rules } = found.ok_or_else(none)?;
    Ok(S3Response::new(GetBucketWebsiteOutput { error_document, index_document, redirect_all_requests_to, routing_rules }))
}

/// PutBucketWebsite.
pub(crate) async fn website_put(s3: &S3, request: S3Request<PutBucketWebsiteInput>) -> Result<S3Response<PutBucketWebsiteOutput>> {
    let wanted = request.input.website_configuration;
    check(&read(&wanted)?).map_err(|bad| custom_text(bad.code, 400, bad.message))?;
    document_put(s3, &request.input.bucket, NAME, &wanted).await?;
    Ok(S3Response::new(PutBucketWebsiteOutput {}))
}

/// DeleteBucketWebsite.
pub(crate) async fn website_delete(s3: &S3, request: S3Request<DeleteBucketWebsiteInput>) -> Result<S3Response<DeleteBucketWebsiteOutput>> {
    document_delete(s3, &request.input.bucket, NAME).await?;
    Ok(S3Response::with_status(DeleteBucketWebsiteOutput {}, http::StatusCode::NO_CONTENT))
}

fn read(wanted: &WebsiteConfiguration) -> Result<Config> {
    let all = wanted.redirect_all_requests_to.as_ref();
    let redirect_all = all
        .map(|to| -> Result<_> { Ok(RedirectAll { host: to.host_name.clone(), protocol: protocol(to.protocol.as_ref())? }) })
        .transpose()?;
    Ok(Config {
        index: wanted.index_document.as_ref().map(|d| d.suffix.clone()),
        error: wanted.error_document.as_ref().map(|d| d.key.clone()),
        redirect_all,
        rules: wanted.routing_rules.iter().flatten().map(rule).collect::<Result<_>>()?,
    })
}

fn rule(rule: &RoutingRule) -> Result<website::RoutingRule> {
    let code = |text: &String| text.parse::<u16>().map_err(|_| malformed_xml());
    let condition = rule.condition.as_ref();
    let condition = condition.map(|c| -> Result<_> {
        let error_code = c.http_error_code_returned_equals.as_ref().map(code).transpose()?;
        Ok(website::Condition { key_prefix: c.key_prefix_equals.clone(), error_code })
    });
    let to = &rule.redirect;
    Ok(website::RoutingRule {
        condition: condition.transpose()?,
        redirect: RuleRedirect {
            host: to.host_name.clone(),
            protocol: protocol(to.protocol.as_ref())?,
            code: to.http_redirect_code.as_ref().map(code).transpose()?,
            replace_prefix: to.replace_key_prefix_with.clone(),
            replace_key: to.replace_key_with.clone(),
        },
    })
}

fn protocol(asked: Option<&Protocol>) -> Result<Option<website::Protocol>> {
    match asked.map(Protocol::as_str) {
        None => Ok(None),
        Some(Protocol::HTTP) => Ok(Some(website::Protocol::Http)),
        Some(Protocol::HTTPS) => Ok(Some(website::Protocol::Https)),
        Some(_) => {
            let text = "Invalid protocol, protocol can be http or https. If not defined the protocol will be selected automatically.";
            Err(custom("InvalidRequest", 400, text))
        }
    }
}
