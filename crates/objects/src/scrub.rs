//! Reading everything, to find what the disk has lost.

use crate::body::{self, Piece, Place, StoredBody};
use crate::core::Core;
use crate::database::Readers;
use crate::error::{Error, Result};
use crate::noun::VersionId;
use crate::pins::Pin;
use crate::request::{Bad, Scrubbed};
use crate::row;
use crate::table::Table;
use crc_fast::{CrcAlgorithm, Digest};
use rusqlite::params;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::Duration;

/// Bodies that are looked up at once.
const PAGE: usize = 64;
/// Bytes that are read at once.
const BLOCK: usize = 1 << 20;

/// Bodies that are about to be read, and where the next ones begin.
struct Page {
    bodies: Vec<Found>,
    next: Next,
}

struct Found {
    bucket: i64,
    key: String,
    version: Option<VersionId>,
    pieces: Vec<Piece>,
    /// Without it a part may be gone by the time it is read.
    _pin: Option<Arc<Pin>>,
}

#[derive(Clone)]
enum Next {
    /// After this bucket, key and age.
    Version(i64, Vec<u8>, i64),
    /// After this upload and number.
    Part(String, u32),
    End,
}

/// Reads all bodies. Blocks; rests as long as `pace` says after so many bytes.
pub(crate) fn scrub(core: &Arc<Core>, readers: &Readers, pace: impl Fn(u64) -> Duration) -> Result<Scrubbed> {
    let mut scrubbed = Scrubbed::default();
    let mut next = Next::Version(0, Vec::new(), 0);
    while !matches!(next, Next::End) {
        let page = readers.look(|connection| match &next {
            Next::Version(bucket, key, age) => versions(core, connection, *bucket, key, *age),
            Next::Part(upload, number) => parts(core, connection, upload, *number),
            Next::End => Ok(Page { bodies: Vec::new(), next: Next::End }),
        })?;
        for found in page.bodies {
            for piece in &found.pieces {
                core.files.living()?;
                if let Err(error) = check(core, piece, &mut scrubbed.read, &pace) {
                    scrubbed.bad.extend(bad(core, &found, error));
                    break;
                }
            }
        }
        next = page.next;
    }
    Ok(scrubbed)
}

fn versions(core: &Core, connection: &rusqlite::Connection, bucket: i64, key: &[u8], age: i64) -> Result<Page> {
    let _looking = core.pins.look();
    let mut select = connection.prepare_cached(
        "SELECT bucket, key, age, id, body FROM version WHERE (bucket, key, age) > (?1, ?2, ?3) ORDER BY bucket, key, age LIMIT ?4",
    )?;
    let mut rows = select.query(params![bucket, key, age, PAGE as i64])?;
    let mut page = Page { bodies: Vec::new(), next: Next::Part(String::new(), 0) };
    while let Some(row) = rows.next()? {
        let stored: StoredBody = serde_json::from_str(row.get_ref(4)?.as_str().map_err(rusqlite::Error::from)?)?;
        let mut pieces = stored.pieces;
        body::load_inline(connection, &mut pieces)?;
        let pin = row::pin(&core.pins, &pieces);
        page.bodies.push(Found { bucket: row.get(0)?, key: row::key(row, 1)?, version: Some(row::id(row, 3)?), pieces, _pin: pin });
        if page.bodies.len() == PAGE {
            page.next = Next::Version(row.get(0)?, row.get(1)?, row.get(2)?);
        }
    }
    Ok(page)
}

fn parts(core: &Core, connection: &rusqlite::Connection, upload: &str, number: u32) -> Result<Page> {
    let _looking = core.pins.look();
    let mut select = connection.prepare_cached(
        "SELECT upload.bucket, upload.key, part.upload, part.number, part.piece FROM part JOIN upload ON upload.id = part.upload
         WHERE (part.upload, part.number) > (?1, ?2) ORDER BY part.upload, part.number LIMIT ?3",
    )?;
    let mut rows = select.query(params![upload, number, PAGE as i64])?;
    let mut page = Page { bodies: Vec::new(), next: Next::End };
    while let Some(row) = rows.next()? {
        let mut pieces = [serde_json::from_str(row.get_ref(4)?.as_str().map_err(rusqlite::Error::from)?)?];
        body::load_inline(connection, &mut pieces)?;
        let pin = row::pin(&core.pins, &pieces);
        page.bodies.push(Found { bucket: row.get(0)?, key: row::key(row, 1)?, version: None, pieces: pieces.into(), _pin: pin });
        if page.bodies.len() == PAGE {
            page.next = Next::Part(row.get(2)?, row.get(3)?);
        }
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

/// What is wrong, unless the bucket has gone.
fn bad(core: &Core, found: &Found, error: Error) -> Option<Bad> {
    let buckets = core.buckets.load();
    let bucket = buckets.iter().find(|(_, entry)| entry.number == found.bucket)?.0.clone();
    let why = if let Error::Io(cause) = &error { format!("{cause:#}") } else { error.to_string() };
    Some(Bad { bucket, key: found.key.clone(), version: found.version.clone(), why })
}
