//! Between the model's points in time and s3s's.

use model::time::Timestamp;
use std::time::{Duration, SystemTime};

/// To the millisecond.
pub(crate) fn show(time: Timestamp) -> s3s::dto::Timestamp {
    let since = Duration::from_millis(time.0.max(0).unsigned_abs());
    SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH).into()
}

/// Back from a request.
pub(crate) fn read(time: &s3s::dto::Timestamp) -> Timestamp {
    let time: ::time::OffsetDateTime = time.clone().into();
    Timestamp(i64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX))
}
