//! What a guest finds on its link: its lease, its neighbours; and what it can't pretend to be.

use crate::contract::group_id;
use crate::guest::{Guest, udp_echoes};
use crate::world::{Netns, SILENCE, ip, vpc_with, world};
use node::network::linux::Uplink;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

/// What busybox's DHCP client is told, as `NAME=value` lines.
fn lease(guest: &Guest, dir: &std::path::Path) -> Option<String> {
    let (script, told) = (dir.join("script"), dir.join("told"));
    std::fs::write(&script, format!("#!/bin/sh\n[ \"$1\" = bound ] && env > {}\nexit 0\n", told.display())).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let got = guest.ns.run(|| {
        let mut client = Command::new("busybox");
        client.args(["udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", "3", "-T", "1", "-s"]).arg(&script);
        client.output().unwrap()
    });
    got.status.success().then(|| std::fs::read_to_string(told).unwrap())
}

#[test]
fn a_guest_gets_its_lease() {
    world("lease", Uplink::None, |world| async move {
        let wanted = vpc_with(1, &[(1, "172.31.16.10", &[group_id(1)])]);
        world.ensure(&wanted).await;
        let guest = world.guest_without_address(&wanted, 1).await;
        let start = Instant::now();
        let told = lease(&guest, &world.config.data_dir).expect("no lease");
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        for line in [
            "ip=172.31.16.10",
            "subnet=255.255.240.0",
            "router=172.31.16.1",
            "dns=172.31.0.2",
            "domain=ec2.internal",
            "hostname=ip-172-31-16-10",
            "lease=3600",
            "serverid=172.31.16.1",
        ] {
            assert!(told.lines().any(|told| told == line), "{line} is not in\n{told}");
        }
        // A message that gives a length its address doesn't have ends nothing.
        let mut odd = [0u8; 300];
        odd[..3].copy_from_slice(&[1, 1, 32]);
        odd[236..243].copy_from_slice(&[99, 130, 83, 99, 53, 1, 1]);
        guest.ns.run(|| {
            ip("addr add 172.31.16.10/20 dev eth0\n");
            UdpSocket::bind("0.0.0.0:68").unwrap().send_to(&odd, "172.31.16.1:67").unwrap();
            ip("addr flush dev eth0\n");
        });
        assert!(lease(&guest, &world.config.data_dir).is_some());
        // Under another Ethernet address nobody gets a lease, and least of all this one's.
        guest.ns.run(|| ip("link set dev eth0 address 02:00:00:00:00:99\n"));
        assert_eq!(lease(&guest, &world.config.data_dir), None);
    });
}

/// Whether somebody answers for an address on the link, and within which time.
fn arp(ns: &Netns, ip: &str) -> Option<Duration> {
    let start = Instant::now();
    let asked = ns.run(|| Command::new("busybox").args(["arping", "-f", "-c", "1", "-w", "1", "-I", "eth0", ip]).output().unwrap());
    asked.status.success().then(|| start.elapsed())
}

#[test]
fn the_router_answers_for_what_is_there_only() {
    world("arp", Uplink::None, |world| async move {
        let default = [group_id(1)];
        let wanted = vpc_with(1, &[(1, "172.31.0.10", &default), (2, "172.31.0.11", &default), (3, "172.31.16.10", &default)]);
        world.ensure(&wanted).await;
        let guest = world.guest(&wanted, 1).await;
        let first = arp(&guest.ns, "172.31.0.11").expect("no answer for another guest");
        assert!(first < Duration::from_millis(500), "the first answer took {first:?}");
        for there in ["172.31.0.1", "172.31.0.2", "169.254.169.254", "169.254.169.253", "172.31.16.10"] {
            assert!(arp(&guest.ns, there).is_some(), "{there}");
        }
        for absent in ["172.31.0.12", "172.31.0.10", "169.254.169.7", "169.254.0.1", "10.0.0.1", "8.8.8.8", "198.18.0.1"] {
            assert!(arp(&guest.ns, absent).is_none(), "{absent}");
        }
    });
}

#[test]
fn nobody_speaks_for_another() {
    world("spoof", Uplink::None, |world| async move {
        let default = [group_id(1)];
        let wanted = vpc_with(1, &[(1, "172.31.0.10", &default), (2, "172.31.0.11", &default), (3, "172.31.0.12", &default)]);
        world.ensure(&wanted).await;
        let (one, two, three) = (world.guest(&wanted, 1).await, world.guest(&wanted, 2).await, world.guest(&wanted, 3).await);
        let listener = two.ns.run(|| UdpSocket::bind("0.0.0.0:7000").unwrap());
        listener.set_read_timeout(Some(SILENCE)).unwrap();
        let mut heard = [0; 16];
        let mut hears = || listener.recv_from(&mut heard).ok().map(|(_, from)| from.ip().to_string());
        let says = |from: &str| {
            let from: Ipv4Addr = from.parse().unwrap();
            one.ns.run(|| UdpSocket::bind((from, 0)).unwrap().send_to(b"hello", "172.31.0.11:7000").unwrap());
        };
        says("172.31.0.10");
        assert_eq!(hears().as_deref(), Some("172.31.0.10"));
        // A member's address, a service's, one from outside, a broadcast's.
        one.ns
            .run(|| ip("address add 172.31.0.12/20 dev eth0\naddress add 169.254.169.254/32 dev eth0\naddress add 8.8.8.8/32 dev eth0\n"));
        for other in ["172.31.0.12", "169.254.169.254", "8.8.8.8"] {
            says(other);
            assert_eq!(hears(), None, "{other}");
        }
        // Nobody is told of others who asks under another's name.
        for (from, answered) in [("172.31.0.10", true), ("172.31.0.12", false)] {
            let asked = one.ns.run(|| {
                Command::new("busybox")
                    .args(["arping", "-f", "-c", "1", "-w", "1", "-I", "eth0", "-s", from, "172.31.0.1"])
                    .output()
                    .unwrap()
            });
            assert_eq!(asked.status.success(), answered, "{from}");
        }
        // Having pretended in ARP, too, changes nothing for who has the address.
        one.ns.run(|| Command::new("busybox").args(["arping", "-U", "-c", "2", "-I", "eth0", "172.31.0.12"]).output().unwrap());
        three.serve_udp(7001);
        assert!(udp_echoes(&two.udp(), three.address, 7001));
        // Another Ethernet address, with the right IPv4 address.
        one.ns.run(|| ip("link set dev eth0 address 02:00:00:00:00:99\n"));
        says("172.31.0.10");
        assert_eq!(hears(), None);
    });
}

#[test]
fn a_guest_without_source_check_may_pass_on_others_packets() {
    world("nocheck", Uplink::None, |world| async move {
        let default = [group_id(1)];
        let mut wanted = vpc_with(1, &[(1, "172.31.0.10", &default), (2, "172.31.0.11", &default)]);
        let open = wanted.groups.get_mut(&group_id(1)).unwrap();
        open.ingress.insert((model::security_group::Traffic::All, model::security_group::Peer::Ipv4("0.0.0.0/0".parse().unwrap())));
        wanted.interfaces.get_mut(&crate::contract::interface_id(1)).unwrap().source_dest_check = false;
        world.ensure(&wanted).await;
        let (one, two) = (world.guest(&wanted, 1).await, world.guest(&wanted, 2).await);
        let listener = two.ns.run(|| UdpSocket::bind("0.0.0.0:7000").unwrap());
        listener.set_read_timeout(Some(SILENCE)).unwrap();
        one.ns.run(|| ip("address add 192.168.9.9/32 dev eth0\naddress add 169.254.169.254/32 dev eth0\n"));
        let mut heard = [0; 16];
        // The neighbour is asked for under the guest's own address, as a router's stack does.
        for (from, passes) in [("172.31.0.10", true), ("192.168.9.9", true), ("169.254.169.254", false)] {
            let source: Ipv4Addr = from.parse().unwrap();
            one.ns.run(|| UdpSocket::bind((source, 0)).unwrap().send_to(b"hello", "172.31.0.11:7000").unwrap());
            assert_eq!(listener.recv_from(&mut heard).is_ok(), passes, "{from}");
        }
    });
}
