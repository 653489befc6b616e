//! The file itself: migrations, foreign files, a full disk, pruning.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::{Store, StoreError};
use model::account::Account;
use model::fault::NoFaults;
use std::sync::Arc;

fn account(n: u32, name: &str) -> Account {
    Account { id: format!("{n:012}").parse().unwrap(), name: name.into(), created: Timestamp(1), closed: None }
}

fn open(path: &Path) -> Result<(Database, Snapshot), OpenError> {
    Database::open(path, Mode::Real, |_| Ok(None))
}

fn version(path: &Path) -> i32 {
    Connection::open(path).unwrap().pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
}

#[test]
fn an_older_database_is_brought_up_to_date_and_keeps_its_documents() {
    let directory = tempfile::tempdir().unwrap();
    for known in 0..MIGRATIONS.len() {
        let path = directory.path().join(format!("{known}.db"));
        let mut old = Connection::open(&path).unwrap();
        migrate(&mut old, &path, &MIGRATIONS[..known]).unwrap();
        if known > 0 {
            let body = serde_json::to_string(&account(1, "old")).unwrap();
            old.execute("INSERT INTO document VALUES ('account', '', '', '000000000001', 3, ?1)", [body]).unwrap();
        }
        drop(old);
        let tables = open(&path).unwrap().1.tables;
        assert_eq!(tables.accounts.get(&account(1, "old").id).map(|a| a.name.as_str()), (known > 0).then_some("old"));
        assert_eq!(version(&path), i32::try_from(MIGRATIONS.len()).unwrap());
    }
}

#[test]
fn a_migration_that_fails_leaves_the_version_before_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let mut connection = Connection::open(&path).unwrap();
    let migrations = ["CREATE TABLE a (x)", "CREATE TABLE b (x); CREATE TABLE a (x)"];
    assert!(matches!(migrate(&mut connection, &path, &migrations), Err(OpenError::Database(_))));
    assert_eq!(version(&path), 1);
    migrate(&mut connection, &path, &["CREATE TABLE a (x)", "CREATE TABLE b (x)"]).unwrap();
    assert_eq!(version(&path), 2);
}

#[test]
fn a_newer_database_and_a_foreign_one_are_refused_untouched() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    drop(open(&path).unwrap());
    let newer = MIGRATIONS.len() + 1;
    Connection::open(&path).unwrap().pragma_update(None, "user_version", newer as i64).unwrap();
    assert!(matches!(open(&path), Err(OpenError::Newer { found, .. }) if found as usize == newer));

    let foreign = directory.path().join("foreign.db");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    let before = std::fs::read(&foreign).unwrap();
    assert!(matches!(open(&foreign), Err(OpenError::NotOurs { application_id: 0, .. })));
    assert_eq!(std::fs::read(&foreign).unwrap(), before);

    let text = directory.path().join("text.db");
    std::fs::write(&text, "not a database, but long enough that it could have been one".repeat(20)).unwrap();
    assert!(matches!(open(&text), Err(OpenError::Database(_))));
}

#[test]
fn an_unreadable_document_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let (database, _) = open(&path).unwrap();
    database.connection.execute("INSERT INTO document VALUES ('account', '', '', '000000000001', 3, '{}')", ()).unwrap();
    match database.load() {
        Err(OpenError::Document { kind, id, reason, .. }) => {
            assert_eq!((kind.as_str(), id.as_str()), ("account", "000000000001"));
            assert!(reason.contains("missing field"), "{reason}");
        }
        Ok(_) => panic!("it was read"),
        Err(other) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_full_disk_refuses_the_batch_and_reads_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let (store, writer) = Store::open_without_thread(&path, Mode::Real, Arc::new(NoFaults)).unwrap();
    let put = |n, name: String| {
        store.write(move |tx| {
            tx.account_put(account(n, &name));
            Ok::<_, std::convert::Infallible>(())
        })
    };
    let pages: i64 = writer.database.connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    writer.database.connection.pragma_update_and_check(None, "max_page_count", pages + 4, |_| Ok(())).unwrap();
    let calls = async {
        put(1, "small".into()).await.unwrap().unwrap();
        let (small, large) = tokio::join!(put(2, "in the same batch".into()), put(3, "x".repeat(100_000)));
        assert!(matches!(small, Err(StoreError::Disk(_))), "{small:?}");
        assert!(matches!(large, Err(StoreError::Disk(_))), "{large:?}");
        let names: Vec<String> = store.snapshot().accounts().map(|a| a.name.clone()).collect();
        assert_eq!(names, ["small"]);
        put(4, "later".into()).await.unwrap().unwrap();
    };
    tokio::select! { biased; () = calls => {}, () = writer.run() => panic!("a store is still there") }
    drop(store);
    let tables = open(&path).unwrap().1.tables;
    let names: Vec<&str> = tables.accounts.values().map(|a| a.name.as_str()).collect();
    assert_eq!(names, ["small", "later"], "the disk holds what was published");
}

#[test]
fn the_audit_trail_is_pruned_by_count_and_by_age() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let (mut database, _) = open(&path).unwrap();
    let scope = Scope { account: "111111111111".parse().unwrap(), region: "us-east-1".parse().unwrap() };
    let record = |time: i64| AuditRecord {
        time: Timestamp(time),
        scope: scope.clone(),
        action: "ec2:RunInstances".into(),
        request_id: time.to_string(),
        error: None,
    };
    let tx = database.connection.transaction().unwrap();
    write_audit(&tx, &(0..10).map(record).collect::<Vec<_>>()).unwrap();
    prune_audit(&tx, Timestamp(9), 4).unwrap();
    tx.commit().unwrap();
    let times = |path: &Path| audit_newest(path, &scope, 100).unwrap().iter().map(|r| r.time.0).collect::<Vec<_>>();
    assert_eq!(times(&path), [9, 8, 7, 6]);
    let tx = database.connection.transaction().unwrap();
    prune_audit(&tx, Timestamp(AUDIT_AGE_MAX_MILLIS + 8), 100).unwrap();
    tx.commit().unwrap();
    assert_eq!(times(&path), [9, 8]);
    // In production it is the commits that prune.
    let batch = Working { audit: (0..AUDIT_PRUNE_RECORDS).map(|n| record(3 * AUDIT_AGE_MAX_MILLIS + n)).collect(), ..Working::default() };
    database.commit(&batch, 1).unwrap();
    assert_eq!(times(&path).len(), 100);
    let count: i64 = database.connection.query_row("SELECT count(*) FROM audit", (), |row| row.get(0)).unwrap();
    assert_eq!(count, AUDIT_PRUNE_RECORDS);
}

/// What the check is told of, and that nothing is made if it refuses.
#[test]
fn what_is_found_is_checked_before_anything_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let ours = Identity { cloud: "c0ffee".into(), epoch: 0 };
    let refuse = |found: Found<'_>| match found {
        Found::Nothing { bytes } => Err(format!("nothing {bytes:?}")),
        Found::Cloud { identity, snapshot } => Err(format!("{identity:?} {} {}", snapshot.revision(), snapshot.accounts().count())),
    };
    let refused = |path: &Path| match Database::open(path, Mode::Real, refuse) {
        Err(OpenError::Refused { reason, .. }) => reason,
        other => panic!("{:?}", other.map(drop)),
    };
    assert_eq!(refused(&path), "nothing None");
    assert!(!path.exists());
    std::fs::write(&path, b"").unwrap();
    assert_eq!(refused(&path), "nothing Some(0)");
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);

    let (mut database, _) = Database::open(&path, Mode::Real, |_| Ok(Some(ours.clone()))).unwrap();
    let mut batch = Working::default();
    crate::SystemTx::new(&mut batch).account_put(account(1, "first"));
    database.commit(&batch, 1).unwrap();
    // A plain copy of the open database lacks the log: it has a header and no tables.
    let copy = directory.path().join("copy.db");
    std::fs::copy(&path, &copy).unwrap();
    drop(database);
    let bytes = std::fs::metadata(&copy).unwrap().len();
    assert_eq!(refused(&copy), format!("nothing Some({bytes})"));
    assert_eq!(refused(&path), format!("{:?} 1 1", Some(&ours)));
    // No identity is given: the one that is there stays.
    drop(open(&path).unwrap());
    assert_eq!(refused(&path), format!("{:?} 1 1", Some(&ours)));
}

/// An older file beside a newer log is structurally broken as soon as pages are missing between them.
#[test]
fn a_file_and_a_log_of_two_times_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (path, kept) = (directory.path().join("state.db"), directory.path().join("kept.db"));
    let put = |database: &mut Database, numbers: std::ops::Range<u32>| {
        for n in numbers {
            let mut batch = Working::default();
            crate::SystemTx::new(&mut batch).account_put(account(n, &"x".repeat(500)));
            database.commit(&batch, u64::from(n)).unwrap();
        }
    };
    let (mut database, _) = open(&path).unwrap();
    put(&mut database, 1..50);
    drop(database);
    std::fs::copy(&path, &kept).unwrap();
    let (mut database, _) = open(&path).unwrap();
    put(&mut database, 50..300);
    database.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    put(&mut database, 300..310);
    database.abandon();
    drop(database);
    std::fs::copy(&kept, &path).unwrap();
    let error = open(&path).map(drop).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. } | OpenError::Database(_)), "{error}");
}

#[tokio::test]
async fn nothing_is_committed_while_the_database_is_not_in_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let [path, aside, copy] = ["state.db", "aside.db", "copy.db"].map(|name| directory.path().join(name));
    let store = Store::open(&path, Mode::Real, Arc::new(NoFaults)).unwrap();
    let put = |n| {
        let store = &store;
        async move {
            let written = store.write(move |tx| {
                tx.account_put(account(n, "a"));
                Ok::<_, std::convert::Infallible>(())
            });
            written.await.map(|_| ())
        }
    };
    put(1).await.unwrap();
    std::fs::rename(&path, &aside).unwrap();
    assert!(matches!(put(2).await, Err(StoreError::Displaced { .. })), "moved away");
    std::fs::write(&path, b"").unwrap();
    assert!(matches!(put(3).await, Err(StoreError::Displaced { .. })), "replaced");
    assert!(store.copy(&copy).is_err());
    std::fs::rename(&aside, &path).unwrap();
    put(4).await.unwrap();

    // The log of a database that was put in this one's place is not deleted when this one is closed.
    let log = wal(&path);
    std::fs::rename(&log, directory.path().join("aside.db-wal")).unwrap();
    std::fs::write(&log, b"another's").unwrap();
    drop(store);
    assert_eq!(std::fs::read(&log).unwrap(), b"another's");
    std::fs::rename(directory.path().join("aside.db-wal"), &log).unwrap();
    let store = Store::open(&path, Mode::Real, Arc::new(NoFaults)).unwrap();
    assert_eq!(store.snapshot().accounts().count(), 2);
}
