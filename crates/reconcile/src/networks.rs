//! VPCs: what each is to be on this node, and making it so.

use crate::Reconciler;
use crate::error::{CALL_TIMEOUT, MAKE_TIMEOUT, Stop, call};
use crate::table::{Next, Wanted};
use model::ids::{NetworkInterfaceId, SecurityGroupId, VpcId};
use model::instance::Instance;
use model::network::{GroupWanted, InterfaceWanted, VpcWanted};
use model::network_interface::NetworkInterface;
use model::scope::Scope;
use model::security_group::{Peer, Rule, SecurityGroup};
use model::subnet::Subnet;
use model::time::Timestamp;
use model::vpc::Vpc;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use store::{Snapshot, View};

/// How often a VPC is compared with what stands, though nothing changed, in milliseconds.
const REPAIR_MILLIS: i64 = 60_000;

/// A VPC as it was made last, and when. Whoever changes one holds its lock.
pub(crate) type Ensured = Arc<tokio::sync::Mutex<Option<(VpcWanted, Timestamp)>>>;

/// The VPCs that have a machine on this node, or are to have one, as they are wanted.
pub(crate) fn vpcs_wanted(snapshot: &Snapshot) -> BTreeMap<VpcId, VpcWanted> {
    let with_machines = snapshot.all::<Instance>().filter(|(_, i)| i.state.holds_capacity());
    let vpcs: BTreeMap<&VpcId, &Scope> = with_machines.map(|(scope, i)| (&i.vpc_id, scope)).collect();
    vpcs.into_iter().filter_map(|(id, scope)| Some((id.clone(), vpc_of(snapshot.of(scope), id)?))).collect()
}

/// One of them; `None` if it has no machine here.
fn vpc_wanted(snapshot: &Snapshot, id: &VpcId) -> Option<VpcWanted> {
    let (scope, _) = snapshot.find::<Vpc>(id)?;
    vpc_of(snapshot.of(scope), id)
}

fn vpc_of(view: View<'_>, id: &VpcId) -> Option<VpcWanted> {
    let vpc = view.get::<Vpc>(id)?;
    let all: Vec<_> = view.list::<NetworkInterface>().filter(|n| n.vpc_id == *id).collect();
    let has_machine = |n: &NetworkInterface| {
        let instance = n.attachment.as_ref().and_then(|a| view.get::<Instance>(&a.instance_id));
        instance.is_some_and(|i| i.state.holds_capacity())
    };
    let interfaces: BTreeMap<_, _> = all.iter().filter(|n| has_machine(n)).map(|n| (n.id.clone(), interface_wanted(n))).collect();
    if interfaces.is_empty() {
        return None;
    }
    Some(VpcWanted {
        id: id.clone(),
        region: view.scope().region.clone(),
        cidr: vpc.cidr,
        subnets: view.list::<Subnet>().filter(|s| s.vpc_id == *id).map(|s| (s.id.clone(), s.cidr)).collect(),
        internet_gateway: vpc.internet_gateway_id.is_some(),
        groups: groups_wanted(view, &all, &interfaces),
        interfaces,
    })
}

fn interface_wanted(interface: &NetworkInterface) -> InterfaceWanted {
    InterfaceWanted {
        subnet_id: interface.subnet_id.clone(),
        mac: interface.mac,
        private_ip: interface.private_ip,
        public_ip: interface.public_ip,
        groups: interface.groups.iter().cloned().collect(),
        source_dest_check: interface.source_dest_check,
    }
}

/// The groups that the interfaces here are in, and those that the rules of these name. A stopped instance's address is still a member's.
fn groups_wanted(
    view: View<'_>,
    all: &[&Arc<NetworkInterface>],
    here: &BTreeMap<NetworkInterfaceId, InterfaceWanted>,
) -> BTreeMap<SecurityGroupId, GroupWanted> {
    let mut ids: BTreeSet<SecurityGroupId> = here.values().flat_map(|i| i.groups.iter().cloned()).collect();
    let named = ids.iter().filter_map(|id| view.get::<SecurityGroup>(id)).flat_map(|g| g.ingress.iter().chain(&g.egress));
    let named: Vec<_> = named.filter_map(|r| if let Peer::Group(id) = &r.peer { Some(id.clone()) } else { None }).collect();
    ids.extend(named);
    let mut members: BTreeMap<&SecurityGroupId, BTreeSet<_>> = BTreeMap::new();
    for interface in all {
        for group in &interface.groups {
            members.entry(group).or_default().insert(interface.private_ip);
        }
    }
    let rules = |rules: &[Rule]| rules.iter().map(|r| (r.traffic, r.peer.clone())).collect();
    let groups = ids.iter().filter_map(|id| view.get::<SecurityGroup>(id)).map(|g| {
        let members = members.remove(&g.id).unwrap_or_default();
        (g.id.clone(), GroupWanted { ingress: rules(&g.ingress), egress: rules(&g.egress), members })
    });
    groups.collect()
}

impl Reconciler {
    /// Makes a VPC what the newest snapshot wants, and gives back what that is; `None` if it was removed, since nothing here needs it.
    ///
    /// Who waits for the lock is served by what is made meanwhile, if that is what is wanted then: of many launches at once the first
    /// waits for itself only, and the others share one change.
    pub(crate) async fn vpc_apply(&self, id: &VpcId) -> Result<Option<VpcWanted>, Stop> {
        let slot = self.vpcs.lock().unwrap_or_else(PoisonError::into_inner).entry(id.clone()).or_default().clone();
        let mut ensured = slot.lock().await;
        let wanted = vpc_wanted(&self.store.snapshot(), id);
        let now = self.clock.now();
        if let (Some((have, at)), Some(wanted)) = (&*ensured, &wanted)
            && have == wanted
            && (0..REPAIR_MILLIS).contains(&now.millis_since(*at))
        {
            return Ok(Some(wanted.clone()));
        }
        // Until the driver has answered, what stands is unknown.
        *ensured = None;
        match &wanted {
            Some(wanted) => {
                call("make the VPC", MAKE_TIMEOUT, self.drivers.network.vpc_ensure(wanted)).await?;
                *ensured = Some((wanted.clone(), now));
            }
            None => call("remove the VPC", MAKE_TIMEOUT, self.drivers.network.vpc_remove(id)).await?,
        }
        Ok(wanted)
    }

    /// What stands of a VPC is not what it was made as: the next look makes it anew.
    pub(crate) async fn vpc_doubt(&self, id: &VpcId) {
        let slot = self.vpcs.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned();
        if let Some(slot) = slot {
            *slot.lock().await = None;
        }
    }

    pub(crate) async fn vpc_work(&self, id: &VpcId) -> Result<Next, Stop> {
        let wanted = self.vpc_apply(id).await?;
        let at = wanted.as_ref().map(|_| self.clock.now().plus_millis(REPAIR_MILLIS));
        Ok(Next { at, seen: Some(Wanted::Vpc(wanted.map(Arc::new))), ..Next::default() })
    }

    /// VPCs that an earlier process left. Whether one is wanted is decided once more under its lock.
    pub(crate) async fn vpcs_sweep(&self) -> Result<(), Stop> {
        let have = call("list the VPCs", CALL_TIMEOUT, self.drivers.network.vpc_list()).await?;
        let snapshot = self.store.snapshot();
        for id in have.iter().filter(|id| vpc_wanted(&snapshot, id).is_none()) {
            self.vpc_apply(id).await?;
        }
        Ok(())
    }
}
