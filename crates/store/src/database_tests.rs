//! The file itself: migrations, foreign files, a full disk, pruning.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::{Store, StoreError};
use model::account::Account;
use model::fault::NoFaults;
use std::sync::Arc;

fn account(n: u32, name: &str) -> Account {
    Account { id: format!("{n:012}").parse().unwrap(), name: name.into(), created: Timestamp(1) }
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
        let (tables, _) = Database::open(&path, Mode::Real).unwrap().load().unwrap();
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
    drop(Database::open(&path, Mode::Real).unwrap());
    let newer = MIGRATIONS.len() + 1;
    Connection::open(&path).unwrap().pragma_update(None, "user_version", newer as i64).unwrap();
    assert!(matches!(Database::open(&path, Mode::Real), Err(OpenError::Newer { found, .. }) if found as usize == newer));

    let foreign = directory.path().join("foreign.db");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    let before = std::fs::read(&foreign).unwrap();
    assert!(matches!(Database::open(&foreign, Mode::Real), Err(OpenError::NotOurs { application_id: 0, .. })));
    assert_eq!(std::fs::read(&foreign).unwrap(), before);

    let text = directory.path().join("text.db");
    std::fs::write(&text, "not a database, but long enough that it could have been one".repeat(20)).unwrap();
    assert!(matches!(Database::open(&text, Mode::Real), Err(OpenError::Database(_))));
}

#[test]
fn an_unreadable_document_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let database = Database::open(&path, Mode::Real).unwrap();
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
    let (tables, _) = Database::open(&path, Mode::Real).unwrap().load().unwrap();
    let names: Vec<&str> = tables.accounts.values().map(|a| a.name.as_str()).collect();
    assert_eq!(names, ["small", "later"], "the disk holds what was published");
}

#[test]
fn the_audit_trail_is_pruned_by_count_and_by_age() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let mut database = Database::open(&path, Mode::Real).unwrap();
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
