//! Network interfaces.

use crate::ids::{AttachmentId, InstanceId, NetworkInterfaceId, SecurityGroupId, SubnetId, VpcId};
use crate::tag::Tags;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// An Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Mac(pub [u8; 6]);

impl std::fmt::Display for Mac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl Mac {
    /// Draws a locally administered unicast address. `02:ff` is kept for the routers.
    pub fn generate(rng: &mut dyn rand::Rng) -> Self {
        use rand::RngExt as _;
        let mut bytes: [u8; 6] = rng.random();
        bytes[0] = 0x02;
        bytes[1] &= 0x7f;
        Self(bytes)
    }
}

/// An interface's attachment to an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Its id.
    pub id: AttachmentId,
    /// To which instance.
    pub instance_id: InstanceId,
    /// 0 is the primary interface.
    pub device_index: u32,
    /// When.
    pub attach_time: Timestamp,
    /// Whether it goes when the instance terminates.
    pub delete_on_termination: bool,
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkInterface {
    /// Its id.
    pub id: NetworkInterfaceId,
    /// The VPC it is in.
    pub vpc_id: VpcId,
    /// The subnet its address is of.
    pub subnet_id: SubnetId,
    /// The subnet's zone.
    pub zone: String,
    /// A text for people.
    pub description: String,
    /// Its Ethernet address.
    pub mac: Mac,
    /// Its primary private address.
    pub private_ip: Ipv4Addr,
    /// Whether it is given a public address at each start of its instance. The reconcile loop takes it back once that is stopped.
    #[serde(default)]
    pub map_public_ip: bool,
    /// The public address that is translated to it, while the instance runs.
    pub public_ip: Option<Ipv4Addr>,
    /// The groups whose rules it is under.
    pub groups: Vec<SecurityGroupId>,
    /// Whether packets of foreign addresses are dropped.
    pub source_dest_check: bool,
    /// What it is attached to.
    pub attachment: Option<Attachment>,
    /// Its tags.
    pub tags: Tags,
}
