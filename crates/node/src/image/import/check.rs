//! What a foreign file is, and whether it may be converted: judged from its first bytes, before any other program opens it.

use super::{Limits, Refused};
use crate::Result;
use crate::volume::header::{EXTENSION_DATA_FILE, EXTENSION_ENCRYPTION, Header};
use anyhow::Context as _;
use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// How much of the beginning is looked at, in bytes: the farthest mark is that of a CD, in its 17th sector of 2 KiB.
const LOOK_BYTES: usize = 36 * 1024;
/// A disk is made of these.
pub(super) const SECTOR_BYTES: u64 = 512;

/// The limits that QEMU puts on a qcow2 file's tables, in bytes, and on its cluster size, as a power of two.
const L1_BYTES_MAX: u64 = 32 << 20;
const REFCOUNT_TABLE_BYTES_MAX: u64 = 8 << 20;
const CLUSTER_BITS: std::ops::RangeInclusive<u32> = 9..=21;
const REFCOUNT_ORDER_MAX: u32 = 6;

/// Incompatible features of qcow2 ("Incompatible features", `qcow2.txt`).
const INCOMPATIBLE_DIRTY: u64 = 1 << 0;
const INCOMPATIBLE_CORRUPT: u64 = 1 << 1;
const INCOMPATIBLE_DATA_FILE: u64 = 1 << 2;
const INCOMPATIBLE_COMPRESSION_TYPE: u64 = 1 << 3;
const INCOMPATIBLE_EXTENDED_L2: u64 = 1 << 4;

/// The formats that are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The disk's bytes as they are.
    Raw,
    /// QEMU's qcow2, version 2 or 3, alone in its file.
    Qcow2,
}

impl Format {
    /// QEMU's name of it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

/// A file that may be converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Accepted {
    pub(super) format: Format,
    pub(super) virtual_bytes: u64,
}

/// Marks of formats that are not taken: where, what, and the format's name.
const FOREIGN: [(usize, &[u8], &str); 22] = [
    (0, b"KDMV", "a VMware disk (vmdk)"),
    (0, b"COWD", "a VMware disk (vmdk)"),
    (0, b"# Disk DescriptorFile", "a VMware disk's description (vmdk)"),
    (0, b"conectix", "a Hyper-V disk (vhd)"),
    (0, b"vhdxfile", "a Hyper-V disk (vhdx)"),
    (0x40, b"\x7f\x10\xda\xbe", "a VirtualBox disk (vdi)"),
    (0, b"QED\0", "a QED disk"),
    (0, b"LUKS\xba\xbe", "encrypted (LUKS)"),
    (0, b"WithoutFreeSpace", "a Parallels disk"),
    (0, b"WithouFreSpacExt", "a Parallels disk"),
    (0, b"Bochs Virtual HD Image", "a Bochs disk"),
    (0, b"\x1f\x8b", "compressed (gzip): unpack it first"),
    (0, b"\xfd7zXZ\0", "compressed (xz): unpack it first"),
    (0, b"\x28\xb5\x2f\xfd", "compressed (zstd): unpack it first"),
    (0, b"BZh", "compressed (bzip2): unpack it first"),
    (0, b"\x04\x22\x4d\x18", "compressed (lz4): unpack it first"),
    (0, b"PK\x03\x04", "an archive (zip): unpack it first"),
    (0, b"7z\xbc\xaf\x27\x1c", "an archive (7z): unpack it first"),
    (257, b"ustar", "an archive (tar, or an OVA): unpack it first"),
    (0, b"hsqs", "a squashfs file system, not a disk"),
    (0, b"\x7fELF", "a program, not a disk"),
    (0, b"#!", "a script, not a disk"),
];

/// Judges an open file.
///
/// # Errors
/// [`Refused`] with the reason, for people; another error if the file can't be read.
pub(super) fn check(file: &File, limits: &Limits) -> Result<Accepted> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return refuse("is not a regular file");
    }
    let bytes = beginning(file)?;
    if bytes.is_empty() {
        return refuse("is empty");
    }
    let accepted =
        if bytes.starts_with(b"QFI\xfb") { check_qcow2(file, metadata.len())? } else { check_raw(file, &bytes, metadata.len())? };
    let length = accepted.virtual_bytes;
    if !length.is_multiple_of(SECTOR_BYTES) {
        return refuse(format!("is a disk of {length} bytes, which are not whole sectors of {SECTOR_BYTES}"));
    }
    if accepted.virtual_bytes > limits.virtual_bytes_max {
        return refuse(format!("is a disk of {} bytes; the limit is {}", accepted.virtual_bytes, limits.virtual_bytes_max));
    }
    Ok(accepted)
}

fn refuse<T>(reason: impl Into<String>) -> Result<T> {
    Err(Refused(reason.into()).into())
}

fn beginning(file: &File) -> Result<Vec<u8>> {
    let (mut bytes, mut filled) = (vec![0; LOOK_BYTES], 0);
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], filled as u64).context("reading its beginning")? {
            0 => break,
            n => filled += n,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

fn check_raw(file: &File, bytes: &[u8], length: u64) -> Result<Accepted> {
    let has = |at: usize, mark: &[u8]| bytes.get(at..).is_some_and(|rest| rest.starts_with(mark));
    if let Some((_, _, name)) = FOREIGN.iter().find(|(at, mark, _)| has(*at, mark)) {
        return refuse(format!("is {name}; only raw and qcow2 are taken"));
    }
    if has_vhd_footer(file, length)? {
        return refuse("is a Hyper-V disk (vhd); only raw and qcow2 are taken");
    }
    if !length.is_multiple_of(SECTOR_BYTES) {
        return refuse(format!(
            "is no qcow2, and as a raw disk its {length} bytes are not whole sectors of {SECTOR_BYTES}: is it cut short?"
        ));
    }
    if let Some(reason) = not_bootable(bytes) {
        return refuse(reason);
    }
    Ok(Accepted { format: Format::Raw, virtual_bytes: length })
}

/// A fixed VHD is a raw disk with a footer.
fn has_vhd_footer(file: &File, length: u64) -> Result<bool> {
    let mut mark = [0; 8];
    let Some(at) = length.checked_sub(SECTOR_BYTES) else { return Ok(false) };
    file.read_exact_at(&mut mark, at).context("reading its end")?;
    Ok(&mark == b"conectix")
}

/// Why the firmware would find nothing to start on a disk that begins like this, or `None` if it would.
pub(super) fn not_bootable(bytes: &[u8]) -> Option<String> {
    let has = |at: usize, mark: &[u8]| bytes.get(at..).is_some_and(|rest| rest.starts_with(mark));
    if has(510, b"\x55\xaa") || has(512, b"EFI PART") || has(4096, b"EFI PART") {
        return None;
    }
    let what = if has(1080, b"\x53\xef") {
        "an ext file system without a partition table or boot loader"
    } else if has(0x8001, b"CD001") {
        "a CD that can't be started as a disk"
    } else if bytes.iter().all(|byte| *byte == 0) {
        "empty at its beginning"
    } else {
        "neither a master boot record nor a GPT at its beginning"
    };
    Some(format!("can't be booted: it is {what}"))
}

fn check_qcow2(file: &File, length: u64) -> Result<Accepted> {
    let header = match Header::read(file) {
        Ok(header) => header,
        Err(error) => return refuse(format!("has a header that can't be taken: {error:#}")),
    };
    if let Some(backing) = &header.backing {
        return refuse(format!("names another file, its backing file {backing:?}: flatten it first (qemu-img convert)"));
    }
    if header.incompatible_features & INCOMPATIBLE_DATA_FILE != 0 || header.extensions.contains(&EXTENSION_DATA_FILE) {
        return refuse("names another file, its external data file: flatten it first (qemu-img convert)");
    }
    if header.crypt_method != 0 || header.extensions.contains(&EXTENSION_ENCRYPTION) {
        return refuse("is encrypted");
    }
    if header.incompatible_features & INCOMPATIBLE_CORRUPT != 0 {
        return refuse("is marked as corrupt: repair it first (qemu-img check -r all)");
    }
    // A dirty file's reference counts may be wrong, which nobody asks for when reading.
    let known = INCOMPATIBLE_DIRTY | INCOMPATIBLE_COMPRESSION_TYPE | INCOMPATIBLE_EXTENDED_L2;
    if header.incompatible_features & !known != 0 {
        return refuse(format!("has features that are not known (bits {:#x})", header.incompatible_features & !known));
    }
    if header.snapshots != 0 {
        return refuse(format!("holds {} internal snapshots: flatten it first (qemu-img convert)", header.snapshots));
    }
    check_tables(&header, length)?;
    Ok(Accepted { format: Format::Qcow2, virtual_bytes: header.size_bytes })
}

/// The tables lie in the file and have a size that fits the disk's.
fn check_tables(header: &Header, length: u64) -> Result<()> {
    if !CLUSTER_BITS.contains(&header.cluster_bits) || header.refcount_order > REFCOUNT_ORDER_MAX {
        return refuse(format!("has clusters of 2^{} bytes, reference counts of 2^{} bits", header.cluster_bits, header.refcount_order));
    }
    let cluster_bytes = 1_u64 << header.cluster_bits;
    let entry_bytes = if header.incompatible_features & INCOMPATIBLE_EXTENDED_L2 != 0 { 16 } else { 8 };
    let l1_entries = header.size_bytes.div_ceil(cluster_bytes / entry_bytes * cluster_bytes);
    let l1_bytes = u64::from(header.l1_entries) * 8;
    if header.size_bytes == 0 || l1_bytes > L1_BYTES_MAX || u64::from(header.l1_entries) < l1_entries {
        return refuse(format!(
            "is a disk of {} bytes with {} L1 entries, where {l1_entries} are needed",
            header.size_bytes, header.l1_entries
        ));
    }
    let refcount_bytes = u64::from(header.refcount_table_clusters).saturating_mul(cluster_bytes);
    if refcount_bytes == 0 || refcount_bytes > REFCOUNT_TABLE_BYTES_MAX {
        return refuse(format!("has a reference count table of {refcount_bytes} bytes"));
    }
    for (name, offset, bytes) in [("L1", header.l1_offset, l1_bytes), ("reference count", header.refcount_table_offset, refcount_bytes)] {
        if offset == 0 || !offset.is_multiple_of(cluster_bytes) || offset.checked_add(bytes).is_none_or(|end| end > length) {
            return refuse(format!("has its {name} table outside of the file: is it cut short?"));
        }
    }
    Ok(())
}
