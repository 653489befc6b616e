//! What s3s leaves out of the XML that it writes: some characters' references, some checksums, and errors' texts.

use crate::checksum::Algorithm;
use bytes::Bytes;
use http::{HeaderValue, Response, header};
use s3s::Body;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;

/// What the names of S3's documents belong to.
const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// Bytes of text that a reader of XML wouldn't give back: carriage returns become line feeds, and XML 1.0 has no other controls.
fn is_lost(byte: u8) -> bool {
    byte < b' ' && byte != b'\n' && byte != b'\t'
}

/// Writes such characters as references (`&#13;`), as S3 does. Only documents are looked at: objects are never in memory.
pub(crate) fn references(answer: &mut Response<Body>) {
    let document = answer.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/xml"));
    if let Some(text) = answer.body().bytes().filter(|text| document && text.iter().any(|byte| is_lost(*byte))) {
        let text = referenced(&text);
        answer.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
        *answer.body_mut() = Body::from(text);
    }
}

/// Elements that s3s doesn't know, for the ends of elements that it writes; an extension of an answer.
#[derive(Debug, Clone)]
pub(crate) struct Added {
    end: &'static str,
    /// One for each element that ends so, in their order.
    texts: Vec<String>,
}

impl Added {
    /// The checksums that s3s doesn't write; `end` is `</Element>`.
    pub(crate) fn checksums<'a>(end: &'static str, values: impl IntoIterator<Item = &'a BTreeMap<String, String>>) -> Self {
        let unknown = |values: &BTreeMap<String, String>| {
            let mut text = String::new();
            for (name, value) in values {
                if Algorithm::parse(name).is_some_and(|algorithm| !algorithm.in_documents()) {
                    // Writing into a string doesn't fail. Neither has a character that XML would have to escape.
                    _ = write!(text, "<Checksum{name}>{value}</Checksum{name}>");
                }
            }
            text
        };
        Self { end, texts: values.into_iter().map(unknown).collect() }
    }

    /// Writes them into an answer.
    pub(crate) fn write(&self, answer: &mut Response<Body>) {
        if self.texts.iter().all(String::is_empty) {
            return;
        }
        let Some(text) = answer.body().bytes() else { return };
        let text = String::from_utf8_lossy(&text);
        let mut pieces = text.split(self.end);
        let mut written = pieces.next().unwrap_or_default().to_owned();
        let mut texts = self.texts.iter();
        for piece in pieces {
            written.push_str(texts.next().map_or("", String::as_str));
            written.push_str(self.end);
            written.push_str(piece);
        }
        answer.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(written.len()));
        *answer.body_mut() = Body::from(written);
    }
}

fn referenced(text: &Bytes) -> Vec<u8> {
    let mut written = Vec::with_capacity(text.len() + 64);
    for byte in text {
        if is_lost(*byte) {
            // Writing into memory doesn't fail.
            _ = write!(written, "&#{byte};");
        } else {
            written.push(*byte);
        }
    }
    written
}

/// Puts S3's namespace on the root of a document that has none, as S3 does; some clients look for it. Errors and the answers to forms
/// have none.
pub(crate) fn namespace(answer: &mut Response<Body>) {
    const BARE: [&str; 2] = ["Error", "PostResponse"];
    let document = answer.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/xml"));
    let Some(text) = answer.body().bytes().filter(|_| document) else { return };
    let named = || {
        let text = std::str::from_utf8(&text).ok()?;
        let start = text.find("?>")? + 2;
        let start = start + text[start..].find('<')? + 1;
        let end = start + text[start..].find('>')?;
        let root = &text[start..end];
        let bare = root.bytes().all(|b| b.is_ascii_alphanumeric()) && !BARE.contains(&root);
        bare.then(|| format!("{} xmlns=\"{NAMESPACE}\"{}", &text[..end], &text[end..]))
    };
    if let Some(text) = named() {
        answer.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
        *answer.body_mut() = Body::from(text);
    }
}

/// An error's document up to its end, with the usual text for its code if it has none ("Error responses").
pub(crate) fn with_message(document: &[u8]) -> Vec<u8> {
    const END: &str = "</Code>";
    let text = String::from_utf8_lossy(document);
    // s3s has a text of its own here.
    let text = text.replace("<Message>request time is too far from server time</Message>", "");
    let message = || {
        let at = text.find(END).filter(|_| !text.contains("<Message>"))?;
        let code = text[..at].rsplit('>').next()?;
        let (front, behind) = text.split_at(at + END.len());
        Some(format!("{front}<Message>{}</Message>{behind}", usual(code)?))
    };
    message().unwrap_or_else(|| text.clone()).into_bytes()
}

/// What S3 says with the codes that s3s gives no text.
fn usual(code: &str) -> Option<&'static str> {
    Some(match code {
        "IncompleteBody" => "You did not provide the number of bytes specified by the Content-Length HTTP header",
        "InvalidAccessKeyId" => "The AWS Access Key Id you provided does not exist in our records.",
        "InvalidBucketName" => "The specified bucket is not valid.",
        "InvalidPolicyDocument" => "The content of the form does not meet the conditions specified in the policy document.",
        "InvalidRange" => "The requested range is not satisfiable",
        "InvalidURI" => "Couldn't parse the specified URI.",
        "KeyTooLongError" => "Your key is too long",
        "MalformedXML" => "The XML you provided was not well-formed or did not validate against our published schema",
        "MalformedPOSTRequest" => "The body of your POST request is not well-formed multipart/form-data.",
        "MethodNotAllowed" => "The specified method is not allowed against this resource.",
        "MissingRequestBodyError" => "Request body is empty.",
        "NotImplemented" => "A header you provided implies functionality that is not implemented",
        "RequestTimeTooSkewed" => "The difference between the request time and the current time is too large.",
        "SignatureDoesNotMatch" => {
            "The request signature we calculated does not match the signature you provided. Check your key and signing method."
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lost_characters_become_references() {
        let answer = |kind: &'static str, text: &'static str| {
            let mut answer = Response::new(Body::from(text.to_owned()));
            answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            references(&mut answer);
            String::from_utf8(answer.body().bytes().unwrap().to_vec()).unwrap()
        };
        assert_eq!(answer("application/xml", "<Key>a\rb\u{1}\u{1f}\n\t\u{e4}</Key>"), "<Key>a&#13;b&#1;&#31;\n\t\u{e4}</Key>");
        assert_eq!(answer("text/html", "a\rb"), "a\rb");
    }

    #[test]
    fn documents_have_a_namespace() {
        let answer = |kind: &'static str, text: &str| {
            let mut answer = Response::new(Body::from(text.to_owned()));
            answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            namespace(&mut answer);
            String::from_utf8(answer.body().bytes().unwrap().to_vec()).unwrap()
        };
        let front = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
        let named = format!("{front}<Tagging xmlns=\"{NAMESPACE}\"><TagSet></TagSet></Tagging>");
        assert_eq!(answer("application/xml", &format!("{front}<Tagging><TagSet></TagSet></Tagging>")), named);
        for (kind, rest) in [
            ("application/xml", &named[front.len()..]),
            ("application/xml", "<Error><Code>NoSuchKey</Code></Error>"),
            ("application/xml", "<PostResponse></PostResponse>"),
            ("application/xml", "no document"),
            ("text/html", "<html></html>"),
        ] {
            let text = format!("{front}{rest}");
            assert_eq!(answer(kind, &text), text);
        }
    }

    #[test]
    fn checksums_are_added_where_they_belong() {
        let parts = [("SHA512", "one"), ("CRC32", "known"), ("XXHASH3", "three")];
        let parts = parts.map(|(name, value)| BTreeMap::from([(name.to_owned(), value.to_owned())]));
        let mut answer = Response::new(Body::from("<L><Part>1</Part><Part>2</Part><Part>3</Part></L>".to_owned()));
        Added::checksums("</Part>", &parts).write(&mut answer);
        let text = answer.body().bytes().unwrap();
        let wanted =
            "<L><Part>1<ChecksumSHA512>one</ChecksumSHA512></Part><Part>2</Part><Part>3<ChecksumXXHASH3>three</ChecksumXXHASH3></Part></L>";
        assert_eq!(text, wanted);
        assert_eq!(answer.headers()["content-length"], wanted.len().to_string());
    }

    #[test]
    fn errors_have_texts() {
        let read = |text: &str| String::from_utf8(with_message(text.as_bytes())).unwrap();
        assert_eq!(
            read("<Error><Code>KeyTooLongError</Code>"),
            "<Error><Code>KeyTooLongError</Code><Message>Your key is too long</Message>"
        );
        for whole in ["<Error><Code>NoSuchKey</Code><Message>It is gone</Message>", "<Error><Code>Another</Code>", "<Other>"] {
            assert_eq!(read(whole), whole);
        }
    }
}
