//! What the metadata service knows of a guest.

use crate::ids::{ImageId, InstanceId, NetworkInterfaceId, ReservationId, SecurityGroupId, SubnetId, VpcId};
use crate::network_interface::Mac;
use crate::scope::{AccountId, Region};
use crate::tag::Tags;
use crate::time::Timestamp;
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// An instance's metadata options (ModifyInstanceMetadataOptions).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetadataOptions {
    /// Whether the service answers at all (`HttpEndpoint`).
    pub enabled: bool,
    /// Whether a token is needed (`HttpTokens` = `required`).
    pub tokens_required: bool,
    /// How many hops a token's answer may travel, 1 to 64 (`HttpPutResponseHopLimit`).
    pub hop_limit: u8,
    /// Whether the tags are shown (`InstanceMetadataTags`).
    pub tags: bool,
    /// Whether the IPv6 endpoint is asked for (`HttpProtocolIpv6`); kept and shown, no guest has IPv6 yet.
    pub ipv6: bool,
}

/// What the service tells one guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    /// Its account.
    pub account: AccountId,
    /// Its region.
    pub region: Region,
    /// Its zone.
    pub zone: String,
    /// Its id.
    pub instance_id: InstanceId,
    /// Its type.
    pub instance_type: String,
    /// Its image.
    pub image_id: ImageId,
    /// The image's architecture.
    pub architecture: String,
    /// The call that made it.
    pub reservation_id: ReservationId,
    /// Its place in that call.
    pub launch_index: u32,
    /// When it was started last.
    pub launch_time: Timestamp,
    /// The key pair's name and public key, if it has one.
    pub key: Option<(String, String)>,
    /// What the user gave it.
    pub user_data: Option<Vec<u8>>,
    /// Its block devices: the root's name first, then `(virtual name, device name)` of the others.
    pub root_device_name: String,
    /// The other devices as `(ebs1, sdb)`.
    pub block_devices: Vec<(String, String)>,
    /// Its private host name.
    pub private_dns: String,
    /// Its public host name, if it has a public address.
    pub public_dns: Option<String>,
    /// Its interfaces, the primary one first.
    pub interfaces: Vec<GuestInterface>,
    /// Its tags.
    pub tags: Tags,
    /// Its metadata options.
    pub options: MetadataOptions,
}

/// One interface of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestInterface {
    /// Its id.
    pub id: NetworkInterfaceId,
    /// Its device number.
    pub device_index: u32,
    /// Its Ethernet address.
    pub mac: Mac,
    /// Its private address.
    pub private_ip: Ipv4Addr,
    /// Its public address.
    pub public_ip: Option<Ipv4Addr>,
    /// Its subnet.
    pub subnet_id: SubnetId,
    /// The subnet's addresses.
    pub subnet_cidr: Ipv4Net,
    /// Its VPC.
    pub vpc_id: VpcId,
    /// The VPC's addresses.
    pub vpc_cidr: Ipv4Net,
    /// Its groups: id and name.
    pub groups: Vec<(SecurityGroupId, String)>,
}
