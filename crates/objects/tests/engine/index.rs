//! An index that is lost, damaged or old: refused, nothing deleted, and made anew.

use super::*;
use objects::{check, files_named, rebuild};

/// Everything below a directory but for locks, with its bytes.
fn tree(dir: &Path) -> std::collections::BTreeMap<PathBuf, Vec<u8>> {
    let mut all = std::collections::BTreeMap::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_none_or(|e| e != "lock") {
                all.insert(entry.clone(), std::fs::read(&entry).unwrap());
            }
        }
    }
    all
}

/// The whole message of a refusal, which must leave everything but the index's own files as they were.
fn refused(dir: &Path) -> String {
    let bodies = |dir: &Path| tree(dir).into_iter().filter(|(path, _)| !path.to_string_lossy().contains("index.db")).collect::<Vec<_>>();
    let before = bodies(dir);
    let Error::Io(error) = open(dir).unwrap_err() else { panic!() };
    assert_eq!(bodies(dir), before);
    let said = format!("{error:#}");
    assert!(said.contains("pileus fsck objects --rebuild"), "{said}");
    said
}

async fn contents(engine: &Objects) -> Vec<(String, usize)> {
    let mut all = Vec::new();
    for listed in engine.list(List { bucket: "b".into(), max: 1000, ..List::default() }).await.unwrap().objects {
        let got = engine.get("b", &listed.key, None).await.unwrap();
        let bytes = read(engine, &got, 0..got.size, None).await.unwrap();
        assert_eq!(bytes, body(bytes.len()));
        all.push((listed.key.clone(), bytes.len()));
    }
    all
}

async fn put_plain(engine: &Objects, key: &str, size: usize) {
    put(engine, key, &body(size), Seal::None, Condition::default()).await.unwrap();
}

/// With one object in a file and one in the index.
async fn some(dir: &Path) -> Objects {
    let engine = with_bucket(dir).await;
    put_plain(&engine, "large", 100_000).await;
    put_plain(&engine, "small", 100).await;
    engine
}

#[tokio::test]
async fn a_lost_or_empty_index_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(some(dir.path()).await);
    let index = dir.path().join("index.db");
    let whole = std::fs::read(&index).unwrap();

    std::fs::write(&index, b"").unwrap();
    assert!(refused(dir.path()).contains("index.db is empty"));
    std::fs::remove_file(&index).unwrap();
    assert!(refused(dir.path()).contains("index.db is missing"));
    // Also if nothing but files of bodies is left.
    std::fs::remove_file(dir.path().join("mark")).unwrap();
    std::fs::remove_file(dir.path().join("journal")).unwrap();
    assert!(refused(dir.path()).contains("index.db is missing"));
    std::fs::write(&index, &whole[..whole.len() / 2]).unwrap();
    refused(dir.path());
    std::fs::write(&index, b"no database, but bytes of another program").unwrap();
    refused(dir.path());

    std::fs::write(&index, whole).unwrap();
    assert_eq!(contents(&open(dir.path()).unwrap()).await, [("large".into(), 100_000), ("small".into(), 100)]);
}

#[tokio::test]
async fn an_index_without_its_log_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(some(dir.path()).await);
    let engine = open(dir.path()).unwrap();
    put_plain(&engine, "later", 50).await;
    // As `cp index.db` of a running server gives it: what was written last is in the log only.
    let copied = std::fs::read(dir.path().join("index.db")).unwrap();
    drop(engine);
    std::fs::write(dir.path().join("index.db"), copied).unwrap();
    assert!(refused(dir.path()).contains("index.db-wal is missing"));
    // The journal alone says it too, of what has files.
    let engine_dir = tempfile::tempdir().unwrap();
    drop(some(engine_dir.path()).await);
    let old = std::fs::read(engine_dir.path().join("index.db")).unwrap();
    let engine = open(engine_dir.path()).unwrap();
    put_plain(&engine, "more", 70_000).await;
    drop(engine);
    std::fs::write(engine_dir.path().join("index.db"), old).unwrap();
    std::fs::remove_file(engine_dir.path().join("mark")).unwrap();
    assert!(refused(engine_dir.path()).contains("the journal has"));
}

#[tokio::test]
async fn an_index_of_other_objects_is_refused() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    drop(some(dir.path()).await);
    drop(some(other.path()).await);
    std::fs::copy(other.path().join("index.db"), dir.path().join("index.db")).unwrap();
    assert!(refused(dir.path()).contains("the index of other objects"));
}

#[tokio::test]
async fn a_file_that_an_old_index_may_lack_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    drop(some(dir.path()).await);
    let file = dir.path().join("incoming").join("0123456789abcdef0123456789abcdef");
    let lost = || std::fs::read_dir(dir.path().join("lost+found")).map_or(0, Iterator::count);
    // The index is certainly the newest: this upload never ended.
    std::fs::write(&file, b"unfinished").unwrap();
    drop(open(dir.path()).unwrap());
    assert!(!file.exists() && lost() == 0);
    // It may be an old one.
    std::fs::write(&file, b"who knows").unwrap();
    std::fs::remove_file(dir.path().join("mark")).unwrap();
    let engine = open(dir.path()).unwrap();
    assert!(!file.exists() && lost() == 1);
    let found = engine.lost().unwrap();
    assert_eq!((found.files, found.bytes), (1, 9));
}

/// Writes, deletes and settings after the last copy of the index; what a rebuild must give, but for what no file carries.
#[tokio::test]
async fn a_lost_index_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let engine = some(dir.path()).await;
    put_plain(&engine, "deleted later", 80_000).await;
    put_plain(&engine, "small, deleted later", 80).await;
    put_plain(&engine, "overwritten", 30_000).await;
    engine.index_keep().await.unwrap();
    for key in ["deleted later", "small, deleted later"] {
        engine.delete(delete(key)).await.unwrap();
    }
    put_plain(&engine, "overwritten", 40_000).await;
    put_plain(&engine, "new", 90_000).await;
    put_plain(&engine, "small and new", 90).await;
    let tagged = engine.update("b", "small", None, |version| {
        version.record.tags.insert("a".into(), "b".into());
        Ok::<(), std::convert::Infallible>(())
    });
    tagged.await.unwrap().unwrap();
    let versioned = engine.bucket_update("b", |bucket| {
        bucket.versioning = Versioning::Enabled;
        Ok::<(), std::convert::Infallible>(())
    });
    versioned.await.unwrap().unwrap();
    // Made of two parts, the last of which lies in the index.
    let upload = Upload {
        bucket: "b".into(),
        key: "parts".into(),
        id: "u1".into(),
        initiated: Timestamp(7),
        initiator: owner(),
        record: Record::new(owner()),
        checksum: None,
    };
    let id = upload.id.clone();
    engine.upload_create(upload).await.unwrap();
    for (number, range) in [(1, 0..50_000), (2, 50_000..50_100)] {
        let staged = stage(&engine, &body(50_100)[range], Seal::None).await.unwrap();
        let (bucket, key, etag) = ("b".into(), "parts".into(), number.to_string());
        let part = PartPut { bucket, key, upload: id.clone(), number, staged, etag, checksums: Default::default(), now: Timestamp(8) };
        engine.part_put(part).await.unwrap();
    }
    let parts = vec![(1, "1".into()), (2, "2".into())];
    let complete = objects::Complete {
        bucket: "b".into(),
        key: "parts".into(),
        upload: id,
        parts,
        minimum: 0,
        condition: Condition::default(),
        now: Timestamp(9),
    };
    let finish = |_: &Upload, _: &[objects::Part]| Ok::<_, std::convert::Infallible>(("e".to_owned(), Record::new(owner())));
    engine.upload_complete(complete, finish).await.unwrap().unwrap();
    let mut wanted = contents(&engine).await;
    drop(engine);

    let stray = dir.path().join("files/01").join("0123456789abcdef0123456789abcdef");
    std::fs::create_dir_all(stray.parent().unwrap()).unwrap();
    std::fs::write(&stray, b"of nothing").unwrap();
    std::fs::write(dir.path().join("index.db"), b"").unwrap();
    refused(dir.path());
    let rebuilt = rebuild(dir.path()).unwrap();
    assert!(rebuilt.base.ends_with("index.backup.db") && rebuilt.commits > 5, "{rebuilt:?}");
    assert_eq!((rebuilt.dropped, rebuilt.lost, rebuilt.versions), (0, 1, 5), "{rebuilt:?}");
    assert!(!stray.exists());

    let checked = check(dir.path()).unwrap();
    assert!(checked.sound(), "{checked:?}");
    let engine = open(dir.path()).unwrap();
    wanted.retain(|(key, _)| key != "small and new");
    assert_eq!(contents(&engine).await, wanted);
    assert_eq!(engine.bucket("b").unwrap().versioning, Versioning::Enabled);
    assert_eq!(engine.get("b", "small", None).await.unwrap().record.tags["a"], "b");
    let usage = engine.usage();
    assert_eq!((usage.versions, usage.bytes), (5, 100_000 + 100 + 40_000 + 90_000 + 50_100));
    let (_, scrubbed) = engine.scrub(|| Timestamp(10), |_| Duration::ZERO).await.unwrap();
    assert_eq!(scrubbed.bad, []);
    put_plain(&engine, "goes on", 60_000).await;
}

#[tokio::test]
async fn without_a_copy_nothing_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    drop(some(dir.path()).await);
    std::fs::remove_file(dir.path().join("index.db")).unwrap();
    let before = tree(dir.path());
    assert!(rebuild(dir.path()).is_err());
    assert_eq!(tree(dir.path()), before);
}

#[tokio::test]
async fn what_doesnt_fit_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let engine = some(dir.path()).await;
    put_plain(&engine, "cut", 70_000).await;
    assert!(check(dir.path()).is_err(), "it is in use");
    drop(engine);
    assert!(check(dir.path()).unwrap().sound());
    let files: Vec<PathBuf> = tree(&dir.path().join("files")).into_keys().collect();
    for file in &files {
        match std::fs::metadata(file).unwrap().len() {
            100_000.. => std::fs::remove_file(file).unwrap(),
            _ => std::fs::write(file, b"short").unwrap(),
        }
    }
    std::fs::write(dir.path().join("files/0123456789abcdef0123456789abcdef"), b"in no folder").unwrap();
    std::fs::write(files[0].with_file_name("fedcba9876543210fedcba9876543210"), b"unnamed").unwrap();
    let checked = check(dir.path()).unwrap();
    assert_eq!((checked.damaged, checked.unnamed.len(), checked.versions), (2, 1, 3), "{checked:?}");
    assert!(checked.bad.iter().any(|bad| bad.key == "large" && bad.why.ends_with("is missing")), "{checked:?}");
    assert!(checked.bad.iter().any(|bad| bad.key == "cut" && bad.why.contains("has 5 bytes instead of 70000")), "{checked:?}");
}

#[tokio::test]
async fn deletions_wait_for_who_copies() {
    let dir = tempfile::tempdir().unwrap();
    let engine = some(dir.path()).await;
    let hold = engine.hold();
    let copy = dir.path().join("copy.db");
    engine.index_copy(copy.clone()).await.unwrap();
    let named = files_named(&copy).unwrap();
    assert_eq!(named.len(), 1);
    engine.delete(delete("large")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let file = named.first().unwrap();
    assert!(engine.file_open(file).is_ok());
    drop(hold);
    let gone = async {
        while engine.file_open(file).is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.unwrap();
}

#[tokio::test]
async fn nothing_is_written_while_the_index_is_not_in_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let engine = some(dir.path()).await;
    let [index, aside] = ["index.db", "aside.db"].map(|name| dir.path().join(name));
    std::fs::rename(&index, &aside).unwrap();
    std::fs::write(&index, b"").unwrap();
    for size in [100, 100_000] {
        let error = put(&engine, "lost", &body(size), Seal::None, Condition::default()).await.unwrap_err();
        assert!(matches!(error, Error::Io(_)), "{error}");
    }
    assert!(format!("{:#}", anyhow::Error::from(engine.place_check().unwrap_err())).contains("was moved, removed or replaced"));
    std::fs::rename(&aside, &index).unwrap();
    put_plain(&engine, "after", 100).await;
    drop(engine);
    let keys: Vec<String> = contents(&open(dir.path()).unwrap()).await.into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["after", "large", "small"]);
}
