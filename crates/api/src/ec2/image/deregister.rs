//! DeregisterImage.

use super::own;
use crate::action::{Call, Write};
use crate::ec2::shown::{fixed, text};
use model::image::{DeregisteredImage, Image};
use store::AccountTx;
use wire::ApiError;
use wire::shapes::ec2 as shapes;

pub(super) struct DeregisterImage;

impl Write for DeregisterImage {
    const SERVICE: &'static str = "ec2";
    const NAME: &'static str = "DeregisterImage";
    type Input = shapes::DeregisterImageRequest;
    type Output = shapes::DeregisterImageResult;

    /// Instances of the image go on, and may stop and start. The snapshot of an image here is only its image's name for the disk, and
    /// goes with it whether or not its deletion is asked for; what volumes stand on stays.
    fn run(_: &mut Call, tx: &mut AccountTx<'_>, input: Self::Input) -> Result<Self::Output, ApiError> {
        let image = (**own(tx.view(), input.image_id.as_deref())?).clone();
        let deleted = input.delete_associated_snapshots == Some(true);
        let result = shapes::DeleteSnapshotReturnCode { snapshot_id: text(&image.snapshot_id), return_code: fixed("success") };
        tx.remove::<Image>(&image.id);
        tx.put(DeregisteredImage { id: image.id.clone(), image });
        Ok(shapes::DeregisterImageResult { r#return: Some(true), delete_snapshot_results: deleted.then(|| vec![result]) })
    }
}
