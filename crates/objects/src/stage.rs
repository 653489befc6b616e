//! Bodies on their way in. A short one stays in memory and goes into the index; a long one becomes a file, written in pieces of 1 MiB
//! by a blocking thread while the next piece is gathered: two pieces are in memory, and no thread waits for a slow client.

use crate::body::{FileId, Piece, Place};
use crate::core::Core;
use crate::error::{Error, Result};
use crate::files::Loose;
use crate::seal::{self, Cipher, PIECE, Seal, Wrapped};
use crate::table::{BLOCK, Table};
use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};
use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// Bytes that are written at once: whole sealed pieces, and whole blocks.
const CHUNK: usize = 16 * PIECE;

/// A body that is being written.
pub struct Staging {
    core: Arc<Core>,
    seal: Seal,
    size: u64,
    buffer: Vec<u8>,
    sink: Sink,
}

/// Where full chunks go.
enum Sink {
    /// There was none yet.
    None,
    Busy(JoinHandle<Result<Box<Writing>>>),
}

impl std::fmt::Debug for Staging {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Staging").field("size", &self.size).finish_non_exhaustive()
    }
}

impl Staging {
    pub(crate) fn new(core: Arc<Core>, seal: Seal) -> Self {
        Self { core, seal, size: 0, buffer: Vec::new(), sink: Sink::None }
    }

    /// Takes the next bytes; waits while the disk is behind. After an error there is nothing to do but drop it.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Io`].
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<()> {
        self.size += bytes.len() as u64;
        while !bytes.is_empty() {
            let room = CHUNK - self.buffer.len();
            let taken = bytes.split_to(room.min(bytes.len()));
            self.buffer.extend_from_slice(&taken);
            if self.buffer.len() == CHUNK {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// Hands the full chunk to a blocking thread.
    async fn flush(&mut self) -> Result<()> {
        let mut writing = self.writing().await?;
        let (core, seal) = (self.core.clone(), self.seal.clone());
        let mut spare = writing.as_mut().map_or_else(|| Vec::with_capacity(CHUNK), |w| std::mem::take(&mut w.spare));
        spare.clear();
        let chunk = std::mem::replace(&mut self.buffer, spare);
        self.sink = Sink::Busy(tokio::task::spawn_blocking(move || {
            let mut writing = writing.map_or_else(|| Writing::new(&core, &seal), Ok)?;
            writing.chunk(&chunk)?;
            writing.spare = chunk;
            Ok(writing)
        }));
        Ok(())
    }

    /// Waits for the chunk before this one, whose memory is used again.
    async fn writing(&mut self) -> Result<Option<Box<Writing>>> {
        match std::mem::replace(&mut self.sink, Sink::None) {
            Sink::None => Ok(None),
            Sink::Busy(task) => task.await.map_err(|e| Error::Io(e.into()))?.map(Some),
        }
    }

    /// Brings all of it to the disk.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Io`].
    pub async fn finish(mut self) -> Result<Staged> {
        let writing = self.writing().await?;
        if writing.is_none() && self.buffer.len() <= self.core.inline_max {
            return Staged::inline(&self.core, &self.seal, self.buffer);
        }
        let Self { core, seal, buffer, .. } = self;
        let task = tokio::task::spawn_blocking(move || {
            let mut writing = writing.map_or_else(|| Writing::new(&core, &seal), Ok)?;
            writing.chunk(&buffer)?;
            writing.finish()
        });
        task.await.map_err(|e| Error::Io(e.into()))?
    }
}

/// A file that is being written.
struct Writing {
    file: File,
    loose: Loose,
    cipher: Option<(Cipher, Wrapped)>,
    digest: Digest,
    /// For what isn't sealed.
    table: Table,
    size: u64,
    sealed: Vec<u8>,
    /// Memory of the chunk before.
    spare: Vec<u8>,
}

impl Writing {
    fn new(core: &Arc<Core>, seal: &Seal) -> Result<Box<Self>> {
        let id = FileId::new(core.random());
        let file = core.files.create(&id)?;
        let loose = Loose::new(core.files.clone(), id);
        let cipher = core.draw(seal)?;
        let digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
        Ok(Box::new(Self { file, loose, cipher, digest, table: Table::default(), size: 0, sealed: Vec::new(), spare: Vec::new() }))
    }

    fn chunk(&mut self, plain: &[u8]) -> Result<()> {
        self.loose.files.room()?;
        let stored = match &self.cipher {
            Some((cipher, _)) => {
                self.sealed.clear();
                cipher.seal(self.size / PIECE as u64, plain, &mut self.sealed)?;
                &self.sealed
            }
            None => {
                self.table.add(plain);
                plain
            }
        };
        self.digest.update(stored);
        self.file.write_all(stored)?;
        self.size += plain.len() as u64;
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<Staged> {
        let table = if self.cipher.is_none() && self.size > BLOCK as u64 { Some(self.table.to_bytes()) } else { None };
        if let Some(table) = &table {
            self.file.write_all(table)?;
        }
        self.loose.files.sync_new(&self.file)?;
        let place = Place::File(self.loose.id.clone());
        let (crc, key) = (self.digest.finalize() as u32, self.cipher.map(|(_, wrapped)| wrapped));
        let piece = Piece { place, size: self.size, crc, table: table.map(|table| crc_fast::crc32_iscsi(&table)), key };
        Ok(Staged { piece, loose: Some(self.loose) })
    }
}

/// A body that is whole but belongs to no object yet. Dropped, it leaves nothing.
#[derive(Debug)]
pub struct Staged {
    pub(crate) piece: Piece,
    pub(crate) loose: Option<Loose>,
}

impl Staged {
    /// Length of the plain body in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.piece.size
    }

    fn inline(core: &Core, seal: &Seal, plain: Vec<u8>) -> Result<Self> {
        core.files.room()?;
        let size = plain.len() as u64;
        let (stored, key) = match core.draw(seal)? {
            Some((cipher, wrapped)) => {
                let mut sealed = Vec::with_capacity(seal::sealed_size(size) as usize);
                cipher.seal(0, &plain, &mut sealed)?;
                (sealed, Some(wrapped))
            }
            None => (plain, None),
        };
        let crc = crc_fast::crc32_iscsi(&stored);
        Ok(Self { piece: Piece { place: Place::Inline { row: 0, bytes: stored.into() }, size, crc, table: None, key }, loose: None })
    }
}
