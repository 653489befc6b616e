//! The cloud that every case begins with: two tenants and nothing in S3.

use crate::case::{Call, Case, Message, Step, Text};
use crate::mismatch;
use crate::names::Names;
use crate::pretty::pretty;
use crate::send::{self, Sender};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use model::account::{AccessKey, Account};
use model::fault::NoFaults;
use model::time::{Clock, Timestamp};
use objects::{MasterKey, Objects, Options};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use store::{Mode, Store};

/// 2026-11-24T04:07:39.000Z.
const START: i64 = 1_795_493_259_000;
const ALICE: (&str, &str, &str) = ("111122223333", "AKIAALICEALICEALICE7", "alicesecretalicesecretalicesecretalice77");
const BOB: (&str, &str, &str) = ("444455556666", "AKIABOBBOBBOBBOBBOB7", "bobsecretbobsecretbobsecretbobsecretbob77");
/// Headers of replies that are the same always or never.
const UNSHOWN: [&str; 3] = ["x-amz-request-id", "x-amz-id-2", "server"];

struct SetClock(AtomicI64);

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

pub(crate) struct World {
    front: s3::Front,
    clock: Arc<SetClock>,
    _dir: tempfile::TempDir,
}

/// Now, as signatures have it.
fn date() -> String {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap();
    Timestamp(i64::try_from(since.as_millis()).unwrap()).iso8601_seconds().replace(['-', ':'], "")
}

impl World {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("state.db"), Mode::Simulated, Arc::new(NoFaults)).unwrap();
        let furnished = store.write(|tx| {
            for ((id, key, secret), name) in [(ALICE, "alice"), (BOB, "bob")] {
                let account = Account { id: id.parse().unwrap(), name: name.into(), created: Timestamp(START), closed: None };
                let key = AccessKey {
                    id: key.into(),
                    secret: secret.into(),
                    account: account.id.clone(),
                    created: Timestamp(START),
                    any_secret: false,
                };
                tx.account_put(account);
                tx.access_key_put(key);
            }
            Ok::<_, ()>(())
        });
        furnished.await.unwrap().unwrap();
        let options = Options { durable: false, rng: Box::new(StdRng::seed_from_u64(2)), ..Options::default() };
        let objects = Objects::open_with(&dir.path().join("objects"), MasterKey::new([7; 32]), Arc::new(NoFaults), options).unwrap();
        // Nobody listens there; deliveries fail, and are no part of an exchange.
        let webhooks = BTreeMap::from([("arn:aws:sqs:us-east-1:111122223333:news".into(), "http://127.0.0.1:9/".into())]);
        let settings = s3::Settings { webhooks, ..s3::Settings::default() };
        let clock = Arc::new(SetClock(AtomicI64::new(START)));
        let front = s3::Front::new(objects, store, clock.clone(), StdRng::seed_from_u64(1), settings);
        Self { front, clock, _dir: dir }
    }

    /// Plays a case: the case as it came, and a line of JSON for each reply.
    ///
    /// Orders: `as alice|bob|nobody [REGION]`; `advance SECONDS`.
    pub(crate) async fn play(&self, case: &Case, name: &str) -> (Case, Vec<Value>) {
        let mut sender = Sender { key: Some((ALICE.1, ALICE.2)), region: "us-east-1".into(), date: date() };
        let (mut steps, mut shapes, mut names) = (Vec::new(), Vec::new(), Names::new(&[("alice", ALICE.0), ("bob", BOB.0)]));
        for step in &case.steps {
            match step {
                Step::Comment(line) => steps.push(Step::Comment(line.clone())),
                Step::Do(order) => {
                    match order.split(' ').collect::<Vec<_>>()[..] {
                        ["as", who, ref region @ ..] => {
                            sender.key = match who {
                                "alice" => Some((ALICE.1, ALICE.2)),
                                "bob" => Some((BOB.1, BOB.2)),
                                _ => None,
                            };
                            sender.region = (*region.first().unwrap_or(&"us-east-1")).into();
                        }
                        ["advance", seconds] => _ = self.clock.0.fetch_add(seconds.parse::<i64>().unwrap() * 1000, Ordering::Relaxed),
                        _ => panic!("{name}: unknown order {order:?}"),
                    }
                    steps.push(Step::Do(order.clone()));
                }
                Step::Call(call) => {
                    let response = self.call(send::request(&shown(call, &names), &sender)).await;
                    if call.operation != "-" {
                        shapes.push(shape(call, name, &response));
                    }
                    let reply = reply(&response, &mut names, |text| mismatch::masked(text, call, &sender));
                    let status = response.status().as_u16();
                    let hint = || format!("{name}: {} {} {}: {reply}", call.operation, call.method, call.target);
                    assert!(status == call.status || call.reply.is_some(), "{}", hint());
                    let reply = call.reply.as_ref().map(|_| reply.clone());
                    steps.push(Step::Call(Call { status, reply, ..call.clone() }));
                }
            }
        }
        (Case { steps }, shapes)
    }

    async fn call(&self, request: Request<Vec<u8>>) -> Response<Bytes> {
        let head_only = request.method() == http::Method::HEAD;
        let request = request.map(|body| Full::new(Bytes::from(body)));
        let (head, body) = self.front.call(request, ([127, 0, 0, 1], 50_000).into()).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        // hyper keeps the body of an answer to HEAD to itself.
        Response::from_parts(head, if head_only { Bytes::new() } else { body })
    }
}

/// A call with ids in the place of their names.
fn shown(call: &Call, names: &Names) -> Call {
    let mut call = call.clone();
    call.target = names.show(&call.target);
    for (_, value) in &mut call.request.headers {
        *value = names.show(value);
    }
    if let Some(Text::Lines(text)) = &mut call.request.body {
        *text = names.show(text);
    }
    call
}

/// Whether the body is a document of S3's, and no object.
fn is_document(response: &Response<Bytes>) -> bool {
    let is_xml = response.headers().get("content-type").is_some_and(|kind| kind == "application/xml");
    is_xml && !response.headers().contains_key("accept-ranges") && response.body().starts_with(b"<")
}

/// A reply as a case has it.
fn reply(response: &Response<Bytes>, names: &mut Names, masked: impl Fn(&str) -> String) -> Message {
    let value = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let request_id = response.headers().get("x-amz-request-id").map(value).expect("every reply has its id");
    let mut headers: Vec<(String, String)> = response.headers().iter().map(|(n, v)| (n.as_str().to_owned(), value(v))).collect();
    headers.retain(|(name, _)| !UNSHOWN.contains(&name.as_str()));
    headers.sort();
    // The body says how long it is.
    let body_length = response.body().len().to_string();
    if let Some(at) = headers.iter().position(|(name, length)| name == "content-length" && *length == body_length && length != "0") {
        headers.remove(at);
    }
    let body = if is_document(response) {
        Some(Text::Lines(pretty(&masked(std::str::from_utf8(response.body()).unwrap())).trim_end().to_owned()))
    } else {
        Text::of(response.body())
    };
    headers.iter().for_each(|(name, value)| names.learn_header(name, value));
    if headers.iter().any(|(name, value)| value == "aws:kms" || name == "x-amz-server-side-encryption-customer-algorithm") {
        headers.iter().filter(|(name, _)| name == "etag").for_each(|(_, value)| names.learn_etag(value));
        if let Some(Text::Lines(text)) = &body {
            text.split("<ETag>").skip(1).for_each(|rest| names.learn_etag(rest.split('<').next().unwrap()));
        }
    }
    if let Some(Text::Lines(text)) = &body {
        names.learn_document(text);
    }
    for (_, value) in &mut headers {
        *value = names.hide(value);
    }
    let body = body.map(|body| match body {
        Text::Lines(text) => Text::Lines(names.hide(&text).replace(&request_id, "{request}")),
        many @ Text::Many(..) => many,
    });
    Message { headers, body }
}

/// A reply for `tests/clients/check_shapes.py`.
fn shape(call: &Call, name: &str, response: &Response<Bytes>) -> Value {
    let headers: BTreeMap<&str, String> =
        response.headers().iter().map(|(n, v)| (n.as_str(), String::from_utf8_lossy(v.as_bytes()).into_owned())).collect();
    json!({
        "service": if call.request.headers.iter().any(|(name, _)| name == "x-amz-account-id") { "s3control" } else { "s3" },
        "operation": call.operation,
        "case": format!("{name}: {} {}", call.method, call.target),
        "method": call.method,
        "status": response.status().as_u16(),
        "headers": headers,
        "body": String::from_utf8_lossy(response.body()),
    })
}
