//! The way out and in: public addresses, the internet gateway, pasta. The internet is a namespace behind the server's own.

use crate::contract::{group_id, interface_id};
use crate::guest::{Guest, connect, serve_tcp, soon, tcp_echoes};
use crate::world::{Netns, PASTA_UID, SILENCE, World, ip, run, vpc_with, world};
use model::network::VpcWanted;
use model::security_group::{Peer, Traffic};
use node::network::linux::Uplink;
use node::network::{Network as _, WayOut};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;

const OUTSIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
const HOST: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// Somebody on a private network behind the host.
const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const ONE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 5);
const TWO: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 6);
const SSH: u16 = 22;

/// The internet, on a cable to the server's namespace, which has a default route to it.
struct Internet(Netns);

impl Internet {
    fn new() -> Self {
        let ns = Netns::new();
        ns.run(|| {
            ip("link add i0 type veth peer name s0\n");
            run(
                "nft",
                &["-f", "-"],
                "table ip leak { chain c { type filter hook prerouting priority -300; ip saddr 172.31.0.0/16 counter; }; }\n",
            );
            ip(&format!(
                "address add {OUTSIDE}/24 dev i0\nlink set dev i0 up\naddress add {NEIGHBOUR}/32 dev lo\nroute add default via {HOST}\n"
            ));
            std::fs::write("/proc/sys/net/ipv4/conf/all/rp_filter", "0").unwrap();
        });
        Self(ns)
    }

    /// Plugs the cable's other end in; the calling thread is the server's.
    fn plug(&self) {
        let here = nix::unistd::gettid();
        // A name for the calling thread's namespace that is good from the other.
        self.0.run(|| run("ip", &["link", "set", "dev", "s0", "netns", &here.to_string()], ""));
        ip(&format!("address add {HOST}/24 dev s0\nlink set dev s0 up\nroute add default via {OUTSIDE}\n"));
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
    }

    fn is_refused(&self, to: Ipv4Addr, port: u16) -> bool {
        self.0.run(|| TcpStream::connect_timeout(&SocketAddr::from((to, port)), SILENCE).is_err())
    }
}

/// Counts in the fabric what should never come so far: what has the VPC's own addresses.
struct Leaks(Netns);

impl Leaks {
    fn watch(world: &World) -> Self {
        let holder = marked(&format!("PILEUS_NAMESPACE={}:fabric", world.config.data_dir.display())).unwrap();
        let fabric = Netns::open(&Path::new("/proc").join(holder.to_string()).join("ns/net"));
        let table = "table ip leak { chain c { type filter hook prerouting priority -300
            ip saddr 172.31.0.0/16 counter
            ip daddr 172.31.0.0/16 counter
        }
        }";
        fabric.run(|| run("nft", &["-f", "-"], table));
        Self(fabric)
    }

    fn are_none(&self) -> bool {
        let listed = self.0.run(|| run("nft", &["list", "table", "ip", "leak"], ""));
        listed.matches("counter packets 0 ").count() == 2
    }
}

fn publish(wanted: &mut VpcWanted, n: u32, public: Option<Ipv4Addr>) {
    wanted.interfaces.get_mut(&interface_id(n)).unwrap().public_ip = public;
}

/// Lets everybody in `net` reach the SSH port of the group's members, and its members everybody.
fn allow(wanted: &mut VpcWanted, group: u32, net: &str) {
    let group = wanted.groups.entry(group_id(group)).or_default();
    group.ingress.insert((Traffic::Tcp(SSH, SSH), Peer::Ipv4(net.parse().unwrap())));
    group.egress.insert((Traffic::All, Peer::Ipv4("0.0.0.0/0".parse().unwrap())));
}

fn out(guest: &Guest) -> Option<Ipv4Addr> {
    guest.ns.run(|| TcpStream::connect_timeout(&SocketAddr::from((OUTSIDE, 80)), SILENCE).ok())?;
    guest.connect(OUTSIDE, 80).map(|(seen, _)| seen)
}

#[test]
fn a_public_address_is_its_holders_both_ways() {
    world("igw", Uplink::Veth, |world| async move {
        let internet = Internet::new();
        internet.plug();
        serve_tcp(&internet.0, 80);
        let mut wanted =
            vpc_with(1, &[(1, "172.31.0.10", &[group_id(11)]), (2, "172.31.0.11", &[group_id(11)]), (3, "172.31.0.12", &[group_id(1)])]);
        allow(&mut wanted, 11, "203.0.113.0/24");
        publish(&mut wanted, 1, Some(ONE));
        publish(&mut wanted, 3, Some(TWO));
        world.ensure(&wanted).await;
        let (holder, without, closed) = (world.guest(&wanted, 1).await, world.guest(&wanted, 2).await, world.guest(&wanted, 3).await);
        for guest in [&holder, &without, &closed] {
            guest.serve_tcp(SSH);
            guest.serve_tcp(23);
        }

        let leaks = Leaks::watch(&world);
        assert_eq!(out(&holder), Some(ONE));
        assert_eq!(out(&closed), Some(TWO));
        assert_eq!(out(&without), None, "out without a public address");
        let (seen, mut held) = connect(&internet.0, ONE, SSH).expect("refused though a rule allows it");
        assert_eq!(seen, OUTSIDE);
        assert!(internet.is_refused(ONE, 23), "a port that no rule names");
        assert!(internet.is_refused(TWO, SSH), "the default group's member");
        assert!(internet.is_refused(Ipv4Addr::new(198, 18, 0, 99), SSH), "an address that nobody has");
        assert!(internet.is_refused(Ipv4Addr::new(172, 31, 0, 10), SSH), "a private address from outside");
        // Neither what has no public address comes to the fabric, nor what goes to a private one that nobody has.
        without.ns.run(|| drop(UdpSocket::bind("0.0.0.0:0").unwrap().send_to(b"leak", (OUTSIDE, 9))));
        holder.ns.run(|| ip("route add 172.31.0.99 via 172.31.0.1\n"));
        holder.ns.run(|| drop(UdpSocket::bind("0.0.0.0:0").unwrap().send_to(b"leak", ("172.31.0.99", 9))));
        assert!(leaks.are_none(), "a private address was seen in the fabric");

        // The address moves: its old flows end with it, and new ones find the new holder.
        publish(&mut wanted, 1, None);
        publish(&mut wanted, 2, Some(ONE));
        world.ensure(&wanted).await;
        assert!(!tcp_echoes(&mut held), "a flow survived its address");
        assert_eq!(out(&holder), None);
        assert_eq!(out(&without), Some(ONE));
        let (_, mut held) = connect(&internet.0, ONE, SSH).expect("the new holder isn't reached");

        // The gateway goes, and comes back.
        wanted.internet_gateway = false;
        world.ensure(&wanted).await;
        assert_eq!(out(&without), None);
        assert!(internet.is_refused(ONE, SSH));
        wanted.internet_gateway = true;
        world.ensure(&wanted).await;
        assert_eq!(out(&without), Some(ONE));
        assert!(tcp_echoes(&mut held), "the flow goes on");
        assert!(leaks.are_none());
    });
}

/// The default group lets in its members, and whoever has a public address; not whoever says so outside.
#[test]
fn nobody_comes_from_outside_under_an_inside_name() {
    world("names", Uplink::Veth, |world| async move {
        let internet = Internet::new();
        internet.plug();
        let mut wanted = vpc_with(1, &[(1, "172.31.0.10", &[group_id(1)]), (2, "172.31.0.11", &[group_id(1)])]);
        let default = wanted.groups.get_mut(&group_id(1)).unwrap();
        for net in ["198.18.0.0/16", "203.0.113.0/24"] {
            default.ingress.insert((Traffic::Udp(7000, 7000), Peer::Ipv4(net.parse().unwrap())));
        }
        publish(&mut wanted, 1, Some(ONE));
        publish(&mut wanted, 2, Some(TWO));
        world.ensure(&wanted).await;
        let guest = world.guest(&wanted, 1).await;
        let listener = guest.ns.run(|| UdpSocket::bind("0.0.0.0:7000").unwrap());
        listener.set_read_timeout(Some(SILENCE)).unwrap();
        soon("the way in opens", || {
            internet.0.run(|| UdpSocket::bind("0.0.0.0:0").unwrap().send_to(b"hello", (ONE, 7000)).unwrap());
            listener.recv_from(&mut [0; 16]).is_ok()
        });
        while listener.recv_from(&mut [0; 16]).is_ok() {}
        for inside in ["172.31.0.11", "198.18.0.6", "169.254.169.254"] {
            internet.0.run(|| {
                ip(&format!("address add {inside}/32 dev lo\n"));
                UdpSocket::bind((inside, 0)).unwrap().send_to(b"hello", (ONE, 7000)).unwrap();
            });
            assert!(listener.recv_from(&mut [0; 16]).is_err(), "{inside}");
        }
    });
}

/// A flow is of the address that it began with: it ends, each way, when the address goes to another.
#[test]
fn a_flow_ends_when_its_address_moves() {
    world("moves", Uplink::Veth, |world| async move {
        let internet = Internet::new();
        internet.plug();
        let mut wanted = vpc_with(1, &[(1, "172.31.0.10", &[group_id(1)]), (2, "172.31.0.11", &[group_id(1)])]);
        let default = wanted.groups.get_mut(&group_id(1)).unwrap();
        default.ingress.insert((Traffic::Udp(7000, 7000), Peer::Ipv4("203.0.113.0/24".parse().unwrap())));
        publish(&mut wanted, 1, Some(ONE));
        world.ensure(&wanted).await;
        let guest = world.guest(&wanted, 1).await;
        let socket = |ns: &Netns, port: u16| {
            let socket = ns.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap());
            socket.set_read_timeout(Some(SILENCE)).unwrap();
            socket
        };
        let hears = |socket: &UdpSocket| socket.recv_from(&mut [0; 16]).ok().map(|(_, from)| from);
        // One flow from outside, one from the guest.
        let (caller, called) = (socket(&internet.0, 0), socket(&guest.ns, 7000));
        soon("the way in opens", || {
            caller.send_to(b"x", (ONE, 7000)).unwrap();
            hears(&called).is_some()
        });
        called.send_to(b"x", (OUTSIDE, caller.local_addr().unwrap().port())).unwrap();
        assert_eq!(hears(&caller).unwrap().ip(), ONE);
        let (asker, asked) = (socket(&guest.ns, 0), socket(&internet.0, 9000));
        asker.send_to(b"x", (OUTSIDE, 9000)).unwrap();
        let asker_outside = hears(&asked).unwrap();
        assert_eq!(asker_outside.ip(), ONE);

        // The guest has another address now, and another has its: both still may speak, but not in the old flows.
        publish(&mut wanted, 1, Some(TWO));
        publish(&mut wanted, 2, Some(ONE));
        world.ensure(&wanted).await;
        caller.send_to(b"x", (ONE, 7000)).unwrap();
        assert_eq!(hears(&called), None, "what was sent to an address came to who had it before");
        called.send_to(b"x", (OUTSIDE, caller.local_addr().unwrap().port())).unwrap();
        assert_eq!(hears(&caller), None, "an answer came from an address that is another's");
        asker.send_to(b"x", (OUTSIDE, 9000)).unwrap();
        assert_eq!(hears(&asked), None, "a guest spoke under an address that is another's");
        asked.send_to(b"x", asker_outside).unwrap();
        assert_eq!(hears(&asker), None, "an answer to an address came to who had it before");
        socket(&guest.ns, 0).send_to(b"x", (OUTSIDE, 9000)).unwrap();
        assert_eq!(hears(&asked).map(|from| from.ip()), Some(TWO.into()));
    });
}

#[test]
fn vpcs_meet_by_public_addresses_only() {
    world("two", Uplink::Veth, |world| async move {
        // The same addresses in both.
        let mut first = vpc_with(1, &[(1, "172.31.0.10", &[group_id(11)]), (2, "172.31.0.20", &[group_id(11)])]);
        let mut second = vpc_with(2, &[(3, "172.31.0.10", &[group_id(12)]), (4, "172.31.0.30", &[group_id(12)])]);
        allow(&mut first, 11, "0.0.0.0/0");
        allow(&mut second, 12, "0.0.0.0/0");
        publish(&mut first, 1, Some(ONE));
        publish(&mut second, 3, Some(TWO));
        world.ensure(&first).await;
        world.ensure(&second).await;
        let (one, two) = (world.guest(&first, 1).await, world.guest(&first, 2).await);
        let (three, four) = (world.guest(&second, 3).await, world.guest(&second, 4).await);
        for guest in [&two, &three, &four] {
            guest.serve_tcp(SSH);
        }
        assert!(one.connect(two.address, SSH).is_some());
        assert!(one.is_refused(four.address, SSH), "a guest of another VPC, by its private address");
        assert!(two.is_refused(Ipv4Addr::new(172, 31, 0, 10), SSH), "the other VPC's namesake answered");
        assert_eq!(one.connect(TWO, SSH).map(|(seen, _)| seen), Some(ONE));
        // To itself, around by its own public address.
        one.serve_tcp(SSH);
        assert_eq!(one.connect(ONE, SSH).map(|(seen, _)| seen), Some(ONE));

        // An address goes from one VPC to the other, which may be told of it first.
        publish(&mut second, 4, Some(ONE));
        world.ensure(&second).await;
        publish(&mut first, 1, None);
        world.ensure(&first).await;
        assert_eq!(three.connect(ONE, SSH).map(|(seen, _)| seen), Some(TWO));
        world.network().vpc_remove(&second.id).await.unwrap();
        assert!(one.is_refused(TWO, SSH));
        publish(&mut first, 1, Some(TWO));
        world.ensure(&first).await;
        assert_eq!(one.connect(TWO, SSH).map(|(seen, _)| seen), Some(TWO));
    });
}

async fn guest_with_public_address(world: &World) -> (VpcWanted, Guest) {
    let mut wanted = vpc_with(1, &[(1, "172.31.0.10", &[group_id(1)])]);
    publish(&mut wanted, 1, Some(ONE));
    world.ensure(&wanted).await;
    let guest = world.guest(&wanted, 1).await;
    (wanted, guest)
}

#[test]
fn the_host_and_private_networks_are_out_of_reach() {
    world("private", Uplink::Veth, |mut world| async move {
        let internet = Internet::new();
        internet.plug();
        ip(&format!("route add 10.9.0.0/16 via {OUTSIDE}\n"));
        serve_tcp(&internet.0, 80);
        let here = Netns::open(Path::new("/proc/thread-self/ns/net"));
        serve_tcp(&here, 8080);
        let (_, guest) = guest_with_public_address(&world).await;
        assert_eq!(out(&guest), Some(ONE));
        soon("the host's address is out of reach", || guest.is_refused(HOST, 8080));
        assert!(guest.is_refused(Ipv4Addr::new(100, 64, 0, 1), 8080));
        assert!(guest.is_refused(NEIGHBOUR, 80), "a private network");
        let later = Ipv4Addr::new(203, 0, 113, 77);
        ip(&format!("address add {later}/24 dev s0\n"));
        soon("the host's new address is out of reach", || guest.is_refused(later, 8080));

        // A private network can be let in by configuration; the host itself can't.
        world.config.allow_private = vec!["10.9.0.0/16".parse().unwrap(), "203.0.113.0/24".parse().unwrap()];
        world.start();
        assert_eq!(guest.connect(NEIGHBOUR, 80).map(|(seen, _)| seen), Some(ONE));
        assert!(guest.is_refused(HOST, 8080));
    });
}

/// The process that is this cloud's way out.
fn pasta(world: &World) -> Option<i32> {
    marked(&format!("PILEUS_WAY_OUT={}:", world.config.data_dir.display()))
}

/// A process with a variable that begins so.
pub(crate) fn marked(mark: &str) -> Option<i32> {
    std::fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let environ = std::fs::read(entry.path().join("environ")).ok()?;
        environ.split(|b| *b == 0).any(|v| v.starts_with(mark.as_bytes())).then(|| entry.file_name().to_str()?.parse().ok())?
    })
}

#[test]
fn pasta_is_the_way_out_and_comes_back() {
    world("pasta", Uplink::Pasta, |mut world| async move {
        // Without a default route the cloud starts all the same, and says so.
        soon("it says so", || world.network().way_out() == WayOut::None("the host has no default route".into()));
        let internet = Internet::new();
        internet.plug();
        serve_tcp(&internet.0, 80);
        let (_, guest) = guest_with_public_address(&world).await;
        soon("the way out opens", || world.network().way_out() == WayOut::Open("through pasta".into()));
        assert_eq!(out(&guest), Some(HOST), "through pasta guests have the host's address outside");
        let here = Netns::open(Path::new("/proc/thread-self/ns/net"));
        serve_tcp(&here, 8080);
        for own in [HOST, Ipv4Addr::new(100, 64, 0, 1), Ipv4Addr::new(100, 64, 0, 2)] {
            assert!(guest.is_refused(own, 8080), "{own}");
        }
        // It outlives the server, and is found again.
        let first = pasta(&world).unwrap();
        world.start();
        assert_eq!((pasta(&world), out(&guest)), (Some(first), Some(HOST)));
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(first), nix::sys::signal::Signal::SIGKILL).unwrap();
        soon("pasta comes back", || pasta(&world).is_some_and(|pid| pid != first) && out(&guest) == Some(HOST));
    });
}

fn fabric_holder(world: &World) -> Option<i32> {
    marked(&format!("PILEUS_NAMESPACE={}:fabric", world.config.data_dir.display()))
}

fn kill(pid: i32) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
}

#[test]
fn pasta_has_no_rights_on_the_host() {
    world("rights", Uplink::Pasta, |world| async move {
        let internet = Internet::new();
        internet.plug();
        soon("the way out opens", || pasta(&world).is_some() && world.network().way_out() == WayOut::Open("through pasta".into()));
        let pid = pasta(&world).unwrap();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let ids = format!("\t{PASTA_UID}").repeat(4);
        assert!(status.contains(&format!("Uid:{ids}\n")) && status.contains(&format!("Gid:{ids}\n")), "{status}");
        assert!(status.lines().any(|line| line.trim_end() == "Groups:"), "{status}");
        // The capabilities that it has are over its own user namespace, which no other process is in.
        let user = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/user")).unwrap();
        assert_ne!(user(&pid.to_string()), user("self"));
        let map = std::fs::read_to_string(format!("/proc/{pid}/uid_map")).unwrap();
        assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", &PASTA_UID.to_string(), "1"]);
    });
}

#[test]
fn pasta_goes_on_without_the_server_and_ends_with_the_fabric() {
    world("outlive", Uplink::Pasta, |mut world| async move {
        let internet = Internet::new();
        internet.plug();
        serve_tcp(&internet.0, 80);
        let (_, guest) = guest_with_public_address(&world).await;
        soon("the way out opens", || out(&guest) == Some(HOST));
        let first = pasta(&world).unwrap();
        world.stop();
        assert_eq!(out(&guest), Some(HOST), "guests go on without the server");
        assert_eq!(pasta(&world), Some(first));
        kill(fabric_holder(&world).unwrap());
        soon("pasta ends with the fabric", || pasta(&world).is_none());
    });
}

#[test]
fn flows_dont_notice_that_the_fabrics_holder_is_killed() {
    world("fabric", Uplink::Pasta, |world| async move {
        let internet = Internet::new();
        internet.plug();
        serve_tcp(&internet.0, 80);
        let (_, guest) = guest_with_public_address(&world).await;
        soon("the way out opens", || out(&guest) == Some(HOST));
        let (_, mut held) = guest.connect(OUTSIDE, 80).unwrap();
        let (way_out, first) = (pasta(&world), fabric_holder(&world).unwrap());
        kill(first);
        soon("another holder", || fabric_holder(&world).is_some_and(|pid| pid != first));
        assert!(tcp_echoes(&mut held), "a flow ended with the holder");
        assert_eq!((out(&guest), pasta(&world)), (Some(HOST), way_out));
    });
}

#[test]
fn a_fabric_that_is_lost_without_a_server_is_made_again() {
    world("lostfabric", Uplink::Veth, |mut world| async move {
        let internet = Internet::new();
        internet.plug();
        serve_tcp(&internet.0, 80);
        let (wanted, guest) = guest_with_public_address(&world).await;
        soon("the way out opens", || out(&guest) == Some(ONE));
        world.stop();
        kill(fabric_holder(&world).unwrap());
        soon("the holder ends", || fabric_holder(&world).is_none());
        world.start();
        world.ensure(&wanted).await;
        soon("the way out comes back", || out(&guest) == Some(ONE));
    });
}
