//! StartInstances, StopInstances, RebootInstances, TerminateInstances: for all instances of a call, or for none.

use super::nics;
use super::run;
use super::show::{self, text};
use crate::action::{Call, Write};
use crate::ec2::common::{invalid_combination, unsupported};
use crate::ec2::kind::INSTANCE;
use model::capacity::{self, Used};
use model::ids::InstanceId;
use model::instance::{Event, Instance, State};
use model::instance_type::{InstanceType, Support};
use model::network_interface::NetworkInterface;
use std::sync::Arc;
use store::AccountTx;
use wire::ApiError;
use wire::shapes::ec2 as shapes;

/// Most instances of one call: as many as AWS's longest list of ids.
const INSTANCES_MAX: usize = 1000;

/// The instances that a call names, each once, in its order.
pub(super) fn named(tx: &AccountTx<'_>, ids: Option<&Vec<String>>) -> Result<Vec<Arc<Instance>>, ApiError> {
    let ids = ids.filter(|ids| !ids.is_empty()).ok_or_else(|| invalid_combination("No instances specified"))?;
    if ids.len() > INSTANCES_MAX {
        let text = format!("The maximum number of instance IDs specified on a single call is {INSTANCES_MAX}");
        return Err(ApiError::new("InvalidParameterValue", text));
    }
    INSTANCE.find_all(ids, |id: &InstanceId| tx.get::<Instance>(id).cloned())
}

fn incorrect_state(text: String) -> ApiError {
    ApiError::new("IncorrectInstanceState", text)
}

/// Applies an event to an instance and writes it. `refused` is the text of `IncorrectInstanceState`.
fn apply(
    call: &Call,
    tx: &mut AccountTx<'_>,
    before: &Instance,
    event: &Event,
    refused: impl FnOnce() -> String,
) -> Result<shapes::InstanceStateChange, ApiError> {
    let mut after = before.clone();
    after.apply(event, call.now).map_err(|_| incorrect_state(refused()))?;
    let change = shapes::InstanceStateChange {
        instance_id: text(&after.id),
        current_state: Some(show::state(&after.state)),
        previous_state: Some(show::state(&before.state)),
    };
    tx.put(after);
    Ok(change)
}

pub(super) struct StartInstances;

impl Write for StartInstances {
    const SERVICE: &'static str = "ec2";
    const NAME: &'static str = "StartInstances";
    type Input = shapes::StartInstancesRequest;
    type Output = shapes::StartInstancesResult;

    fn run(call: &mut Call, tx: &mut AccountTx<'_>, input: Self::Input) -> Result<Self::Output, ApiError> {
        if input.additional_info.is_some() {
            return Err(unsupported("AdditionalInfo"));
        }
        let instances = named(tx, input.instance_ids.as_ref())?;
        instances.iter().try_for_each(|i| configuration(i))?;
        fits(call, tx, &instances)?;
        let mut changes = Vec::new();
        for instance in instances {
            let refused = || format!("The instance '{}' is not in a state from which it can be started.", instance.id);
            changes.push(apply(call, tx, &instance, &Event::StartWanted, refused)?);
            addresses_give(call, tx, &instance)?;
        }
        Ok(shapes::StartInstancesResult { starting_instances: Some(changes) })
    }
}

/// Whether the type has what the instance was asked to have: the type of a stopped instance changes alone.
fn configuration(instance: &Instance) -> Result<(), ApiError> {
    let kind = InstanceType::find(&instance.instance_type);
    if instance.ebs_optimized && kind.is_some_and(|t| t.ebs.optimized == Support::Unsupported) {
        let text = "The requested configuration is currently not supported. Please check the documentation for supported configurations.";
        return Err(ApiError::new("Unsupported", text));
    }
    Ok(())
}

/// Whether those that are stopped fit on the host beside all that runs.
fn fits(call: &Call, tx: &AccountTx<'_>, instances: &[Arc<Instance>]) -> Result<(), ApiError> {
    let stopped = instances.iter().filter(|i| i.state == State::Stopped);
    let takes = stopped.filter_map(|i| InstanceType::find(&i.instance_type)).map(InstanceType::takes);
    let together = takes.fold(Used::default(), |sum, takes| takes.times_plus(1, sum));
    if together != Used::default() && capacity::fits(&call.cloud.host, &call.cloud.overcommit, &run::used(tx), &together) == 0 {
        return Err(ApiError::new("InsufficientInstanceCapacity", "Insufficient capacity."));
    }
    Ok(())
}

/// Gives public addresses to the interfaces that have one at each start.
fn addresses_give(call: &mut Call, tx: &mut AccountTx<'_>, instance: &Instance) -> Result<(), ApiError> {
    for id in &instance.interfaces {
        let Some(interface) = tx.get::<NetworkInterface>(id).filter(|n| n.map_public_ip && n.public_ip.is_none()) else { continue };
        let mut interface = (**interface).clone();
        interface.public_ip = Some(nics::public_ip_choose(call, tx)?);
        tx.put(interface);
    }
    Ok(())
}

pub(super) struct StopInstances;

impl Write for StopInstances {
    const SERVICE: &'static str = "ec2";
    const NAME: &'static str = "StopInstances";
    type Input = shapes::StopInstancesRequest;
    type Output = shapes::StopInstancesResult;

    fn run(call: &mut Call, tx: &mut AccountTx<'_>, input: Self::Input) -> Result<Self::Output, ApiError> {
        let instances = named(tx, input.instance_ids.as_ref())?;
        if input.hibernate == Some(true) {
            // No instance here was launched with hibernation.
            let text = format!("Instance '{}' is not configured for hibernation.", instances[0].id);
            return Err(ApiError::new("UnsupportedHibernationConfiguration", text));
        }
        let force = input.force == Some(true) || input.skip_os_shutdown == Some(true);
        let mut changes = Vec::new();
        for instance in instances {
            if instance.disable_api_stop {
                return Err(protected(&instance.id, "stopped", "disableApiStop"));
            }
            let refused = || match instance.state {
                State::Pending => format!("Instance '{}' cannot be stopped as it has never reached the 'running' state.", instance.id),
                State::Running | State::Stopping(_) | State::Stopped | State::ShuttingDown(_) | State::Terminated { .. } => {
                    format!("The instance '{}' is not in a state from which it can be stopped.", instance.id)
                }
            };
            changes.push(apply(call, tx, &instance, &Event::StopWanted { force }, refused)?);
        }
        Ok(shapes::StopInstancesResult { stopping_instances: Some(changes) })
    }
}

pub(super) struct RebootInstances;

impl Write for RebootInstances {
    const SERVICE: &'static str = "ec2";
    const NAME: &'static str = "RebootInstances";
    type Input = shapes::RebootInstancesRequest;
    type Output = wire::Empty;

    fn run(call: &mut Call, tx: &mut AccountTx<'_>, input: Self::Input) -> Result<Self::Output, ApiError> {
        for instance in named(tx, input.instance_ids.as_ref())? {
            if instance.state != State::Running {
                return Err(incorrect_state(format!("The instance '{}' is not in the 'running' state.", instance.id)));
            }
            let mut instance = (*instance).clone();
            // A second call while the first one's reboot isn't done asks for nothing new.
            instance.reboot_since.get_or_insert(call.now);
            tx.put(instance);
        }
        Ok(wire::Empty)
    }
}

pub(super) struct TerminateInstances;

impl Write for TerminateInstances {
    const SERVICE: &'static str = "ec2";
    const NAME: &'static str = "TerminateInstances";
    type Input = shapes::TerminateInstancesRequest;
    type Output = shapes::TerminateInstancesResult;

    fn run(call: &mut Call, tx: &mut AccountTx<'_>, input: Self::Input) -> Result<Self::Output, ApiError> {
        let force = input.force == Some(true) || input.skip_os_shutdown == Some(true);
        let mut changes = Vec::new();
        for instance in named(tx, input.instance_ids.as_ref())? {
            if instance.disable_api_termination {
                return Err(protected(&instance.id, "terminated", "disableApiTermination"));
            }
            if instance.disable_api_stop {
                return Err(protected(&instance.id, "terminated", "disableApiStop"));
            }
            let refused = || format!("The instance '{}' is not in a state from which it can be terminated.", instance.id);
            changes.push(apply(call, tx, &instance, &Event::TerminateWanted { force }, refused)?);
        }
        Ok(shapes::TerminateInstancesResult { terminating_instances: Some(changes) })
    }
}

fn protected(id: &InstanceId, what: &str, attribute: &str) -> ApiError {
    let text = format!("The instance '{id}' may not be {what}. Modify its '{attribute}' instance attribute and try again.");
    ApiError::new("OperationNotPermitted", text)
}
