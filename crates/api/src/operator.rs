//! What the operator does to the store: not of AWS's API, so behind no signature. Only the binary's admin socket calls it.

use model::ids::{ImageId, SnapshotId};
use model::image::{BadLoginUser, Boot, Image, login_user_check};
use model::scope::Scope;
use model::tag::Tags;
use model::time::Timestamp;
use rand::Rng;
use serde::{Deserialize, Serialize};
use store::SystemTx;

/// Shortest and longest name of an image, in characters ("RegisterImage": `Name`).
const IMAGE_NAME_CHARS: std::ops::RangeInclusive<usize> = 3..=128;
/// Longest description of an image, in characters: that of EC2's other descriptions ("CreateSecurityGroup": `GroupDescription`).
const IMAGE_DESCRIPTION_CHARS_MAX: usize = 255;

/// What people say of an image that is to be made: enough to refuse it before the work.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ImageAsked {
    /// Its name.
    pub name: String,
    /// A text for people.
    pub description: Option<String>,
    /// The user that `pileus ssh` logs in as.
    pub login_user: String,
}

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

impl ImageWanted {
    /// What of it people say.
    #[must_use]
    pub fn asked(&self) -> ImageAsked {
        ImageAsked { name: self.name.clone(), description: self.description.clone(), login_user: self.login_user.clone() }
    }
}

/// Why an image can't be registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// Another image of the account has the name.
    #[error("the account has an image named {0:?} already")]
    NameTaken(String),
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

/// Checks what people say of an image, before the work and again before its files are taken over. No error repeats a text that is too long.
///
/// # Errors
/// [`ImageError`].
pub fn image_check(view: store::View<'_>, ImageAsked { name, description, login_user }: &ImageAsked) -> Result<(), ImageError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "()[] ./-'@_".contains(c);
    let name_chars = name.chars().count();
    if !IMAGE_NAME_CHARS.contains(&name_chars) {
        return Err(ImageError::NameLength(name_chars));
    }
    if let Some(other) = name.chars().find(|c| !allowed(*c)) {
        return Err(ImageError::NameCharacter(other));
    }
    if view.list::<Image>().any(|i| i.name == *name) {
        return Err(ImageError::NameTaken(name.clone()));
    }
    let description_chars = description.as_deref().unwrap_or_default().chars().count();
    if description_chars > IMAGE_DESCRIPTION_CHARS_MAX {
        return Err(ImageError::DescriptionLength(description_chars));
    }
    Ok(login_user_check(login_user)?)
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
    image_check(tx.of(scope), &wanted.asked())?;
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
        lost: None,
        created: now,
        tags: Tags::default(),
    };
    tx.put(scope, image);
    Ok(())
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
        let (owner, id) = (scope.clone(), "ami-0123456789abcdef0".parse().unwrap());
        let taken = ImageWanted {
            name: "taken".into(),
            description: None,
            size_gib: 1,
            boot: Boot::Firmware,
            login_user: "root".into(),
            public: false,
        };
        let mut rng = rand::rngs::StdRng::seed_from_u64(1);
        store.write(move |tx| image_register(tx, &owner, id, taken, Timestamp(0), &mut rng)).await.unwrap().unwrap();

        let check = |name: &str, description: &str, login_user: &str| {
            let asked = ImageAsked { name: name.into(), description: Some(description.into()), login_user: login_user.into() };
            image_check(store.snapshot().of(&scope), &asked)
        };
        let long = "x".repeat(10_000);
        assert_eq!(check("a (b)[c] ./-'@_9", &long[..255], "debian"), Ok(()));
        for (name, description, login_user, error) in [
            ("ab", "", "root", ImageError::NameLength(2)),
            (&long, "", "root", ImageError::NameLength(10_000)),
            ("a\nb", "", "root", ImageError::NameCharacter('\n')),
            ("b\u{fc}cher", "", "root", ImageError::NameCharacter('\u{fc}')),
            ("taken", "", "root", ImageError::NameTaken("taken".into())),
            ("name", &long[..256], "root", ImageError::DescriptionLength(256)),
            ("name", "", &long, ImageError::LoginUser(BadLoginUser)),
        ] {
            assert_eq!(check(name, description, login_user), Err(error.clone()));
            assert!(error.to_string().len() < 300, "{error}");
        }
    }
}
