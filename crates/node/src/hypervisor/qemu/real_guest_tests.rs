//! REAL GUESTS: every test here starts QEMU with a Linux kernel, and fails where that can't be had. Needs root.
#![allow(clippy::unwrap_used)]

use super::test_guest::{self, UP, guest_run, guest_type};
use super::*;
use crate::hypervisor::contract::{self, Deed, Driver, Rig};
use crate::volume::Files;
use model::machine::{Activity, Disk, Interface};
use model::network_interface::Mac;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Instant;
use tracing_subscriber::util::SubscriberInitExt as _;

/// How long anything may take. A reset is the slowest by far where QEMU translates: each write to memory that the guest before it ran code in
/// is a slow one, and that is all of the next kernel.
const LIMIT: Duration = Duration::from_secs(240);
const COMMAND_LINE: &str = "console=ttyS0 quiet panic=-1";

/// The console helper of this file's tests: they run in cargo's test binary, which stands for `pileus` here.
#[test]
fn console_helper() {
    let arguments: Vec<String> = std::env::args().skip_while(|argument| argument != "__console").skip(1).collect();
    if !arguments.is_empty() {
        assert_eq!(helper_main(&arguments), std::process::ExitCode::SUCCESS);
    }
}

/// A host directory with a small file system for volumes, gone at the end with all machines in it.
struct Host {
    directory: tempfile::TempDir,
    config: QemuConfig,
    id: InstanceId,
    boot: (PathBuf, PathBuf),
}

impl Host {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let volumes = directory.path().join("volumes");
        fs::create_dir(&volumes).unwrap();
        mount(Some("none"), &volumes, Some("tmpfs"), MsFlags::empty(), Some("size=24m")).unwrap();
        let mut config = QemuConfig::new(&directory.path().join("data"));
        config.console_helper =
            ["/proc/self/exe", "--exact", "hypervisor::qemu::real_guest_tests::console_helper", "__console"].map(Into::into).to_vec();
        let this = Self { directory, config, id: "i-0123456789abcdef0".parse().unwrap(), boot: test_guest::boot_files() };
        this.volume_make("root", "64M");
        this
    }

    fn volume_path(&self, name: &str) -> PathBuf {
        self.directory.path().join("volumes").join(name)
    }

    fn volume_make(&self, name: &str, size: &str) {
        let made = Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).arg(self.volume_path(name)).arg(size).status();
        assert!(made.unwrap().success());
    }

    async fn driver(&self) -> Driver {
        let (qemu, changed) = self.qemu().await;
        Driver { hypervisor: Arc::new(qemu), changed }
    }

    async fn qemu(&self) -> (Qemu, Arc<Notify>) {
        let changed = Arc::new(Notify::new());
        (Qemu::open(self.config.clone(), changed.clone()).await.unwrap(), changed)
    }

    fn files(&self, name: &str) -> Files {
        Files { top: self.volume_path(name), backing: Vec::new() }
    }

    fn spec(&self, run: u64) -> MachineSpec {
        MachineSpec {
            id: self.id.clone(),
            run,
            vcpus: 1,
            memory_mib: 128,
            kernel_command_line: Some(COMMAND_LINE.into()),
            image_id: "ami-00000001".parse().unwrap(),
            disks: vec![Disk::Volume("vol-0123456789abcdef0".parse().unwrap())],
            interfaces: Vec::new(),
        }
    }

    fn parts(&self) -> Parts {
        Parts { kernel: Some(self.boot.clone()), volumes: vec![self.files("root")], taps: Vec::new() }
    }

    fn place(&self) -> Place {
        Place::new(&self.config.machines(), &self.id)
    }

    fn pid(&self, berth: &str) -> i32 {
        fs::read_to_string(self.place().directory().join(format!("{berth}.pid"))).unwrap().trim().parse().unwrap()
    }

    /// Kills a process and waits for its end: until then its place is taken and its socket takes connections.
    fn kill(&self, berth: &str) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid(berth)), nix::sys::signal::Signal::SIGKILL).unwrap();
        let place = process::Berth::new(self.place().directory(), berth);
        let start = Instant::now();
        while place.is_taken().unwrap() {
            assert!(start.elapsed() < KILL_LIMIT, "{berth} was killed, and is still there");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn console(&self) -> UnixStream {
        console_connect(&self.config.data_dir, &self.id).unwrap()
    }

    fn run(&self, command: &str) -> String {
        guest_run(&mut self.console(), command)
    }

    async fn console_has(&self, what: &str, done: impl Fn(&str) -> bool) -> String {
        let start = Instant::now();
        loop {
            let console = console::read(&self.config.console(&self.id)).unwrap();
            let text = console.map(|console| String::from_utf8_lossy(&console.bytes).into_owned()).unwrap_or_default();
            if done(&text) {
                return text;
            }
            assert!(start.elapsed() < LIMIT, "{what}: never in the console: {text}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn up(&self, times: usize) {
        self.console_has("up", |text| text.matches(UP).count() >= times).await;
    }

    async fn started(&self) -> Driver {
        let driver = self.driver().await;
        driver.hypervisor.start(&self.spec(1), self.parts()).await.unwrap();
        self.up(1).await;
        driver
    }

    fn process_status(&self, field: &str) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid("qemu"))).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(&format!("{field}:"))).unwrap();
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for berth in ["qemu", "console"] {
            if Place::new(&self.config.machines(), &self.id).directory().join(format!("{berth}.lock")).exists()
                && process::Berth::new(self.place().directory(), berth).is_taken().unwrap()
            {
                self.kill(berth);
            }
        }
        let cgroups = Cgroups::open(&cloud_name(&self.config.data_dir));
        let start = Instant::now();
        while !cgroups.try_remove(&self.id).unwrap() && start.elapsed() < KILL_LIMIT {
            std::thread::sleep(Duration::from_millis(10));
        }
        cgroups.close();
        umount2(&self.directory.path().join("volumes"), MntFlags::MNT_DETACH).unwrap();
    }
}

#[async_trait]
impl Rig for Host {
    async fn open(&self) -> Driver {
        self.driver().await
    }

    fn machine(&self, run: u64) -> (MachineSpec, Parts) {
        (self.spec(run), self.parts())
    }

    async fn happen(&self, deed: Deed) {
        let volumes = self.directory.path().join("volumes");
        match deed {
            Deed::PowerOff => guest_type(&mut self.console(), "poweroff -f"),
            Deed::Panic => guest_type(&mut self.console(), "echo c > /proc/sysrq-trigger"),
            Deed::Die => self.kill("qemu"),
            Deed::FillDisk => guest_type(&mut self.console(), "dd if=/dev/urandom of=/dev/vda bs=1M count=40; sync; echo all written"),
            Deed::FreeDisk => mount(Some("none"), &volumes, Some("tmpfs"), MsFlags::MS_REMOUNT, Some("size=80m")).unwrap(),
        }
    }

    async fn up(&self, _driver: &Driver, times: usize) {
        Self::up(self, times).await;
    }

    fn incarnation(&self) -> String {
        self.pid("qemu").to_string()
    }
}

#[tokio::test]
async fn qemu_keeps_the_contract() {
    contract::check(&Host::new()).await;
}

/// A server that starts, its driver's first answers, and how the machine looks from inside and outside.
#[tokio::test]
async fn a_guest_sees_what_ec2_shows_and_its_process_has_no_power() {
    let host = Host::new();
    host.volume_make("data", "1G");
    let mut spec = host.spec(1);
    spec.vcpus = 2;
    spec.disks.push(Disk::Volume("vol-0123456789abcdef1".parse().unwrap()));
    spec.disks.push(Disk::InstanceStore { index: 0, bytes: 64 << 20 });
    spec.interfaces.push(Interface { id: "eni-0123456789abcdef0".parse().unwrap(), mac: Mac([2, 0, 0, 0, 0, 7]) });
    let mut parts = host.parts();
    parts.volumes.push(host.files("data"));
    parts.taps.push(tap());
    let driver = host.driver().await;
    driver.hypervisor.start(&spec, parts).await.unwrap();
    host.up(1).await;

    let uuid = command::uuid(&host.id);
    let dmi = |name: &str| host.run(&format!("cat /sys/class/dmi/id/{name}")).to_lowercase();
    assert_eq!((dmi("product_uuid"), dmi("product_serial")), (uuid.clone(), uuid));
    assert_eq!((dmi("sys_vendor"), dmi("board_asset_tag")), ("amazon ec2".into(), host.id.to_string()));
    assert_eq!(host.run("echo `cat /sys/block/vda/serial`; cat /sys/block/vdb/serial"), "vol0123456789abcdef0\nvol0123456789abcdef1");
    assert_eq!(host.run("cat /sys/block/vdb/size"), (2u64 << 20).to_string());
    assert_eq!(host.run("ls /dev | grep nvme"), "nvme0\nnvme1\nnvme1n1");
    assert_eq!(host.run("cat /sys/block/nvme1n1/size"), (64u64 << 11).to_string());
    assert_eq!(host.run("cat /sys/class/net/eth0/address /sys/class/net/eth0/mtu"), "02:00:00:00:00:07\n9001");
    assert_eq!(host.run("nproc; cat /sys/class/misc/hw_random/rng_current"), "2\nvirtio_rng.0");

    let uid = host.place().record().unwrap().uid;
    assert_eq!(host.process_status("Uid"), format!("{uid} {uid} {uid} {uid}"));
    assert_eq!(host.process_status("Gid"), format!("{uid} {uid} {uid} {uid}"));
    assert_eq!((host.process_status("Groups"), host.process_status("CapEff")), (String::new(), "0000000000000000".into()));
    assert_eq!((host.process_status("Seccomp"), host.process_status("NoNewPrivs")), ("2".into(), "1".into()));
    // Nothing of the server's is left open in it.
    for entry in fs::read_dir(format!("/proc/{}/fd", host.pid("qemu"))).unwrap() {
        let target = fs::read_link(entry.unwrap().path()).unwrap();
        let target = target.to_str().unwrap();
        let ours = target.starts_with(host.directory.path().to_str().unwrap()) || target.contains("/test-guest/");
        let plain = ["socket:", "pipe:", "anon_inode:", "/dev/null", "/dev/net/tun"].iter().any(|start| target.starts_with(start));
        assert!(ours || plain, "{target}");
    }
    driver.hypervisor.remove(&host.id).await.unwrap();
}

/// A tap in a network namespace of its own, so that the host's has nothing new.
fn tap() -> std::os::fd::OwnedFd {
    std::thread::spawn(|| {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        let file = fs::File::options().read(true).write(true).open("/dev/net/tun").unwrap();
        let mut request: nix::libc::ifreq = nix::libc::ifreq { ifr_name: [0; 16], ..unsafe_zeroed() };
        request.ifr_name[0] = 116;
        request.ifr_ifru.ifru_flags = (nix::libc::IFF_TAP | nix::libc::IFF_NO_PI | nix::libc::IFF_VNET_HDR) as i16;
        // SAFETY: the request is a valid ifreq, which TUNSETIFF takes.
        #[allow(unsafe_code)]
        let result = unsafe { nix::libc::ioctl(std::os::fd::AsRawFd::as_raw_fd(&file), nix::libc::TUNSETIFF, &raw mut request) };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
        file.into()
    })
    .join()
    .unwrap()
}

fn unsafe_zeroed() -> nix::libc::ifreq {
    // SAFETY: all zeros is a valid ifreq.
    #[allow(unsafe_code)]
    unsafe {
        std::mem::zeroed()
    }
}

async fn crashes(host: &Host, spec: MachineSpec, parts: Parts) {
    let driver = host.driver().await;
    driver.hypervisor.start(&spec, parts).await.unwrap();
    let looped = |activity: &Activity| matches!(activity, Activity::Crashed { reason } if reason.contains("does not boot"));
    driver.until_does(&host.id, "an image that doesn't boot", looped).await;
    drop(driver);
    let driver = host.driver().await;
    driver.until_does(&host.id, "the same, seen by the next server", looped).await;
    driver.hypervisor.reset(&host.id).await.unwrap();
    driver.until_does(&host.id, "tried again", |activity| *activity == Activity::Running).await;
}

#[tokio::test]
async fn a_disk_that_does_not_boot_ends_in_a_reason() {
    let host = Host::new();
    let spec = MachineSpec { kernel_command_line: None, ..host.spec(1) };
    crashes(&host, spec, Parts { kernel: None, ..host.parts() }).await;
    host.console_has("the firmware's own words", |text| text.contains("No bootable device")).await;
}

#[tokio::test]
async fn a_kernel_that_finds_no_init_ends_in_a_reason() {
    let host = Host::new();
    let spec = MachineSpec { kernel_command_line: Some("console=ttyS0 quiet panic=-1 rdinit=/nothing".into()), ..host.spec(1) };
    crashes(&host, spec, host.parts()).await;
}

#[tokio::test]
async fn a_reboot_of_the_guests_own_is_none_of_our_business() {
    let host = Host::new();
    let driver = host.started().await;
    guest_type(&mut host.console(), "reboot -f");
    host.up(2).await;
    assert_eq!(driver.hypervisor.observe(&host.id).await.unwrap(), Observed::Known { run: 1, activity: Activity::Running });
}

/// An end in order is none to be warned of: of the server, of the guest, and of the machine.
#[tokio::test]
async fn a_clean_end_warns_of_nothing() {
    use std::io::{Read as _, Seek as _};
    let mut log = Arc::new(tempfile::tempfile().unwrap());
    // Not what opening the driver warns of: what this host lacks.
    let filter = "node::hypervisor::qemu::machine=warn,node::hypervisor::qemu::qmp=warn";
    let _guard = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(log.clone()).finish().set_default();
    let host = Host::new();
    drop(host.started().await);
    let driver = host.driver().await;
    guest_type(&mut host.console(), "poweroff -f");
    driver.until_does(&host.id, "powered off", |activity| *activity == Activity::PoweredOff).await;
    driver.hypervisor.remove(&host.id).await.unwrap();
    // For what the tasks behind it have still to say.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut text = String::new();
    log.rewind().and_then(|()| log.read_to_string(&mut text)).unwrap();
    assert_eq!(text, "");
}

#[tokio::test]
async fn the_console_is_bounded_and_goes_on_without_server_or_helper() {
    let host = Host::new();
    drop(host.started().await);
    // No server: three megabytes are written without a stall.
    assert_eq!(host.run("yes 0123456789abcdef0123456789abcdef | head -c 3000000; echo; echo written"), {
        let line = "0123456789abcdef0123456789abcdef\n";
        let full = line.repeat(3_000_000 / line.len() + 1);
        format!("{}\nwritten", full.get(..3_000_000).unwrap().trim_end())
    });
    let text = host.console_has("the end", |text| text.contains("written")).await;
    assert!(text.len() <= super::super::CONSOLE_BYTES_MAX && text.contains("0123456789abcdef0123456789abcdef"));
    assert!(fs::metadata(host.config.console(&host.id)).unwrap().len() <= console::RING_BYTES + 4096);
    // No helper: the guest goes on, and the next server starts another.
    host.kill("console");
    let (qemu, _) = host.qemu().await;
    let start = Instant::now();
    // Its place is taken before it listens.
    while !host.place().console_helper().is_taken().unwrap() || console_connect(&host.config.data_dir, &host.id).is_err() {
        assert!(start.elapsed() < LIMIT);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(host.run("echo still here"), "still here");
    qemu.remove(&host.id).await.unwrap();
    host.console_has("the last words", |text| text.contains("still here")).await;
}

#[tokio::test]
async fn a_machine_that_can_not_start_says_why_and_leaves_nothing() {
    let host = Host::new();
    let driver = host.driver().await;
    fs::write(host.volume_path("root"), b"this is no qcow2 file, though it is long enough to be read as one").unwrap();
    let error = driver.hypervisor.start(&host.spec(1), host.parts()).await.unwrap_err();
    assert!(format!("{error:#}").contains("not in qcow2 format"), "{error:#}");
    assert_eq!(driver.hypervisor.list().await.unwrap(), []);
    let huge = MachineSpec { disks: vec![Disk::InstanceStore { index: 0, bytes: 1 << 50 }], ..host.spec(1) };
    let error = driver.hypervisor.start(&huge, Parts { volumes: Vec::new(), ..host.parts() }).await.unwrap_err();
    assert!(format!("{error:#}").contains("reserve"), "{error:#}");
    assert_eq!(driver.hypervisor.list().await.unwrap(), []);
}

/// Whatever a server that died left, the next start makes one machine of it.
#[tokio::test]
async fn a_start_that_was_cut_short_is_started_again() {
    let host = Host::new();
    fs::create_dir_all(host.place().directory()).unwrap();
    let driver = host.driver().await;
    assert_eq!(driver.hypervisor.observe(&host.id).await.unwrap(), Observed::Absent);
    assert_eq!(driver.hypervisor.list().await.unwrap(), std::slice::from_ref(&host.id));
    driver.hypervisor.start(&host.spec(1), host.parts()).await.unwrap();
    let first = host.pid("qemu");
    drop(driver);

    // As if the server had died before QEMU answered: another one, twice at the same time, finds the machine and starts none.
    let (driver, other) = (host.driver().await, host.spec(1));
    let (a, b) = tokio::join!(driver.hypervisor.start(&other, host.parts()), driver.hypervisor.start(&other, host.parts()));
    a.and(b).unwrap();
    assert_eq!(host.pid("qemu"), first);
    driver.hypervisor.remove(&host.id).await.unwrap();

    // Remains with a record, but without a process.
    host.place().make(place::Record { run: 1, uid: host.config.users.base + 5 }).unwrap();
    drop(driver);
    let driver = host.driver().await;
    assert_eq!(driver.hypervisor.observe(&host.id).await.unwrap(), Observed::Absent);
    driver.hypervisor.start(&host.spec(1), host.parts()).await.unwrap();
    host.up(1).await;
}
