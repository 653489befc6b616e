//! Files are cloned where the file system can, and else copied with their holes; and summed up on the way.

use crc_fast::{CrcAlgorithm, Digest};
use nix::errno::Errno;
use nix::unistd::{Whence, lseek};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _, PermissionsExt};
use std::path::{Path, PathBuf};

/// Bytes that are read at once.
const BLOCK: usize = 1 << 20;

mod ioctl {
    // FICLONE, ioctl_ficlonerange(2).
    nix::ioctl_write_int!(ficlone, 0x94, 9);
}

/// A file's length and the CRC32C of all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) size: u64,
    pub(crate) crc: u32,
}

/// Copies a file into a new one, which is on the disk then.
pub(crate) fn copy(from: &File, to: &Path, mode: u32, progress: &dyn Fn(u64)) -> io::Result<Sum> {
    let new = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(to)?;
    new.set_permissions(PermissionsExt::from_mode(mode))?;
    let sum = if clone(from, &new) { sum(&new, progress)? } else { extents(from, Some(&new), progress)? };
    new.sync_all()?;
    Ok(sum)
}

/// Sums up a file.
pub(crate) fn sum(file: &File, progress: &dyn Fn(u64)) -> io::Result<Sum> {
    extents(file, None, progress)
}

/// Makes another name for an open file, if it is on the same file system and still has a name.
pub(crate) fn link(file: &File, to: &Path) -> bool {
    let open = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    nix::unistd::linkat(nix::fcntl::AT_FDCWD, &open, nix::fcntl::AT_FDCWD, to, nix::fcntl::AtFlags::AT_SYMLINK_FOLLOW).is_ok()
}

/// Lets the new file share the old one's blocks, if the file system can.
fn clone(from: &File, to: &File) -> bool {
    // SAFETY: both descriptors are open for the time of the call, which touches no memory of this process.
    #[allow(unsafe_code)]
    let cloned = unsafe { ioctl::ficlone(to.as_raw_fd(), from.as_raw_fd() as nix::sys::ioctl::ioctl_param_type) };
    cloned.is_ok()
}

/// Goes through all that isn't a hole.
fn extents(from: &File, to: Option<&File>, progress: &dyn Fn(u64)) -> io::Result<Sum> {
    let size = from.metadata()?.len();
    if let Some(to) = to {
        to.set_len(size)?;
    }
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    let (mut block, zeros) = (vec![0; BLOCK], vec![0; BLOCK]);
    let mut at = 0;
    while at < size {
        let data = seek(from, at, Whence::SeekData)?.unwrap_or(size).min(size);
        let hole = if data < size { seek(from, data, Whence::SeekHole)?.unwrap_or(size).min(size) } else { size };
        while at < data {
            let length = BLOCK.min(usize::try_from(data - at).unwrap_or(BLOCK));
            digest.update(&zeros[..length]);
            at += length as u64;
            progress(length as u64);
        }
        while at < hole {
            let block = &mut block[..BLOCK.min(usize::try_from(hole - at).unwrap_or(BLOCK))];
            from.read_exact_at(block, at)?;
            if let Some(to) = to {
                to.write_all_at(block, at)?;
            }
            digest.update(block);
            at += block.len() as u64;
            progress(block.len() as u64);
        }
    }
    Ok(Sum { size, crc: u32::try_from(digest.finalize()).unwrap_or_default() })
}

/// Where the next data or the next hole begins. `None` behind the last data.
fn seek(file: &File, at: u64, whence: Whence) -> io::Result<Option<u64>> {
    match lseek(file, i64::try_from(at).map_err(io::Error::other)?, whence) {
        Ok(found) => Ok(u64::try_from(found).ok()),
        Err(Errno::ENXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn a_copy_has_the_same_bytes_holes_and_sum() {
        let dir = tempfile::tempdir().unwrap();
        let from = File::options().read(true).write(true).create_new(true).open(dir.path().join("from")).unwrap();
        from.set_len(64 << 20).unwrap();
        for at in [0, 5 << 20, (40 << 20) + 123, (64 << 20) - 7] {
            from.write_all_at(b"a piece", at).unwrap();
        }
        let to = dir.path().join("to");
        let copied = copy(&from, &to, 0o640, &|_| ()).unwrap();
        let bytes = std::fs::read(&to).unwrap();
        assert!(bytes == std::fs::read(dir.path().join("from")).unwrap());
        assert_eq!(copied, Sum { size: 64 << 20, crc: crc_fast::crc32_iscsi(&bytes) });
        assert_eq!(sum(&from, &|_| ()).unwrap(), copied);
        let found = std::fs::metadata(&to).unwrap();
        assert!(found.blocks() * 512 < 1 << 20, "{}", found.blocks());
        assert_eq!(found.mode() & 0o777, 0o640);
        assert!(copy(&from, &to, 0o600, &|_| ()).is_err(), "nothing is overwritten");
        assert!(link(&from, &dir.path().join("linked")));
        assert_eq!(std::fs::metadata(dir.path().join("linked")).unwrap().ino(), from.metadata().unwrap().ino());
    }
}
