//! Whether the database's files are still the ones that are open. SQLite goes on to write to files that were removed or moved: such commits would be
//! lost when the server ends, and closing would delete a log that isn't its own.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The files of an open database, by device and inode.
#[derive(Debug, Clone)]
pub(crate) struct Place(Vec<(PathBuf, (u64, u64))>);

impl Place {
    /// Of these files, as far as they exist.
    pub(crate) fn of(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        Self(paths.into_iter().filter_map(|path| identity(&path).map(|found| (path, found))).collect())
    }

    /// The first file that was moved, removed or replaced.
    pub(crate) fn displaced(&self) -> Option<&Path> {
        self.0.iter().find(|(path, known)| identity(path).as_ref() != Some(known)).map(|(path, _)| path.as_path())
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}
