//! The packet filter of a VPC and of the fabric, as text for `nft -f -`. Pure: the same VPC gives the same text.
//!
//! A whole table is replaced in one transaction, so there is no moment without rules; connection tracking lives on over it. Names have
//! a prefix, since short ones are words of nft's own grammar.

use super::links::{DNS, METADATA, tap_name, vpc_dns};
use ipnet::Ipv4Net;
use model::ids::SecurityGroupId;
use model::network::{InterfaceWanted, VpcWanted};
use model::rules::{Allowed, allowed};
use model::security_group::Traffic;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// Most connections that one guest may have open: tracking is one table for the whole machine.
const CONNECTIONS_MAX: u32 = 20_000;

/// Elements of a set or map; nft refuses an empty list.
fn elements(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    if items.is_empty() { String::new() } else { format!(" elements = {{ {} }};", items.join(", ")) }
}

/// The tables of a VPC.
pub(super) fn vpc(wanted: &VpcWanted) -> String {
    let mut text = String::from("table arp vpc\ndelete table arp vpc\ntable inet vpc\ndelete table inet vpc\n");
    arp(&mut text, wanted);
    text.push_str("table inet vpc {\n");
    sets(&mut text, wanted);
    hooks(&mut text, wanted);
    groups(&mut text, wanted);
    text.push_str("}\n");
    text
}

/// A guest speaks for its own Ethernet and IPv4 address only, and asks only for what can be on its link.
fn arp(text: &mut String, wanted: &VpcWanted) {
    let own = elements(wanted.interfaces.iter().map(|(id, i)| format!("{} . {} . {}", tap_name(id), i.mac, i.private_ip)));
    let mac = elements(wanted.interfaces.iter().map(|(id, i)| format!("{} . {}", tap_name(id), i.mac)));
    let cidr = wanted.cidr;
    let _ = writeln!(
        text,
        "table arp vpc {{
  set s_own {{ type ifname . ether_addr . ipv4_addr;{own} }}
  set s_mac {{ type ifname . ether_addr;{mac} }}
  chain c_in {{ type filter hook input priority 0; policy drop;
    iifname . ether saddr != @s_mac drop
    iifname . arp saddr ether . arp saddr ip @s_own arp daddr ip {{ {cidr}, 169.254.169.0/24 }} accept
    iifname . arp saddr ether @s_mac arp saddr ip 0.0.0.0 accept
  }}
}}"
    );
}

fn sets(text: &mut String, wanted: &VpcWanted) {
    let checked = |i: &&InterfaceWanted| i.source_dest_check;
    let source = wanted.interfaces.iter().filter(|(_, i)| checked(i));
    let source = elements(source.map(|(id, i)| format!("{} . {} . {}", tap_name(id), i.mac, i.private_ip)));
    let mac = elements(wanted.interfaces.iter().map(|(id, i)| format!("{} . {}", tap_name(id), i.mac)));
    let free = wanted.interfaces.iter().filter(|(_, i)| !checked(i));
    let free = elements(free.map(|(id, i)| format!("{} . {}", tap_name(id), i.mac)));
    let public = || wanted.interfaces.values().filter_map(|i| i.public_ip.map(|p| (i.private_ip, p))).filter(|_| wanted.internet_gateway);
    let holders = elements(public().map(|(private, _)| private.to_string()));
    let dnat = elements(public().map(|(private, public)| format!("{public} : {private}")));
    let snat = elements(public().map(|(private, public)| format!("{private} : {public}")));
    let _ = writeln!(
        text,
        "  set s_source {{ type ifname . ether_addr . ipv4_addr;{source} }}
  set s_mac {{ type ifname . ether_addr;{mac} }}
  set s_free {{ type ifname . ether_addr;{free} }}
  set s_holders {{ type ipv4_addr;{holders} }}
  set s_connections {{ type ifname; flags dynamic; }}
  map m_dnat {{ type ipv4_addr : ipv4_addr;{dnat} }}
  map m_snat {{ type ipv4_addr : ipv4_addr;{snat} }}"
    );
}

fn hooks(text: &mut String, wanted: &VpcWanted) {
    let dns = vpc_dns(wanted);
    let _ = writeln!(
        text,
        "  chain c_source {{ type filter hook prerouting priority raw - 10; policy drop;
    iifname {{ \"lo\", \"igw\" }} accept
    iifname . ether saddr @s_mac ip saddr 0.0.0.0 ip daddr 255.255.255.255 udp sport 68 udp dport 67 accept
    meta pkttype != host drop
    iifname . ether saddr . ip saddr @s_source accept
    iifname . ether saddr @s_free meta nfproto ipv4 accept
  }}
  chain c_dnat {{ type nat hook prerouting priority dstnat; iifname \"igw\" dnat ip to ip daddr map @m_dnat; }}
  chain c_snat {{ type nat hook postrouting priority srcnat; oifname \"igw\" snat ip to ip saddr map @m_snat; }}
  chain c_input {{ type filter hook input priority 0; policy drop;
    iifname \"lo\" accept
    ct state established,related accept
    iifname \"igw\" drop
    ct state new add @s_connections {{ iifname ct count over {CONNECTIONS_MAX} }} drop
    udp sport 68 udp dport 67 accept
    ip daddr {{ {dns}, {DNS} }} udp dport 53 accept
    ip daddr {{ {dns}, {DNS} }} tcp dport 53 accept
    ip daddr {METADATA} tcp dport 80 accept
  }}
  chain c_forward {{ type filter hook forward priority 0; policy drop;
    ct state invalid drop
    ct state established,related accept
    iifname \"igw\" ct status & dnat != dnat drop
    oifname \"igw\" ip saddr != @s_holders drop
    iifname != \"igw\" ct state new add @s_connections {{ iifname ct count over {CONNECTIONS_MAX} }} drop
    iifname \"igw\" goto c_to
    iifname vmap @m_from
  }}
  chain c_to {{
    oifname \"igw\" accept
    oifname vmap @m_to
    drop
  }}"
    );
}

/// A chain for each set of groups and direction; what no rule of it allows is dropped.
fn groups(text: &mut String, wanted: &VpcWanted) {
    let mut numbers: BTreeMap<&BTreeSet<SecurityGroupId>, usize> = BTreeMap::new();
    for interface in wanted.interfaces.values() {
        let next = numbers.len();
        numbers.entry(&interface.groups).or_insert(next);
    }
    for (set, number) in &numbers {
        let of = || set.iter().filter_map(|id| wanted.groups.get(id));
        chain(text, &format!("c_to_{number}"), "saddr", &allowed(of().map(|g| &g.ingress), &wanted.groups), "accept");
        chain(text, &format!("c_from_{number}"), "daddr", &allowed(of().map(|g| &g.egress), &wanted.groups), "goto c_to");
    }
    let number = |i: &InterfaceWanted| numbers[&i.groups];
    let from = elements(wanted.interfaces.iter().map(|(id, i)| format!("{} : goto c_from_{}", tap_name(id), number(i))));
    let to = elements(wanted.interfaces.iter().map(|(id, i)| format!("{} : goto c_to_{}", tap_name(id), number(i))));
    let _ = writeln!(text, "  map m_from {{ type ifname : verdict;{from} }}\n  map m_to {{ type ifname : verdict;{to} }}");
}

fn chain(text: &mut String, name: &str, side: &str, allowed: &Allowed, verdict: &str) {
    let _ = writeln!(text, "  chain {name} {{");
    for (traffic, nets) in allowed {
        let _ = writeln!(text, "    {}{}{verdict}", peers(side, nets), matching(*traffic));
    }
    text.push_str("    drop\n  }\n");
}

fn peers(side: &str, nets: &[Ipv4Net]) -> String {
    if nets.iter().any(|n| n.prefix_len() == 0) {
        return String::new();
    }
    let nets: Vec<String> = nets.iter().map(ToString::to_string).collect();
    format!("ip {side} {{ {} }} ", nets.join(", "))
}

fn matching(traffic: Traffic) -> String {
    match traffic {
        Traffic::All => String::new(),
        Traffic::Tcp(from, to) => format!("tcp dport {from}-{to} "),
        Traffic::Udp(from, to) => format!("udp dport {from}-{to} "),
        Traffic::Icmp(None, _) => "ip protocol icmp ".into(),
        Traffic::Icmp(Some(kind), None) => format!("icmp type {kind} "),
        Traffic::Icmp(Some(kind), Some(code)) => format!("icmp type {kind} icmp code {code} "),
        Traffic::Protocol(number) => format!("ip protocol {number} "),
    }
}

/// What guests may not reach through the way out, unless it is configured.
const PRIVATE: [&str; 9] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "224.0.0.0/4",
    "240.0.0.0/4",
];

/// The table of the fabric: from a VPC to another's public address, or out; never to the host's own addresses.
pub(super) fn fabric(pool: Ipv4Net, own: &BTreeSet<Ipv4Addr>, allow_private: &[Ipv4Net]) -> String {
    let own = elements(own.iter().map(ToString::to_string));
    let allow = elements(Ipv4Net::aggregate(&allow_private.to_vec()).iter().map(ToString::to_string));
    let private = PRIVATE.join(", ");
    format!(
        "table inet fabric\ndelete table inet fabric\ntable inet fabric {{
  set s_own {{ type ipv4_addr;{own} }}
  set s_allow {{ type ipv4_addr; flags interval;{allow} }}
  set s_private {{ type ipv4_addr; flags interval; elements = {{ {private} }}; }}
  chain c_input {{ type filter hook input priority 0; policy drop; iifname \"lo\" accept; ct state established,related accept; }}
  chain c_forward {{ type filter hook forward priority 0; policy drop;
    ct state invalid drop
    ct state established,related accept
    ip saddr != {pool} drop
    ip daddr {pool} oifname \"v*\" accept
    oifname != \"out\" drop
    ip daddr @s_own drop
    ip daddr @s_allow accept
    ip daddr @s_private drop
    accept
  }}
}}
"
    )
}
