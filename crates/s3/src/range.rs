//! Which bytes of an object are asked for.

use crate::error::Result;
use http::{HeaderMap, HeaderValue};
use objects::Version;
use s3s::{S3Error, dto, s3_error};
use std::ops::Range;

/// Whether s3s reads a `Range` header.
pub(crate) fn is_known(value: &HeaderValue) -> bool {
    value.to_str().is_ok_and(|text| dto::Range::parse(text).is_ok())
}

/// A `Range` header as s3s reads it: a place behind the end of every object is the last that it knows. `None`: S3 passes over it, as HTTP
/// wants, since it is of several ranges or of no form that it knows.
pub(crate) fn readable(text: &str) -> Option<String> {
    const LAST: u64 = i64::MAX as u64;
    let number = |digits: &str| {
        let all = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        all.then(|| digits.parse::<u64>().unwrap_or(LAST).min(LAST))
    };
    match text.strip_prefix("bytes=")?.split_once('-')? {
        ("", length) => Some(format!("bytes=-{}", number(length)?)),
        (first, "") => Some(format!("bytes={}-", number(first)?)),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then(|| format!("bytes={first}-{last}"))
        }
    }
}

/// The bytes of a `Range` header, of an object of this size.
///
/// # Errors
/// `InvalidRange` if it has none of them.
pub(crate) fn resolve(asked: dto::Range, size: u64) -> Result<Range<u64>> {
    match asked.check(size) {
        Ok(range) if !range.is_empty() => Ok(range),
        Ok(_) | Err(_) => Err(unsatisfiable(size)),
    }
}

/// The bytes of a part. An object that came in one piece is its only part.
///
/// # Errors
/// `InvalidPartNumber` if there is no such part.
pub(crate) fn part(version: &Version, number: i32) -> Result<Range<u64>> {
    let missing = || crate::error::custom("InvalidPartNumber", 416, "The requested partnumber is not satisfiable");
    if !(1..=10_000).contains(&number) {
        return Err(crate::error::argument("partNumber", number, "Part number must be an integer between 1 and 10000, inclusive"));
    }
    if version.record.parts.is_empty() {
        return if number == 1 { Ok(0..version.size) } else { Err(missing()) };
    }
    let at = usize::try_from(number - 1).ok().filter(|at| *at < version.record.parts.len()).ok_or_else(missing)?;
    let start = version.record.parts[..at].iter().map(|part| part.size).sum::<u64>();
    Ok(start..start + version.record.parts[at].size)
}

/// As in `Content-Range`.
pub(crate) fn show(range: &Range<u64>, size: u64) -> String {
    format!("bytes {}-{}/{size}", range.start, range.end.saturating_sub(1))
}

fn unsatisfiable(size: u64) -> S3Error {
    let mut error = s3_error!(InvalidRange, "The requested range is not satisfiable");
    if let Ok(value) = HeaderValue::from_str(&format!("bytes */{size}")) {
        error.set_headers(HeaderMap::from_iter([(http::header::CONTENT_RANGE, value)]));
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_behind_every_end_are_read() {
        let last = i64::MAX;
        for (text, read) in [
            ("bytes=0-9223372036854775808", Some(format!("bytes=0-{last}"))),
            ("bytes=2-99999999999999999999999", Some(format!("bytes=2-{last}"))),
            ("bytes=9223372036854775808-", Some(format!("bytes={last}-"))),
            ("bytes=99999999999999999999999-99999999999999999999999", Some(format!("bytes={last}-{last}"))),
            ("bytes=-99999999999999999999999", Some(format!("bytes=-{last}"))),
            ("bytes=5-2", None),
            ("bytes=0-1,3-4", None),
            ("bytes=", None),
            ("bytes=-", None),
            ("bytes=+1-2", None),
            ("lines=1-2", None),
        ] {
            assert_eq!(readable(text), read, "{text}");
            assert!(read.is_none_or(|read| dto::Range::parse(&read).is_ok()), "{text}");
        }
    }

    #[test]
    fn ranges_are_cut_off_at_the_end() {
        let read = |text: &str, size| dto::Range::parse(text).ok().map(|range| resolve(range, size).map_err(|e| e.code().clone()));
        let refused = Some(Err(s3s::S3ErrorCode::InvalidRange));
        assert_eq!(read("bytes=2-3", 10), Some(Ok(2..4)));
        assert_eq!(read("bytes=2-", 10), Some(Ok(2..10)));
        assert_eq!(read("bytes=-3", 10), Some(Ok(7..10)));
        assert_eq!(read("bytes=-30", 10), Some(Ok(0..10)));
        assert_eq!(read("bytes=0-99", 10), Some(Ok(0..10)));
        for (text, size) in [("bytes=10-", 10), ("bytes=-0", 10), ("bytes=0-", 0), ("bytes=-5", 0)] {
            assert_eq!(read(text, size), refused, "{text} of {size}");
        }
    }
}
