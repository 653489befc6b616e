//! Websites' endpoints ("Website endpoints"): reading only, without signatures, errors as pages. Each object is got as anybody would get
//! it, by the same operation.

use crate::answer::Status;
use crate::configuration::website_config;
use crate::front::Front;
use crate::target::{KEPT, Target};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use model::website::{Config, Redirect, Route, folder_index, route, route_error};
use percent_encoding::utf8_percent_encode;
use s3s::Body;

/// Headers of a request that count for an object; a signature doesn't.
const PASSED: [header::HeaderName; 5] =
    [header::RANGE, header::IF_MATCH, header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE, header::IF_UNMODIFIED_SINCE];

/// An error that is shown as a page.
struct Fault {
    status: StatusCode,
    code: String,
    message: String,
}

/// Answers a request of a website.
pub(crate) async fn answer(front: &Front, head: &Parts, bucket: &str) -> Response<Body> {
    if head.method != Method::GET && head.method != Method::HEAD {
        return page(&fault(405, "MethodNotAllowed", "The specified method is not allowed against this resource."));
    }
    let Some(found) = front.s3.objects.bucket(bucket) else {
        return page(&fault(404, "NoSuchBucket", "The specified bucket does not exist"));
    };
    let config = match website_config(&found) {
        Ok(Some(config)) => config,
        Ok(None) => {
            return page(&fault(404, "NoSuchWebsiteConfiguration", "The specified bucket does not have a website configuration"));
        }
        Err(_) => return page(&fault(500, "InternalError", "We encountered an internal error. Please try again.")),
    };
    let Ok(path) = percent_encoding::percent_decode_str(head.uri.path().trim_start_matches('/')).decode_utf8() else {
        return page(&fault(400, "InvalidURI", "Couldn't parse the specified URI."));
    };
    match route(&config, &path) {
        Route::Redirect(redirect) => redirected(head, &redirect),
        Route::Object { key } => match get(front, head, bucket, &key).await {
            Ok(answer) => redirected_by_object(answer),
            Err(fault) => failed(front, head, bucket, &config, &path, fault).await,
        },
        Route::ErrorObject { .. } | Route::Error => page(&fault(404, "NoSuchKey", "The specified key does not exist.")),
    }
}

/// What is shown instead of an object that could not be got.
async fn failed(front: &Front, head: &Parts, bucket: &str, config: &Config, path: &str, fault: Fault) -> Response<Body> {
    let is_folder = match folder_index(config, path) {
        Some(index) if fault.status == StatusCode::NOT_FOUND => get(front, head, bucket, &index).await.is_ok(),
        Some(_) | None => false,
    };
    match route_error(config, path, fault.status.as_u16(), is_folder) {
        Route::Redirect(redirect) => redirected(head, &redirect),
        Route::ErrorObject { key } => {
            let mut plain = head.clone();
            plain.headers.clear();
            match get(front, &plain, bucket, &key).await {
                Ok(mut answer) => {
                    // In place of the one that the object has.
                    answer.extensions_mut().insert(Status(fault.status));
                    answer
                }
                Err(_) => page(&fault),
            }
        }
        Route::Object { .. } | Route::Error => page(&fault),
    }
}

/// The object, as anybody would get it.
async fn get(front: &Front, head: &Parts, bucket: &str, key: &str) -> Result<Response<Body>, Fault> {
    let no_key = || fault(404, "NoSuchKey", "The specified key does not exist.");
    if key.is_empty() {
        return Err(no_key());
    }
    let uri: Uri = format!("/{bucket}/{}", utf8_percent_encode(key, KEPT)).parse().map_err(|_| no_key())?;
    let mut request = Request::new(Body::empty());
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = uri;
    *request.extensions_mut() = head.extensions.clone();
    request.extensions_mut().insert(Target { bucket: bucket.to_owned(), key: key.to_owned() });
    for name in PASSED {
        if let Some(value) = head.headers.get(&name) {
            request.headers_mut().insert(name, value.clone());
        }
    }
    let answer = front.run(request).await;
    let status = answer.status();
    if !status.is_client_error() && !status.is_server_error() {
        return Ok(answer);
    }
    let xml = answer.body().bytes().unwrap_or_default();
    let xml = String::from_utf8_lossy(&xml);
    let element = |name: &str| {
        let (_, rest) = xml.split_once(&format!("<{name}>"))?;
        rest.split_once("</").map(|(text, _)| text.to_owned())
    };
    let reason = status.canonical_reason().unwrap_or_default().replace(' ', "");
    Err(Fault { status, code: element("Code").unwrap_or(reason), message: element("Message").unwrap_or_default() })
}

/// An object may say that it is elsewhere (`x-amz-website-redirect-location`).
fn redirected_by_object(mut answer: Response<Body>) -> Response<Body> {
    if let Some(location) = answer.headers_mut().remove("x-amz-website-redirect-location") {
        let mut moved = Response::new(Body::empty());
        *moved.status_mut() = StatusCode::MOVED_PERMANENTLY;
        moved.headers_mut().insert(header::LOCATION, location);
        return moved;
    }
    answer
}

fn redirected(head: &Parts, to: &Redirect) -> Response<Body> {
    let own_host = head.headers.get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
    let protocol = to.protocol.map_or("http", model::website::Protocol::as_str);
    let host = to.host.as_deref().unwrap_or(own_host);
    let location = format!("{protocol}://{host}/{}", utf8_percent_encode(&to.key, KEPT));
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::from_u16(to.code).unwrap_or(StatusCode::MOVED_PERMANENTLY);
    if let Ok(location) = HeaderValue::from_str(&location) {
        answer.headers_mut().insert(header::LOCATION, location);
    }
    answer
}

fn fault(status: u16, code: &str, message: &str) -> Fault {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Fault { status, code: code.into(), message: message.into() }
}

/// The page of an error. Code and message are S3's own, and XML-escaped where they came from.
fn page(fault: &Fault) -> Response<Body> {
    let title = format!("{} {}", fault.status.as_u16(), fault.status.canonical_reason().unwrap_or_default());
    let text = format!(
        "<html>\n<head><title>{title}</title></head>\n<body>\n<h1>{title}</h1>\n<ul>\n<li>Code: {}</li>\n<li>Message: {}</li>\n</ul>\n<hr/>\n\
         </body>\n</html>\n",
        fault.code, fault.message
    );
    let mut answer = Response::new(Body::from(text));
    *answer.status_mut() = fault.status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    answer
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_redirect_is_one_line() {
        let head = Request::get("/").header("host", "b.s3-website.localhost").body(()).unwrap().into_parts().0;
        let to = Redirect { code: 302, protocol: None, host: None, key: "a\r\nset-cookie: b".into() };
        let answer = redirected(&head, &to);
        assert_eq!((answer.status().as_u16(), answer.headers().len()), (302, 1));
        assert_eq!(answer.headers()["location"], "http://b.s3-website.localhost/a%0D%0Aset-cookie%3A%20b");
    }
}
