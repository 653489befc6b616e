//! The loops that make the host what the store says.
//!
//! A loop takes no input. It is woken by a commit, by a driver or by time, compares what is wanted with what is there, does the next
//! step, records what it saw, and looks again. So a crash anywhere only means that the next look finds less done, and there is no
//! common path with a hint beside a rare one without it.
//!
//! - `table` finds what is due; every thing has one piece of work at a time, so nothing races with itself.
//! - `instances`, `networks`, `volumes`, `images`, `sweep` and `host` do the work; [`model::plan`] decides for an instance.
//! - [`Reconciler::run`] is the server's way: concurrent, and whatever fails waits longer each time, by itself.
//!   [`Reconciler::pass`] is the simulation's way through the same code: one thing after the other, in a fixed order.

pub mod directory;
mod error;
mod host;
mod images;
mod instances;
mod networks;
mod start;
mod status;
mod sweep;
mod table;
mod volumes;

pub use error::Halt;
pub use host::{HostFacts, LinuxHost};
pub use status::{Status, Waiting};

use error::Stop;
use model::fault::Faults;
use model::ids::VpcId;
use model::plan::{HostBoot, Memory};
use model::time::{Clock, Timestamp};
use networks::Ensured;
use node::hypervisor::Hypervisor;
use node::image::Images;
use node::network::Network;
use node::volume::Volumes;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use store::{Snapshot, Store};
use sweep::Orphans;
use table::{Job, Look, Next, Scan, Table, Task};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;

/// How often everything is compared, though nothing woke the loops.
const PERIOD: Duration = Duration::from_secs(5);
/// How long after one look at all machines the drivers can cause another: under a storm of their news the loops still do other work.
const POKE_SPACING: Duration = Duration::from_millis(100);
/// Most pieces of work under way. Those that wait for their turn to start a machine count, so it is far more than are ever busy.
const TASKS_MAX: usize = 1024;
/// How long work that is under way may take once the loops are to stop. What is cut off then goes on after the next start.
const STOP_MAX: Duration = Duration::from_secs(10);

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

/// The loops of one node.
pub struct Reconciler {
    store: Store,
    drivers: Drivers,
    clock: Arc<dyn Clock>,
    faults: Arc<dyn Faults>,
    host: Arc<dyn HostFacts>,
    changed: Arc<Notify>,
    table: Mutex<Table>,
    vpcs: Mutex<BTreeMap<VpcId, Ensured>>,
    orphans: Mutex<Orphans>,
    starts: Semaphore,
}

/// What a pass did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pass {
    /// How many steps were done: none, if everything is as it is wanted or waits.
    pub steps: u32,
    /// When the next thing is due, if nothing changes before.
    pub due: Option<Timestamp>,
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
            table: Mutex::default(),
            vpcs: Mutex::default(),
            orphans: Mutex::default(),
            starts: Semaphore::new(start::STARTS_AT_ONCE),
        })
    }

    /// What the loops are at.
    #[must_use]
    pub fn status(&self) -> Status {
        self.table().status()
    }

    /// What needs the operator's eye, a sentence each.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let snapshot = self.store.snapshot();
        self.status().notes().chain(volumes::notes(&snapshot)).chain(images::notes(&snapshot)).collect()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn boot(&self, snapshot: &Snapshot) -> HostBoot {
        table::boot(snapshot, self.host.as_ref())
    }

    fn scan(&self, poke: bool, room: usize) -> Scan {
        let snapshot = self.store.snapshot();
        let look = Look { now: self.clock.now(), poke, room };
        self.table().scan(&snapshot, self.boot(&snapshot), look)
    }

    /// Looks at everything once, one thing after the other in a fixed order, and does what is due.
    ///
    /// # Errors
    /// [`Halt`] if the simulated process died or the store is closed; nothing more is done then.
    pub async fn pass(&self) -> Result<Pass, Halt> {
        let scan = self.scan(true, usize::MAX);
        let mut steps = 0;
        let mut due = scan.due;
        for task in scan.tasks {
            let done = self.task(task).await?;
            steps += done.steps;
            due = due.into_iter().chain(done.at).min();
        }
        Ok(Pass { steps, due })
    }

    /// Does one piece of work and notes how it ended.
    async fn task(&self, task: Task) -> Result<Done, Halt> {
        let Task { job, mut memory } = task;
        let outcome = match self.work(&job, &mut memory).await {
            Ok(next) => Ok(next),
            Err(Stop::Failed(error)) => Err(error),
            Err(Stop::Halt(halt)) => return Err(halt),
        };
        let steps = outcome.as_ref().map_or(0, |next| next.steps);
        let at = self.finish(&job, memory, outcome);
        Ok(Done { steps, at })
    }

    /// Notes how work ended, and gives back when it is due again.
    fn finish(&self, job: &Job, memory: Memory, outcome: anyhow::Result<Next>) -> Option<Timestamp> {
        if let Err(error) = &outcome {
            tracing::warn!(what = %job, error = format!("{error:#}"), "work failed and is tried again");
        }
        self.table().finish(job, memory, outcome, self.clock.now())
    }

    async fn work(&self, job: &Job, memory: &mut Memory) -> Result<Next, Stop> {
        match job {
            Job::Instance(id) => self.instance_work(id, memory).await,
            Job::Volume(id) => self.volume_work(id).await,
            Job::Vpc(id) => self.vpc_work(id).await,
            Job::Sweep(sweep) => self.sweep_work(*sweep).await,
            Job::Host => self.host_work().await,
        }
    }

    /// Works until `stop` turns true, the store is closed or the simulated process dies. What is under way at a stop is finished, or cut
    /// off if it takes too long.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut tasks = Tasks::default();
        tokio::select! {
            biased;
            // A sender that is gone stops nothing.
            Ok(_) = stop.wait_for(|stop| *stop) => {}
            halt = self.work_on(&mut tasks) => {
                tracing::info!(%halt, "the loops end");
                return;
            }
        }
        let rest = async { while tasks.running.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_MAX, rest).await.is_err() {
            tracing::warn!("work that was under way is cut off; it goes on after the next start");
        }
    }

    async fn work_on(self: &Arc<Self>, tasks: &mut Tasks) -> Halt {
        let mut commits = self.store.changed();
        let mut poked_at = Instant::now();
        let mut poke = true;
        let mut wake = poked_at;
        loop {
            if poke || Instant::now() >= wake {
                // Before the snapshot is taken: a later commit wakes again.
                commits.borrow_and_update();
                wake = self.dispatch(tasks, std::mem::take(&mut poke));
            }
            // In a fixed order, so that a simulation can be repeated.
            tokio::select! {
                biased;
                Some(joined) = tasks.running.join_next_with_id() => match self.joined(tasks, joined) {
                    Ok(due) => wake = wake.min(due),
                    Err(halt) => return halt,
                },
                changed = commits.changed() => match changed {
                    Ok(()) => wake = Instant::now(),
                    Err(_) => return Halt::Closed,
                },
                () = self.poked(poked_at) => {
                    poked_at = Instant::now();
                    poke = true;
                }
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    /// Waits for news of the drivers, but not sooner than [`POKE_SPACING`] after the last.
    async fn poked(&self, last: Instant) {
        tokio::time::sleep_until(last + POKE_SPACING).await;
        self.changed.notified().await;
    }

    /// Begins what is due. Gives back when to look again.
    fn dispatch(self: &Arc<Self>, tasks: &mut Tasks, poke: bool) -> Instant {
        let scan = self.scan(poke, TASKS_MAX.saturating_sub(tasks.running.len()));
        for task in scan.tasks {
            let (this, job) = (self.clone(), task.job.clone());
            let handle = tasks.running.spawn(async move { this.task(task).await });
            tasks.jobs.insert(handle.id(), job);
        }
        tasks.more = scan.more;
        // What there was no room for has room once a task ends.
        self.instant(scan.due.filter(|_| !scan.more))
    }

    /// When a time is there, or the period is over.
    fn instant(&self, due: Option<Timestamp>) -> Instant {
        let millis = due.map(|due| due.millis_since(self.clock.now()).max(0));
        let wait = millis.and_then(|millis| u64::try_from(millis).ok()).map_or(PERIOD, Duration::from_millis);
        Instant::now() + wait.min(PERIOD)
    }

    /// Takes in a task that ended. Gives back when to look again.
    fn joined(&self, tasks: &mut Tasks, joined: Result<(Id, Result<Done, Halt>), JoinError>) -> Result<Instant, Halt> {
        let mut due = match joined {
            Ok((id, done)) => {
                tasks.jobs.remove(&id);
                self.instant(done?.at)
            }
            Err(error) => {
                // A broken invariant ends this piece of work, not the loops.
                if let Some(job) = tasks.jobs.remove(&error.id()) {
                    let memory = self.table().memory(&job);
                    self.finish(&job, memory, Err(anyhow::Error::new(error)));
                }
                Instant::now()
            }
        };
        if std::mem::take(&mut tasks.more) {
            due = Instant::now();
        }
        Ok(due)
    }
}

/// What a piece of work did.
struct Done {
    steps: u32,
    /// When its thing is due again.
    at: Option<Timestamp>,
}

/// What is under way. Dropped, it is cut off.
#[derive(Default)]
struct Tasks {
    running: JoinSet<Result<Done, Halt>>,
    jobs: HashMap<Id, Job>,
    /// More is due than there was room for.
    more: bool,
}
