//! What a line needs of a request, kept while it is answered.

use super::batch::Batched;
use super::{AccessLog, Request, operation};
use crate::access::AclRequired;
use crate::caller::canonical_id;
use crate::service::S3;
use http::request::Parts;
use http::{HeaderMap, Method, Response, header};
use http_body::Body as _;
use model::scope::AccountId;
use model::time::Timestamp;
use objects::Bucket;
use s3s::Body;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// A request to a bucket whose owner wants lines.
pub(crate) struct Begun {
    bucket: Arc<Bucket>,
    head: Parts,
    key: Option<String>,
    website: bool,
    address: IpAddr,
    at: Timestamp,
    started: Instant,
    /// What became of the objects of a DeleteObjects.
    batched: Batched,
    acl_required: AclRequired,
}

impl Begun {
    /// `None`: nobody wants a line. `bucket_in_host`: the path is a key.
    pub(crate) fn new(s3: &S3, bucket: Option<&str>, head: &Parts, bucket_in_host: bool, website: bool, address: IpAddr) -> Option<Self> {
        let bucket = s3.objects.bucket(bucket?).filter(|bucket| AccessLog::wanted(bucket))?;
        let path = head.uri.path().strip_prefix('/').unwrap_or_default();
        let key = if bucket_in_host { path } else { path.split_once('/').map_or("", |(_, key)| key) };
        let key = percent_encoding::percent_decode_str(key).decode_utf8_lossy().into_owned();
        let key = Some(key).filter(|key| !key.is_empty());
        // Without its extensions, which hold more than a line needs.
        let mut kept = http::Request::new(()).into_parts().0;
        (kept.method, kept.uri, kept.version) = (head.method.clone(), head.uri.clone(), head.version);
        kept.headers = head.headers.clone();
        let (batched, acl_required) = (Batched::default(), AclRequired::default());
        Some(Self { bucket, head: kept, key, website, address, at: s3.now(), started: Instant::now(), batched, acl_required })
    }

    /// Where an operation on many objects says what became of each.
    pub(crate) fn batched(&self) -> Batched {
        self.batched.clone()
    }

    /// Told when a list of grants lets the request through.
    pub(crate) fn acl_required(&self) -> AclRequired {
        self.acl_required.clone()
    }

    /// Keeps the line, now that there is an answer. `verified`: whose signature it bore. Its body may still be on its way.
    pub(crate) fn end(self, s3: &S3, verified: Option<&AccountId>, id: &str, answer: &Response<Body>) {
        let Parts { method, uri, version, headers, .. } = &self.head;
        let query = uri.query().unwrap_or_default();
        let error = code(answer);
        let requester = verified.map(canonical_id);
        let copies = headers.contains_key("x-amz-copy-source");
        let sent =
            (method != Method::HEAD).then(|| number(answer.headers(), "content-length").or_else(|| answer.body().size_hint().exact()));
        let line = Request {
            at: self.at,
            address: self.address.to_canonical().to_string(),
            requester,
            id,
            operation: operation(method, query, self.key.is_some(), copies, self.website),
            key: self.key.as_deref(),
            uri: Some(format!("{method} {uri} {version:?}")),
            status: Some(answer.status().as_u16()),
            error,
            sent: sent.flatten(),
            size: self.size(answer),
            took: Some(self.started.elapsed()),
            referer: Some(text(headers, header::REFERER.as_str())),
            agent: Some(text(headers, header::USER_AGENT.as_str())),
            version: Some(text(answer.headers(), "x-amz-version-id")).filter(|version| !version.is_empty()),
            signed: signature(headers, query),
            host: text(headers, header::HOST.as_str()),
            acl_required: self.acl_required.take(),
        };
        s3.log.add(&self.bucket, &line);
        for one in self.batched.take() {
            s3.log.add(&self.bucket, &one.line(&line));
        }
    }

    /// Bytes of the object that was read or written.
    fn size(&self, answer: &Response<Body>) -> Option<u64> {
        let headers = &self.head.headers;
        if self.key.is_none() || !answer.status().is_success() {
            return None;
        }
        if self.head.method == Method::PUT {
            return number(headers, "x-amz-decoded-content-length").or_else(|| number(headers, "content-length"));
        }
        if self.head.method != Method::GET && self.head.method != Method::HEAD {
            return None;
        }
        let whole = text(answer.headers(), "content-range").rsplit_once('/').and_then(|(_, whole)| whole.parse().ok());
        whole.or_else(|| number(answer.headers(), "content-length"))
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    text(headers, name).parse().ok()
}

/// Where a request's signature stands, be it good or not.
fn signature(headers: &HeaderMap, query: &str) -> Option<&'static str> {
    if headers.contains_key(header::AUTHORIZATION) {
        return Some("AuthHeader");
    }
    query.split('&').any(|pair| pair.starts_with("X-Amz-Signature=")).then_some("QueryString")
}

/// The code of an error's document.
fn code(answer: &Response<Body>) -> Option<String> {
    if answer.status().is_success() || answer.status().is_redirection() {
        return None;
    }
    let body = answer.body().bytes()?;
    let text = std::str::from_utf8(&body).ok()?;
    let (code, _) = text.split_once("<Code>")?.1.split_once("</Code>")?;
    Some(code).filter(|code| code.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.')).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn where_it_is_signed() {
        let mut headers = HeaderMap::new();
        assert_eq!(signature(&headers, "X-Amz-Credential=AKIA%2F2026%2Fr"), None);
        assert_eq!(signature(&headers, "x&X-Amz-Signature=00"), Some("QueryString"));
        headers.insert("authorization", "AWS4-HMAC-SHA256 Credential=AKIB/2026/r/s3/aws4_request, SignedHeaders=host".parse().unwrap());
        assert_eq!(signature(&headers, ""), Some("AuthHeader"));
    }
}
