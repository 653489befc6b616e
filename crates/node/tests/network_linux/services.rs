//! What the VPC's router serves, and that it serves nothing else.

use crate::contract::group_id;
use crate::guest::Guest;
use crate::world::{PATIENCE, SILENCE, ip, vpc_with, world};
use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use node::network::linux::Uplink;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::str::FromStr as _;
use std::time::{Duration, Instant};

const VPC_DNS: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 2);
const LINK_DNS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 253);
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
const ROUTER: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 1);

/// Asks over UDP, or TCP.
fn resolve(guest: &Guest, server: Ipv4Addr, name: &str, kind: RecordType, tcp: bool) -> Message {
    let mut question = Message::query();
    question.add_query(Query::query(Name::from_str(name).unwrap(), kind));
    let bytes = question.to_vec().unwrap();
    let answer = guest.ns.run(|| {
        if tcp {
            let mut stream = TcpStream::connect_timeout(&SocketAddr::from((server, 53)), PATIENCE).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(&u16::try_from(bytes.len()).unwrap().to_be_bytes()).unwrap();
            stream.write_all(&bytes).unwrap();
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut answer = vec![0; u16::from_be_bytes(length).into()];
            stream.read_exact(&mut answer).unwrap();
            answer
        } else {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.connect((server, 53)).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket.send(&bytes).unwrap();
            let mut answer = vec![0; 2048];
            let n = socket.recv(&mut answer).unwrap();
            answer.truncate(n);
            answer
        }
    });
    let answer = Message::from_vec(&answer).unwrap();
    assert_eq!(answer.metadata.id, question.metadata.id);
    answer
}

fn addresses(answer: &Message) -> Vec<RData> {
    answer.answers.iter().map(|record| record.data.clone()).collect()
}

#[test]
fn names_of_guests_are_known_and_others_are_asked_for() {
    world("dns", Uplink::None, |world| async move {
        let wanted = vpc_with(1, &[(1, "172.31.0.10", &[group_id(1)])]);
        world.ensure(&wanted).await;
        let guest = world.guest(&wanted, 1).await;
        let own = RData::A(A(Ipv4Addr::new(172, 31, 0, 10)));
        for (server, tcp) in [(VPC_DNS, false), (VPC_DNS, true), (LINK_DNS, false), (LINK_DNS, true)] {
            let answer = resolve(&guest, server, "ip-172-31-0-10.ec2.internal.", RecordType::A, tcp);
            assert_eq!(addresses(&answer), std::slice::from_ref(&own), "{server} {tcp}");
        }
        let reverse = resolve(&guest, VPC_DNS, "10.0.31.172.in-addr.arpa.", RecordType::PTR, false);
        assert_eq!(addresses(&reverse)[0].to_string(), "ip-172-31-0-10.ec2.internal.");
        for absent in ["ip-172-31-0-11.ec2.internal.", "11.0.31.172.in-addr.arpa.", "nobody.internal."] {
            assert_eq!(resolve(&guest, VPC_DNS, absent, RecordType::A, false).metadata.response_code, ResponseCode::NXDomain, "{absent}");
        }
        // Nobody can be asked from here: the answer comes at once all the same.
        let start = Instant::now();
        let answer = resolve(&guest, VPC_DNS, "does-not-exist.example.com.", RecordType::A, false);
        assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
        assert!(start.elapsed() < SILENCE, "{:?}", start.elapsed());
    });
}

/// The host's name servers, played on their own addresses inside the server's namespace.
#[test]
fn names_of_others_are_asked_of_the_hosts_name_servers() {
    world("forward", Uplink::None, |world| async move {
        let text = std::fs::read_to_string("/etc/resolv.conf").unwrap();
        let server: Ipv4Addr = text.lines().find_map(|l| l.strip_prefix("nameserver ")?.trim().parse().ok()).expect("an IPv4 name server");
        if !server.is_loopback() {
            ip(&format!("address add {server}/32 dev lo\n"));
        }
        let socket = UdpSocket::bind((server, 53)).unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while let Ok((n, from)) = socket.recv_from(&mut buffer) {
                let question = Message::from_vec(&buffer[..n]).unwrap();
                let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
                answer.add_query(question.queries[0].clone());
                answer.add_answer(Record::from_rdata(question.queries[0].name().clone(), 9, RData::A(A(Ipv4Addr::new(203, 0, 113, 9)))));
                socket.send_to(&answer.to_vec().unwrap(), from).unwrap();
            }
        });
        let wanted = vpc_with(1, &[(1, "172.31.0.10", &[group_id(1)])]);
        world.ensure(&wanted).await;
        let guest = world.guest(&wanted, 1).await;
        let answer = resolve(&guest, VPC_DNS, "www.example.com.", RecordType::A, false);
        assert_eq!(addresses(&answer), [RData::A(A(Ipv4Addr::new(203, 0, 113, 9)))]);
    });
}

fn http(guest: &Guest, server: Ipv4Addr, path: &str) -> String {
    guest.ns.run(|| {
        let mut stream = TcpStream::connect_timeout(&SocketAddr::from((server, 80)), PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {server}\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    })
}

#[test]
fn the_router_serves_what_it_should_and_nothing_else() {
    world("services", Uplink::None, |world| async move {
        let wanted = vpc_with(1, &[(1, "172.31.0.10", &[group_id(1)]), (2, "172.31.16.11", &[group_id(1)])]);
        world.ensure(&wanted).await;
        for n in [1, 2] {
            let guest = world.guest(&wanted, n).await;
            let answer = http(&guest, METADATA, "/latest/meta-data/local-ipv4");
            assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(&guest.address.to_string()), "{answer}");
        }
        let guest = world.guest(&wanted, 1).await;
        // The same ports, opened by the router on all its addresses, are out of reach but for where they belong.
        let inside = world.inside(&wanted.id).await;
        for port in [8080, 22] {
            crate::guest::serve_tcp(&inside, port);
        }
        for (address, port) in [
            (ROUTER, 80),
            (ROUTER, 53),
            (ROUTER, 22),
            (VPC_DNS, 80),
            (LINK_DNS, 80),
            (METADATA, 53),
            (METADATA, 8080),
            (Ipv4Addr::new(172, 31, 16, 1), 22),
            (Ipv4Addr::new(169, 254, 169, 123), 22),
            (Ipv4Addr::new(100, 64, 0, 2), 22),
            (Ipv4Addr::new(169, 254, 0, 1), 22),
        ] {
            assert!(guest.is_refused(address, port), "{address}:{port}");
        }
        // The time.
        let time = guest.udp();
        time.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut packet = [0; 48];
        packet[0] = 0x23;
        time.send_to(&packet, (Ipv4Addr::new(169, 254, 169, 123), 123)).unwrap();
        assert_eq!(time.recv(&mut packet).unwrap(), 48);
        let seconds = u64::from(u32::from_be_bytes([packet[40], packet[41], packet[42], packet[43]])) - 2_208_988_800;
        let own = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        assert!(own.abs_diff(seconds) < 5);
    });
}

/// One guest can't keep the services from the others.
#[test]
fn a_flood_of_questions_is_cut() {
    world("flood", Uplink::None, |world| async move {
        let wanted = vpc_with(1, &[(1, "172.31.0.10", &[group_id(1)]), (2, "172.31.0.11", &[group_id(1)])]);
        world.ensure(&wanted).await;
        let (guest, other) = (world.guest(&wanted, 1).await, world.guest(&wanted, 2).await);
        let mut question = Message::query();
        question.add_query(Query::query(Name::from_str("a.internal.").unwrap(), RecordType::A));
        let bytes = question.to_vec().unwrap();
        // What comes as far as a socket of the router's, whether or not the server keeps up with it.
        let inside = world.inside(&wanted.id).await;
        let arrived = || {
            let text = inside.run(|| std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap());
            let udp = text.lines().rfind(|line| line.starts_with("Udp:")).unwrap();
            let numbers: Vec<u64> = udp.split_whitespace().skip(1).map(|n| n.parse().unwrap()).collect();
            // InDatagrams and RcvbufErrors.
            numbers[0] + numbers[4]
        };
        let socket = guest.udp();
        let start = Instant::now();
        for n in 1..=6000 {
            let _ = socket.send_to(&bytes, (VPC_DNS, 53));
            if n % 100 == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        std::thread::sleep(SILENCE);
        let (arrived, took) = (arrived(), start.elapsed());
        let allowed = 1024 + (1024.0 * took.as_secs_f64()) as u64 + 100;
        assert!((1000..=allowed).contains(&arrived), "{arrived} of 6000 questions in {took:?}");
        assert_eq!(resolve(&other, VPC_DNS, "a.internal.", RecordType::A, false).metadata.response_code, ResponseCode::NXDomain);
    });
}

/// Nor can it fill the table of connections, which is one for the whole VPC.
#[test]
fn a_flood_of_connections_is_cut() {
    world("connections", Uplink::None, |world| async move {
        let default = [group_id(1)];
        let wanted = vpc_with(1, &[(1, "172.31.0.10", &default), (2, "172.31.0.11", &default), (3, "172.31.0.12", &default)]);
        world.ensure(&wanted).await;
        let (guest, target, other) = (world.guest(&wanted, 1).await, world.guest(&wanted, 2).await, world.guest(&wanted, 3).await);
        target.serve_tcp(22);
        let inside = world.inside(&wanted.id).await;
        let count = || {
            let text = inside.run(|| std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count").unwrap());
            text.trim().parse::<u32>().unwrap()
        };
        // Each pair of ports is a connection of its own. Some datagrams are lost where a queue is full, so more are sent than fit.
        for socket in [guest.udp(), guest.udp()] {
            for port in 1..=30_000_u16 {
                let _ = socket.send_to(b"x", (target.address, port));
                if port.is_multiple_of(100) {
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        }
        let count = count();
        assert!((15_000..=20_500).contains(&count), "{count} connections");
        assert!(guest.is_refused(target.address, 22), "one more connection was let through");
        assert!(guest.is_refused(VPC_DNS, 53), "one more connection was let through to the router");
        assert!(other.connect(target.address, 22).is_some(), "another guest's connections are cut, too");
    });
}
