//! What a running cloud is made of, put together in order.

use crate::admin::backup::Backups;
use crate::any_credentials::AnyCredentials;
use crate::config::{self, Config};
use crate::http::Services;
use crate::identity::{self, DataDirectory, Guarded};
use crate::index_keeper::Kept;
use crate::scrub::Report;
use anyhow::{Context as _, Result};
use api::ports::{Console, PortError, Ports};
use async_trait::async_trait;
use model::capacity::{Host, Overcommit};
use model::fault::NoFaults;
use model::ids::InstanceId;
use model::machine::Accelerator;
use model::space::Space;
use model::time::{Clock, Timestamp};
use model::volume::Volume;
use node::hypervisor::Hypervisor;
use node::hypervisor::fake::{FakeHypervisor, FakeHypervisorHost};
use node::hypervisor::qemu::{AcceleratorChoice, Qemu, QemuConfig, UserRange};
use node::image::Images as _;
use node::image::fake::{FakeImageHost, FakeImages};
use node::image::store::ImageStore;
use node::metadata::Tokens;
use node::network::fake::{FakeNetwork, FakeNetworkHost};
use node::network::linux::{LinuxNetwork, NetworkConfig, Uplink};
use node::volume::Volumes as _;
use node::volume::fake::{FakeVolumeHost, FakeVolumes};
use node::volume::qcow2::Qcow2Volumes;
use objects::{MasterKey, Objects};
use reconcile::directory::StoreDirectory;
use reconcile::{Drivers, HostFacts, LinuxHost, Reconciler};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::{Mode, Store};
use tokio::sync::Notify;

/// The parts that the operator's socket and the loops share.
pub(crate) struct Parts {
    pub(crate) data_dir: PathBuf,
    pub(crate) directory: Arc<DataDirectory>,
    pub(crate) config: Config,
    pub(crate) endpoint: String,
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) cloud: api::Cloud,
    pub(crate) drivers: Drivers,
    pub(crate) reconciler: Arc<Reconciler>,
    pub(crate) objects: Objects,
    pub(crate) s3_health: s3::Health,
    pub(crate) scrub: Arc<Report>,
    pub(crate) index_kept: Arc<Kept>,
    pub(crate) backups: Backups,
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

/// The present time, by the system's clock.
pub(crate) fn now() -> Timestamp {
    SystemClock.now()
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

/// Whether the cloud is simulated, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Simulation {
    pub(crate) on: bool,
    /// Each unknown access key is an account of its own.
    pub(crate) any_credentials: bool,
}

/// Opens the store and the drivers, and puts the gate and the loops before them.
pub(crate) async fn build(data_dir: &Path, config: Config, simulation: Simulation, endpoint: String) -> Result<(Arc<Parts>, Services)> {
    let Simulation { on: simulate, any_credentials } = simulation;
    let mode = if simulate { Mode::Simulated } else { Mode::Real };
    let (store, directory) = identity::open(data_dir, mode)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let now = clock.now();
    store.write(move |tx| api::bootstrap::account_ensure_default(tx, now, &mut rand::rng())).await??;
    let changed = Arc::new(Notify::new());
    let restart_guests = config.hypervisor.restart_guests;
    let (drivers, host_facts, accelerator): (Drivers, Arc<dyn HostFacts>, _) = if simulate {
        let catalogue = store.write(move |tx| {
            api::catalogue::catalogue_ensure(tx, now);
            Ok::<_, std::convert::Infallible>(())
        });
        let Ok(()) = catalogue.await?;
        let drivers = simulated(&store, clock.clone(), changed.clone()).await?;
        (drivers, Arc::new(SimulatedHost(now.iso8601())), ("none", "the cloud is simulated".to_owned()))
    } else {
        let (mut drivers, life, accelerator) = real(data_dir, &config, &store, clock.clone(), changed.clone()).await?;
        drivers.volumes = Arc::new(Guarded::new(directory.clone(), drivers.volumes));
        drivers.images = Arc::new(Guarded::new(directory.clone(), drivers.images));
        (drivers, Arc::new(LinuxHost::read(life, restart_guests)?), accelerator)
    };

    let found = if simulate { DATA_CENTRE } else { host(data_dir)? };
    let cloud = api::Cloud {
        host: config.capacity.host(found),
        overcommit: overcommit(&config),
        space: if simulate { Space::unlimited() } else { Space::overcommitted(config.capacity.disk_overcommit) },
        public_pool: config.network.public_pool,
        simulated: simulate,
    };
    let reconciler = Reconciler::new(store.clone(), drivers.clone(), clock.clone(), Arc::new(NoFaults), host_facts, changed);
    let ports = Arc::new(DriverPorts(drivers.hypervisor.clone()));
    let gate = api::Gate::new(store.clone(), clock.clone(), rand::rng(), ports, cloud.clone());
    let objects = Objects::open(&data_dir.join("objects"), MasterKey::new(master_key(data_dir)?), Arc::new(NoFaults));
    let objects = objects.context("can't open the objects")?;
    let s3 = s3::Front::new(
        objects.clone(),
        store.clone(),
        clock.clone(),
        rand::rng(),
        s3::Settings { any_credentials, ..config.s3.settings() },
    );
    let (any_store, any_objects, any_clock) = (store.clone(), objects.clone(), clock.clone());
    let any_credentials = any_credentials.then(|| AnyCredentials { store: any_store, objects: any_objects, clock: any_clock });
    let parts = Parts {
        data_dir: data_dir.into(),
        directory,
        config,
        endpoint,
        store,
        clock,
        cloud,
        drivers,
        reconciler,
        objects,
        s3_health: s3.health(),
        scrub: Arc::default(),
        index_kept: Arc::default(),
        backups: Backups::default(),
        accelerator,
    };
    Ok((Arc::new(parts), Services { gate, s3, any_credentials }))
}

/// Files of an object store that was opened before.
const OBJECTS: [&str; 4] = ["objects/index.db", "objects/mark", "objects/journal", "objects/index.backup.db"];

/// The key that wraps the keys of encrypted objects; drawn when the cloud is new, and never to be lost.
pub(crate) fn master_key(data_dir: &Path) -> Result<[u8; 32]> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let path = data_dir.join("objects.key");
    match std::fs::read(&path) {
        Ok(bytes) => bytes.try_into().map_err(|_| anyhow::anyhow!("{} is no key of 32 bytes", path.display())),
        // A new one would open nothing of what is there, and what it seals would be lost once the old one is back.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && OBJECTS.iter().any(|path| data_dir.join(path).exists()) => Err(error)
            .with_context(|| {
                format!("{} is missing: put it back from where the data directory was copied; it opens encrypted objects", path.display())
            }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let key: [u8; 32] = rand::random();
            let fresh = data_dir.join("objects.key.new");
            let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
            file.write_all(&key)?;
            file.sync_all()?;
            std::fs::rename(&fresh, &path)?;
            std::fs::File::open(data_dir)?.sync_all()?;
            Ok(key)
        }
        Err(error) => Err(error).with_context(|| format!("can't read {}", path.display())),
    }
}

/// The drivers of this machine, the life of the cloud's processes on it, and its accelerator.
async fn real(
    data_dir: &Path,
    config: &Config,
    store: &Store,
    clock: Arc<dyn Clock>,
    changed: Arc<Notify>,
) -> Result<(Drivers, u64, (&'static str, String))> {
    let images = Arc::new(ImageStore::open(&data_dir.join("images")).context("can't open the images")?);
    let volumes = Qcow2Volumes::open(&data_dir.join("volumes"), images.clone()).context("can't open the volumes")?;
    let network = NetworkConfig {
        data_dir: data_dir.into(),
        uplink: match config.network.uplink {
            config::Uplink::Pasta => Uplink::Pasta,
            config::Uplink::None => Uplink::None,
        },
        public_pool: config.network.public_pool,
        allow_private: config.network.allow_private.clone(),
        mtu: config.network.mtu,
        pasta_uid: machines(data_dir, config).users.end(),
    };
    let tokens = Tokens::new(rand::random(), clock);
    let network = LinuxNetwork::new(network, Arc::new(StoreDirectory::new(store.clone())), tokens).context("can't open the network")?;
    let hypervisor = Qemu::open(machines(data_dir, config), changed).await.context("can't open the hypervisor")?;
    let report = hypervisor.accelerator_report();
    let accelerator = (accelerator_name(report.accelerator), report.reason.clone());
    let life = network.life()?;
    let (hypervisor, network, volumes) = (Arc::new(hypervisor), Arc::new(network), Arc::new(volumes));
    Ok((Drivers { hypervisor, network, volumes, images }, life, accelerator))
}

/// How machines are run here.
pub(crate) fn machines(data_dir: &Path, config: &Config) -> QemuConfig {
    QemuConfig {
        program: config.hypervisor.qemu.clone(),
        accelerator: match config.hypervisor.accelerator {
            config::Accelerator::Auto => AcceleratorChoice::Auto,
            config::Accelerator::Kvm => AcceleratorChoice::Kvm,
            config::Accelerator::Tcg => AcceleratorChoice::Tcg,
        },
        users: UserRange { base: config.hypervisor.uid_base, ..UserRange::default() },
        mtu: config.network.mtu,
        ..QemuConfig::new(data_dir)
    }
}

pub(crate) fn accelerator_name(accelerator: Accelerator) -> &'static str {
    match accelerator {
        Accelerator::Kvm => "kvm",
        Accelerator::Tcg => "tcg",
        Accelerator::Fake => "none",
    }
}

/// The drivers of a simulated cloud. Its machines live in memory: after a restart of the server they are started again.
async fn simulated(store: &Store, clock: Arc<dyn Clock>, changed: Arc<Notify>) -> Result<Drivers> {
    let images = Arc::new(FakeImages::new(FakeImageHost::default()));
    let snapshot = store.snapshot();
    for content in snapshot.image_contents().collect::<BTreeSet<_>>() {
        images.adopt(content, Path::new("")).await?;
    }
    let volumes = FakeVolumes::new(FakeVolumeHost::default(), images.clone());
    for (_, volume) in snapshot.all::<Volume>() {
        volumes.ensure(&volume.id, volume.size_bytes(), &volume.source).await?;
    }
    Ok(Drivers {
        hypervisor: Arc::new(FakeHypervisor::new(FakeHypervisorHost::default(), clock, changed)),
        network: Arc::new(FakeNetwork::new(FakeNetworkHost::default())),
        volumes: Arc::new(volumes),
        images,
    })
}

pub(crate) fn overcommit(config: &Config) -> Overcommit {
    let c = &config.capacity;
    Overcommit { vcpus: c.vcpu_overcommit, memory: c.memory_overcommit, memory_reserve_mib: c.memory_reserve_mib }
}

/// The host of a simulated cloud, unless the configuration says otherwise: room for the largest types, and for many of each.
const DATA_CENTRE: Host = Host { vcpus: 1_000_000, memory_mib: 1 << 33, disk_bytes: 1 << 60 };

/// What this machine has.
pub(crate) fn host(data_dir: &Path) -> Result<Host> {
    let vcpus = u32::try_from(std::thread::available_parallelism()?.get())?;
    let text = std::fs::read_to_string("/proc/meminfo").context("can't read /proc/meminfo")?;
    let total = text.lines().find_map(|l| l.strip_prefix("MemTotal:")).and_then(|l| l.split_whitespace().next());
    let memory_mib = total.and_then(|n| n.parse::<u64>().ok()).context("/proc/meminfo has no MemTotal")? >> 10;
    let place = nix::sys::statvfs::statvfs(data_dir)?;
    Ok(Host { vcpus, memory_mib, disk_bytes: place.blocks_available() * place.fragment_size() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn no_key_is_drawn_where_the_index_is_lost_too() {
        for path in OBJECTS {
            let dir = tempfile::tempdir().unwrap();
            std::fs::create_dir(dir.path().join("objects")).unwrap();
            std::fs::write(dir.path().join(path), b"x").unwrap();
            assert!(master_key(dir.path()).is_err(), "{path}");
            assert!(!dir.path().join("objects.key").exists());
        }
    }

    #[test]
    fn a_lost_key_of_objects_is_not_drawn_anew() {
        let dir = tempfile::tempdir().unwrap();
        let first = master_key(dir.path()).unwrap();
        assert_eq!(master_key(dir.path()).unwrap(), first);
        std::fs::create_dir(dir.path().join("objects")).unwrap();
        std::fs::write(dir.path().join("objects/index.db"), b"").unwrap();
        assert_eq!(master_key(dir.path()).unwrap(), first);
        std::fs::remove_file(dir.path().join("objects.key")).unwrap();
        let error = format!("{:#}", master_key(dir.path()).unwrap_err());
        assert!(error.contains("objects.key is missing"), "{error}");
        assert!(!dir.path().join("objects.key").exists());
    }
}
