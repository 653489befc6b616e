//! The cloud that every case begins with: two tenants, an image of each kind, room for eight `t3.nano`.

use crate::case::{Call, Case, Step};
use crate::names::Names;
use crate::pretty::pretty;
use api::ports::{Console, PortError, Ports};
use api::{Cloud, Gate};
use async_trait::async_trait;
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{Request, Response};
use model::account::{AccessKey, Account};
use model::capacity::{Host, Overcommit};
use model::ids::InstanceId;
use model::image::{Boot, Image};
use model::impairment::Impairment;
use model::instance::{Event, Instance, State};
use model::key_pair::{KeyPair, KeyType};
use model::network_interface::NetworkInterface;
use model::scope::{AccountId, Scope};
use model::space::Space;
use model::tag::Tags;
use model::time::{Clock, Timestamp};
use model::volume::Volume;
use rand::SeedableRng as _;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use store::{Mode, Store, SystemTx};

/// 2026-11-24T04:07:39.000Z.
const START: i64 = 1_795_493_259_000;
const ALICE: (&str, &str, &str) = ("111122223333", "AKIAALICEALICEALICE7", "alicesecretalicesecretalicesecretalice77");
const BOB: (&str, &str, &str) = ("444455556666", "AKIABOBBOBBOBBOBBOB7", "bobsecretbobsecretbobsecretbobsecretbob77");

pub(crate) struct World {
    gate: Gate,
    store: Store,
    clock: Arc<SetClock>,
    space: Space,
    _dir: tempfile::TempDir,
}

struct SetClock(AtomicI64);

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

struct Consoles;

#[async_trait]
impl Ports for Consoles {
    async fn console(&self, _: &InstanceId) -> Result<Option<Console>, PortError> {
        Ok(Some(Console { bytes: b"Linux version 6.1\n".to_vec(), written: Timestamp(START) }))
    }
}

fn scope(who: &str, region: &str) -> Scope {
    Scope { account: who.parse().unwrap(), region: region.parse().unwrap() }
}

impl World {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("state.db"), Mode::Simulated, Arc::new(model::fault::NoFaults)).unwrap();
        let furnished = store.write(|tx| {
            furnish(tx);
            Ok::<_, ()>(())
        });
        furnished.await.unwrap().unwrap();
        let clock = Arc::new(SetClock(AtomicI64::new(START)));
        let space = Space::overcommitted(1.0);
        space.measured(1 << 60, 0);
        let cloud = Cloud {
            host: Host { vcpus: 4, memory_mib: 65_536, disk_bytes: 100_000_000_000 },
            overcommit: Overcommit { vcpus: 4.0, memory: 1.0, memory_reserve_mib: 1024 },
            space: space.clone(),
            public_pool: "198.18.0.0/16".parse().unwrap(),
            simulated: true,
        };
        let rng = rand::rngs::StdRng::seed_from_u64(1);
        let gate = Gate::new(store.clone(), clock.clone(), rng, Arc::new(Consoles), cloud);
        Self { gate, store, clock, space, _dir: dir }
    }

    /// Plays a case: the case as it came, and a line of JSON for each reply.
    ///
    /// Orders: `as alice|bob REGION`; `advance SECONDS`; `settle` (what the reconcile loop would have done by now);
    /// `disk-free-gib GIB` (the measured free space).
    pub(crate) async fn play(&self, case: &Case, name: &str) -> (Case, Vec<serde_json::Value>) {
        let service = name.split('/').next().unwrap();
        let (mut who, mut region) = (ALICE, "us-east-1".to_owned());
        let (mut steps, mut shapes, mut names) = (Vec::new(), Vec::new(), Names::default());
        for step in &case.steps {
            match step {
                Step::Comment(line) => steps.push(Step::Comment(line.clone())),
                Step::Do(order) => {
                    let words: Vec<&str> = order.split(' ').collect();
                    match words.as_slice() {
                        ["as", tenant, place] => (who, region) = (if *tenant == "bob" { BOB } else { ALICE }, (*place).into()),
                        ["advance", seconds] => _ = self.clock.0.fetch_add(seconds.parse::<i64>().unwrap() * 1000, Ordering::Relaxed),
                        ["settle"] => self.settle().await,
                        ["disk-free-gib", gib] => self.space.measured(gib.parse::<u64>().unwrap() << 30, 0),
                        ["disk-full"] => self.impair([Impairment::DiskFull].into()).await,
                        ["disk-mended"] => self.impair(BTreeSet::new()).await,
                        _ => panic!("{name}: unknown order {order:?}"),
                    }
                    steps.push(Step::Do(order.clone()));
                }
                Step::Call(call) => {
                    let parameters: Vec<(String, String)> = call.parameters.iter().map(|(n, v)| (n.clone(), names.show(v))).collect();
                    let response = self.call(who, &region, service, &call.action, &parameters).await;
                    shapes.push(shape(service, &call.action, name, &response));
                    let body = String::from_utf8(response.body().to_vec()).unwrap();
                    let reply = hide_request_id(&names.hide(&pretty(&body)));
                    let (action, parameters) = (call.action.clone(), call.parameters.clone());
                    let reply = call.reply.as_ref().map(|_| reply);
                    let status = response.status().as_u16();
                    assert_eq!(status, call.status, "{name}: {action} {parameters:?}: {body}");
                    steps.push(Step::Call(Call { action, parameters, status, reply }));
                }
            }
        }
        (Case { steps }, shapes)
    }

    /// Calls an action of EC2 as alice.
    pub(crate) async fn ec2(&self, action: &str, parameters: &[(&str, &str)]) -> (u16, String) {
        let parameters: Vec<(String, String)> = parameters.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let response = self.call(ALICE, "us-east-1", "ec2", action, &parameters).await;
        (response.status().as_u16(), String::from_utf8(response.body().to_vec()).unwrap())
    }

    /// Calls as alice without a signature.
    pub(crate) async fn unsigned(&self, form: &str) -> (u16, String) {
        let response = self.gate.call(&scope(ALICE.0, "us-east-1"), form.into()).await;
        (response.status().as_u16(), String::from_utf8(response.body().to_vec()).unwrap())
    }

    /// Sends a request without a signature.
    pub(crate) async fn without_signature(&self, service: &str, action: &str) -> (u16, String) {
        let mut request = self.sign(ALICE, "us-east-1", service, form(service, action, &[]));
        request.headers_mut().remove("authorization");
        let response = self.gate.handle(request).await;
        (response.status().as_u16(), String::from_utf8(response.body().to_vec()).unwrap())
    }

    /// Alice's audit trail, the newest first: action, request id, error.
    pub(crate) async fn audit(&self) -> Vec<(String, String, Option<String>)> {
        let records = self.store.audit_newest(&scope(ALICE.0, "us-east-1"), 100).await.unwrap();
        records.into_iter().map(|r| (r.action, r.request_id, r.error)).collect()
    }

    async fn call(
        &self,
        who: (&str, &str, &str),
        region: &str,
        service: &str,
        action: &str,
        parameters: &[(String, String)],
    ) -> Response<Bytes> {
        self.gate.handle(self.sign(who, region, service, form(service, action, parameters))).await
    }

    /// Asserts that an action isn't run for anybody who can't sign.
    pub(crate) async fn refuses(&self, service: &str, action: &str) {
        let body = || form(service, action, &[]);
        let mut unsigned = self.sign(ALICE, "us-east-1", service, body());
        unsigned.headers_mut().remove("authorization");
        let mut changed = self.sign(ALICE, "us-east-1", service, body());
        *changed.body_mut() = Bytes::from(form(service, action, &[("Changed".into(), "1".into())]));
        let stranger = self.sign((ALICE.0, "AKIASTRANGERSTRANGER", ALICE.2), "us-east-1", service, body());
        let guessed = self.sign((ALICE.0, ALICE.1, BOB.2), "us-east-1", service, body());
        let revision = self.store.snapshot().revision();
        for request in [unsigned, changed, stranger, guessed] {
            let response = self.gate.handle(request).await;
            let text = String::from_utf8_lossy(response.body()).into_owned();
            assert!(matches!(response.status().as_u16(), 400 | 401 | 403), "{service}:{action}: {} {text}", response.status());
            let codes = ["AuthFailure", "SignatureDoesNotMatch", "InvalidClientTokenId", "MissingAuthenticationToken", "MissingParameter"];
            assert!(codes.iter().any(|c| text.contains(&format!("<Code>{c}</Code>"))), "{service}:{action}: {text}");
        }
        assert_eq!(self.store.snapshot().revision(), revision, "{service}:{action} wrote without a signature");
    }

    /// Signature Version 4, written anew so that a mistake in the cloud's own code isn't made twice.
    fn sign(&self, (_, id, secret): (&str, &str, &str), region: &str, service: &str, body: String) -> Request<Bytes> {
        let time = self.clock.now().iso8601_seconds().replace(['-', ':'], "");
        let day = &time[..8];
        let host = format!("{service}.{region}.amazonaws.com");
        let (kind, signed) = ("application/x-www-form-urlencoded; charset=utf-8", "content-type;host;x-amz-date");
        let hash = hex(&Sha256::digest(body.as_bytes()));
        let canonical = format!("POST\n/\n\ncontent-type:{kind}\nhost:{host}\nx-amz-date:{time}\n\n{signed}\n{hash}");
        let place = format!("{day}/{region}/{service}/aws4_request");
        let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{place}\n{}", hex(&Sha256::digest(canonical.as_bytes())));
        let key = [day, region, service, "aws4_request"].iter().fold(format!("AWS4{secret}").into_bytes(), |k, part| hmac(&k, part));
        let authorization =
            format!("AWS4-HMAC-SHA256 Credential={id}/{place}, SignedHeaders={signed}, Signature={}", hex(&hmac(&key, &to_sign)));
        let request = Request::post("/").header("host", host).header("content-type", kind).header("x-amz-date", time);
        request.header("authorization", authorization).body(body.into()).unwrap()
    }

    /// The loop sees every running instance impaired by exactly this.
    async fn impair(&self, by: BTreeSet<Impairment>) {
        let now = self.clock.now();
        let event = Event::Impaired { by, details: String::new() };
        let impaired = self.store.write(move |tx| {
            let all: Vec<(Scope, Instance)> = tx.all::<Instance>().map(|(s, i)| (s.clone(), (**i).clone())).collect();
            for (scope, mut instance) in all {
                instance.apply(&event, now).unwrap();
                tx.put(&scope, instance);
            }
            Ok::<_, ()>(())
        });
        impaired.await.unwrap().unwrap();
    }

    /// What the reconcile loop would have done: machines started, ended, gone with what goes with them.
    async fn settle(&self) {
        let now = self.clock.now();
        let settled = self.store.write(move |tx| {
            let all: Vec<(Scope, Instance)> = tx.all::<Instance>().map(|(s, i)| (s.clone(), (**i).clone())).collect();
            for (scope, mut instance) in all {
                let event = match &instance.state {
                    State::Pending => Event::Started,
                    State::Stopping(_) | State::ShuttingDown(_) => Event::Gone,
                    State::Running | State::Stopped | State::Terminated { .. } => continue,
                };
                instance.apply(&event, now).unwrap();
                release(tx, &scope, &instance);
                tx.put(&scope, instance);
            }
            Ok::<_, ()>(())
        });
        settled.await.unwrap().unwrap();
    }
}

/// Takes back what an instance that stopped or terminated has no longer.
fn release(tx: &mut SystemTx<'_>, scope: &Scope, instance: &Instance) {
    let over = matches!(instance.state, State::Terminated { .. });
    if !over && instance.state != State::Stopped {
        return;
    }
    for id in &instance.interfaces {
        let Some(mut interface) = tx.get::<NetworkInterface>(scope, id).map(|n| (**n).clone()) else { continue };
        let goes = interface.attachment.as_ref().is_some_and(|a| a.delete_on_termination);
        if over && goes {
            tx.remove::<NetworkInterface>(scope, id);
            continue;
        }
        interface.public_ip = None;
        interface.attachment = interface.attachment.filter(|_| !over);
        tx.put(scope, interface);
    }
    for id in instance.volumes.iter().filter(|_| over) {
        tx.remove::<Volume>(scope, id);
    }
}

/// Accounts, keys, images, a key pair.
fn furnish(tx: &mut SystemTx<'_>) {
    let created = Timestamp(START);
    for ((id, key, secret), name) in [(ALICE, "alice"), (BOB, "bob")] {
        let account: AccountId = id.parse().unwrap();
        tx.account_put(Account { id: account.clone(), name: name.into(), created, closed: None });
        tx.access_key_put(AccessKey { id: key.into(), secret: secret.into(), account, created, any_secret: false });
    }
    let cloud = AccountId::cloud();
    for (owner, number, name, public) in [(ALICE.0, 1, "alice's", false), (BOB.0, 2, "bob's", false), (cloud.as_str(), 3, "tiny", true)] {
        for region in ["us-east-1", "eu-west-1"] {
            let number = number + if region == "us-east-1" { 0 } else { 100 };
            tx.put(&scope(owner, region), image(owner, number, name, public));
        }
    }
    tx.put(
        &scope(ALICE.0, "us-east-1"),
        KeyPair {
            id: "key-00000000000000001".parse().unwrap(),
            name: "k".into(),
            key_type: KeyType::Ed25519,
            fingerprint: "7AqxJjyyoH4rJcfNwXzmkHOvCmW0RHFhl8mdnqGqbJM=".into(),
            public_key: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA== k".into(),
            created,
            tags: Tags::default(),
        },
    );
}

fn image(owner: &str, number: u32, name: &str, public: bool) -> Image {
    Image {
        id: format!("ami-{number:017}").parse().unwrap(),
        owner: owner.parse().unwrap(),
        name: name.into(),
        description: None,
        public,
        architecture: "x86_64".into(),
        root_device_name: "/dev/xvda".into(),
        snapshot_id: format!("snap-{number:017}").parse().unwrap(),
        size_gib: 2,
        boot: Boot::Kernel { command_line: "console=ttyS0".into() },
        login_user: "root".into(),
        lost: None,
        created: Timestamp(START),
        tags: Tags::default(),
        content: None,
        launch_permissions: BTreeSet::new(),
        source: None,
        root_volume_type: "gp3".into(),
        boot_mode: "legacy-bios".into(),
        imds_v2: false,
    }
}

fn form(service: &str, action: &str, parameters: &[(String, String)]) -> String {
    let version = if service == "sts" { "2011-06-15" } else { "2016-11-15" };
    let mut body = format!("Action={action}&Version={version}");
    for (name, value) in parameters {
        write!(body, "&{}={}", escape(name), escape(value)).unwrap();
    }
    body
}

fn shape(service: &str, action: &str, case: &str, response: &Response<Bytes>) -> serde_json::Value {
    let headers: serde_json::Map<String, serde_json::Value> =
        response.headers().iter().map(|(n, v)| (n.to_string(), v.to_str().unwrap().into())).collect();
    serde_json::json!({
        "service": service,
        "operation": action,
        "case": case,
        "status": response.status().as_u16(),
        "headers": headers,
        "body": String::from_utf8_lossy(response.body()),
    })
}

/// Request ids follow from chance that no case is about.
fn hide_request_id(reply: &str) -> String {
    let line = |l: &str| match l.find("<requestId>").or_else(|| l.find("<RequestId>")).or_else(|| l.find("<RequestID>")) {
        Some(at) => format!("{}…{}\n", &l[..at + 11], &l[l.find("</").unwrap_or(l.len())..]),
        None => format!("{l}\n"),
    };
    reply.lines().map(line).collect()
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn escape(text: &str) -> String {
    text.bytes().fold(String::new(), |escaped, byte| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => escaped + char::from(byte).encode_utf8(&mut [0; 4]),
        _ => escaped + &format!("%{byte:02X}"),
    })
}
