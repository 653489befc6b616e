//! VPCs: what each is to be on this node.

use crate::Reconciler;
use anyhow::Context as _;
use model::ids::VpcId;
use model::instance::Instance;
use model::network::{GroupWanted, InterfaceWanted, VpcWanted};
use model::network_interface::NetworkInterface;
use model::scope::Scope;
use model::security_group::{Rule, SecurityGroup};
use model::subnet::Subnet;
use model::vpc::Vpc;
use std::collections::BTreeSet;
use store::Snapshot;

/// A VPC with the interfaces of the instances that have, or are to have, a machine.
pub(crate) fn vpc_wanted(snapshot: &Snapshot, scope: &Scope, id: &VpcId) -> Option<VpcWanted> {
    let view = snapshot.of(scope);
    let vpc = view.get::<Vpc>(id)?;
    let subnets = view.list::<Subnet>().filter(|s| s.vpc_id == *id).map(|s| (s.id.clone(), s.cidr)).collect();
    let lives = |i: &&std::sync::Arc<NetworkInterface>| {
        let instance = i.attachment.as_ref().and_then(|a| view.get::<Instance>(&a.instance_id));
        i.vpc_id == *id && instance.is_some_and(|i| i.state.holds_capacity())
    };
    let interfaces: std::collections::BTreeMap<_, _> = view
        .list::<NetworkInterface>()
        .filter(lives)
        .map(|i| {
            let wanted = InterfaceWanted {
                subnet_id: i.subnet_id.clone(),
                mac: i.mac,
                private_ip: i.private_ip,
                public_ip: i.public_ip,
                groups: i.groups.iter().cloned().collect(),
                source_dest_check: i.source_dest_check,
            };
            (i.id.clone(), wanted)
        })
        .collect();
    let rules = |rules: &[Rule]| -> BTreeSet<_> { rules.iter().map(|r| (r.traffic, r.peer.clone())).collect() };
    let groups = view.list::<SecurityGroup>().filter(|g| g.vpc_id == *id).map(|g| {
        let members = interfaces.values().filter(|i| i.groups.contains(&g.id)).map(|i| i.private_ip).collect();
        (g.id.clone(), GroupWanted { ingress: rules(&g.ingress), egress: rules(&g.egress), members })
    });
    Some(VpcWanted {
        id: id.clone(),
        region: scope.region.clone(),
        cidr: vpc.cidr,
        subnets,
        internet_gateway: vpc.internet_gateway_id.is_some(),
        groups: groups.collect(),
        interfaces,
    })
}

impl Reconciler {
    /// Makes one VPC what it is wanted to be. What is wanted is read while no other change is under way: an older wish never undoes a newer.
    pub(crate) async fn vpc_ensure(&self, scope: &Scope, id: &VpcId) -> anyhow::Result<()> {
        let _turn = self.network_turn.lock().await;
        let wanted = vpc_wanted(&self.store.snapshot(), scope, id).context("the VPC is gone")?;
        if wanted.interfaces.is_empty() {
            return self.drivers.network.vpc_remove(id).await;
        }
        self.drivers.network.vpc_ensure(&wanted).await
    }

    /// Brings the VPCs that have machines to what is wanted, and removes those that have none. Errors are tried again with the next look.
    pub(crate) async fn networks_ensure(&self) {
        let snapshot = self.store.snapshot();
        let have = match self.drivers.network.vpc_list().await {
            Ok(have) => have,
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "can't list the VPCs");
                return;
            }
        };
        for id in have {
            let done = match snapshot.find::<Vpc>(&id) {
                Some((scope, _)) => self.vpc_ensure(scope, &id).await,
                None => self.drivers.network.vpc_remove(&id).await,
            };
            if let Err(error) = done {
                tracing::warn!(vpc = %id, error = format!("{error:#}"), "a VPC is not what it is wanted to be");
            }
        }
    }
}
