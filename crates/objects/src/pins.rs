//! Files that somebody may still read are not deleted. Bodies are pinned by their first file.

use crate::body::FileId;
use crate::janitor::Message;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, mpsc};

#[derive(Default)]
struct Held {
    count: usize,
    /// The body's files, once they are to be deleted.
    doomed: Vec<FileId>,
}

/// Who reads what.
pub(crate) struct Pins {
    held: Mutex<HashMap<FileId, Held>>,
    /// Read-locked from the look into the index until the pin: see [`Pins::settle`].
    gate: RwLock<()>,
    janitor: mpsc::Sender<Message>,
}

impl Pins {
    pub(crate) fn new(janitor: mpsc::Sender<Message>) -> Self {
        Self { held: Mutex::default(), gate: RwLock::default(), janitor }
    }

    /// To be held while a version is looked up and pinned.
    pub(crate) fn look(&self) -> RwLockReadGuard<'_, ()> {
        self.gate.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when everybody who may have seen the index as it was before this call has pinned what they found.
    pub(crate) fn settle(&self) {
        drop(self.gate.write().unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn pin(self: &Arc<Self>, first: FileId) -> Arc<Pin> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.entry(first.clone()).or_default().count += 1;
        Arc::new(Pin { pins: self.clone(), first })
    }

    /// Gives the files back if nobody reads them, else keeps them until nobody does.
    pub(crate) fn doom(&self, files: Vec<FileId>) -> Vec<FileId> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match files.first().and_then(|first| held.get_mut(first)) {
            Some(held) => {
                held.doomed = files;
                Vec::new()
            }
            None => files,
        }
    }
}

/// Keeps a body's files.
pub(crate) struct Pin {
    pins: Arc<Pins>,
    first: FileId,
}

impl std::fmt::Debug for Pin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pin({})", self.first)
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut held = self.pins.held.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = held.get_mut(&self.first) else { return };
        entry.count -= 1;
        if entry.count == 0
            && let Some(last) = held.remove(&self.first)
            && !last.doomed.is_empty()
        {
            // Without a janitor the engine is closed: the next start deletes them.
            _ = self.pins.janitor.send(Message::Unlink(last.doomed));
        }
    }
}
