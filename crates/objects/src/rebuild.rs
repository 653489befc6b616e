//! Makes a new index for an engine that has lost it: from the newest copy there is, from the journal of what came after, and from the files that
//! are there. docs/decisions/0013-objects-index.md says what that brings back.

use crate::body::{self, FileId, Piece, Place, StoredBody};
use crate::copy::{self, KEPT, named_files};
use crate::database;
use crate::error::{Error, Result};
use crate::fsck::{self, files};
use crate::journal::{self, Entry, VersionRow};
use crate::lost;
use crate::mark::{self, Kept, Mark, Position};
use anyhow::{Context as _, anyhow};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a rebuild did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rebuilt {
    /// The index that it began with.
    pub base: PathBuf,
    /// Commits of the journal that were added to it.
    pub commits: u64,
    /// Versions that the new index has.
    pub versions: u64,
    /// Versions and parts that were left out because their files are gone.
    pub dropped: u64,
    /// Files that belong to nothing, and were moved to `lost+found/`.
    pub lost: u64,
}

/// Makes the index of this directory anew. What is there is moved to `lost+found/`, not deleted.
///
/// # Errors
/// [`Error::Io`] if it is in use, or there is nothing to begin with; then nothing was changed.
pub fn rebuild(dir: &Path) -> Result<Rebuilt> {
    let _lock = database::lock(&dir.join("index.db")).map_err(Error::from_any)?;
    let kept = mark::read(dir)?;
    let fresh = dir.join("index.rebuilt");
    let candidates: Vec<(PathBuf, Position)> =
        ["index.db", KEPT].iter().filter_map(|name| usable(&dir.join(name), kept).map(|position| (dir.join(name), position))).collect();
    let newest = candidates.into_iter().max_by_key(|(_, position)| position.sequence);
    let Some((base, position)) = newest else {
        return Err(Error::Io(anyhow!(
            "neither index.db nor its copy {KEPT} can be read: restore a backup (`pileus restore`). Without one the names of the objects are \
             lost; to go on with no objects, move {} away, then run `pileus adopt`",
            dir.display()
        )));
    };
    remove(&fresh)?;
    copy::copy(&Connection::open_with_flags(&base, OpenFlags::SQLITE_OPEN_READ_WRITE)?, &fresh, Duration::ZERO)?;
    let mut rebuilt = Rebuilt { base, ..Rebuilt::default() };
    let last = fill(dir, &fresh, position.sequence, kept, &mut rebuilt)?;

    for name in ["index.db", "index.db-wal", "index.db-shm"] {
        lost::keep(dir, &dir.join(name))?;
    }
    std::fs::rename(&fresh, dir.join("index.db"))?;
    let mark = Mark::open(dir, last)?;
    mark.sync()?;
    File::open(dir)?.sync_all()?;
    rebuilt.lost = unnamed_move(dir)?;
    Ok(rebuilt)
}

/// How far an index has come, if it is whole and of these objects.
fn usable(path: &Path, kept: Kept) -> Option<Position> {
    if std::fs::metadata(path).map_or(0, |found| found.len()) == 0 {
        return None;
    }
    let look = || -> Result<Position> {
        let mut connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        database::migrate(&mut connection).map_err(Error::from_any)?;
        let mut wrong = Vec::new();
        fsck::integrity(&connection, &mut wrong)?;
        if let Some(wrong) = wrong.first() {
            return Err(Error::Io(anyhow!("{wrong}")));
        }
        database::position(&connection)
    };
    match look() {
        Ok(position) => match kept {
            Kept::At(mark) if mark.identity != position.identity => None,
            Kept::None | Kept::Damaged | Kept::At(_) => Some(position),
        },
        Err(error) => {
            tracing::warn!(path = %path.display(), error = &error as &dyn std::error::Error, "not an index that can be used");
            None
        }
    }
}

/// Adds the journal, leaves out what has lost its files, and counts anew. How far the new index has come.
fn fill(dir: &Path, fresh: &Path, from: u64, kept: Kept, rebuilt: &mut Rebuilt) -> Result<Position> {
    let mut connection = Connection::open(fresh)?;
    connection.pragma_update(None, "journal_mode", "delete")?;
    let tx = connection.transaction()?;
    let mut last = from;
    journal::read(dir, |sequence, entry| {
        if sequence > from {
            rebuilt.commits += u64::from(sequence > last);
            last = last.max(sequence);
            apply(&tx, entry)?;
        }
        Ok(())
    })?;
    let there = files(dir)?;
    rebuilt.dropped = drop_missing(&tx, &there)?;
    tx.execute_batch(
        "UPDATE version SET covered = 0 WHERE covered = 1;
         UPDATE version SET covered = 1 WHERE id = 'null' AND EXISTS (
             SELECT 1 FROM version AS newer WHERE newer.bucket = version.bucket AND newer.key = version.key AND newer.age < version.age
         );
         UPDATE counter SET value = (SELECT count(*) FROM version) WHERE name = 'versions';
         UPDATE counter SET value = (SELECT coalesce(sum(size), 0) FROM version) WHERE name = 'bytes';",
    )?;
    if let Kept::At(mark) = kept {
        last = last.max(mark.sequence);
    }
    // The copies that were made before are older than this.
    last += 1;
    tx.execute("UPDATE counter SET value = ?1 WHERE name = 'sequence'", [last.cast_signed()])?;
    rebuilt.versions = tx.query_row("SELECT count(*) FROM version", (), |row| row.get::<_, i64>(0))?.cast_unsigned();
    let position = database::position(&tx)?;
    tx.commit()?;
    drop(connection);
    File::open(fresh)?.sync_all()?;
    Ok(position)
}

fn apply(connection: &Connection, entry: Entry) -> Result<()> {
    match entry {
        Entry::Bucket { number, name, document } => {
            connection
                .execute("INSERT OR REPLACE INTO bucket (number, name, document) VALUES (?1, ?2, ?3)", params![number, name, document])?;
        }
        Entry::BucketGone { number } => {
            let mut select = connection.prepare("SELECT key, age FROM version WHERE bucket = ?1")?;
            let all = select.query_map([number], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get(1)?)))?.collect::<Result<Vec<_>, _>>()?;
            all.iter().try_for_each(|(key, age)| version_remove(connection, number, key, *age))?;
            connection.execute("DELETE FROM bucket WHERE number = ?1", [number])?;
        }
        Entry::Version(row) => version_put(connection, &row)?,
        Entry::Record { bucket, key, age, record } => {
            let sql = "UPDATE version SET record = ?4 WHERE bucket = ?1 AND key = ?2 AND age = ?3";
            connection.execute(sql, params![bucket, key.as_bytes(), age, record])?;
        }
        Entry::VersionGone { bucket, key, age } => version_remove(connection, bucket, key.as_bytes(), age)?,
    }
    Ok(())
}

fn version_put(connection: &Connection, row: &VersionRow) -> Result<()> {
    version_remove(connection, row.bucket, row.key.as_bytes(), row.age)?;
    let mut stored: StoredBody = serde_json::from_str(&row.body)?;
    let mut inline = row.inline.iter();
    for piece in &mut stored.pieces {
        if let Place::Inline { row, .. } = &mut piece.place {
            let text = inline.next().context("a body without bytes").map_err(Error::Io)?;
            let bytes = BASE64_STANDARD.decode(text).map_err(|error| Error::Io(error.into()))?;
            connection.execute("INSERT INTO inline (bytes) VALUES (?1)", [bytes])?;
            *row = connection.last_insert_rowid();
        }
    }
    if let Some(id) = &stored.upload {
        // Its parts are the version's now.
        connection.execute("DELETE FROM part WHERE upload = ?1", [id.as_str()])?;
        connection.execute("DELETE FROM upload WHERE id = ?1", [id.as_str()])?;
    }
    let body = serde_json::to_string(&stored)?;
    connection.execute(
        "INSERT INTO version (bucket, key, age, id, modified, marker, size, etag, record, body) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10)",
        params![row.bucket, row.key.as_bytes(), row.age, row.id, row.modified, row.marker, row.size, row.etag, row.record, body],
    )?;
    Ok(())
}

fn version_remove(connection: &Connection, bucket: i64, key: &[u8], age: i64) -> Result<()> {
    let mut delete = connection.prepare_cached("DELETE FROM version WHERE bucket = ?1 AND key = ?2 AND age = ?3 RETURNING body")?;
    let body: Option<String> = delete.query_row(params![bucket, key, age], |row| row.get(0)).optional()?;
    if let Some(body) = body {
        inline_remove(connection, &serde_json::from_str::<StoredBody>(&body)?.pieces)?;
    }
    Ok(())
}

fn inline_remove(connection: &Connection, pieces: &[Piece]) -> Result<()> {
    for piece in pieces {
        if let Place::Inline { row, .. } = piece.place {
            connection.execute("DELETE FROM inline WHERE row = ?1", [row])?;
        }
    }
    Ok(())
}

/// Leaves out versions and parts whose files are gone. How many.
fn drop_missing(connection: &Connection, there: &BTreeMap<FileId, (PathBuf, u64)>) -> Result<u64> {
    let missing = |pieces: &[Piece]| body::files(pieces).iter().any(|file| !there.contains_key(file));
    let mut dropped = Vec::new();
    let mut select = connection.prepare("SELECT bucket, key, age, body FROM version")?;
    let mut rows = select.query(())?;
    while let Some(row) = rows.next()? {
        let stored: StoredBody = serde_json::from_str(row.get_ref(3)?.as_str().map_err(rusqlite::Error::from)?)?;
        if missing(&stored.pieces) {
            dropped.push((row.get(0)?, row.get::<_, Vec<u8>>(1)?, row.get(2)?));
        }
    }
    dropped.iter().try_for_each(|(bucket, key, age)| version_remove(connection, *bucket, key, *age))?;
    let mut parts = Vec::new();
    let mut select = connection.prepare("SELECT upload, number, piece FROM part")?;
    let mut rows = select.query(())?;
    while let Some(row) = rows.next()? {
        let piece: Piece = serde_json::from_str(row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?)?;
        if missing(std::slice::from_ref(&piece)) {
            parts.push((row.get::<_, String>(0)?, row.get::<_, u32>(1)?));
        }
    }
    for (upload, number) in &parts {
        connection.execute("DELETE FROM part WHERE upload = ?1 AND number = ?2", params![upload, number])?;
    }
    Ok((dropped.len() + parts.len()) as u64)
}

/// Moves files that the index doesn't name to `lost+found/`. How many.
fn unnamed_move(dir: &Path) -> Result<u64> {
    let index = Connection::open(dir.join("index.db"))?;
    let mut unnamed = files(dir)?;
    named_files(&index, |file, _| _ = unnamed.remove(file))?;
    for (path, _) in unnamed.values() {
        lost::keep(dir, path)?;
    }
    Ok(unnamed.len() as u64)
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
