//! Machine images.

use crate::ids::{ImageId, SnapshotId};
use crate::scope::AccountId;
use crate::tag::Tags;
use crate::time::Timestamp;
use crate::volume::Loss;
use serde::{Deserialize, Serialize};

/// The type of an image's root volume, unless a launch says otherwise.
pub const ROOT_VOLUME_TYPE: &str = "gp3";

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

/// A machine image. Its files are in the node's image store, under its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Its id.
    pub id: ImageId,
    /// Whose it is.
    pub owner: AccountId,
    /// Its name; unique in an account and region.
    pub name: String,
    /// A text for people.
    pub description: Option<String>,
    /// Whether every account may launch it.
    pub public: bool,
    /// `x86_64`.
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
    /// Its tags.
    pub tags: Tags,
}

#[cfg(test)]
mod tests {
    use super::*;

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
