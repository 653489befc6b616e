//! Uploads in parts, inside the writer's transaction. No bytes are copied: the finished version is made of its parts' pieces.

use crate::body::Piece;
use crate::error::{Error, Result};
use crate::noun::{Part, Upload, UploadId, Version};
use crate::record::Record;
use crate::request::{Complete, PartPut, Parts};
use crate::row;
use crate::tx::{Tx, judge};
use model::time::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use std::collections::BTreeMap;

impl Tx<'_> {
    pub(crate) fn upload_create(&mut self, upload: &Upload) -> Result<()> {
        let number = self.bucket(&upload.bucket)?.number;
        let document = serde_json::to_string(upload)?;
        let mut insert = self.connection.prepare_cached("INSERT INTO upload (bucket, key, id, document) VALUES (?1, ?2, ?3, ?4)")?;
        insert.execute(params![number, upload.key.as_bytes(), upload.id.as_str(), document])?;
        Ok(())
    }

    pub(crate) fn part_put(&mut self, put: PartPut) -> Result<Part> {
        let number = self.bucket(&put.bucket)?.number;
        find(self.connection, number, &put.key, &put.upload)?;
        let mut delete = self.connection.prepare_cached("DELETE FROM part WHERE upload = ?1 AND number = ?2 RETURNING piece")?;
        let old: Option<String> = delete.query_row(params![put.upload.as_str(), put.number], |r| r.get(0)).optional()?;
        if let Some(old) = old {
            self.discard(&[serde_json::from_str(&old)?])?;
        }
        let mut pieces = [self.arrive(put.staged)?];
        self.insert_pieces(&mut pieces)?;
        let [piece] = pieces;
        let part = Part { number: put.number, size: piece.size, etag: put.etag, last_modified: put.now, checksums: put.checksums };
        let mut insert = self
            .connection
            .prepare_cached("INSERT INTO part (upload, number, modified, etag, checksums, piece) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
        let (checksums, piece) = (serde_json::to_string(&part.checksums)?, serde_json::to_string(&piece)?);
        insert.execute(params![put.upload.as_str(), part.number, part.last_modified.0, part.etag, checksums, piece])?;
        Ok(part)
    }

    pub(crate) fn upload_abort(&mut self, bucket: &str, key: &str, id: &UploadId) -> Result<()> {
        let number = self.bucket(bucket)?.number;
        find(self.connection, number, key, id)?;
        self.upload_remove(number, key, id)?.into_values().try_for_each(|(_, piece)| self.discard(&[piece]))
    }

    pub(crate) fn upload_complete<E>(
        &mut self,
        complete: Complete,
        finish: impl FnOnce(&Upload, &[Part]) -> Result<(String, Record), E>,
    ) -> Result<Result<Version, E>> {
        let entry = self.bucket(&complete.bucket)?;
        let upload = match find(self.connection, entry.number, &complete.key, &complete.upload) {
            Err(Error::NoSuchUpload) => return Ok(Ok(self.completed(entry.number, &complete)?)),
            found => found?,
        };
        let mut parts = self.upload_remove(entry.number, &complete.key, &complete.upload)?;
        let (parts_used, pieces) = pick(&complete, &mut parts)?;
        let newest = self.newest(entry.number, &complete.key)?;
        judge(&complete.condition, newest.as_ref())?;
        let (etag, record) = match finish(&upload, &parts_used) {
            Ok(finished) => finished,
            Err(refusal) => return Ok(Err(refusal)),
        };
        parts.into_values().try_for_each(|(_, piece)| self.discard(&[piece]))?;
        let mut version = Self::draft(&entry, complete.key, complete.now, record);
        (version.size, version.etag) = (pieces.iter().map(|p| p.size).sum(), etag);
        (version.body.pieces, version.body.upload) = (pieces, Some(complete.upload));
        self.place(entry.number, entry.bucket.versioning, newest.as_ref(), complete.now, &mut version)?;
        Ok(Ok(version))
    }

    /// What this upload has been made into, for a client that asks again.
    fn completed(&self, bucket: i64, complete: &Complete) -> Result<Version> {
        let found = row::find(self.connection, self.core, bucket, &complete.key, None)?;
        let version = found.map(|found| found.version).filter(|version| version.body.upload.as_ref() == Some(&complete.upload));
        version.ok_or(Error::NoSuchUpload)
    }

    /// Takes an upload and its parts out of the index.
    pub(crate) fn upload_remove(&self, bucket: i64, key: &str, id: &UploadId) -> Result<BTreeMap<u32, (Part, Piece)>> {
        let mut delete = self.connection.prepare_cached("DELETE FROM upload WHERE bucket = ?1 AND key = ?2 AND id = ?3")?;
        delete.execute(params![bucket, key.as_bytes(), id.as_str()])?;
        let mut delete =
            self.connection.prepare_cached("DELETE FROM part WHERE upload = ?1 RETURNING number, modified, etag, checksums, piece")?;
        let mut rows = delete.query([id.as_str()])?;
        let mut parts = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let (part, piece) = part(row)?;
            parts.insert(part.number, (part, piece));
        }
        Ok(parts)
    }
}

/// Takes those parts that were asked for, in order.
fn pick(complete: &Complete, parts: &mut BTreeMap<u32, (Part, Piece)>) -> Result<(Vec<Part>, Vec<Piece>)> {
    if !complete.parts.is_sorted_by(|(a, _), (b, _)| a < b) {
        return Err(Error::InvalidPartOrder);
    }
    let mut picked = (Vec::new(), Vec::new());
    for (at, (number, etag)) in complete.parts.iter().enumerate() {
        let found = parts.remove(number).filter(|(part, _)| part.etag == *etag);
        let (part, piece) = found.ok_or_else(|| Error::InvalidPart { number: *number, etag: etag.clone() })?;
        if part.size < complete.minimum && at + 1 < complete.parts.len() {
            return Err(Error::EntityTooSmall { number: part.number, etag: part.etag, size: part.size });
        }
        picked.0.push(part);
        picked.1.push(piece);
    }
    if picked.0.is_empty() { Err(Error::InvalidPart { number: 0, etag: String::new() }) } else { Ok(picked) }
}

/// An unfinished upload.
pub(crate) fn find(connection: &Connection, bucket: i64, key: &str, id: &UploadId) -> Result<Upload> {
    let mut select = connection.prepare_cached("SELECT document FROM upload WHERE bucket = ?1 AND key = ?2 AND id = ?3")?;
    let document: Option<String> = select.query_row(params![bucket, key.as_bytes(), id.as_str()], |r| r.get(0)).optional()?;
    Ok(serde_json::from_str(&document.ok_or(Error::NoSuchUpload)?)?)
}

/// Parts with numbers after this one.
pub(crate) fn parts(connection: &Connection, id: &UploadId, after: u32, max: usize) -> Result<Parts> {
    let mut select = connection.prepare_cached(
        "SELECT number, modified, etag, checksums, piece FROM part WHERE upload = ?1 AND number > ?2 ORDER BY number LIMIT ?3",
    )?;
    let mut rows = select.query(params![id.as_str(), after, i64::try_from(max).unwrap_or(i64::MAX).saturating_add(1)])?;
    let mut parts = Vec::new();
    while let Some(row) = rows.next()? {
        if parts.len() == max {
            return Ok((parts, true));
        }
        parts.push(part(row)?.0);
    }
    Ok((parts, false))
}

fn part(row: &Row<'_>) -> Result<(Part, Piece)> {
    let json = |column| row.get_ref(column)?.as_str().map_err(rusqlite::Error::from);
    let piece: Piece = serde_json::from_str(json(4)?)?;
    let checksums = serde_json::from_str(json(3)?)?;
    let part = Part { number: row.get(0)?, size: piece.size, etag: row.get(2)?, last_modified: Timestamp(row.get(1)?), checksums };
    Ok((part, piece))
}
