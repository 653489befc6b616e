//! Object lock: what a write asks for or its bucket gives, and what replies say ("Locking objects with Object Lock").

use crate::configuration::reading;
use crate::error::{self, Result};
use crate::record::put;
use crate::time;
use http::HeaderMap;
use model::time::Timestamp;
use objects::{Bucket, Lock, LockMode};
use s3s::dto::{self, ObjectLockConfiguration, TimestampFormat};
use s3s::{S3Error, s3_error};

const DAY_MILLIS: i64 = 24 * 60 * 60 * 1000;

/// The header that says until when.
const UNTIL: &str = "x-amz-object-lock-retain-until-date";

/// Whether a write's headers ask for a lock.
pub(crate) fn asked(headers: &HeaderMap) -> bool {
    ["x-amz-object-lock-mode", "x-amz-object-lock-retain-until-date", "x-amz-object-lock-legal-hold"]
        .iter()
        .any(|n| headers.contains_key(*n))
}

/// What a write's headers ask for, else its bucket's default.
///
/// # Errors
/// `InvalidRequest` if the bucket has no object lock, `InvalidArgument`.
pub(crate) fn of_request(bucket: &Bucket, headers: &HeaderMap, now: Timestamp) -> Result<Lock> {
    if asked(headers) && !bucket.object_lock {
        return Err(missing());
    }
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let legal_hold = text("x-amz-object-lock-legal-hold").map(hold).transpose()?;
    let retention = match (text("x-amz-object-lock-mode"), text(UNTIL)) {
        (None, None) => of_bucket(bucket, now)?,
        (Some(mode_name), Some(until)) => {
            let wrong = |_| error::argument(UNTIL, until, "The retain until date must be provided in ISO 8601 format");
            let until = dto::Timestamp::parse(TimestampFormat::DateTime, until).map_err(wrong)?;
            Some((mode(mode_name)?, future(time::read(&until), now)?))
        }
        _ => {
            let text = "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied";
            return Err(s3_error!(InvalidArgument, "{text}"));
        }
    };
    Ok(Lock { mode: retention.map(|(mode, _)| mode), until: retention.map(|(_, until)| until), legal_hold })
}

/// The bucket has no object lock.
pub(crate) fn missing() -> S3Error {
    s3_error!(InvalidRequest, "Bucket is missing Object Lock Configuration")
}

/// A mode by its name.
pub(crate) fn mode(name: &str) -> Result<LockMode> {
    match name {
        "GOVERNANCE" => Ok(LockMode::Governance),
        "COMPLIANCE" => Ok(LockMode::Compliance),
        _ => Err(error::argument("x-amz-object-lock-mode", name, "Unknown wormMode directive.")),
    }
}

/// As in requests and replies.
pub(crate) fn mode_name(mode: LockMode) -> &'static str {
    match mode {
        LockMode::Governance => "GOVERNANCE",
        LockMode::Compliance => "COMPLIANCE",
    }
}

/// A date that is still to come.
pub(crate) fn future(until: Timestamp, now: Timestamp) -> Result<Timestamp> {
    if until > now { Ok(until) } else { Err(error::argument(UNTIL, until.iso8601(), "The retain until date must be in the future!")) }
}

fn hold(status: &str) -> Result<bool> {
    match status {
        "ON" => Ok(true),
        "OFF" => Ok(false),
        _ => Err(error::argument("x-amz-object-lock-legal-hold", status, "Legal Hold must be either of 'ON' or 'OFF'")),
    }
}

/// The default retention of a bucket.
fn of_bucket(bucket: &Bucket, now: Timestamp) -> Result<Option<(LockMode, Timestamp)>> {
    let read = |found: ObjectLockConfiguration| {
        let Some(default) = found.rule.and_then(|rule| rule.default_retention) else { return Ok(None) };
        let Some(name) = &default.mode else { return Ok(None) };
        let days = i64::from(default.days.unwrap_or_default()) + 365 * i64::from(default.years.unwrap_or_default());
        Ok(Some((mode(name.as_str())?, days)))
    };
    let default = reading(bucket, "object-lock", read)?.and_then(|default| *default);
    Ok(default.map(|(mode, days)| (mode, Timestamp(now.0.saturating_add(days.saturating_mul(DAY_MILLIS))))))
}

/// Puts a version's lock into a reply.
pub(crate) fn show(lock: &Lock, headers: &mut HeaderMap) {
    if let (Some(mode), Some(until)) = (lock.mode, lock.until) {
        put(headers, "x-amz-object-lock-mode", mode_name(mode));
        put(headers, "x-amz-object-lock-retain-until-date", &time::iso_date(until));
    }
    if let Some(held) = lock.legal_hold {
        put(headers, "x-amz-object-lock-legal-hold", if held { "ON" } else { "OFF" });
    }
}
