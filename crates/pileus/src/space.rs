//! Watches the disk under the data directory: what is free, and the reserves that let both databases be written on a full disk.

use crate::parts::Parts;
use anyhow::{Context as _, Result};
use reserve::Reserve;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often the disk is looked at.
const PERIOD: Duration = Duration::from_secs(1);
/// Bytes of a block in `st_blocks` (stat(2)).
const STAT_BLOCK_BYTES: u64 = 512;

/// What is looked at each time.
pub(crate) struct Disk {
    data_dir: PathBuf,
    reserves: [Reserve; 2],
    reserve_bytes: u64,
}

/// What was seen.
struct Seen {
    free_bytes: u64,
    written_bytes: u64,
    short: bool,
}

impl Disk {
    /// Opens the reserves, and looks for the first time.
    pub(crate) fn open(parts: &Parts) -> Result<Self> {
        let bytes = parts.config.capacity.disk_reserve_mib << 20;
        let reserve = |name: &str| Reserve::open(&parts.data_dir.join(name), bytes).with_context(|| format!("can't open {name}'s reserve"));
        let reserves = [reserve("state.db")?, reserve("objects/index.db")?];
        let disk = Self { data_dir: parts.data_dir.clone(), reserves, reserve_bytes: bytes };
        disk.note(parts, &disk.look()?);
        Ok(disk)
    }

    fn look(&self) -> Result<Seen> {
        let place = nix::sys::statvfs::statvfs(&self.data_dir)?;
        let free_bytes = place.blocks_available() * place.fragment_size();
        let mut short = free_bytes < self.reserve_bytes;
        for reserve in &self.reserves {
            short |= !reserve.keep()?;
        }
        Ok(Seen { free_bytes, written_bytes: written(&self.data_dir.join("volumes"))?, short })
    }

    fn note(&self, parts: &Parts, seen: &Seen) {
        let space = &parts.cloud.space;
        space.measured(seen.free_bytes, seen.written_bytes);
        if space.short_set(seen.short) {
            let (mount, free) = (mount_point(&self.data_dir), seen.free_bytes);
            if seen.short {
                tracing::warn!(mount = %mount.display(), free_bytes = free, "the disk is full: only calls that free space are taken");
            } else {
                tracing::info!(mount = %mount.display(), free_bytes = free, "the disk has space again: all calls are taken");
            }
        }
    }
}

/// Looks at the disk again and again, until `stop`.
pub(crate) async fn run(mut disk: Disk, parts: Arc<Parts>, mut stop: watch::Receiver<bool>) {
    let mut failed = false;
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(PERIOD) => {}
        }
        let look = tokio::task::spawn_blocking(move || (disk.look(), disk)).await;
        let Ok((seen, back)) = look else { return tracing::error!("the disk isn't looked at any more") };
        disk = back;
        match seen {
            Ok(seen) => {
                failed = false;
                disk.note(&parts, &seen);
            }
            Err(error) if !failed => {
                failed = true;
                tracing::error!(error = format!("{error:#}"), "the disk can't be looked at");
            }
            Err(_) => {}
        }
    }
}

/// Bytes that the files of a directory take.
fn written(volumes: &Path) -> Result<u64> {
    let entries = match std::fs::read_dir(volumes) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    // One that is deleted meanwhile takes none.
    Ok(entries.flatten().filter_map(|e| e.metadata().ok()).map(|file| file.blocks() * STAT_BLOCK_BYTES).sum())
}

/// Where the file system of a directory is mounted.
fn mount_point(directory: &Path) -> PathBuf {
    let device = |path: &Path| std::fs::metadata(path).map(|found| found.dev()).ok();
    let here = device(directory);
    directory.ancestors().take_while(|above| device(above) == here).last().unwrap_or(directory).into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_mount_point_is_where_the_device_changes() {
        assert_eq!(mount_point(Path::new("/proc/self/fd")), Path::new("/proc"));
    }

    #[test]
    fn holes_are_not_written() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(written(&dir.path().join("none")).unwrap(), 0);
        std::fs::write(dir.path().join("full"), vec![1; 100_000]).unwrap();
        std::fs::File::create(dir.path().join("hole")).unwrap().set_len(1 << 30).unwrap();
        assert!((100_000..1_000_000).contains(&written(dir.path()).unwrap()));
    }
}
