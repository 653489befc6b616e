//! Virtual networks. Each account has a default one in each region, made at first use.

use crate::ids::{DhcpOptionsId, InternetGatewayId, VpcId};
use crate::tag::Tags;
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

/// The addresses of every default VPC ("Default VPCs", Amazon VPC User Guide).
pub const DEFAULT_CIDR: &str = "172.31.0.0/16";

/// A virtual network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vpc {
    /// Its id.
    pub id: VpcId,
    /// Its addresses.
    pub cidr: Ipv4Net,
    /// Whether launches without a subnet go here.
    pub is_default: bool,
    /// Its DHCP options.
    pub dhcp_options_id: DhcpOptionsId,
    /// Its way out, which its main route table's 0.0.0.0/0 points at.
    pub internet_gateway_id: Option<InternetGatewayId>,
    /// Its tags.
    pub tags: Tags,
}
