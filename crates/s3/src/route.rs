//! Requests that s3s refuses by their form, and S3 takes: they come here once s3s has checked their signature.

use crate::error;
use crate::multipart;
use crate::range;
use crate::service::S3;
use crate::target::Target;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Extensions, HeaderMap, HeaderValue, Method, Uri, header};
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
        of_object && (multipart::completes(method, uri) || is_odd_range(method, uri, headers))
    }

    async fn check_access(&self, request: &mut S3Request<Body>) -> S3Result<()> {
        let target = request.extensions.get::<Target>().cloned().ok_or_else(error::denied)?;
        let operation = match request.method {
            Method::POST => multipart::COMPLETE,
            Method::HEAD => "HeadObject",
            _ => "GetObject",
        };
        self.s3.admit(request, operation, &target).await
    }

    async fn call(&self, request: S3Request<Body>) -> S3Result<S3Response<Body>> {
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

/// The request with its range as s3s reads it, and without its signature, which isn't of that.
fn reread(request: S3Request<Body>) -> http::Request<Body> {
    let S3Request { input, method, uri, mut headers, extensions, .. } = request;
    headers.remove(header::AUTHORIZATION);
    let range = headers.remove(header::RANGE).and_then(|range| range::readable(range.to_str().ok()?));
    headers.extend(range.and_then(|range| HeaderValue::try_from(range).ok()).map(|range| (header::RANGE, range)));
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
    fn a_signature_is_not_handed_on() {
        let uri = |text| unsigned(&Uri::from_static(text)).to_string();
        assert_eq!(uri("/b/k%20?X-Amz-Signature=0&versionId=v&X-Amz-Date=d&response-expires=e"), "/b/k%20?versionId=v&response-expires=e");
        assert_eq!(uri("/b/k"), "/b/k?");
    }
}
