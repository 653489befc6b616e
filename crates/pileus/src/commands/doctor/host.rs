//! Who runs this, and how much room there is.

use super::{Finding, good, missing, weak};
use crate::config::Config;
use crate::parts;
use anyhow::{Context as _, Result};
use model::capacity::{Used, fits};
use model::instance_type::InstanceType;
use std::path::Path;

/// Less free disk than this is worth a word: packages, the tiny image, and a few guests that write.
const DISK_FREE_MIN_BYTES: u64 = 4 << 30;
/// The smallest type that the manual's examples use.
const SMALLEST: &str = "t3.nano";

pub(super) fn root() -> Finding {
    if nix::unistd::geteuid().is_root() {
        good("user", "root")
    } else {
        missing("user", "not root", "sudo pileus doctor: namespaces, taps and the machines' own user ids need it")
    }
}

/// The disk of the data directory, and how many instances fit. A data directory that isn't there yet is not made.
pub(super) fn room(data_dir: &Path, config: &Config) -> Result<[Finding; 2]> {
    let place = data_dir.ancestors().find(|p| p.is_dir()).context("the root directory is missing")?;
    let host = config.capacity.host(parts::host(place)?);
    let nano = InstanceType::find(SMALLEST).with_context(|| format!("there is no type {SMALLEST}"))?;
    let count = fits(&host, &parts::overcommit(config), &Used::default(), &nano.takes());
    Ok([disk(place, host.disk_bytes), memory(host.vcpus, host.memory_mib, count)])
}

fn disk(place: &Path, free_bytes: u64) -> Finding {
    let found = format!("{} MiB free at {}", free_bytes >> 20, place.display());
    if free_bytes >= DISK_FREE_MIN_BYTES {
        good("disk", found)
    } else {
        weak("disk", found, "free some room, or choose another --data-dir: a guest whose disk can't grow is paused")
    }
}

fn memory(vcpus: u32, memory_mib: u64, count: u64) -> Finding {
    let found = format!("{vcpus} processors, {memory_mib} MiB: room for {count} {SMALLEST}");
    if count > 0 { good("capacity", found) } else { missing("capacity", found, "lower capacity.memory_reserve_mib in the configuration") }
}

pub(super) fn cgroups() -> Finding {
    let (version, missing) = node::hypervisor::qemu::bounds_probe();
    if missing.is_empty() {
        return good("cgroups", format!("version {version}, with cpu, memory and pids"));
    }
    let advice = "machines run without these bounds; a container needs a /sys/fs/cgroup that it may write (docker run --privileged)";
    weak("cgroups", format!("without {}", missing.join("; ")), advice)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::Verdict::{Good, Missing, Weak};
    use super::*;

    #[test]
    fn room_is_judged() {
        assert_eq!(disk(Path::new("/"), 4 << 30).verdict, Good);
        assert_eq!(disk(Path::new("/"), (4 << 30) - 1).verdict, Weak);
        assert_eq!(memory(2, 1024, 0).verdict, Missing);
        assert_eq!(memory(2, 1536, 1).verdict, Good);
    }

    #[test]
    fn a_data_directory_that_is_not_there_is_not_made() {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = directory.path().join("a/b");
        let [disk, _] = room(&data_dir, &Config::default()).unwrap();
        assert!(disk.found.ends_with(&format!("at {}", directory.path().display())), "{}", disk.found);
        assert!(!directory.path().join("a").exists());
    }

    #[test]
    fn nothing_fits_where_all_memory_is_kept_back() {
        let mut config = Config::default();
        config.capacity.memory_reserve_mib = u64::MAX;
        assert_eq!(room(Path::new("/"), &config).unwrap()[1].verdict, Missing);
    }
}
