//! How a call of a case becomes a request.

use crate::case::{Call, Text};
use crate::sign::{Signer, hex};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use md5::Md5;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest as _, Sha256};

const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const HOST: &str = "127.0.0.1:4566";
/// What parts the parts of a form.
const BOUNDARY: &str = "edge";

/// Who sends, and for which region.
#[derive(Debug, Clone)]
pub(crate) struct Sender {
    /// The key and its secret; `None`: nothing is signed.
    pub(crate) key: Option<(&'static str, &'static str)>,
    pub(crate) region: String,
    /// `20261124T040739Z`: s3s judges signatures by the machine's clock.
    pub(crate) date: String,
}

/// How a request is sent, besides as usual: signed in a header with the hash of its body.
#[derive(Debug, Default)]
pub(crate) struct Manner {
    /// `@unsigned`
    unsigned: bool,
    /// `@secret WORD`: signed with another secret.
    secret: Option<String>,
    /// `@key WORD`: signed with another key.
    key: Option<String>,
    /// `@date WORD`: signed then.
    date: Option<String>,
    /// `@presigned SECONDS`
    presigned: Option<String>,
    /// `@chunks BYTES`: in chunks that are signed.
    chunks: Option<usize>,
    /// `@policy JSON`: the form's policy is this, signed; `{credential}` and `{date}` stand for the sender's.
    policy: Option<String>,
    /// `@field NAME=VALUE`: the body is a form with this field. The body that is written becomes its file.
    fields: Vec<(String, String)>,
}

impl Manner {
    fn of(lines: &[String]) -> Self {
        let mut manner = Self::default();
        for line in lines {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            let value = || Some(rest.to_owned());
            match word {
                "unsigned" => manner.unsigned = true,
                "secret" => manner.secret = value(),
                "key" => manner.key = value(),
                "date" => manner.date = value(),
                "presigned" => manner.presigned = value(),
                "chunks" => manner.chunks = Some(rest.parse().unwrap()),
                "policy" => manner.policy = value(),
                "field" => manner.fields.extend(rest.split_once('=').map(|(n, v)| (n.to_owned(), v.to_owned()))),
                _ => panic!("unknown manner @{line}"),
            }
        }
        manner
    }
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

impl Signer {
    /// The signature of a request.
    fn request(&self, call: &Call, query: &str, headers: &HeaderMap, hash: &str) -> (String, String) {
        let path = call.target.split('?').next().unwrap_or_default();
        let mut pairs: Vec<String> =
            query.split('&').filter(|p| !p.is_empty()).map(|p| if p.contains('=') { p.into() } else { format!("{p}=") }).collect();
        pairs.sort();
        let mut signed: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (n.as_str(), v.to_str().unwrap().trim())).collect();
        signed.sort_unstable();
        let names = signed.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
        let lines: String = signed.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let canonical = format!("{}\n{path}\n{}\n{lines}\n{names}\n{hash}", call.method, pairs.join("&"));
        let text = format!("AWS4-HMAC-SHA256\n{}\n{}\n{}", self.date, self.scope(), hex(&Sha256::digest(&canonical)));
        (self.sign(&text), names)
    }

    /// A body in chunks, each signed with the one before ("Transferring payload in multiple chunks").
    fn chunked(&self, body: &[u8], size: usize, seed: &str) -> Vec<u8> {
        let (mut before, mut text) = (seed.to_owned(), Vec::new());
        for chunk in body.chunks(size).chain([&[][..]]) {
            let (empty, hash) = (hex(&Sha256::digest([])), hex(&Sha256::digest(chunk)));
            before = self.sign(&format!("AWS4-HMAC-SHA256-PAYLOAD\n{}\n{}\n{before}\n{empty}\n{hash}", self.date, self.scope()));
            text.extend(format!("{:x};chunk-signature={before}\r\n", chunk.len()).bytes());
            text.extend([chunk, b"\r\n"].concat());
        }
        text
    }

    /// A form with a file.
    fn form(&self, manner: &Manner, file: &[u8]) -> Vec<u8> {
        let mut fields = manner.fields.clone();
        if let Some(policy) = &manner.policy {
            let policy = BASE64_STANDARD.encode(policy.replace("{credential}", &self.credential()).replace("{date}", &self.date));
            let signature = self.sign(&policy);
            fields.extend([
                ("x-amz-algorithm".into(), "AWS4-HMAC-SHA256".into()),
                ("x-amz-credential".into(), self.credential()),
                ("x-amz-date".into(), self.date.clone()),
                ("x-amz-signature".into(), signature),
                ("policy".into(), policy),
            ]);
        }
        let part = |name: &str| format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"");
        let mut body: String = fields.iter().map(|(n, v)| format!("{}\r\n\r\n{v}\r\n", part(n))).collect();
        body += &format!("{}; filename=\"cat.txt\"\r\nContent-Type: text/plain\r\n\r\n", part("file"));
        [body.as_bytes(), file, format!("\r\n--{BOUNDARY}--\r\n").as_bytes()].concat()
    }
}

/// The request of a call; `{md5}` in a header stands for the body's.
pub(crate) fn request(call: &Call, sender: &Sender) -> Request<Vec<u8>> {
    let manner = Manner::of(&call.manner);
    let (key, secret) = sender.key.unwrap_or_default();
    let signer = Signer {
        key: manner.key.clone().unwrap_or_else(|| key.into()),
        secret: manner.secret.clone().unwrap_or_else(|| secret.into()),
        region: sender.region.clone(),
        date: manner.date.clone().unwrap_or_else(|| sender.date.clone()),
    };
    let mut body = call.request.body.as_ref().map(Text::bytes).unwrap_or_default();
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static(HOST));
    if !manner.fields.is_empty() {
        body = signer.form(&manner, &body);
        headers.insert("content-type", HeaderValue::from_str(&format!("multipart/form-data; boundary={BOUNDARY}")).unwrap());
    }
    let md5 = BASE64_STANDARD.encode(Md5::digest(&body));
    for (name, value) in &call.request.headers {
        let value = value.replace("{md5}", &md5);
        headers.insert(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    let (_, mut query) = call.target.split_once('?').map_or((call.target.clone(), String::new()), |(p, q)| (p.into(), q.into()));
    if let Some(seconds) = &manner.presigned {
        let credential = encode(&signer.credential());
        query = format!(
            "{query}{}X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={credential}&X-Amz-Date={}&X-Amz-Expires={seconds}&X-Amz-SignedHeaders=host",
            if query.is_empty() { "" } else { "&" },
            signer.date
        );
        let (signature, _) = signer.request(call, &query, &headers, "UNSIGNED-PAYLOAD");
        query = format!("{query}&X-Amz-Signature={signature}");
    } else if sender.key.is_some() && !manner.unsigned && manner.fields.is_empty() {
        headers.insert("x-amz-date", signer.date.parse().unwrap());
        if let Some(size) = manner.chunks {
            headers.insert("x-amz-decoded-content-length", HeaderValue::from(body.len()));
            headers.insert("x-amz-content-sha256", HeaderValue::from_static("STREAMING-AWS4-HMAC-SHA256-PAYLOAD"));
            let (seed, _) = signer.request(call, &query, &headers, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD");
            body = signer.chunked(&body, size, &seed);
        }
        let hash = hex(&Sha256::digest(&body));
        let hash = headers.entry("x-amz-content-sha256").or_insert(hash.parse().unwrap()).to_str().unwrap().to_owned();
        let (signature, names) = signer.request(call, &query, &headers, &hash);
        let value = format!("AWS4-HMAC-SHA256 Credential={}, SignedHeaders={names}, Signature={signature}", signer.credential());
        headers.entry("authorization").or_insert(value.parse().unwrap());
    }
    headers.insert("content-length", HeaderValue::from(body.len()));
    let path = call.target.split('?').next().unwrap_or_default();
    let mut request = Request::new(body);
    *request.method_mut() = Method::from_bytes(call.method.as_bytes()).unwrap();
    *request.uri_mut() = if query.is_empty() { path.parse().unwrap() } else { format!("{path}?{query}").parse().unwrap() };
    *request.headers_mut() = headers;
    request
}
