//! DescribeInstanceTypes, DescribeInstanceTypeOfferings. Nothing in them is a tenant's.
//!
//! A simulated cloud has every type. A real one has those that its host can run when it is empty.

mod filter;
mod show;

use super::common::{Paging, filters, invalid_value};
use super::shown::{fixed, text};
use crate::Cloud;
use crate::action::{Call, Read, actions};
use model::filter::Field;
use model::instance_type::{InstanceType, all};
use model::scope::Region;
use model::tag::Tags;
use store::View;
use wire::ApiError;
use wire::shapes::ec2 as shapes;

actions![read DescribeInstanceTypes, read DescribeInstanceTypeOfferings,];

const PAGE_LEAST: i32 = 5;
const PAGE_MOST: i32 = 100;
const OFFERINGS_PAGE_MOST: i32 = 1000;
/// Most types that a call may name.
const NAMES_MAX: usize = 100;

/// Whether this cloud has a type.
pub(super) fn is_offered(cloud: &Cloud, kind: &InstanceType) -> bool {
    cloud.simulated || kind.runs_on(&cloud.host, &cloud.overcommit)
}

fn offered(cloud: &Cloud) -> impl Iterator<Item = &'static InstanceType> {
    all().iter().filter(|t| is_offered(cloud, t))
}

pub(super) struct DescribeInstanceTypes;

impl Read for DescribeInstanceTypes {
    const SERVICE: &'static str = "ec2";
    const NAME: &'static str = "DescribeInstanceTypes";
    type Input = shapes::DescribeInstanceTypesRequest;
    type Output = shapes::DescribeInstanceTypesResult;

    fn run(call: &Call, _: View<'_>, input: Self::Input) -> Result<Self::Output, ApiError> {
        let max = Some(input.max_results.unwrap_or(PAGE_MOST));
        let paging = Paging::new(call, max, input.next_token.as_deref(), PAGE_LEAST, PAGE_MOST)?;
        let filters = filters(input.filters.as_ref(), filter::FIELDS, false)?;
        let named = input.instance_types.unwrap_or_default();
        if named.len() > NAMES_MAX {
            return Err(invalid_value(format!("The number of instance types is greater than {NAMES_MAX}")));
        }
        let has = |name: &str| InstanceType::find(name).is_some_and(|t| is_offered(&call.cloud, t));
        let unknown: Vec<&str> = named.iter().map(String::as_str).filter(|n| !has(n)).collect();
        if !unknown.is_empty() {
            let says = format!("The following supplied instance types do not exist: [{}]", unknown.join(", "));
            return Err(ApiError::new("InvalidInstanceType", says));
        }
        let types = offered(&call.cloud).filter(|t| named.is_empty() || named.iter().any(|n| n == t.name));
        let types = types.filter(|t| filters.matches(t, &Tags::default()));
        let (page, next_token) = paging.cut(types, |t| t.name.to_owned());
        Ok(shapes::DescribeInstanceTypesResult { next_token, instance_types: Some(page.into_iter().map(show::info).collect()) })
    }
}

/// A type at a place.
struct Offering {
    kind: &'static InstanceType,
    location: String,
}

const OFFERING_FIELDS: &[Field<Offering>] = &[("instance-type", |o, is| is(o.kind.name)), ("location", |o, is| is(&o.location))];

pub(super) struct DescribeInstanceTypeOfferings;

impl Read for DescribeInstanceTypeOfferings {
    const SERVICE: &'static str = "ec2";
    const NAME: &'static str = "DescribeInstanceTypeOfferings";
    type Input = shapes::DescribeInstanceTypeOfferingsRequest;
    type Output = shapes::DescribeInstanceTypeOfferingsResult;

    fn run(call: &Call, view: View<'_>, input: Self::Input) -> Result<Self::Output, ApiError> {
        let max = Some(input.max_results.unwrap_or(OFFERINGS_PAGE_MOST));
        let paging = Paging::new(call, max, input.next_token.as_deref(), PAGE_LEAST, OFFERINGS_PAGE_MOST)?;
        let filters = filters(input.filters.as_ref(), OFFERING_FIELDS, false)?;
        let location_type = input.location_type.as_deref().unwrap_or("region");
        let mut locations = locations(&view.scope().region, location_type)?;
        locations.sort();
        let all = offered(&call.cloud);
        let all = all.flat_map(|kind| locations.iter().map(move |l| Offering { kind, location: l.clone() }));
        let all = all.filter(|o| filters.matches(o, &Tags::default()));
        // A blank sorts before all that names of types are made of, so that pages follow the order of the names.
        let (page, next_token) = paging.cut(all, |o| format!("{} {}", o.kind.name, o.location));
        let show = |o: Offering| shapes::InstanceTypeOffering {
            instance_type: fixed(o.kind.name),
            location_type: fixed(location_type),
            location: Some(o.location),
        };
        Ok(shapes::DescribeInstanceTypeOfferingsResult { next_token, instance_type_offerings: Some(page.into_iter().map(show).collect()) })
    }
}

/// The places of a kind in a region. There are no Outposts.
fn locations(region: &Region, kind: &str) -> Result<Vec<String>, ApiError> {
    match kind {
        "region" => Ok(text(region).into_iter().collect()),
        "availability-zone" => Ok(region.zones().collect()),
        "availability-zone-id" => Ok(region.zones().filter_map(|zone| region.zone_id(&zone)).collect()),
        "outpost" => Ok(Vec::new()),
        other => Err(invalid_value(format!("Invalid value '{other}' for LocationType."))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::capacity::{Host, Overcommit};

    #[test]
    fn a_real_cloud_offers_what_its_host_can_run() {
        let mut cloud = Cloud {
            host: Host { vcpus: 2, memory_mib: 8192, disk_bytes: 100 << 30 },
            overcommit: Overcommit { vcpus: 16.0, memory: 1.0, memory_reserve_mib: 1024 },
            space: model::space::Space::unlimited(),
            public_pool: ipnet::Ipv4Net::new_assert([198, 18, 0, 0].into(), 16),
            simulated: false,
        };
        let real: Vec<_> = offered(&cloud).map(|t| t.name).collect();
        for name in ["t2.micro", "t3.nano", "m1.small", "c5d.large"] {
            assert!(real.contains(&name), "{name}");
        }
        for name in ["t4g.micro", "mac1.metal", "g4dn.xlarge", "m5.24xlarge"] {
            assert!(!real.contains(&name), "{name}");
        }
        cloud.simulated = true;
        assert_eq!(offered(&cloud).count(), all().len());
    }
}
