//! The `tiny` image: Debian's cloud kernel, busybox and dropbear, with an init that does what cloud-init does.
//!
//! It is made from Debian's packages, which are fetched into a cache and unpacked; the host's own system isn't changed. What is ours
//! in the image stands in `initramfs/` and `rootfs/` beside this file.

mod cpio;
mod elf;
mod packages;
mod tree;
mod unpacked;

use super::progress::Progress;
use super::store::{DISK, INITRAMFS, KERNEL};
use super::tool::run;
use crate::Result;
use crate::durable;
use anyhow::{Context as _, ensure};
use packages::Cache;
use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use unpacked::Unpacked;

/// The root disk's size as an instance sees it at least, in GiB; its file is far smaller.
const SIZE_GIB: u32 = 1;
/// How long making the file system and converting it may take.
const MAKE_LIMIT: Duration = Duration::from_secs(300);

/// An image that was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The root disk's size, in GiB.
    pub size_gib: u32,
    /// The kernel's command line.
    pub command_line: String,
    /// Who logs in with the key pair's key.
    pub login_user: String,
    /// What it is made of, for people.
    pub description: String,
}

/// Builds the image into `staging`, a directory that is empty or not there yet; [`super::Images::adopt`] takes it from there.
/// Packages are kept in `cache`, and a second build needs nothing else. Blocks, for a minute at the most unless a mirror is slow.
///
/// # Errors
/// If a package can't be fetched or isn't what the signed lists say, a program is missing, or the disk is full. What is in `staging`
/// then is of no use.
pub fn build(cache: &Path, staging: &Path, progress: &dyn Progress) -> Result<Built> {
    std::fs::create_dir_all(staging).with_context(|| format!("making {}", staging.display()))?;
    ensure!(durable::names(staging)?.is_empty(), "{} isn't empty", staging.display());
    build_in(cache, staging, progress).map_err(|error| durable::with_full_disk(error, staging)).context("building the image tiny")
}

fn build_in(cache: &Path, staging: &Path, progress: &dyn Progress) -> Result<Built> {
    let cache = Cache::open(cache)?;
    let packages = cache.fetch(progress)?;

    let work = staging.join("work");
    let (files, root, raw) = (work.join("packages"), work.join("root"), work.join("disk"));
    std::fs::create_dir_all(&files)?;
    std::fs::create_dir_all(&root)?;
    progress.step("Unpacking");
    for (n, package) in packages.iter().enumerate() {
        cache.unpack(package, &files)?;
        progress.fraction((n + 1) as f32 / packages.len() as f32);
    }

    progress.step("Putting the image together");
    let unpacked = Unpacked::open(&files)?;
    std::fs::write(staging.join(KERNEL), unpacked.kernel()?)?;
    tree::initramfs_write(&unpacked, &staging.join(INITRAMFS))?;
    let applets = run(Command::new(unpacked.path("bin/busybox")?).arg("--list"), MAKE_LIMIT)?;
    tree::root_write(&unpacked, &applets, &root)?;
    File::create(&raw)?.set_len(u64::from(SIZE_GIB) << 30)?;
    file_system_make(&unpacked, &root, &raw)?;
    run(Command::new("qemu-img").args(["convert", "-f", "raw", "-O", "qcow2"]).arg(&raw).arg(staging.join(DISK)), MAKE_LIMIT)?;
    std::fs::remove_dir_all(&work)?;

    let version = packages.iter().find(|package| package.name == "dropbear-bin").map_or("", |package| &package.version);
    Ok(Built {
        size_gib: SIZE_GIB,
        // no_timer_check: where QEMU translates and the processors are busy, the kernel's try whether timer interrupts come in time fails
        // now and then, and it panics.
        command_line: "root=/dev/vda console=ttyS0 panic=-1 no_timer_check".into(),
        login_user: "root".into(),
        description: format!("tiny: Debian's kernel {}, busybox, dropbear {version}", unpacked.release()),
    })
}

/// Makes the root file system. All belongs to whoever runs this, which is root.
fn file_system_make(unpacked: &Unpacked, root: &Path, raw: &Path) -> Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "only root can build an image: its files must belong to root");
    let mut command = unpacked.command("sbin/mke2fs")?;
    command.env("MKE2FS_CONFIG", unpacked.path("etc/mke2fs.conf")?);
    // The file is new, so that it need not be filled with zeros, neither now nor by the guest. An inode per 64 KiB: a grown disk's
    // tables stay small.
    command.args(["-q", "-F", "-t", "ext4", "-L", "tiny", "-m", "1", "-i", "65536", "-E", "assume_storage_prezeroed=1", "-d"]);
    run(command.arg(root).arg(raw), MAKE_LIMIT).context("making the root file system").map(|_| ())
}
