//! What outlives the server, what is found again, and what a change costs.

use crate::contract::{check, group_id, interface_id, join, leave};
use crate::guest::{tcp_echoes, udp_echoes};
use crate::world::{Netns, ip, run, vpc_with, world};
use model::network::VpcWanted;
use model::security_group::{Peer, Traffic};
use nix::sys::resource::{UsageWho, getrusage};
use node::network::Network as _;
use node::network::linux::Uplink;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

const SSH: u16 = 22;

fn links(ns: &Netns) -> BTreeSet<String> {
    let text = ns.run(|| run("ip", &["-o", "link"], ""));
    text.lines().map(|line| line.split(": ").nth(1).unwrap().split('@').next().unwrap().to_owned()).collect()
}

#[test]
fn guests_dont_notice_a_restart() {
    world("restart", Uplink::None, |mut world| async move {
        let default = [group_id(1)];
        let mut wanted = vpc_with(1, &[(1, "172.31.0.10", &default), (2, "172.31.0.11", &default), (3, "172.31.0.12", &default)]);
        world.ensure(&wanted).await;
        let (one, two) = (world.guest(&wanted, 1).await, world.guest(&wanted, 2).await);
        one.serve_tcp(SSH);
        one.serve_udp(7000);
        let (_, mut held) = two.connect(one.address, SSH).unwrap();
        let namespace = world.network().vpc_namespace(&wanted.id).await.unwrap();
        assert!(links(&world.inside(&wanted.id).await).contains("t00000000000003"));

        world.start();
        assert!(tcp_echoes(&mut held), "before the VPC was looked at");
        assert_eq!(world.network().vpc_list().await.unwrap(), [wanted.id.clone()]);
        leave(&mut wanted, 3);
        world.ensure(&wanted).await;
        assert_eq!(world.network().vpc_namespace(&wanted.id).await.unwrap(), namespace);
        assert!(tcp_echoes(&mut held), "a flow ended with the server");
        assert!(udp_echoes(&two.udp(), one.address, 7000));
        assert!(two.connect(one.address, SSH).is_some());
        assert!(!links(&world.inside(&wanted.id).await).contains("t00000000000003"), "what was wanted no more is still there");

        // Services are open again; a guest without its fixed address would get its lease from here.
        let metadata = two.ns.run(|| std::net::TcpStream::connect_timeout(&([169, 254, 169, 254], 80).into(), Duration::from_secs(2)));
        assert!(metadata.is_ok());
    });
}

/// Kills a process and waits until it is gone.
fn kill(pid: i32) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    let namespace = std::path::PathBuf::from(format!("/proc/{pid}/ns/net"));
    crate::guest::soon("the process ends", || std::fs::read_link(&namespace).is_err());
}

/// The process that holds the namespace of this path.
fn holder(path: &std::path::Path) -> i32 {
    path.components().nth(2).unwrap().as_os_str().to_str().unwrap().parse().unwrap()
}

#[test]
fn guests_dont_notice_that_the_holder_is_killed() {
    world("holder", Uplink::None, |world| async move {
        let default = [group_id(1)];
        let wanted = vpc_with(1, &[(1, "172.31.0.10", &default), (2, "172.31.0.11", &default)]);
        world.ensure(&wanted).await;
        let (one, two) = (world.guest(&wanted, 1).await, world.guest(&wanted, 2).await);
        one.serve_tcp(SSH);
        let (_, mut held) = two.connect(one.address, SSH).unwrap();
        let mark = format!("PILEUS_NAMESPACE={}:{}", world.config.data_dir.display(), wanted.id);
        for _ in 0..2 {
            let first = crate::gateway::marked(&mark).unwrap();
            kill(first);
            // Nothing asks for the VPC: the driver sees to it by itself.
            crate::guest::soon("another holder", || crate::gateway::marked(&mark).is_some());
            assert!(tcp_echoes(&mut held), "a flow ended with the holder");
            assert!(two.connect(one.address, SSH).is_some());
        }
        // Whoever asks at once doesn't have to wait.
        kill(crate::gateway::marked(&mark).unwrap());
        let path = world.network().vpc_namespace(&wanted.id).await.unwrap();
        assert_eq!(holder(&path), crate::gateway::marked(&mark).unwrap());
        world.network().vpc_remove(&wanted.id).await.unwrap();
        assert_eq!(crate::gateway::marked(&mark), None);
    });
}

/// Marks this process as the QEMU of a machine, as long as the file is open.
fn machine(world: &crate::world::World) -> std::fs::File {
    use nix::fcntl::{FcntlArg, fcntl};
    let place = world.config.data_dir.join("machines/i-0123456789abcdef0");
    std::fs::create_dir_all(&place).unwrap();
    std::fs::write(place.join("qemu.pid"), format!("{}\n", std::process::id())).unwrap();
    let lock = std::fs::File::create(place.join("qemu.lock")).unwrap();
    let whole = nix::libc::flock { l_type: nix::libc::F_WRLCK as i16, l_whence: 0, l_start: 0, l_len: 0, l_pid: 0 };
    fcntl(&lock, FcntlArg::F_OFD_SETLK(&whole)).unwrap();
    lock
}

#[test]
fn a_namespace_without_holder_and_server_is_found_by_its_guests_taps() {
    world("taps", Uplink::None, |mut world| async move {
        let default = [group_id(1)];
        let wanted = vpc_with(1, &[(1, "172.31.0.10", &default), (2, "172.31.0.11", &default)]);
        world.ensure(&wanted).await;
        let (one, two) = (world.guest(&wanted, 1).await, world.guest(&wanted, 2).await);
        one.serve_tcp(SSH);
        let (_, mut held) = two.connect(one.address, SSH).unwrap();
        let _qemu = machine(&world);
        let first = holder(&world.network().vpc_namespace(&wanted.id).await.unwrap());
        world.stop();
        kill(first);
        world.start();
        assert_eq!(world.network().vpc_list().await.unwrap(), []);
        world.ensure(&wanted).await;
        assert!(tcp_echoes(&mut held), "a flow ended with the holder");
        assert!(two.connect(one.address, SSH).is_some());
        // Its services are the new server's.
        let metadata = two.ns.run(|| std::net::TcpStream::connect_timeout(&([169, 254, 169, 254], 80).into(), Duration::from_secs(2)));
        assert!(metadata.is_ok());
    });
}

#[test]
fn without_guests_a_lost_namespace_is_made_again() {
    world("lost", Uplink::None, |mut world| async move {
        let default = [group_id(1)];
        let wanted = vpc_with(1, &[(1, "172.31.0.10", &default), (2, "172.31.0.11", &default)]);
        world.ensure(&wanted).await;
        let first = holder(&world.network().vpc_namespace(&wanted.id).await.unwrap());
        world.stop();
        kill(first);
        world.start();
        assert!(world.network().tap_open(&wanted.id, &interface_id(1)).await.is_err());
        world.ensure(&wanted).await;
        let (one, two) = (world.guest(&wanted, 1).await, world.guest(&wanted, 2).await);
        one.serve_tcp(SSH);
        assert!(two.connect(one.address, SSH).is_some());
    });
}

#[test]
fn clouds_on_one_machine_dont_meet() {
    world("mine", Uplink::None, |mine| async move {
        let wanted = vpc_with(1, &[(1, "172.31.0.10", &[group_id(1)])]);
        mine.ensure(&wanted).await;
        let path = mine.network().vpc_namespace(&wanted.id).await.unwrap();
        world("other", Uplink::None, |other| {
            let (wanted, path) = (&wanted, &path);
            async move {
                assert_eq!(other.network().vpc_list().await.unwrap(), []);
                other.ensure(wanted).await;
                assert_ne!(other.network().vpc_namespace(&wanted.id).await.unwrap(), *path);
            }
        });
        assert_eq!(mine.network().vpc_namespace(&wanted.id).await.unwrap(), path);
        assert!(path.exists());
    });
}

#[test]
fn the_contract_is_kept_in_a_namespace() {
    world("contract", Uplink::None, |world| async move {
        let config = world.config.clone();
        drop(world);
        check(&|| std::sync::Arc::new(crate::world::driver(&config))).await;
    });
}

/// Everything that a VPC's rules say, in no order: chains and elements stand in the order of their making.
fn rules(ns: &Netns) -> Vec<String> {
    let text = ns.run(|| run("nft", &["--stateless", "list", "ruleset"], ""));
    let mut words: Vec<String> =
        text.split(['\n', ',', '{', '}']).map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect();
    words.sort();
    words
}

/// A VPC that was changed step by step has the same rules, links and routes as one that was made at once.
#[test]
fn many_small_changes_come_to_the_same() {
    world("steps", Uplink::None, |mut world| async move {
        let net = |text: &str| Peer::Ipv4(text.parse().unwrap());
        let mut wanted = vpc_with(1, &[]);
        world.ensure(&wanted).await;
        let mut step = 0_u32;
        let mut change = |wanted: &mut VpcWanted| {
            step += 1;
            let group = |n: u32| group_id(11 + n % 3);
            match step % 6 {
                0 if step > 12 && wanted.interfaces.contains_key(&interface_id(step - 12)) => leave(wanted, step - 12),
                1 | 0 => join(wanted, step, &format!("172.31.0.{}", step + 10), &[group(step)]),
                2 => join(wanted, step, &format!("172.31.16.{}", step + 10), &[group(step), group(step + 1)]),
                3 => {
                    let ingress = &mut wanted.groups.entry(group(step)).or_default().ingress;
                    ingress.insert((Traffic::Tcp(20, 20 + u16::try_from(step).unwrap()), net("10.0.0.0/8")));
                    ingress.insert((Traffic::Udp(53, 60), Peer::Group(group(step + 1))));
                    ingress.insert((Traffic::Icmp(Some(8), None), net("0.0.0.0/0")));
                }
                4 => {
                    let rules = wanted.groups.entry(group(step)).or_default();
                    rules.ingress.pop_first();
                    rules.egress.insert((Traffic::Protocol(47), net("192.168.0.0/16")));
                    rules.egress.insert((Traffic::Tcp(0, 65535), net("0.0.0.0/0")));
                }
                _ => {
                    let interface = wanted.interfaces.values_mut().next().unwrap();
                    interface.public_ip = Some(Ipv4Addr::new(198, 18, 0, u8::try_from(step).unwrap()));
                }
            }
        };
        for _ in 0..40 {
            change(&mut wanted);
            world.ensure(&wanted).await;
        }
        let inside = world.inside(&wanted.id).await;
        let routes = |ns: &Netns| ns.run(|| run("ip", &["-4", "route", "show", "table", "all"], "") + &run("ip", &["neigh"], ""));
        let (stepwise, stepwise_routes) = (rules(&inside), routes(&inside));
        world.start();
        world.ensure(&wanted).await;
        assert_eq!(stepwise, rules(&inside));
        assert_eq!(stepwise_routes, routes(&inside), "set again over what stands");

        world.network().vpc_remove(&wanted.id).await.unwrap();
        world.ensure(&wanted).await;
        let fresh = world.inside(&wanted.id).await;
        assert_eq!(stepwise, rules(&fresh));
        let sorted = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
        assert_eq!(sorted(&stepwise_routes), sorted(&routes(&fresh)));
    });
}

/// What is as it should be starts no program, and one more interface costs about the same whether there are few or many.
#[test]
fn a_change_costs_what_it_changes() {
    world("cost", Uplink::None, |mut world| async move {
        let mut wanted = vpc_with(1, &[]);
        let mut n = 0;
        for size in [1, 50, 200] {
            while n < size {
                n += 1;
                let at = format!("172.31.{}.{}", n / 200, n % 200 + 10);
                join(&mut wanted, n, &at, &[group_id(1)]);
            }
            let timed = Instant::now();
            world.ensure(&wanted).await;
            let grown = timed.elapsed();
            n += 1;
            join(&mut wanted, n, &format!("172.31.2.{}", n % 200 + 10), &[group_id(1)]);
            let timed = Instant::now();
            world.ensure(&wanted).await;
            let one_more = timed.elapsed();
            let timed = Instant::now();
            leave(&mut wanted, n);
            world.ensure(&wanted).await;
            let one_less = timed.elapsed();
            n -= 1;

            let faults = || getrusage(UsageWho::RUSAGE_CHILDREN).unwrap().minor_page_faults();
            let before = faults();
            let timed = Instant::now();
            world.ensure(&wanted).await;
            let unchanged = timed.elapsed();
            assert_eq!(before, faults(), "a program was run for nothing");

            let timed = Instant::now();
            world.start();
            world.ensure(&wanted).await;
            let again = timed.elapsed();
            eprintln!("{size}: grown {grown:?}, one more {one_more:?}, one less {one_less:?}, unchanged {unchanged:?}, restart {again:?}");
            assert!(one_more < Duration::from_secs(1), "{one_more:?}");
        }
    });
}

#[test]
fn packets_for_public_addresses_dont_leave_by_the_default_route() {
    world("host-route", Uplink::None, |mut world| async move {
        let wan = "link add wan0 type veth peer name wan1\nlink set wan0 up\nlink set wan1 up\naddr add 192.0.2.2/24 dev wan0\n";
        ip(&format!("{wan}route add default via 192.0.2.1\n"));
        let outside = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        outside.connect("203.0.113.1:9").unwrap();
        let error = outside.connect("198.18.0.1:9").unwrap_err();
        assert!([nix::libc::ENETUNREACH, nix::libc::EHOSTUNREACH].contains(&error.raw_os_error().unwrap()), "{error}");
        world.start();
        assert_eq!(
            run("ip", &["-4", "route", "show", "type", "unreachable"], "").lines().count(),
            1,
            "a second start adds no second route"
        );
    });
}
