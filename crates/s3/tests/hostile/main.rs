//! Input that no client sends: whatever comes, S3 answers, well-formed and without a fault of its own.
//!
//! Requests are made of good ones by mutation, or of words that the parsers know, in any order.
#![allow(clippy::unwrap_used, missing_docs)]

mod judge;
mod requests;
mod sign;
mod words;
mod world;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use md5::Digest as _;
use proptest::prelude::*;
use proptest::sample::Index;
use requests::seeds;
use std::time::Duration;
use words::{HEADERS, METHODS, QUERIES};
use world::{Ask, Reply, World};

/// What breaks parsers.
const NASTY: [&[u8]; 42] = [
    b"",
    b"-1",
    b"0",
    b"1",
    b"10000",
    b"10001",
    b"2147483648",
    b"99999999999999999999999",
    b"NaN",
    b"1e3",
    b"true",
    b"null",
    b"*",
    b"\"",
    b"\"\"",
    b"W/\"a\"",
    b"bytes=0-",
    b"bytes=-0",
    b"bytes=-99999999999",
    b"bytes=5-2",
    b"bytes=0-1,3-4",
    b"Tue, 24 Nov 2026 04:07:39 GMT",
    b"99999-01-01T00:00:00Z",
    b"../../etc/passwd",
    b"%",
    b"%00",
    b"\0",
    b"\r\n",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    "é".as_bytes(),
    b"<",
    b"]]>",
    b"<!DOCTYPE a [<!ENTITY b \"c\">]>",
    b"&b;",
    b"&#0;",
    b"<![CDATA[",
    b"<a xmlns=\"x\">",
    b"AES256",
    b"aws:kms",
    b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
    b"STREAMING-UNSIGNED-PAYLOAD-TRAILER",
];

fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => (0..NASTY.len()).prop_map(|n| NASTY[n].to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..40),
        1 => "[ -~]{0,30}".prop_map(String::into_bytes),
        1 => (1..3000_usize).prop_map(|n| vec![b'a'; n]),
    ]
}

/// One change of a request.
#[derive(Debug, Clone)]
enum Change {
    Method(Index),
    Path(Vec<u8>),
    Key(Vec<u8>),
    Header(Index, Vec<u8>),
    HeaderOfIts(Index, Vec<u8>),
    Query(Index, Vec<u8>),
    QueryOfIts(Index, Vec<u8>),
    Insert(Index, Vec<u8>),
    Remove(Index, Index),
    Repeat(Index, Index, u8),
    Flip(Index, u8),
    Unsigned,
    Cut(Index),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    prop_oneof![
        1 => at().prop_map(Change::Method),
        1 => piece().prop_map(Change::Path),
        2 => piece().prop_map(Change::Key),
        4 => (at(), piece()).prop_map(|(n, v)| Change::Header(n, v)),
        4 => (at(), piece()).prop_map(|(n, v)| Change::HeaderOfIts(n, v)),
        2 => (at(), piece()).prop_map(|(n, v)| Change::Query(n, v)),
        4 => (at(), piece()).prop_map(|(n, v)| Change::QueryOfIts(n, v)),
        6 => (at(), piece()).prop_map(|(n, v)| Change::Insert(n, v)),
        4 => (at(), at()).prop_map(|(n, m)| Change::Remove(n, m)),
        2 => (at(), at(), 1..50_u8).prop_map(|(n, m, count)| Change::Repeat(n, m, count)),
        6 => (at(), any::<u8>()).prop_map(|(n, v)| Change::Flip(n, v)),
        1 => Just(Change::Unsigned),
        1 => at().prop_map(Change::Cut),
    ]
}

/// The range between two places of a body.
fn between(one: Index, other: Index, length: usize) -> std::ops::Range<usize> {
    let (one, other) = (one.index(length + 1), other.index(length + 1));
    one.min(other)..one.max(other)
}

impl Change {
    fn make(self, ask: &mut Ask) {
        let length = ask.body.len();
        match self {
            Self::Method(n) => ask.method = (*n.get(&METHODS)).into(),
            Self::Path(path) => ask.path = [b"/", &path[..]].concat(),
            Self::Key(key) => {
                ask.path.push(b'/');
                ask.path.extend(key);
            }
            Self::Header(n, value) => ask.headers.push(((*n.get(&HEADERS)).into(), value)),
            Self::HeaderOfIts(n, value) if !ask.headers.is_empty() => {
                let at = n.index(ask.headers.len());
                ask.headers[at].1 = value;
            }
            Self::Query(n, value) => ask.query.push(((*n.get(&QUERIES)).into(), value)),
            Self::QueryOfIts(n, value) if !ask.query.is_empty() => {
                let at = n.index(ask.query.len());
                ask.query[at].1 = value;
            }
            Self::Insert(n, piece) => {
                let at = n.index(length + 1);
                ask.body.splice(at..at, piece);
            }
            Self::Remove(n, m) => _ = ask.body.drain(between(n, m, length)),
            Self::Repeat(n, m, count) => {
                let range = between(n, m, length);
                let again = ask.body[range.clone()].repeat(count.into());
                ask.body.splice(range.end..range.end, again);
            }
            Self::Flip(n, value) if length > 0 => ask.body[n.index(length)] = value,
            Self::Unsigned => ask.signed = false,
            Self::Cut(n) => {
                ask.piece = n.index(length + 1) + 1;
                ask.cut = true;
            }
            Self::HeaderOfIts(..) | Self::QueryOfIts(..) | Self::Flip(..) => {}
        }
    }
}

/// What every answer must be.
fn judge(ask: &Ask, reply: &Reply) -> Result<(), TestCaseError> {
    judge::judge(ask, reply).map_err(TestCaseError::fail)
}

thread_local! {
    static WORLD: World = World::new();
}

#[test]
fn good_requests_are_understood() {
    WORLD.with(|world| {
        let (bucket, upload) = world.furnish();
        for ask in seeds(world, &bucket, &upload) {
            let reply = world.call(&ask);
            let text = String::from_utf8_lossy(&reply.body);
            // They are the start of all that follows: a signature that is refused tries nothing. Two have a wrong one.
            let refused = ["MalformedXML", "SignatureDoesNotMatch", "InvalidPolicyDocument", "InvalidRequest</Code><Message>missing"]
                .iter()
                .any(|code| text.contains(code));
            let wrong = ask.query.iter().any(|(name, _)| name == "X-Amz-Signature") || ask.body.starts_with(b"5;");
            assert_eq!(refused, wrong, "{ask:?}\n{text}");
        }
    });
}

/// Goal: nobody can fill the memory with documents that don't end, nor keep others' out: one address holds 2 MiB of what nobody signed,
/// an account 16 MiB. Where nobody may do it, none is read.
#[test]
fn documents_that_do_not_end_are_few() {
    let world = World::new();
    let (bucket, _) = world.furnish();
    let delete = Ask::new("POST", &format!("/{bucket}")).query("delete", "");
    let hold =
        |signed: bool, length: usize| world.hold(&Ask { signed, ..delete.clone().body(vec![b' '; length]) }, 20, Duration::from_secs(1));
    assert!(hold(false, 900 << 10).iter().all(|status| *status == Some(http::StatusCode::FORBIDDEN)));

    let open = Ask::new("DELETE", &format!("/{bucket}")).query("publicAccessBlock", "");
    assert_eq!(world.call(&open).status, 204);
    let statement = format!("{{\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"s3:*\",\"Resource\":\"arn:aws:s3:::{bucket}/*\"}}");
    let policy = format!("{{\"Version\":\"2012-10-17\",\"Statement\":[{statement}]}}");
    assert_eq!(world.call(&Ask::new("PUT", &format!("/{bucket}")).query("policy", "").body(policy)).status, 204);
    for (signed, length, held) in [(false, 900 << 10, 2), (true, 3 << 20, 5)] {
        let answers = hold(signed, length);
        assert_eq!(answers.iter().filter(|answer| answer.is_none()).count(), held, "{answers:?}");
        assert!(answers.iter().flatten().all(|status| *status == 503), "{answers:?}");
    }
    assert!(hold(false, (1 << 20) + 1).iter().all(|status| *status == Some(http::StatusCode::BAD_REQUEST)));
    // Given up, they hold nothing.
    let small = "<Delete><Object><Key>k</Key></Object></Delete>";
    let delete = delete.header("content-md5", &BASE64_STANDARD.encode(md5::Md5::digest(small))).body(small);
    assert_eq!(world.call(&Ask { signed: false, ..delete.clone() }).status, 200);
    assert_eq!(world.call(&delete).status, 200);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn mutated_requests_are_answered(seed in any::<Index>(), piece in prop_oneof![Just(usize::MAX), 1..100_usize], changes in proptest::collection::vec(change(), 1..6)) {
        WORLD.with(|world| {
            let (bucket, upload) = world.furnish();
            let seeds = seeds(world, &bucket, &upload);
            let mut ask = Ask { piece, ..seed.get(&seeds).clone() };
            for change in changes {
                change.make(&mut ask);
            }
            judge(&ask, &world.call(&ask))
        })?;
    }

    #[test]
    fn made_up_requests_are_answered(
        method in 0..METHODS.len(), path in proptest::collection::vec(piece(), 0..4), body in piece(), signed in any::<bool>(),
        query in proptest::collection::vec((0..QUERIES.len(), piece()), 0..5), headers in proptest::collection::vec((0..HEADERS.len(), piece()), 0..6),
    ) {
        let ask = Ask {
            method: METHODS[method].into(),
            path: [b"/", &path.join(&b'/')[..]].concat(),
            query: query.into_iter().map(|(n, value)| (QUERIES[n].into(), value)).collect(),
            headers: headers.into_iter().map(|(n, value)| (HEADERS[n].into(), value)).collect(),
            body,
            signed,
            piece: usize::MAX,
            cut: false,
        };
        WORLD.with(|world| judge(&ask, &world.call(&ask)))?;
    }
}
