//! The command line of whole machines. That QEMU takes it, and that guests see what is meant, is for `real_guest_tests`.
#![allow(clippy::unwrap_used)]

use super::*;
use model::machine::{Disk, Interface};
use model::network_interface::Mac;

const CAPABILITIES: Capabilities =
    Capabilities { aio: Aio::IoUring, vmgenid: true, pvpanic: true, nvme: true, sandbox: true, tcg_threads: true };

fn report(accelerator: Accelerator) -> AcceleratorReport {
    AcceleratorReport { accelerator, reason: String::new(), cpu_flags: Vec::new(), kvm_group: None }
}

fn spec() -> MachineSpec {
    MachineSpec {
        id: "i-0123456789abcdef0".parse().unwrap(),
        run: 1,
        vcpus: 2,
        memory_mib: 512,
        kernel_command_line: None,
        image_id: "ami-0123456789abcdef0".parse().unwrap(),
        disks: vec![Disk::Volume("vol-0123456789abcdef0".parse().unwrap())],
        interfaces: vec![Interface { id: "eni-0123456789abcdef0".parse().unwrap(), mac: Mac([2, 0, 0, 0, 0, 1]) }],
    }
}

fn open() -> Open {
    let top = FileFds { read: 10, write: Some(11), direct: true };
    let image = FileFds { read: 12, write: None, direct: true };
    let root = DiskFds::Volume("vol-0123456789abcdef0".parse().unwrap(), vec![top, image]);
    Open { qmp: 20, serial: 21, kernel: None, disks: vec![root], taps: vec![30] }
}

fn line(spec: &MachineSpec, open: &Open, capabilities: Capabilities, accelerator: Accelerator) -> Result<String> {
    let words = arguments(spec, open, capabilities, &report(accelerator), 9001)?;
    Ok(words.iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" "))
}

#[track_caller]
fn has(line: &str, part: &str) {
    assert!(line.contains(part), "no {part} in\n{line}");
}

#[test]
fn a_volume_is_a_chain_that_stops_the_guest_on_errors() {
    let line = line(&spec(), &open(), CAPABILITIES, Accelerator::Tcg).unwrap();
    has(&line, "-add-fd fd=12,set=1 -blockdev");
    has(&line, "-add-fd fd=10,set=2 -add-fd fd=11,set=2 -blockdev");
    has(&line, r#""backing":"vol-0123456789abcdef0-q1""#);
    has(&line, r#""backing":null"#);
    has(&line, r#""detect-zeroes":"unmap""#);
    has(&line, "serial=vol0123456789abcdef0,werror=stop,rerror=stop,write-cache=on,bus=pcie.0,addr=0x3,bootindex=1");
    assert!(!line.contains("nvme"));
}

#[test]
fn the_accelerator_decides_the_processor() {
    let tcg = line(&spec(), &open(), CAPABILITIES, Accelerator::Tcg).unwrap();
    has(&tcg, "-accel tcg,thread=multi,tb-size=128 -cpu max");
    let old = line(&spec(), &open(), Capabilities { tcg_threads: false, ..CAPABILITIES }, Accelerator::Tcg).unwrap();
    has(&old, "-accel tcg,thread=single,tb-size=128 -cpu max");
    let kvm = line(&spec(), &open(), CAPABILITIES, Accelerator::Kvm).unwrap();
    has(&kvm, "-accel kvm -cpu host");
}

#[test]
fn a_kernel_is_loaded_by_its_descriptor_with_its_command_line_whole() {
    let spec = MachineSpec { kernel_command_line: Some("console=ttyS0 a=b,c -smp".into()), ..spec() };
    let arguments = arguments(&spec, &Open { kernel: Some((5, 6)), ..open() }, CAPABILITIES, &report(Accelerator::Tcg), 1500).unwrap();
    let at = arguments.iter().position(|argument| argument == "-append").unwrap();
    assert_eq!(arguments[at + 1], "console=ttyS0 a=b,c -smp");
    assert!(arguments.iter().any(|argument| argument == "/proc/self/fd/5"));
}

#[test]
fn instance_storage_comes_after_an_empty_controller() {
    let mut open = open();
    open.disks.push(DiskFds::InstanceStore(0, FileFds { read: 40, write: Some(41), direct: false }));
    let line = line(&spec(), &open, CAPABILITIES, Accelerator::Tcg).unwrap();
    has(&line, "nvme,id=nvme-root,serial=none,bus=pcie.0,addr=0x10");
    has(&line, "nvme,id=instance-store-0,drive=instance-store-r0,serial=AWS00000000000000000,bus=pcie.0,addr=0x11");
    assert!(arguments(&spec(), &open, Capabilities { nvme: false, ..CAPABILITIES }, &report(Accelerator::Tcg), 9001).is_err());
}

#[test]
fn native_io_is_used_only_without_the_page_cache() {
    let line = line(&spec(), &open(), Capabilities { aio: Aio::Native, ..CAPABILITIES }, Accelerator::Tcg).unwrap();
    assert_eq!((line.matches(r#""aio":"native""#).count(), line.matches(r#""aio":"threads""#).count()), (1, 1));
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut open = open();
    let more = open.disks[0].clone();
    open.disks.extend(std::iter::repeat_n(more, BRIDGE_SLOTS));
    assert!(line(&spec(), &open, CAPABILITIES, Accelerator::Tcg).is_ok());
    open.disks.push(DiskFds::Volume("vol-00000001".parse().unwrap(), vec![FileFds { read: 1, write: Some(2), direct: true }]));
    assert!(line(&spec(), &open, CAPABILITIES, Accelerator::Tcg).is_err());
}

#[test]
fn the_uuid_is_ec2s() {
    let uuid = uuid(&spec().id);
    assert!(uuid.starts_with("ec2") && uuid.len() == 36, "{uuid}");
    assert_ne!(uuid, super::uuid(&"i-0123456789abcdef1".parse().unwrap()));
}
