//! What holds once `pileus serve` has opened its port, and what it clears away by itself.
#![allow(clippy::unwrap_used)]

use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long the server may take, on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// A simulated cloud, ended and removed with this.
struct Cloud {
    directory: tempfile::TempDir,
    server: Child,
    port: u16,
}

impl Cloud {
    /// Starts one; doesn't wait.
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let listen = format!("127.0.0.1:{port}");
        let server = serve(&directory.path().join("cloud"), &listen).stderr(Stdio::null()).spawn().unwrap();
        Self { directory, server, port }
    }

    fn data_dir(&self) -> PathBuf {
        self.directory.path().join("cloud")
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }
}

fn serve(data_dir: &Path, listen: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pileus"));
    command.arg("--data-dir").arg(data_dir).args(["serve", "--simulate", "--listen", listen]);
    command
}

#[track_caller]
fn wait(what: &str, pause: Duration, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        std::thread::sleep(pause);
    }
}

#[test]
fn the_port_opens_after_the_operators_socket() {
    let cloud = Cloud::start();
    wait("the port is open", Duration::ZERO, || TcpStream::connect(("127.0.0.1", cloud.port)).is_ok());
    UnixStream::connect(cloud.data_dir().join("admin.sock")).expect("the port is open, but the operator's socket isn't");
}

#[test]
fn a_port_that_is_taken_is_told_before_anything_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let output = serve(&directory.path().join("cloud"), &listen).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains(&format!("can't listen on {listen}")), "{said}");
    assert!(!directory.path().join("cloud/state.db").exists());
}

#[test]
fn what_a_killed_import_left_is_removed_while_the_server_runs() {
    let cloud = Cloud::start();
    wait("the port is open", Duration::from_millis(20), || TcpStream::connect(("127.0.0.1", cloud.port)).is_ok());
    let staging = cloud.data_dir().join("staging");
    let (left, held) = (staging.join("image-left"), staging.join("image-held"));
    for directory in [&left, &held] {
        std::fs::create_dir_all(directory).unwrap();
        std::fs::write(directory.join("disk.qcow2"), b"half of an image").unwrap();
    }
    let lock = std::fs::File::open(&held).unwrap();
    lock.lock().unwrap();
    wait("the unlocked one is removed", Duration::from_millis(100), || !left.exists());
    assert!(held.join("disk.qcow2").exists(), "an image that is being made was removed");
    drop(lock);
    wait("the other one is removed", Duration::from_millis(100), || !held.exists());
}
