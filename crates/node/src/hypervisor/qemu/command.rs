//! A machine as QEMU's command line. Pure: every file is already open, and named by its descriptor's number.
//!
//! Nothing here names a path that needs a permission, so QEMU runs as a user that may open nothing. Disks are fdsets (`-add-fd`): QEMU picks from
//! a set the descriptor whose access mode it wants, so a file that is written needs two. Where a guest sees what, and why:
//!
//! ```text
//!   pcie.0  2    primary interface     fixed places, so that the guest's names for them don't depend on what else it has
//!           3    root disk
//!           4    bridge                other interfaces and volumes, and what will be plugged in later (by ACPI)
//!           8    random numbers
//!           16–  instance storage      NVMe devices don't fit below a bridge of the old kind
//! ```
//! One bridge, not a PCIe root port a device: 28 ports cost a guest 0.5 s of its 2 s of booting where QEMU translates, and plugging into the
//! bridge is as quick.

use super::accelerator::AcceleratorReport;
use super::capability::{Aio, Capabilities};
use crate::Result;
use anyhow::bail;
use model::ids::{InstanceId, VolumeId};
use model::machine::{Accelerator, MachineSpec};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::ffi::OsString;
use std::os::fd::RawFd;

/// How many volumes and interfaces a machine may have besides its root disk and its primary interface: about Nitro's limit ("Amazon EBS volume
/// limits for EC2 instances"), and no more than the bridge's 31.
const BRIDGE_SLOTS: usize = 28;
/// How many instance store volumes a machine may have: no instance type has more than 24 of them, and those that we have, 2.
const INSTANCE_STORE_SLOTS: u32 = 12;
/// The translator's cache, in MiB: QEMU's own choice of up to 1 GiB would be most of a small machine's footprint.
pub(crate) const TCG_CACHE_MIB: u32 = 128;
/// How long the firmware waits before it tries again when nothing boots, in milliseconds. [`super::boot`] counts the tries.
const REBOOT_TIMEOUT_MILLIS: u32 = 3000;

/// An open file: for reading, and for reading and writing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FileFds {
    /// Opened for reading.
    pub(crate) read: RawFd,
    /// Opened for both, if it is to be written.
    pub(crate) write: Option<RawFd>,
    /// Whether its file system can do without the page cache (`O_DIRECT`).
    pub(crate) direct: bool,
}

/// An open disk.
#[derive(Debug, Clone)]
pub(crate) enum DiskFds {
    /// A volume: its qcow2 files, the topmost first.
    Volume(VolumeId, Vec<FileFds>),
    /// Instance storage: a raw file.
    InstanceStore(u32, FileFds),
}

/// Everything a machine is given.
#[derive(Debug)]
pub(crate) struct Open {
    /// The listening socket for QMP.
    pub(crate) qmp: RawFd,
    /// The listening socket for the serial port, to which the console helper is connected already.
    pub(crate) serial: RawFd,
    /// The kernel and the initramfs.
    pub(crate) kernel: Option<(RawFd, RawFd)>,
    /// In the order of the spec.
    pub(crate) disks: Vec<DiskFds>,
    /// In the order of the spec.
    pub(crate) taps: Vec<RawFd>,
}

struct Builder {
    arguments: Vec<OsString>,
    sets: u32,
    bridge_slots: usize,
    capabilities: Capabilities,
}

impl Builder {
    fn words(&mut self, words: &str) {
        self.arguments.extend(words.split_whitespace().map(OsString::from));
    }

    fn option(&mut self, option: &str, value: impl Into<OsString>) {
        self.arguments.extend([option.into(), value.into()]);
    }

    fn blockdev(&mut self, node: &Value) {
        self.option("-blockdev", node.to_string());
    }

    /// The next free place below the bridge.
    fn slot(&mut self) -> Result<String> {
        if self.bridge_slots >= BRIDGE_SLOTS {
            bail!("more than {BRIDGE_SLOTS} volumes and interfaces besides the first ones");
        }
        self.bridge_slots += 1;
        Ok(format!("bus=bridge,addr={:#x}", self.bridge_slots))
    }

    /// The node of an open file.
    fn file(&mut self, node_name: &str, fds: FileFds, through_cache: bool) {
        self.sets += 1;
        for fd in [Some(fds.read), fds.write].into_iter().flatten() {
            self.option("-add-fd", format!("fd={fd},set={}", self.sets));
        }
        let direct = fds.direct && !through_cache;
        let wanted = self.capabilities.aio;
        let aio = if wanted == Aio::Native && !direct { Aio::Threads } else { wanted };
        self.blockdev(&json!({
            "driver": "file", "node-name": node_name, "filename": format!("/dev/fdset/{}", self.sets), "read-only": fds.write.is_none(),
            "aio": aio.word(), "cache": { "direct": direct, "no-flush": false }, "discard": "unmap",
        }));
    }

    /// The nodes of a volume, and the name of the uppermost. What is below the top is read by many machines: the page cache holds it once.
    fn chain(&mut self, id: &VolumeId, files: &[FileFds]) -> Result<String> {
        let mut below: Option<String> = None;
        for (depth, fds) in files.iter().enumerate().rev() {
            let (file, node) = (format!("{id}-f{depth}"), format!("{id}-q{depth}"));
            self.file(&file, *fds, depth > 0);
            let mut description =
                json!({ "driver": "qcow2", "node-name": node, "file": file, "backing": below, "read-only": fds.write.is_none() });
            if fds.write.is_some() {
                description["cache"] = json!({ "direct": fds.direct, "no-flush": false });
                description["discard"] = "unmap".into();
                description["detect-zeroes"] = "unmap".into();
            }
            self.blockdev(&description);
            below = Some(node);
        }
        match below {
            Some(top) => Ok(top),
            None => bail!("{id} has no file"),
        }
    }
}

/// The arguments that start this machine.
///
/// # Errors
/// If it has more parts than fit, or needs a device that QEMU lacks.
pub(crate) fn arguments(
    spec: &MachineSpec,
    open: &Open,
    capabilities: Capabilities,
    accelerator: &AcceleratorReport,
    mtu: u16,
) -> Result<Vec<OsString>> {
    let mut builder = Builder { arguments: Vec::new(), sets: 0, bridge_slots: 0, capabilities };
    machine(&mut builder, spec, accelerator);
    firmware_tables(&mut builder, &spec.id);
    // The socket of QMP takes its client when one comes; that of the serial port has its client waiting, and no output is lost.
    builder.option("-chardev", format!("socket,id=qmp,fd={},server=on,wait=off", open.qmp));
    builder.words("-mon chardev=qmp,mode=control");
    builder.option("-chardev", format!("socket,id=serial,fd={},server=on,wait=on", open.serial));
    builder.words("-device isa-serial,chardev=serial");
    builder.words("-device pcie-pci-bridge,id=bridge,bus=pcie.0,addr=0x4");
    builder.words("-object rng-builtin,id=rng -device virtio-rng-pci,rng=rng,bus=pcie.0,addr=0x8");
    if capabilities.vmgenid {
        builder.words("-device vmgenid,guid=auto");
    }
    if capabilities.pvpanic {
        builder.words("-device pvpanic -action panic=pause");
    }
    interfaces(&mut builder, spec, &open.taps, mtu)?;
    disks(&mut builder, &open.disks)?;
    if let (Some((kernel, initramfs)), Some(command_line)) = (open.kernel, &spec.kernel_command_line) {
        builder.option("-kernel", format!("/proc/self/fd/{kernel}"));
        builder.option("-initrd", format!("/proc/self/fd/{initramfs}"));
        builder.option("-append", command_line);
    }
    Ok(builder.arguments)
}

fn machine(builder: &mut Builder, spec: &MachineSpec, accelerator: &AcceleratorReport) {
    builder.words("-nodefaults -no-user-config -display none -no-shutdown -rtc base=utc");
    if builder.capabilities.sandbox {
        builder.words("-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
    }
    builder.option("-name", format!("guest={}", spec.id));
    // Without graphics the firmware speaks on the serial port, so that a disk that doesn't boot can be read of in the console.
    builder.words("-machine q35,graphics=off,vmport=off,dump-guest-core=off");
    match accelerator.accelerator {
        Accelerator::Kvm => builder.words("-accel kvm -cpu host"),
        Accelerator::Tcg | Accelerator::Fake => {
            let threads = if builder.capabilities.tcg_threads { "multi" } else { "single" };
            builder.option("-accel", format!("tcg,thread={threads},tb-size={TCG_CACHE_MIB}"));
            builder.words("-cpu max");
        }
    }
    builder.option("-smp", format!("{0},sockets=1,cores={0},threads=1", spec.vcpus));
    builder.option("-m", format!("size={}M", spec.memory_mib));
    // EC2 instances know no sleep; a guest that tried would never wake.
    builder.words("-global ICH9-LPC.disable_s3=1 -global ICH9-LPC.disable_s4=1");
    builder.option("-boot", format!("strict=on,reboot-timeout={REBOOT_TIMEOUT_MILLIS}"));
}

/// What a guest reads of its maker: cloud-init takes it for EC2 if the system's UUID and serial number are the same and start with `ec2`
/// ("Inspecting the system UUID", Amazon EC2 User Guide); the board's asset tag is the instance's id, as on Nitro.
fn firmware_tables(builder: &mut Builder, id: &InstanceId) {
    let uuid = uuid(id);
    builder.option("-uuid", &uuid);
    builder.option("-smbios", "type=0,vendor=Amazon EC2,version=1.0");
    builder.option("-smbios", format!("type=1,manufacturer=Amazon EC2,product=Pileus,uuid={uuid},serial={uuid}"));
    builder.option("-smbios", format!("type=2,manufacturer=Amazon EC2,asset={id}"));
    builder.option("-smbios", "type=3,manufacturer=Amazon EC2,asset=Amazon EC2");
}

/// An instance's UUID: the same at each start.
pub(crate) fn uuid(id: &InstanceId) -> String {
    let digest = Sha256::digest(id.as_str().as_bytes());
    let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("ec2{}-{}-{}-{}-{}", part(3, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}

fn interfaces(builder: &mut Builder, spec: &MachineSpec, taps: &[RawFd], mtu: u16) -> Result<()> {
    for (index, (interface, tap)) in spec.interfaces.iter().zip(taps).enumerate() {
        let place = if index == 0 { "bus=pcie.0,addr=0x2".into() } else { builder.slot()? };
        builder.option("-netdev", format!("tap,id={}-tap,fd={tap}", interface.id));
        // No option ROM: instances don't boot from the network.
        builder.option(
            "-device",
            format!("virtio-net-pci,id={0},netdev={0}-tap,mac={1},host_mtu={mtu},romfile=,{place}", interface.id, interface.mac),
        );
    }
    Ok(())
}

fn disks(builder: &mut Builder, disks: &[DiskFds]) -> Result<()> {
    let mut nvme = false;
    for (index, disk) in disks.iter().enumerate() {
        match disk {
            DiskFds::Volume(id, files) => {
                let node = builder.chain(id, files)?;
                let place = if index == 0 { "bus=pcie.0,addr=0x3,bootindex=1".into() } else { builder.slot()? };
                // As EBS shows it: the id without its dash, 20 characters.
                let serial = id.as_str().replace('-', "");
                builder.option(
                    "-device",
                    format!("virtio-blk-pci,id={id},drive={node},serial={serial},werror=stop,rerror=stop,write-cache=on,{place}"),
                );
            }
            DiskFds::InstanceStore(number, fds) => {
                if !builder.capabilities.nvme {
                    bail!("this QEMU has no nvme device for instance storage");
                }
                if *number >= INSTANCE_STORE_SLOTS {
                    bail!("more than {INSTANCE_STORE_SLOTS} instance store volumes");
                }
                if !nvme {
                    // On EC2 the first NVMe device of such an instance is its root volume. Ours is none, and a controller without a disk takes its number.
                    builder.words("-device nvme,id=nvme-root,serial=none,bus=pcie.0,addr=0x10");
                    nvme = true;
                }
                let (file, node) = (format!("instance-store-f{number}"), format!("instance-store-r{number}"));
                builder.file(&file, *fds, false);
                builder.blockdev(
                    &json!({ "driver": "raw", "node-name": node, "file": file, "discard": "unmap", "cache": { "direct": fds.direct } }),
                );
                let place = format!("bus=pcie.0,addr={:#x}", 0x11 + number);
                builder.option("-device", format!("nvme,id=instance-store-{number},drive={node},serial=AWS{number:017},{place}"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
