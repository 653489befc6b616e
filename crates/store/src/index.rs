//! What is derived from documents so that no call has to look at all of them.

use model::ids::{ImageId, NetworkInterfaceId, VpcId};
use model::image::Image;
use model::instance::Instance;
use model::network_interface::NetworkInterface;
use model::scope::{AccountId, Region, Scope};
use model::volume::Volume;
use rpds::RedBlackTreeMapSync;
use std::net::Ipv4Addr;

/// All indexes. A copy costs a few pointers.
#[derive(Clone)]
pub struct Indexes {
    /// How many instances of each type take room on a host.
    pub(crate) capacity: RedBlackTreeMapSync<String, u64>,
    /// The sizes of all volumes together, in GiB.
    pub(crate) volumes_gib: u64,
    /// Whose each public address is.
    pub(crate) public_ips: RedBlackTreeMapSync<Ipv4Addr, NetworkInterfaceId>,
    /// Whose each private address is.
    pub(crate) private_ips: RedBlackTreeMapSync<VpcId, RedBlackTreeMapSync<Ipv4Addr, NetworkInterfaceId>>,
    /// The images that every account may launch, and their owners.
    pub(crate) public_images: RedBlackTreeMapSync<Region, RedBlackTreeMapSync<ImageId, Scope>>,
    /// The images that are shared with an account, and their owners.
    pub(crate) shared_images: RedBlackTreeMapSync<Scope, RedBlackTreeMapSync<ImageId, Scope>>,
}

impl Default for Indexes {
    fn default() -> Self {
        Self {
            capacity: RedBlackTreeMapSync::new_sync(),
            volumes_gib: 0,
            public_ips: RedBlackTreeMapSync::new_sync(),
            private_ips: RedBlackTreeMapSync::new_sync(),
            public_images: RedBlackTreeMapSync::new_sync(),
            shared_images: RedBlackTreeMapSync::new_sync(),
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

pub(crate) fn volume(indexes: &mut Indexes, _: &Scope, old: Option<&Volume>, new: Option<&Volume>) {
    let size = |volume: Option<&Volume>| volume.map_or(0, |v| u64::from(v.size_gib));
    indexes.volumes_gib = (indexes.volumes_gib + size(new)).saturating_sub(size(old));
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
    let shared_with = |account: &AccountId| Scope { account: account.clone(), region: scope.region.clone() };
    if let Some(old) = old {
        if old.public {
            remove(&mut indexes.public_images, &scope.region, &old.id);
        }
        old.launch_permissions.iter().for_each(|account| remove(&mut indexes.shared_images, &shared_with(account), &old.id));
    }
    if let Some(new) = new {
        if new.public {
            insert(&mut indexes.public_images, &scope.region, &new.id, scope);
        }
        let with = new.launch_permissions.iter().map(shared_with);
        with.for_each(|account| insert(&mut indexes.shared_images, &account, &new.id, scope));
    }
}

type ImagesOf<K> = RedBlackTreeMapSync<K, RedBlackTreeMapSync<ImageId, Scope>>;

fn insert<K: Ord + Clone>(index: &mut ImagesOf<K>, key: &K, id: &ImageId, owner: &Scope) {
    match index.get_mut(key) {
        Some(images) => images.insert_mut(id.clone(), owner.clone()),
        None => index.insert_mut(key.clone(), RedBlackTreeMapSync::new_sync().insert(id.clone(), owner.clone())),
    }
}

fn remove<K: Ord + Clone>(index: &mut ImagesOf<K>, key: &K, id: &ImageId) {
    let Some(images) = index.get_mut(key) else { return };
    images.remove_mut(id);
    if images.is_empty() {
        index.remove_mut(key);
    }
}
