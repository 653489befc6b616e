//! Network namespaces that outlive the server: each is held by a process of its own, `sleep infinity`, and found again by that process's
//! environment. A path of `/proc` is good from every mount namespace, which a name made by `ip netns add` is not.

use anyhow::{Context as _, Result, ensure};
use nix::sched::{CloneFlags, setns, unshare};
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The variable that names a holder's cloud and namespace.
const MARK: &str = "PILEUS_NAMESPACE";
/// How long a holder may take to stand in its namespace.
const HOLD_TIME: Duration = Duration::from_secs(5);

/// A namespace and the process that holds it.
#[derive(Debug)]
pub(super) struct Namespace {
    pid: u32,
    file: File,
}

impl Namespace {
    /// Makes a namespace and its holder.
    pub(super) fn create(data_dir: &Path, name: &str) -> Result<Self> {
        let mut command = Command::new("sleep");
        command.arg("infinity").env_clear().env(MARK, mark(data_dir, name)).current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // SAFETY: between fork and exec only two system calls are made, and nothing is allocated.
        #[allow(unsafe_code)]
        unsafe {
            command.pre_exec(|| {
                nix::unistd::setsid()?;
                Ok(unshare(CloneFlags::CLONE_NEWNET)?)
            })
        };
        // `spawn` returns once the program runs, so the namespace is made by then. The child is reaped when it ends, however late.
        let mut child = command.spawn().context("can't start a namespace's holder (`sleep`)")?;
        let pid = child.id();
        std::thread::Builder::new().name("ns-reaper".into()).stack_size(64 << 10).spawn(move || child.wait())?;
        Self::of(pid)
    }

    /// The namespaces that holders of this cloud hold.
    pub(super) fn find(data_dir: &Path) -> Result<Vec<(String, Self)>> {
        let prefix = format!("{MARK}={}", mark(data_dir, ""));
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").context("can't read /proc")? {
            let Some(pid) = entry?.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
            // A process that ended meanwhile, or a zombie, has no environment.
            let Ok(environ) = std::fs::read(format!("/proc/{pid}/environ")) else { continue };
            let Some(name) = environ.split(|&b| b == 0).find_map(|v| v.strip_prefix(prefix.as_bytes())) else { continue };
            if let (Ok(name), Ok(namespace)) = (String::from_utf8(name.to_vec()), Self::of(pid)) {
                found.push((name, namespace));
            }
        }
        Ok(found)
    }

    fn of(pid: u32) -> Result<Self> {
        let file = File::open(path(pid)).with_context(|| format!("can't open the namespace of process {pid}"))?;
        let own = std::fs::read_link("/proc/self/ns/net")?;
        ensure!(std::fs::read_link(path(pid))? != own, "process {pid} holds no namespace of its own");
        Ok(Self { pid, file })
    }

    /// Whether the holder is alive.
    pub(super) fn is_held(&self) -> bool {
        path(self.pid).exists()
    }

    /// The namespace's path, good from any mount namespace.
    pub(super) fn path(&self) -> PathBuf {
        path(self.pid)
    }

    /// The holder's process id, which iproute2 takes as the namespace's name.
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Runs a closure on a thread of its own that has entered the namespace; the thread ends with it. Nothing may fork in it.
    pub(super) fn enter<T: Send>(&self, closure: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(&self.file, CloneFlags::CLONE_NEWNET).context("can't enter a namespace")?;
                closure()
            });
            thread.join().map_err(|_| anyhow::anyhow!("a thread in a namespace panicked"))?
        })
    }

    /// Runs a program in the namespace with this standard input.
    ///
    /// # Errors
    /// If it can't be run, or fails: with what it wrote to standard error.
    pub(super) fn run(&self, program: &str, arguments: &[&str], input: &str) -> Result<()> {
        let raw = self.file.as_raw_fd();
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        // SAFETY: between fork and exec only setns is called; the descriptor outlives the spawn, since `self` is borrowed.
        #[allow(unsafe_code)]
        unsafe {
            command.pre_exec(move || Ok(setns(BorrowedFd::borrow_raw(raw), CloneFlags::CLONE_NEWNET)?))
        };
        let mut child = command.spawn().with_context(|| format!("can't run {program}"))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A program that fails early closes its input: what it says then is the better error.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{program} {} failed: {}", arguments.join(" "), said.trim());
        Ok(())
    }

    /// Ends the holder, and with it the namespace, unless something else is in it.
    pub(super) fn end(&self) {
        let Ok(pid) = i32::try_from(self.pid) else { return };
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        let end = Instant::now() + HOLD_TIME;
        while self.is_held() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn path(pid: u32) -> PathBuf {
    format!("/proc/{pid}/ns/net").into()
}

fn mark(data_dir: &Path, name: &str) -> String {
    format!("{}:{name}", data_dir.display())
}
