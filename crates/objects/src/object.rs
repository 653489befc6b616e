//! Writing, changing and deleting objects, inside the writer's transaction.

use crate::error::{Error, Result};
use crate::journal::Entry;
use crate::noun::{Version, VersionId, Versioning};
use crate::record::Record;
use crate::request::{Delete, Deleted, Put};
use crate::row;
use crate::tx::{Head, Tx, judge, judge_match};
use model::time::Timestamp;
use rusqlite::params;

impl Tx<'_> {
    pub(crate) fn put(&mut self, put: Put) -> Result<Version> {
        let entry = self.bucket(&put.bucket)?;
        if entry.bucket.created != put.bucket_created {
            return Err(Error::NoSuchBucket);
        }
        let newest = self.newest(entry.number, &put.key)?;
        judge(&put.condition, newest.as_ref())?;
        let mut version = Self::draft(&entry, put.key, put.now, put.record);
        let piece = self.arrive(put.staged)?;
        (version.size, version.etag) = (piece.size, put.etag);
        version.body.pieces = vec![piece];
        self.place(entry.number, entry.bucket.versioning, newest.as_ref(), put.now, &mut version)?;
        Ok(version)
    }

    /// Writes a version as the newest, in place of the version `null` if it is that.
    pub(crate) fn place(
        &mut self,
        bucket: i64,
        versioning: Versioning,
        newest: Option<&Head>,
        now: Timestamp,
        version: &mut Version,
    ) -> Result<()> {
        match (versioning, newest) {
            (Versioning::Enabled, Some(head)) if head.id.is_null() => self.cover(bucket, &version.key, head.age)?,
            (Versioning::Enabled, _) | (_, None) => {}
            (Versioning::Off | Versioning::Suspended, Some(head)) => {
                let null = if head.id.is_null() { Some(head.age) } else { row::null_age(self.connection, bucket, &version.key)? };
                if let Some(age) = null {
                    self.remove(bucket, &version.key, age, now, false)?;
                }
            }
        }
        self.insert(bucket, newest.map(|head| head.age), now, version)
    }

    /// One of many deletions. What is refused was refused before anything was written; any other error is that of all. No savepoint
    /// for each: inside another one they take time that grows with the square of their number.
    pub(crate) fn delete_one(&mut self, bucket: &str, delete: &Delete) -> Result<Result<Deleted>> {
        match self.delete(bucket, delete) {
            Err(error @ (Error::Full | Error::Io(_))) => Err(error),
            done => Ok(done),
        }
    }

    /// As [`Tx::delete_one`], if what is to be deleted was written then.
    pub(crate) fn delete_unchanged(&mut self, bucket: &str, delete: &Delete, written: Timestamp) -> Result<Result<Deleted>> {
        let number = self.bucket(bucket)?.number;
        let found = match &delete.version {
            Some(id) => self.named(number, &delete.key, id)?,
            None => self.newest(number, &delete.key)?,
        };
        match found {
            Some(head) if self.modified(number, &delete.key, head.age)? == written => self.delete_one(bucket, delete),
            Some(_) | None => Ok(Err(Error::PreconditionFailed)),
        }
    }

    pub(crate) fn delete(&mut self, bucket: &str, delete: &Delete) -> Result<Deleted> {
        let entry = self.bucket(bucket)?;
        if let Some(id) = &delete.version {
            return self.delete_version(entry.number, id, delete);
        }
        let newest = self.newest(entry.number, &delete.key)?;
        if let Some(wanted) = &delete.if_match {
            judge_match(wanted, newest.as_ref().filter(|head| !head.marker))?;
        }
        if entry.bucket.versioning == Versioning::Off {
            let remove = |head: Head| self.remove(entry.number, &delete.key, head.age, delete.now, delete.bypass_governance);
            return Ok(Deleted { version: None, marker: false, size: newest.map(remove).transpose()? });
        }
        let mut marker = Self::draft(&entry, delete.key.clone(), delete.now, Record::new(entry.bucket.owner.clone()));
        marker.delete_marker = true;
        self.place(entry.number, entry.bucket.versioning, newest.as_ref(), delete.now, &mut marker)?;
        Ok(Deleted { version: Some(marker.id), marker: true, size: None })
    }

    /// Without such a version does nothing, as AWS.
    fn delete_version(&mut self, bucket: i64, id: &VersionId, delete: &Delete) -> Result<Deleted> {
        let found = self.named(bucket, &delete.key, id)?;
        if let Some(wanted) = &delete.if_match {
            judge_match(wanted, found.as_ref().filter(|head| !head.marker))?;
        }
        let marker = found.as_ref().is_some_and(|head| head.marker);
        let remove = |head: Head| self.remove(bucket, &delete.key, head.age, delete.now, delete.bypass_governance);
        Ok(Deleted { version: Some(id.clone()), marker, size: found.map(remove).transpose()? })
    }

    /// Changes a version's record, but for its parts.
    pub(crate) fn update<E>(
        &mut self,
        bucket: &str,
        key: &str,
        id: Option<&VersionId>,
        change: impl FnOnce(&mut Version) -> Result<(), E>,
    ) -> Result<Result<Version, E>> {
        let number = self.bucket(bucket)?.number;
        let found = row::object(self.connection, self.core, number, key, id)?;
        let (mut version, mut changed) = (found.version.clone(), found.version);
        if let Err(refusal) = change(&mut changed) {
            return Ok(Err(refusal));
        }
        version.record = Record { parts: version.record.parts, ..changed.record };
        let mut update = self.connection.prepare_cached("UPDATE version SET record = ?4 WHERE bucket = ?1 AND key = ?2 AND age = ?3")?;
        let record = row::record_json(&version.record)?;
        let rows = update.execute(params![number, key.as_bytes(), found.age, record])?;
        self.effects.noted.push(Entry::Record { bucket: number, key: key.into(), age: found.age, record });
        if rows == 1 { Ok(Ok(version)) } else { Err(Error::NoSuchVersion) }
    }
}
