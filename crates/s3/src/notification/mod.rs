//! Notifications ("Amazon S3 Event Notifications"): what happened to objects, told to whom a bucket's owner named.
//!
//! [`watch`](watch) sees what operations and lifecycle rules write, in the transaction that writes it; each event that a bucket's
//! configuration wants is kept there as AWS's JSON until it is delivered: [`delivery`].
//! docs/decisions/0009-notifications.md says what is promised.

mod delivery;
mod destination;
mod record;
mod watch;
mod webhook;

pub(crate) use delivery::{Fares, deliver};
pub(crate) use destination::destination_owner;
pub use destination::{BadWebhook, webhook_check};

use crate::error::{self, Result};
use crate::service::S3;
use model::time::Timestamp;
use objects::{Bucket, Event};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
#[derive(Debug)]
struct Happening<'a> {
    /// One of [`EVENTS`].
    name: &'static str,
    key: &'a str,
    /// Bytes; of what was made.
    size: Option<u64>,
    etag: Option<&'a str>,
    /// If the bucket keeps versions.
    version: Option<&'a str>,
    /// Of a restored copy: until when it can be read, and what class the object has.
    restored: Option<(Timestamp, &'a str)>,
}

/// Who made it happen.
#[derive(Debug, Clone)]
pub(crate) struct By {
    principal: String,
    address: String,
    /// The request's id; empty if there was none.
    request: String,
}

/// What events are made with.
#[derive(Clone, Default)]
pub(crate) struct Events {
    /// The last sequencer given out.
    last: Arc<AtomicU64>,
}

impl Events {
    /// Greater than any before, over restarts too unless the clock goes back.
    fn sequencer(&self, now: Timestamp) -> u64 {
        let micros = now.0.max(0).unsigned_abs().saturating_mul(1000);
        let next = |last: u64| Some(micros.max(last.saturating_add(1)));
        // The closure never refuses.
        self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).map_or(micros, |last| micros.max(last.saturating_add(1)))
    }
}

impl S3 {
    /// Tells destinations that a configuration names them.
    ///
    /// # Errors
    /// Those of a write.
    pub(crate) async fn tell_test(&self, bucket: &Bucket, rules: &[Rule], request: &str) -> Result<()> {
        let body = record::test(bucket, request, self.now());
        // Nobody delivers to others.
        let known = rules.iter().filter(|rule| self.settings.has_destination(&bucket.owner, &rule.arn));
        let at = self.now();
        let events = known.map(|rule| Event { destination: rule.arn.clone(), body: body.clone(), at }).collect();
        self.objects.events_put(&bucket.name, events).await.map_err(error::engine)
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
        let events = Events::default();
        let all: Vec<u64> = [5, 5, 3, 9].into_iter().map(|ms| events.sequencer(Timestamp(ms))).collect();
        assert_eq!(all, [5000, 5001, 5002, 9000]);
    }
}
