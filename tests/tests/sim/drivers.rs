//! Drivers that take time, fail, and may be the last thing that the process did. What they drive is a fake of `node`.

use crate::faults::SimFaults;
use anyhow::bail;
use async_trait::async_trait;
use model::ids::{ImageId, InstanceId, NetworkInterfaceId, VolumeId, VpcId};
use model::machine::{Accelerator, MachineSpec, Observed};
use model::network::VpcWanted;
use model::time::Timestamp;
use model::volume::Source;
use node::Result;
use node::fake::Failure;
use node::hypervisor::{Console, Hypervisor, Parts, VolumeCopy};
use node::image::Images;
use node::network::{Network, WayOut};
use node::volume::Volumes;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A driver with faults around each of its steps.
pub(crate) struct Faulty<D> {
    pub(crate) driver: D,
    pub(crate) faults: Arc<SimFaults>,
}

impl<D> Faulty<D> {
    async fn step<T>(&self, points: [&'static str; 2], act: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let [before, after] = points;
        self.faults.pass(before).await;
        let failure = self.faults.step().await;
        if failure == Some(Failure::Refused) {
            bail!("simulated failure at {before}");
        }
        let result = act.await;
        self.faults.pass(after).await;
        if failure == Some(Failure::Lost) {
            bail!("simulated failure at {after}");
        }
        result
    }
}

macro_rules! step {
    ($self:ident, $name:literal, $call:ident($($argument:expr),*)) => {
        $self.step([concat!("node.", $name, ".before"), concat!("node.", $name, ".after")], $self.driver.$call($($argument),*)).await
    };
}

#[async_trait]
impl<D: Hypervisor> Hypervisor for Faulty<D> {
    fn accelerator(&self) -> Accelerator {
        self.driver.accelerator()
    }

    async fn list(&self) -> Result<Vec<InstanceId>> {
        step!(self, "machine.list", list())
    }

    async fn observe(&self, id: &InstanceId) -> Result<Observed> {
        step!(self, "machine.observe", observe(id))
    }

    async fn start(&self, spec: &MachineSpec, parts: Parts) -> Result<()> {
        step!(self, "machine.start", start(spec, parts))
    }

    async fn power_button(&self, id: &InstanceId) -> Result<bool> {
        step!(self, "machine.power_button", power_button(id))
    }

    async fn reset(&self, id: &InstanceId) -> Result<()> {
        step!(self, "machine.reset", reset(id))
    }

    async fn resume(&self, id: &InstanceId) -> Result<()> {
        step!(self, "machine.resume", resume(id))
    }

    async fn volumes_copy(&self, id: &InstanceId, copies: &[VolumeCopy], progress: &(dyn Fn(u64, u64) + Send + Sync)) -> Result<bool> {
        self.driver.volumes_copy(id, copies, progress).await
    }

    async fn remove(&self, id: &InstanceId) -> Result<()> {
        step!(self, "machine.remove", remove(id))
    }

    async fn console(&self, id: &InstanceId) -> Result<Option<Console>> {
        step!(self, "machine.console", console(id))
    }

    async fn console_remove(&self, id: &InstanceId) -> Result<()> {
        step!(self, "machine.console_remove", console_remove(id))
    }
}

#[async_trait]
impl<D: Network> Network for Faulty<D> {
    async fn vpc_list(&self) -> Result<Vec<VpcId>> {
        step!(self, "network.vpc_list", vpc_list())
    }

    async fn vpc_ensure(&self, wanted: &VpcWanted) -> Result<()> {
        step!(self, "network.vpc_ensure", vpc_ensure(wanted))
    }

    async fn vpc_remove(&self, id: &VpcId) -> Result<()> {
        step!(self, "network.vpc_remove", vpc_remove(id))
    }

    async fn tap_open(&self, vpc: &VpcId, interface: &NetworkInterfaceId) -> Result<OwnedFd> {
        step!(self, "network.tap_open", tap_open(vpc, interface))
    }

    async fn vpc_namespace(&self, id: &VpcId) -> Result<PathBuf> {
        self.driver.vpc_namespace(id).await
    }

    fn way_out(&self) -> WayOut {
        self.driver.way_out()
    }
}

#[async_trait]
impl<D: Volumes> Volumes for Faulty<D> {
    async fn list(&self) -> Result<Vec<VolumeId>> {
        step!(self, "volume.list", list())
    }

    async fn ensure(&self, id: &VolumeId, size_bytes: u64, source: &Source) -> Result<()> {
        step!(self, "volume.ensure", ensure(id, size_bytes, source))
    }

    async fn remove(&self, id: &VolumeId) -> Result<()> {
        step!(self, "volume.remove", remove(id))
    }

    async fn inspect(&self, id: &VolumeId, size_bytes: u64, bytes_synced: u64) -> Result<node::volume::Sight> {
        step!(self, "volume.inspect", inspect(id, size_bytes, bytes_synced))
    }

    async fn settle(&self, id: &VolumeId) -> Result<u64> {
        step!(self, "volume.settle", settle(id))
    }

    async fn set_aside(&self, id: &VolumeId, why: &str, now: Timestamp) -> Result<()> {
        step!(self, "volume.set_aside", set_aside(id, why, now))
    }

    async fn files(&self, id: &VolumeId) -> Result<node::volume::Files> {
        step!(self, "volume.files", files(id))
    }
}

#[async_trait]
impl<D: Images> Images for Faulty<D> {
    async fn list(&self) -> Result<Vec<ImageId>> {
        self.driver.list().await
    }

    async fn adopt(&self, id: &ImageId, staged: &Path) -> Result<()> {
        self.driver.adopt(id, staged).await
    }

    async fn inspect(&self, id: &ImageId) -> Result<Option<node::image::Lost>> {
        step!(self, "image.inspect", inspect(id))
    }

    async fn set_aside(&self, id: &ImageId, why: &str, now: Timestamp) -> Result<()> {
        self.driver.set_aside(id, why, now).await
    }

    async fn files(&self, id: &ImageId) -> Result<node::image::Files> {
        step!(self, "image.files", files(id))
    }

    async fn remove(&self, id: &ImageId) -> Result<()> {
        self.driver.remove(id).await
    }
}
