//! The index: SQLite with a write-ahead log, synced at every commit, opened by one process at a time.

use crate::core::Entry;
use crate::error::{Error, Result};
use crate::mark::Position;
use crate::place::Place;
use anyhow::{Context as _, anyhow};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// `PilO`, in the header of the file.
const APPLICATION_ID: i32 = 0x5069_6c4f;
/// Bytes of a page: two bodies of 4 KiB don't fit into less.
const PAGE_BYTES: u32 = 16 * 1024;
/// SQLite's way to files. This one keeps the index of the write-ahead log in memory instead of a mapped file, and the database to this process. A
/// mapped file kills the process when a full disk or a quota has no room for a page of it (SIGBUS): btrfs wants new room for each write.
const VFS: &str = "unix-excl";
/// How long another program, such as a backup, may still use the file when it is opened; then it is ours alone.
const BUSY_WAIT: Duration = Duration::from_secs(5);
/// Pages of the log (64 MiB) after which they are written back into the database.
const CHECKPOINT_PAGES: u32 = 4096;
/// KiB of pages that the writer keeps in memory.
const WRITER_CACHE_KIB: i64 = 64 * 1024;
/// KiB of pages that each reader keeps in memory.
const READER_CACHE_KIB: i64 = 2 * 1024;
/// Statements that each connection keeps prepared: more than there are.
const STATEMENTS: usize = 64;
/// Reading connections that are kept open.
const READERS_IDLE_MAX: usize = 32;

/// What brings an older index up to date, in order. `user_version` counts those that were applied. An entry never changes.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE bucket (
        number INTEGER PRIMARY KEY AUTOINCREMENT, -- never used again
        name TEXT NOT NULL UNIQUE,
        document TEXT NOT NULL -- JSON
    ) STRICT;
    CREATE TABLE version (
        bucket INTEGER NOT NULL,
        key BLOB NOT NULL, -- UTF-8, which sorts right as bytes
        age INTEGER NOT NULL, -- the negative of the place in the key's history: the newest comes first
        id TEXT NOT NULL,
        modified INTEGER NOT NULL, -- milliseconds since the Unix epoch
        marker INTEGER NOT NULL,
        size INTEGER NOT NULL, -- plain bytes
        etag TEXT NOT NULL,
        record TEXT NOT NULL, -- JSON
        body TEXT NOT NULL, -- JSON; behind what listings read
        PRIMARY KEY (bucket, key, age)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE inline (row INTEGER PRIMARY KEY, bytes BLOB NOT NULL) STRICT;
    CREATE TABLE upload (
        bucket INTEGER NOT NULL,
        key BLOB NOT NULL,
        id TEXT NOT NULL UNIQUE,
        document TEXT NOT NULL, -- JSON
        PRIMARY KEY (bucket, key, id)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE part (
        upload TEXT NOT NULL,
        number INTEGER NOT NULL,
        modified INTEGER NOT NULL,
        etag TEXT NOT NULL,
        checksums TEXT NOT NULL, -- JSON
        piece TEXT NOT NULL, -- JSON
        PRIMARY KEY (upload, number)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE arriving (file TEXT NOT NULL PRIMARY KEY) STRICT, WITHOUT ROWID; -- named above, but perhaps still in incoming/
    CREATE TABLE garbage (file TEXT NOT NULL PRIMARY KEY) STRICT, WITHOUT ROWID; -- no longer named above, but perhaps still there
    CREATE TABLE counter (name TEXT NOT NULL PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    INSERT INTO counter (name, value) VALUES ('versions', 0), ('bytes', 0);
",
    "
    -- A version `null` that newer ones were written over is found by an index; one that is the newest is found without.
    ALTER TABLE version ADD COLUMN covered INTEGER NOT NULL DEFAULT 0;
    CREATE INDEX version_covered ON version (bucket, key) WHERE covered = 1;
    UPDATE version SET covered = 1 WHERE id = 'null' AND EXISTS (
        SELECT 1 FROM version AS newer WHERE newer.bucket = version.bucket AND newer.key = version.key AND newer.age < version.age
    );
",
    "
    CREATE TABLE event (
        destination TEXT NOT NULL,
        bucket INTEGER NOT NULL,
        number INTEGER NOT NULL, -- without holes
        body TEXT NOT NULL,
        PRIMARY KEY (destination, bucket, number)
    ) STRICT, WITHOUT ROWID;
",
    "
    -- Of the bucket, which may be gone; nobody's if it was before this was asked.
    ALTER TABLE event ADD COLUMN owner TEXT NOT NULL DEFAULT '000000000000';
    UPDATE event SET owner = coalesce((SELECT document ->> 'owner' FROM bucket WHERE bucket.number = event.bucket), owner);
",
    "
    ALTER TABLE event ADD COLUMN added INTEGER NOT NULL DEFAULT 0; -- milliseconds since the Unix epoch
    UPDATE event SET added = unixepoch() * 1000;
",
    "-- Behind the bytes of large files there are checksums, which programs of before don't know: for them those files would be damaged.",
    "CREATE TABLE scrub (one INTEGER PRIMARY KEY CHECK (one = 1), document TEXT NOT NULL) STRICT; -- JSON; not a row until there was a scrub",
    "INSERT INTO counter (name, value) VALUES ('sequence', 0), ('identity', random()); -- commits, and which index it is: see mark.rs",
];

/// The writing connection and the lock. Dropping it closes the file.
pub(crate) struct Database {
    pub(crate) connection: Connection,
    pub(crate) place: Place,
    /// Held while the index is open; the last field, since fields are dropped in order.
    _lock: File,
}

impl Database {
    pub(crate) fn open(path: &Path, durable: bool) -> Result<Self> {
        open(path, durable).with_context(|| format!("opening {}", path.display())).map_err(Error::from_any)
    }

    /// All buckets by name.
    pub(crate) fn buckets(&self) -> Result<BTreeMap<String, Entry>> {
        let mut select = self.connection.prepare("SELECT number, name, document FROM bucket")?;
        let mut rows = select.query(())?;
        let mut buckets = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let bucket = serde_json::from_str(row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?)?;
            buckets.insert(row.get(1)?, Entry { number: row.get(0)?, bucket: std::sync::Arc::new(bucket) });
        }
        Ok(buckets)
    }

    pub(crate) fn counter(&self, name: &str) -> Result<u64> {
        let value: i64 = self.connection.query_row("SELECT value FROM counter WHERE name = ?1", [name], |row| row.get(0))?;
        Ok(value.try_into().unwrap_or(0))
    }

    /// Which index it is, and how far it has come.
    pub(crate) fn position(&self) -> Result<Position> {
        position(&self.connection)
    }

    /// From here on the index is that of a process that was killed: closing it doesn't tidy up the write-ahead log.
    pub(crate) fn abandon(&self) {
        if let Err(error) = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true) {
            tracing::warn!(%error, "closing will write back the log");
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if self.place.check().is_err() {
            // Closing would delete the log under this name, which may be another index's.
            self.abandon();
        }
    }
}

pub(crate) fn position(connection: &Connection) -> Result<Position> {
    let value = |name: &str| connection.query_row("SELECT value FROM counter WHERE name = ?1", [name], |row| row.get::<_, i64>(0));
    Ok(Position { identity: value("identity")?.cast_unsigned(), sequence: value("sequence")?.cast_unsigned() })
}

/// Keeps others from the index.
pub(crate) fn lock(path: &Path) -> anyhow::Result<File> {
    let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path.with_extension("lock"))?;
    lock.try_lock().context("it is in use by another process (stop the server first)")?;
    Ok(lock)
}

fn open(path: &Path, durable: bool) -> anyhow::Result<Database> {
    let lock = lock(path)?;
    // Made before SQLite makes it, so that only its owner may read it. The log takes its permissions from it.
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    let mut connection =
        Connection::open_with_flags_and_vfs(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX, VFS)?;
    connection.busy_timeout(BUSY_WAIT)?;
    let found: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))?;
    anyhow::ensure!(found == APPLICATION_ID || (found == 0 && tables == 0), "it is not ours (application id {found:#x})");
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", if durable { "full" } else { "off" })?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.pragma_update(None, "trusted_schema", false)?;
    prepare_once(&connection)?;
    migrate(&mut connection)?;
    let place = Place::of([path.into(), path.with_extension("db-wal")]);
    Ok(Database { connection, place, _lock: lock })
}

/// Keeps statements prepared, whatever is bound to them.
fn prepare_once(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

pub(crate) fn migrate(connection: &mut Connection) -> anyhow::Result<()> {
    let found: i32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = i32::try_from(MIGRATIONS.len())?;
    anyhow::ensure!(found <= known, "it has version {found}, this program knows versions up to {known}: use the newer program");
    for (number, sql) in (1_i32..).zip(MIGRATIONS).filter(|(number, _)| *number > found) {
        let tx = connection.transaction()?;
        tx.execute_batch(sql)?;
        tx.pragma_update(None, "application_id", APPLICATION_ID)?;
        tx.pragma_update(None, "user_version", number)?;
        tx.commit()?;
    }
    Ok(())
}

/// Reading connections, which see the last commit and wait for nobody.
pub(crate) struct Readers {
    path: PathBuf,
    place: Place,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(crate) fn new(path: PathBuf, place: Place) -> Self {
        Self { path, place, idle: Mutex::default() }
    }

    /// Checks that the index's files are still the ones that are open.
    pub(crate) fn place_check(&self) -> Result<()> {
        self.place.check()
    }

    /// Runs `look` over one state of the index. Blocks.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let idle = self.idle.lock().map_err(|_| Error::Io(anyhow!("a reader panicked")))?.pop();
        let connection = idle.map_or_else(|| self.connect(), Ok)?;
        let tx = connection.unchecked_transaction()?;
        let seen = look(&tx);
        tx.commit()?;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < READERS_IDLE_MAX {
            idle.push(connection);
        }
        seen
    }

    pub(crate) fn connect(&self) -> Result<Connection> {
        self.place_check()?;
        let connection =
            Connection::open_with_flags_and_vfs(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX, VFS)?;
        connection.busy_timeout(BUSY_WAIT)?;
        connection.pragma_update(None, "cache_size", -READER_CACHE_KIB)?;
        prepare_once(&connection)?;
        Ok(connection)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::row::{NULL_AGE, null_age};

    const INSERT: &str = "INSERT INTO version (bucket, key, age, id, modified, marker, size, etag, record, body)
        VALUES (1, x'6b', ?1, ?2, 0, 0, 0, '', '{}', '{}')";

    #[test]
    fn an_index_of_the_first_version_is_brought_up_to_date() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index.db");
        let old = Connection::open(&path).unwrap();
        old.execute_batch(MIGRATIONS[0]).unwrap();
        old.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
        old.pragma_update(None, "user_version", 1).unwrap();
        for (age, id) in [(-1, "0a"), (-2, "null"), (-3, "0b"), (-4, "0c")] {
            old.execute(INSERT, (age, id)).unwrap();
        }
        drop(old);
        let database = Database::open(&path, false).unwrap();
        assert_eq!(null_age(&database.connection, 1, "k").unwrap(), Some(-2));
        drop(database);
        let again = Database::open(&path, false).unwrap();
        assert_eq!(null_age(&again.connection, 1, "k").unwrap(), Some(-2));
        assert_eq!(null_age(&again.connection, 1, "other").unwrap(), None);
    }

    #[test]
    fn events_of_before_get_their_buckets_owner() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index.db");
        let old = Connection::open(&path).unwrap();
        MIGRATIONS[..3].iter().for_each(|sql| old.execute_batch(sql).unwrap());
        old.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
        old.pragma_update(None, "user_version", 3).unwrap();
        let bucket = r#"INSERT INTO bucket (number, name, document) VALUES (7, 'b', '{"name": "b", "owner": "111122223333",
            "region": "us-east-1", "created": 0}')"#;
        old.execute(bucket, ()).unwrap();
        for bucket in [7, 8] {
            old.execute("INSERT INTO event (destination, bucket, number, body) VALUES ('d', ?1, 1, '{}')", [bucket]).unwrap();
        }
        drop(old);
        let database = Database::open(&path, false).unwrap();
        let mut select = database.connection.prepare("SELECT owner FROM event ORDER BY bucket").unwrap();
        let owners = select.query_map((), |row| row.get::<_, String>(0)).unwrap().collect::<Result<Vec<_>, _>>().unwrap();
        assert_eq!(owners, ["111122223333", "000000000000"]);
    }

    #[test]
    fn the_version_null_is_found_without_looking_at_others() {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::open(&dir.path().join("index.db"), false).unwrap();
        let mut explain = database.connection.prepare(&format!("EXPLAIN QUERY PLAN {NULL_AGE}")).unwrap();
        let plan = explain.query_map((1, b"k"), |row| row.get::<_, String>(3)).unwrap().collect::<Result<Vec<_>, _>>().unwrap();
        let searches: Vec<&str> = plan.iter().map(String::as_str).filter(|line| line.contains("version")).collect();
        let newest = "SEARCH version USING PRIMARY KEY (bucket=? AND key=?)";
        assert_eq!(searches, [newest, "SEARCH version USING COVERING INDEX version_covered (bucket=? AND key=?)"], "{plan:?}");
    }
}
