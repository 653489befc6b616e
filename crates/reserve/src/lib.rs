//! Disk space that belongs to one SQLite database in WAL mode, so that it can be written on a full disk (docs/decisions/0015-disk-reserve.md).
//!
//! The space is where only SQLite uses it, and nobody else can take it at any time:
//! - blocks of the write-ahead log, allocated beyond its end. SQLite begins the log anew after a checkpoint and never shortens it;
//! - free pages in the database's file, with their blocks.
//!
//! [`Reserve::keep`] fills both up again as they are used. Where it can't, the disk is short of space, and what makes the database grow should be
//! refused until it can: then the reserve lasts for what frees space.

#[cfg(test)]
mod tests;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use rusqlite::{Connection, OpenFlags};
use std::fs::{File, OpenOptions};
use std::io;
use std::mem::ManuallyDrop;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// SQLite's way to files that both of our databases take: one process at a time, the log's index in its memory.
const VFS: &str = "unix-excl";
/// How long the writer may be in the way.
const BUSY_WAIT: Duration = Duration::from_secs(5);
/// Bytes of a block in `st_blocks` (stat(2)).
const STAT_BLOCK_BYTES: u64 = 512;

/// The reserve could not be looked at or filled up, for another reason than that there is no space.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the database.
    #[error("{path}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The database.
    #[error("SQLite")]
    Database(#[from] rusqlite::Error),
}

/// The reserve of one database.
pub struct Reserve {
    connection: Connection,
    /// Never closed: a process that closes any descriptor of a file loses all its POSIX locks on the file (fcntl(2)), SQLite's too.
    file: ManuallyDrop<File>,
    path: PathBuf,
    log: PathBuf,
    /// Bytes of the log that have blocks, and of free pages.
    bytes: u64,
}

impl Reserve {
    /// The reserve of a database that this process has open: `bytes` of the log, and as many of free pages.
    ///
    /// # Errors
    /// If the database can't be opened.
    pub fn open(path: &Path, bytes: u64) -> Result<Self, Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags_and_vfs(path, flags, VFS)?;
        connection.busy_timeout(BUSY_WAIT)?;
        // Pages that are made free at once aren't written, unless there are more than fit in memory.
        connection.pragma_update(None, "cache_size", -i64::try_from(bytes >> 9).unwrap_or(i64::MAX))?;
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(|source| Error::Io { path: path.into(), source })?;
        let log = PathBuf::from(format!("{}-wal", path.display()));
        Ok(Self { connection, file: ManuallyDrop::new(file), path: path.into(), log, bytes })
    }

    /// Fills the reserve up, as far as the disk has space. Whether there is enough of it: all of the log's part, and half of the free pages.
    ///
    /// # Errors
    /// If that can't be known.
    pub fn keep(&self) -> Result<bool, Error> {
        if self.bytes == 0 {
            return Ok(true);
        }
        let page = self.pragma("page_size")?;
        let mut free = self.pragma("freelist_count")?.saturating_mul(page);
        if free < self.bytes / 2 && self.grow()? {
            free = self.pragma("freelist_count")?.saturating_mul(page);
        }
        let pages = self.allocate(&self.file, &self.path, self.pragma("page_count")?.saturating_mul(page))?;
        let log = match OpenOptions::new().read(true).write(true).open(&self.log) {
            Ok(file) => self.allocate(&file, &self.log, self.bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(source) => return Err(Error::Io { path: self.log.clone(), source }),
        };
        let enough = log && pages && free >= self.bytes / 2;
        if !enough {
            // The log is soon begun anew, within the blocks that it has.
            self.checkpoint()?;
        }
        Ok(enough)
    }

    fn pragma(&self, name: &str) -> Result<u64, Error> {
        let value: i64 = self.connection.pragma_query_value(None, name, |row| row.get(0))?;
        Ok(value.try_into().unwrap_or(0))
    }

    /// Makes free pages. `false` if there is no space for them.
    fn grow(&self) -> Result<bool, Error> {
        let made = self.connection.execute_batch(&format!(
            "BEGIN IMMEDIATE; CREATE TABLE reserve (zeros BLOB); INSERT INTO reserve VALUES (zeroblob({})); DROP TABLE reserve; COMMIT",
            self.bytes
        ));
        match made {
            Ok(()) => {
                self.checkpoint()?;
                Ok(true)
            }
            Err(error) => {
                if !self.connection.is_autocommit() {
                    // SQLite undoes some failed transactions by itself.
                    _ = self.connection.execute_batch("ROLLBACK");
                }
                if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull) { Ok(false) } else { Err(error.into()) }
            }
        }
    }

    fn checkpoint(&self) -> Result<(), Error> {
        match self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |_| Ok(())) {
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull) => Ok(()),
            done => Ok(done?),
        }
    }

    /// Gives the first bytes of a file their blocks, without making it longer. `false` if there is no space.
    fn allocate(&self, file: &File, path: &Path, bytes: u64) -> Result<bool, Error> {
        let io = |source| Error::Io { path: path.into(), source };
        if file.metadata().map_err(io)?.blocks().saturating_mul(STAT_BLOCK_BYTES) >= bytes {
            return Ok(true);
        }
        match fallocate(file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, i64::try_from(bytes).unwrap_or(i64::MAX)) {
            Ok(()) => Ok(true),
            Err(Errno::ENOSPC | Errno::EDQUOT) => Ok(false),
            // Without a reserve then, as before there was one.
            Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => Ok(true),
            Err(error) => Err(io(error.into())),
        }
    }
}
