//! What the operator does with images.

use super::{ImageDeregister, ImageListed, ImageRegistered, ImageWanted};
use crate::parts::Parts;
use anyhow::Result;
use api::operator::{self, ImageAsked, ImagePlaces};
use model::ids::ImageId;
use model::image::Image;
use model::instance::{Instance, State};
use model::scope::Scope;
use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::MetadataExt as _;

/// The unit of `st_blocks`, in bytes.
const BLOCK_BYTES: u64 = 512;

fn scopes(parts: &Parts, places: &ImagePlaces) -> Result<Vec<Scope>> {
    Ok(places.scopes(&parts.store.snapshot(), &parts.config.region.parse()?)?)
}

/// Asked before an image is made, which takes long, and again when it is registered.
pub(super) fn check(parts: &Parts, asked: &ImageAsked) -> Result<()> {
    let scopes = scopes(parts, &asked.places)?;
    let snapshot = parts.store.snapshot();
    Ok(operator::image_check(scopes.iter().map(|scope| snapshot.of(scope)), asked)?)
}

pub(super) async fn register(parts: &Parts, wanted: ImageWanted) -> Result<ImageRegistered> {
    // The name is one below `staging/`, never a path.
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    anyhow::ensure!(!wanted.staged.is_empty() && wanted.staged.bytes().all(plain), "bad name of a staged image");
    let staged = parts.data_dir.join("staging").join(&wanted.staged);
    check(parts, &wanted.image.asked)?;
    let scopes = scopes(parts, &wanted.image.asked.places)?;
    let content = ImageId::generate(&mut rand::rng());
    // Files first: a crash in between leaves a directory that no document names, which the sweep removes.
    parts.drivers.images.adopt(&content, &staged).await?;
    let (now, id, image) = (parts.clock.now(), content.clone(), wanted.image);
    let written = parts.store.write(move |tx| operator::image_register(tx, &scopes, &id, &image, now, &mut rand::rng())).await;
    match written {
        Ok(Ok(_)) => Ok(ImageRegistered { image_id: content.to_string() }),
        Ok(Err(error)) => {
            parts.drivers.images.remove(&content).await?;
            Err(error.into())
        }
        Err(error) => Err(error.into()),
    }
}

/// All images, by region and owner.
pub(super) async fn list(parts: &Parts) -> Result<Vec<ImageListed>> {
    let snapshot = parts.store.snapshot();
    let mut instances: HashMap<&ImageId, usize> = HashMap::new();
    for (_, instance) in snapshot.all::<Instance>().filter(|(_, i)| !matches!(i.state, State::Terminated { .. })) {
        *instances.entry(&instance.image_id).or_default() += 1;
    }
    let mut sizes = BTreeMap::new();
    for (_, image) in snapshot.all::<Image>() {
        if let std::collections::btree_map::Entry::Vacant(size) = sizes.entry(image.content()) {
            let disk = parts.drivers.images.files(image.content()).await.map(|files| files.disk);
            size.insert(disk.ok().and_then(|disk| std::fs::metadata(disk).ok()).map_or(0, |found| found.blocks() * BLOCK_BYTES));
        }
    }
    let mut listed: Vec<ImageListed> = snapshot
        .all::<Image>()
        .map(|(scope, image)| ImageListed {
            image_id: image.id.to_string(),
            name: image.name.clone(),
            region: scope.region.to_string(),
            owner_id: image.owner.to_string(),
            owner_name: snapshot.account(&image.owner).map(|account| account.name.clone()),
            public: image.public,
            shared_with: image.launch_permissions.iter().map(ToString::to_string).collect(),
            architecture: image.architecture.clone(),
            size_gib: image.size_gib,
            files: image.content().to_string(),
            file_bytes: sizes.get(image.content()).copied().unwrap_or_default(),
            instances: instances.get(&image.id).copied().unwrap_or_default(),
            created: image.created.iso8601_seconds(),
        })
        .collect();
    listed.sort_by(|a, b| (&a.owner_id, &a.name, &a.region).cmp(&(&b.owner_id, &b.name, &b.region)));
    Ok(listed)
}

/// Gives back the ids of what was deregistered.
pub(super) async fn deregister(parts: &Parts, id: ImageId, wanted: &ImageDeregister) -> Result<Vec<String>> {
    let all_regions = wanted.all_regions;
    let gone = parts.store.write(move |tx| operator::image_deregister(tx, &id, all_regions)).await??;
    Ok(gone.iter().map(ToString::to_string).collect())
}
