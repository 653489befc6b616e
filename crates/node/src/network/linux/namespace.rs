//! Network namespaces that outlive the server: each is held by a process of its own, `sleep infinity`, and found again by that process's
//! environment. A path of `/proc` is good from every mount namespace, which a name made by `ip netns add` is not.
//!
//! The server has each namespace open, too. So if the holder is killed the namespace and all in it stay, and another holder is started in
//! it. If the server ends before that, the taps that guests have open still keep the namespace: see `tap.rs`.

use super::links::Standing;
use anyhow::{Context as _, Result, ensure};
use model::network_interface::Mac;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The variable that names a holder's cloud and namespace.
const MARK: &str = "PILEUS_NAMESPACE";
/// `SO_NETNS_COOKIE` of asm-generic/socket.h.
const NETNS_COOKIE: nix::libc::c_int = 71;
/// How long a killed process may take to go.
const END_TIME: Duration = Duration::from_secs(5);

/// What a router of ours doesn't do, whatever the host's own does. (The packet filter checks sources, not `rp_filter`.)
const ROUTER_ZEROS: [&str; 10] = [
    "rp_filter",
    "send_redirects",
    "accept_redirects",
    "accept_source_route",
    "accept_local",
    "route_localnet",
    "arp_ignore",
    "arp_filter",
    "arp_announce",
    "proxy_arp",
];

/// A namespace and the process that holds it.
#[derive(Debug)]
pub(super) struct Namespace {
    pid: u32,
    file: File,
    /// The value of [`MARK`] in the holder's environment.
    mark: String,
}

/// The network namespace that a program is started in.
pub(super) enum Start<'a> {
    /// The server's.
    Here,
    /// A new one.
    New,
    /// This one.
    In(&'a File),
}

impl Namespace {
    /// Makes a namespace and its holder.
    pub(super) fn create(data_dir: &Path, name: &str) -> Result<Self> {
        let mark = mark(data_dir, name);
        // `spawn` returns once the program runs, so the namespace is made by then.
        let pid = holder_start(&mark, Start::New)?;
        Self::of(pid, mark)
    }

    /// Takes up a namespace that has lost its holder, and gives it another.
    pub(super) fn take_up(data_dir: &Path, name: &str, file: File) -> Result<Self> {
        let mark = mark(data_dir, name);
        let pid = holder_start(&mark, Start::In(&file))?;
        Ok(Self { pid, file, mark })
    }

    /// The namespaces that holders of this cloud hold.
    pub(super) fn find(data_dir: &Path) -> Result<Vec<(String, Self)>> {
        let mut found = Vec::new();
        for (name, pid) in processes(MARK, &mark(data_dir, ""), &[])? {
            let mark = mark(data_dir, &name);
            if let Ok(namespace) = Self::of(pid, mark) {
                found.push((name, namespace));
            }
        }
        Ok(found)
    }

    fn of(pid: u32, mark: String) -> Result<Self> {
        let file = File::open(path(pid)).with_context(|| format!("can't open the namespace of process {pid}"))?;
        ensure!(file.metadata()?.ino() != std::fs::metadata("/proc/self/ns/net")?.ino(), "process {pid} holds no namespace of its own");
        Ok(Self { pid, file, mark })
    }

    /// Whether the holder is alive, and no other process has come to have its number.
    pub(super) fn is_held(&self) -> bool {
        let own = self.file.metadata().map(|m| m.ino());
        own.is_ok_and(|own| std::fs::metadata(path(self.pid)).is_ok_and(|m| m.ino() == own))
    }

    /// Starts another holder if this one is gone.
    pub(super) fn hold(&mut self) -> Result<()> {
        if self.is_held() {
            return Ok(());
        }
        let gone = std::mem::replace(&mut self.pid, holder_start(&self.mark, Start::In(&self.file))?);
        tracing::warn!(namespace = self.mark, gone, holder = self.pid, "the holder of a namespace was killed; another one holds it now");
        Ok(())
    }

    /// Tells the namespace from all others that there are.
    pub(super) fn number(&self) -> Result<u64> {
        Ok(self.file.metadata()?.ino())
    }

    /// The namespace's path, good from any mount namespace.
    pub(super) fn path(&self) -> PathBuf {
        path(self.pid)
    }

    /// The holder's process id, which iproute2 takes as the namespace's name.
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Runs a closure in the namespace: see [`enter`].
    pub(super) fn enter<T: Send>(&self, closure: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        enter(&self.file, closure)
    }

    /// Ends the holder, and with it the namespace, unless something else is in it.
    pub(super) fn end(&self) {
        if self.is_held() {
            end_process(self.pid);
        }
    }
}

/// Runs a closure on a thread of its own that has entered the namespace; the thread ends with it. What [`tool`] starts there is in the
/// namespace, too.
pub(super) fn enter<T: Send>(namespace: &File, closure: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            setns(namespace, CloneFlags::CLONE_NEWNET).context("can't enter a namespace")?;
            closure()
        });
        thread.join().map_err(|_| anyhow::anyhow!("a thread in a namespace panicked"))?
    })
}

fn path(pid: u32) -> PathBuf {
    format!("/proc/{pid}/ns/net").into()
}

fn mark(data_dir: &Path, name: &str) -> String {
    format!("{}:{name}", data_dir.display())
}

fn holder_start(mark: &str, start: Start<'_>) -> Result<u32> {
    let mut command = Command::new("sleep");
    command.arg("infinity").env(MARK, mark);
    spawn_apart(&mut command, Stdio::null(), start).context("can't start a namespace's holder (`sleep`)")
}

/// Starts a program that outlives the server: in a session of its own, with only its marks and `PATH` as environment. The child is reaped
/// when it ends, however late.
pub(super) fn spawn_apart(command: &mut Command, stdin: Stdio, start: Start<'_>) -> Result<u32> {
    let marks: Vec<_> = command.get_envs().filter_map(|(k, v)| Some((k.to_owned(), v?.to_owned()))).collect();
    command.env_clear().envs(marks).env("PATH", std::env::var_os("PATH").unwrap_or_default()).current_dir("/");
    command.stdin(stdin).stdout(Stdio::null());
    let is_new = matches!(start, Start::New);
    let enter = if let Start::In(file) = start { Some(file.try_clone()?) } else { None };
    // SAFETY: between fork and exec only system calls are made, and nothing is allocated.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(move || {
            nix::unistd::setsid()?;
            if is_new {
                unshare(CloneFlags::CLONE_NEWNET)?;
            }
            if let Some(file) = &enter {
                setns(file, CloneFlags::CLONE_NEWNET)?;
            }
            Ok(())
        })
    };
    let mut child = command.spawn()?;
    let pid = child.id();
    std::thread::Builder::new().name("reaper".into()).stack_size(64 << 10).spawn(move || child.wait())?;
    Ok(pid)
}

/// The processes of our own user, and of `others`, whose variable of this name begins so: the rest of its value, and their ids. Any other
/// user's process may say what it likes in its environment.
pub(super) fn processes(variable: &str, beginning: &str, others: &[u32]) -> Result<Vec<(String, u32)>> {
    let prefix = format!("{variable}={beginning}");
    let own = nix::unistd::geteuid().as_raw();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").context("can't read /proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        // A process that ended meanwhile, or a zombie, has no environment.
        let Ok(environ) = std::fs::read(format!("/proc/{pid}/environ")) else { continue };
        let Some(rest) = environ.split(|&b| b == 0).find_map(|v| v.strip_prefix(prefix.as_bytes())) else { continue };
        if std::fs::metadata(format!("/proc/{pid}/status")).is_ok_and(|m| m.uid() == own || others.contains(&m.uid()))
            && let Ok(rest) = String::from_utf8(rest.to_vec())
        {
            found.push((rest, pid));
        }
    }
    Ok(found)
}

/// Kills a process and waits until it is gone.
pub(super) fn end_process(pid: u32) {
    let Ok(raw) = i32::try_from(pid) else { return };
    if kill(Pid::from_raw(raw), Signal::SIGKILL).is_err() {
        return;
    }
    let end = Instant::now() + END_TIME;
    while is_running(pid) && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Whether there is such a process, and not only what is left until someone asks for its end.
pub(super) fn is_running(pid: u32) -> bool {
    std::fs::read_link(path(pid)).is_ok()
}

/// Ends every holder of this cloud.
pub(super) fn end_all(data_dir: &Path) -> Result<()> {
    for (_, namespace) in Namespace::find(data_dir)? {
        namespace.end();
    }
    Ok(())
}

/// Runs a program in the calling thread's namespace with this standard input; gives what it wrote.
///
/// # Errors
/// If it can't be run, or fails: with what it wrote to standard error.
pub(super) fn tool(program: &str, arguments: &[&str], input: &str) -> Result<String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("can't run {program}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that fails early closes its input: what it says then is the better error.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {} failed: {}", arguments.join(" "), said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs lines of iproute2, if there are any.
pub(super) fn ip_batch(lines: &str) -> Result<()> {
    if lines.is_empty() { Ok(()) } else { tool("ip", &["-4", "-batch", "-"], lines).map(drop) }
}

/// Runs one transaction of the packet filter, if it does anything.
pub(super) fn nft(text: &str) -> Result<()> {
    if text.is_empty() { Ok(()) } else { tool("nft", &["-f", "-"], text).map(drop) }
}

/// Sets a value below `/proc/sys/net`, of the namespace that the calling thread is in.
pub(super) fn sysctl(name: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/net/{name}");
    std::fs::write(&path, value).with_context(|| format!("can't set {path}"))
}

/// Prepares the calling thread's namespace for being a router, which it becomes by `ipv4/ip_forward`. A new namespace takes the host's
/// values, so each is set by name.
pub(super) fn sysctls() -> Result<()> {
    for scope in ["all", "default"] {
        for name in ROUTER_ZEROS {
            sysctl(&format!("ipv4/conf/{scope}/{name}"), "0")?;
        }
        // Guests have no IPv6 yet. On a host without it there is nothing to turn off.
        let ipv6 = format!("ipv6/conf/{scope}/disable_ipv6");
        if Path::new("/proc/sys/net").join(&ipv6).exists() {
            sysctl(&ipv6, "1")?;
        }
    }
    // AWS's ("Security group connection tracking").
    sysctl("netfilter/nf_conntrack_udp_timeout_stream", "180")
}

/// The number of the calling thread's namespace. Unlike an inode number it is never used again until the kernel restarts. Zero before
/// Linux 5.14, which has none.
pub(super) fn cookie() -> Result<u64> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    let (mut cookie, mut length) = (0_u64, nix::libc::socklen_t::try_from(size_of::<u64>())?);
    // SAFETY: the socket is open, and the kernel writes at most `length` bytes, which is the size of what it writes to.
    #[allow(unsafe_code)]
    let result = unsafe {
        let to = (&raw mut cookie).cast();
        nix::libc::getsockopt(socket.as_raw_fd(), nix::libc::SOL_SOCKET, NETNS_COOKIE, to, &raw mut length)
    };
    match nix::errno::Errno::result(result) {
        Ok(_) => Ok(cookie),
        Err(nix::errno::Errno::ENOPROTOOPT) => Ok(0),
        Err(error) => Err(error).context("can't tell a namespace's number"),
    }
}

/// What stands in the calling thread's namespace.
pub(super) fn standing() -> Result<Standing> {
    let mut standing = Standing::default();
    for link in nix::net::if_::if_nameindex().context("can't list the links")?.iter() {
        standing.links.insert(link.name().to_string_lossy().into_owned(), (i32::try_from(link.index())?, None));
    }
    for one in nix::ifaddrs::getifaddrs().context("can't list the addresses")? {
        let Some(address) = one.address else { continue };
        if let Some(mac) = address.as_link_addr().and_then(nix::sys::socket::LinkAddr::addr) {
            if let Some(link) = standing.links.get_mut(&one.interface_name) {
                link.1 = Some(Mac(mac));
            }
        } else if let Some(ip) = address.as_sockaddr_in().map(nix::sys::socket::SockaddrIn::ip)
            && one.interface_name == "lo"
            && !ip.is_loopback()
        {
            standing.addresses.insert(ip);
        }
    }
    Ok(standing)
}

/// Removes a link of the calling thread's namespace, if it is there. One end of a veth may also go on its own, when the other's namespace
/// ends.
pub(super) fn remove_link(name: &str) -> Result<()> {
    if !standing()?.links.contains_key(name) {
        return Ok(());
    }
    let removed = ip_batch(&format!("link del dev {name}\n"));
    if standing()?.links.contains_key(name) { removed } else { Ok(()) }
}
