//! Delivers lines of access logs as objects.

use super::rest;
use crate::access::logs_allowed;
use crate::access_log::Batch;
use crate::checksum::{self, Expected};
use crate::configuration::{logging_grants, logging_target};
use crate::error::{self, Result};
use crate::intake::Incoming;
use crate::object::write;
use crate::service::S3;
use crate::sse;
use http::HeaderMap;
use model::time::Timestamp;
use objects::{Condition, Record};
use rand::RngExt as _;
use s3s::dto::{LoggingEnabled, PartitionDateSource, StreamingBlob};
use std::time::Duration;
use tokio::sync::watch;

/// Delivers what was gathered, again and again; for the last time when it is time to stop.
pub(super) async fn deliver(s3: S3, mut stopping: watch::Receiver<bool>) {
    let pause = Duration::from_secs(s3.settings.log_delivery_seconds.max(1).into());
    loop {
        let goes_on = tokio::select! {
            goes_on = rest(pause, &mut stopping) => goes_on,
            () = s3.log.fills() => true,
        };
        for batch in s3.log.take() {
            let size = batch.lines.len();
            // Why is in the log already if it failed inside.
            if let Err(error) = one(&s3, &batch).await {
                let (bucket, code) = (&batch.bucket.name, error.code().as_str());
                tracing::warn!(bucket, size, code, "lines of an access log are not delivered");
                // A full disk may have room later.
                if error.status_code().is_some_and(|status| status.is_server_error()) {
                    s3.log.give_back(&batch);
                }
            }
        }
        if !goes_on {
            return;
        }
    }
}

async fn one(s3: &S3, batch: &Batch) -> Result<()> {
    let Some(wanted) = logging_target(&batch.bucket)? else { return Ok(()) };
    let target = s3.bucket(&wanted.target_bucket)?;
    let now = s3.now();
    let key = key(batch, &wanted, now, rand::rng().random());
    if target.owner != batch.bucket.owner || !logs_allowed(&batch.bucket, &target, &key)? {
        return Err(error::denied());
    }
    let sealing = sse::of_write(&target, &HeaderMap::new())?;
    let mut record = Record::new(target.owner.clone());
    record.headers.insert("content-type".into(), "text/plain".into());
    record.acl = logging_grants(s3, &target, &wanted)?;
    record.encryption = sealing.encryption;
    let body = s3s::Body::from(batch.lines.clone().into_bytes());
    let incoming = Incoming {
        body: Some(StreamingBlob::from(body)),
        length: Some(batch.lines.len() as u64),
        seal: sealing.seal,
        expected: Expected::nothing(checksum::DEFAULT),
    };
    write(s3, &target, key, record, Condition::default(), incoming).await.map(drop)
}

/// "Log object key format".
fn key(batch: &Batch, wanted: &LoggingEnabled, now: Timestamp, unique: u64) -> String {
    let prefix = &wanted.target_prefix;
    // 2026-11-24-04-07-39
    let stamp = |time: Timestamp| time.iso8601_seconds().trim_end_matches('Z').replace([':', 'T'], "-");
    let partitioned = wanted.target_object_key_format.as_ref().and_then(|format| format.partitioned_prefix.as_ref());
    let Some(partitioned) = partitioned else { return format!("{prefix}{}-{unique:016X}", stamp(now)) };
    let by_event = partitioned.partition_date_source.as_ref().is_some_and(|source| source.as_str() == PartitionDateSource::EVENT_TIME);
    let at = if by_event { format!("{}-00-00-00", &stamp(batch.since)[..10]) } else { stamp(now) };
    let (account, region, name) = (batch.bucket.owner.as_str(), &batch.bucket.region, &batch.bucket.name);
    format!("{prefix}{account}/{region}/{name}/{}/{}/{}/{at}-{unique:016X}", &at[..4], &at[5..7], &at[8..10])
}
