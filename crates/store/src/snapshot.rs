//! Reading: the state as of one commit, and one tenant's part of it.

use crate::Mode;
use crate::table::sealed::Scoped as _;
use crate::table::{Noun, Tables, Unique};
use model::account::{AccessKey, Account};
use model::ids::{ImageId, NetworkInterfaceId, VpcId};
use model::image::{DeregisteredImage, Image, ImageTags};
use model::instance::Instance;
use model::key_pair::KeyPair;
use model::network_interface::NetworkInterface;
use model::scope::{AccountId, Region, Scope};
use model::tag::Tags;
use model::volume::{Source, Volume};
use rpds::RedBlackTreeMapSync;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::ops::{Bound, RangeInclusive};
use std::sync::Arc;

/// The whole state as of one commit. It never changes; the next commit makes another one.
pub struct Snapshot {
    pub(crate) tables: Tables,
    pub(crate) revision: u64,
    pub(crate) mode: Mode,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").field("revision", &self.revision).field("mode", &self.mode).finish_non_exhaustive()
    }
}

impl Snapshot {
    /// Counts the commits.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Whether the cloud is real or simulated.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// One tenant's part.
    #[must_use]
    pub fn of<'a>(&'a self, scope: &'a Scope) -> View<'a> {
        View { tables: &self.tables, scope }
    }

    /// Everything of a noun, ordered by scope and id.
    pub fn all<N: Noun>(&self) -> impl Iterator<Item = (&Scope, &Arc<N>)> {
        N::table(&self.tables).all()
    }

    /// A document, whoever owns it.
    pub fn find<N: Unique>(&self, id: &N::Id) -> Option<(&Scope, &Arc<N>)> {
        N::table(&self.tables).find(id)
    }

    /// The image of an instance, whoever owns it, also after it was deregistered.
    #[must_use]
    pub fn launched_image(&self, id: &ImageId) -> Option<&Image> {
        let deregistered = || self.find::<DeregisteredImage>(id).map(|(_, gone)| &gone.image);
        self.find::<Image>(id).map(|(_, image)| &**image).or_else(deregistered)
    }

    /// The ids of all images' files that are needed: of images that can be launched, of deregistered images whose instances may start
    /// again, and of those that a volume stands on. One may come several times.
    pub fn image_contents(&self) -> impl Iterator<Item = &ImageId> {
        let registered = self.all::<Image>().map(|(_, image)| image.content());
        let deregistered = self.all::<DeregisteredImage>().map(|(_, gone)| gone.image.content());
        let below = self.all::<Volume>().filter_map(|(_, volume)| match &volume.source {
            Source::Blank => None,
            Source::Image(id) => Some(id),
        });
        registered.chain(deregistered).chain(below)
    }

    /// An access key, by its id.
    #[must_use]
    pub fn access_key(&self, id: &str) -> Option<&Arc<AccessKey>> {
        self.tables.access_keys.get(id)
    }

    /// An account.
    #[must_use]
    pub fn account(&self, id: &AccountId) -> Option<&Arc<Account>> {
        self.tables.accounts.get(id)
    }

    /// The accounts, ordered by id.
    pub fn accounts(&self) -> impl Iterator<Item = &Arc<Account>> {
        self.tables.accounts.values()
    }

    /// The access keys, ordered by id.
    pub fn access_keys(&self) -> impl Iterator<Item = &Arc<AccessKey>> {
        self.tables.access_keys.values()
    }

    /// A setting of the whole cloud.
    #[must_use]
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.tables.settings.get(name).map(|s| s.value.as_str())
    }

    /// The public addresses in use.
    #[must_use]
    pub fn used_public_ips(&self) -> UsedIps<'_> {
        UsedIps::of(&self.tables.indexes.public_ips)
    }

    /// For each type, how many instances of it take room on a host.
    pub fn capacity_used(&self) -> impl Iterator<Item = (&str, u64)> {
        self.tables.indexes.capacity.iter().map(|(kind, n)| (kind.as_str(), *n))
    }

    /// The interface that has a private address in a VPC, and whose it is.
    #[must_use]
    pub fn interface_at(&self, vpc: &VpcId, private_ip: Ipv4Addr) -> Option<(&Scope, &Arc<NetworkInterface>)> {
        self.find(self.tables.indexes.private_ips.get(vpc)?.get(&private_ip)?)
    }
}

/// What a tenant has in a region. Nothing of another tenant can be named through it, except images that the tenant may launch.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub(crate) tables: &'a Tables,
    pub(crate) scope: &'a Scope,
}

impl<'a> View<'a> {
    /// Whose, and where.
    #[must_use]
    pub fn scope(&self) -> &'a Scope {
        self.scope
    }

    /// A document of this tenant.
    #[must_use]
    pub fn get<N: Noun>(&self, id: &N::Id) -> Option<&'a Arc<N>> {
        N::table(self.tables).get(self.scope, id)
    }

    /// All documents of a noun, ordered by id.
    pub fn list<N: Noun>(&self) -> impl DoubleEndedIterator<Item = &'a Arc<N>> + use<'a, N> {
        N::table(self.tables).of(self.scope).into_iter().flat_map(RedBlackTreeMapSync::values)
    }

    /// The documents of a noun whose ids come after `after`: the next page.
    pub fn list_after<N: Noun>(&self, after: &N::Id) -> impl Iterator<Item = &'a Arc<N>> + use<'a, N> {
        let after = (Bound::Excluded(after.clone()), Bound::Unbounded);
        N::table(self.tables).of(self.scope).into_iter().flat_map(move |documents| documents.range(after.clone())).map(|(_, d)| d)
    }

    /// How many documents of a noun there are.
    #[must_use]
    pub fn count<N: Noun>(&self) -> usize {
        N::table(self.tables).of(self.scope).map_or(0, RedBlackTreeMapSync::size)
    }

    /// A key pair, by its name.
    #[must_use]
    pub fn key_pair_by_name(&self, name: &str) -> Option<&'a Arc<KeyPair>> {
        self.list::<KeyPair>().find(|k| k.name == name)
    }

    /// An image of this region that the tenant may launch: its own, one that is shared with it, or a public one.
    #[must_use]
    pub fn image(&self, id: &ImageId) -> Option<&'a Arc<Image>> {
        self.image_in(&self.scope.region, id)
    }

    /// The same in any region.
    #[must_use]
    pub fn image_in(&self, region: &Region, id: &ImageId) -> Option<&'a Arc<Image>> {
        let (owner, image) = Image::table(self.tables).find(id)?;
        (owner.region == *region && image.is_visible_to(&self.scope.account)).then_some(image)
    }

    /// All images of this region that the tenant may launch, ordered by id.
    pub fn images(&self) -> impl Iterator<Item = &'a Arc<Image>> + use<'a> {
        let indexes = &self.tables.indexes;
        let others = [indexes.public_images.get(&self.scope.region), indexes.shared_images.get(self.scope)];
        let others = others.into_iter().flatten().flatten().filter_map(|(id, owner)| Image::table(self.tables).get(owner, id));
        let all: BTreeMap<&ImageId, &Arc<Image>> = self.list::<Image>().chain(others).map(|image| (&image.id, image)).collect();
        all.into_values()
    }

    /// Whether an image was deregistered, by whomever, and the tenant still has an instance of it.
    #[must_use]
    pub fn has_instance_of_deregistered(&self, id: &ImageId) -> bool {
        DeregisteredImage::table(self.tables).find(id).is_some() && self.list::<Instance>().any(|i| i.image_id == *id)
    }

    /// The tags of an image that this tenant sees: those that it gave the image itself.
    #[must_use]
    pub fn image_tags(&self, image: &'a Image) -> Option<&'a Tags> {
        if image.owner == self.scope.account {
            return Some(&image.tags);
        }
        self.get::<ImageTags>(&image.id).map(|own| &own.tags)
    }

    /// The private addresses in use in a VPC of this tenant.
    #[must_use]
    pub fn used_private_ips(&self, vpc: &VpcId) -> UsedIps<'a> {
        let own = self.get::<model::vpc::Vpc>(vpc).is_some();
        UsedIps { ips: self.tables.indexes.private_ips.get(vpc).filter(|_| own) }
    }
}

/// A set of addresses in use.
#[derive(Clone, Copy)]
pub struct UsedIps<'a> {
    ips: Option<&'a RedBlackTreeMapSync<Ipv4Addr, NetworkInterfaceId>>,
}

impl<'a> UsedIps<'a> {
    pub(crate) fn of(ips: &'a RedBlackTreeMapSync<Ipv4Addr, NetworkInterfaceId>) -> Self {
        Self { ips: Some(ips) }
    }

    /// Whether the address is in use.
    #[must_use]
    pub fn contains(&self, ip: Ipv4Addr) -> bool {
        self.ips.is_some_and(|ips| ips.contains_key(&ip))
    }

    /// How many are in use.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ips.map_or(0, RedBlackTreeMapSync::size)
    }

    /// Whether none is in use.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = Ipv4Addr> + use<'a> {
        self.ips.into_iter().flat_map(RedBlackTreeMapSync::keys).copied()
    }

    /// Those of a range, in order.
    pub fn range(&self, range: RangeInclusive<Ipv4Addr>) -> impl Iterator<Item = Ipv4Addr> + use<'a> {
        self.ips.into_iter().flat_map(move |ips| ips.range(range.clone())).map(|(ip, _)| *ip)
    }
}
