//! What can go wrong. What a caller's own closure refuses is the closure's error, never one of these.

use crate::noun::VersionId;
use model::scope::AccountId;
use model::time::Timestamp;
use rusqlite::{ErrorCode, ffi};
use std::io::{self, ErrorKind};

/// What the engine answers.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something was not done. Nothing of what was asked for is kept then, unless [`Error::Io`] says that it is unknown.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No bucket of this name.
    #[error("no such bucket")]
    NoSuchBucket,
    /// The name is taken.
    #[error("the bucket exists and is owned by {owner}")]
    BucketExists {
        /// Whose it is.
        owner: AccountId,
    },
    /// Versions or delete markers are left in it.
    #[error("the bucket is not empty")]
    BucketNotEmpty,
    /// No current version of this key.
    #[error("no such key")]
    NoSuchKey,
    /// The key has no version of this id.
    #[error("no such version")]
    NoSuchVersion,
    /// What was asked for is a delete marker.
    #[error("{} is a delete marker", version.as_str())]
    DeleteMarker {
        /// The marker's version.
        version: VersionId,
        /// When it was made.
        made: Timestamp,
        /// Whether it was met as the current version: the request named no version.
        current: bool,
    },
    /// No unfinished upload of this id.
    #[error("no such upload")]
    NoSuchUpload,
    /// A part that was named is not there, or is another.
    #[error("invalid part {number}")]
    InvalidPart {
        /// Its number; 0 if none was named.
        number: u32,
        /// The ETag that it was named with.
        etag: String,
    },
    /// The parts were not named in ascending order.
    #[error("invalid order of parts")]
    InvalidPartOrder,
    /// A part that is not the last is too small.
    #[error("part {number} is too small")]
    EntityTooSmall {
        /// Its number.
        number: u32,
        /// Its ETag.
        etag: String,
        /// Its size in bytes.
        size: u64,
    },
    /// The condition doesn't hold.
    #[error("the condition doesn't hold")]
    PreconditionFailed,
    /// Something else was written while a condition was judged. One writer judges and writes at once, so that this engine never
    /// answers it; a caller may treat it as AWS's 409.
    #[error("conflicting conditional request")]
    ConditionalConflict,
    /// Object lock refuses.
    #[error("the version is locked")]
    Locked,
    /// The body is sealed with another customer's key, or with one and none was given.
    #[error("wrong encryption key")]
    WrongKey,
    /// No space is left: writes are refused, reads go on, and writes go on when there is room again.
    #[error("no space left")]
    Full,
    /// Everything else; the chain of causes is for the log. Whether a write was kept is unknown.
    #[error("the storage failed")]
    Io(#[source] anyhow::Error),
}

impl Error {
    /// [`Error::Full`] if a full disk or quota is among the causes, else [`Error::Io`].
    pub(crate) fn from_any(error: anyhow::Error) -> Self {
        if error.chain().any(is_full) { Self::Full } else { Self::Io(error) }
    }
}

fn is_full(cause: &(dyn std::error::Error + 'static)) -> bool {
    if let Some(error) = cause.downcast_ref::<io::Error>() {
        return no_room(error);
    }
    let Some(rusqlite::Error::SqliteFailure(error, _)) = cause.downcast_ref() else { return false };
    // SQLite says so itself for a write without room only. Of a quota, or of its other files, the thread's `errno` tells why, which
    // these codes have just set.
    error.code == ErrorCode::DiskFull || (WRITES.contains(&error.extended_code) && no_room(&io::Error::last_os_error()))
}

/// SQLite's codes for calls that take room. Not for a sync: after that it is unknown whether a write was kept.
const WRITES: [i32; 3] = [ffi::SQLITE_IOERR_WRITE, ffi::SQLITE_IOERR_TRUNCATE, ffi::SQLITE_CANTOPEN];

fn no_room(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::from_any(error.into())
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        Self::from_any(error.into())
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::Io(anyhow::Error::from(error).context("a document of the index can't be read"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::errno::Errno;

    /// What the index' error becomes when the system's last error is this.
    fn seen(code: i32, errno: Errno) -> Error {
        let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
        errno.set();
        error.into()
    }

    #[test]
    fn a_full_disk_and_a_full_quota_are_one() {
        for errno in [Errno::ENOSPC, Errno::EDQUOT] {
            for code in WRITES {
                assert!(matches!(seen(code, errno), Error::Full), "{code} {errno}");
            }
            for code in [ffi::SQLITE_IOERR_READ, ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_CORRUPT] {
                assert!(matches!(seen(code, errno), Error::Io(_)), "{code} {errno}");
            }
            assert!(matches!(Error::from(io::Error::from(errno)), Error::Full));
        }
        assert!(matches!(seen(ffi::SQLITE_FULL, Errno::EIO), Error::Full));
        assert!(matches!(seen(ffi::SQLITE_IOERR_WRITE, Errno::EIO), Error::Io(_)));
    }
}
