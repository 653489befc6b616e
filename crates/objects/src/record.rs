//! What the front keeps with an object. The engine reads nothing of it but [`Lock`].

use model::scope::AccountId;
use model::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Who may do what.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Acl {
    /// In the order in which they were given.
    pub grants: Vec<Grant>,
}

/// One permission of one grantee.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Who.
    pub grantee: Grantee,
    /// What.
    pub permission: Permission,
}

/// Whom a grant is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Grantee {
    /// An account.
    Account(AccountId),
    /// Everybody, without a signature too.
    AllUsers,
    /// Everybody with a signature.
    AuthenticatedUsers,
    /// What delivers access logs.
    LogDelivery,
}

/// What a grant allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Permission {
    /// All of the others.
    FullControl,
    /// Listing a bucket, reading an object.
    Read,
    /// Writing into a bucket.
    Write,
    /// Reading the grants.
    ReadAcp,
    /// Changing the grants.
    WriteAcp,
}

/// Whether a checksum is of the whole object or of its parts' checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum ChecksumKind {
    /// Of the whole object.
    #[default]
    FullObject,
    /// Of the parts' checksums.
    Composite,
}

/// Checksums that AWS's clients ask for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Checksums {
    /// Of what they are.
    pub kind: ChecksumKind,
    /// Base64 (with `-N` if composite), by algorithm: `CRC32`, `SHA256` and so on.
    pub values: BTreeMap<String, String>,
}

impl Checksums {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A part that an object was made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartInfo {
    /// From 1 to 10,000.
    pub number: u32,
    /// In bytes.
    pub size: u64,
    /// Base64, by algorithm.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub checksums: BTreeMap<String, String>,
}

/// How strictly a version is retained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LockMode {
    /// Those who may bypass it can delete the version.
    Governance,
    /// Nobody can.
    Compliance,
}

/// What keeps a version from being deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Lock {
    /// How strictly it is retained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<LockMode>,
    /// Until when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Whether it is held whatever the time; `None` if nobody ever said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub legal_hold: Option<bool>,
}

impl Lock {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the version must stay.
    #[must_use]
    pub fn holds(&self, now: Timestamp, bypass_governance: bool) -> bool {
        let retained = match self.mode {
            Some(LockMode::Governance) if bypass_governance => false,
            Some(LockMode::Governance | LockMode::Compliance) => self.until.is_some_and(|until| now < until),
            None => false,
        };
        self.legal_hold == Some(true) || retained
    }
}

/// What replies say of an object's encryption.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Encryption {
    /// SSE-S3.
    S3,
    /// SSE-KMS.
    Kms {
        /// The key as the client named it.
        key_id: String,
        /// Whether an S3 Bucket Key was asked for, which replies say again.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        bucket_key: bool,
    },
    /// SSE-C.
    Customer {
        /// Base64 of the MD5 of the customer's key.
        key_md5: String,
    },
}

/// What the front keeps with an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Whose it is.
    pub owner: AccountId,
    /// `content-type`, `cache-control` and so on, in lower case.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// What stood behind `x-amz-meta-`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Its grants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acl: Option<Acl>,
    /// Its tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Its checksums.
    #[serde(default, skip_serializing_if = "Checksums::is_empty")]
    pub checksums: Checksums,
    /// The parts it was made of. Fixed when the version is written; empty in listings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<PartInfo>,
    /// `None` is `STANDARD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
    /// Until when an archived object's copy can be read. `None`: nobody asked for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored_until: Option<Timestamp>,
    /// Where a website sends those who ask for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub website_redirect: Option<String>,
    /// What keeps it from being deleted.
    #[serde(default, skip_serializing_if = "Lock::is_empty")]
    pub lock: Lock,
    /// What replies say of its encryption.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
}

impl Record {
    /// Of this owner, and nothing else.
    #[must_use]
    pub fn new(owner: AccountId) -> Self {
        Self {
            owner,
            headers: BTreeMap::new(),
            metadata: BTreeMap::new(),
            acl: None,
            tags: BTreeMap::new(),
            checksums: Checksums::default(),
            parts: Vec::new(),
            storage_class: None,
            restored_until: None,
            website_redirect: None,
            lock: Lock::default(),
            encryption: None,
        }
    }
}
