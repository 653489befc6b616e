//! What an action may ask of a host. Everything else an action needs is in the store.

use async_trait::async_trait;
use model::ids::InstanceId;
use model::time::Timestamp;

/// The end of a serial console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Console {
    /// At most 64 KiB.
    pub bytes: Vec<u8>,
    /// When the guest wrote last.
    pub written: Timestamp,
}

/// A host could not answer. The text goes to the log, never to a caller.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct PortError(pub String);

/// What an action may ask of a host. The binary hands in the drivers, a test a fake.
#[async_trait]
pub trait Ports: Send + Sync {
    /// What the guest wrote to its serial console, the newest part. `None` if it never wrote.
    ///
    /// # Errors
    /// If it can't be known.
    async fn console(&self, id: &InstanceId) -> Result<Option<Console>, PortError>;
}
