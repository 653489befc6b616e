//! Security groups and their rules: what is shown of them, and what may be changed: groups come and go, and their ingress.

mod change;
mod describe;
mod lifecycle;
mod permission;

use super::common::{invalid_combination, missing};
use super::kind;
use crate::bootstrap;
use model::ids::SecurityGroupId;
use model::security_group::SecurityGroup;
use std::sync::Arc;
use store::View;
use wire::ApiError;

crate::action::actions![
    write lifecycle::CreateSecurityGroup,
    write lifecycle::DeleteSecurityGroup,
    read describe::DescribeSecurityGroups,
    read describe::DescribeSecurityGroupRules,
    write change::AuthorizeSecurityGroupIngress,
    write change::RevokeSecurityGroupIngress,
];

/// The group that a call means, by its id, or by its name in the default VPC.
///
/// # Errors
/// `MissingParameter`, `InvalidParameterCombination`, `InvalidGroupId.Malformed` or `InvalidGroup.NotFound`.
fn find<'a>(view: View<'a>, id: Option<&str>, name: Option<&str>) -> Result<&'a Arc<SecurityGroup>, ApiError> {
    match (id, name) {
        (Some(id), None) => by_id(view, id),
        (None, Some(name)) => by_name(view, name),
        (Some(_), Some(_)) => Err(invalid_combination("The parameter groupName cannot be used with the parameter groupId")),
        (None, None) => Err(missing("groupName or groupId")),
    }
}

fn by_id<'a>(view: View<'a>, id: &str) -> Result<&'a Arc<SecurityGroup>, ApiError> {
    let id: SecurityGroupId = kind::GROUP.parse(id)?;
    view.get(&id).ok_or_else(|| kind::GROUP.not_found(&[id]))
}

fn by_name<'a>(view: View<'a>, name: &str) -> Result<&'a Arc<SecurityGroup>, ApiError> {
    let vpc = bootstrap::default_vpc(view);
    let group = vpc.and_then(|vpc| view.list::<SecurityGroup>().find(|g| g.vpc_id == vpc.id && g.name == name));
    group.ok_or_else(|| {
        let place = vpc.map_or_else(String::new, |vpc| format!(" in default VPC '{}'", vpc.id));
        ApiError::new("InvalidGroup.NotFound", format!("The security group '{name}' does not exist{place}"))
    })
}
