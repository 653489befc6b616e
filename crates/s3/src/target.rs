//! What a request's path and query say, for those who look before s3s does.

use http::request::Parts;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};

/// What stands in a path as it is (RFC 3986, unreserved), and slashes.
pub(crate) const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

/// The parameters of the query, not decoded; one without a value has an empty one.
pub(crate) fn parameters(head: &Parts) -> impl Iterator<Item = (&str, &str)> {
    head.uri.query().unwrap_or_default().split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// Whether the path names an object; `bucket_in_host`: all of it is a key.
pub(crate) fn is_object(head: &Parts, bucket_in_host: bool) -> bool {
    let path = head.uri.path().trim_start_matches('/');
    if bucket_in_host { !path.is_empty() } else { path.split_once('/').is_some_and(|(_, key)| !key.is_empty()) }
}
