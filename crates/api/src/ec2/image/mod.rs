//! Machine images (AMIs).

mod attribute;
mod copy;
mod deregister;
mod describe;

use super::common::missing;
use super::kind;
use crate::action::actions;
use model::ids::ImageId;
use model::image::Image;
use model::scope::AccountId;
use std::sync::Arc;
use store::View;
use wire::ApiError;

actions![
    read describe::DescribeImages,
    read attribute::DescribeImageAttribute,
    write attribute::ModifyImageAttribute,
    write attribute::ResetImageAttribute,
    write copy::CopyImage,
    write deregister::DeregisterImage,
];

const AVAILABLE: &str = "available";
/// The alias of the owners of public images that Amazon stands for: itself, and verified providers.
const CLOUD_ALIAS: &str = "amazon";
/// The one value of `ImdsSupport`.
const IMDS_V2: &str = "v2.0";

/// The owner's alias, if its owner has one.
fn alias(image: &Image) -> Option<&'static str> {
    (image.owner == AccountId::cloud() || image.owner.is_image_vendor()).then_some(CLOUD_ALIAS)
}

/// The caller's own image.
///
/// # Errors
/// As for an image that doesn't exist if the caller can't see it, and `AuthFailure` for one that another account owns.
fn own<'a>(view: View<'a>, id: Option<&str>) -> Result<&'a Arc<Image>, ApiError> {
    let image = visible(view, id)?;
    if image.owner != view.scope().account {
        return Err(ApiError::new("AuthFailure", format!("Not authorized for image:{}", image.id)));
    }
    Ok(image)
}

/// An image that the caller may launch. Any other answers as one that doesn't exist.
///
/// # Errors
/// `MissingParameter`, `InvalidAMIID.Malformed` or `InvalidAMIID.NotFound`.
fn visible<'a>(view: View<'a>, id: Option<&str>) -> Result<&'a Arc<Image>, ApiError> {
    let id: ImageId = kind::IMAGE.parse(id.filter(|t| !t.is_empty()).ok_or_else(|| missing("ImageId"))?)?;
    view.image(&id).ok_or_else(|| kind::IMAGE.not_found(&[id]))
}

/// An image that the caller may launch and that can be launched.
///
/// # Errors
/// As [`visible`], and `InvalidAMIID.Unavailable` for an image whose files are lost.
pub(super) fn launchable<'a>(view: View<'a>, id: Option<&str>) -> Result<&'a Arc<Image>, ApiError> {
    let image = visible(view, id)?;
    if image.lost.is_some() {
        return Err(ApiError::new("InvalidAMIID.Unavailable", format!("The image ID '[{}]' is not available", image.id)));
    }
    Ok(image)
}
