//! Images without files: what a simulated cloud runs on.

use super::{Files, Images, Lost};
use crate::Result;
use crate::fake::{Failure, Host};
use anyhow::bail;
use async_trait::async_trait;
use model::ids::ImageId;
use model::time::Timestamp;
use model::volume::Loss;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A call of [`Images`] that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// [`Images::list`].
    List,
    /// [`Images::adopt`].
    Adopt,
    /// [`Images::inspect`].
    Inspect,
    /// [`Images::set_aside`].
    SetAside,
    /// [`Images::files`].
    Files,
    /// [`Images::remove`].
    Remove,
}

#[derive(Debug, Default)]
struct State {
    images: BTreeSet<ImageId>,
    damaged: BTreeSet<ImageId>,
    set_aside: BTreeSet<ImageId>,
}

/// The host's side: outlives the driver, as disks outlive a process. A clone is the same host.
#[derive(Debug, Clone, Default)]
pub struct FakeImageHost(Host<State, Call>);

impl FakeImageHost {
    /// What is there.
    #[must_use]
    pub fn images(&self) -> BTreeSet<ImageId> {
        self.0.state().images.clone()
    }

    /// What was set aside.
    #[must_use]
    pub fn set_aside(&self) -> BTreeSet<ImageId> {
        self.0.state().set_aside.clone()
    }

    /// The files of an image vanish, or are back.
    pub fn lose(&self, id: &ImageId, lost: bool) {
        let mut state = self.0.state();
        if lost {
            state.images.remove(id)
        } else {
            state.images.insert(id.clone())
        };
    }

    /// The files of an image are damaged, or whole again.
    pub fn damage(&self, id: &ImageId, damaged: bool) {
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

/// The driver on a [`FakeImageHost`]. It takes any staged path, and every image as one with its own kernel.
#[derive(Debug, Clone)]
pub struct FakeImages {
    host: FakeImageHost,
}

impl FakeImages {
    /// Images on this host.
    #[must_use]
    pub fn new(host: FakeImageHost) -> Self {
        Self { host }
    }
}

#[async_trait]
impl Images for FakeImages {
    async fn list(&self) -> Result<Vec<ImageId>> {
        tokio::task::yield_now().await;
        self.host.0.call(Call::List, |state| Ok(state.images.iter().cloned().collect()))
    }

    async fn adopt(&self, id: &ImageId, _staged: &Path) -> Result<()> {
        tokio::task::yield_now().await;
        self.host.0.call(Call::Adopt, |state| {
            state.images.insert(id.clone());
            Ok(())
        })
    }

    async fn inspect(&self, id: &ImageId) -> Result<Option<Lost>> {
        tokio::task::yield_now().await;
        self.host.0.call(Call::Inspect, |state| {
            let lost = |loss: Loss| Some(Lost { loss, why: format!("{id} is {loss}") });
            Ok(match (state.images.contains(id), state.damaged.contains(id)) {
                (false, _) => lost(Loss::Missing),
                (true, true) => lost(Loss::Damaged),
                (true, false) => None,
            })
        })
    }

    async fn set_aside(&self, id: &ImageId, _why: &str, _now: Timestamp) -> Result<()> {
        tokio::task::yield_now().await;
        self.host.0.call(Call::SetAside, |state| {
            if state.images.remove(id) {
                state.set_aside.insert(id.clone());
            }
            Ok(())
        })
    }

    async fn files(&self, id: &ImageId) -> Result<Files> {
        self.host.0.call(Call::Files, |state| {
            if !state.images.contains(id) {
                bail!("no image {id}");
            }
            let directory = PathBuf::from(format!("/simulated/images/{id}"));
            let kernel = Some((directory.join("vmlinuz"), directory.join("initramfs")));
            Ok(Files { disk: directory.join("disk.qcow2"), kernel })
        })
    }

    async fn remove(&self, id: &ImageId) -> Result<()> {
        tokio::task::yield_now().await;
        self.host.0.call(Call::Remove, |state| {
            state.images.remove(id);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::image::contract;
    use std::sync::Arc;

    #[tokio::test]
    async fn keeps_the_contract() {
        let host = FakeImageHost::default();
        contract::check(&|| Arc::new(FakeImages::new(host.clone())), &|n| PathBuf::from(format!("/simulated/staging/{n}"))).await;
    }

    #[tokio::test]
    async fn fails_as_ordered() {
        let host = FakeImageHost::default();
        let images = FakeImages::new(host.clone());
        let id: ImageId = "ami-00000000000000001".parse().unwrap();
        host.fail_next(Call::Adopt, Failure::Refused);
        host.fail_next(Call::Adopt, Failure::Lost);
        assert!(images.adopt(&id, Path::new("/simulated/staging")).await.is_err());
        assert!(host.images().is_empty());
        assert!(images.adopt(&id, Path::new("/simulated/staging")).await.is_err());
        assert_eq!(host.images().len(), 1);
    }
}
