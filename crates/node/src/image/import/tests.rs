//! Real files, good and hostile.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::image::progress::Silent;
use crate::test_kit::{qemu_img as run_qemu_img, scratch};
use std::process::Command;
use std::sync::Mutex;

const MIB: u64 = 1 << 20;

/// A raw disk that looks bootable: a master boot record, then `data` bytes that don't compress to nothing.
fn raw_disk(path: &Path, size: u64, data: usize) {
    let file = File::create(path).unwrap();
    file.set_len(size).unwrap();
    let bytes: Vec<u8> = (0..data as u32).flat_map(|n| (n.wrapping_mul(2_654_435_761) >> 8).to_le_bytes()).take(data).collect();
    file.write_all_at(&bytes, 0).unwrap();
    file.write_all_at(b"\x55\xaa", 510).unwrap();
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Imports a file and returns why it was refused; panics if it was taken. Nothing may be left that could be adopted.
fn refused(root: &Path, file: &Path) -> String {
    let staging = root.join(format!("staging-{}", file.file_name().unwrap().display()));
    let error = import(file, &staging, &Limits::default(), &Silent).unwrap_err();
    error.downcast_ref::<Refused>().unwrap_or_else(|| panic!("{}: {error:#}", file.display())).to_string()
}

#[track_caller]
fn assert_says(reason: &str, wanted: &str) {
    assert!(reason.contains(wanted), "{reason:?} doesn't say {wanted:?}");
}

#[derive(Default)]
struct Recorder(Mutex<(Vec<String>, Vec<f32>)>);

impl Progress for Recorder {
    fn step(&self, text: &str) {
        self.0.lock().unwrap().0.push(text.to_owned());
    }
    fn fraction(&self, done: f32) {
        self.0.lock().unwrap().1.push(done);
    }
}

#[test]
fn raw_and_qcow2_are_taken_and_stay_the_same_disk() {
    let root = scratch();
    let raw = root.path().join("disk.raw");
    raw_disk(&raw, 100 * MIB + 512, 3 << 20);
    let mut files = vec![(raw.clone(), Format::Raw)];
    for (name, options) in
        [("plain", ""), ("old", "compat=0.10"), ("zstd", "compression_type=zstd"), ("small", "cluster_size=512"), ("l2", "extended_l2=on")]
    {
        let path = root.path().join(name);
        let compress = if name == "zstd" { "-c" } else { "-S4k" };
        let options = if options.is_empty() { vec![] } else { vec!["-o", options] };
        run_qemu_img(&[&["convert", compress, "-f", "raw", "-O", "qcow2"], &options[..], &[text(&raw), text(&path)]].concat());
        files.push((path, Format::Qcow2));
    }
    for (path, format) in files {
        let staging = root.path().join("staging");
        let progress = Recorder::default();
        let imported = import(&path, &staging, &Limits::default(), &progress).unwrap();
        assert_eq!(imported, Imported { format, virtual_bytes: 100 * MIB + 512, size_gib: 1 }, "{}", path.display());
        assert_eq!(durable::names(&staging).unwrap(), [DISK]);
        let disk = staging.join(DISK);
        assert_eq!(disk.metadata().unwrap().uid(), 0);
        run_qemu_img(&["compare", text(&raw), text(&disk)]);
        let (steps, fractions) = progress.0.into_inner().unwrap();
        assert_eq!(steps, ["Checking the image".to_owned(), format!("Converting from {}", format.name())]);
        assert_eq!(fractions.last(), Some(&1.0), "{fractions:?}");
        std::fs::remove_dir_all(&staging).unwrap();
    }
}

/// Mode 0600: the jail's user couldn't read it.
#[test]
fn a_private_file_is_copied_first() {
    let root = scratch();
    let raw = root.path().join("disk.raw");
    raw_disk(&raw, 64 * MIB, 1 << 20);
    std::fs::set_permissions(&raw, std::fs::Permissions::from_mode(0o600)).unwrap();
    let staging = root.path().join("staging");
    import(&raw, &staging, &Limits::default(), &Silent).unwrap();
    assert_eq!(durable::names(&staging).unwrap(), [DISK]);
    run_qemu_img(&["compare", text(&raw), text(&staging.join(DISK))]);
}

#[test]
fn a_qcow2_that_names_another_file_is_refused() {
    let root = scratch();
    let secret = root.path().join("secret");
    raw_disk(&secret, 64 * MIB, 4096);
    let new = |name: &str, arguments: &[&str]| {
        let path = root.path().join(name);
        run_qemu_img(&[&["create", "-q", "-f", "qcow2"], arguments, &[text(&path), "64M"]].concat());
        path
    };
    let absolute = new("absolute", &["-F", "raw", "-b", text(&secret)]);
    assert_says(&refused(root.path(), &absolute), "backing file");
    let json = format!("json:{{\"driver\":\"raw\",\"file\":{{\"driver\":\"file\",\"filename\":\"{}\"}}}}", text(&secret));
    let json = new("json", &["-u", "-F", "raw", "-b", &json]);
    assert_says(&refused(root.path(), &json), "backing file \"json:");
    let old = new("old", &["-o", "compat=0.10", "-F", "raw", "-b", text(&secret)]);
    assert_says(&refused(root.path(), &old), "backing file");

    // qemu-img empties what it is given as a data file: a copy then.
    let data = root.path().join("data");
    std::fs::copy(&secret, &data).unwrap();
    let external = new("external", &["-o", &format!("data_file={},data_file_raw=on", text(&data))]);
    assert_says(&refused(root.path(), &external), "external data file");

    let vmdk = root.path().join("descriptor.vmdk");
    let extent = format!("# Disk DescriptorFile\nversion=1\ncreateType=\"monolithicFlat\"\nRW 131072 FLAT \"{}\" 0\n", text(&secret));
    std::fs::write(&vmdk, extent).unwrap();
    assert_says(&refused(root.path(), &vmdk), "vmdk");
}

/// What gets by the check finds nothing: each of these makes a plain conversion copy the secret.
#[test]
fn the_jail_alone_stops_them_too() {
    let root = scratch();
    let (secret, room, output) = (root.path().join("secret"), root.path().join("room"), root.path().join("output"));
    std::fs::write(&secret, vec![b'S'; 1 << 20]).unwrap();
    std::fs::create_dir(&room).unwrap();
    std::fs::create_dir(&output).unwrap();
    chown(&output, Some(JAIL_ID), Some(JAIL_ID)).unwrap();
    let (backed, external, vmdk) = (root.path().join("backed"), root.path().join("external"), root.path().join("vmdk"));
    run_qemu_img(&["create", "-q", "-f", "qcow2", "-F", "raw", "-b", text(&secret), text(&backed)]);
    let data = root.path().join("data");
    run_qemu_img(&["create", "-q", "-f", "qcow2", "-o", &format!("data_file={},data_file_raw=on", text(&data)), text(&external), "1M"]);
    // Filled afterwards, since creating would have emptied it.
    std::fs::copy(&secret, &data).unwrap();
    std::fs::write(
        &vmdk,
        format!(
            "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\nRW 2048 FLAT \"{}\" 0\n",
            text(&secret)
        ),
    )
    .unwrap();
    for (file, format) in [(&backed, "qcow2"), (&external, "qcow2"), (&vmdk, "vmdk")] {
        let plain = root.path().join("plain");
        run_qemu_img(&["convert", "-f", format, "-O", "raw", text(file), text(&plain)]);
        assert!(std::fs::read(&plain).unwrap().starts_with(b"SSSS"), "{}: without the jail it leaks", file.display());
        let permissions = Permissions { room: &room, input: file, output: &output, file_bytes_max: 1 << 30, cpu_seconds_max: 60 };
        let mut command = jail::command(&qemu_img().unwrap(), &permissions).unwrap();
        let error = run(command.args(["convert", "-f", format, "-O", "raw", "/input", "/output/disk"]), CONVERT_LIMIT).unwrap_err();
        assert_says(&format!("{error:#}"), "No such file or directory");
    }
}

#[test]
fn other_formats_are_named() {
    let root = scratch();
    let raw = root.path().join("disk.raw");
    raw_disk(&raw, 16 * MIB, 1 << 16);
    for (format, options, says) in [
        ("vmdk", "", "vmdk"),
        ("vpc", "", "vhd"),
        ("vpc", "subformat=fixed,force_size=on", "vhd"),
        ("vhdx", "", "vhdx"),
        ("vdi", "", "vdi"),
        ("qed", "", "QED"),
        ("parallels", "", "Parallels"),
        ("qcow", "", "version 1"),
    ] {
        let path = root.path().join(format!("{format}{}", options.len()));
        let options = if options.is_empty() { vec![] } else { vec!["-o", options] };
        run_qemu_img(&[&["convert", "-f", "raw", "-O", format], &options[..], &[text(&raw), text(&path)]].concat());
        assert_says(&refused(root.path(), &path), says);
    }
    for (program, says) in [("gzip", "gzip"), ("xz", "xz"), ("zstd", "zstd")] {
        let path = root.path().join(program);
        let output = Command::new(program).arg("-c").arg(&raw).output().unwrap();
        std::fs::write(&path, output.stdout).unwrap();
        assert_says(&refused(root.path(), &path), says);
    }
    // Not format=luks: qemu-img measures the processor to make one, and gives up on a loaded machine.
    let aes = root.path().join("aes");
    let options = "encrypt.format=aes,encrypt.key-secret=s";
    run_qemu_img(&["create", "-q", "--object", "secret,id=s,data=key", "-f", "qcow2", "-o", options, text(&aes), "16M"]);
    assert_says(&refused(root.path(), &aes), "encrypted");
    let luks = root.path().join("luks");
    std::fs::write(&luks, [b"LUKS\xba\xbe\0\x01".as_slice(), &[0; 4088]].concat()).unwrap();
    assert_says(&refused(root.path(), &luks), "encrypted (LUKS)");
}

#[test]
fn what_does_not_boot_is_refused() {
    let root = scratch();
    let file = |name: &str, size: u64| {
        let path = root.path().join(name);
        File::create(&path).unwrap().set_len(size).unwrap();
        path
    };
    assert_says(&refused(root.path(), &file("nothing", 0)), "empty");
    assert_says(&refused(root.path(), &file("zeros", MIB)), "can't be booted");
    assert_says(&refused(root.path(), &file("odd", MIB + 1)), "not whole sectors");
    assert_says(&refused(root.path(), root.path()), "not a regular file");
    let blank = root.path().join("blank");
    run_qemu_img(&["create", "-q", "-f", "qcow2", text(&blank), "1G"]);
    assert_says(&refused(root.path(), &blank), "can't be booted");
    let ext4 = file("ext4", 16 * MIB);
    assert!(Command::new("/sbin/mke2fs").args(["-q", "-F"]).arg(&ext4).status().unwrap().success());
    assert_says(&refused(root.path(), &ext4), "ext file system");
    assert_says(&refused(root.path(), Path::new("/usr/bin/true")), "a program");
    let pipe = root.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    assert_says(&refused(root.path(), &pipe), "not a regular file");
}

#[test]
fn a_disk_that_is_too_large_is_refused() {
    let root = scratch();
    let huge = root.path().join("huge");
    run_qemu_img(&["create", "-q", "-f", "qcow2", text(&huge), "60T"]);
    assert_says(&refused(root.path(), &huge), "the limit is 1099511627776");
}

/// 2 GiB of one byte in a small file, to which qemu-img has no objection.
#[test]
fn a_bomb_is_stopped() {
    let root = scratch();
    let bomb = root.path().join("bomb");
    bomb_write(&bomb);
    assert!(bomb.metadata().unwrap().len() < 2 * MIB);
    run_qemu_img(&["check", "-q", text(&bomb)]);
    assert_says(&refused(root.path(), &bomb), "bomb");
}

/// Makes a qcow2 file all of whose entries point to one compressed cluster. qemu-img sets the reference counts right.
fn bomb_write(path: &Path) {
    let raw = path.with_extension("raw");
    let file = File::create(&raw).unwrap();
    file.set_len(2 << 30).unwrap();
    file.write_all_at(&[0x55; 1 << 16], 0).unwrap();
    run_qemu_img(&["convert", "-c", "-f", "raw", "-O", "qcow2", text(&raw), text(path)]);
    std::fs::remove_file(raw).unwrap();
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let header = Header::read(&file).unwrap();
    let be64 = |at: u64| {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, at).unwrap();
        u64::from_be_bytes(bytes)
    };
    let table = be64(header.l1_offset) & 0x00ff_ffff_ffff_fe00;
    let entry = be64(table);
    assert_ne!(entry & 1 << 62, 0, "compressed");
    let entries: Vec<u8> = (0..8192).flat_map(|_| entry.to_be_bytes()).collect();
    // A table of each gigabyte's quarter at the end of the file, all alike.
    let end = file.metadata().unwrap().len().next_multiple_of(1 << 16);
    for n in 0..u64::from(header.l1_entries) {
        file.write_all_at(&entries, end + (n << 16)).unwrap();
        file.write_all_at(&((end + (n << 16)) | 1 << 63).to_be_bytes(), header.l1_offset + n * 8).unwrap();
    }
    // It says "errors were found and corrected".
    let _ = Command::new("qemu-img").args(["check", "-q", "-r", "all"]).arg(path).output().unwrap();
}

#[test]
fn damaged_files_are_refused_and_none_hangs_or_panics() {
    let root = scratch();
    let (raw, good) = (root.path().join("disk.raw"), root.path().join("good"));
    raw_disk(&raw, 16 * MIB, 1 << 20);
    run_qemu_img(&["convert", "-f", "raw", "-O", "qcow2", text(&raw), text(&good)]);
    let bytes = std::fs::read(&good).unwrap();
    let damaged = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let path = root.path().join(name);
        let mut bytes = bytes.clone();
        change(&mut bytes);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let put = |at: usize, value: &'static [u8]| move |bytes: &mut Vec<u8>| bytes[at..at + value.len()].copy_from_slice(value);
    type Change<'a> = &'a dyn Fn(&mut Vec<u8>);
    let cases: &[(&str, Change<'_>, &str)] = &[
        ("cut in the header", &|b| b.truncate(60), "header"),
        ("cut before the tables", &|b| b.truncate(4096), "cut short"),
        ("version 9", &put(4, &[0, 0, 0, 9]), "version 9"),
        ("huge clusters", &put(20, &[0, 0, 0, 60]), "clusters"),
        ("huge L1", &put(36, &[0xff; 4]), "L1"),
        ("no L1", &put(36, &[0; 4]), "L1"),
        ("L1 far away", &put(40, &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0]), "L1"),
        ("huge refcount table", &put(56, &[0xff; 4]), "reference count"),
        ("snapshots", &put(60, &[0, 0, 0, 1]), "snapshots"),
        ("corrupt", &put(79, &[2]), "corrupt"),
        ("unknown feature", &put(72, &[0x80]), "not known"),
        ("refcount order", &put(96, &[0, 0, 0, 9]), "reference counts"),
        ("header length", &put(100, &[0xff; 4]), "header length"),
        ("zero size", &put(24, &[0; 8]), "disk of 0 bytes"),
        ("half a sector more", &put(30, &[1, 0]), "disk of 16777472 bytes, which are not whole sectors"),
        ("a sector and a byte", &put(24, &[0, 0, 0, 0, 0, 0, 2, 1]), "disk of 513 bytes, which are not whole sectors"),
        ("backing name far away", &put(8, &[0, 0, 0, 0xff, 0, 0, 0, 0]), "header"),
    ];
    for (name, change, says) in cases {
        assert_says(&refused(root.path(), &damaged(name, change)), says);
    }
    // The header and the tables are right, only the data isn't there: a conversion alone would make zeros of it.
    assert_says(&refused(root.path(), &damaged("cut in the data", &|b| b.truncate(8 << 16))), "damaged or cut short");
}
