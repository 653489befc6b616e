//! Volumes' files.

pub(crate) mod check;
#[cfg(test)]
mod contract;
pub mod fake;
pub(crate) mod header;
pub mod qcow2;

use crate::Result;
use async_trait::async_trait;
use model::ids::VolumeId;
use model::time::Timestamp;
use model::volume::{Loss, Source};
use std::path::PathBuf;

/// Makes and deletes volumes. Every call may be repeated.
#[async_trait]
pub trait Volumes: Send + Sync {
    /// The volumes there is anything of.
    async fn list(&self) -> Result<Vec<VolumeId>>;

    /// Makes a volume of `size_bytes` from its source, unless it is there. What an image holds is never copied. Only for a volume that was never
    /// in use: what was lost is not made anew.
    async fn ensure(&self, id: &VolumeId, size_bytes: u64, source: &Source) -> Result<()>;

    /// Deletes a volume. Without one: does nothing.
    async fn remove(&self, id: &VolumeId) -> Result<()>;

    /// Looks at a volume that was made, of `size_bytes`. `bytes_synced`: what [`Volumes::settle`] said last, or 0. A file that is shorter now must
    /// hold all its data all the same.
    ///
    /// # Errors
    /// If what there is can't be known, which must not be taken for lost.
    async fn inspect(&self, id: &VolumeId, size_bytes: u64, bytes_synced: u64) -> Result<Sight>;

    /// Brings a volume that nobody writes to the disk, and says how long its file is, in bytes.
    async fn settle(&self, id: &VolumeId) -> Result<u64>;

    /// Moves a volume to `lost+found`. Without one: does nothing.
    async fn set_aside(&self, id: &VolumeId, why: &str, now: Timestamp) -> Result<()>;

    /// Where a volume's bytes are.
    async fn files(&self, id: &VolumeId) -> Result<Files>;
}

/// What there is of a volume that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight {
    /// All that a machine needs of it.
    Whole(Files),
    /// Its file, or one that it stands on, is missing or damaged.
    Lost {
        /// In what way.
        loss: Loss,
        /// Which file, and what is wrong with it.
        why: String,
    },
}

/// A chain of files that is one disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The qcow2 file that is written to.
    pub top: PathBuf,
    /// The qcow2 files below it, the nearest first; only read.
    pub backing: Vec<PathBuf>,
}
