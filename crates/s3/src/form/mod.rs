//! Objects that come in forms ("POST Object"). The fields are read here first, because `s3s` doesn't know all of them: `acl`, `tagging`,
//! the file's name in the key; then `s3s` reads the form again, without its signature, and asks the operation for it.

mod head;
mod operation;
mod signature;

pub(crate) use operation::post;

use crate::body::Stalled;
use crate::caller::Caller;
use crate::error::Result;
use crate::front::{Front, error_response};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use head::Head;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::StreamBody;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::{Body, s3_error};
use std::sync::{Arc, OnceLock};

/// What stands in a path as it is (RFC 3986, unreserved), and slashes.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');
/// Fields that are headers of the object.
const HEADERS: [&str; 7] =
    ["cache-control", "content-disposition", "content-encoding", "content-language", "content-md5", "content-type", "expires"];
/// Fields that say who sends the form.
const SIGNING: [&str; 5] = ["x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-security-token", "x-amz-signature"];

/// A form that was read; an extension of its request.
#[derive(Debug)]
pub(crate) struct Form {
    /// Names are in lower case.
    fields: Vec<(String, String)>,
    /// Who sends it.
    pub(crate) caller: Caller,
    /// The bucket's name.
    bucket: String,
    /// What is said of the object once it is there.
    posted: OnceLock<HeaderMap>,
}

/// Whether a request is a form for a bucket: none for an object is.
pub(crate) fn is_form(head: &Parts, bucket_in_host: bool) -> bool {
    let path = head.uri.path().trim_matches('/');
    let of_bucket = if bucket_in_host { path.is_empty() } else { !path.is_empty() && !path.contains('/') };
    let kind = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).and_then(|value| value.split(';').next());
    head.method == Method::POST && of_bucket && kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("multipart/form-data"))
}

fn boundary(head: &Parts) -> Option<String> {
    head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).and_then(head::boundary)
}

/// Answers a request that is a form.
pub(crate) async fn answer(front: &Front, head: Parts, body: Body, bucket: &str) -> Response<Body> {
    let place = place(&head);
    let (form, request) = match read(front, head, body, bucket).await {
        Ok(read) => read,
        Err(error) => return error_response(error),
    };
    let answer = front.run(request).await;
    form.posted.get().map_or(answer, |posted| form.done(posted, bucket, &place))
}

/// Where the bucket's objects are, as the client sees it; it ends in a slash.
fn place(head: &Parts) -> String {
    let host = head.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    format!("http://{host}{}/", head.uri.path().trim_end_matches('/'))
}

/// Reads a form's fields, and gives its request for `s3s`.
async fn read(front: &Front, mut head: Parts, mut body: Body, bucket: &str) -> Result<(Arc<Form>, Request<Body>)> {
    let boundary = boundary(&head).ok_or_else(head::malformed)?;
    let mut buffer = Vec::new();
    let Head { mut fields, filename, length } = loop {
        if let Some(read) = head::parse(&buffer, &boundary)? {
            break read;
        }
        match body.next().await {
            Some(Ok(bytes)) => buffer.extend_from_slice(&bytes),
            Some(Err(error)) if error.is::<Stalled>() => {
                return Err(s3_error!(
                    RequestTimeout,
                    "Your socket connection to the server was not read from or written to within the timeout period."
                ));
            }
            Some(Err(_)) | None => return Err(s3_error!(IncompleteBody, "The request body terminated unexpectedly")),
        }
    };
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
    let mut form = Form { fields, caller: Caller::Anonymous, bucket: bucket.to_owned(), posted: OnceLock::new() };
    if let Some(account) = form.account(&front.s3, bucket)? {
        form.caller = Caller::Account(account);
    }
    operation::authorize(&front.s3, &form, &head, bucket).await?;
    let form = Arc::new(form);
    head.extensions.insert(form.clone());
    let begin = Bytes::from(form.written(&boundary));
    let rest = Bytes::from(buffer).slice(length..);
    let body = stream::iter([Ok(begin), Ok(rest)]).chain(body).map(|bytes| bytes.map(Frame::data));
    Ok((form, Request::from_parts(head, Body::http_body_unsync(StreamBody::new(body)))))
}

impl Form {
    /// The first field of this name.
    fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The form up to its file, for `s3s`, which must not judge the signature again.
    fn written(&self, boundary: &str) -> String {
        let mut text = String::new();
        for (name, value) in &self.fields {
            // A status that is no number is passed over, as S3 does with one that it doesn't know.
            let passed_over = name == "success_action_status" && value.parse::<i32>().is_err();
            if name != "x-amz-signature" && !passed_over {
                text += &format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
            }
        }
        text + &format!("--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"file\"\r\n\r\n")
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
                let e = crate::front::escape;
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
