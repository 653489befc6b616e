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
        let have = call("list the images", CALL_TIMEOUT, self.drivers.images.list()).await?;
        let snapshot = self.store.snapshot();
        let needed = images_needed(&snapshot);
        let orphans = have.into_iter().filter(|id| !needed.contains(id)).collect();
        let (ripe, again) = self.orphans_ripe(Sweep::Images, &orphans, IMAGE_ORPHAN_MILLIS);
        for id in ripe {
            tracing::warn!(image = %id, "an image that nothing needs is deleted");
            call("delete the image", CALL_TIMEOUT, self.drivers.images.remove(&id)).await?;
        }
        Ok(again)
    }
}
