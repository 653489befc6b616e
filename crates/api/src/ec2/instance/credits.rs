//! DescribeInstanceCreditSpecifications and ModifyInstanceCreditSpecification.

use super::show::text;
use crate::action::{Call, Read, Write};
use crate::ec2::common::{Paging, filters, invalid_combination, invalid_value, missing};
use crate::ec2::kind::INSTANCE;
use model::filter::Field;
use model::ids::InstanceId;
use model::instance::{Instance, State};
use model::instance_type::InstanceType;
use model::tag::Tags;
use std::collections::BTreeSet;
use store::{AccountTx, View};
use wire::ApiError;
use wire::shapes::ec2 as shapes;

const PAGE_LEAST: i32 = 5;
const PAGE_MOST: i32 = 1000;
/// Most instances of one call.
const INSTANCES_MAX: usize = 1000;
const STANDARD: &str = "standard";
const UNLIMITED: &str = "unlimited";

pub(super) struct DescribeInstanceCreditSpecifications;

impl Read for DescribeInstanceCreditSpecifications {
    const SERVICE: &'static str = "ec2";
    const NAME: &'static str = "DescribeInstanceCreditSpecifications";
    type Input = shapes::DescribeInstanceCreditSpecificationsRequest;
    type Output = shapes::DescribeInstanceCreditSpecificationsResult;

    /// Instances that are named, whatever their option: `standard` for a type without credits, as AWS answers. Without names, those
    /// that are `unlimited`, or were before their type changed.
    fn run(call: &Call, view: View<'_>, input: Self::Input) -> Result<Self::Output, ApiError> {
        let named = input.instance_ids.as_deref().unwrap_or_default();
        if !named.is_empty() && input.max_results.is_some() {
            return Err(invalid_combination("The parameter instancesSet cannot be used with the parameter maxResults"));
        }
        if named.len() > INSTANCES_MAX {
            return Err(invalid_value(format!("The maximum number of instance IDs specified on a single call is {INSTANCES_MAX}")));
        }
        let paging = Paging::new(call, input.max_results, input.next_token.as_deref(), PAGE_LEAST, PAGE_MOST)?;
        let filters = filters(input.filters.as_ref(), fields(), false)?;
        let mut instances: Vec<&Instance> = if named.is_empty() {
            let unlimited = |i: &&Instance| i.credit_specification.as_deref() == Some(UNLIMITED);
            view.list::<Instance>().map(|i| &**i).filter(unlimited).collect()
        } else {
            INSTANCE.find_all(named, |id: &InstanceId| view.get::<Instance>(id).map(|i| &**i))?
        };
        instances.retain(|i| filters.matches(i, &Tags::default()));
        instances.sort_by(|a, b| a.id.cmp(&b.id));
        let (page, next_token) = paging.cut(instances, |i| i.id.to_string());
        let shown = page.iter().map(|i| shapes::InstanceCreditSpecification {
            instance_id: text(&i.id),
            cpu_credits: Some(i.credit_specification.as_deref().unwrap_or(STANDARD).into()),
        });
        let instance_credit_specifications = Some(shown.collect());
        Ok(shapes::DescribeInstanceCreditSpecificationsResult { next_token, instance_credit_specifications })
    }
}

fn fields<'a>() -> &'a [Field<&'a Instance>] {
    &[("instance-id", |i, is| is(i.id.as_str()))]
}

pub(super) struct ModifyInstanceCreditSpecification;

impl Write for ModifyInstanceCreditSpecification {
    const SERVICE: &'static str = "ec2";
    const NAME: &'static str = "ModifyInstanceCreditSpecification";
    type Input = shapes::ModifyInstanceCreditSpecificationRequest;
    type Output = shapes::ModifyInstanceCreditSpecificationResult;

    /// Each instance for itself: one that can't be changed keeps no other from it.
    fn run(_: &mut Call, tx: &mut AccountTx<'_>, input: Self::Input) -> Result<Self::Output, ApiError> {
        let wanted = input.instance_credit_specifications.filter(|w| !w.is_empty());
        let wanted = wanted.ok_or_else(|| missing("InstanceCreditSpecification"))?;
        let mut ids = BTreeSet::new();
        for specification in &wanted {
            let id = specification.instance_id.as_deref().ok_or_else(|| missing("InstanceId"))?;
            if !ids.insert(id) {
                let text = format!("The request may not contain duplicate instance IDs: {id}");
                return Err(ApiError::new("InvalidInstanceCreditSpecification.DuplicateInstanceId", text));
            }
            match specification.cpu_credits.as_deref() {
                Some(STANDARD | UNLIMITED) => {}
                other => {
                    let text = format!("Value ({}) for parameter CpuCredits is invalid.", other.unwrap_or_default());
                    return Err(ApiError::new("InvalidInstanceCreditSpecification", text));
                }
            }
        }
        let (mut done, mut refused) = (Vec::new(), Vec::new());
        for specification in &wanted {
            let instance_id = specification.instance_id.clone();
            match change(tx, instance_id.as_deref().unwrap_or_default(), specification.cpu_credits.clone()) {
                Ok(()) => done.push(shapes::SuccessfulInstanceCreditSpecificationItem { instance_id }),
                Err(error) => {
                    let (code, message) = (Some(error.code.into_owned()), Some(error.message));
                    let error = Some(shapes::UnsuccessfulInstanceCreditSpecificationItemError { code, message });
                    refused.push(shapes::UnsuccessfulInstanceCreditSpecificationItem { instance_id, error });
                }
            }
        }
        Ok(shapes::ModifyInstanceCreditSpecificationResult {
            successful_instance_credit_specifications: Some(done),
            unsuccessful_instance_credit_specifications: Some(refused),
        })
    }
}

fn change(tx: &mut AccountTx<'_>, id: &str, credits: Option<String>) -> Result<(), ApiError> {
    let id: InstanceId = INSTANCE.parse(id)?;
    let mut instance = (**tx.get::<Instance>(&id).ok_or_else(|| INSTANCE.not_found(&[&id]))?).clone();
    if InstanceType::find(&instance.instance_type).and_then(InstanceType::default_credits).is_none() {
        let text = format!("The instance '{id}' does not use CPU credits for CPU usage.");
        return Err(ApiError::new("InstanceCreditSpecification.NotSupported", text));
    }
    if !matches!(instance.state, State::Running | State::Stopped) {
        let text = format!("The instance '{id}' is not in a state from which it can be modified.");
        return Err(ApiError::new("IncorrectInstanceState", text));
    }
    instance.credit_specification = credits;
    tx.put(instance);
    Ok(())
}
