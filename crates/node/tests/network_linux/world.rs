//! What a test runs in: a namespace for the server, a data directory, a driver, and an end that leaves nothing.

use crate::contract::{interface_id, join, vpc};
use crate::guest::Guest;
use model::ids::{NetworkInterfaceId, SecurityGroupId, VpcId};
use model::metadata::{Guest as Facts, GuestInterface, MetadataOptions};
use model::network::VpcWanted;
use model::tag::Tags;
use model::time::{Clock, Timestamp};
use nix::sched::{CloneFlags, setns, unshare};
use node::directory::Directory;
use node::metadata::Tokens;
use node::network::Network as _;
use node::network::linux::{LinuxNetwork, NetworkConfig, Uplink};
use std::collections::BTreeMap;
use std::fs::File;
use std::future::Future;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

/// How long what is refused is waited for.
pub(crate) const SILENCE: std::time::Duration = std::time::Duration::from_millis(500);
/// How long what must come may take, on a busy machine.
pub(crate) const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// The user that the way out runs as.
pub(crate) const PASTA_UID: u32 = 2_100_065_536;

/// A namespace that lives as long as this does.
#[derive(Debug)]
pub(crate) struct Netns(File);

impl Netns {
    pub(crate) fn new() -> Self {
        let thread = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("namespaces need root");
            run("ip", &["link", "set", "lo", "up"], "");
            Self(File::open("/proc/thread-self/ns/net").unwrap())
        });
        thread.join().unwrap()
    }

    pub(crate) fn open(path: &Path) -> Self {
        Self(File::open(path).unwrap())
    }

    /// Runs a closure, and what it starts, inside.
    pub(crate) fn run<T: Send>(&self, closure: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(&self.0, CloneFlags::CLONE_NEWNET).unwrap();
                closure()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

/// Runs a program that must succeed; gives its output.
pub(crate) fn run(program: &str, arguments: &[&str], input: &str) -> String {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?} {input}: {out} {err}");
    out.into_owned()
}

/// Runs lines of iproute2.
pub(crate) fn ip(lines: &str) {
    run("ip", &["-4", "-batch", "-"], lines);
}

/// Everyone who was ever told of.
#[derive(Default)]
pub(crate) struct Everyone(Mutex<BTreeMap<(VpcId, Ipv4Addr), Arc<Facts>>>);

impl Directory for Everyone {
    fn guest(&self, vpc: &VpcId, private_ip: Ipv4Addr) -> Option<Arc<Facts>> {
        self.0.lock().unwrap().get(&(vpc.clone(), private_ip)).cloned()
    }
}

struct Epoch;

impl Clock for Epoch {
    fn now(&self) -> Timestamp {
        Timestamp(0)
    }
}

/// What a test has.
pub(crate) struct World {
    pub(crate) config: NetworkConfig,
    everyone: Arc<Everyone>,
    network: Option<LinuxNetwork>,
}

/// Leaves nothing, whatever happens: neither this test's, nor what a killed test left.
struct Sweep(PathBuf);

impl Drop for Sweep {
    fn drop(&mut self) {
        LinuxNetwork::end_all(&self.0, PASTA_UID).unwrap();
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn sweep_killed(root: &Path) {
    for entry in std::fs::read_dir(root).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        let pid = name.split('-').next().unwrap();
        if !Path::new("/proc").join(pid).exists() {
            // Another test may be sweeping the same.
            let _ = LinuxNetwork::end_all(&entry.path(), PASTA_UID);
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// A driver that knows of no guests.
pub(crate) fn driver(config: &NetworkConfig) -> LinuxNetwork {
    LinuxNetwork::new(config.clone(), Arc::new(Everyone::default()), Tokens::new([7; 32], Arc::new(Epoch))).unwrap()
}

/// Runs a test in a world of its own.
pub(crate) fn world<F: Future<Output = ()>>(name: &str, uplink: Uplink, test: impl FnOnce(World) -> F + Send) {
    let root = std::env::temp_dir().join("pileus-network-tests");
    std::fs::create_dir_all(&root).unwrap();
    sweep_killed(&root);
    let data_dir = root.join(format!("{}-{name}", std::process::id()));
    std::fs::create_dir_all(&data_dir).unwrap();
    let _sweep = Sweep(data_dir.clone());
    let config = NetworkConfig {
        data_dir,
        uplink,
        public_pool: "198.18.0.0/16".parse().unwrap(),
        allow_private: Vec::new(),
        mtu: 9001,
        pasta_uid: PASTA_UID,
    };
    Netns::new().run(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World { config, everyone: Arc::default(), network: None };
            world.start();
            test(world).await;
        });
    });
}

impl World {
    /// The driver.
    pub(crate) fn network(&self) -> &LinuxNetwork {
        self.network.as_ref().unwrap()
    }

    /// The server dies.
    pub(crate) fn stop(&mut self) {
        self.network = None;
    }

    /// The server starts, or starts again after a crash.
    pub(crate) fn start(&mut self) {
        self.stop();
        let tokens = Tokens::new([7; 32], Arc::new(Epoch));
        self.network = Some(LinuxNetwork::new(self.config.clone(), self.everyone.clone(), tokens).unwrap());
    }

    /// Makes a VPC as it is wanted, and lets its services know of its guests.
    pub(crate) async fn ensure(&self, wanted: &VpcWanted) {
        for (id, interface) in &wanted.interfaces {
            let facts = Arc::new(facts(wanted, id));
            self.everyone.0.lock().unwrap().insert((wanted.id.clone(), interface.private_ip), facts);
        }
        self.network().vpc_ensure(wanted).await.unwrap();
    }

    /// A guest on interface `n`, with its address set by hand.
    pub(crate) async fn guest(&self, wanted: &VpcWanted, n: u32) -> Guest {
        let guest = self.guest_without_address(wanted, n).await;
        let interface = &wanted.interfaces[&interface_id(n)];
        let (address, subnet) = (interface.private_ip, wanted.subnets[&interface.subnet_id]);
        let router = Ipv4Addr::from(u32::from(subnet.network()) + 1);
        guest.ns.run(|| ip(&format!("address add {address}/{} dev eth0\nroute add default via {router}\n", subnet.prefix_len())));
        guest
    }

    /// A guest on interface `n`, as it is before DHCP.
    pub(crate) async fn guest_without_address(&self, wanted: &VpcWanted, n: u32) -> Guest {
        let interface = &wanted.interfaces[&interface_id(n)];
        let tap = self.network().tap_open(&wanted.id, &interface_id(n)).await.unwrap();
        Guest::start(tap, interface.mac, interface.private_ip)
    }

    /// The VPC's own namespace.
    pub(crate) async fn inside(&self, id: &VpcId) -> Netns {
        Netns::open(&self.network().vpc_namespace(id).await.unwrap())
    }
}

/// A VPC with these interfaces: number, address, groups.
pub(crate) fn vpc_with(n: u32, interfaces: &[(u32, &str, &[SecurityGroupId])]) -> VpcWanted {
    let mut wanted = vpc(n);
    for (interface, address, groups) in interfaces {
        join(&mut wanted, *interface, address, groups);
    }
    wanted
}

fn facts(wanted: &VpcWanted, id: &NetworkInterfaceId) -> Facts {
    let interface = &wanted.interfaces[id];
    Facts {
        account: "123456789012".parse().unwrap(),
        region: wanted.region.clone(),
        zone: "us-east-1a".into(),
        instance_id: format!("i-{}", id.as_str().trim_start_matches("eni-")).parse().unwrap(),
        instance_type: "t3.nano".into(),
        image_id: "ami-0123456789abcdef0".parse().unwrap(),
        architecture: "x86_64".into(),
        reservation_id: "r-0123456789abcdef0".parse().unwrap(),
        launch_index: 0,
        launch_time: Timestamp(0),
        key: None,
        user_data: None,
        root_device_name: "/dev/xvda".into(),
        block_devices: vec![],
        private_dns: wanted.region.private_name(interface.private_ip),
        public_dns: None,
        interfaces: vec![GuestInterface {
            id: id.clone(),
            device_index: 0,
            mac: interface.mac,
            private_ip: interface.private_ip,
            public_ip: interface.public_ip,
            subnet_id: interface.subnet_id.clone(),
            subnet_cidr: wanted.subnets[&interface.subnet_id],
            vpc_id: wanted.id.clone(),
            vpc_cidr: wanted.cidr,
            groups: vec![],
        }],
        tags: Tags::default(),
        options: MetadataOptions { enabled: true, tokens_required: false, hop_limit: 1, tags: false, ipv6: false },
    }
}
