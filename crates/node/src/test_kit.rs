//! What the tests of several rooms share.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

/// A directory that goes with its value.
pub(crate) fn scratch() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("pileus-test-").tempdir().unwrap()
}

/// Runs `qemu-img` and returns what it printed. Panics if it fails.
pub(crate) fn qemu_img(arguments: &[&str]) -> String {
    let output = Command::new("qemu-img").args(arguments).output().unwrap();
    assert!(output.status.success(), "qemu-img {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Stages the `n`th image: a disk of 64 MiB whose first 64 KiB are 0x5a, and a kernel and initramfs in name only.
pub(crate) fn stage_image(root: &Path, n: u32) -> PathBuf {
    let staged = root.join(format!("staged-{n}"));
    std::fs::create_dir_all(&staged).unwrap();
    let raw = staged.join("raw");
    let file = std::fs::File::create(&raw).unwrap();
    file.set_len(64 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0x5a; 64 << 10], 0).unwrap();
    qemu_img(&["convert", "-f", "raw", "-O", "qcow2", raw.to_str().unwrap(), staged.join("disk.qcow2").to_str().unwrap()]);
    std::fs::remove_file(raw).unwrap();
    std::fs::write(staged.join("vmlinuz"), b"kernel").unwrap();
    std::fs::write(staged.join("initramfs"), b"initramfs").unwrap();
    staged
}

/// Runs a test with a file system of `size` mounted at `at`, which nobody else sees.
pub(crate) fn on_a_tiny_disk<F: Future<Output = ()>>(at: &Path, size: &str, test: impl FnOnce() -> F + Send) {
    use nix::mount::{MsFlags, mount};
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
            let none = None::<&str>;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
            mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), Some(format!("size={size}").as_str())).unwrap();
            // The runtime's own threads are started by this one, and so are in its mount namespace.
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test());
        });
        thread.join().unwrap();
    });
}
