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

/// What a request's host and path name, decoded; an extension of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) bucket: String,
    /// Empty: the bucket itself.
    pub(crate) key: String,
}

impl Target {
    /// What the path names, under the bucket that the host names, if it does. `None`: no bucket, or no text.
    pub(crate) fn new(head: &Parts, of_host: Option<&str>) -> Option<Self> {
        let path = head.uri.path().strip_prefix('/')?;
        let path = percent_encoding::percent_decode_str(path).decode_utf8().ok()?;
        let (bucket, key) = of_host.map_or_else(|| path.split_once('/').unwrap_or((&path, "")), |bucket| (bucket, &path));
        (!bucket.is_empty()).then(|| Self { bucket: bucket.to_owned(), key: key.to_owned() })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_paths_name_targets() {
        let target = |uri: &str, of_host| {
            let head = http::Request::get(uri).body(()).unwrap().into_parts().0;
            Target::new(&head, of_host).map(|target| (target.bucket, target.key))
        };
        let named = |bucket: &str, key: &str| Some((bucket.to_owned(), key.to_owned()));
        assert_eq!(target("/b/a%20b/c", None), named("b", "a b/c"));
        assert_eq!(target("/a%20b/c", Some("b")), named("b", "a b/c"));
        assert_eq!(target("/b", None), named("b", ""));
        assert_eq!(target("/b/", None), named("b", ""));
        assert_eq!(target("/", Some("b")), named("b", ""));
        assert_eq!(target("/", None), None);
        assert_eq!(target("/b/%ff", None), None);
    }
}
