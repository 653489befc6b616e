//! A machine's directory: what is in it, and its record.
//!
//! ```text
//!   machine.json               the record, written before anything runs
//!   qemu.lock     qemu.pid     QEMU's berth                   console.lock  console.pid   the console helper's
//!   qmp.sock      serial.sock  QEMU's sockets                 console.sock  for interactive users
//!   qemu.log                   QEMU's messages, bounded       crashed       why the guest can't go on, once it can't
//!   instance-store-N.raw       its instance storage
//! ```
//! The directory is root's alone: QEMU reaches none of it by path, and nobody else reaches its sockets.
//!
//! Nothing here is synced to the disk: no machine outlives its host, so after a power failure all of it is remains, in whatever state.

use super::process::Berth;
use crate::Result;
use anyhow::Context as _;
use model::ids::InstanceId;
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// QMP's socket.
pub(crate) const QMP: &str = "qmp.sock";
/// The serial port's socket.
pub(crate) const SERIAL: &str = "serial.sock";
/// The socket for interactive users of the console.
pub(crate) const CONSOLE: &str = "console.sock";

/// What must be known of a machine after a restart of the server, and can't be asked of QEMU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The run it was started as.
    pub(crate) run: u64,
    /// The user that its processes have, with a group of the same number.
    pub(crate) uid: u32,
}

/// The directory of one machine, which may not be there.
#[derive(Debug, Clone)]
pub(crate) struct Place(PathBuf);

impl Place {
    /// Of this instance, in the directory of all.
    pub(crate) fn new(machines: &Path, id: &InstanceId) -> Self {
        Self(machines.join(id.as_str()))
    }

    /// Where it is.
    pub(crate) fn directory(&self) -> &Path {
        &self.0
    }

    /// QEMU's berth.
    pub(crate) fn qemu(&self) -> Berth {
        Berth::new(&self.0, "qemu")
    }

    /// The console helper's berth.
    pub(crate) fn console_helper(&self) -> Berth {
        Berth::new(&self.0, "console")
    }

    /// The file of QEMU's messages.
    pub(crate) fn log(&self) -> PathBuf {
        self.0.join("qemu.log")
    }

    /// The file of an instance store volume.
    pub(crate) fn instance_store(&self, index: u32) -> PathBuf {
        self.0.join(format!("instance-store-{index}.raw"))
    }

    /// Makes the directory, with its record. It must not be there.
    pub(crate) fn make(&self, record: Record) -> Result<()> {
        let what = || format!("make {}", self.0.display());
        DirBuilder::new().mode(0o700).create(&self.0).with_context(what)?;
        fs::write(self.0.join("machine.json"), serde_json::to_vec(&record).with_context(what)?).with_context(what)
    }

    /// The record. `None` if there is none that can be read: then nothing was started here yet, or the host went down.
    pub(crate) fn record(&self) -> Option<Record> {
        serde_json::from_slice(&fs::read(self.0.join("machine.json")).ok()?).ok()
    }

    /// How long ago it was made; nothing if that can't be told.
    pub(crate) fn age(&self) -> Duration {
        let made = fs::metadata(self.0.join("machine.json")).and_then(|meta| meta.modified());
        made.ok().and_then(|made| made.elapsed().ok()).unwrap_or_default()
    }

    /// Why the guest can't go on, if that was noted.
    pub(crate) fn crashed(&self) -> Option<String> {
        fs::read_to_string(self.0.join("crashed")).ok()
    }

    /// Notes why the guest can't go on, or that it can.
    pub(crate) fn crashed_note(&self, reason: Option<&str>) -> Result<()> {
        let path = self.0.join("crashed");
        match reason {
            Some(reason) => fs::write(&path, reason).with_context(|| format!("write {}", path.display())),
            None => match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).with_context(|| format!("remove {}", path.display())),
                Ok(()) | Err(_) => Ok(()),
            },
        }
    }

    /// Removes all of it. Without any: does nothing.
    pub(crate) fn remove(&self) -> Result<()> {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).with_context(|| format!("remove {}", self.0.display())),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Makes a listening socket.
    pub(crate) fn listen(&self, name: &str) -> Result<UnixListener> {
        self.socket(name, |path| UnixListener::bind(path)).with_context(|| format!("listen on {}/{name}", self.0.display()))
    }

    /// Connects to a socket.
    pub(crate) fn connect(&self, name: &str) -> Result<UnixStream> {
        self.socket(name, |path| UnixStream::connect(path)).with_context(|| format!("connect to {}/{name}", self.0.display()))
    }

    /// By way of the open directory: a socket's path may have 107 bytes at most, a data directory's may be longer.
    fn socket<T>(&self, name: &str, act: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
        let directory = File::open(&self.0)?;
        act(&PathBuf::from(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd())))
    }
}
