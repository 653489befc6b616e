//! What is asked of the engine, and what it answers.

use crate::noun::{Part, Upload, UploadId, Version, VersionId};
use crate::record::Record;
use crate::stage::Staged;
use model::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Which ETags are meant; they have no quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EtagMatch {
    /// `*`: whatever is there.
    Any,
    /// One of these.
    List(Vec<String>),
}

impl EtagMatch {
    /// Whether this ETag is one that is meant.
    #[must_use]
    pub fn matches(&self, etag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::List(etags) => etags.iter().any(|e| e == etag),
        }
    }
}

/// What must hold of the current version for a write to be done; a delete marker counts as no object.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Condition {
    /// It has one of these ETags. Without an object: [`crate::Error::NoSuchKey`].
    pub if_match: Option<EtagMatch>,
    /// It has none of these, or there is no object.
    pub if_none_match: Option<EtagMatch>,
}

/// A new object.
#[derive(Debug)]
pub struct Put {
    /// The bucket's name.
    pub bucket: String,
    /// When the bucket was created that the put was allowed for: one of the same name that came after it may be another account's.
    pub bucket_created: Timestamp,
    /// The object's key.
    pub key: String,
    /// Its body.
    pub staged: Staged,
    /// Without quotes.
    pub etag: String,
    /// What is kept with it.
    pub record: Record,
    /// When it may be written.
    pub condition: Condition,
    /// The present time.
    pub now: Timestamp,
}

/// What a [`Put`] made.
#[derive(Debug, Clone)]
pub struct Stored {
    /// The new version.
    pub version: Arc<Version>,
}

/// A deletion.
#[derive(Debug, Clone)]
pub struct Delete {
    /// The bucket's name.
    pub bucket: String,
    /// The object's key.
    pub key: String,
    /// The version to remove; `None` deletes the object, which only makes a marker if the bucket keeps versions.
    pub version: Option<VersionId>,
    /// The ETags that what is deleted may have. Without an object: [`crate::Error::NoSuchKey`].
    pub if_match: Option<EtagMatch>,
    /// Whether a lock of mode governance is passed over.
    pub bypass_governance: bool,
    /// The present time.
    pub now: Timestamp,
}

/// What a [`Delete`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deleted {
    /// The version that was named, or the marker that was made.
    pub version: Option<VersionId>,
    /// Whether that is a delete marker.
    pub marker: bool,
    /// Plain bytes of the version that was removed.
    pub size: Option<u64>,
}

/// Which objects are asked for.
#[derive(Debug, Clone, Default)]
pub struct List {
    /// The bucket's name.
    pub bucket: String,
    /// What the keys begin with.
    pub prefix: String,
    /// What ends a common prefix. An empty one is none.
    pub delimiter: Option<String>,
    /// Only keys and common prefixes that sort after this.
    pub after: Option<String>,
    /// Most keys and common prefixes to answer.
    pub max: usize,
}

/// Current objects.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// By key. Their bodies can't be read and `record.parts` is empty: [`crate::Objects::get`] has all.
    pub objects: Vec<Arc<Version>>,
    /// Common prefixes, sorted.
    pub prefixes: Vec<String>,
    /// If there are more: the last key or prefix answered, for [`List::after`].
    pub next: Option<String>,
}

/// Which versions are asked for.
#[derive(Debug, Clone, Default)]
pub struct ListVersions {
    /// The bucket's name.
    pub bucket: String,
    /// What the keys begin with.
    pub prefix: String,
    /// What ends a common prefix. An empty one is none.
    pub delimiter: Option<String>,
    /// Only what comes after this version of this key; without a version, after all of the key's.
    pub after: Option<(String, Option<VersionId>)>,
    /// Most versions and common prefixes to answer.
    pub max: usize,
}

/// Versions and delete markers.
#[derive(Debug, Clone, Default)]
pub struct VersionListing {
    /// By key, newest first. Their bodies can't be read and `record.parts` is empty.
    pub versions: Vec<Version>,
    /// Common prefixes, sorted.
    pub prefixes: Vec<String>,
    /// If there are more: the last version or prefix answered, for [`ListVersions::after`].
    pub next: Option<(String, Option<VersionId>)>,
}

/// Which unfinished uploads are asked for.
#[derive(Debug, Clone, Default)]
pub struct ListUploads {
    /// The bucket's name.
    pub bucket: String,
    /// What the keys begin with.
    pub prefix: String,
    /// What ends a common prefix. An empty one is none.
    pub delimiter: Option<String>,
    /// Only what comes after this upload of this key; without an upload, after all of the key's.
    pub after: Option<(String, Option<UploadId>)>,
    /// Most uploads and common prefixes to answer.
    pub max: usize,
}

/// Unfinished uploads.
#[derive(Debug, Clone, Default)]
pub struct UploadListing {
    /// By key, oldest first.
    pub uploads: Vec<Arc<Upload>>,
    /// Common prefixes, sorted.
    pub prefixes: Vec<String>,
    /// If there are more: the last upload or prefix answered, for [`ListUploads::after`].
    pub next: Option<(String, Option<UploadId>)>,
}

/// A part of an unfinished upload. It replaces one of the same number.
#[derive(Debug)]
pub struct PartPut {
    /// The bucket's name.
    pub bucket: String,
    /// The object's key.
    pub key: String,
    /// Which upload.
    pub upload: UploadId,
    /// From 1 to 10,000.
    pub number: u32,
    /// The part's body.
    pub staged: Staged,
    /// Without quotes.
    pub etag: String,
    /// Base64, by algorithm.
    pub checksums: BTreeMap<String, String>,
    /// The present time.
    pub now: Timestamp,
}

/// The end of an upload.
#[derive(Debug, Clone)]
pub struct Complete {
    /// The bucket's name.
    pub bucket: String,
    /// The object's key.
    pub key: String,
    /// Which upload.
    pub upload: UploadId,
    /// Numbers, ascending, and ETags (without quotes) of the parts that the object is made of.
    pub parts: Vec<(u32, String)>,
    /// Bytes that each part but the last must have.
    pub minimum: u64,
    /// When it may be written.
    pub condition: Condition,
    /// The present time.
    pub now: Timestamp,
}

/// Parts of an upload, by number, and whether there are more.
pub type Parts = (Vec<Part>, bool);

/// What a scrub found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Scrubbed {
    /// Bytes that were read.
    pub read: u64,
    /// How many bodies can't be read or are not what was written.
    pub damaged: u64,
    /// The first hundred of them.
    pub bad: Vec<Bad>,
}

/// A body that is damaged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bad {
    /// The bucket's name.
    pub bucket: String,
    /// The object's key.
    pub key: String,
    /// Which version; `None` for a part of an unfinished upload.
    pub version: Option<VersionId>,
    /// What is wrong with it.
    pub why: String,
}

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Buckets.
    pub buckets: u64,
    /// Versions and delete markers.
    pub versions: u64,
    /// Plain bytes of all versions.
    pub bytes: u64,
    /// Bytes that are free on the file system.
    pub free_bytes: u64,
}
