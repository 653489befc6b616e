//! The lifecycle of a bucket's objects: what is to be deleted, and when ("Managing the lifecycle of objects", Amazon S3 User Guide).
//!
//! Absent: transitions, since there is one storage class.

use crate::tag::Tags;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Most rules of a bucket.
pub const RULES_MAX: usize = 1000;
/// Longest id of a rule, in characters.
pub const ID_CHARS_MAX: usize = 255;
/// Most noncurrent versions that a rule can keep.
pub const NEWER_VERSIONS_MAX: u32 = 100;

const DAY_MILLIS: i64 = 24 * 60 * 60 * 1000;

/// One rule.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// The owner's name for it; one is drawn if they give none.
    pub id: String,
    /// Whether it does anything.
    pub enabled: bool,
    /// Of which objects.
    pub filter: Filter,
    /// What ends the current version.
    pub expiration: Option<Expiration>,
    /// What ends other versions.
    pub noncurrent: Option<Noncurrent>,
    /// Days after which an upload in parts that isn't completed ends.
    pub abort_multipart_days: Option<u32>,
}

/// Of which objects a rule is: all conditions must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// What the key begins with; empty: any.
    pub prefix: String,
    /// Tags that the object must have, among others.
    pub tags: Tags,
    /// Bytes that the object must have more than.
    pub size_greater: Option<u64>,
    /// Bytes that the object must have fewer than.
    pub size_less: Option<u64>,
}

/// What ends the current version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expiration {
    /// Days since it was made. They end a delete marker that nothing is left under, too.
    Days(u32),
    /// A day's beginning in UTC; from then on, whatever is there.
    Date(Timestamp),
    /// Nothing ends but a delete marker that nothing is left under.
    ExpiredObjectDeleteMarker,
}

/// What ends a version that isn't the current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noncurrent {
    /// Days since it stopped being current.
    pub days: u32,
    /// Noncurrent versions newer than it that there must be.
    pub newer_versions: Option<u32>,
}

/// What there is to know of a version or an upload.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The object's key.
    pub key: &'a str,
    /// Bytes; 0 of a delete marker or an upload.
    pub size: u64,
    /// Its tags.
    pub tags: &'a Tags,
    /// When the version was made, or the upload begun.
    pub made: Timestamp,
    /// What it is.
    pub state: State,
}

/// What it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The current version.
    Current,
    /// A delete marker that is the current version.
    Marker {
        /// Whether no other version is left.
        alone: bool,
    },
    /// A version or delete marker that isn't current.
    Noncurrent {
        /// When its successor was made.
        since: Timestamp,
        /// How many noncurrent versions are newer than it.
        newer: u32,
    },
    /// An upload in parts that isn't completed.
    Upload,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Delete the object as its owner would without naming a version: with versioning that makes a delete marker.
    Expire,
    /// Delete the delete marker.
    MarkerRemove,
    /// Delete this version.
    VersionDelete,
    /// Abort the upload.
    UploadAbort,
}

/// What is to be done, when, and by which rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due<'a> {
    /// From when on.
    pub at: Timestamp,
    /// The rule's id.
    pub rule: &'a str,
    /// What.
    pub action: Action,
}

/// How days are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Days {
    /// As AWS counts them: to the midnight, in UTC, after them.
    Calendar,
    /// For tests, which can't wait: so many milliseconds each, and no waiting for midnight.
    Short(u32),
}

impl Days {
    fn after(self, time: Timestamp, days: u32) -> Timestamp {
        match self {
            Self::Calendar => days_after(time, days),
            Self::Short(millis) => time.plus_millis(i64::from(days).saturating_mul(millis.into())),
        }
    }
}

/// What the rules will do first. Of rules that disagree the earlier wins ("Conflicting lifecycle actions": "the shorter expiration
/// period"). `None`: nothing, ever, as things are.
///
/// For an upload this is what CreateMultipartUpload says in `x-amz-abort-date` and `x-amz-abort-rule-id`.
#[must_use]
pub fn next<'a>(rules: &'a [Rule], facts: &Facts<'_>) -> Option<Due<'a>> {
    first(rules, facts, Days::Calendar)
}

fn first<'a>(rules: &'a [Rule], facts: &Facts<'_>, days: Days) -> Option<Due<'a>> {
    let mine = rules.iter().filter(|rule| rule.enabled && rule.filter.takes(facts));
    let due = mine.filter_map(|rule| {
        let (at, action) = rule.due(facts, days)?;
        Some(Due { at, rule: &rule.id, action })
    });
    due.min_by_key(|due| due.at)
}

/// What the rules want done now.
#[must_use]
pub fn due(rules: &[Rule], facts: &Facts<'_>, now: Timestamp, days: Days) -> Option<Action> {
    first(rules, facts, days).filter(|due| due.at <= now).map(|due| due.action)
}

/// The value of `x-amz-expiration`: `expiry-date="Fri, 21 Dec 2012 00:00:00 GMT", rule-id="Rule for testfile.txt"`. Only a current
/// version that a rule will expire has one.
#[must_use]
pub fn expiration_header(rules: &[Rule], facts: &Facts<'_>) -> Option<String> {
    let due = next(rules, facts).filter(|due| due.action == Action::Expire)?;
    Some(format!("expiry-date=\"{}\", rule-id=\"{}\"", due.at.http_date(), header_text(due.rule)))
}

/// S3's reference says that a rule's id is URL-encoded there; S3 sends spaces as they are. What can't stand in a header is encoded.
fn header_text(text: &str) -> String {
    let encoded = |b: u8| match b {
        b' '..=b'~' if b != b'"' && b != b'%' => char::from(b).to_string(),
        _ => format!("%{b:02X}"),
    };
    text.bytes().map(encoded).collect()
}

/// The midnight, in UTC, after a number of days: "adding the number of days specified in the rule to the object creation time and
/// rounding the resulting time to the next day midnight UTC". From 10:30 on the 15th three days end as the 19th begins. A midnight
/// itself belongs to the day that it begins. Restored copies of archived objects end by the same count.
#[must_use]
pub fn days_after(time: Timestamp, days: u32) -> Timestamp {
    let day = time.0.div_euclid(DAY_MILLIS);
    Timestamp((day + i64::from(days) + 1).saturating_mul(DAY_MILLIS))
}

impl Filter {
    fn takes(&self, facts: &Facts<'_>) -> bool {
        facts.key.starts_with(&self.prefix)
            && self.tags.0.iter().all(|(key, value)| facts.tags.0.get(key) == Some(value))
            && self.size_greater.is_none_or(|size| facts.size > size)
            && self.size_less.is_none_or(|size| facts.size < size)
    }
}

impl Rule {
    fn due(&self, facts: &Facts<'_>, days: Days) -> Option<(Timestamp, Action)> {
        match facts.state {
            State::Current => match self.expiration? {
                Expiration::Days(n) => Some((days.after(facts.made, n), Action::Expire)),
                Expiration::Date(date) => Some((date, Action::Expire)),
                Expiration::ExpiredObjectDeleteMarker => None,
            },
            State::Marker { alone: false } => None,
            State::Marker { alone: true } => match self.expiration? {
                Expiration::Days(n) => Some((days.after(facts.made, n), Action::MarkerRemove)),
                Expiration::Date(_) => None,
                Expiration::ExpiredObjectDeleteMarker => Some((facts.made, Action::MarkerRemove)),
            },
            State::Noncurrent { since, newer } => {
                let rule = self.noncurrent.filter(|rule| rule.newer_versions.is_none_or(|kept| newer >= kept))?;
                Some((days.after(since, rule.days), Action::VersionDelete))
            }
            State::Upload => Some((days.after(facts.made, self.abort_multipart_days?), Action::UploadAbort)),
        }
    }

    fn has_action(&self) -> bool {
        self.expiration.is_some() || self.noncurrent.is_some() || self.abort_multipart_days.is_some()
    }
}

/// Why rules are refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRules {
    /// AWS's code.
    pub code: &'static str,
    /// AWS's message.
    pub message: String,
}

/// Checks rules that a bucket is to get.
///
/// # Errors
/// [`BadRules`], for the first fault.
pub fn check(rules: &[Rule]) -> Result<(), BadRules> {
    let refuse = |code, message: &str| Err(BadRules { code, message: message.into() });
    let mut ids = std::collections::BTreeSet::new();
    if rules.is_empty() || rules.len() > RULES_MAX {
        return refuse("MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema");
    }
    for rule in rules {
        let tagged = !rule.filter.tags.0.is_empty();
        let sized = rule.filter.size_greater.is_some() || rule.filter.size_less.is_some();
        let newer = rule.noncurrent.and_then(|n| n.newer_versions);
        let at_midnight = |date: Timestamp| date.0.rem_euclid(DAY_MILLIS) == 0;
        if rule.id.chars().count() > ID_CHARS_MAX {
            return refuse("InvalidArgument", "ID length should not exceed allowed limit of 255");
        }
        if !ids.insert(&rule.id) {
            return refuse("InvalidArgument", "Rule ID must be unique. Found same ID for more than one rule");
        }
        if !rule.has_action() {
            return refuse("InvalidRequest", "At least one action needs to be specified in a rule");
        }
        match rule.expiration {
            Some(Expiration::Days(0)) => {
                return refuse("InvalidArgument", "'Days' for Expiration action must be a positive integer");
            }
            Some(Expiration::Date(date)) if !at_midnight(date) => return refuse("InvalidArgument", "'Date' must be at midnight GMT"),
            Some(Expiration::ExpiredObjectDeleteMarker) if tagged => {
                return refuse("InvalidRequest", "ExpiredObjectDeleteMarker cannot be specified with Tags.");
            }
            Some(Expiration::Days(_) | Expiration::Date(_) | Expiration::ExpiredObjectDeleteMarker) | None => {}
        }
        if rule.noncurrent.is_some_and(|n| n.days == 0) {
            return refuse("InvalidArgument", "'NoncurrentDays' for NoncurrentVersionExpiration action must be a positive integer");
        }
        if newer.is_some_and(|n| !(1..=NEWER_VERSIONS_MAX).contains(&n)) {
            return refuse("InvalidArgument", "'NewerNoncurrentVersions' for NoncurrentVersionExpiration action must be between 1 and 100");
        }
        if rule.abort_multipart_days == Some(0) {
            return refuse("InvalidArgument", "'DaysAfterInitiation' for AbortIncompleteMultipartUpload action must be a positive integer");
        }
        if rule.abort_multipart_days.is_some() && tagged {
            return refuse("InvalidRequest", "AbortIncompleteMultipartUpload cannot be specified with Tags.");
        }
        if rule.abort_multipart_days.is_some() && sized {
            return refuse("InvalidRequest", "AbortIncompleteMultipartUpload cannot be specified with Object Size.");
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "lifecycle_tests.rs"]
mod tests;
