//! Copies the index of objects now and then to a place beside it, for `pileus fsck objects --rebuild`, and ends the week of what was set aside.

use objects::{Lost, Objects};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// After a start: not while all else starts, too.
const FIRST: Duration = Duration::from_secs(60);
/// Between two copies.
const PERIOD: Duration = Duration::from_secs(3600);

/// What `pileus status` says of it.
#[derive(Debug, Default)]
pub(crate) struct Kept(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    lost: Lost,
    failed: Option<String>,
}

impl Kept {
    pub(crate) fn notes(&self) -> Vec<String> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lost = (state.lost.files > 0).then(|| {
            let (files, size) = (state.lost.files, crate::size::size(state.lost.bytes));
            format!("objects/lost+found: {files} files, {size}, that belong to no object; each is deleted 7 days after it was set aside")
        });
        let failed = state.failed.as_ref().map(|why| format!("the index of objects could not be copied to objects/index.backup.db: {why}"));
        lost.into_iter().chain(failed).collect()
    }

    /// Looks at what was set aside, and deletes what is older than a week.
    fn look(&self, objects: &Objects) {
        match objects.lost() {
            Ok(lost) => self.0.lock().unwrap_or_else(PoisonError::into_inner).lost = lost,
            Err(error) => tracing::warn!(error = format!("{:#}", anyhow::Error::from(error)), "objects/lost+found can't be looked at"),
        }
    }
}

/// Works until `stop` turns true.
pub(crate) async fn run(objects: Objects, kept: Arc<Kept>, mut stop: watch::Receiver<bool>) {
    let work = async {
        kept.look(&objects);
        tokio::time::sleep(FIRST).await;
        loop {
            let failed = objects.index_keep().await.err().map(|error| format!("{:#}", anyhow::Error::from(error)));
            if let Some(error) = &failed {
                tracing::warn!(error, "the index of objects could not be copied");
            }
            kept.0.lock().unwrap_or_else(PoisonError::into_inner).failed = failed;
            kept.look(&objects);
            tokio::time::sleep(PERIOD).await;
        }
    };
    tokio::select! {
        () = work => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}
