//! What nobody wants any more: machines, volumes and images that no document names, old idempotency tokens.

use crate::Reconciler;
use model::fault::Crash;
use model::image::Image;
use model::instance::Instance;
use model::machine::Observed;
use model::volume::Volume;

impl Reconciler {
    /// Looks for leftovers. Files are made after the document that names them is committed, so what no document names is left over.
    pub(crate) async fn sweep(&self) -> Result<(), Crash> {
        if let Err(error) = self.leftovers().await {
            tracing::warn!(error = format!("{error:#}"), "the sweep is not done; it is tried again");
        }
        self.boot_id_record().await
    }

    async fn leftovers(&self) -> anyhow::Result<()> {
        for id in self.drivers.hypervisor.list().await? {
            let wanted = self.store.snapshot().find::<Instance>(&id).map(|(_, i)| i.clone());
            let leftover = match wanted {
                None => true,
                // Stopped instances aren't looked at otherwise.
                Some(i) if !i.state.holds_capacity() => matches!(self.drivers.hypervisor.observe(&id).await?, Observed::Known { .. }),
                Some(_) => false,
            };
            // Seen twice before it goes.
            if leftover && !self.memory().strays.insert(id.clone()) {
                tracing::info!(machine = %id, "a machine that nobody wants is removed");
                self.drivers.hypervisor.remove(&id).await?;
                self.memory().strays.remove(&id);
            }
        }
        for id in self.drivers.volumes.list().await? {
            if self.store.snapshot().find::<Volume>(&id).is_none() {
                tracing::info!(volume = %id, "a volume that no document names is deleted");
                self.drivers.volumes.remove(&id).await?;
            }
        }
        let deleting: Vec<_> =
            self.store.snapshot().all::<Volume>().filter(|(_, v)| v.deleting).map(|(s, v)| (s.clone(), v.id.clone())).collect();
        for (scope, id) in deleting {
            self.drivers.volumes.remove(&id).await?;
            let _ = self.store.write(move |tx| Ok::<_, ()>(tx.remove::<Volume>(&scope, &id))).await?;
        }
        // An image's files come before its document: only those of an earlier process are left over, and only once.
        if !std::mem::replace(&mut self.memory().images_swept, true) {
            for id in self.drivers.images.list().await? {
                if self.store.snapshot().find::<Image>(&id).is_none() {
                    self.drivers.images.remove(&id).await?;
                }
            }
        }
        let now = self.clock.now();
        let old = self.store.snapshot().all::<store::IdempotencyToken>().any(|(_, t)| t.is_expired(now));
        if old {
            let _ = self.store.write(move |tx| Ok::<_, ()>(tx.tokens_expire(now))).await?;
        }
        Ok(())
    }
}
