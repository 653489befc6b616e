//! What the engine can be asked.

use crate::error::{Error, Result};
use crate::noun::{Bucket, Part, Upload, UploadId, Version, VersionId};
use crate::reader::Reader;
use crate::record::Record;
use crate::request::{
    Complete, Delete, Deleted, List, ListUploads, ListVersions, Listing, PartPut, Parts, Put, Scrubbed, Stored, UploadListing, Usage,
    VersionListing,
};
use crate::seal::{MasterKey, Seal};
use crate::stage::Staging;
use model::fault::Faults;
use model::scope::AccountId;
use model::time::Timestamp;
use rand::CryptoRng;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// What a test changes of the engine.
pub struct Options {
    /// Bodies up to this many bytes lie in the index.
    pub inline_max: usize,
    /// Whether writes are synced to the disk. Without it a power cut may lose or damage anything.
    pub durable: bool,
    /// Where ids and data keys come from.
    pub rng: Box<dyn CryptoRng + Send>,
}

fn not_built<T>() -> Result<T> {
    Err(Error::Io(anyhow::anyhow!("not built yet")))
}

/// The engine. Clones are the same engine; when the last one is dropped, its files are closed.
#[derive(Clone, Debug)]
pub struct Objects(Arc<()>);

#[allow(clippy::unused_async, missing_docs, clippy::missing_errors_doc)]
impl Objects {
    pub fn open(_dir: &Path, _keys: MasterKey, _faults: Arc<dyn Faults>) -> Result<Self> {
        Ok(Self(Arc::new(())))
    }
    pub fn open_with(_dir: &Path, _keys: MasterKey, _faults: Arc<dyn Faults>, _options: Options) -> Result<Self> {
        not_built()
    }
    pub async fn bucket_create(&self, _bucket: Bucket) -> Result<()> {
        not_built()
    }
    pub fn bucket(&self, _name: &str) -> Option<Arc<Bucket>> {
        None
    }
    pub fn buckets(&self, _owner: &AccountId) -> Vec<Arc<Bucket>> {
        Vec::new()
    }
    pub fn buckets_all(&self) -> Vec<Arc<Bucket>> {
        Vec::new()
    }
    pub async fn bucket_update<E: Send + 'static>(
        &self,
        _name: &str,
        _change: impl FnOnce(&mut Bucket) -> Result<(), E> + Send + 'static,
    ) -> Result<Result<Arc<Bucket>, E>> {
        not_built()
    }
    pub async fn bucket_delete(&self, _name: &str) -> Result<()> {
        not_built()
    }
    pub fn stage(&self, _seal: Seal) -> Staging {
        Staging { size: 0 }
    }
    pub async fn put(&self, _put: Put) -> Result<Stored> {
        not_built()
    }
    pub async fn get(&self, _bucket: &str, _key: &str, _version: Option<&VersionId>) -> Result<Arc<Version>> {
        not_built()
    }
    pub fn read(&self, _version: &Version, range: Range<u64>, _key: Option<[u8; 32]>) -> Reader {
        Reader { left: range.end - range.start }
    }
    pub async fn delete(&self, _delete: Delete) -> Result<Deleted> {
        not_built()
    }
    pub async fn delete_many(&self, _bucket: &str, _deletes: Vec<Delete>) -> Result<Vec<Result<Deleted>>> {
        not_built()
    }
    pub async fn update<E: Send + 'static>(
        &self,
        _bucket: &str,
        _key: &str,
        _version: Option<VersionId>,
        _change: impl FnOnce(&mut Version) -> Result<(), E> + Send + 'static,
    ) -> Result<Result<Arc<Version>, E>> {
        not_built()
    }
    pub async fn list(&self, _q: List) -> Result<Listing> {
        not_built()
    }
    pub async fn list_versions(&self, _q: ListVersions) -> Result<VersionListing> {
        not_built()
    }
    pub fn upload_id(&self, _now: Timestamp) -> UploadId {
        UploadId::from("")
    }
    pub async fn upload_create(&self, _upload: Upload) -> Result<()> {
        not_built()
    }
    pub async fn upload(&self, _bucket: &str, _key: &str, _id: &UploadId) -> Result<Arc<Upload>> {
        not_built()
    }
    pub async fn part_put(&self, _part: PartPut) -> Result<Part> {
        not_built()
    }
    pub async fn parts(&self, _bucket: &str, _key: &str, _upload: &UploadId, _after: u32, _max: usize) -> Result<Parts> {
        not_built()
    }
    pub async fn upload_complete<E: Send + 'static>(
        &self,
        _complete: Complete,
        _finish: impl FnOnce(&Upload, &[Part]) -> Result<(String, Record), E> + Send + 'static,
    ) -> Result<Result<Arc<Version>, E>> {
        not_built()
    }
    pub async fn upload_abort(&self, _bucket: &str, _key: &str, _upload: &UploadId) -> Result<()> {
        not_built()
    }
    pub async fn uploads(&self, _q: ListUploads) -> Result<UploadListing> {
        not_built()
    }
    pub async fn scrub(&self, _pace: impl Fn(u64) -> Duration + Send + 'static) -> Result<Scrubbed> {
        not_built()
    }
    pub fn usage(&self) -> Usage {
        Usage::default()
    }
}
