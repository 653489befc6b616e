//! What runs the guests' instructions, and why.
//!
//! That `/dev/kvm` opens says little: on a host without hardware virtualization of its own (a kernel with a software KVM, for one) a stock guest
//! hangs there. So KVM is used only if the processor has `vmx` or `svm`, the device opens for the user that machines run as, and
//! a guest that does what every kernel does first (`probe.S`) has really run on it.

use super::process::{self, Launch};
use super::sys::{self, End};
use super::{QemuConfig, User};
use crate::Result;
use anyhow::{Context as _, bail};
use model::machine::Accelerator;
use std::fs;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// How long the probe guest may take. It needs a tenth of a second on hardware, and three tenths where QEMU translates.
const PROBE_LIMIT: Duration = Duration::from_secs(5);
/// QEMU's exit code once the probe guest has written 42 to the debug exit.
const PROBE_EXIT: i32 = 42 << 1 | 1;
/// The processor's flags that matter: those of hardware virtualization, and those that make it fast.
const FLAGS: [&str; 7] = ["vmx", "svm", "ept", "vpid", "tpr_shadow", "flexpriority", "vnmi"];
/// `probe.S`, assembled.
const PROBE: &str = "fa31c08ed88ec08ed0bc007cfcbf00106631c0b9000c66f3ab66c70600100320000066c70600200330000066c70600308300\
                     00000f20e06683c8200f22e066b8001000000f22d866b9800000c00f32660d000100000f300f0116b87c0f20c0660d01000080\
                     0f22c0ea6d7c080066b810008ed08ed8bc00800000bb40420f00535affcb75fabbc80000000f20d80f22d8ffcb75f6b02ae6f4\
                     f4ebfd0f1f4400000000000000000000ffff0000009aaf00ffff00000092cf001700a07c";

/// What the configuration asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AcceleratorChoice {
    /// KVM where it works, else TCG; [`AcceleratorReport::reason`] says why.
    #[default]
    Auto,
    /// KVM, or nothing.
    Kvm,
    /// TCG.
    Tcg,
}

impl std::str::FromStr for AcceleratorChoice {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "kvm" => Ok(Self::Kvm),
            "tcg" => Ok(Self::Tcg),
            _ => Err(format!("{text:?} is none of auto, kvm, tcg")),
        }
    }
}

/// Which accelerator is used, and what that rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceleratorReport {
    /// What runs the guests.
    pub accelerator: Accelerator,
    /// Why, in a sentence for people.
    pub reason: String,
    /// For each flag of the processor that matters, whether it is there.
    pub cpu_flags: Vec<(&'static str, bool)>,
    /// The group that machines' processes are in, since it opens `/dev/kvm`; `None` for one of their own.
    pub(super) kvm_group: Option<u32>,
}

/// Finds out. Takes a moment only where KVM may work, since a guest is started then.
///
/// # Errors
/// If KVM was asked for and doesn't work: it is not degraded in silence.
pub async fn accelerator_probe(config: &QemuConfig) -> Result<AcceleratorReport> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").context("read /proc/cpuinfo")?;
    let cpu_flags = flags(&cpuinfo);
    let report =
        |accelerator, reason: String, kvm_group| AcceleratorReport { accelerator, reason, cpu_flags: cpu_flags.clone(), kvm_group };
    if config.accelerator == AcceleratorChoice::Tcg {
        return Ok(report(Accelerator::Tcg, "TCG, as configured".into(), None));
    }
    let asked = if config.accelerator == AcceleratorChoice::Kvm { " (as configured)" } else { "" };
    match kvm_works(config, &cpu_flags).await {
        Ok((group, took)) => Ok(report(
            Accelerator::Kvm,
            format!("KVM{asked}: the processor has hardware virtualization and a probe guest ran on it in {} ms", took.as_millis()),
            group,
        )),
        Err(error) if config.accelerator == AcceleratorChoice::Kvm => Err(error.context("KVM is configured, but doesn't work")),
        Err(error) => Ok(report(Accelerator::Tcg, format!("TCG (slow), since KVM doesn't work here: {error:#}"), None)),
    }
}

fn flags(cpuinfo: &str) -> Vec<(&'static str, bool)> {
    let flags = |line: &'_ str| {
        line.split_once(':').filter(|(key, _)| matches!(key.trim(), "flags" | "vmx flags")).map(|(_, flags)| flags.to_owned())
    };
    let lines: Vec<String> = cpuinfo.lines().filter_map(flags).collect();
    let has = |flag: &str| lines.iter().any(|line| line.split_whitespace().any(|one| one == flag));
    FLAGS.iter().map(|flag| (*flag, has(flag))).collect()
}

async fn kvm_works(config: &QemuConfig, cpu_flags: &[(&str, bool)]) -> Result<(Option<u32>, Duration)> {
    if !cpu_flags.iter().any(|(flag, there)| *there && matches!(*flag, "vmx" | "svm")) {
        let trap = if Path::new("/dev/kvm").exists() { " (/dev/kvm is there, but stock guests hang on such a one)" } else { "" };
        bail!("the processor shows neither vmx nor svm{trap}");
    }
    let group = kvm_group(Path::new("/dev/kvm"))?;
    let user = User { uid: config.users.base, gid: group.unwrap_or(config.users.base) };
    let took = guest_runs(&config.program, "kvm", "host", user).await?;
    Ok((group, took))
}

/// The group that a process without privilege needs to open the device; `None` if everybody may.
fn kvm_group(device: &Path) -> Result<Option<u32>> {
    let what = device.display();
    fs::File::options().read(true).write(true).open(device).with_context(|| format!("open {what}"))?;
    let meta = fs::metadata(device).with_context(|| format!("look at {what}"))?;
    match meta.mode() {
        mode if mode & 0o006 == 0o006 => Ok(None),
        mode if mode & 0o060 == 0o060 && meta.gid() != 0 => Ok(Some(meta.gid())),
        mode => bail!("{what} opens for root only (mode {:o}): chgrp kvm {what} && chmod 0660 {what}", mode & 0o777),
    }
}

/// Runs the probe guest, and tells how long it took.
async fn guest_runs(program: &Path, accelerator: &str, cpu: &str, user: User) -> Result<Duration> {
    let digits = PROBE.as_bytes();
    let byte = |at: usize| {
        let two = digits.get(2 * at..2 * at + 2).and_then(|two| std::str::from_utf8(two).ok());
        two.and_then(|two| u8::from_str_radix(two, 16).ok()).unwrap_or_default()
    };
    // Firmware takes no disk of less than a few sectors.
    let mut disk: Vec<u8> = (0..1 << 20).map(byte).collect();
    if let Some(mark) = disk.get_mut(510..512) {
        mark.copy_from_slice(&[0x55, 0xaa]);
    }
    let disk = sys::memory_file(&disk).context("make the probe guest's disk")?;
    let text = [
        "-nodefaults -no-user-config -display none -m 64 -machine q35 -accel",
        accelerator,
        "-cpu",
        cpu,
        "-add-fd",
        &format!("fd={},set=1", disk.as_raw_fd()),
        "-blockdev driver=file,node-name=probe,filename=/dev/fdset/1 -device virtio-blk-pci,drive=probe",
        "-device isa-debug-exit,iobase=0xf4,iosize=1",
    ]
    .join(" ");
    let launch = Launch {
        program: program.into(),
        arguments: text.split_whitespace().map(Into::into).collect(),
        inherit: vec![disk],
        uid: user.uid,
        gid: user.gid,
        cgroups: Vec::new(),
        output: None,
        ends_with_us: true,
    };
    let start = Instant::now();
    let process = process::start(launch, None)?;
    match timeout(PROBE_LIMIT, process.ended()).await {
        Ok(Some(End::Exit(PROBE_EXIT))) => Ok(start.elapsed()),
        Ok(end) => bail!("QEMU ended before its probe guest had run ({end:?})"),
        Err(_) => {
            process.kill(PROBE_LIMIT).await?;
            bail!("a probe guest did not run within {PROBE_LIMIT:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn flags_are_whole_words() {
        let found = flags("processor : 0\nflags\t\t: fpu vmxnet ept_ad svm\nvmx flags\t: vnmi\n");
        let there: Vec<&str> = found.iter().filter(|(_, there)| *there).map(|(flag, _)| *flag).collect();
        assert_eq!(there, ["svm", "vnmi"]);
    }

    #[tokio::test]
    async fn the_probe_guest_runs_on_tcg() {
        let config = QemuConfig::new(Path::new("/nonexistent"));
        let user = User { uid: config.users.base, gid: config.users.base };
        guest_runs(&config.program, "tcg", "max", user).await.unwrap();
    }

    #[tokio::test]
    async fn a_qemu_that_does_not_start_is_no_success() {
        let config = QemuConfig::new(Path::new("/nonexistent"));
        let user = User { uid: config.users.base, gid: config.users.base };
        let error = guest_runs(&config.program, "tcg", "no-such-cpu", user).await.unwrap_err();
        assert!(format!("{error:#}").contains("ended before"), "{error:#}");
    }

    /// The device node alone must not be believed. (On a host with hardware virtualization the same call finds KVM.)
    #[tokio::test]
    async fn what_is_chosen_is_what_the_processor_has() {
        let mut config = QemuConfig::new(Path::new("/nonexistent"));
        let report = accelerator_probe(&config).await.unwrap();
        let hardware = report.cpu_flags.iter().any(|(flag, there)| *there && matches!(*flag, "vmx" | "svm"));
        config.accelerator = AcceleratorChoice::Kvm;
        let asked = accelerator_probe(&config).await;
        if hardware {
            assert_eq!(asked.is_ok(), report.accelerator == Accelerator::Kvm);
        } else {
            assert_eq!(report.accelerator, Accelerator::Tcg);
            assert!(report.reason.contains("neither vmx nor svm"), "{}", report.reason);
            assert!(format!("{:#}", asked.unwrap_err()).starts_with("KVM is configured, but doesn't work: the processor shows"));
        }
        config.accelerator = AcceleratorChoice::Tcg;
        assert_eq!(accelerator_probe(&config).await.unwrap().accelerator, Accelerator::Tcg);
    }
}
