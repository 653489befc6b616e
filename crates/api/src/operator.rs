//! What the operator does to the store: not of AWS's API, so behind no signature. Only the binary's admin socket calls it.

use crate::account;
use crate::bootstrap::DEFAULT_ACCOUNT;
use model::ids::{ImageId, SnapshotId};
use model::image::{ARCHITECTURE, BOOT_MODE, BadLoginUser, Boot, DeregisteredImage, Image, ROOT_VOLUME_TYPE, login_user_check};
use model::scope::{REGIONS, Region, Scope};
use model::tag::Tags;
use model::time::Timestamp;
use rand::Rng;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use store::{Snapshot, SystemTx, View};

/// Shortest and longest name of an image, in characters ("RegisterImage": `Name`).
const IMAGE_NAME_CHARS: std::ops::RangeInclusive<usize> = 3..=128;
/// Longest description of an image, in characters: that of EC2's other descriptions ("CreateSecurityGroup": `GroupDescription`).
const IMAGE_DESCRIPTION_CHARS_MAX: usize = 255;

/// Where an image is to be registered.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ImagePlaces {
    /// The owner's name or id; `None` for the first account.
    pub account: Option<String>,
    /// The regions, or `all`; none for the configured one.
    pub regions: Vec<String>,
}

/// The word for all regions.
pub const ALL_REGIONS: &str = "all";

impl ImagePlaces {
    /// The owner's part of each region; the first one is the default region if that is among them.
    ///
    /// # Errors
    /// [`ImageError::Account`] or [`ImageError::Region`].
    pub fn scopes(&self, snapshot: &Snapshot, default_region: &Region) -> Result<Vec<Scope>, ImageError> {
        let name = self.account.as_deref().unwrap_or(DEFAULT_ACCOUNT);
        let account = account::find(snapshot.accounts(), name).ok().filter(|a| a.closed.is_none());
        let account = account.ok_or_else(|| ImageError::Account(name.into()))?;
        let named: BTreeSet<&str> = match self.regions.as_slice() {
            [] => [default_region.as_str()].into(),
            regions if regions.iter().any(|r| r == ALL_REGIONS) => REGIONS.iter().copied().collect(),
            regions => regions.iter().map(String::as_str).collect(),
        };
        let regions = named.into_iter().map(|name| name.parse().map_err(|_| ImageError::Region(name.into())));
        let mut regions = regions.collect::<Result<Vec<Region>, _>>()?;
        regions.sort_by_key(|region| region != default_region);
        Ok(regions.into_iter().map(|region| Scope { account: account.id.clone(), region }).collect())
    }
}

/// What an operator says of an image that is to be made: enough to refuse it before the work.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ImageAsked {
    /// Its name.
    pub name: String,
    /// A description.
    pub description: Option<String>,
    /// The user that `pileus ssh` logs in as.
    pub login_user: String,
    /// Whose it is to be, and where.
    pub places: ImagePlaces,
}

/// What an image is to be.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ImageWanted {
    /// What the operator says of it.
    pub asked: ImageAsked,
    /// Size of its root disk, in GiB.
    pub size_gib: u32,
    /// How an instance of it starts.
    pub boot: Boot,
    /// Whether every account may launch it.
    pub public: bool,
}

/// Why an image can't be registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// Another image of the account has the name, in this region.
    #[error("the account has an image named {0:?} in {1} already")]
    NameTaken(String, Region),
    /// There is no such account, or it is closed.
    #[error("there is no open account {0:?}")]
    Account(String),
    /// There is no such region.
    #[error("there is no region {0:?}")]
    Region(String),
    /// There is no such image.
    #[error("there is no image {0}")]
    Absent(ImageId),
    /// The name has so many characters ("RegisterImage": `Name`).
    #[error("an image's name has 3 to 128 characters, not {0}")]
    NameLength(usize),
    /// The name has this character ("RegisterImage": `Name`).
    #[error("an image's name is made of letters, digits, spaces and ()[]./-'@_, and has no {0:?}")]
    NameCharacter(char),
    /// The description has so many characters.
    #[error("an image's description has at most {IMAGE_DESCRIPTION_CHARS_MAX} characters, not {0}")]
    DescriptionLength(usize),
    /// The login user can't be one.
    #[error("an image's login user: {0}")]
    LoginUser(#[from] BadLoginUser),
}

/// Checks an image's name.
///
/// # Errors
/// [`ImageError::NameLength`] or [`ImageError::NameCharacter`].
pub fn name_check(name: &str) -> Result<(), ImageError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "()[] ./-'@_".contains(c);
    let chars = name.chars().count();
    if !IMAGE_NAME_CHARS.contains(&chars) {
        return Err(ImageError::NameLength(chars));
    }
    name.chars().find(|c| !allowed(*c)).map_or(Ok(()), |other| Err(ImageError::NameCharacter(other)))
}

/// Checks an image's description.
///
/// # Errors
/// [`ImageError::DescriptionLength`].
pub fn description_check(description: Option<&str>) -> Result<(), ImageError> {
    let chars = description.unwrap_or_default().chars().count();
    if chars > IMAGE_DESCRIPTION_CHARS_MAX { Err(ImageError::DescriptionLength(chars)) } else { Ok(()) }
}

/// Checks what an operator says of an image, before the work and again before its files are taken over. No error repeats a text that is
/// too long. `views` are the owner's parts of the regions.
///
/// # Errors
/// [`ImageError`].
pub fn image_check<'a>(views: impl Iterator<Item = View<'a>>, asked: &ImageAsked) -> Result<(), ImageError> {
    name_check(&asked.name)?;
    for view in views {
        if view.list::<Image>().any(|i| i.name == asked.name) {
            return Err(ImageError::NameTaken(asked.name.clone(), view.scope().region.clone()));
        }
    }
    description_check(asked.description.as_deref())?;
    Ok(login_user_check(&asked.login_user)?)
}

/// Registers an image whose files are in place under the id `content`: one document in each scope. The first one has `content` as its
/// own id. Gives the ids back, in the order of the scopes.
///
/// # Errors
/// [`ImageError`]; nothing is written then.
pub fn image_register(
    tx: &mut SystemTx<'_>,
    scopes: &[Scope],
    content: &ImageId,
    wanted: &ImageWanted,
    now: Timestamp,
    rng: &mut dyn Rng,
) -> Result<Vec<ImageId>, ImageError> {
    image_check(scopes.iter().map(|scope| tx.of(scope)), &wanted.asked)?;
    let mut ids = Vec::new();
    for scope in scopes {
        let id = if ids.is_empty() { content.clone() } else { ImageId::generate(rng) };
        let image = Image {
            id: id.clone(),
            owner: scope.account.clone(),
            name: wanted.asked.name.clone(),
            description: wanted.asked.description.clone(),
            public: wanted.public,
            architecture: ARCHITECTURE.into(),
            root_device_name: "/dev/xvda".into(),
            snapshot_id: SnapshotId::generate(rng),
            size_gib: wanted.size_gib,
            boot: wanted.boot.clone(),
            login_user: wanted.asked.login_user.clone(),
            lost: None,
            created: now,
            tags: Tags::default(),
            content: Some(content.clone()),
            launch_permissions: BTreeSet::new(),
            source: None,
            root_volume_type: ROOT_VOLUME_TYPE.into(),
            boot_mode: BOOT_MODE.into(),
            imds_v2: false,
        };
        tx.put(scope, image);
        ids.push(id);
    }
    Ok(ids)
}

/// Deregisters an image, and with `all_regions` also the images of the same owner, name and files in other regions. Gives their ids back.
///
/// # Errors
/// [`ImageError::Absent`].
pub fn image_deregister(tx: &mut SystemTx<'_>, id: &ImageId, all_regions: bool) -> Result<Vec<ImageId>, ImageError> {
    let (_, image) = tx.find::<Image>(id).ok_or_else(|| ImageError::Absent(id.clone()))?;
    let same = |other: &Image| other.owner == image.owner && other.name == image.name && other.content() == image.content();
    let chosen = tx.all::<Image>().filter(|(_, other)| other.id == *id || all_regions && same(other));
    let chosen: Vec<(Scope, Image)> = chosen.map(|(scope, image)| (scope.clone(), (**image).clone())).collect();
    let mut ids = Vec::new();
    for (scope, image) in chosen {
        tx.remove::<Image>(&scope, &image.id);
        ids.push(image.id.clone());
        tx.put(&scope, DeregisteredImage { id: image.id.clone(), image });
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rand::SeedableRng as _;
    use std::sync::Arc;
    use store::{Mode, Store};

    #[tokio::test]
    async fn what_people_say_of_an_image_is_judged_and_not_repeated() {
        let scratch = tempfile::tempdir().unwrap();
        let store = Store::open(&scratch.path().join("state.db"), Mode::Simulated, Arc::new(model::fault::NoFaults)).unwrap();
        let scope = Scope { account: model::scope::AccountId::cloud(), region: "us-east-1".parse().unwrap() };
        let asked = |name: &str, description: &str, login_user: &str| ImageAsked {
            name: name.into(),
            description: Some(description.into()),
            login_user: login_user.into(),
            places: ImagePlaces::default(),
        };
        let taken = ImageWanted { asked: asked("taken", "", "root"), size_gib: 1, boot: Boot::Firmware, public: false };
        let (owner, id) = (scope.clone(), "ami-0123456789abcdef0".parse().unwrap());
        let mut rng = rand::rngs::StdRng::seed_from_u64(1);
        store.write(move |tx| image_register(tx, &[owner], &id, &taken, Timestamp(0), &mut rng)).await.unwrap().unwrap();

        let check = |name: &str, description: &str, login_user: &str| {
            image_check([store.snapshot().of(&scope)].into_iter(), &asked(name, description, login_user))
        };
        let long = "x".repeat(10_000);
        assert_eq!(check("a (b)[c] ./-'@_9", &long[..255], "debian"), Ok(()));
        for (name, description, login_user, error) in [
            ("ab", "", "root", ImageError::NameLength(2)),
            (&long, "", "root", ImageError::NameLength(10_000)),
            ("a\nb", "", "root", ImageError::NameCharacter('\n')),
            ("b\u{fc}cher", "", "root", ImageError::NameCharacter('\u{fc}')),
            ("taken", "", "root", ImageError::NameTaken("taken".into(), "us-east-1".parse().unwrap())),
            ("name", &long[..256], "root", ImageError::DescriptionLength(256)),
            ("name", "", &long, ImageError::LoginUser(BadLoginUser)),
        ] {
            assert_eq!(check(name, description, login_user), Err(error.clone()));
            assert!(error.to_string().len() < 300, "{error}");
        }
    }
}
