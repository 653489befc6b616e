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

/// The finished backups in a directory, oldest first.
fn all(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(|| format!("can't read {}", dir.display()))? {
        let path = entry?.path();
        if path.join(MANIFEST).is_file() && !path.to_string_lossy().ends_with(PARTIAL) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
