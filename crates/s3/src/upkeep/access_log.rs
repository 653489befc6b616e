//! Delivers lines of access logs as objects.

use super::rest;
use crate::access::logs_allowed;
use crate::access_log::Batch;
use crate::checksum::{self, Expected};
use crate::configuration::{logging_grants, logging_target};
use crate::error::Result;
use crate::intake::Incoming;
use crate::object::write;
use crate::service::S3;
use crate::sse;
use http::HeaderMap;
use model::time::Timestamp;
use objects::{Condition, Record};
use rand::RngExt as _;
use s3s::dto::{LoggingEnabled, PartitionDateSource, StreamingBlob};
use s3s::s3_error;
use std::time::Duration;
use tokio::sync::watch;

/// Delivers what was gathered, again and again; for the last time when it is time to stop.
pub(super) async fn deliver(s3: S3, mut stopping: watch::Receiver<bool>) {
    let pause = Duration::from_secs(s3.settings.log_delivery_seconds.max(1).into());
    let mut given_back = false;
    loop {
        let goes_on = tokio::select! {
            goes_on = rest(pause, &mut stopping) => goes_on,
            // What was given back is as long as before.
            () = s3.log.fills(), if !given_back => true,
        };
        given_back = false;
        for batch in s3.log.take() {
            given_back |= !delivered(&s3, &batch).await;
        }
        s3.log.troubles.keep(|bucket, target| {
            let bucket = s3.objects.bucket(bucket).and_then(|bucket| logging_target(&bucket).ok().flatten());
            bucket.is_some_and(|wanted| wanted.target_bucket == target)
        });
        if !goes_on {
            return;
        }
    }
}

/// Delivers lines, or says why not; false if they are to be delivered later.
async fn delivered(s3: &S3, batch: &Batch) -> bool {
    // Why it can't be read is in the log.
    let Ok(Some(wanted)) = logging_target(&batch.bucket) else { return true };
    let (bucket, target) = (&batch.bucket.name, &wanted.target_bucket);
    let error = match one(s3, batch, &wanted).await {
        Ok(()) => {
            s3.log.troubles.worked(bucket, target);
            return true;
        }
        Err(error) => error,
    };
    // A full disk may have room later.
    let later = error.status_code().is_some_and(|status| status.is_server_error());
    let lost = if later { 0 } else { batch.lines.lines().count() as u64 };
    let why = match error.message() {
        Some(message) => format!("{}: {message}", error.code().as_str()),
        None => error.code().as_str().to_owned(),
    };
    s3.log.troubles.failed(bucket, target, &why, lost, s3.now());
    if later {
        s3.log.give_back(batch);
    }
    !later
}

async fn one(s3: &S3, batch: &Batch, wanted: &LoggingEnabled) -> Result<()> {
    let target = s3.bucket(&wanted.target_bucket)?;
    let now = s3.now();
    let key = key(batch, wanted, now, rand::rng().random());
    if target.owner != batch.bucket.owner {
        return Err(s3_error!(AccessDenied, "the target bucket is another account's"));
    }
    if !logs_allowed(&batch.bucket, &target, &key)? {
        return Err(s3_error!(
            AccessDenied,
            "neither the target bucket's policy nor its list of grants lets the log's service write there"
        ));
    }
    let sealing = sse::of_write(&target, &HeaderMap::new())?;
    let mut record = Record::new(target.owner.clone());
    record.headers.insert("content-type".into(), "text/plain".into());
    record.acl = logging_grants(s3, &target, wanted)?;
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
