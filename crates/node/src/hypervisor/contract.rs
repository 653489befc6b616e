//! What every [`Hypervisor`] must do, with guests that do what they are told.
#![allow(clippy::unwrap_used)]

use super::{Hypervisor, Parts};
use async_trait::async_trait;
use model::ids::InstanceId;
use model::impairment::Impairment;
use model::machine::{Activity, MachineSpec, Observed};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::timeout;

/// How long a guest may take to do what it was told, on a busy host without hardware virtualization.
const GUEST_LIMIT: Duration = Duration::from_secs(240);

/// What happens in or to a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// It powers itself off.
    PowerOff,
    /// Its kernel panics.
    Panic,
    /// What runs it is killed.
    Die,
    /// It writes to a disk whose host has no space left.
    FillDisk,
    /// The host has space again.
    FreeDisk,
}

/// A host under test.
#[async_trait]
pub(crate) trait Rig: Sync {
    /// Opens the driver anew on the same host, as a restarted server does; what was opened before is gone.
    async fn open(&self) -> Driver;
    /// A machine, with its guest, and what it is put together from.
    fn machine(&self, run: u64) -> (MachineSpec, Parts);
    /// Makes something happen. Of a guest only once it is up.
    async fn happen(&self, deed: Deed);
    /// Waits until the guest has come up this many times, counted by itself.
    async fn up(&self, driver: &Driver, times: usize);
    /// Tells one incarnation of a machine from the next.
    fn incarnation(&self) -> String;
}

/// An open driver, and what it notifies.
pub(crate) struct Driver {
    pub(crate) hypervisor: Arc<dyn Hypervisor>,
    pub(crate) changed: Arc<Notify>,
}

impl Driver {
    /// Waits until the machine does this, led by notifications alone: a driver that forgets one fails.
    pub(crate) async fn until(&self, id: &InstanceId, what: &str, done: impl Fn(&Observed) -> bool) -> Observed {
        loop {
            let observed = self.hypervisor.observe(id).await.unwrap();
            if done(&observed) {
                return observed;
            }
            let notified = timeout(GUEST_LIMIT, self.changed.notified()).await;
            assert!(notified.is_ok(), "{what}: no notification while {observed:?}");
        }
    }

    /// Waits for an activity.
    pub(crate) async fn until_does(&self, id: &InstanceId, what: &str, done: impl Fn(&Activity) -> bool) {
        self.until(id, what, |observed| matches!(observed, Observed::Known { activity, .. } if done(activity))).await;
    }

    pub(crate) async fn console(&self, id: &InstanceId) -> String {
        let console = self.hypervisor.console(id).await.unwrap();
        console.map(|console| String::from_utf8_lossy(&console.bytes).into_owned()).unwrap_or_default()
    }
}

fn running(run: u64) -> Observed {
    Observed::Known { run, activity: Activity::Running }
}

fn powered_off(run: u64) -> Observed {
    Observed::Known { run, activity: Activity::PoweredOff }
}

/// Checks a driver.
pub(crate) async fn check(rig: &dyn Rig) {
    let id = rig.machine(1).0.id;
    nothing_there(&rig.open().await, &id).await;
    started_once_and_found_again(rig, &id).await;
    powered_off_and_reset(rig, &id).await;
    paused_by_its_disk(rig, &id).await;
    crashed(rig, &id).await;
    killed_and_started_again(rig, &id).await;
    replaced_and_removed(rig, &id).await;
}

async fn nothing_there(driver: &Driver, id: &InstanceId) {
    let hypervisor = &driver.hypervisor;
    assert_eq!(hypervisor.list().await.unwrap(), []);
    assert_eq!(hypervisor.observe(id).await.unwrap(), Observed::Absent);
    hypervisor.power_button(id).await.unwrap();
    hypervisor.remove(id).await.unwrap();
    hypervisor.console_remove(id).await.unwrap();
    assert!(hypervisor.reset(id).await.is_err());
    assert!(hypervisor.resume(id).await.is_err());
    assert_eq!(hypervisor.console(id).await.unwrap(), None);
    assert_eq!(hypervisor.list().await.unwrap(), [], "asking makes nothing");
}

async fn started_once_and_found_again(rig: &dyn Rig, id: &InstanceId) {
    let driver = rig.open().await;
    let (spec, parts) = rig.machine(1);
    driver.hypervisor.start(&spec, parts).await.unwrap();
    assert_eq!(driver.hypervisor.observe(id).await.unwrap(), running(1));
    let incarnation = rig.incarnation();
    let (spec, parts) = rig.machine(1);
    driver.hypervisor.start(&spec, parts).await.unwrap();
    rig.up(&driver, 1).await;
    let first_console = driver.console(id).await;
    assert!(!first_console.is_empty());
    drop(driver);

    let driver = rig.open().await;
    assert_eq!(driver.hypervisor.list().await.unwrap(), std::slice::from_ref(id));
    assert_eq!(driver.hypervisor.observe(id).await.unwrap(), running(1));
    let (spec, parts) = rig.machine(1);
    driver.hypervisor.start(&spec, parts).await.unwrap();
    assert_eq!(rig.incarnation(), incarnation, "started once");
    assert!(driver.console(id).await.starts_with(&first_console));
}

async fn powered_off_and_reset(rig: &dyn Rig, id: &InstanceId) {
    let driver = rig.open().await;
    driver.hypervisor.power_button(id).await.unwrap();
    driver.until(id, "the power button", |observed| *observed == powered_off(1)).await;
    driver.hypervisor.power_button(id).await.unwrap();
    driver.hypervisor.reset(id).await.unwrap();
    assert_eq!(driver.hypervisor.observe(id).await.unwrap(), running(1));
    rig.up(&driver, 2).await;

    rig.happen(Deed::PowerOff).await;
    driver.until(id, "a power-off of the guest's own", |observed| *observed == powered_off(1)).await;
    drop(driver);
    let driver = rig.open().await;
    assert_eq!(driver.hypervisor.observe(id).await.unwrap(), powered_off(1), "also to the next server");
    driver.hypervisor.reset(id).await.unwrap();
    rig.up(&driver, 3).await;
}

async fn paused_by_its_disk(rig: &dyn Rig, id: &InstanceId) {
    let driver = rig.open().await;
    rig.happen(Deed::FillDisk).await;
    let paused =
        |activity: &Activity| matches!(activity, Activity::Paused { cause: Impairment::DiskFull, reason } if reason.contains("no space"));
    driver.until_does(id, "a full disk", paused).await;
    drop(driver);
    let driver = rig.open().await;
    driver.until_does(id, "a full disk, seen by the next server", paused).await;
    driver.hypervisor.resume(id).await.unwrap();
    driver.until_does(id, "a disk that is still full", paused).await;
    rig.happen(Deed::FreeDisk).await;
    driver.hypervisor.resume(id).await.unwrap();
    driver.until(id, "a disk with space", |observed| *observed == running(1)).await;
    driver.hypervisor.resume(id).await.unwrap();
    assert_eq!(driver.hypervisor.observe(id).await.unwrap(), running(1), "resuming what runs changes nothing");
}

async fn crashed(rig: &dyn Rig, id: &InstanceId) {
    let driver = rig.open().await;
    rig.happen(Deed::Panic).await;
    let is_crashed = |activity: &Activity| matches!(activity, Activity::Crashed { reason } if reason.contains("panicked"));
    driver.until_does(id, "a panic", is_crashed).await;
    drop(driver);
    let driver = rig.open().await;
    driver.until_does(id, "a panic, seen by the next server", is_crashed).await;
    driver.hypervisor.reset(id).await.unwrap();
    driver.until(id, "a reset after a panic", |observed| *observed == running(1)).await;
}

async fn killed_and_started_again(rig: &dyn Rig, id: &InstanceId) {
    let driver = rig.open().await;
    let incarnation = rig.incarnation();
    rig.happen(Deed::Die).await;
    driver.until(id, "a killed machine", |observed| *observed == Observed::Absent).await;
    assert_eq!(driver.hypervisor.list().await.unwrap(), std::slice::from_ref(id), "remains are listed");
    driver.hypervisor.power_button(id).await.unwrap();
    assert!(driver.hypervisor.reset(id).await.is_err());
    assert!(driver.hypervisor.resume(id).await.is_err());
    let (spec, parts) = rig.machine(1);
    driver.hypervisor.start(&spec, parts).await.unwrap();
    assert_eq!(driver.hypervisor.observe(id).await.unwrap(), running(1));
    assert_ne!(rig.incarnation(), incarnation);
}

async fn replaced_and_removed(rig: &dyn Rig, id: &InstanceId) {
    let driver = rig.open().await;
    let first_console = driver.console(id).await;
    let incarnation = rig.incarnation();
    let (spec, parts) = rig.machine(2);
    driver.hypervisor.start(&spec, parts).await.unwrap();
    assert_eq!(driver.hypervisor.observe(id).await.unwrap(), running(2));
    assert_ne!(rig.incarnation(), incarnation);
    let console = driver.console(id).await;
    // What the earlier run wrote in between is there too.
    assert!(console.starts_with(&first_console), "an earlier run's console is kept");

    driver.hypervisor.remove(id).await.unwrap();
    driver.hypervisor.remove(id).await.unwrap();
    assert_eq!(driver.hypervisor.observe(id).await.unwrap(), Observed::Absent);
    assert_eq!(driver.hypervisor.list().await.unwrap(), []);
    drop(driver);
    let driver = rig.open().await;
    assert_eq!(driver.hypervisor.list().await.unwrap(), []);
    assert!(driver.console(id).await.starts_with(&first_console), "a console outlives its machine");
    driver.hypervisor.console_remove(id).await.unwrap();
    driver.hypervisor.console_remove(id).await.unwrap();
    assert_eq!(driver.hypervisor.console(id).await.unwrap(), None);
}
