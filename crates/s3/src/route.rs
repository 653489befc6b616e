//! Requests that s3s refuses by their form, and S3 takes: they come here once s3s has checked their signature.

use crate::control::{self, Control};
use crate::error;
use crate::multipart;
use crate::service::S3;
use crate::target::Target;
use crate::{condition, range};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use s3s::route::S3Route;
use s3s::service::S3Service;
use s3s::{Body, S3Request, S3Response, S3Result};

/// Parameters that make a GET of an object another operation than GetObject.
const PARTS: [&str; 7] = ["acl", "attributes", "legal-hold", "retention", "tagging", "torrent", "uploadId"];

/// What s3s asks before it looks for an operation by itself.
pub(crate) struct Routes {
    pub(crate) s3: S3,
    /// Asks nobody who may do what: what is here was let through.
    pub(crate) open: S3Service,
}

/// Headers with the ETag of a condition.
const ETAGS: [HeaderName; 4] = [
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    HeaderName::from_static("x-amz-copy-source-if-match"),
    HeaderName::from_static("x-amz-copy-source-if-none-match"),
];

/// The operation of an object's request whose conditions s3s may refuse to read; `None` for any other, which has no conditions.
fn conditional(method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<&'static str> {
    let copies = headers.contains_key("x-amz-copy-source");
    let plain = !PARTS.into_iter().any(|name| has(uri, name));
    match *method {
        Method::GET if plain => Some("GetObject"),
        Method::HEAD => Some("HeadObject"),
        Method::PUT if plain && copies => Some("CopyObject"),
        Method::PUT if plain => Some("PutObject"),
        Method::PUT if copies && has(uri, "partNumber") && has(uri, "uploadId") => Some("UploadPartCopy"),
        Method::DELETE if plain => Some("DeleteObject"),
        _ => None,
    }
}

/// Whether a condition's ETag is written as S3 takes it and s3s doesn't: with one quotation mark.
fn is_odd_condition(method: &Method, uri: &Uri, headers: &HeaderMap) -> bool {
    let odd = |name: &HeaderName| headers.get(name).is_some_and(condition::is_odd);
    ETAGS.iter().any(odd) && conditional(method, uri, headers).is_some()
}

/// Whether a request reads an object by a range that s3s doesn't know.
fn is_odd_range(method: &Method, uri: &Uri, headers: &HeaderMap) -> bool {
    let reads = method == Method::HEAD || method == Method::GET && !PARTS.into_iter().any(|name| has(uri, name));
    reads && headers.get(header::RANGE).is_some_and(|value| !range::is_known(value))
}

/// Whether the query has a parameter.
pub(crate) fn has(uri: &Uri, name: &str) -> bool {
    uri.query().unwrap_or_default().split('&').any(|pair| pair.split('=').next() == Some(name))
}

#[async_trait::async_trait]
impl S3Route for Routes {
    fn is_match(&self, method: &Method, uri: &Uri, headers: &HeaderMap, extensions: &mut Extensions) -> bool {
        let of_object = extensions.get::<Target>().is_some_and(|target| !target.key.is_empty());
        let of_this = || multipart::completes(method, uri) || is_odd_range(method, uri, headers) || is_odd_condition(method, uri, headers);
        extensions.get::<Control>().is_some() || of_object && of_this()
    }

    async fn check_access(&self, request: &mut S3Request<Body>) -> S3Result<()> {
        if request.extensions.get::<Control>().is_some() {
            return control::admit(&self.s3, request).await;
        }
        let target = request.extensions.get::<Target>().cloned().ok_or_else(error::denied)?;
        let operation = match request.method {
            Method::POST => multipart::COMPLETE,
            _ => conditional(&request.method, &request.uri, &request.headers).ok_or_else(error::denied)?,
        };
        self.s3.admit(request, operation, &target).await
    }

    async fn call(&self, request: S3Request<Body>) -> S3Result<S3Response<Body>> {
        if request.extensions.get::<Control>().is_some() {
            return control::call(&self.s3, request).await;
        }
        if request.method == Method::POST {
            return multipart::complete_by_document(&self.s3, request).await;
        }
        let answer = self.open.call(reread(request)).await.map_err(|error| error::internal(&anyhow::anyhow!("{error:?}")))?;
        let (head, body) = answer.into_parts();
        let mut response = S3Response::with_headers(body, head.headers);
        (response.status, response.extensions) = (Some(head.status), head.extensions);
        Ok(response)
    }
}

/// The request with its range and conditions as s3s reads them, and without its signature, which isn't of that. Its body is decoded by now;
/// the checksums behind it stay with it.
fn reread(request: S3Request<Body>) -> http::Request<Body> {
    let S3Request { input, method, uri, mut headers, mut extensions, trailing_headers, .. } = request;
    headers.remove(header::AUTHORIZATION);
    if let Some(range) = headers.get(header::RANGE).filter(|range| !range::is_known(range)).cloned() {
        headers.remove(header::RANGE);
        let range = range.to_str().ok().and_then(range::readable);
        headers.extend(range.and_then(|range| HeaderValue::try_from(range).ok()).map(|range| (header::RANGE, range)));
    }
    for name in ETAGS {
        let condition = headers.get(&name).filter(|value| condition::is_odd(value)).and_then(condition::read);
        if let Some(value) = condition.and_then(|condition| condition.to_http_header().ok()) {
            headers.insert(name, value);
        }
    }
    if let Some(trailing) = trailing_headers {
        extensions.insert(trailing);
    }
    let mut head: Parts = http::Request::new(()).into_parts().0;
    (head.method, head.uri, head.headers, head.extensions) = (method, unsigned(&uri), headers, extensions);
    http::Request::from_parts(head, input)
}

/// A URI without the parameters that presign it.
fn unsigned(uri: &Uri) -> Uri {
    let kept = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.starts_with("X-Amz-")).collect::<Vec<_>>();
    let text = format!("{}?{}", uri.path(), kept.join("&"));
    PathAndQuery::try_from(text).map_or_else(|_| uri.clone(), Uri::from)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn odd_ranges_of_objects_are_read_here() {
        let odd = |method: Method, uri: &'static str, range: &'static str| {
            let headers = HeaderMap::from_iter([(header::RANGE, HeaderValue::from_static(range))]);
            is_odd_range(&method, &Uri::from_static(uri), &headers)
        };
        for range in ["bytes=0-1,3-4", "bytes=0-9223372036854775808", "lines=1-2"] {
            assert!(odd(Method::GET, "/b/k?versionId=x", range) && odd(Method::HEAD, "/b/k", range), "{range}");
            assert!(!odd(Method::GET, "/b/k?acl", range) && !odd(Method::PUT, "/b/k", range), "{range}");
        }
        assert!(!odd(Method::GET, "/b/k", "bytes=0-1"));
        assert!(!is_odd_range(&Method::GET, &Uri::from_static("/b/k"), &HeaderMap::new()));
    }

    #[test]
    fn conditions_with_one_quotation_mark_are_read_here() {
        let odd = |method: Method, uri: &'static str, pairs: &[(&'static str, &'static str)]| {
            let pairs = pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
            is_odd_condition(&method, &Uri::from_static(uri), &pairs.collect())
        };
        let half = ("if-match", "\"0a1b");
        for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE] {
            assert!(odd(method.clone(), "/b/k", &[half]), "{method}");
            assert!(!odd(method.clone(), "/b/k", &[("if-match", "\"0a1b\"")]), "{method}");
            assert!(method == Method::HEAD || !odd(method.clone(), "/b/k?tagging", &[half]), "{method}");
        }
        let source = [("x-amz-copy-source", "b/k"), ("x-amz-copy-source-if-none-match", "0a1b\"")];
        assert!(odd(Method::PUT, "/b/k", &source) && odd(Method::PUT, "/b/k?partNumber=1&uploadId=x", &source));
        assert!(!odd(Method::PUT, "/b/k?partNumber=1&uploadId=x", &[half]), "UploadPart has no conditions");
    }

    #[test]
    fn a_signature_is_not_handed_on() {
        let uri = |text| unsigned(&Uri::from_static(text)).to_string();
        assert_eq!(uri("/b/k%20?X-Amz-Signature=0&versionId=v&X-Amz-Date=d&response-expires=e"), "/b/k%20?versionId=v&response-expires=e");
        assert_eq!(uri("/b/k"), "/b/k?");
    }
}
