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

/// A volume. The reconcile loop makes its file before the first start and deletes it once `deleting` is set.
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
    /// What it is attached to.
    pub attachment: Option<Attachment>,
    /// Its file is to go, and the document after it.
    pub deleting: bool,
    /// When it was created.
    pub created: Timestamp,
    /// Its tags.
    pub tags: Tags,
}
