//! Reads all objects now and then, and compares their checksums: a disk that loses something is noticed while there is another copy.

use crate::config::S3;
use model::time::Clock;
use objects::{Objects, Scrubbed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// Damaged objects that are told of, at most; the log has all.
const TOLD_MAX: usize = 10;

/// The last round's result, for who asks.
#[derive(Debug, Default)]
pub(crate) struct Report(Mutex<Option<(String, Scrubbed)>>);

impl Report {
    /// When the last round ended and what it found, in words; and a note for each damaged object.
    pub(crate) fn tell(&self) -> (Option<String>, Vec<String>) {
        let report = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((at, scrubbed)) = &*report else { return (None, Vec::new()) };
        let found = format!("checked {} MiB until {at}, {} damaged", scrubbed.read >> 20, scrubbed.bad.len());
        let notes =
            scrubbed.bad.iter().take(TOLD_MAX).map(|bad| format!("damaged: s3://{}/{}: {}", bad.bucket, bad.key, bad.why)).collect();
        (Some(found), notes)
    }
}

/// Scrubs once in every period, at a pace, until `stop` turns true.
pub(crate) async fn run(objects: Objects, config: S3, clock: Arc<dyn Clock>, report: Arc<Report>, mut stop: watch::Receiver<bool>) {
    let Some(period) = config.scrub_period() else { return };
    loop {
        let rest = tokio::time::sleep(period);
        tokio::select! {
            () = rest => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        tokio::select! {
            () = round(&objects, &config, &*clock, &report) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

async fn round(objects: &Objects, config: &S3, clock: &dyn Clock, report: &Report) {
    let bytes_per_second = f64::from(config.scrub_mib_per_second) * 1_048_576.0;
    #[allow(clippy::cast_precision_loss)] // a block, far below 2^53
    let pace = move |bytes: u64| Duration::from_secs_f64(bytes as f64 / bytes_per_second);
    match objects.scrub(pace).await {
        Ok(scrubbed) => {
            for bad in &scrubbed.bad {
                tracing::error!(bucket = bad.bucket, key = bad.key, version = ?bad.version, why = bad.why, "an object is damaged");
            }
            tracing::info!(bytes = scrubbed.read, damaged = scrubbed.bad.len(), "all objects were read and compared");
            *report.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((clock.now().iso8601_seconds(), scrubbed));
        }
        Err(error) => tracing::error!(error = format!("{:#}", anyhow::Error::from(error)), "the objects could not be checked"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use model::fault::NoFaults;
    use model::scope::AccountId;
    use model::time::Timestamp;
    use objects::{Bucket, Condition, MasterKey, Put, Record, Seal};

    struct Noon;
    impl Clock for Noon {
        fn now(&self) -> Timestamp {
            Timestamp(1_795_521_600_000)
        }
    }

    #[tokio::test]
    async fn a_damaged_object_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        let objects = Objects::open(dir.path(), MasterKey::new([1; 32]), Arc::new(NoFaults)).unwrap();
        let (owner, now) = (AccountId::cloud(), Noon.now());
        let bucket = serde_json::json!({ "name": "b", "owner": owner, "region": "us-east-1", "created": now });
        objects.bucket_create(serde_json::from_value::<Bucket>(bucket).unwrap()).await.unwrap();
        let mut staging = objects.stage(Seal::None);
        staging.write(vec![7u8; 100_000].into()).await.unwrap();
        let staged = staging.finish().await.unwrap();
        let (bucket, key, record) = ("b".into(), "k".into(), Record::new(owner));
        objects
            .put(Put { bucket, bucket_created: now, key, staged, etag: "e".into(), record, condition: Condition::default(), now })
            .await
            .unwrap();

        let (config, report) = (S3 { scrub_mib_per_second: 1000, ..S3::default() }, Report::default());
        round(&objects, &config, &Noon, &report).await;
        assert_eq!(report.tell(), (Some("checked 0 MiB until 2026-11-24T12:00:00Z, 0 damaged".into()), vec![]));

        let mut folders = vec![dir.path().join("files")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
                match entry.file_type().unwrap().is_dir() {
                    true => folders.push(entry.path()),
                    false => std::fs::write(entry.path(), vec![8u8; 100_000]).unwrap(),
                }
            }
        }
        round(&objects, &config, &Noon, &report).await;
        let (told, notes) = report.tell();
        assert!(told.unwrap().ends_with("1 damaged") && notes[0].starts_with("damaged: s3://b/k: "), "{notes:?}");
    }
}
