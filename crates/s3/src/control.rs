//! S3 Control's operations on tags of buckets ("ListTagsForResource", "TagResource", "UntagResource" of AWS S3 Control). Terraform's provider
//! for AWS reads and writes buckets' tags by them, from version 6.23 on. Every other operation of S3 Control's answers `NotImplemented`.

use crate::caller::Caller;
use crate::configuration::{tags_limit, tags_read, update};
use crate::error::{self, Result, custom_text, malformed_xml};
use crate::precheck::XML_BYTES_MAX;
use crate::service::S3;
use crate::target::Target;
use crate::xml;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use model::scope::AccountId;
use s3s::dto::Tag;
use s3s::xml::{DeError, DeResult, Deserialize, Deserializer};
use s3s::{Body, S3Error, S3ErrorCode, S3Request, S3Response, s3_error};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What the paths of all of its operations begin with: the version of its API.
const PREFIX: &str = "/v20180820/";
/// The header that names the account.
const ACCOUNT: &str = "x-amz-account-id";
/// What the names of its documents belong to.
pub(crate) const NAMESPACE: &str = "http://awss3control.amazonaws.com/doc/2018-08-20/";

/// A request is S3 Control's; an extension of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Control;

/// Whether a request is S3 Control's. Its host doesn't say so: clients write the account before the endpoint's name, where S3 has a bucket.
/// The path alone could be an object's in a bucket of that name, but no request of S3's has the header.
pub(crate) fn is_control(head: &Parts) -> bool {
    head.headers.contains_key(ACCOUNT) && head.uri.path().starts_with(PREFIX)
}

/// The URI with the values of each parameter in order. A canonical request has them so, and s3s sorts by names only: it would refuse the
/// signature of an UntagResource with two keys.
pub(crate) fn sorted(uri: &Uri) -> Uri {
    let Some(query) = uri.query() else { return uri.clone() };
    let mut pairs: Vec<&str> = query.split('&').collect();
    pairs.sort_unstable();
    PathAndQuery::try_from(format!("{}?{}", uri.path(), pairs.join("&"))).map_or_else(|_| uri.clone(), Uri::from)
}

/// An operation, and the bucket that it is about.
struct Asked {
    operation: &'static str,
    bucket: String,
}

impl Asked {
    /// # Errors
    /// `NotImplemented`, `MethodNotAllowed`, `InvalidRequest` for what is no ARN of S3's.
    fn read(method: &Method, uri: &Uri) -> Result<Self> {
        let path = uri.path().strip_prefix(PREFIX).unwrap_or_default();
        let Some(arn) = path.strip_prefix("tags/") else {
            let operation = path.split('/').next().unwrap_or_default();
            return Err(custom_text("NotImplemented", 501, format!("S3 Control's operations on {operation} are not implemented")));
        };
        let operation = match *method {
            Method::GET => "ListTagsForResource",
            Method::POST => "TagResource",
            Method::DELETE => "UntagResource",
            _ => return Err(s3_error!(MethodNotAllowed)),
        };
        let arn = percent_encoding::percent_decode_str(arn).decode_utf8().map_err(|_| s3_error!(InvalidURI))?;
        Ok(Self { operation, bucket: bucket(&arn)? })
    }
}

/// The bucket that an ARN names: `arn:aws:s3:::bucket`.
fn bucket(arn: &str) -> Result<String> {
    match arn.splitn(6, ':').collect::<Vec<_>>()[..] {
        ["arn", _, "s3", "", "", bucket] if model::bucket::name_check(bucket).is_ok() => Ok(bucket.to_owned()),
        ["arn", _, "s3" | "s3express", _, account, resource] if !account.is_empty() && !resource.is_empty() => Err(s3_error!(
            NotImplemented,
            "Only buckets have tags by S3 Control: access points and Storage Lens groups are not implemented"
        )),
        _ => Err(s3_error!(InvalidRequest, "The resource ARN is not valid")),
    }
}

/// Lets a request through, or doesn't, once its signature is checked.
///
/// # Errors
/// As [`Asked::read`]; S3's.
pub(crate) async fn admit(s3: &S3, request: &mut S3Request<Body>) -> Result<()> {
    let Asked { operation, bucket } = Asked::read(&request.method, &request.uri)?;
    s3.admit(request, operation, &Target { bucket, key: String::new() }).await?;
    let named = request.headers.get(ACCOUNT).and_then(|account| account.to_str().ok()?.parse::<AccountId>().ok());
    if named.is_some() && named.as_ref() == Caller::of(request).account() { Ok(()) } else { Err(error::denied()) }
}

/// Does what a request asks for.
///
/// # Errors
/// `MalformedXML`, `InvalidTag`, `BadRequest` for too many tags; S3's.
pub(crate) async fn call(s3: &S3, mut request: S3Request<Body>) -> Result<S3Response<Body>> {
    let Asked { operation, bucket } = Asked::read(&request.method, &request.uri)?;
    match operation {
        "TagResource" => {
            let text = request.input.store_all_limited(XML_BYTES_MAX).await;
            // What breaks off is judged where its cause is known, as it is with the documents that s3s reads.
            let text = text.map_err(|error| S3Error::with_source(S3ErrorCode::InternalError, error))?;
            let tags = tags_read(Document::read(&text)?)?;
            let add = move |bucket: &mut objects::Bucket| {
                bucket.tags.extend(tags);
                tags_limit(bucket.tags.len())
            };
            update(s3, &bucket, add).await?;
        }
        "UntagResource" => {
            let query = request.uri.query().unwrap_or_default();
            let keys = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "tagKeys").map(|(_, key)| key.into_owned());
            let keys: Vec<String> = keys.collect();
            let remove = move |bucket: &mut objects::Bucket| {
                bucket.tags.retain(|key, _| !keys.contains(key));
                Ok(())
            };
            update(s3, &bucket, remove).await?;
        }
        _ => {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"))]);
            return Ok(S3Response::with_headers(Body::from(list(&s3.bucket(&bucket)?.tags)), headers));
        }
    }
    Ok(S3Response::with_status(Body::empty(), StatusCode::NO_CONTENT))
}

/// The document of a bucket's tags.
fn list(tags: &BTreeMap<String, String>) -> String {
    let mut text = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListTagsForResourceResult xmlns=\"{NAMESPACE}\"><Tags>");
    for (key, value) in tags {
        // Writing into a string doesn't fail.
        _ = write!(text, "<Tag><Key>{}</Key><Value>{}</Value></Tag>", xml::escape(key), xml::escape(value));
    }
    text + "</Tags></ListTagsForResourceResult>"
}

/// The document of TagResource.
#[derive(Debug, Default)]
struct Document(Vec<Tag>);

impl<'xml> Deserialize<'xml> for Document {
    fn deserialize(d: &mut Deserializer<'xml>) -> DeResult<Self> {
        let mut tags = Vec::new();
        d.named_element("TagResourceRequest", |d| {
            d.for_each_element(|d, name| match name {
                b"Tags" => d.for_each_element(|d, name| match name {
                    b"Tag" => {
                        tags.push(d.content()?);
                        Ok(())
                    }
                    _ => Err(DeError::UnexpectedTagName),
                }),
                _ => Err(DeError::UnexpectedTagName),
            })
        })?;
        Ok(Self(tags))
    }
}

impl Document {
    fn read(text: &[u8]) -> Result<Vec<Tag>> {
        let mut d = Deserializer::new(text);
        let read = Self::deserialize(&mut d).and_then(|document| d.expect_eof().map(|()| document.0));
        read.map_err(|_| malformed_xml())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn arns_name_buckets() {
        assert_eq!(bucket("arn:aws:s3:::a.bucket").unwrap(), "a.bucket");
        let code = |arn: &str| bucket(arn).unwrap_err().code().as_str().to_owned();
        for arn in ["", "bucket", "arn:aws:s3:::", "arn:aws:s3:::bucket/key", "arn:aws:ec2:::bucket", "arn:aws:s3:us-east-1::bucket"] {
            assert_eq!(code(arn), "InvalidRequest", "{arn}");
        }
        assert_eq!(code("arn:aws:s3:us-east-1:111122223333:accesspoint/a"), "NotImplemented");
    }

    #[test]
    fn only_requests_with_an_account_are_s3_controls() {
        let control = |uri: &str, account: Option<&str>| {
            let request = account.into_iter().fold(http::Request::get(uri), |request, account| request.header(ACCOUNT, account));
            is_control(&request.body(()).unwrap().into_parts().0)
        };
        assert!(control("/v20180820/tags/arn%3Aaws%3As3%3A%3A%3Ab", Some("111122223333")));
        assert!(!control("/v20180820/key", None) && !control("/bucket/key", Some("111122223333")));
    }
}
