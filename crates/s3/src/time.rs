//! Between the model's points in time and s3s's.

use model::time::Timestamp;
use std::time::{Duration, SystemTime};

/// To the millisecond.
pub(crate) fn show(time: Timestamp) -> s3s::dto::Timestamp {
    let since = Duration::from_millis(time.0.max(0).unsigned_abs());
    SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH).into()
}
