//! What the groups let through, and when a changed rule takes hold.

use crate::contract::{group_id, interface_id, join};
use crate::guest::{soon, tcp_echoes, udp_echoes};
use crate::world::{vpc_with, world};
use model::network::VpcWanted;
use model::security_group::{Peer, Traffic};
use node::network::linux::Uplink;
use std::net::Ipv4Addr;

const SSH: u16 = 22;

fn anywhere() -> Peer {
    Peer::Ipv4("0.0.0.0/0".parse().unwrap())
}

fn allow(wanted: &mut VpcWanted, group: u32, traffic: Traffic, peer: Peer) {
    wanted.groups.entry(group_id(group)).or_default().ingress.insert((traffic, peer));
}

fn revoke(wanted: &mut VpcWanted, group: u32, traffic: Traffic, peer: Peer) {
    assert!(wanted.groups.get_mut(&group_id(group)).unwrap().ingress.remove(&(traffic, peer)));
}

/// A group of its own, from which all may go out.
fn add_group(wanted: &mut VpcWanted, group: u32) {
    wanted.groups.entry(group_id(group)).or_default().egress.insert((Traffic::All, anywhere()));
}

#[test]
fn a_group_lets_in_whom_its_rules_name() {
    world("groups", Uplink::None, |world| async move {
        let mut wanted =
            vpc_with(1, &[(1, "172.31.0.10", &[group_id(11)]), (2, "172.31.0.11", &[group_id(12)]), (3, "172.31.16.12", &[group_id(1)])]);
        add_group(&mut wanted, 11);
        add_group(&mut wanted, 12);
        allow(&mut wanted, 11, Traffic::Tcp(SSH, SSH), Peer::Group(group_id(12)));
        world.ensure(&wanted).await;
        let (server, member, other) = (world.guest(&wanted, 1).await, world.guest(&wanted, 2).await, world.guest(&wanted, 3).await);
        server.serve_tcp(SSH);
        server.serve_tcp(23);
        let (seen, mut held) = member.connect(server.address, SSH).expect("refused though in the group");
        assert_eq!(seen, member.address);
        assert!(member.is_refused(server.address, 23), "a port that no rule names");
        assert!(other.is_refused(server.address, SSH), "somebody of another group");

        // The rule goes: a tracked connection lives on, a new one is refused.
        revoke(&mut wanted, 11, Traffic::Tcp(SSH, SSH), Peer::Group(group_id(12)));
        world.ensure(&wanted).await;
        assert!(tcp_echoes(&mut held), "a tracked connection ended with its rule");
        assert!(member.is_refused(server.address, SSH), "a revoked rule still lets in");

        // By address now, in several overlapping rules.
        allow(&mut wanted, 11, Traffic::Tcp(20, 30), Peer::Ipv4("172.31.16.0/20".parse().unwrap()));
        allow(&mut wanted, 11, Traffic::Tcp(22, 23), Peer::Ipv4("172.31.16.12/32".parse().unwrap()));
        allow(&mut wanted, 11, Traffic::Tcp(23, 23), Peer::Ipv4("172.31.0.11/32".parse().unwrap()));
        world.ensure(&wanted).await;
        assert!(other.connect(server.address, SSH).is_some());
        assert!(other.connect(server.address, 23).is_some());
        assert!(member.connect(server.address, 23).is_some());
        assert!(member.is_refused(server.address, SSH));

        // Who joins a group is in it, who leaves it isn't: rules that name it follow.
        allow(&mut wanted, 11, Traffic::Tcp(SSH, SSH), Peer::Group(group_id(12)));
        wanted.interfaces.get_mut(&interface_id(2)).unwrap().groups = [group_id(1)].into();
        wanted.groups.get_mut(&group_id(12)).unwrap().members.clear();
        world.ensure(&wanted).await;
        assert!(member.is_refused(server.address, SSH));
    });
}

#[test]
fn the_default_group_lets_in_its_members_only() {
    world("default", Uplink::None, |world| async move {
        let default = [group_id(1)];
        let mut wanted = vpc_with(1, &[(1, "172.31.0.10", &default), (2, "172.31.0.11", &default), (3, "172.31.0.12", &[group_id(13)])]);
        add_group(&mut wanted, 13);
        world.ensure(&wanted).await;
        let (one, two, other) = (world.guest(&wanted, 1).await, world.guest(&wanted, 2).await, world.guest(&wanted, 3).await);
        one.serve_tcp(SSH);
        one.serve_udp(7000);
        assert!(two.connect(one.address, SSH).is_some());
        assert!(udp_echoes(&two.udp(), one.address, 7000));
        assert!(other.is_refused(one.address, SSH), "a stranger");
        assert!(!udp_echoes(&other.udp(), one.address, 7000), "a stranger");
        // The other way: the stranger's group lets nobody in.
        other.serve_tcp(SSH);
        assert!(two.is_refused(other.address, SSH));

        // A member that comes later is one at once.
        join(&mut wanted, 4, "172.31.32.13", &default);
        world.ensure(&wanted).await;
        let late = world.guest(&wanted, 4).await;
        assert!(late.connect(one.address, SSH).is_some());

        // What a group lets out counts, too.
        let group = wanted.groups.get_mut(&group_id(1)).unwrap();
        group.egress = [(Traffic::Udp(7000, 7000), anywhere())].into();
        world.ensure(&wanted).await;
        assert!(two.is_refused(one.address, SSH), "egress is closed");
        assert!(udp_echoes(&two.udp(), one.address, 7000));
    });
}

#[test]
fn icmp_rules_tell_types_apart() {
    world("icmp", Uplink::None, |world| async move {
        let mut wanted = vpc_with(1, &[(1, "172.31.0.10", &[group_id(11)]), (2, "172.31.0.11", &[group_id(12)])]);
        add_group(&mut wanted, 11);
        add_group(&mut wanted, 12);
        allow(&mut wanted, 11, Traffic::Icmp(Some(13), None), anywhere());
        allow(&mut wanted, 11, Traffic::Icmp(Some(3), Some(4)), anywhere());
        world.ensure(&wanted).await;
        let (_one, two) = (world.guest(&wanted, 1).await, world.guest(&wanted, 2).await);
        let pings = || {
            let ping = || std::process::Command::new("busybox").args(["ping", "-c", "1", "-W", "1", "172.31.0.10"]).output().unwrap();
            two.ns.run(ping).status.success()
        };
        assert!(!pings(), "echo requests are of another type");
        allow(&mut wanted, 11, Traffic::Icmp(Some(8), None), anywhere());
        world.ensure(&wanted).await;
        assert!(pings());
        revoke(&mut wanted, 11, Traffic::Icmp(Some(8), None), anywhere());
        allow(&mut wanted, 11, Traffic::Icmp(None, None), Peer::Group(group_id(12)));
        world.ensure(&wanted).await;
        assert!(pings());
    });
}

/// "Untracked connections": open both ways, so each packet is judged by the rules of the moment.
#[test]
fn an_untracked_flow_ends_with_its_rule() {
    world("untracked", Uplink::None, |world| async move {
        let mut wanted = vpc_with(1, &[(1, "172.31.0.10", &[group_id(11)]), (2, "172.31.0.11", &[group_id(12)])]);
        add_group(&mut wanted, 11);
        add_group(&mut wanted, 12);
        allow(&mut wanted, 11, Traffic::All, anywhere());
        allow(&mut wanted, 12, Traffic::All, anywhere());
        world.ensure(&wanted).await;
        let (server, client) = (world.guest(&wanted, 1).await, world.guest(&wanted, 2).await);
        server.serve_udp(7000);
        let socket = client.udp();
        assert!(udp_echoes(&socket, server.address, 7000));
        server.serve_tcp(SSH);
        let (_, mut held) = client.connect(server.address, SSH).unwrap();

        revoke(&mut wanted, 11, Traffic::All, anywhere());
        world.ensure(&wanted).await;
        assert!(!udp_echoes(&socket, server.address, 7000), "an untracked flow lived on");
        assert!(!tcp_echoes(&mut held), "an untracked connection lived on");

        allow(&mut wanted, 11, Traffic::Udp(7000, 7000), Peer::Group(group_id(12)));
        world.ensure(&wanted).await;
        soon("the flow goes on", || udp_echoes(&socket, server.address, 7000));

        // The sender's side ends it, too.
        let egress = std::mem::take(&mut wanted.groups.get_mut(&group_id(12)).unwrap().egress);
        world.ensure(&wanted).await;
        assert!(!udp_echoes(&socket, server.address, 7000), "an untracked flow lived on without egress");
        wanted.groups.get_mut(&group_id(12)).unwrap().egress = egress;
        world.ensure(&wanted).await;
        soon("the flow goes on", || udp_echoes(&socket, server.address, 7000));
    });
}

/// The operator comes from the router's own address: rules of what comes in don't bind him, and guests can't use the door.
#[test]
fn the_operators_door_is_open_for_the_operator() {
    world("door", Uplink::None, |world| async move {
        let mut wanted = vpc_with(1, &[(1, "172.31.0.10", &[group_id(11)]), (2, "172.31.0.11", &[group_id(11)])]);
        add_group(&mut wanted, 11);
        world.ensure(&wanted).await;
        let (guest, other) = (world.guest(&wanted, 1).await, world.guest(&wanted, 2).await);
        guest.serve_tcp(SSH);
        assert!(other.is_refused(guest.address, SSH));
        let (seen, mut stream) = crate::guest::connect(&world.inside(&wanted.id).await, guest.address, SSH).expect("the door is shut");
        assert_eq!(seen, Ipv4Addr::new(172, 31, 0, 1));
        assert!(tcp_echoes(&mut stream));
        // A guest that pretends to be the router comes to nothing.
        other.ns.run(|| crate::world::ip("address add 172.31.0.1/32 dev eth0\n"));
        guest.serve_udp(7000);
        let pretend = other.ns.run(|| std::net::UdpSocket::bind("172.31.0.1:0").unwrap());
        assert!(!udp_echoes(&pretend, guest.address, 7000));
    });
}
