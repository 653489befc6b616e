//! An object's tags: from a header, from a document, and back.

use crate::error::{Result, custom};
use http::HeaderMap;
use s3s::dto::Tag;
use s3s::{S3Error, s3_error};
use std::collections::BTreeMap;

/// Most tags of an object ("Categorizing your objects using tags").
const TAGS_MAX: usize = 10;
/// Longest key, in characters.
const KEY_CHARS_MAX: usize = 128;
/// Longest value, in characters.
const VALUE_CHARS_MAX: usize = 256;

/// The tags of `x-amz-tagging`.
///
/// # Errors
/// `InvalidArgument` for what is no query, `BadRequest` for too many, `InvalidTag` for one that can't be.
pub(crate) fn of_header(headers: &HeaderMap) -> Result<BTreeMap<String, String>> {
    let Some(header) = headers.get("x-amz-tagging") else { return Ok(BTreeMap::new()) };
    let mut tags = BTreeMap::new();
    let mut count = 0;
    for (key, value) in form_urlencoded::parse(header.as_bytes()) {
        count += 1;
        check(&key, &value)?;
        if tags.insert(key.into_owned(), value.into_owned()).is_some() {
            let text =
                "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.";
            return Err(s3_error!(InvalidArgument, "{text}"));
        }
    }
    limit(count)?;
    Ok(tags)
}

/// The tags of a document.
///
/// # Errors
/// `BadRequest` for too many, `InvalidTag`.
pub(crate) fn of_set(set: Vec<Tag>) -> Result<BTreeMap<String, String>> {
    limit(set.len())?;
    let mut tags = BTreeMap::new();
    for Tag { key, value } in set {
        let (key, value) = (key.unwrap_or_default(), value.unwrap_or_default());
        check(&key, &value)?;
        if tags.insert(key, value).is_some() {
            return Err(s3_error!(InvalidTag, "Cannot provide multiple Tags with the same key"));
        }
    }
    Ok(tags)
}

/// As in a document.
pub(crate) fn show(tags: &BTreeMap<String, String>) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag { key: Some(key.clone()), value: Some(value.clone()) }).collect()
}

fn limit(count: usize) -> Result<()> {
    if count > TAGS_MAX { Err(custom("BadRequest", 400, "Object tags cannot be greater than 10")) } else { Ok(()) }
}

fn check(key: &str, value: &str) -> Result<()> {
    let allowed = |text: &str| text.chars().all(|c| c.is_alphanumeric() || c == ' ' || "_.:/=+-@".contains(c));
    let refused = |text: &str| -> Result<(), S3Error> { Err(s3_error!(InvalidTag, "{text}")) };
    match (key, value) {
        (key, _) if key.is_empty() || key.chars().count() > KEY_CHARS_MAX || !allowed(key) => {
            refused("The TagKey you have provided is invalid")
        }
        (key, _) if key.starts_with("aws:") => refused("Your TagKey cannot be prefixed with aws:"),
        (_, value) if value.chars().count() > VALUE_CHARS_MAX || !allowed(value) => refused("The TagValue you have provided is invalid"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn read(text: &str) -> Result<usize, String> {
        let value = HeaderValue::from_bytes(text.as_bytes()).map_err(|e| e.to_string())?;
        of_header(&HeaderMap::from_iter([(http::HeaderName::from_static("x-amz-tagging"), value)]))
            .map(|tags| tags.len())
            .map_err(|e| e.code().as_str().to_owned())
    }

    #[test]
    fn headers_of_tags_have_limits() {
        let many = |count: usize| (0..count).map(|i| format!("k{i}=v")).collect::<Vec<_>>().join("&");
        let refused = |code: &str| Err(code.to_owned());
        assert_eq!(read(""), Ok(0));
        assert_eq!(read("a=1&b=%C3%A4&c"), Ok(3));
        assert_eq!(read(&many(10)), Ok(10));
        assert_eq!(read(&many(11)), refused("BadRequest"));
        assert_eq!(read("a=1&a=2"), refused("InvalidArgument"));
        assert_eq!(read(&format!("{}=v", "k".repeat(129))), refused("InvalidTag"));
        assert_eq!(read(&format!("k={}", "v".repeat(257))), refused("InvalidTag"));
        assert_eq!(read("aws:x=1"), refused("InvalidTag"));
        assert_eq!(read("=1"), refused("InvalidTag"));
    }
}
