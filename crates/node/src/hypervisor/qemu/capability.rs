//! What this QEMU can do, found by asking it; by its version only where it can't know: of its faults.

use super::process::{self, Launch};
use super::qmp::Qmp;
use super::{QemuConfig, User};
use crate::Result;
use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;
use tokio::net::UnixStream;

/// How long one question may take.
const LIMIT: Duration = Duration::from_secs(10);
/// The devices that no machine does without, each with a property that is set on it.
const NEEDED: [(&str, &str); 5] = [
    ("virtio-blk-pci", "werror"),
    ("virtio-net-pci", "host_mtu"),
    ("virtio-rng-pci", "rng"),
    ("pcie-pci-bridge", "msi"),
    ("isa-serial", "chardev"),
];

/// The first version, major and minor, whose translating threads don't lose each other's changes to code. Before it, one virtual processor may
/// go on with what another has just rewritten; Linux rewrites itself while it boots, and one boot in some hundreds ended in `int3` (QEMU's
/// commit deba78709a, "accel/tcg: Always lock pages before translation").
const THREADS_SOUND: (u64, u64) = (8, 1);

/// How QEMU reads and writes files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aio {
    /// By io_uring.
    IoUring,
    /// By Linux's older way; only without the page cache.
    Native,
    /// By threads that block.
    Threads,
}

impl Aio {
    /// QEMU's word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::IoUring => "io_uring",
            Self::Native => "native",
            Self::Threads => "threads",
        }
    }
}

/// What is used where it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Capabilities {
    /// The best way to files.
    pub(crate) aio: Aio,
    /// Whether a guest can be told that it was copied (the `vmgenid` device).
    pub(crate) vmgenid: bool,
    /// Whether a guest's panic can be seen (the `pvpanic` device).
    pub(crate) pvpanic: bool,
    /// Whether there can be instance storage (the `nvme` device).
    pub(crate) nvme: bool,
    /// Whether QEMU can confine itself (`-sandbox`).
    pub(crate) sandbox: bool,
    /// Whether TCG may run each virtual processor in a thread of its own.
    pub(crate) tcg_threads: bool,
}

/// Asks the configured QEMU, which is started without a machine for it. `directory` is on the file system that will be read and written.
///
/// # Errors
/// If it doesn't start, or lacks what no machine does without.
pub(crate) async fn probe(config: &QemuConfig, user: User, directory: &Path) -> Result<Capabilities> {
    let (near, far) = std::os::unix::net::UnixStream::pair().context("make a socket pair")?;
    let file = scratch(directory)?;
    let text = format!(
        "-S -nodefaults -no-user-config -display none -machine none \
         -chardev socket,id=qmp,fd={} -mon chardev=qmp,mode=control -add-fd fd={},set=1",
        far.as_raw_fd(),
        file.as_raw_fd()
    );
    let launch = Launch {
        program: config.program.clone().into(),
        arguments: text.split_whitespace().map(Into::into).collect(),
        inherit: vec![far.into(), file],
        uid: user.uid,
        gid: user.gid,
        cgroups: Vec::new(),
        output: None,
        ends_with_us: true,
    };
    let process = process::start(launch, None)?;
    let asked = async {
        near.set_nonblocking(true).context("a socket")?;
        let (qmp, _events) = Qmp::open(UnixStream::from_std(near).context("a socket")?, LIMIT).await?;
        ask(&qmp).await
    }
    .await;
    process.kill(LIMIT).await?;
    asked.with_context(|| format!("ask {} what it can do", config.program.display()))
}

/// A file that has no name any more.
fn scratch(directory: &Path) -> Result<OwnedFd> {
    let path = directory.join(".probe");
    let open = |flags: i32| File::options().read(true).write(true).create(true).truncate(false).custom_flags(flags).mode(0o600).open(&path);
    let file = open(nix::libc::O_DIRECT).or_else(|_| open(0)).with_context(|| format!("make {}", path.display()))?;
    file.set_len(1 << 20).with_context(|| format!("grow {}", path.display()))?;
    fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
    Ok(file.into())
}

async fn ask(qmp: &Qmp) -> Result<Capabilities> {
    let machines = qmp.execute("query-machines", Value::Null, LIMIT).await?;
    let is_q35 = |machine: &Value| machine["alias"] == "q35" || machine["name"] == "q35";
    if !machines.as_array().is_some_and(|all| all.iter().any(is_q35)) {
        bail!("it has no machine type q35");
    }
    for (device, property) in NEEDED {
        if !has(qmp, device, property).await? {
            bail!("it has no device {device} with {property}");
        }
    }
    let options = qmp.execute("query-command-line-options", Value::Null, LIMIT).await?;
    let sandbox = options.as_array().is_some_and(|all| all.iter().any(|one| one["option"] == "sandbox"));
    Ok(Capabilities {
        aio: aio(qmp).await,
        vmgenid: has(qmp, "vmgenid", "guid").await?,
        pvpanic: has(qmp, "pvpanic", "ioport").await?,
        nvme: has(qmp, "nvme", "serial").await?,
        sandbox,
        tcg_threads: threads_sound(&qmp.execute("query-version", Value::Null, LIMIT).await?),
    })
}

/// What the answer to `query-version` means for TCG's threads.
fn threads_sound(version: &Value) -> bool {
    let number = |name: &str| version["qemu"][name].as_u64().unwrap_or_default();
    (number("major"), number("minor")) >= THREADS_SOUND
}

async fn has(qmp: &Qmp, device: &str, property: &str) -> Result<bool> {
    match qmp.execute("device-list-properties", json!({ "typename": device }), LIMIT).await {
        Ok(list) => Ok(list.as_array().is_some_and(|all| all.iter().any(|one| one["name"] == property))),
        Err(super::qmp::QmpError::Refused { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The first way that opens a file here: kernel, settings, privileges and QEMU's build all have a say.
async fn aio(qmp: &Qmp) -> Aio {
    for (aio, direct) in [(Aio::IoUring, false), (Aio::Native, true)] {
        let node = json!({
            "driver": "file", "node-name": "probe", "filename": "/dev/fdset/1", "aio": aio.word(), "cache": { "direct": direct, "no-flush": false },
        });
        if qmp.execute("blockdev-add", node, LIMIT).await.is_ok() {
            // The process ends next; a node that stays does no harm.
            let _ = qmp.execute("blockdev-del", json!({ "node-name": "probe" }), LIMIT).await;
            return aio;
        }
    }
    Aio::Threads
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Asks the QEMU of this host, as the driver does.
    #[tokio::test]
    async fn this_qemu_has_what_machines_need() {
        let directory = tempfile::tempdir().unwrap();
        let config = QemuConfig::new(directory.path());
        let user = User { uid: config.users.base, gid: config.users.base };
        let found = probe(&config, user, directory.path()).await.unwrap();
        assert!(found.vmgenid && found.pvpanic && found.nvme && found.sandbox, "{found:?}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn threads_come_with_the_version_that_mended_them() {
        let sound = |major: u64, minor: u64| threads_sound(&json!({ "qemu": { "major": major, "minor": minor, "micro": 22 } }));
        assert!(!sound(7, 2) && !sound(8, 0) && sound(8, 1) && sound(10, 0));
        assert!(!threads_sound(&Value::Null));
    }

    #[tokio::test]
    async fn another_program_is_told_from_qemu() {
        let directory = tempfile::tempdir().unwrap();
        let config = QemuConfig { program: "/bin/true".into(), ..QemuConfig::new(directory.path()) };
        let user = User { uid: config.users.base, gid: config.users.base };
        let error = probe(&config, user, directory.path()).await.unwrap_err();
        assert!(format!("{error:#}").starts_with("ask /bin/true what it can do"), "{error:#}");
    }
}
