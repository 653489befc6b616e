//! Volumes that are to go by themselves. Those of an instance are made and removed with it.

use crate::Reconciler;
use crate::error::{CALL_TIMEOUT, Stop, call};
use crate::table::Next;
use model::ids::VolumeId;
use model::volume::Volume;

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
}
