//! What keeps a running instance from working although its machine is there: DescribeInstanceStatus reports such an instance as `impaired`.
//!
//! The loop sees a cause, records it by [`crate::instance::Event::Impaired`], and records when it is gone. A new cause is a new variant here,
//! and a place in [`crate::plan`] that sees it.

use serde::{Deserialize, Serialize};

/// A cause for which an instance is impaired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Impairment {
    /// The host's disk has no space for what the guest writes; the guest is paused.
    DiskFull,
    /// The host's disk failed to read or write; the guest is paused.
    DiskFailed,
}

/// The status checks of AWS ("Status checks for Amazon EC2 instances") and whether each fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FailedChecks {
    /// The host, its network and its power.
    pub system: bool,
    /// The guest.
    pub instance: bool,
    /// The volumes' I/O.
    pub attached_ebs: bool,
}

impl Impairment {
    /// The checks that fail for this cause.
    #[must_use]
    pub fn failed_checks(self) -> FailedChecks {
        match self {
            Self::DiskFull | Self::DiskFailed => FailedChecks { system: false, instance: true, attached_ebs: true },
        }
    }

    /// The cause in words for the instance's owner.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Self::DiskFull => "The instance is paused: its host has no disk space left for what it writes",
            Self::DiskFailed => "The instance is paused: a disk of its host failed to read or write",
        }
    }
}
