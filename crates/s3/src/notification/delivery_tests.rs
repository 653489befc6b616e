//! Deliveries to a small server that fails as it is told.

#![allow(clippy::unwrap_used)]
use super::*;
use crate::settings::Settings;
use model::fault::NoFaults;
use model::time::Clock;
use objects::{Acl, Bucket, Event, MasterKey, Objects, Options, Versioning};
use std::sync::atomic::{AtomicI64, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const ARN: &str = "arn:aws:sqs:us-east-1:111111111111:q";
/// How long a test waits for what must come.
const LONG: Duration = Duration::from_secs(20);

struct SetClock(AtomicI64);
impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

struct World {
    s3: S3,
    clock: Arc<SetClock>,
    stop: watch::Sender<bool>,
    _dir: tempfile::TempDir,
}

impl World {
    /// Two buckets, `a` and `b`; the destination is at this port.
    async fn new(port: u16) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { durable: false, ..Options::default() };
        let engine = Objects::open_with(&dir.path().join("objects"), MasterKey::new([7; 32]), Arc::new(NoFaults), options).unwrap();
        let store = store::Store::open(&dir.path().join("store"), store::Mode::Simulated, Arc::new(NoFaults)).unwrap();
        let clock = Arc::new(SetClock(AtomicI64::new(AGE_MS_MAX * 1000)));
        let webhooks = BTreeMap::from([(ARN.to_owned(), format!("http://127.0.0.1:{port}/"))]);
        let s3 = S3::new(engine, store, clock.clone(), Settings { webhooks, ..Settings::default() });
        for name in ["a", "b"] {
            let bucket = Bucket {
                name: name.into(),
                owner: "111111111111".parse().unwrap(),
                region: "us-east-1".into(),
                created: Timestamp(0),
                versioning: Versioning::Off,
                object_lock: false,
                acl: Acl::default(),
                ownership: None,
                policy: None,
                public_access_block: None,
                tags: BTreeMap::new(),
                documents: BTreeMap::new(),
                readings: objects::Readings::default(),
            };
            s3.objects.bucket_create(bucket).await.unwrap();
        }
        Self { s3, clock, stop: watch::Sender::new(false), _dir: dir }
    }

    async fn happen(&self, bucket: &str, bodies: &[&str]) {
        let at = self.clock.now();
        let events = bodies.iter().map(|body| Event { destination: ARN.into(), body: (*body).to_owned(), at }).collect();
        self.s3.objects.events_put(bucket, events).await.unwrap();
    }

    fn deliver(&self) -> tokio::task::JoinHandle<()> {
        tokio::spawn(deliver(self.s3.clone(), self.stop.subscribe()))
    }

    /// Waits until so many events wait.
    async fn waits(&self, events: u64) {
        let all = async {
            while self.s3.objects.events_waiting(ARN).await.unwrap() != events {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(LONG, all).await.unwrap_or_else(|_| panic!("{events} events should wait"));
    }
}

/// Reads a request's body and answers; a body that begins with `!` and a digit is answered so many times with 503 first, one that begins
/// with `-` with 404.
async fn answer(listener: TcpListener, heard: Arc<Mutex<Vec<String>>>) {
    let mut tries: BTreeMap<String, u32> = BTreeMap::new();
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut text = String::new();
        let body = loop {
            let mut some = [0; 4096];
            let n = stream.read(&mut some).await.unwrap();
            text.push_str(std::str::from_utf8(&some[..n]).unwrap());
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            if body.len() == length.parse::<usize>().unwrap() {
                break body.to_owned();
            }
        };
        let try_number = tries.entry(body.clone()).or_default();
        *try_number += 1;
        let fails = body.strip_prefix('!').and_then(|rest| rest[..1].parse().ok()).unwrap_or(0);
        let status = if *try_number <= fails {
            "503 Busy"
        } else if body.starts_with('-') {
            "404 No"
        } else {
            "200 OK"
        };
        if status == "200 OK" {
            heard.lock().unwrap().push(body);
        }
        stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes()).await.unwrap();
    }
}

#[tokio::test]
async fn a_bucket_whose_event_fails_waits_and_others_go_on() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = World::new(listener.local_addr().unwrap().port()).await;
    let heard = Arc::new(Mutex::default());
    let hook = tokio::spawn(answer(listener, heard.clone()));
    world.happen("a", &["a1", "!2 a2", "a3"]).await;
    world.happen("b", &["b1", "-b2", "b3"]).await;
    let delivery = world.deliver();
    world.waits(2).await;
    assert_eq!(*heard.lock().unwrap(), ["a1", "b1", "b3"]);
    world.waits(0).await;
    assert_eq!(*heard.lock().unwrap(), ["a1", "b1", "b3", "!2 a2", "a3"], "in the order of the bucket");
    world.happen("a", &["a4"]).await;
    world.waits(0).await;
    let fare = world.s3.fares.of(ARN);
    assert_eq!((fare.down(), fare.failing, fare.given_up), (None, None, 1), "one was refused");
    world.stop.send_replace(true);
    delivery.await.unwrap();
    hook.abort();
}

/// Nobody listens at port 9.
#[tokio::test]
async fn what_is_a_day_old_is_given_up() {
    let world = World::new(9).await;
    world.happen("a", &["old", "old"]).await;
    world.clock.0.fetch_add(AGE_MS_MAX, Ordering::Relaxed);
    world.happen("a", &["young"]).await;
    world.clock.0.fetch_add(1, Ordering::Relaxed);
    let delivery = world.deliver();
    world.waits(1).await;
    // It is told of only then.
    let given_up = async {
        while world.s3.fares.of(ARN).given_up != 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, given_up).await.unwrap();
    assert!(world.s3.fares.of(ARN).failing.is_some());
    world.stop.send_replace(true);
    delivery.await.unwrap();
}

/// What has nothing left to tell is no longer waited for.
#[tokio::test]
async fn waiting_ends_with_the_events() {
    let world = World::new(9).await;
    world.happen("a", &["old"]).await;
    world.clock.0.fetch_add(AGE_MS_MAX + 1, Ordering::Relaxed);
    let mut delivery = Delivery::new(world.s3.clone(), ARN.into(), Uri::from_static("http://127.0.0.1:9/"), world.stop.subscribe());
    assert!(delivery.round().await.unwrap());
    assert_eq!((delivery.waits.len(), world.s3.objects.events_waiting(ARN).await.unwrap()), (1, 0));
    assert!(!delivery.round().await.unwrap());
    assert_eq!(delivery.waits.len(), 1, "it is too early to look");
    tokio::time::sleep(PAUSE).await;
    assert!(!delivery.round().await.unwrap());
    assert!(delivery.waits.is_empty());
}

#[test]
fn a_destination_is_down_after_some_tries() {
    let since = Timestamp(5);
    let fare = |tries| Fare { failing: Some(since), tries, given_up: 0 }.down();
    assert_eq!((fare(DOWN_TRIES - 1), fare(DOWN_TRIES)), (None, Some(since)));
    assert_eq!(Fare::default().down(), None);
}
