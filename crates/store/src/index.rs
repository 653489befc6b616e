//! What is derived from documents so that no call has to look at all of them.

use model::ids::{ImageId, NetworkInterfaceId, VpcId};
use model::image::Image;
use model::instance::Instance;
use model::network_interface::NetworkInterface;
use model::scope::{Region, Scope};
use rpds::RedBlackTreeMapSync;
use std::net::Ipv4Addr;

/// All indexes. A copy costs a few pointers.
#[derive(Clone)]
pub struct Indexes {
    /// How many instances of each type take room on a host.
    pub(crate) capacity: RedBlackTreeMapSync<String, u64>,
    /// Whose each public address is.
    pub(crate) public_ips: RedBlackTreeMapSync<Ipv4Addr, NetworkInterfaceId>,
    /// Whose each private address is.
    pub(crate) private_ips: RedBlackTreeMapSync<VpcId, RedBlackTreeMapSync<Ipv4Addr, NetworkInterfaceId>>,
    /// The images that every account may launch.
    pub(crate) public_images: RedBlackTreeMapSync<Region, RedBlackTreeMapSync<ImageId, Scope>>,
}

impl Default for Indexes {
    fn default() -> Self {
        Self {
            capacity: RedBlackTreeMapSync::new_sync(),
            public_ips: RedBlackTreeMapSync::new_sync(),
            private_ips: RedBlackTreeMapSync::new_sync(),
            public_images: RedBlackTreeMapSync::new_sync(),
        }
    }
}

/// The index function of a noun that no index follows from.
pub(crate) fn none<N>(_: &mut Indexes, _: &Scope, _: Option<&N>, _: Option<&N>) {}

pub(crate) fn instance(indexes: &mut Indexes, _: &Scope, old: Option<&Instance>, new: Option<&Instance>) {
    fn held(instance: Option<&Instance>) -> Option<&String> {
        instance.filter(|i| i.state.holds_capacity()).map(|i| &i.instance_type)
    }
    let (old, new) = (held(old), held(new));
    if old == new {
        return;
    }
    if let Some(kind) = old {
        match indexes.capacity.get(kind) {
            Some(1) => _ = indexes.capacity.remove_mut(kind),
            Some(n) => indexes.capacity.insert_mut(kind.clone(), n - 1),
            None => unreachable!("an instance of {kind} was counted when it came"),
        }
    }
    if let Some(kind) = new {
        let n = indexes.capacity.get(kind).copied().unwrap_or(0);
        indexes.capacity.insert_mut(kind.clone(), n + 1);
    }
}

/// # Panics
/// If the new value has an address that another interface has: the last line of defence against using one twice.
pub(crate) fn network_interface(indexes: &mut Indexes, _: &Scope, old: Option<&NetworkInterface>, new: Option<&NetworkInterface>) {
    if let Some(ip) = old.and_then(|o| o.public_ip) {
        indexes.public_ips.remove_mut(&ip);
    }
    if let Some(old) = old
        && let Some(ips) = indexes.private_ips.get_mut(&old.vpc_id)
    {
        ips.remove_mut(&old.private_ip);
        if ips.is_empty() {
            indexes.private_ips.remove_mut(&old.vpc_id);
        }
    }
    let Some(new) = new else { return };
    if let Some(ip) = new.public_ip {
        let holder = indexes.public_ips.get(&ip);
        assert!(holder.is_none(), "public address {ip} of {} is {holder:?}'s", new.id);
        indexes.public_ips.insert_mut(ip, new.id.clone());
    }
    match indexes.private_ips.get_mut(&new.vpc_id) {
        Some(ips) => {
            let holder = ips.get(&new.private_ip);
            assert!(holder.is_none(), "private address {} of {} is {holder:?}'s", new.private_ip, new.id);
            ips.insert_mut(new.private_ip, new.id.clone());
        }
        None => {
            let ips = RedBlackTreeMapSync::new_sync().insert(new.private_ip, new.id.clone());
            indexes.private_ips.insert_mut(new.vpc_id.clone(), ips);
        }
    }
}

pub(crate) fn image(indexes: &mut Indexes, scope: &Scope, old: Option<&Image>, new: Option<&Image>) {
    if let Some(old) = old.filter(|o| o.public)
        && let Some(images) = indexes.public_images.get_mut(&scope.region)
    {
        images.remove_mut(&old.id);
    }
    let Some(new) = new.filter(|n| n.public) else { return };
    match indexes.public_images.get_mut(&scope.region) {
        Some(images) => images.insert_mut(new.id.clone(), scope.clone()),
        None => {
            let images = RedBlackTreeMapSync::new_sync().insert(new.id.clone(), scope.clone());
            indexes.public_images.insert_mut(scope.region.clone(), images);
        }
    }
}
