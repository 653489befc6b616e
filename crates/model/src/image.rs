//! Machine images.

use crate::ids::{ImageId, SnapshotId};
use crate::scope::AccountId;
use crate::tag::Tags;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// The type of an image's root volume, unless a launch says otherwise.
pub const ROOT_VOLUME_TYPE: &str = "gp3";

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
    /// When it was registered.
    pub created: Timestamp,
    /// Its tags.
    pub tags: Tags,
}
