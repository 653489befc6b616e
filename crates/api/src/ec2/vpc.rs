//! DescribeVpcs.

use super::common::{Paging, filters, tag_list_if_any};
use super::kind;
use super::shown::{bool_text, fixed, none, text};
use crate::action::{Call, Read, actions};
use model::filter::Field;
use model::scope::Scope;
use model::vpc::Vpc;
use store::View;
use wire::ApiError;
use wire::shapes::ec2 as shapes;

actions![read DescribeVpcs,];

const PAGE_LEAST: i32 = 5;
const PAGE_MOST: i32 = 1000;
/// The one state of a VPC and of its addresses.
const AVAILABLE: &str = "available";
const ASSOCIATED: &str = "associated";

pub(super) struct DescribeVpcs;

impl Read for DescribeVpcs {
    const SERVICE: &'static str = "ec2";
    const NAME: &'static str = "DescribeVpcs";
    const NEEDS_DEFAULT_VPC: bool = true;
    type Input = shapes::DescribeVpcsRequest;
    type Output = shapes::DescribeVpcsResult;

    fn run(call: &Call, view: View<'_>, input: Self::Input) -> Result<Self::Output, ApiError> {
        let paging = Paging::new(call, input.max_results, input.next_token.as_deref(), PAGE_LEAST, PAGE_MOST)?;
        let filters = filters(input.filters.as_ref(), fields(), true)?;
        let named = input.vpc_ids.as_deref().unwrap_or_default();
        let vpcs: Vec<&Vpc> = match named {
            [] => view.list::<Vpc>().map(|v| &**v).collect(),
            named => kind::VPC.find_all(named, |id| view.get::<Vpc>(id))?.into_iter().map(|v| &**v).collect(),
        };
        let scope = view.scope();
        let mut rows: Vec<Row<'_>> = vpcs.into_iter().map(|vpc| Row { scope, vpc }).collect();
        rows.retain(|row| filters.matches(row, &row.vpc.tags));
        rows.sort_by(|a, b| a.vpc.id.cmp(&b.vpc.id));
        let (page, next_token) = paging.cut(rows, |r| r.vpc.id.to_string());
        Ok(shapes::DescribeVpcsResult { next_token, vpcs: Some(page.iter().map(|r| show(scope, r.vpc)).collect()) })
    }
}

struct Row<'a> {
    scope: &'a Scope,
    vpc: &'a Vpc,
}

fn fields<'a>() -> &'a [Field<Row<'a>>] {
    &[
        ("cidr", |r, is| is(&r.vpc.cidr.to_string())),
        ("cidr-block", |r, is| is(&r.vpc.cidr.to_string())),
        ("cidr-block-association.association-id", |r, is| is(&association_id(r.vpc))),
        ("cidr-block-association.cidr-block", |r, is| is(&r.vpc.cidr.to_string())),
        ("cidr-block-association.state", |_, is| is(ASSOCIATED)),
        ("dhcp-options-id", |r, is| is(r.vpc.dhcp_options_id.as_str())),
        ("dhcpOptionsId", |r, is| is(r.vpc.dhcp_options_id.as_str())),
        ("ipv6-cidr-block-association.association-id", none),
        ("ipv6-cidr-block-association.ipv6-cidr-block", none),
        ("ipv6-cidr-block-association.ipv6-pool", none),
        ("ipv6-cidr-block-association.state", none),
        ("is-default", |r, is| is(bool_text(r.vpc.is_default))),
        ("isDefault", |r, is| is(bool_text(r.vpc.is_default))),
        ("owner-id", |r, is| is(r.scope.account.as_str())),
        ("state", |_, is| is(AVAILABLE)),
        ("vpc-id", |r, is| is(r.vpc.id.as_str())),
    ]
}

/// A VPC has one association with addresses here, so it takes the VPC's own digits.
fn association_id(vpc: &Vpc) -> String {
    vpc.id.as_str().replacen("vpc-", "vpc-cidr-assoc-", 1)
}

fn show(scope: &Scope, vpc: &Vpc) -> shapes::Vpc {
    let association = shapes::VpcCidrBlockAssociation {
        association_id: Some(association_id(vpc)),
        cidr_block: text(&vpc.cidr),
        cidr_block_state: Some(shapes::VpcCidrBlockState { state: fixed(ASSOCIATED), status_message: None }),
    };
    shapes::Vpc {
        vpc_id: text(&vpc.id),
        owner_id: text(&scope.account),
        state: fixed(AVAILABLE),
        cidr_block: text(&vpc.cidr),
        cidr_block_association_set: Some(vec![association]),
        dhcp_options_id: text(&vpc.dhcp_options_id),
        instance_tenancy: fixed("default"),
        is_default: Some(vpc.is_default),
        block_public_access_states: Some(shapes::BlockPublicAccessStates { internet_gateway_block_mode: fixed("off") }),
        tags: tag_list_if_any(&vpc.tags),
        ..Default::default()
    }
}
