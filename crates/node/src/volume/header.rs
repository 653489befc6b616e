//! The qcow2 header, read and written ("qcow2 image file format", `docs/interop/qcow2.txt` of QEMU).
//!
//! Written here and not by `qemu-img create`: an empty volume is four small tables, and a process costs 20 to 90 ms a volume. The
//! tests let `qemu-img check` judge what is written.

use anyhow::{Context as _, Result, bail, ensure};
use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// `QFI\xfb`.
pub(crate) const MAGIC: [u8; 4] = *b"QFI\xfb";

/// The cluster size of what is written here: QEMU's own default.
const CLUSTER_BITS: u32 = 16;
const CLUSTER_BYTES: u64 = 1 << CLUSTER_BITS;
/// The disk space that one L1 entry stands for: a cluster of 8-byte L2 entries.
const L1_ENTRY_BYTES: u64 = CLUSTER_BYTES / 8 * CLUSTER_BYTES;
/// The length of a version 3 header without its extensions.
const HEADER_BYTES: usize = 104;
/// The longest backing file name QEMU takes, in bytes.
const BACKING_NAME_BYTES_MAX: usize = 1023;
/// The most of a header that is read, in bytes: QEMU keeps it, with its extensions and the backing name, in the first cluster.
const HEADER_READ_BYTES_MAX: usize = 64 * 1024;

/// The largest disk that is made or read, in bytes: io2 Block Express's 64 TiB.
pub(crate) const SIZE_BYTES_MAX: u64 = 64 << 40;

/// Header extension: the name of the external data file.
pub(crate) const EXTENSION_DATA_FILE: u32 = 0x4441_5441;
/// Header extension: where the LUKS header is.
pub(crate) const EXTENSION_ENCRYPTION: u32 = 0x0537_be77;
/// Header extension: the end.
const EXTENSION_END: u32 = 0;
/// Header extension: the backing file's format.
const EXTENSION_BACKING_FORMAT: u32 = 0xe279_2aca;

/// What a header says. Offsets and sizes are as read: nothing but the shape of the header itself has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) version: u32,
    pub(crate) backing: Option<String>,
    pub(crate) cluster_bits: u32,
    pub(crate) size_bytes: u64,
    pub(crate) crypt_method: u32,
    pub(crate) l1_entries: u32,
    pub(crate) l1_offset: u64,
    pub(crate) refcount_table_offset: u64,
    pub(crate) refcount_table_clusters: u32,
    pub(crate) snapshots: u32,
    pub(crate) incompatible_features: u64,
    pub(crate) refcount_order: u32,
    /// The types of the extensions, in order.
    pub(crate) extensions: Vec<u32>,
}

impl Header {
    /// Reads the header of an open file.
    ///
    /// # Errors
    /// If the file can't be read or its beginning isn't a qcow2 header.
    pub(crate) fn read(file: &File) -> Result<Self> {
        let mut bytes = vec![0; HEADER_READ_BYTES_MAX];
        let mut filled = 0;
        while filled < bytes.len() {
            match file.read_at(&mut bytes[filled..], filled as u64).context("reading the qcow2 header")? {
                0 => break,
                n => filled += n,
            }
        }
        bytes.truncate(filled);
        Self::parse(&bytes)
    }

    /// Parses the first bytes of a file.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        ensure!(bytes.get(..4) == Some(&MAGIC), "not a qcow2 file");
        let version = be32(bytes, 4)?;
        ensure!(matches!(version, 2 | 3), "qcow2 version {version} is unknown");
        let (incompatible_features, refcount_order, header_length) =
            if version == 2 { (0, 4, 72) } else { (be64(bytes, 72)?, be32(bytes, 96)?, be32(bytes, 100)?) };
        let header_length = header_length as usize;
        ensure!(version == 2 || (HEADER_BYTES..=4096).contains(&header_length), "qcow2 header length {header_length} is out of range");
        Ok(Self {
            version,
            backing: backing_name(bytes)?,
            cluster_bits: be32(bytes, 20)?,
            size_bytes: be64(bytes, 24)?,
            crypt_method: be32(bytes, 32)?,
            l1_entries: be32(bytes, 36)?,
            l1_offset: be64(bytes, 40)?,
            refcount_table_offset: be64(bytes, 48)?,
            refcount_table_clusters: be32(bytes, 56)?,
            snapshots: be32(bytes, 60)?,
            incompatible_features,
            refcount_order,
            extensions: extensions(bytes, header_length)?,
        })
    }
}

fn be32(bytes: &[u8], at: usize) -> Result<u32> {
    let field = bytes.get(at..).and_then(|b| b.first_chunk()).context("qcow2 header cut short")?;
    Ok(u32::from_be_bytes(*field))
}

fn be64(bytes: &[u8], at: usize) -> Result<u64> {
    let field = bytes.get(at..).and_then(|b| b.first_chunk()).context("qcow2 header cut short")?;
    Ok(u64::from_be_bytes(*field))
}

fn backing_name(bytes: &[u8]) -> Result<Option<String>> {
    let (offset, length) = (be64(bytes, 8)?, be32(bytes, 16)? as usize);
    if offset == 0 {
        return Ok(None);
    }
    ensure!(length <= BACKING_NAME_BYTES_MAX, "qcow2 backing file name of {length} bytes");
    let name = usize::try_from(offset).ok().and_then(|at| bytes.get(at..)?.get(..length)).context("qcow2 backing file name cut short")?;
    Ok(Some(String::from_utf8_lossy(name).into_owned()))
}

fn extensions(bytes: &[u8], header_length: usize) -> Result<Vec<u32>> {
    // Up to here QEMU reads them; there need not be an end mark then.
    let end = match usize::try_from(be64(bytes, 8)?) {
        Ok(0) => 1_usize.checked_shl(be32(bytes, 20)?).unwrap_or(usize::MAX),
        backing => backing.unwrap_or(usize::MAX),
    };
    let (mut at, mut found) = (header_length, Vec::new());
    while at + 8 <= end {
        if at + 8 > bytes.len() {
            // What lies beyond is either the file's end or more than anybody's header has; it can't go unread.
            ensure!(bytes.len() < HEADER_READ_BYTES_MAX, "qcow2 header extensions of more than {HEADER_READ_BYTES_MAX} bytes");
            break;
        }
        let (kind, length) = (be32(bytes, at)?, be32(bytes, at + 4)? as usize);
        if kind == EXTENSION_END {
            break;
        }
        if length > HEADER_READ_BYTES_MAX {
            bail!("qcow2 header extension {kind:#x} of {length} bytes");
        }
        found.push(kind);
        at += 8 + length.next_multiple_of(8);
    }
    Ok(found)
}

/// Reads the disk's first bytes out of an image without backing file that QEMU wrote, uncompressed.
///
/// # Errors
/// If the file can't be read or isn't such an image.
pub(crate) fn read_beginning(file: &File, length: usize) -> Result<Vec<u8>> {
    /// The bits of an L1 or L2 entry that hold an offset.
    const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
    const COMPRESSED: u64 = 1 << 62;
    let header = Header::read(file)?;
    let entry = |table: u64| -> Result<u64> {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, table).context("reading a qcow2 table")?;
        Ok(u64::from_be_bytes(bytes))
    };
    ensure!(length as u64 <= 1 << header.cluster_bits, "{length} bytes are more than a cluster");
    let mut bytes = vec![0; length];
    let table = entry(header.l1_offset)? & OFFSET;
    if table == 0 {
        return Ok(bytes);
    }
    let cluster = entry(table)?;
    ensure!(cluster & COMPRESSED == 0, "the first cluster is compressed");
    // Bit 0: reads as zeros, wherever it is.
    if cluster & OFFSET != 0 && cluster & 1 == 0 {
        let present = file.metadata()?.len().saturating_sub(cluster & OFFSET);
        let present = length.min(usize::try_from(present)?);
        file.read_exact_at(&mut bytes[..present], cluster & OFFSET).context("reading the first cluster")?;
    }
    Ok(bytes)
}

/// Writes an empty disk into an empty file: all of it reads as the backing file, or as zeros.
///
/// # Errors
/// If the size is nothing, too much or not whole sectors, the backing name is too long, or the file can't be written.
pub(crate) fn write_empty(file: &File, size_bytes: u64, backing: Option<&str>) -> Result<()> {
    ensure!(size_bytes > 0 && size_bytes.is_multiple_of(512), "a disk of {size_bytes} bytes isn't whole sectors");
    ensure!(size_bytes <= SIZE_BYTES_MAX, "a disk of {size_bytes} bytes is larger than {SIZE_BYTES_MAX}");
    let l1_entries = size_bytes.div_ceil(L1_ENTRY_BYTES);
    let l1_clusters = (l1_entries * 8).div_ceil(CLUSTER_BYTES);
    // In this order: header, refcount table, refcount block, L1 table. One block counts 32,768 clusters; the largest L1 table has 16.
    let clusters = 3 + l1_clusters;
    let header = header_bytes(size_bytes, u32::try_from(l1_entries).context("L1 entries")?, backing)?;
    let refcounts: Vec<u8> = (0..clusters).flat_map(|_| 1_u16.to_be_bytes()).collect();
    file.set_len(clusters * CLUSTER_BYTES)?;
    file.write_all_at(&header, 0)?;
    file.write_all_at(&(2 * CLUSTER_BYTES).to_be_bytes(), CLUSTER_BYTES)?;
    file.write_all_at(&refcounts, 2 * CLUSTER_BYTES)?;
    Ok(())
}

fn header_bytes(size_bytes: u64, l1_entries: u32, backing: Option<&str>) -> Result<Vec<u8>> {
    let mut extensions = Vec::new();
    if backing.is_some() {
        extensions.extend_from_slice(&EXTENSION_BACKING_FORMAT.to_be_bytes());
        extensions.extend_from_slice(&5_u32.to_be_bytes());
        extensions.extend_from_slice(b"qcow2\0\0\0");
    }
    extensions.extend_from_slice(&[0; 8]);
    let name = backing.unwrap_or_default().as_bytes();
    ensure!(name.len() <= BACKING_NAME_BYTES_MAX, "backing file name of {} bytes", name.len());
    let name_offset = if backing.is_some() { (HEADER_BYTES + extensions.len()) as u64 } else { 0 };

    let mut header = Vec::with_capacity(HEADER_BYTES + extensions.len() + name.len());
    header.extend_from_slice(&MAGIC);
    header.extend_from_slice(&3_u32.to_be_bytes());
    header.extend_from_slice(&name_offset.to_be_bytes());
    header.extend_from_slice(&(name.len() as u32).to_be_bytes());
    header.extend_from_slice(&CLUSTER_BITS.to_be_bytes());
    header.extend_from_slice(&size_bytes.to_be_bytes());
    header.extend_from_slice(&0_u32.to_be_bytes()); // no encryption
    header.extend_from_slice(&l1_entries.to_be_bytes());
    header.extend_from_slice(&(3 * CLUSTER_BYTES).to_be_bytes()); // L1 table
    header.extend_from_slice(&CLUSTER_BYTES.to_be_bytes()); // refcount table
    header.extend_from_slice(&1_u32.to_be_bytes()); // its clusters
    header.extend_from_slice(&[0; 4 + 8]); // no snapshots
    header.extend_from_slice(&[0; 3 * 8]); // no features: incompatible, compatible, autoclear
    header.extend_from_slice(&4_u32.to_be_bytes()); // refcounts of 16 bits
    header.extend_from_slice(&(HEADER_BYTES as u32).to_be_bytes());
    debug_assert_eq!(header.len(), HEADER_BYTES);
    header.extend_from_slice(&extensions);
    header.extend_from_slice(name);
    Ok(header)
}
