//! Tests in which botocore judges: it makes requests that must be read whole, reads replies in which every member must be right, and signs.
//!
//! They need Python with botocore, and fail without it.
#![allow(clippy::unwrap_used)]

use crate::shapes::{ec2, sts};
use crate::sigv4::{Key, Session};
use crate::{ApiError, Decode, Dialect, Empty, Encode, Envelope, Parameters, Protocol, Reply, Request, Timestamp};
use bytes::Bytes;
use http::Response;
use serde_json::{Value, json};
use std::fmt::Debug;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// A value with every member there.
pub(crate) trait Sample {
    /// Makes it.
    fn sample() -> Self;
}

macro_rules! sample {
    ($($kind:ty: $value:expr,)*) => { $(impl Sample for $kind { fn sample() -> Self { $value } })* };
    ($name:ident { $($field:ident),* $(,)? }) => {
        impl $crate::botocore::Sample for $name {
            fn sample() -> Self { Self { $($field: $crate::botocore::Sample::sample()),* } }
        }
    };
}
pub(crate) use sample;

sample! {
    String: "a&b <c> é".to_owned(),
    i32: 7,
    i64: 7,
    f64: 1.5,
    bool: true,
    Timestamp: Timestamp(1_795_493_259_000),
    Empty: Self,
}

impl<T: Sample> Sample for Option<T> {
    fn sample() -> Self {
        Some(T::sample())
    }
}

impl<T: Sample> Sample for Vec<T> {
    fn sample() -> Self {
        vec![T::sample(), T::sample()]
    }
}

/// Is shown every operation that has shapes.
pub(crate) trait Visitor {
    /// An operation, its input and its output.
    fn operation<I: Decode + Debug, O: Encode + Sample>(&mut self, name: &'static str);
}

fn botocore(question: &str, input: &Value) -> Value {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/judge.py");
    let mut python = Command::new("python3").args([script, question]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    python.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "judge.py {question} failed: is botocore installed?");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The operations' names.
#[derive(Default)]
struct Names(Vec<&'static str>);

impl Visitor for Names {
    fn operation<I: Decode + Debug, O: Encode + Sample>(&mut self, name: &'static str) {
        self.0.push(name);
    }
}

/// Reads the request of each operation.
struct Reading {
    dialect: Dialect,
    forms: Value,
}

impl Visitor for Reading {
    fn operation<I: Decode + Debug, O: Encode + Sample>(&mut self, name: &'static str) {
        let form = self.forms[name].as_str().unwrap();
        let parameters = Parameters::parse(self.dialect, &[form.as_bytes()]).unwrap();
        let input = format!("{:?}", I::decode(&parameters).unwrap_or_else(|e| panic!("{name}: {e}: {form}")));
        assert!(!input.contains("None"), "{name}: a member was not read: {input}");
    }
}

/// Writes a reply for each operation.
struct Writing {
    envelope: Envelope<'static>,
    replies: serde_json::Map<String, Value>,
}

impl Visitor for Writing {
    fn operation<I: Decode + Debug, O: Encode + Sample>(&mut self, name: &'static str) {
        let response = Reply::new(name, &O::sample()).into_response(&self.envelope);
        let mut reply = as_json(&response);
        reply["body"] = std::str::from_utf8(response.body()).unwrap().into();
        self.replies.insert(name.to_owned(), reply);
    }
}

fn as_json(response: &Response<Bytes>) -> Value {
    let headers: serde_json::Map<_, _> =
        response.headers().iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().into())).collect();
    let hex: String = response.body().iter().map(|b| format!("{b:02x}")).collect();
    json!({ "status": response.status().as_u16(), "headers": headers, "body": hex })
}

fn envelope(protocol: Protocol, namespace: &'static str) -> Envelope<'static> {
    Envelope { protocol, namespace: namespace.into(), request_id: "r-1" }
}

#[test]
fn every_request_is_read_whole() {
    let forms = |service: &str, names: Names| botocore("requests", &json!({ "service": service, "operations": names.0 }));
    let mut names = Names::default();
    ec2::samples::visit(&mut names);
    assert!(names.0.len() > 30);
    ec2::samples::visit(&mut Reading { dialect: Dialect::Ec2, forms: forms("ec2", names) });
    let mut names = Names::default();
    sts::samples::visit(&mut names);
    sts::samples::visit(&mut Reading { dialect: Dialect::Query, forms: forms("sts", names) });
}

#[test]
fn every_reply_is_right_to_the_last_member() {
    let mut writing = Writing { envelope: envelope(Protocol::Ec2, ec2::XML_NAMESPACE), replies: serde_json::Map::new() };
    ec2::samples::visit(&mut writing);
    assert_eq!(botocore("replies", &json!({ "service": "ec2", "replies": writing.replies })), json!([]));
    let mut writing = Writing { envelope: envelope(Protocol::Query, sts::XML_NAMESPACE), replies: serde_json::Map::new() };
    sts::samples::visit(&mut writing);
    assert_eq!(botocore("replies", &json!({ "service": "sts", "replies": writing.replies })), json!([]));
}

#[test]
fn every_protocols_errors_are_understood() {
    let error = ApiError::new("NotImplemented", "No <x> & \"y\" é");
    let protocols = [
        ("ec2", Protocol::Ec2),
        ("query", Protocol::Query),
        ("json", Protocol::Json11),
        ("rest-json", Protocol::RestJson),
        ("rest-xml", Protocol::RestXml),
        ("smithy-rpc-v2-cbor", Protocol::RpcV2Cbor),
    ];
    let answers: serde_json::Map<_, _> =
        protocols.iter().map(|(name, protocol)| ((*name).to_owned(), as_json(&envelope(*protocol, "urn:x").error(&error)))).collect();
    let understood = botocore("errors", &Value::Object(answers));
    for (name, _) in protocols {
        assert_eq!(understood[name], json!(["NotImplemented", error.message, "r-1"]), "{name}");
    }
}

#[test]
fn botocores_signatures_are_believed() {
    let form = "application/x-www-form-urlencoded; charset=utf-8";
    let (sts, ec2) = ("Action=GetCallerIdentity&Version=2011-06-15", "Action=CreateTags&Version=2016-11-15&Tag.1.Value=a%2Bb+c%20d%C3%A9");
    let (long, short) =
        (json!({ "key": "AKIA", "secret": "s3cr3t/+" }), json!({ "key": "ASIA", "secret": "s3cr3t/+", "token": "to+k/en==" }));
    let one = |credentials: &Value, service: &str, method: &str, url: &str, rest: Value| {
        let mut all = json!({ "service": service, "method": method, "url": url, "region": "us-east-1" });
        for part in [credentials, &rest] {
            all.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
        }
        all
    };
    let posted = |body: &str| json!({ "body": body, "headers": { "Content-Type": form } });
    let json11 = json!({ "body": "{}", "headers": { "X-Amz-Target": "Logs_20140328.DescribeLogGroups", "Content-Type": "application/x-amz-json-1.1" } });
    let here = "http://127.0.0.1:4566";
    let questions = json!([
        one(&long, "ec2", "POST", &format!("{here}/"), posted(ec2)),
        one(&short, "sts", "POST", &format!("{here}/"), posted(sts)),
        one(&long, "logs", "POST", &format!("{here}/"), json11),
        one(&long, "lambda", "GET", &format!("{here}/2015-03-31/functions/a%20b%3Ac/policy?Qualifier=x%2Fy&b=&a=1"), json!({})),
        one(&long, "s3", "GET", &format!("{here}/bucket/a%20b/../c//d?acl"), json!({})),
        one(&long, "sts", "GET", &format!("{here}/?{sts}"), json!({ "expires": 60 })),
        one(&short, "ec2", "GET", &format!("{here}/?{ec2}"), json!({ "expires": 604_800 })),
    ]);
    let signed = botocore("sign", &questions);
    let key = |id: &str| {
        let session = (id == "ASIA").then(|| Session { token: "to+k/en==".to_owned(), expires: Timestamp(i64::MAX) });
        Some(Key { secret: "s3cr3t/+".to_owned(), session })
    };
    let now = i64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis()).unwrap();
    for (one, question) in signed.as_array().unwrap().iter().zip(questions.as_array().unwrap()) {
        let url = one["url"].as_str().unwrap();
        let mut request = http::Request::builder().method(one["method"].as_str().unwrap()).uri(url.strip_prefix(here).unwrap());
        for header in one["headers"].as_array().unwrap() {
            request = request.header(header[0].as_str().unwrap(), header[1].as_str().unwrap());
        }
        let parts = request.header("host", "127.0.0.1:4566").body(()).unwrap().into_parts().0;
        let check = |body: &str| Request::read(&parts, body.as_bytes()).verify(&|r| r == "us-east-1", Timestamp(now), key);
        let body = one["body"].as_str().unwrap();
        let verified = check(body).unwrap_or_else(|e| panic!("{url}: {e}"));
        assert_eq!(verified.access_key, question["key"].as_str().unwrap());
        assert_eq!(verified.service, question["service"].as_str().unwrap());
        assert!(check(&format!("{body}x")).is_err(), "another body: {url}");
    }
}
