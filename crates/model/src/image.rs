//! Machine images.

use crate::ids::{ImageId, SnapshotId};
use crate::scope::{AccountId, Region};
use crate::tag::Tags;
use crate::time::Timestamp;
use crate::volume::Loss;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The type of an image's root volume, unless a launch says otherwise.
pub const ROOT_VOLUME_TYPE: &str = "gp3";

/// The architecture of an image, unless it says otherwise.
pub const ARCHITECTURE: &str = "x86_64";

/// The boot mode of an image, unless it says otherwise.
pub const BOOT_MODE: &str = "legacy-bios";

/// Longest name of a user, in bytes (`LOGIN_NAME_MAX` of Linux, without its zero).
const LOGIN_USER_BYTES_MAX: usize = 255;

/// A name that no user has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadLoginUser;

impl std::fmt::Display for BadLoginUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a user's name is 1 to {LOGIN_USER_BYTES_MAX} letters, digits and ._-@+, and doesn't begin with -")
    }
}

impl std::error::Error for BadLoginUser {}

/// Checks the name of a user to log in as. It becomes a word of `ssh`'s command line, and the guest's programs see it, too: more than what
/// users are really named is of use to nobody but who plays tricks.
///
/// # Errors
/// [`BadLoginUser`].
pub fn login_user_check(name: &str) -> Result<(), BadLoginUser> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-@+".contains(&b);
    let is_one = (1..=LOGIN_USER_BYTES_MAX).contains(&name.len()) && name.bytes().all(allowed) && !name.starts_with('-');
    if is_one { Ok(()) } else { Err(BadLoginUser) }
}

/// How an instance of the image starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Boot {
    /// The firmware runs the boot loader on the disk.
    Firmware,
    /// The kernel and the initramfs beside the disk are loaded directly.
    Kernel {
        /// The kernel's command line.
        command_line: String,
    },
}

/// A machine image. Several images, in several regions and accounts, may stand on the same files: see [`Image::content`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Its id.
    pub id: ImageId,
    /// The account that owns it.
    pub owner: AccountId,
    /// Its name; unique in an account and region.
    pub name: String,
    /// A description.
    pub description: Option<String>,
    /// Whether every account may launch it.
    pub public: bool,
    /// `x86_64` or `arm64`.
    pub architecture: String,
    /// `/dev/xvda` or `/dev/sda1`.
    pub root_device_name: String,
    /// The snapshot that stands for the root disk.
    pub snapshot_id: SnapshotId,
    /// Size of the root disk as an instance sees it, in GiB, rounded up.
    pub size_gib: u32,
    /// How an instance of it starts.
    pub boot: Boot,
    /// The user that `pileus ssh` logs in as, unless told otherwise.
    pub login_user: String,
    /// Its files are missing or damaged: it can't be launched until they are back.
    #[serde(default)]
    pub lost: Option<Loss>,
    /// When it was registered.
    pub created: Timestamp,
    /// The tags that its owner gave it. Tags of other accounts are [`ImageTags`].
    pub tags: Tags,
    /// The id of its files in the node's image store; `None` for its own id.
    #[serde(default)]
    pub content: Option<ImageId>,
    /// The accounts that may launch it besides its owner.
    #[serde(default)]
    pub launch_permissions: BTreeSet<AccountId>,
    /// The image that it is a copy of, and that image's region.
    #[serde(default)]
    pub source: Option<(ImageId, Region)>,
    /// The type of its root volume.
    #[serde(default = "root_volume_type")]
    pub root_volume_type: String,
    /// `legacy-bios`, `uefi` or `uefi-preferred`.
    #[serde(default = "boot_mode")]
    pub boot_mode: String,
    /// Whether its instances require version 2 of the metadata service unless their launch says otherwise (`ImdsSupport`).
    #[serde(default)]
    pub imds_v2: bool,
}

fn root_volume_type() -> String {
    ROOT_VOLUME_TYPE.into()
}

fn boot_mode() -> String {
    BOOT_MODE.into()
}

impl Image {
    /// The id of its files in the node's image store.
    #[must_use]
    pub fn content(&self) -> &ImageId {
        self.content.as_ref().unwrap_or(&self.id)
    }

    /// Whether an account may see it and launch it: its owner, an account it is shared with, or anybody if it is public.
    #[must_use]
    pub fn is_visible_to(&self, account: &AccountId) -> bool {
        self.public || self.owner == *account || self.launch_permissions.contains(account)
    }
}

/// An image that was deregistered. It can't be seen nor launched, but instances of it may still have to start again; it goes with
/// the last of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeregisteredImage {
    /// The image's id.
    pub id: ImageId,
    /// The image as it was.
    pub image: Image,
}

/// The tags that an account gave another account's image. Only that account sees them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageTags {
    /// The image's id.
    pub id: ImageId,
    /// The tags.
    pub tags: Tags,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_of_before_shared_files_opens() {
        let old = r#"{"id":"ami-00000000000000001","owner":"111122223333","name":"tiny","description":null,"public":false,
            "architecture":"x86_64","root_device_name":"/dev/xvda","snapshot_id":"snap-00000000000000001","size_gib":1,
            "boot":"Firmware","login_user":"root","created":0,"tags":{}}"#;
        let image: Image = serde_json::from_str(old).expect("an old document is an image");
        assert_eq!(image.content(), &image.id);
        assert_eq!((image.root_volume_type.as_str(), image.boot_mode.as_str()), ("gp3", "legacy-bios"));
        assert!(image.is_visible_to(&image.owner) && !image.is_visible_to(&AccountId::cloud()));
    }

    #[test]
    fn users_have_names_that_play_no_tricks() {
        let longest = "x".repeat(LOGIN_USER_BYTES_MAX);
        for name in ["root", "ec2-user", "_apt", "Admin.2", "jane@example.com", "a+b", &longest] {
            assert_eq!(login_user_check(name), Ok(()), "{name:?}");
        }
        let too_long = "x".repeat(LOGIN_USER_BYTES_MAX + 1);
        let bad = [
            "",
            "-l",
            "-oProxyCommand=x",
            "a\nb",
            "root\n",
            "a b",
            "a\0b",
            "$(id)",
            "a;b",
            "`id`",
            "a/b",
            "a:b",
            "a\\b",
            "\u{fc}",
            "%h",
            &too_long,
        ];
        for name in bad {
            assert_eq!(login_user_check(name), Err(BadLoginUser), "{name:?}");
        }
    }
}
