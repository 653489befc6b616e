//! The thread that deletes files after the index has forgotten them, and makes moves and deletions durable.

use crate::body::FileId;
use crate::core::Core;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, mpsc};

/// Moves and deletions that are synced together. Until then the index remembers them and a start repeats them.
const SYNC_FILES: usize = 64;

/// What the janitor is told.
pub(crate) enum Message {
    /// These files were moved to their place.
    Settled(Vec<FileId>),
    /// The index has given these files up: one body's.
    Unlink(Vec<FileId>),
    /// Nobody holds deletions any more.
    Released,
    /// The engine is being closed.
    Stop,
}

pub(crate) struct Janitor {
    core: Arc<Core>,
    settled: Vec<FileId>,
    unlinked: Vec<FileId>,
    /// What is deleted when nobody holds deletions any more.
    held: Vec<Vec<FileId>>,
}

impl Janitor {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core, settled: Vec::new(), unlinked: Vec::new(), held: Vec::new() }
    }

    /// Works until it is told to stop.
    pub(crate) fn run(mut self, messages: &mpsc::Receiver<Message>) {
        while let Ok(first) = messages.recv() {
            let mut doomed = Vec::new();
            let mut stop = false;
            for message in std::iter::once(first).chain(messages.try_iter()) {
                match message {
                    Message::Settled(files) => self.settled.extend(files),
                    Message::Unlink(files) => doomed.push(files),
                    Message::Released => {}
                    Message::Stop => stop = true,
                }
            }
            if self.core.holds.load(Ordering::SeqCst) > 0 {
                // What is held when the engine is closed stays in the list of garbage.
                self.held.append(&mut doomed);
            } else {
                doomed.append(&mut self.held);
                self.unlink(doomed);
            }
            if stop || self.settled.len() + self.unlinked.len() >= SYNC_FILES {
                self.sync();
            }
            if stop {
                return;
            }
        }
    }

    fn unlink(&mut self, doomed: Vec<Vec<FileId>>) {
        if doomed.is_empty() {
            return;
        }
        self.core.pins.settle();
        for file in doomed.into_iter().flat_map(|files| self.core.pins.doom(files)) {
            match self.core.files.unlink(&file) {
                Ok(()) => self.unlinked.push(file),
                // It stays in the list of garbage.
                Err(_) if self.core.files.dead() => return,
                Err(error) => tracing::warn!(%file, error = &error as &dyn std::error::Error, "a deleted body stays until the next start"),
            }
        }
    }

    fn sync(&mut self) {
        if self.core.files.dead() {
            return;
        }
        if let Err(error) = self.core.files.sync_homes(self.settled.iter().chain(&self.unlinked)) {
            tracing::warn!(error = &error as &dyn std::error::Error, "moved files can't be synced: the next start looks after them");
            return;
        }
        let mut done = self.core.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.settled.append(&mut self.settled);
        done.unlinked.append(&mut self.unlinked);
    }
}
