//! What writes are made of: one transaction's view of the index, and what is to be done when it is committed.

use crate::body::{self, Body, FileId, Piece, Place, StoredBody};
use crate::core::{Buckets, Core, Entry};
use crate::error::{Error, Result};
use crate::files::Loose;
use crate::journal::{Entry as Noted, VersionRow};
use crate::noun::{Version, VersionId};
use crate::request::{Condition, EtagMatch};
use crate::row;
use crate::stage::Staged;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use model::time::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params};
use std::collections::BTreeMap;

/// What is to be done once a write is committed.
pub(crate) struct Effects {
    pub(crate) buckets: Buckets,
    /// Files that the index names now.
    pub(crate) arrived: Vec<Loose>,
    /// Files that it no longer names, body by body.
    pub(crate) doomed: Vec<Vec<FileId>>,
    /// More versions than before.
    pub(crate) versions: i64,
    /// More plain bytes in versions than before.
    pub(crate) bytes: i64,
    /// Whether there are new events.
    pub(crate) events: bool,
    /// Events that had to go for newer ones, by destination.
    pub(crate) events_lost: BTreeMap<String, u64>,
    /// What the journal is told.
    pub(crate) noted: Vec<Noted>,
}

impl Effects {
    pub(crate) fn new(buckets: Buckets) -> Self {
        Self {
            buckets,
            arrived: Vec::new(),
            doomed: Vec::new(),
            versions: 0,
            bytes: 0,
            events: false,
            events_lost: BTreeMap::new(),
            noted: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, more: Self) {
        self.buckets = more.buckets;
        self.arrived.extend(more.arrived);
        self.doomed.extend(more.doomed);
        self.versions += more.versions;
        self.bytes += more.bytes;
        self.events |= more.events;
        self.noted.extend(more.noted);
        for (destination, lost) in more.events_lost {
            *self.events_lost.entry(destination).or_default() += lost;
        }
    }
}

/// What is judged of a version before it is overwritten.
pub(crate) struct Head {
    pub(crate) age: i64,
    pub(crate) id: VersionId,
    pub(crate) marker: bool,
    pub(crate) etag: String,
}

pub(crate) struct Tx<'c> {
    pub(crate) connection: &'c Connection,
    pub(crate) core: &'c Core,
    pub(crate) effects: Effects,
}

impl Tx<'_> {
    pub(crate) fn bucket(&self, name: &str) -> Result<Entry> {
        self.effects.buckets.get(name).cloned().ok_or(Error::NoSuchBucket)
    }

    /// The newest version of a key, marker or not.
    pub(crate) fn newest(&self, bucket: i64, key: &str) -> Result<Option<Head>> {
        let mut select = self
            .connection
            .prepare_cached("SELECT age, id, marker, etag FROM version WHERE bucket = ?1 AND key = ?2 ORDER BY age LIMIT 1")?;
        Ok(select.query_row(params![bucket, key.as_bytes()], head).optional()?)
    }

    /// The version of this id, marker or not.
    pub(crate) fn named(&self, bucket: i64, key: &str, id: &VersionId) -> Result<Option<Head>> {
        let Some(age) = row::age(self.connection, bucket, key, id)? else { return Ok(None) };
        let mut select = self
            .connection
            .prepare_cached("SELECT age, id, marker, etag FROM version WHERE bucket = ?1 AND key = ?2 AND age = ?3 AND id = ?4")?;
        Ok(select.query_row(params![bucket, key.as_bytes(), age, id.as_str()], head).optional()?)
    }

    /// When a version was written.
    pub(crate) fn modified(&self, bucket: i64, key: &str, age: i64) -> Result<Timestamp> {
        let mut select = self.connection.prepare_cached("SELECT modified FROM version WHERE bucket = ?1 AND key = ?2 AND age = ?3")?;
        Ok(Timestamp(select.query_row(params![bucket, key.as_bytes(), age], |r| r.get(0))?))
    }

    /// Writes a version in front of the newest one; gives it its age, and its id unless that is to be `null`.
    pub(crate) fn insert(&mut self, bucket: i64, newest: Option<i64>, now: Timestamp, version: &mut Version) -> Result<()> {
        // Microseconds leave room for those written within one millisecond; a clock that goes back doesn't reorder.
        let sequence = now.0.saturating_mul(1000).max(1).max(newest.map_or(0, |age| 1 - age));
        if !version.id.is_null() {
            version.id = VersionId::new(sequence, self.core.random());
        }
        let record = row::record_json(&version.record)?;
        self.insert_pieces(&mut version.body.pieces)?;
        let body = row::body_json(version)?;
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO version (bucket, key, age, id, modified, marker, size, etag, record, body) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10)",
        )?;
        let (key, id, size) = (version.key.as_bytes(), version.id.as_str(), version.size as i64);
        insert.execute(params![
            bucket,
            key,
            -sequence,
            id,
            version.last_modified.0,
            version.delete_marker,
            size,
            version.etag,
            record,
            body
        ])?;
        self.note(bucket, -sequence, version, record, body)?;
        version.body.pin = row::pin(&self.core.pins, &version.body.pieces);
        self.effects.versions += 1;
        self.effects.bytes += size;
        Ok(())
    }

    /// Has the journal told of a version, unless all its bytes lie in the index.
    fn note(&mut self, bucket: i64, age: i64, version: &Version, record: String, body: String) -> Result<()> {
        if !version.delete_marker && version.body.pieces.iter().all(|piece| piece.file().is_none()) {
            return Ok(());
        }
        let mut pieces: Vec<Piece> = version.body.pieces.iter().filter(|piece| piece.file().is_none()).cloned().collect();
        body::load_inline(self.connection, &mut pieces)?;
        let inline = pieces.iter().filter_map(|piece| match &piece.place {
            Place::Inline { bytes, .. } => Some(BASE64_STANDARD.encode(bytes)),
            Place::File(_) => None,
        });
        self.effects.noted.push(Noted::Version(VersionRow {
            bucket,
            key: version.key.clone(),
            age,
            id: version.id.as_str().into(),
            modified: version.last_modified.0,
            marker: version.delete_marker,
            size: version.size as i64,
            etag: version.etag.clone(),
            record,
            body,
            inline: inline.collect(),
        }));
        Ok(())
    }

    /// Remembers where the version `null` is, now that another is written over it.
    pub(crate) fn cover(&self, bucket: i64, key: &str, age: i64) -> Result<()> {
        let mut update = self.connection.prepare_cached("UPDATE version SET covered = 1 WHERE bucket = ?1 AND key = ?2 AND age = ?3")?;
        update.execute(params![bucket, key.as_bytes(), age])?;
        Ok(())
    }

    /// Writes those bodies into the index that are not in it yet.
    pub(crate) fn insert_pieces(&self, pieces: &mut [Piece]) -> Result<()> {
        for piece in pieces {
            if let Place::Inline { row: row @ 0, bytes } = &mut piece.place {
                self.connection.prepare_cached("INSERT INTO inline (bytes) VALUES (?1)")?.execute([&bytes[..]])?;
                *row = self.connection.last_insert_rowid();
            }
        }
        Ok(())
    }

    /// Takes a staged body over.
    pub(crate) fn arrive(&mut self, staged: Staged) -> Result<Piece> {
        if let Some(loose) = staged.loose {
            self.connection.prepare_cached("INSERT INTO arriving (file) VALUES (?1)")?.execute([loose.id.as_str()])?;
            self.effects.arrived.push(loose);
        }
        Ok(staged.piece)
    }

    /// Removes a version with its body, unless it is locked: that is found out before anything is written. Its plain bytes.
    pub(crate) fn remove(&mut self, bucket: i64, key: &str, age: i64, now: Timestamp, bypass_governance: bool) -> Result<u64> {
        let mut select =
            self.connection.prepare_cached("SELECT size, record, body FROM version WHERE bucket = ?1 AND key = ?2 AND age = ?3")?;
        let read = |r: &rusqlite::Row<'_>| Ok((r.get::<_, i64>(0)?, r.get::<_, String>(1)?, r.get::<_, String>(2)?));
        let (size, record, body) = select.query_row(params![bucket, key.as_bytes(), age], read)?;
        let record: crate::record::Record = serde_json::from_str(&record)?;
        if record.lock.holds(now, bypass_governance) {
            return Err(Error::Locked);
        }
        self.erase(bucket, key, age, (size, &body))?;
        Ok(size.unsigned_abs())
    }

    /// Removes a version with its body, locked or not.
    pub(crate) fn erase(&mut self, bucket: i64, key: &str, age: i64, (size, body): (i64, &str)) -> Result<()> {
        let stored: StoredBody = serde_json::from_str(body)?;
        let mut delete = self.connection.prepare_cached("DELETE FROM version WHERE bucket = ?1 AND key = ?2 AND age = ?3")?;
        delete.execute(params![bucket, key.as_bytes(), age])?;
        self.effects.noted.push(Noted::VersionGone { bucket, key: key.into(), age });
        self.effects.versions -= 1;
        self.effects.bytes -= size;
        self.discard(&stored.pieces)
    }

    /// Gives up the bodies of these pieces, which were one.
    pub(crate) fn discard(&mut self, pieces: &[Piece]) -> Result<()> {
        let files = body::files(pieces);
        for file in &files {
            self.connection.prepare_cached("INSERT INTO garbage (file) VALUES (?1)")?.execute([file.as_str()])?;
        }
        if !files.is_empty() {
            self.effects.doomed.push(files);
        }
        for piece in pieces {
            if let Place::Inline { row, .. } = piece.place {
                self.connection.prepare_cached("DELETE FROM inline WHERE row = ?1")?.execute([row])?;
            }
        }
        Ok(())
    }

    /// A version to be written.
    pub(crate) fn draft(entry: &Entry, key: String, now: Timestamp, record: crate::record::Record) -> Version {
        let keeps = entry.bucket.versioning == crate::noun::Versioning::Enabled;
        let id = if keeps { VersionId::new(0, 0) } else { VersionId::null() };
        let body = Body::default();
        Version { key, id, last_modified: now, delete_marker: false, is_latest: true, size: 0, etag: String::new(), record, body }
    }
}

fn head(row: &rusqlite::Row<'_>) -> rusqlite::Result<Head> {
    Ok(Head { age: row.get(0)?, id: row::id(row, 1)?, marker: row.get(2)?, etag: row.get(3)? })
}

/// Whether a write may be done over what is there.
pub(crate) fn judge(condition: &Condition, newest: Option<&Head>) -> Result<()> {
    let current = newest.filter(|head| !head.marker);
    if let Some(wanted) = &condition.if_match {
        judge_match(wanted, current)?;
    }
    match (&condition.if_none_match, current) {
        (Some(unwanted), Some(head)) if unwanted.matches(&head.etag) => Err(Error::PreconditionFailed),
        _ => Ok(()),
    }
}

/// Whether what is there is what is wanted.
pub(crate) fn judge_match(wanted: &EtagMatch, found: Option<&Head>) -> Result<()> {
    match found {
        None => Err(Error::NoSuchKey),
        Some(head) if wanted.matches(&head.etag) => Ok(()),
        Some(_) => Err(Error::PreconditionFailed),
    }
}
