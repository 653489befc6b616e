//! DescribeSecurityGroups and DescribeSecurityGroupRules.

use super::permission::{self, Wanted};
use crate::action::{Call, Read};
use crate::ec2::common::{Paging, filters, tag_list, tag_list_if_any};
use crate::ec2::kind;
use crate::ec2::shown::{none, text};
use model::filter::Field;
use model::ids::SecurityGroupRuleId;
use model::scope::Scope;
use model::security_group::{Peer, Rule, SecurityGroup};
use store::View;
use wire::ApiError;
use wire::shapes::ec2 as shapes;

/// `MaxResults` of both actions.
const PAGE_LEAST: i32 = 5;
const PAGE_MOST: i32 = 1000;

pub(in crate::ec2) struct DescribeSecurityGroups;

impl Read for DescribeSecurityGroups {
    const SERVICE: &'static str = "ec2";
    const NAME: &'static str = "DescribeSecurityGroups";
    const NEEDS_DEFAULT_VPC: bool = true;
    type Input = shapes::DescribeSecurityGroupsRequest;
    type Output = shapes::DescribeSecurityGroupsResult;

    fn run(call: &Call, view: View<'_>, input: Self::Input) -> Result<Self::Output, ApiError> {
        let paging = Paging::new(call, input.max_results, input.next_token.as_deref(), PAGE_LEAST, PAGE_MOST)?;
        let filters = filters(input.filters.as_ref(), group_fields(), true)?;
        let (ids, names) = (input.group_ids.unwrap_or_default(), input.group_names.unwrap_or_default());
        let mut groups: Vec<&SecurityGroup> = if ids.is_empty() && names.is_empty() {
            view.list::<SecurityGroup>().map(|g| &**g).collect()
        } else {
            let mut named: Vec<&SecurityGroup> = kind::GROUP.find_all(&ids, |id| view.get(id))?.into_iter().map(|g| &**g).collect();
            for name in &names {
                named.push(super::by_name(view, name)?);
            }
            named
        };
        groups.sort_by(|a, b| a.id.cmp(&b.id));
        groups.dedup_by(|a, b| a.id == b.id);
        let rows = groups.into_iter().map(|group| GroupRow { view, group });
        let rows = rows.filter(|row| filters.matches(row, &row.group.tags));
        let (page, next_token) = paging.cut(rows, |r| r.group.id.to_string());
        Ok(shapes::DescribeSecurityGroupsResult { next_token, security_groups: Some(page.iter().map(GroupRow::show).collect()) })
    }
}

struct GroupRow<'a> {
    view: View<'a>,
    group: &'a SecurityGroup,
}

fn group_fields<'a>() -> &'a [Field<GroupRow<'a>>] {
    &[
        ("description", |r, is| is(&r.group.description)),
        ("egress.ip-permission.cidr", |r, is| cidr(&r.group.egress, false, is)),
        ("egress.ip-permission.from-port", |r, is| port(&r.group.egress, |p| p.0, is)),
        ("egress.ip-permission.group-id", |r, is| group_ids(&r.group.egress, is)),
        ("egress.ip-permission.group-name", |r, is| r.group_names(&r.group.egress, is)),
        ("egress.ip-permission.ipv6-cidr", |r, is| cidr(&r.group.egress, true, is)),
        ("egress.ip-permission.prefix-list-id", none),
        ("egress.ip-permission.protocol", |r, is| protocol(&r.group.egress, is)),
        ("egress.ip-permission.to-port", |r, is| port(&r.group.egress, |p| p.1, is)),
        ("egress.ip-permission.user-id", |r, is| r.user_ids(&r.group.egress, is)),
        ("group-id", |r, is| is(r.group.id.as_str())),
        ("group-name", |r, is| is(&r.group.name)),
        ("ip-permission.cidr", |r, is| cidr(&r.group.ingress, false, is)),
        ("ip-permission.from-port", |r, is| port(&r.group.ingress, |p| p.0, is)),
        ("ip-permission.group-id", |r, is| group_ids(&r.group.ingress, is)),
        ("ip-permission.group-name", |r, is| r.group_names(&r.group.ingress, is)),
        ("ip-permission.ipv6-cidr", |r, is| cidr(&r.group.ingress, true, is)),
        ("ip-permission.prefix-list-id", none),
        ("ip-permission.protocol", |r, is| protocol(&r.group.ingress, is)),
        ("ip-permission.to-port", |r, is| port(&r.group.ingress, |p| p.1, is)),
        ("ip-permission.user-id", |r, is| r.user_ids(&r.group.ingress, is)),
        ("owner-id", |r, is| is(r.view.scope().account.as_str())),
        ("vpc-id", |r, is| is(r.group.vpc_id.as_str())),
    ]
}

fn cidr(rules: &[Rule], ipv6: bool, is: &mut dyn FnMut(&str)) {
    rules.iter().filter_map(|r| r.peer.range()).filter(|net| net.addr().is_ipv6() == ipv6).for_each(|net| is(&net.to_string()));
}

fn port(rules: &[Rule], which: fn((i32, i32)) -> i32, is: &mut dyn FnMut(&str)) {
    rules.iter().filter_map(|r| r.traffic.ports()).for_each(|ports| is(&which(ports).to_string()));
}

fn protocol(rules: &[Rule], is: &mut dyn FnMut(&str)) {
    rules.iter().for_each(|r| is(&r.traffic.protocol()));
}

fn group_ids(rules: &[Rule], is: &mut dyn FnMut(&str)) {
    for rule in rules {
        if let Peer::Group(id) = &rule.peer {
            is(id.as_str());
        }
    }
}

impl GroupRow<'_> {
    fn group_names(&self, rules: &[Rule], is: &mut dyn FnMut(&str)) {
        for rule in rules {
            if let Peer::Group(id) = &rule.peer
                && let Some(group) = self.view.get::<SecurityGroup>(id)
            {
                is(&group.name);
            }
        }
    }

    fn user_ids(&self, rules: &[Rule], is: &mut dyn FnMut(&str)) {
        group_ids(rules, &mut |_| is(self.view.scope().account.as_str()));
    }

    fn show(&self) -> shapes::SecurityGroup {
        let (scope, group) = (self.view.scope(), self.group);
        shapes::SecurityGroup {
            group_id: text(&group.id),
            group_name: text(&group.name),
            description: text(&group.description),
            owner_id: text(&scope.account),
            vpc_id: text(&group.vpc_id),
            security_group_arn: Some(arn(scope, "security-group", &group.id)),
            ip_permissions: Some(permission::show(scope, group.ingress.iter().map(Wanted::from))),
            ip_permissions_egress: Some(permission::show(scope, group.egress.iter().map(Wanted::from))),
            tags: tag_list_if_any(&group.tags),
        }
    }
}

pub(super) fn arn(scope: &Scope, noun: &str, id: &impl std::fmt::Display) -> String {
    format!("arn:aws:ec2:{}:{}:{noun}/{id}", scope.region, scope.account)
}

pub(in crate::ec2) struct DescribeSecurityGroupRules;

impl Read for DescribeSecurityGroupRules {
    const SERVICE: &'static str = "ec2";
    const NAME: &'static str = "DescribeSecurityGroupRules";
    const NEEDS_DEFAULT_VPC: bool = true;
    type Input = shapes::DescribeSecurityGroupRulesRequest;
    type Output = shapes::DescribeSecurityGroupRulesResult;

    fn run(call: &Call, view: View<'_>, input: Self::Input) -> Result<Self::Output, ApiError> {
        let paging = Paging::new(call, input.max_results, input.next_token.as_deref(), PAGE_LEAST, PAGE_MOST)?;
        let filters = filters(input.filters.as_ref(), rule_fields(), true)?;
        let all = || view.list::<SecurityGroup>().flat_map(|g| rows(g));
        let mut chosen: Vec<RuleRow<'_>> = match input.security_group_rule_ids.as_deref().unwrap_or_default() {
            [] => all().collect(),
            named => kind::RULE.find_all(named, |id: &SecurityGroupRuleId| all().find(|r| r.rule.id == *id))?,
        };
        chosen.retain(|row| filters.matches(row, &row.rule.tags));
        chosen.sort_by(|a, b| a.rule.id.cmp(&b.rule.id));
        let (page, next_token) = paging.cut(chosen, |r| r.rule.id.to_string());
        let rules = page.iter().map(|r| show_rule(view.scope(), r.group, r.rule, r.egress)).collect();
        Ok(shapes::DescribeSecurityGroupRulesResult { next_token, security_group_rules: Some(rules) })
    }
}

struct RuleRow<'a> {
    group: &'a SecurityGroup,
    rule: &'a Rule,
    egress: bool,
}

fn rows(group: &SecurityGroup) -> impl Iterator<Item = RuleRow<'_>> {
    let ingress = group.ingress.iter().map(move |rule| RuleRow { group, rule, egress: false });
    ingress.chain(group.egress.iter().map(move |rule| RuleRow { group, rule, egress: true }))
}

fn rule_fields<'a>() -> &'a [Field<RuleRow<'a>>] {
    &[("group-id", |r, is| is(r.group.id.as_str())), ("security-group-rule-id", |r, is| is(r.rule.id.as_str()))]
}

/// A rule by itself. Where a protocol has no ports, both are -1 here.
pub(super) fn show_rule(scope: &Scope, group: &SecurityGroup, rule: &Rule, egress: bool) -> shapes::SecurityGroupRule {
    let (from_port, to_port) = rule.traffic.ports().unwrap_or((-1, -1));
    let mut shown = shapes::SecurityGroupRule {
        security_group_rule_id: text(&rule.id),
        security_group_rule_arn: Some(arn(scope, "security-group-rule", &rule.id)),
        group_id: text(&group.id),
        group_owner_id: text(&scope.account),
        is_egress: Some(egress),
        ip_protocol: Some(rule.traffic.protocol()),
        from_port: Some(from_port),
        to_port: Some(to_port),
        description: rule.description.clone(),
        tags: tag_list(&rule.tags),
        ..Default::default()
    };
    match &rule.peer {
        Peer::Ipv4(net) => shown.cidr_ipv4 = text(net),
        Peer::Ipv6(net) => shown.cidr_ipv6 = text(net),
        Peer::Group(id) => {
            shown.referenced_group_info =
                Some(shapes::ReferencedSecurityGroup { group_id: text(id), user_id: text(&scope.account), ..Default::default() });
        }
    }
    shown
}
