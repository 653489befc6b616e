//! Machines.

#[cfg(test)]
mod contract;
pub mod fake;
pub mod qemu;

use crate::Result;
use anyhow::bail;
use async_trait::async_trait;
use model::ids::{InstanceId, VolumeId};
use model::machine::{Accelerator, Disk, MachineSpec, Observed};
use model::time::Timestamp;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// The most of a console that is given out, in bytes (GetConsoleOutput, Amazon EC2 API Reference).
pub const CONSOLE_BYTES_MAX: usize = 64 * 1024;

/// Starts machines, asks after them, ends them. Every call may be repeated: a second one changes nothing.
///
/// A driver is given a [`tokio::sync::Notify`] when it is made and notifies it whenever a machine may have changed.
#[async_trait]
pub trait Hypervisor: Send + Sync {
    /// What runs the guests' instructions.
    fn accelerator(&self) -> Accelerator;

    /// The machines there is anything of: a process, or what one left. Consoles alone don't count.
    async fn list(&self) -> Result<Vec<InstanceId>>;

    /// What a machine does.
    ///
    /// # Errors
    /// If it can't be known, which must not be taken for absent.
    async fn observe(&self, id: &InstanceId) -> Result<Observed>;

    /// Starts a machine. If one of this id and run is there already, does nothing; one of an earlier run is removed first.
    /// The console of an earlier run is kept before the new one's.
    async fn start(&self, spec: &MachineSpec, parts: Parts) -> Result<()>;

    /// Presses the power button (ACPI): the guest may power itself off. `false` if the guest has halted all its processors for good, so that it
    /// can't react. Without a machine: does nothing.
    async fn power_button(&self, id: &InstanceId) -> Result<bool>;

    /// Resets the machine, also one that powered itself off, and lets it run. Without a machine: an error.
    async fn reset(&self, id: &InstanceId) -> Result<()>;

    /// Lets a machine that a disk error paused go on. It pauses again if the cause is still there. One that isn't paused is left
    /// as it is. Without a machine: an error.
    async fn resume(&self, id: &InstanceId) -> Result<()>;

    /// Copies volumes of a machine that runs, as all of them are at one moment. The guest goes on meanwhile; `progress` is told how many bytes of how
    /// many are done. `false` if there is no such machine; then nothing was copied. After an error, the copies are worth nothing.
    async fn volumes_copy(&self, id: &InstanceId, copies: &[VolumeCopy], progress: &(dyn Fn(u64, u64) + Send + Sync)) -> Result<bool>;

    /// Ends a machine at once and removes what it left, but for its console. Without a machine: does nothing.
    async fn remove(&self, id: &InstanceId) -> Result<()>;

    /// What the guest wrote to its serial console, the newest 64 KiB, and when it wrote last. `None` if it never wrote.
    async fn console(&self, id: &InstanceId) -> Result<Option<Console>>;

    /// Deletes a console, once nobody can ask for it any more.
    async fn console_remove(&self, id: &InstanceId) -> Result<()>;
}

/// The open and named parts that a machine is put together from, in the order of its [`MachineSpec`].
#[derive(Debug, Default)]
pub struct Parts {
    /// The kernel and the initramfs, if they are loaded directly.
    pub kernel: Option<(PathBuf, PathBuf)>,
    /// For each [`model::machine::Disk::Volume`], in order.
    pub volumes: Vec<crate::volume::Files>,
    /// For each interface, in order: its tap.
    pub taps: Vec<OwnedFd>,
}

impl Parts {
    /// Whether these are the parts of this machine, by kind and number.
    ///
    /// # Errors
    /// If not: the caller is wrong.
    pub fn check(&self, spec: &MachineSpec) -> Result<()> {
        let volumes = spec.disks.iter().filter(|disk| matches!(disk, Disk::Volume(_))).count();
        if self.kernel.is_some() != spec.kernel_command_line.is_some() {
            bail!("{}: a kernel without a command line, or the other way round", spec.id);
        }
        if self.volumes.len() != volumes {
            bail!("{}: {} volumes given for {volumes}", spec.id, self.volumes.len());
        }
        if self.taps.len() != spec.interfaces.len() {
            bail!("{}: {} taps given for {} interfaces", spec.id, self.taps.len(), spec.interfaces.len());
        }
        Ok(())
    }
}

/// A volume that is to be copied while its machine runs.
#[derive(Debug)]
pub struct VolumeCopy {
    /// Which one.
    pub volume: VolumeId,
    /// Where to: open for reading and writing, an empty qcow2 file of the volume's size, over the same backing file if it has one. What the
    /// backing file holds is not copied.
    pub to: File,
}

/// The end of a serial console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Console {
    /// At most 64 KiB.
    pub bytes: Vec<u8>,
    /// When the guest wrote last.
    pub written: Timestamp,
}
