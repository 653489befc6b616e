//! AuthorizeSecurityGroupIngress and RevokeSecurityGroupIngress.

use super::describe::show_rule;
use super::permission::{self, Flat, Wanted};
use crate::action::{Call, Write};
use crate::ec2::common::{invalid_combination, tag_specifications};
use crate::ec2::kind;
use crate::ec2::shown::text;
use model::ids::SecurityGroupRuleId;
use model::security_group::{Peer, Rule, SecurityGroup};
use model::security_group_rule::rules_fit;
use model::vpc::Vpc;
use store::AccountTx;
use wire::ApiError;
use wire::shapes::ec2 as shapes;

const RULE_TYPE: &str = "security-group-rule";

pub(in crate::ec2) struct AuthorizeSecurityGroupIngress;

impl Write for AuthorizeSecurityGroupIngress {
    const SERVICE: &'static str = "ec2";
    const NAME: &'static str = "AuthorizeSecurityGroupIngress";
    const NEEDS_DEFAULT_VPC: bool = true;
    type Input = shapes::AuthorizeSecurityGroupIngressRequest;
    type Output = shapes::AuthorizeSecurityGroupIngressResult;

    fn run(call: &mut Call, tx: &mut AccountTx<'_>, input: Self::Input) -> Result<Self::Output, ApiError> {
        let mut group = (**super::find(tx.view(), input.group_id.as_deref(), input.group_name.as_deref())?).clone();
        let flat = Flat {
            cidr_ip: input.cidr_ip,
            ip_protocol: input.ip_protocol,
            from_port: input.from_port,
            to_port: input.to_port,
            source_name: input.source_security_group_name,
            source_owner: input.source_security_group_owner_id,
        };
        let wanted = permission::read(tx.view(), &group, input.ip_permissions, flat)?;
        let tags = tag_specifications(input.tag_specifications.as_ref(), &[RULE_TYPE])?.remove(RULE_TYPE).unwrap_or_default();
        if let Some(known) = wanted.iter().find(|w| group.ingress.iter().any(|rule| w.is_same(rule))) {
            let says = format!("the specified rule \"{}\" already exists", known.describe());
            return Err(ApiError::new("InvalidPermission.Duplicate", says));
        }
        let first = group.ingress.len();
        for Wanted { traffic, peer, description } in wanted {
            let id = SecurityGroupRuleId::generate(&mut call.rng);
            group.ingress.push(Rule { id, traffic, peer, description, tags: tags.clone() });
        }
        if !rules_fit(group.ingress.iter().map(|r| &r.peer)) {
            let says = "The maximum number of rules per security group has been reached.";
            return Err(ApiError::new("RulesPerSecurityGroupLimitExceeded", says));
        }
        let shown = group.ingress[first..].iter().map(|rule| show_rule(tx.scope(), &group, rule, false)).collect();
        tx.put(group);
        Ok(shapes::AuthorizeSecurityGroupIngressResult { r#return: Some(true), security_group_rules: Some(shown) })
    }
}

pub(in crate::ec2) struct RevokeSecurityGroupIngress;

impl Write for RevokeSecurityGroupIngress {
    const SERVICE: &'static str = "ec2";
    const NAME: &'static str = "RevokeSecurityGroupIngress";
    const NEEDS_DEFAULT_VPC: bool = true;
    type Input = shapes::RevokeSecurityGroupIngressRequest;
    type Output = shapes::RevokeSecurityGroupIngressResult;

    fn run(_: &mut Call, tx: &mut AccountTx<'_>, input: Self::Input) -> Result<Self::Output, ApiError> {
        let mut group = (**super::find(tx.view(), input.group_id.as_deref(), input.group_name.as_deref())?).clone();
        let flat = Flat {
            cidr_ip: input.cidr_ip,
            ip_protocol: input.ip_protocol,
            from_port: input.from_port,
            to_port: input.to_port,
            source_name: input.source_security_group_name,
            source_owner: input.source_security_group_owner_id,
        };
        let permissions = input.ip_permissions.filter(|p| !p.is_empty());
        let by_rule = permissions.is_some() || flat.is_given();
        let (revoked, unknown) = match (input.security_group_rule_ids.filter(|ids| !ids.is_empty()), by_rule) {
            (Some(_), true) => {
                let says = "The parameter 'securityGroupRuleIds' may not be used in combination with 'ipPermissions'";
                return Err(invalid_combination(says));
            }
            (None, false) => {
                let says = "Either 'ipPermissions' or 'securityGroupRuleIds' should be provided.";
                return Err(ApiError::new("MissingParameter", says));
            }
            (Some(ids), false) => (take_by_ids(&mut group, &ids)?, Vec::new()),
            (None, true) => {
                let wanted = permission::read(tx.view(), &group, permissions, flat)?;
                let is_default = tx.get::<Vpc>(&group.vpc_id).is_some_and(|vpc| vpc.is_default);
                take(&mut group, wanted, is_default)?
            }
        };
        let unknown = permission::show(tx.scope(), unknown.into_iter());
        let shown = revoked.iter().map(|rule| show_revoked(&group, rule)).collect();
        tx.put(group);
        Ok(shapes::RevokeSecurityGroupIngressResult {
            r#return: Some(true),
            revoked_security_group_rules: Some(shown),
            unknown_ip_permissions: Some(unknown),
        })
    }
}

/// Takes the rules with these ids out of the group's ingress.
fn take_by_ids(group: &mut SecurityGroup, ids: &[String]) -> Result<Vec<Rule>, ApiError> {
    let ids: Vec<SecurityGroupRuleId> = kind::RULE
        .find_all(ids, |id: &SecurityGroupRuleId| group.ingress.iter().find(|rule| rule.id == *id).map(|rule| rule.id.clone()))?;
    Ok(group.ingress.extract_if(.., |rule| ids.contains(&rule.id)).collect())
}

/// Takes the rules that say what is wanted out of the group's ingress, and gives back what no rule says.
///
/// # Errors
/// `InvalidPermission.NotFound` for that, unless the VPC is a default one: there it is only told ("RevokeSecurityGroupIngress").
fn take(group: &mut SecurityGroup, wanted: Vec<Wanted>, is_default: bool) -> Result<(Vec<Rule>, Vec<Wanted>), ApiError> {
    let (known, unknown): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|w| group.ingress.iter().any(|rule| w.is_same(rule)));
    if !unknown.is_empty() && !is_default {
        let says = "The specified rule does not exist in this security group.";
        return Err(ApiError::new("InvalidPermission.NotFound", says));
    }
    let revoked = group.ingress.extract_if(.., |rule| known.iter().any(|w| w.is_same(rule))).collect();
    Ok((revoked, unknown))
}

fn show_revoked(group: &SecurityGroup, rule: &Rule) -> shapes::RevokedSecurityGroupRule {
    let (from_port, to_port) = rule.traffic.ports().unwrap_or((-1, -1));
    let mut shown = shapes::RevokedSecurityGroupRule {
        security_group_rule_id: text(&rule.id),
        group_id: text(&group.id),
        is_egress: Some(false),
        ip_protocol: Some(rule.traffic.protocol()),
        from_port: Some(from_port),
        to_port: Some(to_port),
        description: rule.description.clone(),
        ..Default::default()
    };
    match &rule.peer {
        Peer::Ipv4(net) => shown.cidr_ipv4 = text(net),
        Peer::Ipv6(net) => shown.cidr_ipv6 = text(net),
        Peer::Group(id) => shown.referenced_group_id = text(id),
    }
    shown
}
