//! Points in time as AWS's protocols write them.

/// A point in time, in milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Reads what clients send: ISO 8601 (`2026-11-24T04:07:39Z`, with a fraction or an offset, or a date alone), or seconds since the
    /// epoch, whole or with a fraction. `None` if it is neither.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(t) = text.parse::<jiff::Timestamp>() {
            return Some(Self(t.as_millisecond()));
        }
        if let Ok(date) = text.parse::<jiff::civil::Date>()
            && text.len() == "2026-11-24".len()
        {
            return jiff::tz::Offset::UTC.to_timestamp(date.at(0, 0, 0, 0)).ok().map(|t| Self(t.as_millisecond()));
        }
        if let Ok(seconds) = text.parse::<i64>() {
            return jiff::Timestamp::from_second(seconds).ok().map(|t| Self(t.as_millisecond()));
        }
        let seconds: f64 = text.parse().ok()?;
        let millis = seconds * 1000.0;
        // Beyond 2^53 milliseconds a float has no milliseconds; no date that jiff knows is so far away.
        if !millis.is_finite() || millis.abs() > 9_007_199_254_740_992.0 {
            return None;
        }
        #[allow(clippy::cast_possible_truncation)]
        let millis = millis.round() as i64;
        jiff::Timestamp::from_millisecond(millis).ok().map(|t| Self(t.as_millisecond()))
    }

    /// `2026-11-24T04:07:39.000Z`: the form of XML replies.
    #[must_use]
    pub fn iso8601(self) -> String {
        // Out of jiff's range (year 9999) only by a broken clock: show the epoch rather than fail a reply.
        let t = jiff::Timestamp::from_millisecond(self.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let c = jiff::tz::Offset::UTC.to_datetime(t);
        format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
            c.year(),
            c.month(),
            c.day(),
            c.hour(),
            c.minute(),
            c.second(),
            c.subsec_nanosecond() / 1_000_000
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_that_clients_send() {
        let t = Timestamp(1_795_493_259_000);
        for text in
            ["2026-11-24T04:07:39Z", "2026-11-24T04:07:39.000Z", "2026-11-24T05:07:39+01:00", "1795493259", "1795493259.0", "1.795493259e9"]
        {
            assert_eq!(Timestamp::parse(text), Some(t), "{text}");
        }
        assert_eq!(Timestamp::parse("2026-11-24T04:07:39.042Z"), Some(Timestamp(t.0 + 42)));
        assert_eq!(Timestamp::parse("2026-11-24"), Some(Timestamp(1_795_478_400_000)));
        for text in ["", "now", "2026-13-01T00:00:00Z", "NaN", "inf", "1e300", "99999999999999999999"] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }

    #[test]
    fn written_with_milliseconds() {
        assert_eq!(Timestamp(1_795_493_259_042).iso8601(), "2026-11-24T04:07:39.042Z");
        assert_eq!(Timestamp(-1).iso8601(), "1969-12-31T23:59:59.999Z");
        assert_eq!(Timestamp(i64::MAX).iso8601(), "1970-01-01T00:00:00.000Z");
    }
}
