//! What is asked of objects and of uploads.

use crate::error::{Error, Result};
use crate::event::Change;
use crate::noun::{Part, Upload, UploadId, Version, VersionId};
use crate::objects::Objects;
use crate::reader::{Reader, Way};
use crate::record::Record;
use crate::request::{
    Complete, Delete, Deleted, List, ListUploads, ListVersions, Listing, PartPut, Parts, Put, Stored, UploadListing, VersionListing,
};
use crate::seal::Seal;
use crate::stage::Staging;
use crate::{list, row, upload};
use model::time::Timestamp;
use std::ops::Range;
use std::sync::Arc;

/// Most deletions of one job: what somebody else's write waits for, times those who delete.
const DELETES_MAX: usize = 64;

impl Objects {
    /// Begins a body.
    #[must_use]
    pub fn stage(&self, seal: Seal) -> Staging {
        Staging::new(self.engine.core.clone(), seal)
    }

    /// Makes a staged body an object. When this returns, it is on the disk.
    ///
    /// # Errors
    /// [`Error::NoSuchBucket`], [`Error::NoSuchKey`] and [`Error::PreconditionFailed`] by its condition, [`Error::Locked`],
    /// [`Error::Full`], [`Error::Io`].
    pub async fn put(&self, put: Put) -> Result<Stored> {
        let shown = self.witness.clone().map(|witness| (witness, put.bucket.clone()));
        let written = self.queue()?.write(move |tx| {
            let version = tx.put(put)?;
            if let Some((witness, bucket)) = shown {
                tx.show(Some(&witness), &bucket, Change::Written(&version))?;
            }
            Ok(version)
        });
        let version = written.await?;
        Ok(Stored { version: Arc::new(version) })
    }

    /// A version of an object, the current one without an id.
    ///
    /// # Errors
    /// [`Error::NoSuchBucket`], [`Error::NoSuchKey`], [`Error::NoSuchVersion`], [`Error::DeleteMarker`], [`Error::Io`].
    pub async fn get(&self, bucket: &str, key: &str, version: Option<&VersionId>) -> Result<Arc<Version>> {
        let (key, version) = (key.to_owned(), version.cloned());
        self.look(bucket, move |core, connection, number| {
            Ok(Arc::new(row::object(connection, core, number, &key, version.as_ref())?.version))
        })
        .await
    }

    /// A range of plain bytes of a body that [`Objects::get`] gave, cut off at its end. `key` is the customer's, if it is sealed with
    /// one. Must be polled within a runtime of tokio.
    #[must_use]
    pub fn read(&self, version: &Version, range: Range<u64>, key: Option<[u8; 32]>) -> Reader {
        Reader::new(self.engine.core.clone(), version, range, key, Way::Read)
    }

    /// As [`Objects::read`], for who only passes the bytes on to a client and never looks at them: they may be mapped files, which the
    /// kernel sends by itself ([`crate::origin`]).
    #[must_use]
    pub fn send(&self, version: &Version, range: Range<u64>, key: Option<[u8; 32]>) -> Reader {
        Reader::new(self.engine.core.clone(), version, range, key, Way::Send)
    }

    /// Deletes an object or a version; if there is none, that is no error.
    ///
    /// # Errors
    /// [`Error::NoSuchBucket`], [`Error::NoSuchKey`] and [`Error::PreconditionFailed`] by its condition, [`Error::Locked`],
    /// [`Error::Full`], [`Error::Io`].
    pub async fn delete(&self, delete: Delete) -> Result<Deleted> {
        let witness = self.witness.clone();
        let done = self.queue()?.write(move |tx| {
            let deleted = tx.delete(&delete.bucket, &delete)?;
            tx.show(witness.as_ref(), &delete.bucket, Change::Deleted(&delete, &deleted))?;
            Ok(deleted)
        });
        done.await
    }

    /// Deletes many, one after the other, some in one transaction. Their own names of the bucket are not looked at.
    ///
    /// # Errors
    /// As [`Objects::delete`] for each; [`Error::NoSuchBucket`], [`Error::Full`], [`Error::Io`] for all, of which the first ones may be
    /// deleted all the same.
    pub async fn delete_many(&self, bucket: &str, deletes: Vec<Delete>) -> Result<Vec<Result<Deleted>>> {
        self.delete_all(bucket, deletes.into_iter().map(|delete| (delete, None)).collect()).await
    }

    /// As [`Objects::delete_many`], but only what was written at the time beside it and not since.
    ///
    /// # Errors
    /// As [`Objects::delete_many`]; [`Error::PreconditionFailed`] for what is another one now, or gone.
    pub async fn delete_unchanged(&self, bucket: &str, deletes: Vec<(Delete, Timestamp)>) -> Result<Vec<Result<Deleted>>> {
        self.delete_all(bucket, deletes.into_iter().map(|(delete, written)| (delete, Some(written))).collect()).await
    }

    /// Deletes in jobs of [`DELETES_MAX`], each queued once the one before is done: others' writes don't wait for all.
    async fn delete_all(&self, bucket: &str, deletes: Vec<(Delete, Option<Timestamp>)>) -> Result<Vec<Result<Deleted>>> {
        let (mut all, mut first) = (Vec::with_capacity(deletes.len()), None);
        let mut deletes = deletes.into_iter();
        loop {
            let some: Vec<_> = deletes.by_ref().take(DELETES_MAX).collect();
            let (bucket, witness) = (bucket.to_owned(), self.witness.clone());
            let done = self.queue()?.write(move |tx| {
                let number = tx.bucket(&bucket)?.number;
                // The name may be somebody else's by now.
                if first.is_some_and(|first| first != number) {
                    return Err(Error::NoSuchBucket);
                }
                let one = |(delete, written): &(Delete, Option<Timestamp>)| {
                    let done = match written {
                        None => tx.delete_one(&bucket, delete)?,
                        Some(written) => tx.delete_unchanged(&bucket, delete, *written)?,
                    };
                    if let Ok(deleted) = &done {
                        tx.show(witness.as_ref(), &bucket, Change::Deleted(delete, deleted))?;
                    }
                    Ok(done)
                };
                Ok((number, some.iter().map(one).collect::<Result<Vec<_>>>()?))
            });
            let (number, done) = done.await?;
            first = Some(number);
            all.extend(done);
            if deletes.len() == 0 {
                return Ok(all);
            }
        }
    }

    /// Changes a version's record, but for its parts, unless `change` refuses. Nothing else that it changes is kept.
    ///
    /// # Errors
    /// Inside: what `change` refused with. As [`Objects::get`], and [`Error::Full`].
    pub async fn update<E: Send + 'static>(
        &self,
        bucket: &str,
        key: &str,
        version: Option<VersionId>,
        change: impl FnOnce(&mut Version) -> Result<(), E> + Send + 'static,
    ) -> Result<Result<Arc<Version>, E>> {
        let (bucket, key, witness) = (bucket.to_owned(), key.to_owned(), self.witness.clone());
        let updated = self.queue()?.try_write(move |tx| {
            let updated = tx.update(&bucket, &key, version.as_ref(), change)?;
            if let Ok(version) = &updated {
                tx.show(witness.as_ref(), &bucket, Change::Written(version))?;
            }
            Ok(updated)
        });
        Ok(updated.await?.map(Arc::new))
    }

    /// Current objects by key.
    ///
    /// # Errors
    /// [`Error::NoSuchBucket`], [`Error::Io`].
    pub async fn list(&self, q: List) -> Result<Listing> {
        let bucket = q.bucket.clone();
        self.look(&bucket, move |_, connection, number| list::objects(connection, number, &q)).await
    }

    /// Versions and delete markers by key, newest first.
    ///
    /// # Errors
    /// [`Error::NoSuchBucket`], [`Error::Io`].
    pub async fn list_versions(&self, q: ListVersions) -> Result<VersionListing> {
        let bucket = q.bucket.clone();
        self.look(&bucket, move |_, connection, number| list::versions(connection, number, &q)).await
    }

    /// An id for a new upload. Ids sort by time.
    #[must_use]
    pub fn upload_id(&self, now: Timestamp) -> UploadId {
        UploadId::from(format!("{:016x}{:016x}", now.0.max(0), self.engine.core.random::<u64>()))
    }

    /// A random ETag, for a body whose MD5 must not be told.
    #[must_use]
    pub fn etag(&self) -> String {
        format!("{:032x}", self.engine.core.random::<u128>())
    }

    /// Begins an upload in parts.
    ///
    /// # Errors
    /// [`Error::NoSuchBucket`], [`Error::Full`], [`Error::Io`].
    pub async fn upload_create(&self, upload: Upload) -> Result<()> {
        self.queue()?.write(move |tx| tx.upload_create(&upload)).await
    }

    /// An unfinished upload.
    ///
    /// # Errors
    /// [`Error::NoSuchBucket`], [`Error::NoSuchUpload`], [`Error::Io`].
    pub async fn upload(&self, bucket: &str, key: &str, id: &UploadId) -> Result<Arc<Upload>> {
        let (key, id) = (key.to_owned(), id.clone());
        self.look(bucket, move |_, connection, number| upload::find(connection, number, &key, &id).map(Arc::new)).await
    }

    /// Makes a staged body a part. When this returns, it is on the disk.
    ///
    /// # Errors
    /// [`Error::NoSuchBucket`], [`Error::NoSuchUpload`], [`Error::Full`], [`Error::Io`].
    pub async fn part_put(&self, part: PartPut) -> Result<Part> {
        self.queue()?.write(move |tx| tx.part_put(part)).await
    }

    /// At most `max` parts by number, from the one after `after`, and whether there are more.
    ///
    /// # Errors
    /// [`Error::NoSuchBucket`], [`Error::NoSuchUpload`], [`Error::Io`].
    pub async fn parts(&self, bucket: &str, key: &str, upload: &UploadId, after: u32, max: usize) -> Result<Parts> {
        let (key, id) = (key.to_owned(), upload.clone());
        self.look(bucket, move |_, connection, number| {
            upload::find(connection, number, &key, &id)?;
            upload::parts(connection, &id, after, max)
        })
        .await
    }

    /// Makes parts an object, of the ETag and record that `finish` makes of them, unless it refuses. Parts that are not named go. If
    /// the current version was made by this upload, answers it again.
    ///
    /// # Errors
    /// Inside: what `finish` refused with. [`Error::InvalidPart`], [`Error::InvalidPartOrder`], [`Error::EntityTooSmall`],
    /// [`Error::NoSuchUpload`], and as [`Objects::put`].
    pub async fn upload_complete<E: Send + 'static>(
        &self,
        complete: Complete,
        finish: impl FnOnce(&Upload, &[Part]) -> Result<(String, Record), E> + Send + 'static,
    ) -> Result<Result<Arc<Version>, E>> {
        let shown = self.witness.clone().map(|witness| (witness, complete.bucket.clone()));
        let completed = self.queue()?.try_write(move |tx| {
            let completed = tx.upload_complete(complete, finish)?;
            if let (Some((witness, bucket)), Ok(version)) = (shown, &completed) {
                tx.show(Some(&witness), &bucket, Change::Written(version))?;
            }
            Ok(completed)
        });
        Ok(completed.await?.map(Arc::new))
    }

    /// Drops an unfinished upload with its parts.
    ///
    /// # Errors
    /// [`Error::NoSuchBucket`], [`Error::NoSuchUpload`], [`Error::Full`], [`Error::Io`].
    pub async fn upload_abort(&self, bucket: &str, key: &str, upload: &UploadId) -> Result<()> {
        let (bucket, key, id) = (bucket.to_owned(), key.to_owned(), upload.clone());
        self.queue()?.write(move |tx| tx.upload_abort(&bucket, &key, &id)).await
    }

    /// Unfinished uploads by key, oldest first.
    ///
    /// # Errors
    /// [`Error::NoSuchBucket`], [`Error::Io`].
    pub async fn uploads(&self, q: ListUploads) -> Result<UploadListing> {
        let bucket = q.bucket.clone();
        self.look(&bucket, move |_, connection, number| list::uploads(connection, number, &q)).await
    }
}
