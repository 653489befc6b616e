//! The loops that make the host what the store says. They take no input: each looks at what is wanted and what is there, does the next
//! thing, and looks again. So a crash anywhere only means that the next look finds less done.

pub mod directory;
mod instances;
mod networks;
mod sweep;

use model::fault::Faults;
use model::ids::InstanceId;
use model::time::{Clock, Timestamp};
use node::hypervisor::Hypervisor;
use node::image::Images;
use node::network::Network;
use node::volume::Volumes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use store::Store;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;

/// How often the loops look without being woken.
const PERIOD: Duration = Duration::from_secs(2);
/// Instances that are worked on at one time.
const WORKERS_MAX: usize = 8;
/// Steps for one instance before others have their turn.
const STEPS_MAX: usize = 16;
/// The setting that holds the host's boot id when its machines were last seen.
const BOOT_ID: &str = "host.boot_id";

/// What a host does for the loops.
#[derive(Clone)]
pub struct Drivers {
    /// Runs machines.
    pub hypervisor: Arc<dyn Hypervisor>,
    /// Makes VPCs.
    pub network: Arc<dyn Network>,
    /// Makes volumes.
    pub volumes: Arc<dyn Volumes>,
    /// Keeps images.
    pub images: Arc<dyn Images>,
}

/// What is known of the host itself.
pub trait HostFacts: Send + Sync {
    /// Another text after each start of the host (`/proc/sys/kernel/random/boot_id`).
    fn boot_id(&self) -> String;
}

/// The loops of one node.
pub struct Reconciler {
    store: Store,
    drivers: Drivers,
    clock: Arc<dyn Clock>,
    faults: Arc<dyn Faults>,
    host: Arc<dyn HostFacts>,
    changed: Arc<Notify>,
    memory: Mutex<Memory>,
    /// Changes of VPCs take turns.
    network_turn: tokio::sync::Mutex<()>,
}

/// What a power button is pressed for: the run, the state, and since when it is wanted.
type Wish = (u64, &'static str, Timestamp);

/// What this process remembers of its work; nothing of it is needed after a restart.
#[derive(Default)]
struct Memory {
    /// For which wish the power button was pressed.
    pressed: BTreeMap<InstanceId, Wish>,
    /// Failures in a row, and when to try again.
    failures: BTreeMap<InstanceId, (u32, Timestamp)>,
    /// What the operator should know, by instance.
    notes: BTreeMap<InstanceId, String>,
    /// Machines without an instance, seen once.
    strays: BTreeSet<InstanceId>,
    /// Whether the images that an earlier process left were looked for.
    images_swept: bool,
}

impl Reconciler {
    /// Puts the loops together. `changed` is what the drivers notify.
    #[must_use]
    pub fn new(
        store: Store,
        drivers: Drivers,
        clock: Arc<dyn Clock>,
        faults: Arc<dyn Faults>,
        host: Arc<dyn HostFacts>,
        changed: Arc<Notify>,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            drivers,
            clock,
            faults,
            host,
            changed,
            memory: Mutex::new(Memory::default()),
            network_turn: tokio::sync::Mutex::new(()),
        })
    }

    /// What needs the operator's eye.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        self.memory().notes.iter().map(|(id, text)| format!("{id}: {text}")).collect()
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn host_restarted(&self) -> bool {
        self.store.snapshot().setting(BOOT_ID).is_some_and(|known| known != self.host.boot_id())
    }

    /// Looks at everything once, one after the other: the simulation's way.
    ///
    /// # Errors
    /// [`model::fault::Crash`] if the simulated process died.
    pub async fn pass(&self) -> Result<(), model::fault::Crash> {
        for id in self.due() {
            self.instance_work(&id).await?;
        }
        self.networks_ensure().await;
        self.sweep().await
    }

    /// The instances that may need something: all but those that rest without a machine, which only the sweep looks at.
    fn due(&self) -> Vec<InstanceId> {
        let snapshot = self.store.snapshot();
        let now = self.clock.now();
        let memory = self.memory();
        let waits = |id: &InstanceId| memory.failures.get(id).is_some_and(|(_, until)| *until > now);
        let all = snapshot.all::<model::instance::Instance>().map(|(_, i)| i);
        all.filter(|i| i.state != model::instance::State::Stopped && !waits(&i.id)).map(|i| i.id.clone()).collect()
    }

    /// Works until `stop` turns true; what is under way is finished.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut commits = self.store.changed();
        let room = Arc::new(Semaphore::new(WORKERS_MAX));
        let mut under_way: BTreeSet<InstanceId> = BTreeSet::new();
        let mut work: JoinSet<InstanceId> = JoinSet::new();
        let mut period = tokio::time::interval(PERIOD);
        period.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let ticked = tokio::select! {
                _ = stop.wait_for(|s| *s) => break,
                changed = commits.changed() => { if changed.is_err() { break } false }
                () = self.changed.notified() => false,
                _ = period.tick() => true,
                Some(done) = work.join_next() => { if let Ok(id) = done { under_way.remove(&id); } else { under_way.clear(); } false }
            };
            for id in self.due() {
                if !under_way.insert(id.clone()) {
                    continue;
                }
                let (this, room) = (self.clone(), room.clone());
                work.spawn(async move {
                    let _room = room.acquire_owned().await;
                    // Nothing crashes on purpose outside a simulation.
                    let _ = this.instance_work(&id).await;
                    id
                });
            }
            self.networks_ensure().await;
            if ticked {
                let _ = self.sweep().await;
            }
        }
        while work.join_next().await.is_some() {}
    }
}
