//! Backups of a whole cloud, and their restoration.
//!
//! ```text
//!   DIR/20261125T005356Z/             a backup: a data directory, as far as it is backed up
//!   DIR/20261125T005356Z/manifest.json  which files it has, with their sizes and checksums; written last
//!   DIR/20261125T005356Z.partial/     one that was not finished; the next backup deletes it
//! ```
//! A file that is unchanged since the backup before is a hard link to that one's. docs/guide/backup.md is the user's page, and
//! docs/decisions/0014-backup.md has the reasons.

mod files;
pub(crate) mod make;
mod progress;
pub(crate) mod restore;

pub(crate) use progress::{Progress, State};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The manifest's name.
const MANIFEST: &str = "manifest.json";
/// The version of its form.
const FORMAT: u32 = 1;
/// What the name of an unfinished backup ends with.
const PARTIAL: &str = ".partial";

/// What a backup holds.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) format: u32,
    /// Which cloud it is of.
    pub(crate) cloud: String,
    /// When it was begun, ISO 8601.
    pub(crate) made: String,
    /// The program's version.
    pub(crate) version: String,
    /// What the operator should know.
    pub(crate) notes: Vec<String>,
    pub(crate) files: Vec<Entry>,
}

/// A file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Relative to the backup, and to the data directory.
    pub(crate) path: String,
    pub(crate) size: u64,
    pub(crate) mode: u32,
    pub(crate) crc32c: u32,
    /// What it was copied from: as long as that is the same, so is its content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) origin: Option<Origin>,
}

/// A file's state, as the file system tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Origin {
    fn of(found: &std::fs::Metadata) -> Self {
        let modified = (found.mtime(), found.mtime_nsec());
        Self { device: found.dev(), inode: found.ino(), size: found.len(), modified }
    }
}

impl Manifest {
    /// Of a backup that is whole.
    fn read(backup: &Path) -> Result<Self> {
        let path = backup.join(MANIFEST);
        let bytes = std::fs::read(&path)
            .with_context(|| format!("{} is no finished backup: {} can't be read", backup.display(), path.display()))?;
        let manifest: Self = serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", path.display()))?;
        ensure!(manifest.format == FORMAT, "{} has format {}, this program knows {FORMAT}", path.display(), manifest.format);
        for entry in &manifest.files {
            let plain = Path::new(&entry.path).components().all(|part| matches!(part, std::path::Component::Normal(_)));
            ensure!(plain && !entry.path.is_empty(), "{} names a file outside of the backup: {:?}", path.display(), entry.path);
        }
        Ok(manifest)
    }
}

/// Whether a name is one that a backup is given: its time.
fn is_time(name: &str) -> bool {
    let digits = |part: &str, count| part.len() == count && part.bytes().all(|b| b.is_ascii_digit());
    name.strip_suffix('Z').and_then(|name| name.split_once('T')).is_some_and(|(day, time)| digits(day, 8) && digits(time, 6))
}

/// Whether a directory is a backup that was not finished. Others that happen to be named alike are their owner's.
fn is_unfinished(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()?.strip_suffix(PARTIAL)).is_some_and(is_time) && path.is_dir() && !path.is_symlink()
}

/// The finished backups in a directory that have the names they were given, oldest first.
fn all(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(|| format!("can't read {}", dir.display()))? {
        let path = entry?.path();
        if path.file_name().and_then(|name| name.to_str()).is_some_and(is_time) && path.join(MANIFEST).is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_what_a_backup_made_is_taken_for_one() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["20261125T005356Z", "20261125T005356Z.partial", "film.partial", "site", "20261125T00535Z"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
            std::fs::write(dir.path().join(name).join(MANIFEST), "{}").unwrap();
        }
        let mut unfinished: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        unfinished.retain(|path| is_unfinished(path));
        assert_eq!(unfinished, [dir.path().join("20261125T005356Z.partial")]);
        assert_eq!(all(dir.path()).unwrap(), [dir.path().join("20261125T005356Z")]);
    }
}
