//! The network interfaces that a launch makes or takes, and the addresses they get.

use crate::action::{Broken, Call, internal};
use crate::bootstrap;
use crate::ec2::common::{invalid_combination, invalid_value, unsupported};
use crate::ec2::instance::refuse;
use crate::ec2::kind::{GROUP, INTERFACE, SUBNET};
use model::address;
use model::ids::{AttachmentId, InstanceId, NetworkInterfaceId, SecurityGroupId, SubnetId, VpcId};
use model::instance_type::InstanceType;
use model::network_interface::{Attachment, Mac, NetworkInterface};
use model::security_group::SecurityGroup;
use model::subnet::Subnet;
use model::tag::Tags;
use rand::RngExt as _;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use store::{AccountTx, View};
use wire::ApiError;
use wire::shapes::ec2 as shapes;

/// Most groups of one interface ("Amazon VPC quotas").
pub(in crate::ec2) const GROUPS_MAX: usize = 5;
/// Most names of Ethernet addresses that are drawn until one is free in its VPC.
const MAC_DRAWS_MAX: usize = 16;

/// An interface of each instance of a launch.
pub(super) struct Nic {
    device_index: u32,
    delete_on_termination: bool,
    what: What,
}

enum What {
    New { subnet: Arc<Subnet>, groups: Vec<SecurityGroupId>, description: String, private_ip: Option<Ipv4Addr>, map_public_ip: bool },
    Existing(NetworkInterfaceId),
}

/// The interfaces of a launch, the primary one first, and the zone they are in.
pub(super) fn plan(
    view: View<'_>,
    input: &shapes::RunInstancesRequest,
    kind: &InstanceType,
    zone: Option<&str>,
    max_count: u64,
) -> Result<(String, Vec<Nic>), ApiError> {
    let specs = input.network_interfaces.as_deref().unwrap_or_default();
    let mut planned = if specs.is_empty() {
        vec![of_instance(view, input, zone, max_count)?]
    } else {
        refuse_both(input)?;
        check_indexes(specs, kind)?;
        specs.iter().map(|spec| of_spec(view, spec, specs.len(), zone, max_count)).collect::<Result<Vec<_>, ApiError>>()?
    };
    planned.sort_by_key(|(nic, _)| nic.device_index);
    let (first_zone, first_vpc) = planned[0].1.clone();
    if planned.iter().any(|(_, (zone, vpc))| *zone != first_zone || *vpc != first_vpc) {
        return Err(invalid_combination(
            "You may not attach a network interface to an instance if they are not in the same availability zone",
        ));
    }
    if let Some(asked) = zone.filter(|z| *z != first_zone) {
        return Err(invalid_value(format!(
            "The availability zone '{asked}' specified for the instance is not that of its subnet, '{first_zone}'"
        )));
    }
    Ok((first_zone, planned.into_iter().map(|(nic, _)| nic).collect()))
}

/// A planned interface with its zone and VPC.
type Placed = (Nic, (String, VpcId));

/// The one interface that the parameters of the instance itself speak of.
fn of_instance(view: View<'_>, input: &shapes::RunInstancesRequest, zone: Option<&str>, max_count: u64) -> Result<Placed, ApiError> {
    let named = input.security_groups.as_deref().unwrap_or_default();
    if input.subnet_id.is_some() && !named.is_empty() {
        return Err(invalid_combination("The parameter groupName cannot be used with the parameter subnet"));
    }
    let subnet = subnet(view, input.subnet_id.as_deref(), zone)?;
    let mut groups = groups_by_id(view, &subnet, input.security_group_ids.as_deref().unwrap_or_default())?;
    for name in named {
        let group = group_by_name(view, &subnet.vpc_id, name)?;
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    groups_limit(groups.len())?;
    let private_ip = input.private_ip_address.as_deref().map(|ip| private_ip(view, &subnet, ip, max_count)).transpose()?;
    let map_public_ip = subnet.map_public_ip_on_launch;
    new_nic(view, subnet, groups, private_ip, map_public_ip, (0, true, String::new()))
}

fn of_spec(
    view: View<'_>,
    spec: &shapes::InstanceNetworkInterfaceSpecification,
    count: usize,
    zone: Option<&str>,
    max_count: u64,
) -> Result<Placed, ApiError> {
    refuse::network_interface(spec)?;
    let device_index = spec.device_index.and_then(|i| u32::try_from(i).ok()).unwrap_or_default();
    let public = spec.associate_public_ip_address;
    if public.is_some() && count > 1 {
        return Err(invalid_combination(
            "The associatePublicIPAddress parameter cannot be specified when launching with multiple network interfaces.",
        ));
    }
    if let Some(id) = spec.network_interface_id.as_deref() {
        return existing(view, spec, id, device_index, max_count);
    }
    let subnet = subnet(view, spec.subnet_id.as_deref(), zone)?;
    let groups = groups_by_id(view, &subnet, spec.groups.as_deref().unwrap_or_default())?;
    let private_ip = primary_ip(spec)?.map(|ip| private_ip(view, &subnet, ip, max_count)).transpose()?;
    let map_public_ip = public.unwrap_or(count == 1 && subnet.map_public_ip_on_launch);
    let rest = (device_index, spec.delete_on_termination.unwrap_or(true), spec.description.clone().unwrap_or_default());
    new_nic(view, subnet, groups, private_ip, map_public_ip, rest)
}

fn new_nic(
    view: View<'_>,
    subnet: Arc<Subnet>,
    mut groups: Vec<SecurityGroupId>,
    private_ip: Option<Ipv4Addr>,
    map_public_ip: bool,
    (device_index, delete_on_termination, description): (u32, bool, String),
) -> Result<Placed, ApiError> {
    if groups.is_empty() {
        let default = bootstrap::default_group(view, &subnet.vpc_id);
        groups.push(default.ok_or_else(|| internal(&Broken("a VPC without its default group")))?.id.clone());
    }
    let place = (subnet.zone.clone(), subnet.vpc_id.clone());
    let what = What::New { subnet, groups, description, private_ip, map_public_ip };
    Ok((Nic { device_index, delete_on_termination, what }, place))
}

/// An interface that is there already and free.
fn existing(
    view: View<'_>,
    spec: &shapes::InstanceNetworkInterfaceSpecification,
    id: &str,
    device_index: u32,
    max_count: u64,
) -> Result<Placed, ApiError> {
    let given = [
        ("a subnet", spec.subnet_id.is_some()),
        ("security groups", spec.groups.as_ref().is_some_and(|g| !g.is_empty())),
        ("a description", spec.description.is_some()),
        ("a private IP address", spec.private_ip_address.is_some() || spec.private_ip_addresses.is_some()),
        ("associatePublicIPAddress", spec.associate_public_ip_address.is_some()),
    ];
    if let Some((what, _)) = given.iter().find(|(_, given)| *given) {
        return Err(invalid_combination(format!("A network interface may not specify both a network interface ID and {what}")));
    }
    if max_count > 1 {
        return Err(invalid_combination("A network interface ID may not be specified when launching more than one instance"));
    }
    let id: NetworkInterfaceId = INTERFACE.parse(id)?;
    let interface = view.get::<NetworkInterface>(&id).ok_or_else(|| INTERFACE.not_found(&[&id]))?;
    if interface.attachment.is_some() {
        return Err(ApiError::new("InvalidNetworkInterface.InUse", format!("Interface: [{id}] in use.")));
    }
    if spec.delete_on_termination == Some(true) {
        return Err(invalid_combination("deleteOnTermination may only be true for a network interface that is created at launch"));
    }
    let place = (interface.zone.clone(), interface.vpc_id.clone());
    Ok((Nic { device_index, delete_on_termination: false, what: What::Existing(id) }, place))
}

/// What the interfaces say may not be said for the instance too.
fn refuse_both(input: &shapes::RunInstancesRequest) -> Result<(), ApiError> {
    let some = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|l| !l.is_empty());
    let given = [
        ("subnet ID", input.subnet_id.is_some()),
        ("security groups", some(&input.security_group_ids) || some(&input.security_groups)),
        ("private IP address", input.private_ip_address.is_some()),
    ];
    match given.iter().find(|(_, given)| *given) {
        Some((what, _)) => {
            Err(invalid_combination(format!("Network interfaces and an instance-level {what} may not be specified on the same request")))
        }
        None => Ok(()),
    }
}

fn check_indexes(specs: &[shapes::InstanceNetworkInterfaceSpecification], kind: &InstanceType) -> Result<(), ApiError> {
    let (mut indexes, mut ids, mut addresses) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for spec in specs {
        if let Some(id) = spec.network_interface_id.as_deref().filter(|id| !ids.insert(*id)) {
            return Err(invalid_value(format!("The network interface '{id}' is specified more than once")));
        }
        if let Some(ip) = primary_ip(spec)?.filter(|ip| !addresses.insert(*ip)) {
            return Err(invalid_value(format!("The address {ip} is specified more than once")));
        }
        let index = spec.device_index.ok_or_else(|| invalid_value("Each network interface requires a device index."))?;
        if index < 0 {
            return Err(invalid_value(format!("Value ({index}) for parameter deviceIndex is invalid.")));
        }
        if !indexes.insert(index) {
            return Err(invalid_value("Each network interface requires a unique device index."));
        }
    }
    if !indexes.contains(&0) {
        return Err(invalid_combination("When specifying network interfaces, you must include a device at index 0."));
    }
    if specs.len() > kind.network.interfaces_max as usize {
        let text = format!("Interface count {} exceeds the limit for {}", specs.len(), kind.name);
        return Err(ApiError::new("AttachmentLimitExceeded", text));
    }
    Ok(())
}

/// The subnet of this id, or the default one of the zone, or of the first zone.
fn subnet(view: View<'_>, id: Option<&str>, zone: Option<&str>) -> Result<Arc<Subnet>, ApiError> {
    if let Some(text) = id {
        let id: SubnetId = SUBNET.parse(text)?;
        return view.get::<Subnet>(&id).cloned().ok_or_else(|| SUBNET.not_found(&[&id]));
    }
    let Some(vpc) = bootstrap::default_vpc(view) else {
        return Err(ApiError::new("VPCIdNotSpecified", "No default VPC for this user"));
    };
    let defaults = view.list::<Subnet>().filter(|s| s.vpc_id == vpc.id && s.default_for_az);
    let found = defaults.filter(|s| zone.is_none_or(|z| s.zone == z)).min_by(|a, b| a.zone.cmp(&b.zone));
    found.cloned().ok_or_else(|| {
        let place = zone.map_or_else(String::new, |z| format!(" in availability zone '{z}'"));
        ApiError::new("MissingInput", format!("No default subnet for this user{place}"))
    })
}

/// Finds groups by id, and checks that they are of the subnet's VPC.
fn groups_by_id(view: View<'_>, subnet: &Subnet, ids: &[String]) -> Result<Vec<SecurityGroupId>, ApiError> {
    let groups = groups_find(view, ids)?;
    match groups.iter().find(|g| g.vpc_id != subnet.vpc_id) {
        Some(other) => {
            let text = format!("Security group {} and subnet {} belong to different networks.", other.id, subnet.id);
            Err(ApiError::new("InvalidParameter", text))
        }
        None => Ok(groups.iter().map(|g| g.id.clone()).collect()),
    }
}

/// Finds groups by id, each once.
pub(super) fn groups_find<'a>(view: View<'a>, ids: &[String]) -> Result<Vec<&'a SecurityGroup>, ApiError> {
    let groups: Vec<&SecurityGroup> = GROUP.find_all(ids, |id| view.get::<SecurityGroup>(id))?.into_iter().map(|g| &**g).collect();
    groups_limit(groups.len())?;
    Ok(groups)
}

fn groups_limit(count: usize) -> Result<(), ApiError> {
    if count > GROUPS_MAX {
        let text = format!("The maximum number of security groups per interface ({GROUPS_MAX}) has been reached.");
        return Err(ApiError::new("SecurityGroupsPerInterfaceLimitExceeded", text));
    }
    Ok(())
}

fn group_by_name(view: View<'_>, vpc: &VpcId, name: &str) -> Result<SecurityGroupId, ApiError> {
    let group = view.list::<SecurityGroup>().find(|g| g.vpc_id == *vpc && g.name == name);
    let missing = || ApiError::new("InvalidGroup.NotFound", format!("The security group '{name}' does not exist in default VPC '{vpc}'"));
    group.map(|g| g.id.clone()).ok_or_else(missing)
}

/// The primary address that an interface's specification asks for, in either of its two forms.
fn primary_ip(spec: &shapes::InstanceNetworkInterfaceSpecification) -> Result<Option<&str>, ApiError> {
    let listed = spec.private_ip_addresses.as_deref().unwrap_or_default();
    if listed.len() > 1 {
        return Err(unsupported("secondary private IP addresses"));
    }
    match (spec.private_ip_address.as_deref(), listed.first().and_then(|l| l.private_ip_address.as_deref())) {
        (Some(_), Some(_)) => Err(invalid_combination("Only one primary private IP address may be specified for a network interface")),
        (ip, None) | (None, ip) => Ok(ip),
    }
}

/// Checks an address that was asked for by name.
fn private_ip(view: View<'_>, subnet: &Subnet, text: &str, max_count: u64) -> Result<Ipv4Addr, ApiError> {
    if max_count > 1 {
        return Err(invalid_combination("A private IP address may not be specified when launching more than one instance"));
    }
    let ip: Ipv4Addr = text.parse().map_err(|_| invalid_value(format!("invalid value for parameter address: {text}")))?;
    if !subnet.cidr.contains(&ip) {
        return Err(invalid_value(format!("Address {ip} does not fall within the subnet's address range")));
    }
    if !address::subnet_range(subnet.cidr).is_some_and(|r| r.contains(&ip)) {
        return Err(invalid_value(format!("Address {ip} is in subnet's reserved address range")));
    }
    if view.used_private_ips(&subnet.vpc_id).contains(ip) {
        return Err(ApiError::new("InvalidIPAddress.InUse", format!("Address {ip} is in use.")));
    }
    Ok(ip)
}

/// For each subnet that a launch takes addresses of: how many instances they are enough for.
pub(super) fn addresses_free(view: View<'_>, nics: &[Nic]) -> Vec<(SubnetId, u64)> {
    let mut each: BTreeMap<&SubnetId, (&Subnet, u64)> = BTreeMap::new();
    for nic in nics {
        match &nic.what {
            What::New { subnet, .. } => each.entry(&subnet.id).or_insert((subnet, 0)).1 += 1,
            What::Existing(_) => {}
        }
    }
    let free = |subnet: &Subnet| {
        let used = address::subnet_range(subnet.cidr).map_or(0, |r| view.used_private_ips(&subnet.vpc_id).range(r).count());
        u64::from(address::subnet_available(subnet.cidr, used))
    };
    each.into_iter().map(|(id, (subnet, needed))| (id.clone(), free(subnet) / needed)).collect()
}

/// The addresses that a launch asks for by name: the others of its interfaces don't take them.
pub(super) fn addresses_asked(nics: &[Nic]) -> Vec<Ipv4Addr> {
    let asked = nics.iter().filter_map(|nic| match &nic.what {
        What::New { private_ip, .. } => *private_ip,
        What::Existing(_) => None,
    });
    asked.collect()
}

/// Makes or takes the interface for an instance. No address of `asked` is chosen for one that asks for none.
pub(super) fn attach(
    call: &mut Call,
    tx: &mut AccountTx<'_>,
    nic: &Nic,
    asked: &[Ipv4Addr],
    (instance, tags): (&InstanceId, &Tags),
) -> Result<NetworkInterfaceId, ApiError> {
    let attachment = Some(Attachment {
        id: AttachmentId::generate(&mut call.rng),
        instance_id: instance.clone(),
        device_index: nic.device_index,
        attach_time: call.now,
        delete_on_termination: nic.delete_on_termination,
    });
    let interface = match &nic.what {
        What::Existing(id) => {
            let found = tx.get::<NetworkInterface>(id).ok_or_else(|| INTERFACE.not_found(&[id]))?;
            NetworkInterface { attachment, ..(**found).clone() }
        }
        What::New { subnet, groups, description, private_ip, map_public_ip } => {
            let private_ip = private_ip.map_or_else(|| private_ip_choose(call, tx, subnet, asked), Ok)?;
            NetworkInterface {
                id: NetworkInterfaceId::generate(&mut call.rng),
                vpc_id: subnet.vpc_id.clone(),
                subnet_id: subnet.id.clone(),
                zone: subnet.zone.clone(),
                description: description.clone(),
                mac: mac(call, tx, &subnet.vpc_id),
                private_ip,
                map_public_ip: *map_public_ip,
                public_ip: map_public_ip.then(|| public_ip_choose(call, tx)).transpose()?,
                groups: groups.clone(),
                source_dest_check: true,
                attachment,
                tags: tags.clone(),
            }
        }
    };
    let id = interface.id.clone();
    tx.put(interface);
    Ok(id)
}

fn private_ip_choose(call: &mut Call, tx: &AccountTx<'_>, subnet: &Subnet, asked: &[Ipv4Addr]) -> Result<Ipv4Addr, ApiError> {
    let used = tx.view().used_private_ips(&subnet.vpc_id);
    let free = address::subnet_range(subnet.cidr)
        .and_then(|r| address::free(&r, call.rng.random(), |ip| used.contains(ip) || asked.contains(&ip)));
    free.ok_or_else(|| {
        let text = format!("There are not enough free addresses in subnet '{}' to satisfy the requested number of instances.", subnet.id);
        ApiError::new("InsufficientFreeAddressesInSubnet", text)
    })
}

/// A free address of the public pool.
pub(super) fn public_ip_choose(call: &mut Call, tx: &AccountTx<'_>) -> Result<Ipv4Addr, ApiError> {
    let used = tx.used_public_ips();
    let free = address::pool_range(call.cloud.public_pool).and_then(|r| address::free(&r, call.rng.random(), |ip| used.contains(ip)));
    free.ok_or_else(|| ApiError::new("InsufficientAddressCapacity", "Insufficient capacity to satisfy your Ip address request."))
}

/// An Ethernet address that no other interface of the VPC has. A clash is one in 2⁴⁰, and drawn again.
fn mac(call: &mut Call, tx: &AccountTx<'_>, vpc: &VpcId) -> Mac {
    let mut mac = Mac::generate(&mut call.rng);
    for _ in 0..MAC_DRAWS_MAX {
        if !tx.list::<NetworkInterface>().any(|n| n.vpc_id == *vpc && n.mac == mac) {
            break;
        }
        mac = Mac::generate(&mut call.rng);
    }
    mac
}
