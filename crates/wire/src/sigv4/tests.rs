#![allow(clippy::unwrap_used)]

use super::*;
use http::{HeaderName, HeaderValue};
use proptest::prelude::*;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
/// 2015-08-30T12:36:00Z, the moment of AWS's test suite.
const NOW: Timestamp = Timestamp(1_440_938_160_000);

/// A request that owns its parts.
struct Owned {
    method: &'static str,
    path: String,
    query: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Owned {
    fn new(method: &'static str, target: &str, headers: &[(&str, &str)], body: &str) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        Self { method, path: path.to_owned(), query: query.to_owned(), headers: map, body: body.as_bytes().to_vec() }
    }

    fn view(&self) -> Signed<'_> {
        Signed { method: self.method, path: &self.path, query: &self.query, authority: None, headers: &self.headers, body: &self.body }
    }

    fn set(&mut self, name: &'static str, value: &str) {
        self.headers.insert(name, HeaderValue::from_str(value).unwrap());
    }
}

fn key(id: &str) -> Option<Key> {
    let session = |expires| Some(Session { token: "TOKEN".to_owned(), expires });
    let session = match id {
        "AKIDEXAMPLE" => None,
        "ASIATEMPORARY" => session(Timestamp(i64::MAX)),
        "ASIAEXPIRED" => session(NOW),
        _ => return None,
    };
    Some(Key { secret: SECRET.to_owned(), session })
}

fn verify_at(request: &Owned, protocol: Protocol, service: &str, now: Timestamp) -> Result<Verified, ApiError> {
    let rules = Rules { protocol, service: Some(service), region: &|region| region == "us-east-1", now };
    verify(&request.view(), &rules, key)
}

/// A request to STS, signed now.
fn signed(access_key: &str, headers: &[(&str, &str)]) -> Owned {
    let mut all = vec![("host", "sts.example"), ("x-amz-date", "20150830T123600Z")];
    all.extend(headers);
    let mut request = Owned::new("POST", "/", &all, "Action=GetCallerIdentity&Version=2011-06-15");
    let authorization = sign(&request.view(), access_key, SECRET, "us-east-1", "sts").unwrap();
    request.set("authorization", &authorization);
    request
}

/// The code, status and words that a request gets from a query service.
fn refused(request: &Owned) -> (String, u16, String) {
    let error = verify_at(request, Protocol::Query, "sts", NOW).unwrap_err();
    (error.code.into_owned(), error.status, error.message)
}

/// AWS's public test suite for Signature Version 4: method, target, further headers, body, signature. Left out is the header over several
/// lines, which no HTTP server accepts any more.
type Vector = (&'static str, &'static str, &'static [(&'static str, &'static str)], &'static str, &'static str);
const SUITE: [Vector; 25] = [
    ("GET", "/", &[], "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    (
        "GET",
        "/",
        &[("my-header1", "value2"), ("my-header1", "value2"), ("my-header1", "value1")],
        "",
        "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
    ),
    (
        "GET",
        "/",
        &[("my-header1", "value4"), ("my-header1", "value1"), ("my-header1", "value3"), ("my-header1", "value2")],
        "",
        "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01",
    ),
    (
        "GET",
        "/",
        &[("my-header1", " value1"), ("my-header2", " \"a   b   c\"")],
        "",
        "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
    ),
    (
        "GET",
        "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
        &[],
        "",
        "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
    ),
    ("GET", "/\u{1234}", &[], "", "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"),
    ("GET", "/?Param1=value1", &[], "", "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb"),
    ("GET", "/?Param2=value2&Param1=value1", &[], "", "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"),
    ("GET", "/?Param1=value2&Param1=Value1", &[], "", "eedbc4e291e521cf13422ffca22be7d2eb8146eecf653089df300a15b2382bd1"),
    ("GET", "/?Param1=value2&Param1=value1", &[], "", "5772eed61e12b33fae39ee5e7012498b51d56abc0abb7c60486157bd471c4694"),
    (
        "GET",
        "/?-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz=-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
        &[],
        "",
        "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197",
    ),
    ("GET", "/?\u{1234}=bar", &[], "", "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"),
    ("GET", "/example1/example2/../..", &[], "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    ("GET", "/example/..", &[], "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    ("GET", "/./", &[], "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    ("GET", "/./example", &[], "", "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5"),
    ("GET", "//", &[], "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    ("GET", "//example//", &[], "", "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84"),
    ("GET", "/example space/", &[], "", "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741"),
    ("POST", "/", &[], "", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
    ("POST", "/", &[("my-header1", "value1")], "", "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c"),
    ("POST", "/", &[("my-header1", "VALUE1")], "", "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d"),
    ("POST", "/?Param1=value1", &[], "", "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11"),
    (
        "POST",
        "/",
        &[("content-type", "application/x-www-form-urlencoded; charset=utf8")],
        "Param1=value1",
        "1a72ec8f64bd914b0e42e42607c7fbce7fb2c7465f63e3092b3b0d39fa77a6fe",
    ),
    (
        "POST",
        "/",
        &[("content-type", "application/x-www-form-urlencoded")],
        "Param1=value1",
        "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
    ),
];

#[test]
fn aws_test_suite() {
    let mut wrong = Vec::new();
    for (method, target, headers, body, signature) in SUITE {
        let mut all = vec![("host", "example.amazonaws.com"), ("x-amz-date", "20150830T123600Z")];
        all.extend(headers);
        let mut request = Owned::new(method, target, &all, body);
        let ours = sign(&request.view(), "AKIDEXAMPLE", SECRET, "us-east-1", "service").unwrap();
        if !ours.ends_with(signature) {
            wrong.push((method, target, headers, ours.clone()));
        }
        request.set("authorization", &ours);
        assert_eq!(verify_at(&request, Protocol::Query, "service", NOW).unwrap().access_key, "AKIDEXAMPLE");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Not in AWS's suite: other ways to write its plainest request, which must be the same request.
#[test]
fn the_same_path_written_otherwise() {
    for target in ["/?", "", "/.//", "/a/b/../.."] {
        let request = Owned::new("GET", target, &[("host", "example.amazonaws.com"), ("x-amz-date", "20150830T123600Z")], "");
        let authorization = sign(&request.view(), "AKIDEXAMPLE", SECRET, "us-east-1", "service").unwrap();
        assert!(authorization.ends_with(SUITE[0].4), "{target}");
    }
}

/// The suite's two requests with a session token: signed with it, and with it added after signing.
#[test]
fn aws_test_suite_session_tokens() {
    let token = concat!(
        "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGd",
        "QrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz",
        "+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA=="
    );
    for (headers, signature) in [
        ("host;x-amz-date;x-amz-security-token", "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"),
        ("host;x-amz-date", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
    ] {
        let scope = "AKIDEXAMPLE/20150830/us-east-1/service/aws4_request";
        let authorization = format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders={headers}, Signature={signature}");
        let all = [
            ("host", "example.amazonaws.com"),
            ("x-amz-date", "20150830T123600Z"),
            ("x-amz-security-token", token),
            ("authorization", &authorization),
        ];
        let request = Owned::new("POST", "/", &all, "");
        let rules = Rules { protocol: Protocol::Query, service: Some("service"), region: &|_| true, now: NOW };
        let session = Some(Session { token: token.to_owned(), expires: Timestamp(i64::MAX) });
        let verified = verify(&request.view(), &rules, |_| Some(Key { secret: SECRET.to_owned(), session })).unwrap();
        assert_eq!(verified.token.as_deref(), Some(token));
    }
}

#[test]
fn a_good_signature_says_who_and_where() {
    let verified = verify_at(&signed("AKIDEXAMPLE", &[]), Protocol::Query, "sts", NOW).unwrap();
    let (access_key, region, service) = ("AKIDEXAMPLE".to_owned(), "us-east-1".to_owned(), "sts".to_owned());
    assert_eq!(verified, Verified { access_key, region, service, signed_at: NOW, token: None });
    assert_eq!(claimed_service(&signed("AKIDEXAMPLE", &[]).view()).as_deref(), Some("sts"));
}

#[test]
fn whatever_changes_after_signing_is_noticed() {
    let change: [fn(&mut Owned); 6] = [
        |r| r.method = "PUT",
        |r| r.path = "/x".to_owned(),
        |r| r.query = "x=1".to_owned(),
        |r| r.body.push(b'x'),
        |r| r.set("host", "other.example"),
        |r| {
            let header = r.headers["authorization"].to_str().unwrap().to_owned();
            let (kept, last) = header.split_at(header.len() - 1);
            r.set("authorization", &format!("{kept}{}", if last == "0" { "1" } else { "0" }));
        },
    ];
    for (at, change) in change.iter().enumerate() {
        let mut request = signed("AKIDEXAMPLE", &[]);
        change(&mut request);
        let (code, status, message) = refused(&request);
        assert_eq!((code.as_str(), status), ("SignatureDoesNotMatch", 403), "change {at}");
        assert!(message.starts_with("The request signature we calculated does not match the signature you provided."), "change {at}");
    }
}

#[test]
fn the_content_hash_must_be_the_bodys() {
    let good = hex(&Sha256::digest("Action=GetCallerIdentity&Version=2011-06-15"));
    assert!(verify_at(&signed("AKIDEXAMPLE", &[("x-amz-content-sha256", &good)]), Protocol::Query, "sts", NOW).is_ok());
    let mut request = signed("AKIDEXAMPLE", &[("x-amz-content-sha256", &good)]);
    request.body.push(b'x');
    assert!(refused(&request).2.starts_with("The value of 'x-amz-content-sha256'"));
    // Only S3 takes bodies that aren't signed.
    let mut request = signed("AKIDEXAMPLE", &[("x-amz-content-sha256", &good)]);
    request.set("x-amz-content-sha256", "UNSIGNED-PAYLOAD");
    assert_eq!(refused(&request).0, "SignatureDoesNotMatch");
}

#[test]
fn what_must_be_signed() {
    let mut request = signed("AKIDEXAMPLE", &[]);
    request.set("x-amz-target", "Other.Operation");
    assert_eq!(refused(&request).2, "'x-amz-target' must be a 'SignedHeader' in the AWS Authorization.");
    let mut request = signed("AKIDEXAMPLE", &[]);
    let header = request.headers["authorization"].to_str().unwrap().replace("host;", "");
    request.set("authorization", &header);
    assert_eq!(refused(&request).2, "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.");
}

#[test]
fn clocks() {
    let request = signed("AKIDEXAMPLE", &[]);
    let at = |millis: i64| verify_at(&request, Protocol::Query, "sts", Timestamp(NOW.0 + millis));
    assert!(at(MAX_SKEW_MILLIS).is_ok() && at(-MAX_SKEW_MILLIS).is_ok());
    let late = at(MAX_SKEW_MILLIS + 1000).unwrap_err();
    assert_eq!((late.code.as_ref(), late.status), ("SignatureDoesNotMatch", 403));
    assert_eq!(late.message, "Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z (20150830T125101Z - 15 min.)");
    let early = at(-MAX_SKEW_MILLIS - 1000).unwrap_err();
    assert_eq!(
        early.message,
        "Signature not yet current: 20150830T123600Z is still later than 20150830T123559Z (20150830T122059Z + 15 min.)"
    );
    let ec2 = |millis: i64| {
        let error = verify_at(&request, Protocol::Ec2, "sts", Timestamp(NOW.0 + millis)).unwrap_err();
        (error.code.into_owned(), error.status)
    };
    assert_eq!(ec2(MAX_SKEW_MILLIS + 1000), ("RequestExpired".to_owned(), 400));
    assert_eq!(ec2(-MAX_SKEW_MILLIS - 1000), ("AuthFailure".to_owned(), 401));
}

#[test]
fn scopes() {
    let with_scope = |scope: &str| {
        let mut request = signed("AKIDEXAMPLE", &[]);
        let header = request.headers["authorization"].to_str().unwrap().replace("20150830/us-east-1/sts/aws4_request", scope);
        request.set("authorization", &header);
        refused(&request)
    };
    assert_eq!(with_scope("20150830/mars/sts/aws4_request").2, "Credential should be scoped to a valid region, not 'mars'. ");
    assert_eq!(with_scope("20150830/us-east-1/iam/aws4_request").2, "Credential should be scoped to correct service: 'sts'. ");
    assert!(
        with_scope("20150830/us-east-1/sts/aws5")
            .2
            .starts_with("Credential should be scoped with a valid terminator: 'aws4_request', not 'aws5'.")
    );
    assert!(with_scope("20150831/us-east-1/sts/aws4_request").2.contains("'20150831' != '20150830', from '20150830T123600Z'."));
    let (code, status, message) = with_scope("20150830/sts");
    assert_eq!((code.as_str(), status), ("IncompleteSignature", 400));
    assert!(message.starts_with("Credential must have exactly 5 slash-delimited elements"));
}

#[test]
fn keys_and_tokens() {
    let outcome = |id: &str, token: Option<&str>| {
        let headers: Vec<_> = token.map(|t| ("x-amz-security-token", t)).into_iter().collect();
        verify_at(&signed(id, &headers), Protocol::Query, "sts", NOW).map(|v| v.token).map_err(|e| e.code.into_owned())
    };
    assert_eq!(outcome("AKIANOBODY", None), Err("InvalidClientTokenId".to_owned()));
    assert_eq!(outcome("AKIDEXAMPLE", Some("TOKEN")), Err("InvalidClientTokenId".to_owned()), "a token on a key without one");
    assert_eq!(outcome("ASIATEMPORARY", None), Err("InvalidClientTokenId".to_owned()));
    assert_eq!(outcome("ASIATEMPORARY", Some("OTHER")), Err("InvalidClientTokenId".to_owned()));
    assert_eq!(outcome("ASIATEMPORARY", Some("TOKEN")), Ok(Some("TOKEN".to_owned())));
    assert_eq!(outcome("ASIAEXPIRED", Some("TOKEN")), Err("ExpiredToken".to_owned()));
}

#[test]
fn each_protocol_says_it_in_its_own_words() {
    let unsigned = Owned::new("POST", "/", &[("host", "x")], "");
    let stranger = signed("AKIANOBODY", &[]);
    let said = |request: &Owned, protocol| {
        let error = verify_at(request, protocol, "sts", NOW).unwrap_err();
        (error.code.into_owned(), error.status)
    };
    for (protocol, missing, unknown) in [
        (Protocol::Ec2, ("MissingParameter", 400), ("AuthFailure", 401)),
        (Protocol::Query, ("MissingAuthenticationToken", 403), ("InvalidClientTokenId", 403)),
        (Protocol::Json10, ("MissingAuthenticationTokenException", 400), ("UnrecognizedClientException", 400)),
        (Protocol::RestJson, ("MissingAuthenticationTokenException", 403), ("UnrecognizedClientException", 403)),
    ] {
        assert_eq!(said(&unsigned, protocol), (missing.0.to_owned(), missing.1));
        assert_eq!(said(&stranger, protocol), (unknown.0.to_owned(), unknown.1));
    }
}

#[test]
fn halves_of_a_signature() {
    let with_header = |header: &str| {
        let mut request = signed("AKIDEXAMPLE", &[]);
        request.set("authorization", header);
        refused(&request)
    };
    assert_eq!(with_header("Basic abc").2, "Unsupported AWS 'algorithm': 'Basic'.");
    assert_eq!(with_header("AWS4-HMAC-SHA256 nonsense").0, "IncompleteSignature");
    assert_eq!(
        with_header("AWS4-HMAC-SHA256 Credential=x").2,
        "Authorization header requires 'Signature' parameter. Authorization header requires 'SignedHeaders' parameter. \
         Authorization=AWS4-HMAC-SHA256 Credential=x"
    );
    let mut request = signed("AKIDEXAMPLE", &[]);
    request.set("x-amz-date", "Sun, 30 Aug 2015 12:36:00 GMT");
    assert!(refused(&request).2.starts_with("Date must be in ISO-8601 'basic format'. Got 'Sun, 30"));
    let mut request = signed("AKIDEXAMPLE", &[]);
    request.query = "X-Amz-Algorithm=AWS4-HMAC-SHA256".to_owned();
    assert_eq!(refused(&request).0, "SignatureDoesNotMatch", "two signatures");
    request.query = "a=%zz".to_owned();
    assert_eq!(refused(&request).0, "MalformedQueryString");
}

/// A presigned URL with more in its query and these headers signed, made with the parts of the verifier; `botocore` in `crate::botocore` makes
/// them independently.
fn presigned_with(service: &str, more: &str, signed_headers: &str) -> Owned {
    let query = format!(
        "Action=GetCallerIdentity&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2F{service}%2Faws4_request\
         &X-Amz-Date=20150830T123600Z{more}&X-Amz-SignedHeaders={signed_headers}"
    );
    let mut request = Owned::new("GET", &format!("/?{query}"), &[("host", "sts.example")], "");
    let scope = Scope { access_key: "AKIDEXAMPLE", date: "20150830", region: "us-east-1", service, terminator: TERMINATOR };
    let canonical = Canonical::of(&request.view(), &header_names(signed_headers), service, true).unwrap();
    let signature = signature(&canonical.text, "20150830T123600Z", &scope, SECRET);
    request.query = format!("{query}&X-Amz-Signature={signature}");
    request
}

fn presigned(service: &str, expires: &str) -> Owned {
    presigned_with(service, &format!("&X-Amz-Expires={expires}"), "host")
}

#[test]
fn presigned_urls() {
    let after = |service: &str, expires: &str, seconds: i64| {
        let protocol = if service == "s3" { Protocol::RestXml } else { Protocol::Query };
        verify_at(&presigned(service, expires), protocol, service, Timestamp(NOW.0 + seconds * 1000))
    };
    assert!(after("s3", "60", 60).is_ok());
    assert_eq!(
        after("s3", "60", 61).unwrap_err().message,
        "Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z (20150830T123701Z - 60 sec.)"
    );
    assert!(after("s3", "604800", 604_800).is_ok() && after("s3", "604800", 604_801).is_err());
    // Other services let each live a quarter of an hour.
    for expires in ["1", "60", "604800"] {
        assert!(after("sts", expires, 900).is_ok(), "{expires}");
        assert_eq!(
            after("sts", expires, 901).unwrap_err().message,
            "Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z (20150830T125101Z - 15 min.)"
        );
    }
    for bad in ["604801", "0", "-1", "x", "", "60.5", "+60", "99999999999999999999"] {
        assert_eq!(after("sts", bad, 0).unwrap_err().code, "IncompleteSignature", "{bad}");
        assert_eq!(after("s3", bad, 0).unwrap_err().code, "IncompleteSignature", "{bad}");
    }
    for early in ["sts", "s3"] {
        assert!(after(early, "604800", -900).is_ok() && after(early, "604800", -901).is_err());
    }
}

#[test]
fn tricks_with_presigned_urls() {
    let (does_not_match, incomplete) = ("SignatureDoesNotMatch", "IncompleteSignature");
    type Trick<'a> = (&'a str, &'a dyn Fn(&mut Owned), &'a str);
    let replace = |from: &'static str, to: &'static str| {
        move |r: &mut Owned| {
            assert!(r.query.contains(from));
            r.query = r.query.replace(from, to);
        }
    };
    let add = |text: &'static str| move |r: &mut Owned| r.query.push_str(text);
    let set = |name: &'static str, value: &'static str| move |r: &mut Owned| r.set(name, value);
    let tricks: &[Trick<'_>] = &[
        ("another host", &set("host", "other.example"), does_not_match),
        ("another path", &|r| r.path = "/x".to_owned(), does_not_match),
        ("an escaped path", &|r| r.path = "/%2f".to_owned(), does_not_match),
        ("another method", &|r| r.method = "POST", does_not_match),
        ("a body", &|r| r.body = b"Action=Other".to_vec(), does_not_match),
        ("another action", &replace("GetCallerIdentity", "GetSessionToken"), does_not_match),
        ("a further parameter", &add("&A=1"), does_not_match),
        ("a longer life", &replace("Expires=60", "Expires=600"), does_not_match),
        ("a later date", &replace("123600Z", "123601Z"), does_not_match),
        ("another day", &replace("Date=20150830", "Date=20150829"), does_not_match),
        ("a date that is none", &replace("Date=20150830", "Date=20150230"), incomplete),
        ("another region", &replace("us-east-1", "mars"), does_not_match),
        ("another service", &replace("%2Fsts%2F", "%2Fec2%2F"), does_not_match),
        ("another terminator", &replace("aws4_request", "aws5_request"), does_not_match),
        ("another key", &replace("AKIDEXAMPLE", "AKIANOBODY"), "InvalidClientTokenId"),
        ("a credential in lower case", &replace("AKIDEXAMPLE", "akidexample"), "InvalidClientTokenId"),
        ("a credential escaped twice", &replace("%2F", "%252F"), incomplete),
        ("a token", &add("&X-Amz-Security-Token=TOKEN"), "InvalidClientTokenId"),
        ("an empty token", &add("&X-Amz-Security-Token="), "InvalidClientTokenId"),
        ("a token as a header", &set("x-amz-security-token", "TOKEN"), "InvalidClientTokenId"),
        ("an empty signature", &|r| r.query.truncate(r.query.len() - 64), does_not_match),
        ("half a signature", &|r| r.query.truncate(r.query.len() - 32), does_not_match),
        ("a longer signature", &add("0"), does_not_match),
        ("no signed headers", &replace("&X-Amz-SignedHeaders=host", ""), incomplete),
        ("no signature", &replace("&X-Amz-Signature", "&X-Amz-Signatur"), incomplete),
        ("a name in lower case", &replace("X-Amz-Signature", "x-amz-signature"), incomplete),
        ("the algorithm in lower case", &replace("AWS4-HMAC", "aws4-hmac"), incomplete),
        ("the algorithm's name escaped", &replace("X-Amz-Algorithm", "X%2DAmz-Algorithm"), "MissingAuthenticationToken"),
        ("semicolons", &replace("&X-Amz-Date", ";X-Amz-Date"), incomplete),
        ("a broken escape", &add("&a=%zz"), "MalformedQueryString"),
        ("half an escape", &add("&a=%2"), "MalformedQueryString"),
        ("two signatures", &add("&X-Amz-Signature=00"), incomplete),
        ("two signatures, one escaped", &add("&X%2DAmz-Signature=00"), incomplete),
        ("two lives", &add("&X-Amz-Expires=604800"), incomplete),
        ("two dates, one escaped", &add("&X-Amz-%44ate=20150830T123600Z"), incomplete),
        ("a header besides", &set("authorization", "Basic eDp5"), does_not_match),
        ("an empty header besides", &set("authorization", ""), does_not_match),
        ("another operation in a header", &set("x-amz-target", "Other.Operation"), does_not_match),
        ("a body that isn't signed", &set("x-amz-content-sha256", "UNSIGNED-PAYLOAD"), does_not_match),
    ];
    assert!(verify_at(&presigned("sts", "60"), Protocol::Query, "sts", NOW).is_ok());
    for (name, trick, code) in tricks {
        let mut request = presigned("sts", "60");
        trick(&mut request);
        assert_eq!(refused(&request).0, *code, "{name}");
    }
    // These the owner of the key has signed.
    for (more, signed_headers, words) in [
        ("", "x-foo", "'Host' or ':authority' must be a 'SignedHeader'"),
        ("", "", "'Host' or ':authority' must be a 'SignedHeader'"),
        ("", ":authority", "'Host' or ':authority' must be a 'SignedHeader'"),
        ("&X-Amz-Expires=1&X-Amz-Expires=2", "host", "must include 'X-Amz-Expires' only once"),
        ("&X-Amz-Credential=x", "host", "must include 'X-Amz-Credential' only once"),
    ] {
        let message = refused(&presigned_with("sts", more, signed_headers)).2;
        assert!(message.contains(words), "{more} {signed_headers}: {message}");
    }
}

/// Two names of one host would let what is signed be another than what is served.
#[test]
fn the_authority_is_the_host() {
    let request = presigned("sts", "60");
    let at = |authority| {
        let rules = Rules { protocol: Protocol::Query, service: Some("sts"), region: &|_| true, now: NOW };
        verify(&Signed { authority: Some(authority), ..request.view() }, &rules, key).map_err(|e| e.message)
    };
    assert!(at("sts.example").is_ok() && at("STS.example").is_ok());
    for other in ["other.example", "sts.example:80", "user@sts.example", ""] {
        assert!(at(other).unwrap_err().starts_with("The 'Host' header is of another host"), "{other}");
    }
}

#[test]
fn one_signature_a_request() {
    let mut request = signed("AKIDEXAMPLE", &[]);
    request.headers.append("authorization", HeaderValue::from_static("Basic eDp5"));
    assert_eq!(refused(&request).2, "Only one Authorization header may carry a signature.");
    // What only a presigned URL has is a parameter like others beside a header.
    let mut request = signed("AKIDEXAMPLE", &[]);
    request.query = "X-Amz-Signature=00".to_owned();
    assert_eq!(refused(&request).0, "SignatureDoesNotMatch");
}

proptest! {
    /// Whatever comes, the verifier answers, and never with yes.
    #[test]
    fn garbage_is_refused(target in "[ -~é]{0,60}", name in "authorization|date|x-amz-date|x-amz-content-sha256", value in "[ -~]{0,80}", body in ".{0,30}") {
        let request = Owned::new("POST", &target, &[("host", "x"), (&name, &value)], &body);
        prop_assert!(verify_at(&request, Protocol::Query, "sts", NOW).is_err());
    }

    /// The same with most of a signature there.
    #[test]
    fn garbage_in_a_signature_is_refused(credential in "[ -~]{0,40}", headers in "[a-z;:-]{0,30}", signature in "[0-9a-fA-Z=, ]{0,70}", date in "[0-9TZ]{0,18}") {
        let header = format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host;{headers}, Signature={signature}");
        let request = Owned::new("GET", "/", &[("host", "x"), ("x-amz-date", &date), ("authorization", &header)], "");
        prop_assert!(verify_at(&request, Protocol::Ec2, "sts", NOW).is_err());
    }
}
