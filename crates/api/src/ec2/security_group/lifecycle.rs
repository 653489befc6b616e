//! CreateSecurityGroup and DeleteSecurityGroup.

use super::describe::arn;
use crate::action::{Call, Write};
use crate::bootstrap;
use crate::ec2::common::{invalid_value, missing, tag_list_if_any, tag_specifications};
use crate::ec2::kind;
use crate::ec2::shown::text;
use model::ids::{SecurityGroupId, SecurityGroupRuleId, VpcId};
use model::network_interface::NetworkInterface;
use model::security_group::{Peer, Rule, SecurityGroup};
use model::vpc::Vpc;
use store::{AccountTx, View};
use wire::ApiError;
use wire::shapes::ec2 as shapes;

/// Longest name, and longest description, in characters.
const TEXT_CHARS_MAX: usize = 255;
/// What they may hold besides ASCII letters and digits ("CreateSecurityGroup").
const TEXT_MARKS: &str = " ._-:/()#,@[]+=&;{}!$*";
/// Most groups of an account in a region ("Amazon VPC quotas").
const GROUPS_MAX: usize = 2500;
const GROUP_TYPE: &str = "security-group";

pub(in crate::ec2) struct CreateSecurityGroup;

impl Write for CreateSecurityGroup {
    const SERVICE: &'static str = "ec2";
    const NAME: &'static str = "CreateSecurityGroup";
    const NEEDS_DEFAULT_VPC: bool = true;
    type Input = shapes::CreateSecurityGroupRequest;
    type Output = shapes::CreateSecurityGroupResult;

    fn run(call: &mut Call, tx: &mut AccountTx<'_>, input: Self::Input) -> Result<Self::Output, ApiError> {
        let name = checked("GroupName", "name", input.group_name)?;
        let description = checked("GroupDescription", "description", input.description)?;
        if name.to_ascii_lowercase().starts_with("sg-") {
            return Err(invalid_value(format!(
                "Value ({name}) for parameter GroupName is invalid. Group names may not be in the format sg-*."
            )));
        }
        let tags = tag_specifications(input.tag_specifications.as_ref(), &[GROUP_TYPE])?.remove(GROUP_TYPE).unwrap_or_default();
        let vpc_id = vpc(tx.view(), input.vpc_id.as_deref())?;
        if name.eq_ignore_ascii_case("default") {
            return Err(ApiError::new("InvalidGroup.Reserved", format!("The security group '{name}' is reserved")));
        }
        if tx.list::<SecurityGroup>().any(|group| group.vpc_id == vpc_id && group.name.eq_ignore_ascii_case(&name)) {
            let says = format!("The security group '{name}' already exists for VPC '{vpc_id}'");
            return Err(ApiError::new("InvalidGroup.Duplicate", says));
        }
        if tx.view().count::<SecurityGroup>() >= GROUPS_MAX {
            return Err(ApiError::new("SecurityGroupLimitExceeded", "The maximum number of security groups has been reached."));
        }
        // A new group lets nothing in, and everything out.
        let out = Rule::everything(SecurityGroupRuleId::generate(&mut call.rng), Peer::Ipv4(ipnet::Ipv4Net::default()));
        let id = SecurityGroupId::generate(&mut call.rng);
        let group = SecurityGroup { id, name, description, vpc_id, ingress: Vec::new(), egress: vec![out], tags };
        let result = shapes::CreateSecurityGroupResult {
            group_id: text(&group.id),
            security_group_arn: Some(arn(tx.scope(), GROUP_TYPE, &group.id)),
            tags: tag_list_if_any(&group.tags),
        };
        tx.put(group);
        Ok(result)
    }
}

/// A name or description.
fn checked(parameter: &str, what: &str, given: Option<String>) -> Result<String, ApiError> {
    let given = given.filter(|g| !g.is_empty()).ok_or_else(|| missing(parameter))?;
    if given.chars().count() > TEXT_CHARS_MAX || !given.chars().all(|c| c.is_ascii_alphanumeric() || TEXT_MARKS.contains(c)) {
        let set = format!("a-zA-Z0-9{TEXT_MARKS}");
        return Err(invalid_value(format!(
            "Invalid security group {what}. Valid {what}s are strings less than {} characters from the following set: {set}",
            TEXT_CHARS_MAX + 1
        )));
    }
    Ok(given)
}

/// The VPC that a new group is for: the one named, or the default one.
fn vpc(view: View<'_>, id: Option<&str>) -> Result<VpcId, ApiError> {
    let Some(id) = id else {
        let says = "No default VPC for this user";
        return bootstrap::default_vpc(view).map(|vpc| vpc.id.clone()).ok_or_else(|| ApiError::new("VPCIdNotSpecified", says));
    };
    let id: VpcId = kind::VPC.parse(id)?;
    if view.get::<Vpc>(&id).is_none() {
        return Err(kind::VPC.not_found(&[id]));
    }
    Ok(id)
}

pub(in crate::ec2) struct DeleteSecurityGroup;

impl Write for DeleteSecurityGroup {
    const SERVICE: &'static str = "ec2";
    const NAME: &'static str = "DeleteSecurityGroup";
    const NEEDS_DEFAULT_VPC: bool = true;
    type Input = shapes::DeleteSecurityGroupRequest;
    type Output = shapes::DeleteSecurityGroupResult;

    fn run(_: &mut Call, tx: &mut AccountTx<'_>, input: Self::Input) -> Result<Self::Output, ApiError> {
        let group = super::find(tx.view(), input.group_id.as_deref(), input.group_name.as_deref())?;
        let id = group.id.clone();
        if group.name == "default" {
            let says = format!("the specified group: \"{id}\" name: \"default\" cannot be deleted by a user");
            return Err(ApiError::new("CannotDelete", says));
        }
        let worn = tx.list::<NetworkInterface>().any(|interface| interface.groups.contains(&id));
        let named = tx.list::<SecurityGroup>().filter(|other| other.id != id);
        let named = named.flat_map(|other| other.ingress.iter().chain(&other.egress)).any(|rule| rule.peer == Peer::Group(id.clone()));
        if worn || named {
            return Err(ApiError::new("DependencyViolation", format!("resource {id} has a dependent object")));
        }
        tx.remove::<SecurityGroup>(&id);
        Ok(shapes::DeleteSecurityGroupResult { group_id: text(&id), r#return: Some(true) })
    }
}
