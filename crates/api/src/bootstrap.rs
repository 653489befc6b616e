//! What there is before anybody asks: an account with its key, and each account's default VPC.

use model::account::{self, AccessKey, Account};
use model::ids::{DhcpOptionsId, InternetGatewayId, SecurityGroupId, SecurityGroupRuleId, SubnetId, VpcId};
use model::security_group::{Peer, Rule, SecurityGroup};
use model::subnet::Subnet;
use model::tag::Tags;
use model::time::Timestamp;
use model::vpc::{DEFAULT_CIDR, Vpc};
use rand::Rng;
use std::sync::Arc;
use store::{AccountTx, Snapshot, SystemTx, View};

/// The account that is there from the first start on: `pileus env` speaks for it.
pub const DEFAULT_ACCOUNT: &str = "default";
/// Longest name of an account, in characters (`CreateAccount`, AWS Organizations).
pub const ACCOUNT_NAME_CHARS_MAX: usize = 50;
/// Most accounts of a cloud.
pub const ACCOUNTS_MAX: usize = 10_000;
/// The prefix length of a default VPC's subnets.
const DEFAULT_SUBNET_PREFIX: u8 = 20;

/// Why an account can't be created.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// Another account has the name.
    #[error("there is an account named {0:?} already")]
    NameTaken(String),
    /// The name is empty, too long, or has characters that aren't printable.
    #[error("an account's name is 1 to {ACCOUNT_NAME_CHARS_MAX} printable characters")]
    BadName,
    /// There are too many.
    #[error("a cloud has at most {ACCOUNTS_MAX} accounts")]
    TooMany,
    /// There is no such account.
    #[error("there is no account of the name or id {0:?}")]
    None(String),
    /// The account is closed.
    #[error("the account {0:?} is closed")]
    Closed(String),
    /// It has as many keys as it may.
    #[error("an account has at most {0} access keys: delete one first")]
    TooManyKeys(usize),
    /// There is no such key.
    #[error("there is no access key {0:?}")]
    NoKey(String),
    /// It is the account that `pileus env` speaks for.
    #[error("the account {DEFAULT_ACCOUNT:?} can't be closed: `pileus env` speaks for it")]
    Default,
    /// It has what closing would end.
    #[error(
        "the account {name:?} still has resources (instances: {instances}, buckets: {buckets}); --force terminates the instances and deletes the buckets with all objects"
    )]
    Busy {
        /// The account's name.
        name: String,
        /// Instances that are not terminated.
        instances: usize,
        /// Buckets.
        buckets: usize,
    },
    /// An unknown access key can't name an account.
    #[error("an access key is 1 to 128 letters, digits, `_` and `-`")]
    BadKey,
}

/// Creates an account and the access key that speaks for its root user.
///
/// # Errors
/// [`AccountError`]; nothing is written then.
pub fn account_create(tx: &mut SystemTx<'_>, name: &str, now: Timestamp, rng: &mut dyn Rng) -> Result<(Account, AccessKey), AccountError> {
    if name.is_empty() || name.chars().count() > ACCOUNT_NAME_CHARS_MAX || name.chars().any(char::is_control) {
        return Err(AccountError::BadName);
    }
    if tx.accounts().any(|a| a.name == name) {
        return Err(AccountError::NameTaken(name.into()));
    }
    if tx.accounts().count() >= ACCOUNTS_MAX {
        return Err(AccountError::TooMany);
    }
    let id = loop {
        let id = account::account_id(rng);
        if tx.account(&id).is_none() && !id.is_image_vendor() {
            break id;
        }
    };
    let account = Account { id: id.clone(), name: name.into(), created: now, closed: None };
    let key = AccessKey {
        id: account::access_key_id(rng),
        secret: account::secret_access_key(rng),
        account: id,
        created: now,
        any_secret: false,
    };
    tx.account_put(account.clone());
    tx.access_key_put(key.clone());
    Ok((account, key))
}

/// The default account and its oldest key, created if this is the first start.
///
/// # Errors
/// [`AccountError`]; nothing is written then.
pub fn account_ensure_default(tx: &mut SystemTx<'_>, now: Timestamp, rng: &mut dyn Rng) -> Result<(), AccountError> {
    if tx.accounts().any(|a| a.name == DEFAULT_ACCOUNT) {
        return Ok(());
    }
    account_create(tx, DEFAULT_ACCOUNT, now, rng).map(drop)
}

/// An account by its name, and its oldest key.
#[must_use]
pub fn account_by_name<'a>(snapshot: &'a Snapshot, name: &str) -> Option<(&'a Arc<Account>, &'a Arc<AccessKey>)> {
    let account = snapshot.accounts().find(|a| a.name == name)?;
    let key = snapshot.access_keys().filter(|k| k.account == account.id).min_by_key(|k| k.created)?;
    Some((account, key))
}

/// A tenant's default VPC in a region.
#[must_use]
pub fn default_vpc<'a>(view: View<'a>) -> Option<&'a Arc<Vpc>> {
    view.list::<Vpc>().find(|v| v.is_default)
}

/// A VPC's default security group: every VPC has one, and its name is `default`.
#[must_use]
pub fn default_group<'a>(view: View<'a>, vpc: &VpcId) -> Option<&'a Arc<SecurityGroup>> {
    view.list::<SecurityGroup>().find(|g| g.vpc_id == *vpc && g.name == "default")
}

/// Makes a tenant's default VPC in a region, with a subnet in each zone and its default group, unless the tenant has a VPC there.
/// ("Default VPCs", Amazon VPC User Guide.)
pub fn default_vpc_ensure(tx: &mut AccountTx<'_>, rng: &mut dyn Rng) {
    if tx.list::<Vpc>().next().is_some() {
        return;
    }
    let cidr: ipnet::Ipv4Net = DEFAULT_CIDR.parse().expect("the default CIDR is one");
    let vpc = Vpc {
        id: VpcId::generate(rng),
        cidr,
        is_default: true,
        dhcp_options_id: DhcpOptionsId::generate(rng),
        internet_gateway_id: Some(InternetGatewayId::generate(rng)),
        tags: Tags::default(),
    };
    let subnets = cidr.subnets(DEFAULT_SUBNET_PREFIX).expect("a /16 has /20 subnets");
    let zones: Vec<String> = tx.scope().region.zones().collect();
    for (zone, cidr) in zones.into_iter().zip(subnets) {
        tx.put(Subnet {
            id: SubnetId::generate(rng),
            vpc_id: vpc.id.clone(),
            cidr,
            zone,
            default_for_az: true,
            map_public_ip_on_launch: true,
            tags: Tags::default(),
        });
    }
    tx.put(default_group_of(&vpc.id, rng));
    tx.put(vpc);
}

/// The group that each VPC begins with: whatever is in it reaches each other, and may reach all.
fn default_group_of(vpc: &VpcId, rng: &mut dyn Rng) -> SecurityGroup {
    let id = SecurityGroupId::generate(rng);
    let mut rule = |peer| Rule::everything(SecurityGroupRuleId::generate(rng), peer);
    let ingress = vec![rule(Peer::Group(id.clone()))];
    let egress = vec![rule(Peer::Ipv4(ipnet::Ipv4Net::default()))];
    SecurityGroup {
        id,
        name: "default".into(),
        description: "default VPC security group".into(),
        vpc_id: vpc.clone(),
        ingress,
        egress,
        tags: Tags::default(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use model::scope::Scope;
    use rand::SeedableRng as _;
    use store::{Mode, Store};

    async fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("state.db"), Mode::Simulated, Arc::new(model::fault::NoFaults)).unwrap();
        (dir, store)
    }

    fn rng() -> rand::rngs::StdRng {
        rand::rngs::StdRng::seed_from_u64(7)
    }

    #[tokio::test]
    async fn accounts_have_one_name_each() {
        let (_dir, store) = store().await;
        let create = |name: &'static str| store.write(move |tx| account_create(tx, name, Timestamp(1), &mut rand::rng()));
        let (account, key) = create("team").await.unwrap().unwrap();
        assert_eq!(create("team").await.unwrap(), Err(AccountError::NameTaken("team".into())));
        assert_eq!(create("").await.unwrap(), Err(AccountError::BadName));
        assert_eq!(create("a\nb").await.unwrap(), Err(AccountError::BadName));
        let snapshot = store.snapshot();
        let (found, found_key) = account_by_name(&snapshot, "team").unwrap();
        assert_eq!((&**found, &**found_key), (&account, &key));
        assert_eq!((key.id.len(), key.secret.len()), (20, 40));
    }

    #[tokio::test]
    async fn the_first_start_makes_an_account_and_the_second_does_not() {
        let (_dir, store) = store().await;
        for _ in 0..2 {
            store.write(|tx| account_ensure_default(tx, Timestamp(1), &mut rand::rng())).await.unwrap().unwrap();
        }
        assert_eq!(store.snapshot().accounts().count(), 1);
        assert!(account_by_name(&store.snapshot(), DEFAULT_ACCOUNT).is_some());
    }

    #[tokio::test]
    async fn a_default_vpc_is_made_once() {
        let (_dir, store) = store().await;
        let scope = Scope { account: "111122223333".parse().unwrap(), region: "eu-west-1".parse().unwrap() };
        for _ in 0..2 {
            let made = store.write_account(&scope, |tx| {
                default_vpc_ensure(tx, &mut rng());
                Ok::<_, ()>(())
            });
            made.await.unwrap().unwrap();
        }
        let snapshot = store.snapshot();
        let view = snapshot.of(&scope);
        let vpc = default_vpc(view).unwrap();
        assert_eq!(view.count::<Vpc>(), 1);
        let mut subnets: Vec<_> = view.list::<Subnet>().map(|s| (s.zone.clone(), s.cidr.to_string())).collect();
        subnets.sort();
        let expected = [("eu-west-1a", "172.31.0.0/20"), ("eu-west-1b", "172.31.16.0/20"), ("eu-west-1c", "172.31.32.0/20")];
        assert_eq!(subnets, expected.map(|(z, c)| (z.to_owned(), c.to_owned())));
        let group = default_group(view, &vpc.id).unwrap();
        assert_eq!(group.ingress[0].peer, Peer::Group(group.id.clone()));
        assert_eq!(group.egress[0].peer, Peer::Ipv4("0.0.0.0/0".parse().unwrap()));
    }
}
