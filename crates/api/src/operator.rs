//! What the operator does to the store: not of AWS's API, so behind no signature. Only the binary's admin socket calls it.

use model::ids::{ImageId, SnapshotId};
use model::image::{Boot, Image};
use model::scope::Scope;
use model::tag::Tags;
use model::time::Timestamp;
use rand::Rng;
use serde::{Deserialize, Serialize};
use store::SystemTx;

/// Shortest and longest name of an image, in characters ("RegisterImage": `Name`).
const IMAGE_NAME_CHARS: std::ops::RangeInclusive<usize> = 3..=128;

/// What an image is to be.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ImageWanted {
    /// Its name; unique in the account and region.
    pub name: String,
    /// A text for people.
    pub description: Option<String>,
    /// Size of its root disk, in GiB.
    pub size_gib: u32,
    /// How an instance of it starts.
    pub boot: Boot,
    /// The user that `pileus ssh` logs in as.
    pub login_user: String,
    /// Whether every account may launch it.
    pub public: bool,
}

/// Why an image can't be registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// Another image of the account has the name.
    #[error("the account has an image named {0:?} already")]
    NameTaken(String),
    /// The name isn't one ("RegisterImage": `Name`).
    #[error("an image's name is 3 to 128 letters, digits, spaces and ()[]./-'@_ (not {0:?})")]
    BadName(String),
}

/// Checks a name before an image's files are taken over.
///
/// # Errors
/// [`ImageError`].
pub fn image_name_check(view: store::View<'_>, name: &str) -> Result<(), ImageError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "()[] ./-'@_".contains(c);
    if !IMAGE_NAME_CHARS.contains(&name.chars().count()) || !name.chars().all(allowed) {
        return Err(ImageError::BadName(name.into()));
    }
    if view.list::<Image>().any(|i| i.name == name) {
        return Err(ImageError::NameTaken(name.into()));
    }
    Ok(())
}

/// Registers an image whose files are in place.
///
/// # Errors
/// [`ImageError`]; nothing is written then.
pub fn image_register(
    tx: &mut SystemTx<'_>,
    scope: &Scope,
    id: ImageId,
    wanted: ImageWanted,
    now: Timestamp,
    rng: &mut dyn Rng,
) -> Result<(), ImageError> {
    image_name_check(tx.of(scope), &wanted.name)?;
    let image = Image {
        id,
        owner: scope.account.clone(),
        name: wanted.name,
        description: wanted.description,
        public: wanted.public,
        architecture: "x86_64".into(),
        root_device_name: "/dev/xvda".into(),
        snapshot_id: SnapshotId::generate(rng),
        size_gib: wanted.size_gib,
        boot: wanted.boot,
        login_user: wanted.login_user,
        created: now,
        tags: Tags::default(),
    };
    tx.put(scope, image);
    Ok(())
}
