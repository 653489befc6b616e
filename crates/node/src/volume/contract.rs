//! What every [`Volumes`] driver must do.
#![allow(clippy::unwrap_used)]

use super::{Sight, Volumes};
use model::ids::{ImageId, VolumeId};
use model::time::Timestamp;
use model::volume::{Loss, Source};
use std::sync::Arc;

const GIB: u64 = 1 << 30;

/// The `n`th volume id of a test.
pub(crate) fn volume_id(n: u32) -> VolumeId {
    format!("vol-{n:017x}").parse().unwrap()
}

/// The `n`th image id of a test.
pub(crate) fn image_id(n: u32) -> ImageId {
    format!("ami-{n:017x}").parse().unwrap()
}

/// Checks a driver. `open` makes it anew on the same host, as a restarted server does; `image` is there and at most 1 GiB large.
pub(crate) async fn check(open: &dyn Fn() -> Arc<dyn Volumes>, image: &ImageId) {
    let volumes = open();
    let (blank, root) = (volume_id(1), volume_id(2));
    assert_eq!(volumes.list().await.unwrap(), []);
    assert!(volumes.files(&blank).await.is_err(), "files of an absent volume");
    volumes.remove(&blank).await.unwrap();

    volumes.ensure(&blank, GIB, &Source::Blank).await.unwrap();
    let files = volumes.files(&blank).await.unwrap();
    assert_eq!(files.backing.len(), 0);
    volumes.ensure(&root, 8 * GIB, &Source::Image(image.clone())).await.unwrap();
    let root_files = volumes.files(&root).await.unwrap();
    assert_eq!(root_files.backing.len(), 1);
    assert_ne!(root_files.top, files.top);

    volumes.ensure(&root, 8 * GIB, &Source::Image(image.clone())).await.unwrap();
    assert_eq!(volumes.files(&root).await.unwrap(), root_files, "a second call changes nothing");
    let synced = volumes.settle(&root).await.unwrap();
    assert_eq!(volumes.inspect(&root, 8 * GIB, synced).await.unwrap(), Sight::Whole(root_files));
    let lost = async |id: &VolumeId, size| match volumes.inspect(id, size, 0).await.unwrap() {
        Sight::Lost { loss, .. } => loss,
        whole @ Sight::Whole(_) => panic!("{whole:?}"),
    };
    assert_eq!(lost(&root, 9 * GIB).await, Loss::Damaged, "a disk of another size is another disk");
    assert_eq!(lost(&volume_id(9), GIB).await, Loss::Missing);
    volumes.set_aside(&volume_id(9), "nothing", Timestamp(0)).await.unwrap();

    let absent = Source::Image(image_id(0xdead));
    assert!(volumes.ensure(&volume_id(3), GIB, &absent).await.is_err(), "a volume of an absent image");
    let mut list = open().list().await.unwrap();
    list.sort();
    assert_eq!(list, [blank.clone(), root.clone()], "found again after a restart, and nothing of the one that failed");

    volumes.ensure(&volume_id(4), GIB, &Source::Blank).await.unwrap();
    volumes.set_aside(&volume_id(4), "a test", Timestamp(0)).await.unwrap();
    assert_eq!(lost(&volume_id(4), GIB).await, Loss::Missing);

    volumes.remove(&root).await.unwrap();
    volumes.remove(&root).await.unwrap();
    assert!(volumes.files(&root).await.is_err());
    assert_eq!(open().list().await.unwrap(), [blank]);
}
