//! Security group rules in normal form: no two parts speak of the same packet, and nothing is said twice.
//!
//! AWS lets rules overlap and repeat each other; a packet filter's interval sets don't. So the rules of one direction are cut at
//! every edge, what lies on top of each other is merged, and neighbours that say the same become one. The cost of a packet then
//! doesn't grow with the number of rules.

use crate::ids::SecurityGroupId;
use crate::security_group::{Peer, Traffic};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// IANA's number of ICMP.
pub const ICMP: u8 = 1;
/// IANA's number of TCP.
pub const TCP: u8 = 6;
/// IANA's number of UDP.
pub const UDP: u8 = 17;

const EVERYONE: (Ipv4Addr, Ipv4Addr) = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST);

/// Whom rules speak of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peers {
    /// Address ranges, first to last inclusive, ascending, with a gap between any two.
    pub ranges: Vec<(Ipv4Addr, Ipv4Addr)>,
    /// The members of these groups. Empty if the ranges are everyone.
    pub groups: BTreeSet<SecurityGroupId>,
}

/// Some destination ports, or ICMP types and codes (type × 256 + code), and who may use them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The first of them.
    pub first: u16,
    /// The last of them.
    pub last: u16,
    /// Who may.
    pub peers: Peers,
}

/// The rules of one direction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// Who may use every protocol. They are not repeated below.
    pub any: Peers,
    /// TCP's ports, ascending, without overlap.
    pub tcp: Vec<Span>,
    /// UDP's ports, ascending, without overlap.
    pub udp: Vec<Span>,
    /// ICMP's types and codes, ascending, without overlap.
    pub icmp: Vec<Span>,
    /// Other protocols of IP.
    pub protocols: BTreeMap<u8, Peers>,
}

impl Peers {
    fn new<'a>(peers: impl IntoIterator<Item = &'a Peer>) -> Self {
        let mut ranges = Vec::new();
        let mut groups = BTreeSet::new();
        for peer in peers {
            match peer {
                Peer::Ipv4(net) => ranges.push((net.network(), net.broadcast())),
                Peer::Group(id) => {
                    groups.insert(id.clone());
                }
                // No guest has an IPv6 address yet, so the rule allows nothing.
                Peer::Ipv6(_) => {}
            }
        }
        let ranges = merge(ranges);
        if ranges == [EVERYONE] {
            groups.clear();
        }
        Self { ranges, groups }
    }

    /// Whether nobody is meant.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty() && self.groups.is_empty()
    }

    /// Whether every address is meant.
    #[must_use]
    pub fn is_everyone(&self) -> bool {
        self.ranges == [EVERYONE]
    }

    fn without(mut self, others: &Self) -> Self {
        if others.is_everyone() {
            return Self::default();
        }
        self.ranges.retain(|(first, last)| !others.ranges.iter().any(|(f, l)| f <= first && last <= l));
        self.groups.retain(|group| !others.groups.contains(group));
        self
    }
}

/// Sorted, with those that overlap or touch made one.
fn merge(mut ranges: Vec<(Ipv4Addr, Ipv4Addr)>) -> Vec<(Ipv4Addr, Ipv4Addr)> {
    ranges.sort_unstable();
    let mut merged: Vec<(Ipv4Addr, Ipv4Addr)> = Vec::new();
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(before) if u32::from(first) <= u32::from(before.1).saturating_add(1) => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged
}

impl Rules {
    /// Puts the rules of one direction, of one group or of several, in normal form.
    #[must_use]
    pub fn new<'a>(rules: impl IntoIterator<Item = &'a (Traffic, Peer)>) -> Self {
        let mut any = Vec::new();
        let (mut tcp, mut udp, mut icmp) = (Vec::new(), Vec::new(), Vec::new());
        let mut protocols: BTreeMap<u8, Vec<&Peer>> = BTreeMap::new();
        for (traffic, peer) in rules {
            match *traffic {
                Traffic::All => any.push(peer),
                Traffic::Tcp(first, last) => tcp.push((first, last, peer)),
                Traffic::Protocol(TCP) => tcp.push((0, u16::MAX, peer)),
                Traffic::Udp(first, last) => udp.push((first, last, peer)),
                Traffic::Protocol(UDP) => udp.push((0, u16::MAX, peer)),
                Traffic::Icmp(kind, code) => {
                    let (first, last) = icmp_span(kind, code);
                    icmp.push((first, last, peer));
                }
                Traffic::Protocol(ICMP) => icmp.push((0, u16::MAX, peer)),
                Traffic::Protocol(number) => protocols.entry(number).or_default().push(peer),
            }
        }
        let any = Peers::new(any);
        let protocols = protocols.into_iter().map(|(number, peers)| (number, Peers::new(peers).without(&any)));
        Self {
            tcp: spans(&tcp, &any),
            udp: spans(&udp, &any),
            icmp: spans(&icmp, &any),
            protocols: protocols.filter(|(_, peers)| !peers.is_empty()).collect(),
            any,
        }
    }

    /// Whether everyone may use the whole of a protocol. If this is so both ways, AWS doesn't track its flows ("Untracked
    /// connections", Amazon EC2 User Guide): they end with the rule.
    #[must_use]
    pub fn is_open(&self, protocol: u8) -> bool {
        let whole = |spans: &[Span]| matches!(spans, [one] if one.first == 0 && one.last == u16::MAX && one.peers.is_everyone());
        self.any.is_everyone()
            || match protocol {
                TCP => whole(&self.tcp),
                UDP => whole(&self.udp),
                ICMP => whole(&self.icmp),
                other => self.protocols.get(&other).is_some_and(Peers::is_everyone),
            }
    }

    /// The groups that are spoken of.
    pub fn groups(&self) -> impl Iterator<Item = &SecurityGroupId> {
        let spans = self.tcp.iter().chain(&self.udp).chain(&self.icmp).map(|span| &span.peers);
        std::iter::once(&self.any).chain(spans).chain(self.protocols.values()).flat_map(|peers| &peers.groups)
    }
}

fn icmp_span(kind: Option<u8>, code: Option<u8>) -> (u16, u16) {
    match (kind, code) {
        (None, _) => (0, u16::MAX),
        (Some(kind), None) => (u16::from_be_bytes([kind, 0]), u16::from_be_bytes([kind, u8::MAX])),
        (Some(kind), Some(code)) => (u16::from_be_bytes([kind, code]), u16::from_be_bytes([kind, code])),
    }
}

/// Cuts spans at every edge and joins neighbours of the same peers. A span that ends before it begins matches nothing.
fn spans(rules: &[(u16, u16, &Peer)], any: &Peers) -> Vec<Span> {
    let edges: BTreeSet<u32> = rules.iter().flat_map(|(first, last, _)| [u32::from(*first), u32::from(*last) + 1]).collect();
    let edges: Vec<u32> = edges.into_iter().collect();
    let mut spans: Vec<Span> = Vec::new();
    for pair in edges.windows(2) {
        let (Ok(first), Ok(last)) = (u16::try_from(pair[0]), u16::try_from(pair[1] - 1)) else { continue };
        let covering = rules.iter().filter(|(f, l, _)| *f <= first && last <= *l).map(|(_, _, peer)| *peer);
        let peers = Peers::new(covering).without(any);
        match spans.last_mut() {
            _ if peers.is_empty() => {}
            Some(before) if u32::from(before.last) + 1 == u32::from(first) && before.peers == peers => before.last = last,
            _ => spans.push(Span { first, last, peers }),
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    /// A packet as a rule sees it: what it is, and the address and groups of its other end.
    #[derive(Debug, Clone)]
    struct Packet {
        protocol: u8,
        /// Destination port, or ICMP type and code.
        selector: u16,
        address: Ipv4Addr,
        groups: BTreeSet<SecurityGroupId>,
    }

    /// What AWS's words say, rule by rule.
    fn naive(rules: &[(Traffic, Peer)], packet: &Packet) -> bool {
        let [its_kind, its_code] = packet.selector.to_be_bytes();
        rules.iter().any(|(traffic, peer)| {
            let traffic = match *traffic {
                Traffic::All => true,
                Traffic::Tcp(first, last) => packet.protocol == TCP && (first..=last).contains(&packet.selector),
                Traffic::Udp(first, last) => packet.protocol == UDP && (first..=last).contains(&packet.selector),
                Traffic::Icmp(kind, code) => {
                    packet.protocol == ICMP && kind.is_none_or(|k| k == its_kind && code.is_none_or(|c| c == its_code))
                }
                Traffic::Protocol(number) => packet.protocol == number,
            };
            let peer = match peer {
                Peer::Ipv4(net) => net.contains(&packet.address),
                Peer::Group(id) => packet.groups.contains(id),
                Peer::Ipv6(_) => false,
            };
            traffic && peer
        })
    }

    fn peers_allow(peers: &Peers, packet: &Packet) -> bool {
        peers.ranges.iter().any(|(first, last)| (first..=last).contains(&&packet.address))
            || peers.groups.iter().any(|group| packet.groups.contains(group))
    }

    fn allows(rules: &Rules, packet: &Packet) -> bool {
        let spanned = |spans: &[Span]| spans.iter().any(|s| (s.first..=s.last).contains(&packet.selector) && peers_allow(&s.peers, packet));
        peers_allow(&rules.any, packet)
            || match packet.protocol {
                TCP => spanned(&rules.tcp),
                UDP => spanned(&rules.udp),
                ICMP => spanned(&rules.icmp),
                other => rules.protocols.get(&other).is_some_and(|peers| peers_allow(peers, packet)),
            }
    }

    fn group(n: u8) -> SecurityGroupId {
        format!("sg-{n:08x}").parse().unwrap()
    }

    // Few values, so that rules meet and packets hit.
    fn port() -> impl Strategy<Value = u16> {
        prop_oneof![0u16..12, Just(u16::MAX - 1), Just(u16::MAX)]
    }

    fn traffic() -> impl Strategy<Value = Traffic> {
        let code = || prop_oneof![Just(0u8), Just(1), Just(254), Just(255)];
        prop_oneof![
            Just(Traffic::All),
            (port(), port()).prop_map(|(a, b)| Traffic::Tcp(a, b)),
            (port(), port()).prop_map(|(a, b)| Traffic::Udp(a.min(b), a.max(b))),
            (proptest::option::of(code()), proptest::option::of(code())).prop_map(|(k, c)| Traffic::Icmp(k, c)),
            prop_oneof![Just(TCP), Just(UDP), Just(ICMP), Just(47u8), Just(50)].prop_map(Traffic::Protocol),
        ]
    }

    fn address() -> impl Strategy<Value = Ipv4Addr> {
        prop_oneof![(0u8..8).prop_map(|n| Ipv4Addr::new(10, 0, 0, n)), Just(Ipv4Addr::UNSPECIFIED), Just(Ipv4Addr::BROADCAST)]
    }

    fn peer() -> impl Strategy<Value = Peer> {
        let prefix = prop_oneof![4 => 28u8..=32, 1 => Just(0u8)];
        prop_oneof![
            4 => (address(), prefix).prop_map(|(a, len)| Peer::Ipv4(ipnet::Ipv4Net::new(a, len).unwrap())),
            1 => Just(Peer::Ipv6("::/0".parse().unwrap())),
            2 => (0u8..3).prop_map(|n| Peer::Group(group(n))),
        ]
    }

    fn packet() -> impl Strategy<Value = Packet> {
        let selector = prop_oneof![3 => port(), 1 => any::<u16>()];
        let protocol = prop_oneof![Just(TCP), Just(UDP), Just(ICMP), Just(47u8), Just(99)];
        let groups = proptest::collection::btree_set((0u8..3).prop_map(group), 0..2);
        (protocol, selector, address(), groups).prop_map(|(protocol, selector, address, groups)| Packet {
            protocol,
            selector,
            address,
            groups,
        })
    }

    fn assert_spans_apart(spans: &[Span]) {
        for span in spans {
            assert!(span.first <= span.last && !span.peers.is_empty(), "{span:?}");
            assert_ranges_apart(&span.peers);
        }
        for pair in spans.windows(2) {
            assert!(pair[0].last < pair[1].first, "{pair:?}");
        }
    }

    fn assert_ranges_apart(peers: &Peers) {
        for pair in peers.ranges.windows(2) {
            assert!(u32::from(pair[0].1) + 1 < u32::from(pair[1].0), "{pair:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn normal_form_means_the_same_and_never_overlaps(
            rules in proptest::collection::vec((traffic(), peer()), 0..12),
            packets in proptest::collection::vec(packet(), 40),
        ) {
            let normal = Rules::new(&rules);
            assert_ranges_apart(&normal.any);
            for spans in [&normal.tcp, &normal.udp, &normal.icmp] {
                assert_spans_apart(spans);
            }
            for packet in &packets {
                prop_assert_eq!(allows(&normal, packet), naive(&rules, packet), "{:?} in {:?}", packet, &normal);
            }
            let stranger = |protocol, selector| Packet {
                protocol,
                selector,
                address: Ipv4Addr::new(203, 0, 113, 9),
                groups: BTreeSet::new(),
            };
            for protocol in [TCP, UDP, ICMP, 47].into_iter().filter(|protocol| normal.is_open(*protocol)) {
                prop_assert!([0, 7, 300, u16::MAX].into_iter().all(|selector| naive(&rules, &stranger(protocol, selector))));
            }
        }
    }

    #[test]
    fn overlapping_rules_become_spans() {
        let net = |text: &str| Peer::Ipv4(text.parse().unwrap());
        let rules = [
            (Traffic::Tcp(5000, 5999), net("10.0.0.0/16")),
            (Traffic::Tcp(5500, 5600), net("10.0.5.0/24")),
            (Traffic::Tcp(5500, 5600), net("10.1.0.0/16")),
            (Traffic::Icmp(Some(8), None), net("0.0.0.0/0")),
        ];
        let normal = Rules::new(&rules);
        let ports: Vec<_> = normal.tcp.iter().map(|s| (s.first, s.last, s.peers.ranges.len())).collect();
        assert_eq!(ports, [(5000, 5499, 1), (5500, 5600, 1), (5601, 5999, 1)]);
        assert_eq!(normal.tcp[1].peers.ranges, [(Ipv4Addr::new(10, 0, 0, 0), Ipv4Addr::new(10, 1, 255, 255))]);
        assert_eq!((normal.icmp[0].first, normal.icmp[0].last), (0x0800, 0x08ff));
        assert!(!normal.is_open(ICMP) && !normal.is_open(TCP));
        assert!(Rules::new(&[(Traffic::Tcp(0, 100), net("0.0.0.0/0")), (Traffic::Tcp(101, 65535), net("0.0.0.0/0"))]).is_open(TCP));
    }
}
