//! What all fakes share: a host that outlives its driver, and calls that can be made to fail.

use crate::Result;
use anyhow::bail;
use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Nothing is done.
    Refused,
    /// All is done, but the caller is told otherwise.
    Lost,
}

/// A fake's host: what is there, and the failures that were ordered. A clone is the same host.
#[derive(Debug)]
pub(crate) struct Host<S, C>(Arc<Inner<S, C>>);

#[derive(Debug)]
struct Inner<S, C> {
    state: Mutex<S>,
    failures: Mutex<VecDeque<(C, Failure)>>,
}

impl<S, C> Clone for Host<S, C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: Default, C> Default for Host<S, C> {
    fn default() -> Self {
        Self(Arc::new(Inner { state: Mutex::default(), failures: Mutex::default() }))
    }
}

impl<S, C: Copy + Debug + PartialEq> Host<S, C> {
    /// What is there, to look at or to change behind the driver's back.
    pub(crate) fn state(&self) -> MutexGuard<'_, S> {
        lock(&self.0.state)
    }

    /// Makes the next call of this kind fail. Several add up, in order.
    pub(crate) fn fail_next(&self, call: C, failure: Failure) {
        lock(&self.0.failures).push_back((call, failure));
    }

    /// Runs one call on the state, or fails it as was ordered.
    pub(crate) fn call<T>(&self, call: C, act: impl FnOnce(&mut S) -> Result<T>) -> Result<T> {
        match self.failure(call) {
            None => act(&mut self.state()),
            Some(Failure::Refused) => bail!("simulated failure of {call:?}, nothing done"),
            Some(Failure::Lost) => {
                act(&mut self.state())?;
                bail!("simulated failure of {call:?}, answer lost")
            }
        }
    }

    fn failure(&self, call: C) -> Option<Failure> {
        let mut failures = lock(&self.0.failures);
        let at = failures.iter().position(|(c, _)| *c == call)?;
        failures.remove(at).map(|(_, failure)| failure)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
