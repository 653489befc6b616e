//! The canonical request: what both sides hash.

use super::refusal::Refusal;
use super::{Signed, hex};
use sha2::{Digest as _, Sha256};

/// A canonical request.
pub(super) struct Canonical {
    /// Its text.
    pub(super) text: String,
}

impl Canonical {
    /// Builds it for a service: all but S3 clean the path up and escape it a second time.
    pub(super) fn of(request: &Signed<'_>, signed_headers: &[String], service: &str, presigned: bool) -> Result<Self, Refusal> {
        let payload = payload_hash(request, service == "s3", presigned)?;
        Self::of_payload(request, signed_headers, (service, presigned), &payload)
    }

    /// As [`Canonical::of`], with what stands for the body.
    pub(super) fn of_payload(
        request: &Signed<'_>,
        signed_headers: &[String],
        (service, presigned): (&str, bool),
        payload: &str,
    ) -> Result<Self, Refusal> {
        let s3 = service == "s3";
        let path = if s3 { request.path.to_owned() } else { clean_path(request.path)? };
        let mut text = format!("{}\n{}\n{}\n", request.method, escape_path(&path, s3), query(request.query, presigned)?);
        for name in signed_headers {
            let value = header(request, name);
            text.extend([name, ":", &value, "\n"]);
        }
        text.extend(["\n", &signed_headers.join(";"), "\n", payload]);
        Ok(Self { text })
    }
}

/// The body's hash, as the request has it and as it is. S3's clients may leave the body unsigned, or sign it in chunks.
fn payload_hash(request: &Signed<'_>, s3: bool, presigned: bool) -> Result<String, Refusal> {
    let actual = || hex(&Sha256::digest(request.body));
    match request.header("x-amz-content-sha256") {
        Some(said) if s3 && (said == "UNSIGNED-PAYLOAD" || said.starts_with("STREAMING-")) => Ok(said.to_owned()),
        None if s3 && presigned => Ok("UNSIGNED-PAYLOAD".to_owned()),
        Some(said) if said != actual() => {
            Err(Refusal::does_not_match("The value of 'x-amz-content-sha256' is not the hash of the body that was received."))
        }
        Some(_) | None => Ok(actual()),
    }
}

/// A header's values, each trimmed and with its inner blanks folded, in the order in which they came.
fn header(request: &Signed<'_>, name: &str) -> String {
    if name == ":authority" || (name == "host" && !request.headers.contains_key("host")) {
        return request.authority.unwrap_or_default().to_owned();
    }
    let fold = |value: &http::HeaderValue| {
        let text: String = value.as_bytes().iter().map(|b| char::from(*b)).collect();
        // Bytes above ASCII are UTF-8 if they are anything; what isn't can't have been signed by a client that sends UTF-8.
        let text = std::str::from_utf8(value.as_bytes()).map_or(text, str::to_owned);
        text.split([' ', '\t']).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
    };
    request.headers.get_all(name).iter().map(fold).collect::<Vec<_>>().join(",")
}

/// Removes empty and `.` segments, and resolves `..`.
fn clean_path(path: &str) -> Result<String, Refusal> {
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop().ok_or_else(|| Refusal::Incomplete("The path of the request leads out of its root".to_owned()))?;
            }
            other => segments.push(other),
        }
    }
    let folder = path.ends_with('/') || path.ends_with("/.") || path.ends_with("/..");
    let end = if folder && !segments.is_empty() { "/" } else { "" };
    Ok(format!("/{}{end}", segments.join("/")))
}

/// Escapes a path that came escaped once already. For S3 it stays escaped once.
fn escape_path(path: &str, once: bool) -> String {
    let path = if path.is_empty() { "/" } else { path };
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte == b'/' || (once && byte == b'%') { out.push(char::from(byte)) } else { escape_byte(byte, &mut out) }
    }
    out
}

/// The query string, its pairs escaped afresh and sorted; that of a presigned URL without the signature itself.
fn query(query: &str, presigned: bool) -> Result<String, Refusal> {
    let mut pairs = Vec::new();
    for pair in query.split('&').filter(|p| !p.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (escape(&unescape(name)?), escape(&unescape(value)?));
        if !(presigned && name == "X-Amz-Signature") {
            pairs.push((name, value));
        }
    }
    pairs.sort();
    Ok(pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&"))
}

/// The first value of a query parameter.
pub(super) fn query_value(query: &str, name: &str) -> Result<Option<String>, Refusal> {
    let found = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, ""))).find(|(n, _)| *n == name);
    found.map(|(_, value)| String::from_utf8(unescape(value)?).map_err(|_| Refusal::BadQuery)).transpose()
}

/// The first of these query parameters that is given more than once, however its name is escaped: which one counts would be anybody's guess.
pub(super) fn query_twice<'a>(query: &str, names: &[&'a str]) -> Result<Option<&'a str>, Refusal> {
    let mut seen = vec![false; names.len()];
    for pair in query.split('&') {
        let name = unescape(pair.split_once('=').map_or(pair, |(name, _)| name))?;
        if let Some(at) = names.iter().position(|n| n.as_bytes() == name)
            && std::mem::replace(&mut seen[at], true)
        {
            return Ok(Some(names[at]));
        }
    }
    Ok(None)
}

/// Undoes escapes. A plus sign is a space here, as in forms; clients that mean a plus sign send `%2B`.
fn unescape(text: &str) -> Result<Vec<u8>, Refusal> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || bytes.next().and_then(|d| char::from(d).to_digit(16)).ok_or(Refusal::BadQuery);
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high * 16 + low).map_err(|_| Refusal::BadQuery)?
            }
            other => other,
        });
    }
    Ok(out)
}

fn escape(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    bytes.iter().for_each(|byte| escape_byte(*byte, &mut out));
    out
}

/// Escapes all but the unreserved characters of RFC 3986.
fn escape_byte(byte: u8, out: &mut String) {
    const HEX: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
        out.push(char::from(byte));
    } else {
        out.extend(['%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
}
