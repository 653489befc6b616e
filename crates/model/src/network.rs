//! What a VPC is to be on a node: the whole of it, so that a driver can be told again and again.

use crate::ids::{NetworkInterfaceId, SecurityGroupId, SubnetId, VpcId};
use crate::network_interface::Mac;
use crate::scope::Region;
use crate::security_group::{Peer, Traffic};
use ipnet::Ipv4Net;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// One VPC on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VpcWanted {
    /// Its id.
    pub id: VpcId,
    /// Where it is (for the names that DHCP and DNS give).
    pub region: Region,
    /// Its addresses.
    pub cidr: Ipv4Net,
    /// Its subnets.
    pub subnets: BTreeMap<SubnetId, Ipv4Net>,
    /// Whether public addresses are translated and the way out is open.
    pub internet_gateway: bool,
    /// Its interfaces on this node.
    pub interfaces: BTreeMap<NetworkInterfaceId, InterfaceWanted>,
    /// The rules of the groups that its interfaces are in.
    pub groups: BTreeMap<SecurityGroupId, GroupWanted>,
}

/// One interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceWanted {
    /// The subnet its address is of.
    pub subnet_id: SubnetId,
    /// Its Ethernet address.
    pub mac: Mac,
    /// Its address.
    pub private_ip: Ipv4Addr,
    /// The public address that is translated to it.
    pub public_ip: Option<Ipv4Addr>,
    /// The groups it is in.
    pub groups: BTreeSet<SecurityGroupId>,
    /// Whether packets of foreign addresses are dropped.
    pub source_dest_check: bool,
}

/// One group's rules, and who is in it, on this node or another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupWanted {
    /// What may come in.
    pub ingress: BTreeSet<(Traffic, Peer)>,
    /// What may go out.
    pub egress: BTreeSet<(Traffic, Peer)>,
    /// The private addresses of its interfaces.
    pub members: BTreeSet<Ipv4Addr>,
}
