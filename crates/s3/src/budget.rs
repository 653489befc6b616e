//! How much memory documents on their way in take together. s3s keeps a document until it has read all of it.

use crate::caller::Verified;
use crate::error::Result;
use s3s::s3_error;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of documents that are held at a time of requests whose signature was verified.
pub(crate) const VERIFIED_BYTES_MAX: usize = 64 << 20;
/// The same of requests that nobody signed: two of the longest. What a bucket's policy lets everybody do takes short ones.
pub(crate) const ANONYMOUS_BYTES_MAX: usize = 8 << 20;

/// What can be held.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    verified: Arc<Semaphore>,
    anonymous: Arc<Semaphore>,
}

impl Default for Budget {
    fn default() -> Self {
        Self { verified: Arc::new(Semaphore::new(VERIFIED_BYTES_MAX)), anonymous: Arc::new(Semaphore::new(ANONYMOUS_BYTES_MAX)) }
    }
}

impl Budget {
    /// What one request holds: nothing so far. `verified` says who sent it, once that is known.
    pub(crate) fn held(&self, verified: Verified) -> Held {
        Held { budget: self.clone(), verified, permit: Arc::default() }
    }
}

/// What a request holds, until the last of these is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    budget: Budget,
    verified: Verified,
    permit: Arc<Mutex<Option<OwnedSemaphorePermit>>>,
}

impl Held {
    /// Holds so many more bytes. Who announces much and sends nothing holds nothing.
    ///
    /// # Errors
    /// `SlowDown` if there is no room for them: those who wait would hold what has come so far.
    pub(crate) fn take(&self, bytes: usize) -> Result<()> {
        let semaphore = if self.verified.get().is_some() { &self.budget.verified } else { &self.budget.anonymous };
        let count = u32::try_from(bytes).ok();
        let more = count.and_then(|count| Arc::clone(semaphore).try_acquire_many_owned(count).ok());
        let more = more.ok_or_else(|| s3_error!(SlowDown, "Please reduce your request rate."))?;
        let mut permit = self.permit.lock().unwrap_or_else(PoisonError::into_inner);
        // A request's caller doesn't change while its body comes: both are of one semaphore.
        match &mut *permit {
            Some(permit) => permit.merge(more),
            none @ None => *none = Some(more),
        }
        Ok(())
    }
}
