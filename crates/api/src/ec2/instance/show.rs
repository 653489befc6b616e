//! An instance as replies show it.

use crate::ec2::common::tag_list_if_any;
use model::ids::{SubnetId, VpcId};
use model::instance::{Instance, State};
use model::instance_type::InstanceType;
use model::network_interface::NetworkInterface;
use model::scope::Region;
use model::security_group::SecurityGroup;
use model::time::Timestamp;
use model::volume::{Attachment, Volume};
use std::net::Ipv4Addr;
use store::View;
use wire::shapes::ec2 as shapes;

/// How guests are started: SeaBIOS, or a kernel loaded directly.
pub(super) const BOOT_MODE: &str = "legacy-bios";
pub(super) const PLATFORM_DETAILS: &str = "Linux/UNIX";
pub(super) const USAGE_OPERATION: &str = "RunInstances";

/// An instance with what belongs to it, looked up as far as somebody asks.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) view: View<'a>,
    pub(super) instance: &'a Instance,
}

impl<'a> Row<'a> {
    pub(super) fn region(&self) -> &'a Region {
        &self.view.scope().region
    }

    pub(super) fn owner(&self) -> &'a str {
        self.view.scope().account.as_str()
    }

    /// A terminated instance has lost what it had, as far as it shows.
    fn is_over(&self) -> bool {
        matches!(self.instance.state, State::Terminated { .. })
    }

    /// The interfaces, the primary one first.
    pub(super) fn interfaces(&self) -> impl Iterator<Item = &'a NetworkInterface> + use<'a> {
        let (view, over) = (self.view, self.is_over());
        self.instance.interfaces.iter().filter(move |_| !over).filter_map(move |id| view.get::<NetworkInterface>(id)).map(|n| &**n)
    }

    /// The volumes that are attached, each with its attachment, the root first.
    pub(super) fn mappings(&self) -> impl Iterator<Item = (&'a Volume, &'a Attachment)> + use<'a> {
        let (view, over) = (self.view, self.is_over());
        let volumes = self.instance.volumes.iter().filter(move |_| !over).filter_map(move |id| view.get::<Volume>(id));
        volumes.filter_map(|v| v.attachment.as_ref().map(|a| (&**v, a)))
    }

    pub(super) fn groups_of(&self, interface: &'a NetworkInterface) -> impl Iterator<Item = &'a SecurityGroup> + use<'a> {
        let view = self.view;
        interface.groups.iter().filter_map(move |id| view.get::<SecurityGroup>(id)).map(|g| &**g)
    }

    /// The groups of the primary interface.
    pub(super) fn groups(&self) -> impl Iterator<Item = &'a SecurityGroup> + use<'a> {
        let row = *self;
        self.interfaces().take(1).flat_map(move |n| row.groups_of(n))
    }

    /// The public addresses of the interfaces.
    pub(super) fn associated(&self) -> impl Iterator<Item = Ipv4Addr> + use<'a> {
        self.interfaces().filter_map(|n| n.public_ip)
    }

    pub(super) fn public_ip(&self) -> Option<Ipv4Addr> {
        self.interfaces().next()?.public_ip
    }

    pub(super) fn public_dns(&self) -> String {
        self.public_ip().map_or_else(String::new, |ip| self.region().public_name(ip))
    }

    pub(super) fn private_ip(&self) -> Option<Ipv4Addr> {
        (!self.is_over()).then_some(self.instance.private_ip)
    }

    pub(super) fn private_dns(&self) -> String {
        self.private_ip().map_or_else(String::new, |ip| self.region().private_name(ip))
    }

    /// The VPC and the subnet.
    pub(super) fn place(&self) -> Option<(&'a VpcId, &'a SubnetId)> {
        (!self.is_over()).then_some((&self.instance.vpc_id, &self.instance.subnet_id))
    }

    /// When it was launched; `launch_time` is that of the last start.
    pub(super) fn first_launch(&self) -> Option<Timestamp> {
        self.interfaces().next()?.attachment.as_ref().map(|a| a.attach_time)
    }

    /// The whole of it.
    pub(super) fn show(&self) -> shapes::Instance {
        let i = self.instance;
        let primary = self.interfaces().next();
        shapes::Instance {
            instance_id: text(&i.id),
            image_id: text(&i.image_id),
            state: Some(state(&i.state)),
            private_dns_name: Some(self.private_dns()),
            public_dns_name: Some(self.public_dns()),
            state_transition_reason: Some(i.state_transition_reason.clone()),
            key_name: i.key_name.clone(),
            ami_launch_index: Some(i.launch_index as i32),
            product_codes: Some(Vec::new()),
            instance_type: Some(i.instance_type.clone()),
            launch_time: Some(time(i.launch_time)),
            placement: Some(self.placement()),
            monitoring: Some(shapes::Monitoring { state: Some(enabled(i.monitoring).into()) }),
            subnet_id: self.place().and_then(|(_, subnet)| text(subnet)),
            vpc_id: self.place().and_then(|(vpc, _)| text(vpc)),
            private_ip_address: self.private_ip().as_ref().and_then(text),
            public_ip_address: self.public_ip().as_ref().and_then(text),
            architecture: Some(i.architecture.clone()),
            block_device_mappings: Some(self.mappings().map(|(v, a)| mapping(v, a)).collect()),
            client_token: Some(i.client_token.clone().unwrap_or_default()),
            ebs_optimized: Some(i.ebs_optimized),
            ena_support: Some(true),
            hypervisor: Some("xen".into()),
            network_interfaces: Some(self.interfaces().map(|n| self.interface(n)).collect()),
            root_device_name: Some(i.root_device_name.clone()),
            root_device_type: Some("ebs".into()),
            security_groups: Some(self.groups().map(group).collect()),
            source_dest_check: primary.map(|n| n.source_dest_check),
            state_reason: i.reason().map(|r| shapes::StateReason { code: Some(r.code), message: Some(r.message) }),
            tags: tag_list_if_any(&i.tags),
            virtualization_type: Some("hvm".into()),
            cpu_options: Some(cpu_options(i)),
            capacity_reservation_specification: Some(shapes::CapacityReservationSpecificationResponse {
                capacity_reservation_preference: Some("open".into()),
                ..Default::default()
            }),
            hibernation_options: Some(shapes::HibernationOptions { configured: Some(false) }),
            metadata_options: Some(metadata_options(i)),
            enclave_options: Some(shapes::EnclaveOptions { enabled: Some(false) }),
            platform_details: Some(PLATFORM_DETAILS.into()),
            usage_operation: Some(USAGE_OPERATION.into()),
            usage_operation_update_time: self.first_launch().map(time),
            private_dns_name_options: Some(shapes::PrivateDnsNameOptionsResponse {
                hostname_type: Some("ip-name".into()),
                enable_resource_name_dns_a_record: Some(false),
                enable_resource_name_dns_aaaa_record: Some(false),
            }),
            maintenance_options: Some(shapes::InstanceMaintenanceOptions {
                auto_recovery: Some("default".into()),
                reboot_migration: Some("default".into()),
            }),
            current_instance_boot_mode: Some(BOOT_MODE.into()),
            network_performance_options: Some(shapes::InstanceNetworkPerformanceOptions { bandwidth_weighting: Some("default".into()) }),
            operator: Some(not_managed()),
            ..Default::default()
        }
    }

    fn placement(&self) -> shapes::Placement {
        shapes::Placement {
            availability_zone: Some(self.instance.zone.clone()),
            availability_zone_id: self.region().zone_id(&self.instance.zone),
            group_name: Some(String::new()),
            tenancy: Some("default".into()),
            ..Default::default()
        }
    }

    fn interface(&self, n: &'a NetworkInterface) -> shapes::InstanceNetworkInterface {
        let association = n.public_ip.map(|ip| shapes::InstanceNetworkInterfaceAssociation {
            ip_owner_id: Some("amazon".into()),
            public_dns_name: Some(self.region().public_name(ip)),
            public_ip: text(&ip),
            ..Default::default()
        });
        let attachment = n.attachment.as_ref().map(|a| shapes::InstanceNetworkInterfaceAttachment {
            attach_time: Some(time(a.attach_time)),
            attachment_id: text(&a.id),
            delete_on_termination: Some(a.delete_on_termination),
            device_index: Some(a.device_index as i32),
            status: Some("attached".into()),
            network_card_index: Some(0),
            ..Default::default()
        });
        let private_dns_name = Some(self.region().private_name(n.private_ip));
        shapes::InstanceNetworkInterface {
            association: association.clone(),
            attachment,
            description: Some(n.description.clone()),
            groups: Some(self.groups_of(n).map(group).collect()),
            ipv6_addresses: Some(Vec::new()),
            mac_address: text(&n.mac),
            network_interface_id: text(&n.id),
            owner_id: Some(self.owner().into()),
            private_dns_name: private_dns_name.clone(),
            private_ip_address: text(&n.private_ip),
            private_ip_addresses: Some(vec![shapes::InstancePrivateIpAddress {
                association,
                primary: Some(true),
                private_dns_name,
                private_ip_address: text(&n.private_ip),
            }]),
            source_dest_check: Some(n.source_dest_check),
            status: Some("in-use".into()),
            subnet_id: text(&n.subnet_id),
            vpc_id: text(&n.vpc_id),
            interface_type: Some("interface".into()),
            operator: Some(not_managed()),
            ..Default::default()
        }
    }
}

/// The reply's reservation of instances that belong to one.
pub(super) fn reservation(owner: &str, id: &model::ids::ReservationId, instances: Vec<shapes::Instance>) -> shapes::Reservation {
    shapes::Reservation {
        reservation_id: text(id),
        owner_id: Some(owner.into()),
        groups: Some(Vec::new()),
        instances: Some(instances),
        ..Default::default()
    }
}

pub(super) fn state(state: &State) -> shapes::InstanceState {
    shapes::InstanceState { code: Some(state.code()), name: Some(state.name().into()) }
}

pub(super) fn metadata_options(i: &Instance) -> shapes::InstanceMetadataOptionsResponse {
    let o = &i.metadata_options;
    shapes::InstanceMetadataOptionsResponse {
        // The service answers from the newest committed state, so that an option is in force at once.
        state: Some("applied".into()),
        http_tokens: Some(if o.tokens_required { "required" } else { "optional" }.into()),
        http_put_response_hop_limit: Some(o.hop_limit.into()),
        http_endpoint: Some(enabled(o.enabled).into()),
        http_protocol_ipv6: Some(enabled(o.ipv6).into()),
        instance_metadata_tags: Some(enabled(o.tags).into()),
    }
}

pub(super) fn mapping(volume: &Volume, attachment: &Attachment) -> shapes::InstanceBlockDeviceMapping {
    shapes::InstanceBlockDeviceMapping {
        device_name: Some(attachment.device_name.clone()),
        ebs: Some(shapes::EbsInstanceBlockDevice {
            attach_time: Some(time(attachment.attach_time)),
            delete_on_termination: Some(attachment.delete_on_termination),
            status: Some("attached".into()),
            volume_id: text(&volume.id),
            ..Default::default()
        }),
    }
}

pub(super) fn group(group: &SecurityGroup) -> shapes::GroupIdentifier {
    shapes::GroupIdentifier { group_id: text(&group.id), group_name: Some(group.name.clone()) }
}

fn cpu_options(i: &Instance) -> shapes::CpuOptions {
    let of_type = || InstanceType::find(&i.instance_type).map_or((1, 1), |t| (t.cores, t.threads_per_core));
    let (cores, threads) = i.cpu_options.unwrap_or_else(of_type);
    shapes::CpuOptions { core_count: Some(cores as i32), threads_per_core: Some(threads as i32), ..Default::default() }
}

fn not_managed() -> shapes::OperatorResponse {
    shapes::OperatorResponse { managed: Some(false), ..Default::default() }
}

pub(super) fn text(value: &impl ToString) -> Option<String> {
    Some(value.to_string())
}

pub(super) fn time(time: Timestamp) -> wire::Timestamp {
    wire::Timestamp(time.0)
}

pub(super) fn bool_text(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

pub(super) fn enabled(value: bool) -> &'static str {
    if value { "enabled" } else { "disabled" }
}
