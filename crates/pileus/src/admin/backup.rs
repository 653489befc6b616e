//! Backups that the operator asks the running server for: one at a time.

use super::BackupWanted;
use crate::backup::make::Sources;
use crate::backup::{Progress, State, make};
use crate::parts::Parts;
use anyhow::{Context as _, Result, ensure};
use std::sync::{Arc, Mutex, PoisonError};

/// The last backup that was asked for.
#[derive(Debug, Default)]
pub(crate) struct Backups(Mutex<Option<Arc<Progress>>>);

/// Begins a backup; it goes on whether or not somebody waits for it.
pub(crate) fn begin(parts: &Parts, wanted: BackupWanted) -> Result<()> {
    let progress = Arc::new(Progress::default());
    {
        let mut last = parts.backups.0.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(last.as_ref().is_none_or(|last| last.state().ended), "a backup is being made already");
        *last = Some(progress.clone());
    }
    let sources = Sources {
        data_dir: parts.data_dir.clone(),
        cloud: parts.directory.cloud().into(),
        now: parts.clock.now().iso8601_seconds(),
        store: parts.store.clone(),
        objects: parts.objects.clone(),
        hypervisor: Some(parts.drivers.hypervisor.clone()),
        configuration: parts.config.text.clone(),
    };
    tokio::spawn(async move {
        let made = make::make(&sources, &wanted.dir, &progress).await;
        match &made {
            Ok(made) => tracing::info!(path = made.path, bytes = made.bytes, copied = made.copied_bytes, "a backup was made"),
            Err(error) => tracing::error!(error = format!("{error:#}"), "a backup failed"),
        }
        progress.end(made);
    });
    Ok(())
}

/// How far it is.
pub(crate) fn state(parts: &Parts) -> Result<State> {
    let last = parts.backups.0.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(last.as_ref().context("no backup was asked for since the server started")?.state())
}
