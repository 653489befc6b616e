//! How work ends when it doesn't succeed, and the limits of a driver's call.

use anyhow::{Context as _, anyhow};
use model::fault::Crash;
use std::time::Duration;
use store::StoreError;

/// How long a driver may take to tell or to change one thing.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a driver may take to make a volume, a VPC or a machine.
pub(crate) const MAKE_TIMEOUT: Duration = Duration::from_secs(120);

/// The loops can't go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Halt {
    /// The simulated process died.
    Crash(Crash),
    /// The store is closed.
    Closed,
}

impl std::fmt::Display for Halt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Crash(crash) => crash.fmt(f),
            Self::Closed => f.write_str("the store is closed"),
        }
    }
}

impl std::error::Error for Halt {}

/// Why one piece of work stopped.
pub(crate) enum Stop {
    /// All work ends.
    Halt(Halt),
    /// This work failed, and is tried again.
    Failed(anyhow::Error),
}

impl From<Crash> for Stop {
    fn from(crash: Crash) -> Self {
        Self::Halt(Halt::Crash(crash))
    }
}

impl From<anyhow::Error> for Stop {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Crashed(crash) => Self::Halt(Halt::Crash(crash)),
            StoreError::Closed => Self::Halt(Halt::Closed),
            StoreError::Disk(_) | StoreError::Displaced { .. } | StoreError::Panicked(_) => Self::Failed(error.into()),
        }
    }
}

/// Calls a driver. A call that takes too long is given up, which is safe as a crash in its middle is.
pub(crate) async fn call<T>(what: &'static str, limit: Duration, call: impl Future<Output = node::Result<T>>) -> anyhow::Result<T> {
    match tokio::time::timeout(limit, call).await {
        Ok(result) => result.context(what),
        Err(_) => Err(anyhow!("no answer within {} s", limit.as_secs()).context(what)),
    }
}
