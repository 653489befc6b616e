//! Images: their files stay as long as anything stands on them, which may be longer than the images can be launched.

use crate::Reconciler;
use crate::error::{CALL_TIMEOUT, Stop, call};
use crate::sweep::IMAGE_ORPHAN_MILLIS;
use crate::table::Sweep;
use model::ids::ImageId;
use model::image::{DeregisteredImage, Image, ImageTags};
use model::instance::{Instance, State};
use model::scope::Scope;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;
use store::{Document, Noun, Snapshot};

/// The deregistered images of which no instance is left.
fn deregistered_unused(snapshot: &Snapshot) -> Vec<(Scope, ImageId)> {
    let instances = snapshot.all::<Instance>().filter(|(_, i)| !matches!(i.state, State::Terminated { .. }));
    let launched: BTreeSet<&ImageId> = instances.map(|(_, i)| &i.image_id).collect();
    documents::<DeregisteredImage>(snapshot, |gone| !launched.contains(&gone.id))
}

/// The tags on other accounts' images that have been deregistered.
fn tags_unused(snapshot: &Snapshot) -> Vec<(Scope, ImageId)> {
    documents::<ImageTags>(snapshot, |tags| snapshot.find::<Image>(&tags.id).is_none())
}

fn documents<N: Noun + Document<Id = ImageId>>(snapshot: &Snapshot, chosen: impl Fn(&N) -> bool) -> Vec<(Scope, ImageId)> {
    let found = snapshot.all::<N>().filter(|(_, document)| chosen(document));
    found.map(|(scope, document)| (scope.clone(), document.id().clone())).collect()
}

impl Reconciler {
    pub(crate) async fn images_sweep(&self) -> Result<Option<i64>, Stop> {
        let before = self.store.snapshot();
        let have = call("list the images", CALL_TIMEOUT, self.drivers.images.list()).await?;
        self.images_inspect(&before).await?;
        let known = {
            let mut orphans = self.orphans.lock().unwrap_or_else(PoisonError::into_inner);
            orphans.images_known(before.image_contents()).clone()
        };
        self.images_forget().await?;
        let snapshot = self.store.snapshot();
        let needed: BTreeSet<_> = snapshot.image_contents().collect();
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

    /// Removes the documents that only instances of deregistered images needed. An image that is deregistered can't be launched again,
    /// so nothing of what is found unused can be in use by the time of the write.
    async fn images_forget(&self) -> Result<(), Stop> {
        let snapshot = self.store.snapshot();
        let (images, tags) = (deregistered_unused(&snapshot), tags_unused(&snapshot));
        if images.is_empty() && tags.is_empty() {
            return Ok(());
        }
        let removed = self.store.write(move |tx| {
            images.iter().for_each(|(scope, id)| _ = tx.remove::<DeregisteredImage>(scope, id));
            tags.iter().for_each(|(scope, id)| _ = tx.remove::<ImageTags>(scope, id));
            Ok::<_, std::convert::Infallible>(())
        });
        let Ok(()) = removed.await?;
        Ok(())
    }

    /// Records which images' files are lost, and which are back.
    async fn images_inspect(&self, snapshot: &Snapshot) -> Result<(), Stop> {
        // Many images stand on the same files, which are looked at once.
        let mut losses = BTreeMap::new();
        for (_, image) in snapshot.all::<Image>() {
            let content = image.content();
            if losses.contains_key(content) {
                continue;
            }
            let lost = call("look at the image", CALL_TIMEOUT, self.drivers.images.inspect(content)).await?;
            let loss = lost.as_ref().map(|lost| lost.loss);
            match lost {
                _ if loss == image.lost => {}
                Some(lost) => tracing::error!(image = %content, why = lost.why, "an image is lost: put it back, from a backup"),
                None => tracing::info!(image = %content, "the image's files are back"),
            }
            losses.insert(content, loss);
        }
        let changed = snapshot.all::<Image>().filter_map(|(scope, image)| {
            let lost = losses.get(image.content()).copied().flatten();
            (lost != image.lost).then(|| (scope.clone(), image.id.clone(), lost))
        });
        let changed: Vec<_> = changed.collect();
        if changed.is_empty() {
            return Ok(());
        }
        let written = self.store.write(move |tx| {
            for (scope, id, lost) in changed {
                if let Some(image) = tx.get::<Image>(&scope, &id).cloned() {
                    tx.put(&scope, Image { lost, ..(*image).clone() });
                }
            }
            Ok::<_, std::convert::Infallible>(())
        });
        let Ok(()) = written.await?;
        Ok(())
    }
}

/// What the operator should know of lost images, a sentence each.
pub(crate) fn notes(snapshot: &Snapshot) -> impl Iterator<Item = String> {
    let lost: BTreeMap<_, _> = snapshot.all::<Image>().filter_map(|(_, image)| Some((image.content(), image.lost?))).collect();
    let lost: Vec<_> = lost.into_iter().collect();
    lost.into_iter().map(|(id, loss)| format!("{id}: images/{id} is {loss}; put it back, from a backup: it is looked for every 30 s"))
}
