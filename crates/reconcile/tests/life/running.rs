//! The server's way of running, on simulated time.

use crate::world::{Cloud, CrashAt, World, id, image_id};
use anyhow::Result;
use async_trait::async_trait;
use model::fault::{Faults, NoFaults};
use model::ids::InstanceId;
use model::instance::{Event, ShutdownBehavior};
use model::machine::{Accelerator, MachineSpec, Observed};
use model::time::{Clock, Timestamp};
use node::hypervisor::{Console, Hypervisor, Parts, VolumeCopy};
use reconcile::Drivers;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::{Mode, Store};
use tokio::sync::watch;
use tokio::time::Instant;

/// How long a start takes.
const START: Duration = Duration::from_millis(200);

/// The runtime's time, which stands still while there is work.
struct RuntimeClock(Instant);

impl Clock for RuntimeClock {
    fn now(&self) -> Timestamp {
        Timestamp(1_795_478_400_000 + i64::try_from(self.0.elapsed().as_millis()).unwrap())
    }
}

/// A hypervisor that takes its time, hangs at one instance and panics at another.
struct Slow {
    inner: Arc<dyn Hypervisor>,
    hangs_at: Option<InstanceId>,
    panics_at: Option<InstanceId>,
    calls: Arc<Calls>,
}

#[derive(Default)]
struct Calls {
    observed: AtomicU64,
    starting: AtomicU64,
    starting_most: AtomicU64,
    started: Mutex<BTreeMap<InstanceId, Instant>>,
}

#[async_trait]
impl Hypervisor for Slow {
    fn accelerator(&self) -> Accelerator {
        self.inner.accelerator()
    }
    async fn list(&self) -> Result<Vec<InstanceId>> {
        self.inner.list().await
    }
    async fn observe(&self, id: &InstanceId) -> Result<Observed> {
        self.calls.observed.fetch_add(1, Ordering::SeqCst);
        self.inner.observe(id).await
    }
    async fn start(&self, spec: &MachineSpec, parts: Parts) -> Result<()> {
        assert_ne!(self.panics_at.as_ref(), Some(&spec.id), "a driver with a mistake");
        if self.hangs_at.as_ref() == Some(&spec.id) {
            std::future::pending::<()>().await;
        }
        let starting = self.calls.starting.fetch_add(1, Ordering::SeqCst) + 1;
        self.calls.starting_most.fetch_max(starting, Ordering::SeqCst);
        tokio::time::sleep(START).await;
        self.calls.starting.fetch_sub(1, Ordering::SeqCst);
        self.calls.started.lock().unwrap().entry(spec.id.clone()).or_insert_with(Instant::now);
        self.inner.start(spec, parts).await
    }
    async fn power_button(&self, id: &InstanceId) -> Result<bool> {
        self.inner.power_button(id).await
    }
    async fn reset(&self, id: &InstanceId) -> Result<()> {
        self.inner.reset(id).await
    }
    async fn resume(&self, id: &InstanceId) -> Result<()> {
        self.inner.resume(id).await
    }
    async fn volumes_copy(&self, id: &InstanceId, copies: &[VolumeCopy], progress: &(dyn Fn(u64, u64) + Send + Sync)) -> Result<bool> {
        self.inner.volumes_copy(id, copies, progress).await
    }
    async fn remove(&self, id: &InstanceId) -> Result<()> {
        self.inner.remove(id).await
    }
    async fn console(&self, id: &InstanceId) -> Result<Option<Console>> {
        self.inner.console(id).await
    }
    async fn console_remove(&self, id: &InstanceId) -> Result<()> {
        self.inner.console_remove(id).await
    }
}

struct Server {
    cloud: Cloud,
    calls: Arc<Calls>,
    stop: watch::Sender<bool>,
    loops: tokio::task::JoinHandle<()>,
    _directory: tempfile::TempDir,
}

impl Server {
    fn open(world: &World, faults: Arc<dyn Faults>, slow: impl FnOnce(&mut Slow)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.db");
        let (store, writer) = Store::open_without_thread(&path, Mode::Simulated, Arc::new(NoFaults)).unwrap();
        tokio::spawn(writer.run());
        let calls = Arc::new(Calls::default());
        let kept = calls.clone();
        let clock = Arc::new(RuntimeClock(Instant::now()));
        let cloud = Cloud::on_store(world, store, clock, faults, |drivers| {
            let mut hypervisor = Slow { inner: drivers.hypervisor, hangs_at: None, panics_at: None, calls: kept };
            slow(&mut hypervisor);
            Drivers { hypervisor: Arc::new(hypervisor), ..drivers }
        });
        let (stop, stopping) = watch::channel(false);
        let loops = tokio::spawn(cloud.reconciler.clone().run(stopping));
        Self { cloud, calls, stop, loops, _directory: directory }
    }

    /// Waits until an instance is in a state, and says how long that took.
    async fn wait(&self, n: u8, state: &str) -> Duration {
        let begin = Instant::now();
        let mut commits = self.cloud.store.changed();
        while self.cloud.state(n) != state {
            let waited = tokio::time::timeout(Duration::from_secs(1_000), commits.changed()).await;
            assert!(waited.is_ok(), "{} stays {}: {:?}", id(n), self.cloud.state(n), self.cloud.reconciler.status());
        }
        begin.elapsed()
    }
}

fn nothing(_: &mut Slow) {}

#[tokio::test(start_paused = true)]
async fn nothing_sleeps_on_the_way_to_a_running_machine() {
    let world = World::default();
    let server = Server::open(&world, Arc::new(NoFaults), nothing);
    tokio::time::sleep(Duration::from_secs(3)).await;
    server.cloud.launch(1..=1, ShutdownBehavior::Stop).await;
    assert!(server.wait(1, "running").await < START + Duration::from_millis(5));
    // The drivers' news wake the loops, too.
    world.machines.guest_power_off(&id(1));
    assert!(server.wait(1, "stopped").await < Duration::from_millis(200));
}

#[tokio::test(start_paused = true)]
async fn of_thirty_launches_none_is_stuck_and_the_first_ones_wait_for_themselves_only() {
    let world = World::default();
    let server = Server::open(&world, Arc::new(NoFaults), |slow| slow.hangs_at = Some(id(3)));
    let begin = Instant::now();
    server.cloud.launch(1..=30, ShutdownBehavior::Stop).await;
    tokio::time::sleep(START + Duration::from_millis(5)).await;
    let first = (1..=30).filter(|n| server.cloud.state(*n) == "running").count();
    assert!(first >= 7, "only {first} run");
    for n in (1..=30).filter(|n| *n != 3) {
        server.wait(n, "running").await;
    }
    assert!(begin.elapsed() < 6 * START, "{:?}", begin.elapsed());
    assert!(server.calls.starting_most.load(Ordering::SeqCst) <= 8);
    assert_eq!(world.network.changes(), 1, "they share one change of the VPC");
    // The one whose driver never answers ends, too, with a reason.
    server.wait(3, "terminated").await;
    assert_eq!(server.cloud.reason(3), "Server.InternalError: Internal error on launch: its machine could not be started");
    assert_eq!(world.machines.machines().len(), 29);
    assert!(server.cloud.reconciler.notes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_of_the_host_the_oldest_are_started_first() {
    const COUNT: u8 = 30;
    let world = World::default();
    let server = Server::open(&world, Arc::new(NoFaults), nothing);
    server.cloud.launch(1..=COUNT, ShutdownBehavior::Stop).await;
    for n in 1..=COUNT {
        server.wait(n, "running").await;
        // Their ids say nothing of their age.
        server.cloud.change(n, move |instance| instance.launch_time = Timestamp(i64::from(n * 7 % 31))).await;
    }
    server.stop.send_replace(true);
    let Server { cloud, loops, _directory, .. } = server;
    loops.await.unwrap();
    world.restart();
    let calls = Arc::new(Calls::default());
    let kept = calls.clone();
    let again = Cloud::on_store(&world, cloud.store.clone(), Arc::new(RuntimeClock(Instant::now())), Arc::new(NoFaults), |drivers| {
        Drivers { hypervisor: Arc::new(Slow { inner: drivers.hypervisor, hangs_at: None, panics_at: None, calls: kept }), ..drivers }
    });
    let (_stop, stopping) = watch::channel(false);
    tokio::spawn(again.reconciler.clone().run(stopping));
    tokio::time::sleep(10 * START).await;
    let started = calls.started.lock().unwrap().clone();
    let mut order: Vec<u8> = (1..=COUNT).collect();
    order.sort_by_key(|n| n * 7 % 31);
    let at: Vec<Instant> = order.iter().map(|n| started[&id(*n)]).collect();
    assert!(at.is_sorted(), "{at:?}");
    assert!(calls.starting_most.load(Ordering::SeqCst) <= 8);
    assert!((1..=COUNT).all(|n| again.state(n) == "running"));
}

#[tokio::test(start_paused = true)]
async fn a_cloud_at_rest_is_left_alone() {
    let world = World::default();
    let server = Server::open(&world, Arc::new(NoFaults), nothing);
    server.cloud.launch(1..=10, ShutdownBehavior::Stop).await;
    for n in 1..=10 {
        server.wait(n, "running").await;
    }
    server.cloud.wish(10, Event::StopWanted { force: true }).await;
    server.wait(10, "stopped").await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let (looks, revision) = (server.calls.observed.load(Ordering::SeqCst), server.cloud.store.snapshot().revision());
    tokio::time::sleep(Duration::from_secs(100)).await;
    let looks = server.calls.observed.load(Ordering::SeqCst) - looks;
    assert!((9 * 15..=9 * 25).contains(&looks), "nine machines were looked at {looks} times in 100 s");
    assert_eq!(server.cloud.store.snapshot().revision(), revision);
}

#[tokio::test(start_paused = true)]
async fn a_panic_ends_one_piece_of_work() {
    let world = World::default();
    let server = Server::open(&world, Arc::new(NoFaults), |slow| slow.panics_at = Some(id(1)));
    server.cloud.launch(1..=2, ShutdownBehavior::Stop).await;
    server.wait(2, "running").await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(server.cloud.reconciler.notes().iter().any(|n| n.starts_with(id(1).as_str()) && n.contains("panic")));
    server.cloud.wish(1, Event::TerminateWanted { force: true }).await;
    server.wait(1, "terminated").await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_finishes_what_is_under_way() {
    let world = World::default();
    let server = Server::open(&world, Arc::new(NoFaults), nothing);
    server.cloud.launch(1..=1, ShutdownBehavior::Stop).await;
    tokio::time::sleep(START / 2).await;
    server.stop.send_replace(true);
    server.loops.await.unwrap();
    assert_eq!(server.cloud.state(1), "running");
    // Nothing is begun any more.
    server.cloud.wish(1, Event::StopWanted { force: true }).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(server.cloud.state(1), "stopping");
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_a_driver_that_hangs() {
    let world = World::default();
    let server = Server::open(&world, Arc::new(NoFaults), |slow| slow.hangs_at = Some(id(1)));
    server.cloud.launch(1..=1, ShutdownBehavior::Stop).await;
    tokio::time::sleep(START).await;
    server.stop.send_replace(true);
    let begin = Instant::now();
    server.loops.await.unwrap();
    assert!(begin.elapsed() <= Duration::from_secs(11));
}

#[tokio::test(start_paused = true)]
async fn a_crash_ends_the_loops() {
    let world = World::default();
    let server = Server::open(&world, Arc::new(CrashAt { left: Mutex::new(2) }), nothing);
    server.cloud.launch(1..=1, ShutdownBehavior::Stop).await;
    server.loops.await.unwrap();
    assert_eq!(server.cloud.state(1), "pending");
    assert_eq!(world.images.images(), [image_id()].into());
}
