//! DescribeSubnets.

use super::common::{Paging, filters, tag_list_if_any};
use super::kind;
use super::shown::{bool_text, fixed, none, text};
use crate::action::{Call, Read, actions};
use model::filter::Field;
use model::subnet::Subnet;
use store::View;
use wire::ApiError;
use wire::shapes::ec2 as shapes;

actions![read DescribeSubnets,];

const PAGE_LEAST: i32 = 5;
const PAGE_MOST: i32 = 1000;
/// The first four addresses of a subnet and its last are never given out ("Subnet CIDR blocks").
const RESERVED_ADDRESSES: u64 = 5;
const AVAILABLE: &str = "available";
const HOSTNAME_TYPE: &str = "ip-name";

pub(super) struct DescribeSubnets;

impl Read for DescribeSubnets {
    const SERVICE: &'static str = "ec2";
    const NAME: &'static str = "DescribeSubnets";
    const NEEDS_DEFAULT_VPC: bool = true;
    type Input = shapes::DescribeSubnetsRequest;
    type Output = shapes::DescribeSubnetsResult;

    fn run(call: &Call, view: View<'_>, input: Self::Input) -> Result<Self::Output, ApiError> {
        let paging = Paging::new(call, input.max_results, input.next_token.as_deref(), PAGE_LEAST, PAGE_MOST)?;
        let filters = filters(input.filters.as_ref(), fields(), true)?;
        let subnets: Vec<&Subnet> = match input.subnet_ids.as_deref().unwrap_or_default() {
            [] => view.list::<Subnet>().map(|s| &**s).collect(),
            named => kind::SUBNET.find_all(named, |id| view.get::<Subnet>(id))?.into_iter().map(|s| &**s).collect(),
        };
        let mut rows: Vec<Row<'_>> = subnets.into_iter().map(|subnet| Row { view, subnet }).collect();
        rows.retain(|row| filters.matches(row, &row.subnet.tags));
        rows.sort_by(|a, b| a.subnet.id.cmp(&b.subnet.id));
        let (page, next_token) = paging.cut(rows, |r| r.subnet.id.to_string());
        Ok(shapes::DescribeSubnetsResult { next_token, subnets: Some(page.iter().map(Row::show).collect()) })
    }
}

struct Row<'a> {
    view: View<'a>,
    subnet: &'a Subnet,
}

fn fields<'a>() -> &'a [Field<Row<'a>>] {
    &[
        ("availability-zone", |r, is| is(&r.subnet.zone)),
        ("availabilityZone", |r, is| is(&r.subnet.zone)),
        ("availability-zone-id", |r, is| r.zone_id().iter().for_each(|id| is(id))),
        ("availabilityZoneId", |r, is| r.zone_id().iter().for_each(|id| is(id))),
        ("available-ip-address-count", |r, is| is(&r.free_addresses().to_string())),
        ("cidr-block", |r, is| is(&r.subnet.cidr.to_string())),
        ("cidr", |r, is| is(&r.subnet.cidr.to_string())),
        ("cidrBlock", |r, is| is(&r.subnet.cidr.to_string())),
        ("customer-owned-ipv4-pool", none),
        ("default-for-az", |r, is| is(bool_text(r.subnet.default_for_az))),
        ("defaultForAz", |r, is| is(bool_text(r.subnet.default_for_az))),
        ("enable-dns64", |_, is| is("false")),
        ("enable-lni-at-device-index", none),
        ("ipv6-cidr-block-association.association-id", none),
        ("ipv6-cidr-block-association.ipv6-cidr-block", none),
        ("ipv6-cidr-block-association.state", none),
        ("ipv6-native", |_, is| is("false")),
        ("map-customer-owned-ip-on-launch", |_, is| is("false")),
        ("map-public-ip-on-launch", |r, is| is(bool_text(r.subnet.map_public_ip_on_launch))),
        ("outpost-arn", none),
        ("owner-id", |r, is| is(r.view.scope().account.as_str())),
        ("private-dns-name-options-on-launch.enable-resource-name-dns-a-record", |_, is| is("false")),
        ("private-dns-name-options-on-launch.enable-resource-name-dns-aaaa-record", |_, is| is("false")),
        ("private-dns-name-options-on-launch.hostname-type", |_, is| is(HOSTNAME_TYPE)),
        ("state", |_, is| is(AVAILABLE)),
        ("subnet-arn", |r, is| is(&r.arn())),
        ("subnet-id", |r, is| is(r.subnet.id.as_str())),
        ("vpc-id", |r, is| is(r.subnet.vpc_id.as_str())),
    ]
}

impl Row<'_> {
    fn zone_id(&self) -> Option<String> {
        self.view.scope().region.zone_id(&self.subnet.zone)
    }

    fn arn(&self) -> String {
        let scope = self.view.scope();
        format!("arn:aws:ec2:{}:{}:subnet/{}", scope.region, scope.account, self.subnet.id)
    }

    /// How many addresses can still be given out.
    fn free_addresses(&self) -> u64 {
        let cidr = self.subnet.cidr;
        let used = self.view.used_private_ips(&self.subnet.vpc_id).range(cidr.network()..=cidr.broadcast()).count();
        let all = 1_u64 << (32 - u32::from(cidr.prefix_len()));
        all.saturating_sub(RESERVED_ADDRESSES).saturating_sub(used as u64)
    }

    fn show(&self) -> shapes::Subnet {
        let subnet = self.subnet;
        shapes::Subnet {
            subnet_id: text(&subnet.id),
            subnet_arn: Some(self.arn()),
            vpc_id: text(&subnet.vpc_id),
            owner_id: text(&self.view.scope().account),
            state: fixed(AVAILABLE),
            availability_zone: text(&subnet.zone),
            availability_zone_id: self.zone_id(),
            cidr_block: text(&subnet.cidr),
            available_ip_address_count: i32::try_from(self.free_addresses()).ok(),
            default_for_az: Some(subnet.default_for_az),
            map_public_ip_on_launch: Some(subnet.map_public_ip_on_launch),
            map_customer_owned_ip_on_launch: Some(false),
            assign_ipv6_address_on_creation: Some(false),
            ipv6_cidr_block_association_set: Some(vec![]),
            ipv6_native: Some(false),
            enable_dns64: Some(false),
            private_dns_name_options_on_launch: Some(shapes::PrivateDnsNameOptionsOnLaunch {
                hostname_type: fixed(HOSTNAME_TYPE),
                enable_resource_name_dns_a_record: Some(false),
                enable_resource_name_dns_aaaa_record: Some(false),
            }),
            block_public_access_states: Some(shapes::BlockPublicAccessStates { internet_gateway_block_mode: fixed("off") }),
            tags: tag_list_if_any(&subnet.tags),
            ..Default::default()
        }
    }
}
