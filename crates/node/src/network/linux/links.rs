//! The links, addresses and routes of a VPC, as lines for `ip -batch`. Pure text. (The reasons: docs/decisions/0003-network.md.)

use super::ruleset::ROUTE_MARK;
use anyhow::{Result, ensure};
use ipnet::Ipv4Net;
use model::ids::{NetworkInterfaceId, VpcId};
use model::network::VpcWanted;
use model::network_interface::Mac;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// The Ethernet address of every VPC router.
pub(super) const ROUTER_MAC: Mac = Mac([0x02, 0xff, 0xff, 0xff, 0xff, 0x01]);
/// The ends of the veth between a VPC and the fabric. Neither has an IPv4 address: their neighbours are written down.
const IGW_MAC: &str = "02:ff:ff:ff:ff:0a";
const FABRIC_MAC: &str = "02:ff:ff:ff:ff:0b";
/// The next hops by which routes name those neighbours. No device has these addresses.
const IGW_HOP: Ipv4Addr = Ipv4Addr::new(169, 254, 0, 2);
const FABRIC_HOP: Ipv4Addr = Ipv4Addr::new(169, 254, 0, 1);
/// The VPC's end of its internet gateway.
pub(super) const IGW: &str = "igw";
/// The metadata service's address.
pub(super) const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// The DNS server's second address.
pub(super) const DNS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 253);
/// The time service's address ("Amazon Time Sync Service").
pub(super) const TIME: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 123);
/// The route table that holds the VPC's own addresses.
const LOCAL_TABLE: u32 = 10;
/// The route table of the VPC: the way to its internet gateway.
const MAIN_TABLE: u32 = ROUTE_MARK;
/// The device group that links go through on their way out: many are deleted in the time of one.
const DOOMED_GROUP: u32 = 7;

/// The policy rules of a VPC's namespace. ARP carries no mark, so the router never answers it for what is outside of the VPC.
pub(super) fn policy_rules() -> [(u32, String); 3] {
    [
        (100, format!("rule add pref 100 lookup {LOCAL_TABLE}")),
        (200, format!("rule add pref 200 fwmark {ROUTE_MARK} lookup {MAIN_TABLE}")),
        (300, "rule add pref 300 unreachable".to_owned()),
    ]
}

/// The name of an interface's tap: 15 characters at most are allowed; ids are random, so their ends are as good as the whole.
pub(super) fn tap_name(id: &NetworkInterfaceId) -> String {
    short('t', id.as_str())
}

/// Whether a link is a tap of ours.
pub(super) fn is_tap(name: &str) -> bool {
    name.strip_prefix('t').is_some_and(|hex| matches!(hex.len(), 8 | 14) && hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// The fabric's name of the veth to a VPC.
pub(super) fn veth_name(id: &VpcId) -> String {
    short('v', id.as_str())
}

fn short(prefix: char, id: &str) -> String {
    let hex = id.rsplit('-').next().unwrap_or(id);
    format!("{prefix}{}", &hex[hex.len().saturating_sub(14)..])
}

/// The DNS server's address inside a VPC: its network address plus two ("DNS attributes for your VPC").
pub(super) fn vpc_dns(wanted: &VpcWanted) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(wanted.cidr.network()) + 2)
}

/// The router's address in a subnet.
pub(super) fn router(subnet: &Ipv4Net) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(subnet.network()) + 1)
}

/// The routers' addresses, one a subnet.
pub(super) fn routers(wanted: &VpcWanted) -> impl Iterator<Item = Ipv4Addr> + '_ {
    wanted.subnets.values().map(router)
}

/// What a VPC's namespace is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Links {
    cidr: Ipv4Net,
    mtu: u16,
    /// Addresses of the router, with whether they are only the link's.
    addresses: BTreeMap<Ipv4Addr, bool>,
    /// The taps with their guests.
    taps: BTreeMap<String, Guest>,
}

/// Who is behind a tap.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Guest {
    ip: Ipv4Addr,
    mac: Mac,
}

/// What stands in a namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// The links by name, with their numbers and Ethernet addresses.
    pub(super) links: BTreeMap<String, (i32, Option<Mac>)>,
    /// The loopback device's IPv4 addresses, but for 127.0.0.0/8.
    pub(super) addresses: BTreeSet<Ipv4Addr>,
}

/// What is to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Steps {
    /// The taps to make first.
    pub(super) create: Vec<String>,
    /// Then the lines for `ip -batch`.
    pub(super) batch: String,
}

impl Links {
    /// # Errors
    /// If two interfaces would have a tap of one name (one in 2⁵⁶ pairs).
    pub(super) fn new(wanted: &VpcWanted, mtu: u16) -> Result<Self> {
        let addresses = routers(wanted).chain([vpc_dns(wanted)]).map(|ip| (ip, false));
        let taps: BTreeMap<_, _> = wanted.interfaces.iter().map(|(id, i)| (tap_name(id), Guest { ip: i.private_ip, mac: i.mac })).collect();
        ensure!(taps.len() == wanted.interfaces.len(), "two interfaces of {} have one tap's name", wanted.id);
        let services = [METADATA, DNS, TIME].map(|ip| (ip, true));
        Ok(Self { cidr: wanted.cidr, mtu, addresses: addresses.chain(services).collect(), taps })
    }

    /// What makes a namespace have this. `had` is what it is known to have; without it, all that stands is set again, which changes
    /// nothing where it was right.
    pub(super) fn steps(&self, had: Option<&Self>, standing: &Standing) -> Steps {
        let mut steps = Steps::default();
        let text = &mut steps.batch;
        if had.is_none() {
            let _ = writeln!(text, "link set lo up");
            // Without it, what goes to an address that nobody has would leave by the gateway.
            let _ = writeln!(text, "route replace unreachable {} table {LOCAL_TABLE}", self.cidr);
        }
        self.address_lines(text, standing);
        for name in standing.links.keys().filter(|name| is_tap(name) && !self.taps.contains_key(*name)) {
            let _ = writeln!(text, "link set dev {name} group {DOOMED_GROUP}");
        }
        if text.contains(" group ") {
            let _ = writeln!(text, "link del group {DOOMED_GROUP}");
        }
        for (name, guest) in &self.taps {
            let mac = match standing.links.get(name) {
                None => {
                    steps.create.push(name.clone());
                    None
                }
                Some((_, mac)) if had.and_then(|had| had.taps.get(name)) == Some(guest) && *mac == Some(ROUTER_MAC) => continue,
                Some((_, mac)) => *mac,
            };
            tap_lines(text, name, guest, self.mtu, mac == Some(ROUTER_MAC));
            if let Some(before) = had.and_then(|had| had.taps.get(name)).filter(|before| before.ip != guest.ip) {
                let _ = writeln!(text, "route del {}/32 dev {name} table {LOCAL_TABLE}", before.ip);
            }
        }
        steps
    }

    /// The routers come before the link's own addresses, so that the kernel's own errors are theirs.
    fn address_lines(&self, text: &mut String, standing: &Standing) {
        for link in [false, true] {
            for (ip, _) in self.addresses.iter().filter(|(ip, scope)| **scope == link && !standing.addresses.contains(*ip)) {
                let _ = writeln!(text, "address add {ip}/32 dev lo{}", if link { " scope link" } else { "" });
            }
        }
        for ip in standing.addresses.iter().filter(|ip| !self.addresses.contains_key(*ip)) {
            let _ = writeln!(text, "address del {ip}/32 dev lo");
        }
    }
}

/// The way to a guest, and its Ethernet address, which is never asked for. A new Ethernet address of the tap would forget neighbours.
fn tap_lines(text: &mut String, name: &str, guest: &Guest, mtu: u16, mac_stands: bool) {
    if !mac_stands {
        let _ = writeln!(text, "link set dev {name} address {ROUTER_MAC}");
    }
    let _ = writeln!(text, "link set dev {name} mtu {mtu} up");
    let _ = writeln!(text, "route replace {}/32 dev {name} table {LOCAL_TABLE}", guest.ip);
    let _ = writeln!(text, "neigh replace {} lladdr {} dev {name} nud permanent", guest.ip, guest.mac);
}

/// The VPC's end of its internet gateway.
pub(super) fn gateway() -> String {
    format!(
        "link set dev {IGW} up\nneigh replace {FABRIC_HOP} lladdr {FABRIC_MAC} dev {IGW} nud permanent\n\
         route replace default via {FABRIC_HOP} dev {IGW} onlink table {MAIN_TABLE}\n"
    )
}

/// The fabric's side of a gateway, run in the fabric: makes the veth, whose other end goes to the VPC's namespace.
pub(super) fn fabric_gateway(id: &VpcId, vpc_pid: u32, mtu: u16) -> String {
    let veth = veth_name(id);
    format!(
        "link add dev {veth} address {FABRIC_MAC} mtu {mtu} type veth peer name {IGW} address {IGW_MAC} mtu {mtu} netns {vpc_pid}\n\
         link set dev {veth} up\nneigh replace {IGW_HOP} lladdr {IGW_MAC} dev {veth} nud permanent\n"
    )
}

/// Gives a public address to a VPC.
pub(super) fn public_add(veth: &str, public_ip: Ipv4Addr) -> String {
    format!("route replace {public_ip}/32 via {IGW_HOP} dev {veth} onlink\n")
}

/// Takes a public address from a VPC.
pub(super) fn public_remove(veth: &str, public_ip: Ipv4Addr) -> String {
    format!("route del {public_ip}/32 dev {veth}\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::network::contract;

    #[test]
    fn names_fit_and_are_known_again() {
        let eni: NetworkInterfaceId = "eni-0123456789abcdef0".parse().unwrap();
        assert_eq!(tap_name(&eni), "t3456789abcdef0");
        assert_eq!(tap_name(&"eni-01234567".parse().unwrap()), "t01234567");
        assert!(tap_name(&eni).len() <= 15 && is_tap("t3456789abcdef0") && is_tap("t01234567"));
        assert!(!is_tap("tunl0") && !is_tap("igw") && !is_tap("lo"));
    }

    #[test]
    fn only_what_differs_is_done() {
        let mut vpc = contract::vpc(1);
        contract::join(&mut vpc, 1, "172.31.0.10", &[contract::group_id(1)]);
        let one = Links::new(&vpc, 9001).unwrap();
        let fresh = one.steps(None, &Standing::default());
        assert_eq!(fresh.create, [tap_name(&contract::interface_id(1))]);
        assert!(
            fresh.batch.contains("address add 172.31.16.1/32 dev lo\n") && fresh.batch.contains("169.254.169.254/32 dev lo scope link")
        );

        let links = BTreeMap::from([("lo".to_owned(), (1, None)), (fresh.create[0].clone(), (2, Some(ROUTER_MAC)))]);
        let mut standing = Standing { links, addresses: one.addresses.keys().copied().collect() };
        assert_eq!(one.steps(Some(&one), &standing), Steps::default());

        contract::join(&mut vpc, 2, "172.31.0.11", &[contract::group_id(1)]);
        contract::leave(&mut vpc, 1);
        let two = Links::new(&vpc, 9001).unwrap();
        let steps = two.steps(Some(&one), &standing);
        assert_eq!(steps.create, [tap_name(&contract::interface_id(2))]);
        assert_eq!(steps.batch.matches("link del group 7\n").count(), 1);
        assert!(!steps.batch.contains("address add") && !steps.batch.contains("169.254"), "{}", steps.batch);

        // A subnet's address that is wanted no more.
        standing.addresses.insert([172, 31, 48, 1].into());
        assert!(two.steps(None, &standing).batch.contains("address del 172.31.48.1/32 dev lo\n"));
    }
}
