//! The filters of DescribeInstances: each name, and what an instance has for it.

use super::show::{Row, bool_text, enabled};
use model::filter::Field;
use model::network_interface::NetworkInterface;

/// Every name that AWS documents, but for `tag:KEY` and `tag-key`. Those that name what no instance here has (Outposts, Spot, Elastic
/// Graphics …) are known and match nothing.
pub(super) fn fields<'a>() -> &'a [Field<Row<'a>>] {
    &[
        ("affinity", none),
        ("architecture", |r, is| is(&r.instance.architecture)),
        ("availability-zone", |r, is| is(&r.instance.zone)),
        ("availability-zone-id", |r, is| r.region().zone_id(&r.instance.zone).iter().for_each(|id| is(id))),
        ("block-device-mapping.attach-time", |r, is| r.mappings().for_each(|(_, a)| is(&a.attach_time.iso8601()))),
        ("block-device-mapping.delete-on-termination", |r, is| r.mappings().for_each(|(_, a)| is(bool_text(a.delete_on_termination)))),
        ("block-device-mapping.device-name", |r, is| r.mappings().for_each(|(_, a)| is(&a.device_name))),
        ("block-device-mapping.status", |r, is| r.mappings().for_each(|_| is("attached"))),
        ("block-device-mapping.volume-id", |r, is| r.mappings().for_each(|(v, _)| is(v.id.as_str()))),
        ("boot-mode", none),
        ("capacity-reservation-id", none),
        ("capacity-reservation-specification.capacity-reservation-preference", |_, is| is("open")),
        ("capacity-reservation-specification.capacity-reservation-target.capacity-reservation-id", none),
        ("capacity-reservation-specification.capacity-reservation-target.capacity-reservation-resource-group-arn", none),
        ("client-token", |r, is| is(r.instance.client_token.as_deref().unwrap_or_default())),
        ("current-instance-boot-mode", |_, is| is(super::show::BOOT_MODE)),
        ("dns-name", |r, is| is(&r.public_dns())),
        ("ebs-optimized", |r, is| is(bool_text(r.instance.ebs_optimized))),
        ("ena-support", |_, is| is("true")),
        ("enclave-options.enabled", |_, is| is("false")),
        ("group-id", |r, is| r.groups().for_each(|g| is(g.id.as_str()))),
        ("group-name", |r, is| r.groups().for_each(|g| is(&g.name))),
        ("hibernation-options.configured", |_, is| is("false")),
        ("host-id", none),
        ("hypervisor", |_, is| is("xen")),
        ("iam-instance-profile.arn", none),
        ("iam-instance-profile.id", none),
        ("iam-instance-profile.name", none),
        ("image-id", |r, is| is(r.instance.image_id.as_str())),
        ("instance-id", |r, is| is(r.instance.id.as_str())),
        ("instance-lifecycle", none),
        ("instance-state-code", |r, is| is(&r.instance.state.code().to_string())),
        ("instance-state-name", |r, is| is(r.instance.state.name())),
        ("instance-type", |r, is| is(&r.instance.instance_type)),
        ("instance.group-id", |r, is| r.groups().for_each(|g| is(g.id.as_str()))),
        ("instance.group-name", |r, is| r.groups().for_each(|g| is(&g.name))),
        ("ip-address", |r, is| r.public_ip().iter().for_each(|ip| is(&ip.to_string()))),
        ("ipv6-address", none),
        ("kernel-id", none),
        ("key-name", |r, is| r.instance.key_name.iter().for_each(|k| is(k))),
        ("launch-index", |r, is| is(&r.instance.launch_index.to_string())),
        ("launch-time", |r, is| is(&r.instance.launch_time.iso8601())),
        ("maintenance-options.auto-recovery", |_, is| is("default")),
        ("metadata-options.http-endpoint", |r, is| is(enabled(r.instance.metadata_options.enabled))),
        ("metadata-options.http-protocol-ipv4", |_, is| is("enabled")),
        ("metadata-options.http-protocol-ipv6", |r, is| is(enabled(r.instance.metadata_options.ipv6))),
        ("metadata-options.http-put-response-hop-limit", |r, is| is(&r.instance.metadata_options.hop_limit.to_string())),
        ("metadata-options.http-tokens", |r, is| is(if r.instance.metadata_options.tokens_required { "required" } else { "optional" })),
        ("metadata-options.instance-metadata-tags", |r, is| is(enabled(r.instance.metadata_options.tags))),
        ("metadata-options.state", |_, is| is("applied")),
        ("monitoring-state", |r, is| is(enabled(r.instance.monitoring))),
        ("network-interface.addresses.association.allocation-id", none),
        ("network-interface.addresses.association.association-id", none),
        ("network-interface.addresses.association.carrier-ip", none),
        ("network-interface.addresses.association.customer-owned-ip", none),
        ("network-interface.addresses.association.ip-owner-id", |r, is| r.associated().for_each(|_| is("amazon"))),
        ("network-interface.addresses.association.public-dns-name", public_dns_of_interfaces),
        ("network-interface.addresses.association.public-ip", public_ip_of_interfaces),
        ("network-interface.addresses.primary", |r, is| r.interfaces().for_each(|_| is("true"))),
        ("network-interface.addresses.private-dns-name", private_dns_of_interfaces),
        ("network-interface.addresses.private-ip-address", private_ip_of_interfaces),
        ("network-interface.association.allocation-id", none),
        ("network-interface.association.association-id", none),
        ("network-interface.association.carrier-ip", none),
        ("network-interface.association.customer-owned-ip", none),
        ("network-interface.association.ip-owner-id", |r, is| r.associated().for_each(|_| is("amazon"))),
        ("network-interface.association.public-dns-name", public_dns_of_interfaces),
        ("network-interface.association.public-ip", public_ip_of_interfaces),
        ("network-interface.attachment.attach-time", |r, is| attachments(r, &mut |n| is(&n.attach_time.iso8601()))),
        ("network-interface.attachment.attachment-id", |r, is| attachments(r, &mut |n| is(n.id.as_str()))),
        ("network-interface.attachment.delete-on-termination", |r, is| {
            attachments(r, &mut |n| is(bool_text(n.delete_on_termination)));
        }),
        ("network-interface.attachment.device-index", |r, is| attachments(r, &mut |n| is(&n.device_index.to_string()))),
        ("network-interface.attachment.instance-id", |r, is| attachments(r, &mut |n| is(n.instance_id.as_str()))),
        ("network-interface.attachment.instance-owner-id", |r, is| attachments(r, &mut |_| is(r.owner()))),
        ("network-interface.attachment.network-card-index", |r, is| attachments(r, &mut |_| is("0"))),
        ("network-interface.attachment.status", |r, is| attachments(r, &mut |_| is("attached"))),
        ("network-interface.availability-zone", |r, is| r.interfaces().for_each(|n| is(&n.zone))),
        ("network-interface.deny-all-igw-traffic", |r, is| r.interfaces().for_each(|_| is("false"))),
        ("network-interface.description", |r, is| r.interfaces().for_each(|n| is(&n.description))),
        ("network-interface.group-id", |r, is| group_ids(r, is)),
        ("network-interface.group-name", |r, is| r.interfaces().for_each(|n| r.groups_of(n).for_each(|g| is(&g.name)))),
        ("network-interface.ipv4-prefixes.ipv4-prefix", none),
        ("network-interface.ipv6-address", none),
        ("network-interface.ipv6-addresses.ipv6-address", none),
        ("network-interface.ipv6-addresses.is-primary-ipv6", none),
        ("network-interface.ipv6-native", |r, is| r.interfaces().for_each(|_| is("false"))),
        ("network-interface.ipv6-prefixes.ipv6-prefix", none),
        ("network-interface.mac-address", |r, is| r.interfaces().for_each(|n| is(&n.mac.to_string()))),
        ("network-interface.network-interface-id", |r, is| r.interfaces().for_each(|n| is(n.id.as_str()))),
        ("network-interface.operator.managed", |r, is| r.interfaces().for_each(|_| is("false"))),
        ("network-interface.operator.principal", none),
        ("network-interface.outpost-arn", none),
        ("network-interface.owner-id", |r, is| r.interfaces().for_each(|_| is(r.owner()))),
        ("network-interface.private-dns-name", private_dns_of_interfaces),
        ("network-interface.private-ip-address", private_ip_of_interfaces),
        ("network-interface.public-dns-name", public_dns_of_interfaces),
        ("network-interface.requester-id", none),
        ("network-interface.requester-managed", |r, is| r.interfaces().for_each(|_| is("false"))),
        ("network-interface.source-dest-check", |r, is| r.interfaces().for_each(|n| is(bool_text(n.source_dest_check)))),
        ("network-interface.status", |r, is| r.interfaces().for_each(|_| is("in-use"))),
        ("network-interface.subnet-id", |r, is| r.interfaces().for_each(|n| is(n.subnet_id.as_str()))),
        ("network-interface.tag-key", |r, is| r.interfaces().for_each(|n| n.tags.0.keys().for_each(|k| is(k)))),
        ("network-interface.tag-value", |r, is| r.interfaces().for_each(|n| n.tags.0.values().for_each(|v| is(v)))),
        ("network-interface.vpc-id", |r, is| r.interfaces().for_each(|n| is(n.vpc_id.as_str()))),
        ("network-performance-options.bandwidth-weighting", |_, is| is("default")),
        ("operator.managed", |_, is| is("false")),
        ("operator.principal", none),
        ("outpost-arn", none),
        ("owner-id", |r, is| is(r.owner())),
        ("placement-group-name", none),
        ("placement-partition-number", none),
        ("platform", none),
        ("platform-details", |_, is| is(super::show::PLATFORM_DETAILS)),
        ("private-dns-name", |r, is| is(&r.private_dns())),
        ("private-dns-name-options.enable-resource-name-dns-a-record", |_, is| is("false")),
        ("private-dns-name-options.enable-resource-name-dns-aaaa-record", |_, is| is("false")),
        ("private-dns-name-options.hostname-type", |_, is| is("ip-name")),
        ("private-ip-address", |r, is| r.private_ip().iter().for_each(|ip| is(&ip.to_string()))),
        ("product-code", none),
        ("product-code.type", none),
        ("ramdisk-id", none),
        ("reason", |r, is| is(&r.instance.state_transition_reason)),
        ("requester-id", none),
        ("reservation-id", |r, is| is(r.instance.reservation_id.as_str())),
        ("root-device-name", |r, is| is(&r.instance.root_device_name)),
        ("root-device-type", |_, is| is("ebs")),
        ("source-dest-check", |r, is| r.interfaces().take(1).for_each(|n| is(bool_text(n.source_dest_check)))),
        ("spot-instance-request-id", none),
        ("state-reason-code", |r, is| r.instance.reason().iter().for_each(|s| is(&s.code))),
        ("state-reason-message", |r, is| r.instance.reason().iter().for_each(|s| is(&s.message))),
        ("subnet-id", |r, is| r.place().iter().for_each(|(_, subnet)| is(subnet.as_str()))),
        ("tenancy", |_, is| is("default")),
        ("tpm-support", none),
        ("usage-operation", |_, is| is(super::show::USAGE_OPERATION)),
        ("usage-operation-update-time", |r, is| r.first_launch().iter().for_each(|t| is(&t.iso8601()))),
        ("virtualization-type", |_, is| is("hvm")),
        ("vpc-id", |r, is| r.place().iter().for_each(|(vpc, _)| is(vpc.as_str()))),
    ]
}

fn none(_: &Row<'_>, _: &mut dyn FnMut(&str)) {}

fn attachments(row: &Row<'_>, f: &mut dyn FnMut(&model::network_interface::Attachment)) {
    row.interfaces().filter_map(|n| n.attachment.as_ref()).for_each(f);
}

fn group_ids(row: &Row<'_>, is: &mut dyn FnMut(&str)) {
    row.interfaces().for_each(|n| n.groups.iter().for_each(|g| is(g.as_str())));
}

fn public_ip_of_interfaces(row: &Row<'_>, is: &mut dyn FnMut(&str)) {
    row.associated().for_each(|ip| is(&ip.to_string()));
}

fn public_dns_of_interfaces(row: &Row<'_>, is: &mut dyn FnMut(&str)) {
    row.associated().for_each(|ip| is(&row.region().public_name(ip)));
}

fn private_ip_of_interfaces(row: &Row<'_>, is: &mut dyn FnMut(&str)) {
    row.interfaces().for_each(|n: &NetworkInterface| is(&n.private_ip.to_string()));
}

fn private_dns_of_interfaces(row: &Row<'_>, is: &mut dyn FnMut(&str)) {
    row.interfaces().for_each(|n| is(&row.region().private_name(n.private_ip)));
}
