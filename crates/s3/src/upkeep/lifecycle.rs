//! The loop that follows lifecycle rules. It keeps nothing: each look finds what is due by what is there.

use super::rest;
use super::sweep::{Doomed, Sweep};
use crate::configuration::lifecycle_rules;
use crate::service::S3;
use model::lifecycle::{Action, Days, Facts, Rule, State, due};
use model::tag::Tags;
use model::time::Timestamp;
use objects::{Bucket, Error, ListUploads, ListVersions};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How long after a look the next one begins. Rules speak of days.
const PAUSE: Duration = Duration::from_secs(3600);
/// With short days: looks in each, and the shortest pause.
const LOOKS_PER_SHORT_DAY: u32 = 10;
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// Versions or uploads looked at together. Between pages others have their turn.
const PAGE: usize = 1000;

/// Looks through all buckets, again and again.
pub(super) async fn follow(s3: S3, mut stopping: watch::Receiver<bool>) {
    let (days, pause) = match s3.settings.lifecycle_debug_day_seconds {
        None => (Days::Calendar, PAUSE),
        Some(seconds) => {
            let day = Duration::from_secs(seconds.into());
            (Days::Short(seconds.saturating_mul(1000)), (day / LOOKS_PER_SHORT_DAY).max(PAUSE_MIN))
        }
    };
    let watching = s3.watching_rules();
    loop {
        for bucket in watching.objects.buckets_all() {
            if *stopping.borrow() {
                return;
            }
            let done = look(&watching, &bucket, days, &stopping).await;
            match done {
                // Deleted since.
                Ok(()) | Err(Error::NoSuchBucket) => {}
                Err(error) => {
                    let error = anyhow::Error::new(error);
                    tracing::error!(bucket = bucket.name, error = format!("{error:#}"), "a bucket's lifecycle rules could not be followed");
                }
            }
        }
        if !rest(pause, &mut stopping).await {
            return;
        }
    }
}

/// Does in one bucket what is due.
async fn look(s3: &S3, bucket: &Arc<Bucket>, days: Days, stopping: &watch::Receiver<bool>) -> objects::Result<()> {
    // Why it can't be read is in the log.
    let Ok(Some(rules)) = lifecycle_rules(bucket) else { return Ok(()) };
    let rules: Vec<Rule> = rules.iter().filter(|rule| rule.enabled).cloned().collect();
    for prefix in prefixes(&rules) {
        versions(s3, bucket, &rules, prefix, days, stopping).await?;
        if rules.iter().any(|rule| rule.abort_multipart_days.is_some()) {
            uploads(s3, bucket, &rules, prefix, days, stopping).await?;
        }
    }
    Ok(())
}

/// The prefixes that rules are for, without those that another one covers.
fn prefixes(rules: &[Rule]) -> Vec<&str> {
    let all: BTreeSet<&str> = rules.iter().map(|rule| rule.filter.prefix.as_str()).collect();
    // What is covered stands directly behind what covers it.
    let mut chosen: Vec<&str> = Vec::new();
    for prefix in all {
        if !chosen.last().is_some_and(|last| prefix.starts_with(last)) {
            chosen.push(prefix);
        }
    }
    chosen
}

async fn versions(
    s3: &S3,
    bucket: &Arc<Bucket>,
    rules: &[Rule],
    prefix: &str,
    days: Days,
    stopping: &watch::Receiver<bool>,
) -> objects::Result<()> {
    let mut sweep = Sweep::new(&bucket.name, rules, days, s3.now());
    let mut after = None;
    while !*stopping.borrow() {
        let q = ListVersions { bucket: bucket.name.clone(), prefix: prefix.into(), after, max: PAGE, ..ListVersions::default() };
        let page = s3.objects.list_versions(q).await?;
        page.versions.into_iter().for_each(|version| sweep.pass(version));
        delete(s3, bucket, sweep.due()).await?;
        after = page.next;
        if after.is_none() {
            return delete(s3, bucket, sweep.end()).await;
        }
    }
    Ok(())
}

async fn delete(s3: &S3, bucket: &Arc<Bucket>, doomed: Vec<Doomed>) -> objects::Result<()> {
    if doomed.is_empty() {
        return Ok(());
    }
    let deletes = doomed.iter().map(|d| (d.delete.clone(), d.written)).collect();
    for (result, doomed) in s3.objects.delete_unchanged(&bucket.name, deletes).await?.into_iter().zip(doomed) {
        match result {
            Ok(deleted) => {
                tracing::debug!(bucket = bucket.name, key = doomed.delete.key, action = ?doomed.action, "a lifecycle rule was followed");
                let marker = doomed.action == Action::Expire && deleted.marker;
                let version = deleted.version.map(|id| id.as_str().to_owned());
                let (operation, size) = if marker { ("S3.CREATE.DELETEMARKER", None) } else { ("S3.EXPIRE.OBJECT", Some(doomed.size)) };
                s3.log.add_own(bucket, s3.now(), operation, &doomed.delete.key, size, version.as_deref());
            }
            // It is another one by now, or locked: then it waits.
            Err(Error::PreconditionFailed | Error::Locked) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn uploads(
    s3: &S3,
    bucket: &Arc<Bucket>,
    rules: &[Rule],
    prefix: &str,
    days: Days,
    stopping: &watch::Receiver<bool>,
) -> objects::Result<()> {
    let now = s3.now();
    let mut after = None;
    while !*stopping.borrow() {
        let q = ListUploads { bucket: bucket.name.clone(), prefix: prefix.into(), after, max: PAGE, ..ListUploads::default() };
        let page = s3.objects.uploads(q).await?;
        for upload in page.uploads {
            if is_due(rules, &upload, now, days) {
                match s3.objects.upload_abort(&bucket.name, &upload.key, &upload.id).await {
                    Ok(()) => s3.log.add_own(bucket, now, "S3.DELETE.UPLOAD", &upload.key, None, None),
                    // Completed or aborted since.
                    Err(Error::NoSuchUpload) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    Ok(())
}

fn is_due(rules: &[Rule], upload: &objects::Upload, now: Timestamp, days: Days) -> bool {
    let tags = Tags::default();
    let facts = Facts { key: &upload.key, size: 0, tags: &tags, made: upload.initiated, state: State::Upload };
    due(rules, &facts, now, days) == Some(Action::UploadAbort)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::lifecycle::Filter;

    #[test]
    fn nothing_is_looked_at_twice() {
        let rule = |prefix: &str| Rule { filter: Filter { prefix: prefix.into(), ..Filter::default() }, ..Rule::default() };
        let rules = [rule("b/c"), rule("a"), rule("b/"), rule("b0"), rule("ab"), rule("b/c")];
        assert_eq!(prefixes(&rules), ["a", "b/", "b0"]);
        assert_eq!(prefixes(&[rule("x"), rule("")]), [""]);
        assert!(prefixes(&[]).is_empty());
    }
}
