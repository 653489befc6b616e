//! Images' files.

#[cfg(test)]
mod contract;
pub mod fake;
pub mod import;
pub mod progress;
pub mod store;
pub mod tiny;
mod tool;

use crate::Result;
use async_trait::async_trait;
use model::ids::ImageId;
use model::time::Timestamp;
use model::volume::Loss;
use std::path::{Path, PathBuf};

/// Keeps images. Every call may be repeated.
#[async_trait]
pub trait Images: Send + Sync {
    /// The images there are.
    async fn list(&self) -> Result<Vec<ImageId>>;

    /// Takes a finished directory (`disk.qcow2`, and for a direct boot `vmlinuz` and `initramfs`) as the image's own, by renaming it.
    async fn adopt(&self, id: &ImageId, staged: &Path) -> Result<()>;

    /// What is wrong with an image's files, if anything is.
    ///
    /// # Errors
    /// If that can't be known.
    async fn inspect(&self, id: &ImageId) -> Result<Option<Lost>>;

    /// Moves an image to `lost+found`. Without one: does nothing.
    async fn set_aside(&self, id: &ImageId, why: &str, now: Timestamp) -> Result<()>;

    /// Where an image's files are.
    async fn files(&self, id: &ImageId) -> Result<Files>;

    /// Deletes an image. Without one: does nothing.
    async fn remove(&self, id: &ImageId) -> Result<()>;
}

/// How an image is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// In what way.
    pub loss: Loss,
    /// Which file, and what is wrong with it.
    pub why: String,
}

/// An image's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The root disk, qcow2, without a backing file; only read.
    pub disk: PathBuf,
    /// The kernel and the initramfs, if there are any.
    pub kernel: Option<(PathBuf, PathBuf)>,
}
