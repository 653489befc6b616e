//! Between the model's points in time and s3s's.

use model::time::Timestamp;
use s3s::dto;
use std::time::{Duration, SystemTime};

/// The end of the year 9999, in milliseconds: no form of a date has later ones.
const END_MILLIS: i64 = 253_402_300_799_999;

/// To the millisecond; what is before 1970 or after 9999 as their ends.
pub(crate) fn show(time: Timestamp) -> dto::Timestamp {
    let since = Duration::from_millis(time.0.clamp(0, END_MILLIS).unsigned_abs());
    SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH).into()
}

/// Back from a request.
pub(crate) fn read(time: &dto::Timestamp) -> Timestamp {
    let time: ::time::OffsetDateTime = time.clone().into();
    Timestamp(i64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX))
}

/// As HTTP's headers have it, in whole seconds.
pub(crate) fn http_date(time: Timestamp) -> String {
    text(time, dto::TimestampFormat::HttpDate)
}

/// As S3's headers and documents have it (ISO 8601).
pub(crate) fn iso_date(time: Timestamp) -> String {
    text(time, dto::TimestampFormat::DateTime)
}

fn text(time: Timestamp, format: dto::TimestampFormat) -> String {
    let mut bytes = Vec::with_capacity(32);
    // Writing into memory fails for years only that no timestamp here reaches.
    _ = show(time).format(format, &mut bytes);
    String::from_utf8(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_has_a_text() {
        assert_eq!(http_date(Timestamp(i64::MAX)), "Fri, 31 Dec 9999 23:59:59 GMT");
        assert_eq!(iso_date(Timestamp(i64::MAX)), "9999-12-31T23:59:59.999Z");
        assert_eq!(iso_date(Timestamp(i64::MIN)), "1970-01-01T00:00:00.000Z");
    }
}
