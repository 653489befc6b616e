//! Checksums of a body's blocks, so that a range can be checked without the rest. Those of a file that isn't sealed and has more than one block
//! lie behind its bytes, a table of CRC32Cs (little-endian); the index knows the table's own checksum, so that the file can't be another's.
//!
//! What is sealed needs none: each of its pieces is authenticated ([`crate::seal`]). Files of before there were tables have none: of a range of
//! them, damage is not seen.

use crate::body::Piece;
use crate::error::{Error, Result};
use anyhow::anyhow;
use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// Bytes of a block; the last one may be shorter. Part of the format. To read a block for a few of its bytes costs a disk little more than those
/// bytes alone, and the table of a body of 5 GiB (160 KiB) is as quickly read: docs/decisions/0010-sendfile.md.
pub(crate) const BLOCK: usize = 128 << 10;

/// Bytes of a checksum.
const SUM: u64 = 4;

/// The CRC32C of each block of a body.
#[derive(Default)]
pub(crate) struct Table(Vec<u32>);

impl Table {
    /// Of a body that is but one block.
    pub(crate) fn of_one(crc: u32) -> Self {
        Self(vec![crc])
    }

    /// Takes the next blocks; only the last one may be short.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.0.extend(bytes.chunks(BLOCK).map(crc_fast::crc32_iscsi));
    }

    /// As it lies behind a file's bytes.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|crc| crc.to_le_bytes()).collect()
    }

    /// The table behind a file's bytes, if it has one.
    pub(crate) fn read(file: &File, piece: &Piece) -> Result<Option<Self>> {
        let Some(crc) = piece.table else { return Ok(None) };
        let mut bytes = vec![0; size(piece) as usize];
        file.read_exact_at(&mut bytes, piece.stored())?;
        if crc_fast::crc32_iscsi(&bytes) != crc {
            return Err(Error::Io(anyhow!("the checksums of a body are not what was written")));
        }
        let (sums, _) = bytes.as_chunks();
        Ok(Some(Self(sums.iter().map(|crc| u32::from_le_bytes(*crc)).collect())))
    }

    /// Whether these are the bytes of the blocks that begin at this place.
    pub(crate) fn has(&self, at: u64, bytes: &[u8]) -> bool {
        let sums = self.0.iter().skip(at as usize / BLOCK);
        bytes.len() <= sums.len() * BLOCK && bytes.chunks(BLOCK).zip(sums).all(|(block, crc)| crc_fast::crc32_iscsi(block) == *crc)
    }
}

/// Bytes of the table behind a piece's file.
pub(crate) fn size(piece: &Piece) -> u64 {
    if piece.table.is_some() { piece.stored().div_ceil(BLOCK as u64) * SUM } else { 0 }
}
