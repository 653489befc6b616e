//! The processes of a machine: started unprivileged, found again after a restart of the server, never two of one kind.
//!
//! What fences is a lock on a file in the machine's directory (an open-file-description lock, fcntl(2)). It is taken before the fork and
//! inherited by the process, so the kernel keeps it exactly as long as the process lives, whatever becomes of the server. Before exec
//! the child writes its own process id beside it. So whoever finds the lock taken can trust the process id, and whoever finds it free
//! knows that there is no process: no crash between two steps leads to a machine that nobody knows of.

use super::sys::{self, End};
use crate::Result;
use anyhow::{Context as _, bail};
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::io::unix::AsyncFd;

/// How many files a machine's process may have open: several a disk, an interface and a vCPU, with room for those plugged in later.
const OPEN_FILES_MAX: u64 = 4096;
/// How long a process id may be missing while the lock is taken: the time from the fork to the child's first write.
const PID_WAIT: Duration = Duration::from_secs(2);
const PID_POLL: Duration = Duration::from_millis(5);

/// A process's place in a machine's directory: `<name>.lock` and `<name>.pid`.
#[derive(Debug, Clone)]
pub(crate) struct Berth {
    lock: PathBuf,
    pid: PathBuf,
}

/// The open files of a taken [`Berth`], for the child to inherit.
pub(crate) struct Taken {
    lock: OwnedFd,
    pid: OwnedFd,
}

impl Berth {
    /// The berth called `name` in `directory`. Nothing is made yet.
    pub(crate) fn new(directory: &Path, name: &str) -> Self {
        Self { lock: directory.join(format!("{name}.lock")), pid: directory.join(format!("{name}.pid")) }
    }

    /// Whether a process is there.
    ///
    /// # Errors
    /// If that can't be told.
    pub(crate) fn is_taken(&self) -> Result<bool> {
        let file = match OpenOptions::new().read(true).write(true).open(&self.lock) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error).with_context(|| format!("open {}", self.lock.display())),
        };
        sys::lock_is_taken(&file).with_context(|| format!("test the lock {}", self.lock.display()))
    }

    /// Takes the place. `None` if a process is there.
    pub(crate) fn take(&self) -> Result<Option<Taken>> {
        let open = |path: &Path, truncate: bool| {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(truncate).mode(0o600).open(path);
            file.with_context(|| format!("open {}", path.display()))
        };
        let lock = open(&self.lock, false)?;
        if !sys::lock_take(&lock).with_context(|| format!("lock {}", self.lock.display()))? {
            return Ok(None);
        }
        let pid = open(&self.pid, true)?;
        Ok(Some(Taken { lock: lock.into(), pid: pid.into() }))
    }

    /// The process that is there, if any.
    pub(crate) async fn process(&self) -> Result<Option<Process>> {
        let deadline = tokio::time::Instant::now() + PID_WAIT;
        loop {
            if !self.is_taken()? {
                return Ok(None);
            }
            if let Some(pid) = self.pid_read()? {
                let Some(pidfd) = sys::pidfd_open(pid).with_context(|| format!("open process {pid}"))? else { continue };
                // The lock, still taken, says that the id was not given to another process before it was opened.
                if !self.is_taken()? {
                    return Ok(None);
                }
                return Process::new(pid, pidfd).map(Some);
            }
            if tokio::time::Instant::now() > deadline {
                bail!("{} is locked, but {} names no process", self.lock.display(), self.pid.display());
            }
            tokio::time::sleep(PID_POLL).await;
        }
    }

    /// The id of the process that is there, if any. It may have ended by the time that the answer is used.
    pub(crate) fn pid(&self) -> Result<Option<i32>> {
        if self.is_taken()? { self.pid_read() } else { Ok(None) }
    }

    fn pid_read(&self) -> Result<Option<i32>> {
        let mut text = String::new();
        match File::open(&self.pid) {
            Ok(file) => file.take(32).read_to_string(&mut text).with_context(|| format!("read {}", self.pid.display()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("open {}", self.pid.display())),
        };
        // The newline says that it was written whole.
        Ok(text.strip_suffix('\n').and_then(|digits| digits.parse().ok()))
    }
}

/// A process that was there when it was found. Its id can't come to mean another one.
#[derive(Debug)]
pub(crate) struct Process {
    /// Its process id; for people only, since it may be given away once the process is gone.
    pub(crate) pid: i32,
    fd: AsyncFd<OwnedFd>,
}

impl Process {
    fn new(pid: i32, pidfd: OwnedFd) -> Result<Self> {
        // SAFETY: the descriptor is owned by what watches it, so it stays open and the same for as long.
        #[allow(unsafe_code)]
        let fd = unsafe { AsyncFd::register(pidfd) }.context("watch a process")?;
        Ok(Self { pid, fd })
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&self) -> bool {
        sys::pidfd_has_ended(self.fd.get_ref())
    }

    /// Waits for its end, and says how it ended if it was a child of ours; then no zombie is left either.
    pub(crate) async fn ended(&self) -> Option<End> {
        while !self.has_ended() {
            // Only a broken runtime gives an error here; the loop's condition decides. Once the end is there it must stay to be seen by others
            // who wait.
            if let Ok(mut ready) = self.fd.readable().await
                && !self.has_ended()
            {
                ready.clear_ready();
            }
        }
        sys::pidfd_reap(self.fd.get_ref())
    }

    /// Kills it, unless it has ended, and waits.
    ///
    /// # Errors
    /// If it isn't gone within `limit` (a process that waits for a broken disk can't be killed).
    pub(crate) async fn kill(&self, limit: Duration) -> Result<()> {
        sys::pidfd_kill(self.fd.get_ref()).with_context(|| format!("kill process {}", self.pid))?;
        if tokio::time::timeout(limit, self.ended()).await.is_err() {
            bail!("process {} is still there {limit:?} after it was killed", self.pid);
        }
        Ok(())
    }
}

/// What to start.
pub(crate) struct Launch {
    /// The program.
    pub(crate) program: OsString,
    /// Its arguments.
    pub(crate) arguments: Vec<OsString>,
    /// The files that it inherits, under the numbers they have here.
    pub(crate) inherit: Vec<OwnedFd>,
    /// Its user and its group.
    pub(crate) uid: u32,
    /// See `uid`.
    pub(crate) gid: u32,
    /// `cgroup.procs` files that it writes itself to, opened by root.
    pub(crate) cgroups: Vec<OwnedFd>,
    /// Where its standard output and error go; `None` for nowhere.
    pub(crate) output: Option<OwnedFd>,
    /// Whether it ends when the server does (strictly: the thread that starts it), as a probe must and a machine must not.
    pub(crate) ends_with_us: bool,
}

/// Starts a process, in a berth if one is given. It leads a session of its own, has no privilege and no group but its own, can't gain any, inherits
/// nothing but what is given, and outlives the server unless it is to end with it.
///
/// # Errors
/// If it could not be started; the berth is free again then.
pub(crate) fn start(launch: Launch, taken: Option<Taken>) -> Result<Process> {
    let output = |fd: &Option<OwnedFd>| -> Result<Stdio> {
        Ok(match fd {
            Some(fd) => fd.try_clone().context("duplicate a descriptor")?.into(),
            None => Stdio::null(),
        })
    };
    let mut command = Command::new(&launch.program);
    command.args(&launch.arguments).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C").current_dir("/");
    command.stdin(Stdio::null()).stdout(output(&launch.output)?).stderr(output(&launch.output)?);
    let lock = taken.as_ref().map(|taken| &taken.lock);
    let inherit: Vec<RawFd> = launch.inherit.iter().chain(lock).map(|fd| fd.as_raw_fd()).collect();
    let cgroups: Vec<RawFd> = launch.cgroups.iter().map(|fd| fd.as_raw_fd()).collect();
    let (uid, gid, ends_with_us) = (launch.uid, launch.gid, launch.ends_with_us);
    let pid_file = taken.as_ref().map(|taken| taken.pid.as_raw_fd());
    let before_exec = move || {
        if let Some(pid_file) = pid_file {
            sys::pid_write(pid_file)?;
        }
        sys::session_start()?;
        for fd in &cgroups {
            // A group that refuses is seen from outside (`Group::holds`): a machine without limits is better than none.
            let _ = sys::write_once(*fd, b"0\n");
        }
        sys::limits_set(OPEN_FILES_MAX)?;
        sys::privileges_drop(uid, gid)?;
        if ends_with_us {
            sys::end_with_parent()?;
        }
        sys::inherit_only(&inherit)
    };
    // SAFETY: the closure runs between fork and exec of a threaded process, where only async-signal-safe calls are allowed: all it
    // does is bare system calls on memory that was made before the fork. It neither allocates nor takes a lock.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(before_exec);
    }
    let child = command.spawn().with_context(|| format!("start {}", Path::new(&launch.program).display()))?;
    let pid = i32::try_from(child.id()).context("a process id")?;
    // Nobody else waits for the child, so its id is still its own, even if it has ended already.
    let Some(pidfd) = sys::pidfd_open(pid).context("open the process that was started")? else { bail!("process {pid} is gone at once") };
    Process::new(pid, pidfd)
}

/// Takes a descriptor that this process was given by [`start`], named by its number.
///
/// # Errors
/// If there is none.
pub(crate) fn inherited(number: &str) -> Result<OwnedFd> {
    let raw: RawFd = number.parse().with_context(|| format!("not a descriptor: {number:?}"))?;
    if raw <= 2 || !sys::fd_is_open(raw) {
        bail!("descriptor {raw} was not inherited");
    }
    // SAFETY: the descriptor is open and was given to this process for its own, by its number; the caller names each once.
    #[allow(unsafe_code)]
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}
