//! Brings a backup back into an empty data directory.

use super::{Entry, MANIFEST, Manifest, all, files};
use crate::identity;
use anyhow::{Context as _, Result, bail, ensure};
use node::image::progress::Progress;
use std::cell::Cell;
use std::fs::{DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// The databases' names: the first comes back last, since a server opens what has one.
const DATABASE: &str = identity::DATABASE;

/// The backup that is meant: the directory itself, or the newest in it.
pub(crate) fn find(dir: &Path) -> Result<PathBuf> {
    if dir.join(MANIFEST).is_file() {
        return Ok(dir.into());
    }
    all(dir)?.pop().with_context(|| format!("{} holds no finished backup", dir.display()))
}

/// Restores a backup; what the operator should know of it. With `only_check`, reads and compares it and changes nothing.
///
/// # Errors
/// If the data directory isn't empty, or the backup isn't whole; then the data directory is as it was.
pub(crate) fn restore(backup: &Path, data_dir: &Path, only_check: bool, progress: &dyn Progress) -> Result<Manifest> {
    let manifest = Manifest::read(backup)?;
    ensure!(manifest.files.iter().any(|entry| entry.path == DATABASE), "{} has no {DATABASE}", backup.display());
    let total: u64 = manifest.files.iter().map(|entry| entry.size).sum();
    let done = Cell::new(0);
    let add = |bytes: u64| {
        done.set(done.get() + bytes);
        #[allow(clippy::cast_precision_loss)] // a percentage
        progress.fraction(done.get() as f32 / total.max(1) as f32);
    };
    if only_check {
        progress.step("Checking the backup");
        for entry in &manifest.files {
            let file = open(backup, entry)?;
            let sum = files::sum(&file, &add).with_context(|| format!("can't read {}", entry.path))?;
            compare(entry, sum)?;
        }
        return Ok(manifest);
    }
    let was_there = data_dir.is_dir();
    if was_there && std::fs::read_dir(data_dir).with_context(|| format!("can't read {}", data_dir.display()))?.next().is_some() {
        bail!("{} is not empty: a backup is restored into an empty directory; move this one away first", data_dir.display());
    }
    progress.step("Restoring");
    let brought = bring(backup, &manifest, data_dir, &add);
    if let Err(error) = brought {
        // Nobody is to take half a cloud for one.
        for entry in std::fs::read_dir(data_dir).into_iter().flatten().flatten() {
            let _ = if entry.path().is_dir() { std::fs::remove_dir_all(entry.path()) } else { std::fs::remove_file(entry.path()) };
        }
        if !was_there {
            let _ = std::fs::remove_dir(data_dir);
        }
        return Err(error.context("nothing was restored"));
    }
    Ok(manifest)
}

fn bring(backup: &Path, manifest: &Manifest, data_dir: &Path, add: &dyn Fn(u64)) -> Result<()> {
    std::fs::create_dir_all(data_dir).with_context(|| format!("can't make {}", data_dir.display()))?;
    // As the server makes it: machines pass through to their own directories.
    std::fs::set_permissions(data_dir, std::fs::Permissions::from_mode(0o711))?;
    let (last, first): (Vec<&Entry>, Vec<&Entry>) = manifest.files.iter().partition(|entry| entry.path == DATABASE);
    for entry in first.into_iter().chain(last) {
        let (file, to) = (open(backup, entry)?, data_dir.join(&entry.path));
        let parent = to.parent().context("a path without a directory")?;
        if !parent.is_dir() {
            DirBuilder::new().recursive(true).mode(0o700).create(parent).with_context(|| format!("can't make {}", parent.display()))?;
        }
        let sum = files::copy(&file, &to, entry.mode, add).with_context(|| format!("can't restore {}", entry.path))?;
        compare(entry, sum)?;
    }
    nix::unistd::syncfs(&File::open(data_dir)?)?;
    identity::stamp(data_dir, false).context("can't mark the restored data directory")?;
    Ok(())
}

fn open(backup: &Path, entry: &Entry) -> Result<File> {
    let path = backup.join(&entry.path);
    File::open(&path).with_context(|| format!("the backup is damaged: {} can't be opened", path.display()))
}

fn compare(entry: &Entry, sum: files::Sum) -> Result<()> {
    let (path, size) = (&entry.path, entry.size);
    ensure!(sum.size == size, "the backup is damaged: {path} has {} bytes instead of {size}", sum.size);
    ensure!(sum.crc == entry.crc32c, "the backup is damaged: {path} differs from its checksum");
    Ok(())
}
