//! Volumes that are to go by themselves, and what is known of volumes' files. Those of an instance are made and removed with it.

use crate::Reconciler;
use crate::error::{CALL_TIMEOUT, Stop, call};
use crate::table::Next;
use model::ids::VolumeId;
use model::instance::Instance;
use model::scope::Scope;
use model::volume::{FileState, Volume};
use node::volume::Sight;
use std::collections::BTreeSet;
use store::{Snapshot, SystemTx};

impl Reconciler {
    /// Deletes a volume's file, then its document.
    pub(crate) async fn volume_work(&self, id: &VolumeId) -> Result<Next, Stop> {
        let goes = |v: &Volume| v.deleting && v.attachment.is_none();
        let snapshot = self.store.snapshot();
        let Some((scope, _)) = snapshot.find::<Volume>(id).filter(|(_, v)| goes(v)) else { return Ok(Next::default()) };
        call("delete the volume", CALL_TIMEOUT, self.drivers.volumes.remove(id)).await?;
        self.faults.hit("reconcile.volume.removed.before_record")?;
        let (scope, id) = (scope.clone(), id.clone());
        let removed = self.store.write(move |tx| {
            if tx.get::<Volume>(&scope, &id).is_some_and(|v| goes(v)) {
                tx.remove::<Volume>(&scope, &id);
            }
            Ok::<_, std::convert::Infallible>(())
        });
        let Ok(()) = removed.await?;
        Ok(Next { steps: 1, ..Next::default() })
    }

    /// Looks at a volume's file.
    pub(crate) async fn volume_inspect(&self, volume: &Volume) -> anyhow::Result<Sight> {
        let look = self.drivers.volumes.inspect(&volume.id, volume.size_bytes(), volume.file_bytes_synced);
        call("look at the volume", CALL_TIMEOUT, look).await
    }

    /// Brings the volumes of a machine that is gone to the disk, and gives back how long their files are. What is lost has no length to go by; a
    /// volume that can't be read isn't what a stop waits for.
    pub(crate) async fn volumes_settle(&self, ids: &[VolumeId]) -> Vec<(VolumeId, u64)> {
        let mut lengths = Vec::new();
        let snapshot = self.store.snapshot();
        let is_lost = |id: &&VolumeId| snapshot.find::<Volume>(id).is_some_and(|(_, v)| matches!(v.file, FileState::Lost { .. }));
        for id in ids.iter().filter(|id| !is_lost(id)) {
            match call("sync the volume", CALL_TIMEOUT, self.drivers.volumes.settle(id)).await {
                Ok(bytes) => lengths.push((id.clone(), bytes)),
                Err(error) => tracing::warn!(volume = %id, error = format!("{error:#}"), "a volume's file could not be synced"),
            }
        }
        lengths
    }

    /// Records which volumes' files are missing, and which are back. `have` was listed after `before` was taken: a file that was made by then is in
    /// it, unless it is lost or its volume was being deleted.
    pub(crate) async fn files_record(&self, before: &Snapshot, have: &BTreeSet<VolumeId>) -> Result<(), Stop> {
        let mut seen = Vec::new();
        for (scope, volume) in before.all::<Volume>().filter(|(_, volume)| !volume.deleting) {
            let found = match &volume.file {
                FileState::Lost { .. } => match self.volume_inspect(volume).await? {
                    Sight::Whole(_) => FileState::Made,
                    Sight::Lost { loss, why } => FileState::Lost { loss, why },
                },
                _ if have.contains(&volume.id) || !volume.is_made(has_run(before, volume)) => continue,
                FileState::Unrecorded | FileState::Wanted | FileState::Made => match self.volume_inspect(volume).await? {
                    Sight::Whole(_) => continue,
                    Sight::Lost { loss, why } => FileState::Lost { loss, why },
                },
            };
            if found != volume.file {
                seen.push((scope.clone(), volume.clone(), found));
            }
        }
        if seen.is_empty() {
            return Ok(());
        }
        let Ok(()) = self
            .store
            .write(move |tx| {
                for (scope, volume, found) in seen {
                    if !tx.get::<Volume>(&scope, &volume.id).is_some_and(|newest| newest.file == volume.file && !newest.deleting) {
                        continue;
                    }
                    match &found {
                        FileState::Lost { why, .. } => {
                            tracing::error!(volume = %volume.id, why, "a volume is lost: put its file back, from a backup")
                        }
                        FileState::Unrecorded | FileState::Wanted | FileState::Made => {
                            tracing::info!(volume = %volume.id, "the volume's file is back")
                        }
                    }
                    file_put(tx, &scope, &volume.id, found);
                }
                Ok::<_, std::convert::Infallible>(())
            })
            .await?;
        Ok(())
    }
}

/// Whether the instance of a volume has run. One without an instance had one once.
fn has_run(snapshot: &Snapshot, volume: &Volume) -> bool {
    let Some(attachment) = &volume.attachment else { return true };
    snapshot.find::<Instance>(&attachment.instance_id).is_none_or(|(_, instance)| instance.has_run())
}

/// Writes what is known of a volume's file.
pub(crate) fn file_put(tx: &mut SystemTx<'_>, scope: &Scope, id: &VolumeId, file: FileState) {
    if let Some(volume) = tx.get::<Volume>(scope, id).filter(|volume| volume.file != file).cloned() {
        tx.put(scope, Volume { file, ..(*volume).clone() });
    }
}

/// What the operator should know of lost volumes, a sentence each.
pub(crate) fn notes(snapshot: &Snapshot) -> impl Iterator<Item = String> {
    snapshot.all::<Volume>().filter_map(|(_, volume)| match &volume.file {
        FileState::Lost { why, .. } => Some(format!("{}: {why}; put it back, from a backup: it is looked for every 30 s", volume.id)),
        FileState::Unrecorded | FileState::Wanted | FileState::Made => None,
    })
}
