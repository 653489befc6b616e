//! `lost+found`: files that no document names are set aside there, not deleted, and kept for a while.
//!
//! ```text
//!   DATA/lost+found/vol-….qcow2         the file, to be moved back by hand if it is wanted
//!   DATA/lost+found/vol-….qcow2.note    when it was set aside, and why
//! ```
//! It is beside `volumes/` and `images/`, so that a volume's relative path to its image still holds. Where these are file systems of their own,
//! it is inside them.

use crate::Result;
use crate::durable;
use anyhow::{Context as _, bail};
use model::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// The directory's name.
pub const LOST_FOUND: &str = "lost+found";
/// How long a thing is kept, in milliseconds: 7 days.
pub const KEPT_MILLIS: i64 = 7 * 24 * 3_600_000;
/// Directories of the data directory that may have one of their own.
const PARTS: [&str; 3] = ["volumes", "images", "machines"];
const NOTE: &str = ".note";
/// Things of one name that are kept at a time.
const SAME_NAME_MAX: u32 = 1000;

/// A thing that was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where it is.
    pub path: PathBuf,
    /// When it was set aside.
    pub since: Timestamp,
    /// Why.
    pub why: String,
}

#[derive(Serialize, Deserialize)]
struct Note {
    since: Timestamp,
    why: String,
}

fn note_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(NOTE);
    name.into()
}

/// Moves a file or directory that is in one of the data directory's directories. Without it: does nothing.
pub(crate) fn set_aside(path: &Path, why: &str, now: Timestamp) -> Result<()> {
    let part = path.parent().context("a file without a directory")?;
    let data_dir = part.parent().context("a directory without a data directory")?;
    if !path.try_exists()? {
        return Ok(());
    }
    match move_to(&data_dir.join(LOST_FOUND), path, why, now) {
        Err(error) if error.chain().any(|cause| cause.downcast_ref::<nix::errno::Errno>() == Some(&nix::errno::Errno::EXDEV)) => {
            move_to(&part.join(LOST_FOUND), path, why, now)
        }
        other => other,
    }
}

fn move_to(directory: &Path, path: &Path, why: &str, now: Timestamp) -> Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).with_context(|| format!("making {}", directory.display()))?;
    let name = path.file_name().and_then(|name| name.to_str()).with_context(|| format!("{} has no name", path.display()))?;
    let note = serde_json::to_vec(&Note { since: now, why: why.into() })?;
    for n in 0..SAME_NAME_MAX {
        let to = directory.join(if n == 0 { name.to_owned() } else { format!("{name}.{n}") });
        if to.try_exists()? {
            continue;
        }
        // The note comes first: a thing without one would be kept for ever.
        std::fs::write(note_path(&to), &note).with_context(|| format!("noting {}", to.display()))?;
        if durable::rename_new(path, &to)? {
            durable::sync(directory)?;
            return path.parent().map_or(Ok(()), durable::sync);
        }
    }
    bail!("{} holds too many things named {name}", directory.display())
}

/// What was set aside in a data directory, the oldest first.
///
/// # Errors
/// If a directory can't be read.
pub fn list(data_dir: &Path) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    for directory in std::iter::once(data_dir.to_owned()).chain(PARTS.map(|part| data_dir.join(part))) {
        let directory = directory.join(LOST_FOUND);
        if !directory.try_exists()? {
            continue;
        }
        for name in durable::names(&directory)? {
            let Some(path) = name.strip_suffix(NOTE).map(|name| directory.join(name)) else { continue };
            let note = std::fs::read(note_path(&path)).ok().and_then(|text| serde_json::from_slice::<Note>(&text).ok());
            if let Some(Note { since, why }) = note.filter(|_| path.try_exists().unwrap_or(true)) {
                found.push(Found { path, since, why });
            }
        }
    }
    found.sort_by(|a, b| (a.since, &a.path).cmp(&(b.since, &b.path)));
    Ok(found)
}

/// Deletes what was kept for [`KEPT_MILLIS`], and gives back what that was.
///
/// # Errors
/// If a directory can't be read, or a thing can't be deleted.
pub fn prune(data_dir: &Path, now: Timestamp) -> Result<Vec<Found>> {
    let mut old = list(data_dir)?;
    old.retain(|found| now.millis_since(found.since) >= KEPT_MILLIS);
    for Found { path, .. } in &old {
        let removed = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
        removed.with_context(|| format!("deleting {}", path.display()))?;
        match std::fs::remove_file(note_path(path)) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("deleting the note of {}", path.display()))?
            }
            _ => {}
        }
    }
    Ok(old)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::test_kit::scratch;

    #[test]
    fn what_is_set_aside_is_listed_kept_for_a_week_and_then_deleted() {
        let root = scratch();
        let volumes = root.path().join("volumes");
        std::fs::create_dir(&volumes).unwrap();
        let file = volumes.join("vol-00000001.qcow2");
        set_aside(&file, "gone", Timestamp(0)).unwrap();
        assert_eq!(list(root.path()).unwrap(), []);
        for n in 0..2 {
            std::fs::write(&file, format!("{n}")).unwrap();
            set_aside(&file, "no document", Timestamp(n)).unwrap();
            assert!(!file.exists());
        }
        std::fs::create_dir(volumes.join("ami-00000001")).unwrap();
        set_aside(&volumes.join("ami-00000001"), "no document", Timestamp(5)).unwrap();
        // A file system's own directory of that name is left alone.
        std::fs::write(root.path().join("lost+found/#123"), "x").unwrap();
        let found = list(root.path()).unwrap();
        let names: Vec<_> = found.iter().map(|f| f.path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["vol-00000001.qcow2", "vol-00000001.qcow2.1", "ami-00000001"]);
        assert_eq!(std::fs::read_to_string(&found[0].path).unwrap(), "0");
        assert_eq!(found[0].why, "no document");

        assert_eq!(prune(root.path(), Timestamp(KEPT_MILLIS - 1)).unwrap(), []);
        assert_eq!(prune(root.path(), Timestamp(KEPT_MILLIS)).unwrap().len(), 1);
        assert_eq!(prune(root.path(), Timestamp(KEPT_MILLIS + 5)).unwrap().len(), 2);
        assert_eq!(std::fs::read_dir(root.path().join("lost+found")).unwrap().count(), 1);
    }

    #[test]
    fn what_is_on_another_disk_stays_on_it() {
        let root = scratch();
        let volumes = root.path().join("volumes");
        std::fs::create_dir(&volumes).unwrap();
        crate::test_kit::on_a_tiny_disk(&volumes, "64k", || async {
            let file = volumes.join("vol-00000001.qcow2");
            std::fs::write(&file, "disk").unwrap();
            set_aside(&file, "no document", Timestamp(0)).unwrap();
            let found = list(root.path()).unwrap();
            assert_eq!(found[0].path, volumes.join("lost+found/vol-00000001.qcow2"));
        });
    }
}
