//! Images: their files stay as long as anything stands on them, which may be longer than their documents.

use crate::Reconciler;
use crate::error::{CALL_TIMEOUT, Stop, call};
use crate::sweep::IMAGE_ORPHAN_MILLIS;
use crate::table::Sweep;
use model::ids::ImageId;
use model::image::Image;
use model::instance::{Instance, State};
use model::volume::{Source, Volume};
use std::collections::BTreeSet;
use std::sync::PoisonError;
use store::Snapshot;

/// The images whose files are needed: those that can be launched, those that a volume stands on, those whose kernel an instance starts.
fn images_needed(snapshot: &Snapshot) -> BTreeSet<&ImageId> {
    let registered = snapshot.all::<Image>().map(|(_, image)| &image.id);
    let below = snapshot.all::<Volume>().filter_map(|(_, volume)| match &volume.source {
        Source::Blank => None,
        Source::Image(id) => Some(id),
    });
    let started = snapshot.all::<Instance>().filter(|(_, i)| !matches!(i.state, State::Terminated { .. })).map(|(_, i)| &i.image_id);
    registered.chain(below).chain(started).collect()
}

impl Reconciler {
    pub(crate) async fn images_sweep(&self) -> Result<Option<i64>, Stop> {
        let before = self.store.snapshot();
        let have = call("list the images", CALL_TIMEOUT, self.drivers.images.list()).await?;
        self.images_inspect(&before).await?;
        let snapshot = self.store.snapshot();
        let needed = images_needed(&snapshot);
        let known = {
            let mut orphans = self.orphans.lock().unwrap_or_else(PoisonError::into_inner);
            orphans.images_known(snapshot.all::<Image>().map(|(_, image)| &image.id)).clone()
        };
        let orphans = have.into_iter().filter(|id| !needed.contains(id)).collect();
        let (ripe, again) = self.orphans_ripe(Sweep::Images, &orphans, IMAGE_ORPHAN_MILLIS);
        for id in ripe {
            if known.contains(&id) {
                tracing::info!(image = %id, "the files of a deregistered image that nothing stands on are deleted");
                call("delete the image", CALL_TIMEOUT, self.drivers.images.remove(&id)).await?;
            } else {
                tracing::warn!(image = %id, "an image without a document is set aside in lost+found");
                let now = self.clock.now();
                call("set aside the image", CALL_TIMEOUT, self.drivers.images.set_aside(&id, "the database has no such image", now))
                    .await?;
            }
        }
        Ok(again)
    }

    /// Records which images' files are lost, and which are back.
    async fn images_inspect(&self, snapshot: &Snapshot) -> Result<(), Stop> {
        let mut seen = Vec::new();
        for (scope, image) in snapshot.all::<Image>() {
            let lost = call("look at the image", CALL_TIMEOUT, self.drivers.images.inspect(&image.id)).await?;
            if lost.as_ref().map(|lost| lost.loss) != image.lost {
                match &lost {
                    Some(lost) => tracing::error!(image = %image.id, why = lost.why, "an image is lost: put it back, from a backup"),
                    None => tracing::info!(image = %image.id, "the image's files are back"),
                }
                seen.push((scope.clone(), image.id.clone(), lost.map(|lost| lost.loss)));
            }
        }
        if seen.is_empty() {
            return Ok(());
        }
        let Ok(()) = self
            .store
            .write(move |tx| {
                for (scope, id, lost) in seen {
                    if let Some(image) = tx.get::<Image>(&scope, &id).cloned() {
                        tx.put(&scope, Image { lost, ..(*image).clone() });
                    }
                }
                Ok::<_, std::convert::Infallible>(())
            })
            .await?;
        Ok(())
    }
}

/// What the operator should know of lost images, a sentence each.
pub(crate) fn notes(snapshot: &Snapshot) -> impl Iterator<Item = String> {
    let lost = snapshot.all::<Image>().filter_map(|(_, image)| Some((&image.id, image.lost?)));
    lost.map(|(id, loss)| format!("{id}: images/{id} is {loss}; put it back, from a backup: it is looked for every 30 s"))
}
