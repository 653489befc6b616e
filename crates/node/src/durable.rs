//! Files that are whole or not there, whenever the power goes.

use crate::Result;
use anyhow::Context as _;
use nix::fcntl::{RenameFlags, renameat2};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Names of unfinished and of half removed things: they begin with a dot and end like this.
const TEMPORARY_SUFFIX: &str = ".tmp";

/// Runs file work off the event loop.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.context("the file work panicked")?
}

/// Makes a directory that only its owner can enter, with its parents, and deletes what interrupted calls left in it.
pub(crate) fn directory_open(directory: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory).with_context(|| format!("making {}", directory.display()))?;
    if let Some(parent) = directory.parent() {
        sync(parent)?;
    }
    for name in names(directory)? {
        if name.starts_with('.') && name.ends_with(TEMPORARY_SUFFIX) {
            let path = directory.join(name);
            let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            removed.with_context(|| format!("deleting the leftover {}", path.display()))?;
        }
    }
    Ok(())
}

/// The names in a directory that are UTF-8, sorted.
pub(crate) fn names(directory: &Path) -> Result<Vec<String>> {
    let read = || -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            names.extend(entry?.file_name().into_string().ok());
        }
        names.sort();
        Ok(names)
    };
    read().with_context(|| format!("reading {}", directory.display()))
}

/// A name next to `path` that no other call uses.
fn temporary(path: &Path) -> Result<PathBuf> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().and_then(|name| name.to_str()).with_context(|| format!("{} has no name", path.display()))?;
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    Ok(path.with_file_name(format!(".{name}.{count}{TEMPORARY_SUFFIX}")))
}

/// Makes a file of mode 0600 with what `write` writes into it. If there is one of that name already, that one stays.
pub(crate) fn file_create(path: &Path, write: impl FnOnce(&File) -> Result<()>) -> Result<()> {
    let temporary = temporary(path)?;
    let create = || {
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&temporary)?;
        write(&file)?;
        file.sync_all()?;
        rename_new(&temporary, path)
    };
    match create().map_err(|error| with_full_disk(error, path)) {
        Ok(true) => sync_parent(path),
        other => {
            // Left where it is if this fails too: the next start deletes it.
            let _ = std::fs::remove_file(&temporary);
            other.map(|_| ())
        }
    }
}

/// Renames, but never over something that is there: then nothing happens and `false` comes back.
pub(crate) fn rename_new(from: &Path, to: &Path) -> Result<bool> {
    match renameat2(nix::fcntl::AT_FDCWD, from, nix::fcntl::AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE) {
        Ok(()) => Ok(true),
        Err(nix::errno::Errno::EEXIST) => Ok(false),
        Err(error) => Err(error).with_context(|| format!("renaming {} to {}", from.display(), to.display())),
    }
}

/// Deletes a file for good. Without one: does nothing.
pub(crate) fn file_remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Ok(()) => sync_parent(path),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("deleting {}", path.display())),
    }
}

/// Deletes a directory with all in it, so that it is gone at once or not at all. Without one: does nothing.
pub(crate) fn directory_remove(path: &Path) -> Result<()> {
    let temporary = temporary(path)?;
    match std::fs::rename(path, &temporary) {
        Ok(()) => sync_parent(path)?,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("deleting {}", path.display())),
    }
    std::fs::remove_dir_all(&temporary).with_context(|| format!("deleting {}", temporary.display()))
}

/// Brings a file's or a directory's content to the disk.
pub(crate) fn sync(path: &Path) -> Result<()> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(|error| with_full_disk(error.into(), path)).with_context(|| format!("syncing {}", path.display()))
}

fn sync_parent(path: &Path) -> Result<()> {
    path.parent().map_or(Ok(()), sync)
}

/// Says of a full disk that it is the disk that is full.
pub(crate) fn with_full_disk(error: anyhow::Error, path: &Path) -> anyhow::Error {
    let full = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).any(|cause| {
        // Quota too: to whoever reads it, it is the same.
        matches!(cause.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
    });
    if full { error.context(format!("the file system of {} is full", path.display())) } else { error }
}
