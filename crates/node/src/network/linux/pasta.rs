//! The way out through `pasta`, which makes ordinary sockets of the server's own namespace of the packets that it reads from a tap.
//!
//! It runs as a user of its own, in a user namespace of its own, so it has no capability over anything that isn't its. To read from the
//! fabric's tap it needs none: it makes its tap in a network namespace of its own, and the server moves the tap into the fabric. Once the
//! fabric is gone the tap is gone, and pasta ends.

use super::NetworkConfig;
use super::fabric::{FAR, LINK_PREFIX, NEAR, OUT};
use super::namespace::{Namespace, Start, end_process, enter, ip_batch, is_running, processes, remove_link, spawn_apart};
use anyhow::{Context as _, Result};
use nix::fcntl::{FcntlArg, SealFlag};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::{Gid, Uid, chown, setgroups, setresgid, setresuid};
use std::ffi::CStr;
use std::fs::File;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The variable that marks this cloud's pasta.
const MARK: &str = "PILEUS_WAY_OUT";
/// How long pasta may take to make its tap.
const START_TIME: Duration = Duration::from_secs(5);
/// The largest packet that pasta takes: it makes streams of bytes of what it gets, so larger is faster.
const MTU: u32 = 65_520;
/// How much of what pasta says is kept, in bytes.
const SAID_BYTES_MAX: usize = 16 << 10;
/// `/dev/net/tun` (Documentation/admin-guide/devices.txt of the kernel).
const TUN: (u64, u64) = (10, 200);

/// The fabric's pasta, if it runs. Others of this cloud, of an earlier fabric, are ended.
pub(super) fn find(fabric: &Namespace, config: &NetworkConfig) -> Result<Option<u32>> {
    let here = fabric.number()?.to_string();
    let mut found = None;
    for (number, pid) in of_cloud(&config.data_dir, config.pasta_uid)? {
        if number == here {
            found = Some(pid);
        } else {
            end_process(pid);
        }
    }
    Ok(found)
}

/// Starts pasta, and puts its tap into the fabric as the device of the way out.
pub(super) fn start(fabric: &Namespace, config: &NetworkConfig) -> Result<u32> {
    fabric.enter(|| remove_link(OUT))?;
    let room = Room::new(config.pasta_uid)?;
    let said = bounded_file()?;
    let pid = spawn(&room, config.pasta_uid, &format!("{}:{}", config.data_dir.display(), fabric.number()?), &said)?;
    let moved = tap_wait(&room, pid, &said).and_then(|()| {
        // The move takes the tap's addresses and routes from it.
        enter(&room.network, || ip_batch(&format!("link set dev {OUT} netns {}\n", fabric.pid())))?;
        fabric.enter(|| {
            ip_batch(&format!(
                "address add {NEAR}/{LINK_PREFIX} dev {OUT}\nlink set dev {OUT} mtu {MTU} up\nroute replace default via {FAR} dev {OUT}\n"
            ))
        })
    });
    match moved {
        Ok(()) => Ok(pid),
        Err(error) => {
            end_process(pid);
            Err(error)
        }
    }
}

/// Ends every pasta of a cloud.
pub(super) fn end_all(data_dir: &Path, uid: u32) -> Result<()> {
    for (_, pid) in of_cloud(data_dir, uid)? {
        end_process(pid);
    }
    Ok(())
}

/// Each pasta of a cloud: the number of its fabric, and its process id.
fn of_cloud(data_dir: &Path, uid: u32) -> Result<Vec<(String, u32)>> {
    processes(MARK, &format!("{}:", data_dir.display()), &[uid])
}

/// A user namespace and a network namespace for one pasta. Nothing else is in them, and they end with it.
struct Room {
    user: File,
    network: File,
}

impl Room {
    /// Root in it is the user `uid` of the host.
    fn new(uid: u32) -> Result<Self> {
        let mut command = Command::new("sleep");
        // It ends on its own if the server is killed right now.
        command.arg("60");
        // SAFETY: between fork and exec one system call is made, and nothing is allocated.
        #[allow(unsafe_code)]
        unsafe {
            command.pre_exec(|| Ok(unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)?))
        };
        let spawned = spawn_apart(&mut command, Stdio::null(), Start::Here);
        let pid = spawned.context("can't make a user namespace for pasta; see the limit user.max_user_namespaces (sysctl)")?;
        let room = Self::of(pid, uid).context("can't prepare the namespaces of pasta");
        end_process(pid);
        room
    }

    fn of(pid: u32, uid: u32) -> Result<Self> {
        let path = |name: &str| format!("/proc/{pid}/{name}");
        for map in ["uid_map", "gid_map"] {
            std::fs::write(path(map), format!("0 {uid} 1\n")).with_context(|| path(map))?;
        }
        Ok(Self { user: File::open(path("ns/user"))?, network: File::open(path("ns/net"))? })
    }
}

fn spawn(room: &Room, uid: u32, mark: &str, said: &File) -> Result<u32> {
    let (near, far, mtu) = (NEAR.to_string(), FAR.to_string(), MTU.to_string());
    let mut command = Command::new("pasta");
    // Foreground, so that its process is the one we started. No port of the host is forwarded, and `--no-map-gw` keeps the host's
    // loopback out of reach. It may not open the namespace's path, but its own standard input.
    command.args(["--foreground", "--quiet", "--config-net", "--no-map-gw", "--ipv4-only", "--ns-ifname", OUT]);
    command.args(["-t", "none", "-u", "none", "-T", "none", "-U", "none", "-m", &mtu]);
    command.args(["-a", &near, "-n", "255.255.255.252", "-g", &far]);
    command.args(["--netns-only", "--netns", "/proc/self/fd/0", "--no-netns-quit"]);
    command.env(MARK, mark).stderr(Stdio::from(said.try_clone()?));
    let user = room.user.try_clone()?;
    // Usually all may open it, but a host may keep it for root.
    let tun_is_open = std::fs::metadata("/dev/net/tun").is_ok_and(|m| m.permissions().mode() & 0o006 == 0o006);
    let (root_uid, root_gid) = (Uid::from_raw(0), Gid::from_raw(0));
    // SAFETY: between fork and exec only system calls are made, and nothing is allocated.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(move || {
            if !tun_is_open {
                tun_make(uid)?;
            }
            setns(&user, CloneFlags::CLONE_NEWUSER)?;
            setgroups(&[])?;
            setresgid(root_gid, root_gid, root_gid)?;
            Ok(setresuid(root_uid, root_uid, root_uid)?)
        })
    };
    let network = Stdio::from(room.network.try_clone()?);
    spawn_apart(&mut command, network, Start::Here).context("can't run pasta; Debian has it in the package passt")
}

/// Gives the calling process a `/dev/net/tun` of its own, which belongs to the user `uid`. Only system calls: it runs between fork and exec.
fn tun_make(uid: u32) -> nix::Result<()> {
    const NONE: Option<&CStr> = None;
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(NONE, c"/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(Some(c"tmpfs"), c"/dev/net", Some(c"tmpfs"), flags, Some(c"mode=755,size=64k"))?;
    mknod(c"/dev/net/tun", SFlag::S_IFCHR, Mode::S_IRUSR | Mode::S_IWUSR, makedev(TUN.0, TUN.1))?;
    chown(c"/dev/net/tun", Some(Uid::from_raw(uid)), Some(Gid::from_raw(uid)))
}

/// Waits until pasta has made its tap and configured it.
fn tap_wait(room: &Room, pid: u32, said: &File) -> Result<()> {
    let end = Instant::now() + START_TIME;
    loop {
        let is_up = || Ok(std::fs::read_to_string("/proc/thread-self/net/route")?.lines().any(|line| line.starts_with(OUT)));
        if enter(&room.network, is_up)? && is_running(pid) {
            return Ok(());
        }
        if !is_running(pid) {
            let mut bytes = vec![0; SAID_BYTES_MAX];
            let read = said.read_at(&mut bytes, 0)?;
            let text = String::from_utf8_lossy(&bytes[..read]);
            let text = text.trim_matches(|c: char| c == '\0' || c.is_whitespace());
            anyhow::bail!("pasta doesn't start: {}", text.lines().last().unwrap_or("it says nothing"));
        }
        anyhow::ensure!(Instant::now() < end, "pasta doesn't start: it made no device within {START_TIME:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A file in memory that can't grow: a program that runs for months may say what it likes.
fn bounded_file() -> Result<File> {
    let file: File = memfd_create(c"said", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?.into();
    file.set_len(SAID_BYTES_MAX as u64)?;
    nix::fcntl::fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_GROW))?;
    Ok(file)
}
