//! Named points at which a simulation may crash the cloud, and what a panic says.

use std::any::Any;

/// The simulated process died here. Nothing after this point ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crash(pub &'static str);

impl std::fmt::Display for Crash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "crashed at {}", self.0)
    }
}

impl std::error::Error for Crash {}

/// Decides at which points the process dies.
pub trait Faults: Send + Sync {
    /// Called at a named point, such as `store.commit.before`.
    ///
    /// # Errors
    /// [`Crash`] if the process dies here; the caller returns at once and does nothing more.
    fn hit(&self, point: &'static str) -> Result<(), Crash>;
}

/// No point ever crashes: what the real cloud runs with.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoFaults;

impl Faults for NoFaults {
    fn hit(&self, _point: &'static str) -> Result<(), Crash> {
        Ok(())
    }
}

/// What a caught panic says.
#[must_use]
pub fn panic_text(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<String>(), panic.downcast_ref::<&str>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text,
        (None, None) => "no text",
    }
}
