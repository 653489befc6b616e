//! Drivers of files that look at the data directory before they make any.

use super::DataDirectory;
use super::marker::Part;
use anyhow::Result;
use async_trait::async_trait;
use model::ids::{ImageId, VolumeId};
use model::time::Timestamp;
use model::volume::Source;
use node::image::{Images, Lost};
use node::volume::{Sight, Volumes};
use std::path::Path;
use std::sync::Arc;

/// A driver whose directory may be unmounted while the server runs, or be used by an older database later.
pub(crate) struct Guarded<D: ?Sized> {
    directory: Arc<DataDirectory>,
    driver: Arc<D>,
}

impl<D: ?Sized> Guarded<D> {
    /// Guards a driver.
    pub(crate) fn new(directory: Arc<DataDirectory>, driver: Arc<D>) -> Self {
        Self { directory, driver }
    }
}

#[async_trait]
impl<D: Volumes + ?Sized> Volumes for Guarded<D> {
    async fn list(&self) -> Result<Vec<VolumeId>> {
        self.driver.list().await
    }

    /// The marker names the document's revision before there is a file: a database that lacks the document is refused from then on.
    async fn ensure(&self, id: &VolumeId, size_bytes: u64, source: &Source) -> Result<()> {
        self.directory.part_check(Part::Volumes).await?;
        self.directory.raise_to_newest().await?;
        self.driver.ensure(id, size_bytes, source).await
    }

    async fn remove(&self, id: &VolumeId) -> Result<()> {
        self.driver.remove(id).await
    }

    async fn inspect(&self, id: &VolumeId, size_bytes: u64, bytes_synced: u64) -> Result<Sight> {
        self.driver.inspect(id, size_bytes, bytes_synced).await
    }

    async fn settle(&self, id: &VolumeId) -> Result<u64> {
        self.driver.settle(id).await
    }

    async fn set_aside(&self, id: &VolumeId, why: &str, now: Timestamp) -> Result<()> {
        self.directory.part_check(Part::Volumes).await?;
        self.driver.set_aside(id, why, now).await
    }

    async fn files(&self, id: &VolumeId) -> Result<node::volume::Files> {
        self.driver.files(id).await
    }
}

#[async_trait]
impl<D: Images + ?Sized> Images for Guarded<D> {
    async fn list(&self) -> Result<Vec<ImageId>> {
        self.driver.list().await
    }

    async fn adopt(&self, id: &ImageId, staged: &Path) -> Result<()> {
        self.directory.part_check(Part::Images).await?;
        self.driver.adopt(id, staged).await
    }

    async fn inspect(&self, id: &ImageId) -> Result<Option<Lost>> {
        self.driver.inspect(id).await
    }

    async fn set_aside(&self, id: &ImageId, why: &str, now: Timestamp) -> Result<()> {
        self.directory.part_check(Part::Images).await?;
        self.driver.set_aside(id, why, now).await
    }

    async fn files(&self, id: &ImageId) -> Result<node::image::Files> {
        self.driver.files(id).await
    }

    async fn remove(&self, id: &ImageId) -> Result<()> {
        self.driver.remove(id).await
    }
}
