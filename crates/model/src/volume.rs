//! Volumes: block devices that outlive a stop.

use crate::ids::{ImageId, InstanceId, SnapshotId, VolumeId};
use crate::tag::Tags;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Where a volume's first content comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// Zeros.
    Blank,
    /// The root disk of an image, copied on write.
    Image(ImageId),
}

/// A volume's attachment to an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// To which instance.
    pub instance_id: InstanceId,
    /// The name that the block device mapping gave it.
    pub device_name: String,
    /// When.
    pub attach_time: Timestamp,
    /// Whether it goes when the instance terminates.
    pub delete_on_termination: bool,
}

/// What is known of a volume's file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileState {
    /// The document is from before this was recorded: the file was made if the instance has run.
    #[default]
    Unrecorded,
    /// It is to be made before the first start.
    Wanted,
    /// It was made. It holds data now, and is never made again.
    Made,
    /// It was made, and is missing or damaged. No instance starts on it until it is back.
    Lost {
        /// In what way.
        loss: Loss,
        /// What the host says, for the operator.
        why: String,
    },
}

/// In what way a file is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Loss {
    /// It isn't there.
    Missing,
    /// It is there, but can't be what it was.
    Damaged,
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Missing => "missing",
            Self::Damaged => "damaged",
        })
    }
}

/// A volume. The reconcile loop makes its file once, before the first start, and deletes it once `deleting` is set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Its id.
    pub id: VolumeId,
    /// The zone it is in.
    pub zone: String,
    /// Size in GiB.
    pub size_gib: u32,
    /// `gp2`, `gp3`, `io1`, `io2`, `st1`, `sc1` or `standard`.
    pub volume_type: String,
    /// What it starts from.
    pub source: Source,
    /// The snapshot named when it was made, if any.
    pub snapshot_id: Option<SnapshotId>,
    /// What is known of its file.
    #[serde(default)]
    pub file: FileState,
    /// The length of its file when an instance was last stopped and all of it was on the disk, in bytes; 0 if that is not known.
    #[serde(default)]
    pub file_bytes_synced: u64,
    /// What it is attached to.
    pub attachment: Option<Attachment>,
    /// Its file is to go, and the document after it.
    pub deleting: bool,
    /// When it was created.
    pub created: Timestamp,
    /// Its tags.
    pub tags: Tags,
}

impl Volume {
    /// Its size, in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        u64::from(self.size_gib) << 30
    }

    /// Whether its file holds data that must not be made anew. `ran`: the instance that it is attached to has run.
    #[must_use]
    pub fn is_made(&self, ran: bool) -> bool {
        match self.file {
            FileState::Unrecorded => ran,
            FileState::Wanted => false,
            FileState::Made | FileState::Lost { .. } => true,
        }
    }
}
