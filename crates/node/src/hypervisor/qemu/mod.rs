//! Machines by QEMU.
//!
//! Each machine is a QEMU process that outlives the server, with a user of its own, and a directory (`place.rs`). What makes a restart safe is in
//! `process.rs`, what a machine is made of in `command.rs`, what is known of it in `machine.rs`.

mod accelerator;
mod backup;
mod boot;
mod capability;
mod cgroup;
mod command;
mod console;
mod halt;
mod launch;
mod machine;
mod place;
mod process;
mod qmp;
#[cfg(test)]
mod real_guest_tests;
mod sys;
#[cfg(test)]
mod test_guest;

pub use accelerator::{AcceleratorChoice, AcceleratorReport, accelerator_probe};
pub use console::helper_main;

use super::{Console, Hypervisor, Parts, VolumeCopy};
use crate::Result;
use anyhow::{Context as _, bail};
use async_trait::async_trait;
use boot::Boots;
use capability::Capabilities;
use cgroup::Cgroups;
use machine::Machine;
use model::ids::InstanceId;
use model::machine::{Accelerator, MachineSpec, Observed};
use place::Place;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, OnceCell};
use tokio::task::AbortHandle;

/// How long QEMU may take from its start to its first answer, on a host that starts many at once.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long QEMU may write out what it holds before it is killed.
const QUIT_LIMIT: Duration = Duration::from_secs(5);
/// How long a killed process may take to be gone.
const KILL_LIMIT: Duration = Duration::from_secs(10);
/// A machine of this age that is found by a new server has come up, whatever that didn't see.
const SETTLED_AGE: Duration = Duration::from_secs(120);
/// How long a console helper may take to end after its QEMU.
const HELPER_LIMIT: Duration = Duration::from_secs(2);

/// The users that machines run as, one each. Their groups have the same numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserRange {
    /// The first.
    pub base: u32,
    /// How many.
    pub count: u32,
}

impl UserRange {
    /// The first one above.
    #[must_use]
    pub fn end(self) -> u32 {
        self.base.saturating_add(self.count)
    }
}

impl Default for UserRange {
    /// Above every range that is given out by custom: system and login users, subordinate ids (up to 600,100,000), systemd's containers (up to
    /// 1,879,048,191), FreeIPA's and Active Directory's mapped users (up to 2,000,200,000); and below 2³¹.
    fn default() -> Self {
        Self { base: 2_100_000_000, count: 65_536 }
    }
}

/// How machines are run.
#[derive(Debug, Clone)]
pub struct QemuConfig {
    /// Where everything is kept: `machines/` and `consoles/` are in it.
    pub data_dir: PathBuf,
    /// QEMU's program.
    pub program: PathBuf,
    /// What is to run the guests' instructions.
    pub accelerator: AcceleratorChoice,
    /// The users that machines run as.
    pub users: UserRange,
    /// The largest packet that interfaces carry, in bytes (AWS's jumbo frames).
    pub mtu: u16,
    /// The command that starts a console helper; it calls [`helper_main`] with the arguments that are added.
    pub console_helper: Vec<OsString>,
}

impl QemuConfig {
    /// The defaults.
    #[must_use]
    pub fn new(data_dir: &Path) -> Self {
        Self {
            data_dir: data_dir.into(),
            program: "/usr/bin/qemu-system-x86_64".into(),
            accelerator: AcceleratorChoice::Auto,
            users: UserRange::default(),
            mtu: 9001,
            console_helper: vec!["/proc/self/exe".into(), "__console".into()],
        }
    }

    fn machines(&self) -> PathBuf {
        self.data_dir.join("machines")
    }

    fn console(&self, id: &InstanceId) -> PathBuf {
        console_path(&self.data_dir, id)
    }
}

fn console_path(data_dir: &Path, id: &InstanceId) -> PathBuf {
    data_dir.join("consoles").join(id.as_str())
}

/// What a console holds, from any process that may enter the data directory; it outlives the machine. `None` if nothing was ever written.
///
/// # Errors
/// If it is there but can't be read.
pub fn console_kept(data_dir: &Path, id: &InstanceId) -> Result<Option<Console>> {
    console::read(&console_path(data_dir, id))
}

/// The machines that run, from any process that may enter the data directory.
///
/// # Errors
/// If that can't be told of one.
pub fn running(data_dir: &Path) -> Result<Vec<InstanceId>> {
    let machines = data_dir.join("machines");
    let mut running = Vec::new();
    for entry in fs::read_dir(&machines).into_iter().flatten() {
        if let Some(id) = entry?.file_name().to_str().and_then(|name| name.parse().ok())
            && Place::new(&machines, &id).qemu().is_taken()?
        {
            running.push(id);
        }
    }
    Ok(running)
}

/// Connects to the interactive console of a machine, from any process that may enter the data directory.
///
/// # Errors
/// If there is no such machine, or its console helper is just being started anew.
pub fn console_connect(data_dir: &Path, id: &InstanceId) -> Result<std::os::unix::net::UnixStream> {
    Place::new(&data_dir.join("machines"), id).connect(place::CONSOLE)
}

/// The machines that have a process, as whoever may enter the data directory can tell without a driver.
///
/// # Errors
/// If the directory or a machine's lock can't be read.
pub fn machines_alive(data_dir: &Path) -> Result<Vec<InstanceId>> {
    let machines = data_dir.join("machines");
    let mut alive = Vec::new();
    let entries = match fs::read_dir(&machines) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(alive),
        other => other.with_context(|| format!("read {}", machines.display()))?,
    };
    for entry in entries {
        let name = entry.with_context(|| format!("read {}", machines.display()))?.file_name();
        let Some(id) = name.to_str().and_then(|name| name.parse::<InstanceId>().ok()) else { continue };
        if Place::new(&machines, &id).qemu().is_taken()? {
            alive.push(id);
        }
    }
    alive.sort();
    Ok(alive)
}

/// The ids of the QEMU processes of this cloud's machines.
///
/// # Errors
/// See [`machines_alive`].
pub(crate) fn processes(data_dir: &Path) -> Result<Vec<i32>> {
    let machines = data_dir.join("machines");
    let pids = machines_alive(data_dir)?.into_iter().map(|id| Place::new(&machines, &id).qemu().pid());
    pids.filter_map(Result::transpose).collect()
}

/// The user and group of a process.
#[derive(Debug, Clone, Copy)]
struct User {
    uid: u32,
    gid: u32,
}

#[derive(Default)]
struct Slot {
    /// Held by whoever starts or removes: one at a time.
    order: tokio::sync::Mutex<()>,
    machine: Mutex<Option<(Arc<Machine>, AbortHandle)>>,
}

impl Slot {
    fn machine(&self) -> Option<Arc<Machine>> {
        self.lock().as_ref().map(|(machine, _)| machine.clone())
    }

    fn put(&self, machine: Option<(Arc<Machine>, AbortHandle)>) {
        if let Some((_, task)) = std::mem::replace(&mut *self.lock(), machine) {
            task.abort();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Arc<Machine>, AbortHandle)>> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The driver.
pub struct Qemu {
    inner: Arc<Inner>,
}

struct Inner {
    config: QemuConfig,
    report: AcceleratorReport,
    capabilities: OnceCell<Capabilities>,
    cgroups: Cgroups,
    slots: Mutex<BTreeMap<InstanceId, Arc<Slot>>>,
    /// The users that machines have, dead ones too until they are removed.
    users: Mutex<BTreeSet<u32>>,
    changed: Arc<Notify>,
}

impl Drop for Qemu {
    /// QEMU takes one QMP connection at a time: the next driver's can only stand once ours has ended.
    fn drop(&mut self) {
        for slot in lock(&self.inner.slots).values() {
            slot.put(None);
        }
        self.inner.cgroups.close();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Qemu {
    /// Opens the driver, and finds the machines again that run. `changed` is notified when one may have changed.
    ///
    /// # Errors
    /// If QEMU isn't installed, the configured accelerator doesn't work, or the data directory can't be used.
    pub async fn open(config: QemuConfig, changed: Arc<Notify>) -> Result<Self> {
        if !config.program.is_file() {
            bail!("{} is not there: install QEMU (apt install qemu-system-x86)", config.program.display());
        }
        for directory in [config.machines(), config.data_dir.join("consoles")] {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&directory);
            made.with_context(|| format!("make {}", directory.display()))?;
        }
        let report = accelerator_probe(&config).await?;
        let cgroups = Cgroups::open(&cloud_name(&config.data_dir));
        if !cgroups.missing().is_empty() {
            tracing::warn!(missing = ?cgroups.missing(), "machines run without these bounds");
        }
        let inner = Arc::new(Inner {
            config,
            report,
            capabilities: OnceCell::new(),
            cgroups,
            slots: Mutex::default(),
            users: Mutex::default(),
            changed,
        });
        let this = Self { inner };
        for id in this.list().await? {
            // One that can't be judged is unknown to whoever asks for it; the others are not to suffer.
            if let Err(error) = this.inner.adopt(&id).await {
                tracing::error!(instance = %id, error = format!("{error:#}"), "a machine can't be judged");
            }
        }
        // The answer takes a moment that the first start then doesn't wait for; an error comes up again there.
        let early = this.inner.clone();
        tokio::spawn(async move { early.capabilities().await.map(drop) });
        Ok(this)
    }

    /// Which accelerator is used, and why.
    #[must_use]
    pub fn accelerator_report(&self) -> &AcceleratorReport {
        &self.inner.report
    }

    /// The bounds that machines run without here, each with the reason; empty on a host that has control groups.
    #[must_use]
    pub fn bounds_missing(&self) -> &[String] {
        self.inner.cgroups.missing()
    }
}

/// Which version of control groups bounds machines on this host, and the bounds that they run without, each with the reason. Finds out as the
/// driver does, by making a group, and removes it.
#[must_use]
pub fn bounds_probe() -> (u8, Vec<String>) {
    let cgroups = Cgroups::open(&format!("probe-{}", std::process::id()));
    cgroups.close();
    (cgroups.version(), cgroups.missing().to_vec())
}

/// Tells the control groups of several clouds on one host apart.
fn cloud_name(data_dir: &Path) -> String {
    use sha2::Digest as _;
    let path = fs::canonicalize(data_dir).unwrap_or_else(|_| data_dir.into());
    let digest = sha2::Sha256::digest(path.as_os_str().as_encoded_bytes());
    digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

impl Inner {
    fn place(&self, id: &InstanceId) -> Place {
        Place::new(&self.config.machines(), id)
    }

    fn slot(&self, id: &InstanceId) -> Arc<Slot> {
        lock(&self.slots).entry(id.clone()).or_default().clone()
    }

    fn slot_if_any(&self, id: &InstanceId) -> Option<Arc<Slot>> {
        lock(&self.slots).get(id).cloned()
    }

    async fn capabilities(&self) -> Result<Capabilities> {
        let base = self.config.users.base;
        let user = User { uid: base, gid: self.report.kvm_group.unwrap_or(base) };
        let machines = self.config.machines();
        self.capabilities.get_or_try_init(|| capability::probe(&self.config, user, &machines)).await.copied()
    }

    /// Takes up what is there of a machine: its user, and its process if that lives. The machine, if it lives.
    async fn adopt(self: &Arc<Self>, id: &InstanceId) -> Result<Option<Arc<Machine>>> {
        let place = self.place(id);
        let Some(record) = place.record() else { return Ok(None) };
        lock(&self.users).insert(record.uid);
        let Some(process) = place.qemu().process().await.with_context(|| format!("find {id}"))? else { return Ok(None) };
        tracing::info!(instance = %id, pid = process.pid, run = record.run, "machine found running");
        let boots = if place.age() > SETTLED_AGE { Boots::of_settled() } else { Boots::new(0) };
        Ok(Some(self.watch(id, record, process, boots)))
    }

    /// Waits for the end of what a slot's owner does, then looks at the machine.
    async fn find(self: &Arc<Self>, id: &InstanceId) -> Result<Option<Arc<Machine>>> {
        if let Some(machine) = self.slot_if_any(id).and_then(|slot| slot.machine()) {
            return Ok(Some(machine));
        }
        if !self.place(id).qemu().is_taken()? {
            return Ok(None);
        }
        let slot = self.slot(id);
        let _order = slot.order.lock().await;
        match slot.machine() {
            Some(machine) => Ok(Some(machine)),
            None => self.adopt(id).await,
        }
    }

    /// The same, but for one that has ended.
    async fn find_alive(self: &Arc<Self>, id: &InstanceId) -> Result<Option<Arc<Machine>>> {
        Ok(self.find(id).await?.filter(|machine| !machine.process().has_ended()))
    }

    /// Ends what there is and removes what it left, but for the console. To be called by the slot's owner.
    async fn clear(&self, id: &InstanceId, slot: &Slot) -> Result<()> {
        let place = self.place(id);
        if let Some(machine) = slot.machine()
            && !machine.process().has_ended()
        {
            if tokio::time::timeout(QUIT_LIMIT, async { machine.quit().await.is_ok() && machine.process().ended().await.is_some() })
                .await
                .is_err()
            {
                tracing::warn!(instance = %id, "QEMU didn't end when asked; killed");
            }
            machine.process().kill(KILL_LIMIT).await?;
        }
        // Not watched, or only just started by a server that died.
        if let Some(process) = place.qemu().process().await? {
            process.kill(KILL_LIMIT).await?;
        }
        slot.put(None);
        if let Some(helper) = place.console_helper().process().await?
            && tokio::time::timeout(HELPER_LIMIT, helper.ended()).await.is_err()
        {
            helper.kill(KILL_LIMIT).await?;
        }
        let kills = self.cgroups.memory_kills(id);
        if kills > 0 {
            tracing::error!(instance = %id, kills, "the kernel killed the machine's processes at their memory bound");
        }
        self.cgroups.remove(id).await?;
        let uid = place.record().map(|record| record.uid);
        tokio::task::spawn_blocking(move || place.remove()).await.context("remove a machine's directory")??;
        if let Some(uid) = uid {
            lock(&self.users).remove(&uid);
        }
        Ok(())
    }
}

#[async_trait]
impl Hypervisor for Qemu {
    fn accelerator(&self) -> Accelerator {
        self.inner.report.accelerator
    }

    async fn list(&self) -> Result<Vec<InstanceId>> {
        let machines = self.inner.config.machines();
        let read = || -> io::Result<Vec<InstanceId>> {
            let mut ids = Vec::new();
            for entry in fs::read_dir(&machines)? {
                // Other names are not ours.
                ids.extend(entry?.file_name().to_str().and_then(|name| name.parse().ok()));
            }
            ids.sort();
            Ok(ids)
        };
        read().with_context(|| format!("list {}", machines.display()))
    }

    async fn observe(&self, id: &InstanceId) -> Result<Observed> {
        match self.inner.find(id).await? {
            Some(machine) => machine.observe().await,
            None => Ok(Observed::Absent),
        }
    }

    async fn start(&self, spec: &MachineSpec, parts: Parts) -> Result<()> {
        parts.check(spec)?;
        self.inner.start(spec, parts).await.with_context(|| format!("start {}", spec.id))
    }

    async fn power_button(&self, id: &InstanceId) -> Result<bool> {
        match self.inner.find_alive(id).await? {
            Some(machine) => machine.power_button().await,
            None => Ok(true),
        }
    }

    async fn reset(&self, id: &InstanceId) -> Result<()> {
        match self.inner.find_alive(id).await? {
            Some(machine) => machine.reset().await,
            None => bail!("no machine {id} to reset"),
        }
    }

    async fn resume(&self, id: &InstanceId) -> Result<()> {
        match self.inner.find_alive(id).await? {
            Some(machine) => machine.resume().await,
            None => bail!("no machine {id} to resume"),
        }
    }

    async fn remove(&self, id: &InstanceId) -> Result<()> {
        let slot = self.inner.slot(id);
        let _order = slot.order.lock().await;
        self.inner.clear(id, &slot).await.with_context(|| format!("remove {id}"))?;
        // Nobody else waits for it: the map's and our own are the only ones.
        lock(&self.inner.slots).retain(|of, slot| of != id || Arc::strong_count(slot) > 2);
        Ok(())
    }

    async fn volumes_copy(&self, id: &InstanceId, copies: &[VolumeCopy], progress: &(dyn Fn(u64, u64) + Send + Sync)) -> Result<bool> {
        match self.inner.find_alive(id).await? {
            Some(machine) => {
                backup::copy(&machine, copies, progress).await.with_context(|| format!("copy the volumes of {id}")).map(|()| true)
            }
            None => Ok(false),
        }
    }

    async fn console(&self, id: &InstanceId) -> Result<Option<Console>> {
        console::read(&self.inner.config.console(id))
    }

    async fn console_remove(&self, id: &InstanceId) -> Result<()> {
        let path = self.inner.config.console(id);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).with_context(|| format!("remove {}", path.display())),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}
