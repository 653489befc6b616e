//! Volumes' files.

#[cfg(test)]
mod contract;
pub mod fake;
pub(crate) mod header;
pub mod qcow2;

use crate::Result;
use async_trait::async_trait;
use model::ids::VolumeId;
use model::volume::Source;
use std::path::PathBuf;

/// Makes and deletes volumes. Every call may be repeated.
#[async_trait]
pub trait Volumes: Send + Sync {
    /// The volumes there is anything of.
    async fn list(&self) -> Result<Vec<VolumeId>>;

    /// Makes a volume of `size_bytes` from its source, unless it is there. What an image holds is never copied.
    async fn ensure(&self, id: &VolumeId, size_bytes: u64, source: &Source) -> Result<()>;

    /// Deletes a volume. Without one: does nothing.
    async fn remove(&self, id: &VolumeId) -> Result<()>;

    /// Where a volume's bytes are.
    async fn files(&self, id: &VolumeId) -> Result<Files>;
}

/// A chain of files that is one disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The qcow2 file that is written to.
    pub top: PathBuf,
    /// The qcow2 files below it, the nearest first; only read.
    pub backing: Vec<PathBuf>,
}
