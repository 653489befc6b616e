//! Cross-origin requests, as browsers make them ("Using cross-origin resource sharing (CORS)"): preflights, which s3s doesn't know, and
//! the headers of other answers.

use crate::configuration::cors_rules;
use crate::error::{Result, custom};
use crate::service::S3;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use model::cors::{self, Headers};
use s3s::Body;

/// The answer to a preflight; nobody needs a permission for it.
pub(crate) fn preflight(s3: &S3, head: &Parts, bucket: Option<&str>) -> Result<Response<Body>> {
    let origin = text(&head.headers, header::ORIGIN)
        .ok_or_else(|| custom("BadRequest", 400, "Insufficient information. Origin request header needed."))?;
    let method = text(&head.headers, header::ACCESS_CONTROL_REQUEST_METHOD).unwrap_or("null");
    if !cors::METHODS.contains(&method) {
        return Err(crate::error::custom_text("BadRequest", 400, format!("Invalid Access-Control-Request-Method: {method}")));
    }
    let found = bucket.and_then(|name| s3.objects.bucket(name));
    let bucket = found.ok_or_else(|| custom("AccessForbidden", 403, "CORSResponse: Bucket not found"))?;
    let rules = cors_rules(&bucket)?.ok_or_else(|| custom("AccessForbidden", 403, cors::NOT_ENABLED))?;
    let asked = text(&head.headers, header::ACCESS_CONTROL_REQUEST_HEADERS).unwrap_or_default();
    let asked: Vec<&str> = asked.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    let allowed = cors::preflight(&rules, origin, method, &asked).ok_or_else(|| custom("AccessForbidden", 403, cors::NOT_ALLOWED))?;
    let mut answer = Response::new(Body::empty());
    put(answer.headers_mut(), allowed);
    Ok(answer)
}

/// A request that may come from a script.
pub(crate) struct Cross {
    origin: String,
    method: String,
}

impl Cross {
    /// `None`: it names no origin, or it is a preflight. One that names the method of a preflight is judged by that, as S3 does.
    pub(crate) fn of(head: &Parts) -> Option<Self> {
        let origin = text(&head.headers, header::ORIGIN).filter(|_| head.method != http::Method::OPTIONS)?;
        let method = text(&head.headers, header::ACCESS_CONTROL_REQUEST_METHOD).unwrap_or(head.method.as_str());
        Some(Self { origin: origin.to_owned(), method: method.to_owned() })
    }
}

/// Adds what a script at the request's origin needs to read its answer.
pub(crate) fn headers_add(s3: &S3, cross: &Cross, bucket: Option<&str>, headers: &mut HeaderMap) {
    let Some(bucket) = bucket.and_then(|name| s3.objects.bucket(name)) else { return };
    if let Ok(Some(rules)) = cors_rules(&bucket) {
        put(headers, cors::actual(&rules, &cross.origin, &cross.method));
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn put(headers: &mut HeaderMap, lines: Headers) {
    for (name, value) in lines {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(&value)) {
            headers.insert(name, value);
        }
    }
}
