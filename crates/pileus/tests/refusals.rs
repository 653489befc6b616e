//! What `pileus image import`, `pileus ssh` and `scripts/remove` refuse before any work.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long the server may take to open.
const LIMIT: Duration = Duration::from_secs(30);

/// A simulated cloud, ended and removed with this.
struct Cloud {
    directory: tempfile::TempDir,
    server: Child,
}

impl Cloud {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut command = pileus(&directory.path().join("cloud"));
        let server = command.args(["serve", "--simulate", "--listen", "127.0.0.1:0"]).stderr(Stdio::null()).spawn().unwrap();
        let this = Self { directory, server };
        let start = Instant::now();
        while !this.run(&["env"]).status.success() {
            assert!(start.elapsed() < LIMIT, "the cloud doesn't open");
            std::thread::sleep(Duration::from_millis(20));
        }
        this
    }

    fn data_dir(&self) -> PathBuf {
        self.directory.path().join("cloud")
    }

    fn run(&self, arguments: &[&str]) -> Output {
        pileus(&self.data_dir()).args(arguments).output().unwrap()
    }

    /// What the command says when it is refused.
    #[track_caller]
    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && output.stdout.is_empty(), "{said}");
        said
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }
}

fn pileus(data_dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pileus"));
    command.arg("--data-dir").arg(data_dir);
    command
}

#[test]
fn an_import_is_judged_by_its_words_before_its_file_is_opened() {
    let cloud = Cloud::start();
    let long = "x".repeat(10_000);
    for (name, more, says) in [
        ("ab", [].as_slice(), "3 to 128 characters, not 2"),
        (&long, &[], "3 to 128 characters, not 10000"),
        ("a\nb", &[], r"has no '\n'"),
        ("name", &["--login-user", "a\nb"], "login user"),
        ("name", &["--login-user=-l"], "login user"),
        ("name", &["--description", &long], "at most 255 characters, not 10000"),
    ] {
        let said = cloud.refused(&[&["image", "import", "/nowhere", "--name", name], more].concat());
        assert!(said.contains(says) && said.len() < 300, "{said}");
        assert!(!cloud.data_dir().join("staging").exists(), "{said}");
    }
    assert!(cloud.refused(&["image", "import", "/nowhere", "--name", "a good name"]).contains("/nowhere"));
    assert!(cloud.refused(&["image", "import", "/nowhere"]).contains("not provided:\n  --name <NAME>"));
}

#[test]
fn ssh_takes_no_user_that_is_none() {
    let cloud = Cloud::start();
    let (id, long) = ("i-0123456789abcdef0", "x".repeat(10_000));
    for user in ["--user=a\nb", "--user=-oProxyCommand=id", "--user=", "--user=$(id)", "--user=a b", &format!("--user={long}")] {
        let said = cloud.refused(&["ssh", "--print", user, id]);
        assert!(said.contains("a user's name is") && said.len() < 300, "{said}");
    }
    assert!(cloud.refused(&["ssh", "--print", "--user=jane@example.com", id]).contains("there is no instance"));
}

/// What `pileus ssh` starts: a killed one leaves no session behind.
#[test]
fn ssh_ends_with_whoever_started_it() {
    let script = format!("{} __ssh $$ sleep 300 & echo $!; wait", env!("CARGO_BIN_EXE_pileus"));
    let mut parent = Command::new("sh").args(["-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
    let mut pid = String::new();
    BufReader::new(parent.stdout.take().unwrap()).read_line(&mut pid).unwrap();
    let words = || std::fs::read(format!("/proc/{}/cmdline", pid.trim())).unwrap_or_default();
    let start = Instant::now();
    while words() != b"sleep\x00300\0" {
        assert!(start.elapsed() < LIMIT, "it never became the command");
        std::thread::sleep(Duration::from_millis(10));
    }
    parent.kill().unwrap();
    parent.wait().unwrap();
    while !words().is_empty() {
        assert!(start.elapsed() < LIMIT, "it outlives its parent");
        std::thread::sleep(Duration::from_millis(10));
    }
    let stranger = Command::new(env!("CARGO_BIN_EXE_pileus")).args(["__ssh", "1", "true"]).status().unwrap();
    assert!(!stranger.success());
}

#[test]
fn what_is_no_data_directory_is_not_removed() {
    let directory = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/remove");
    for (data_dir, says) in [
        (directory.path().join("none"), "remove: there is no data directory "),
        (directory.path().to_owned(), "is no cloud's data directory\n"),
    ] {
        let output = Command::new(&script).env("PILEUS_DATA_DIR", &data_dir).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && said.contains(says) && said.lines().count() == 1, "{said}");
        assert!(said.contains(data_dir.to_str().unwrap()), "{said}");
    }
    assert!(directory.path().exists());
}
