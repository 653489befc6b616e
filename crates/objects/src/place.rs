//! Whether the index's files are still the ones that are open. SQLite goes on to write to files that were removed or moved: such commits would be
//! lost when the server ends, and closing would delete a log that isn't its own.

use crate::error::{Error, Result};
use anyhow::anyhow;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The files of an open index, by device and inode.
#[derive(Debug, Clone)]
pub(crate) struct Place(Vec<(PathBuf, (u64, u64))>);

impl Place {
    /// Of these files, as far as they exist.
    pub(crate) fn of(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        Self(paths.into_iter().filter_map(|path| identity(&path).map(|found| (path, found))).collect())
    }

    /// Checks that none was moved, removed or replaced.
    pub(crate) fn check(&self) -> Result<()> {
        match self.0.iter().find(|(path, known)| identity(path).as_ref() != Some(known)) {
            None => Ok(()),
            Some((path, _)) => Err(Error::Io(anyhow!(
                "{} was moved, removed or replaced while it is open, and nothing is written until it is back: move it back. One that was removed \
                 can be copied out of /proc/PID/fd of this server, together with its -wal, before the server is stopped",
                path.display()
            ))),
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}
