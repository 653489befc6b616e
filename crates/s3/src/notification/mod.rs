//! Notifications ("Amazon S3 Event Notifications"): what happened to objects, told to whom a bucket's owner named.
//!
//! [`watch`](watch) sees the operations that worked, and lifecycle rules tell what they did; each event that a bucket's configuration
//! wants is written as AWS's JSON and put on an internal bus. What listens there delivers it: [`webhook`].
//! docs/decisions/0009-notifications.md says what is promised.

mod record;
mod watch;
pub(crate) mod webhook;

pub use webhook::{BadWebhook, webhook_check};

use crate::configuration::notification_rules;
use crate::service::S3;
use model::time::Timestamp;
use objects::Bucket;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::broadcast;

/// Events that wait on the bus for its slowest listener; older ones are lost to it.
const BUS_EVENTS: usize = 4096;

/// Every event that can be asked for, without `s3:`. What Pileus doesn't do yet can be asked for, and never happens.
pub(crate) const EVENTS: [&str; 21] = [
    "ReducedRedundancyLostObject",
    "ObjectCreated:Put",
    "ObjectCreated:Post",
    "ObjectCreated:Copy",
    "ObjectCreated:CompleteMultipartUpload",
    "ObjectRemoved:Delete",
    "ObjectRemoved:DeleteMarkerCreated",
    "ObjectRestore:Post",
    "ObjectRestore:Completed",
    "ObjectRestore:Delete",
    "Replication:OperationFailedReplication",
    "Replication:OperationNotTracked",
    "Replication:OperationMissedThreshold",
    "Replication:OperationReplicatedAfterThreshold",
    "LifecycleTransition",
    "IntelligentTiering",
    "ObjectAcl:Put",
    "LifecycleExpiration:Delete",
    "LifecycleExpiration:DeleteMarkerCreated",
    "ObjectTagging:Put",
    "ObjectTagging:Delete",
];

/// A destination and what it wants to hear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    /// The owner's name for it.
    pub(crate) id: String,
    /// The destination.
    pub(crate) arn: String,
    /// As they were asked for: `s3:ObjectCreated:*`.
    pub(crate) events: Vec<String>,
    /// What keys begin with.
    pub(crate) prefix: String,
    /// What keys end with.
    pub(crate) suffix: String,
}

impl Rule {
    fn wants(&self, name: &str, key: &str) -> bool {
        self.events.iter().any(|asked| is_asked(asked, name)) && key.starts_with(&self.prefix) && key.ends_with(&self.suffix)
    }
}

/// Whether `s3:ObjectCreated:*` or the like asks for an event.
pub(crate) fn is_asked(asked: &str, name: &str) -> bool {
    let Some(asked) = asked.strip_prefix("s3:") else { return false };
    match asked.strip_suffix('*') {
        Some(family) => family.ends_with(':') && name.starts_with(family),
        None => asked == name,
    }
}

/// Something that happened to an object.
#[derive(Debug, Clone, Default)]
pub(crate) struct Happening {
    /// One of [`EVENTS`].
    pub(crate) name: &'static str,
    pub(crate) key: String,
    /// Bytes; of what was made.
    pub(crate) size: Option<u64>,
    pub(crate) etag: Option<String>,
    /// If the bucket keeps versions.
    pub(crate) version: Option<String>,
}

/// Who made it happen.
#[derive(Debug, Clone)]
pub(crate) struct By {
    pub(crate) principal: String,
    pub(crate) address: String,
    /// The request's id; empty if there was none.
    pub(crate) request: String,
}

impl By {
    /// S3 itself, by a bucket's rules.
    pub(crate) fn lifecycle() -> Self {
        let name = || "s3.amazonaws.com".to_owned();
        Self { principal: name(), address: name(), request: String::new() }
    }
}

/// What a destination is to be told.
#[derive(Debug)]
pub(crate) struct Notice {
    /// The destination.
    pub(crate) arn: String,
    /// JSON.
    pub(crate) body: String,
}

/// The bus.
#[derive(Clone)]
pub(crate) struct Events {
    sender: broadcast::Sender<Arc<Notice>>,
    /// The last sequencer given out.
    last: Arc<AtomicU64>,
}

impl Events {
    pub(crate) fn new() -> Self {
        Self { sender: broadcast::Sender::new(BUS_EVENTS), last: Arc::default() }
    }

    /// Hears everything from now on.
    pub(crate) fn listen(&self) -> broadcast::Receiver<Arc<Notice>> {
        self.sender.subscribe()
    }

    fn send(&self, arn: String, body: String) {
        // Without a listener nobody hears: that is no fault.
        _ = self.sender.send(Arc::new(Notice { arn, body }));
    }

    /// Greater than any before, over restarts too unless the clock goes back.
    fn sequencer(&self, now: Timestamp) -> u64 {
        let micros = now.0.max(0).unsigned_abs().saturating_mul(1000);
        let next = |last: u64| Some(micros.max(last.saturating_add(1)));
        // The closure never refuses.
        self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).map_or(micros, |last| micros.max(last.saturating_add(1)))
    }
}

impl S3 {
    /// Whether anybody may want to know what happens in a bucket.
    pub(crate) fn is_watched(bucket: &Bucket) -> bool {
        bucket.documents.contains_key(crate::configuration::NOTIFICATION)
    }

    /// Tells those who want to know. What can't be told is logged: what happened has happened.
    pub(crate) fn tell(&self, bucket: &Bucket, by: &By, happenings: &[Happening]) {
        // Why the rules can't be read is in the log.
        let Ok(Some(rules)) = notification_rules(bucket) else { return };
        let now = self.now();
        for happening in happenings {
            let sequencer = self.events.sequencer(now);
            for rule in rules.iter().filter(|rule| rule.wants(happening.name, &happening.key)) {
                self.events.send(rule.arn.clone(), record::event(bucket, rule, by, happening, sequencer, now));
            }
        }
    }

    /// What S3 sends to a destination when a configuration names it.
    pub(crate) fn tell_test(&self, bucket: &Bucket, arn: &str, request: &str) {
        self.events.send(arn.to_owned(), record::test(bucket, request, self.now()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_wants_what() {
        let rule = |event: &str, prefix: &str, suffix: &str| Rule {
            id: "r".into(),
            arn: "a".into(),
            events: vec![event.into()],
            prefix: prefix.into(),
            suffix: suffix.into(),
        };
        for (event, prefix, suffix, wants) in [
            ("s3:ObjectCreated:*", "", "", true),
            ("s3:ObjectCreated:Put", "images/", ".jpg", true),
            ("s3:ObjectCreated:Post", "", "", false),
            ("s3:ObjectRemoved:*", "", "", false),
            ("s3:Object*", "", "", false),
            ("ObjectCreated:Put", "", "", false),
            ("s3:ObjectCreated:Put", "jpg", "", false),
            ("s3:ObjectCreated:Put", "", ".png", false),
        ] {
            assert_eq!(rule(event, prefix, suffix).wants("ObjectCreated:Put", "images/a.jpg"), wants, "{event} {prefix} {suffix}");
        }
    }

    #[test]
    fn sequencers_only_grow() {
        let events = Events::new();
        let all: Vec<u64> = [5, 5, 3, 9].into_iter().map(|ms| events.sequencer(Timestamp(ms))).collect();
        assert_eq!(all, [5000, 5001, 5002, 9000]);
    }
}
