//! Which bytes of an object are asked for.

use crate::error::Result;
use http::{HeaderMap, HeaderValue};
use objects::Version;
use s3s::{S3Error, dto, s3_error};
use std::ops::Range;

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
        return Err(s3_error!(InvalidArgument, "Part number must be an integer between 1 and 10000, inclusive"));
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
