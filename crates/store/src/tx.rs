//! Writing: what a closure on the writer's thread may do. It sees its own writes; if it returns an error, none of them happened.

use crate::audit::AuditRecord;
use crate::setting::Setting;
use crate::snapshot::{UsedIps, View};
use crate::table::{Document, Noun, Tables, Unique};
use crate::token::IdempotencyToken;
use model::account::{AccessKey, Account};
use model::scope::{AccountId, Scope};
use model::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where a document is in the database.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) kind: &'static str,
    /// `None` for a document of the whole cloud.
    pub(crate) scope: Option<Scope>,
    pub(crate) id: String,
}

impl Key {
    fn of<D: Document>(scope: Option<&Scope>, id: &D::Id) -> Self {
        Self { kind: D::KIND, scope: scope.cloned(), id: id.to_string() }
    }
}

/// The state that is being written, and what has to go to the disk for it.
#[derive(Default)]
pub(crate) struct Working {
    pub(crate) tables: Tables,
    /// The new bodies; `None` removes.
    pub(crate) bodies: BTreeMap<Key, Option<String>>,
    pub(crate) audit: Vec<AuditRecord>,
}

impl Working {
    pub(crate) fn new(tables: Tables) -> Self {
        Self { tables, ..Self::default() }
    }

    /// A state to try a closure on.
    pub(crate) fn attempt(&self) -> Self {
        Self::new(self.tables.clone())
    }

    /// Takes over what a closure did.
    pub(crate) fn adopt(&mut self, attempt: Self) {
        self.tables = attempt.tables;
        self.bodies.extend(attempt.bodies);
        self.audit.extend(attempt.audit);
    }

    fn write<D: Document>(&mut self, scope: Option<&Scope>, document: &D) {
        let body = serde_json::to_string(document).expect("a document has string keys and no failing serializer");
        self.bodies.insert(Key::of::<D>(scope, document.id()), Some(body));
    }

    fn put<N: Noun>(&mut self, scope: &Scope, document: N) {
        if N::table(&self.tables).get(scope, document.id()).is_some_and(|old| **old == document) {
            return;
        }
        self.write(Some(scope), &document);
        self.tables.put(scope, Arc::new(document));
    }

    fn remove<N: Noun>(&mut self, scope: &Scope, id: &N::Id) -> bool {
        let was = self.tables.remove::<N>(scope, id);
        if was {
            self.bodies.insert(Key::of::<N>(Some(scope), id), None);
        }
        was
    }

    /// Removes a noun's documents of the scopes that `goes` names.
    pub(crate) fn clear<N: Noun>(&mut self, goes: &dyn Fn(&Scope) -> bool) {
        let gone: Vec<(Scope, N::Id)> =
            N::table(&self.tables).all().filter(|(scope, _)| goes(scope)).map(|(scope, d)| (scope.clone(), d.id().clone())).collect();
        for (scope, id) in &gone {
            self.remove::<N>(scope, id);
        }
    }
}

/// A transaction of one tenant in one region: what an action runs in. It can't name anything of another tenant.
pub struct AccountTx<'a> {
    working: &'a mut Working,
    scope: Scope,
}

impl<'a> AccountTx<'a> {
    pub(crate) fn new(working: &'a mut Working, scope: Scope) -> Self {
        Self { working, scope }
    }

    /// Whose, and where.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// What the tenant has, with the writes of this transaction.
    #[must_use]
    pub fn view(&self) -> View<'_> {
        View { tables: &self.working.tables, scope: &self.scope }
    }

    /// A document of this tenant.
    #[must_use]
    pub fn get<N: Noun>(&self, id: &N::Id) -> Option<&Arc<N>> {
        self.view().get(id)
    }

    /// All documents of a noun, ordered by id.
    pub fn list<N: Noun>(&self) -> impl DoubleEndedIterator<Item = &Arc<N>> + use<'_, 'a, N> {
        self.view().list()
    }

    /// Writes a document. The same one again is no write at all.
    ///
    /// # Panics
    /// If the id, or an address of an interface, belongs to another document: then the transaction is undone.
    pub fn put<N: Noun>(&mut self, document: N) {
        self.working.put(&self.scope, document);
    }

    /// Removes a document, and says whether there was one.
    pub fn remove<N: Noun>(&mut self, id: &N::Id) -> bool {
        self.working.remove::<N>(&self.scope, id)
    }

    /// The public addresses in use, by any tenant; not by whom.
    #[must_use]
    pub fn used_public_ips(&self) -> UsedIps<'_> {
        UsedIps::of(&self.working.tables.indexes.public_ips)
    }

    /// For each type, how many instances of it take room on a host, of all tenants.
    pub fn capacity_used(&self) -> impl Iterator<Item = (&str, u64)> + use<'_, 'a> {
        self.working.tables.indexes.capacity.iter().map(|(kind, n)| (kind.as_str(), *n))
    }

    /// The sizes of all tenants' volumes together, in GiB.
    #[must_use]
    pub fn volumes_gib(&self) -> u64 {
        self.working.tables.indexes.volumes_gib
    }

    /// Adds to the audit trail.
    pub fn audit(&mut self, time: Timestamp, action: &str, request_id: &str, error: Option<&str>) {
        self.working.audit.push(AuditRecord {
            time,
            scope: self.scope.clone(),
            action: action.into(),
            request_id: request_id.into(),
            error: error.map(Into::into),
        });
    }
}

/// A transaction of the cloud itself: what loops and the operator's commands run in.
pub struct SystemTx<'a> {
    working: &'a mut Working,
}

impl<'a> SystemTx<'a> {
    pub(crate) fn new(working: &'a mut Working) -> Self {
        Self { working }
    }

    /// One tenant's part, with the writes of this transaction.
    #[must_use]
    pub fn of<'s>(&'s self, scope: &'s Scope) -> View<'s> {
        View { tables: &self.working.tables, scope }
    }

    /// The same transaction, confined to one tenant.
    #[must_use]
    pub fn account_tx(&mut self, scope: &Scope) -> AccountTx<'_> {
        AccountTx::new(self.working, scope.clone())
    }

    /// A document of a tenant.
    #[must_use]
    pub fn get<N: Noun>(&self, scope: &Scope, id: &N::Id) -> Option<&Arc<N>> {
        N::table(&self.working.tables).get(scope, id)
    }

    /// A document, whoever owns it.
    pub fn find<N: Unique>(&self, id: &N::Id) -> Option<(&Scope, &Arc<N>)> {
        N::table(&self.working.tables).find(id)
    }

    /// Everything of a noun, ordered by scope and id.
    pub fn all<N: Noun>(&self) -> impl Iterator<Item = (&Scope, &Arc<N>)> + use<'_, 'a, N> {
        N::table(&self.working.tables).all()
    }

    /// Writes a document. The same one again is no write at all.
    ///
    /// # Panics
    /// If the id, or an address of an interface, belongs to another document: then the transaction is undone.
    pub fn put<N: Noun>(&mut self, scope: &Scope, document: N) {
        self.working.put(scope, document);
    }

    /// Removes a document, and says whether there was one.
    pub fn remove<N: Noun>(&mut self, scope: &Scope, id: &N::Id) -> bool {
        self.working.remove::<N>(scope, id)
    }

    /// An account.
    #[must_use]
    pub fn account(&self, id: &AccountId) -> Option<&Arc<Account>> {
        self.working.tables.accounts.get(id)
    }

    /// The accounts, ordered by id.
    pub fn accounts(&self) -> impl Iterator<Item = &Arc<Account>> + use<'_, 'a> {
        self.working.tables.accounts.values()
    }

    /// Writes an account.
    pub fn account_put(&mut self, account: Account) {
        self.working.write(None, &account);
        self.working.tables.accounts.insert_mut(account.id.clone(), Arc::new(account));
    }

    /// Removes an account's own document; its keys and what it has are documents of their own.
    pub fn account_remove(&mut self, id: &AccountId) {
        if self.working.tables.accounts.remove_mut(id) {
            self.working.bodies.insert(Key::of::<Account>(None, id), None);
        }
    }

    /// Removes everything that the scopes named by `goes` have.
    pub fn clear(&mut self, goes: &dyn Fn(&Scope) -> bool) {
        self.working.clear_all(goes);
    }

    /// An access key, by its id.
    #[must_use]
    pub fn access_key(&self, id: &str) -> Option<&Arc<AccessKey>> {
        self.working.tables.access_keys.get(id)
    }

    /// The access keys, ordered by id.
    pub fn access_keys(&self) -> impl Iterator<Item = &Arc<AccessKey>> + use<'_, 'a> {
        self.working.tables.access_keys.values()
    }

    /// Removes an access key.
    pub fn access_key_remove(&mut self, id: &str) {
        let id = id.to_owned();
        if self.working.tables.access_keys.remove_mut(&id) {
            self.working.bodies.insert(Key::of::<AccessKey>(None, &id), None);
        }
    }

    /// Writes an access key.
    pub fn access_key_put(&mut self, key: AccessKey) {
        self.working.write(None, &key);
        self.working.tables.access_keys.insert_mut(key.id.clone(), Arc::new(key));
    }

    /// A setting of the whole cloud.
    #[must_use]
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.working.tables.settings.get(name).map(|s| s.value.as_str())
    }

    /// Writes a setting. The same value again is no write at all.
    pub fn setting_put(&mut self, name: &str, value: &str) {
        if self.setting(name) == Some(value) {
            return;
        }
        let setting = Setting { name: name.into(), value: value.into() };
        self.working.write(None, &setting);
        self.working.tables.settings.insert_mut(setting.name.clone(), Arc::new(setting));
    }

    /// The public addresses in use.
    #[must_use]
    pub fn used_public_ips(&self) -> UsedIps<'_> {
        UsedIps::of(&self.working.tables.indexes.public_ips)
    }

    /// For each type, how many instances of it take room on a host.
    pub fn capacity_used(&self) -> impl Iterator<Item = (&str, u64)> + use<'_, 'a> {
        self.working.tables.indexes.capacity.iter().map(|(kind, n)| (kind.as_str(), *n))
    }

    /// Forgets idempotency tokens that are older than [`crate::TOKEN_KEPT_MILLIS`], and says how many.
    pub fn tokens_expire(&mut self, now: Timestamp) -> usize {
        let expired = self.all::<IdempotencyToken>().filter(|(_, t)| t.is_expired(now));
        let expired: Vec<_> = expired.map(|(scope, t)| (scope.clone(), t.id.clone())).collect();
        for (scope, id) in &expired {
            self.remove::<IdempotencyToken>(scope, id);
        }
        expired.len()
    }

    /// Adds to the audit trail.
    pub fn audit(&mut self, record: AuditRecord) {
        self.working.audit.push(record);
    }
}
