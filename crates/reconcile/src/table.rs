//! Which work is due: for each thing that the loops look after, what it was when it was last looked at, and when it is again.
//!
//! Nothing here is told by anybody what to do. A scan compares the newest snapshot with what was seen, and so finds what changed, what
//! was waited for and what failed; whatever wakes the loops only makes them scan.

use crate::start::STARTS_AT_ONCE;
use crate::status::{Status, Waiting};
use crate::{HostFacts, networks};
use model::ids::{InstanceId, VolumeId, VpcId};
use model::instance::{Instance, State};
use model::network::VpcWanted;
use model::plan::{self, HostBoot, Memory};
use model::time::Timestamp;
use model::volume::Volume;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use store::Snapshot;

/// How long to wait after a failure, in milliseconds; it doubles with each further one in a row.
const BACK_OFF_MILLIS: i64 = 500;
/// Longest wait after a failure, in milliseconds.
const BACK_OFF_MILLIS_MAX: i64 = 30_000;
/// Nothing is ever due later than this, in milliseconds: what seems to be was written down before the clock was set back.
const DUE_MILLIS_MAX: i64 = 2 * model::instance::TERMINATED_VISIBLE_MILLIS;
/// The setting that holds the host's boot id as of which no machine is missed.
pub(crate) const BOOT_ID: &str = "host_boot_id";

/// One thing that is looked after.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Job {
    /// An instance.
    Instance(InstanceId),
    /// A volume that is to go.
    Volume(VolumeId),
    /// A VPC on this node.
    Vpc(VpcId),
    /// What nobody wants any more.
    Sweep(Sweep),
    /// The record of the host's start.
    Host,
}

/// What is swept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Sweep {
    Machines,
    Vpcs,
    Volumes,
    Images,
    Tokens,
}

const SWEEPS: [Sweep; 5] = [Sweep::Machines, Sweep::Vpcs, Sweep::Volumes, Sweep::Images, Sweep::Tokens];

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Instance(id) => id.fmt(f),
            Self::Volume(id) => id.fmt(f),
            Self::Vpc(id) => id.fmt(f),
            Self::Sweep(Sweep::Machines) => f.write_str("sweep of machines"),
            Self::Sweep(Sweep::Vpcs) => f.write_str("sweep of VPCs"),
            Self::Sweep(Sweep::Volumes) => f.write_str("sweep of volumes"),
            Self::Sweep(Sweep::Images) => f.write_str("sweep of images"),
            Self::Sweep(Sweep::Tokens) => f.write_str("sweep of idempotency tokens"),
            Self::Host => f.write_str("record of the host's start"),
        }
    }
}

/// What is wanted of a thing, as the store has it.
#[derive(Debug, Clone)]
pub(crate) enum Wanted {
    Instance(Arc<Instance>),
    Volume(Arc<Volume>),
    /// `None` if it is not wanted here any more.
    Vpc(Option<Arc<VpcWanted>>),
    /// Nothing of the store.
    Nothing,
}

impl Wanted {
    fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Instance(a), Self::Instance(b)) => Arc::ptr_eq(a, b),
            (Self::Volume(a), Self::Volume(b)) => Arc::ptr_eq(a, b),
            (Self::Vpc(a), Self::Vpc(b)) => a == b,
            (Self::Nothing, Self::Nothing) => true,
            (Self::Instance(_) | Self::Volume(_) | Self::Vpc(_) | Self::Nothing, _) => false,
        }
    }
}

/// What is told of a thing that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) text: String,
    pub(crate) trouble: bool,
}

/// Where a piece of work left its thing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Next {
    /// When it is to be looked at again, if nothing changes before.
    pub(crate) at: Option<Timestamp>,
    pub(crate) note: Option<Note>,
    /// What it was when it was looked at last.
    pub(crate) seen: Option<Wanted>,
    /// How many steps were done.
    pub(crate) steps: u32,
}

/// A piece of work that is due.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) job: Job,
    pub(crate) memory: Memory,
}

#[derive(Debug, Default)]
struct Entry {
    seen: Option<Wanted>,
    /// What it was found to be while work was under way.
    newer: Option<Wanted>,
    due: Option<Timestamp>,
    busy: bool,
    /// It may have changed on the host.
    poked: bool,
    /// Something of a machine was found that nobody wants.
    remains: bool,
    failures: u32,
    note: Option<Note>,
    memory: Memory,
    /// The last scan that found it.
    scan: u64,
}

/// Everything that is looked after.
#[derive(Debug, Default)]
pub(crate) struct Table {
    // Never iterated where order matters.
    entries: HashMap<Job, Entry>,
    vpcs: BTreeMap<VpcId, Arc<VpcWanted>>,
    /// Of which revision `vpcs` is.
    vpcs_revision: Option<u64>,
    revision: u64,
    scans: u64,
}

/// What a scan found.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// What is due now; it counts as under way.
    pub(crate) tasks: Vec<Task>,
    /// Whether more is due than there was room for.
    pub(crate) more: bool,
    /// When the next is due.
    pub(crate) due: Option<Timestamp>,
}

/// What a scan is made with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    pub(crate) now: Timestamp,
    /// The machines may have changed.
    pub(crate) poke: bool,
    /// Most tasks that are taken.
    pub(crate) room: usize,
}

/// Whether the host was restarted since its machines were last known.
pub(crate) fn boot(snapshot: &Snapshot, host: &dyn HostFacts) -> HostBoot {
    if snapshot.setting(BOOT_ID) == Some(host.boot_id().as_str()) {
        HostBoot::Same
    } else {
        HostBoot::Restarted { start_again: host.restarts_guests() }
    }
}

impl Table {
    /// Finds what is due.
    pub(crate) fn scan(&mut self, snapshot: &Snapshot, host: HostBoot, look: Look) -> Scan {
        self.scans += 1;
        self.revision = snapshot.revision();
        let mut found = Scan::default();
        let mut missed = false;
        let mut instances: Vec<_> = snapshot.all::<Instance>().collect();
        let restarted = host != HostBoot::Same;
        if restarted {
            instances.sort_by_key(|(_, instance)| (instance.launch_time, instance.launch_index));
        }
        // After a restart of the host nearly all are started again: the oldest first, so a younger one isn't begun before there is a place.
        let mut places = STARTS_AT_ONCE;
        for (_, instance) in instances {
            let job = Job::Instance(instance.id.clone());
            let is_missed = |entry: &Entry| instance.state == State::Running && entry.memory.seen_run != Some(instance.run);
            let waits = self.entries.get(&job).map_or(instance.state == State::Running, |entry| !entry.busy && is_missed(entry));
            if restarted && places == 0 && waits {
                self.entries.entry(job).or_default().scan = self.scans;
                found.more = true;
                missed = true;
                continue;
            }
            let poke = look.poke && plan::looks(&instance.state);
            let entry = self.consider(job, Wanted::Instance(instance.clone()), look, poke, &mut found);
            let is_missed = is_missed(entry);
            missed |= is_missed;
            if restarted && is_missed && entry.busy {
                places = places.saturating_sub(1);
            }
        }
        for (_, volume) in snapshot.all::<Volume>().filter(|(_, v)| v.deleting && v.attachment.is_none()) {
            self.consider(Job::Volume(volume.id.clone()), Wanted::Volume(volume.clone()), look, false, &mut found);
        }
        self.scan_vpcs(snapshot, look, &mut found);
        for sweep in SWEEPS {
            self.consider(Job::Sweep(sweep), Wanted::Nothing, look, false, &mut found);
        }
        if host != HostBoot::Same && !missed {
            self.consider(Job::Host, Wanted::Nothing, look, false, &mut found);
        }
        let scan = self.scans;
        self.entries.retain(|_, e| e.busy || e.scan == scan);
        found.due = self.entries.values().filter(|e| !e.busy).filter_map(|e| e.due).min();
        found
    }

    fn scan_vpcs(&mut self, snapshot: &Snapshot, look: Look, found: &mut Scan) {
        if self.vpcs_revision != Some(snapshot.revision()) {
            let wanted = networks::vpcs_wanted(snapshot);
            self.vpcs = wanted.into_iter().map(|(id, wanted)| (id, Arc::new(wanted))).collect();
            self.vpcs_revision = Some(snapshot.revision());
        }
        for (id, wanted) in self.vpcs.clone() {
            self.consider(Job::Vpc(id), Wanted::Vpc(Some(wanted)), look, false, found);
        }
        let scan = self.scans;
        let gone = self.entries.iter().filter(|(_, e)| e.scan != scan && (e.failures > 0 || !matches!(e.seen, Some(Wanted::Vpc(None)))));
        let mut gone: Vec<Job> = gone.map(|(job, _)| job.clone()).filter(|job| matches!(job, Job::Vpc(_))).collect();
        gone.sort();
        for job in gone {
            self.consider(job, Wanted::Vpc(None), look, false, found);
        }
    }

    /// Takes a thing if it is due.
    fn consider(&mut self, job: Job, wanted: Wanted, look: Look, poke: bool, found: &mut Scan) -> &Entry {
        let entry = self.entries.entry(job.clone()).or_default();
        entry.scan = self.scans;
        entry.poked |= poke;
        if entry.busy {
            entry.newer = Some(wanted);
            return entry;
        }
        let changed = !entry.seen.as_ref().is_some_and(|seen| seen.same(&wanted));
        let passed = entry.due.is_some_and(|due| due <= look.now || due.millis_since(look.now) > DUE_MILLIS_MAX);
        if !changed && !passed && !entry.poked {
            return entry;
        }
        // A poke is no reason to try again what has just failed: the drivers' own doings poke.
        if entry.failures > 0 && !changed && !passed {
            return entry;
        }
        if found.tasks.len() == look.room {
            found.more = true;
            return entry;
        }
        entry.busy = true;
        entry.poked = false;
        entry.seen = Some(wanted);
        let mut memory = entry.memory.clone();
        memory.remains |= std::mem::take(&mut entry.remains);
        found.tasks.push(Task { job, memory });
        entry
    }

    /// Takes in what work came to, and gives back when the thing is due again.
    pub(crate) fn finish(&mut self, job: &Job, memory: Memory, outcome: anyhow::Result<Next>, now: Timestamp) -> Option<Timestamp> {
        let entry = self.entries.get_mut(job)?;
        entry.busy = false;
        entry.memory = memory;
        match outcome {
            Ok(next) => {
                entry.failures = 0;
                entry.due = next.at;
                entry.note = next.note;
                entry.seen = next.seen.or(entry.seen.take());
            }
            Err(error) => {
                let millis = BACK_OFF_MILLIS.saturating_mul(1 << entry.failures.min(16)).min(BACK_OFF_MILLIS_MAX);
                entry.failures = entry.failures.saturating_add(1);
                entry.due = Some(now.plus_millis(millis));
                entry.note = Some(Note { text: format!("{error:#}"), trouble: true });
            }
        }
        let newer = entry.newer.take();
        let changed = newer.is_some_and(|newer| !entry.seen.as_ref().is_some_and(|seen| seen.same(&newer)));
        let poked = entry.poked && entry.failures == 0;
        if changed || poked { Some(now) } else { entry.due }
    }

    /// What memory a thing's work began with: for work that ended without giving any back.
    pub(crate) fn memory(&self, job: &Job) -> Memory {
        self.entries.get(job).map(|e| e.memory.clone()).unwrap_or_default()
    }

    /// Notes that something is left of the machine of an instance that should have none.
    pub(crate) fn remains(&mut self, id: &InstanceId) {
        let entry = self.entries.entry(Job::Instance(id.clone())).or_default();
        entry.remains = true;
        entry.poked = true;
    }

    pub(crate) fn status(&self) -> Status {
        let noted = self.entries.iter().filter_map(|(job, e)| Some((job, e, e.note.as_ref()?)));
        let mut noted: Vec<_> = noted.collect();
        noted.sort_by_key(|(job, _, _)| *job);
        let waits = noted.into_iter().map(|(job, e, note)| Waiting::new(job.to_string(), note, e.failures, e.due)).collect();
        Status { revision: self.revision, under_way: self.entries.values().filter(|e| e.busy).count(), waits }
    }
}
