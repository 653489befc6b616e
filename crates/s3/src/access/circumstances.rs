//! What a request says of itself, for the conditions of policies ("AWS global condition context keys"; "Condition keys for Amazon S3").

use crate::caller::{Caller, canonical_id};
use http::{HeaderMap, HeaderName, Uri, header};
use model::policy::CANONICAL_USER_KEY;
use model::time::Timestamp;
use objects::{Bucket, Version};
use s3s::S3Request;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;
/// What `s3:authType` says of a presigned URL.
const QUERY_STRING: &str = "REST-QUERY-STRING";

/// Whether a list of grants was what let a request through; an extension of each that a line of an access log is written of.
#[derive(Debug, Clone, Default)]
pub(crate) struct AclRequired(Arc<AtomicBool>);

impl AclRequired {
    fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was, since this was last asked.
    pub(crate) fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

/// What a request says of itself; an extension of each that was let through.
#[derive(Debug, Clone)]
pub(crate) struct Circumstances {
    pub(crate) headers: HeaderMap,
    /// Parameters of the URI, decoded.
    query: Vec<(String, String)>,
    peer: Option<IpAddr>,
    now: Timestamp,
    /// Tags that it gives an object.
    tags: Vec<(String, String)>,
    /// Whether it is a form.
    form: bool,
    /// Whether there is an object after it, if it writes one or a part of one.
    creates: Option<bool>,
    /// Told when a list of grants lets it through.
    by_grants: AclRequired,
}

/// What a request is about, beside itself.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) caller: &'a Caller,
    pub(crate) bucket: &'a Bucket,
    pub(crate) version: Option<&'a str>,
    /// The object, if it was looked at.
    pub(crate) object: Option<&'a Version>,
    /// What stands for the prefix of a listing.
    pub(crate) prefix: Option<&'a str>,
}

impl Circumstances {
    pub(crate) fn new(headers: &HeaderMap, uri: &Uri, peer: Option<IpAddr>, now: Timestamp) -> Self {
        let query = uri.query().map(|query| pairs(query.as_bytes())).unwrap_or_default();
        Self {
            headers: headers.clone(),
            query,
            peer,
            now,
            tags: tags(headers),
            form: false,
            creates: None,
            by_grants: AclRequired::default(),
        }
    }

    /// Those of a request that was let through.
    pub(crate) fn of<T>(request: &S3Request<T>) -> Option<Arc<Self>> {
        request.extensions.get().cloned()
    }

    /// The same, known to make an object, or no more than a part of one.
    pub(crate) fn creating(mut self, creates: Option<bool>) -> Self {
        self.creates = creates;
        self
    }

    /// The same, telling when a list of grants lets it through.
    pub(crate) fn telling(mut self, told: Option<&AclRequired>) -> Self {
        if let Some(told) = told {
            self.by_grants = told.clone();
        }
        self
    }

    /// A list of grants let it through.
    pub(super) fn granted(&self) {
        self.by_grants.set();
    }

    /// Whether one did, since this was last asked.
    pub(crate) fn was_granted(&self) -> bool {
        self.by_grants.take()
    }

    /// The same, giving an object these tags.
    pub(crate) fn with_tags(mut self, tags: Vec<(String, String)>) -> Self {
        self.tags = tags;
        self
    }

    /// The same, of a form whose fields stand for these headers: what else its request says of an object isn't done, so that it doesn't
    /// count either.
    pub(crate) fn of_form(mut self, fields: HeaderMap) -> Self {
        self.tags = tags(&fields);
        let counts =
            |name: &HeaderName| !name.as_str().starts_with("x-amz-") && !name.as_str().starts_with("if-") && *name != header::AUTHORIZATION;
        self.headers = self.headers.iter().filter(|(name, _)| counts(name)).map(|(n, v)| (n.clone(), v.clone())).collect();
        self.headers.extend(fields);
        self.form = true;
        self.creates = Some(true);
        self
    }

    /// A parameter of the URI, if it says anything.
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// A header in text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| std::str::from_utf8(value.as_bytes()).ok())
    }

    /// The region that the request was signed for.
    pub(crate) fn region(&self) -> Option<&str> {
        let header = self.header(header::AUTHORIZATION.as_str());
        let named = header.and_then(|value| value.split(['=', ',', ' ']).find(|part| part.ends_with("/aws4_request")));
        named.or_else(|| self.query("X-Amz-Credential"))?.rsplit('/').nth(2)
    }

    /// The values of a condition key, in lower case but for a tag's key.
    pub(crate) fn values(&self, key: &str, subject: &Subject<'_>) -> Option<Vec<String>> {
        if let Some(tag) = key.strip_prefix("s3:existingobjecttag/") {
            return tagged(tag, subject.object?.record.tags.iter());
        }
        if let Some(tag) = key.strip_prefix("s3:requestobjecttag/") {
            return tagged(tag, self.tags.iter().map(|(key, value)| (key, value)));
        }
        if key == "s3:requestobjecttagkeys" {
            return (!self.tags.is_empty()).then(|| self.tags.iter().map(|(key, _)| key.clone()).collect());
        }
        self.value(key, subject).map(|value| vec![value])
    }

    fn value(&self, key: &str, subject: &Subject<'_>) -> Option<String> {
        let account = subject.caller.account();
        let header = |name: &str| self.header(name).map(str::to_owned);
        let (space, name) = key.split_once(':')?;
        match (space, name) {
            ("aws", "sourceip") => self.peer.map(|ip| ip.to_canonical().to_string()),
            // This cloud's endpoint has no TLS.
            ("aws", "securetransport") => Some("false".into()),
            ("aws", "useragent") => header("user-agent"),
            ("aws", "referer") => header("referer"),
            ("aws", "principalaccount" | "userid") => account.map(ToString::to_string),
            ("aws", "principalarn") => account.map(|account| format!("arn:aws:iam::{account}:root")),
            ("aws", "principaltype") => Some(if account.is_some() { "Account" } else { "Anonymous" }.into()),
            ("aws", "currenttime") => Some(self.now.iso8601_seconds()),
            ("aws", "epochtime") => Some((self.now.0 / 1000).to_string()),
            ("aws", "requestedregion") => Some(subject.bucket.region.clone()),
            ("aws" | "s3", "resourceaccount") => Some(subject.bucket.owner.to_string()),
            ("s3", "authtype") => account.map(|_| self.auth_type().to_owned()),
            ("s3", "signatureversion") => account.map(|_| "AWS4-HMAC-SHA256".to_owned()),
            ("s3", "signatureage") => self.signature_age().map(|age| age.to_string()),
            ("s3", "prefix") => subject.prefix.or_else(|| self.query("prefix")).map(str::to_owned),
            ("s3", "delimiter" | "max-keys") => self.query(name).map(str::to_owned),
            ("s3", "versionid") => subject.version.map(str::to_owned),
            ("s3", "objectcreationoperation") => self.creates.map(|creates| creates.to_string()),
            ("s3", "x-amz-copy-source") => self.copy_source(),
            ("s3", "object-lock-mode" | "object-lock-retain-until-date" | "object-lock-legal-hold") => header(&format!("x-amz-{name}")),
            ("s3", "object-lock-remaining-retention-days") => self.retention_days().map(|days| days.to_string()),
            ("s3", "if-match" | "if-none-match") => header(name),
            ("s3", name) if name.starts_with("x-amz-") => header(name),
            _ if key == CANONICAL_USER_KEY => account.map(canonical_id),
            _ => None,
        }
    }

    fn auth_type(&self) -> &'static str {
        match self.query("X-Amz-Credential") {
            _ if self.form => "POST",
            // A header is what was verified, if there is one.
            Some(_) if !self.headers.contains_key(header::AUTHORIZATION) => QUERY_STRING,
            Some(_) | None => "REST-HEADER",
        }
    }

    /// How old a presigned URL is, in milliseconds.
    fn signature_age(&self) -> Option<i64> {
        if self.auth_type() != QUERY_STRING {
            return None;
        }
        let signed: jiff::Timestamp = self.query("X-Amz-Date")?.parse().ok()?;
        Some(self.now.0 - signed.as_millisecond())
    }

    /// Without the slash that may stand before it.
    fn copy_source(&self) -> Option<String> {
        let decoded = percent_encoding::percent_decode_str(self.header("x-amz-copy-source")?).decode_utf8().ok()?;
        Some(decoded.strip_prefix('/').unwrap_or(&decoded).to_owned())
    }

    /// Days until the date that an object is to be retained until.
    fn retention_days(&self) -> Option<i64> {
        let until: jiff::Timestamp = self.header("x-amz-object-lock-retain-until-date")?.parse().ok()?;
        Some((until.as_millisecond() - self.now.0).div_euclid(DAY_MS))
    }
}

/// The value of the tag with this key. Keys of conditions have no case, tags have one, and may be twins but for it: if none is exactly
/// that, all that are without case count.
fn tagged<'a>(key: &str, tags: impl Iterator<Item = (&'a String, &'a String)> + Clone) -> Option<Vec<String>> {
    if let Some((_, value)) = tags.clone().find(|(name, _)| *name == key) {
        return Some(vec![value.clone()]);
    }
    let alike: Vec<_> = tags.filter(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value.clone()).collect();
    (!alike.is_empty()).then_some(alike)
}

fn pairs(text: &[u8]) -> Vec<(String, String)> {
    form_urlencoded::parse(text).map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}

/// The tags of a header.
fn tags(headers: &HeaderMap) -> Vec<(String, String)> {
    headers.get("x-amz-tagging").map(|tags| pairs(tags.as_bytes())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::access::acl;
    use http::Request;
    use objects::Versioning;

    fn around(request: http::request::Builder) -> Circumstances {
        let (head, ()) = request.body(()).unwrap().into_parts();
        Circumstances::new(&head.headers, &head.uri, Some("127.0.0.1".parse().unwrap()), Timestamp(1_795_493_259_042))
    }

    fn bucket() -> Bucket {
        let owner: model::scope::AccountId = "111111111111".parse().unwrap();
        Bucket {
            name: "bucket".into(),
            owner: owner.clone(),
            region: "eu-west-1".into(),
            created: Timestamp(0),
            versioning: Versioning::Off,
            object_lock: false,
            acl: acl::private(&owner),
            ownership: None,
            policy: None,
            public_access_block: None,
            tags: Default::default(),
            documents: Default::default(),
            readings: Default::default(),
        }
    }

    #[test]
    fn keys_of_conditions() {
        let request = Request::get(
            "/bucket?prefix=a%2Fb&max-keys=5&X-Amz-Date=20261124T040730Z&X-Amz-Credential=AKIA%2F20261124%2Feu-west-1%2Fs3%2Faws4_request",
        )
        .header("user-agent", "test")
        .header("x-amz-tagging", "Team=blue&x=1")
        .header("x-amz-copy-source", "/other/key%201")
        .header("x-amz-object-lock-retain-until-date", "2026-11-27T04:07:39Z");
        let (around, bucket) = (around(request), bucket());
        let caller = Caller::Account("222222222222".parse().unwrap());
        let subject = Subject { caller: &caller, bucket: &bucket, version: Some("null"), object: None, prefix: None };
        let value = |key| around.values(key, &subject).map(|all| all.join(","));
        for (key, expected) in [
            ("s3:prefix", Some("a/b")),
            ("s3:max-keys", Some("5")),
            ("s3:delimiter", None),
            ("aws:useragent", Some("test")),
            ("aws:referer", None),
            ("aws:sourceip", Some("127.0.0.1")),
            ("aws:principalarn", Some("arn:aws:iam::222222222222:root")),
            ("aws:principalaccount", Some("222222222222")),
            ("aws:resourceaccount", Some("111111111111")),
            ("aws:securetransport", Some("false")),
            ("aws:currenttime", Some("2026-11-24T04:07:39Z")),
            ("s3:requestobjecttag/team", Some("blue")),
            ("s3:requestobjecttagkeys", Some("Team,x")),
            ("s3:x-amz-copy-source", Some("other/key 1")),
            ("s3:x-amz-acl", None),
            ("s3:versionid", Some("null")),
            ("s3:object-lock-remaining-retention-days", Some("2")),
            ("s3:authtype", Some("REST-QUERY-STRING")),
            ("s3:signatureage", Some("9042")),
            ("s3:existingobjecttag/team", None),
        ] {
            assert_eq!(value(key).as_deref(), expected, "{key}");
        }
        assert_eq!(around.region(), Some("eu-west-1"));
        let listing = Subject { prefix: Some("key"), ..subject };
        assert_eq!(around.values("s3:prefix", &listing), Some(vec!["key".into()]));
    }

    #[test]
    fn only_the_fields_of_a_form_count() {
        let request = Request::post("/bucket?X-Amz-Credential=x&X-Amz-Date=20261124T040730Z")
            .header("x-amz-server-side-encryption", "AES256")
            .header("x-amz-tagging", "a=b")
            .header("if-none-match", "*")
            .header("authorization", "AWS4-HMAC-SHA256 Credential=AKIA/20261124/us-west-2/s3/aws4_request")
            .header("user-agent", "test");
        let (bucket, caller) = (bucket(), Caller::Account("222222222222".parse().unwrap()));
        let fields = [(HeaderName::from_static("x-amz-acl"), "private".parse().unwrap())].into_iter().collect();
        let around = around(request).of_form(fields);
        let subject = Subject { caller: &caller, bucket: &bucket, version: None, object: None, prefix: None };
        for (key, expected) in [
            ("s3:x-amz-server-side-encryption", None),
            ("s3:if-none-match", None),
            ("s3:requestobjecttagkeys", None),
            ("s3:signatureage", None),
            ("s3:x-amz-acl", Some("private")),
            ("s3:authtype", Some("POST")),
            ("aws:useragent", Some("test")),
        ] {
            assert_eq!(around.values(key, &subject).map(|all| all.join(",")).as_deref(), expected, "{key}");
        }
        assert_eq!(around.headers.get("authorization"), None);
    }

    #[test]
    fn twin_tags() {
        let (bucket, caller) = (bucket(), Caller::Anonymous);
        let around = around(Request::put("/bucket/k").header("x-amz-tagging", "Class=public&class=secret&One=1"));
        let subject = Subject { caller: &caller, bucket: &bucket, version: None, object: None, prefix: None };
        for (tag, expected) in [("class", "secret"), ("Class", "public"), ("CLASS", "public,secret"), ("one", "1")] {
            let values = around.values(&format!("s3:requestobjecttag/{tag}"), &subject);
            assert_eq!(values.map(|all| all.join(",")).as_deref(), Some(expected), "{tag}");
        }
    }

    #[test]
    fn regions_of_signatures() {
        let signed = |value: &str| around(Request::get("/b").header("authorization", value)).region().map(str::to_owned);
        let header = "AWS4-HMAC-SHA256 Credential=AKIA/20261124/us-west-2/s3/aws4_request, SignedHeaders=host, Signature=00";
        assert_eq!(signed(header).as_deref(), Some("us-west-2"));
        assert_eq!(signed("Basic x"), None);
    }
}
