//! The values that conditions compare ("AWS JSON policy elements: Condition operators").

use base64::Engine as _;
use ipnet::IpNet;
use std::net::IpAddr;

/// Networks of an IpAddress condition.
pub(super) type Nets = Vec<IpNet>;

/// Digits after the point that a number may have; with the digits before it, what an `i128` holds.
const DECIMALS: usize = 12;
/// Digits before the point that a number may have.
const INTEGER_DIGITS_MAX: usize = 24;

/// A number, exactly, in units of 10^-12. No float: two numbers that differ must not be equal.
pub(super) fn number(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() && fraction.is_empty() || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    if whole.len() > INTEGER_DIGITS_MAX || fraction.len() > DECIMALS {
        return None;
    }
    let units: i128 = format!("{whole}{fraction:0<DECIMALS$}").parse().ok()?;
    Some(if negative { -units } else { units })
}

/// A point in time, in milliseconds since 1970: a form of ISO 8601 as W3C has it (from a year alone to fractions of a second), or
/// seconds since 1970. Four digits are a year.
pub(super) fn date(text: &str) -> Option<i64> {
    if text.len() != 4 && !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse::<i64>().ok()?.checked_mul(1000);
    }
    let whole = match text.len() {
        4 => format!("{text}-01-01T00:00:00Z"),
        7 => format!("{text}-01T00:00:00Z"),
        10 => format!("{text}T00:00:00Z"),
        _ => text.to_owned(),
    };
    whole.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond)
}

/// `true` or `false`, in any letters.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        t if t.eq_ignore_ascii_case("true") => Some(true),
        t if t.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// Bytes in base64.
pub(super) fn bytes(text: &str) -> Option<Vec<u8>> {
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}

/// An address or a range in CIDR notation.
pub(super) fn net(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from)).map(|net: IpNet| net.trunc())
}

/// Whether an address is in a range. An IPv4 address that came through a socket of IPv6 is itself.
pub(super) fn contains(net: &IpNet, address: &str) -> bool {
    address.parse::<IpAddr>().is_ok_and(|address| net.contains(&address.to_canonical()))
}
