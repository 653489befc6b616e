//! The links, addresses and routes of a VPC, as lines for `ip -batch`. Pure text. (The recipe and its reasons: docs/decisions/0003.)

use model::ids::{NetworkInterfaceId, VpcId};
use model::network::{InterfaceWanted, VpcWanted};
use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// The Ethernet address of every VPC router.
pub(super) const ROUTER_MAC: &str = "02:ff:ff:ff:ff:01";
/// The ends of the veth between a VPC and the fabric.
const IGW_MAC: &str = "02:ff:ff:ff:ff:0a";
const FABRIC_MAC: &str = "02:ff:ff:ff:ff:0b";
/// The metadata service's address.
pub(super) const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// The DNS server's second address.
pub(super) const DNS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 253);

/// The name of an interface's tap: 15 characters at most are allowed; ids are random, so their ends are as good as the whole.
pub(super) fn tap_name(id: &NetworkInterfaceId) -> String {
    short("t", id.as_str())
}

/// The fabric's name of the veth to a VPC.
pub(super) fn veth_name(id: &VpcId) -> String {
    short("v", id.as_str())
}

fn short(prefix: &str, id: &str) -> String {
    let hex = id.rsplit('-').next().unwrap_or(id);
    format!("{prefix}{}", &hex[hex.len().saturating_sub(14)..])
}

/// The DNS server's address inside a VPC: its network address plus two ("DNS attributes for your VPC").
pub(super) fn vpc_dns(wanted: &VpcWanted) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(wanted.cidr.network()) + 2)
}

/// The routers' addresses, one a subnet.
pub(super) fn routers(wanted: &VpcWanted) -> impl Iterator<Item = Ipv4Addr> + '_ {
    wanted.subnets.values().map(|net| Ipv4Addr::from(u32::from(net.network()) + 1))
}

/// What a new VPC's namespace begins with. The routers come before the link-local addresses, so that the kernel's own errors are theirs.
pub(super) fn vpc_base(wanted: &VpcWanted) -> String {
    let mut lines = String::from("link set lo up\n");
    for router in routers(wanted) {
        let _ = writeln!(lines, "addr add {router}/32 dev lo");
    }
    let _ = writeln!(lines, "addr add {}/32 dev lo", vpc_dns(wanted));
    for address in [METADATA, DNS] {
        let _ = writeln!(lines, "addr add {address}/32 dev lo scope link");
    }
    // Without it the default route would make the router answer ARP for addresses that nobody has.
    let _ = writeln!(lines, "route add unreachable {}", wanted.cidr);
    lines
}

/// The VPC's end of its internet gateway: no IPv4 address, so that guests can't speak to it.
pub(super) fn gateway() -> String {
    format!(
        "link set dev igw addrgenmode none\nlink set dev igw up\naddr add fe80::a/64 dev igw nodad\n\
         neigh replace fe80::b lladdr {FABRIC_MAC} dev igw nud permanent\n"
    )
}

/// The VPC's default route, for `ip -4`: without it, iproute2 takes a route through an IPv6 neighbour for one of IPv6.
pub(super) const GATEWAY_ROUTE: &str = "route add default via inet6 fe80::b dev igw\n";

/// The fabric's side of a gateway, run in the fabric: makes the veth, whose other end goes to the VPC's namespace.
pub(super) fn fabric_gateway(id: &VpcId, vpc_pid: u32) -> String {
    let veth = veth_name(id);
    format!(
        "link add dev {veth} address {FABRIC_MAC} type veth peer name igw address {IGW_MAC} netns {vpc_pid}\n\
         link set dev {veth} addrgenmode none\nlink set dev {veth} up\naddr add fe80::b/64 dev {veth} nodad\n\
         neigh replace fe80::a lladdr {IGW_MAC} dev {veth} nud permanent\n"
    )
}

/// A public address's route in the fabric, for `ip -4`.
pub(super) fn fabric_route(id: &VpcId, verb: &str, public_ip: Ipv4Addr) -> String {
    format!("route {verb} {public_ip}/32 via inet6 fe80::a dev {}\n", veth_name(id))
}

/// A new interface: a tap that stays, the way to its guest, and the guest's Ethernet address, which is never asked for.
pub(super) fn interface_add(id: &NetworkInterfaceId, wanted: &InterfaceWanted, mtu: u16) -> String {
    let (tap, ip, mac) = (tap_name(id), wanted.private_ip, wanted.mac);
    format!(
        "tuntap add dev {tap} mode tap vnet_hdr\nlink set dev {tap} address {ROUTER_MAC} mtu {mtu}\nlink set dev {tap} addrgenmode none\n\
         link set dev {tap} up\nroute replace {ip}/32 dev {tap}\nneigh replace {ip} lladdr {mac} dev {tap} nud permanent\n"
    )
}

/// An interface that goes.
pub(super) fn interface_remove(id: &NetworkInterfaceId) -> String {
    format!("link del dev {}\n", tap_name(id))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_fit_and_differ() {
        let eni: NetworkInterfaceId = "eni-0123456789abcdef0".parse().unwrap();
        assert_eq!(tap_name(&eni), "t3456789abcdef0");
        assert_eq!(tap_name(&"eni-01234567".parse().unwrap()), "t01234567");
        assert!(tap_name(&eni).len() <= 15);
    }
}
