//! The server's side of `pileus account`.

use super::{AccountClose, AccountCreated, AccountNamed, AccountShown, AccountWanted, KeyNamed, KeyShown};
use crate::parts::Parts;
use crate::reset;
use anyhow::Result;
use model::account::{AccessKey, Account};
use model::image::Image;
use model::instance::{Instance, State};
use model::scope::{AccountId, Scope};
use model::volume::Volume;
use std::collections::HashMap;
use store::Snapshot;

pub(super) async fn create(parts: &Parts, wanted: AccountWanted) -> Result<AccountCreated> {
    let now = parts.clock.now();
    let (_, key) = parts.store.write(move |tx| api::bootstrap::account_create(tx, &wanted.name, now, &mut rand::rng())).await??;
    Ok(created(key))
}

fn created(key: AccessKey) -> AccountCreated {
    AccountCreated { account_id: key.account.to_string(), access_key_id: key.id, secret_access_key: key.secret }
}

pub(super) fn list(parts: &Parts) -> Vec<AccountShown> {
    let snapshot = parts.store.snapshot();
    let owned = Owned::new(&snapshot, parts);
    let mut all: Vec<&Account> = snapshot.accounts().map(|a| &**a).collect();
    all.sort_by_key(|a| a.created);
    all.into_iter().map(|account| owned.show(account)).collect()
}

pub(super) fn show(parts: &Parts, wanted: &AccountNamed) -> Result<AccountShown> {
    let snapshot = parts.store.snapshot();
    let account = api::account::find(snapshot.accounts(), &wanted.account)?;
    Ok(Owned::new(&snapshot, parts).show(&account))
}

pub(super) async fn key_create(parts: &Parts, wanted: AccountNamed) -> Result<AccountCreated> {
    let now = parts.clock.now();
    Ok(created(parts.store.write(move |tx| api::account::key_create(tx, &wanted.account, now, &mut rand::rng())).await??))
}

pub(super) async fn key_delete(parts: &Parts, wanted: KeyNamed) -> Result<()> {
    Ok(parts.store.write(move |tx| api::account::key_delete(tx, &wanted.access_key_id)).await??)
}

/// First the keys go, in the transaction that closes: after it nobody can make a bucket for the account.
pub(super) async fn close(parts: &Parts, wanted: AccountClose) -> Result<()> {
    let account = api::account::find(parts.store.snapshot().accounts(), &wanted.account)?;
    let (now, buckets) = (parts.clock.now(), parts.objects.buckets(&account.id).len());
    let closed = parts.store.write(move |tx| api::account::close(tx, &wanted.account, (buckets, wanted.force), now)).await??;
    for bucket in parts.objects.buckets(&closed) {
        reset::bucket_destroy(&parts.objects, &bucket.name).await?;
    }
    Ok(())
}

/// What each account has: counted once for all of them.
struct Owned<'a> {
    keys: HashMap<&'a AccountId, Vec<&'a AccessKey>>,
    instances: HashMap<&'a AccountId, usize>,
    volumes: HashMap<&'a AccountId, usize>,
    images: HashMap<&'a AccountId, usize>,
    buckets: HashMap<AccountId, usize>,
}

impl<'a> Owned<'a> {
    fn new(snapshot: &'a Snapshot, parts: &Parts) -> Self {
        let mut keys: HashMap<_, Vec<&AccessKey>> = HashMap::new();
        for key in snapshot.access_keys() {
            keys.entry(&key.account).or_default().push(key);
        }
        keys.values_mut().for_each(|keys| keys.sort_by_key(|k| k.created));
        let live = snapshot.all::<Instance>().filter(|(_, i)| !matches!(i.state, State::Terminated { .. }));
        Self {
            keys,
            instances: count(live.map(|(scope, _)| scope)),
            volumes: count(snapshot.all::<Volume>().map(|(scope, _)| scope)),
            images: count(snapshot.all::<Image>().map(|(scope, _)| scope)),
            buckets: parts.objects.buckets_all().iter().fold(HashMap::new(), |mut all, bucket| {
                *all.entry(bucket.owner.clone()).or_default() += 1;
                all
            }),
        }
    }

    fn show(&self, account: &Account) -> AccountShown {
        let of = |counts: &HashMap<&AccountId, usize>| counts.get(&account.id).copied().unwrap_or(0);
        let keys = self.keys.get(&account.id).into_iter().flatten();
        AccountShown {
            account_id: account.id.to_string(),
            name: account.name.clone(),
            state: if account.closed.is_some() { "closed" } else { "active" }.into(),
            created: account.created.iso8601(),
            closed: account.closed.map(|at| at.iso8601()),
            access_keys: keys.map(|k| KeyShown { access_key_id: k.id.clone(), created: k.created.iso8601() }).collect(),
            instances: of(&self.instances),
            volumes: of(&self.volumes),
            images: of(&self.images),
            buckets: self.buckets.get(&account.id).copied().unwrap_or(0),
        }
    }
}

fn count<'a>(scopes: impl Iterator<Item = &'a Scope>) -> HashMap<&'a AccountId, usize> {
    scopes.fold(HashMap::new(), |mut all, scope| {
        *all.entry(&scope.account).or_default() += 1;
        all
    })
}
