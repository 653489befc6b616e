//! Where a version's bytes are: one piece, or one for each part it was made of.

use crate::error::Result;
use crate::noun::UploadId;
use crate::pins::Pin;
use crate::record::PartInfo;
use crate::seal::{self, Wrapped};
use bytes::Bytes;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// The name of a file of ours: 32 random hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct FileId(Arc<str>);

impl FileId {
    pub(crate) fn new(random: u128) -> Self {
        Self(format!("{random:032x}").into())
    }

    /// Nothing if it is not a name of ours.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let ours = name.len() == 32 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        ours.then(|| Self(name.into()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The folder of `files/` that it lies in.
    pub(crate) fn folder(&self) -> &str {
        &self.0[..2]
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where the bytes of a piece are.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Place {
    /// In the index.
    Inline {
        row: i64,
        /// What the row holds; filled when the version is read.
        #[serde(skip)]
        bytes: Bytes,
    },
    File(FileId),
}

/// Bytes that were staged as one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Piece {
    #[serde(flatten)]
    pub(crate) place: Place,
    /// Plain bytes.
    pub(crate) size: u64,
    /// CRC32C of what is stored.
    pub(crate) crc: u32,
    /// CRC32C of the table of its blocks' checksums ([`crate::table`]), if there is one behind it in its file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) table: Option<u32>,
    /// The key that it is sealed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<Wrapped>,
}

impl Piece {
    /// Bytes that are stored.
    pub(crate) fn stored(&self) -> u64 {
        if self.key.is_some() { seal::sealed_size(self.size) } else { self.size }
    }

    pub(crate) fn file(&self) -> Option<&FileId> {
        match &self.place {
            Place::File(file) => Some(file),
            Place::Inline { .. } => None,
        }
    }
}

/// A version's body. In listings it is empty.
#[derive(Debug, Clone, Default)]
pub(crate) struct Body {
    pub(crate) pieces: Vec<Piece>,
    /// The upload that made it.
    pub(crate) upload: Option<UploadId>,
    /// Keeps the files while the version is held.
    pub(crate) pin: Option<Arc<Pin>>,
}

/// What the index keeps of a body, apart from what listings need.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct StoredBody {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) pieces: Vec<Piece>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) upload: Option<UploadId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) parts: Vec<PartInfo>,
}

/// The files of these pieces, in order.
pub(crate) fn files(pieces: &[Piece]) -> Vec<FileId> {
    pieces.iter().filter_map(|p| p.file().cloned()).collect()
}

/// Reads the bytes of the pieces that lie in the index.
pub(crate) fn load_inline(connection: &Connection, pieces: &mut [Piece]) -> Result<()> {
    for piece in pieces {
        if let Place::Inline { row, bytes } = &mut piece.place {
            let mut select = connection.prepare_cached("SELECT bytes FROM inline WHERE row = ?1")?;
            *bytes = select.query_row([*row], |r| r.get::<_, Vec<u8>>(0))?.into();
        }
    }
    Ok(())
}
