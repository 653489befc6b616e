//! What of a bucket's versions is due, as they pass by in the order of a listing: keys ascending, newest first.

use model::lifecycle::{Action, Days, Facts, Rule, State, due};
use model::tag::Tags;
use model::time::Timestamp;
use objects::{Delete, Version};
use std::mem::take;

/// A deletion that is due.
pub(super) struct Doomed {
    pub(super) action: Action,
    pub(super) delete: Delete,
    /// Bytes of what is to be deleted.
    pub(super) size: u64,
    /// When what is to be deleted was written: if it is another one by now, it stays.
    pub(super) written: Timestamp,
}

/// The newest things of a key that passed by.
struct Newer {
    key: String,
    /// When the last one that passed was written.
    since: Timestamp,
    /// How many noncurrent ones passed.
    noncurrent: u32,
}

/// A look through a bucket.
pub(super) struct Sweep<'a> {
    bucket: &'a str,
    rules: &'a [Rule],
    days: Days,
    now: Timestamp,
    newer: Option<Newer>,
    /// A current delete marker: whether it is alone, the next version tells.
    marker: Option<Version>,
    doomed: Vec<Doomed>,
}

impl<'a> Sweep<'a> {
    pub(super) fn new(bucket: &'a str, rules: &'a [Rule], days: Days, now: Timestamp) -> Self {
        Self { bucket, rules, days, now, newer: None, marker: None, doomed: Vec::new() }
    }

    /// Looks at the next version.
    pub(super) fn pass(&mut self, version: Version) {
        let newer = self.newer.take().filter(|newer| newer.key == version.key);
        if newer.is_none() {
            self.marker_judge();
        }
        // Whatever lies under a marker, that one is not alone.
        self.marker = None;
        let (key, since) = (version.key.clone(), version.last_modified);
        let noncurrent = match newer {
            Some(newer) => {
                self.judge(&version, State::Noncurrent { since: newer.since, newer: newer.noncurrent });
                newer.noncurrent.saturating_add(1)
            }
            None if version.delete_marker => {
                self.marker = Some(version);
                0
            }
            None => {
                self.judge(&version, State::Current);
                0
            }
        };
        self.newer = Some(Newer { key, since, noncurrent });
    }

    /// What is due so far. A marker waits for the next version.
    pub(super) fn due(&mut self) -> Vec<Doomed> {
        take(&mut self.doomed)
    }

    /// What is due, now that nothing comes any more.
    pub(super) fn end(mut self) -> Vec<Doomed> {
        self.marker_judge();
        self.doomed
    }

    fn marker_judge(&mut self) {
        if let Some(marker) = self.marker.take() {
            self.judge(&marker, State::Marker { alone: true });
        }
    }

    fn judge(&mut self, version: &Version, state: State) {
        let tags = Tags(version.record.tags.clone());
        let facts = Facts { key: &version.key, size: version.size, tags: &tags, made: version.last_modified, state };
        let Some(action) = due(self.rules, &facts, self.now, self.days) else { return };
        let named = match action {
            Action::Expire => None,
            Action::MarkerRemove | Action::VersionDelete => Some(version.id.clone()),
            // Not of a version.
            Action::UploadAbort => return,
        };
        let (bucket, key) = (self.bucket.to_owned(), version.key.clone());
        let delete = Delete { bucket, key, version: named, if_match: None, bypass_governance: false, now: self.now };
        self.doomed.push(Doomed { action, delete, size: version.size, written: version.last_modified });
    }
}
