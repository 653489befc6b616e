//! On small file systems that another writer fills. Needs root, to mount them.
#![allow(clippy::unwrap_used)]

use super::*;
use std::io::Write as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const BYTES: u64 = 1 << 20;

/// Runs a test on a file system of its own: `tmpfs`, or one that `mkfs.KIND` makes in a file.
fn on_disk(kind: &str, test: impl FnOnce(&Path)) {
    use nix::mount::{MsFlags, mount};
    let scratch = tempfile::tempdir().unwrap();
    let at = scratch.path().join("at");
    std::fs::create_dir(&at).unwrap();
    if kind == "tmpfs" {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        mount(Some("tmpfs"), &at, Some("tmpfs"), MsFlags::empty(), Some("size=16m")).unwrap();
        test(&at);
        return;
    }
    let image = scratch.path().join("image");
    File::create(&image).unwrap().set_len(if kind == "xfs" { 320 << 20 } else { 32 << 20 }).unwrap();
    let made = Command::new(format!("mkfs.{kind}")).arg("-q").arg(&image).status();
    if !made.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no mkfs.{kind}");
        return;
    }
    let mounted = Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&at).status().unwrap();
    if !mounted.success() {
        eprintln!("skipped: {kind} can't be mounted here");
        return;
    }
    let tested = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(&at)));
    assert!(Command::new("umount").arg("-l").arg(&at).status().unwrap().success());
    tested.unwrap();
}

fn open(path: &Path) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let connection = Connection::open_with_flags_and_vfs(path, flags, VFS).unwrap();
    connection.pragma_update(None, "journal_mode", "wal").unwrap();
    connection.pragma_update(None, "synchronous", "full").unwrap();
    connection
}

/// Fills all free space again and again until it is told to end, as a guest does.
fn fill(path: &Path, end: &AtomicBool) {
    let mut file = File::create(path).unwrap();
    let mut size = 64 << 10;
    while !end.load(Ordering::Relaxed) {
        if file.write_all(&vec![1; size]).is_err() {
            size = (size / 2).max(1);
            if size == 1 {
                size = 4096;
                std::thread::yield_now();
            }
        }
    }
}

fn rows(connection: &Connection) -> i64 {
    connection.query_row("SELECT count(*) FROM t", (), |row| row.get(0)).unwrap()
}

fn is_full(done: rusqlite::Result<usize>) -> bool {
    matches!(done, Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull))
}

/// What a full disk must not stop: rows are deleted, and small ones written, each in a transaction of its own, while another process takes
/// whatever becomes free.
fn survives_a_full_disk(dir: &Path) {
    let path = dir.join("state.db");
    let database = open(&path);
    database.execute_batch("CREATE TABLE t (k INTEGER PRIMARY KEY, v BLOB)").unwrap();
    for k in 0..300 {
        database.execute("INSERT INTO t VALUES (?1, randomblob(3000))", [k]).unwrap();
    }
    let reserve = Reserve::open(&path, BYTES).unwrap();
    assert!(reserve.keep().unwrap());
    let end = Arc::new(AtomicBool::new(false));
    let filling = {
        let (file, end) = (dir.join("fill"), end.clone());
        std::thread::spawn(move || fill(&file, &end))
    };
    {
        let free = || nix::sys::statvfs::statvfs(dir).unwrap().blocks_available();
        while free() > 0 {
            std::thread::sleep(Duration::from_millis(10));
        }
        for round in 0..3 {
            for k in 0..90 {
                let k = round * 90 + k;
                assert_eq!(database.execute("DELETE FROM t WHERE k = ?1", [k]).unwrap(), 1, "round {round}");
                database.execute("INSERT INTO t VALUES (?1, randomblob(100))", [1000 + k]).unwrap();
                reserve.keep().unwrap();
            }
        }
        assert_eq!(rows(&database), 300);
    }
    end.store(true, Ordering::Relaxed);
    filling.join().unwrap();
    // Only what grows uses the reserve up, which is said before it is used up.
    let mut grown = 0;
    while reserve.keep().unwrap() {
        database.execute("INSERT INTO t VALUES (NULL, randomblob(20000))", ()).unwrap();
        grown += 1;
    }
    assert!(grown >= 10, "{grown}");
    database.execute("DELETE FROM t WHERE k < 1100", ()).unwrap();
    // With space again it is filled up.
    std::fs::remove_file(dir.join("fill")).unwrap();
    assert!(reserve.keep().unwrap());
    assert_eq!(database.query_row("PRAGMA integrity_check", (), |row| row.get::<_, String>(0)).unwrap(), "ok");
}

#[test]
fn tmpfs() {
    on_disk("tmpfs", survives_a_full_disk);
}

#[test]
fn ext4() {
    on_disk("ext4", survives_a_full_disk);
}

#[test]
fn xfs() {
    on_disk("xfs", survives_a_full_disk);
}

/// The same without a reserve fails: the test above can.
#[test]
fn without_a_reserve_nothing_is_deleted() {
    on_disk("tmpfs", |dir| {
        let database = open(&dir.join("state.db"));
        database.execute_batch("CREATE TABLE t (k INTEGER PRIMARY KEY, v BLOB)").unwrap();
        for k in 0..300 {
            database.execute("INSERT INTO t VALUES (?1, randomblob(3000))", [k]).unwrap();
        }
        let mut file = File::create(dir.join("fill")).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
        let failed = (0..300).find(|k| is_full(database.execute("DELETE FROM t WHERE k = ?1", [k])));
        assert!(failed.is_some());
    });
}
