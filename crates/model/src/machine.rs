//! A machine as a hypervisor is told to run it, and as it is found.

use crate::ids::{ImageId, InstanceId, NetworkInterfaceId, VolumeId};
use crate::impairment::Impairment;
use crate::network_interface::Mac;

/// What a machine is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineSpec {
    /// The instance it runs.
    pub id: InstanceId,
    /// Counts the instance's starts: an observation of an earlier run says nothing of this one.
    pub run: u64,
    /// Virtual processors.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// `Some` to load the image's kernel directly, with this command line; `None` to let the firmware boot the first disk.
    pub kernel_command_line: Option<String>,
    /// The image whose kernel and initramfs are loaded, if any are, and on which the root disk stands.
    pub image_id: ImageId,
    /// The disks, the root first.
    pub disks: Vec<Disk>,
    /// The interfaces, the primary one first.
    pub interfaces: Vec<Interface>,
}

/// A disk of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disk {
    /// A volume: a virtio-blk device whose serial is the volume's id without its dash (as EBS shows it).
    Volume(VolumeId),
    /// Instance storage: an NVMe device that is blank at each start.
    InstanceStore {
        /// Counts them from 0.
        index: u32,
        /// Size in bytes.
        bytes: u64,
    },
}

/// An interface of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its id.
    pub id: NetworkInterfaceId,
    /// Its Ethernet address.
    pub mac: Mac,
}

/// Which processor runs the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// The host's own, by hardware virtualization.
    Kvm,
    /// QEMU's translator.
    Tcg,
    /// None: a simulated machine.
    Fake,
}

/// What a hypervisor knows of a machine. An error of the call itself means *unknown*, which is never taken for absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observed {
    /// There is no such machine, and it left no trace of a clean end: never started, removed, killed, or gone with the host.
    Absent,
    /// There is one, of this run.
    Known {
        /// The run it was started as.
        run: u64,
        /// What it does.
        activity: Activity,
    },
}

/// What a machine does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Activity {
    /// Its processors run.
    Running,
    /// It stands still since a disk gave an error (no space, or I/O): it goes on when the cause is gone.
    Paused {
        /// What kind of error.
        cause: Impairment,
        /// Which disk, and what it said; for the operator.
        reason: String,
    },
    /// The guest powered itself off; what is left waits to be removed.
    PoweredOff,
    /// The guest asked for a reset and waits for it, or panicked.
    Crashed {
        /// What is known of it.
        reason: String,
    },
}
