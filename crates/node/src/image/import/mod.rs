//! Foreign disk images, taken in.
//!
//! A file from somebody else is judged by its own header first ([`check`]), then converted by `qemu-img`, which is told the format and
//! shut in an empty room ([`jail`]): what the check overlooks finds nothing there. What comes out is a qcow2 file that QEMU wrote itself.

mod check;
mod jail;

pub use check::Format;

use super::progress::Progress;
use super::store::DISK;
use super::tool::{Failed, run, run_watched};
use crate::Result;
use crate::durable;
use crate::volume::header::{self, Header};
use anyhow::{Context as _, bail, ensure};
use check::{Accepted, not_bootable};
use jail::{JAIL_ID, Permissions};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a conversion may take, and how much processor time.
const CONVERT_LIMIT: Duration = Duration::from_secs(4 * 3600);
/// A disk may unpack to this much, in bytes, whatever the size of its file …
const UNPACKED_BYTES_BASE: u64 = 1 << 30;
/// … and to this many times its file's size more. Compressed images of systems unpack to two or four times theirs.
const UNPACKED_RATIO_MAX: u64 = 64;
/// What a conversion leaves free of the file system, in bytes.
const FREE_BYTES_MIN: u64 = 512 << 20;
/// How much of a disk's beginning tells whether it boots, in bytes.
const BOOT_BYTES: usize = 36 * 1024;

/// What is taken at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest disk, in bytes.
    pub virtual_bytes_max: u64,
}

impl Default for Limits {
    /// 1 TiB.
    fn default() -> Self {
        Self { virtual_bytes_max: 1 << 40 }
    }
}

/// A file that is not taken, for the reason that the text gives: "is encrypted".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it {0}")]
pub struct Refused(pub String);

/// An image that was taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Imported {
    /// What the file was.
    pub format: Format,
    /// The disk's size, in bytes.
    pub virtual_bytes: u64,
    /// The same in GiB, rounded up.
    pub size_gib: u32,
}

/// Converts a foreign disk image to `disk.qcow2` in `staging`, a directory that is empty or not there yet; [`super::Images::adopt`]
/// takes it from there. Blocks until it is done, which with large images takes minutes.
///
/// # Errors
/// If the file isn't one that is taken (`downcast_ref` finds a [`Refused`] then), can't be read, or the disk is full. What is in
/// `staging` then is of no use.
pub fn import(path: &Path, staging: &Path, limits: &Limits, progress: &dyn Progress) -> Result<Imported> {
    std::fs::create_dir_all(staging).with_context(|| format!("making {}", staging.display()))?;
    let staging = staging.canonicalize()?;
    ensure!(durable::names(&staging)?.is_empty(), "{} isn't empty", staging.display());
    progress.step("Checking the image");
    let work = || -> Result<Imported> {
        // Without blocking: a named pipe would keep us waiting before it can be refused.
        let file = OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path)?;
        let accepted = check::check(&file, limits)?;
        convert(&file, path, accepted, &staging, progress)
    };
    work().map_err(|error| durable::with_full_disk(error, &staging)).with_context(|| format!("importing {}", path.display()))
}

fn convert(file: &File, path: &Path, accepted: Accepted, staging: &Path, progress: &dyn Progress) -> Result<Imported> {
    let (room, output) = (staging.join("room"), staging.join("output"));
    std::fs::create_dir(&room)?;
    std::fs::create_dir(&output)?;
    std::fs::set_permissions(&output, std::fs::Permissions::from_mode(0o700))?;
    chown(&output, Some(JAIL_ID), Some(JAIL_ID))?;
    let input = readable(file, path, staging, progress)?;

    let allowed = Allowed::of(file, accepted, staging)?;
    let cpu_seconds_max = CONVERT_LIMIT.as_secs();
    let permissions = Permissions { room: &room, input: &input, output: &output, file_bytes_max: allowed.bytes, cpu_seconds_max };
    if accepted.format == Format::Qcow2 {
        verify(&permissions)?;
    }
    progress.step(&format!("Converting from {}", accepted.format.name()));
    let mut command = jail::command(&qemu_img()?, &permissions)?;
    command.args(["convert", "-p", "-f", accepted.format.name(), "-O", "qcow2", jail::INPUT]).arg(Path::new(jail::OUTPUT).join(DISK));
    let mut meter = Meter::default();
    run_watched(&mut command, CONVERT_LIMIT, |piece| {
        if let Some(done) = meter.read(piece) {
            progress.fraction(done);
        }
    })
    .map_err(|error| allowed.explain(error))?;

    let disk = staging.join(DISK);
    std::fs::rename(output.join(DISK), &disk)?;
    chown(&disk, Some(0), Some(0))?;
    std::fs::remove_dir(&output)?;
    std::fs::remove_dir(&room)?;
    if input.starts_with(staging) {
        std::fs::remove_file(&input)?;
    }
    judge(&disk, accepted)
}

/// Lets `qemu-img check` go through the tables: what lies beyond the end of a file that was cut short, a conversion takes for zeros.
fn verify(permissions: &Permissions<'_>) -> Result<()> {
    /// The file is good, but has clusters that nobody uses ("qemu-img check", exit codes).
    const LEAKS: i32 = 3;
    let mut command = jail::command(&qemu_img()?, permissions)?;
    match run(command.args(["check", "-q", "-f", "qcow2", jail::INPUT]), CONVERT_LIMIT) {
        Ok(_) => Ok(()),
        Err(error) => match error.downcast_ref::<Failed>().map(|failed| failed.status.code()) {
            Some(Some(LEAKS)) => Ok(()),
            Some(_) => Err(error.context(Refused("is damaged or cut short".into()))),
            None => Err(error),
        },
    }
}

/// Looks at what came out: it is what was announced, stands alone, and can be booted.
fn judge(disk: &Path, accepted: Accepted) -> Result<Imported> {
    let file = File::open(disk)?;
    let header = Header::read(&file)?;
    ensure!(header.backing.is_none() && header.size_bytes == accepted.virtual_bytes, "qemu-img made something else: {header:?}");
    let beginning = header::read_beginning(&file, BOOT_BYTES)?;
    if let Some(reason) = not_bootable(&beginning) {
        return Err(Refused(reason).into());
    }
    let size_gib = u32::try_from(accepted.virtual_bytes.div_ceil(1 << 30)).context("the disk's size")?;
    Ok(Imported { format: accepted.format, virtual_bytes: accepted.virtual_bytes, size_gib })
}

/// A path of the input from which everybody may read, the jail's user too: its own, or a copy that only the jail's user may read.
fn readable(file: &File, path: &Path, staging: &Path, progress: &dyn Progress) -> Result<PathBuf> {
    let metadata = file.metadata()?;
    let canonical = path.canonicalize()?;
    if metadata.mode() & 0o004 != 0 {
        // The file that was checked, should another have taken its name: the check doesn't hold for that one.
        let named = std::fs::metadata(&canonical)?;
        ensure!((named.dev(), named.ino()) == (metadata.dev(), metadata.ino()), "it was replaced while it was looked at");
        return Ok(canonical);
    }
    progress.step("Copying the image, which not everybody may read");
    let copy = staging.join("input");
    let target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&copy)?;
    copy_sparse(file, &target, metadata.len(), progress)?;
    chown(&copy, Some(JAIL_ID), Some(JAIL_ID))?;
    Ok(copy)
}

/// Copies what of a file isn't a hole.
fn copy_sparse(from: &File, to: &File, length: u64, progress: &dyn Progress) -> Result<()> {
    use nix::unistd::{Whence, lseek};
    to.set_len(length)?;
    let (mut at, mut piece) = (0, vec![0; 1 << 20]);
    while at < length {
        at = match lseek(from, at.cast_signed(), Whence::SeekData) {
            Ok(data) => data.cast_unsigned(),
            Err(nix::errno::Errno::ENXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let end = lseek(from, at.cast_signed(), Whence::SeekHole)?.cast_unsigned().min(length);
        while at < end {
            let wanted = piece.len().min(usize::try_from(end - at)?);
            let read = from.read_at(&mut piece[..wanted], at)?;
            ensure!(read > 0, "it became shorter while it was read");
            to.write_all_at(&piece[..read], at)?;
            at += read as u64;
            progress.fraction(at as f32 / length as f32);
        }
    }
    Ok(())
}

/// How large the converted file may become, and what it means if it would be larger.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Allowed {
    bytes: u64,
    reason: String,
}

impl Allowed {
    fn of(file: &File, accepted: Accepted, staging: &Path) -> Result<Self> {
        let length = file.metadata()?.len();
        let unpacked = UNPACKED_BYTES_BASE.saturating_add(length.saturating_mul(UNPACKED_RATIO_MAX));
        // A full disk with its tables, which are 8 bytes per 64 KiB and some.
        let whole = accepted.virtual_bytes + (accepted.virtual_bytes >> 10) + (16 << 20);
        let statistics = nix::sys::statvfs::statvfs(staging)?;
        let free = statistics.blocks_available().saturating_mul(statistics.fragment_size()).saturating_sub(FREE_BYTES_MIN);
        let bomb = format!("unpacks to more than {unpacked} bytes from a file of {length}: it looks like a bomb");
        if free < unpacked.min(whole) {
            return Ok(Self { bytes: free, reason: format!("needs more than the {free} bytes that {} has to spare", staging.display()) });
        }
        Ok(Self { bytes: unpacked.min(whole), reason: bomb })
    }

    fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let text = format!("{error:#}");
        if text.contains("File too large") {
            Refused(self.reason.clone()).into()
        } else if text.contains("No space left on device") {
            error.context("the file system is full")
        } else {
            // The conversion has failed on bytes that the header check doesn't look at.
            error.context(Refused("can't be converted".into()))
        }
    }
}

/// Reads `qemu-img -p`'s "    (12.34/100%)\r".
#[derive(Debug, Default)]
struct Meter {
    text: String,
}

impl Meter {
    /// How far it is, from 0 to 1, if this piece says.
    fn read(&mut self, piece: &[u8]) -> Option<f32> {
        self.text.push_str(&String::from_utf8_lossy(piece));
        let end = self.text.rfind("/100%)")?;
        let percent = self.text[..end].rsplit('(').next()?.trim().parse::<f32>().ok();
        self.text.drain(..end);
        percent.map(|percent| percent / 100.0)
    }
}

fn qemu_img() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    for directory in std::env::split_paths(&path).chain([PathBuf::from("/usr/bin")]) {
        if let Ok(found) = directory.join("qemu-img").canonicalize()
            && found.starts_with("/usr")
        {
            return Ok(found);
        }
    }
    bail!("there is no qemu-img below /usr; Debian has it in the package qemu-utils")
}

#[cfg(test)]
mod tests;
