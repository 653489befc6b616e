//! Bodies on their way in.

use crate::error::{Error, Result};
use bytes::Bytes;

/// A body that is being written.
#[derive(Debug)]
pub struct Staging {
    pub(crate) size: u64,
}

impl Staging {
    /// Takes the next bytes; waits while the disk is behind.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Io`].
    #[allow(clippy::unused_async)]
    pub async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.size += bytes.len() as u64;
        Err(Error::Io(anyhow::anyhow!("not built yet")))
    }

    /// Brings all of it to the disk.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Io`].
    pub async fn finish(self) -> Result<Staged> {
        Ok(Staged { size: self.size })
    }
}

/// A body that is whole but belongs to no object yet. Dropped, it leaves nothing.
#[derive(Debug)]
pub struct Staged {
    size: u64,
}

impl Staged {
    /// Length of the plain body in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }
}
