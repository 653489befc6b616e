//! What was set aside in `lost+found`: told to the operator, and deleted after a while.

use model::time::Clock;
use node::lost_found::{self, KEPT_MILLIS};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often things are looked for that were kept long enough.
const PRUNE_PERIOD: Duration = Duration::from_secs(600);
/// Things that are told of one by one, at most.
const TOLD_MAX: usize = 10;

/// A sentence for each thing that was set aside.
pub(crate) fn notes(data_dir: &Path) -> Vec<String> {
    let found = match lost_found::list(data_dir) {
        Ok(found) => found,
        Err(error) => return vec![format!("lost+found can't be read: {error:#}")],
    };
    let mut notes: Vec<String> = found
        .iter()
        .take(TOLD_MAX)
        .map(|thing| {
            let until = thing.since.plus_millis(KEPT_MILLIS).iso8601_seconds();
            let place = thing.path.strip_prefix(data_dir).unwrap_or(&thing.path).display();
            format!("{place}: set aside {}: {}; deleted at {until}", thing.since.iso8601_seconds(), thing.why)
        })
        .collect();
    if found.len() > TOLD_MAX {
        notes.push(format!("lost+found: {} more", found.len() - TOLD_MAX));
    }
    notes
}

/// Deletes what was kept long enough, until `stop` turns true.
pub(crate) async fn prune(data_dir: PathBuf, clock: Arc<dyn Clock>, mut stop: watch::Receiver<bool>) {
    loop {
        let (directory, now) = (data_dir.clone(), clock.now());
        match tokio::task::spawn_blocking(move || lost_found::prune(&directory, now)).await {
            Ok(Ok(gone)) => gone.iter().for_each(|thing| tracing::info!(path = %thing.path.display(), "deleted from lost+found")),
            Ok(Err(error)) => tracing::warn!(error = format!("{error:#}"), "lost+found can't be cleaned"),
            Err(error) => tracing::error!(%error, "the cleaning of lost+found panicked"),
        }
        tokio::select! {
            () = tokio::time::sleep(PRUNE_PERIOD) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}
