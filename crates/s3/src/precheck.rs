//! What s3s doesn't refuse of a request's signature and size, and AWS does ("Authenticating Requests (AWS Signature Version 4)").

use crate::access::Signed;
use crate::error::{custom, custom_text};
use crate::form;
use crate::target::{self, parameters};
use http::request::Parts;
use http::{Method, header};
use model::time::Timestamp;
use s3s::{S3Error, s3_error};
use std::borrow::Cow;

/// Longest body in XML, in bytes: a list of 10,000 parts and one of 1,000 keys fit.
pub(crate) const XML_BYTES_MAX: usize = 4 << 20;
/// Longest one that nobody signed, in bytes: 1,000 keys, most of them short.
pub(crate) const ANONYMOUS_XML_BYTES_MAX: usize = 1 << 20;
/// Longest life of a presigned URL, in seconds: seven days.
const EXPIRES_MAX: i64 = 604_800;
/// How far the date of a request may be from ours, in milliseconds: 15 minutes.
pub(crate) const SKEW_MILLIS_MAX: i64 = 900_000;
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// Parameters of a query that make a PUT of an object one of a document about it.
const DOCUMENTS: [&str; 5] = ["acl", "tagging", "retention", "legal-hold", "encryption"];

/// The refusal of a request, if it has one of these faults. `bucket_in_host`: its path is a key.
pub(crate) fn refusal(head: &Parts, bucket_in_host: bool) -> Option<S3Error> {
    let of_body = || unsigned_chunks(head).or_else(|| stray_form(head, bucket_in_host)).or_else(|| size(head, bucket_in_host));
    method(head).or_else(|| hosts(head)).or_else(|| signature(head)).or_else(of_body)
}

/// s3s says that what isn't S3's is not implemented.
fn method(head: &Parts) -> Option<S3Error> {
    let known = [Method::GET, Method::HEAD, Method::PUT, Method::POST, Method::DELETE, Method::OPTIONS].contains(&head.method);
    (!known).then(|| s3_error!(MethodNotAllowed, "The specified method is not allowed against this resource."))
}

/// The credential that a request says it is signed with, and where it says so: in a header or in a presigned URL.
pub(crate) fn credential(head: &Parts) -> Option<(Cow<'_, str>, Signed)> {
    if let Some(value) = head.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()) {
        let credential = value.strip_prefix(ALGORITHM)?.split(',').find_map(|part| part.trim().strip_prefix("Credential="))?;
        return Some((credential.into(), Signed::Header));
    }
    let (_, value) = parameters(head).find(|(name, _)| *name == "X-Amz-Credential")?;
    Some((percent_encoding::percent_decode_str(value).decode_utf8().ok()?, Signed::Query))
}

/// The region that a request says it is signed for, if that can be no region's name. s3s takes it for an invalid request then.
pub(crate) fn odd_region(head: &Parts) -> Option<(String, Signed)> {
    let (credential, signed) = credential(head)?;
    let region = credential.rsplit('/').nth(2)?;
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    // What XML can't have is not said again.
    let said = |c: &char| !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}');
    (!region.chars().all(fits)).then(|| (region.chars().filter(said).collect(), signed))
}

/// Each of two hosts could name another bucket, and HTTP/1.1 wants one (RFC 9112, 3.2).
fn hosts(head: &Parts) -> Option<S3Error> {
    match head.headers.get_all(header::HOST).iter().count() {
        0 if head.version == http::Version::HTTP_11 => Some(custom("BadRequest", 400, "An error occurred when parsing the HTTP request.")),
        0 | 1 => None,
        _ => Some(s3_error!(InvalidRequest, "A request must not have more than one Host header.")),
    }
}

/// The refusal of a request that is signed by version 2. What is wrong with it beside that comes first, as it does where S3 takes such
/// requests for older buckets ("Authenticating requests (AWS signature version 2)").
pub(crate) fn v2(head: &Parts, now: Timestamp) -> S3Error {
    let text = |name: &str| head.headers.get(name).map(|value| value.to_str().unwrap_or_default());
    if let Some(value) = text("authorization") {
        if !value.contains(':') {
            return s3_error!(InvalidArgument, "AWS authorization header is invalid.  Expected AwsAccessKeyId:signature");
        }
        let date = text("x-amz-date").or_else(|| text("date")).and_then(http_date);
        let Some(date) = date.filter(|date| date.0 >= 0) else {
            return s3_error!(AccessDenied, "AWS authentication requires a valid Date or x-amz-date header");
        };
        if (now.0 - date.0).abs() > SKEW_MILLIS_MAX {
            return s3_error!(RequestTimeTooSkewed, "The difference between the request time and the current time is too large.");
        }
    }
    let text = "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.";
    s3_error!(InvalidRequest, "{text}")
}

/// `Tue, 07 Jul 2010 21:53:04 GMT`, whatever the day of the week.
fn http_date(text: &str) -> Option<Timestamp> {
    let (_, text) = text.split_once(", ")?;
    let text = text.strip_suffix(" GMT").or_else(|| text.strip_suffix(" +0000")).or_else(|| text.strip_suffix(" -0000"))?;
    let date = jiff::Timestamp::strptime("%d %b %Y %H:%M:%S %z", format!("{text} +0000")).ok()?;
    Some(Timestamp(date.as_millisecond()))
}

fn signature(head: &Parts) -> Option<S3Error> {
    let presigned = parameters(head).any(|(name, _)| name.eq_ignore_ascii_case("X-Amz-Algorithm"));
    let Some(value) = head.headers.get(header::AUTHORIZATION) else {
        return if presigned { presigned_fault(head) } else { None };
    };
    if presigned {
        let text = "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the \
                    Authorization header should be specified";
        return Some(s3_error!(InvalidArgument, "{text}"));
    }
    let value = value.to_str().unwrap_or_default();
    let Some(rest) = value.strip_prefix(ALGORITHM) else {
        return Some(s3_error!(InvalidArgument, "Unsupported Authorization Type"));
    };
    let part = |name: &str| rest.split(',').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
    let (Some(credential), Some(signed), Some(_)) = (part("Credential"), part("SignedHeaders"), part("Signature")) else {
        let text = "The authorization header is malformed; the authorization header requires three components: Credential, SignedHeaders, \
                    and Signature.";
        return Some(custom("AuthorizationHeaderMalformed", 400, text));
    };
    if credential.rsplit('/').count() < 5 || !credential.ends_with("/aws4_request") {
        let text = "The authorization header is malformed; the Credential is mal-formed; expecting \
                    \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".";
        return Some(custom("AuthorizationHeaderMalformed", 400, text));
    }
    unsigned(head, signed)
}

fn presigned_fault(head: &Parts) -> Option<S3Error> {
    let value = |name: &str| parameters(head).find(|(n, _)| *n == name).map(|(_, value)| value);
    let wrong = |text: &'static str| Some(custom("AuthorizationQueryParametersError", 400, text));
    let Some(expires) = value("X-Amz-Expires") else {
        return wrong(
            "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, \
             X-Amz-SignedHeaders, and X-Amz-Expires parameters.",
        );
    };
    match expires.parse::<i64>() {
        Err(_) => return wrong("X-Amz-Expires should be a number"),
        Ok(seconds) if seconds < 0 => return wrong("X-Amz-Expires must be non-negative"),
        Ok(seconds) if seconds > EXPIRES_MAX => {
            return wrong(
                "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds",
            );
        }
        Ok(_) => {}
    }
    let signed = percent_encoding::percent_decode_str(value("X-Amz-SignedHeaders").unwrap_or_default()).decode_utf8_lossy();
    unsigned(head, &signed)
}

/// A header of AWS's own that isn't signed could have been added by anybody on the way: `x-amz-acl` to a presigned URL, for one. The
/// hash of the body is bound by the signature in another way.
fn unsigned(head: &Parts, signed: &str) -> Option<S3Error> {
    let is_signed = |name: &str| signed.split(';').any(|s| s.eq_ignore_ascii_case(name));
    let own = head.headers.keys().map(header::HeaderName::as_str).filter(|n| n.starts_with("x-amz-") && *n != "x-amz-content-sha256");
    // Nor does a signature count for another host than it was made for.
    let left: Vec<&str> = std::iter::once("host").chain(own).filter(|name| !is_signed(name)).collect();
    let text = || format!("There were headers present in the request which were not signed: {}", left.join(", "));
    (!left.is_empty()).then(|| custom_text("AccessDenied", 403, text()))
}

/// Chunks of a request that nobody signed: s3s would take what is between them for the object's.
fn unsigned_chunks(head: &Parts) -> Option<S3Error> {
    let streaming = head.headers.get("x-amz-content-sha256").is_some_and(|v| v.as_bytes().starts_with(b"STREAMING-"));
    let chunked = streaming || head.headers.contains_key("x-amz-decoded-content-length");
    let refused = chunked && !head.headers.contains_key(header::AUTHORIZATION);
    refused.then(|| s3_error!(NotImplemented, "A header you provided implies functionality that is not implemented"))
}

/// A document in XML has a length, and a limit. s3s reads documents before it looks at their operation.
fn size(head: &Parts, bucket_in_host: bool) -> Option<S3Error> {
    if !is_document(head, bucket_in_host) {
        return None;
    }
    let length = head.headers.get(header::CONTENT_LENGTH).and_then(|l| l.to_str().ok()?.parse::<u64>().ok());
    let chunked = head.headers.contains_key(header::TRANSFER_ENCODING);
    let max = if is_signed(head) { XML_BYTES_MAX } else { ANONYMOUS_XML_BYTES_MAX };
    match length {
        Some(length) if length > max as u64 => Some(s3_error!(MaxMessageLengthExceeded, "Your request was too big.")),
        None if chunked => Some(s3_error!(MissingContentLength, "You must provide the Content-Length HTTP header.")),
        Some(_) | None => None,
    }
}

/// Whether somebody claims to have signed it.
pub(crate) fn is_signed(head: &Parts) -> bool {
    head.headers.contains_key(header::AUTHORIZATION) || parameters(head).any(|(name, _)| name == "X-Amz-Signature")
}

/// Whether a request's body is a document: neither an object or a part of one, nor a form.
pub(crate) fn is_document(head: &Parts, bucket_in_host: bool) -> bool {
    let has = |name: &str| parameters(head).any(|(n, _)| n == name);
    match head.method {
        Method::POST => !form::is_form(head, bucket_in_host),
        Method::PUT => !target::is_object(head, bucket_in_host) || DOCUMENTS.into_iter().any(has),
        _ => false,
    }
}

/// A form for something else than a bucket: s3s would read its fields before it says so, up to a limit that is far greater than ours.
fn stray_form(head: &Parts, bucket_in_host: bool) -> Option<S3Error> {
    let stray = head.method == Method::POST && form::is_multipart(head) && !form::is_form(head, bucket_in_host);
    stray.then(|| s3_error!(MethodNotAllowed, "The specified method is not allowed against this resource."))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn refused(method: &str, uri: &str, headers: &[(&str, &str)]) -> Option<String> {
        let mut request = http::Request::builder().method(method).uri(uri);
        for (name, value) in headers.iter().chain([("host", "a")].iter().filter(|_| headers.iter().all(|(name, _)| *name != "host"))) {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        refusal(&head, false).map(|e| e.code().as_str().to_owned())
    }

    const AUTH: &str = "AWS4-HMAC-SHA256 Credential=AKIA/20261124/us-east-1/s3/aws4_request, SignedHeaders=host;x-amz-date, Signature=00";
    const QUERY: &str = "/b/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-SignedHeaders=host%3Bx-amz-acl&X-Amz-Expires=";

    #[test]
    fn version_2_is_refused_for_its_faults_first() {
        let of = |headers: &[(&str, &str)]| {
            let request = headers.iter().fold(http::Request::get("/b/k"), |request, (name, value)| request.header(*name, *value));
            // 24 November 2026, 16:00.
            v2(&request.body(()).unwrap().into_parts().0, Timestamp(1_795_536_000_000)).code().as_str().to_owned()
        };
        let signed = ("authorization", "AWS AKIA:c2ln");
        let now = "Tue, 24 Nov 2026 16:01:00 GMT";
        assert_eq!(of(&[("authorization", "AWS HAHAHA")]), "InvalidArgument");
        assert_eq!(of(&[signed, ("date", now)]), "InvalidRequest");
        assert_eq!(of(&[signed, ("date", "Tue, 24 Nov 2026 16:01:00 -0000")]), "InvalidRequest");
        assert_eq!(of(&[]), "InvalidRequest");
        for none in [&[signed][..], &[signed, ("date", now), ("x-amz-date", "")], &[signed, ("x-amz-date", "Bad Date")]] {
            assert_eq!(of(none), "AccessDenied", "{none:?}");
        }
        assert_eq!(of(&[signed, ("x-amz-date", "Tue, 07 Jul 1950 21:53:04 GMT")]), "AccessDenied");
        for skewed in ["Tue, 07 Jul 2010 21:53:04 GMT", "Tue, 07 Jul 9999 21:53:04 GMT", "Tue, 24 Nov 2026 16:15:01 GMT"] {
            assert_eq!(of(&[signed, ("date", skewed)]), "RequestTimeTooSkewed", "{skewed}");
        }
    }

    #[test]
    fn regions_that_are_none() {
        let odd = |uri: &str, header: Option<&str>| {
            let request = http::Request::get(uri);
            let request = header.into_iter().fold(request, |request, value| request.header("authorization", value));
            odd_region(&request.body(()).unwrap().into_parts().0)
        };
        let region = |name: &str| AUTH.replace("us-east-1", name);
        for name in ["US-EAST-1", "us east 1", "é"] {
            assert_eq!(odd("/b", Some(&region(name))), Some((name.to_owned(), Signed::Header)).filter(|_| name.is_ascii()), "{name}");
        }
        assert_eq!(odd("/b", Some(AUTH)), None);
        let uri = |region: &str| format!("/b?X-Amz-Credential=AKIA%2F20261124%2F{region}%2Fs3%2Faws4_request");
        assert_eq!(odd(&uri("US-East-1%01%EF%BF%BF"), None), Some(("US-East-1".to_owned(), Signed::Query)));
        assert_eq!(odd(&uri("eu-west-1"), None), None);
        assert_eq!(odd("/b", None), None);
    }

    #[test]
    fn one_host() {
        assert_eq!(refused("GET", "/b/k", &[("host", "a")]), None);
        assert_eq!(refused("GET", "/b/k", &[("host", "a"), ("host", "a")]).as_deref(), Some("InvalidRequest"));
        for (version, code) in [(http::Version::HTTP_11, Some("BadRequest")), (http::Version::HTTP_10, None)] {
            let (head, ()) = http::Request::get("/b/k").version(version).body(()).unwrap().into_parts();
            assert_eq!(refusal(&head, false).map(|e| e.code().as_str().to_owned()).as_deref(), code);
        }
    }

    #[test]
    fn signatures() {
        let header = |more: &[(&str, &str)]| refused("GET", "/b/k", &[&[("authorization", AUTH)], more].concat());
        assert_eq!(header(&[("x-amz-date", "20261124T000000Z"), ("x-amz-content-sha256", "e3b0")]), None);
        assert_eq!(header(&[("x-amz-acl", "public-read")]).as_deref(), Some("AccessDenied"));
        let query = |expires: &str, more: &[(&str, &str)]| refused("GET", &format!("{QUERY}{expires}"), more);
        assert_eq!(query("604800", &[("x-amz-acl", "private")]), None);
        assert_eq!(query("60", &[("x-amz-meta-a", "b")]).as_deref(), Some("AccessDenied"));
        let unsigned = AUTH.replace("SignedHeaders=host;", "SignedHeaders=");
        assert_eq!(refused("GET", "/b/k", &[("authorization", &unsigned)]).as_deref(), Some("AccessDenied"));
        assert_eq!(refused("GET", &format!("{}60", QUERY.replace("host%3B", "")), &[]).as_deref(), Some("AccessDenied"));
        assert_eq!(query("60", &[("authorization", AUTH)]).as_deref(), Some("InvalidArgument"));
        for expires in ["604801", "-1", "x", "", "99999999999999999999"] {
            assert_eq!(query(expires, &[]).as_deref(), Some("AuthorizationQueryParametersError"), "{expires}");
        }
        for (value, code) in [
            ("Bearer x", "InvalidArgument"),
            ("AWS4-HMAC-SHA256 garbage", "AuthorizationHeaderMalformed"),
            ("AWS4-HMAC-SHA256 Credential=AKIA/s3/aws4_request, SignedHeaders=host, Signature=00", "AuthorizationHeaderMalformed"),
        ] {
            assert_eq!(refused("GET", "/b/k", &[("authorization", value)]).as_deref(), Some(code), "{value}");
        }
    }

    #[test]
    fn chunks_are_signed() {
        let chunks = [("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")];
        assert_eq!(refused("PUT", "/b/k", &chunks).as_deref(), Some("NotImplemented"));
        assert_eq!(refused("PUT", "/b/k", &[("x-amz-decoded-content-length", "5")]).as_deref(), Some("NotImplemented"));
        assert_eq!(refused("PUT", "/b/k", &[chunks[0], ("authorization", AUTH)]), None);
    }

    #[test]
    fn documents_have_a_length_and_a_limit() {
        let long = [("content-length", "5000000")];
        for (method, uri) in [("POST", "/b?delete"), ("PUT", "/b?policy"), ("PUT", "/b"), ("PUT", "/b/k?acl"), ("POST", "/b/k?uploadId=x")]
        {
            assert_eq!(refused(method, uri, &long).as_deref(), Some("MaxMessageLengthExceeded"), "{uri}");
            assert_eq!(refused(method, uri, &[("transfer-encoding", "chunked")]).as_deref(), Some("MissingContentLength"), "{uri}");
            assert_eq!(refused(method, uri, &[("content-length", "10")]), None);
            let signed = [("authorization", AUTH), ("x-amz-date", "20261124T000000Z")];
            for (length, most) in [("1048576", true), ("1048577", false), ("4194304", false)] {
                let code = (!most).then_some("MaxMessageLengthExceeded");
                assert_eq!(refused(method, uri, &[("content-length", length)]).as_deref(), code, "{uri}");
                assert_eq!(refused(method, uri, &[signed[0], signed[1], ("content-length", length)]), None, "{uri}");
            }
        }
        for (method, uri) in [("PUT", "/b/k"), ("PUT", "/b/k?partNumber=1&uploadId=x"), ("GET", "/b")] {
            assert_eq!(refused(method, uri, &long), None, "{uri}");
        }
        let form = ("content-type", "Multipart/Form-Data; boundary=x");
        assert_eq!(refused("POST", "/b", &[form, long[0]]), None);
        for uri in ["/b/k", "/", "/b/k?uploads"] {
            assert_eq!(refused("POST", uri, &[form]).as_deref(), Some("MethodNotAllowed"), "{uri}");
        }
    }
}
