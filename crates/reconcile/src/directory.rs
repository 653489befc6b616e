//! What the services inside a VPC ask, answered from the newest snapshot.

use model::ids::VpcId;
use model::instance::Instance;
use model::metadata::{Guest, GuestInterface};
use model::network_interface::NetworkInterface;
use model::security_group::SecurityGroup;
use model::subnet::Subnet;
use model::volume::Volume;
use model::vpc::Vpc;
use node::directory::Directory;
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use store::{Store, View};

/// The directory of one store.
pub struct StoreDirectory {
    store: Store,
    known: Mutex<Known>,
}

/// The guests that were asked for at one revision: each is put together once.
#[derive(Default)]
struct Known {
    revision: u64,
    guests: HashMap<(VpcId, Ipv4Addr), Arc<Guest>>,
}

impl StoreDirectory {
    /// Answers from this store.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store, known: Mutex::default() }
    }
}

impl Directory for StoreDirectory {
    fn guest(&self, vpc: &VpcId, private_ip: Ipv4Addr) -> Option<Arc<Guest>> {
        let snapshot = self.store.snapshot();
        let (scope, interface) = snapshot.interface_at(vpc, private_ip)?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.revision != snapshot.revision() {
            *known = Known { revision: snapshot.revision(), guests: HashMap::new() };
        }
        let key = (vpc.clone(), private_ip);
        if let Some(guest) = known.guests.get(&key) {
            return Some(guest.clone());
        }
        let view = snapshot.of(scope);
        let instance = view.get::<Instance>(&interface.attachment.as_ref()?.instance_id)?;
        let guest = Arc::new(guest(view, instance)?);
        known.guests.insert(key, guest.clone());
        Some(guest)
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
        private_dns: scope.region.private_name(instance.private_ip),
        public_dns: public_ip.map(|ip| scope.region.public_name(ip)),
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
