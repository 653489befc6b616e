//! DescribeInstanceAttribute, ModifyInstanceAttribute, ModifyInstanceMetadataOptions.

use super::nics;
use super::run;
use super::show::{self, Row, text};
use crate::action::{Broken, Call, Read, Write, internal};
use crate::ec2::common::{invalid_combination, invalid_value, missing, unsupported};
use crate::ec2::kind::INSTANCE;
use base64::Engine as _;
use model::ids::InstanceId;
use model::instance::{Instance, ShutdownBehavior, State};
use model::network_interface::NetworkInterface;
use model::volume::Volume;
use std::sync::Arc;
use store::{AccountTx, View};
use wire::ApiError;
use wire::shapes::ec2 as shapes;

pub(super) fn find<'a>(view: View<'a>, id: Option<&str>) -> Result<&'a Arc<Instance>, ApiError> {
    let id: InstanceId = INSTANCE.parse(id.ok_or_else(|| missing("InstanceId"))?)?;
    view.get::<Instance>(&id).ok_or_else(|| INSTANCE.not_found(&[&id]))
}

fn boolean(value: bool) -> Option<shapes::AttributeBooleanValue> {
    Some(shapes::AttributeBooleanValue { value: Some(value) })
}

fn value(text: impl Into<String>) -> Option<shapes::AttributeValue> {
    Some(shapes::AttributeValue { value: Some(text.into()) })
}

pub(super) struct DescribeInstanceAttribute;

impl Read for DescribeInstanceAttribute {
    const SERVICE: &'static str = "ec2";
    const NAME: &'static str = "DescribeInstanceAttribute";
    type Input = shapes::DescribeInstanceAttributeRequest;
    type Output = shapes::InstanceAttribute;

    fn run(_: &Call, view: View<'_>, input: Self::Input) -> Result<Self::Output, ApiError> {
        let instance = find(view, input.instance_id.as_deref())?;
        let row = Row { view, instance };
        let name = input.attribute.as_deref().ok_or_else(|| missing("Attribute"))?;
        let mut shown = shapes::InstanceAttribute { instance_id: text(&instance.id), ..Default::default() };
        match name {
            "blockDeviceMapping" => shown.block_device_mappings = Some(row.mappings().map(|(v, a)| show::mapping(v, a)).collect()),
            "disableApiStop" => shown.disable_api_stop = boolean(instance.disable_api_stop),
            "disableApiTermination" => shown.disable_api_termination = boolean(instance.disable_api_termination),
            "ebsOptimized" => shown.ebs_optimized = boolean(instance.ebs_optimized),
            "enclaveOptions" => shown.enclave_options = Some(shapes::EnclaveOptions { enabled: Some(false) }),
            "groupSet" => shown.groups = Some(row.groups().map(show::group).collect()),
            "instanceInitiatedShutdownBehavior" => {
                shown.instance_initiated_shutdown_behavior = value(match instance.shutdown_behavior {
                    ShutdownBehavior::Stop => "stop",
                    ShutdownBehavior::Terminate => "terminate",
                });
            }
            "instanceType" => shown.instance_type = value(&instance.instance_type),
            "kernel" => shown.kernel_id = Some(shapes::AttributeValue::default()),
            "productCodes" => shown.product_codes = Some(Vec::new()),
            "ramdisk" => shown.ramdisk_id = Some(shapes::AttributeValue::default()),
            "rootDeviceName" => shown.root_device_name = value(&instance.root_device_name),
            "sourceDestCheck" => shown.source_dest_check = row.interfaces().next().and_then(|n| boolean(n.source_dest_check)),
            "sriovNetSupport" => shown.sriov_net_support = Some(shapes::AttributeValue::default()),
            "userData" => {
                let encoded = instance.user_data.as_ref().map(|d| base64::engine::general_purpose::STANDARD.encode(d));
                shown.user_data = Some(shapes::AttributeValue { value: encoded });
            }
            other => return Err(unknown_attribute(other)),
        }
        Ok(shown)
    }
}

fn unknown_attribute(name: &str) -> ApiError {
    invalid_value(format!("Value ({name}) for parameter attribute is invalid. Unknown attribute."))
}

pub(super) struct ModifyInstanceAttribute;

impl Write for ModifyInstanceAttribute {
    const SERVICE: &'static str = "ec2";
    const NAME: &'static str = "ModifyInstanceAttribute";
    type Input = shapes::ModifyInstanceAttributeRequest;
    type Output = wire::Empty;

    fn run(call: &mut Call, tx: &mut AccountTx<'_>, input: Self::Input) -> Result<Self::Output, ApiError> {
        let instance = find(tx.view(), input.instance_id.as_deref())?.clone();
        if matches!(instance.state, State::ShuttingDown(_) | State::Terminated { .. }) {
            let text = format!("The instance '{}' is not in a state from which it can be modified.", instance.id);
            return Err(ApiError::new("IncorrectInstanceState", text));
        }
        change(call, tx, &instance, wanted(input)?)?;
        Ok(wire::Empty)
    }
}

/// The one attribute of a call, in whichever of the two forms it came.
enum Change {
    DisableApiStop(bool),
    DisableApiTermination(bool),
    EbsOptimized(bool),
    SourceDestCheck(bool),
    ShutdownBehavior(ShutdownBehavior),
    InstanceType(String),
    UserData(Vec<u8>),
    Groups(Vec<String>),
    Mappings(Vec<shapes::InstanceBlockDeviceMappingSpecification>),
}

/// Reads the attribute to change: either its own parameter, or `Attribute` and `Value`.
fn wanted(input: shapes::ModifyInstanceAttributeRequest) -> Result<Change, ApiError> {
    for (name, asked) in [
        ("enaSupport", input.ena_support.is_some()),
        ("kernel", input.kernel.is_some()),
        ("ramdisk", input.ramdisk.is_some()),
        ("sriovNetSupport", input.sriov_net_support.is_some()),
    ] {
        if asked {
            return Err(unsupported(&format!("changing the attribute {name}")));
        }
    }
    let truth = |v: Option<shapes::AttributeBooleanValue>| v.and_then(|v| v.value);
    let words = |v: Option<shapes::AttributeValue>| v.and_then(|v| v.value);
    let mut all = Vec::new();
    all.extend(truth(input.disable_api_stop).map(Change::DisableApiStop));
    all.extend(truth(input.disable_api_termination).map(Change::DisableApiTermination));
    all.extend(truth(input.ebs_optimized).map(Change::EbsOptimized));
    all.extend(truth(input.source_dest_check).map(Change::SourceDestCheck));
    let behavior = words(input.instance_initiated_shutdown_behavior).map(|b| run::shutdown_behavior(&b)).transpose()?;
    all.extend(behavior.map(Change::ShutdownBehavior));
    all.extend(words(input.instance_type).map(Change::InstanceType));
    all.extend(input.user_data.map(|u| Change::UserData(u.value.unwrap_or_default())));
    all.extend(input.groups.filter(|g| !g.is_empty()).map(Change::Groups));
    all.extend(input.block_device_mappings.filter(|m| !m.is_empty()).map(Change::Mappings));
    if let Some(name) = &input.attribute {
        // `Attribute` may also just name the parameter that is there.
        match input.value {
            Some(text) => all.push(by_name(name, text)?),
            None if all.is_empty() => return Err(missing("Value")),
            None => {}
        }
    }
    let one = all.pop().ok_or_else(|| invalid_combination("No attributes specified."))?;
    if all.is_empty() { Ok(one) } else { Err(invalid_combination("Fields for multiple attribute types specified")) }
}

fn by_name(name: &str, text: String) -> Result<Change, ApiError> {
    let truth = || match text.to_ascii_lowercase().as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(invalid_value(format!("Value ({text}) for parameter value is invalid. Expecting a boolean."))),
    };
    Ok(match name {
        "disableApiStop" => Change::DisableApiStop(truth()?),
        "disableApiTermination" => Change::DisableApiTermination(truth()?),
        "ebsOptimized" => Change::EbsOptimized(truth()?),
        "sourceDestCheck" => Change::SourceDestCheck(truth()?),
        "instanceInitiatedShutdownBehavior" => Change::ShutdownBehavior(run::shutdown_behavior(&text)?),
        "instanceType" => Change::InstanceType(text),
        "userData" => Change::UserData(run::user_data(&text)?),
        "groupSet" => Change::Groups(vec![text]),
        "blockDeviceMapping" | "enaSupport" | "kernel" | "ramdisk" | "sriovNetSupport" | "productCodes" | "rootDeviceName"
        | "enclaveOptions" => return Err(unsupported(&format!("changing the attribute {name} by Value"))),
        other => return Err(unknown_attribute(other)),
    })
}

fn change(call: &Call, tx: &mut AccountTx<'_>, instance: &Instance, change: Change) -> Result<(), ApiError> {
    let mut i = instance.clone();
    match change {
        Change::DisableApiStop(on) => i.disable_api_stop = on,
        Change::DisableApiTermination(on) => i.disable_api_termination = on,
        Change::ShutdownBehavior(behavior) => i.shutdown_behavior = behavior,
        Change::EbsOptimized(on) => {
            must_be_stopped(&i)?;
            i.ebs_optimized = on;
        }
        Change::InstanceType(name) => {
            must_be_stopped(&i)?;
            let kind = run::instance_type(&call.cloud, &name)?;
            run::architecture_matches(kind, &i.architecture)?;
            if i.interfaces.len() > kind.network.interfaces_max as usize {
                let text = format!("Interface count {} exceeds the limit for {}", i.interfaces.len(), kind.name);
                return Err(ApiError::new("AttachmentLimitExceeded", text));
            }
            // What was said of the processors of the old type says nothing of the new one's.
            i.cpu_options = None;
            // An option stays with the instance, also while its type has no credits.
            if i.credit_specification.is_none() {
                i.credit_specification = kind.default_credits().map(Into::into);
            }
            i.instance_type = kind.name.into();
        }
        Change::UserData(data) => {
            must_be_stopped(&i)?;
            run::user_data_limit(&data)?;
            i.user_data = Some(data).filter(|d| !d.is_empty());
        }
        Change::SourceDestCheck(on) => return primary_change(tx, &i, |n| n.source_dest_check = on),
        Change::Groups(ids) => {
            let groups = nics::groups_find(tx.view(), &ids)?;
            if let Some(other) = groups.iter().find(|g| g.vpc_id != i.vpc_id) {
                let text = format!("Security group {} and instance {} belong to different networks.", other.id, i.id);
                return Err(ApiError::new("InvalidParameter", text));
            }
            let groups = groups.iter().map(|g| g.id.clone()).collect();
            return primary_change(tx, &i, |n| n.groups = groups);
        }
        Change::Mappings(mappings) => return mappings_change(tx, &i, &mappings),
    }
    tx.put(i);
    Ok(())
}

fn must_be_stopped(instance: &Instance) -> Result<(), ApiError> {
    if instance.state == State::Stopped {
        return Ok(());
    }
    Err(ApiError::new("IncorrectInstanceState", format!("The instance '{}' is not in the 'stopped' state.", instance.id)))
}

/// What these attributes say of an instance is said of its only interface.
fn primary_change(tx: &mut AccountTx<'_>, instance: &Instance, change: impl FnOnce(&mut NetworkInterface)) -> Result<(), ApiError> {
    if instance.interfaces.len() > 1 {
        let text = format!(
            "There are multiple interfaces attached to instance '{}'. Please specify an interface ID for the operation instead.",
            instance.id
        );
        return Err(ApiError::new("InvalidInstanceID", text));
    }
    let found = instance.interfaces.first().and_then(|id| tx.get::<NetworkInterface>(id));
    let mut interface = (**found.ok_or_else(|| internal(&Broken("an instance without its interface")))?).clone();
    change(&mut interface);
    tx.put(interface);
    Ok(())
}

/// Whether volumes go when the instance terminates.
fn mappings_change(
    tx: &mut AccountTx<'_>,
    instance: &Instance,
    mappings: &[shapes::InstanceBlockDeviceMappingSpecification],
) -> Result<(), ApiError> {
    for mapping in mappings {
        let name = mapping.device_name.as_deref().ok_or_else(|| missing("deviceName"))?;
        if mapping.no_device.is_some() || mapping.virtual_name.is_some() {
            return Err(unsupported("NoDevice and VirtualName of a block device mapping of an instance that is there"));
        }
        let volumes = instance.volumes.iter().filter_map(|id| tx.get::<Volume>(id));
        let found = volumes.into_iter().find(|v| v.attachment.as_ref().is_some_and(|a| a.device_name == name)).cloned();
        let unknown = || {
            let text = format!("No device is currently mapped at {name}");
            ApiError::new("InvalidInstanceAttributeValue", text)
        };
        let mut volume = (*found.ok_or_else(unknown)?).clone();
        let (wanted, attachment) = (mapping.ebs.as_ref().and_then(|e| e.delete_on_termination), volume.attachment.as_mut());
        if let (Some(wanted), Some(attachment)) = (wanted, attachment) {
            attachment.delete_on_termination = wanted;
        }
        tx.put(volume);
    }
    Ok(())
}

pub(super) struct ModifyInstanceMetadataOptions;

impl Write for ModifyInstanceMetadataOptions {
    const SERVICE: &'static str = "ec2";
    const NAME: &'static str = "ModifyInstanceMetadataOptions";
    type Input = shapes::ModifyInstanceMetadataOptionsRequest;
    type Output = shapes::ModifyInstanceMetadataOptionsResult;

    fn run(_: &mut Call, tx: &mut AccountTx<'_>, input: Self::Input) -> Result<Self::Output, ApiError> {
        let mut instance = (**find(tx.view(), input.instance_id.as_deref())?).clone();
        if matches!(instance.state, State::ShuttingDown(_) | State::Terminated { .. }) {
            let text = format!("The instance '{}' is not in a state from which it can be modified.", instance.id);
            return Err(ApiError::new("IncorrectInstanceState", text));
        }
        let texts = [&input.http_endpoint, &input.http_tokens, &input.instance_metadata_tags, &input.http_protocol_ipv6];
        if texts.iter().all(|t| t.is_none()) && input.http_put_response_hop_limit.is_none() {
            return Err(invalid_combination("No metadata options specified."));
        }
        run::metadata_options_change(&mut instance.metadata_options, texts.map(Option::as_deref), input.http_put_response_hop_limit)?;
        run::tags_showable(&instance.metadata_options, Some(&instance.tags))?;
        let instance_metadata_options = Some(show::metadata_options(&instance));
        let instance_id = text(&instance.id);
        tx.put(instance);
        Ok(shapes::ModifyInstanceMetadataOptionsResult { instance_id, instance_metadata_options })
    }
}
