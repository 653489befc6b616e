//! Signing a request anew by another secret: for a simulation that takes any credentials, so that all that checks signatures stays as it is.

use super::{ALGORITHM, Canonical, Claim, Refusal, Scope, Signed, signature};
use http::HeaderValue;
use http::request::Parts;
use http::uri::{PathAndQuery, Uri};

const TOKEN_HEADER: &str = "x-amz-security-token";
const TOKEN_PARAMETER: &str = "X-Amz-Security-Token";
const SIGNATURE_PARAMETER: &str = "X-Amz-Signature";

/// Signs a request by `secret`, over what it says that it is signed over, and takes its session token from it: the new secret has none. A
/// request that isn't signed, or not as Signature Version 4 is, stays as it is. Of a request for S3 the body isn't looked at: what is signed
/// of it is in a header.
pub fn resign(parts: &mut Parts, body: &[u8], secret: &str) {
    let Some(anew) = anew(parts, body, secret) else { return };
    let tokenless = change_query(parts, |name, value| (name != TOKEN_PARAMETER).then(|| value.to_owned()));
    match anew {
        Anew::Header(header) => {
            parts.headers.insert(http::header::AUTHORIZATION, header);
            parts.headers.remove(TOKEN_HEADER);
        }
        Anew::Query(signature) => {
            parts.headers.remove(TOKEN_HEADER);
            parts.uri = tokenless;
            parts.uri =
                change_query(parts, |name, value| Some(if name == SIGNATURE_PARAMETER { signature.clone() } else { value.to_owned() }));
        }
    }
}

enum Anew {
    Header(HeaderValue),
    Query(String),
}

fn anew(parts: &Parts, body: &[u8], secret: &str) -> Option<Anew> {
    let mut claim = Claim::read(&Signed::of(parts, body)).ok()?;
    claim.signed_headers.retain(|name| name != TOKEN_HEADER);
    let tokenless = change_query(parts, |name, value| (name != TOKEN_PARAMETER).then(|| value.to_owned()));
    let request = Signed { query: tokenless.query().unwrap_or_default(), ..Signed::of(parts, body) };
    let signature = sign(&claim, &request, secret).ok()??;
    if claim.presigned {
        return Some(Anew::Query(signature));
    }
    let (credential, names) = (&claim.credential, claim.signed_headers.join(";"));
    HeaderValue::from_str(&format!("{ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature={signature}"))
        .ok()
        .map(Anew::Header)
}

fn sign(claim: &Claim, request: &Signed<'_>, secret: &str) -> Result<Option<String>, Refusal> {
    let Some(scope) = Scope::parse(&claim.credential) else { return Ok(None) };
    let canonical = match request.header("x-amz-content-sha256").filter(|_| scope.service == "s3") {
        Some(said) => Canonical::of_payload(request, &claim.signed_headers, (scope.service, claim.presigned), said)?,
        None => Canonical::of(request, &claim.signed_headers, scope.service, claim.presigned)?,
    };
    Ok(Some(signature(&canonical.text, &claim.date, &scope, secret)))
}

/// The address with each parameter's value as `change` says, or without it. Nothing else of it changes.
fn change_query(parts: &Parts, change: impl Fn(&str, &str) -> Option<String>) -> Uri {
    let Some(query) = parts.uri.query() else { return parts.uri.clone() };
    let pairs = query.split('&').filter_map(|pair| match pair.split_once('=') {
        Some((name, value)) => change(name, value).map(|value| format!("{name}={value}")),
        None => Some(pair.to_owned()),
    });
    let query = pairs.collect::<Vec<_>>().join("&");
    let mut changed = parts.uri.clone().into_parts();
    match PathAndQuery::try_from(format!("{}?{query}", parts.uri.path())) {
        Ok(path) => changed.path_and_query = Some(path),
        Err(_) => return parts.uri.clone(),
    }
    Uri::from_parts(changed).unwrap_or_else(|_| parts.uri.clone())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::sigv4::{Key, Rules, verify};
    use crate::{Protocol, Timestamp};

    fn parts(method: &str, uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn verified(parts: &Parts, body: &[u8], secret: &str) -> bool {
        let region = |name: &str| name == "us-east-1";
        let now = Timestamp::parse("2026-11-24T04:07:39Z").unwrap();
        let rules = Rules { protocol: Protocol::Ec2, service: None, region: &region, now };
        verify(&Signed::of(parts, body), &rules, |_| Some(Key { secret: secret.into(), session: None })).is_ok()
    }

    #[test]
    fn what_was_signed_by_any_secret_is_signed_by_the_right_one() {
        let credential = "testing/20261124/us-east-1/ec2/aws4_request";
        let authorization =
            format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host;x-amz-date;x-amz-security-token, Signature=00");
        let headers = [
            ("host", "127.0.0.1"),
            ("x-amz-date", "20261124T040739Z"),
            ("x-amz-security-token", "testing"),
            ("authorization", authorization.as_str()),
        ];
        let mut head = parts("POST", "/?a=b&c", &headers);
        assert!(!verified(&head, b"Action=X", "secret"));
        resign(&mut head, b"Action=X", "secret");
        assert!(verified(&head, b"Action=X", "secret"));
        assert!(!verified(&head, b"Action=Y", "secret") && !verified(&head, b"Action=X", "other"));
        assert_eq!(head.uri, "/?a=b&c");
    }

    #[test]
    fn a_body_for_s3_is_believed_to_be_what_its_header_says() {
        let authorization = "AWS4-HMAC-SHA256 Credential=testing/20261124/us-east-1/s3/aws4_request, \
                             SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature=00";
        // Of the body `a`.
        let hash = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb";
        let date = "20261124T040739Z";
        let headers = [("host", "127.0.0.1"), ("x-amz-date", date), ("x-amz-content-sha256", hash), ("authorization", authorization)];
        let mut head = parts("PUT", "/bucket/key", &headers);
        resign(&mut head, b"", "secret");
        assert!(verified(&head, b"a", "secret") && !verified(&head, b"b", "secret"));
    }

    #[test]
    fn a_presigned_url_stays_what_it_is() {
        let credential = "testing%2F20261124%2Fus-east-1%2Fs3%2Faws4_request";
        let uri = format!(
            "/bucket/a%20key?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={credential}&X-Amz-Date=20261124T040739Z&X-Amz-Expires=60&\
             X-Amz-SignedHeaders=host&X-Amz-Security-Token=testing&X-Amz-Signature=00"
        );
        let mut head = parts("GET", &uri, &[("host", "127.0.0.1")]);
        assert!(!verified(&head, b"", "secret"));
        resign(&mut head, b"", "secret");
        assert!(verified(&head, b"", "secret"), "{}", head.uri);
        assert!(head.uri.path() == "/bucket/a%20key" && !head.uri.to_string().contains("Token"), "{}", head.uri);
    }

    #[test]
    fn what_is_not_signed_stays_so() {
        let mut head = parts("GET", "/bucket?list-type=2", &[("host", "127.0.0.1"), ("x-amz-security-token", "t")]);
        resign(&mut head, b"", "secret");
        assert!(!head.headers.contains_key("authorization") && head.uri == "/bucket?list-type=2");
    }
}
