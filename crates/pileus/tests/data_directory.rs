//! A server that is started on a data directory which doesn't belong together refuses, says what to do, and opens once it does.
#![allow(clippy::unwrap_used)]

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long the server may take to open, or to refuse.
const LIMIT: Duration = Duration::from_secs(60);

struct Directory(tempfile::TempDir);

/// A running server, ended with this.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Directory {
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join("cloud").join(name)
    }

    fn pileus(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pileus"));
        command.arg("--data-dir").arg(self.path("")).args(arguments).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.pileus(arguments).output().unwrap()
    }

    fn serve(&self) -> Server {
        let mut command = self.pileus(&["serve", "--simulate", "--listen", "127.0.0.1:0"]);
        let mut server = Server(command.stderr(Stdio::null()).spawn().unwrap());
        let start = Instant::now();
        while !self.run(&["status"]).status.success() {
            assert!(server.0.try_wait().unwrap().is_none(), "the server ended");
            assert!(start.elapsed() < LIMIT, "the cloud doesn't open");
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    #[track_caller]
    fn refused(&self) -> String {
        let output = self.run(&["serve", "--simulate", "--listen", "127.0.0.1:0"]);
        assert_eq!((output.status.code(), output.status.signal()), (Some(1), None));
        String::from_utf8(output.stderr).unwrap()
    }

    fn account(&self, name: &str) {
        assert!(self.run(&["account", "create", "--name", name]).status.success());
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap();
}

#[test]
fn a_database_that_does_not_fit_is_refused_and_a_restored_one_opens() {
    let directory = Directory(tempfile::tempdir().unwrap());
    let (database, log, kept) = (directory.path("state.db"), directory.path("state.db-wal"), directory.0.path().to_owned());
    let server = directory.serve();
    directory.account("before");
    // What a careless backup takes: the file without its log.
    copy(&database, &kept.join("torn"));
    // SIGKILL: the log stays.
    drop(server);
    for file in ["state.db", "state.db-wal"] {
        copy(&directory.path(file), &kept.join(file));
    }

    std::fs::remove_file(&log).unwrap();
    std::fs::write(&database, "").unwrap();
    let said = directory.refused();
    assert!(said.contains("state.db is empty") && said.contains("Put the database back"), "{said}");
    copy(&kept.join("torn"), &database);
    let said = directory.refused();
    assert!(said.contains("holds no tables") || said.contains("older copy"), "{said}");
    std::fs::remove_file(&database).unwrap();
    assert!(directory.refused().contains("is missing"));

    for file in ["state.db", "state.db-wal"] {
        copy(&kept.join(file), &directory.path(file));
    }
    let server = directory.serve();
    directory.account("after");
    drop(server);

    // An old backup, whole, is older than what the marker names: it opens when an operator says so, and not before.
    std::fs::remove_file(&log).unwrap();
    for file in ["state.db", "state.db-wal"] {
        copy(&kept.join(file), &directory.path(file));
    }
    let marker = std::fs::read_to_string(directory.path(".pileus")).unwrap();
    let newer = marker.replace("\"revision\":", "\"revision\":1000");
    std::fs::write(directory.path(".pileus"), newer).unwrap();
    let said = directory.refused();
    assert!(said.contains("older copy") && said.contains("pileus adopt"), "{said}");
    let adopted = directory.run(&["adopt"]);
    assert!(adopted.status.success(), "{}", String::from_utf8_lossy(&adopted.stderr));
    let server = directory.serve();
    assert!(!directory.run(&["adopt"]).status.success(), "a server has it open");
    drop(server);

    std::fs::rename(directory.path("objects"), kept.join("objects")).unwrap();
    assert!(directory.refused().contains("may not be mounted"));
    std::fs::rename(kept.join("objects"), directory.path("objects")).unwrap();
    drop(directory.serve());
}
