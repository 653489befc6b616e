//! DescribeNetworkInterfaces.

use super::common::{Paging, filters, invalid_combination, tag_list};
use super::kind;
use super::shown::{bool_text, fixed, group_identifiers, none, number, operator, text, time};
use crate::action::{Call, Read, actions};
use model::filter::Field;
use model::network_interface::{Attachment, NetworkInterface};
use model::scope::Scope;
use store::View;
use wire::ApiError;
use wire::shapes::ec2 as shapes;

actions![read DescribeNetworkInterfaces,];

const PAGE_LEAST: i32 = 5;
const PAGE_MOST: i32 = 1000;
/// Who AWS says owns an address that isn't an Elastic IP.
const IP_OWNER: &str = "amazon";
const INTERFACE_TYPE: &str = "interface";
const ATTACHED: &str = "attached";

pub(super) struct DescribeNetworkInterfaces;

impl Read for DescribeNetworkInterfaces {
    const SERVICE: &'static str = "ec2";
    const NAME: &'static str = "DescribeNetworkInterfaces";
    type Input = shapes::DescribeNetworkInterfacesRequest;
    type Output = shapes::DescribeNetworkInterfacesResult;

    fn run(call: &Call, view: View<'_>, input: Self::Input) -> Result<Self::Output, ApiError> {
        let named = input.network_interface_ids.as_deref().unwrap_or_default();
        if !named.is_empty() && input.max_results.is_some() {
            return Err(invalid_combination("The parameter networkInterfaceIds cannot be used with the parameter maxResults"));
        }
        let paging = Paging::new(call, input.max_results, input.next_token.as_deref(), PAGE_LEAST, PAGE_MOST)?;
        let filters = filters(input.filters.as_ref(), fields(), true)?;
        let interfaces: Vec<&NetworkInterface> = match named {
            [] => view.list::<NetworkInterface>().map(|n| &**n).collect(),
            named => kind::INTERFACE.find_all(named, |id| view.get::<NetworkInterface>(id))?.into_iter().map(|n| &**n).collect(),
        };
        let mut rows: Vec<Row<'_>> = interfaces.into_iter().map(|interface| Row { view, interface }).collect();
        rows.retain(|row| filters.matches(row, &row.interface.tags));
        rows.sort_by(|a, b| a.interface.id.cmp(&b.interface.id));
        let (page, next_token) = paging.cut(rows, |r| r.interface.id.to_string());
        let network_interfaces = Some(page.iter().map(Row::show).collect());
        Ok(shapes::DescribeNetworkInterfacesResult { next_token, network_interfaces })
    }
}

struct Row<'a> {
    view: View<'a>,
    interface: &'a NetworkInterface,
}

fn fields<'a>() -> &'a [Field<Row<'a>>] {
    &[
        ("addresses.association.owner-id", |r, is| r.public(|_| is(IP_OWNER))),
        ("addresses.association.public-ip", |r, is| r.public(is)),
        ("addresses.primary", |_, is| is("true")),
        ("addresses.private-ip-address", |r, is| is(&r.interface.private_ip.to_string())),
        ("association.allocation-id", none),
        ("association.association-id", none),
        ("association.ip-owner-id", |r, is| r.public(|_| is(IP_OWNER))),
        ("association.public-dns-name", |r, is| r.public_name().iter().for_each(|n| is(n))),
        ("association.public-ip", |r, is| r.public(is)),
        ("attachment.attach-time", |r, is| r.attachment(|a| is(&a.attach_time.iso8601()))),
        ("attachment.attachment-id", |r, is| r.attachment(|a| is(a.id.as_str()))),
        ("attachment.delete-on-termination", |r, is| r.attachment(|a| is(bool_text(a.delete_on_termination)))),
        ("attachment.device-index", |r, is| r.attachment(|a| is(&a.device_index.to_string()))),
        ("attachment.instance-id", |r, is| r.attachment(|a| is(a.instance_id.as_str()))),
        ("attachment.instance-owner-id", |r, is| r.attachment(|_| is(r.scope().account.as_str()))),
        ("attachment.status", |r, is| r.attachment(|_| is(ATTACHED))),
        ("availability-zone", |r, is| is(&r.interface.zone)),
        ("availability-zone-id", |r, is| r.zone_id().iter().for_each(|id| is(id))),
        ("description", |r, is| is(&r.interface.description)),
        ("group-id", |r, is| r.interface.groups.iter().for_each(|g| is(g.as_str()))),
        ("group-name", |r, is| r.groups().iter().filter_map(|g| g.group_name.as_deref()).for_each(is)),
        ("interface-type", |_, is| is(INTERFACE_TYPE)),
        ("ipv6-addresses.ipv6-address", none),
        ("mac-address", |r, is| is(&r.interface.mac.to_string())),
        ("network-interface-id", |r, is| is(r.interface.id.as_str())),
        ("operator.managed", |_, is| is("false")),
        ("operator.principal", none),
        ("owner-id", |r, is| is(r.scope().account.as_str())),
        ("private-dns-name", |r, is| is(&r.private_name())),
        ("private-ip-address", |r, is| is(&r.interface.private_ip.to_string())),
        ("requester-id", none),
        ("requester-managed", |_, is| is("false")),
        ("source-dest-check", |r, is| is(bool_text(r.interface.source_dest_check))),
        ("status", |r, is| is(r.status())),
        ("subnet-id", |r, is| is(r.interface.subnet_id.as_str())),
        ("vpc-id", |r, is| is(r.interface.vpc_id.as_str())),
    ]
}

impl<'a> Row<'a> {
    fn scope(&self) -> &'a Scope {
        self.view.scope()
    }

    fn attachment(&self, then: impl FnMut(&Attachment)) {
        self.interface.attachment.iter().for_each(then);
    }

    fn public(&self, mut then: impl FnMut(&str)) {
        self.interface.public_ip.iter().for_each(|ip| then(&ip.to_string()));
    }

    fn public_name(&self) -> Option<String> {
        self.interface.public_ip.map(|ip| self.scope().region.public_name(ip))
    }

    fn private_name(&self) -> String {
        self.scope().region.private_name(self.interface.private_ip)
    }

    fn zone_id(&self) -> Option<String> {
        self.scope().region.zone_id(&self.interface.zone)
    }

    fn groups(&self) -> Vec<shapes::GroupIdentifier> {
        group_identifiers(self.view, &self.interface.groups)
    }

    fn status(&self) -> &'static str {
        if self.interface.attachment.is_some() { "in-use" } else { "available" }
    }

    fn association(&self) -> Option<shapes::NetworkInterfaceAssociation> {
        self.interface.public_ip.map(|ip| shapes::NetworkInterfaceAssociation {
            ip_owner_id: fixed(IP_OWNER),
            public_dns_name: self.public_name(),
            public_ip: text(&ip),
            ..Default::default()
        })
    }

    fn shown_attachment(&self) -> Option<shapes::NetworkInterfaceAttachment> {
        self.interface.attachment.as_ref().map(|a| shapes::NetworkInterfaceAttachment {
            attachment_id: text(&a.id),
            instance_id: text(&a.instance_id),
            instance_owner_id: text(&self.scope().account),
            attach_time: time(a.attach_time),
            delete_on_termination: Some(a.delete_on_termination),
            device_index: number(a.device_index),
            network_card_index: Some(0),
            status: fixed(ATTACHED),
            ..Default::default()
        })
    }

    fn show(&self) -> shapes::NetworkInterface {
        let interface = self.interface;
        shapes::NetworkInterface {
            network_interface_id: text(&interface.id),
            interface_type: fixed(INTERFACE_TYPE),
            status: fixed(self.status()),
            description: text(&interface.description),
            owner_id: text(&self.scope().account),
            requester_managed: Some(false),
            operator: operator(),
            vpc_id: text(&interface.vpc_id),
            subnet_id: text(&interface.subnet_id),
            availability_zone: text(&interface.zone),
            availability_zone_id: self.zone_id(),
            mac_address: text(&interface.mac),
            private_ip_address: text(&interface.private_ip),
            private_dns_name: Some(self.private_name()),
            private_ip_addresses: Some(vec![shapes::NetworkInterfacePrivateIpAddress {
                association: self.association(),
                primary: Some(true),
                private_dns_name: Some(self.private_name()),
                private_ip_address: text(&interface.private_ip),
            }]),
            ipv6_addresses: Some(vec![]),
            association: self.association(),
            attachment: self.shown_attachment(),
            groups: Some(self.groups()),
            source_dest_check: Some(interface.source_dest_check),
            tag_set: tag_list(&interface.tags),
            ..Default::default()
        }
    }
}
