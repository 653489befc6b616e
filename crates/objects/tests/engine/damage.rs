//! What a disk has lost or changed is found: by who reads it, and by who reads everything.

use super::*;
use objects::{Complete, Options, Scrubbed};
use rand::{RngExt as _, SeedableRng as _};
use std::sync::atomic::{AtomicU64, Ordering};

#[tokio::test]
async fn damage_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let engine = with_bucket(dir.path()).await;
    for (key, size) in [("short", 100), ("long", 2_000_000)] {
        put(&engine, key, &body(size), Seal::None, Condition::default()).await.unwrap();
    }
    let whole = scrub(&engine).await;
    assert_eq!((whole.read, whole.bad), (2_000_100, vec![]));

    let file = the_file(dir.path());
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[1_500_000] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let version = engine.get("b", "long", None).await.unwrap();
    let whole = 0..version.size;
    // What is sent is looked at in larger steps.
    for (reader, before) in [(engine.read(&version, whole.clone(), None), 1 << 20), (engine.send(&version, whole, None), 0)] {
        assert_eq!(given(reader).await, (before, false), "what is damaged is not given out");
    }
    let bad = scrub(&engine).await.bad;
    assert_eq!(bad.iter().map(|b| (b.key.as_str(), b.why.as_str())).collect::<Vec<_>>(), [("long", "it is not what was written")]);
    std::fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
    assert!(engine.send(&version, 0..10, None).next().await.unwrap().is_err(), "a file that is cut is not sent");
    std::fs::remove_file(&file).unwrap();
    let bad = scrub(&engine).await.bad;
    assert!(bad[0].why.contains("is missing"), "{bad:?}");
}

/// How much of a range is given out, and whether that is all of it.
async fn given(mut reader: objects::Reader) -> (usize, bool) {
    let mut given = 0;
    while let Some(bytes) = reader.next().await {
        match bytes {
            Ok(bytes) => given += bytes.len(),
            Err(Error::Io(_)) => return (given, false),
            Err(error) => panic!("{error:?}"),
        }
    }
    (given, true)
}

const BLOCK: usize = 128 << 10;

#[tokio::test]
async fn a_flipped_byte_is_found_by_ranges_over_it_and_no_others() {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(7);
    for (seal, size) in [(Seal::None, 20_000), (Seal::None, 600_000), (Seal::None, 2_000_000), (Seal::Engine, 2_000_000)] {
        let dir = tempfile::tempdir().unwrap();
        let engine = with_bucket(dir.path()).await;
        let body = body(size);
        put(&engine, "k", &body, seal.clone(), Condition::default()).await.unwrap();
        let version = engine.get("b", "k", None).await.unwrap();
        let file = the_file(dir.path());
        let whole = std::fs::read(&file).unwrap();
        for _ in 0..4 {
            let mut bytes = whole.clone();
            // Of the bytes of the body: sealed ones have 16 more for each 64 KiB.
            let at = rng.random_range(0..size);
            let stored = if matches!(seal, Seal::None) { at } else { at + at / (64 << 10) * 16 };
            bytes[stored] ^= 1 << rng.random_range(0..8);
            std::fs::write(&file, &bytes).unwrap();
            let (from, to) = (rng.random_range(0..=at), rng.random_range(at + 1..=size));
            let clean = at / BLOCK * BLOCK;
            for range in [at..at + 1, from..to, from..at + 1, at..to] {
                let (from, to) = (range.start as u64, range.end as u64);
                for reader in [engine.read(&version, from..to, None), engine.send(&version, from..to, None)] {
                    let (given, whole) = given(reader).await;
                    assert!(!whole && range.start + given <= clean.max(range.start), "{seal:?} {size} {at} {range:?}: {given}");
                }
            }
            for other in [0..clean, clean + BLOCK..size] {
                let from = rng.random_range(other.start.min(size)..=other.end.max(other.start).min(size));
                let range = from as u64..other.end.max(from) as u64;
                assert!(read(&engine, &version, range.clone(), None).await.unwrap() == body[from..range.end as usize]);
                assert!(given(engine.send(&version, range, None)).await.1, "{seal:?} {size} {at} {from}");
            }
        }
    }
}

#[tokio::test]
async fn a_range_of_a_damaged_body_becomes_no_other_body() {
    let dir = tempfile::tempdir().unwrap();
    let engine = with_bucket(dir.path()).await;
    let large = body(2_000_000);
    put(&engine, "k", &large, Seal::None, Condition::default()).await.unwrap();
    let file = the_file(dir.path());
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[1_500_000] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let version = engine.get("b", "k", None).await.unwrap();
    let copy = async |range: std::ops::Range<u64>| {
        let (mut staging, mut source) = (engine.stage(Seal::None), engine.read(&version, range, None));
        while let Some(bytes) = source.next().await {
            staging.write(bytes?).await?;
        }
        staging.finish().await
    };
    assert!(matches!(copy(1_400_000..1_600_000).await, Err(Error::Io(cause)) if cause.to_string() == "a body is not what was written"));
    assert_eq!(copy(0..1_400_000).await.unwrap().size(), 1_400_000);
}

#[tokio::test]
async fn damage_behind_a_body_is_found_too() {
    let dir = tempfile::tempdir().unwrap();
    let engine = with_bucket(dir.path()).await;
    put(&engine, "k", &body(600_000), Seal::None, Condition::default()).await.unwrap();
    let (file, version) = (the_file(dir.path()), engine.get("b", "k", None).await.unwrap());
    let whole = std::fs::read(&file).unwrap();
    assert_eq!(whole.len(), 600_000 + 5 * 4, "a checksum for each block");
    let mut bytes = whole.clone();
    bytes[600_003] ^= 4;
    for damaged in [&bytes[..], &whole[..600_019], &whole[..600_000]] {
        std::fs::write(&file, damaged).unwrap();
        assert_eq!(given(engine.read(&version, 0..1, None)).await, (0, false));
        assert_eq!(scrub(&engine).await.bad.len(), 1);
    }
}

/// Makes the only version one that an older program wrote: without checksums of blocks.
fn make_old(dir: &Path, size: u64) {
    let index = rusqlite::Connection::open(dir.join("index.db")).unwrap();
    assert_eq!(index.execute("UPDATE version SET body = json_remove(body, '$.pieces[0].table')", ()).unwrap(), 1);
    std::fs::OpenOptions::new().write(true).open(the_file(dir)).unwrap().set_len(size).unwrap();
}

#[tokio::test]
async fn what_older_programs_wrote_is_read_and_checked_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let whole = body(2_000_000);
    put(&with_bucket(dir.path()).await, "k", &whole, Seal::None, Condition::default()).await.unwrap();
    make_old(dir.path(), 2_000_000);
    let engine = open(dir.path()).unwrap();
    let version = engine.get("b", "k", None).await.unwrap();
    for range in [0..2_000_000, 5..1_999_999, 600_000..600_001] {
        assert!(read(&engine, &version, range.clone(), None).await.unwrap() == whole[range.start as usize..range.end as usize]);
        assert!(given(engine.send(&version, range, None)).await.1);
    }
    assert_eq!(scrub(&engine).await, Scrubbed { read: 2_000_000, damaged: 0, bad: vec![] });
    let file = the_file(dir.path());
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[1_500_000] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    for reader in [engine.read(&version, 0..2_000_000, None), engine.send(&version, 0..2_000_000, None)] {
        assert!(!given(reader).await.1);
    }
    assert_eq!(scrub(&engine).await.bad.len(), 1);
}

/// One that keeps how far a scrub has come after each file.
fn open_in_steps(dir: &Path) -> Objects {
    let options = Options { scrub_step: 1, ..Options::default() };
    Objects::open_with(dir, MasterKey::new([1; 32]), Arc::new(NoFaults), options).unwrap()
}

/// Begins or goes on with a scrub, and drops it when so many bytes were read.
async fn scrub_until(engine: &Objects, bytes: u64) {
    let (reached, mut seen) = tokio::sync::watch::channel(0);
    let pace = move |more| {
        reached.send_modify(|read| *read += more);
        let read = *reached.borrow();
        if read < bytes { Duration::ZERO } else { Duration::from_millis(200) }
    };
    tokio::select! {
        done = engine.scrub(|| Timestamp(9), pace) => panic!("{done:?}"),
        _ = seen.wait_for(|read| *read >= bytes) => {}
    }
}

#[tokio::test]
async fn a_scrub_goes_on_where_it_was() {
    const PIECE: u64 = 20_000;
    let dir = tempfile::tempdir().unwrap();
    let engine = with_bucket(dir.path()).await;
    let (bucket, key, record, now) = ("b".to_owned(), "b".to_owned(), Record::new(owner()), Timestamp(2));
    let id = engine.upload_id(now);
    let (upload, made) = ((bucket.clone(), key.clone(), id.clone()), record.clone());
    let upload = Upload { bucket: upload.0, key: upload.1, id: upload.2, initiated: now, initiator: owner(), record, checksum: None };
    engine.upload_create(upload).await.unwrap();
    put(&engine, "a", &body(PIECE as usize), Seal::None, Condition::default()).await.unwrap();
    let damaged = the_file(dir.path());
    let part = async |number| {
        let staged = stage(&engine, &body(PIECE as usize), Seal::Engine).await.unwrap();
        let (bucket, key, upload, etag) = (bucket.clone(), key.clone(), id.clone(), "p".into());
        let put = PartPut { bucket, key, upload, number, staged, etag, checksums: Default::default(), now };
        engine.part_put(put).await.unwrap();
    };
    for number in 1..5 {
        part(number).await;
    }
    let parts = (1..5).map(|number| (number, "p".to_owned())).collect();
    let (upload, condition) = (id.clone(), Condition::default());
    let complete = Complete { bucket: bucket.clone(), key: key.clone(), upload, parts, minimum: 0, condition, now };
    engine.upload_complete(complete, |_, _| Ok::<_, ()>(("e-4".into(), made))).await.unwrap().unwrap();
    put(&engine, "c", &body(PIECE as usize), Seal::None, Condition::default()).await.unwrap();
    drop(engine);
    std::fs::write(&damaged, vec![1; PIECE as usize]).unwrap();

    // `a`, and two pieces of `b`, the third of which is being read.
    let sealed = PIECE + 16;
    let engine = open_in_steps(dir.path());
    scrub_until(&engine, PIECE + 3 * sealed).await;
    drop(engine);
    let engine = open_in_steps(dir.path());
    assert_eq!(engine.scrubbed().await.unwrap(), None);
    let read = Arc::new(AtomicU64::new(0));
    let counted = read.clone();
    let pace = move |bytes| {
        counted.fetch_add(bytes, Ordering::Relaxed);
        Duration::ZERO
    };
    let (ended, found) = engine.scrub(|| Timestamp(77), pace).await.unwrap();
    assert_eq!((ended, found.read, found.damaged), (Timestamp(77), 2 * PIECE + 4 * sealed, 1));
    assert_eq!(found.bad.iter().map(|bad| bad.key.as_str()).collect::<Vec<_>>(), ["a"], "what was found before is not forgotten");
    assert_eq!(read.load(Ordering::Relaxed), 2 * sealed + PIECE, "what was read before is not read again");
    drop(engine);

    let engine = open(dir.path()).unwrap();
    assert_eq!(engine.scrubbed().await.unwrap(), Some((ended, found)));
    assert_eq!(scrub(&engine).await.read, 2 * PIECE + 4 * sealed, "the next round begins at the beginning");
}

#[tokio::test]
async fn a_scrub_goes_past_what_has_gone() {
    let dir = tempfile::tempdir().unwrap();
    with_bucket(dir.path()).await;
    let engine = open_in_steps(dir.path());
    for key in ["a", "b", "c", "d"] {
        put(&engine, key, &body(20_000), Seal::None, Condition::default()).await.unwrap();
    }
    scrub_until(&engine, 60_000).await;
    // The place it was at, and what came before.
    for key in ["a", "b"] {
        engine.delete(delete(key)).await.unwrap();
    }
    put(&engine, "b", &body(30_000), Seal::None, Condition::default()).await.unwrap();
    assert_eq!(scrub(&engine).await, Scrubbed { read: 2 * 20_000 + 2 * 20_000, damaged: 0, bad: vec![] });
}
