//! What is to be done next for one instance: what is wanted and what was seen go in, one step comes out.
//!
//! The loop does the step, looks again, and asks again, so a crash between any two steps needs no undoing: the next look says what
//! is still to be done. [`Memory`] is lost with the process, and no decision becomes wrong without it, only later or twice.
//!
//! Architecture invariant: an observation that failed is never taken for a machine that isn't there. What ends a machine for good
//! ([`Step::End`]) needs no observation, since removing is right whatever there is.

use crate::image::{Boot, Image};
use crate::impairment::Impairment;
use crate::instance::{Ending, Event, Instance, POWER_OFF_MILLIS, State, TERMINATED_VISIBLE_MILLIS};
use crate::instance_type::InstanceType;
use crate::machine::{Activity, Disk, Interface, MachineSpec, Observed};
use crate::network_interface::NetworkInterface;
use crate::time::Timestamp;
use std::collections::BTreeSet;
use std::sync::Arc;

/// How often the power button is pressed again while the guest goes on, in milliseconds: a guest that is still booting misses it.
pub const PRESS_AGAIN_MILLIS: i64 = 5_000;
/// How long a guest has to power itself off in a reboot before it is reset, in milliseconds (RebootInstances: "within a few
/// minutes", four in older editions).
pub const REBOOT_MILLIS: i64 = 240_000;
/// How often a machine that a disk error paused is let go on, to see whether the cause is gone, in milliseconds.
pub const RESUME_AGAIN_MILLIS: i64 = 10_000;
/// How often a start is tried before it has failed.
pub const START_TRIES_MAX: u32 = 6;

/// What the loop remembers of an instance between two looks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    /// The last press of the power button.
    pub pressed: Option<Press>,
    /// When the machine was last told to go on after a disk error.
    pub resumed: Option<Timestamp>,
    /// The starts that were tried and after which the machine has not been seen.
    pub tries: Tries,
    /// The run whose machine was seen in this life of the server.
    pub seen_run: Option<u64>,
    /// Something of a machine was found that nobody wants.
    pub remains: bool,
}

/// A press of the power button.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Press {
    /// Of which run's machine.
    pub run: u64,
    /// Since when what it is pressed for is wanted: another wish is another press.
    pub wish: Timestamp,
    /// When.
    pub at: Timestamp,
    /// The guest had halted all its processors for good, so it can't react.
    pub halted: bool,
}

/// Starts that came to nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tries {
    /// Of which run.
    pub run: u64,
    /// How many.
    pub count: u32,
    /// What the last one failed at, for the owner.
    pub reason: String,
}

impl Memory {
    /// Notes a start that came to nothing, or that hasn't come to anything yet.
    pub fn try_note(&mut self, run: u64, reason: &str) {
        let count = self.tries_of(run) + 1;
        self.tries = Tries { run, count, reason: reason.into() };
    }

    /// How many starts of this run came to nothing.
    #[must_use]
    pub fn tries_of(&self, run: u64) -> u32 {
        if self.tries.run == run { self.tries.count } else { 0 }
    }

    /// Notes that the machine of this run is there.
    pub fn seen_note(&mut self, run: u64) {
        self.seen_run = Some(run);
        self.tries = Tries::default();
    }
}

/// What is known of the host's last start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostBoot {
    /// The host has been up since the machines were started.
    Same,
    /// The host was restarted: a machine that wasn't seen since then ended with the host.
    Restarted {
        /// Whether the instances that ran are started again; else they are stopped.
        start_again: bool,
    },
}

/// One step for one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Make its volumes and its VPC, then start its machine. `again`: one of this run was there before the host was restarted.
    Start {
        /// Whether what is left of the machine has to be removed first.
        again: bool,
    },
    /// Press the power button.
    Press {
        /// Since when what it is pressed for is wanted.
        wish: Timestamp,
    },
    /// Reset the machine, then record that the reboot is done.
    Reset {
        /// The reboot that was asked for.
        reboot_since: Timestamp,
    },
    /// Let the machine go on after a disk error.
    Resume,
    /// Remove the machine and what goes with it, then record [`Event::Gone`].
    End,
    /// Remove what is left of a machine that nobody wants.
    Clear,
    /// Record what was seen.
    Record(Event),
    /// Delete the console and the document.
    Forget,
    /// Nothing is due before this time, or before anything changes.
    Wait(Wait),
}

/// Until when nothing is due.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wait {
    /// `None`: until anything changes.
    pub until: Option<Timestamp>,
    /// What is waited for, if anything.
    pub why: Option<Why>,
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The guest was asked to power itself off.
    PowerOff,
    /// A disk gave an error; the guest stands still until its cause is gone.
    DiskError {
        /// What the disk said.
        reason: String,
    },
    /// What the machine does can't be known.
    Unknown,
}

impl Why {
    /// Whether somebody has to do something about it.
    #[must_use]
    pub fn is_trouble(&self) -> bool {
        match self {
            Self::PowerOff => false,
            Self::DiskError { .. } | Self::Unknown => true,
        }
    }
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::PowerOff => f.write_str("waits for the guest to power itself off"),
            Self::DiskError { reason } => write!(f, "the guest is paused: {reason}"),
            Self::Unknown => f.write_str("what the machine does can't be known"),
        }
    }
}

/// The machine, as this run of the instance sees it.
enum Sight<'a> {
    Unknown,
    /// There is none of this run.
    Absent,
    Does(&'a Activity),
}

fn sight<'a>(instance: &Instance, observed: Option<&'a Observed>) -> Sight<'a> {
    match observed {
        None => Sight::Unknown,
        Some(Observed::Known { run, activity }) if *run == instance.run => Sight::Does(activity),
        Some(Observed::Absent | Observed::Known { .. }) => Sight::Absent,
    }
}

/// Whether the machine of an instance in this state is looked at. One that has none is left to the sweep.
#[must_use]
pub fn looks(state: &State) -> bool {
    state.holds_capacity()
}

/// What is to be done next. `observed` is `None` if the look failed, or if none was taken (see [`looks`]).
#[must_use]
pub fn next(instance: &Instance, observed: Option<&Observed>, memory: &Memory, host: HostBoot, now: Timestamp) -> Step {
    let machine = sight(instance, observed);
    match &instance.state {
        State::Pending => pending(instance, &machine, memory),
        State::Running => running(instance, &machine, memory, host, now),
        // What it couldn't write is deleted with its volumes.
        State::ShuttingDown(_) if matches!(machine, Sight::Does(Activity::Paused { .. })) => Step::End,
        State::Stopping(ending) | State::ShuttingDown(ending) => end(instance.run, ending, &machine, memory, now),
        State::Stopped if memory.remains => Step::Clear,
        State::Stopped => Step::Wait(Wait::default()),
        State::Terminated { .. } if memory.remains => Step::Clear,
        State::Terminated { at } if now.millis_since(*at) >= TERMINATED_VISIBLE_MILLIS => Step::Forget,
        State::Terminated { at } => Step::Wait(Wait { until: Some(at.plus_millis(TERMINATED_VISIBLE_MILLIS)), why: None }),
    }
}

fn pending(instance: &Instance, machine: &Sight<'_>, memory: &Memory) -> Step {
    let failed = memory.tries_of(instance.run) >= START_TRIES_MAX;
    match machine {
        Sight::Does(Activity::Running | Activity::Paused { .. }) => Step::Record(Event::Started),
        Sight::Does(Activity::PoweredOff) => Step::Record(Event::GuestPoweredOff),
        Sight::Does(Activity::Crashed { reason }) => Step::Record(Event::MachineDied { reason: reason.clone() }),
        // A failed start ends in the removal of whatever there may be.
        Sight::Unknown | Sight::Absent if failed => {
            Step::Record(Event::StartFailed { reason: format!("Internal error on launch: {}", memory.tries.reason) })
        }
        Sight::Unknown => wait(None, Why::Unknown),
        Sight::Absent => Step::Start { again: false },
    }
}

fn running(instance: &Instance, machine: &Sight<'_>, memory: &Memory, host: HostBoot, now: Timestamp) -> Step {
    match (machine, instance.reboot_since) {
        (Sight::Unknown, _) => wait(None, Why::Unknown),
        (Sight::Absent, _) => vanished(instance, memory, host),
        (Sight::Does(Activity::Running | Activity::Paused { .. }), Some(since)) if now.millis_since(since) >= REBOOT_MILLIS => {
            Step::Reset { reboot_since: since }
        }
        (Sight::Does(Activity::Running), None) if went_on_just_now(instance, memory, now) => {
            let until = memory.resumed.map(|at| at.plus_millis(RESUME_AGAIN_MILLIS));
            wait(until, Why::DiskError { reason: "it goes on after a disk error, and may be stopped by another".into() })
        }
        (Sight::Does(does @ (Activity::Running | Activity::Paused { .. })), _) if !instance.impairments.keys().eq(&impairments(does)) => {
            let details = if let Activity::Paused { reason, .. } = does { reason.clone() } else { String::new() };
            Step::Record(Event::Impaired { by: impairments(does), details })
        }
        (Sight::Does(Activity::Running), None) => Step::Wait(Wait::default()),
        (Sight::Does(Activity::Running), Some(since)) if halted(instance.run, since, memory) => Step::Reset { reboot_since: since },
        (Sight::Does(Activity::Running), Some(since)) => ask(instance.run, since, since.plus_millis(REBOOT_MILLIS), memory, now),
        (Sight::Does(Activity::Paused { reason, .. }), since) => paused(reason, since.map(|s| s.plus_millis(REBOOT_MILLIS)), memory, now),
        (Sight::Does(Activity::PoweredOff | Activity::Crashed { .. }), Some(since)) => Step::Reset { reboot_since: since },
        (Sight::Does(Activity::PoweredOff), None) => Step::Record(Event::GuestPoweredOff),
        (Sight::Does(Activity::Crashed { reason }), None) => Step::Record(Event::MachineDied { reason: reason.clone() }),
    }
}

/// What impairs an instance whose machine does this.
fn impairments(does: &Activity) -> BTreeSet<Impairment> {
    match does {
        Activity::Paused { cause, .. } => BTreeSet::from([*cause]),
        Activity::Running | Activity::PoweredOff | Activity::Crashed { .. } => BTreeSet::new(),
    }
}

/// Whether the machine was let go on after a disk error too short a time ago to say that the cause is gone. While it isn't, the machine runs
/// for a moment after each try, and the instance stays impaired.
fn went_on_just_now(instance: &Instance, memory: &Memory, now: Timestamp) -> bool {
    !instance.impairments.is_empty() && memory.resumed.is_some_and(|at| waits(at, RESUME_AGAIN_MILLIS, now))
}

/// A machine that ran is not there: it went with the host, or it died.
fn vanished(instance: &Instance, memory: &Memory, host: HostBoot) -> Step {
    let died = |reason: String| Step::Record(Event::MachineDied { reason });
    if memory.seen_run == Some(instance.run) {
        return died("The instance's machine ended unexpectedly".into());
    }
    match host {
        HostBoot::Same => died("The instance's machine ended unexpectedly".into()),
        HostBoot::Restarted { start_again: false } => died("The instance's host was restarted".into()),
        HostBoot::Restarted { start_again: true } if memory.tries_of(instance.run) >= START_TRIES_MAX => {
            died(format!("The instance could not be started again after its host was: {}", memory.tries.reason))
        }
        HostBoot::Restarted { start_again: true } => Step::Start { again: true },
    }
}

fn end(run: u64, ending: &Ending, machine: &Sight<'_>, memory: &Memory, now: Timestamp) -> Step {
    let deadline = ending.since.plus_millis(POWER_OFF_MILLIS);
    if ending.force || now >= deadline {
        return Step::End;
    }
    match machine {
        // A guest that has halted can't react to the power button.
        Sight::Does(Activity::Running) if halted(run, ending.since, memory) => Step::End,
        Sight::Does(Activity::Running) => ask(run, ending.since, deadline, memory, now),
        // Room on the disk lets a paused guest go on and write what it holds in memory, so it has until the deadline.
        Sight::Does(Activity::Paused { reason, .. }) => paused(reason, Some(deadline), memory, now),
        Sight::Does(Activity::PoweredOff | Activity::Crashed { .. }) | Sight::Absent => Step::End,
        Sight::Unknown => wait(Some(deadline), Why::Unknown),
    }
}

/// Presses the power button for a wish, if it is time to, else waits for the guest.
fn ask(run: u64, wish: Timestamp, deadline: Timestamp, memory: &Memory, now: Timestamp) -> Step {
    match memory.pressed.filter(|p| p.run == run && p.wish == wish && waits(p.at, PRESS_AGAIN_MILLIS, now)) {
        Some(press) => wait(Some(deadline.min(press.at.plus_millis(PRESS_AGAIN_MILLIS))), Why::PowerOff),
        None => Step::Press { wish },
    }
}

/// Whether the guest had halted when the power button was last pressed for a wish.
fn halted(run: u64, wish: Timestamp, memory: &Memory) -> bool {
    memory.pressed.is_some_and(|p| p.halted && p.run == run && p.wish == wish)
}

/// Lets a paused machine go on, if it is time to. It pauses again if the cause is still there.
fn paused(reason: &str, deadline: Option<Timestamp>, memory: &Memory, now: Timestamp) -> Step {
    match memory.resumed.filter(|at| waits(*at, RESUME_AGAIN_MILLIS, now)) {
        Some(at) => {
            let again = at.plus_millis(RESUME_AGAIN_MILLIS);
            wait(Some(deadline.map_or(again, |d| d.min(again))), Why::DiskError { reason: reason.into() })
        }
        None => Step::Resume,
    }
}

/// Whether less than `millis` have gone by. A clock that was set back has gone by.
fn waits(since: Timestamp, millis: i64, now: Timestamp) -> bool {
    (0..millis).contains(&now.millis_since(since))
}

fn wait(until: Option<Timestamp>, why: Why) -> Step {
    Step::Wait(Wait { until, why: Some(why) })
}

/// The machine that runs an instance.
///
/// # Errors
/// A text for the log, if the documents can't make a machine.
pub fn machine_spec(instance: &Instance, image: &Image, interfaces: &[Arc<NetworkInterface>]) -> Result<MachineSpec, String> {
    let kind =
        InstanceType::find(&instance.instance_type).ok_or_else(|| format!("no instance type is named {:?}", instance.instance_type))?;
    let volumes = instance.volumes.iter().cloned().map(Disk::Volume);
    let stores = (0..).zip(kind.disk_bytes()).map(|(index, bytes)| Disk::InstanceStore { index, bytes });
    Ok(MachineSpec {
        id: instance.id.clone(),
        run: instance.run,
        vcpus: kind.vcpus_with(instance.cpu_options),
        memory_mib: kind.memory_mib,
        kernel_command_line: match &image.boot {
            Boot::Firmware => None,
            Boot::Kernel { command_line } => Some(command_line.clone()),
        },
        image_id: instance.image_id.clone(),
        disks: volumes.chain(stores).collect(),
        interfaces: interfaces.iter().map(|n| Interface { id: n.id.clone(), mac: n.mac }).collect(),
    })
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
