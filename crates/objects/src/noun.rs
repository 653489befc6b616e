//! What is kept: buckets, versions of objects, unfinished uploads. All but bodies is JSON in the index.

use crate::body::Body;
use crate::readings::Readings;
use crate::record::{Acl, ChecksumKind, Record};
use model::scope::AccountId;
use model::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Whether overwritten objects are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Versioning {
    /// Never was on: each key has one version, `null`.
    #[default]
    Off,
    /// Each write makes a version.
    Enabled,
    /// Writes replace the version `null`; the other versions stay.
    Suspended,
}

/// Who owns what others write into a bucket, and whether lists of grants count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ownership {
    /// The bucket's owner owns everything; lists of grants don't count.
    BucketOwnerEnforced,
    /// The bucket's owner, if the writer said so.
    BucketOwnerPreferred,
    /// The writer.
    ObjectWriter,
}

/// AWS's four switches against making things public by mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PublicAccessBlock {
    /// Refuse requests that set public grants.
    pub block_public_acls: bool,
    /// Pass over public grants that are there.
    pub ignore_public_acls: bool,
    /// Refuse public policies.
    pub block_public_policy: bool,
    /// Let a public policy count for AWS's services and the owner only.
    pub restrict_public_buckets: bool,
}

/// A bucket and its settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// Unique in the cloud. Never changes.
    pub name: String,
    /// Whose it is.
    pub owner: AccountId,
    /// The region's code.
    pub region: String,
    /// When it was made.
    pub created: Timestamp,
    /// Whether overwritten objects are kept.
    #[serde(default)]
    pub versioning: Versioning,
    /// Whether versions may be locked.
    #[serde(default)]
    pub object_lock: bool,
    /// Its grants.
    #[serde(default)]
    pub acl: Acl,
    /// Who owns what others write.
    #[serde(default)]
    pub ownership: Option<Ownership>,
    /// The policy's JSON.
    #[serde(default)]
    pub policy: Option<String>,
    /// The switches against public access.
    #[serde(default)]
    pub public_access_block: Option<PublicAccessBlock>,
    /// Its tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Documents that are kept as AWS's XML, by name: `cors`, `lifecycle`, `website`, `encryption` and so on.
    #[serde(default)]
    pub documents: BTreeMap<String, String>,
    /// What was read out of this state of it.
    #[serde(skip)]
    pub readings: Readings,
}

/// The text is no version id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed version id")]
pub struct Malformed;

/// `null`, or 32 lower-case hexadecimal digits that sort by time.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VersionId(String);

impl VersionId {
    /// The version that a bucket without versioning writes.
    #[must_use]
    pub fn null() -> Self {
        Self("null".into())
    }

    /// Whether it is `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.0 == "null"
    }

    /// As AWS writes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id of the version at this place in its key's history.
    pub(crate) fn new(sequence: i64, random: u64) -> Self {
        Self(format!("{sequence:016x}{random:016x}"))
    }

    /// The version's place in its key's history; nothing for `null`.
    pub(crate) fn sequence(&self) -> Option<i64> {
        i64::from_str_radix(self.0.get(..16)?, 16).ok()
    }
}

impl std::str::FromStr for VersionId {
    type Err = Malformed;
    fn from_str(text: &str) -> Result<Self, Malformed> {
        let hex = text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if hex || text == "null" { Ok(Self(text.into())) } else { Err(Malformed) }
    }
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The id of an unfinished upload: [`crate::Objects::upload_id`] draws one. Any other text names no upload.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UploadId(String);

impl UploadId {
    /// As AWS writes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for UploadId {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for UploadId {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A version of an object, or a delete marker. While one that [`crate::Objects::get`] gave is held, its body can be read,
/// whatever happens to the object.
#[derive(Debug, Clone)]
pub struct Version {
    /// The object's key.
    pub key: String,
    /// Which version of it.
    pub id: VersionId,
    /// When it was written.
    pub last_modified: Timestamp,
    /// Whether it only says that the object is gone.
    pub delete_marker: bool,
    /// Whether it was the current one when it was read.
    pub is_latest: bool,
    /// Length of the plain body in bytes.
    pub size: u64,
    /// Without quotes.
    pub etag: String,
    /// What the front keeps with it. `parts` is empty in listings.
    pub record: Record,
    /// Where the bytes are.
    pub(crate) body: Body,
}

/// An upload in parts that is not finished.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    /// Its id.
    pub id: UploadId,
    /// The bucket's name.
    pub bucket: String,
    /// The key of the object to be.
    pub key: String,
    /// When it was begun.
    pub initiated: Timestamp,
    /// Who began it.
    pub initiator: AccountId,
    /// For the object to be.
    pub record: Record,
    /// The algorithm that the parts' checksums are made with, and how they become the object's.
    pub checksum: Option<(String, ChecksumKind)>,
}

/// A part of an unfinished upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// From 1 to 10,000.
    pub number: u32,
    /// Length of the plain body in bytes.
    pub size: u64,
    /// Without quotes.
    pub etag: String,
    /// When it was written.
    pub last_modified: Timestamp,
    /// Base64, by algorithm.
    pub checksums: BTreeMap<String, String>,
}
