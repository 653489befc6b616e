//! An empty room in which a program may read one file and write one directory, and nothing else is to be seen.
//!
//! Converting a foreign disk image means to let a large parser loose on bytes that somebody else chose, and formats have ways to name
//! other files: tried here, plain `qemu-img convert` copied a host file into the image in five of five ways, and this stopped all.

use crate::Result;
use anyhow::{Context as _, ensure};
use nix::errno::Errno;
use nix::libc;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, chdir, mkdir, pivot_root, setgroups, setresgid, setresuid, symlinkat};
use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

/// The user and group inside: above every range that Debian or systemd gives out (`systemd.io`, "Users, Groups, UIDs and GIDs").
pub(super) const JAIL_ID: u32 = 1_900_000_001;
/// The most memory a program may ask for, in bytes.
const ADDRESS_SPACE_BYTES_MAX: u64 = 4 << 30;
/// The most files it may have open.
const OPEN_FILES_MAX: u64 = 64;

/// Where the readable file is, inside.
pub(super) const INPUT: &str = "/input";
/// Where the writable directory is, inside.
pub(super) const OUTPUT: &str = "/output";

/// What a program may do.
#[derive(Debug)]
pub(super) struct Permissions<'a> {
    /// An empty directory, over which the room is built. Outside it stays empty.
    pub(super) room: &'a Path,
    /// The file it may read, if its mode lets everybody.
    pub(super) input: &'a Path,
    /// The directory it may write, which must belong to [`JAIL_ID`].
    pub(super) output: &'a Path,
    /// The largest file it may write, in bytes.
    pub(super) file_bytes_max: u64,
    /// The processor time it may take, in seconds.
    pub(super) cpu_seconds_max: u64,
}

/// One step on the way in, with all that it needs made beforehand: after the fork nothing may be allocated.
#[derive(Debug)]
enum Step {
    Directory(CString),
    File(CString),
    Link { at: CString, to: CString },
    Bind { from: CString, to: CString, flags: MsFlags },
}

/// A command that will run `program` (an absolute path, below `/usr`) inside.
///
/// # Errors
/// If this process isn't root, or a path can't be passed on.
pub(super) fn command(program: &Path, permissions: &Permissions<'_>) -> Result<Command> {
    ensure!(Uid::effective().is_root(), "only root can import an image: the conversion runs in a jail of its own");
    ensure!(program.starts_with("/usr"), "{} isn't below /usr", program.display());
    let room = c_string(permissions.room)?;
    let steps = steps(permissions)?;
    let limits = [
        (Resource::RLIMIT_AS, ADDRESS_SPACE_BYTES_MAX),
        (Resource::RLIMIT_NOFILE, OPEN_FILES_MAX),
        (Resource::RLIMIT_FSIZE, permissions.file_bytes_max),
        (Resource::RLIMIT_CPU, permissions.cpu_seconds_max),
        (Resource::RLIMIT_CORE, 0),
    ];
    let mut command = Command::new(program);
    command.env_clear().env("LC_ALL", "C").current_dir("/");
    // SAFETY: between fork and exec `enter` makes system calls only, on memory that was made before; it neither allocates nor locks.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(move || Ok(enter(&room, &steps, &limits)?));
    }
    Ok(command)
}

fn c_string(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes()).with_context(|| format!("{}", path.display()))
}

fn steps(permissions: &Permissions<'_>) -> Result<Vec<Step>> {
    let inside = |path: &str| c_string(&permissions.room.join(path.trim_start_matches('/')));
    let sealed = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let mut steps = vec![
        Step::Directory(inside("/usr")?),
        Step::Bind { from: c"/usr".into(), to: inside("/usr")?, flags: sealed },
        Step::File(inside(INPUT)?),
        Step::Bind { from: c_string(permissions.input)?, to: inside(INPUT)?, flags: sealed | MsFlags::MS_NOEXEC },
        Step::Directory(inside(OUTPUT)?),
        Step::Bind {
            from: c_string(permissions.output)?,
            to: inside(OUTPUT)?,
            flags: MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
        },
        Step::Directory(inside("/dev")?),
        Step::File(inside("/dev/null")?),
        // qemu-img opens it to find out whether locks work.
        Step::Bind { from: c"/dev/null".into(), to: inside("/dev/null")?, flags: MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC },
    ];
    for directory in ["/lib", "/lib64"] {
        if let Ok(to) = std::fs::read_link(directory) {
            steps.push(Step::Link { at: inside(directory)?, to: c_string(&to)? });
        } else if Path::new(directory).is_dir() {
            steps.push(Step::Directory(inside(directory)?));
            steps.push(Step::Bind { from: CString::new(directory)?, to: inside(directory)?, flags: sealed });
        }
    }
    Ok(steps)
}

/// Goes in. The calling process stays outside and waits, since only a child is in a new process namespace; it passes on how that ended.
fn enter(room: &CStr, steps: &[Step], limits: &[(Resource, u64)]) -> nix::Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    let flags = libc::CLONE_NEWNS | libc::CLONE_NEWNET | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::SIGCHLD;
    // By the bare system call: the C library's fork may take locks that another thread held when this process was forked.
    // SAFETY: without CLONE_VM the child has its own copy of all memory, the stack too, as after fork.
    #[allow(unsafe_code)]
    let child = Errno::result(unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) })?;
    if child != 0 {
        wait_outside(child as libc::pid_t);
    }
    let none = None::<&CStr>;
    umask(Mode::from_bits_truncate(0o022));
    mount(none, c"/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    let tmpfs = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some(c"tmpfs"), room, Some(c"tmpfs"), tmpfs, Some(c"mode=755,size=64k,nr_inodes=64"))?;
    for step in steps {
        take(step)?;
    }
    chdir(room)?;
    // The old root comes to lie over the new one, and goes.
    pivot_root(c".", c".")?;
    umount2(c".", MntFlags::MNT_DETACH)?;
    mount(none, c"/", none, MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | tmpfs, none)?;
    chdir(c"/")?;
    for (resource, limit) in limits {
        setrlimit(*resource, *limit, *limit)?;
    }
    nix::sys::prctl::set_no_new_privs()?;
    setgroups(&[])?;
    let (gid, uid) = (Gid::from_raw(JAIL_ID), Uid::from_raw(JAIL_ID));
    setresgid(gid, gid, gid)?;
    // With the user all capabilities go.
    setresuid(uid, uid, uid)?;
    // A change of the user has cleared it.
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)
}

fn take(step: &Step) -> nix::Result<()> {
    let none = None::<&CStr>;
    match step {
        Step::Directory(path) => mkdir(path.as_c_str(), Mode::from_bits_truncate(0o755)),
        Step::File(path) => {
            let flags = nix::fcntl::OFlag::O_CREAT | nix::fcntl::OFlag::O_WRONLY | nix::fcntl::OFlag::O_CLOEXEC;
            nix::fcntl::open(path.as_c_str(), flags, Mode::from_bits_truncate(0o644)).map(drop)
        }
        Step::Link { at, to } => symlinkat(to.as_c_str(), nix::fcntl::AT_FDCWD, at.as_c_str()),
        Step::Bind { from, to, flags } => {
            mount(Some(from.as_c_str()), to.as_c_str(), none, MsFlags::MS_BIND, none)?;
            // A bind takes its own flags only in a second call.
            mount(none, to.as_c_str(), none, MsFlags::MS_REMOUNT | MsFlags::MS_BIND | *flags, none)
        }
    }
}

/// Waits for the child and ends as it did. Gives up every descriptor but the standard ones, among them that on which the spawning
/// process waits for word of the exec.
fn wait_outside(child: libc::pid_t) -> ! {
    let mut status = 0;
    // SAFETY: system calls on values of our own; _exit runs nothing of the forked process.
    #[allow(unsafe_code)]
    unsafe {
        libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0);
        while libc::waitpid(child, &raw mut status, 0) < 0 {
            if Errno::last() != Errno::EINTR {
                libc::_exit(127);
            }
        }
        libc::_exit(if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 128 + libc::WTERMSIG(status) });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::image::tool::run;
    use crate::test_kit::scratch;
    use std::time::Duration;

    /// Runs a shell script inside, as a hostile qemu-img would run.
    fn inside(script: &str) -> Result<String> {
        let root = scratch();
        let (room, input, output) = (root.path().join("room"), root.path().join("file"), root.path().join("output"));
        std::fs::create_dir(&room).unwrap();
        std::fs::create_dir(&output).unwrap();
        std::os::unix::fs::chown(&output, Some(JAIL_ID), Some(JAIL_ID)).unwrap();
        std::fs::write(&input, b"the input").unwrap();
        std::fs::set_permissions(&input, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        let permissions = Permissions { room: &room, input: &input, output: &output, file_bytes_max: 4096, cpu_seconds_max: 10 };
        let mut command = command(Path::new("/usr/bin/dash"), &permissions).unwrap();
        let result = run(command.args(["-c", script]), Duration::from_secs(20));
        assert_eq!(std::fs::read_dir(&room).unwrap().count(), 0, "outside the room stays empty");
        result
    }

    #[test]
    fn there_is_nothing_but_what_was_let_in() {
        assert_eq!(inside("cd /; echo *; echo output/* dev/*").unwrap(), "dev input lib lib64 output usr\noutput/* dev/null\n");
        assert_eq!(inside("/usr/bin/cat /input").unwrap(), "the input");
        assert!(inside("/usr/bin/cat /etc/passwd").is_err());
        assert!(inside("/usr/bin/cat /proc/1/environ").is_err());
        assert_eq!(inside("/usr/bin/id -u; /usr/bin/id -G").unwrap(), format!("{JAIL_ID}\n{JAIL_ID}\n"));
        assert_eq!(inside("echo $$").unwrap(), "1\n", "a process namespace of its own");
    }

    #[test]
    fn only_the_output_can_be_written_and_only_so_much() {
        for path in ["/new", "/input", "/usr/new", "/dev/new"] {
            assert!(inside(&format!("echo x > {path}")).is_err(), "{path}");
        }
        assert_eq!(inside("echo x > /output/new; /usr/bin/cat /output/new").unwrap(), "x\n");
        assert!(inside("/usr/bin/head -c 8192 /dev/null > /output/a; /usr/bin/yes | /usr/bin/head -c 8192 > /output/b").is_err());
        assert!(inside("/usr/bin/mount -t tmpfs x /output").is_err());
        assert!(inside("ulimit -n 128").is_err(), "a limit can't be raised");
    }

    #[test]
    fn how_it_ended_comes_out() {
        assert!(inside("exit 7").unwrap_err().to_string().contains("exit status: 7"));
    }
}
