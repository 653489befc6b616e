//! Reads all objects now and then, and compares their checksums: a disk that loses something is noticed while there is another copy.

use crate::config::S3;
use crate::size::size;
use model::time::{Clock, Timestamp};
use objects::{Objects, Scrubbed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// Damaged objects that are told of, at most; the log has all.
const TOLD_MAX: usize = 10;
/// Longest rest after which the clock is asked again: it may have been set.
const REST_MAX: Duration = Duration::from_secs(3600);

/// The last round's result, for who asks.
#[derive(Debug, Default)]
pub(crate) struct Report(Mutex<Option<(Timestamp, Scrubbed)>>);

impl Report {
    /// When the last round ended and what it found, in words; and a note for each damaged object.
    pub(crate) fn tell(&self) -> (Option<String>, Vec<String>) {
        let report = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((at, scrubbed)) = &*report else { return (None, Vec::new()) };
        let found = format!("checked {} until {}, {} damaged", size(scrubbed.read), at.iso8601_seconds(), scrubbed.damaged);
        let notes =
            scrubbed.bad.iter().take(TOLD_MAX).map(|bad| format!("damaged: s3://{}/{}: {}", bad.bucket, bad.key, bad.why)).collect();
        (Some(found), notes)
    }

    fn set(&self, ended: Option<(Timestamp, Scrubbed)>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = ended;
    }

    fn ended(&self) -> Option<Timestamp> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|(at, _)| *at)
    }
}

/// Scrubs once in every period, at a pace, until `stop` turns true. The period is counted from the end of the last round, whether or not the
/// cloud was stopped since; a round that was under way goes on.
pub(crate) async fn run(objects: Objects, config: S3, clock: Arc<dyn Clock>, report: Arc<Report>, mut stop: watch::Receiver<bool>) {
    let work = async {
        match objects.scrubbed().await {
            Ok(last) => report.set(last),
            Err(error) => failed(error),
        }
        let Some(period) = config.scrub_period() else { return };
        loop {
            if rest(clock.now(), report.ended(), period).is_zero() {
                round(&objects, &config, &*clock, &report).await;
            }
            // What failed is tried again, but not at once.
            let rest = Some(rest(clock.now(), report.ended(), period)).filter(|rest| !rest.is_zero());
            tokio::time::sleep(rest.unwrap_or(REST_MAX).min(REST_MAX)).await;
        }
    };
    tokio::select! {
        () = work => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

/// How long there is nothing to do after the round that ended last.
fn rest(now: Timestamp, ended: Option<Timestamp>, period: Duration) -> Duration {
    let Some(ended) = ended else { return Duration::ZERO };
    // By a clock that was wrong then or is now, it may have ended in the future.
    let Ok(since) = u64::try_from(now.millis_since(ended)) else { return Duration::ZERO };
    period.saturating_sub(Duration::from_millis(since))
}

async fn round(objects: &Objects, config: &S3, clock: &dyn Clock, report: &Report) {
    let bytes_per_second = f64::from(config.scrub_mib_per_second) * 1_048_576.0;
    #[allow(clippy::cast_precision_loss)] // a block, far below 2^53
    let pace = move |bytes: u64| Duration::from_secs_f64(bytes as f64 / bytes_per_second);
    match objects.scrub(|| clock.now(), pace).await {
        Ok((at, scrubbed)) => {
            tracing::info!(bytes = scrubbed.read, damaged = scrubbed.damaged, "all objects were read and compared");
            report.set(Some((at, scrubbed)));
        }
        Err(error) => failed(error),
    }
}

fn failed(error: objects::Error) {
    tracing::error!(error = format!("{:#}", anyhow::Error::from(error)), "the objects could not be checked");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use model::fault::NoFaults;
    use model::scope::AccountId;
    use objects::{Bucket, Condition, MasterKey, Put, Record, Seal};
    use std::path::Path;
    use std::sync::atomic::{AtomicI64, Ordering};

    /// A clock that a test sets, in milliseconds.
    struct Hands(AtomicI64);
    impl Clock for Hands {
        fn now(&self) -> Timestamp {
            Timestamp(self.0.load(Ordering::Relaxed))
        }
    }

    const NOON: i64 = 1_795_521_600_000;
    const HOUR: i64 = 3_600_000;
    const KEY: [u8; 32] = [1; 32];

    fn open(dir: &Path) -> Objects {
        Objects::open(dir, MasterKey::new(KEY), Arc::new(NoFaults)).unwrap()
    }

    /// With one object, of 100,000 bytes in a file.
    async fn objects(dir: &Path) -> Objects {
        let objects = open(dir);
        let (owner, now) = (AccountId::cloud(), Timestamp(NOON));
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
        objects
    }

    #[tokio::test]
    async fn a_damaged_object_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        let objects = objects(dir.path()).await;
        let (config, report) = (S3 { scrub_mib_per_second: 1000, ..S3::default() }, Report::default());
        round(&objects, &config, &Hands(NOON.into()), &report).await;
        assert_eq!(report.tell(), (Some("checked 97.7 KiB until 2026-11-24T12:00:00Z, 0 damaged".into()), vec![]));

        let mut folders = vec![dir.path().join("files")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
                match entry.file_type().unwrap().is_dir() {
                    true => folders.push(entry.path()),
                    false => std::fs::write(entry.path(), vec![8u8; 100_000]).unwrap(),
                }
            }
        }
        round(&objects, &config, &Hands(NOON.into()), &report).await;
        let (told, notes) = report.tell();
        assert!(told.unwrap().ends_with("1 damaged") && notes[0].starts_with("damaged: s3://b/k: "), "{notes:?}");
    }

    /// Runs a cloud's scrubber from this time on for a moment, or until it has ended a round at that time. When its last round ended then.
    async fn lived(dir: &Path, now: i64) -> Option<i64> {
        let (config, report, clock) = (S3 { scrub_mib_per_second: 1000, ..S3::default() }, Arc::new(Report::default()), Hands(now.into()));
        let (stop, stopping) = watch::channel(false);
        let scrub = tokio::spawn(run(open(dir), config, Arc::new(clock), report.clone(), stopping));
        for _ in 0..50 {
            if report.ended() == Some(Timestamp(now)) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stop.send_replace(true);
        scrub.await.unwrap();
        report.ended().map(|at| at.0)
    }

    #[tokio::test]
    async fn a_cloud_that_is_stopped_often_is_checked_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        drop(objects(dir.path()).await);
        assert_eq!(lived(dir.path(), NOON).await, Some(NOON), "one that was never checked is checked at once");
        assert_eq!(lived(dir.path(), NOON + 167 * HOUR).await, Some(NOON), "a week has not passed");
        assert_eq!(lived(dir.path(), NOON + 168 * HOUR).await, Some(NOON + 168 * HOUR));
        assert_eq!(lived(dir.path(), NOON + 169 * HOUR).await, Some(NOON + 168 * HOUR));
        assert_eq!(lived(dir.path(), NOON).await, Some(NOON), "its clock was wrong");
    }
}
