//! Signatures of version 4: how one is calculated, and what the refusal of a wrong one says ("Troubleshoot signed requests for AWS APIs": "The
//! error response includes the canonical request and the string to sign that the service calculated"). s3s checks the signatures of
//! requests and says only that one is wrong; those of forms are checked in `form/signature.rs`.

use crate::error::{self, Result};
use crate::target::KEPT;
use crate::{checksum, precheck};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::request::Parts;
use http::{HeaderMap, Method, Response, StatusCode, Uri, header};
use percent_encoding::{AsciiSet, percent_decode_str, utf8_percent_encode};
use s3s::Body;
use sha2::{Digest as _, Sha256};
use store::Store;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// What stands in a parameter of a query as it is.
const UNRESERVED: &AsciiSet = &KEPT.add(b'/');

/// Whether a text has this signature: HMAC-SHA256 with a key derived from the secret and the scope ("Calculating a signature").
pub(crate) fn verify(secret: &str, scope: &[&str], text: &str, signature: &str) -> Result<bool> {
    let mut key = format!("AWS4{secret}").into_bytes();
    for part in scope {
        key = mac(&key, part)?.finalize().into_bytes().to_vec();
    }
    let Some(signature) = bytes_of_hex(signature) else { return Ok(false) };
    Ok(mac(&key, text)?.verify_slice(&signature).is_ok())
}

fn mac(key: &[u8], text: &str) -> Result<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(|e| error::internal(&e.into()))?;
    mac.update(text.as_bytes());
    Ok(mac)
}

fn bytes_of_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect::<Option<_>>()?;
    digits.len().is_multiple_of(2).then(|| digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// What a `SignatureDoesNotMatch` says beside its message.
pub(crate) fn details(key: &str, string_to_sign: &str, signature: &str, canonical: Option<&str>) -> Vec<(&'static str, String)> {
    let mut details = vec![
        ("AWSAccessKeyId", key.to_owned()),
        ("StringToSign", string_to_sign.to_owned()),
        ("SignatureProvided", signature.to_owned()),
        ("StringToSignBytes", bytes(string_to_sign)),
    ];
    if let Some(canonical) = canonical {
        details.extend([("CanonicalRequest", canonical.to_owned()), ("CanonicalRequestBytes", bytes(canonical))]);
    }
    details
}

/// The bytes of a text, in hexadecimal digits with spaces between.
fn bytes(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

/// What a request's signature is of. It is kept while s3s has the request.
#[derive(Debug)]
pub(crate) struct Signed {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

/// What a request says of its signature.
#[derive(Debug, Default)]
struct Parameters {
    credential: String,
    date: String,
    headers: Vec<String>,
    signature: String,
}

impl Signed {
    /// `None`: the request isn't signed.
    pub(crate) fn new(head: &Parts) -> Option<Self> {
        precheck::is_signed(head).then(|| Self { method: head.method.clone(), uri: head.uri.clone(), headers: head.headers.clone() })
    }

    /// Adds to the refusal of the request's signature what it was calculated from.
    pub(crate) fn explain(&self, store: &Store, answer: &mut Response<Body>) {
        let code = b"<Code>SignatureDoesNotMatch</Code>";
        let refused = |text: &[u8]| text.windows(code.len()).any(|window| window == code);
        if answer.status() == StatusCode::FORBIDDEN
            && answer.body().bytes().is_some_and(|text| refused(&text))
            && let Some(details) = self.details(store)
        {
            error::details_put(answer.headers_mut(), &details);
        }
    }

    /// `None`: it isn't the request's signature that is wrong, but a chunk's.
    fn details(&self, store: &Store) -> Option<Vec<(&'static str, String)>> {
        let parameters = self.parameters()?;
        let (key, scope) = parameters.credential.split_once('/')?;
        let canonical = self.canonical(&parameters);
        let hash = checksum::hex(&Sha256::digest(&canonical));
        let string_to_sign = format!("{ALGORITHM}\n{}\n{scope}\n{hash}", parameters.date);
        let snapshot = store.snapshot();
        let secret = &snapshot.access_key(key)?.secret;
        let right = verify(secret, &scope.split('/').collect::<Vec<_>>(), &string_to_sign, &parameters.signature);
        (!right.ok()?).then(|| details(key, &string_to_sign, &parameters.signature, Some(&canonical)))
    }

    fn header(&self, name: impl header::AsHeaderName) -> &str {
        self.headers.get(name).and_then(|value| std::str::from_utf8(value.as_bytes()).ok()).unwrap_or_default()
    }

    /// The parameters of the query, decoded.
    fn query(&self) -> Vec<(String, String)> {
        let pairs = form_urlencoded::parse(self.uri.query().unwrap_or_default().as_bytes());
        pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
    }

    fn parameters(&self) -> Option<Parameters> {
        let names = |text: &str| text.split(';').map(str::to_owned).collect::<Vec<_>>();
        if self.headers.contains_key(header::AUTHORIZATION) {
            let text = self.header(header::AUTHORIZATION).strip_prefix(ALGORITHM)?;
            let part = |name: &str| text.split(',').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
            let mut headers = names(part("SignedHeaders")?);
            headers.sort_unstable();
            let (credential, signature) = (part("Credential")?.to_owned(), part("Signature")?.to_owned());
            return Some(Parameters { credential, date: self.header("x-amz-date").to_owned(), headers, signature });
        }
        let query = self.query();
        let value = |name: &str| query.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        let (credential, date, signature) = (value("X-Amz-Credential")?, value("X-Amz-Date")?, value("X-Amz-Signature")?);
        Some(Parameters { credential, date, headers: names(&value("X-Amz-SignedHeaders")?), signature })
    }

    /// The canonical request ("Create a canonical request"), as s3s makes it.
    fn canonical(&self, parameters: &Parameters) -> String {
        let path = percent_decode_str(self.uri.path()).decode_utf8_lossy();
        let encoded = |text: &str| utf8_percent_encode(text, UNRESERVED).to_string();
        let query = self.query().into_iter().filter(|(name, _)| name != "X-Amz-Signature");
        let mut query: Vec<(String, String)> = query.map(|(name, value)| (encoded(&name), encoded(&value))).collect();
        query.sort_by(|a, b| a.0.cmp(&b.0));
        let query = query.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&");
        let mut lines = String::new();
        for name in parameters.headers.iter().filter(|name| self.headers.contains_key(name.as_str())) {
            let values = self.headers.get_all(name).iter().filter_map(|value| std::str::from_utf8(value.as_bytes()).ok());
            let values = values.map(|value| value.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>();
            lines += &format!("{name}:{}\n", values.join(","));
        }
        let presigned = !self.headers.contains_key(header::AUTHORIZATION);
        let payload = if presigned { "UNSIGNED-PAYLOAD" } else { self.header("x-amz-content-sha256") };
        let path = utf8_percent_encode(&path, KEPT);
        format!("{}\n{path}\n{query}\n{lines}\n{}\n{payload}", self.method, parameters.headers.join(";"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The example of "Browser-based upload using HTTP POST (using AWS Signature Version 4)".
    #[test]
    fn signature_of_the_manual() {
        let policy = "eyAiZXhwaXJhdGlvbiI6ICIyMDE1LTEyLTMwVDEyOjAwOjAwLjAwMFoiLA0KICAiY29uZGl0aW9ucyI6IFsNCiAgICB7ImJ1Y2tldCI6ICJzaWd2NGV4YW1wbGVidWNrZXQifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRrZXkiLCAidXNlci91c2VyMS8iXSwNCiAgICB7ImFjbCI6ICJwdWJsaWMtcmVhZCJ9LA0KICAgIHsic3VjY2Vzc19hY3Rpb25fcmVkaXJlY3QiOiAiaHR0cDovL3NpZ3Y0ZXhhbXBsZWJ1Y2tldC5zMy5hbWF6b25hd3MuY29tL3N1Y2Nlc3NmdWxfdXBsb2FkLmh0bWwifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRDb250ZW50LVR5cGUiLCAiaW1hZ2UvIl0sDQogICAgeyJ4LWFtei1tZXRhLXV1aWQiOiAiMTQzNjUxMjM2NTEyNzQifSwNCiAgICB7IngtYW16LXNlcnZlci1zaWRlLWVuY3J5cHRpb24iOiAiQUVTMjU2In0sDQogICAgWyJzdGFydHMtd2l0aCIsICIkeC1hbXotbWV0YS10YWciLCAiIl0sDQoNCiAgICB7IngtYW16LWNyZWRlbnRpYWwiOiAiQUtJQUlPU0ZPRE5ON0VYQU1QTEUvMjAxNTEyMjkvdXMtZWFzdC0xL3MzL2F3czRfcmVxdWVzdCJ9LA0KICAgIHsieC1hbXotYWxnb3JpdGhtIjogIkFXUzQtSE1BQy1TSEEyNTYifSwNCiAgICB7IngtYW16LWRhdGUiOiAiMjAxNTEyMjlUMDAwMDAwWiIgfQ0KICBdDQp9";
        let scope = ["20151229", "us-east-1", "s3", "aws4_request"];
        let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
        let signature = "8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e";
        assert!(verify(secret, &scope, policy, signature).unwrap());
        for wrong in ["", "8a", "zz", &signature.replace('8', "9")] {
            assert!(!verify(secret, &scope, policy, wrong).unwrap(), "{wrong}");
        }
    }

    /// "Example: GET Object" of "Signature Calculations for the Authorization Header".
    #[test]
    fn canonical_request_of_the_manual() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let authorization = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
                             SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,\
                             Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
        let head = http::Request::get("/test.txt")
            .header("host", "examplebucket.s3.amazonaws.com")
            .header("authorization", authorization)
            .header("range", "bytes=0-9")
            .header("x-amz-content-sha256", empty)
            .header("x-amz-date", "20130524T000000Z");
        let signed = Signed::new(&head.body(()).unwrap().into_parts().0).unwrap();
        let canonical = signed.canonical(&signed.parameters().unwrap());
        assert_eq!(checksum::hex(&Sha256::digest(canonical)), "7344ae5b7ee6c3e7e6b0fe0640412a37625d1fbfff95c48bbb2dc43964946972");
    }
}
