//! Security group rules, brought into a form that a packet filter can hold: for each kind of traffic one set of addresses in which no two
//! ranges overlap. Two rules of AWS may overlap; two elements of a filter's set may not.

use crate::ids::SecurityGroupId;
use crate::network::GroupWanted;
use crate::security_group::{Peer, Traffic};
use ipnet::Ipv4Net;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// The allowed peers of each kind of traffic: disjoint ranges, in order.
pub type Allowed = BTreeMap<Traffic, Vec<Ipv4Net>>;

/// What the rules of one direction, of all the groups of an interface, allow together. A peer group stands for its members' addresses.
/// Traffic that nobody may send is left out.
#[must_use]
pub fn allowed<'a>(
    rules: impl IntoIterator<Item = &'a BTreeSet<(Traffic, Peer)>>,
    groups: &BTreeMap<SecurityGroupId, GroupWanted>,
) -> Allowed {
    let mut found: BTreeMap<Traffic, Vec<Ipv4Net>> = BTreeMap::new();
    for (traffic, peer) in rules.into_iter().flatten() {
        let nets = found.entry(*traffic).or_default();
        match peer {
            Peer::Ipv4(net) => nets.push(net.trunc()),
            // No guest has an IPv6 address yet, so the rule allows nothing.
            Peer::Ipv6(_) => {}
            Peer::Group(id) => {
                nets.extend(groups.get(id).into_iter().flat_map(|g| &g.members).map(|&ip| Ipv4Net::from(ip)));
            }
        }
    }
    found.into_iter().map(|(traffic, nets)| (traffic, Ipv4Net::aggregate(&nets))).filter(|(_, nets)| !nets.is_empty()).collect()
}

/// Whether a packet of this traffic from or to this address is allowed: the meaning that every filter must keep.
#[must_use]
pub fn allows(allowed: &Allowed, packet: &Packet, peer: Ipv4Addr) -> bool {
    allowed.iter().any(|(traffic, nets)| packet.is(*traffic) && nets.iter().any(|n| n.contains(&peer)))
}

/// What a rule sees of a packet besides its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packet {
    /// TCP to this port.
    Tcp(u16),
    /// UDP to this port.
    Udp(u16),
    /// ICMP of this type and code.
    Icmp(u8, u8),
    /// Another protocol.
    Protocol(u8),
}

impl Packet {
    fn is(self, traffic: Traffic) -> bool {
        match (traffic, self) {
            (Traffic::All, _) => true,
            (Traffic::Tcp(from, to), Self::Tcp(port)) | (Traffic::Udp(from, to), Self::Udp(port)) => (from..=to).contains(&port),
            (Traffic::Icmp(kind, code), Self::Icmp(k, c)) => kind.is_none_or(|x| x == k) && code.is_none_or(|x| x == c),
            (Traffic::Protocol(n), Self::Protocol(m)) => n == m,
            (Traffic::Tcp(..) | Traffic::Udp(..) | Traffic::Icmp(..) | Traffic::Protocol(_), _) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn rule(traffic: Traffic, net: &str) -> (Traffic, Peer) {
        (traffic, Peer::Ipv4(net.parse().unwrap()))
    }

    #[test]
    fn overlapping_ranges_become_one() {
        let rules = BTreeSet::from([
            rule(Traffic::Tcp(22, 22), "10.0.0.0/8"),
            rule(Traffic::Tcp(22, 22), "10.1.2.3/32"),
            rule(Traffic::Tcp(22, 22), "11.0.0.0/8"),
            rule(Traffic::Udp(53, 53), "0.0.0.0/0"),
        ]);
        let allowed = allowed([&rules], &BTreeMap::new());
        assert_eq!(allowed[&Traffic::Tcp(22, 22)], ["10.0.0.0/7".parse().unwrap()]);
        assert!(allows(&allowed, &Packet::Tcp(22), [11, 1, 1, 1].into()));
        assert!(!allows(&allowed, &Packet::Tcp(23), [11, 1, 1, 1].into()));
        assert!(!allows(&allowed, &Packet::Tcp(22), [12, 1, 1, 1].into()));
        assert!(allows(&allowed, &Packet::Udp(53), [12, 1, 1, 1].into()));
    }

    #[test]
    fn a_group_is_its_members() {
        let group: SecurityGroupId = "sg-01234567".parse().unwrap();
        let rules = BTreeSet::from([(Traffic::All, Peer::Group(group.clone()))]);
        let mut groups = BTreeMap::from([(group.clone(), GroupWanted::default())]);
        assert!(allowed([&rules], &groups).is_empty());
        groups.get_mut(&group).unwrap().members.insert([10, 0, 0, 5].into());
        let allowed = allowed([&rules], &groups);
        assert!(allows(&allowed, &Packet::Icmp(8, 0), [10, 0, 0, 5].into()));
        assert!(!allows(&allowed, &Packet::Icmp(8, 0), [10, 0, 0, 6].into()));
    }
}
