//! Reading everything, to find what the disk has lost. A round goes on where it was when the process ended: how far it has come is kept in the index.

use crate::body::{self, Piece, Place, StoredBody};
use crate::core::Core;
use crate::database::Readers;
use crate::error::{Error, Result};
use crate::noun::VersionId;
use crate::pins::Pin;
use crate::request::{Bad, Scrubbed};
use crate::row;
use crate::table::Table;
use crate::tx::Tx;
use crc_fast::{CrcAlgorithm, Digest};
use model::time::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params};
use serde::{Deserialize, Serialize};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Bodies that are looked up at once: more than one.
const PAGE: usize = 64;
/// Bytes that are read at once.
const BLOCK: usize = 1 << 20;
/// Damaged bodies that are kept by name, at most; the log has all.
const BAD_MAX: usize = 100;
/// Bytes after which it is kept how far a round has come: about a minute's.
pub(crate) const STEP: u64 = 1 << 30;

/// What the index keeps of the reading of all bodies.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Kept {
    /// When the last whole round ended, and what it found.
    pub(crate) last: Option<(Timestamp, Scrubbed)>,
    /// The one that isn't finished.
    pub(crate) round: Option<Round>,
}

/// A round: how far it has come, and what it found until there.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Round {
    at: At,
    pub(crate) found: Scrubbed,
}

impl Round {
    pub(crate) fn ended(&self) -> bool {
        self.at == At::End
    }
}

/// A body, in the order in which they are read, and how many of its pieces were read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum At {
    Version { bucket: i64, key: String, age: i64, done: usize },
    Part { upload: String, number: u32, done: usize },
    End,
}

impl Default for At {
    fn default() -> Self {
        Self::Version { bucket: 0, key: String::new(), age: i64::MIN, done: 0 }
    }
}

impl At {
    /// The same body, so many pieces of which were read.
    fn with(mut self, pieces: usize) -> Self {
        match &mut self {
            Self::Version { done, .. } | Self::Part { done, .. } => *done = pieces,
            Self::End => {}
        }
        self
    }
}

/// Bodies that are about to be read, and what comes when there are no more of their kind.
struct Page {
    bodies: Vec<Found>,
    behind: At,
}

struct Found {
    at: At,
    /// Pieces that were read before.
    done: usize,
    bucket: i64,
    key: String,
    version: Option<VersionId>,
    pieces: Vec<Piece>,
    /// Without it a part may be gone by the time it is read.
    _pin: Option<Arc<Pin>>,
}

/// How far things are, as the index says.
pub(crate) fn kept(connection: &Connection) -> Result<Kept> {
    let document: Option<String> = connection.query_row("SELECT document FROM scrub", (), |row| row.get(0)).optional()?;
    let read = |document: String| serde_json::from_str(&document).map_err(Error::from);
    Ok(document.map(read).transpose()?.unwrap_or_default())
}

impl Tx<'_> {
    pub(crate) fn scrub_keep(&self, kept: &Kept) -> Result<()> {
        let mut replace = self.connection.prepare_cached("INSERT OR REPLACE INTO scrub (one, document) VALUES (1, ?1)")?;
        replace.execute([serde_json::to_string(kept)?])?;
        Ok(())
    }
}

/// Goes on with a round, for a step or until nobody waits for it. Blocks; rests as long as `pace` says after so many bytes.
pub(crate) fn step(
    core: &Arc<Core>,
    readers: &Readers,
    mut round: Round,
    pace: &impl Fn(u64) -> Duration,
    abandoned: &AtomicBool,
) -> Result<Round> {
    let until = round.found.read.saturating_add(core.scrub_step);
    loop {
        let page = readers.look(|connection| match &round.at {
            At::Version { bucket, key, age, done } => versions(core, connection, *bucket, key, *age, *done),
            At::Part { upload, number, done } => parts(core, connection, upload, *number, *done),
            At::End => Ok(Page { bodies: Vec::new(), behind: At::End }),
        })?;
        let full = page.bodies.len() == PAGE;
        for found in page.bodies {
            for (number, piece) in found.pieces.iter().enumerate().skip(found.done) {
                core.files.living()?;
                if let Err(error) = check(core, piece, &mut round.found.read, pace) {
                    note(core, &found, error, &mut round.found);
                    break;
                }
                if abandoned.load(Ordering::Relaxed) || round.found.read >= until {
                    round.at = found.at.with(number + 1);
                    return Ok(round);
                }
            }
            round.at = found.at.with(found.pieces.len());
        }
        if !full {
            round.at = page.behind;
        }
        if round.ended() {
            return Ok(round);
        }
    }
}

fn versions(core: &Core, connection: &Connection, bucket: i64, key: &str, age: i64, done: usize) -> Result<Page> {
    let _looking = core.pins.look();
    let mut select = connection.prepare_cached(
        "SELECT bucket, key, age, id, body FROM version WHERE (bucket, key, age) >= (?1, ?2, ?3) ORDER BY bucket, key, age LIMIT ?4",
    )?;
    let mut rows = select.query(params![bucket, key.as_bytes(), age, PAGE as i64])?;
    let mut page = Page { bodies: Vec::new(), behind: At::Part { upload: String::new(), number: 0, done: 0 } };
    while let Some(row) = rows.next()? {
        let stored: StoredBody = serde_json::from_str(row.get_ref(4)?.as_str().map_err(rusqlite::Error::from)?)?;
        let mut pieces = stored.pieces;
        body::load_inline(connection, &mut pieces)?;
        let pin = row::pin(&core.pins, &pieces);
        let this: (i64, String, i64) = (row.get(0)?, row::key(row, 1)?, row.get(2)?);
        let done = if (this.0, this.1.as_str(), this.2) == (bucket, key, age) { done } else { 0 };
        let at = At::Version { bucket: this.0, key: this.1.clone(), age: this.2, done: 0 };
        page.bodies.push(Found { at, done, bucket: this.0, key: this.1, version: Some(row::id(row, 3)?), pieces, _pin: pin });
    }
    Ok(page)
}

fn parts(core: &Core, connection: &Connection, upload: &str, number: u32, done: usize) -> Result<Page> {
    let _looking = core.pins.look();
    let mut select = connection.prepare_cached(
        "SELECT upload.bucket, upload.key, part.upload, part.number, part.piece FROM part JOIN upload ON upload.id = part.upload
         WHERE (part.upload, part.number) >= (?1, ?2) ORDER BY part.upload, part.number LIMIT ?3",
    )?;
    let mut rows = select.query(params![upload, number, PAGE as i64])?;
    let mut page = Page { bodies: Vec::new(), behind: At::End };
    while let Some(row) = rows.next()? {
        let mut pieces = [serde_json::from_str(row.get_ref(4)?.as_str().map_err(rusqlite::Error::from)?)?];
        body::load_inline(connection, &mut pieces)?;
        let pin = row::pin(&core.pins, &pieces);
        let this: (String, u32) = (row.get(2)?, row.get(3)?);
        let done = if (this.0.as_str(), this.1) == (upload, number) { done } else { 0 };
        let at = At::Part { upload: this.0, number: this.1, done: 0 };
        page.bodies.push(Found { at, done, bucket: row.get(0)?, key: row::key(row, 1)?, version: None, pieces: pieces.into(), _pin: pin });
    }
    Ok(page)
}

/// Reads what is stored of a piece and compares its checksum.
fn check(core: &Core, piece: &Piece, read: &mut u64, pace: &impl Fn(u64) -> Duration) -> Result<()> {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    match &piece.place {
        Place::Inline { bytes, .. } => {
            digest.update(bytes);
            rest(bytes.len(), read, pace);
        }
        Place::File(file) => {
            let file = core.files.read(file)?;
            let mut block = vec![0; BLOCK];
            let (mut at, stored) = (0, piece.stored());
            while at < stored {
                let block = &mut block[..BLOCK.min((stored - at) as usize)];
                file.read_exact_at(block, at)?;
                digest.update(block);
                at += block.len() as u64;
                rest(block.len(), read, pace);
            }
            Table::read(&file, piece)?;
        }
    }
    if digest.finalize() as u32 == piece.crc { Ok(()) } else { Err(Error::Io(anyhow::anyhow!("it is not what was written"))) }
}

fn rest(bytes: usize, read: &mut u64, pace: &impl Fn(u64) -> Duration) {
    *read += bytes as u64;
    let rest = pace(bytes as u64);
    if !rest.is_zero() {
        std::thread::sleep(rest);
    }
}

/// Notes what is wrong with a body, unless its bucket has gone.
fn note(core: &Core, found: &Found, error: Error, scrubbed: &mut Scrubbed) {
    let buckets = core.buckets.load();
    let Some((bucket, _)) = buckets.iter().find(|(_, entry)| entry.number == found.bucket) else { return };
    let why = if let Error::Io(cause) = &error { format!("{cause:#}") } else { error.to_string() };
    tracing::error!(bucket, key = found.key, version = ?found.version, why, "an object is damaged");
    scrubbed.damaged += 1;
    if scrubbed.bad.len() < BAD_MAX {
        scrubbed.bad.push(Bad { bucket: bucket.clone(), key: found.key.clone(), version: found.version.clone(), why });
    }
}
