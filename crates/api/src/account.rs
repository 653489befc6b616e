//! What the operator does with accounts besides creating them, and what a simulation does that takes any credentials.

use crate::bootstrap::{ACCOUNTS_MAX, AccountError, DEFAULT_ACCOUNT};
use model::account::{self, AccessKey, Account};
use model::instance::{Event, Instance, State};
use model::scope::{AccountId, Scope};
use model::time::Timestamp;
use rand::Rng;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;
use store::{Snapshot, SystemTx};

/// Most access keys of an account, as of a root user at AWS.
pub const KEYS_MAX: usize = 2;
/// How long an access key that a client invents may be, in characters; AWS's own limits are 16 and 128.
const ANY_KEY_CHARS: RangeInclusive<usize> = 1..=128;

/// The account of this name or id.
///
/// # Errors
/// [`AccountError::None`].
pub fn find<'a>(accounts: impl Iterator<Item = &'a Arc<Account>>, named: &str) -> Result<Arc<Account>, AccountError> {
    let mut all = accounts;
    all.find(|a| a.name == named || a.id.as_str() == named).cloned().ok_or_else(|| AccountError::None(named.into()))
}

/// Creates another access key for an account.
///
/// # Errors
/// [`AccountError`]; nothing is written then.
pub fn key_create(tx: &mut SystemTx<'_>, named: &str, now: Timestamp, rng: &mut dyn Rng) -> Result<AccessKey, AccountError> {
    let account = find(tx.accounts(), named)?;
    if account.closed.is_some() {
        return Err(AccountError::Closed(account.name.clone()));
    }
    if tx.access_keys().filter(|k| k.account == account.id).count() >= KEYS_MAX {
        return Err(AccountError::TooManyKeys(KEYS_MAX));
    }
    let (id, secret) = (account::access_key_id(rng), account::secret_access_key(rng));
    let key = AccessKey { id, secret, account: account.id.clone(), created: now, any_secret: false };
    tx.access_key_put(key.clone());
    Ok(key)
}

/// Deletes an access key: from now on its signatures are refused.
///
/// # Errors
/// [`AccountError::NoKey`].
pub fn key_delete(tx: &mut SystemTx<'_>, id: &str) -> Result<(), AccountError> {
    tx.access_key(id).ok_or_else(|| AccountError::NoKey(id.into()))?;
    tx.access_key_remove(id);
    Ok(())
}

/// Closes an account: its keys are deleted for good, and it stays listed. `buckets` are how many it has. Without `force`, an account with
/// instances or buckets is refused; with it, its instances are terminated here, and its buckets are for the caller to delete.
///
/// # Errors
/// [`AccountError`]; nothing is written then.
pub fn close(tx: &mut SystemTx<'_>, named: &str, (buckets, force): (usize, bool), now: Timestamp) -> Result<AccountId, AccountError> {
    let account = find(tx.accounts(), named)?;
    if account.name == DEFAULT_ACCOUNT {
        return Err(AccountError::Default);
    }
    if account.closed.is_some() {
        return Err(AccountError::Closed(account.name.clone()));
    }
    let live = |i: &Instance| !matches!(i.state, State::Terminated { .. });
    let own = tx.all::<Instance>().filter(|(scope, i)| scope.account == account.id && live(i));
    let instances: Vec<(Scope, Arc<Instance>)> = own.map(|(scope, i)| (scope.clone(), i.clone())).collect();
    if !force && (!instances.is_empty() || buckets > 0) {
        return Err(AccountError::Busy { name: account.name.clone(), instances: instances.len(), buckets });
    }
    for (scope, instance) in instances {
        let mut instance = (*instance).clone();
        // One that is on its way out already stays on it.
        if instance.apply(&Event::TerminateWanted { force: true }, now).is_ok() {
            tx.put(&scope, instance);
        }
    }
    let keys: Vec<String> = tx.access_keys().filter(|k| k.account == account.id).map(|k| k.id.clone()).collect();
    keys.iter().for_each(|id| tx.access_key_remove(id));
    let id = account.id.clone();
    tx.account_put(Account { closed: Some(now), ..(*account).clone() });
    Ok(id)
}

/// The account id that an unknown access key stands for, the same in every cloud: a key of twelve digits names its account, `testing` is the
/// word of moto's documentation and stands for moto's account, and any other is hashed.
fn account_id_of_key(key: &str) -> AccountId {
    if let Ok(id) = key.parse::<AccountId>()
        && id != AccountId::cloud()
    {
        return id;
    }
    let number = if key == "testing" {
        123_456_789_012
    } else {
        let digest = Sha256::digest(key);
        let head = digest.iter().take(8).fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
        100_000_000_000 + head % 900_000_000_000
    };
    number.to_string().parse().expect("twelve digits are an account id")
}

/// The access key of a client that may bring any credentials, made with an account of its own at its first use.
///
/// # Errors
/// [`AccountError`]; nothing is written then.
pub fn key_admit(tx: &mut SystemTx<'_>, id: &str, now: Timestamp, rng: &mut dyn Rng) -> Result<AccessKey, AccountError> {
    if let Some(known) = tx.access_key(id) {
        return Ok((**known).clone());
    }
    if !ANY_KEY_CHARS.contains(&id.len()) || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b)) {
        return Err(AccountError::BadKey);
    }
    if tx.accounts().count() >= ACCOUNTS_MAX {
        return Err(AccountError::TooMany);
    }
    let mut account = account_id_of_key(id);
    while tx.account(&account).is_some() {
        account = account::account_id(rng);
    }
    tx.account_put(Account { id: account.clone(), name: format!("key {id}"), created: now, closed: None });
    let key = AccessKey { id: id.into(), secret: account::secret_access_key(rng), account, created: now, any_secret: true };
    tx.access_key_put(key.clone());
    Ok(key)
}

/// Takes a simulated cloud back to its beginning: accounts that were made by [`key_admit`] are forgotten, and all accounts have nothing.
/// What the cloud itself provides stays.
pub fn reset(tx: &mut SystemTx<'_>) {
    let accounts: BTreeSet<AccountId> = tx.accounts().map(|a| a.id.clone()).collect();
    tx.clear(&|scope| accounts.contains(&scope.account));
    let made: Vec<(String, AccountId)> = tx.access_keys().filter(|k| k.any_secret).map(|k| (k.id.clone(), k.account.clone())).collect();
    for (key, account) in made {
        tx.access_key_remove(&key);
        tx.account_remove(&account);
    }
}

/// The access keys of an account, the oldest first.
#[must_use]
pub fn keys<'a>(snapshot: &'a Snapshot, account: &AccountId) -> Vec<&'a Arc<AccessKey>> {
    let mut keys: Vec<_> = snapshot.access_keys().filter(|k| k.account == *account).collect();
    keys.sort_by_key(|k| k.created);
    keys
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::bootstrap::{account_create, account_ensure_default, default_vpc_ensure};
    use model::vpc::Vpc;
    use store::{Mode, Store};

    fn open() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("state.db"), Mode::Simulated, Arc::new(model::fault::NoFaults)).unwrap();
        (dir, store)
    }

    /// Runs a closure of these in a transaction.
    macro_rules! run {
        ($store:expr, $tx:ident => $body:expr) => {
            $store.write(move |$tx| $body).await.unwrap()
        };
    }

    #[test]
    fn a_key_stands_for_the_same_account_everywhere() {
        let id = |key: &str| account_id_of_key(key).to_string();
        assert_eq!(id("111122223333"), "111122223333");
        assert_eq!(id("testing"), "123456789012");
        assert_eq!(id("AKIAIOSFODNN7EXAMPLE"), id("AKIAIOSFODNN7EXAMPLE"));
        let others = ["test", "AKIAIOSFODNN7EXAMPLE", "000000000000", ""].map(id);
        assert!(others.iter().all(|id| id.len() == 12 && !id.starts_with('0')), "{others:?}");
    }

    #[tokio::test]
    async fn keys_come_and_go() {
        let (dir, store) = open();
        let (_, first) = run!(store, tx => account_create(tx, "team", Timestamp(1), &mut rand::rng())).unwrap();
        let second = run!(store, tx => key_create(tx, "team", Timestamp(2), &mut rand::rng())).unwrap();
        assert_eq!(run!(store, tx => key_create(tx, "team", Timestamp(3), &mut rand::rng())), Err(AccountError::TooManyKeys(2)));
        let gone = first.id.clone();
        run!(store, tx => key_delete(tx, &gone)).unwrap();
        let gone = first.id.clone();
        assert_eq!(run!(store, tx => key_delete(tx, &gone)), Err(AccountError::NoKey(first.id.clone())));
        assert_eq!(run!(store, tx => key_create(tx, "nobody", Timestamp(3), &mut rand::rng())), Err(AccountError::None("nobody".into())));
        drop(store);
        let store = Store::open(&dir.path().join("state.db"), Mode::Simulated, Arc::new(model::fault::NoFaults)).unwrap();
        let left: Vec<String> = keys(&store.snapshot(), &first.account).into_iter().map(|k| k.id.clone()).collect();
        assert_eq!(left, [second.id]);
    }

    #[tokio::test]
    async fn a_closed_account_has_no_keys_and_stays_listed() {
        let (_dir, store) = open();
        run!(store, tx => account_ensure_default(tx, Timestamp(1), &mut rand::rng())).unwrap();
        let (account, _) = run!(store, tx => account_create(tx, "team", Timestamp(1), &mut rand::rng())).unwrap();
        let busy = run!(store, tx => close(tx, "team", (3, false), Timestamp(5)));
        assert_eq!(busy, Err(AccountError::Busy { name: "team".into(), instances: 0, buckets: 3 }));
        assert_eq!(run!(store, tx => close(tx, DEFAULT_ACCOUNT, (0, true), Timestamp(5))), Err(AccountError::Default));
        assert_eq!(run!(store, tx => close(tx, "team", (3, true), Timestamp(5))), Ok(account.id.clone()));
        assert_eq!(run!(store, tx => close(tx, "team", (0, true), Timestamp(6))), Err(AccountError::Closed("team".into())));
        let snapshot = store.snapshot();
        assert_eq!(snapshot.account(&account.id).unwrap().closed, Some(Timestamp(5)));
        assert!(keys(&snapshot, &account.id).is_empty());
        let refused = run!(store, tx => key_create(tx, "team", Timestamp(7), &mut rand::rng()));
        assert_eq!(refused, Err(AccountError::Closed("team".into())));
    }

    #[tokio::test]
    async fn an_unknown_key_has_an_account_of_its_own_until_the_reset() {
        let (_dir, store) = open();
        run!(store, tx => account_ensure_default(tx, Timestamp(1), &mut rand::rng())).unwrap();
        let key = run!(store, tx => key_admit(tx, "testing", Timestamp(1), &mut rand::rng())).unwrap();
        assert_eq!((key.account.as_str(), key.any_secret), ("123456789012", true));
        assert_eq!(run!(store, tx => key_admit(tx, "testing", Timestamp(2), &mut rand::rng())).unwrap(), key);
        let same = run!(store, tx => key_admit(tx, "123456789012", Timestamp(2), &mut rand::rng())).unwrap();
        assert_ne!(same.account, key.account);
        assert_eq!(run!(store, tx => key_admit(tx, "a b", Timestamp(2), &mut rand::rng())), Err(AccountError::BadKey));
        let scope = Scope { account: key.account.clone(), region: "us-east-1".parse().unwrap() };
        let cloud = Scope { account: AccountId::cloud(), region: "us-east-1".parse().unwrap() };
        for scope in [&scope, &cloud] {
            let made = store.write_account(scope, |tx| {
                default_vpc_ensure(tx, &mut rand::rng());
                Ok::<_, ()>(())
            });
            made.await.unwrap().unwrap();
        }
        run!(store, tx => { reset(tx); Ok::<_, ()>(()) }).unwrap();
        let snapshot = store.snapshot();
        assert_eq!(snapshot.accounts().map(|a| a.name.as_str()).collect::<Vec<_>>(), [DEFAULT_ACCOUNT]);
        assert_eq!((snapshot.of(&scope).count::<Vpc>(), snapshot.of(&cloud).count::<Vpc>()), (0, 1));
        assert!(snapshot.access_key("testing").is_none());
    }
}
