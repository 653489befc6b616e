//! A small real guest for tests: Debian's cloud kernel and an initramfs of busybox and this file's script. It does what is typed on its
//! console.
//!
//! The kernel comes as a package from the configured mirror, once, and is kept under `target/`. Without it, or without busybox-static,
//! tests fail and say what is missing: they are not skipped.
#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// What the guest says once it takes commands.
pub(crate) const UP: &str = "guest is up";
/// How long a command in the guest may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);
const MODULES: [&str; 14] = [
    "virtio_ring",
    "virtio",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "virtio_blk",
    "failover",
    "net_failover",
    "virtio_net",
    "virtio-rng",
    "pvpanic",
    "pvpanic-mmio",
    "button",
    "evdev",
];
const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for module in $(cat /modules); do insmod /lib/$module.ko 2>/dev/null; done
for input in /dev/input/event*; do (dd if=$input of=/dev/null bs=24 count=1 2>/dev/null; poweroff -f) & done
echo "guest is up"
while true; do setsid cttyhack sh; done
"#;

/// The kernel and the initramfs, made if they aren't there.
pub(crate) fn boot_files() -> (PathBuf, PathBuf) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/test-guest");
    fs::create_dir_all(&directory).unwrap();
    let lock = File::create(directory.join("lock")).unwrap();
    lock.lock().unwrap();
    let (kernel, initramfs) = (directory.join("vmlinuz"), directory.join("initramfs-2"));
    if !initramfs.exists() {
        let unpacked = directory.join("unpacked");
        let _ = fs::remove_dir_all(&unpacked);
        kernel_unpack(&directory, &unpacked);
        let boot = fs::read_dir(unpacked.join("boot")).unwrap().map(|entry| entry.unwrap().path());
        let found = boot.into_iter().find(|path| path.file_name().unwrap().to_str().unwrap().starts_with("vmlinuz")).unwrap();
        fs::rename(found, &kernel).unwrap();
        let staged = directory.join("initramfs.new");
        fs::write(&staged, initramfs_make(&unpacked)).unwrap();
        fs::rename(staged, &initramfs).unwrap();
        fs::remove_dir_all(&unpacked).unwrap();
    }
    (kernel, initramfs)
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn kernel_unpack(directory: &Path, unpacked: &Path) {
    let depends = run(Command::new("apt-cache").args(["depends", "linux-image-cloud-amd64"]));
    let package = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: ")).expect("linux-image-cloud-amd64 in apt's lists");
    run(Command::new("apt-get").args(["download", package]).current_dir(directory));
    let archive =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).find(|path| path.extension().is_some_and(|e| e == "deb"));
    let archive = archive.unwrap();
    run(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(unpacked));
    fs::remove_file(archive).unwrap();
}

fn initramfs_make(unpacked: &Path) -> Vec<u8> {
    let busybox = fs::read("/bin/busybox").expect("/bin/busybox, from busybox-static");
    let mut archive = Vec::new();
    for directory in ["bin", "lib", "proc", "sys", "dev"] {
        cpio_add(&mut archive, directory, 0o040_755, &[]);
    }
    cpio_add(&mut archive, "bin/busybox", 0o100_755, &busybox);
    cpio_add(&mut archive, "init", 0o100_755, INIT.as_bytes());
    cpio_add(&mut archive, "modules", 0o100_644, MODULES.join("\n").as_bytes());
    let all = run(Command::new("find").arg(unpacked.join("lib/modules")).args(["-name", "*.ko"]));
    for module in MODULES {
        let name = format!("/{module}.ko");
        let path = all.lines().find(|path| path.ends_with(&name));
        let path = path.unwrap_or_else(|| panic!("no module {module} in the kernel's package"));
        cpio_add(&mut archive, &format!("lib/{module}.ko"), 0o100_644, &fs::read(path).unwrap());
    }
    cpio_add(&mut archive, "TRAILER!!!", 0, &[]);
    archive
}

/// Adds an entry in the "newc" form ("initramfs buffer format", Linux documentation).
fn cpio_add(archive: &mut Vec<u8>, name: &str, mode: u32, content: &[u8]) {
    let inode = archive.len();
    let fields = [inode, mode as usize, 0, 0, 1, 0, content.len(), 0, 0, 0, 0, name.len() + 1, 0];
    write!(archive, "070701").unwrap();
    for field in fields {
        write!(archive, "{field:08X}").unwrap();
    }
    write!(archive, "{name}\0").unwrap();
    archive.resize(archive.len().next_multiple_of(4), 0);
    archive.extend_from_slice(content);
    archive.resize(archive.len().next_multiple_of(4), 0);
}

/// Types a command on the guest's console, without waiting for anything.
pub(crate) fn guest_type(console: &mut UnixStream, command: &str) {
    console.write_all(format!("{command}\r").as_bytes()).unwrap();
}

/// Runs a command in the guest, by its console, and gives what it wrote.
pub(crate) fn guest_run(console: &mut UnixStream, command: &str) -> String {
    // The quotes keep the echo of what is typed from being taken for the answer.
    guest_type(console, &format!("echo '<''<'; {command}; echo '>''>'"));
    console.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let start = Instant::now();
    let mut seen = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        if let Ok(count) = console.read(&mut buffer) {
            assert_ne!(count, 0, "the console ended after {}", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&buffer[..count]);
        }
        let text = String::from_utf8_lossy(&seen).replace('\r', "");
        if let Some((_, rest)) = text.split_once("<<\n")
            && let Some((answer, _)) = rest.split_once(">>\n")
        {
            return answer.trim().to_owned();
        }
        assert!(start.elapsed() < COMMAND_LIMIT, "{command}: no answer, but {text:?}");
    }
}
