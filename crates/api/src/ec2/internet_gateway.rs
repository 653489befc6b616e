//! DescribeInternetGateways.

use super::common::{Paging, filters};
use super::kind;
use super::shown::{fixed, text};
use crate::action::{Call, Read, actions};
use model::filter::Field;
use model::ids::InternetGatewayId;
use model::scope::Scope;
use model::tag::Tags;
use model::vpc::Vpc;
use store::View;
use wire::ApiError;
use wire::shapes::ec2 as shapes;

actions![read DescribeInternetGateways,];

const PAGE_LEAST: i32 = 5;
const PAGE_MOST: i32 = 1000;
/// The state of every attachment ("InternetGatewayAttachment": it says so of an attached gateway, though its enum has no such value).
const AVAILABLE: &str = "available";

pub(super) struct DescribeInternetGateways;

impl Read for DescribeInternetGateways {
    const SERVICE: &'static str = "ec2";
    const NAME: &'static str = "DescribeInternetGateways";
    const NEEDS_DEFAULT_VPC: bool = true;
    type Input = shapes::DescribeInternetGatewaysRequest;
    type Output = shapes::DescribeInternetGatewaysResult;

    fn run(call: &Call, view: View<'_>, input: Self::Input) -> Result<Self::Output, ApiError> {
        let paging = Paging::new(call, input.max_results, input.next_token.as_deref(), PAGE_LEAST, PAGE_MOST)?;
        let filters = filters(input.filters.as_ref(), fields(), true)?;
        let scope = view.scope();
        let all: Vec<Row<'_>> = view.list::<Vpc>().filter_map(|vpc| Row::of(scope, vpc)).collect();
        let mut rows = match input.internet_gateway_ids.as_deref().unwrap_or_default() {
            [] => all,
            named => kind::INTERNET_GATEWAY.find_all(named, |id| all.iter().find(|r| r.id == id).copied())?,
        };
        rows.retain(|row| filters.matches(row, &Tags::default()));
        rows.sort_by(|a, b| a.id.cmp(b.id));
        let (page, next_token) = paging.cut(rows, |r| r.id.to_string());
        Ok(shapes::DescribeInternetGatewaysResult { internet_gateways: Some(page.iter().map(Row::show).collect()), next_token })
    }
}

/// A gateway is a part of its VPC's document, and has no tags.
#[derive(Clone, Copy)]
struct Row<'a> {
    scope: &'a Scope,
    vpc: &'a Vpc,
    id: &'a InternetGatewayId,
}

fn fields<'a>() -> &'a [Field<Row<'a>>] {
    &[
        ("attachment.state", |_, is| is(AVAILABLE)),
        ("attachment.vpc-id", |r, is| is(r.vpc.id.as_str())),
        ("internet-gateway-id", |r, is| is(r.id.as_str())),
        ("owner-id", |r, is| is(r.scope.account.as_str())),
    ]
}

impl<'a> Row<'a> {
    fn of(scope: &'a Scope, vpc: &'a Vpc) -> Option<Self> {
        vpc.internet_gateway_id.as_ref().map(|id| Self { scope, vpc, id })
    }

    fn show(&self) -> shapes::InternetGateway {
        shapes::InternetGateway {
            internet_gateway_id: text(self.id),
            owner_id: text(&self.scope.account),
            attachments: Some(vec![shapes::InternetGatewayAttachment { state: fixed(AVAILABLE), vpc_id: text(&self.vpc.id) }]),
            tags: Some(vec![]),
        }
    }
}
