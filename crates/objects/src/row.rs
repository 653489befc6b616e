//! Versions as the index keeps them.

use crate::body::{self, Body, Piece, StoredBody};
use crate::core::Core;
use crate::error::{Error, Result};
use crate::noun::{Version, VersionId};
use crate::pins::{Pin, Pins};
use crate::record::Record;
use model::time::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use std::sync::Arc;

/// What [`listed`] reads, in its order.
pub(crate) const COLUMNS: &str = "key, age, id, modified, marker, size, etag, record";

pub(crate) fn id(row: &Row<'_>, column: usize) -> rusqlite::Result<VersionId> {
    let text = row.get_ref(column)?.as_str()?;
    text.parse().map_err(|e| rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(e)))
}

/// Keys were UTF-8 when they were written.
pub(crate) fn key(row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    let key = String::from_utf8(row.get_ref(column)?.as_blob()?.to_vec());
    key.map_err(|e| rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Blob, Box::new(e)))
}

/// A version without its body.
pub(crate) fn listed(row: &Row<'_>, is_latest: bool) -> Result<Version> {
    Ok(Version {
        key: key(row, 0)?,
        id: id(row, 2)?,
        last_modified: Timestamp(row.get(3)?),
        delete_marker: row.get(4)?,
        is_latest,
        size: row.get::<_, i64>(5)? as u64,
        etag: row.get(6)?,
        record: serde_json::from_str(row.get_ref(7)?.as_str().map_err(rusqlite::Error::from)?)?,
        body: Body::default(),
    })
}

/// A version with its body, and its age.
pub(crate) struct Found {
    pub(crate) version: Version,
    pub(crate) age: i64,
}

/// The age of a key's version `null`: of the newest, if it is that, else of the one that others cover.
pub(crate) const NULL_AGE: &str = "
    SELECT age FROM (SELECT age, id FROM version WHERE bucket = ?1 AND key = ?2 ORDER BY age LIMIT 1) WHERE id = 'null'
    UNION ALL SELECT age FROM version WHERE bucket = ?1 AND key = ?2 AND covered = 1 LIMIT 1";

pub(crate) fn null_age(connection: &Connection, bucket: i64, key: &str) -> Result<Option<i64>> {
    Ok(connection.prepare_cached(NULL_AGE)?.query_row(params![bucket, key.as_bytes()], |r| r.get(0)).optional()?)
}

/// The age of the version of this id, if there is one.
pub(crate) fn age(connection: &Connection, bucket: i64, key: &str, id: &VersionId) -> Result<Option<i64>> {
    if id.is_null() { null_age(connection, bucket, key) } else { Ok(id.sequence().map(|sequence| -sequence)) }
}

/// Reads a version, marker or not; without an id the newest. What it is made of stays while it is held.
pub(crate) fn find(connection: &Connection, core: &Core, bucket: i64, key: &str, id: Option<&VersionId>) -> Result<Option<Found>> {
    let _looking = core.pins.look();
    let which = if id.is_some() { "AND age = ?3 AND id = ?4" } else { "ORDER BY age LIMIT 1" };
    let sql = format!("SELECT {COLUMNS}, body FROM version WHERE bucket = ?1 AND key = ?2 {which}");
    let mut select = connection.prepare_cached(&sql)?;
    let read = |row: &Row<'_>| Ok(whole(connection, core, row));
    let found = match id {
        Some(id) => match age(connection, bucket, key, id)? {
            Some(age) => select.query_row(params![bucket, key.as_bytes(), age, id.as_str()], read),
            None => return Ok(None),
        },
        None => select.query_row(params![bucket, key.as_bytes()], read),
    };
    let Some(mut found) = found.optional()?.transpose()? else { return Ok(None) };
    found.version.is_latest = id.is_none() || newest_age(connection, bucket, key)? == Some(found.age);
    Ok(Some(found))
}

/// As [`find`], or why there is no object to read.
pub(crate) fn object(connection: &Connection, core: &Core, bucket: i64, key: &str, id: Option<&VersionId>) -> Result<Found> {
    match find(connection, core, bucket, key, id)? {
        None => Err(if id.is_some() { Error::NoSuchVersion } else { Error::NoSuchKey }),
        Some(Found { version, .. }) if version.delete_marker => {
            Err(Error::DeleteMarker { version: version.id, made: version.last_modified, current: id.is_none() })
        }
        Some(found) => Ok(found),
    }
}

/// The age of a key's newest version.
pub(crate) fn newest_age(connection: &Connection, bucket: i64, key: &str) -> Result<Option<i64>> {
    let mut select = connection.prepare_cached("SELECT age FROM version WHERE bucket = ?1 AND key = ?2 ORDER BY age LIMIT 1")?;
    Ok(select.query_row(params![bucket, key.as_bytes()], |r| r.get(0)).optional()?)
}

fn whole(connection: &Connection, core: &Core, row: &Row<'_>) -> Result<Found> {
    let mut version = listed(row, true)?;
    let stored: StoredBody = serde_json::from_str(row.get_ref(8)?.as_str().map_err(rusqlite::Error::from)?)?;
    let StoredBody { mut pieces, upload, parts } = stored;
    body::load_inline(connection, &mut pieces)?;
    version.record.parts = parts;
    core.files.hit("objects.pin.before")?;
    version.body = Body { pin: pin(&core.pins, &pieces), pieces, upload };
    Ok(Found { version, age: row.get(1)? })
}

/// Keeps the files of these pieces.
pub(crate) fn pin(pins: &Arc<Pins>, pieces: &[Piece]) -> Option<Arc<Pin>> {
    pieces.iter().find_map(Piece::file).map(|first| pins.pin(first.clone()))
}

/// What a listing reads of a record: all but the parts, of which there may be thousands.
pub(crate) fn record_json(record: &Record) -> Result<String> {
    if record.parts.is_empty() {
        return Ok(serde_json::to_string(record)?);
    }
    Ok(serde_json::to_string(&Record { parts: Vec::new(), ..record.clone() })?)
}

/// What a listing doesn't read.
pub(crate) fn body_json(version: &Version) -> Result<String> {
    let Body { pieces, upload, .. } = &version.body;
    let stored = StoredBody { pieces: pieces.clone(), upload: upload.clone(), parts: version.record.parts.clone() };
    Ok(serde_json::to_string(&stored)?)
}
