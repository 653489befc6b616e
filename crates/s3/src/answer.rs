//! What every answer gets before it goes: its request's id, and its document as S3 writes it.

use crate::control;
use crate::error;
use crate::precheck::SKEW_MILLIS_MAX;
use crate::target::{self, Target};
use crate::xml::{self, Added};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use model::time::Timestamp;
use s3s::Body;
use std::borrow::Cow;

/// The status of an answer, if it isn't the operation's usual one; an extension of the answer, since s3s passes over the status that
/// an operation gives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Status(pub(crate) StatusCode);

/// The document of an answer, instead of the one that s3s writes; an extension of the answer.
#[derive(Debug, Clone)]
pub(crate) struct Given(pub(crate) String);

/// What errors say of their request, beside what the operation tells of them.
pub(crate) struct Asked {
    pub(crate) id: String,
    pub(crate) method: Method,
    path: String,
    target: Option<Target>,
    /// Values of the query.
    upload: Option<String>,
    version: Option<String>,
    range: Option<String>,
    /// The first of [`CONDITIONS`] that it makes.
    condition: Option<&'static str>,
    /// The time that it says it is, and the time that it is.
    times: (Option<String>, Timestamp),
    /// Whether it is S3 Control's, whose errors have a root of their own.
    control: bool,
}

/// Conditions that make a `PreconditionFailed`, in the order in which they are judged.
const CONDITIONS: [&str; 3] = ["If-Match", "If-Unmodified-Since", "If-None-Match"];
/// Longest of the request's values that an error repeats, in bytes: a key and all that is shorter.
const REPEATED_BYTES_MAX: usize = 1024;

/// Codes of errors that name their bucket.
const OF_BUCKETS: [&str; 15] = [
    "BucketAlreadyExists",
    "BucketAlreadyOwnedByYou",
    "BucketNotEmpty",
    "InvalidBucketName",
    "NoSuchBucket",
    "NoSuchBucketPolicy",
    "NoSuchCORSConfiguration",
    "NoSuchLifecycleConfiguration",
    "NoSuchPublicAccessBlockConfiguration",
    "NoSuchTagSet",
    "NoSuchWebsiteConfiguration",
    "ObjectLockConfigurationNotFoundError",
    "OwnershipControlsNotFoundError",
    "ReplicationConfigurationNotFoundError",
    "ServerSideEncryptionConfigurationNotFoundError",
];

impl Asked {
    /// What a request with this id says of itself.
    pub(crate) fn new(id: String, head: &Parts, target: Option<Target>, now: Timestamp) -> Self {
        let query = |name: &str| {
            let (_, value) = target::parameters(head).find(|(known, _)| *known == name)?;
            Some(percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned())
        };
        let said = |name: &str| head.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        Self {
            id,
            method: head.method.clone(),
            path: head.uri.path().to_owned(),
            target,
            upload: query("uploadId"),
            version: query("versionId"),
            range: said("range"),
            condition: CONDITIONS.into_iter().find(|name| head.headers.contains_key(*name)),
            times: (said("x-amz-date").or_else(|| query("X-Amz-Date")).or_else(|| said("date")), now),
            control: control::is_control(head),
        }
    }

    /// What AWS says of a request with an error of this code; `headers` are the answer's.
    fn details(&self, code: &str, headers: &HeaderMap) -> Vec<(&'static str, Cow<'_, str>)> {
        let bucket = self.target.as_ref().map(|target| ("BucketName", Cow::Borrowed(target.bucket.as_str())));
        let key = self.target.as_ref().map(|target| ("Key", Cow::Borrowed(target.key.as_str())));
        let text = |name, value: &'_ Option<String>| value.clone().map(|value| (name, Cow::Owned(value)));
        let is_marker = headers.contains_key("x-amz-delete-marker");
        let found = match code {
            "NoSuchKey" => vec![key],
            "NoSuchVersion" => vec![key, text("VersionId", &self.version)],
            "NoSuchUpload" | "InvalidPart" | "InvalidPartOrder" => vec![text("UploadId", &self.upload)],
            "PreconditionFailed" => vec![self.condition.map(|name| ("Condition", Cow::Borrowed(name)))],
            "MethodNotAllowed" => {
                let kind = match &self.target {
                    _ if is_marker => "DeleteMarker",
                    None => "SERVICE",
                    Some(target) if target.key.is_empty() => "BUCKET",
                    Some(_) => "OBJECT",
                };
                vec![Some(("Method", Cow::Borrowed(self.method.as_str()))), Some(("ResourceType", Cow::Borrowed(kind)))]
            }
            "InvalidRange" => {
                let size = headers.get(header::CONTENT_RANGE).and_then(|range| range.to_str().ok()?.strip_prefix("bytes */"));
                let size = size.map(|size| ("ActualObjectSize", Cow::Owned(size.to_owned())));
                vec![text("RangeRequested", &self.range).filter(|_| size.is_some()), size]
            }
            "RequestTimeTooSkewed" => vec![
                text("RequestTime", &self.times.0),
                Some(("ServerTime", self.times.1.iso8601_seconds().into())),
                Some(("MaxAllowedSkewMilliseconds", SKEW_MILLIS_MAX.to_string().into())),
            ],
            code if OF_BUCKETS.contains(&code) => vec![bucket],
            _ => Vec::new(),
        };
        found.into_iter().flatten().filter(|(_, value)| value.len() <= REPEATED_BYTES_MAX).collect()
    }
}

/// Makes an answer whole.
pub(crate) fn finish(answer: &mut Response<Body>, asked: &Asked) {
    if let Some(Status(status)) = answer.extensions_mut().remove() {
        *answer.status_mut() = status;
    }
    let given = answer.extensions_mut().remove().map(|Given(text)| Bytes::from(text));
    let added = answer.extensions_mut().remove::<Added>();
    let told = error::details_take(answer.headers_mut());
    if answer.status().is_client_error() || answer.status().is_server_error() {
        let text = answer.body().bytes().filter(|_| asked.method != Method::HEAD);
        if let Some(text) = text.and_then(|text| error_document(&text, asked, &told, answer.headers())) {
            document_put(answer, text);
        }
        // Headers of an error's own displace it.
        answer.headers_mut().entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static("application/xml"));
    } else {
        let is_document = |kind: &HeaderValue| kind.as_bytes().starts_with(b"application/xml");
        let is_document = answer.headers().get(header::CONTENT_TYPE).is_some_and(is_document);
        // Only documents are in memory, objects never are.
        let text = given.or_else(|| answer.body().bytes().filter(|text| is_document && !text.is_empty()));
        if let Some(text) = text.as_deref().and_then(|text| std::str::from_utf8(text).ok()) {
            document_put(answer, xml::rewritten(text, added.as_ref()));
        }
    }
    let headers = answer.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&asked.id) {
        headers.insert("x-amz-request-id", value.clone());
        headers.insert("x-amz-id-2", value);
    }
    headers.entry(header::SERVER).or_insert(HeaderValue::from_static("Pileus"));
}

fn document_put(answer: &mut Response<Body>, text: String) {
    answer.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
    *answer.body_mut() = Body::from(text);
}

/// An error's document as S3 writes it ("Error responses"), made of the one that s3s wrote. `told`: elements that the operation adds.
fn error_document(text: &[u8], asked: &Asked, told: &[(String, String)], headers: &HeaderMap) -> Option<String> {
    let text = xml::rewritten(std::str::from_utf8(text).ok()?, None);
    let (front, rest) = text.strip_suffix("</Error>")?.split_once("<Code>")?;
    let (code, rest) = rest.split_once("</Code>")?;
    // s3s has a text of its own here.
    let said = rest.strip_prefix("<Message>").and_then(|rest| rest.strip_suffix("</Message>"));
    let said = said.filter(|message| *message != "request time is too far from server time");
    // The operation knows better.
    let derived = asked.details(code, headers).into_iter().filter(|(name, _)| !told.iter().any(|(known, _)| known == name));
    let mut details: Vec<(Cow<'_, str>, Cow<'_, str>)> = derived.map(|(name, value)| (name.into(), value)).collect();
    details.extend(told.iter().map(|(name, value)| (name.into(), value.into())));
    // Clients that asked in the wrong region ask again there.
    if let Some(region) = headers.get("x-amz-bucket-region").and_then(|region| region.to_str().ok()) {
        details.push(("Region".into(), region.into()));
    }
    details.push(("Resource".into(), asked.path.as_str().into()));
    let ids = [("RequestId".into(), asked.id.as_str().into()), ("HostId".into(), asked.id.as_str().into())];
    let mut main = format!("<Code>{code}</Code>");
    if let Some(message) = said.or_else(|| error::usual(code)) {
        main += &format!("<Message>{message}</Message>");
    }
    if asked.control {
        let front = front.strip_suffix("<Error>")?;
        let error = main + &elements(&details);
        return Some(format!(
            "{front}<ErrorResponse xmlns=\"{}\"><Error>{error}</Error>{}</ErrorResponse>",
            control::NAMESPACE,
            elements(&ids)
        ));
    }
    Some(format!("{front}{main}{}{}</Error>", elements(&details), elements(&ids)))
}

fn elements(pairs: &[(Cow<'_, str>, Cow<'_, str>)]) -> String {
    pairs.iter().map(|(name, value)| format!("<{name}>{}</{name}>", xml::escape(value))).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use http::Request;
    use s3s::{S3Error, s3_error};

    /// What is between the code and what each error has, and the status.
    fn answered(request: http::request::Builder, error: S3Error) -> String {
        let (head, ()) = request.body(()).unwrap().into_parts();
        let asked = Asked::new("0".into(), &head, Target::new(&head, None), Timestamp(0));
        let mut answer = crate::front::error_response(error);
        finish(&mut answer, &asked);
        let text = String::from_utf8(answer.body().bytes().unwrap().to_vec()).unwrap();
        assert_eq!(answer.headers()["content-length"], text.len().to_string());
        assert!(answer.headers().keys().all(|name| !name.as_str().contains("details")), "{:?}", answer.headers());
        let (front, rest) = text.split_once("<Resource>").unwrap();
        assert_eq!(rest.split_once("</Resource>").unwrap().1, "<RequestId>0</RequestId><HostId>0</HostId></Error>");
        front.split_once("<Code>").unwrap().1.to_owned()
    }

    #[test]
    fn errors_have_texts() {
        let of = |error| answered(Request::get("/b/k"), error);
        assert_eq!(of(s3_error!(KeyTooLongError)), "KeyTooLongError</Code><Message>Your key is too long</Message>");
        assert_eq!(of(s3_error!(InvalidRequest, "<a>\r")), "InvalidRequest</Code><Message>&lt;a&gt;&#13;</Message>");
        assert_eq!(of(error::custom("Other", 400, "it is so")), "Other</Code><Message>it is so</Message>");
    }

    #[test]
    fn errors_say_what_the_request_named() {
        let of = |request: http::request::Builder, error: S3Error| {
            let text = answered(request, error);
            text.split_once("</Message>").unwrap().1.to_owned()
        };
        let engine = error::engine;
        let get = |uri: &str| Request::get(uri.to_owned());
        assert_eq!(of(get("/b%20/k"), engine(objects::Error::NoSuchBucket)), "<BucketName>b </BucketName>");
        assert_eq!(of(get("/b/k%26%0d"), engine(objects::Error::NoSuchKey)), "<Key>k&amp;&#13;</Key>");
        assert_eq!(of(get("/b/k?versionId=v%2f"), engine(objects::Error::NoSuchVersion)), "<Key>k</Key><VersionId>v/</VersionId>");
        assert_eq!(of(get("/b/k?uploadId=u"), engine(objects::Error::NoSuchUpload)), "<UploadId>u</UploadId>");
        let part = objects::Error::InvalidPart { number: 7, etag: "\"<".into() };
        assert_eq!(of(get("/b/k?uploadId=u"), engine(part)), "<UploadId>u</UploadId><PartNumber>7</PartNumber><ETag>\"&lt;</ETag>");
        let match_ = Request::put("/b/k").header("if-match", "a").header("if-none-match", "b");
        assert_eq!(of(match_, error::precondition_failed()), "<Condition>If-Match</Condition>");
        assert_eq!(of(get("/b/k"), error::precondition_failed()), "");
        for (uri, kind) in [("/", "SERVICE"), ("/b", "BUCKET"), ("/b/k", "OBJECT")] {
            let wanted = format!("<Method>PUT</Method><ResourceType>{kind}</ResourceType>");
            assert_eq!(of(Request::put(uri), s3_error!(MethodNotAllowed)), wanted);
        }
        assert_eq!(
            of(get("/b/k"), error::of_key(objects::Error::NoSuchKey, "other")),
            "<Key>other</Key>",
            "what the operation says counts"
        );
        let long = "k".repeat(REPEATED_BYTES_MAX + 1);
        assert_eq!(of(get(&format!("/b/{long}")), engine(objects::Error::NoSuchKey)), "");
        assert_eq!(of(get("/b"), error::argument("a", long, "no")), "<ArgumentName>a</ArgumentName>", "as long as a key at most");
    }

    #[test]
    fn what_is_no_document_stays() {
        let (head, ()) = Request::head("/b/k").body(()).unwrap().into_parts();
        for (kind, status, text) in [("text/html", 404, "<html>\r</html>"), ("text/plain", 200, "a\rb"), ("application/xml", 200, "")] {
            let mut answer = Response::new(Body::from(text.to_owned()));
            *answer.status_mut() = StatusCode::from_u16(status).unwrap();
            answer.headers_mut().insert("content-type", HeaderValue::from_static(kind));
            answer.headers_mut().insert("content-length", HeaderValue::from_static("77"));
            finish(&mut answer, &Asked::new("0".into(), &head, None, Timestamp(0)));
            assert_eq!(
                (answer.body().bytes().unwrap().as_ref(), &answer.headers()["content-length"]),
                (text.as_bytes(), &HeaderValue::from_static("77"))
            );
            assert_eq!(answer.headers()["x-amz-request-id"], "0");
        }
    }
}
