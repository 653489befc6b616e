//! What every [`Network`] driver must do.
#![allow(clippy::unwrap_used)]

use super::Network;
use model::ids::{NetworkInterfaceId, SecurityGroupId, SubnetId, VpcId};
use model::network::{GroupWanted, InterfaceWanted, VpcWanted};
use model::network_interface::Mac;
use model::security_group::{Peer, Traffic};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// The `n`th VPC of a test, with a subnet of each zone, the default group, and no interface.
pub(crate) fn vpc(n: u32) -> VpcWanted {
    let group = group_id(n);
    VpcWanted {
        id: format!("vpc-{n:017x}").parse::<VpcId>().unwrap(),
        region: "us-east-1".parse().unwrap(),
        cidr: "172.31.0.0/16".parse().unwrap(),
        subnets: (0..3).map(|i| (subnet_id(i), format!("172.31.{}.0/20", i * 16).parse().unwrap())).collect(),
        internet_gateway: true,
        interfaces: [].into(),
        groups: [(
            group.clone(),
            GroupWanted {
                ingress: [(Traffic::All, Peer::Group(group))].into(),
                egress: [(Traffic::All, Peer::Ipv4("0.0.0.0/0".parse().unwrap()))].into(),
                members: [].into(),
            },
        )]
        .into(),
    }
}

/// The `n`th group id of a test; a VPC's default group has its VPC's number.
pub(crate) fn group_id(n: u32) -> SecurityGroupId {
    format!("sg-{n:017x}").parse().unwrap()
}

/// The subnet of the `n`th zone.
pub(crate) fn subnet_id(n: u32) -> SubnetId {
    format!("subnet-{n:017x}").parse().unwrap()
}

/// The `n`th interface id of a test.
pub(crate) fn interface_id(n: u32) -> NetworkInterfaceId {
    format!("eni-{n:017x}").parse().unwrap()
}

/// Adds an interface `n` at this address, in these groups.
pub(crate) fn join(vpc: &mut VpcWanted, n: u32, private_ip: &str, groups: &[SecurityGroupId]) {
    let private_ip: Ipv4Addr = private_ip.parse().unwrap();
    let [a, b, c, d] = n.to_be_bytes();
    let (subnet_id, _) = vpc.subnets.iter().find(|(_, net)| net.contains(&private_ip)).unwrap();
    let interface = InterfaceWanted {
        subnet_id: subnet_id.clone(),
        mac: Mac([0x02, 0x01, a, b, c, d]),
        private_ip,
        public_ip: None,
        groups: groups.iter().cloned().collect(),
        source_dest_check: true,
    };
    for group in groups {
        vpc.groups.entry(group.clone()).or_default().members.insert(private_ip);
    }
    vpc.interfaces.insert(interface_id(n), interface);
}

/// Removes interface `n`.
pub(crate) fn leave(vpc: &mut VpcWanted, n: u32) {
    let interface = vpc.interfaces.remove(&interface_id(n)).unwrap();
    for group in vpc.groups.values_mut() {
        group.members.remove(&interface.private_ip);
    }
}

/// Checks a driver. `open` makes it anew on the same host, as a restarted server does.
pub(crate) async fn check(open: &dyn Fn() -> Arc<dyn Network>) {
    let network = open();
    let (mut first, mut second) = (vpc(1), vpc(2));
    let one = interface_id(1);
    assert_eq!(network.vpc_list().await.unwrap(), []);
    assert!(network.vpc_namespace(&first.id).await.is_err(), "the namespace of an absent VPC");
    assert!(network.tap_open(&first.id, &one).await.is_err(), "a tap of an absent VPC");
    network.vpc_remove(&first.id).await.unwrap();

    network.vpc_ensure(&first).await.unwrap();
    assert!(network.tap_open(&first.id, &one).await.is_err(), "a tap of an absent interface");
    join(&mut first, 1, "172.31.0.10", &[group_id(1)]);
    network.vpc_ensure(&first).await.unwrap();
    network.vpc_ensure(&first).await.unwrap();
    drop(network.tap_open(&first.id, &one).await.unwrap());
    drop(network.tap_open(&first.id, &one).await.unwrap());

    // The same addresses in another VPC are others.
    join(&mut second, 2, "172.31.0.10", &[group_id(2)]);
    network.vpc_ensure(&second).await.unwrap();
    assert!(network.tap_open(&second.id, &one).await.is_err(), "a tap of another VPC's interface");
    let namespace = network.vpc_namespace(&first.id).await.unwrap();
    assert_ne!(namespace, network.vpc_namespace(&second.id).await.unwrap());

    // A restart finds everything. What the old server had open is closed by then.
    drop(network);
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    let network = open();
    let mut list = network.vpc_list().await.unwrap();
    list.sort();
    assert_eq!(list, [first.id.clone(), second.id.clone()]);
    network.vpc_ensure(&first).await.unwrap();
    assert_eq!(network.vpc_namespace(&first.id).await.unwrap(), namespace);
    drop(network.tap_open(&first.id, &one).await.unwrap());

    leave(&mut first, 1);
    network.vpc_ensure(&first).await.unwrap();
    assert!(network.tap_open(&first.id, &one).await.is_err(), "a tap of an interface that has left");

    network.vpc_remove(&first.id).await.unwrap();
    network.vpc_remove(&first.id).await.unwrap();
    assert!(network.vpc_namespace(&first.id).await.is_err());
    assert_eq!(open().vpc_list().await.unwrap(), [second.id.clone()]);
    network.vpc_remove(&second.id).await.unwrap();
    assert_eq!(open().vpc_list().await.unwrap(), []);
}
