//! `IpPermission`: how calls write rules, several in one, and how replies show them.

use crate::ec2::common::{invalid_combination, invalid_value, missing, unsupported};
use crate::ec2::shown::text;
use model::ids::SecurityGroupId;
use model::scope::Scope;
use model::security_group::{Peer, Rule, SecurityGroup, Traffic};
use model::security_group_rule::{BadTraffic, description_ok};
use std::collections::BTreeMap;
use store::View;
use wire::ApiError;
use wire::shapes::ec2 as shapes;

/// A rule as a call writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) traffic: Traffic,
    pub(super) peer: Peer,
    pub(super) description: Option<String>,
}

impl Wanted {
    /// Whether a rule says the same; descriptions don't count.
    pub(super) fn is_same(&self, rule: &Rule) -> bool {
        self.traffic == rule.traffic && self.peer == rule.peer
    }

    /// As errors speak of it.
    pub(super) fn describe(&self) -> String {
        format!("peer: {}, {}, ALLOW", self.peer, self.traffic.describe())
    }
}

/// The old way to write one rule, directly in the call's parameters.
#[derive(Debug, Default)]
pub(super) struct Flat {
    pub(super) cidr_ip: Option<String>,
    pub(super) ip_protocol: Option<String>,
    pub(super) from_port: Option<i32>,
    pub(super) to_port: Option<i32>,
    pub(super) source_name: Option<String>,
    pub(super) source_owner: Option<String>,
}

impl Flat {
    pub(super) fn is_given(&self) -> bool {
        let Self { cidr_ip, ip_protocol, from_port, to_port, source_name, source_owner } = self;
        [cidr_ip, ip_protocol, source_name, source_owner].iter().any(|p| p.is_some()) || from_port.is_some() || to_port.is_some()
    }

    /// The permissions it stands for. A source group alone stands for all of TCP, UDP and ICMP.
    fn permissions(self) -> Result<Vec<shapes::IpPermission>, ApiError> {
        let Self { cidr_ip, ip_protocol, from_port, to_port, source_name, source_owner } = self;
        if source_name.is_some() || source_owner.is_some() {
            if cidr_ip.is_some() || ip_protocol.is_some() || from_port.is_some() || to_port.is_some() {
                let says =
                    "The parameter SourceSecurityGroupName cannot be used with the parameters CidrIp, IpProtocol, FromPort and ToPort";
                return Err(invalid_combination(says));
            }
            let group_name = Some(source_name.ok_or_else(|| missing("SourceSecurityGroupName"))?);
            let pair = shapes::UserIdGroupPair { group_name, user_id: source_owner, ..Default::default() };
            let of = |protocol: &str, from, to| shapes::IpPermission {
                ip_protocol: Some(protocol.into()),
                from_port: Some(from),
                to_port: Some(to),
                user_id_group_pairs: Some(vec![pair.clone()]),
                ..Default::default()
            };
            return Ok(vec![of("tcp", 0, 65_535), of("udp", 0, 65_535), of("icmp", -1, -1)]);
        }
        let ip_ranges = cidr_ip.map(|cidr_ip| vec![shapes::IpRange { cidr_ip: Some(cidr_ip), description: None }]);
        Ok(vec![shapes::IpPermission { ip_protocol, from_port, to_port, ip_ranges, ..Default::default() }])
    }
}

/// The rules that a call writes, checked; for a group that is in the same VPC as `group`.
///
/// # Errors
/// As AWS answers for the first that is wrong.
pub(super) fn read(
    view: View<'_>,
    group: &SecurityGroup,
    permissions: Option<Vec<shapes::IpPermission>>,
    flat: Flat,
) -> Result<Vec<Wanted>, ApiError> {
    let permissions = match (permissions.filter(|p| !p.is_empty()), flat.is_given()) {
        (Some(_), true) => {
            return Err(invalid_combination("The parameter 'ipPermissions' may not be used in combination with 'ipProtocol'"));
        }
        (Some(permissions), false) => permissions,
        (None, true) => flat.permissions()?,
        (None, false) => return Err(missing("ipPermissions")),
    };
    let mut rules: Vec<Wanted> = Vec::new();
    for permission in &permissions {
        for wanted in read_one(view, group, permission)? {
            if rules.iter().any(|r| r.traffic == wanted.traffic && r.peer == wanted.peer) {
                return Err(invalid_value("The same permission must not appear multiple times"));
            }
            rules.push(wanted);
        }
    }
    Ok(rules)
}

fn read_one(view: View<'_>, group: &SecurityGroup, permission: &shapes::IpPermission) -> Result<Vec<Wanted>, ApiError> {
    let protocol = permission.ip_protocol.as_deref().ok_or_else(|| missing("ipProtocol"))?;
    let traffic = Traffic::parse(protocol, permission.from_port, permission.to_port).map_err(refused)?;
    let mut rules = Vec::new();
    let mut push = |peer, description: &Option<String>| {
        let description = checked_description(description.as_deref())?;
        rules.push(Wanted { traffic, peer, description });
        Ok::<_, ApiError>(())
    };
    for range in permission.ip_ranges.iter().flatten() {
        push(range_of(range.cidr_ip.as_deref(), "cidrIp", Peer::ipv4)?, &range.description)?;
    }
    for range in permission.ipv6_ranges.iter().flatten() {
        push(range_of(range.cidr_ipv6.as_deref(), "cidrIpv6", Peer::ipv6)?, &range.description)?;
    }
    if let Some(list) = permission.prefix_list_ids.iter().flatten().next() {
        return Err(prefix_list(list.prefix_list_id.as_deref().unwrap_or_default()));
    }
    for pair in permission.user_id_group_pairs.iter().flatten() {
        push(Peer::Group(group_of(view, group, pair)?), &pair.description)?;
    }
    if rules.is_empty() {
        let says = "Missing source specification: include source security group or CIDR information";
        return Err(ApiError::new("MissingParameter", says));
    }
    Ok(rules)
}

fn refused(bad: BadTraffic) -> ApiError {
    let says = bad.to_string();
    match bad {
        BadTraffic::Icmpv6Type => unsupported(&says),
        BadTraffic::Protocol(_) | BadTraffic::PortsMissing | BadTraffic::Ports(..) | BadTraffic::Icmp => invalid_value(says),
    }
}

fn range_of(cidr: Option<&str>, parameter: &str, read: fn(&str) -> Option<Peer>) -> Result<Peer, ApiError> {
    let cidr = cidr.ok_or_else(|| missing(parameter))?;
    read(cidr).ok_or_else(|| invalid_value(format!("CIDR block {cidr} is malformed")))
}

/// There are no prefix lists here, so an id of one is of nothing.
fn prefix_list(id: &str) -> ApiError {
    if id.starts_with("pl-") {
        ApiError::new("InvalidPrefixListID.NotFound", format!("The prefix list ID '{id}' does not exist"))
    } else {
        ApiError::new("InvalidPrefixListId.Malformed", format!("Invalid id: \"{id}\" (expecting \"pl-...\")"))
    }
}

fn group_of(view: View<'_>, group: &SecurityGroup, pair: &shapes::UserIdGroupPair) -> Result<SecurityGroupId, ApiError> {
    // An id says which group is meant, whatever name stands beside it (as in what DescribeSecurityGroups shows).
    let name = pair.group_name.as_deref().filter(|_| pair.group_id.is_none());
    let own = pair.user_id.as_deref().is_none_or(|user| user == view.scope().account.as_str());
    if !own || pair.vpc_peering_connection_id.is_some() {
        let named = pair.group_id.as_deref().or(name).unwrap_or_default();
        return Err(ApiError::new("InvalidGroup.NotFound", format!("The security group '{named}' does not exist")));
    }
    let peer = super::find(view, pair.group_id.as_deref(), name)?;
    if peer.vpc_id != group.vpc_id {
        return Err(ApiError::new("InvalidGroup.NotFound", "You have specified two resources that belong to different networks."));
    }
    Ok(peer.id.clone())
}

fn checked_description(description: Option<&str>) -> Result<Option<String>, ApiError> {
    let description = description.filter(|d| !d.is_empty());
    if description.is_some_and(|d| !description_ok(d)) {
        return Err(invalid_value(
            "Invalid rule description. Valid descriptions are strings less than 256 characters from the following set:  \
             a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*",
        ));
    }
    Ok(description.map(ToOwned::to_owned))
}

/// Rules as replies show them: those of the same traffic in one permission, in the order in which they were made.
pub(super) fn show(scope: &Scope, rules: impl Iterator<Item = Wanted>) -> Vec<shapes::IpPermission> {
    let (mut permissions, mut places) = (Vec::<shapes::IpPermission>::new(), BTreeMap::new());
    for Wanted { traffic, peer, description } in rules {
        let place = *places.entry(traffic).or_insert_with(|| {
            permissions.push(empty(traffic));
            permissions.len() - 1
        });
        let permission = &mut permissions[place];
        match peer {
            Peer::Ipv4(net) => {
                permission.ip_ranges.get_or_insert_default().push(shapes::IpRange { cidr_ip: text(&net), description });
            }
            Peer::Ipv6(net) => {
                permission.ipv6_ranges.get_or_insert_default().push(shapes::Ipv6Range { cidr_ipv6: text(&net), description });
            }
            Peer::Group(id) => permission.user_id_group_pairs.get_or_insert_default().push(shapes::UserIdGroupPair {
                group_id: text(&id),
                user_id: text(&scope.account),
                description,
                ..Default::default()
            }),
        }
    }
    permissions
}

fn empty(traffic: Traffic) -> shapes::IpPermission {
    let (from_port, to_port) = traffic.ports().unzip();
    shapes::IpPermission {
        ip_protocol: Some(traffic.protocol()),
        from_port,
        to_port,
        ip_ranges: Some(vec![]),
        ipv6_ranges: Some(vec![]),
        prefix_list_ids: Some(vec![]),
        user_id_group_pairs: Some(vec![]),
    }
}

impl From<&Rule> for Wanted {
    fn from(rule: &Rule) -> Self {
        Self { traffic: rule.traffic, peer: rule.peer.clone(), description: rule.description.clone() }
    }
}
