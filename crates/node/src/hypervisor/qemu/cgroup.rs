//! Bounds on what a machine takes of its host: control groups, version 1 or 2 (cgroups(7)).
//!
//! A machine's group holds its QEMU and its console helper. Where a controller isn't to be had, as in most containers, machines run without
//! that bound, and [`Cgroups::missing`] says so.

use crate::Result;
use anyhow::{Context as _, bail};
use model::ids::InstanceId;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Processor time a machine may use beyond its vCPUs, for its disks and interfaces, in thousandths of a processor.
const CPU_OVERHEAD_MILLIS: u64 = 500;
/// The period of the processor quota, in microseconds (the kernel's own default).
const CPU_PERIOD_MICROS: u64 = 100_000;
/// Threads of a machine beyond its vCPUs: QEMU's pool has up to 64, io_uring has kernel threads of its own.
const THREADS_OVERHEAD: u64 = 256;
/// How often, and in between how long, it is tried to remove a group whose last process is just ending.
const REMOVE_TRIES: u32 = 50;
const REMOVE_WAIT: std::time::Duration = std::time::Duration::from_millis(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Controller {
    Cpu,
    Memory,
    Pids,
}

const CONTROLLERS: [(Controller, &str); 3] = [(Controller::Cpu, "cpu"), (Controller::Memory, "memory"), (Controller::Pids, "pids")];

/// What a machine may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Its vCPUs.
    pub(crate) vcpus: u32,
    /// Its memory and what QEMU needs besides, in bytes.
    pub(crate) memory_bytes: u64,
}

/// Where machines' groups are made.
#[derive(Debug)]
pub(crate) struct Cgroups {
    v2: bool,
    /// The directory of our groups for each controller that there is; with version 2 the same for all.
    parents: BTreeMap<Controller, PathBuf>,
    missing: Vec<String>,
}

impl Cgroups {
    /// Makes the groups that this cloud's machines go into. `cloud` tells clouds on one host apart.
    pub(crate) fn open(cloud: &str) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let (mounts, own) = (read("/proc/self/mountinfo"), read("/proc/self/cgroup"));
        let name = format!("pileus-{cloud}");
        let mut this = Self { v2: false, parents: BTreeMap::new(), missing: Vec::new() };
        if let Some(parent) = v2_parent(&mounts) {
            this.v2 = true;
            let made = v2_prepare(&parent).and_then(|()| v2_prepare(&parent.join(&name)));
            match made {
                Ok(()) => this.parents = CONTROLLERS.iter().map(|(controller, _)| (*controller, parent.join(&name))).collect(),
                Err(error) => this.missing.push(format!("cpu, memory, pids: {}: {error}", parent.display())),
            }
            return this;
        }
        for (controller, word) in CONTROLLERS {
            let made = v1_parent(&mounts, &own, word).ok_or_else(|| io::Error::other("not mounted")).and_then(|parent| {
                let parent = parent.join(&name);
                fs::create_dir_all(&parent)?;
                Ok(parent)
            });
            match made {
                Ok(parent) => drop(this.parents.insert(controller, parent)),
                Err(error) => this.missing.push(format!("{word}: {error}")),
            }
        }
        this
    }

    /// Which of the two kinds is used.
    pub(crate) fn version(&self) -> u8 {
        if self.v2 { 2 } else { 1 }
    }

    /// The controllers that are not to be had, each with the reason.
    pub(crate) fn missing(&self) -> &[String] {
        &self.missing
    }

    /// Makes a machine's group, with its bounds.
    ///
    /// # Errors
    /// If a group can't be made or a bound can't be set.
    pub(crate) fn make(&self, id: &InstanceId, bounds: Bounds) -> Result<Group> {
        let mut group = Group { directories: Vec::new() };
        for (controller, parent) in &self.parents {
            let directory = parent.join(id.as_str());
            fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
            for (file, value) in settings(*controller, self.v2, bounds) {
                fs::write(directory.join(file), &value).with_context(|| format!("write {value} to {}/{file}", directory.display()))?;
            }
            if !group.directories.contains(&directory) {
                group.directories.push(directory);
            }
        }
        Ok(group)
    }

    /// Removes a machine's group, once its processes have ended. Without one: does nothing.
    pub(crate) async fn remove(&self, id: &InstanceId) -> Result<()> {
        let mut tries = 1;
        while !self.try_remove(id)? {
            if tries == REMOVE_TRIES {
                bail!("processes stay in the control groups of {id}");
            }
            tries += 1;
            tokio::time::sleep(REMOVE_WAIT).await;
        }
        Ok(())
    }

    /// `false` if there is a process in it.
    pub(crate) fn try_remove(&self, id: &InstanceId) -> Result<bool> {
        for parent in self.parents.values() {
            let directory = parent.join(id.as_str());
            match fs::remove_dir(&directory) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => return Ok(false),
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("remove {}", directory.display()));
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(true)
    }

    /// How many processes of this machine the kernel has killed since its memory bound was reached.
    pub(crate) fn memory_kills(&self, id: &InstanceId) -> u64 {
        let Some(parent) = self.parents.get(&Controller::Memory) else { return 0 };
        let file = parent.join(id.as_str()).join(if self.v2 { "memory.events" } else { "memory.oom_control" });
        let text = fs::read_to_string(file).unwrap_or_default();
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()).unwrap_or(0)
    }

    /// Removes the groups of this cloud itself, unless machines are in them.
    pub(crate) fn close(&self) {
        for parent in self.parents.values() {
            // The kernel refuses where there is a group below, which is what is wanted.
            let _ = fs::remove_dir(parent);
        }
    }
}

/// A machine's group.
#[derive(Debug, Default)]
pub(crate) struct Group {
    directories: Vec<PathBuf>,
}

impl Group {
    /// The files by which a process enters, for [`super::process::Launch`].
    pub(crate) fn doors(&self) -> Result<Vec<OwnedFd>> {
        let open = |directory: &PathBuf| {
            let door = directory.join("cgroup.procs");
            let file = fs::File::options().write(true).open(&door).with_context(|| format!("open {}", door.display()))?;
            Ok(OwnedFd::from(file))
        };
        self.directories.iter().map(open).collect()
    }

    /// Whether the process is in all of it.
    pub(crate) fn holds(&self, pid: i32) -> bool {
        let pid = pid.to_string();
        let holds = |directory: &PathBuf| fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default().lines().any(|l| l == pid);
        self.directories.iter().all(holds)
    }
}

fn settings(controller: Controller, v2: bool, bounds: Bounds) -> Vec<(&'static str, String)> {
    let vcpus = u64::from(bounds.vcpus);
    let quota = (vcpus * 1000 + CPU_OVERHEAD_MILLIS) * CPU_PERIOD_MICROS / 1000;
    match (controller, v2) {
        // A processor's share of time is by its vCPUs. The bounds of the values are the kernel's.
        (Controller::Cpu, true) => {
            vec![("cpu.weight", (100 * vcpus).clamp(1, 10_000).to_string()), ("cpu.max", format!("{quota} {CPU_PERIOD_MICROS}"))]
        }
        (Controller::Cpu, false) => {
            vec![("cpu.shares", (1024 * vcpus).clamp(2, 262_144).to_string()), ("cpu.cfs_quota_us", quota.to_string())]
        }
        (Controller::Memory, true) => vec![("memory.max", bounds.memory_bytes.to_string())],
        (Controller::Memory, false) => vec![("memory.limit_in_bytes", bounds.memory_bytes.to_string())],
        (Controller::Pids, _) => vec![("pids.max", (vcpus + THREADS_OVERHEAD).to_string())],
    }
}

/// One mounted hierarchy, of `/proc/self/mountinfo` (proc(5)): its root in the hierarchy, where it is, its kind, its options.
fn mounts(mountinfo: &str) -> impl Iterator<Item = (&str, &str, &str, &str)> {
    mountinfo.lines().filter_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(3);
        let mut right = right.split(' ');
        let (kind, options) = (right.next()?, right.nth(1)?);
        Some((left.next()?, left.next()?, kind, options))
    })
}

/// The root of the version 2 hierarchy, if it has the controllers. Not our own group: what has processes can't have groups with controllers,
/// and systemd would end our machines with our service.
fn v2_parent(mountinfo: &str) -> Option<PathBuf> {
    let (_, at, ..) = mounts(mountinfo).find(|(.., kind, _)| *kind == "cgroup2")?;
    let has = fs::read_to_string(Path::new(at).join("cgroup.controllers")).ok()?;
    CONTROLLERS.iter().all(|(_, word)| has.split_whitespace().any(|one| one == *word)).then(|| PathBuf::from(at))
}

fn v2_prepare(directory: &Path) -> io::Result<()> {
    match fs::create_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    fs::write(directory.join("cgroup.subtree_control"), "+cpu +memory +pids")
}

/// Our own group of a version 1 controller: bounds that were set on us hold for machines too.
fn v1_parent(mountinfo: &str, own: &str, word: &str) -> Option<PathBuf> {
    let (root, at, ..) = mounts(mountinfo).find(|(.., kind, options)| *kind == "cgroup" && options.split(',').any(|o| o == word))?;
    let path = own.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        controllers.split(',').any(|one| one == word).then_some(path)
    })?;
    let below = if root == "/" { path } else { path.strip_prefix(root).unwrap_or_default() };
    Some(Path::new(at).join(below.trim_start_matches('/')))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::sys;
    use super::*;

    const BOUNDS: Bounds = Bounds { vcpus: 2, memory_bytes: 512 << 20 };

    #[test]
    fn own_group_is_found_in_each_hierarchy() {
        let mountinfo = "\
            33 24 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:8 - cgroup cgroup rw,cpu,cpuacct\n\
            34 24 0:30 /docker/x /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n";
        let own = "5:memory:/docker/x/sub\n4:cpu,cpuacct:/user.slice\n1:name=systemd:/a\n";
        assert_eq!(v1_parent(mountinfo, own, "cpu"), Some("/sys/fs/cgroup/cpu,cpuacct/user.slice".into()));
        assert_eq!(v1_parent(mountinfo, own, "memory"), Some("/sys/fs/cgroup/memory/sub".into()));
        assert_eq!(v1_parent(mountinfo, own, "pids"), None);
    }

    #[test]
    fn bounds_follow_the_vcpus() {
        assert_eq!(settings(Controller::Cpu, true, BOUNDS), [("cpu.weight", "200".into()), ("cpu.max", "250000 100000".into())]);
        assert_eq!(settings(Controller::Cpu, false, BOUNDS), [("cpu.shares", "2048".into()), ("cpu.cfs_quota_us", "250000".into())]);
        assert_eq!(settings(Controller::Memory, true, BOUNDS), [("memory.max", "536870912".into())]);
        assert_eq!(settings(Controller::Pids, false, BOUNDS), [("pids.max", "258".into())]);
    }

    /// On this host's own hierarchies, whatever they are: a process that enters is held, and the group goes after it.
    #[tokio::test]
    async fn a_group_holds_what_enters_and_goes() {
        let cgroups = Cgroups::open(&format!("test-{}", std::process::id()));
        let id: InstanceId = "i-00000001".parse().unwrap();
        let group = cgroups.make(&id, BOUNDS).unwrap();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        for door in group.doors().unwrap() {
            sys::write_once(std::os::fd::AsRawFd::as_raw_fd(&door), format!("{}\n", child.id()).as_bytes()).unwrap();
        }
        assert!(group.holds(i32::try_from(child.id()).unwrap()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(cgroups.memory_kills(&id), 0);
        cgroups.remove(&id).await.unwrap();
        cgroups.remove(&id).await.unwrap();
        assert!(group.directories.iter().all(|directory| !directory.exists()));
        assert_eq!(group.directories.is_empty(), cgroups.parents.is_empty());
        cgroups.close();
    }
}
