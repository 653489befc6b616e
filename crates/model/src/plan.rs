//! What is to be done next for an instance: from what is wanted and what was observed, without doing it.

use crate::instance::{Ending, Event, Instance, POWER_OFF_MILLIS, State, TERMINATED_VISIBLE_MILLIS};
use crate::machine::{Activity, Observed};
use crate::time::Timestamp;

/// How long a guest has for a clean reboot before it is reset ("Reboot your instance": a few minutes), in milliseconds.
pub const REBOOT_MILLIS: i64 = 240_000;

/// What the host knows besides the machine itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostView {
    /// The host was started anew since its machines were last seen.
    pub restarted: bool,
    /// The power button was pressed for the present wish already.
    pub pressed: bool,
    /// The present time.
    pub now: Timestamp,
}

/// The next thing to do. After it the machine is observed again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing until something changes.
    Rest,
    /// Nothing until then, unless something changes.
    Wait(Timestamp),
    /// Make the volumes and the VPC, and start the machine.
    Start,
    /// Press the power button.
    PowerButton,
    /// Reset the machine and let it run: the reboot is done.
    Reset,
    /// Let a paused machine go on, if what paused it is mended.
    Resume,
    /// Remove the machine and what it left.
    Remove,
    /// Delete what goes with the instance: then nothing is left of it.
    Clear,
    /// Write down what was seen.
    Record(Event),
    /// The instance has been visible long enough.
    Forget,
}

/// Decides the next step.
#[must_use]
pub fn plan(instance: &Instance, observed: &Observed, host: HostView) -> Step {
    match &instance.state {
        State::Pending => starting(instance, observed),
        State::Running => running(instance, observed, host),
        State::Stopping(ending) => match end(instance, ending, observed, host) {
            Some(step) => step,
            None => Step::Record(Event::Gone),
        },
        State::ShuttingDown(ending) => end(instance, ending, observed, host).unwrap_or(Step::Clear),
        State::Stopped => left_over(observed).unwrap_or(Step::Rest),
        State::Terminated { at } => left_over(observed).unwrap_or_else(|| {
            let until = at.plus_millis(TERMINATED_VISIBLE_MILLIS);
            if host.now >= until { Step::Forget } else { Step::Wait(until) }
        }),
    }
}

fn starting(instance: &Instance, observed: &Observed) -> Step {
    match observed {
        Observed::Absent => Step::Start,
        Observed::Known { run, .. } if *run != instance.run => Step::Remove,
        Observed::Known { activity: Activity::Running | Activity::Paused { .. }, .. } => Step::Record(Event::Started),
        Observed::Known { activity: Activity::PoweredOff, .. } => Step::Record(Event::GuestPoweredOff),
        Observed::Known { activity: Activity::Crashed { reason }, .. } => Step::Record(Event::MachineDied { reason: reason.clone() }),
    }
}

fn running(instance: &Instance, observed: &Observed, host: HostView) -> Step {
    match observed {
        Observed::Absent if host.restarted => Step::Start,
        Observed::Absent => Step::Record(Event::MachineDied { reason: "Internal error: the machine ended unexpectedly".into() }),
        Observed::Known { run, .. } if *run != instance.run => Step::Remove,
        Observed::Known { activity: Activity::Running, .. } => match instance.reboot_since {
            None => Step::Rest,
            Some(since) => {
                let until = since.plus_millis(REBOOT_MILLIS);
                match (host.now >= until, host.pressed) {
                    (true, _) => Step::Reset,
                    (false, true) => Step::Wait(until),
                    (false, false) => Step::PowerButton,
                }
            }
        },
        Observed::Known { activity: Activity::Paused { .. }, .. } => Step::Resume,
        Observed::Known { activity: Activity::PoweredOff, .. } if instance.reboot_since.is_some() => Step::Reset,
        Observed::Known { activity: Activity::PoweredOff, .. } => Step::Record(Event::GuestPoweredOff),
        Observed::Known { activity: Activity::Crashed { reason }, .. } => Step::Record(Event::MachineDied { reason: reason.clone() }),
    }
}

/// How a machine ends; `None` once nothing is left of it.
fn end(instance: &Instance, ending: &Ending, observed: &Observed, host: HostView) -> Option<Step> {
    let until = ending.since.plus_millis(POWER_OFF_MILLIS);
    match observed {
        Observed::Absent => None,
        Observed::Known { run, activity: Activity::Running } if *run == instance.run && !ending.force && host.now < until => {
            Some(if host.pressed { Step::Wait(until) } else { Step::PowerButton })
        }
        Observed::Known { .. } => Some(Step::Remove),
    }
}

fn left_over(observed: &Observed) -> Option<Step> {
    match observed {
        Observed::Absent => None,
        Observed::Known { .. } => Some(Step::Remove),
    }
}
