//! The image `tiny`, built for real and booted in QEMU, without the rest of the cloud: a user-mode network that reaches nothing, and
//! for metadata a shell script behind QEMU's `guestfwd`.
#![allow(clippy::unwrap_used)]

use model::ids::{ImageId, VolumeId};
use model::volume::Source;
use node::image::Images;
use node::image::progress::Silent;
use node::image::store::ImageStore;
use node::image::tiny;
use node::volume::Volumes;
use node::volume::qcow2::Qcow2Volumes;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const GIB: u64 = 1 << 30;
/// How long a boot, or what follows from it, may take on a loaded machine without hardware virtualization.
const PATIENCE: Duration = Duration::from_secs(120);

/// An image and a volume on it.
struct Disk {
    _root: tempfile::TempDir,
    built: tiny::Built,
    kernel: (PathBuf, PathBuf),
    volume: PathBuf,
    image_bytes: u64,
}

fn cache() -> PathBuf {
    std::env::var_os("PILEUS_CACHE_DIR").map_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).join("pileus-cache"), PathBuf::from)
}

/// Builds the image and makes a volume of `size_gib` on it, as the cloud does.
async fn disk(size_gib: u64) -> Disk {
    let root = tempfile::Builder::new().prefix("pileus-tiny-").tempdir().unwrap();
    let staging = root.path().join("staging");
    let built = tiny::build(&cache(), &staging, &Silent).unwrap();
    let image_bytes = std::fs::read_dir(&staging).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    let (image, volume): (ImageId, VolumeId) = ("ami-00000000000000001".parse().unwrap(), "vol-00000000000000001".parse().unwrap());
    let images = Arc::new(ImageStore::open(&root.path().join("images")).unwrap());
    images.adopt(&image, &staging).await.unwrap();
    let volumes = Qcow2Volumes::open(&root.path().join("volumes"), images.clone()).unwrap();
    volumes.ensure(&volume, size_gib * GIB, &Source::Image(image.clone())).await.unwrap();
    let kernel = images.files(&image).await.unwrap().kernel.unwrap();
    Disk { built, kernel, volume: volumes.files(&volume).await.unwrap().top, image_bytes, _root: root }
}

/// A running guest. Dropped, it is killed.
struct Guest {
    process: Child,
    console: PathBuf,
    qmp: PathBuf,
    begun: Instant,
}

impl Guest {
    fn boot(disk: &Disk, name: &str, network: &str) -> Self {
        let directory = disk.volume.parent().unwrap();
        let (console, qmp) = (directory.join(format!("{name}.console")), directory.join(format!("{name}.qmp")));
        let begun = Instant::now();
        let process = Command::new("qemu-system-x86_64")
            .args([
                "-machine",
                "q35",
                "-accel",
                // Debian 12's QEMU loses changes to code between threads (see the driver's `THREADS_SOUND`).
                "tcg,thread=single",
                "-cpu",
                "max",
                "-m",
                "256",
                "-smp",
                "2",
                "-nodefaults",
                "-no-user-config",
            ])
            .args(["-display", "none", "-no-reboot", "-append", &disk.built.command_line])
            .args(["-kernel".as_ref(), disk.kernel.0.as_os_str(), "-initrd".as_ref(), disk.kernel.1.as_os_str()])
            .args(["-blockdev", &format!("driver=qcow2,node-name=d,file.driver=file,file.filename={}", disk.volume.display())])
            .args(["-device", "virtio-blk-pci,drive=d", "-netdev", network, "-device", "virtio-net-pci,netdev=n,romfile="])
            .args(["-device", "virtio-rng-pci", "-serial", &format!("file:{}", console.display())])
            .args(["-qmp", &format!("unix:{},server=on,wait=off", qmp.display())])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, console, qmp, begun }
    }

    fn console(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.console).unwrap_or_default()).into_owned()
    }

    /// Waits until the console shows a text, and returns how long after the start that was.
    fn wait_for(&self, text: &str) -> Duration {
        while !self.console().contains(text) {
            assert!(self.begun.elapsed() < PATIENCE, "{text:?} didn't come:\n{}", self.console());
            std::thread::sleep(Duration::from_millis(10));
        }
        self.begun.elapsed()
    }

    /// Presses the power button and returns how long the guest took to be off.
    fn power_button(&mut self) -> Duration {
        let mut socket = UnixStream::connect(&self.qmp).unwrap();
        let mut answers = BufReader::new(socket.try_clone().unwrap()).lines();
        answers.next().unwrap().unwrap();
        for command in ["qmp_capabilities", "system_powerdown"] {
            writeln!(socket, r#"{{"execute":"{command}"}}"#).unwrap();
            answers.next().unwrap().unwrap();
        }
        let begun = Instant::now();
        self.wait_for_end();
        begun.elapsed()
    }

    /// Waits for QEMU to end, since the guest did.
    fn wait_for_end(&mut self) {
        let begun = Instant::now();
        while self.process.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < PATIENCE, "the guest doesn't end:\n{}", self.console());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What `dumpe2fs` says of the root file system, as it lies on the volume.
fn file_system(disk: &Disk) -> String {
    let raw = disk.volume.with_extension("raw");
    let converted = Command::new("qemu-img").args(["convert", "-f", "qcow2", "-O", "raw"]).args([&disk.volume, &raw]).status().unwrap();
    assert!(converted.success());
    let output = Command::new("/sbin/dumpe2fs").arg("-h").arg(&raw).output().unwrap();
    std::fs::remove_file(raw).unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Without metadata the guest comes up all the same, and goes down in order.
#[tokio::test]
async fn boots_without_metadata() {
    let disk = disk(3).await;
    assert!(disk.image_bytes < 64 << 20, "the image has {} bytes", disk.image_bytes);
    let mut guest = Guest::boot(&disk, "first", "user,id=n,restrict=on");
    let userland = guest.wait_for("tiny: userland");
    let ready = guest.wait_for("tiny: ready");
    let console = guest.console();
    assert!(console.contains("-----BEGIN SSH HOST KEY FINGERPRINTS-----\r\n256 SHA256:"), "{console}");
    assert!(console.contains("no metadata service yet"), "{console}");
    let off = guest.power_button();
    eprintln!("image {} bytes, userland {userland:?}, ready without metadata {ready:?}, off {off:?}", disk.image_bytes);
    assert!(off < Duration::from_secs(10), "{off:?}");

    let found = file_system(&disk);
    assert!(found.contains("Filesystem state:         clean"), "{found}");
    assert!(!found.contains("needs_recovery"), "{found}");
    let number = |key: &str| found.lines().find_map(|line| line.strip_prefix(key)?.trim().parse::<u64>().ok()).unwrap();
    assert!(number("Block count:") * number("Block size:") > 29 * GIB / 10, "grown to the disk: {found}");
}

/// From the cache alone, in a network namespace without a way out; and the host's packages stay what they were.
#[test]
fn a_second_build_needs_no_network() {
    let status = || std::fs::read("/var/lib/dpkg/status").unwrap();
    let before = status();
    let root = tempfile::tempdir().unwrap();
    let first = tiny::build(&cache(), &root.path().join("first"), &Silent).unwrap();
    let second = std::thread::scope(|scope| {
        let alone = || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            tiny::build(&cache(), &root.path().join("second"), &Silent)
        };
        scope.spawn(alone).join().unwrap().unwrap()
    });
    assert_eq!(first, second);
    let kernel = |which: &str| std::fs::read(root.path().join(which).join("vmlinuz")).unwrap();
    assert!(kernel("first") == kernel("second"));
    assert!(status() == before, "the host's packages changed");
}

/// What a metadata service would answer, as a shell script that QEMU starts for each connection.
fn metadata_script(directory: &Path, key: &str) -> PathBuf {
    let path = directory.join("metadata");
    let script = format!(
        r#"#!/bin/sh
read -r method path version
token=
while read -r name value; do
  value=$(printf %s "$value" | tr -d '\r')
  case $name in
    X-aws-ec2-metadata-token:) token=$value ;;
    "$(printf '\r')"|'') break ;;
  esac
done
answer() {{ printf 'HTTP/1.0 %s\r\nContent-Length: %s\r\n\r\n%s' "$1" "${{#2}}" "$2"; exit; }}
case "$method $path" in
  "PUT /latest/api/token") answer '200 OK' 'T0K=' ;;
esac
[ "$token" = 'T0K=' ] || answer '401 Unauthorized' ''
case "$path" in
  /latest/meta-data/instance-id) answer '200 OK' 'i-0123456789abcdef0' ;;
  /latest/meta-data/local-hostname) answer '200 OK' 'ip-169-254-1-15.ec2.internal' ;;
  /latest/meta-data/public-keys/0/openssh-key) answer '200 OK' '{key}' ;;
  /latest/user-data) answer '200 OK' '#!/bin/sh
echo "user data says: $(id -u) in $PWD"' ;;
  *) answer '404 Not Found' '' ;;
esac
"#
    );
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    path
}

/// Runs a command in the guest over ssh, and returns what it printed.
fn ssh(port: u16, key: &Path, command: &str) -> String {
    let options =
        ["-oStrictHostKeyChecking=no", "-oUserKnownHostsFile=/dev/null", "-oBatchMode=yes", "-oLogLevel=ERROR", "-oConnectTimeout=20"];
    let output = Command::new("ssh")
        .args(options)
        .args(["-p", &port.to_string(), "-i"])
        .arg(key)
        .args(["root@127.0.0.1", command])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// With metadata: name, key, user data once, and the tools that read it; and again after a restart.
#[tokio::test]
async fn does_what_cloud_init_does() {
    let disk = disk(1).await;
    let directory = disk.volume.parent().unwrap().to_owned();
    let key = directory.join("key");
    assert!(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "k", "-f"]).arg(&key).status().unwrap().success());
    let metadata = metadata_script(&directory, std::fs::read_to_string(key.with_extension("pub")).unwrap().trim());
    // Free now: between here and QEMU's start somebody else could take it, which QEMU would say.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let network = format!(
        "user,id=n,restrict=on,net=169.254.0.0/16,host=169.254.0.2,dns=169.254.0.3,dhcpstart=169.254.1.15,\
         hostfwd=tcp:127.0.0.1:{port}-:22,guestfwd=tcp:169.254.169.254:80-cmd:{}",
        metadata.display()
    );

    let mut guest = Guest::boot(&disk, "first", &network);
    let userland = guest.wait_for("tiny: userland");
    let ready = guest.wait_for("tiny: ready");
    guest.wait_for("tiny: user data done");
    let console = guest.console();
    eprintln!("userland {userland:?}, ready {ready:?}");
    assert!(console.contains("user data says: 0 in /"), "{console}");

    assert_eq!(ssh(port, &key, "hostname"), "ip-169-254-1-15.ec2.internal\n");
    let url = "http://169.254.169.254/latest";
    let token = format!("curl -s -X PUT {url}/api/token -H 'X-aws-ec2-metadata-token-ttl-seconds: 60'");
    let get = format!("curl -sf -H \"X-aws-ec2-metadata-token: $({token})\" {url}/meta-data/instance-id");
    assert_eq!(ssh(port, &key, &get), "i-0123456789abcdef0");
    assert_eq!(ssh(port, &key, &format!("curl -s -o /dev/null -w '%{{http_code}}' {url}/meta-data/instance-id")), "401");
    assert_eq!(ssh(port, &key, &format!("curl -sf {url}/meta-data/instance-id; echo $?")), "22\n");
    assert_eq!(ssh(port, &key, "ec2-metadata -i"), "instance-id: i-0123456789abcdef0\n");
    assert_eq!(ssh(port, &key, "ls -d /tmp/http.* 2>/dev/null | wc -l"), "0\n", "the tools leave nothing behind");
    // What a program needs to run, and the file system tools that a second volume needs.
    ssh(port, &key, "modprobe overlay && tune2fs -l /dev/vda >/dev/null");
    let make = "truncate -s 64M /tmp/disk && mkfs.ext4 -q /tmp/disk && e2fsck -n /tmp/disk && mount -o loop /tmp/disk /mnt && umount /mnt";
    ssh(port, &key, &format!("modprobe loop && {make}"));
    ssh(port, &key, "echo kept >/root/file");
    let fingerprint = |console: &str| console.lines().find(|line| line.starts_with("256 SHA256:")).unwrap().to_owned();
    let off = guest.power_button();

    let mut guest = Guest::boot(&disk, "second", &network);
    let ready_again = guest.wait_for("tiny: ready");
    assert_eq!(ssh(port, &key, "cat /root/file"), "kept\n");
    assert_eq!(ssh(port, &key, "grep -c user /var/log/user-data.log"), "1\n");
    assert_eq!(fingerprint(&guest.console()), fingerprint(&console), "the host key stays");
    assert!(!guest.console().contains("user data says"), "user data runs once:\n{}", guest.console());
    eprintln!("off {off:?}, ready again {ready_again:?}");
    ssh(port, &key, "reboot");
    guest.wait_for_end();
    assert!(guest.console().contains("reboot: Restarting system"), "{}", guest.console());
}
