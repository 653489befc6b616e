//! What a running cloud is made of, put together in order.

use crate::config::Config;
use anyhow::{Context as _, Result, bail};
use api::ports::{Console, PortError, Ports};
use async_trait::async_trait;
use model::capacity::{Host, Overcommit};
use model::fault::NoFaults;
use model::ids::{ImageId, InstanceId};
use model::image::Image;
use model::scope::Scope;
use model::time::{Clock, Timestamp};
use node::hypervisor::Hypervisor;
use node::hypervisor::fake::{FakeHypervisor, FakeHypervisorHost};
use node::image::Images as _;
use node::image::fake::{FakeImageHost, FakeImages};
use node::network::fake::{FakeNetwork, FakeNetworkHost};
use node::volume::fake::{FakeVolumeHost, FakeVolumes};
use reconcile::{Drivers, HostFacts, Reconciler};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::{Mode, Store};
use tokio::sync::Notify;

/// The parts that the operator's socket and the loops share.
pub(crate) struct Parts {
    pub(crate) data_dir: PathBuf,
    pub(crate) config: Config,
    pub(crate) endpoint: String,
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) cloud: api::Cloud,
    pub(crate) drivers: Drivers,
    pub(crate) reconciler: Arc<Reconciler>,
    /// Its name, and why it is the one.
    pub(crate) accelerator: (&'static str, String),
}

/// The system's clock.
struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// A host that starts when the server does, and whose machines are gone when the server ends.
struct SimulatedHost(String);

impl HostFacts for SimulatedHost {
    fn boot_id(&self) -> String {
        self.0.clone()
    }
}

/// What an action may ask of a host, answered by the drivers.
struct DriverPorts(Arc<dyn Hypervisor>);

#[async_trait]
impl Ports for DriverPorts {
    async fn console(&self, id: &InstanceId) -> std::result::Result<Option<Console>, PortError> {
        let console = self.0.console(id).await.map_err(|e| PortError(format!("{e:#}")))?;
        Ok(console.map(|c| Console { bytes: c.bytes, written: c.written }))
    }
}

/// Opens the store and the drivers, and puts the gate and the loops before them.
pub(crate) async fn build(data_dir: &Path, config: Config, simulate: bool, endpoint: String) -> Result<(Arc<Parts>, api::Gate)> {
    let mode = if simulate { Mode::Simulated } else { Mode::Real };
    if !simulate {
        bail!("this version runs no real machines yet: their drivers are not wired in. `--simulate` runs the API without guests");
    }
    let store = Store::open(&data_dir.join("state.db"), mode, Arc::new(NoFaults)).context("can't open the store")?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let now = clock.now();
    store.write(move |tx| api::bootstrap::account_ensure_default(tx, now, &mut rand::rng())).await??;
    let changed = Arc::new(Notify::new());
    simulated_image(&store, &config, now).await?;
    let drivers = simulated(&store, clock.clone(), changed.clone()).await?;
    let accelerator = ("none", "the cloud is simulated".to_owned());

    let cloud = api::Cloud { host: host(data_dir)?, overcommit: overcommit(&config), public_pool: config.network.public_pool };
    let reconciler =
        Reconciler::new(store.clone(), drivers.clone(), clock.clone(), Arc::new(NoFaults), Arc::new(SimulatedHost(now.iso8601())), changed);
    let ports = Arc::new(DriverPorts(drivers.hypervisor.clone()));
    let gate = api::Gate::new(store.clone(), clock.clone(), rand::rng(), ports, cloud.clone());
    let parts = Parts { data_dir: data_dir.into(), config, endpoint, store, clock, cloud, drivers, reconciler, accelerator };
    Ok((Arc::new(parts), gate))
}

/// The drivers of a simulated cloud. Its machines live in memory: after a restart of the server they are started again.
async fn simulated(store: &Store, clock: Arc<dyn Clock>, changed: Arc<Notify>) -> Result<Drivers> {
    let images = Arc::new(FakeImages::new(FakeImageHost::default()));
    for (_, image) in store.snapshot().all::<Image>() {
        images.adopt(&image.id, Path::new("")).await?;
    }
    Ok(Drivers {
        hypervisor: Arc::new(FakeHypervisor::new(FakeHypervisorHost::default(), clock, changed)),
        network: Arc::new(FakeNetwork::new(FakeNetworkHost::default())),
        volumes: Arc::new(FakeVolumes::new(FakeVolumeHost::default(), images.clone())),
        images,
    })
}

/// The one public image of a simulated cloud.
async fn simulated_image(store: &Store, config: &Config, now: Timestamp) -> Result<()> {
    let scope = Scope { account: model::scope::AccountId::cloud(), region: config.region.parse()? };
    if store.snapshot().of(&scope).count::<Image>() > 0 {
        return Ok(());
    }
    let wanted = api::operator::ImageWanted {
        name: "simulated".into(),
        description: Some("An image without content, for simulated instances".into()),
        size_bytes: 1 << 30,
        boot: model::image::Boot::Firmware,
        login_user: "root".into(),
        public: true,
    };
    let mut rng = rand::rng();
    let id = ImageId::generate(&mut rng);
    store.write(move |tx| api::operator::image_register(tx, &scope, id, wanted, now, &mut rand::rng())).await??;
    Ok(())
}

fn overcommit(config: &Config) -> Overcommit {
    let c = &config.capacity;
    Overcommit { vcpus: c.vcpu_overcommit, memory: c.memory_overcommit, memory_reserve_mib: c.memory_reserve_mib }
}

/// What this machine has.
fn host(data_dir: &Path) -> Result<Host> {
    let vcpus = u32::try_from(std::thread::available_parallelism()?.get())?;
    let text = std::fs::read_to_string("/proc/meminfo").context("can't read /proc/meminfo")?;
    let total = text.lines().find_map(|l| l.strip_prefix("MemTotal:")).and_then(|l| l.split_whitespace().next());
    let memory_mib = total.and_then(|n| n.parse::<u64>().ok()).context("/proc/meminfo has no MemTotal")? >> 10;
    let place = nix::sys::statvfs::statvfs(data_dir)?;
    Ok(Host { vcpus, memory_mib, disk_bytes: place.blocks_available() * place.fragment_size() })
}
