//! System calls that have no safe wrapper at hand, each as a small safe function.
//!
//! Those named in [`super::process::start`] run between fork and exec: they must stay bare system calls.
#![allow(unsafe_code)]

use nix::libc;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn whole_file(kind: libc::c_int) -> libc::flock {
    libc::flock {
        l_type: libc::c_short::try_from(kind).unwrap_or_default(),
        l_whence: libc::c_short::try_from(libc::SEEK_SET).unwrap_or_default(),
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

/// Takes the lock of a file for its open file description. `false` if another has it.
pub(super) fn lock_take(file: &impl std::os::fd::AsFd) -> io::Result<bool> {
    let wanted = whole_file(libc::F_WRLCK);
    // SAFETY: `wanted` is a valid flock that outlives the call.
    match check(libc::c_long::from(unsafe { libc::fcntl(file.as_fd().as_raw_fd(), libc::F_OFD_SETLK, &raw const wanted) })) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether another open file description has the lock. The test leaves no trace.
pub(super) fn lock_is_taken(file: &impl std::os::fd::AsFd) -> io::Result<bool> {
    let mut asked = whole_file(libc::F_WRLCK);
    // SAFETY: `asked` is a valid flock that outlives the call.
    check(libc::c_long::from(unsafe { libc::fcntl(file.as_fd().as_raw_fd(), libc::F_OFD_GETLK, &raw mut asked) }))?;
    Ok(libc::c_int::from(asked.l_type) != libc::F_UNLCK)
}

/// A descriptor of a process. `None` if there is no such process.
pub(super) fn pidfd_open(pid: i32) -> io::Result<Option<OwnedFd>> {
    // SAFETY: takes two integers; the new descriptor, close-on-exec by definition, has no other owner.
    match check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) }) {
        Ok(fd) => Ok(Some(unsafe { OwnedFd::from_raw_fd(RawFd::try_from(fd).map_err(io::Error::other)?) })),
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the process has ended.
pub(super) fn pidfd_has_ended(pidfd: &OwnedFd) -> bool {
    let mut poll = libc::pollfd { fd: pidfd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one valid pollfd.
    unsafe { libc::poll(&raw mut poll, 1, 0) == 1 && poll.revents & libc::POLLIN != 0 }
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// With this exit code.
    Exit(i32),
    /// By this signal.
    Signal(i32),
}

/// Takes note of the end of a child. `None` if it wasn't one of ours, or was noted before.
pub(super) fn pidfd_reap(pidfd: &OwnedFd) -> Option<End> {
    let id = libc::id_t::try_from(pidfd.as_raw_fd()).ok()?;
    // SAFETY: all zeros is a valid siginfo, and it outlives the call. Its status is valid once the call has filled it, which the code shows.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        if libc::waitid(libc::P_PIDFD, id, &raw mut info, libc::WEXITED | libc::WNOHANG) != 0 {
            return None;
        }
        match info.si_code {
            libc::CLD_EXITED => Some(End::Exit(info.si_status())),
            libc::CLD_KILLED | libc::CLD_DUMPED => Some(End::Signal(info.si_status())),
            _ => None,
        }
    }
}

/// Kills the process. One that has ended: does nothing.
pub(super) fn pidfd_kill(pidfd: &OwnedFd) -> io::Result<()> {
    // SAFETY: a null siginfo means that of kill(2).
    let sent =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), libc::SIGKILL, std::ptr::null::<libc::siginfo_t>(), 0) };
    match check(sent) {
        Err(error) if error.raw_os_error() != Some(libc::ESRCH) => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Whether the number is that of an open descriptor.
pub(super) fn fd_is_open(fd: RawFd) -> bool {
    // SAFETY: asks for flags of a number, which may be any.
    unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
}

/// Writes once; a short write is an error.
pub(super) fn write_once(fd: RawFd, bytes: &[u8]) -> io::Result<()> {
    // SAFETY: the buffer is valid for its length.
    let written = unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
    if usize::try_from(written) == Ok(bytes.len()) { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Writes the own process id and a newline, without allocating.
pub(super) fn pid_write(fd: RawFd) -> io::Result<()> {
    // SAFETY: has no arguments and can't fail.
    let mut rest = unsafe { libc::getpid() }.unsigned_abs();
    let mut text = [b'\n'; 12];
    let mut start = text.len() - 1;
    loop {
        start -= 1;
        text[start] = b'0' + u8::try_from(rest % 10).unwrap_or_default();
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    write_once(fd, &text[start..])
}

/// Leaves the server's session and process group: its terminal's signals are not for machines.
pub(super) fn session_start() -> io::Result<()> {
    // SAFETY: has no arguments.
    check(libc::c_long::from(unsafe { libc::setsid() })).map(drop)
}

/// No core dumps, which would hold guests' memory, and a bound on open files.
pub(super) fn limits_set(open_files: u64) -> io::Result<()> {
    for (what, value) in [(libc::RLIMIT_CORE, 0), (libc::RLIMIT_NOFILE, open_files)] {
        let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
        // SAFETY: `limit` is valid for the call.
        check(libc::c_long::from(unsafe { libc::setrlimit(what, &raw const limit) }))?;
    }
    Ok(())
}

/// Becomes this user and group for good, without supplementary groups, capabilities, or a way to gain any by exec.
pub(super) fn privileges_drop(uid: u32, gid: u32) -> io::Result<()> {
    // SAFETY: integers, and an empty list. The raw calls are meant: libc's would signal threads that the fork has left behind.
    unsafe {
        check(libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<libc::gid_t>()))?;
        check(libc::syscall(libc::SYS_setresgid, gid, gid, gid))?;
        check(libc::syscall(libc::SYS_setresuid, uid, uid, uid))?;
        check(libc::c_long::from(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)))?;
        libc::umask(0o077);
    }
    Ok(())
}

/// Is killed when the thread that forked ends. To be called after [`privileges_drop`], which would undo it.
pub(super) fn end_with_parent() -> io::Result<()> {
    // SAFETY: integers only.
    check(libc::c_long::from(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) })).map(drop)
}

/// Lets only these descriptors, and 0 to 2, live through exec.
pub(super) fn inherit_only(fds: &[RawFd]) -> io::Result<()> {
    // SAFETY: integers only. Closing is left to exec, since the standard library's own pipe to the parent must work until then.
    unsafe {
        check(libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC))?;
        for fd in fds {
            check(libc::c_long::from(libc::fcntl(*fd, libc::F_SETFD, 0)))?;
        }
    }
    Ok(())
}

/// Waits until one of several descriptors is ready; `None` for no time limit.
pub(super) fn poll(fds: &mut [libc::pollfd], millis: Option<i32>) -> io::Result<()> {
    let count = libc::nfds_t::try_from(fds.len()).map_err(io::Error::other)?;
    // SAFETY: the slice is valid for its length.
    match check(libc::c_long::from(unsafe { libc::poll(fds.as_mut_ptr(), count, millis.unwrap_or(-1)) })) {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Reserves space for a file, so that writing to it can't find the disk full.
pub(super) fn space_reserve(file: &impl std::os::fd::AsFd, bytes: u64) -> io::Result<()> {
    let bytes = libc::off_t::try_from(bytes).map_err(io::Error::other)?;
    // SAFETY: integers only.
    check(libc::c_long::from(unsafe { libc::fallocate(file.as_fd().as_raw_fd(), 0, 0, bytes) })).map(drop)
}

/// A file in memory that a process without any path permission can open by `/proc/self/fd`.
pub(super) fn memory_file(content: &[u8]) -> io::Result<OwnedFd> {
    // SAFETY: the name is a valid C string; the new descriptor has no other owner.
    let fd = unsafe {
        let fd = check(libc::c_long::from(libc::memfd_create(c"pileus".as_ptr(), libc::MFD_CLOEXEC)))?;
        OwnedFd::from_raw_fd(RawFd::try_from(fd).map_err(io::Error::other)?)
    };
    io::Write::write_all(&mut std::fs::File::from(fd.try_clone()?), content)?;
    Ok(fd)
}

/// Reads and writes of it don't wait from now on.
pub(super) fn fd_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: integers only.
    unsafe {
        let flags = check(libc::c_long::from(libc::fcntl(fd.as_raw_fd(), libc::F_GETFL)))?;
        let flags = libc::c_int::try_from(flags).map_err(io::Error::other)?;
        check(libc::c_long::from(libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK))).map(drop)
    }
}
