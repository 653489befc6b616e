//! What must hold of the cloud: always, after a crash, and once it has settled.

use crate::hosts::Hosts;
use crate::ledger::{Known, Ledger, Wish};
use crate::world::{CAPACITY, PUBLIC_POOL};
use model::capacity::Used;
use model::ids::InstanceId;
use model::image::Image;
use model::instance::{Instance, State, TERMINATED_VISIBLE_MILLIS};
use model::instance_type::InstanceType;
use model::machine::Activity;
use model::network_interface::NetworkInterface;
use model::scope::Scope;
use model::security_group::{SecurityGroup, Traffic};
use model::subnet::Subnet;
use model::time::Timestamp;
use model::volume::Volume;
use node::hypervisor::fake::FakeHypervisorHost;
use std::collections::{BTreeMap, BTreeSet};
use store::{AuditRecord, Snapshot};

/// What holds after every commit, however wild things are.
pub(crate) fn always(snapshot: &Snapshot) {
    addresses_are_used_once(snapshot);
    documents_agree(snapshot);
    launches_are_whole(snapshot);
    capacity_is_kept(snapshot);
}

/// Nothing is promised that the host doesn't have, and the store's own sum is right.
fn capacity_is_kept(snapshot: &Snapshot) {
    let mut types: BTreeMap<&str, u64> = BTreeMap::new();
    for (_, instance) in snapshot.all::<Instance>().filter(|(_, i)| i.state.holds_capacity()) {
        *types.entry(&instance.instance_type).or_default() += 1;
    }
    assert_eq!(snapshot.capacity_used().collect::<BTreeMap<_, _>>(), types, "the store's count of instances that hold capacity");
    // A stopped instance that is terminated has no machine, but counts until that is made sure of.
    let promised = snapshot.all::<Instance>().filter(|(_, i)| matches!(i.state, State::Pending | State::Running | State::Stopping(_)));
    let takes = promised.map(|(_, i)| InstanceType::find(&i.instance_type).map(InstanceType::takes).unwrap_or_default());
    let sum = takes.fold(Used::default(), |sum, takes| takes.times_plus(1, sum));
    assert!(sum.vcpus <= CAPACITY.0 && sum.memory_mib <= CAPACITY.1, "more is promised than there is: {sum:?}");
}

/// The machines that run fit on their host.
pub(crate) fn machines_fit(machines: &FakeHypervisorHost) {
    let alive: Vec<_> = machines.machines().into_values().filter(|m| m.activity.is_some()).map(|m| m.spec).collect();
    let vcpus: u64 = alive.iter().map(|m| u64::from(m.vcpus)).sum();
    let memory: u64 = alive.iter().map(|m| u64::from(m.memory_mib)).sum();
    assert!(vcpus <= CAPACITY.0 && memory <= CAPACITY.1, "{vcpus} vCPUs and {memory} MiB run");
}

fn addresses_are_used_once(snapshot: &Snapshot) {
    let pool: ipnet::Ipv4Net = PUBLIC_POOL.parse().expect("it is a network");
    let (mut private, mut public, mut macs) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
    for (scope, interface) in snapshot.all::<NetworkInterface>() {
        let id = &interface.id;
        let subnet = snapshot.of(scope).get::<Subnet>(&interface.subnet_id).unwrap_or_else(|| panic!("{id} has no subnet"));
        assert_eq!(subnet.vpc_id, interface.vpc_id, "{id} is in two VPCs");
        assert!(subnet.cidr.contains(&interface.private_ip), "{id} has {} outside its subnet", interface.private_ip);
        let reserved = u32::from(interface.private_ip) - u32::from(subnet.cidr.network());
        assert!(reserved >= 4 && interface.private_ip != subnet.cidr.broadcast(), "{id} has a reserved address");
        if let Some(other) = private.insert((interface.vpc_id.clone(), interface.private_ip), id) {
            panic!("{} is {other}'s and {id}'s", interface.private_ip);
        }
        if let Some(ip) = interface.public_ip {
            assert!(pool.contains(&ip), "{ip} of {id} is not of the pool");
            if let Some(other) = public.insert(ip, id) {
                panic!("{ip} is {other}'s and {id}'s");
            }
        }
        assert!(macs.insert((interface.vpc_id.clone(), interface.mac)), "{id} has another one's MAC");
    }
}

/// What documents say of each other, they say both ways.
fn documents_agree(snapshot: &Snapshot) {
    for (scope, instance) in snapshot.all::<Instance>() {
        let (id, view) = (&instance.id, snapshot.of(scope));
        if matches!(instance.state, State::Terminated { .. }) {
            continue;
        }
        for interface in &instance.interfaces {
            let found = view.get::<NetworkInterface>(interface).unwrap_or_else(|| panic!("{id} has lost {interface}"));
            assert_eq!(found.attachment.as_ref().map(|a| &a.instance_id), Some(id), "{interface} is not attached to {id}");
        }
        let primary = view.get::<NetworkInterface>(&instance.interfaces[0]).map(|i| i.private_ip);
        assert_eq!(primary, Some(instance.private_ip), "{id} has another address than its interface");
        for volume in &instance.volumes {
            let found = view.get::<Volume>(volume).unwrap_or_else(|| panic!("{id} has lost {volume}"));
            assert_eq!(found.attachment.as_ref().map(|a| &a.instance_id), Some(id), "{volume} is not attached to {id}");
            assert!(!found.deleting || matches!(instance.state, State::ShuttingDown(_)), "{volume} is deleted under {id}");
        }
    }
    for (scope, interface) in snapshot.all::<NetworkInterface>() {
        if let Some(attachment) = &interface.attachment {
            let instance = snapshot.of(scope).get::<Instance>(&attachment.instance_id);
            assert!(instance.is_some_and(|i| i.interfaces.contains(&interface.id)), "{} is nobody's", interface.id);
        }
    }
    for (scope, volume) in snapshot.all::<Volume>() {
        if let Some(attachment) = volume.attachment.as_ref().filter(|_| !volume.deleting) {
            let instance = snapshot.of(scope).get::<Instance>(&attachment.instance_id);
            assert!(instance.is_some_and(|i| i.volumes.contains(&volume.id)), "{} is nobody's", volume.id);
        }
    }
}

/// A token has made one reservation, whose instances are numbered without a gap.
fn launches_are_whole(snapshot: &Snapshot) {
    let mut launches: BTreeMap<_, BTreeMap<u32, _>> = BTreeMap::new();
    for (scope, instance) in snapshot.all::<Instance>() {
        let Some(token) = &instance.client_token else { continue };
        let indexes = launches.entry((scope, token)).or_default();
        let twice = indexes.insert(instance.launch_index, &instance.reservation_id);
        assert!(twice.is_none(), "token {token} made instance {} of its launch twice", instance.launch_index);
    }
    for ((_, token), indexes) in launches {
        let reservations: BTreeSet<_> = indexes.values().collect();
        assert_eq!(reservations.len(), 1, "token {token} made {reservations:?}");
    }
}

/// From one state of the cloud to a later one, instances only go where the table lets them.
pub(crate) fn went_on(before: &Snapshot, after: &Snapshot, now: Timestamp) {
    for (_, old) in before.all::<Instance>() {
        let Some((_, new)) = after.find::<Instance>(&old.id) else {
            let over = matches!(old.state, State::Terminated { at } if now.millis_since(at) >= TERMINATED_VISIBLE_MILLIS);
            assert!(over, "{} has vanished from {:?}", old.id, old.state);
            continue;
        };
        assert!(new.run >= old.run, "{} went back to run {}", old.id, new.run);
        if new.run == old.run {
            assert!(new.state == old.state || can_reach(&old.state, &new.state), "{}: {:?} -> {:?}", old.id, old.state, new.state);
        } else {
            let can_start = can_reach(&old.state, &State::Stopped) || old.state == State::Stopped;
            assert!(can_start, "{} was started from {:?}", old.id, old.state);
        }
    }
}

/// Whether there is a way in the table without another start.
fn can_reach(from: &State, to: &State) -> bool {
    fn rank(state: &State) -> u32 {
        match state {
            State::Pending => 0,
            State::Running => 1,
            State::Stopping(_) => 2,
            State::Stopped => 3,
            State::ShuttingDown(_) => 4,
            State::Terminated { .. } => 5,
        }
    }
    match (from, to) {
        (State::Stopping(a), State::Stopping(b)) | (State::ShuttingDown(a), State::ShuttingDown(b)) => {
            a.since == b.since && b.force >= a.force
        }
        (State::Terminated { at: a }, State::Terminated { at: b }) => a == b,
        (_, _) => rank(from) < rank(to),
    }
}

/// Nothing that was answered is lost; what wasn't answered was done whole or not at all.
pub(crate) fn acknowledged(snapshot: &Snapshot, ledger: &Ledger) {
    for (token, launch) in &ledger.launches {
        let made: BTreeSet<&InstanceId> =
            snapshot.of(&launch.scope).list::<Instance>().filter(|i| i.client_token.as_ref() == Some(token)).map(|i| &i.id).collect();
        if launch.refused {
            assert!(made.is_empty(), "the refused launch {token} made {made:?}");
        } else if let Some((_, ids)) = &launch.answer {
            for id in &made {
                assert!(ids.contains(id), "launch {token} made {id} besides what it answered");
            }
        } else {
            assert!(made.is_empty() || (launch.min..=launch.max).contains(&made.len()), "launch {token} made {made:?}");
        }
    }
    for (id, known) in &ledger.instances {
        let Some((scope, instance)) = snapshot.find::<Instance>(id) else {
            // Whether it was over for long enough is checked step by step by `went_on`.
            let may_be_over = known.wish.0.contains(&Wish::Terminate) || ledger.disturbed.contains(id) || ledger.failures;
            assert!(may_be_over, "{id} was acknowledged and is lost");
            continue;
        };
        assert_eq!(scope, &known.scope, "{id} changed hands");
        if known.wish.0 == [Wish::Terminate].into() {
            let ends = matches!(instance.state, State::ShuttingDown(_) | State::Terminated { .. });
            assert!(ends, "the end of {id} was acknowledged, but it is {}", instance.state.name());
        }
    }
    for ((scope, name), fact) in &ledger.key_pairs {
        let found = snapshot.of(scope).key_pair_by_name(name).is_some();
        assert!(fact.allows(&found), "key pair {name} is there: {found}, possible is {fact:?}");
    }
    for ((scope, port), fact) in &ledger.ports {
        let groups = snapshot.of(scope).list::<SecurityGroup>();
        let found = groups.flat_map(|g| &g.ingress).filter(|r| r.traffic == Traffic::Tcp(*port, *port)).count();
        assert!(found <= 1 && fact.allows(&(found == 1)), "port {port} has {found} rules, possible is {fact:?}");
    }
    for ((id, key), fact) in &ledger.tags {
        if let Some((_, instance)) = snapshot.find::<Instance>(id) {
            let found = instance.tags.0.get(key).cloned();
            assert!(fact.allows(&found), "tag {key} of {id} is {found:?}, possible is {fact:?}");
        }
    }
}

/// Once nothing disturbs the cloud any more: documents and host say the same, both ways, and every wish came true.
pub(crate) fn settled(snapshot: &Snapshot, ledger: &Ledger, hosts: &Hosts) {
    assert!(ledger.launches_open().is_empty(), "every launch was answered in the end");
    for (_, instance) in snapshot.all::<Instance>() {
        let rests = matches!(instance.state, State::Running | State::Stopped | State::Terminated { .. });
        assert!(rests, "{} is still {:?} ({:?})", instance.id, instance.state, instance.state_reason);
    }
    machines_are_as_wanted(snapshot, hosts);
    let wanted: BTreeSet<_> = snapshot.all::<Volume>().map(|(_, v)| v.id.clone()).collect();
    let found: BTreeSet<_> = hosts.volumes.volumes().into_keys().collect();
    assert_eq!(found, wanted, "volumes on the host, and volumes with a document");
    let wanted: BTreeSet<_> = snapshot.all::<Image>().map(|(_, i)| i.id.clone()).collect();
    assert_eq!(hosts.images.images(), wanted, "images on the host, and images with a document");
    networks_are_as_wanted(snapshot, hosts);
    for (id, known) in &ledger.instances {
        if let Some((_, instance)) = snapshot.find::<Instance>(id) {
            assert!(came_true(instance, known, ledger), "{id} was wanted {:?}: {instance:#?}", known.wish);
        }
    }
}

fn machines_are_as_wanted(snapshot: &Snapshot, hosts: &Hosts) {
    let machines = hosts.machines.machines();
    for (_, instance) in snapshot.all::<Instance>() {
        let machine = machines.get(&instance.id);
        if instance.state != State::Running {
            assert!(machine.is_none(), "{} is {} and has a machine", instance.id, instance.state.name());
            continue;
        }
        let machine = machine.unwrap_or_else(|| panic!("{} runs without a machine", instance.id));
        assert_eq!(machine.activity, Some(Activity::Running), "{} runs", instance.id);
        assert_eq!(machine.spec.run, instance.run, "{} has the machine of another run", instance.id);
        let interfaces: Vec<_> = machine.spec.interfaces.iter().map(|i| &i.id).collect();
        assert_eq!(interfaces, instance.interfaces.iter().collect::<Vec<_>>(), "interfaces of {}", instance.id);
    }
    for id in machines.keys() {
        assert!(snapshot.find::<Instance>(id).is_some(), "the machine {id} has no instance");
    }
    for id in hosts.machines.consoles() {
        assert!(snapshot.find::<Instance>(&id).is_some(), "the console {id} has no instance");
    }
}

/// The interfaces in force are those of the instances that run, with the addresses and rules of their documents.
fn networks_are_as_wanted(snapshot: &Snapshot, hosts: &Hosts) {
    let mut wanted = BTreeMap::new();
    for (scope, instance) in snapshot.all::<Instance>().filter(|(_, i)| i.state == State::Running) {
        for id in &instance.interfaces {
            let interface = snapshot.of(scope).get::<NetworkInterface>(id).unwrap_or_else(|| panic!("{id} is gone"));
            assert_eq!(interface.public_ip.is_some(), interface.map_public_ip, "{id} has the public address that it should");
            wanted.insert(id.clone(), (interface.vpc_id.clone(), interface.private_ip, interface.public_ip, interface.mac));
        }
    }
    for (_, interface) in snapshot.all::<NetworkInterface>().filter(|(_, i)| !wanted.contains_key(&i.id)) {
        assert_eq!(interface.public_ip, None, "{} has a public address while nothing runs", interface.id);
    }
    let vpcs = hosts.network.vpcs();
    let found: BTreeMap<_, _> = vpcs
        .values()
        .flat_map(|vpc| vpc.interfaces.iter().map(|(id, i)| (id.clone(), (vpc.id.clone(), i.private_ip, i.public_ip, i.mac))))
        .collect();
    assert_eq!(found, wanted, "interfaces on the host, and interfaces of running instances");
    for vpc in vpcs.values() {
        for (id, group) in &vpc.groups {
            let (_, document) = snapshot.find::<SecurityGroup>(id).unwrap_or_else(|| panic!("{id} is in force and gone"));
            let rules: BTreeSet<_> = document.ingress.iter().map(|r| (r.traffic, r.peer.clone())).collect();
            assert_eq!(group.ingress, rules, "the rules of {id} in force");
        }
    }
}

/// Whether an instance rests where its owner wants it, or where what befell it has brought it.
fn came_true(instance: &Instance, known: &Known, ledger: &Ledger) -> bool {
    let reason = instance.state_reason.as_ref().map(|r| r.code.as_str());
    // A guest that went by itself, a machine that died, a start that kept failing.
    let befallen = ledger.disturbed.contains(&instance.id) || (ledger.failures && reason == Some("Server.InternalError"));
    let ends_itself = known.terminates_itself || ledger.failures;
    known.wish.0.iter().any(|wish| match (wish, &instance.state) {
        (Wish::Run, State::Running) | (Wish::Stop, State::Stopped) | (Wish::Terminate, State::Terminated { .. }) => true,
        (Wish::Run, State::Stopped) => befallen,
        (Wish::Run | Wish::Stop, State::Terminated { .. }) => befallen && ends_itself,
        (_, _) => false,
    })
}

/// What only changes if somebody does something.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Quiet {
    starts: u64,
    network_changes: u64,
    /// Of the documents, unless a terminated instance was forgotten meanwhile.
    revision: (usize, u64),
}

impl Quiet {
    pub(crate) fn of(snapshot: &Snapshot, hosts: &Hosts) -> Self {
        let instances = snapshot.all::<Instance>().count();
        Self { starts: hosts.machines.starts(), network_changes: hosts.network.changes(), revision: (instances, snapshot.revision()) }
    }
}

/// What was done is in the audit trail, once for each call that was answered; what wasn't answered may be.
pub(crate) fn audited(records: &[AuditRecord], ledger: &Ledger, scope: &Scope) {
    for ((_, action), calls) in ledger.calls.iter().filter(|((s, action), _)| s == scope && action != "DescribeInstances") {
        let done = records.iter().filter(|r| r.error.is_none() && r.action == format!("ec2:{action}")).count();
        let possible = calls.answered..=calls.sent - calls.refused;
        assert!(possible.contains(&done), "{action} is in the audit trail {done} times, possible are {possible:?}");
    }
}
