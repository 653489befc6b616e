//! Security groups: what may reach, and what may leave, an interface.

use crate::ids::{SecurityGroupId, SecurityGroupRuleId, VpcId};
use crate::tag::Tags;
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

/// Which packets of IP a rule speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Traffic {
    /// Every protocol, `-1`.
    All,
    /// TCP, destination ports from and to, inclusive.
    Tcp(u16, u16),
    /// UDP, destination ports from and to, inclusive.
    Udp(u16, u16),
    /// ICMP: type and code, `None` for all of them.
    Icmp(Option<u8>, Option<u8>),
    /// Another protocol of IP, by its IANA number.
    Protocol(u8),
}

/// Whom a rule speaks of: the source of an ingress rule, the destination of an egress rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Peer {
    /// A range of IPv4 addresses.
    Ipv4(Ipv4Net),
    /// A range of IPv6 addresses. Kept and shown; no guest has an IPv6 address yet, so nothing can match it.
    Ipv6(ipnet::Ipv6Net),
    /// The interfaces that are in a group.
    Group(SecurityGroupId),
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Its id.
    pub id: SecurityGroupRuleId,
    /// Which packets.
    pub traffic: Traffic,
    /// From or to whom.
    pub peer: Peer,
    /// A text for people.
    pub description: Option<String>,
    /// Its tags.
    pub tags: Tags,
}

impl Rule {
    /// A rule for every packet from, or to, a peer.
    #[must_use]
    pub fn everything(id: SecurityGroupRuleId, peer: Peer) -> Self {
        Self { id, traffic: Traffic::All, peer, description: None, tags: Tags::default() }
    }
}

/// A security group. Only what a rule allows may pass; answers to what passed may, too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityGroup {
    /// Its id.
    pub id: SecurityGroupId,
    /// Its name; unique in a VPC.
    pub name: String,
    /// A text for people.
    pub description: String,
    /// The VPC it is of.
    pub vpc_id: VpcId,
    /// What may reach its interfaces.
    pub ingress: Vec<Rule>,
    /// What may leave them.
    pub egress: Vec<Rule>,
    /// Its tags.
    pub tags: Tags,
}
