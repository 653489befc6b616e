//! The loops on a host without guests: each story of an instance's life, and a crash between any two steps.
#![allow(clippy::unwrap_used)]

use model::fault::{Crash, Faults, NoFaults};
use model::ids::{ImageId, InstanceId, NetworkInterfaceId, VolumeId, VpcId};
use model::image::{Boot, Image};
use model::instance::{Event, Instance, POWER_OFF_MILLIS, ShutdownBehavior, State, TERMINATED_VISIBLE_MILLIS};
use model::metadata::MetadataOptions;
use model::network_interface::{self, Mac, NetworkInterface};
use model::scope::Scope;
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
use reconcile::{Drivers, HostFacts, Reconciler};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use store::{Mode, Store};
use tokio::sync::Notify;

#[derive(Clone, Default)]
struct World {
    millis: Arc<AtomicI64>,
    boots: Arc<AtomicU64>,
    machines: FakeHypervisorHost,
    network: FakeNetworkHost,
    volumes: FakeVolumeHost,
    images: FakeImageHost,
}

impl Clock for World {
    fn now(&self) -> Timestamp {
        Timestamp(self.millis.load(Ordering::SeqCst))
    }
}

impl HostFacts for World {
    fn boot_id(&self) -> String {
        self.boots.load(Ordering::SeqCst).to_string()
    }
}

/// Crashes at the `n`th point that is reached.
struct CrashAt(Mutex<u32>);

impl Faults for CrashAt {
    fn hit(&self, point: &'static str) -> Result<(), Crash> {
        let mut left = self.0.lock().unwrap();
        *left = left.checked_sub(1).ok_or(Crash(point))?;
        Ok(())
    }
}

fn scope() -> Scope {
    Scope { account: "111111111111".parse().unwrap(), region: "us-east-1".parse().unwrap() }
}

fn id() -> InstanceId {
    "i-00000001".parse().unwrap()
}

fn image_id() -> ImageId {
    "ami-00000001".parse().unwrap()
}

struct Cloud {
    world: World,
    store: Store,
    reconciler: Arc<Reconciler>,
}

impl Cloud {
    fn open(world: &World, directory: &std::path::Path, faults: Arc<dyn Faults>) -> Self {
        let store = Store::open(&directory.join("state.db"), Mode::Simulated, Arc::new(NoFaults)).unwrap();
        let (clock, changed) = (Arc::new(world.clone()), Arc::new(Notify::new()));
        let images = Arc::new(FakeImages::new(world.images.clone()));
        let drivers = Drivers {
            hypervisor: Arc::new(FakeHypervisor::new(world.machines.clone(), clock.clone(), changed.clone())),
            network: Arc::new(FakeNetwork::new(world.network.clone())),
            volumes: Arc::new(FakeVolumes::new(world.volumes.clone(), images.clone())),
            images,
        };
        let reconciler = Reconciler::new(store.clone(), drivers, clock.clone(), faults, clock, changed);
        Self { world: world.clone(), store, reconciler }
    }

    /// Writes what RunInstances would.
    async fn launch(&self, behavior: ShutdownBehavior) {
        let image = FakeImages::new(self.world.images.clone());
        image.adopt(&image_id(), std::path::Path::new("/nowhere")).await.unwrap();
        let now = self.world.now();
        let written = self.store.write(move |tx| {
            let scope = scope();
            tx.put(&scope, an_image(&scope));
            tx.put(&scope, a_vpc());
            tx.put(&scope, a_subnet());
            tx.put(&scope, a_volume(now));
            tx.put(&scope, an_interface(now));
            tx.put(&scope, an_instance(now, behavior));
            Ok::<_, ()>(())
        });
        written.await.unwrap().unwrap();
    }

    async fn passes(&self, count: usize) {
        for _ in 0..count {
            self.reconciler.pass().await.unwrap();
        }
    }

    fn instance(&self) -> Option<Arc<Instance>> {
        self.store.snapshot().find::<Instance>(&id()).map(|(_, i)| i.clone())
    }

    fn state(&self) -> &'static str {
        self.instance().map_or("forgotten", |i| i.state.name())
    }

    async fn wish(&self, event: Event) {
        let now = self.world.now();
        let written = self.store.write(move |tx| {
            let mut instance = (**tx.get::<Instance>(&scope(), &id()).unwrap()).clone();
            assert_eq!(instance.apply(&event, now), Ok(true));
            tx.put(&scope(), instance);
            Ok::<_, ()>(())
        });
        written.await.unwrap().unwrap();
    }

    fn later(&self, millis: i64) {
        self.world.millis.fetch_add(millis, Ordering::SeqCst);
    }
}

fn vpc_id() -> VpcId {
    "vpc-00000001".parse().unwrap()
}

fn an_image(scope: &Scope) -> Image {
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
        boot: Boot::Firmware,
        login_user: "root".into(),
        created: Timestamp(0),
        tags: Tags::default(),
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

fn a_volume(now: Timestamp) -> Volume {
    Volume {
        id: "vol-00000001".parse::<VolumeId>().unwrap(),
        zone: "us-east-1a".into(),
        size_gib: 1,
        volume_type: "gp3".into(),
        source: Source::Image(image_id()),
        snapshot_id: None,
        attachment: Some(volume::Attachment {
            instance_id: id(),
            device_name: "/dev/xvda".into(),
            attach_time: now,
            delete_on_termination: true,
        }),
        deleting: false,
        created: now,
        tags: Tags::default(),
    }
}

fn an_interface(now: Timestamp) -> NetworkInterface {
    NetworkInterface {
        id: "eni-00000001".parse::<NetworkInterfaceId>().unwrap(),
        vpc_id: vpc_id(),
        subnet_id: "subnet-00000001".parse().unwrap(),
        zone: "us-east-1a".into(),
        description: String::new(),
        mac: Mac([2, 0, 0, 0, 0, 1]),
        private_ip: [172, 31, 0, 10].into(),
        map_public_ip: true,
        public_ip: Some([198, 18, 0, 1].into()),
        groups: Vec::new(),
        source_dest_check: true,
        attachment: Some(network_interface::Attachment {
            id: "eni-attach-00000001".parse().unwrap(),
            instance_id: id(),
            device_index: 0,
            attach_time: now,
            delete_on_termination: true,
        }),
        tags: Tags::default(),
    }
}

fn an_instance(now: Timestamp, shutdown_behavior: ShutdownBehavior) -> Instance {
    Instance {
        id: id(),
        reservation_id: "r-00000001".parse().unwrap(),
        launch_index: 0,
        client_token: None,
        image_id: image_id(),
        instance_type: "t3.nano".into(),
        architecture: "x86_64".into(),
        key_name: None,
        public_key: None,
        user_data: None,
        zone: "us-east-1a".into(),
        vpc_id: vpc_id(),
        subnet_id: "subnet-00000001".parse().unwrap(),
        private_ip: [172, 31, 0, 10].into(),
        interfaces: vec!["eni-00000001".parse().unwrap()],
        root_device_name: "/dev/xvda".into(),
        volumes: vec!["vol-00000001".parse().unwrap()],
        state: State::Pending,
        state_reason: None,
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

#[tokio::test]
async fn from_launch_over_stop_and_start_to_oblivion() {
    let (world, directory) = (World::default(), tempfile::tempdir().unwrap());
    let cloud = Cloud::open(&world, directory.path(), Arc::new(NoFaults));
    world.machines.ignore_power_button(true);
    cloud.launch(ShutdownBehavior::Stop).await;
    cloud.passes(1).await;
    assert_eq!(cloud.state(), "running");
    assert_eq!((world.machines.machines().len(), world.volumes.volumes().len(), world.network.vpcs().len()), (1, 1, 1));

    // A guest that doesn't listen to its power button is waited for, then ended.
    cloud.wish(Event::StopWanted { force: false }).await;
    cloud.passes(3).await;
    assert_eq!(cloud.state(), "stopping");
    cloud.later(POWER_OFF_MILLIS);
    cloud.passes(1).await;
    assert_eq!(cloud.state(), "stopped");
    assert_eq!((world.machines.machines().len(), world.volumes.volumes().len()), (0, 1));
    assert_eq!(cloud.store.snapshot().used_public_ips().len(), 0);

    world.machines.ignore_power_button(false);
    cloud.wish(Event::StartWanted).await;
    cloud.passes(1).await;
    assert_eq!(cloud.state(), "running");
    cloud.wish(Event::TerminateWanted { force: false }).await;
    cloud.passes(3).await;
    assert_eq!(cloud.state(), "terminated");
    assert_eq!((world.machines.machines().len(), world.volumes.volumes().len(), world.network.vpcs().len()), (0, 0, 0));
    assert_eq!(cloud.store.snapshot().all::<NetworkInterface>().count(), 0);

    cloud.later(TERMINATED_VISIBLE_MILLIS - 1);
    cloud.passes(2).await;
    assert_eq!(cloud.state(), "terminated");
    cloud.later(1);
    cloud.passes(1).await;
    assert_eq!(cloud.state(), "forgotten");
}

#[tokio::test]
async fn what_a_guest_or_a_host_does_ends_in_a_state_and_a_reason() {
    let (world, directory) = (World::default(), tempfile::tempdir().unwrap());
    let cloud = Cloud::open(&world, directory.path(), Arc::new(NoFaults));
    cloud.launch(ShutdownBehavior::Stop).await;
    cloud.passes(2).await;
    world.machines.guest_power_off(&id());
    cloud.passes(2).await;
    assert_eq!(cloud.state(), "stopped");
    assert_eq!(cloud.instance().unwrap().state_reason.as_ref().unwrap().code, "Client.InstanceInitiatedShutdown");

    cloud.wish(Event::StartWanted).await;
    cloud.passes(2).await;
    world.machines.die(&id());
    cloud.passes(2).await;
    assert_eq!(cloud.state(), "stopped");
    assert_eq!(cloud.instance().unwrap().state_reason.as_ref().unwrap().code, "Server.InternalError");

    // A restart of the host is nobody's fault: what ran is started again.
    cloud.wish(Event::StartWanted).await;
    cloud.passes(2).await;
    world.machines.reboot();
    world.network.reboot();
    world.boots.fetch_add(1, Ordering::SeqCst);
    cloud.passes(2).await;
    assert_eq!(cloud.state(), "running");
    assert_eq!((world.machines.machines().len(), world.network.vpcs().len()), (1, 1));
    // The same once more, without a restart, is a death.
    world.machines.die(&id());
    cloud.passes(2).await;
    assert_eq!(cloud.state(), "stopped");
}

#[tokio::test]
async fn a_disk_error_is_noted_and_mended() {
    let (world, directory) = (World::default(), tempfile::tempdir().unwrap());
    let cloud = Cloud::open(&world, directory.path(), Arc::new(NoFaults));
    cloud.launch(ShutdownBehavior::Stop).await;
    cloud.passes(2).await;
    world.machines.disk_fail(&id(), "no space");
    cloud.passes(2).await;
    assert_eq!(cloud.state(), "running");
    assert!(cloud.reconciler.notes().iter().any(|n| n.contains("no space")));
    world.machines.disk_mend(&id());
    cloud.passes(2).await;
    assert!(cloud.reconciler.notes().is_empty());
}

#[tokio::test]
async fn a_start_that_never_succeeds_is_given_up() {
    let (world, directory) = (World::default(), tempfile::tempdir().unwrap());
    let cloud = Cloud::open(&world, directory.path(), Arc::new(NoFaults));
    cloud.launch(ShutdownBehavior::Stop).await;
    world.machines.never_start(&id());
    for _ in 0..20 {
        cloud.passes(1).await;
        cloud.later(60_000);
    }
    assert_eq!(cloud.state(), "terminated");
    assert_eq!(cloud.instance().unwrap().state_reason.as_ref().unwrap().code, "Server.InternalError");
    assert_eq!(world.volumes.volumes().len(), 0);
}

/// Whatever step the process dies after, the next one goes on, and nothing is there twice or left over.
#[tokio::test]
async fn a_crash_between_any_two_steps_changes_nothing() {
    for point in 0.. {
        let (world, directory) = (World::default(), tempfile::tempdir().unwrap());
        let mut crashed = false;
        let faults = Arc::new(CrashAt(Mutex::new(point)));
        let mut cloud = Cloud::open(&world, directory.path(), faults);
        cloud.launch(ShutdownBehavior::Stop).await;
        let mut wishes = vec![Event::TerminateWanted { force: false }, Event::StartWanted, Event::StopWanted { force: false }];
        for _ in 0..20 {
            if cloud.reconciler.pass().await.is_err() {
                crashed = true;
                drop(cloud);
                cloud = Cloud::open(&world, directory.path(), Arc::new(NoFaults));
            }
            assert!(world.machines.machines().len() <= 1);
            let settled = matches!(cloud.state(), "running" | "stopped");
            if settled && let Some(wish) = wishes.pop() {
                cloud.wish(wish).await;
            }
        }
        assert_eq!(cloud.state(), "terminated", "crash at point {point}");
        assert_eq!((world.machines.machines().len(), world.volumes.volumes().len(), world.network.vpcs().len()), (0, 0, 0));
        if !crashed {
            assert!(point > 6, "only {point} points were reached");
            return;
        }
    }
}
