//! Points in time, as milliseconds since the Unix epoch.

use serde::{Deserialize, Serialize};

/// A point in time, in milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Milliseconds since `earlier`; negative if this is before it.
    #[must_use]
    pub fn millis_since(self, earlier: Self) -> i64 {
        self.0 - earlier.0
    }

    /// This time and `millis` more.
    #[must_use]
    pub fn plus_millis(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// `2026-11-24T04:07:39.000Z`, the form of EC2's replies.
    #[must_use]
    pub fn iso8601(self) -> String {
        self.format("%Y-%m-%dT%H:%M:%S.%3fZ")
    }

    /// `2026-11-24T04:07:39Z`, the form of the identity document.
    #[must_use]
    pub fn iso8601_seconds(self) -> String {
        self.format("%Y-%m-%dT%H:%M:%SZ")
    }

    /// `2026-11-24 04:07:39 GMT`, the form inside EC2's state reasons.
    #[must_use]
    pub fn gmt(self) -> String {
        self.format("%Y-%m-%d %H:%M:%S GMT")
    }

    /// `Tue, 24 Nov 2026 04:07:39 GMT`, the form of HTTP's headers.
    #[must_use]
    pub fn http_date(self) -> String {
        self.format("%a, %d %b %Y %H:%M:%S GMT")
    }

    /// `24/Nov/2026:04:07:39 +0000`, the form of access logs.
    #[must_use]
    pub fn log_date(self) -> String {
        self.format("%d/%b/%Y:%H:%M:%S +0000")
    }

    fn format(self, form: &str) -> String {
        // Out of jiff's range (year 9999) only by a broken clock: show the epoch rather than fail a reply.
        let t = jiff::Timestamp::from_millisecond(self.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        t.strftime(form).to_string()
    }
}

/// Where the present time comes from: the system's clock, or a simulation's.
pub trait Clock: Send + Sync {
    /// The present time.
    fn now(&self) -> Timestamp;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let t = Timestamp(1_795_493_259_042);
        assert_eq!(t.iso8601(), "2026-11-24T04:07:39.042Z");
        assert_eq!(t.iso8601_seconds(), "2026-11-24T04:07:39Z");
        assert_eq!(t.gmt(), "2026-11-24 04:07:39 GMT");
        assert_eq!(t.log_date(), "24/Nov/2026:04:07:39 +0000");
        assert_eq!(t.http_date(), "Tue, 24 Nov 2026 04:07:39 GMT");
    }
}
