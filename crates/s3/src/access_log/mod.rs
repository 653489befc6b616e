//! Server access logs ("Logging requests with server access logging"): a line for each request to a bucket whose owner wants them, for
//! each object of a DeleteObjects and for each that a lifecycle rule ends, gathered here and delivered as objects.
//!
//! "Best-effort": lines wait in memory; a crash loses those that wait.

mod batch;
mod begun;
mod line;
mod operation;
mod trouble;

pub(crate) use batch::{Batched, One};
pub(crate) use begun::Begun;
use line::Request;
use operation::operation;
use trouble::Troubles;

use crate::caller::canonical_id;
use crate::configuration::LOGGING;
use model::time::Timestamp;
use objects::Bucket;
use rand::RngExt as _;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// Bytes of one object of lines; then it is delivered before its time.
const BATCH_BYTES: usize = 4 << 20;
/// Bytes of all lines that wait; what comes then is dropped.
const WAITING_BYTES_MAX: usize = 64 << 20;

/// Lines that go into one object.
pub(crate) struct Batch {
    /// The bucket that they are about, as it was.
    pub(crate) bucket: Arc<Bucket>,
    /// The first one's time.
    pub(crate) since: Timestamp,
    pub(crate) lines: String,
}

/// One bucket's lines of one day, for one setting.
type Key = (String, Timestamp, String, String);

#[derive(Default)]
struct Waiting {
    batches: BTreeMap<Key, Batch>,
    bytes: usize,
    /// Lines that found no room since the last delivery.
    dropped: u64,
}

/// Where lines wait.
#[derive(Clone, Default)]
pub(crate) struct AccessLog {
    waiting: Arc<Mutex<Waiting>>,
    full: Arc<Notify>,
    /// What can't be delivered.
    pub(crate) troubles: Troubles,
}

impl AccessLog {
    /// Whether a bucket's owner wants lines.
    pub(crate) fn wanted(bucket: &Bucket) -> bool {
        bucket.documents.contains_key(LOGGING)
    }

    /// Keeps the line of a request.
    fn add(&self, bucket: &Arc<Bucket>, request: &Request<'_>) {
        let line = request.line(&canonical_id(&bucket.owner), &bucket.name);
        self.keep(bucket, request.at, &line);
    }

    /// Keeps the line of what a lifecycle rule did ("How S3 Lifecycle interacts with other bucket configurations"), which nobody asked for.
    pub(crate) fn add_own(
        &self,
        bucket: &Arc<Bucket>,
        at: Timestamp,
        operation: &str,
        key: &str,
        size: Option<u64>,
        version: Option<&str>,
    ) {
        if !Self::wanted(bucket) {
            return;
        }
        let request = Request {
            at,
            address: String::new(),
            requester: Some("AmazonS3".into()),
            id: &format!("{:016X}", rand::rng().random::<u64>()),
            operation: operation.into(),
            key: Some(key),
            uri: Some(String::new()),
            status: None,
            error: None,
            sent: None,
            size,
            took: None,
            referer: Some(""),
            agent: Some(""),
            version,
            signed: None,
            host: "",
            acl_required: false,
        };
        self.add(bucket, &request);
    }

    fn keep(&self, bucket: &Arc<Bucket>, at: Timestamp, line: &str) {
        let setting = bucket.documents.get(LOGGING).cloned().unwrap_or_default();
        let day = at.iso8601_seconds().chars().take_while(|c| *c != 'T').collect();
        let key = (bucket.name.clone(), bucket.created, setting, day);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.bytes + line.len() > WAITING_BYTES_MAX {
            waiting.dropped += 1;
            return;
        }
        waiting.bytes += line.len();
        let batch = waiting.batches.entry(key).or_insert_with(|| Batch { bucket: bucket.clone(), since: at, lines: String::new() });
        batch.lines.push_str(line);
        if batch.lines.len() > BATCH_BYTES {
            self.full.notify_one();
        }
    }

    /// Waits until something must be delivered before its time.
    pub(crate) async fn fills(&self) {
        self.full.notified().await;
    }

    /// Everything that waits.
    pub(crate) fn take(&self) -> Vec<Batch> {
        let taken = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        if taken.dropped > 0 {
            tracing::error!(lines = taken.dropped, "lines of access logs found no room");
        }
        taken.batches.into_values().collect()
    }

    /// Takes back what could not be delivered now.
    pub(crate) fn give_back(&self, batch: &Batch) {
        self.keep(&batch.bucket, batch.since, &batch.lines);
    }
}
