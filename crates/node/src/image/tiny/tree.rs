//! What stands in the initramfs and in the root file system.

use super::cpio::Archive;
use super::unpacked::Unpacked;
use crate::Result;
use anyhow::Context as _;
use std::fs::{File, Permissions};
use std::io::BufWriter;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

/// Loaded before there is a root file system: the root disk's driver.
const MODULES_INITRAMFS: [&str; 2] = ["virtio_pci", "virtio_blk"];

/// In the root file system, for the boot and for whoever works there.
const MODULES_ROOT: [&str; 22] = [
    "virtio_net",
    "virtio_rng",
    "button",
    "evdev", // what /etc/init.d/boot loads
    "virtio_balloon",
    "virtio_console",
    "virtio_scsi",
    "loop",
    "fuse",
    "overlay",
    "squashfs",
    "isofs",
    "vfat",
    "nls_ascii",
    "xfs",
    "tun",
    "bridge",
    "veth",
    "dummy",
    "8021q",
    "wireguard",
    "vxlan",
];

/// Programs: their path in the packages, and in the image.
const PROGRAMS: [(&str, &str); 9] = [
    ("bin/busybox", "usr/bin/busybox"),
    ("usr/sbin/dropbear", "usr/bin/dropbear"),
    ("usr/bin/dropbearkey", "usr/bin/dropbearkey"),
    ("usr/bin/dbclient", "usr/bin/dbclient"),
    ("sbin/e2fsck", "usr/bin/e2fsck"),
    // Not as mke2fs: the shell takes busybox's program of a name before any file, and that one makes ext2.
    ("sbin/mke2fs", "usr/bin/mkfs.ext4"),
    ("sbin/resize2fs", "usr/bin/resize2fs"),
    ("sbin/tune2fs", "usr/bin/tune2fs"),
    // Where dropbear looks for it: scp and sftp need it.
    ("usr/lib/openssh/sftp-server", "usr/lib/sftp-server"),
];

/// Directories, each after the one it is in.
const DIRECTORIES: [(&str, u32); 34] = [
    ("dev", 0o755),
    ("etc", 0o755),
    ("etc/acpi", 0o755),
    ("etc/acpi/PWRF", 0o755),
    ("etc/dropbear", 0o700),
    ("etc/init.d", 0o755),
    ("etc/udhcpc", 0o755),
    ("home", 0o755),
    ("mnt", 0o755),
    ("opt", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("srv", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("usr", 0o755),
    ("usr/bin", 0o755),
    ("usr/lib", 0o755),
    ("usr/lib/modules", 0o755),
    ("usr/lib/tiny", 0o755),
    ("usr/lib/x86_64-linux-gnu", 0o755),
    ("usr/lib64", 0o755),
    ("usr/local", 0o755),
    ("usr/local/bin", 0o755),
    ("usr/share", 0o755),
    ("var", 0o755),
    ("var/cache", 0o755),
    ("var/lib", 0o755),
    ("var/lib/cloud", 0o755),
    ("var/lib/cloud/instances", 0o755),
    ("var/log", 0o755),
    ("var/spool", 0o755),
    ("var/tmp", 0o1777),
];

/// Symbolic links: where, and to what.
const LINKS: [(&str, &str); 10] = [
    ("bin", "usr/bin"),
    ("sbin", "usr/bin"),
    ("lib", "usr/lib"),
    ("lib64", "usr/lib64"),
    ("usr/sbin", "bin"),
    ("var/run", "../run"),
    ("var/lock", "../run/lock"),
    ("etc/mtab", "../proc/self/mounts"),
    ("usr/bin/fsck.ext4", "e2fsck"),
    ("usr/bin/ssh", "dbclient"),
];

/// Files of our own: path, mode, content.
macro_rules! own_files {
    ($($mode:literal $path:literal)*) => {
        &[$(($path, $mode, include_bytes!(concat!("rootfs/", $path)).as_slice())),*]
    };
}

const OWN_FILES: &[(&str, u32, &[u8])] = own_files! {
    0o755 "etc/acpi/PWRF/00000080"
    0o644 "etc/group"
    0o644 "etc/hostname"
    0o644 "etc/hosts"
    0o755 "etc/init.d/boot"
    0o755 "etc/init.d/cloud"
    0o755 "etc/init.d/power"
    0o755 "etc/init.d/shutdown"
    0o755 "etc/init.d/ssh"
    0o644 "etc/inittab"
    0o644 "etc/issue"
    0o644 "etc/motd"
    0o644 "etc/os-release"
    0o644 "etc/passwd"
    0o644 "etc/profile"
    0o600 "etc/shadow"
    0o644 "etc/shells"
    0o755 "etc/udhcpc/default.script"
    0o755 "usr/bin/curl"
    0o755 "usr/bin/ec2-metadata"
    0o755 "usr/bin/halt"
    0o755 "usr/bin/nohup"
    0o755 "usr/bin/nohup"
    0o755 "usr/bin/poweroff"
    0o755 "usr/bin/reboot"
    0o644 "usr/lib/tiny/http.sh"
    0o644 "usr/lib/tiny/imds.sh"
};

/// Writes the initramfs: busybox, the root disk's driver, and `/init`.
pub(super) fn initramfs_write(unpacked: &Unpacked, path: &Path) -> Result<()> {
    let mut archive = Archive::new(BufWriter::new(File::create(path)?));
    for directory in ["bin", "dev", "modules", "proc", "root"] {
        archive.directory(directory)?;
    }
    // The kernel opens it for /init before anything is mounted.
    archive.device("dev/console", 0o600, (5, 1))?;
    archive.file("bin/busybox", 0o755, &unpacked.read("bin/busybox")?)?;
    archive.file("init", 0o755, include_bytes!("initramfs/init"))?;
    let mut order = String::new();
    for module in unpacked.modules(&MODULES_INITRAMFS)? {
        let name = module.path.rsplit('/').next().unwrap_or(&module.path);
        archive.file(&format!("modules/{name}"), 0o644, &module.content)?;
        order.push_str(name);
        order.push('\n');
    }
    archive.file("modules/order", 0o644, order.as_bytes())?;
    archive.finish()?.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    Ok(())
}

/// Writes the root file system's files into an empty directory.
pub(super) fn root_write(unpacked: &Unpacked, applets: &str, root: &Path) -> Result<()> {
    for (path, mode) in DIRECTORIES {
        std::fs::create_dir(root.join(path)).with_context(|| path.to_owned())?;
        // By itself, since the umask takes from what create_dir is given.
        std::fs::set_permissions(root.join(path), Permissions::from_mode(mode))?;
    }
    std::fs::set_permissions(root, Permissions::from_mode(0o755))?;
    for (from, to) in PROGRAMS {
        file_write(root, to, 0o755, &unpacked.read(from)?)?;
    }
    for (path, mode, content) in OWN_FILES {
        file_write(root, path, *mode, content)?;
    }
    file_write(root, "etc/mke2fs.conf", 0o644, &unpacked.read("etc/mke2fs.conf")?)?;
    let dynamic: Vec<&str> = PROGRAMS.iter().map(|(from, _)| *from).collect();
    for (name, content) in unpacked.libraries(&dynamic)? {
        let directory = if name.starts_with("ld-linux") { "usr/lib64" } else { "usr/lib/x86_64-linux-gnu" };
        file_write(root, &format!("{directory}/{name}"), 0o755, &content)?;
    }
    modules_write(unpacked, root)?;
    for (path, to) in LINKS {
        symlink(to, root.join(path)).with_context(|| path.to_owned())?;
    }
    for applet in applets.lines().filter_map(|line| line.rsplit('/').next()) {
        let path = root.join("usr/bin").join(applet);
        if std::fs::symlink_metadata(&path).is_err() {
            symlink("busybox", path)?;
        }
    }
    Ok(())
}

/// Writes the modules with the tables that modprobe reads.
fn modules_write(unpacked: &Unpacked, root: &Path) -> Result<()> {
    let directory = format!("usr/lib/modules/{}", unpacked.release());
    let mut dependencies = String::new();
    for module in unpacked.modules(&MODULES_ROOT)? {
        let path = format!("{directory}/{}", module.path);
        if let Some(parent) = root.join(&path).parent() {
            std::fs::create_dir_all(parent)?;
        }
        file_write(root, &path, 0o644, &module.content)?;
        // modprobe loads from the last to the first.
        let before: String = module.before.iter().rev().map(|other| format!(" {other}")).collect();
        dependencies.push_str(&format!("{}:{before}\n", module.path));
    }
    file_write(root, &format!("{directory}/modules.dep"), 0o644, dependencies.as_bytes())
}

fn file_write(root: &Path, path: &str, mode: u32, content: &[u8]) -> Result<()> {
    let path = root.join(path);
    std::fs::write(&path, content)
        .and_then(|()| std::fs::set_permissions(&path, Permissions::from_mode(mode)))
        .with_context(|| format!("{}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::process::Command;

    /// The shell that runs them reads them: a slip would show only in a guest.
    #[test]
    fn every_script_parses() {
        let mut checked = 0;
        for (path, mode, content) in OWN_FILES.iter().copied().chain([("init", 0o755, include_bytes!("initramfs/init").as_slice())]) {
            if *path.rsplit('.').next().unwrap() == *"sh" || mode == 0o755 {
                let file = tempfile::NamedTempFile::new().unwrap();
                std::fs::write(file.path(), content).unwrap();
                let output = Command::new("busybox").args(["ash", "-n"]).arg(file.path()).output().unwrap();
                assert!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
                checked += 1;
            }
        }
        assert!(checked >= 12, "{checked}");
    }
}
