//! Whether a disk's files are there and can be what they were: a chain of qcow2 files, judged without a process.

use super::header::{Header, SIZE_BYTES_MAX};
use super::{Files, Sight};
use crate::Result;
use anyhow::{Context as _, ensure};
use model::volume::Loss;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt as _;
use std::path::{Component, Path, PathBuf};

/// The most files a disk may be a chain of. An image has no backing file, so that today's chains have at most 2.
pub(super) const CHAIN_FILES_MAX: usize = 16;
/// QEMU found that the file contradicts itself (`incompatible_features`, bit 1).
const CORRUPT: u64 = 1 << 1;
/// The bits of an L1 or refcount table entry that hold an offset.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// The smallest and the largest cluster, as powers of 2.
const CLUSTER_BITS: std::ops::RangeInclusive<u32> = 9..=21;

/// Looks at a chain of files, the one that is written to first. `size_bytes`: how large the disk must be, if that is known. `bytes_synced`: how long
/// the first file was when all of it was on the disk; a shorter one is cut short, or is a copy with less room between.
///
/// # Errors
/// If a file can't be read.
pub(crate) fn inspect(top: &Path, size_bytes: Option<u64>, bytes_synced: u64) -> Result<Sight> {
    let mut files = Files { top: top.to_owned(), backing: Vec::new() };
    let mut current = top.to_owned();
    loop {
        let lost = |loss, why: String| Ok(Sight::Lost { loss, why });
        let file = match File::open(&current) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound && files.backing.is_empty() => {
                return lost(Loss::Missing, format!("{} is missing", current.display()));
            }
            Err(error) => return Err(error).with_context(|| format!("{}", current.display())),
        };
        let bytes = file.metadata()?.len();
        let size_bytes = size_bytes.filter(|_| files.backing.is_empty());
        let shorter = files.backing.is_empty() && bytes < bytes_synced;
        let header = match judge(&file, bytes, size_bytes, shorter) {
            Ok(header) => header,
            Err(error) if error.chain().any(|cause| cause.is::<io::Error>()) => {
                return Err(error).with_context(|| format!("{}", current.display()));
            }
            Err(error) => return lost(Loss::Damaged, format!("{} is damaged: {error:#}", current.display())),
        };
        let Some(backing) = header.backing else { return Ok(Sight::Whole(files)) };
        if files.backing.len() == CHAIN_FILES_MAX {
            return lost(Loss::Damaged, format!("{} is a chain of more than {CHAIN_FILES_MAX} files", top.display()));
        }
        let named = current.parent().unwrap_or(Path::new("/")).join(backing);
        current = match named.canonicalize() {
            Ok(path) => path,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return lost(Loss::Damaged, format!("{}, which {} stands on, is missing", clean(&named).display(), current.display()));
            }
            Err(error) => return Err(error).with_context(|| format!("the backing file of {}", current.display())),
        };
        files.backing.push(current.clone());
    }
}

/// Judges one file: its header, and that its tables lie within it. QEMU writes a table before it names it, so that a crash leaves none outside. It may
/// leave data outside, which the guest hasn't synced: whether all data lie within it is only asked of one that is `shorter` than it was on the disk.
fn judge(file: &File, bytes: u64, size_bytes: Option<u64>, shorter: bool) -> Result<Header> {
    ensure!(bytes > 0, "it is empty");
    let header = Header::read(file)?;
    ensure!(header.incompatible_features & CORRUPT == 0, "QEMU marked it as corrupt");
    ensure!(size_bytes.is_none_or(|size| size == header.size_bytes), "it is a disk of {} bytes", header.size_bytes);
    ensure!(header.size_bytes <= SIZE_BYTES_MAX, "it is a disk of {} bytes", header.size_bytes);
    ensure!(CLUSTER_BITS.contains(&header.cluster_bits), "its clusters are of 2^{} bytes", header.cluster_bits);
    let cluster = 1 << header.cluster_bits;
    let refcounts = u64::from(header.refcount_table_clusters) * cluster;
    let tables = tables_within(file, bytes, header.l1_offset, u64::from(header.l1_entries) * 8, cluster)?;
    tables_within(file, bytes, header.refcount_table_offset, refcounts, cluster)?;
    if shorter {
        data_within(file, bytes, &tables, cluster)?;
    }
    Ok(header)
}

/// All data that these L2 tables name begin within the file.
fn data_within(file: &File, bytes: u64, tables: &[u64], cluster: u64) -> Result<()> {
    const COMPRESSED: u64 = 1 << 62;
    let mut table = vec![0; usize::try_from(cluster)?];
    for at in tables {
        file.read_exact_at(&mut table, *at)?;
        for entry in table.chunks_exact(8) {
            let entry = u64::from_be_bytes(entry.try_into()?);
            let at = if entry & COMPRESSED == 0 { entry & OFFSET } else { 0 };
            ensure!(at < bytes, "it is cut short: data are at {at}, the file ends at {bytes}");
        }
    }
    Ok(())
}

/// A table of offsets, and the clusters that it names, lie within the file. Gives back where these are.
fn tables_within(file: &File, bytes: u64, at: u64, length: u64, cluster: u64) -> Result<Vec<u64>> {
    /// What a table of the largest disk takes with clusters of 64 KiB, twice.
    const TABLE_BYTES_MAX: u64 = 2 << 20;
    let end = at.checked_add(length).filter(|end| *end <= bytes);
    ensure!(end.is_some(), "it is cut short: a table ends at {}, the file at {bytes}", at.saturating_add(length));
    let mut table = vec![0; usize::try_from(length.min(TABLE_BYTES_MAX))?];
    file.read_exact_at(&mut table, at)?;
    let mut named = Vec::new();
    for entry in table.chunks_exact(8) {
        let offset = u64::from_be_bytes(entry.try_into()?) & OFFSET;
        ensure!(offset == 0 || offset + cluster <= bytes, "it is cut short: a table is at {offset}, the file ends at {bytes}");
        named.extend((offset != 0).then_some(offset));
    }
    Ok(named)
}

/// A path without `..`, as far as that can be said without looking: for messages.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        if part == Component::ParentDir {
            clean.pop();
        } else {
            clean.push(part);
        }
    }
    clean
}
