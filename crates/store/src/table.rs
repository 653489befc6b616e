//! The documents in memory: persistent maps, so that a copy of the whole state costs a few pointers.

use crate::index::{self, Indexes};
use crate::setting::Setting;
use crate::token::{IdempotencyToken, TokenId};
use model::account::{AccessKey, Account};
use model::ids::{ImageId, InstanceId, KeyPairId, NetworkInterfaceId, SecurityGroupId, SubnetId, VolumeId, VpcId};
use model::image::{DeregisteredImage, Image, ImageTags};
use model::instance::Instance;
use model::key_pair::KeyPair;
use model::network_interface::NetworkInterface;
use model::scope::{AccountId, Scope};
use model::security_group::SecurityGroup;
use model::subnet::Subnet;
use model::volume::Volume;
use model::vpc::Vpc;
use rpds::{HashTrieMapSync, RedBlackTreeMapSync};
use serde::{Serialize, de::DeserializeOwned};
use std::fmt::{Debug, Display};
use std::hash::Hash;
use std::sync::Arc;

/// What every kind of document is.
pub trait Document: Serialize + DeserializeOwned + Clone + PartialEq + Send + Sync + 'static {
    /// The kind's name in the database; never to be changed.
    const KIND: &'static str;
    /// What a document is found by. Its text is its key in the database.
    type Id: Ord + Hash + Clone + Debug + Display + Send + Sync + 'static;
    /// The document's id.
    fn id(&self) -> &Self::Id;
}

/// A kind of document that a tenant owns, in a region.
pub trait Noun: Document + sealed::Scoped {}

/// A noun whose ids are unique in the whole cloud, so that a document can be found by its id alone.
pub trait Unique: Noun {}

pub(crate) mod sealed {
    use super::{Document, Indexes, Table, Tables};
    use model::scope::Scope;

    /// Where a noun's documents are, and which indexes follow from them. Nouns are a closed list.
    pub trait Scoped: Document {
        /// The noun's table.
        fn table(tables: &Tables) -> &Table<Self>;
        /// The noun's table.
        fn table_mut(tables: &mut Tables) -> &mut Table<Self>;
        /// Brings the indexes from the document's old value to the new one.
        fn index(indexes: &mut Indexes, scope: &Scope, old: Option<&Self>, new: Option<&Self>);
    }
}

/// One noun's documents, by scope and id.
#[derive(Clone)]
pub struct Table<N: Document> {
    scopes: RedBlackTreeMapSync<Scope, RedBlackTreeMapSync<N::Id, Arc<N>>>,
    /// Of a [`Unique`] noun: whose each id is. Never iterated, since its order is random.
    owners: Option<HashTrieMapSync<N::Id, Scope>>,
}

impl<N: Document> Table<N> {
    fn of_unique() -> Self {
        Self { scopes: RedBlackTreeMapSync::new_sync(), owners: Some(HashTrieMapSync::new_sync()) }
    }

    fn of_scoped() -> Self {
        Self { scopes: RedBlackTreeMapSync::new_sync(), owners: None }
    }

    pub(crate) fn get(&self, scope: &Scope, id: &N::Id) -> Option<&Arc<N>> {
        self.scopes.get(scope)?.get(id)
    }

    pub(crate) fn find(&self, id: &N::Id) -> Option<(&Scope, &Arc<N>)> {
        let scope = self.owners.as_ref()?.get(id)?;
        Some((scope, self.get(scope, id)?))
    }

    pub(crate) fn of(&self, scope: &Scope) -> Option<&RedBlackTreeMapSync<N::Id, Arc<N>>> {
        self.scopes.get(scope)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (&Scope, &Arc<N>)> {
        self.scopes.iter().flat_map(|(scope, documents)| documents.values().map(move |d| (scope, d)))
    }

    /// # Panics
    /// If another scope owns the id of a unique noun: ids are drawn from 68 bits, so this is a mistake.
    fn put(&mut self, scope: &Scope, document: Arc<N>) {
        let id = document.id().clone();
        if let Some(owners) = &mut self.owners {
            match owners.get(&id) {
                Some(owner) => assert!(owner == scope, "{} {id} belongs to {owner:?}, not to {scope:?}", N::KIND),
                None => owners.insert_mut(id.clone(), scope.clone()),
            }
        }
        match self.scopes.get_mut(scope) {
            Some(documents) => documents.insert_mut(id, document),
            None => self.scopes.insert_mut(scope.clone(), RedBlackTreeMapSync::new_sync().insert(id, document)),
        }
    }

    fn remove(&mut self, scope: &Scope, id: &N::Id) {
        let Some(documents) = self.scopes.get_mut(scope) else { return };
        if !documents.remove_mut(id) {
            return;
        }
        if documents.is_empty() {
            self.scopes.remove_mut(scope);
        }
        if let Some(owners) = &mut self.owners {
            owners.remove_mut(id);
        }
    }
}

macro_rules! nouns {
    (
        unique { $($field:ident: $noun:ty = $kind:literal, $id:ty, $index:path;)* }
        scoped { $($field2:ident: $noun2:ty = $kind2:literal, $id2:ty, $index2:path;)* }
        cloud { $($field3:ident: $noun3:ty = $kind3:literal, $id3:ty, $key3:ident;)* }
    ) => {
        /// Every document, and what is derived from them.
        #[derive(Clone)]
        pub struct Tables {
            $($field: Table<$noun>,)*
            $($field2: Table<$noun2>,)*
            $(pub(crate) $field3: RedBlackTreeMapSync<$id3, Arc<$noun3>>,)*
            pub(crate) indexes: Indexes,
        }

        impl Default for Tables {
            fn default() -> Self {
                Self {
                    $($field: Table::of_unique(),)*
                    $($field2: Table::of_scoped(),)*
                    $($field3: RedBlackTreeMapSync::new_sync(),)*
                    indexes: Indexes::default(),
                }
            }
        }

        impl Tables {
            /// Takes in a document of the database. `scope` is `None` for a document of the whole cloud.
            pub(crate) fn load(&mut self, kind: &str, scope: Option<&Scope>, body: &str) -> Result<(), String> {
                match (kind, scope) {
                    $(($kind, Some(scope)) => self.put(scope, Arc::new(read::<$noun>(body)?)),)*
                    $(($kind2, Some(scope)) => self.put(scope, Arc::new(read::<$noun2>(body)?)),)*
                    $(($kind3, None) => {
                        let document = Arc::new(read::<$noun3>(body)?);
                        self.$field3.insert_mut(document.id().clone(), document);
                    })*
                    (_, _) => return Err("of an unknown kind".into()),
                }
                Ok(())
            }
        }

        impl crate::tx::Working {
            /// Removes everything that the scopes named by `goes` have.
            pub(crate) fn clear_all(&mut self, goes: &dyn Fn(&Scope) -> bool) {
                $(self.clear::<$noun>(goes);)*
                $(self.clear::<$noun2>(goes);)*
            }
        }

        $(impl Document for $noun { const KIND: &'static str = $kind; type Id = $id; fn id(&self) -> &$id { &self.id } }
          nouns!(@scoped $field, $noun, $index);
          impl Unique for $noun {})*
        $(impl Document for $noun2 { const KIND: &'static str = $kind2; type Id = $id2; fn id(&self) -> &$id2 { &self.id } }
          nouns!(@scoped $field2, $noun2, $index2);)*
        $(impl Document for $noun3 { const KIND: &'static str = $kind3; type Id = $id3; fn id(&self) -> &$id3 { &self.$key3 } })*
    };
    (@scoped $field:ident, $noun:ty, $index:path) => {
        impl sealed::Scoped for $noun {
            fn table(tables: &Tables) -> &Table<Self> {
                &tables.$field
            }
            fn table_mut(tables: &mut Tables) -> &mut Table<Self> {
                &mut tables.$field
            }
            fn index(indexes: &mut Indexes, scope: &Scope, old: Option<&Self>, new: Option<&Self>) {
                $index(indexes, scope, old, new);
            }
        }
        impl Noun for $noun {}
    };
}

nouns! {
    unique {
        instances: Instance = "instance", InstanceId, index::instance;
        volumes: Volume = "volume", VolumeId, index::volume;
        images: Image = "image", ImageId, index::image;
        deregistered_images: DeregisteredImage = "deregistered_image", ImageId, index::none;
        key_pairs: KeyPair = "key_pair", KeyPairId, index::none;
        vpcs: Vpc = "vpc", VpcId, index::none;
        subnets: Subnet = "subnet", SubnetId, index::none;
        security_groups: SecurityGroup = "security_group", SecurityGroupId, index::none;
        network_interfaces: NetworkInterface = "network_interface", NetworkInterfaceId, index::network_interface;
    }
    scoped {
        image_tags: ImageTags = "image_tags", ImageId, index::none;
        tokens: IdempotencyToken = "idempotency_token", TokenId, index::none;
    }
    cloud {
        accounts: Account = "account", AccountId, id;
        access_keys: AccessKey = "access_key", String, id;
        settings: Setting = "setting", String, name;
    }
}

fn read<D: Document>(body: &str) -> Result<D, String> {
    serde_json::from_str(body).map_err(|e| e.to_string())
}

impl Tables {
    pub(crate) fn put<N: Noun>(&mut self, scope: &Scope, document: Arc<N>) {
        let old = N::table(self).get(scope, document.id()).cloned();
        N::index(&mut self.indexes, scope, old.as_deref(), Some(&document));
        N::table_mut(self).put(scope, document);
    }

    /// Whether there was one.
    pub(crate) fn remove<N: Noun>(&mut self, scope: &Scope, id: &N::Id) -> bool {
        let Some(old) = N::table(self).get(scope, id).cloned() else { return false };
        N::index(&mut self.indexes, scope, Some(&old), None);
        N::table_mut(self).remove(scope, id);
        true
    }
}
