//! What a launch may ask for on AWS and can't be kept here yet: refused by name, as AWS refuses what doesn't exist.

use crate::ec2::common::{invalid_value, unsupported};
use model::scope::Region;
use wire::ApiError;
use wire::shapes::ec2 as shapes;

/// Refuses what no launch here can have.
pub(super) fn run_instances(input: &shapes::RunInstancesRequest) -> Result<(), ApiError> {
    nonexistent(input)?;
    let options = input.private_dns_name_options.as_ref();
    let asked = [
        ("Ipv6AddressCount", input.ipv6_address_count.is_some_and(|n| n != 0)),
        ("Ipv6Addresses", some(&input.ipv6_addresses)),
        ("EnablePrimaryIpv6", input.enable_primary_ipv6 == Some(true)),
        ("ElasticGpuSpecification", some(&input.elastic_gpu_specification)),
        ("ElasticInferenceAccelerators", some(&input.elastic_inference_accelerators)),
        ("InstanceMarketOptions", input.instance_market_options.is_some()),
        ("LicenseSpecifications", some(&input.license_specifications)),
        ("EnclaveOptions", input.enclave_options.as_ref().is_some_and(|o| o.enabled == Some(true))),
        ("PrivateDnsNameOptions.HostnameType", options.is_some_and(|o| o.hostname_type.as_deref().is_some_and(|t| t != "ip-name"))),
        ("PrivateDnsNameOptions.EnableResourceNameDnsARecord", options.is_some_and(|o| o.enable_resource_name_dns_a_record == Some(true))),
        (
            "PrivateDnsNameOptions.EnableResourceNameDnsAAAARecord",
            options.is_some_and(|o| o.enable_resource_name_dns_aaaa_record == Some(true)),
        ),
        (
            "MaintenanceOptions.AutoRecovery",
            input.maintenance_options.as_ref().is_some_and(|o| o.auto_recovery.as_deref().is_some_and(|a| a != "default")),
        ),
        (
            "NetworkPerformanceOptions.BandwidthWeighting",
            input.network_performance_options.as_ref().is_some_and(|o| o.bandwidth_weighting.as_deref().is_some_and(|b| b != "default")),
        ),
        ("Operator", input.operator.is_some()),
        ("SecondaryInterfaces", some(&input.secondary_interfaces)),
        ("AdditionalInfo", input.additional_info.is_some()),
        ("CpuOptions.AmdSevSnp", input.cpu_options.as_ref().is_some_and(|o| o.amd_sev_snp.as_deref() == Some("enabled"))),
        (
            "CpuOptions.NestedVirtualization",
            input.cpu_options.as_ref().is_some_and(|o| o.nested_virtualization.as_deref() == Some("enabled")),
        ),
    ];
    refuse(&asked)?;
    if input.hibernation_options.as_ref().is_some_and(|o| o.configured == Some(true)) {
        let text = "The requested configuration is currently not supported: HibernationOptions.";
        return Err(ApiError::new("UnsupportedHibernationConfiguration", text));
    }
    Ok(())
}

/// Kinds of things that nobody can have made here: what a launch names of them doesn't exist.
fn nonexistent(input: &shapes::RunInstancesRequest) -> Result<(), ApiError> {
    if let Some(id) = &input.kernel_id {
        return Err(ApiError::new("InvalidAKIID.NotFound", format!("The kernel id '[{id}]' does not exist")));
    }
    if let Some(id) = &input.ramdisk_id {
        return Err(ApiError::new("InvalidARIID.NotFound", format!("The ramdisk id '[{id}]' does not exist")));
    }
    if let Some(profile) = &input.iam_instance_profile {
        let (which, value, what) = match (&profile.arn, &profile.name) {
            (Some(arn), _) => ("arn", arn.as_str(), "ARN"),
            (None, name) => ("name", name.as_deref().unwrap_or_default(), "name"),
        };
        return Err(invalid_value(format!(
            "Value ({value}) for parameter iamInstanceProfile.{which} is invalid. Invalid IAM Instance Profile {what}"
        )));
    }
    if let Some(template) = &input.launch_template {
        return Err(match (&template.launch_template_id, &template.launch_template_name) {
            (Some(id), _) => ApiError::new(
                "InvalidLaunchTemplateId.NotFound",
                format!("The specified launch template, with template ID {id}, does not exist."),
            ),
            (None, name) => ApiError::new(
                "InvalidLaunchTemplateName.NotFoundException",
                format!("The specified launch template, with template name {}, does not exist.", name.as_deref().unwrap_or_default()),
            ),
        });
    }
    if let Some(reservation) = &input.capacity_reservation_specification {
        if let Some(id) = reservation.capacity_reservation_target.as_ref().and_then(|t| t.capacity_reservation_id.as_deref()) {
            let text = format!("The capacity reservation '{id}' does not exist");
            return Err(ApiError::new("InvalidCapacityReservationId.NotFound", text));
        }
        if reservation.capacity_reservation_target.is_some() || reservation.capacity_reservation_preference.as_deref() != Some("open") {
            return Err(unsupported("CapacityReservationSpecification other than open"));
        }
    }
    Ok(())
}

/// Refuses what no interface here can have.
pub(super) fn network_interface(spec: &shapes::InstanceNetworkInterfaceSpecification) -> Result<(), ApiError> {
    refuse(&[
        ("NetworkInterface.Ipv6AddressCount", spec.ipv6_address_count.is_some_and(|n| n != 0)),
        ("NetworkInterface.Ipv6Addresses", some(&spec.ipv6_addresses)),
        ("NetworkInterface.PrimaryIpv6", spec.primary_ipv6 == Some(true)),
        ("NetworkInterface.SecondaryPrivateIpAddressCount", spec.secondary_private_ip_address_count.is_some_and(|n| n != 0)),
        ("NetworkInterface.AssociateCarrierIpAddress", spec.associate_carrier_ip_address == Some(true)),
        ("NetworkInterface.InterfaceType", spec.interface_type.as_deref().is_some_and(|t| t != "interface")),
        ("NetworkInterface.NetworkCardIndex", spec.network_card_index.is_some_and(|i| i != 0)),
        ("NetworkInterface.Ipv4Prefixes", some(&spec.ipv4_prefixes)),
        ("NetworkInterface.Ipv4PrefixCount", spec.ipv4_prefix_count.is_some_and(|n| n != 0)),
        ("NetworkInterface.Ipv6Prefixes", some(&spec.ipv6_prefixes)),
        ("NetworkInterface.Ipv6PrefixCount", spec.ipv6_prefix_count.is_some_and(|n| n != 0)),
        ("NetworkInterface.EnaSrdSpecification", spec.ena_srd_specification.is_some()),
        ("NetworkInterface.ConnectionTrackingSpecification", spec.connection_tracking_specification.is_some()),
        ("NetworkInterface.EnaQueueCount", spec.ena_queue_count.is_some()),
    ])
}

/// The zone that a placement asks for; all else of a placement is refused.
pub(super) fn zone(region: &Region, placement: Option<&shapes::Placement>) -> Result<Option<String>, ApiError> {
    let Some(placement) = placement else { return Ok(None) };
    if let Some(group) = placement.group_name.as_deref().filter(|g| !g.is_empty()) {
        return Err(ApiError::new("InvalidPlacementGroup.Unknown", format!("The Placement Group '{group}' is unknown.")));
    }
    if let Some(host) = &placement.host_id {
        return Err(ApiError::new("InvalidHostID.NotFound", format!("The host ID '{host}' does not exist")));
    }
    refuse(&[
        ("Placement.Tenancy other than default", placement.tenancy.as_deref().is_some_and(|t| t != "default")),
        ("Placement.Affinity", placement.affinity.is_some()),
        ("Placement.PartitionNumber", placement.partition_number.is_some()),
        ("Placement.SpreadDomain", placement.spread_domain.is_some()),
        ("Placement.HostResourceGroupArn", placement.host_resource_group_arn.is_some()),
        ("Placement.GroupId", placement.group_id.is_some()),
    ])?;
    let by_id = |id: &str| region.zones().find(|z| region.zone_id(z).as_deref() == Some(id));
    let (asked, found) = match (placement.availability_zone.as_deref(), placement.availability_zone_id.as_deref()) {
        (None | Some(""), None) => return Ok(None),
        (Some(zone), None) => (zone, region.zones().find(|z| z == zone)),
        (None, Some(id)) => (id, by_id(id)),
        (Some(zone), Some(id)) => (zone, by_id(id).filter(|z| z == zone)),
    };
    found.map(Some).ok_or_else(|| invalid_value(format!("Invalid availability zone: [{asked}]")))
}

fn some<T>(list: &Option<Vec<T>>) -> bool {
    list.as_ref().is_some_and(|l| !l.is_empty())
}

fn refuse(asked: &[(&str, bool)]) -> Result<(), ApiError> {
    match asked.iter().find(|(_, asked)| *asked) {
        Some((name, _)) => Err(unsupported(name)),
        None => Ok(()),
    }
}
