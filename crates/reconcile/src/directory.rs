//! What the services inside a VPC ask, answered from the newest snapshot.

use model::ids::VpcId;
use model::instance::Instance;
use model::metadata::{Guest, GuestInterface};
use model::names;
use model::network_interface::NetworkInterface;
use model::security_group::SecurityGroup;
use model::subnet::Subnet;
use model::volume::Volume;
use model::vpc::Vpc;
use node::directory::Directory;
use std::net::Ipv4Addr;
use std::sync::Arc;
use store::{Store, View};

/// The directory of one store.
pub struct StoreDirectory(pub Store);

impl Directory for StoreDirectory {
    fn guest(&self, vpc: &VpcId, private_ip: Ipv4Addr) -> Option<Arc<Guest>> {
        let snapshot = self.0.snapshot();
        let (scope, interface) = snapshot.interface_at(vpc, private_ip)?;
        let view = snapshot.of(scope);
        let instance = view.get::<Instance>(&interface.attachment.as_ref()?.instance_id)?;
        guest(view, instance).map(Arc::new)
    }
}

fn guest(view: View<'_>, instance: &Instance) -> Option<Guest> {
    let scope = view.scope();
    let interfaces: Vec<GuestInterface> =
        instance.interfaces.iter().filter_map(|id| interface(view, view.get::<NetworkInterface>(id)?)).collect();
    let public_ip = interfaces.first().and_then(|i| i.public_ip);
    let devices =
        instance.volumes.iter().skip(1).filter_map(|id| view.get::<Volume>(id)?.attachment.as_ref().map(|a| a.device_name.clone()));
    Some(Guest {
        account: scope.account.clone(),
        region: scope.region.clone(),
        zone: instance.zone.clone(),
        instance_id: instance.id.clone(),
        instance_type: instance.instance_type.clone(),
        image_id: instance.image_id.clone(),
        architecture: instance.architecture.clone(),
        reservation_id: instance.reservation_id.clone(),
        launch_index: instance.launch_index,
        launch_time: instance.launch_time,
        key: instance.key_name.clone().zip(instance.public_key.clone()),
        user_data: instance.user_data.clone(),
        root_device_name: instance.root_device_name.clone(),
        block_devices: devices
            .enumerate()
            .map(|(n, name)| (format!("ebs{}", n + 1), name.trim_start_matches("/dev/").to_owned()))
            .collect(),
        private_dns: names::private_dns(&scope.region, instance.private_ip),
        public_dns: public_ip.map(|ip| names::public_dns(&scope.region, ip)),
        interfaces,
        tags: instance.tags.clone(),
        options: instance.metadata_options.clone(),
    })
}

fn interface(view: View<'_>, interface: &NetworkInterface) -> Option<GuestInterface> {
    let groups = interface.groups.iter().filter_map(|id| Some((id.clone(), view.get::<SecurityGroup>(id)?.name.clone())));
    Some(GuestInterface {
        id: interface.id.clone(),
        device_index: interface.attachment.as_ref()?.device_index,
        mac: interface.mac,
        private_ip: interface.private_ip,
        public_ip: interface.public_ip,
        subnet_id: interface.subnet_id.clone(),
        subnet_cidr: view.get::<Subnet>(&interface.subnet_id)?.cidr,
        vpc_id: interface.vpc_id.clone(),
        vpc_cidr: view.get::<Vpc>(&interface.vpc_id)?.cidr,
        groups: groups.collect(),
    })
}
