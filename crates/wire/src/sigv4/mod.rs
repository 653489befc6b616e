//! Signature Version 4: who sent a request, and whether they may be believed.
//!
//! The order of the checks, their codes and their words are AWS's: see [`verify`]. From "Signature Version 4 signing process" and
//! "Troubleshoot Signature Version 4 signing" of the IAM User Guide, and from what AWS's services answer.
//!
//! Not here: SigV2 (refused as unsigned), SigV4a, chunked payloads and S3's own codes.

mod canonical;
mod refusal;
mod resign;

use crate::{ApiError, Protocol, Timestamp};
use canonical::Canonical;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::HeaderMap;
use http::request::Parts;
use refusal::Refusal;
pub use resign::resign;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use subtle::ConstantTimeEq as _;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const TERMINATOR: &str = "aws4_request";
/// How far a client's clock may be off, in milliseconds.
const MAX_SKEW_MILLIS: i64 = 15 * 60 * 1000;
/// The longest life of a presigned URL, in seconds: a week. Only S3 lets a URL live as long as it says; with all other services it is a request
/// like others, and `X-Amz-Expires` is only checked for its form ("Presign" of AWS's SDK for Go; clients of EKS count on it).
const MAX_EXPIRES_SECONDS: i64 = 604_800;
/// What a presigned URL carries its signature in.
const QUERY_PARAMETERS: [&str; 7] = [
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-Security-Token",
    "X-Amz-Signature",
    "X-Amz-SignedHeaders",
];
/// Bytes of an `Authorization` header that are looked at.
const MAX_AUTHORIZATION_BYTES: usize = 8192;

/// What of a request is signed.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    /// `GET`, `POST` …
    pub method: &'a str,
    /// The path as it came, escapes and all.
    pub path: &'a str,
    /// The query string as it came, without its question mark.
    pub query: &'a str,
    /// The host of an HTTP/2 request, which has no `Host` header.
    pub authority: Option<&'a str>,
    /// All headers.
    pub headers: &'a HeaderMap,
    /// The whole body.
    pub body: &'a [u8],
}

impl<'a> Signed<'a> {
    /// What of this request is signed.
    #[must_use]
    pub fn of(parts: &'a Parts, body: &'a [u8]) -> Self {
        Self {
            method: parts.method.as_str(),
            path: parts.uri.path(),
            query: parts.uri.query().unwrap_or_default(),
            authority: parts.uri.authority().map(http::uri::Authority::as_str),
            headers: &parts.headers,
            body,
        }
    }

    fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.get(name)?.to_str().ok().map(str::trim)
    }
}

/// A key as the cloud knows it.
#[derive(Debug, Clone)]
pub struct Key {
    /// The secret access key.
    pub secret: String,
    /// For temporary keys: what the request must carry.
    pub session: Option<Session>,
}

/// The session that a temporary key belongs to.
#[derive(Debug, Clone)]
pub struct Session {
    /// The session token.
    pub token: String,
    /// The first moment at which the key is no longer good.
    pub expires: Timestamp,
}

/// What a service holds requests against.
pub struct Rules<'a> {
    /// Whose codes and words a refusal has.
    pub protocol: Protocol,
    /// The service's signing name, if the request has to be for one.
    pub service: Option<&'a str>,
    /// Whether the cloud has this region.
    pub region: &'a dyn Fn(&str) -> bool,
    /// The present time.
    pub now: Timestamp,
}

/// Who sent a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The access key id.
    pub access_key: String,
    /// The region that the request is for.
    pub region: String,
    /// The service that it is for, by signing name.
    pub service: String,
    /// When it was signed.
    pub signed_at: Timestamp,
    /// The session token it carried, checked.
    pub token: Option<String>,
}

/// A credential's parts, not yet believed: `AKIA…/20261124/us-east-1/ec2/aws4_request`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope<'a> {
    /// The access key id.
    pub access_key: &'a str,
    /// `YYYYMMDD`.
    pub date: &'a str,
    /// The region.
    pub region: &'a str,
    /// The service's signing name.
    pub service: &'a str,
    /// `aws4_request`.
    pub terminator: &'a str,
}

impl<'a> Scope<'a> {
    fn parse(credential: &'a str) -> Option<Self> {
        let mut parts = credential.split('/');
        let mut next = || parts.next();
        let scope = Self { access_key: next()?, date: next()?, region: next()?, service: next()?, terminator: next()? };
        parts.next().is_none().then_some(scope)
    }
}

/// The signing name that a request claims to be for: enough to know its protocol, even for refusing it.
#[must_use]
pub fn claimed_service(request: &Signed<'_>) -> Option<String> {
    let claim = Claim::read(request).ok()?;
    Scope::parse(&claim.credential).map(|s| s.service.to_owned())
}

/// The access key that a request claims to be signed by.
#[must_use]
pub fn claimed_access_key(request: &Signed<'_>) -> Option<String> {
    let claim = Claim::read(request).ok()?;
    Scope::parse(&claim.credential).map(|s| s.access_key.to_owned())
}

/// Checks a request's signature, in AWS's order: that there is one, that it is whole, that it covers what it must, its time, its scope, its
/// key, then itself.
///
/// `lookup` finds a key by its id.
///
/// # Errors
/// The first check that fails, with the code and status of the service's protocol.
pub fn verify(request: &Signed<'_>, rules: &Rules<'_>, lookup: impl FnOnce(&str) -> Option<Key>) -> Result<Verified, ApiError> {
    check(request, rules, lookup).map_err(|refusal| refusal.into_error(rules.protocol))
}

fn check(request: &Signed<'_>, rules: &Rules<'_>, lookup: impl FnOnce(&str) -> Option<Key>) -> Result<Verified, Refusal> {
    let claim = Claim::read(request)?;
    // Only now, since a claim that is read tells the protocol to refuse it in.
    if claim.presigned
        && let Some(twice) = canonical::query_twice(request.query, &QUERY_PARAMETERS)?
    {
        return Err(Refusal::Incomplete(format!("AWS query-string parameters must include '{twice}' only once.")));
    }
    claim.covers(request)?;
    let signed_at = parse_date(&claim.date).ok_or_else(|| Refusal::bad_date(&claim.date))?;
    let scope = Scope::parse(&claim.credential);
    claim.in_time(signed_at, rules.now, scope.is_some_and(|s| s.service == "s3"))?;
    let scope = scope.ok_or_else(|| Refusal::bad_credential(&claim.credential))?;
    in_scope(&scope, &claim.date, rules)?;
    let key = lookup(scope.access_key).ok_or(Refusal::UnknownKey)?;
    // A token on a key that has none is as wrong as none on a key that has one.
    let token_fits = match (&key.session, &claim.token) {
        (None, None) => true,
        (Some(session), Some(token)) => bool::from(session.token.as_bytes().ct_eq(token.as_bytes())),
        (None, Some(_)) | (Some(_), None) => false,
    };
    if !token_fits {
        return Err(Refusal::UnknownKey);
    }
    let canonical = Canonical::of(request, &claim.signed_headers, scope.service, claim.presigned)?;
    let expected = signature(&canonical.text, &claim.date, &scope, &key.secret);
    if !bool::from(expected.as_bytes().ct_eq(claim.signature.as_bytes())) {
        return Err(Refusal::mismatch(&canonical.text, &string_to_sign(&canonical.text, &claim.date, &scope)));
    }
    if key.session.is_some_and(|session| session.expires <= rules.now) {
        return Err(Refusal::ExpiredToken);
    }
    Ok(Verified {
        access_key: scope.access_key.to_owned(),
        region: scope.region.to_owned(),
        service: scope.service.to_owned(),
        signed_at,
        token: claim.token,
    })
}

/// The value of the `Authorization` header for a request that has its `x-amz-date` already. All its headers get signed.
///
/// # Errors
/// If the request can't be signed: its path climbs out of the root, or its date is missing.
pub fn sign(request: &Signed<'_>, access_key: &str, secret: &str, region: &str, service: &str) -> Result<String, ApiError> {
    let date = request.header("x-amz-date").ok_or_else(|| ApiError::new("IncompleteSignature", "The request has no X-Amz-Date header"))?;
    let mut names: Vec<String> = request.headers.keys().map(|name| name.as_str().to_owned()).collect();
    if request.authority.is_some() && !request.headers.contains_key("host") {
        names.push("host".to_owned());
    }
    names.sort();
    let canonical = Canonical::of(request, &names, service, false).map_err(|refusal| refusal.into_error(Protocol::Query))?;
    let scope = Scope { access_key, date: date.get(..8).unwrap_or(date), region, service, terminator: TERMINATOR };
    let signature = signature(&canonical.text, date, &scope, secret);
    let Scope { date, .. } = scope;
    Ok(format!(
        "{ALGORITHM} Credential={access_key}/{date}/{region}/{service}/{TERMINATOR}, SignedHeaders={}, Signature={signature}",
        names.join(";")
    ))
}

/// What a request says of its own signature.
struct Claim {
    credential: String,
    signed_headers: Vec<String>,
    signature: String,
    date: String,
    token: Option<String>,
    /// By query string instead of header.
    presigned: bool,
    /// Seconds that a presigned URL lives.
    expires: Option<i64>,
}

impl Claim {
    fn read(request: &Signed<'_>) -> Result<Self, Refusal> {
        let in_query = canonical::query_value(request.query, "X-Amz-Algorithm")?;
        let mut in_headers = request.headers.get_all("authorization").iter();
        match (in_headers.next(), in_query) {
            (None, None) => Err(Refusal::Missing),
            (Some(_), Some(_)) => {
                Err(Refusal::does_not_match("Only one of the Authorization header and the query string may carry a signature."))
            }
            (Some(_), None) if in_headers.next().is_some() => {
                Err(Refusal::does_not_match("Only one Authorization header may carry a signature."))
            }
            (Some(header), None) => Self::in_header(request, header.to_str().map_err(|_| Refusal::Missing)?.trim()),
            (None, Some(algorithm)) => Self::in_query(request, &algorithm),
        }
    }

    fn in_header(request: &Signed<'_>, header: &str) -> Result<Self, Refusal> {
        let (algorithm, rest) = header.split_once(' ').unwrap_or((header, ""));
        if algorithm != ALGORITHM || header.len() > MAX_AUTHORIZATION_BYTES {
            return Err(Refusal::unsupported(algorithm));
        }
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for parameter in rest.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            match parameter.split_once('=') {
                Some(("Credential", value)) => credential = Some(value),
                Some(("SignedHeaders", value)) => signed_headers = Some(value),
                Some(("Signature", value)) => signature = Some(value),
                Some(_) => {}
                None => return Err(Refusal::no_pair(parameter, header)),
            }
        }
        let date = request.header("x-amz-date").or_else(|| request.header("date"));
        match (credential, signed_headers, signature, date) {
            (Some(credential), Some(signed_headers), Some(signature), Some(date)) => Ok(Self {
                credential: credential.to_owned(),
                signed_headers: header_names(signed_headers),
                signature: signature.to_owned(),
                date: date.to_owned(),
                token: request.header("x-amz-security-token").map(str::to_owned),
                presigned: false,
                expires: None,
            }),
            (credential, signed_headers, signature, date) => {
                let given = [credential.is_some(), signature.is_some(), signed_headers.is_some(), date.is_some()];
                Err(Refusal::incomplete_header(given, header))
            }
        }
    }

    fn in_query(request: &Signed<'_>, algorithm: &str) -> Result<Self, Refusal> {
        if algorithm != ALGORITHM {
            return Err(Refusal::unsupported(algorithm));
        }
        let value = |name| canonical::query_value(request.query, name);
        let (credential, signature) = (value("X-Amz-Credential")?, value("X-Amz-Signature")?);
        let (signed_headers, date) = (value("X-Amz-SignedHeaders")?, value("X-Amz-Date")?);
        let expires = value("X-Amz-Expires")?.map(|text| parse_expires(&text)).transpose()?;
        match (credential, signed_headers, signature, date) {
            (Some(credential), Some(signed_headers), Some(signature), Some(date)) => Ok(Self {
                credential,
                signed_headers: header_names(&signed_headers),
                signature,
                date,
                token: value("X-Amz-Security-Token")?.or_else(|| request.header("x-amz-security-token").map(str::to_owned)),
                presigned: true,
                expires,
            }),
            (credential, signed_headers, signature, date) => {
                Err(Refusal::incomplete_query([credential.is_some(), signature.is_some(), signed_headers.is_some(), date.is_some()]))
            }
        }
    }

    /// The host must be signed, and what AWS's services go by. A security token may be added after signing, as AWS's own test suite has it.
    fn covers(&self, request: &Signed<'_>) -> Result<(), Refusal> {
        let signed = |name: &str| self.signed_headers.iter().any(|s| s == name);
        let (authority, host) = (request.authority, request.headers.get("host"));
        if let (Some(authority), Some(host)) = (authority, host)
            && !host.as_bytes().eq_ignore_ascii_case(authority.as_bytes())
        {
            return Err(Refusal::does_not_match("The 'Host' header is of another host than the request's own authority."));
        }
        // Without an authority to sign, a signature over it covers no host at all.
        if !(signed("host") || authority.is_some() && signed(":authority")) {
            return Err(Refusal::does_not_match("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."));
        }
        let unsigned = request
            .headers
            .keys()
            .map(http::HeaderName::as_str)
            .find(|name| name.starts_with("x-amz-") && *name != "x-amz-security-token" && !signed(name));
        unsigned.map_or(Ok(()), |name| Err(Refusal::does_not_match(format!("'{name}' must be a 'SignedHeader' in the AWS Authorization."))))
    }

    fn in_time(&self, signed_at: Timestamp, now: Timestamp, is_s3: bool) -> Result<(), Refusal> {
        let (life, said) = match self.expires.filter(|_| is_s3) {
            Some(seconds) => (seconds.saturating_mul(1000), format!("{seconds} sec")),
            None => (MAX_SKEW_MILLIS, "15 min".to_owned()),
        };
        let (oldest, newest) = (Timestamp(now.0.saturating_sub(life)), Timestamp(now.0.saturating_add(MAX_SKEW_MILLIS)));
        if signed_at < oldest {
            let (signed_at, oldest, now) = (basic(signed_at), basic(oldest), basic(now));
            return Err(Refusal::Expired(format!("Signature expired: {signed_at} is now earlier than {oldest} ({now} - {said}.)")));
        }
        if signed_at > newest {
            let (signed_at, newest, now) = (basic(signed_at), basic(newest), basic(now));
            return Err(Refusal::does_not_match(format!(
                "Signature not yet current: {signed_at} is still later than {newest} ({now} + 15 min.)"
            )));
        }
        Ok(())
    }
}

fn in_scope(scope: &Scope<'_>, date: &str, rules: &Rules<'_>) -> Result<(), Refusal> {
    let mut wrong = Vec::new();
    if !(rules.region)(scope.region) {
        wrong.push(format!("Credential should be scoped to a valid region, not '{}'. ", scope.region));
    }
    if let Some(service) = rules.service.filter(|s| *s != scope.service) {
        wrong.push(format!("Credential should be scoped to correct service: '{service}'. "));
    }
    if scope.terminator != TERMINATOR {
        wrong.push(format!("Credential should be scoped with a valid terminator: '{TERMINATOR}', not '{}'. ", scope.terminator));
    }
    let day = date.get(..8).unwrap_or_default();
    if scope.date != day {
        wrong.push(format!(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{}' != '{day}', from '{date}'. ",
            scope.date
        ));
    }
    if wrong.is_empty() { Ok(()) } else { Err(Refusal::does_not_match(wrong.concat())) }
}

fn header_names(list: &str) -> Vec<String> {
    list.split(';').map(str::to_ascii_lowercase).collect()
}

fn parse_expires(text: &str) -> Result<i64, Refusal> {
    match text.parse() {
        Err(_) => Err(Refusal::Incomplete("X-Amz-Expires must be a number".to_owned())),
        Ok(seconds) if seconds < 1 => Err(Refusal::Incomplete("X-Amz-Expires must be non-negative".to_owned())),
        Ok(seconds) if seconds > MAX_EXPIRES_SECONDS => Err(Refusal::Incomplete(format!(
            "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than {MAX_EXPIRES_SECONDS} seconds"
        ))),
        Ok(seconds) => Ok(seconds),
    }
}

/// Reads `20261124T040739Z`.
fn parse_date(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let digits = |range: std::ops::Range<usize>| bytes[range].iter().all(u8::is_ascii_digit);
    if bytes.len() != 16 || bytes[8] != b'T' || bytes[15] != b'Z' || !digits(0..8) || !digits(9..15) {
        return None;
    }
    let at = |range: std::ops::Range<usize>| &text[range];
    Timestamp::parse(&format!("{}-{}-{}T{}:{}:{}Z", at(0..4), at(4..6), at(6..8), at(9..11), at(11..13), at(13..15)))
}

/// Writes `20261124T040739Z`.
fn basic(time: Timestamp) -> String {
    let text: String = time.iso8601().chars().filter(|c| *c != '-' && *c != ':').collect();
    // Without the fraction.
    format!("{}Z", text.split('.').next().unwrap_or_default())
}

fn string_to_sign(canonical: &str, date: &str, scope: &Scope<'_>) -> String {
    let hash = hex(&Sha256::digest(canonical));
    format!("{ALGORITHM}\n{date}\n{}/{}/{}/{}\n{hash}", scope.date, scope.region, scope.service, scope.terminator)
}

fn signature(canonical: &str, date: &str, scope: &Scope<'_>, secret: &str) -> String {
    let mut key = hmac(format!("AWS4{secret}").as_bytes(), scope.date);
    for part in [scope.region, scope.service, scope.terminator] {
        key = hmac(&key, part);
    }
    hex(&hmac(&key, &string_to_sign(canonical, date, scope)))
}

fn hmac(key: &[u8], text: &str) -> [u8; 32] {
    #[allow(clippy::expect_used)]
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        // Writing to a string can't fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests;
