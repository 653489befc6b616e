//! DescribeInstances and DescribeInstanceStatus.

use super::filter;
use super::show::{self, Row, bool_text, text};
use crate::action::{Call, Read};
use crate::ec2::common::{Paging, filters, invalid_combination};
use crate::ec2::kind::INSTANCE;
use model::filter::Field;
use model::impairment::FailedChecks;
use model::instance::{Instance, State};
use model::time::Timestamp;
use std::sync::Arc;
use store::View;
use wire::ApiError;
use wire::shapes::ec2 as shapes;

/// `MaxResults` of both actions.
const PAGE_LEAST: i32 = 5;
const PAGE_MOST: i32 = 1000;

pub(super) struct DescribeInstances;

impl Read for DescribeInstances {
    const SERVICE: &'static str = "ec2";
    const NAME: &'static str = "DescribeInstances";
    type Input = shapes::DescribeInstancesRequest;
    type Output = shapes::DescribeInstancesResult;

    fn run(call: &Call, view: View<'_>, input: Self::Input) -> Result<Self::Output, ApiError> {
        let named = input.instance_ids.as_deref().unwrap_or_default();
        if !named.is_empty() && input.max_results.is_some() {
            return Err(invalid_combination("The parameter instancesSet cannot be used with the parameter maxResults"));
        }
        let paging = Paging::new(call, input.max_results, input.next_token.as_deref(), PAGE_LEAST, PAGE_MOST)?;
        let filters = filters(input.filters.as_ref(), filter::fields(), true)?;
        let mut rows: Vec<Row<'_>> = chosen(view, named)?.into_iter().map(|instance| Row { view, instance }).collect();
        rows.retain(|r| filters.matches(r, &r.instance.tags));
        // Instances of one call stand together, in their order.
        rows.sort_by(|a, b| {
            let key = |r: &Row<'_>| (r.instance.launch_index, r.instance.id.clone());
            a.instance.reservation_id.cmp(&b.instance.reservation_id).then_with(|| key(a).cmp(&key(b)))
        });
        let (page, next_token) = paging.cut(rows, key);
        let mut reservations: Vec<shapes::Reservation> = Vec::new();
        for together in page.chunk_by(|a, b| a.instance.reservation_id == b.instance.reservation_id) {
            let id = &together[0].instance.reservation_id;
            let instances = together.iter().map(Row::show).collect();
            reservations.push(show::reservation(view.scope().account.as_str(), id, instances));
        }
        Ok(shapes::DescribeInstancesResult { next_token, reservations: Some(reservations) })
    }
}

/// The order of the list as text, which never changes while an instance lives.
fn key(row: &Row<'_>) -> String {
    let i = row.instance;
    format!("{} {:010} {}", i.reservation_id, i.launch_index, i.id)
}

/// The instances that a call names, or all.
fn chosen<'a>(view: View<'a>, named: &[String]) -> Result<Vec<&'a Instance>, ApiError> {
    if named.is_empty() {
        return Ok(view.list::<Instance>().map(|i| &**i).collect());
    }
    INSTANCE.find_all(named, |id| view.get::<Instance>(id).map(|i: &'a Arc<Instance>| &**i))
}

pub(super) struct DescribeInstanceStatus;

impl Read for DescribeInstanceStatus {
    const SERVICE: &'static str = "ec2";
    const NAME: &'static str = "DescribeInstanceStatus";
    type Input = shapes::DescribeInstanceStatusRequest;
    type Output = shapes::DescribeInstanceStatusResult;

    fn run(call: &Call, view: View<'_>, input: Self::Input) -> Result<Self::Output, ApiError> {
        let named = input.instance_ids.as_deref().unwrap_or_default();
        if !named.is_empty() && input.max_results.is_some() {
            return Err(invalid_combination("The parameter instancesSet cannot be used with the parameter maxResults"));
        }
        let paging = Paging::new(call, input.max_results, input.next_token.as_deref(), PAGE_LEAST, PAGE_MOST)?;
        let filters = filters(input.filters.as_ref(), status_fields(), false)?;
        let all = input.include_all_instances.unwrap_or_default();
        let rows = chosen(view, named)?.into_iter().map(|instance| Row { view, instance });
        let rows = rows.filter(|r| all || r.instance.state == State::Running);
        let mut rows: Vec<Row<'_>> = rows.filter(|r| filters.matches(r, &r.instance.tags)).collect();
        rows.sort_by(|a, b| a.instance.id.cmp(&b.instance.id));
        let (page, next_token) = paging.cut(rows, |r| r.instance.id.to_string());
        let instance_statuses = page.iter().map(status).collect();
        Ok(shapes::DescribeInstanceStatusResult { next_token, instance_statuses: Some(instance_statuses) })
    }
}

fn status_fields<'a>() -> &'a [Field<Row<'a>>] {
    fn none(_: &Row<'_>, _: &mut dyn FnMut(&str)) {}
    &[
        ("attached-ebs-status.status", |r, is| is(Health::of(r.instance).attached_ebs.status())),
        ("availability-zone", |r, is| is(&r.instance.zone)),
        ("availability-zone-id", |r, is| r.region().zone_id(&r.instance.zone).iter().for_each(|id| is(id))),
        ("event.code", none),
        ("event.description", none),
        ("event.instance-event-id", none),
        ("event.not-after", none),
        ("event.not-before", none),
        ("event.not-before-deadline", none),
        ("instance-state-code", |r, is| is(&r.instance.state.code().to_string())),
        ("instance-state-name", |r, is| is(r.instance.state.name())),
        ("instance-status.reachability", |r, is| Health::of(r.instance).instance.reachability().iter().for_each(|s| is(s))),
        ("instance-status.status", |r, is| is(Health::of(r.instance).instance.status())),
        ("operator.managed", |_, is| is(bool_text(false))),
        ("operator.principal", none),
        ("system-status.reachability", |r, is| Health::of(r.instance).system.reachability().iter().for_each(|s| is(s))),
        ("system-status.status", |r, is| is(Health::of(r.instance).system.status())),
    ]
}

/// The result of one status check.
#[derive(Clone, Copy)]
enum Check {
    /// The instance isn't running.
    NotApplicable,
    Passed,
    /// Since this time.
    Failed(Timestamp),
}

impl Check {
    fn status(self) -> &'static str {
        match self {
            Self::NotApplicable => "not-applicable",
            Self::Passed => "ok",
            Self::Failed(_) => "impaired",
        }
    }

    fn reachability(self) -> Option<&'static str> {
        match self {
            Self::NotApplicable => None,
            Self::Passed => Some("passed"),
            Self::Failed(_) => Some("failed"),
        }
    }

    fn impaired_since(self) -> Option<wire::Timestamp> {
        match self {
            Self::NotApplicable | Self::Passed => None,
            Self::Failed(since) => Some(show::time(since)),
        }
    }

    fn summary(self) -> shapes::InstanceStatusSummary {
        let details = self.reachability().map(|reachability| {
            vec![shapes::InstanceStatusDetails {
                impaired_since: self.impaired_since(),
                name: Some("reachability".into()),
                status: Some(reachability.into()),
            }]
        });
        shapes::InstanceStatusSummary { details, status: Some(self.status().into()) }
    }

    fn ebs_summary(self) -> shapes::EbsStatusSummary {
        let details = self.reachability().map(|reachability| {
            vec![shapes::EbsStatusDetails {
                impaired_since: self.impaired_since(),
                name: Some("reachability".into()),
                status: Some(reachability.into()),
            }]
        });
        shapes::EbsStatusSummary { details, status: Some(self.status().into()) }
    }
}

/// The three status checks of an instance.
struct Health {
    system: Check,
    instance: Check,
    attached_ebs: Check,
}

impl Health {
    fn of(instance: &Instance) -> Self {
        match &instance.state {
            State::Running => {
                let check = |fails: fn(FailedChecks) -> bool| {
                    let since =
                        instance.impairments.iter().filter(|(cause, _)| fails(cause.failed_checks())).map(|(_, since)| *since).min();
                    since.map_or(Check::Passed, Check::Failed)
                };
                Self { system: check(|f| f.system), instance: check(|f| f.instance), attached_ebs: check(|f| f.attached_ebs) }
            }
            State::Pending | State::Stopping(_) | State::Stopped | State::ShuttingDown(_) | State::Terminated { .. } => {
                Self { system: Check::NotApplicable, instance: Check::NotApplicable, attached_ebs: Check::NotApplicable }
            }
        }
    }
}

fn status(row: &Row<'_>) -> shapes::InstanceStatus {
    let health = Health::of(row.instance);
    shapes::InstanceStatus {
        availability_zone: Some(row.instance.zone.clone()),
        availability_zone_id: row.region().zone_id(&row.instance.zone),
        instance_id: text(&row.instance.id),
        instance_state: Some(show::state(&row.instance.state)),
        instance_status: Some(health.instance.summary()),
        system_status: Some(health.system.summary()),
        attached_ebs_status: Some(health.attached_ebs.ebs_summary()),
        operator: Some(shapes::OperatorResponse { managed: Some(false), ..Default::default() }),
        ..Default::default()
    }
}
