//! A machine's start: its user, directory, files, bounds and processes.
//!
//! The order is the point. The record is there before anything runs; the berth's lock is taken before the fork and stays with QEMU. So a server
//! that dies after any step leaves either remains that the next start clears, or a machine that the next server finds.

use super::boot::Boots;
use super::cgroup::{Bounds, Group};
use super::command::{self, DiskFds, FileFds, Open, TCG_CACHE_MIB};
use super::console::HelperFiles;
use super::machine::Machine;
use super::place::{self, Place, Record};
use super::process::{self, Launch, Process};
use super::{Capabilities, Inner, KILL_LIMIT, START_LIMIT, User, lock, sys};
use crate::Result;
use crate::hypervisor::Parts;
use crate::volume::Files;
use anyhow::{Context as _, bail};
use model::ids::InstanceId;
use model::machine::{Accelerator, Disk, MachineSpec};
use nix::libc;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

/// What QEMU and the console helper need besides the guest's memory, in MiB: measured at most 100 where KVM is used, and room for io buffers.
const OVERHEAD_MIB: u64 = 256;

impl Inner {
    /// See [`crate::hypervisor::Hypervisor::start`].
    pub(super) async fn start(self: &Arc<Self>, spec: &MachineSpec, parts: Parts) -> Result<()> {
        let slot = self.slot(&spec.id);
        let _order = slot.order.lock().await;
        let there = match slot.machine() {
            Some(machine) => Some(machine),
            None => self.adopt(&spec.id).await?,
        };
        if there.is_some_and(|machine| machine.run() == spec.run && !machine.process().has_ended()) {
            return Ok(());
        }
        self.clear(&spec.id, &slot).await.context("clear away what an earlier start left")?;
        let capabilities = self.capabilities().await?;
        let (this, copy) = (self.clone(), spec.clone());
        // Forks, and reserves disk space: not for the threads that serve requests.
        let launched = tokio::task::spawn_blocking(move || this.launch(&copy, parts, capabilities)).await.context("start a machine")?;
        let started = match launched {
            Ok((record, process)) => self.watch(&spec.id, record, process, Boots::new(0)).ready(START_LIMIT).await,
            Err(error) => Err(error),
        };
        let Err(error) = started else { return Ok(()) };
        let said = self.last_words(&spec.id).await;
        if let Err(error) = self.clear(&spec.id, &slot).await {
            tracing::warn!(instance = %spec.id, error = format!("{error:#}"), "a machine that didn't start has left something");
        }
        Err(if said.is_empty() { error } else { error.context(said) })
    }

    /// Watches a machine's process from now on.
    pub(super) fn watch(self: &Arc<Self>, id: &InstanceId, record: Record, process: Process, boots: Boots) -> Arc<Machine> {
        let place = self.place(id);
        // Weak: the machine's task must not keep the driver, whose end ends the task.
        let (weak, helper_id) = (Arc::downgrade(self), id.clone());
        let helper = Arc::new(move || match weak.upgrade() {
            Some(inner) => inner.helper_ensure(&helper_id, record),
            None => Ok(()),
        });
        let (machine, task) = Machine::watch(id.clone(), record.run, place, process, boots, self.changed.clone(), helper);
        self.slot(id).put(Some((machine.clone(), task)));
        machine
    }

    /// What QEMU said before it ended. Its helper writes that down, and ends after it.
    async fn last_words(&self, id: &InstanceId) -> String {
        let place = self.place(id);
        if let Ok(Some(helper)) = place.console_helper().process().await {
            // If it doesn't end, QEMU has not either, and what there is must do.
            let _ = tokio::time::timeout(KILL_LIMIT, helper.ended()).await;
        }
        let bytes = std::fs::read(place.log()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }

    /// A user that no other machine of this cloud has. Where it is looked for first depends on the id, so that clouds on one host rarely meet.
    fn user_take(&self, id: &InstanceId) -> Result<u32> {
        use std::hash::{DefaultHasher, Hash as _, Hasher as _};
        let mut hasher = DefaultHasher::new();
        (id, &self.config.data_dir).hash(&mut hasher);
        let range = self.config.users;
        let mut taken = lock(&self.users);
        // The first is the probes'.
        let count = range.count.saturating_sub(1);
        let start = u32::try_from(hasher.finish() % u64::from(count.max(1))).unwrap_or_default();
        let free = (0..count).map(|n| range.base + 1 + (start + n) % count).find(|uid| !taken.contains(uid));
        let Some(uid) = free else { bail!("all {count} users for machines are taken") };
        taken.insert(uid);
        Ok(uid)
    }

    fn user(&self, uid: u32) -> User {
        User { uid, gid: self.report.kvm_group.unwrap_or(uid) }
    }

    /// Everything up to the running process.
    fn launch(self: &Arc<Self>, spec: &MachineSpec, parts: Parts, capabilities: Capabilities) -> Result<(Record, Process)> {
        let place = self.place(&spec.id);
        let record = Record { run: spec.run, uid: self.user_take(&spec.id)? };
        place.make(record).inspect_err(|_| _ = lock(&self.users).remove(&record.uid))?;
        let Some(taken) = place.qemu().take()? else { bail!("another process has {}", place.directory().display()) };
        let mut inherit = Inherit::default();
        let open = open_all(&place, spec, parts, &mut inherit)?;
        let group = self.cgroups.make(&spec.id, self.bounds(spec))?;
        let (messages, output) = io::pipe().context("make a pipe")?;
        self.helper_start(&spec.id, record, &group, Some(messages.into()))?;
        let launch = Launch {
            program: self.config.program.clone().into(),
            arguments: command::arguments(spec, &open, capabilities, &self.report, self.config.mtu)?,
            inherit: inherit.0,
            uid: record.uid,
            gid: self.user(record.uid).gid,
            cgroups: group.doors()?,
            output: Some(output.into()),
            ends_with_us: false,
        };
        let process = process::start(launch, Some(taken))?;
        if !group.holds(process.pid) && !process.has_ended() {
            tracing::warn!(instance = %spec.id, "QEMU runs without bounds: it could not enter its control groups");
        }
        Ok((record, process))
    }

    fn bounds(&self, spec: &MachineSpec) -> Bounds {
        let translator = match self.report.accelerator {
            Accelerator::Tcg => u64::from(TCG_CACHE_MIB),
            Accelerator::Kvm | Accelerator::Fake => 0,
        };
        let memory_mib = u64::from(spec.memory_mib) + OVERHEAD_MIB + translator;
        Bounds { vcpus: spec.vcpus, memory_bytes: memory_mib << 20 }
    }

    /// Starts a machine's console helper, if there is none. QEMU must have its socket open already.
    fn helper_ensure(&self, id: &InstanceId, record: Record) -> Result<()> {
        let place = self.place(id);
        if place.console_helper().is_taken()? || !place.qemu().is_taken()? {
            return Ok(());
        }
        tracing::warn!(instance = %id, "the console helper has ended; started anew");
        let _ = std::fs::remove_file(place.directory().join(place::CONSOLE));
        self.helper_start(id, record, &Group::default(), None)
    }

    fn helper_start(&self, id: &InstanceId, record: Record, group: &Group, messages: Option<OwnedFd>) -> Result<()> {
        let place = self.place(id);
        let Some(taken) = place.console_helper().take()? else { return Ok(()) };
        let files = HelperFiles {
            ring: create(&self.config.console(id))?.into(),
            serial: place.connect(place::SERIAL)?.into(),
            listen: place.listen(place::CONSOLE)?.into(),
            messages,
            log: create(&place.log())?.into(),
        };
        let mut command = self.config.console_helper.iter().cloned();
        let Some(program) = command.next() else { bail!("no command for console helpers") };
        let launch = Launch {
            program,
            arguments: command.chain(files.arguments().into_iter().map(Into::into)).collect(),
            inherit: files.into_fds(),
            uid: record.uid,
            gid: self.user(record.uid).gid,
            cgroups: group.doors()?,
            output: None,
            ends_with_us: false,
        };
        process::start(launch, Some(taken)).context("start a console helper").map(drop)
    }
}

/// The files that QEMU inherits.
#[derive(Default)]
struct Inherit(Vec<OwnedFd>);

impl Inherit {
    fn add(&mut self, fd: impl Into<OwnedFd>) -> RawFd {
        let fd = fd.into();
        let raw = fd.as_raw_fd();
        self.0.push(fd);
        raw
    }
}

fn open_all(place: &Place, spec: &MachineSpec, parts: Parts, inherit: &mut Inherit) -> Result<Open> {
    let kernel = match &parts.kernel {
        Some((kernel, initramfs)) => Some((inherit.add(open_for_all(kernel)?), inherit.add(open_for_all(initramfs)?))),
        None => None,
    };
    let mut volumes = parts.volumes.iter();
    let mut disks = Vec::new();
    for disk in &spec.disks {
        disks.push(match disk {
            Disk::Volume(id) => {
                let Some(files) = volumes.next() else { bail!("{id} has no files") };
                DiskFds::Volume(id.clone(), open_chain(files, inherit)?)
            }
            Disk::InstanceStore { index, bytes } => {
                let path = place.instance_store(*index);
                let file = create(&path)?;
                sys::space_reserve(&file, *bytes).with_context(|| format!("reserve {bytes} bytes for instance storage"))?;
                DiskFds::InstanceStore(*index, open_disk(&path, true, inherit)?)
            }
        });
    }
    Ok(Open {
        qmp: inherit.add(place.listen(place::QMP)?),
        serial: inherit.add(place.listen(place::SERIAL)?),
        kernel,
        disks,
        taps: parts.taps.into_iter().map(|tap| inherit.add(tap)).collect(),
    })
}

fn open_chain(files: &Files, inherit: &mut Inherit) -> Result<Vec<FileFds>> {
    let mut chain = vec![open_disk(&files.top, true, inherit)?];
    for path in &files.backing {
        chain.push(open_disk(path, false, inherit)?);
    }
    Ok(chain)
}

fn open_disk(path: &Path, write: bool, inherit: &mut Inherit) -> Result<FileFds> {
    let open = |write: bool, flags: i32| OpenOptions::new().read(true).write(write).custom_flags(flags).open(path);
    // Some file systems have no way around the page cache.
    let direct = |write: bool| match open(write, libc::O_DIRECT) {
        Ok(file) => Ok((file, true)),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok((open(write, 0)?, false)),
        Err(error) => Err(error),
    };
    let (read, can_direct) = direct(false).with_context(|| format!("open {}", path.display()))?;
    let write = if write { Some(direct(true).with_context(|| format!("open {} for writing", path.display()))?.0) } else { None };
    Ok(FileFds { read: inherit.add(read), write: write.map(|file| inherit.add(file)), direct: can_direct })
}

/// Opens a file that QEMU will open again by its descriptor, which takes a right to read it. Since nobody else reaches it, its directory being
/// root's, all may have that.
fn open_for_all(path: &Path) -> Result<File> {
    let open = || -> io::Result<File> {
        let file = File::open(path)?;
        let meta = file.metadata()?;
        if meta.mode() & 0o004 == 0 {
            file.set_permissions(PermissionsExt::from_mode(meta.mode() & 0o777 | 0o444))?;
        }
        Ok(file)
    };
    open().with_context(|| format!("open {}", path.display()))
}

fn create(path: &Path) -> Result<File> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    file.with_context(|| format!("open {}", path.display()))
}
