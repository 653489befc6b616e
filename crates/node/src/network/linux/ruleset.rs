//! The packet filter of a VPC, from what the VPC is to be. (The reasons: docs/decisions/0003-network.md.)
//!
//! Names have a prefix, since short ones are words of nft's own grammar: `c_` chains at a hook, `i_`/`o_` what comes in to and goes out of
//! the interfaces of one set of groups, `gi_`/`go_` the same for one group, `pi_`/`po_` for some of its ports; `s_` sets, `m_` maps,
//! `g_` a group's members.

use super::links::{DNS, METADATA, TIME, routers, tap_name, vpc_dns};
use super::table::{Chain, Set, Table};
use model::ids::SecurityGroupId;
use model::network::{InterfaceWanted, VpcWanted};
use model::rules::{Peers, Rules, Span, TCP, UDP};
use model::security_group::{Peer, Traffic};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// Most connections that one guest may have open: tracking is one table for the whole machine.
const CONNECTIONS_MAX: u32 = 20_000;
/// Most packets a second that one guest may send to the services of its VPC; AWS's ("Amazon DNS server", "DNS quotas").
const SERVICE_PACKETS_PER_SECOND_MAX: u32 = 1024;
/// The mark of packets that come from guests and take the VPC's route table.
pub(super) const ROUTE_MARK: u32 = 101;
/// Bits of a connection's mark: the rules of its first sender's, or receiver's, interface judge each of its packets anew.
const UNTRACKED_SENDER: u32 = 1;
const UNTRACKED_RECEIVER: u32 = 2;

/// The tables of a VPC.
pub(super) fn vpc(wanted: &VpcWanted) -> Vec<Table> {
    let mut sets = sets(wanted);
    let mut chains = hooks(wanted);
    Groups { wanted, sets: &mut sets, chains: &mut chains }.all();
    vec![arp(wanted), Table { name: "inet vpc", sets, chains }]
}

fn each<'a>(wanted: &'a VpcWanted, element: impl Fn(String, &InterfaceWanted) -> String + 'a) -> impl Iterator<Item = String> + 'a {
    wanted.interfaces.iter().map(move |(id, i)| element(tap_name(id), i))
}

fn with_mac(tap: String, i: &InterfaceWanted) -> String {
    format!("{tap} . {}", i.mac)
}

fn with_source(tap: String, i: &InterfaceWanted) -> String {
    format!("{tap} . {} . {}", i.mac, i.private_ip)
}

/// A guest speaks for its own Ethernet and IPv4 address only, and asks only for what can be on its link.
fn arp(wanted: &VpcWanted) -> Table {
    let cidr = wanted.cidr;
    let rules = vec![
        "iifname . ether saddr != @s_mac drop".into(),
        format!("iifname . arp saddr ether . arp saddr ip @s_own arp daddr ip {{ {cidr}, 169.254.169.0/24 }} accept"),
        "iifname . arp saddr ether @s_mac arp saddr ip 0.0.0.0 accept".into(),
    ];
    Table {
        name: "arp vpc",
        sets: BTreeMap::from([
            ("s_mac".into(), Set::new("type ifname . ether_addr", each(wanted, with_mac))),
            ("s_own".into(), Set::new("type ifname . ether_addr . ipv4_addr", each(wanted, with_source))),
        ]),
        chains: BTreeMap::from([("c_in".into(), Chain::hooked("type filter hook input priority 0; policy drop", rules))]),
    }
}

fn sets(wanted: &VpcWanted) -> BTreeMap<String, Set> {
    let public: BTreeMap<Ipv4Addr, Ipv4Addr> = publics(wanted).collect();
    let pairs = || public.iter().map(|(private, public)| (private.to_string(), public.to_string()));
    let free = wanted.interfaces.iter().filter(|(_, i)| !i.source_dest_check).map(|(id, i)| with_mac(tap_name(id), i));
    let routed = wanted.interfaces.keys().filter(|_| wanted.internet_gateway).map(|id| (tap_name(id), ROUTE_MARK.to_string()));
    let dynamic = || Set::new("type ifname; size 65535; flags dynamic", []);
    BTreeMap::from([
        ("s_taps".into(), Set::new("type ifname", each(wanted, |tap, _| tap))),
        ("s_mac".into(), Set::new("type ifname . ether_addr", each(wanted, with_mac))),
        ("s_source".into(), Set::new("type ifname . ether_addr . ipv4_addr", each(wanted, with_source))),
        ("s_free".into(), Set::new("type ifname . ether_addr", free)),
        ("s_connections".into(), dynamic()),
        ("s_services".into(), dynamic()),
        ("s_public".into(), Set::new("type ipv4_addr", pairs().map(|(_, public)| public))),
        ("s_holders".into(), Set::new("type ipv4_addr", pairs().map(|(private, _)| private))),
        ("s_pairs".into(), Set::new("type ipv4_addr . ipv4_addr", pairs().map(|(private, public)| format!("{public} . {private}")))),
        ("m_dnat".into(), Set::map("type ipv4_addr : ipv4_addr", pairs().map(|(private, public)| (public, private)))),
        ("m_snat".into(), Set::map("type ipv4_addr : ipv4_addr", pairs())),
        ("m_route".into(), Set::map("type ifname : mark", routed)),
    ])
}

/// The interfaces' private addresses and the public ones that they are translated to.
pub(super) fn publics(wanted: &VpcWanted) -> impl Iterator<Item = (Ipv4Addr, Ipv4Addr)> + '_ {
    let public = |i: &InterfaceWanted| i.public_ip.map(|public| (i.private_ip, public));
    wanted.interfaces.values().filter_map(public).filter(|_| wanted.internet_gateway)
}

fn hooks(wanted: &VpcWanted) -> BTreeMap<String, Chain> {
    let chain = |name: &str, hook: &str, rules: &[&str]| {
        (name.to_owned(), Chain::hooked(hook, rules.iter().map(|&rule| rule.to_owned()).collect()))
    };
    let lease = "ip daddr 255.255.255.255 udp sport 68 udp dport 67 accept";
    BTreeMap::from([
        chain(
            "c_source",
            "type filter hook prerouting priority raw - 10; policy drop",
            &[
                "iifname \"lo\" accept",
                // From outside nobody comes under a name of the inside.
                &format!("iifname \"igw\" ip saddr {} drop", wanted.cidr),
                "iifname \"igw\" ip saddr { 0.0.0.0/8, 127.0.0.0/8, 169.254.0.0/16, 224.0.0.0/3 } drop",
                "iifname \"igw\" ip daddr @s_public accept",
                &format!("iifname . ether saddr @s_mac ip saddr 0.0.0.0 {lease}"),
                &format!("iifname . ether saddr . ip saddr @s_source {lease}"),
                "meta pkttype != host drop",
                "iifname . ether saddr . ip saddr @s_source accept",
                // Without the check a guest may pass on others' packets, but never speak for the VPC's own services.
                "iifname . ether saddr @s_free ip saddr != { 0.0.0.0/8, 127.0.0.0/8, 169.254.0.0/16, 224.0.0.0/3 } accept",
            ],
        ),
        chain("c_route", "type filter hook prerouting priority mangle; policy accept", &["meta mark set iifname map @m_route"]),
        chain("c_dnat", "type nat hook prerouting priority dstnat; policy accept", &["iifname \"igw\" dnat ip to ip daddr map @m_dnat"]),
        chain("c_snat", "type nat hook postrouting priority srcnat; policy accept", &["oifname \"igw\" snat ip to ip saddr map @m_snat"]),
        // Two chains at one hook: what the first accepts goes on to the second, so each side's rules can simply say accept.
        ("c_out".into(), Chain::hooked("type filter hook forward priority 0; policy drop", out_rules())),
        ("c_to".into(), Chain::hooked("type filter hook forward priority 10; policy drop", to_rules())),
        ("c_input".into(), Chain::hooked("type filter hook input priority 0; policy drop", input_rules(wanted))),
    ])
}

/// What may leave: flows that stand and translate as they should, then what the sender's groups allow.
fn out_rules() -> Vec<String> {
    let rules = [
        "ct state invalid drop",
        // A public address that has moved takes its old flows down with it, at once.
        "iifname \"igw\" ct direction original ct original ip daddr . ip daddr != @s_pairs drop",
        "iifname \"igw\" ct direction reply ct reply ip daddr . ip daddr != @s_pairs drop",
        "oifname \"igw\" ct direction original ct status snat ct reply ip daddr . ip saddr != @s_pairs drop",
        "oifname \"igw\" ct direction reply ct original ip daddr . ip saddr != @s_pairs drop",
        // Nothing leaves under a private address.
        "oifname \"igw\" ip saddr != @s_holders drop",
        "ct state established,related ct direction original ct mark & 1 == 0 accept",
        "ct state established,related ct direction reply ct mark & 2 == 0 accept",
        "iifname \"igw\" accept",
        &connections(),
        "iifname vmap @m_out",
    ];
    rules.map(str::to_owned).into()
}

/// A guest can't fill the table of connections.
fn connections() -> String {
    format!("ct state new add @s_connections {{ iifname ct count over {CONNECTIONS_MAX} }} drop")
}

/// What may arrive: flows that stand, then what the receiver's groups allow.
fn to_rules() -> Vec<String> {
    let rules = [
        "ct state established,related ct direction original ct mark & 2 == 0 accept",
        "ct state established,related ct direction reply ct mark & 1 == 0 accept",
        "oifname \"igw\" accept",
        "oifname vmap @m_in",
    ];
    rules.map(str::to_owned).into()
}

/// What reaches the router itself: its services, and answers to the operator's door. Guests can speak to nothing else of it.
fn input_rules(wanted: &VpcWanted) -> Vec<String> {
    let dns = vpc_dns(wanted);
    let services = format!("ip daddr {{ {METADATA}, {DNS}, {TIME}, {dns} }}");
    let limit = format!(
        "update @s_services {{ iifname limit rate over {SERVICE_PACKETS_PER_SECOND_MAX}/second \
         burst {SERVICE_PACKETS_PER_SECOND_MAX} packets }} drop"
    );
    let routers: Vec<String> = routers(wanted).map(|ip| ip.to_string()).chain(["255.255.255.255".to_owned()]).collect();
    vec![
        "iifname \"lo\" accept".into(),
        format!("{services} {limit}"),
        format!("udp dport 67 {limit}"),
        "ct state established,related accept".into(),
        "ct state invalid drop".into(),
        "iifname != @s_taps drop".into(),
        connections(),
        format!("ip daddr {{ {} }} udp sport 68 udp dport 67 accept", routers.join(", ")),
        format!("ip daddr {{ {DNS}, {dns} }} udp dport 53 accept"),
        format!("ip daddr {{ {DNS}, {dns} }} tcp dport 53 accept"),
        format!("ip daddr {METADATA} tcp dport 80 accept"),
        format!("ip daddr {TIME} udp dport 123 accept"),
    ]
}

/// The side of an interface that rules speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    In,
    Out,
}

impl Side {
    fn letter(self) -> char {
        match self {
            Self::In => 'i',
            Self::Out => 'o',
        }
    }

    /// Where the peer's address stands in a packet.
    fn peer(self) -> &'static str {
        match self {
            Self::In => "saddr",
            Self::Out => "daddr",
        }
    }

    fn untracked(self) -> u32 {
        match self {
            Self::In => UNTRACKED_RECEIVER,
            Self::Out => UNTRACKED_SENDER,
        }
    }
}

/// Writes the groups' chains and member sets.
struct Groups<'a> {
    wanted: &'a VpcWanted,
    sets: &'a mut BTreeMap<String, Set>,
    chains: &'a mut BTreeMap<String, Chain>,
}

impl Groups<'_> {
    fn all(&mut self) {
        let wanted = self.wanted;
        let lists: BTreeSet<&BTreeSet<SecurityGroupId>> = wanted.interfaces.values().map(|i| &i.groups).collect();
        let used: BTreeSet<&SecurityGroupId> = lists.iter().copied().flatten().collect();
        for id in used {
            if let Some(group) = wanted.groups.get(id) {
                self.group(Side::In, id, &group.ingress);
                self.group(Side::Out, id, &group.egress);
            }
        }
        for list in lists {
            self.list(list);
        }
        for (map, letter) in [("m_in", 'i'), ("m_out", 'o')] {
            let elements = wanted.interfaces.iter().map(|(id, i)| (tap_name(id), format!("goto {letter}_{}", list_name(&i.groups))));
            self.sets.insert(map.into(), Set::map("type ifname : verdict", elements));
        }
    }

    /// The chains of the interfaces that are in these groups: one group after another; what none of them accepts is dropped.
    fn list(&mut self, list: &BTreeSet<SecurityGroupId>) {
        let wanted = self.wanted;
        let groups = || list.iter().filter_map(|id| Some((id, wanted.groups.get(id)?)));
        let ingress = Rules::new(groups().flat_map(|(_, group)| &group.ingress));
        let egress = Rules::new(groups().flat_map(|(_, group)| &group.egress));
        let open: Vec<u8> = [TCP, UDP].into_iter().filter(|&protocol| ingress.is_open(protocol) && egress.is_open(protocol)).collect();
        for side in [Side::In, Side::Out] {
            let mut rules = Vec::new();
            for protocol in &open {
                // Remembered at the first packet only: an answer meets the chains of the other side's interface.
                let bit = side.untracked();
                rules.push(format!("meta l4proto {protocol} ct direction original ct mark set ct mark | {bit} accept"));
                rules.push(format!("meta l4proto {protocol} accept"));
            }
            rules.extend(groups().map(|(id, _)| format!("jump g{}_{id}", side.letter())));
            rules.push("drop".into());
            self.chains.insert(format!("{}_{}", side.letter(), list_name(list)), Chain::jumped(rules));
        }
    }

    fn group(&mut self, side: Side, id: &SecurityGroupId, rules: &BTreeSet<(Traffic, Peer)>) {
        let rules = Rules::new(rules);
        for group in rules.groups() {
            let members = self.wanted.groups.get(group).map(|g| &g.members);
            let members = members.into_iter().flatten().map(ToString::to_string);
            self.sets.entry(format!("g_{group}")).or_insert_with(|| Set::new("type ipv4_addr", members));
        }
        let mut lines = accept(side, "", &rules.any);
        for (selector, protocol, spans) in [("tcp dport", "tcp", &rules.tcp), ("udp dport", "udp", &rules.udp)] {
            lines.extend(self.spans(side, id, protocol, selector, spans));
        }
        // ICMP's type and code as the one number that they are in the packet.
        lines.extend(self.spans(side, id, "icmp", "meta l4proto icmp @th,0,16", &rules.icmp));
        for (number, peers) in &rules.protocols {
            lines.extend(accept(side, &format!("meta l4proto {number} "), peers));
        }
        self.chains.insert(format!("g{}_{id}", side.letter()), Chain::jumped(lines));
    }

    /// One lookup finds the span, however many there are; its chain says who may.
    fn spans(&mut self, side: Side, id: &SecurityGroupId, protocol: &str, selector: &str, spans: &[Span]) -> Vec<String> {
        match spans {
            [] => Vec::new(),
            [one] if (one.first, one.last) == (0, u16::MAX) => accept(side, &format!("meta l4proto {protocol} "), &one.peers),
            [one] => accept(side, &format!("{selector} {} ", range(one)), &one.peers),
            several => {
                let mut verdicts = Vec::new();
                for span in several {
                    let name = format!("p{}_{id}_{protocol}_{}", side.letter(), span.first);
                    verdicts.push(format!("{} : jump {name}", range(span)));
                    self.chains.insert(name, Chain::jumped(accept(side, "", &span.peers)));
                }
                vec![format!("{selector} vmap {{ {} }}", verdicts.join(", "))]
            }
        }
    }
}

fn range(span: &Span) -> String {
    if span.first == span.last { span.first.to_string() } else { format!("{}-{}", span.first, span.last) }
}

/// The lines that accept what matches, from or to these peers.
fn accept(side: Side, matching: &str, peers: &Peers) -> Vec<String> {
    if peers.is_everyone() {
        return vec![format!("{matching}accept")];
    }
    let peer = side.peer();
    let mut lines = Vec::new();
    if !peers.ranges.is_empty() {
        let one = |(first, last): &(Ipv4Addr, Ipv4Addr)| if first == last { first.to_string() } else { format!("{first}-{last}") };
        let ranges: Vec<String> = peers.ranges.iter().map(one).collect();
        lines.push(format!("{matching}ip {peer} {{ {} }} accept", ranges.join(", ")));
    }
    lines.extend(peers.groups.iter().map(|group| format!("{matching}ip {peer} @g_{group} accept")));
    lines
}

/// A name for a list of groups, the same whenever the list is.
fn list_name(list: &BTreeSet<SecurityGroupId>) -> String {
    let mut hash = Sha256::new();
    for id in list {
        hash.update(id.as_str());
        hash.update([0]);
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
