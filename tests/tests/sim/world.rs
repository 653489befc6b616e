//! One simulated cloud from its seed: it lives, is killed, is opened again over the same file and host, and in the end settles.

use crate::check;
use crate::client::{Client, Gate};
use crate::faults::{Plan, Points, SimFaults, points_add};
use crate::hosts::{Hosts, Rng, SimClock, fork};
use crate::users::{Session, SharedLedger, User};
use api::operator::{ImageAsked, ImagePlaces, ImageWanted, image_register};
use api::ports::{Console, PortError, Ports};
use async_trait::async_trait;
use model::capacity::{Host, Overcommit};
use model::ids::{ImageId, InstanceId};
use model::image::{Boot, Image};
use model::scope::{AccountId, Region, Scope};
use model::time::{Clock, Timestamp};
use node::hypervisor::Hypervisor;
use node::hypervisor::fake::FakeHypervisorHost;
use rand::seq::IteratorRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use reconcile::{HostFacts, Reconciler};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::{Mode, Snapshot, Store};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

/// When the simulations begin: 2026-11-24T00:00:00Z.
const BEGINNING: Timestamp = Timestamp(1_795_478_400_000);
/// How long a life is, in milliseconds, at most.
const LIFE_MILLIS_MAX: u64 = 240_000;
/// How long the cloud has to settle once nothing disturbs it any more: longer than any deadline of an instance, and any back-off.
const SETTLE: Duration = Duration::from_secs(600);
/// How long a cloud is watched that has nothing to do.
const QUIET: Duration = Duration::from_secs(60);
/// Longest time between two events that nobody asked for, in milliseconds.
const CHAOS_MILLIS_MAX: u64 = 20_000;
/// Turns that the tasks of a dead process still get, without time passing. They can neither commit nor begin a driver's step.
const LAST_TURNS: u32 = 50;
/// Where the process ends if the host's power fails.
const POWER: &str = "the host's end";
/// Users, by account and region.
const USERS: [(&str, &str); 4] = [("one", "us-east-1"), ("one", "us-east-1"), ("two", "us-east-1"), ("one", "eu-west-1")];

/// All that outlives the process.
pub(crate) struct World {
    rng: Rng,
    hosts: Hosts,
    ledger: SharedLedger,
    users: Vec<Arc<Mutex<User>>>,
    /// The image of each region.
    images: BTreeMap<&'static str, ImageId>,
    directory: tempfile::TempDir,
    now: Timestamp,
    /// The newest state that was published before the process died.
    last: Option<Arc<Snapshot>>,
    /// What was seen and done, in order: the same seed tells the same story.
    pub(crate) story: Vec<String>,
    /// How often the processes came by each point, and how often they died there.
    pub(crate) points: Points,
}

/// The parts of one life of the process.
struct Life {
    store: Store,
    machines: FakeHypervisorHost,
    clock: Arc<dyn Clock>,
    faults: Arc<SimFaults>,
    client: Client,
    /// As long as it is there, the loops go on.
    _stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

struct SimHost(String);

impl HostFacts for SimHost {
    fn boot_id(&self) -> String {
        self.0.clone()
    }
}

struct DriverPorts(Arc<dyn Hypervisor>);

#[async_trait]
impl Ports for DriverPorts {
    async fn console(&self, id: &InstanceId) -> Result<Option<Console>, PortError> {
        let console = self.0.console(id).await.map_err(|e| PortError(format!("{e:#}")))?;
        Ok(console.map(|c| Console { bytes: c.bytes, written: c.written }))
    }
}

impl World {
    /// How many calls the users sent.
    pub(crate) fn calls(&self) -> usize {
        self.ledger.get().calls.values().map(|c| c.sent).sum()
    }

    /// Lives through everything that the seed holds.
    ///
    /// # Panics
    /// If something is not as it must be.
    pub(crate) fn run(seed: u64) -> Self {
        let mut rng = Rng::seed_from_u64(seed);
        // In memory, if there is a place: what is tried here are crashes of the process, not of the disk.
        let memory = std::path::Path::new("/dev/shm");
        let directory = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let mut world = Self {
            hosts: Hosts::default(),
            ledger: SharedLedger::default(),
            users: Vec::new(),
            images: USERS.iter().map(|(_, region)| (*region, ImageId::generate(&mut rng))).collect(),
            directory: directory.expect("a temporary directory can be made"),
            now: BEGINNING,
            last: None,
            story: Vec::new(),
            points: Points::new(),
            rng: fork(&mut rng),
        };
        // Failing drivers may end instances by themselves, which makes some checks weaker: so not in every simulation.
        let failures_permille = if rng.random_bool(0.4) { rng.random_range(1..60) } else { 0 };
        let lives = rng.random_range(3..=6);
        for life in 1..=lives {
            let deaths_permille = if life < lives { rng.random_range(1..40) } else { 0 };
            let plan = Plan { deaths_permille, failures_permille, step_millis_max: rng.random_range(1..400) };
            world.ledger.get().failures |= failures_permille > 0;
            world.live(plan);
        }
        world
    }

    /// One life: in a runtime of its own, so that nothing of it goes on once it is over.
    fn live(&mut self, plan: Plan) {
        self.now = self.now.plus_millis(self.downtime());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime can be made");
        let faults = Arc::new(SimFaults::new(plan, fork(&mut self.rng)));
        let ending = runtime.block_on(async {
            let clock = Arc::new(SimClock::new(self.now));
            let ending = tokio::select! {
                biased;
                point = last_words(&faults) => point,
                () = self.live_on(clock.clone(), faults.clone()) => "its time",
            };
            self.now = clock.now();
            ending
        });
        drop(runtime);
        self.tell(format!("the process ended at {ending}"));
        if ending == POWER {
            self.hosts.reboot();
        }
        points_add(&mut self.points, &faults.points());
    }

    /// How long nothing runs before the process is started again: at times long enough for what is kept an hour, or a day.
    fn downtime(&mut self) -> i64 {
        const HOUR: i64 = 3_600_000;
        match self.rng.random_range(0..100) {
            0..70 => self.rng.random_range(0..10_000),
            70..90 => HOUR + 1,
            // A launch is only sent again while its token is remembered.
            _ if self.ledger.get().launches_open().is_empty() => 25 * HOUR,
            _ => HOUR / 2,
        }
    }

    fn tell(&mut self, what: String) {
        self.story.push(format!("{} {what}", self.now.iso8601()));
    }

    async fn live_on(&mut self, clock: Arc<SimClock>, faults: Arc<SimFaults>) {
        let mut life = self.open(clock, faults).await;
        let duration = self.rng.random_range(10_000..LIFE_MILLIS_MAX);
        let end = tokio::time::Instant::now() + Duration::from_millis(duration);
        let (stop, stopping) = watch::channel(false);
        let mut sessions = JoinSet::new();
        for user in &self.users {
            let (client, ledger) = (life.client.clone(), self.ledger.clone());
            let session = Session { user: user.clone(), client, ledger, rng: fork(&mut self.rng), stopping: stopping.clone() };
            sessions.spawn(session.live());
        }
        while tokio::time::Instant::now() < end {
            let pause = Duration::from_millis(self.rng.random_range(0..CHAOS_MILLIS_MAX));
            life.watch(&mut self.last, &mut sessions, pause).await;
            self.happen(&life);
        }
        stop.send_replace(true);
        while !sessions.is_empty() {
            life.watch(&mut self.last, &mut sessions, Duration::from_secs(1)).await;
        }
        life.faults.calm();
        self.hosts.mend();
        life.watch(&mut self.last, &mut JoinSet::new(), SETTLE).await;
        let snapshot = life.store.snapshot();
        check::acknowledged(&snapshot, &self.ledger.get());
        check::settled(&snapshot, &self.ledger.get(), &self.hosts);
        let quiet = check::Quiet::of(&snapshot, &self.hosts);
        life.watch(&mut self.last, &mut JoinSet::new(), QUIET).await;
        assert_eq!(check::Quiet::of(&life.store.snapshot(), &self.hosts), quiet, "what is as it is wanted is left alone");
        for user in &self.users {
            let scope = user.lock().expect("no user panicked").scope.clone();
            let records = life.store.audit_newest(&scope, usize::MAX).await.expect("the audit trail can be read");
            check::audited(&records, &self.ledger.get(), &scope);
        }
    }

    /// Opens the cloud and holds what is found against what was there before.
    async fn open(&mut self, clock: Arc<SimClock>, faults: Arc<SimFaults>) -> Life {
        let path = self.directory.path().join("state.db");
        let (store, writer) = Store::open_without_thread(&path, Mode::Simulated, faults.clone()).expect("the store can be opened");
        let mut tasks = JoinSet::new();
        tasks.spawn(writer.run());
        let snapshot = store.snapshot();
        if let Some(last) = &self.last {
            check::went_on(last, &snapshot, clock.now());
        }
        check::always(&snapshot);
        check::acknowledged(&snapshot, &self.ledger.get());
        if self.users.len() < USERS.len() {
            self.found(&store, clock.now()).await;
        }
        let changed = Arc::new(Notify::new());
        let drivers = self.hosts.drivers(clock.clone(), changed.clone(), &faults);
        let ports = Arc::new(DriverPorts(drivers.hypervisor.clone()));
        let host = Arc::new(SimHost(self.hosts.boot_id()));
        let reconciler = Reconciler::new(store.clone(), drivers.clone(), clock.clone(), faults.clone(), host, changed);
        let gate = Arc::new(api::Gate::new(store.clone(), clock.clone(), fork(&mut self.rng), ports, cloud()));
        let gate: Gate = Arc::new(move |request| {
            let gate = gate.clone();
            Box::pin(async move { gate.handle(request).await })
        });
        let client = Client { gate, clock: clock.clone(), faults: faults.clone() };
        let (stop, stopping) = watch::channel(false);
        tasks.spawn(reconciler.run(stopping));
        Life { store, machines: self.hosts.machines.clone(), clock, faults, client, _stop: stop, tasks }
    }

    /// The first start: accounts, keys, images and the users with them. A crash in the middle begins it again.
    async fn found(&mut self, store: &Store, now: Timestamp) {
        self.users.clear();
        let mut rng = fork(&mut self.rng);
        let wanted = self.images.clone();
        let founded = store.write(move |tx| {
            for name in ["one", "two"] {
                if !tx.accounts().any(|a| a.name == name) {
                    api::bootstrap::account_create(tx, name, now, &mut rng).expect("the name is free");
                }
            }
            for (region, id) in wanted.into_iter().filter(|(_, id)| tx.find::<Image>(id).is_none()).collect::<Vec<_>>() {
                let asked = ImageAsked {
                    name: format!("image of {id}"),
                    description: None,
                    login_user: "root".into(),
                    places: ImagePlaces::default(),
                };
                let image = ImageWanted { asked, size_gib: 1, boot: Boot::Firmware, public: true };
                let scope = Scope { account: AccountId::cloud(), region: region.parse().expect("it is a region") };
                image_register(tx, &[scope], &id, &image, now, &mut rng).expect("the name is free");
            }
            Ok::<_, std::convert::Infallible>(())
        });
        if founded.await.is_err() {
            std::future::pending::<()>().await;
        }
        let snapshot = store.snapshot();
        for (number, (account, region)) in (0..).zip(USERS) {
            let (account, key) = api::bootstrap::account_by_name(&snapshot, account).expect("it was created");
            self.hosts.image_adopt(&self.images[region]).await;
            let user = User {
                name: format!("user{number}"),
                number,
                scope: Scope { account: account.id.clone(), region: region.parse::<Region>().expect("it is a region") },
                access_key: (key.id.clone(), key.secret.clone()),
                image: self.images[region].clone(),
                launches: 0,
            };
            self.users.push(Arc::new(Mutex::new(user)));
        }
    }

    /// Something that nobody asked for.
    fn happen(&mut self, life: &Life) {
        let machines = self.hosts.machines.machines();
        let Some(id) = machines.keys().choose(&mut self.rng).cloned() else { return };
        self.now = life.clock.now();
        let machines = &self.hosts.machines;
        // Each with what it is in the story, and whether it may bring the instance away from what its owner wants.
        let (what, disturbs) = match self.rng.random_range(0..100) {
            0..25 => {
                machines.guest_power_off(&id);
                ("its guest powers off", true)
            }
            25..35 => {
                machines.guest_panic(&id);
                ("its guest panics", true)
            }
            35..50 => {
                machines.die(&id);
                ("its machine dies", true)
            }
            50..60 => {
                machines.disk_fail(&id, "No space left on device");
                ("its disk fails", false)
            }
            60..75 => {
                self.hosts.mend();
                ("all is mended", false)
            }
            75..85 => {
                machines.ignore_power_button(true);
                ("guests to come are deaf", false)
            }
            85..88 => {
                life.faults.kill(POWER);
                ("the power fails", false)
            }
            _ => return,
        };
        if disturbs {
            self.ledger.get().disturbed.insert(id.clone());
        }
        self.tell(format!("{id}: {what}"));
    }
}

impl Life {
    /// Lets time pass, and looks at every state that is published meanwhile.
    ///
    /// # Panics
    /// If one is not as it must be, or if a session or a part of the cloud panicked.
    async fn watch(&mut self, last: &mut Option<Arc<Snapshot>>, sessions: &mut JoinSet<()>, pause: Duration) {
        let end = tokio::time::Instant::now() + pause;
        let mut commits = self.store.changed();
        commits.mark_changed();
        loop {
            tokio::select! {
                biased;
                Some(done) = sessions.join_next() => {
                    rethrow(done);
                    if sessions.is_empty() {
                        return;
                    }
                }
                Some(done) = self.tasks.join_next() => {
                    rethrow(done);
                    assert!(self.faults.is_dead(), "a part of the cloud ended by itself");
                }
                _ = commits.changed() => {
                    let snapshot = self.store.snapshot();
                    if let Some(last) = last {
                        check::went_on(last, &snapshot, self.clock.now());
                    }
                    check::always(&snapshot);
                    check::machines_fit(&self.machines);
                    *last = Some(snapshot);
                }
                () = tokio::time::sleep_until(end) => return,
            }
        }
    }
}

/// Waits for the death of the process. What it had answered before gets to its callers yet, as bytes do that a dead process has sent:
/// so an answer that went out too early is found out.
async fn last_words(faults: &SimFaults) -> &'static str {
    let point = faults.death().await;
    for _ in 0..LAST_TURNS {
        tokio::task::yield_now().await;
    }
    point
}

fn rethrow(done: Result<(), tokio::task::JoinError>) {
    if let Err(error) = done {
        std::panic::resume_unwind(error.into_panic());
    }
}

/// What the capacity of [`cloud`] comes to: virtual processors and MiB.
pub(crate) const CAPACITY: (u64, u64) = (32, 64_512);
/// The addresses of [`cloud`].
pub(crate) const PUBLIC_POOL: &str = "198.18.0.0/26";

/// A host on which about a dozen small instances fit, so that it is full at times.
fn cloud() -> api::Cloud {
    api::Cloud {
        host: Host { vcpus: 8, memory_mib: 65_536, disk_bytes: 1 << 40 },
        overcommit: Overcommit { vcpus: 4.0, memory: 1.0, memory_reserve_mib: 1024 },
        space: model::space::Space::unlimited(),
        public_pool: PUBLIC_POOL.parse().expect("it is a network"),
        simulated: false,
    }
}
