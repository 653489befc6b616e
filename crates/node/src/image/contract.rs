//! What every [`Images`] driver must do.
#![allow(clippy::unwrap_used)]

use super::Images;
use model::ids::ImageId;
use model::time::Timestamp;
use model::volume::Loss;
use std::path::PathBuf;
use std::sync::Arc;

/// Checks a driver. `open` makes it anew on the same host, as a restarted server does; `stage` makes the `n`th finished directory,
/// with a kernel.
pub(crate) async fn check(open: &dyn Fn() -> Arc<dyn Images>, stage: &dyn Fn(u32) -> PathBuf) {
    let images = open();
    let id = |n: u32| format!("ami-{n:017x}").parse::<ImageId>().unwrap();
    assert_eq!(images.list().await.unwrap(), []);
    assert!(images.files(&id(1)).await.is_err(), "files of an absent image");
    images.remove(&id(1)).await.unwrap();

    let staged = stage(1);
    images.adopt(&id(1), &staged).await.unwrap();
    let files = images.files(&id(1)).await.unwrap();
    assert!(files.kernel.is_some());
    images.adopt(&id(1), &staged).await.unwrap();
    assert_eq!(images.files(&id(1)).await.unwrap(), files, "a second call changes nothing");

    images.adopt(&id(2), &stage(2)).await.unwrap();
    assert_ne!(images.files(&id(2)).await.unwrap().disk, files.disk);
    let mut list = open().list().await.unwrap();
    list.sort();
    assert_eq!(list, [id(1), id(2)], "found again after a restart");

    assert_eq!(images.inspect(&id(1)).await.unwrap(), None);
    assert_eq!(images.inspect(&id(3)).await.unwrap().map(|lost| lost.loss), Some(Loss::Missing));
    images.adopt(&id(4), &stage(4)).await.unwrap();
    images.set_aside(&id(4), "a test", Timestamp(0)).await.unwrap();
    images.set_aside(&id(4), "a test", Timestamp(0)).await.unwrap();
    assert_eq!(images.inspect(&id(4)).await.unwrap().map(|lost| lost.loss), Some(Loss::Missing));

    images.remove(&id(1)).await.unwrap();
    images.remove(&id(1)).await.unwrap();
    assert!(images.files(&id(1)).await.is_err());
    assert_eq!(open().list().await.unwrap(), [id(2)]);
}
