//! DescribeRegions and DescribeAvailabilityZones. Nothing in them is a tenant's.

use super::common::{filters, invalid_value};
use super::shown::{fixed, none, text};
use crate::action::{Call, Read, actions};
use model::filter::Field;
use model::scope::{OPT_IN_REGIONS, REGIONS, Region};
use model::tag::Tags;
use store::View;
use wire::ApiError;
use wire::shapes::ec2 as shapes;

actions![read DescribeRegions, read DescribeAvailabilityZones,];

/// The status of every region and zone that a request may be signed for.
const OPT_IN: &str = "opt-in-not-required";
const AVAILABLE: &str = "available";
const ZONE_TYPE: &str = "availability-zone";

pub(super) struct DescribeRegions;

impl Read for DescribeRegions {
    const SERVICE: &'static str = "ec2";
    const NAME: &'static str = "DescribeRegions";
    type Input = shapes::DescribeRegionsRequest;
    type Output = shapes::DescribeRegionsResult;

    /// The regions that are open; with `AllRegions` or by name, also those that an account would have to opt in to.
    fn run(_: &Call, _: View<'_>, input: Self::Input) -> Result<Self::Output, ApiError> {
        let filters = filters(input.filters.as_ref(), REGION_FIELDS, false)?;
        let named = input.region_names.unwrap_or_default();
        let known = |name: &String| REGIONS.iter().chain(OPT_IN_REGIONS).any(|r| r == name);
        if let Some(unknown) = named.iter().find(|n| !known(n)) {
            return Err(invalid_value(format!("Invalid region provided: {unknown}")));
        }
        let closed = if input.all_regions == Some(true) || !named.is_empty() { OPT_IN_REGIONS } else { &[] };
        let chosen = REGIONS.iter().chain(closed).copied().filter(|r| named.is_empty() || named.iter().any(|n| n == r));
        let regions = chosen.filter(|r| filters.matches(r, &Tags::default())).map(|region| shapes::Region {
            region_name: fixed(region),
            endpoint: Some(endpoint(region)),
            opt_in_status: fixed(opt_in_status(region)),
            ..Default::default()
        });
        Ok(shapes::DescribeRegionsResult { regions: Some(regions.collect()) })
    }
}

const REGION_FIELDS: &[Field<&'static str>] =
    &[("endpoint", |r, is| is(&endpoint(r))), ("opt-in-status", |r, is| is(opt_in_status(r))), ("region-name", |r, is| is(r))];

fn opt_in_status(region: &str) -> &'static str {
    if OPT_IN_REGIONS.contains(&region) { "not-opted-in" } else { OPT_IN }
}

/// AWS's own name of the region's service: what tools take the region's name from.
fn endpoint(region: &str) -> String {
    format!("ec2.{region}.amazonaws.com")
}

pub(super) struct DescribeAvailabilityZones;

impl Read for DescribeAvailabilityZones {
    const SERVICE: &'static str = "ec2";
    const NAME: &'static str = "DescribeAvailabilityZones";
    type Input = shapes::DescribeAvailabilityZonesRequest;
    type Output = shapes::DescribeAvailabilityZonesResult;

    /// `AllAvailabilityZones` changes nothing: there are no zones here that an account would have to opt in to.
    fn run(_: &Call, view: View<'_>, input: Self::Input) -> Result<Self::Output, ApiError> {
        let region = &view.scope().region;
        let filters = filters(input.filters.as_ref(), zone_fields(), false)?;
        let mut zones: Vec<Zone<'_>> = region.zones().filter_map(|name| Zone::new(region, name)).collect();
        let names = input.zone_names.unwrap_or_default();
        let ids = input.zone_ids.unwrap_or_default();
        refuse_unknown(&names, "Invalid availability zone", |name| zones.iter().any(|z| z.name == name))?;
        refuse_unknown(&ids, "Invalid availability zone-id", |id| zones.iter().any(|z| z.id == id))?;
        if !names.is_empty() || !ids.is_empty() {
            zones.retain(|z| names.contains(&z.name) || ids.contains(&z.id));
        }
        zones.retain(|z| filters.matches(z, &Tags::default()));
        Ok(shapes::DescribeAvailabilityZonesResult { availability_zones: Some(zones.iter().map(Zone::show).collect()) })
    }
}

fn refuse_unknown(given: &[String], text: &str, known: impl Fn(&str) -> bool) -> Result<(), ApiError> {
    let unknown: Vec<&str> = given.iter().map(String::as_str).filter(|g| !known(g)).collect();
    if unknown.is_empty() { Ok(()) } else { Err(invalid_value(format!("{text}: [{}]", unknown.join(", ")))) }
}

struct Zone<'a> {
    region: &'a Region,
    name: String,
    id: String,
}

fn zone_fields<'a>() -> &'a [Field<Zone<'a>>] {
    &[
        ("group-long-name", none),
        ("group-name", |z, is| is(&z.group())),
        ("message", none),
        ("opt-in-status", |_, is| is(OPT_IN)),
        ("parent-zone-id", none),
        ("parent-zone-name", none),
        ("region-name", |z, is| is(z.region.as_str())),
        ("state", |_, is| is(AVAILABLE)),
        ("zone-id", |z, is| is(&z.id)),
        ("zone-name", |z, is| is(&z.name)),
        ("zone-type", |_, is| is(ZONE_TYPE)),
    ]
}

impl<'a> Zone<'a> {
    fn new(region: &'a Region, name: String) -> Option<Self> {
        Some(Self { region, id: region.zone_id(&name)?, name })
    }

    /// AWS's name of the group of a region's own zones.
    fn group(&self) -> String {
        format!("{}-zg-1", self.region)
    }

    fn show(&self) -> shapes::AvailabilityZone {
        shapes::AvailabilityZone {
            zone_name: text(&self.name),
            zone_id: text(&self.id),
            zone_type: fixed(ZONE_TYPE),
            state: fixed(AVAILABLE),
            region_name: text(self.region),
            network_border_group: text(self.region),
            group_name: Some(self.group()),
            opt_in_status: fixed(OPT_IN),
            messages: Some(vec![]),
            ..Default::default()
        }
    }
}
