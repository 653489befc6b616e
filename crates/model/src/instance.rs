//! Instances: their document, their states, and the one table of how these change.
//!
//! ```text
//!   launch ─► pending ─started─► running ─stop, guest off, died─► stopping ─gone─► stopped
//!               ▲  │                │                                │               │  │
//!               │  └─failed (first) │            terminate           │               │  │
//!               │  │      └─────────┴──────► shutting-down ◄─────────┴───────────────┘  │
//!               │  └─────────────────────────────► │ gone                               │
//!               │                                  ▼                                    │
//!               │                             terminated                                │
//!               └───────────────────────────── start ───────────────────────────────────┘
//! ```
//! Not drawn: a start that fails and isn't the first ends in `stopping`, and so does a machine that was never seen running but is seen
//! off or dead; a guest's own power-off ends in `shutting-down` if its owner chose so. ("Amazon EC2 instance state changes", EC2
//! User Guide.)

use crate::ids::{ImageId, InstanceId, NetworkInterfaceId, ReservationId, SubnetId, VolumeId, VpcId};
use crate::impairment::Impairment;
use crate::metadata::MetadataOptions;
use crate::tag::Tags;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// A virtual machine, as wanted. What a host has of it is in no document: the reconcile loop asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Its id.
    pub id: InstanceId,
    /// The RunInstances call that made it.
    pub reservation_id: ReservationId,
    /// Its place in that call, from 0.
    pub launch_index: u32,
    /// The token of that call.
    pub client_token: Option<String>,
    /// Its image.
    pub image_id: ImageId,
    /// Its type, such as `t3.nano`.
    pub instance_type: String,
    /// The image's architecture.
    pub architecture: String,
    /// The key pair's name, if it was given one.
    pub key_name: Option<String>,
    /// The key pair's public half at launch: deleting the pair doesn't change the instance.
    pub public_key: Option<String>,
    /// What the user gave it, decoded; 16 KiB at most.
    pub user_data: Option<Vec<u8>>,
    /// The zone it is in.
    pub zone: String,
    /// The VPC of its primary interface.
    pub vpc_id: VpcId,
    /// The subnet of its primary interface.
    pub subnet_id: SubnetId,
    /// The address of its primary interface.
    pub private_ip: Ipv4Addr,
    /// Its interfaces, the primary one first.
    pub interfaces: Vec<NetworkInterfaceId>,
    /// `/dev/xvda` or `/dev/sda1`.
    pub root_device_name: String,
    /// Its volumes, the root first.
    pub volumes: Vec<VolumeId>,
    /// Where it stands in its life.
    pub state: State,
    /// Why it stands there, if it isn't running.
    pub state_reason: Option<StateReason>,
    /// What keeps it from working although it runs, each with the time since when. Empty unless it is running.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub impairments: BTreeMap<Impairment, Timestamp>,
    /// `User initiated (2026-11-24 04:07:39 GMT)` after a stop or a terminate, else empty.
    pub state_transition_reason: String,
    /// Counts its starts, from 1.
    pub run: u64,
    /// When it was started last.
    pub launch_time: Timestamp,
    /// A reboot was asked for and isn't done yet.
    pub reboot_since: Option<Timestamp>,
    /// Refuses TerminateInstances.
    pub disable_api_termination: bool,
    /// Refuses StopInstances.
    pub disable_api_stop: bool,
    /// What a guest's own power-off ends in.
    pub shutdown_behavior: ShutdownBehavior,
    /// The metadata service's options.
    pub metadata_options: MetadataOptions,
    /// Whether detailed monitoring was asked for.
    pub monitoring: bool,
    /// Whether EBS optimization was asked for.
    pub ebs_optimized: bool,
    /// CPU options, if they were given: cores and threads a core.
    pub cpu_options: Option<(u32, u32)>,
    /// `standard` or `unlimited`, for the burstable types.
    pub credit_specification: Option<String>,
    /// Its tags.
    pub tags: Tags,
}

/// `InstanceInitiatedShutdownBehavior`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ShutdownBehavior {
    /// It ends stopped.
    Stop,
    /// It ends terminated.
    Terminate,
}

/// Where an instance stands in its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// Its machine is to be started.
    Pending,
    /// Its machine runs.
    Running,
    /// Its machine is to go; its volumes stay.
    Stopping(Ending),
    /// It has no machine.
    Stopped,
    /// Its machine is to go, and its volumes and interfaces with it.
    ShuttingDown(Ending),
    /// It is over. Visible for [`TERMINATED_VISIBLE_MILLIS`].
    Terminated {
        /// Since when.
        at: Timestamp,
    },
}

/// How a machine is to go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// Since when it is wanted.
    pub since: Timestamp,
    /// Without asking the guest.
    pub force: bool,
}

/// How long a terminated instance stays visible ("Terminate Amazon EC2 instances": about an hour), in milliseconds.
pub const TERMINATED_VISIBLE_MILLIS: i64 = 3_600_000;
/// How long a guest has to power itself off before its machine is killed, in milliseconds.
pub const POWER_OFF_MILLIS: i64 = 120_000;

/// Why an instance is in its state (`StateReason`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateReason {
    /// Such as `Client.UserInitiatedShutdown`.
    pub code: String,
    /// The text after it.
    pub message: String,
}

impl StateReason {
    fn new(code: &str, text: &str) -> Self {
        Self { code: code.into(), message: format!("{code}: {text}") }
    }

    /// Of an instance that is being started.
    #[must_use]
    pub fn pending() -> Self {
        Self { code: "pending".into(), message: "pending".into() }
    }

    /// StopInstances or TerminateInstances.
    #[must_use]
    pub fn user_initiated() -> Self {
        Self::new("Client.UserInitiatedShutdown", "User initiated shutdown")
    }

    /// The guest powered itself off.
    #[must_use]
    pub fn instance_initiated() -> Self {
        Self::new("Client.InstanceInitiatedShutdown", "Instance initiated shutdown")
    }

    /// The machine died, or could not be started. `text` says how, without anything of the host or another tenant.
    #[must_use]
    pub fn internal_error(text: &str) -> Self {
        Self::new("Server.InternalError", text)
    }
}

/// What happens to an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Its machine was seen running.
    Started,
    /// Its machine could not be started.
    StartFailed {
        /// Why, for the owner.
        reason: String,
    },
    /// StartInstances.
    StartWanted,
    /// StopInstances.
    StopWanted {
        /// Without asking the guest.
        force: bool,
    },
    /// TerminateInstances.
    TerminateWanted {
        /// Without asking the guest.
        force: bool,
    },
    /// The guest powered itself off.
    GuestPoweredOff,
    /// Its machine is gone, or can't go on, without anybody having wanted so.
    MachineDied {
        /// How, for the owner.
        reason: String,
    },
    /// What impairs the running instance was seen to be exactly this; nothing, once it works again.
    Impaired {
        /// The causes.
        by: BTreeSet<Impairment>,
        /// The details, for the log.
        details: String,
    },
    /// The host was started anew, and what ran on it is gone with no fault of the instance.
    HostRestarted,
    /// Nothing is left of its machine (and, when shutting down, of what goes with it).
    Gone,
}

/// The event doesn't apply to the state. For an API call: `IncorrectInstanceState`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

impl State {
    /// AWS's name of the state.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Stopping(_) => "stopping",
            Self::Stopped => "stopped",
            Self::ShuttingDown(_) => "shutting-down",
            Self::Terminated { .. } => "terminated",
        }
    }

    /// AWS's code of the state (`InstanceState.Code`).
    #[must_use]
    pub fn code(&self) -> i32 {
        match self {
            Self::Pending => 0,
            Self::Running => 16,
            Self::ShuttingDown(_) => 32,
            Self::Terminated { .. } => 48,
            Self::Stopping(_) => 64,
            Self::Stopped => 80,
        }
    }

    /// Whether the instance takes room on a host.
    #[must_use]
    pub fn holds_capacity(&self) -> bool {
        match self {
            Self::Pending | Self::Running | Self::Stopping(_) | Self::ShuttingDown(_) => true,
            Self::Stopped | Self::Terminated { .. } => false,
        }
    }
}

impl Instance {
    /// Whether its machine was ever seen.
    #[must_use]
    pub fn has_run(&self) -> bool {
        self.run > 1 || self.state != State::Pending
    }

    /// Applies an event: the one place where an instance's state changes. `Ok(false)` means that it was already so.
    ///
    /// # Errors
    /// [`Refused`] if the event doesn't apply to the state; nothing is changed then.
    pub fn apply(&mut self, event: &Event, now: Timestamp) -> Result<bool, Refused> {
        use Event as E;
        use State as S;
        if let E::Impaired { by, .. } = event {
            return Ok(self.impair(by, now));
        }
        let ending = |force| Ending { since: now, force };
        let (state, reason) = match (&self.state, event) {
            (S::Pending, E::Started) => (S::Running, None),
            (S::Pending, E::StartFailed { reason }) => {
                let reason = Some(StateReason::internal_error(reason));
                if self.run == 1 { (S::ShuttingDown(ending(true)), reason) } else { (S::Stopping(ending(true)), reason) }
            }
            (S::Running, E::Started) | (S::Pending | S::Running, E::StartWanted | E::HostRestarted) => return Ok(false),
            (S::Stopped, E::StartWanted) => {
                self.run += 1;
                self.launch_time = now;
                (S::Pending, Some(StateReason::pending()))
            }
            (S::Running, E::StopWanted { force }) => (S::Stopping(ending(*force)), Some(StateReason::user_initiated())),
            (S::Stopping(e), E::StopWanted { force: true }) if !e.force => {
                (S::Stopping(Ending { since: e.since, force: true }), self.state_reason.clone())
            }
            (S::Stopping(_) | S::Stopped, E::StopWanted { .. }) => return Ok(false),
            (S::Pending | S::Running | S::Stopping(_) | S::Stopped, E::TerminateWanted { force }) => {
                let force = *force || matches!(&self.state, S::Stopping(e) if e.force);
                (S::ShuttingDown(ending(force)), Some(StateReason::user_initiated()))
            }
            (S::ShuttingDown(e), E::TerminateWanted { force: true }) if !e.force => {
                (S::ShuttingDown(Ending { since: e.since, force: true }), self.state_reason.clone())
            }
            (S::ShuttingDown(_) | S::Terminated { .. }, E::TerminateWanted { .. }) => return Ok(false),
            // A machine that is seen off before it was seen running has run all the same.
            (S::Pending | S::Running, E::GuestPoweredOff) => {
                let reason = Some(StateReason::instance_initiated());
                match self.shutdown_behavior {
                    ShutdownBehavior::Stop => (S::Stopping(ending(true)), reason),
                    ShutdownBehavior::Terminate => (S::ShuttingDown(ending(true)), reason),
                }
            }
            (S::Pending | S::Running, E::MachineDied { reason }) => (S::Stopping(ending(true)), Some(StateReason::internal_error(reason))),
            (S::Stopping(_), E::Gone) => (S::Stopped, self.state_reason.clone()),
            (S::ShuttingDown(_), E::Gone) => (S::Terminated { at: now }, self.state_reason.clone()),
            (S::Stopped | S::Terminated { .. }, E::Gone) => return Ok(false),
            // What the loop saw before a newer wish was committed: the wish stands.
            (
                S::Stopping(_) | S::ShuttingDown(_) | S::Stopped | S::Terminated { .. },
                E::Started | E::StartFailed { .. } | E::GuestPoweredOff | E::MachineDied { .. } | E::HostRestarted,
            )
            | (_, E::Impaired { .. }) => return Ok(false),
            (S::Running, E::StartFailed { .. } | E::Gone)
            | (S::Pending, E::StopWanted { .. } | E::Gone)
            | (S::Stopping(_) | S::ShuttingDown(_) | S::Terminated { .. }, E::StartWanted)
            | (S::ShuttingDown(_) | S::Terminated { .. }, E::StopWanted { .. }) => return Err(Refused),
        };
        match event {
            E::StopWanted { .. } | E::TerminateWanted { .. } => self.state_transition_reason = format!("User initiated ({})", now.gmt()),
            E::StartWanted => self.state_transition_reason.clear(),
            E::StartFailed { .. } | E::MachineDied { .. } => {
                self.state_transition_reason = reason.as_ref().map(|reason| reason.code.clone()).unwrap_or_default();
            }
            E::Started | E::GuestPoweredOff | E::Impaired { .. } | E::HostRestarted | E::Gone => {}
        }
        if state != S::Running {
            self.reboot_since = None;
            self.impairments.clear();
        }
        self.state = state;
        self.state_reason = reason;
        Ok(true)
    }

    /// Records what impairs the instance; a cause that was there before keeps its time. Whether anything changed.
    fn impair(&mut self, by: &BTreeSet<Impairment>, now: Timestamp) -> bool {
        // What the loop saw before a newer wish was committed: the wish stands.
        if self.state != State::Running || self.impairments.keys().eq(by) {
            return false;
        }
        self.impairments = by.iter().map(|cause| (*cause, self.impairments.get(cause).copied().unwrap_or(now))).collect();
        true
    }

    /// `StateReason`: why it stands where it does, or what impairs it while it runs.
    #[must_use]
    pub fn reason(&self) -> Option<StateReason> {
        let impaired = || self.impairments.keys().next().map(|cause| StateReason::internal_error(cause.message()));
        self.state_reason.clone().or_else(impaired)
    }
}

#[cfg(test)]
#[path = "instance_tests.rs"]
pub(crate) mod tests;
