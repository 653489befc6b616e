//! Files that belong to nothing that is known of. They are moved to `lost+found/` and deleted after a week: an operator who put back an old index
//! finds them there.

use crate::error::Result;
use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long they are kept.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// What lies in `lost+found/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lost {
    /// How many files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

pub(crate) fn dir(objects: &Path) -> PathBuf {
    objects.join("lost+found")
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Moves a file there. Its new name begins with the time, in seconds since the Unix epoch. Without the file: does nothing.
pub(crate) fn keep(objects: &Path, file: &Path) -> Result<()> {
    let (dir, name) = (dir(objects), file.file_name().unwrap_or_default().to_string_lossy().into_owned());
    DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
    match std::fs::rename(file, dir.join(format!("{}-{name}", seconds()))) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        moved => Ok(moved?),
    }
}

/// Deletes what has lain there long enough, and says what remains.
pub(crate) fn sweep(objects: &Path) -> Result<Lost> {
    let mut lost = Lost::default();
    let entries = match std::fs::read_dir(dir(objects)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(lost),
        read => read?,
    };
    let oldest = seconds().saturating_sub(KEPT.as_secs());
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let moved = name.to_str().and_then(|name| name.split_once('-')?.0.parse::<u64>().ok());
        if moved.is_some_and(|moved| moved < oldest) {
            std::fs::remove_file(entry.path())?;
        } else {
            lost.files += 1;
            lost.bytes += entry.metadata()?.len();
        }
    }
    Ok(lost)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn lost_files_are_kept_for_a_week() {
        let objects = tempfile::tempdir().unwrap();
        assert_eq!(sweep(objects.path()).unwrap(), Lost::default());
        let file = objects.path().join("a");
        std::fs::write(&file, b"abc").unwrap();
        keep(objects.path(), &file).unwrap();
        keep(objects.path(), &file).unwrap();
        let old = format!("{}-b", seconds() - KEPT.as_secs() - 1);
        std::fs::write(dir(objects.path()).join(&old), b"old").unwrap();
        std::fs::write(dir(objects.path()).join("an operator's"), b"xy").unwrap();
        assert_eq!(sweep(objects.path()).unwrap(), Lost { files: 2, bytes: 5 });
        assert!(!dir(objects.path()).join(old).exists());
    }
}
