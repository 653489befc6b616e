//! Subnets: a VPC's addresses in one zone.

use crate::ids::{SubnetId, VpcId};
use crate::tag::Tags;
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// A subnet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// Its id.
    pub id: SubnetId,
    /// The VPC it is part of.
    pub vpc_id: VpcId,
    /// Its addresses.
    pub cidr: Ipv4Net,
    /// The zone it is in.
    pub zone: String,
    /// Whether launches in this zone without a subnet go here.
    pub default_for_az: bool,
    /// Whether a launch gets a public address unless it says otherwise.
    pub map_public_ip_on_launch: bool,
    /// Its tags.
    pub tags: Tags,
}

impl Subnet {
    /// The VPC router's address here: the network address plus one ("Subnet CIDR blocks": the first four and the last are reserved).
    #[must_use]
    pub fn router(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.cidr.network()) + 1)
    }
}
