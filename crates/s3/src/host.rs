//! Which bucket a Host header names ("Virtual hosting of general purpose buckets", "Website endpoints").

use s3s::S3Result;
use s3s::host::{S3Host, VirtualHost};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Host names of buckets that aren't there, of which the log tells, since the start.
const STRANGERS_MAX: usize = 100;
/// Longest of them, in bytes: what DNS allows, and a port.
const HOST_BYTES_MAX: usize = 260;

/// What a host name says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named<'a> {
    /// The bucket, if the name has one, in lower case as all of them are.
    pub(crate) bucket: Option<Cow<'a, str>>,
    /// Whether it is a website's endpoint.
    pub(crate) website: bool,
    /// Whether it has one of S3's own labels.
    pub(crate) s3: bool,
}

/// The domains that buckets are named under.
#[derive(Debug, Clone)]
pub(crate) struct Hosts(pub(crate) Vec<String>);

impl Hosts {
    /// Reads `bucket.domain`, `bucket.s3.domain`, `bucket.s3.region.domain`, `bucket.s3-website.region.domain`,
    /// `bucket.s3-website-region.domain`, and the same without a bucket, in whatever case. Any other name is the cloud's own.
    pub(crate) fn read<'a>(&self, host: &'a str) -> Named<'a> {
        const PLAIN: Named<'_> = Named { bucket: None, website: false, s3: false };
        let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit())).map_or(host, |(name, _)| name);
        let front = |domain: &String| {
            let (front, end) = name.split_at_checked(name.len().checked_sub(domain.len())?)?;
            front.strip_suffix('.').filter(|_| end.eq_ignore_ascii_case(domain))
        };
        let fronts = self.0.iter().filter_map(front);
        let Some(front) = fronts.min_by_key(|front| front.len()) else { return PLAIN };
        let mut end = front.len();
        // From the right: at most a region, then S3's label.
        for label in front.rsplit('.').take(2) {
            let start = end - label.len();
            let label = lower(label);
            if label == "s3" || label.starts_with("s3-") {
                let bucket = (start > 0).then(|| lower(&front[..start - 1]));
                return Named { bucket, website: label.starts_with("s3-website"), s3: true };
            }
            end = start.saturating_sub(1);
        }
        Named { bucket: Some(lower(front)), website: false, s3: false }
    }
}

/// In lower case, which most names are in.
fn lower(name: &str) -> Cow<'_, str> {
    if name.bytes().any(|b| b.is_ascii_uppercase()) { Cow::Owned(name.to_ascii_lowercase()) } else { Cow::Borrowed(name) }
}

impl S3Host for Hosts {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        let named = self.read(host);
        let virtual_host = VirtualHost::new(Cow::Borrowed(host));
        Ok(match named.bucket {
            Some(bucket) => virtual_host.with_bucket(bucket),
            None => virtual_host,
        })
    }
}

/// Host names that stood for buckets that aren't there. A name under one of the cloud's domains is a bucket's: who meant the cloud itself
/// by it sees only that there is no such bucket.
#[derive(Debug, Default)]
pub(crate) struct Strangers(Mutex<BTreeSet<String>>);

impl Strangers {
    /// Says so in the log, once of each name. Whether it did.
    pub(crate) fn tell(&self, host: &str, bucket: &str) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if host.len() > HOST_BYTES_MAX || told.len() >= STRANGERS_MAX || !told.insert(host.to_owned()) {
            return false;
        }
        tracing::info!(?host, ?bucket, "there is no such bucket: the request's host names it, under one of s3.domains");
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_told_of_once_and_not_for_ever() {
        let strangers = Strangers::default();
        assert!(strangers.tell("cloud.localhost", "cloud") && !strangers.tell("cloud.localhost", "cloud"));
        assert!(!strangers.tell(&"a".repeat(HOST_BYTES_MAX + 1), "a"));
        let told = (0..STRANGERS_MAX).filter(|n| strangers.tell(&format!("b{n}.localhost"), "b")).count();
        assert_eq!(told, STRANGERS_MAX - 1);
    }

    #[test]
    fn hosts_name_buckets() {
        let hosts = Hosts(vec!["localhost".into(), "cloud.example.com".into()]);
        for (host, bucket, website, s3) in [
            ("localhost:4566", None, false, false),
            ("127.0.0.1:4566", None, false, false),
            ("[::1]:4566", None, false, false),
            ("elsewhere.org", None, false, false),
            ("b.localhost:4566", Some("b"), false, false),
            ("a.b.localhost", Some("a.b"), false, false),
            ("s3.localhost", None, false, true),
            ("b.s3.localhost", Some("b"), false, true),
            ("a.b.s3.eu-west-1.cloud.example.com", Some("a.b"), false, true),
            ("s3.eu-west-1.cloud.example.com:80", None, false, true),
            ("b.s3-website.eu-west-1.localhost", Some("b"), true, true),
            ("b.s3-website-us-east-1.localhost", Some("b"), true, true),
            ("evillocalhost", None, false, false),
            ("A.B.LocalHost:80", Some("a.b"), false, false),
            ("B.S3-Website.EU-West-1.LOCALHOST", Some("b"), true, true),
            ("élocalhost", None, false, false),
        ] {
            let bucket = bucket.map(Cow::Borrowed);
            assert_eq!(hosts.read(host), Named { bucket, website, s3 }, "{host}");
        }
    }
}
