//! Objects that come in forms ("POST Object"). `s3s` is not asked: it doesn't know `acl`, `tagging` and the file's name in the key, holds
//! a form's date against the clock, and keeps files in memory.

mod file;
mod head;
mod operation;
mod signature;

use crate::body::Stalled;
use crate::caller::{Caller, Verified};
use crate::error::{self, Result};
use crate::front::{Front, error_response};
use crate::intake::BODY_BYTES_MAX;
use crate::target::KEPT;
use bytes::BytesMut;
use futures_util::{FutureExt as _, StreamExt as _};
use head::Head;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use percent_encoding::utf8_percent_encode;
use s3s::dto::{Metadata, StreamingBlob};
use s3s::{Body, S3Error, s3_error};
use std::ops::RangeInclusive;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

/// Fields that are headers of the object.
const HEADERS: [&str; 7] =
    ["cache-control", "content-disposition", "content-encoding", "content-language", "content-md5", "content-type", "expires"];
/// Fields that say who sends the form.
const SIGNING: [&str; 5] = ["x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-security-token", "x-amz-signature"];

/// A form that was read up to its file; an extension of its request.
#[derive(Debug)]
pub(crate) struct Form {
    /// Names are in lower case.
    fields: Vec<(String, String)>,
    /// Who sends it.
    caller: Caller,
    /// How long its file may be, in bytes.
    lengths: RangeInclusive<u64>,
}

/// Whether a request is a form for a bucket: none for an object is.
pub(crate) fn is_form(head: &Parts, bucket_in_host: bool) -> bool {
    let path = head.uri.path().trim_matches('/');
    let of_bucket = if bucket_in_host { path.is_empty() } else { !path.is_empty() && !path.contains('/') };
    head.method == Method::POST && of_bucket && is_multipart(head)
}

/// Whether a body is of a form's type.
pub(crate) fn is_multipart(head: &Parts) -> bool {
    let kind = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).and_then(|value| value.split(';').next());
    kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("multipart/form-data"))
}

fn boundary(head: &Parts) -> Option<String> {
    head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).and_then(head::boundary)
}

/// Answers a request that is a form.
pub(crate) async fn answer(front: &Front, head: Parts, body: Body, bucket: &str) -> Response<Body> {
    let place = place(&head);
    let done = async {
        let (form, file) = read(front, &head, body, bucket).await?;
        let form = Arc::new(form);
        let posted = operation::put(&front.s3, &form, head, file, bucket).await?;
        Ok(form.done(&posted, bucket, &place))
    };
    // A panic costs its caller an `InternalError`, as with s3s's operations.
    let done = AssertUnwindSafe(done).catch_unwind().await;
    done.unwrap_or_else(|_| Err(error::internal(&anyhow::anyhow!("an operation panicked")))).unwrap_or_else(error_response)
}

/// Where the bucket's objects are, as the client sees it; it ends in a slash.
fn place(head: &Parts) -> String {
    let host = head.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    format!("http://{host}{}/", head.uri.path().trim_end_matches('/'))
}

/// Reads a form up to its file, and asks whether it may be.
async fn read(front: &Front, head: &Parts, mut body: Body, bucket: &str) -> Result<(Form, StreamingBlob)> {
    let boundary = boundary(head).ok_or_else(head::malformed)?;
    let (Head { mut fields, filename, length }, mut buffer) = read_head(&mut body, &boundary).await?;
    let key = fields.iter_mut().find(|(name, _)| name == "key");
    let (_, key) = key.ok_or_else(|| {
        s3_error!(
            InvalidArgument,
            "Bucket POST must contain a field named 'key'.  If it is specified, please check the order of the fields."
        )
    })?;
    *key = key.replace("${filename}", filename.as_deref().unwrap_or_default());
    // Which of two would count is nobody's to guess.
    if fields.iter().enumerate().any(|(at, (name, _))| fields[..at].iter().any(|(n, _)| n == name)) {
        return Err(s3_error!(InvalidArgument, "A field of a POST form must not be given twice."));
    }
    let mut form = Form { fields, caller: Caller::Anonymous, lengths: 0..=BODY_BYTES_MAX };
    if let Some((account, lengths)) = form.account(&front.s3, bucket)? {
        if let Some(verified) = head.extensions.get::<Verified>() {
            verified.set(&account);
        }
        (form.caller, form.lengths) = (Caller::Account(account), lengths);
    }
    operation::authorize(&front.s3, &form, head, bucket).await?;
    let file = file::read(buffer.split_off(length), body, &boundary, form.lengths.clone());
    Ok((form, StreamingBlob::wrap(file)))
}

/// Reads what stands before the file; with it comes what was read so far.
async fn read_head(body: &mut Body, boundary: &str) -> Result<(Head, BytesMut)> {
    let mut buffer = BytesMut::new();
    loop {
        if let Some(read) = head::parse(&buffer, boundary)? {
            return Ok((read, buffer));
        }
        let more = body.next().await.ok_or_else(|| broken(None))?;
        buffer.extend_from_slice(&more.map_err(|error| broken(Some(&error)))?);
    }
}

/// The boundary that a Content-Type names.
#[cfg(feature = "fuzz")]
pub(crate) fn fuzz_boundary(content_type: &str) -> Option<String> {
    head::boundary(content_type)
}

/// A form's fields, its file's name and content, as they are read when the form comes in steps of so many bytes.
#[cfg(feature = "fuzz")]
#[allow(clippy::type_complexity)]
pub(crate) async fn fuzz_read(boundary: &str, text: &[u8], step: usize) -> Option<(Vec<(String, String)>, Option<String>, Vec<u8>)> {
    use bytes::Bytes;
    let pieces: Vec<_> =
        text.chunks(step).map(|p| Ok::<_, std::convert::Infallible>(http_body::Frame::data(Bytes::copy_from_slice(p)))).collect();
    let mut body = Body::http_body_unsync(http_body_util::StreamBody::new(futures_util::stream::iter(pieces)));
    let (head, mut buffer) = read_head(&mut body, boundary).await.ok()?;
    let mut file = std::pin::pin!(file::read(buffer.split_off(head.length), body, boundary, 0..=BODY_BYTES_MAX));
    let mut content = Vec::new();
    while let Some(piece) = file.next().await {
        content.extend_from_slice(&piece.ok()?);
    }
    Some((head.fields, head.filename, content))
}

/// What is answered when a body breaks off.
fn broken(error: Option<&s3s::StdError>) -> S3Error {
    if error.is_some_and(|error| error.is::<Stalled>()) {
        let text = "Your socket connection to the server was not read from or written to within the timeout period. Idle connections will be closed.";
        return s3_error!(RequestTimeout, "{text}");
    }
    s3_error!(IncompleteBody, "The request body terminated unexpectedly")
}

impl Form {
    /// The first field of this name.
    fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The client's metadata.
    fn metadata(&self) -> Metadata {
        let named = |(name, value): &(String, String)| Some((name.strip_prefix("x-amz-meta-")?.to_owned(), value.clone()));
        self.fields.iter().filter_map(named).collect()
    }

    /// The fields as the headers that they stand for.
    fn headers(&self) -> Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.fields {
            let (name, value) = match name.as_str() {
                "acl" => ("x-amz-acl", value.clone()),
                "tagging" => ("x-amz-tagging", operation::tagging(value)?),
                name if HEADERS.contains(&name) || name.starts_with("x-amz-") && !SIGNING.contains(&name) => (name, value.clone()),
                _ => continue,
            };
            let invalid = || s3_error!(InvalidArgument, "Invalid value of the field {name}");
            let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| invalid())?;
            headers.append(HeaderName::try_from(name).map_err(|_| invalid())?, value);
        }
        Ok(headers)
    }

    /// What a browser is answered once the object is there.
    fn done(&self, posted: &HeaderMap, bucket: &str, place: &str) -> Response<Body> {
        let key = self.field("key").unwrap_or_default();
        let etag = posted.get(header::ETAG).and_then(|etag| etag.to_str().ok()).unwrap_or_default();
        let location = format!("{place}{}", utf8_percent_encode(key, KEPT));
        let mut answer = Response::new(Body::empty());
        answer.headers_mut().extend(posted.clone());
        // S3 passes over what it can't redirect to.
        let target =
            self.field("success_action_redirect").or_else(|| self.field("redirect")).and_then(|url| redirect(url, bucket, key, etag));
        let (status, location) = match (target, self.field("success_action_status")) {
            (Some(target), _) => (StatusCode::SEE_OTHER, Some(target)),
            (None, Some("200")) => (StatusCode::OK, HeaderValue::from_str(&location).ok()),
            (None, Some("201")) => {
                let e = crate::xml::escape;
                let text = format!(
                    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<PostResponse><Location>{}</Location><Bucket>{}</Bucket><Key>{}</Key><ETag>{}</ETag></PostResponse>",
                    e(&location),
                    e(bucket),
                    e(key),
                    e(etag)
                );
                answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
                answer.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
                *answer.body_mut() = Body::from(text);
                (StatusCode::CREATED, HeaderValue::from_str(&location).ok())
            }
            (None, _) => (StatusCode::NO_CONTENT, HeaderValue::from_str(&location).ok()),
        };
        *answer.status_mut() = status;
        if let Some(location) = location {
            answer.headers_mut().insert(header::LOCATION, location);
        }
        answer
    }
}

/// Where a browser is sent, told what is there now.
fn redirect(url: &str, bucket: &str, key: &str, etag: &str) -> Option<HeaderValue> {
    let absolute = url.parse::<http::Uri>().is_ok_and(|url| matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some());
    let joint = if url.contains('?') { '&' } else { '?' };
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("bucket", bucket).append_pair("key", key).append_pair("etag", etag);
    HeaderValue::from_str(&format!("{url}{joint}{}", query.finish())).ok().filter(|_| absolute)
}
