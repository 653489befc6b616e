//! Machines without guests: what a simulated cloud runs on. They run as soon as they are started, and do nothing.

use super::{CONSOLE_BYTES_MAX, Console, Hypervisor, Parts, VolumeCopy};
use crate::Result;
use crate::fake::{Failure, Host};
use anyhow::bail;
use async_trait::async_trait;
use model::ids::InstanceId;
use model::impairment::Impairment;
use model::machine::{Accelerator, Activity, MachineSpec, Observed};
use model::time::{Clock, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::Notify;

/// A call of [`Hypervisor`] that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// [`Hypervisor::list`].
    List,
    /// [`Hypervisor::observe`].
    Observe,
    /// [`Hypervisor::start`].
    Start,
    /// [`Hypervisor::power_button`].
    PowerButton,
    /// [`Hypervisor::reset`].
    Reset,
    /// [`Hypervisor::resume`].
    Resume,
    /// [`Hypervisor::remove`].
    Remove,
    /// [`Hypervisor::console`].
    Console,
    /// [`Hypervisor::console_remove`].
    ConsoleRemove,
}

/// A machine as the simulated host holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FakeMachine {
    /// What it was started as.
    pub spec: MachineSpec,
    /// What it does; `None` for what is left of one that died.
    pub activity: Option<Activity>,
    /// How often it was reset.
    pub resets: u64,
    disk_error: Option<String>,
    ignores_power_button: bool,
    halted: bool,
}

#[derive(Debug, Default)]
struct State {
    machines: BTreeMap<InstanceId, FakeMachine>,
    consoles: BTreeMap<InstanceId, Console>,
    never_start: BTreeSet<InstanceId>,
    deaf: bool,
    starts: u64,
    changed: Option<Arc<Notify>>,
}

/// The host's side: outlives the driver, as machines outlive a process. A clone is the same host.
#[derive(Debug, Clone, Default)]
pub struct FakeHypervisorHost(Host<State, Call>);

impl FakeHypervisorHost {
    /// What is there, the remains of dead machines too.
    #[must_use]
    pub fn machines(&self) -> BTreeMap<InstanceId, FakeMachine> {
        self.0.state().machines.clone()
    }

    /// The instances that have a console.
    #[must_use]
    pub fn consoles(&self) -> BTreeSet<InstanceId> {
        self.0.state().consoles.keys().cloned().collect()
    }

    /// How many machines were ever started.
    #[must_use]
    pub fn starts(&self) -> u64 {
        self.0.state().starts
    }

    /// Makes the next call of this kind fail. Several add up, in order.
    pub fn fail_next(&self, call: Call, failure: Failure) {
        self.0.fail_next(call, failure);
    }

    /// From now on this instance can't be started.
    pub fn never_start(&self, id: &InstanceId) {
        self.0.state().never_start.insert(id.clone());
    }

    /// Whether machines that are started from now on ignore their power button. At first they obey it at once.
    pub fn ignore_power_button(&self, ignore: bool) {
        self.0.state().deaf = ignore;
    }

    /// The guest powers itself off. Like all that happens to a machine here: nothing, if there is none that runs.
    pub fn guest_power_off(&self, id: &InstanceId) {
        self.happen(id, |machine| machine.activity = Some(Activity::PoweredOff));
    }

    /// The guest halts all its processors for good. Its machine goes on.
    pub fn guest_halt(&self, id: &InstanceId) {
        self.happen(id, |machine| machine.halted = true);
    }

    /// The guest panics.
    pub fn guest_panic(&self, id: &InstanceId) {
        self.happen(id, |machine| machine.activity = Some(Activity::Crashed { reason: "the guest's kernel panicked".into() }));
    }

    /// The machine's process dies, and leaves its remains.
    pub fn die(&self, id: &InstanceId) {
        let mut state = self.0.state();
        if let Some(machine) = state.machines.get_mut(id) {
            machine.activity = None;
        }
        state.notify();
    }

    /// The disk of the machine's host has no space left, which pauses the machine, until [`Self::disk_mend`] and [`Hypervisor::resume`].
    pub fn disk_fail(&self, id: &InstanceId, reason: &str) {
        self.happen(id, |machine| {
            machine.disk_error = Some(reason.into());
            machine.activity = Some(Activity::Paused { cause: Impairment::DiskFull, reason: reason.into() });
        });
    }

    /// The disks of the machine are well again; it stays paused until it is resumed.
    pub fn disk_mend(&self, id: &InstanceId) {
        if let Some(machine) = self.0.state().machines.get_mut(id) {
            machine.disk_error = None;
        }
    }

    /// The host is started again: no machine outlives that, but what they left does.
    pub fn reboot(&self) {
        let mut state = self.0.state();
        for machine in state.machines.values_mut() {
            machine.activity = None;
        }
        state.notify();
    }

    fn happen(&self, id: &InstanceId, act: impl FnOnce(&mut FakeMachine)) {
        let mut state = self.0.state();
        if let Some(machine) = state.machines.get_mut(id)
            && machine.activity == Some(Activity::Running)
        {
            act(machine);
            state.notify();
        }
    }
}

impl State {
    fn notify(&self) {
        if let Some(changed) = &self.changed {
            changed.notify_one();
        }
    }

    /// The machine of this instance, unless it is dead.
    fn alive(&mut self, id: &InstanceId) -> Option<&mut FakeMachine> {
        self.machines.get_mut(id).filter(|machine| machine.activity.is_some())
    }

    fn start(&mut self, spec: &MachineSpec, now: Timestamp) -> Result<()> {
        if self.alive(&spec.id).is_some_and(|machine| machine.spec.run == spec.run) {
            return Ok(());
        }
        self.machines.remove(&spec.id);
        if self.never_start.contains(&spec.id) {
            bail!("simulated: {} can't be started", spec.id);
        }
        let machine = FakeMachine {
            spec: spec.clone(),
            activity: Some(Activity::Running),
            resets: 0,
            disk_error: None,
            ignores_power_button: self.deaf,
            halted: false,
        };
        self.machines.insert(spec.id.clone(), machine);
        self.starts += 1;
        let console = self.consoles.entry(spec.id.clone()).or_insert_with(|| Console { bytes: Vec::new(), written: now });
        console.bytes.extend_from_slice(announcement(&spec.id, spec.run).as_bytes());
        let excess = console.bytes.len().saturating_sub(CONSOLE_BYTES_MAX);
        console.bytes.drain(..excess);
        console.written = now;
        self.notify();
        Ok(())
    }
}

/// What stands in a simulated machine's console, so that nobody takes it for a guest's.
fn announcement(id: &InstanceId, run: u64) -> String {
    format!(
        "Pileus: this cloud is simulated (pileus serve --simulate). {id} is shown as running (start {run}), but no guest runs:\r\n\
         nothing was booted, no disk is read, and no packet will reach it.\r\n"
    )
}

/// The driver on a [`FakeHypervisorHost`].
pub struct FakeHypervisor {
    host: FakeHypervisorHost,
    clock: Arc<dyn Clock>,
}

impl FakeHypervisor {
    /// Machines on this host. `changed` is notified when one may have changed; a newer driver on the same host takes that over.
    #[must_use]
    pub fn new(host: FakeHypervisorHost, clock: Arc<dyn Clock>, changed: Arc<Notify>) -> Self {
        host.0.state().changed = Some(changed);
        Self { host, clock }
    }
}

#[async_trait]
impl Hypervisor for FakeHypervisor {
    fn accelerator(&self) -> Accelerator {
        Accelerator::Fake
    }

    async fn list(&self) -> Result<Vec<InstanceId>> {
        tokio::task::yield_now().await;
        self.host.0.call(Call::List, |state| Ok(state.machines.keys().cloned().collect()))
    }

    async fn observe(&self, id: &InstanceId) -> Result<Observed> {
        tokio::task::yield_now().await;
        self.host.0.call(Call::Observe, |state| {
            Ok(match state.machines.get(id) {
                Some(FakeMachine { spec, activity: Some(activity), .. }) => Observed::Known { run: spec.run, activity: activity.clone() },
                Some(FakeMachine { activity: None, .. }) | None => Observed::Absent,
            })
        })
    }

    async fn start(&self, spec: &MachineSpec, parts: Parts) -> Result<()> {
        tokio::task::yield_now().await;
        parts.check(spec)?;
        let now = self.clock.now();
        self.host.0.call(Call::Start, |state| state.start(spec, now))
    }

    async fn power_button(&self, id: &InstanceId) -> Result<bool> {
        tokio::task::yield_now().await;
        self.host.0.call(Call::PowerButton, |state| {
            let Some(machine) = state.alive(id) else { return Ok(true) };
            let halted = machine.halted;
            if machine.activity == Some(Activity::Running) && !machine.ignores_power_button && !halted {
                machine.activity = Some(Activity::PoweredOff);
                state.notify();
            }
            Ok(!halted)
        })
    }

    async fn reset(&self, id: &InstanceId) -> Result<()> {
        tokio::task::yield_now().await;
        self.host.0.call(Call::Reset, |state| {
            let Some(machine) = state.alive(id) else { bail!("no machine {id} to reset") };
            machine.activity = Some(Activity::Running);
            machine.halted = false;
            machine.resets += 1;
            state.notify();
            Ok(())
        })
    }

    async fn resume(&self, id: &InstanceId) -> Result<()> {
        tokio::task::yield_now().await;
        self.host.0.call(Call::Resume, |state| {
            let Some(machine) = state.alive(id) else { bail!("no machine {id} to resume") };
            if matches!(machine.activity, Some(Activity::Paused { .. })) && machine.disk_error.is_none() {
                machine.activity = Some(Activity::Running);
                state.notify();
            }
            Ok(())
        })
    }

    async fn remove(&self, id: &InstanceId) -> Result<()> {
        tokio::task::yield_now().await;
        self.host.0.call(Call::Remove, |state| {
            if state.machines.remove(id).is_some() {
                state.notify();
            }
            Ok(())
        })
    }

    async fn console(&self, id: &InstanceId) -> Result<Option<Console>> {
        tokio::task::yield_now().await;
        self.host.0.call(Call::Console, |state| Ok(state.consoles.get(id).cloned()))
    }

    async fn volumes_copy(&self, _id: &InstanceId, _copies: &[VolumeCopy], _progress: &(dyn Fn(u64, u64) + Send + Sync)) -> Result<bool> {
        // It has no disks.
        Ok(false)
    }

    async fn console_remove(&self, id: &InstanceId) -> Result<()> {
        tokio::task::yield_now().await;
        self.host.0.call(Call::ConsoleRemove, |state| {
            state.consoles.remove(id);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::hypervisor::contract::{self, Deed, Driver, Rig};
    use std::fs::File;
    use std::sync::atomic::{AtomicI64, Ordering};

    struct Ticks(AtomicI64);

    impl Clock for Ticks {
        fn now(&self) -> Timestamp {
            Timestamp(self.0.fetch_add(1, Ordering::Relaxed))
        }
    }

    fn spec(run: u64) -> MachineSpec {
        MachineSpec {
            id: "i-00000001".parse().unwrap(),
            run,
            vcpus: 1,
            memory_mib: 64,
            kernel_command_line: None,
            image_id: "ami-00000001".parse().unwrap(),
            disks: Vec::new(),
            interfaces: Vec::new(),
        }
    }

    fn open(host: &FakeHypervisorHost) -> (FakeHypervisor, Arc<Notify>) {
        let changed = Arc::new(Notify::new());
        (FakeHypervisor::new(host.clone(), Arc::new(Ticks(AtomicI64::new(1))), changed.clone()), changed)
    }

    #[async_trait]
    impl Rig for FakeHypervisorHost {
        async fn open(&self) -> Driver {
            let (hypervisor, changed) = open(self);
            Driver { hypervisor: Arc::new(hypervisor), changed }
        }

        fn machine(&self, run: u64) -> (MachineSpec, Parts) {
            (spec(run), Parts::default())
        }

        async fn happen(&self, deed: Deed) {
            let id = spec(1).id;
            match deed {
                Deed::PowerOff => self.guest_power_off(&id),
                Deed::Panic => self.guest_panic(&id),
                Deed::Die => self.die(&id),
                Deed::FillDisk => self.disk_fail(&id, "no space"),
                Deed::FreeDisk => self.disk_mend(&id),
            }
        }

        async fn up(&self, _driver: &Driver, _times: usize) {}

        fn incarnation(&self) -> String {
            self.starts().to_string()
        }
    }

    #[tokio::test]
    async fn keeps_the_contract() {
        contract::check(&FakeHypervisorHost::default()).await;
    }

    #[tokio::test]
    async fn fails_as_ordered() {
        let host = FakeHypervisorHost::default();
        let (hypervisor, _) = open(&host);
        host.fail_next(Call::Start, Failure::Refused);
        host.fail_next(Call::Start, Failure::Lost);
        assert!(hypervisor.start(&spec(1), Parts::default()).await.is_err());
        assert!(host.machines().is_empty());
        assert!(hypervisor.start(&spec(1), Parts::default()).await.is_err());
        assert_eq!(host.machines().len(), 1);
        hypervisor.start(&spec(1), Parts::default()).await.unwrap();
        assert_eq!(host.starts(), 1, "a start whose answer was lost is not done twice");
        host.never_start(&spec(1).id);
        assert!(hypervisor.start(&spec(2), Parts::default()).await.is_err());
    }

    #[tokio::test]
    async fn a_reboot_of_the_host_leaves_remains() {
        let host = FakeHypervisorHost::default();
        let (first, _) = open(&host);
        first.start(&spec(1), Parts::default()).await.unwrap();
        host.reboot();
        let (second, _) = open(&host);
        assert_eq!(second.observe(&spec(1).id).await.unwrap(), Observed::Absent);
        assert_eq!(second.list().await.unwrap(), [spec(1).id]);
        second.remove(&spec(1).id).await.unwrap();
        assert_eq!(second.list().await.unwrap(), []);
    }

    #[tokio::test]
    async fn the_newest_driver_is_notified() {
        let host = FakeHypervisorHost::default();
        let (first, _) = open(&host);
        first.start(&spec(1), Parts::default()).await.unwrap();
        let (_second, changed) = open(&host);
        host.guest_power_off(&spec(1).id);
        tokio::time::timeout(std::time::Duration::from_secs(5), changed.notified()).await.unwrap();
    }

    #[tokio::test]
    async fn a_deaf_guest_goes_on() {
        let host = FakeHypervisorHost::default();
        let (hypervisor, _) = open(&host);
        host.ignore_power_button(true);
        hypervisor.start(&spec(1), Parts::default()).await.unwrap();
        hypervisor.power_button(&spec(1).id).await.unwrap();
        assert_eq!(host.machines()[&spec(1).id].activity, Some(Activity::Running));
    }

    #[tokio::test]
    async fn the_console_says_that_no_guest_runs() {
        let host = FakeHypervisorHost::default();
        let (hypervisor, _) = open(&host);
        hypervisor.start(&spec(1), Parts::default()).await.unwrap();
        let console = hypervisor.console(&spec(1).id).await.unwrap().unwrap();
        let text = String::from_utf8(console.bytes).unwrap();
        assert!(text.contains("simulated") && text.contains("no guest runs"), "{text}");
    }

    #[tokio::test]
    async fn parts_must_match_the_spec() {
        let host = FakeHypervisorHost::default();
        let (hypervisor, _) = open(&host);
        let parts = Parts { taps: vec![File::open("/dev/null").unwrap().into()], ..Parts::default() };
        assert!(hypervisor.start(&spec(1), parts).await.is_err());
        assert!(host.machines().is_empty());
    }
}
