//! The file: SQLite with a write-ahead log, synced at every commit, opened by one process at a time.

use crate::Mode;
use crate::audit::{AUDIT_AGE_MAX_MILLIS, AUDIT_RECORDS_MAX, AuditRecord};
use crate::error::OpenError;
use crate::identity::{Found, Identity};
use crate::place::Place;
use crate::snapshot::Snapshot;
use crate::table::Tables;
use crate::tx::Working;
use model::scope::Scope;
use model::time::Timestamp;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Transaction, TransactionBehavior, params};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `Pils`, in the header of the file.
const APPLICATION_ID: i32 = 0x5069_6c73;
/// SQLite's way to files. This one keeps the index of the write-ahead log in memory instead of a mapped file, and the database to this process. A
/// mapped file kills the process when a full disk or a quota has no room for a page of it (SIGBUS): btrfs wants new room for each write.
pub(crate) const VFS: &str = "unix-excl";
/// How long another program, such as a backup, may still use the file when it is opened; then it is ours alone.
pub(crate) const BUSY_WAIT: Duration = Duration::from_secs(5);
/// The audit trail is pruned each time this many records were added, and loses at most this many by age then.
const AUDIT_PRUNE_RECORDS: i64 = 1024;

/// What brings an older database up to date, in order. `user_version` counts those that were applied. An entry never changes.
pub(crate) const MIGRATIONS: &[&str] = &[
    "CREATE TABLE meta (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
     CREATE TABLE document (
         kind TEXT NOT NULL,
         account TEXT NOT NULL, -- account and region are empty for documents of the whole cloud
         region TEXT NOT NULL,
         id TEXT NOT NULL,
         revision INTEGER NOT NULL, -- of the commit that wrote it
         body TEXT NOT NULL, -- JSON
         PRIMARY KEY (kind, account, region, id)
     ) STRICT, WITHOUT ROWID;",
    "CREATE TABLE audit (
         sequence INTEGER PRIMARY KEY,
         time INTEGER NOT NULL, -- milliseconds since the Unix epoch
         account TEXT NOT NULL,
         region TEXT NOT NULL,
         action TEXT NOT NULL,
         request_id TEXT NOT NULL,
         error TEXT
     ) STRICT;
     CREATE INDEX audit_of_scope ON audit (account, region, sequence);",
];

/// The database and its lock. Dropping it closes the file.
pub(crate) struct Database {
    pub(crate) connection: Connection,
    audit_added: i64,
    pub(crate) place: Place,
    /// Held while the database is open; the last field, since fields are dropped in order.
    _lock: File,
}

impl Database {
    /// Opens the file, or creates it with this mode, if `check` agrees to what is found there. The identity that `check` gives back is kept in it.
    pub(crate) fn open(
        path: &Path,
        mode: Mode,
        check: impl FnOnce(Found<'_>) -> Result<Option<Identity>, String>,
    ) -> Result<(Self, Snapshot), OpenError> {
        let lock = lock(path)?;
        let refused = |reason| OpenError::Refused { path: path.into(), reason };
        let bytes = size(path).map_err(|source| OpenError::Io { path: path.into(), source })?;
        let mut check = Some(check);
        let mut wanted = None;
        if bytes.is_none_or(|bytes| bytes == 0) {
            wanted = check.take().map(|check| check(Found::Nothing { bytes })).transpose().map_err(refused)?.flatten();
            create(path).map_err(|source| OpenError::Io { path: path.into(), source })?;
        }
        let unclean = size(&wal(path)).ok().flatten().is_some_and(|bytes| bytes > 0);
        let mut connection =
            Connection::open_with_flags_and_vfs(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX, VFS)?;
        connection.busy_timeout(BUSY_WAIT)?;
        let has_tables = check_header(&connection, path)?;
        if unclean {
            quick_check(&connection, path)?;
        }
        if !has_tables && let Some(check) = check.take() {
            wanted = check(Found::Nothing { bytes }).map_err(refused)?;
        }
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "temp_store", "memory")?;
        connection.pragma_update(None, "trusted_schema", false)?;
        migrate(&mut connection, path, MIGRATIONS)?;
        settle_mode(&connection, path, mode)?;
        let place = Place::of([]);
        let mut database = Self { connection, audit_added: 0, place, _lock: lock };
        let (tables, revision) = database.load()?;
        let snapshot = Snapshot { tables, revision, mode };
        let identity = database.identity()?;
        if let Some(check) = check.take() {
            wanted = check(Found::Cloud { identity: identity.clone(), snapshot: &snapshot }).map_err(refused)?;
        }
        if let Some(wanted) = wanted.filter(|wanted| identity.as_ref() != Some(wanted)) {
            database.identity_put(&wanted)?;
        }
        database.place = Place::of([path.into(), wal(path)]);
        Ok((database, snapshot))
    }

    fn identity(&self) -> Result<Option<Identity>, OpenError> {
        let Some(cloud) = meta(&self.connection, "cloud")? else { return Ok(None) };
        let epoch = meta(&self.connection, "epoch")?.and_then(|epoch| epoch.parse().ok()).unwrap_or(0);
        Ok(Some(Identity { cloud, epoch }))
    }

    fn identity_put(&mut self, identity: &Identity) -> Result<(), OpenError> {
        let tx = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for (name, value) in [("cloud", &identity.cloud), ("epoch", &identity.epoch.to_string())] {
            tx.execute("INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)", params![name, value])?;
        }
        tx.commit()?;
        Ok(())
    }

    /// Reads every document, and the revision of the last commit.
    pub(crate) fn load(&self) -> Result<(Tables, u64), OpenError> {
        let mut tables = Tables::default();
        let mut select = self.connection.prepare("SELECT kind, account, region, id, body FROM document")?;
        let mut rows = select.query(())?;
        while let Some(row) = rows.next()? {
            let [kind, account, region, id, body] = [row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get::<_, String>(4)?];
            let scope = match (account.as_str(), region.as_str()) {
                ("", "") => Ok(None),
                (account, region) => scope(account, region).map(Some),
            };
            let loaded = scope.and_then(|scope| tables.load(&kind, scope.as_ref(), &body));
            loaded.map_err(|reason| OpenError::Document { kind, id, account, region, reason })?;
        }
        let revision = meta(&self.connection, "revision")?.and_then(|r| r.parse().ok()).unwrap_or(0);
        Ok((tables, revision))
    }

    /// Writes one batch as one transaction. When it returns, it is on the disk; if it fails, nothing of it is.
    pub(crate) fn commit(&mut self, batch: &Working, revision: u64) -> rusqlite::Result<()> {
        let added = batch.audit.len() as i64;
        let prune = self.audit_added + added >= AUDIT_PRUNE_RECORDS;
        let tx = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        write_documents(&tx, batch, revision)?;
        write_audit(&tx, &batch.audit)?;
        if prune && let Some(newest) = batch.audit.last() {
            prune_audit(&tx, newest.time, AUDIT_RECORDS_MAX)?;
        }
        tx.commit()?;
        self.audit_added = if prune { 0 } else { self.audit_added + added };
        Ok(())
    }

    /// From here on the database is that of a process that was killed: closing it doesn't tidy up the write-ahead log.
    pub(crate) fn abandon(&self) {
        if let Err(error) = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true) {
            tracing::warn!(%error, "closing will write back the log");
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if self.place.displaced().is_some() {
            // Closing would delete the log under this name, which may be another database's.
            self.abandon();
        }
    }
}

/// Reads the newest audit records of a scope, newest first, over a connection of its own.
pub(crate) fn audit_newest(path: &Path, scope: &Scope, count: usize) -> rusqlite::Result<Vec<AuditRecord>> {
    let connection = Connection::open_with_flags_and_vfs(path, OpenFlags::SQLITE_OPEN_READ_ONLY, VFS)?;
    connection.busy_timeout(BUSY_WAIT)?;
    let mut select = connection
        .prepare("SELECT time, action, request_id, error FROM audit WHERE account = ?1 AND region = ?2 ORDER BY sequence DESC LIMIT ?3")?;
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let rows = select.query_map(params![scope.account.as_str(), scope.region.as_str(), count], |row| {
        let (action, request_id, error) = (row.get(1)?, row.get(2)?, row.get(3)?);
        Ok(AuditRecord { time: Timestamp(row.get(0)?), scope: scope.clone(), action, request_id, error })
    })?;
    rows.collect()
}

/// Takes the lock beside the database. It goes with the process, however that ends.
fn lock(path: &Path) -> Result<File, OpenError> {
    let lock_path = PathBuf::from(format!("{}.lock", path.display()));
    let io = |source| OpenError::Io { path: lock_path.clone(), source };
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&lock_path).map_err(io)?;
    match file.try_lock() {
        Ok(()) => {
            // The number is only for people: without it, on a full disk say, the lock holds all the same.
            if let Err(error) = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id())) {
                tracing::warn!(%error, path = %lock_path.display(), "the lock doesn't say whose it is");
            }
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
            Err(OpenError::InUse { path: path.into(), pid })
        }
        Err(TryLockError::Error(source)) => Err(io(source)),
    }
}

/// The size of a file, if there is one.
fn size(path: &Path) -> std::io::Result<Option<u64>> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The write-ahead log of a database.
fn wal(path: &Path) -> PathBuf {
    PathBuf::from(format!("{}-wal", path.display()))
}

/// Creates the file before SQLite does, since it holds secrets: only its owner may read it. The log takes its permissions from it.
fn create(path: &Path) -> std::io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => {
            file.sync_all()?;
            match path.parent() {
                Some(parent) if parent != Path::new("") => File::open(parent)?.sync_all(),
                Some(_) | None => File::open(".")?.sync_all(),
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Refuses the database of another program before anything of it is changed. Gives back whether there are tables.
fn check_header(connection: &Connection, path: &Path) -> Result<bool, OpenError> {
    let application_id: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))?;
    if application_id == APPLICATION_ID || (application_id == 0 && tables == 0) {
        Ok(tables > 0)
    } else {
        Err(OpenError::NotOurs { path: path.into(), application_id })
    }
}

/// Checks the structure of a database whose write-ahead log was left behind: the file may have been exchanged for an older one beside the newer log.
fn quick_check(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let found: String = connection.query_row("PRAGMA quick_check(1)", (), |row| row.get(0))?;
    if found == "ok" { Ok(()) } else { Err(OpenError::Damaged { path: path.into(), found }) }
}

/// Applies the migrations that the database hasn't had yet, each in a transaction with its number.
pub(crate) fn migrate(connection: &mut Connection, path: &Path, migrations: &[&str]) -> Result<(), OpenError> {
    let found: i32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let numbered = (1_i32..).zip(migrations);
    let known = i32::try_from(migrations.len()).expect("there are few migrations");
    if found > known {
        return Err(OpenError::Newer { path: path.into(), found, known });
    }
    for (number, sql) in numbered.filter(|(number, _)| *number > found) {
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        tx.execute_batch(sql)?;
        tx.pragma_update(None, "application_id", APPLICATION_ID)?;
        tx.pragma_update(None, "user_version", number)?;
        tx.commit()?;
    }
    Ok(())
}

fn settle_mode(connection: &Connection, path: &Path, wanted: Mode) -> Result<(), OpenError> {
    connection.execute("INSERT OR IGNORE INTO meta (name, value) VALUES ('mode', ?1)", [wanted.as_str()])?;
    let found = meta(connection, "mode")?;
    let found = if found.as_deref() == Some(Mode::Real.as_str()) { Mode::Real } else { Mode::Simulated };
    if found == wanted { Ok(()) } else { Err(OpenError::WrongMode { path: path.into(), found, wanted }) }
}

fn meta(connection: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    connection.query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get(0)).optional()
}

fn scope(account: &str, region: &str) -> Result<Scope, String> {
    let account = account.parse().map_err(|e| format!("account: {e}"))?;
    let region = region.parse().map_err(|e| format!("region: {e}"))?;
    Ok(Scope { account, region })
}

fn write_documents(tx: &Transaction<'_>, batch: &Working, revision: u64) -> rusqlite::Result<()> {
    if batch.bodies.is_empty() {
        return Ok(());
    }
    let number = i64::try_from(revision).unwrap_or(i64::MAX);
    let mut put =
        tx.prepare_cached("INSERT OR REPLACE INTO document (kind, account, region, id, revision, body) VALUES (?1,?2,?3,?4,?5,?6)")?;
    let mut remove = tx.prepare_cached("DELETE FROM document WHERE kind = ?1 AND account = ?2 AND region = ?3 AND id = ?4")?;
    for (key, body) in &batch.bodies {
        let (account, region) = key.scope.as_ref().map_or(("", ""), |s| (s.account.as_str(), s.region.as_str()));
        match body {
            Some(body) => put.execute(params![key.kind, account, region, key.id, number, body])?,
            None => remove.execute(params![key.kind, account, region, key.id])?,
        };
    }
    let mut count = tx.prepare_cached("INSERT OR REPLACE INTO meta (name, value) VALUES ('revision', ?1)")?;
    count.execute([revision.to_string()])?;
    Ok(())
}

fn write_audit(tx: &Transaction<'_>, records: &[AuditRecord]) -> rusqlite::Result<()> {
    let mut insert =
        tx.prepare_cached("INSERT INTO audit (time, account, region, action, request_id, error) VALUES (?1,?2,?3,?4,?5,?6)")?;
    for r in records {
        insert.execute(params![r.time.0, r.scope.account.as_str(), r.scope.region.as_str(), r.action, r.request_id, r.error])?;
    }
    Ok(())
}

/// Drops what is too much or too old, seen from the newest record: the store has no clock.
fn prune_audit(tx: &Transaction<'_>, newest: Timestamp, keep: i64) -> rusqlite::Result<()> {
    tx.execute("DELETE FROM audit WHERE sequence <= (SELECT max(sequence) FROM audit) - ?1", [keep])?;
    let oldest_kept = newest.plus_millis(-AUDIT_AGE_MAX_MILLIS).0;
    tx.execute(
        "DELETE FROM audit WHERE sequence IN
         (SELECT sequence FROM (SELECT sequence, time FROM audit ORDER BY sequence LIMIT ?1) WHERE time < ?2)",
        params![AUDIT_PRUNE_RECORDS, oldest_kept],
    )?;
    Ok(())
}

#[cfg(test)]
#[path = "database_tests.rs"]
mod tests;
