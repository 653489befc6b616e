//! What the loops wait for, for whoever asks.

use crate::table::Note;
use model::time::Timestamp;
use serde::Serialize;

/// What the loops are at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The newest revision of the store that was looked at.
    pub revision: u64,
    /// How many pieces of work are under way.
    pub under_way: usize,
    /// What waits, and why.
    pub waits: Vec<Waiting>,
}

/// Something that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Waiting {
    /// What it is: an id, or the name of a loop.
    pub what: String,
    /// What it waits for, or what failed.
    pub why: String,
    /// Whether somebody has to do something about it.
    pub trouble: bool,
    /// How often it failed in a row.
    pub failures: u32,
    /// When it is looked at again, if nothing changes before.
    pub until: Option<Timestamp>,
}

impl Status {
    /// What needs the operator's eye, a sentence each.
    pub fn notes(&self) -> impl Iterator<Item = String> + '_ {
        self.waits.iter().filter(|w| w.trouble).map(|w| match w.failures {
            0 => format!("{}: {}", w.what, w.why),
            1 => format!("{}: {} (failed once)", w.what, w.why),
            n => format!("{}: {} (failed {n} times)", w.what, w.why),
        })
    }
}

impl Waiting {
    pub(crate) fn new(what: String, note: &Note, failures: u32, until: Option<Timestamp>) -> Self {
        Self { what, why: note.text.clone(), trouble: note.trouble, failures, until }
    }
}
