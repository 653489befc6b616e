//! What the seeds of `world` don't reach: long bodies, many clients, damage, full disks.
#![allow(clippy::unwrap_used, missing_docs)]

mod damage;
mod index;

use futures_util::StreamExt as _;
use model::fault::{Crash, Faults, NoFaults};
use model::time::Timestamp;
use objects::{
    Acl, Bucket, Change, Condition, Delete, Error, EtagMatch, Event, List, ListUploads, ListVersions, MasterKey, Objects, PartPut, Put,
    Record, Seal, Staged, Stored, Upload, Version, Versioning, Witness,
};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const CUSTOMER: [u8; 32] = [4; 32];

fn owner() -> model::scope::AccountId {
    "111111111111".parse().unwrap()
}

fn open(dir: &Path) -> objects::Result<Objects> {
    Objects::open(dir, MasterKey::new([1; 32]), Arc::new(NoFaults))
}

async fn with_bucket(dir: &Path) -> Objects {
    let engine = open(dir).unwrap();
    let bucket = Bucket {
        name: "b".into(),
        owner: owner(),
        region: "us-east-1".into(),
        created: Timestamp(1),
        versioning: Versioning::Off,
        object_lock: false,
        acl: Acl::default(),
        ownership: None,
        policy: None,
        public_access_block: None,
        tags: Default::default(),
        documents: Default::default(),
        readings: Default::default(),
    };
    engine.bucket_create(bucket).await.unwrap();
    engine
}

async fn stage(engine: &Objects, body: &[u8], seal: Seal) -> objects::Result<Staged> {
    let mut staging = engine.stage(seal);
    for bytes in body.chunks(100_000) {
        staging.write(bytes.to_vec().into()).await?;
    }
    staging.finish().await
}

async fn put(engine: &Objects, key: &str, body: &[u8], seal: Seal, condition: Condition) -> objects::Result<Stored> {
    let staged = stage(engine, body, seal).await?;
    let (key, record) = (key.into(), Record::new(owner()));
    engine
        .put(Put { bucket: "b".into(), bucket_created: Timestamp(1), key, staged, etag: "e".into(), record, condition, now: Timestamp(5) })
        .await
}

async fn read(engine: &Objects, version: &Version, range: std::ops::Range<u64>, key: Option<[u8; 32]>) -> objects::Result<Vec<u8>> {
    let mut reader = engine.read(version, range, key);
    let mut body = Vec::new();
    while let Some(bytes) = reader.next().await {
        body.extend_from_slice(&bytes?);
    }
    Ok(body)
}

fn delete(key: &str) -> Delete {
    Delete { bucket: "b".into(), key: key.into(), version: None, if_match: None, bypass_governance: false, now: Timestamp(6) }
}

fn body(size: usize) -> Vec<u8> {
    (0..size).map(|i| (i * 31 % 251) as u8).collect()
}

/// Reads and compares everything.
async fn scrub(engine: &Objects) -> objects::Scrubbed {
    engine.scrub(|| Timestamp(9), |_| Duration::ZERO).await.unwrap().1
}

/// The only file of a body.
fn the_file(dir: &Path) -> PathBuf {
    let folders = std::fs::read_dir(dir.join("files")).unwrap();
    let mut files = folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
    let file = files.next().unwrap().unwrap().path();
    assert!(files.next().is_none());
    file
}

#[tokio::test]
async fn long_bodies_and_their_ranges() {
    let dir = tempfile::tempdir().unwrap();
    let engine = with_bucket(dir.path()).await;
    for seal in [Seal::None, Seal::Engine, Seal::Customer(CUSTOMER)] {
        for size in [0, 1, 16 * 1024, 16 * 1024 + 1, 64 * 1024, (1 << 20) + 1] {
            let body = body(size);
            let stored = put(&engine, "k", &body, seal.clone(), Condition::default()).await.unwrap();
            assert_eq!(stored.version.size, size as u64);
            let version = engine.get("b", "k", None).await.unwrap();
            let end = size as u64;
            for range in
                [0..end, 0..end / 2, end / 3..end, end / 2..end / 2 + 1, 65_535..65_537, 524_287..1_048_577, end..end + 9, 5..u64::MAX]
            {
                let wanted = &body[(range.start as usize).min(size)..(range.end.min(end) as usize).max((range.start as usize).min(size))];
                assert!(read(&engine, &version, range.clone(), Some(CUSTOMER)).await.unwrap() == wanted, "{seal:?} {size} {range:?}");
            }
            if matches!(seal, Seal::Customer(_)) && size > 0 {
                for key in [None, Some([5; 32])] {
                    assert!(matches!(read(&engine, &version, 0..1, key).await, Err(Error::WrongKey)));
                }
            }
        }
    }
}

#[tokio::test]
async fn sealed_bytes_are_not_on_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let engine = with_bucket(dir.path()).await;
    let secret = b"a secret that is long enough to be looked for".repeat(2);
    put(&engine, "short", &secret, Seal::Engine, Condition::default()).await.unwrap();
    put(&engine, "long", &secret.repeat(1000), Seal::Customer(CUSTOMER), Condition::default()).await.unwrap();
    drop(engine);
    for file in [dir.path().join("index.db"), the_file(dir.path())] {
        let bytes = std::fs::read(file).unwrap();
        assert!(!bytes.windows(20).any(|window| window == &secret[..20] || window == CUSTOMER));
    }
}

#[tokio::test]
async fn of_many_who_create_one_does() {
    let dir = tempfile::tempdir().unwrap();
    let engine = with_bucket(dir.path()).await;
    let tries = (0..32_u8).map(|i| {
        let engine = engine.clone();
        tokio::spawn(async move {
            let condition = Condition { if_match: None, if_none_match: Some(EtagMatch::Any) };
            put(&engine, "k", &[i; 20_000], Seal::None, condition).await.map(|_| i)
        })
    });
    let (mut won, mut lost) = (Vec::new(), 0);
    for one in tries.collect::<Vec<_>>() {
        match one.await.unwrap() {
            Ok(i) => won.push(i),
            Err(error) => {
                assert!(matches!(error, Error::PreconditionFailed));
                lost += 1;
            }
        }
    }
    assert_eq!((won.len(), lost), (1, 31));
    let version = engine.get("b", "k", None).await.unwrap();
    assert_eq!(read(&engine, &version, 0..9, None).await.unwrap(), [won[0]; 9]);
    the_file(dir.path());
}

#[tokio::test]
async fn what_is_dropped_on_its_way_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let engine = with_bucket(dir.path()).await;
    let incoming = || std::fs::read_dir(dir.path().join("incoming")).unwrap().count();
    drop(stage(&engine, &body(2_000_000), Seal::None).await.unwrap());
    assert_eq!(incoming(), 0);
    let mut staging = engine.stage(Seal::None);
    staging.write(body(3_000_000).into()).await.unwrap();
    drop(staging);
    // The last piece was with a thread: its file goes when it is written.
    for _ in 0..1000 {
        if incoming() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("a file stays in incoming/");
}

#[tokio::test]
async fn the_kernel_can_send_what_is_large_and_not_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let engine = with_bucket(dir.path()).await;
    for (key, size, seal, mapped) in [
        ("inline", 100, Seal::None, false),
        ("small", 500_000, Seal::None, false),
        ("sealed", 3_000_000, Seal::Engine, false),
        ("large", 3_000_000, Seal::None, true),
    ] {
        let whole = body(size);
        put(&engine, key, &whole, seal, Condition::default()).await.unwrap();
        let version = engine.get("b", key, None).await.unwrap();
        let range = 7..whole.len().min(2_600_000);
        let pieces: Vec<_> = engine.send(&version, range.start as u64..range.end as u64, None).map(Result::unwrap).collect().await;
        assert!(pieces.concat() == whole[range], "{key}");
        assert!(pieces.iter().all(|piece| objects::origin(piece).is_some() == mapped), "{key}");
        let read: Vec<_> = engine.read(&version, 0..version.size, None).map(Result::unwrap).collect().await;
        assert!(read.iter().all(|piece| objects::origin(piece).is_none()), "who looks at {key} has it in memory");
    }
}

#[tokio::test]
async fn a_put_for_a_bucket_that_was_made_anew_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let engine = with_bucket(dir.path()).await;
    let staged = stage(&engine, b"late", Seal::None).await.unwrap();
    let bucket = Bucket { created: Timestamp(2), ..Bucket::clone(&engine.bucket("b").unwrap()) };
    engine.bucket_delete("b").await.unwrap();
    engine.bucket_create(bucket).await.unwrap();
    let (key, record, condition) = ("k".into(), Record::new(owner()), Condition::default());
    let put = Put { bucket: "b".into(), bucket_created: Timestamp(1), key, staged, etag: "e".into(), record, condition, now: Timestamp(5) };
    assert!(matches!(engine.put(put).await, Err(Error::NoSuchBucket)));
    assert!(matches!(engine.get("b", "k", None).await, Err(Error::NoSuchKey)));
}

#[tokio::test]
async fn listed_versions_may_go_between_pages() {
    let dir = tempfile::tempdir().unwrap();
    let engine = with_bucket(dir.path()).await;
    put(&engine, "a", b"1", Seal::None, Condition::default()).await.unwrap();
    let enable = |b: &mut Bucket| {
        b.versioning = Versioning::Enabled;
        Ok::<(), ()>(())
    };
    engine.bucket_update("b", enable).await.unwrap().unwrap();
    for key in ["a", "a", "b", "a", "b"] {
        put(&engine, key, b"2", Seal::None, Condition::default()).await.unwrap();
    }
    let (mut after, mut gone) = (None, 0);
    loop {
        let q = ListVersions { bucket: "b".into(), max: 2, after, ..ListVersions::default() };
        let page = engine.list_versions(q).await.unwrap();
        for version in page.versions {
            engine.delete(Delete { version: Some(version.id), ..delete(&version.key) }).await.unwrap();
            gone += 1;
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(gone, 6);
    engine.bucket_delete("b").await.unwrap();
}

#[tokio::test]
async fn what_was_read_of_a_bucket_goes_with_its_state() {
    let dir = tempfile::tempdir().unwrap();
    let engine = with_bucket(dir.path()).await;
    let read = |bucket: &Bucket| bucket.readings.get("policy", || Ok::<_, ()>(bucket.policy.clone())).unwrap().as_ref().clone();
    assert_eq!(read(&engine.bucket("b").unwrap()), None);
    let change = move |bucket: &mut Bucket| {
        assert_eq!(read(bucket), None);
        bucket.policy = Some("new".into());
        Ok::<(), ()>(())
    };
    engine.bucket_update("b", change).await.unwrap().unwrap();
    assert_eq!(read(&engine.bucket("b").unwrap()).as_deref(), Some("new"));
}

#[tokio::test]
async fn what_was_written_since_is_not_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let engine = with_bucket(dir.path()).await;
    let old = put(&engine, "a", b"1", Seal::None, Condition::default()).await.unwrap().version.last_modified;
    let judged = async |key: &str, written| engine.delete_unchanged("b", vec![(delete(key), written)]).await.unwrap().remove(0);
    assert!(matches!(judged("a", old.plus_millis(-1)).await, Err(Error::PreconditionFailed)));
    assert!(matches!(judged("none", old).await, Err(Error::PreconditionFailed)));
    assert!(engine.get("b", "a", None).await.is_ok());
    assert!(judged("a", old).await.is_ok());
    assert!(matches!(engine.get("b", "a", None).await, Err(Error::NoSuchKey)));
}

#[tokio::test]
async fn many_deletions_are_answered_and_told_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let engine = with_bucket(dir.path()).await.witnessed(Arc::new(Teller));
    let keys: Vec<String> = (0..150).map(|i| format!("k{i:03}")).collect();
    for key in keys.iter().step_by(3) {
        put(&engine, key, key.as_bytes(), Seal::None, Condition::default()).await.unwrap();
    }
    let done = engine.delete_many("b", keys.iter().map(|key| delete(key)).collect()).await.unwrap();
    let sizes: Vec<_> = done.into_iter().map(|done| done.unwrap().size).collect();
    assert_eq!(sizes, (0..150).map(|i| (i % 3 == 0).then_some(4)).collect::<Vec<_>>());
    let told = engine.events("d", 0, BTreeSet::new(), 999).await.unwrap().unwrap().events;
    let deleted: Vec<_> = told.into_iter().map(|(_, event)| event).skip(50).collect();
    let wanted = |(i, key): (usize, &String)| format!("b -{key} {:?}", (i % 3 == 0).then_some(4));
    assert_eq!(deleted, keys.iter().enumerate().map(wanted).collect::<Vec<_>>());
    assert!(engine.delete_many("b", Vec::new()).await.unwrap().is_empty());
    assert!(matches!(engine.delete_many("none", Vec::new()).await, Err(Error::NoSuchBucket)));
}

#[tokio::test]
async fn many_deletions_let_others_pass() {
    let dir = tempfile::tempdir().unwrap();
    let engine = with_bucket(dir.path()).await;
    let deletes: Vec<_> = (0..20_000).map(|i| delete(&format!("k{i}"))).chain([delete("other")]).collect();
    let many = {
        let engine = engine.clone();
        tokio::spawn(async move { engine.delete_many("b", deletes).await })
    };
    // It is queued before what follows.
    tokio::task::yield_now().await;
    put(&engine, "other", b"1", Seal::None, Condition::default()).await.unwrap();
    let sizes: Vec<_> = many.await.unwrap().unwrap().into_iter().map(|done| done.unwrap().size).collect();
    assert_eq!((sizes.len(), sizes.last()), (20_001, Some(&Some(1))), "what was written on the way is deleted by the last");
}

#[tokio::test]
async fn old_versions_are_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let engine = with_bucket(dir.path()).await;
    let enable = |b: &mut Bucket| {
        b.versioning = Versioning::Enabled;
        Ok::<(), ()>(())
    };
    engine.bucket_update("b", enable).await.unwrap().unwrap();
    for key in ["a", "a\0", "a\0\0", "b"] {
        for _ in 0..40 {
            put(&engine, key, b"x", Seal::None, Condition::default()).await.unwrap();
        }
    }
    engine.delete(delete("a\0\0")).await.unwrap();
    let all = engine.list(List { bucket: "b".into(), max: 9, ..List::default() }).await.unwrap();
    assert_eq!(all.objects.iter().map(|v| v.key.as_str()).collect::<Vec<_>>(), ["a", "a\0", "b"]);
    assert_eq!(engine.usage().versions, 161);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_of_an_object_that_is_overwritten_see_one_body_whole() {
    let dir = tempfile::tempdir().unwrap();
    let engine = with_bucket(dir.path()).await;
    put(&engine, "k", &[0; 20_000], Seal::None, Condition::default()).await.unwrap();
    let readers = (0..4).map(|_| {
        let engine = engine.clone();
        tokio::spawn(async move {
            for _ in 0..300 {
                let version = engine.get("b", "k", None).await.unwrap();
                let body = read(&engine, &version, 0..version.size, None).await.unwrap();
                assert_eq!(body, vec![body[0]; 20_000]);
            }
        })
    });
    let readers = readers.collect::<Vec<_>>();
    let mut round = 0_u8;
    while !readers.iter().all(tokio::task::JoinHandle::is_finished) {
        round = round.wrapping_add(1);
        put(&engine, "k", &vec![round; 20_000], Seal::None, Condition::default()).await.unwrap();
    }
    for reader in readers {
        reader.await.unwrap();
    }
    drop(engine);
    the_file(dir.path());
}

/// Tells a destination what is written.
struct Teller;

impl Witness for Teller {
    fn tell(&self, bucket: &Bucket, change: Change<'_>) -> Vec<Event> {
        let body = match change {
            Change::Written(version) => format!("{} +{}", bucket.name, version.key),
            Change::Deleted(delete, done) => format!("{} -{} {:?}", bucket.name, delete.key, done.size),
        };
        vec![Event { destination: "d".into(), body, at: Timestamp(1) }]
    }
}

#[tokio::test]
async fn events_wait_until_they_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let engine = with_bucket(dir.path()).await;
    let mut news = engine.events_news();
    put(&engine, "silent", b"1", Seal::None, Condition::default()).await.unwrap();
    assert!(!news.has_changed().unwrap() && engine.events("d", 0, BTreeSet::new(), 9).await.unwrap().is_none());
    let watched = engine.witnessed(Arc::new(Teller));
    put(&watched, "k", b"12", Seal::None, Condition::default()).await.unwrap();
    assert!(news.has_changed().unwrap());
    news.mark_unchanged();
    let once = Condition { if_match: None, if_none_match: Some(EtagMatch::Any) };
    put(&watched, "k", b"3", Seal::None, once).await.unwrap_err();
    assert!(!news.has_changed().unwrap(), "nothing is told of what was not done");
    watched.delete_many("b", vec![delete("k"), delete("none")]).await.unwrap();
    drop((engine, watched, news));

    let engine = open(dir.path()).unwrap();
    let page = engine.events("d", 0, BTreeSet::new(), 2).await.unwrap().unwrap();
    assert_eq!(page.events, [(1, "b +k".to_owned()), (2, "b -k Some(2)".to_owned())]);
    assert!(
        engine.events("d", page.bucket, BTreeSet::new(), 9).await.unwrap().is_none()
            && engine.events("other", 0, BTreeSet::new(), 9).await.unwrap().is_none()
    );
    engine.events_done("d", page.bucket, 2).await.unwrap();
    assert_eq!(engine.events("d", 0, BTreeSet::new(), 9).await.unwrap().unwrap().events, [(3, "b -none None".to_owned())]);
    let owner = engine.bucket("b").unwrap().owner.clone();
    let whose = owner.clone();
    assert_eq!(engine.events_keep(move |account, destination| *account == whose && destination == "d").await.unwrap(), 0);
    assert_eq!(engine.events_keep(move |account, destination| *account == owner && destination == "other").await.unwrap(), 1);
    assert!(engine.events("d", 0, BTreeSet::new(), 9).await.unwrap().is_none());
}

#[tokio::test]
async fn waiting_events_have_a_limit() {
    let dir = tempfile::tempdir().unwrap();
    let engine = with_bucket(dir.path()).await;
    let of = |destination: &str, many| vec![Event { destination: destination.into(), body: "x".into(), at: Timestamp(1) }; many];
    engine.events_put("b", of("d", objects::EVENTS_MAX as usize - 1)).await.unwrap();
    assert_eq!((engine.events_waiting("d").await.unwrap() as i64, engine.events_lost("d")), (objects::EVENTS_MAX - 1, 0));
    engine.events_put("b", of("d", 3)).await.unwrap();
    engine.events_put("b", of("e", 1)).await.unwrap();
    let all = engine.events("d", 0, BTreeSet::new(), 20_000).await.unwrap().unwrap();
    assert_eq!((all.events[0].0, all.events.last().unwrap().0), (3, objects::EVENTS_MAX + 2), "the oldest went");
    assert_eq!((engine.events_waiting("d").await.unwrap() as i64, engine.events_lost("d")), (objects::EVENTS_MAX, 2));
    assert_eq!((engine.events_waiting("e").await.unwrap(), engine.events_lost("e")), (1, 0));
    engine.events_done("d", all.bucket, 7).await.unwrap();
    engine.events_put("b", of("d", 9)).await.unwrap();
    let all = engine.events("d", 0, BTreeSet::new(), 20_000).await.unwrap().unwrap();
    assert_eq!((all.events.len() as i64, all.events[0].0, engine.events_lost("d")), (objects::EVENTS_MAX, 12, 6));
}

#[tokio::test]
async fn old_events_are_forgotten_and_buckets_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let engine = with_bucket(dir.path()).await;
    let mut second = Bucket::clone(&engine.bucket("b").unwrap());
    second.name = "c".into();
    engine.bucket_create(second).await.unwrap();
    let of = |at: i64| Event { destination: "d".into(), body: at.to_string(), at: Timestamp(at) };
    engine.events_put("b", [5, 6, 9, 4].map(of).into()).await.unwrap();
    engine.events_put("c", [1].map(of).into()).await.unwrap();
    let first = engine.events("d", 0, BTreeSet::new(), 9).await.unwrap().unwrap().bucket;
    let other = engine.events("d", 0, BTreeSet::from([first]), 9).await.unwrap().unwrap();
    assert_eq!((other.bucket != first, other.events), (true, vec![(1, "1".to_owned())]));
    assert!(engine.events("d", 0, BTreeSet::from([first, other.bucket]), 9).await.unwrap().is_none());
    assert_eq!(engine.events_expire("d", first, Timestamp(5)).await.unwrap(), 0);
    assert_eq!(engine.events_expire("d", first, Timestamp(7)).await.unwrap(), 2, "what came before one that is young stays");
    assert_eq!(engine.events("d", 0, BTreeSet::new(), 9).await.unwrap().unwrap().events, [(3, "9".to_owned()), (4, "4".to_owned())]);
    assert_eq!(engine.events_expire("d", first, Timestamp(10)).await.unwrap(), 2);
    assert_eq!(engine.events_waiting("d").await.unwrap(), 1);
}

/// Lets those who look a version up take their time before they hold it.
struct Slow;

impl Faults for Slow {
    fn hit(&self, point: &'static str) -> Result<(), Crash> {
        if point == "objects.pin.before" {
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }
}

#[tokio::test]
async fn what_is_being_looked_up_is_not_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let engine = with_bucket(dir.path()).await;
    put(&engine, "k", &body(20_000), Seal::None, Condition::default()).await.unwrap();
    drop(engine);
    let engine = Objects::open(dir.path(), MasterKey::new([1; 32]), Arc::new(Slow)).unwrap();
    let getting = tokio::spawn({
        let engine = engine.clone();
        async move { engine.get("b", "k", None).await }
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    engine.delete(delete("k")).await.unwrap();
    let version = getting.await.unwrap().expect("it was there when it was looked up");
    assert!(read(&engine, &version, 0..20_000, None).await.unwrap() == body(20_000));
}

#[tokio::test]
async fn uploads_and_parts_come_in_pages() {
    let dir = tempfile::tempdir().unwrap();
    let engine = with_bucket(dir.path()).await;
    for (at, key) in ["a/1", "a/2", "b", "b", "c"].into_iter().enumerate() {
        let now = Timestamp(at as i64);
        let (id, record) = (engine.upload_id(now), Record::new(owner()));
        let upload = Upload { id, bucket: "b".into(), key: key.into(), initiated: now, initiator: owner(), record, checksum: None };
        engine.upload_create(upload).await.unwrap();
    }
    let (mut after, mut seen, mut last) = (None, Vec::new(), None);
    loop {
        let q = ListUploads { bucket: "b".into(), delimiter: Some("/".into()), after, max: 1, ..ListUploads::default() };
        let page = engine.uploads(q).await.unwrap();
        seen.extend(page.prefixes);
        seen.extend(page.uploads.iter().map(|u| format!("{} {}", u.key, u.initiated.0)));
        last = page.uploads.last().cloned().or(last);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["a/", "b 2", "b 3", "c 4"]);
    let upload = last.unwrap().id.clone();
    for number in [3, 1, 2] {
        let staged = stage(&engine, &body(number as usize), Seal::None).await.unwrap();
        let (bucket, key, upload, etag) = ("b".into(), "c".into(), upload.clone(), "p".into());
        engine
            .part_put(PartPut { bucket, key, upload, number, staged, etag, checksums: Default::default(), now: Timestamp(9) })
            .await
            .unwrap();
    }
    let numbers = |parts: Vec<objects::Part>| parts.into_iter().map(|p| (p.number, p.size)).collect::<Vec<_>>();
    let (first, more) = engine.parts("b", "c", &upload, 0, 2).await.unwrap();
    assert_eq!((numbers(first), more), (vec![(1, 1), (2, 2)], true));
    let (rest, more) = engine.parts("b", "c", &upload, 2, 2).await.unwrap();
    assert_eq!((numbers(rest), more), (vec![(3, 3)], false));
    engine.bucket_delete("b").await.unwrap();
    assert_eq!(scrub(&engine).await.read, 0);
}

#[tokio::test]
async fn a_directory_is_of_one_engine() {
    let dir = tempfile::tempdir().unwrap();
    let engine = with_bucket(dir.path()).await;
    assert!(matches!(open(dir.path()), Err(Error::Io(cause)) if format!("{cause:#}").contains("in use")));
    put(&engine, "k", b"x", Seal::Engine, Condition::default()).await.unwrap();
    drop(engine);
    let engine = Objects::open(dir.path(), MasterKey::new([2; 32]), Arc::new(NoFaults)).unwrap();
    let version = engine.get("b", "k", None).await.unwrap();
    assert!(matches!(read(&engine, &version, 0..1, None).await, Err(Error::Io(_))), "another master key");
}

/// A file system of this size of its own, for this thread and those that it starts.
fn small_disk(at: &Path, bytes: u64) {
    use nix::mount::{MsFlags, mount};
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).expect("mounting needs root");
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
    mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), Some(format!("size={bytes}").as_str())).unwrap();
}

#[test]
fn a_full_disk_refuses_writes_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    small_disk(dir.path(), objects::RESERVE_BYTES + (8 << 20));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let engine = with_bucket(&dir.path().join("objects")).await;
        let mut count = 0;
        let refusal = loop {
            match put(&engine, &format!("k{count}"), &body(1_500_000), Seal::None, Condition::default()).await {
                Ok(_) => count += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(refusal, Error::Full) && count >= 2, "{refusal:?} after {count}");
        // The refused body left room for short ones.
        let mut short = 0;
        while put(&engine, &format!("s{short}"), &body(10_000), Seal::None, Condition::default()).await.is_ok() {
            short += 1;
        }
        assert_eq!(std::fs::read_dir(dir.path().join("objects/incoming")).unwrap().count(), 0);

        // Not even the reserve is left.
        let ballast = dir.path().join("ballast");
        let mut file = std::fs::File::create(&ballast).unwrap();
        while std::io::Write::write_all(&mut file, &[1; 4096]).is_ok() {}
        let tagged = |v: &mut Version| {
            v.record.metadata.insert("m".into(), "x".repeat(100_000));
            Ok::<(), ()>(())
        };
        assert!(matches!(engine.update("b", "k0", None, tagged).await, Err(Error::Full)));
        let version = engine.get("b", "k0", None).await.unwrap();
        assert!(version.record.metadata.is_empty());
        assert!(read(&engine, &version, 0..version.size, None).await.unwrap() == body(1_500_000));
        drop(file);
        std::fs::remove_file(&ballast).unwrap();

        engine.delete(delete("k1")).await.unwrap();
        let mut tries = 0;
        while let Err(error) = put(&engine, "again", &body(1_000_000), Seal::None, Condition::default()).await {
            // The deleted body goes a moment after the answer.
            assert!(matches!(error, Error::Full) && tries < 1000, "{error:?}");
            tries += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let all = engine.list(List { bucket: "b".into(), max: 10_000, ..List::default() }).await.unwrap();
        assert_eq!(all.objects.len(), count + short);
        assert_eq!(scrub(&engine).await.bad, []);

        // It is opened and read on a disk that is full.
        drop(engine);
        let mut file = std::fs::File::create(&ballast).unwrap();
        while std::io::Write::write_all(&mut file, &[1; 4096]).is_ok() {}
        let engine = open(&dir.path().join("objects")).unwrap();
        let version = engine.get("b", "k0", None).await.unwrap();
        assert!(read(&engine, &version, 0..version.size, None).await.unwrap() == body(1_500_000));
        std::fs::remove_file(&ballast).unwrap();
        drop(file);
        put(&engine, "last", b"x", Seal::None, Condition::default()).await.unwrap();
    });
}
