//! How far a backup is, for who waits for it.

use serde::{Deserialize, Serialize};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How far it is.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct State {
    /// What is done now.
    pub(crate) step: String,
    /// Bytes or files of it.
    pub(crate) done: u64,
    pub(crate) total: u64,
    /// Whether it has ended.
    pub(crate) ended: bool,
    /// Why it failed, if it did.
    pub(crate) error: Option<String>,
    /// Where it is, once it is whole.
    pub(crate) made: Option<Made>,
}

/// A finished backup.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Made {
    pub(crate) path: String,
    /// Files that it has.
    pub(crate) files: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Those that were copied; the others are hard links.
    pub(crate) copied_files: u64,
    pub(crate) copied_bytes: u64,
    pub(crate) notes: Vec<String>,
}

#[derive(Debug, Default)]
pub(crate) struct Progress(Mutex<State>);

impl Progress {
    pub(crate) fn state(&self) -> State {
        self.lock().clone()
    }

    pub(crate) fn step(&self, step: &str, total: u64) {
        let mut state = self.lock();
        (state.step, state.done, state.total) = (step.into(), 0, total);
    }

    pub(crate) fn add(&self, done: u64) {
        self.lock().done += done;
    }

    pub(crate) fn set(&self, done: u64, total: u64) {
        let mut state = self.lock();
        (state.done, state.total) = (done, total);
    }

    pub(crate) fn end(&self, result: anyhow::Result<Made>) {
        let mut state = self.lock();
        state.ended = true;
        match result {
            Ok(made) => state.made = Some(made),
            Err(error) => state.error = Some(format!("{error:#}")),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
