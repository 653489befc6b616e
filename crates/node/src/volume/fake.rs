//! Volumes without files: what a simulated cloud runs on.

use super::{Files, Sight, Volumes};
use crate::Result;
use crate::fake::{Failure, Host};
use crate::image::Images;
use anyhow::{Context as _, bail};
use async_trait::async_trait;
use model::ids::VolumeId;
use model::time::Timestamp;
use model::volume::{Loss, Source};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

/// A call of [`Volumes`] that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// [`Volumes::list`].
    List,
    /// [`Volumes::ensure`].
    Ensure,
    /// [`Volumes::remove`].
    Remove,
    /// [`Volumes::inspect`].
    Inspect,
    /// [`Volumes::settle`].
    Settle,
    /// [`Volumes::set_aside`].
    SetAside,
    /// [`Volumes::files`].
    Files,
}

/// A volume as the simulated host holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FakeVolume {
    /// Its size.
    pub size_bytes: u64,
    /// What it was made from.
    pub source: Source,
}

#[derive(Debug, Default)]
struct State {
    volumes: BTreeMap<VolumeId, FakeVolume>,
    damaged: BTreeSet<VolumeId>,
    set_aside: BTreeMap<VolumeId, FakeVolume>,
    made: u32,
}

/// The host's side: outlives the driver, as disks outlive a process. A clone is the same host.
#[derive(Debug, Clone, Default)]
pub struct FakeVolumeHost(Host<State, Call>);

impl FakeVolumeHost {
    /// What is there.
    #[must_use]
    pub fn volumes(&self) -> BTreeMap<VolumeId, FakeVolume> {
        self.0.state().volumes.clone()
    }

    /// What was set aside.
    #[must_use]
    pub fn set_aside(&self) -> BTreeMap<VolumeId, FakeVolume> {
        self.0.state().set_aside.clone()
    }

    /// How many volumes were ever made.
    #[must_use]
    pub fn made(&self) -> u32 {
        self.0.state().made
    }

    /// The file of a volume vanishes; it is given back, to be put back.
    #[must_use]
    pub fn lose(&self, id: &VolumeId) -> Option<FakeVolume> {
        self.0.state().volumes.remove(id)
    }

    /// Puts a volume's file back.
    pub fn put_back(&self, id: &VolumeId, volume: FakeVolume) {
        self.0.state().volumes.insert(id.clone(), volume);
    }

    /// The file of a volume is damaged, or whole again.
    pub fn damage(&self, id: &VolumeId, damaged: bool) {
        let mut state = self.0.state();
        if damaged {
            state.damaged.insert(id.clone())
        } else {
            state.damaged.remove(id)
        };
    }

    /// Makes the next call of this kind fail. Several add up, in order.
    pub fn fail_next(&self, call: Call, failure: Failure) {
        self.0.fail_next(call, failure);
    }
}

/// The driver on a [`FakeVolumeHost`].
pub struct FakeVolumes {
    host: FakeVolumeHost,
    images: Arc<dyn Images>,
}

impl FakeVolumes {
    /// Volumes on this host, over images that are looked up there.
    #[must_use]
    pub fn new(host: FakeVolumeHost, images: Arc<dyn Images>) -> Self {
        Self { host, images }
    }
}

#[async_trait]
impl Volumes for FakeVolumes {
    async fn list(&self) -> Result<Vec<VolumeId>> {
        tokio::task::yield_now().await;
        self.host.0.call(Call::List, |state| Ok(state.volumes.keys().cloned().collect()))
    }

    async fn ensure(&self, id: &VolumeId, size_bytes: u64, source: &Source) -> Result<()> {
        tokio::task::yield_now().await;
        if let Source::Image(image) = source
            && !self.host.0.state().volumes.contains_key(id)
        {
            self.images.files(image).await.with_context(|| format!("volume {id}"))?;
        }
        self.host.0.call(Call::Ensure, |state| {
            if !state.volumes.contains_key(id) {
                state.volumes.insert(id.clone(), FakeVolume { size_bytes, source: source.clone() });
                state.made += 1;
            }
            Ok(())
        })
    }

    async fn remove(&self, id: &VolumeId) -> Result<()> {
        tokio::task::yield_now().await;
        self.host.0.call(Call::Remove, |state| {
            state.volumes.remove(id);
            Ok(())
        })
    }

    async fn inspect(&self, id: &VolumeId, size_bytes: u64, bytes_synced: u64) -> Result<Sight> {
        tokio::task::yield_now().await;
        let found = self.host.0.call(Call::Inspect, |state| Ok((state.volumes.get(id).cloned(), state.damaged.contains(id))))?;
        let lost = |loss: Loss| Ok(Sight::Lost { loss, why: format!("{id}.qcow2 is {loss}") });
        let volume = match found {
            (None, _) => return lost(Loss::Missing),
            (Some(volume), damaged) if damaged || volume.size_bytes != size_bytes || size_bytes < bytes_synced => {
                return lost(Loss::Damaged);
            }
            (Some(volume), _) => volume,
        };
        if let Source::Image(image) = &volume.source
            && self.images.inspect(image).await?.is_some_and(|lost| lost.loss == Loss::Missing)
        {
            return lost(Loss::Damaged);
        }
        Ok(Sight::Whole(self.files(id).await?))
    }

    async fn settle(&self, id: &VolumeId) -> Result<u64> {
        tokio::task::yield_now().await;
        self.host.0.call(Call::Settle, |state| Ok(state.volumes.get(id).with_context(|| format!("no volume {id}"))?.size_bytes))
    }

    async fn set_aside(&self, id: &VolumeId, _why: &str, _now: Timestamp) -> Result<()> {
        tokio::task::yield_now().await;
        self.host.0.call(Call::SetAside, |state| {
            if let Some(volume) = state.volumes.remove(id) {
                state.set_aside.insert(id.clone(), volume);
            }
            Ok(())
        })
    }

    async fn files(&self, id: &VolumeId) -> Result<Files> {
        let source = self.host.0.call(Call::Files, |state| match state.volumes.get(id) {
            Some(volume) => Ok(volume.source.clone()),
            None => bail!("no volume {id}"),
        })?;
        let backing = match source {
            Source::Blank => Vec::new(),
            Source::Image(image) => vec![self.images.files(&image).await?.disk],
        };
        Ok(Files { top: PathBuf::from(format!("/simulated/volumes/{id}.qcow2")), backing })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::image::fake::{FakeImageHost, FakeImages};
    use crate::volume::contract;

    #[tokio::test]
    async fn keeps_the_contract() {
        let images = Arc::new(FakeImages::new(FakeImageHost::default()));
        let image = contract::image_id(1);
        images.adopt(&image, std::path::Path::new("/simulated/staging")).await.unwrap();
        let host = FakeVolumeHost::default();
        contract::check(&|| Arc::new(FakeVolumes::new(host.clone(), images.clone())), &image).await;
    }

    #[tokio::test]
    async fn fails_as_ordered() {
        let host = FakeVolumeHost::default();
        let volumes = FakeVolumes::new(host.clone(), Arc::new(FakeImages::new(FakeImageHost::default())));
        let id = contract::volume_id(1);
        host.fail_next(Call::Ensure, Failure::Refused);
        host.fail_next(Call::Ensure, Failure::Lost);
        assert!(volumes.ensure(&id, 1 << 30, &Source::Blank).await.is_err());
        assert!(host.volumes().is_empty());
        assert!(volumes.ensure(&id, 1 << 30, &Source::Blank).await.is_err());
        assert_eq!(host.volumes().len(), 1);
        assert!(volumes.ensure(&id, 1 << 30, &Source::Blank).await.is_ok());
    }
}
