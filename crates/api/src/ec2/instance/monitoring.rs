//! MonitorInstances and UnmonitorInstances. What they say of an instance is kept and shown; metrics are a service's that isn't built.

use super::show::text;
use super::state::named;
use crate::action::{Call, Write};
use model::instance::{Instance, State};
use store::AccountTx;
use wire::ApiError;
use wire::shapes::ec2 as shapes;

pub(super) struct MonitorInstances;

impl Write for MonitorInstances {
    const SERVICE: &'static str = "ec2";
    const NAME: &'static str = "MonitorInstances";
    type Input = shapes::MonitorInstancesRequest;
    type Output = shapes::MonitorInstancesResult;

    fn run(_: &mut Call, tx: &mut AccountTx<'_>, input: Self::Input) -> Result<Self::Output, ApiError> {
        let instance_monitorings = change(tx, input.instance_ids.as_ref(), true)?;
        Ok(shapes::MonitorInstancesResult { instance_monitorings: Some(instance_monitorings) })
    }
}

pub(super) struct UnmonitorInstances;

impl Write for UnmonitorInstances {
    const SERVICE: &'static str = "ec2";
    const NAME: &'static str = "UnmonitorInstances";
    type Input = shapes::UnmonitorInstancesRequest;
    type Output = shapes::UnmonitorInstancesResult;

    fn run(_: &mut Call, tx: &mut AccountTx<'_>, input: Self::Input) -> Result<Self::Output, ApiError> {
        let instance_monitorings = change(tx, input.instance_ids.as_ref(), false)?;
        Ok(shapes::UnmonitorInstancesResult { instance_monitorings: Some(instance_monitorings) })
    }
}

/// The reply names the state on the way to the new one; an instance that is in the new one already stays there.
fn change(tx: &mut AccountTx<'_>, ids: Option<&Vec<String>>, wanted: bool) -> Result<Vec<shapes::InstanceMonitoring>, ApiError> {
    let mut shown = Vec::new();
    for instance in named(tx, ids)? {
        if matches!(instance.state, State::ShuttingDown(_) | State::Terminated { .. }) {
            let text = format!("The instance '{}' is not in a state from which it can be modified.", instance.id);
            return Err(ApiError::new("IncorrectInstanceState", text));
        }
        let state = match (instance.monitoring, wanted) {
            (false, true) => "pending",
            (true, true) => "enabled",
            (true, false) => "disabling",
            (false, false) => "disabled",
        };
        let monitoring = Some(shapes::Monitoring { state: Some(state.into()) });
        shown.push(shapes::InstanceMonitoring { instance_id: text(&instance.id), monitoring });
        tx.put(Instance { monitoring: wanted, ..(*instance).clone() });
    }
    Ok(shown)
}
