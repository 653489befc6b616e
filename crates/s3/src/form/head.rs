//! What stands before the file of a form: its fields (RFC 7578; "POST Object").

use s3s::{S3Error, s3_error};

/// Most bytes before the file ("The form data and boundaries (excluding the contents of the file) cannot exceed 20K").
pub(super) const HEAD_BYTES_MAX: usize = 20 * 1024;

/// What stands before the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Names are in lower case.
    pub(super) fields: Vec<(String, String)>,
    /// The file's name as the client has it, without folders.
    pub(super) filename: Option<String>,
    /// Where the file's content begins.
    pub(super) length: usize,
}

/// The boundary that a Content-Type names.
pub(super) fn boundary(content_type: &str) -> Option<String> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let boundary = parameter(parameters, "boundary")?;
    // RFC 2046: 1 to 70 characters.
    ((1..=70).contains(&boundary.len())).then_some(boundary)
}

/// A parameter of a header, out of its quotes.
fn parameter(text: &str, name: &str) -> Option<String> {
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([';', ' ', '\t']);
        let (key, value) = rest.split_once('=')?;
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => value.split_at(value.find(';').unwrap_or(value.len())),
        };
        if key.trim().eq_ignore_ascii_case(name) {
            return Some(value.trim().to_owned());
        }
        rest = after;
    }
}

/// Reads what has come of a form. `None`: the file has not begun.
///
/// # Errors
/// `MalformedPOSTRequest`, `InvalidArgument` for a form without a file, `MaxPostPreDataLengthExceededError`.
pub(super) fn parse(text: &[u8], boundary: &str) -> Result<Option<Head>, S3Error> {
    let too_long = || s3_error!(MaxPostPreDataLengthExceededError, "Your POST request fields preceding the upload file were too large.");
    let incomplete = || if text.len() > HEAD_BYTES_MAX { Err(too_long()) } else { Ok(None) };
    let delimiter = format!("\r\n--{boundary}");
    // The first one may stand at the very beginning.
    let first = &delimiter.as_bytes()[2..];
    let mut at = match text {
        t if t.starts_with(first) => first.len(),
        t if t.starts_with(delimiter.as_bytes()) => delimiter.len(),
        t if t.len() < delimiter.len() => return incomplete(),
        _ => return Err(malformed()),
    };
    let mut fields = Vec::new();
    loop {
        let Some(after) = text.get(at..at + 2) else { return incomplete() };
        match after {
            b"--" => return Err(s3_error!(InvalidArgument, "POST requires exactly one file upload per request.")),
            b"\r\n" => at += 2,
            _ => return Err(malformed()),
        }
        let Some(headers) = find(&text[at..], b"\r\n\r\n") else { return incomplete() };
        let (name, filename) = named(&text[at..at + headers])?;
        at += headers + 4;
        if at > HEAD_BYTES_MAX {
            return Err(too_long());
        }
        if name == "file" {
            return Ok(Some(Head { fields, filename, length: at }));
        }
        let Some(end) = find(&text[at..], delimiter.as_bytes()) else { return incomplete() };
        let value = std::str::from_utf8(&text[at..at + end]).map_err(|_| malformed())?;
        fields.push((name, value.to_owned()));
        at += end + delimiter.len();
    }
}

/// The name of a part, in lower case, and of the file in it.
fn named(headers: &[u8]) -> Result<(String, Option<String>), S3Error> {
    let headers = std::str::from_utf8(headers).map_err(|_| malformed())?;
    let lines = headers.split("\r\n").filter_map(|line| line.split_once(':'));
    let disposition = lines.filter(|(name, _)| name.trim().eq_ignore_ascii_case("content-disposition")).map(|(_, value)| value).next();
    let (kind, parameters) = disposition.and_then(|d| d.split_once(';')).ok_or_else(malformed)?;
    let name = parameter(parameters, "name").filter(|_| kind.trim().eq_ignore_ascii_case("form-data")).ok_or_else(malformed)?;
    // It is written anew between quotes.
    if name.is_empty() || name.contains(|c: char| c.is_control() || c == '"') {
        return Err(malformed());
    }
    let filename = parameter(parameters, "filename").map(|f| f.rsplit(['/', '\\']).next().unwrap_or_default().to_owned());
    Ok((name.to_ascii_lowercase(), filename))
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

pub(super) fn malformed() -> S3Error {
    s3_error!(MalformedPOSTRequest, "The body of your POST request is not well-formed multipart/form-data.")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const FORM: &str = "--b\r\nContent-Disposition: form-data; name=\"Key\"\r\n\r\na${filename}\r\n--b\r\ncontent-disposition: form-data; name=acl; filename=\"x\"\r\nContent-Type: text/plain\r\n\r\n\r\n--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"C:\\dir\\f.txt\"\r\n\r\nbody\r\n--b--\r\n";

    #[test]
    fn fields_and_file_are_found_however_they_come() {
        for text in [FORM.to_owned(), format!("\r\n{FORM}")] {
            let begins = text.find("body").unwrap();
            for length in 0..begins {
                assert_eq!(parse(&text.as_bytes()[..length], "b").unwrap(), None, "{length}");
            }
            for length in begins..=text.len() {
                let head = parse(&text.as_bytes()[..length], "b").unwrap().unwrap();
                assert_eq!(head.fields, [("key".to_owned(), "a${filename}".to_owned()), ("acl".to_owned(), String::new())]);
                assert_eq!((head.filename.as_deref(), head.length), (Some("f.txt"), begins));
            }
        }
    }

    #[test]
    fn what_is_no_form_is_refused() {
        let code = |text: &str| parse(text.as_bytes(), "b").err().map(|e| e.code().as_str().to_owned()).unwrap_or_default();
        assert_eq!(code("something else"), "MalformedPOSTRequest");
        assert_eq!(code("--bc\r\n"), "MalformedPOSTRequest");
        assert_eq!(code("--b\r\nContent-Disposition: form-data\r\n\r\n"), "MalformedPOSTRequest");
        assert_eq!(code("--b\r\nContent-Type: a/b\r\n\r\n"), "MalformedPOSTRequest");
        assert_eq!(code("--b\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nk\r\n--b--\r\n"), "InvalidArgument");
        let long = format!("--b\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\n{}", "k".repeat(HEAD_BYTES_MAX));
        assert_eq!(code(&long), "MaxPostPreDataLengthExceededError");
    }

    #[test]
    fn boundaries() {
        assert_eq!(boundary("multipart/form-data; boundary=abc").as_deref(), Some("abc"));
        assert_eq!(boundary("Multipart/Form-Data; charset=utf-8; boundary=\"a b\"").as_deref(), Some("a b"));
        assert_eq!(boundary("multipart/form-data"), None);
        assert_eq!(boundary("text/plain; boundary=abc"), None);
    }
}
