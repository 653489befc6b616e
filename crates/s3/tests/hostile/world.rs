//! A front before an empty engine, and requests that are signed as a client's.

use super::sign::{Signer, hex};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body::Frame;
use http_body_util::StreamBody;
use model::account::{AccessKey, Account};
use model::fault::NoFaults;
use model::time::{Clock, Timestamp};
use objects::{MasterKey, Objects, Options};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use rand::SeedableRng as _;
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use std::time::Duration;
use store::{Mode, Store};

const KEY: &str = "AKIAHOSTILEHOSTILE00";
const PEER: ([u8; 4], u16) = ([127, 0, 0, 1], 50_000);
const SECRET: &str = "hostile/hostile/hostile/hostile/hostile0";
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The machine's clock, by which `s3s` judges signatures.
struct RealClock;

impl Clock for RealClock {
    fn now(&self) -> Timestamp {
        let since = std::time::UNIX_EPOCH.elapsed().unwrap();
        Timestamp(i64::try_from(since.as_millis()).unwrap())
    }
}

/// A request before it is signed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ask {
    pub(crate) method: String,
    /// Decoded, with its slash in front.
    pub(crate) path: Vec<u8>,
    pub(crate) query: Vec<(String, Vec<u8>)>,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
    pub(crate) signed: bool,
    /// Where the body is cut into pieces.
    pub(crate) piece: usize,
    /// Whether the connection breaks before the last piece.
    pub(crate) cut: bool,
}

impl Ask {
    pub(crate) fn new(method: &str, path: &str) -> Self {
        Self { method: method.into(), path: path.as_bytes().to_vec(), signed: true, piece: usize::MAX, ..Self::default() }
    }

    pub(crate) fn query(mut self, name: &str, value: &str) -> Self {
        self.query.push((name.into(), value.as_bytes().to_vec()));
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.as_bytes().to_vec()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

pub(crate) struct World {
    runtime: tokio::runtime::Runtime,
    front: s3::Front,
    pub(crate) signer: Signer,
    buckets: std::cell::Cell<u32>,
    _dir: tempfile::TempDir,
}

fn encode(bytes: &[u8]) -> String {
    percent_encode(bytes, ENCODED).to_string()
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let now = RealClock.now();
        let date = now.iso8601_seconds().replace(['-', ':'], "");
        let signer = Signer { key: KEY.into(), secret: SECRET.into(), region: "us-east-1".into(), date };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let front = runtime.block_on(async {
            let store = Store::open(&dir.path().join("state.db"), Mode::Simulated, Arc::new(NoFaults)).unwrap();
            let account = Account { id: "111122223333".parse().unwrap(), name: "hostile".into(), created: now, closed: None };
            let key = AccessKey { id: KEY.into(), secret: SECRET.into(), account: account.id.clone(), created: now, any_secret: false };
            let furnished = store.write(move |tx| {
                tx.account_put(account);
                tx.access_key_put(key);
                Ok::<_, ()>(())
            });
            furnished.await.unwrap().unwrap();
            let options = Options { durable: false, ..Options::default() };
            let objects = Objects::open_with(&dir.path().join("objects"), MasterKey::new([7; 32]), Arc::new(NoFaults), options).unwrap();
            let rng = rand::rngs::StdRng::seed_from_u64(1);
            s3::Front::new(objects, store, Arc::new(RealClock), rng, s3::Settings::default())
        });
        Self { runtime, front, signer, buckets: std::cell::Cell::new(0), _dir: dir }
    }

    /// A new bucket with an object `k` and an upload of the key `u`: its name and the upload's id.
    pub(crate) fn furnish(&self) -> (String, String) {
        let n = self.buckets.get();
        self.buckets.set(n + 1);
        let bucket = format!("bucket-{n}");
        for ask in [Ask::new("PUT", &format!("/{bucket}")), Ask::new("PUT", &format!("/{bucket}/k")).body("content")] {
            let reply = self.call(&ask);
            assert_eq!(reply.status, 200, "{reply:?}");
        }
        let reply = self.call(&Ask::new("POST", &format!("/{bucket}/u")).query("uploads", ""));
        let text = String::from_utf8(reply.body.to_vec()).unwrap();
        let id = text.split("<UploadId>").nth(1).and_then(|rest| rest.split('<').next()).unwrap_or_else(|| panic!("{text}"));
        (bucket, id.to_owned())
    }

    pub(crate) fn call(&self, ask: &Ask) -> Reply {
        let mut pieces: Vec<_> = ask.body.chunks(ask.piece.max(1)).map(|p| Ok(Frame::data(Bytes::copy_from_slice(p)))).collect();
        if ask.cut {
            pieces.pop();
            pieces.push(Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)));
        }
        let request = self.request(ask, StreamBody::new(futures_util::stream::iter(pieces)));
        self.runtime.block_on(async {
            let response = self.front.call(request, PEER.into()).await;
            let (head, body) = response.into_parts();
            Reply { status: head.status, headers: head.headers, body: http_body_util::BodyExt::collect(body).await.unwrap().to_bytes() }
        })
    }

    /// Sends so many copies of a request at the same time, whose bodies come and don't end: what is answered within the time. `None`: nothing.
    pub(crate) fn hold(&self, ask: &Ask, copies: usize, time: Duration) -> Vec<Option<StatusCode>> {
        let one = || {
            let piece = futures_util::stream::iter([Ok::<_, std::io::Error>(Frame::data(Bytes::from(ask.body.clone())))]);
            let request = self.request(ask, StreamBody::new(piece.chain(futures_util::stream::pending())));
            let answer = async move { self.front.call(request, PEER.into()).await.status() };
            async move { tokio::time::timeout(time, answer).await.ok() }
        };
        self.runtime.block_on(async { futures_util::future::join_all(std::iter::repeat_with(one).take(copies)).await })
    }

    fn request<B>(&self, ask: &Ask, body: B) -> Request<B> {
        let mut request = Request::new(body);
        *request.method_mut() = Method::from_bytes(ask.method.as_bytes()).unwrap();
        let query: Vec<String> = ask.query.iter().map(|(n, v)| format!("{}={}", encode(n.as_bytes()), encode(v))).collect();
        let path = ask.path.split(|b| *b == b'/').map(encode).collect::<Vec<_>>().join("/");
        let target = if query.is_empty() { path.clone() } else { format!("{path}?{}", query.join("&")) };
        *request.uri_mut() = target.parse().unwrap();
        *request.headers_mut() = headers(&self.signer, ask, &path, query);
        request
    }
}

/// The headers, with the signature if there is one.
fn headers(signer: &Signer, ask: &Ask, path: &str, mut query: Vec<String>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static("127.0.0.1:4566"));
    headers.insert("content-length", HeaderValue::from(ask.body.len()));
    if ask.signed {
        headers.insert("x-amz-date", signer.date.parse().unwrap());
        headers.insert("x-amz-content-sha256", HeaderValue::from_static("UNSIGNED-PAYLOAD"));
    }
    for (name, value) in &ask.headers {
        // What HTTP can't carry never arrives.
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value)) {
            headers.insert(name, value);
        }
    }
    if !ask.signed || headers.contains_key("authorization") {
        return headers;
    }
    let mut signed: Vec<(String, Vec<u8>)> =
        headers.iter().map(|(n, v)| (n.as_str().to_owned(), v.as_bytes().trim_ascii().to_vec())).collect();
    signed.sort();
    query.sort();
    let mut canonical = format!("{}\n{path}\n{}\n", ask.method, query.join("&")).into_bytes();
    for (name, value) in &signed {
        canonical.extend([name.as_bytes(), b":", value, b"\n"].concat());
    }
    let names = signed.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(";");
    canonical.extend([b"\n", names.as_bytes(), b"\n", headers["x-amz-content-sha256"].as_bytes()].concat());
    let text = format!("AWS4-HMAC-SHA256\n{}\n{}\n{}", signer.date, signer.scope(), hex(&Sha256::digest(&canonical)));
    let value = format!("AWS4-HMAC-SHA256 Credential={}, SignedHeaders={names}, Signature={}", signer.credential(), signer.sign(&text));
    headers.insert("authorization", value.parse().unwrap());
    headers
}
