//! The S3 storage engine: buckets, versions of objects, unfinished uploads. No protocol, no HTTP, no clock.
//!
//! A body is staged first, then a write names it in the index: small ones lie in the index itself, others are files. All writes
//! go through one writer, which commits what is queued together with one sync.

mod body;
mod bucket;
mod copy;
mod core;
mod database;
mod error;
mod event;
mod files;
mod fsck;
mod janitor;
mod journal;
mod list;
mod lost;
mod mapped;
mod mark;
mod noun;
mod object;
mod objects;
mod operations;
mod pins;
mod place;
mod reader;
mod readings;
mod rebuild;
mod record;
mod recover;
mod request;
mod row;
mod scrub;
mod seal;
mod stage;
mod table;
mod tx;
mod upload;
mod writer;

pub use copy::{Hold, files_named};
pub use error::{Error, Result};
pub use event::{Change, EVENTS_MAX, Event, Waiting, Witness};
pub use files::RESERVE_BYTES;
pub use fsck::{Checked, check};
pub use lost::Lost;
pub use mapped::origin;
pub use noun::{Bucket, Malformed, Ownership, Part, PublicAccessBlock, Upload, UploadId, Version, VersionId, Versioning};
pub use objects::{INLINE_MAX, Objects, Options};
pub use reader::Reader;
pub use readings::Readings;
pub use rebuild::{Rebuilt, rebuild};
pub use record::{Acl, ChecksumKind, Checksums, Encryption, Grant, Grantee, Lock, LockMode, PartInfo, Permission, Record};
pub use request::{
    Bad, Complete, Condition, Delete, Deleted, EtagMatch, List, ListUploads, ListVersions, Listing, PartPut, Parts, Put, Scrubbed, Stored,
    UploadListing, Usage, VersionListing,
};
pub use seal::{MasterKey, Seal};
pub use stage::{Staged, Staging};
