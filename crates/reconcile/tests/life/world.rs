//! A host without guests, a cloud on it, and what RunInstances would write.

use model::fault::{Crash, Faults, NoFaults};
use model::ids::{ImageId, InstanceId, SecurityGroupId, SecurityGroupRuleId, VolumeId, VpcId};
use model::image::{Boot, Image};
use model::impairment::Impairment;
use model::instance::{Event, Instance, ShutdownBehavior, State};
use model::metadata::MetadataOptions;
use model::network_interface::{self, Mac, NetworkInterface};
use model::scope::Scope;
use model::security_group::{Peer, Rule, SecurityGroup, Traffic};
use model::subnet::Subnet;
use model::tag::Tags;
use model::time::{Clock, Timestamp};
use model::volume::{self, Source, Volume};
use model::vpc::Vpc;
use node::hypervisor::fake::{FakeHypervisor, FakeHypervisorHost};
use node::image::Images as _;
use node::image::fake::{FakeImageHost, FakeImages};
use node::network::fake::{FakeNetwork, FakeNetworkHost};
use node::volume::fake::{FakeVolumeHost, FakeVolumes};
use reconcile::{Drivers, HostFacts, Pass, Reconciler};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use store::{Mode, Store, SystemTx};
use tokio::sync::Notify;

/// How much later each pass is, in milliseconds.
pub(crate) const PASS_MILLIS: i64 = 1_000;

/// The host, and time. A clone is the same.
#[derive(Clone, Default)]
pub(crate) struct World {
    millis: Arc<AtomicI64>,
    boots: Arc<AtomicU64>,
    /// Whether a restart of the host leaves stopped what ran.
    pub(crate) stays_down: Arc<AtomicBool>,
    pub(crate) machines: FakeHypervisorHost,
    pub(crate) network: FakeNetworkHost,
    pub(crate) volumes: FakeVolumeHost,
    pub(crate) images: FakeImageHost,
}

impl Clock for World {
    fn now(&self) -> Timestamp {
        Timestamp(1_795_478_400_000 + self.millis.load(Ordering::SeqCst))
    }
}

impl HostFacts for World {
    fn boot_id(&self) -> String {
        self.boots.load(Ordering::SeqCst).to_string()
    }

    fn restarts_guests(&self) -> bool {
        !self.stays_down.load(Ordering::SeqCst)
    }
}

impl World {
    pub(crate) fn later(&self, millis: i64) {
        self.millis.fetch_add(millis, Ordering::SeqCst);
    }

    /// The host is restarted. The process on it is, too: open the cloud anew.
    pub(crate) fn restart(&self) {
        self.machines.reboot();
        self.network.reboot();
        self.boots.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn drivers(&self, changed: Arc<Notify>) -> Drivers {
        let images = Arc::new(FakeImages::new(self.images.clone()));
        Drivers {
            hypervisor: Arc::new(FakeHypervisor::new(self.machines.clone(), Arc::new(self.clone()), changed)),
            network: Arc::new(FakeNetwork::new(self.network.clone())),
            volumes: Arc::new(FakeVolumes::new(self.volumes.clone(), images.clone())),
            images,
        }
    }

    /// Nothing is left of any instance.
    pub(crate) fn is_bare(&self) -> bool {
        self.machines.machines().is_empty() && self.volumes.volumes().is_empty() && self.network.vpcs().is_empty()
    }
}

/// Crashes at the `n`th point that is reached, and is dead from then on.
pub(crate) struct CrashAt {
    pub(crate) left: Mutex<u32>,
}

impl Faults for CrashAt {
    fn hit(&self, point: &'static str) -> Result<(), Crash> {
        let mut left = self.left.lock().unwrap();
        *left = left.checked_sub(1).ok_or(Crash(point))?;
        Ok(())
    }
}

/// One life of the process.
pub(crate) struct Cloud {
    pub(crate) world: World,
    pub(crate) store: Store,
    pub(crate) reconciler: Arc<Reconciler>,
}

impl Cloud {
    pub(crate) fn open(world: &World, directory: &Path) -> Self {
        Self::open_with(world, directory, Arc::new(NoFaults), |drivers| drivers)
    }

    pub(crate) fn open_with(world: &World, directory: &Path, faults: Arc<dyn Faults>, change: impl FnOnce(Drivers) -> Drivers) -> Self {
        let store = Store::open(&directory.join("state.db"), Mode::Simulated, Arc::new(NoFaults)).unwrap();
        Self::on_store(world, store, Arc::new(world.clone()), faults, change)
    }

    pub(crate) fn on_store(
        world: &World,
        store: Store,
        clock: Arc<dyn Clock>,
        faults: Arc<dyn Faults>,
        change: impl FnOnce(Drivers) -> Drivers,
    ) -> Self {
        let (host, changed) = (Arc::new(world.clone()), Arc::new(Notify::new()));
        let drivers = change(world.drivers(changed.clone()));
        let reconciler = Reconciler::new(store.clone(), drivers, clock, faults, host, changed);
        Self { world: world.clone(), store, reconciler }
    }

    /// Writes what RunInstances would, for the instances of these numbers.
    pub(crate) async fn launch(&self, numbers: std::ops::RangeInclusive<u8>, behavior: ShutdownBehavior) {
        let image = FakeImages::new(self.world.images.clone());
        image.adopt(&image_id(), Path::new("/nowhere")).await.unwrap();
        let now = self.world.now();
        self.write(move |tx| {
            let scope = scope();
            tx.put(&scope, an_image(&scope));
            tx.put(&scope, a_vpc());
            tx.put(&scope, a_subnet());
            if tx.get::<SecurityGroup>(&scope, &group_id(1)).is_none() {
                tx.put(&scope, a_group(1, group_id(1)));
            }
            for n in numbers {
                tx.put(&scope, a_volume(n, now));
                tx.put(&scope, an_interface(n, now));
                tx.put(&scope, an_instance(n, now, behavior));
            }
        })
        .await;
    }

    pub(crate) async fn write(&self, closure: impl FnOnce(&mut SystemTx<'_>) + Send + 'static) {
        let written = self.store.write(move |tx| {
            closure(tx);
            Ok::<_, ()>(())
        });
        written.await.unwrap().unwrap();
    }

    /// One pass, a little later than the last.
    pub(crate) async fn pass(&self) -> Pass {
        self.world.later(PASS_MILLIS);
        self.reconciler.pass().await.unwrap()
    }

    /// Passes until nothing is done any more.
    pub(crate) async fn settle(&self) {
        for _ in 0..20 {
            if self.pass().await.steps == 0 {
                return;
            }
        }
        panic!("no rest: {:?}", self.reconciler.status());
    }

    pub(crate) fn instance(&self, n: u8) -> Option<Arc<Instance>> {
        self.store.snapshot().find::<Instance>(&id(n)).map(|(_, i)| i.clone())
    }

    pub(crate) fn state(&self, n: u8) -> &'static str {
        self.instance(n).map_or("forgotten", |i| i.state.name())
    }

    pub(crate) fn reason(&self, n: u8) -> String {
        self.instance(n).and_then(|i| i.state_reason.clone()).map_or_else(String::new, |r| r.message)
    }

    pub(crate) fn impairments(&self, n: u8) -> BTreeMap<Impairment, Timestamp> {
        self.instance(n).map(|i| i.impairments.clone()).unwrap_or_default()
    }

    pub(crate) async fn change(&self, n: u8, closure: impl FnOnce(&mut Instance) + Send + 'static) {
        self.write(move |tx| {
            let mut instance = (**tx.get::<Instance>(&scope(), &id(n)).unwrap()).clone();
            closure(&mut instance);
            tx.put(&scope(), instance);
        })
        .await;
    }

    pub(crate) async fn wish(&self, n: u8, event: Event) {
        let now = self.world.now();
        self.change(n, move |instance| assert_eq!(instance.apply(&event, now), Ok(true))).await;
    }
}

pub(crate) fn scope() -> Scope {
    Scope { account: "111111111111".parse().unwrap(), region: "us-east-1".parse().unwrap() }
}

pub(crate) fn id(n: u8) -> InstanceId {
    format!("i-000000{n:02x}").parse().unwrap()
}

pub(crate) fn image_id() -> ImageId {
    "ami-00000001".parse().unwrap()
}

pub(crate) fn vpc_id() -> VpcId {
    "vpc-00000001".parse().unwrap()
}

pub(crate) fn group_id(n: u8) -> SecurityGroupId {
    format!("sg-000000{n:02x}").parse().unwrap()
}

pub(crate) fn volume_id(n: u8) -> VolumeId {
    format!("vol-000000{n:02x}").parse().unwrap()
}

pub(crate) fn an_image(scope: &Scope) -> Image {
    Image {
        id: image_id(),
        owner: scope.account.clone(),
        name: "tiny".into(),
        description: None,
        public: false,
        architecture: "x86_64".into(),
        root_device_name: "/dev/xvda".into(),
        snapshot_id: "snap-00000001".parse().unwrap(),
        size_gib: 1,
        boot: Boot::Kernel { command_line: "console=ttyS0".into() },
        login_user: "root".into(),
        lost: None,
        created: Timestamp(0),
        tags: Tags::default(),
        content: None,
        launch_permissions: std::collections::BTreeSet::new(),
        source: None,
        root_volume_type: "gp3".into(),
        boot_mode: "legacy-bios".into(),
        imds_v2: false,
    }
}

fn a_vpc() -> Vpc {
    Vpc {
        id: vpc_id(),
        cidr: "172.31.0.0/16".parse().unwrap(),
        is_default: true,
        dhcp_options_id: "dopt-00000001".parse().unwrap(),
        internet_gateway_id: Some("igw-00000001".parse().unwrap()),
        tags: Tags::default(),
    }
}

fn a_subnet() -> Subnet {
    Subnet {
        id: "subnet-00000001".parse().unwrap(),
        vpc_id: vpc_id(),
        cidr: "172.31.0.0/20".parse().unwrap(),
        zone: "us-east-1a".into(),
        default_for_az: true,
        map_public_ip_on_launch: true,
        tags: Tags::default(),
    }
}

/// A group that lets in the members of another.
pub(crate) fn a_group(n: u8, peer: SecurityGroupId) -> SecurityGroup {
    let rule = |n: u8, peer| Rule {
        id: format!("sgr-000000{n:02x}").parse::<SecurityGroupRuleId>().unwrap(),
        traffic: Traffic::All,
        peer,
        description: None,
        tags: Tags::default(),
    };
    SecurityGroup {
        id: group_id(n),
        name: format!("group {n}"),
        description: "a group".into(),
        vpc_id: vpc_id(),
        ingress: vec![rule(2 * n, Peer::Group(peer))],
        egress: vec![rule(2 * n + 1, Peer::Ipv4("0.0.0.0/0".parse().unwrap()))],
        tags: Tags::default(),
    }
}

pub(crate) fn a_volume(n: u8, now: Timestamp) -> Volume {
    Volume {
        id: volume_id(n),
        zone: "us-east-1a".into(),
        size_gib: 1,
        volume_type: "gp3".into(),
        source: Source::Image(image_id()),
        snapshot_id: None,
        file: volume::FileState::Wanted,
        file_bytes_synced: 0,
        attachment: Some(volume::Attachment {
            instance_id: id(n),
            device_name: "/dev/xvda".into(),
            attach_time: now,
            delete_on_termination: true,
        }),
        deleting: false,
        created: now,
        tags: Tags::default(),
    }
}

pub(crate) fn an_interface(n: u8, now: Timestamp) -> NetworkInterface {
    NetworkInterface {
        id: format!("eni-000000{n:02x}").parse().unwrap(),
        vpc_id: vpc_id(),
        subnet_id: "subnet-00000001".parse().unwrap(),
        zone: "us-east-1a".into(),
        description: String::new(),
        mac: Mac([2, 0, 0, 0, 0, n]),
        private_ip: [172, 31, 0, 10 + n].into(),
        map_public_ip: true,
        public_ip: Some([198, 18, 0, n].into()),
        groups: vec![group_id(1)],
        source_dest_check: true,
        attachment: Some(network_interface::Attachment {
            id: format!("eni-attach-000000{n:02x}").parse().unwrap(),
            instance_id: id(n),
            device_index: 0,
            attach_time: now,
            delete_on_termination: true,
        }),
        tags: Tags::default(),
    }
}

pub(crate) fn an_instance(n: u8, now: Timestamp, shutdown_behavior: ShutdownBehavior) -> Instance {
    Instance {
        id: id(n),
        reservation_id: "r-00000001".parse().unwrap(),
        launch_index: u32::from(n) - 1,
        client_token: None,
        image_id: image_id(),
        instance_type: "t3.nano".into(),
        architecture: "x86_64".into(),
        key_name: Some("key".into()),
        public_key: Some("ssh-ed25519 AAAA".into()),
        user_data: None,
        zone: "us-east-1a".into(),
        vpc_id: vpc_id(),
        subnet_id: "subnet-00000001".parse().unwrap(),
        private_ip: [172, 31, 0, 10 + n].into(),
        interfaces: vec![format!("eni-000000{n:02x}").parse().unwrap()],
        root_device_name: "/dev/xvda".into(),
        volumes: vec![volume_id(n)],
        state: State::Pending,
        state_reason: None,
        impairments: BTreeMap::new(),
        state_transition_reason: String::new(),
        run: 1,
        launch_time: now,
        reboot_since: None,
        disable_api_termination: false,
        disable_api_stop: false,
        shutdown_behavior,
        metadata_options: MetadataOptions { enabled: true, tokens_required: false, hop_limit: 1, tags: false, ipv6: false },
        monitoring: false,
        ebs_optimized: false,
        cpu_options: None,
        credit_specification: None,
        tags: Tags::default(),
    }
}
