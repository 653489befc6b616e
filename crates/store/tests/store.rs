//! What the store promises, tried from outside.
#![allow(clippy::unwrap_used)]

use model::account::{AccessKey, Account};
use model::fault::{Crash, Faults, NoFaults};
use model::ids::{ImageId, KeyPairId, NetworkInterfaceId, SnapshotId, SubnetId, VpcId};
use model::image::{Boot, Image};
use model::key_pair::{KeyPair, KeyType};
use model::network_interface::{Mac, NetworkInterface};
use model::scope::Scope;
use model::tag::Tags;
use model::time::Timestamp;
use model::vpc::Vpc;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use store::{IdempotencyToken, Mode, OpenError, Store, StoreError, TOKEN_KEPT_MILLIS, TokenId, Writer};

type Refusal = &'static str;

fn scope(account: &str) -> Scope {
    Scope { account: account.parse().unwrap(), region: "us-east-1".parse().unwrap() }
}

fn alice() -> Scope {
    scope("111111111111")
}

fn bob() -> Scope {
    scope("222222222222")
}

fn key_pair(n: u64) -> KeyPair {
    KeyPair {
        id: key_pair_id(n),
        name: format!("key {n}"),
        key_type: KeyType::Ed25519,
        fingerprint: "f".into(),
        public_key: "ssh-ed25519 AAAA".into(),
        created: Timestamp(1),
        tags: Tags::default(),
    }
}

fn key_pair_id(n: u64) -> KeyPairId {
    format!("key-{n:017x}").parse().unwrap()
}

fn vpc_id() -> VpcId {
    "vpc-00000001".parse().unwrap()
}

fn interface(n: u64, private_ip: &str, public_ip: Option<&str>) -> NetworkInterface {
    NetworkInterface {
        id: format!("eni-{n:017x}").parse().unwrap(),
        vpc_id: vpc_id(),
        subnet_id: "subnet-00000001".parse::<SubnetId>().unwrap(),
        zone: "us-east-1a".into(),
        description: String::new(),
        mac: Mac([2, 0, 0, 0, 0, 1]),
        private_ip: private_ip.parse().unwrap(),
        map_public_ip: false,
        public_ip: public_ip.map(|ip| ip.parse().unwrap()),
        groups: vec![],
        source_dest_check: true,
        attachment: None,
        tags: Tags::default(),
    }
}

fn image(n: u64, public: bool) -> Image {
    Image {
        id: format!("ami-{n:017x}").parse::<ImageId>().unwrap(),
        owner: alice().account,
        name: format!("image {n}"),
        description: None,
        public,
        architecture: "x86_64".into(),
        root_device_name: "/dev/xvda".into(),
        snapshot_id: "snap-00000001".parse::<SnapshotId>().unwrap(),
        size_gib: 1,
        boot: Boot::Firmware,
        login_user: "root".into(),
        lost: None,
        created: Timestamp(1),
        tags: Tags::default(),
        content: None,
        launch_permissions: std::collections::BTreeSet::new(),
        source: None,
        root_volume_type: "gp3".into(),
        boot_mode: "legacy-bios".into(),
        imds_v2: false,
    }
}

fn vpc() -> Vpc {
    Vpc {
        id: vpc_id(),
        cidr: model::vpc::DEFAULT_CIDR.parse().unwrap(),
        is_default: true,
        dhcp_options_id: "dopt-00000001".parse().unwrap(),
        internet_gateway_id: None,
        tags: Tags::default(),
    }
}

struct Place {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

fn place() -> Place {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    Place { _directory: directory, path }
}

fn open(path: &Path) -> Store {
    Store::open(path, Mode::Real, Arc::new(NoFaults)).unwrap()
}

async fn put(store: &Store, scope: &Scope, n: u64) -> Result<Result<(), Refusal>, StoreError> {
    store
        .write_account(scope, move |tx| {
            tx.put(key_pair(n));
            Ok(())
        })
        .await
}

fn key_pairs(store: &Store, scope: &Scope) -> Vec<KeyPair> {
    store.snapshot().of(scope).list::<KeyPair>().map(|k| (**k).clone()).collect()
}

/// Runs both: what is written in `calls` before its first wait is one batch.
async fn with_writer<T>(writer: Writer, calls: impl Future<Output = T>) -> T {
    tokio::select! {
        biased;
        result = calls => result,
        () = writer.run() => unreachable!("a store is still there"),
    }
}

#[tokio::test]
async fn one_refusal_undoes_only_itself_and_a_batch_is_one_commit() {
    let place = place();
    let (store, writer) = Store::open_without_thread(&place.path, Mode::Real, Arc::new(NoFaults)).unwrap();
    let before = store.snapshot().revision();
    let refused = store.write_account(&alice(), |tx| {
        tx.put(key_pair(2));
        tx.remove::<KeyPair>(&key_pair_id(1));
        Err::<(), _>("no")
    });
    let broken = store.write_account(&alice(), |tx| -> Result<(), Refusal> {
        tx.put(key_pair(3));
        panic!("a broken invariant")
    });
    let (a, alice) = (alice(), alice());
    let calls = async { tokio::join!(put(&store, &a, 1), refused, broken, put(&store, &a, 4)) };
    let (first, refused, broken, last) = with_writer(writer, calls).await;
    assert_eq!(first.unwrap(), Ok(()));
    assert_eq!(refused.unwrap(), Err("no"));
    assert!(matches!(broken, Err(StoreError::Panicked(text)) if text == "a broken invariant"));
    assert_eq!(last.unwrap(), Ok(()));
    assert_eq!(key_pairs(&store, &alice), [key_pair(1), key_pair(4)]);
    assert_eq!(store.snapshot().revision(), before + 1, "the four calls are one commit");
}

#[tokio::test]
async fn a_closure_sees_its_own_writes_and_a_snapshot_never_changes() {
    let place = place();
    let store = open(&place.path);
    put(&store, &alice(), 1).await.unwrap().unwrap();
    let earlier = store.snapshot();
    let seen = store.write_account(&alice(), |tx| {
        tx.put(KeyPair { name: "renamed".into(), ..key_pair(1) });
        tx.put(key_pair(2));
        let removed = tx.remove::<KeyPair>(&key_pair_id(2));
        let names: Vec<String> = tx.list::<KeyPair>().map(|k| k.name.clone()).collect();
        Ok::<_, Refusal>((removed, names, tx.get::<KeyPair>(&key_pair_id(2)).is_none()))
    });
    assert_eq!(seen.await.unwrap(), Ok((true, vec!["renamed".to_owned()], true)));
    assert_eq!(earlier.of(&alice()).get::<KeyPair>(&key_pair_id(1)).unwrap().name, "key 1");
    assert_eq!(store.snapshot().of(&alice()).key_pair_by_name("renamed").unwrap().id, key_pair_id(1));
}

/// The ids of the images that a tenant sees.
fn images(store: &Store, scope: &Scope) -> Vec<String> {
    store.snapshot().of(scope).images().map(|i| i.id.to_string()).collect()
}

#[tokio::test]
async fn a_shared_image_is_seen_by_the_accounts_it_is_shared_with() {
    let place = place();
    let store = open(&place.path);
    let (shared, elsewhere) = (image(1, false).id, Scope { region: "eu-west-1".parse().unwrap(), ..bob() });
    let put = async |store: &Store, accounts: &[&Scope], public| {
        let launch_permissions = accounts.iter().map(|scope| scope.account.clone()).collect();
        let put = store.write_account(&alice(), move |tx| {
            tx.put(Image { launch_permissions, public, ..image(1, false) });
            Ok::<_, Refusal>(())
        });
        put.await.unwrap().unwrap();
    };
    put(&store, &[], false).await;
    assert_eq!((images(&store, &alice()).len(), images(&store, &bob()).len()), (1, 0));
    put(&store, &[&bob()], false).await;
    assert_eq!(images(&store, &bob()), [shared.to_string()]);
    assert!(images(&store, &elsewhere).is_empty());
    assert!(store.snapshot().of(&elsewhere).image_in(&bob().region, &shared).is_some(), "to be copied to another region");
    // Public as well: it is listed once.
    put(&store, &[&bob()], true).await;
    assert_eq!((images(&store, &alice()).len(), images(&store, &bob()).len()), (1, 1));
    // The indexes are the same when they are made anew from the database.
    drop(store);
    let store = open(&place.path);
    assert_eq!((images(&store, &alice()).len(), images(&store, &bob()).len()), (1, 1));
    put(&store, &[], false).await;
    assert_eq!((images(&store, &alice()).len(), images(&store, &bob()).len()), (1, 0));
    assert!(store.snapshot().of(&bob()).image(&shared).is_none());
}

#[tokio::test]
async fn a_tenant_can_not_name_what_another_one_has() {
    let place = place();
    let store = open(&place.path);
    let made = store.write_account(&alice(), |tx| {
        tx.put(key_pair(1));
        tx.put(vpc());
        tx.put(interface(1, "172.31.0.4", Some("198.18.0.1")));
        tx.put(image(1, false));
        tx.put(image(2, true));
        Ok::<_, Refusal>(())
    });
    made.await.unwrap().unwrap();
    let tried = store.write_account(&bob(), |tx| {
        assert!(tx.get::<KeyPair>(&key_pair_id(1)).is_none());
        assert_eq!(tx.list::<KeyPair>().count(), 0);
        assert!(!tx.remove::<KeyPair>(&key_pair_id(1)));
        assert!(tx.view().used_private_ips(&vpc_id()).is_empty());
        assert!(tx.get::<Image>(&image(2, true).id).is_none());
        assert!(tx.view().image(&image(1, false).id).is_none());
        assert_eq!(tx.view().image(&image(2, true).id).map(|i| i.name.as_str()), Some("image 2"));
        assert_eq!(tx.view().images().count(), 1);
        assert!(tx.used_public_ips().contains("198.18.0.1".parse().unwrap()), "only that it is used");
        Ok::<_, Refusal>(())
    });
    tried.await.unwrap().unwrap();
    assert!(matches!(put(&store, &bob(), 1).await, Err(StoreError::Panicked(_))), "the id is Alice's");
    assert_eq!(key_pairs(&store, &alice()), [key_pair(1)]);
    assert!(key_pairs(&store, &bob()).is_empty());
    let elsewhere = Scope { region: "eu-west-1".parse().unwrap(), ..alice() };
    assert!(store.snapshot().of(&elsewhere).image(&image(2, true).id).is_none(), "images belong to a region");
}

#[tokio::test]
async fn no_address_is_used_twice() {
    let place = place();
    let store = open(&place.path);
    let put = |n, private_ip: &'static str, public_ip| {
        store.write_account(&alice(), move |tx| {
            tx.put(interface(n, private_ip, public_ip));
            Ok::<_, Refusal>(())
        })
    };
    put(1, "172.31.0.4", Some("198.18.0.1")).await.unwrap().unwrap();
    assert!(matches!(put(2, "172.31.0.4", None).await, Err(StoreError::Panicked(_))));
    assert!(matches!(put(2, "172.31.0.5", Some("198.18.0.1")).await, Err(StoreError::Panicked(_))));
    put(1, "172.31.0.4", None).await.unwrap().unwrap();
    put(2, "172.31.0.5", Some("198.18.0.1")).await.unwrap().unwrap();
    let snapshot = store.snapshot();
    assert_eq!(snapshot.used_public_ips().iter().collect::<Vec<_>>(), ["198.18.0.1".parse::<std::net::Ipv4Addr>().unwrap()]);
    let (scope, found) = snapshot.interface_at(&vpc_id(), "172.31.0.5".parse().unwrap()).unwrap();
    assert_eq!((scope, &**found), (&alice(), &interface(2, "172.31.0.5", Some("198.18.0.1"))));
    let removed = store.write_account(&alice(), |tx| {
        let id: NetworkInterfaceId = interface(2, "172.31.0.5", None).id;
        Ok::<_, Refusal>(tx.remove::<NetworkInterface>(&id))
    });
    assert_eq!(removed.await.unwrap(), Ok(true));
    assert!(store.snapshot().used_public_ips().is_empty());
    assert!(store.snapshot().interface_at(&vpc_id(), "172.31.0.5".parse().unwrap()).is_none());
}

#[tokio::test]
async fn the_same_again_is_no_write_and_wakes_nobody() {
    let place = place();
    let store = open(&place.path);
    let changed = store.changed();
    put(&store, &alice(), 1).await.unwrap().unwrap();
    assert_eq!(*changed.borrow(), 1);
    put(&store, &alice(), 1).await.unwrap().unwrap();
    let audited = store.write_account(&alice(), |tx| {
        tx.audit(Timestamp(5), "ec2:DescribeInstances", "r", Some("UnauthorizedOperation"));
        Ok::<_, Refusal>(())
    });
    audited.await.unwrap().unwrap();
    assert_eq!(*changed.borrow(), 1);
    put(&store, &alice(), 2).await.unwrap().unwrap();
    assert_eq!(*changed.borrow(), 2);
}

#[tokio::test]
async fn what_was_answered_is_there_after_opening_again() {
    let place = place();
    let store = open(&place.path);
    let account = Account { id: alice().account, name: "alice".into(), created: Timestamp(7), closed: None };
    let key =
        AccessKey { id: "AKIAEXAMPLE".into(), secret: "s".into(), account: alice().account, created: Timestamp(7), any_secret: false };
    let (account_, key_) = (account.clone(), key.clone());
    let made = store.write(move |tx| {
        tx.account_put(account_);
        tx.access_key_put(key_);
        tx.setting_put("host_boot_id", "abc");
        tx.put(&alice(), key_pair(1));
        tx.put(&alice(), key_pair(2));
        tx.put(&bob(), interface(1, "172.31.0.4", Some("198.18.0.1")));
        Ok::<_, Refusal>(())
    });
    made.await.unwrap().unwrap();
    let removed = store.write(|tx| Ok::<_, Refusal>(tx.remove::<KeyPair>(&alice(), &key_pair_id(2))));
    assert_eq!(removed.await.unwrap(), Ok(true));
    drop(store);

    let store = open(&place.path);
    let snapshot = store.snapshot();
    assert_eq!(snapshot.revision(), 2);
    assert_eq!(snapshot.account(&alice().account).map(|a| (**a).clone()), Some(account));
    assert_eq!(snapshot.access_key("AKIAEXAMPLE").map(|k| (**k).clone()), Some(key));
    assert_eq!(snapshot.setting("host_boot_id"), Some("abc"));
    assert_eq!(key_pairs(&store, &alice()), [key_pair(1)]);
    assert!(snapshot.used_public_ips().contains("198.18.0.1".parse().unwrap()));
    let (owner, _) = snapshot.find::<KeyPair>(&key_pair_id(1)).unwrap();
    assert_eq!(owner, &alice());
}

#[tokio::test]
async fn a_data_directory_is_for_one_server_and_one_mode() {
    let place = place();
    let store = open(&place.path);
    let mode = std::fs::metadata(&place.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "it holds secrets");
    match Store::open(&place.path, Mode::Real, Arc::new(NoFaults)) {
        Err(OpenError::InUse { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
        other => panic!("{other:?}"),
    }
    drop(store);
    match Store::open(&place.path, Mode::Simulated, Arc::new(NoFaults)) {
        Err(OpenError::WrongMode { found: Mode::Real, wanted: Mode::Simulated, .. }) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(open(&place.path).mode(), Mode::Real);
}

#[tokio::test]
async fn audit_goes_with_its_transaction() {
    let place = place();
    let store = open(&place.path);
    for (n, outcome) in [(1, Ok(())), (2, Err("no")), (3, Ok(()))] {
        let call = store.write_account(&alice(), move |tx| {
            tx.audit(Timestamp(n), "ec2:CreateKeyPair", &format!("request-{n}"), None);
            outcome
        });
        assert_eq!(call.await.unwrap(), outcome);
    }
    let records = store.audit_newest(&alice(), 10).await.unwrap();
    assert_eq!(records.iter().map(|r| r.request_id.as_str()).collect::<Vec<_>>(), ["request-3", "request-1"]);
    assert_eq!(records[0].time, Timestamp(3));
    assert!(store.audit_newest(&bob(), 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn tokens_are_forgotten_after_their_time() {
    let place = place();
    let store = open(&place.path);
    let id = |token: &str| TokenId { action: "RunInstances".into(), token: token.into() };
    let (old, new) = (id("old"), id("new"));
    let made = store.write(move |tx| {
        for (id, at) in [(old, 0), (new, 10)] {
            tx.put(&alice(), IdempotencyToken { id, params_hash: "h".into(), result_ids: vec!["r-1".into()], at: Timestamp(at) });
        }
        Ok::<_, Refusal>(())
    });
    made.await.unwrap().unwrap();
    let expired = store.write(|tx| Ok::<_, Refusal>(tx.tokens_expire(Timestamp(TOKEN_KEPT_MILLIS + 5))));
    assert_eq!(expired.await.unwrap(), Ok(1));
    let snapshot = store.snapshot();
    assert!(snapshot.of(&alice()).get::<IdempotencyToken>(&id("old")).is_none());
    assert!(snapshot.of(&alice()).get::<IdempotencyToken>(&id("new")).is_some());
    assert!(snapshot.of(&bob()).get::<IdempotencyToken>(&id("new")).is_none());
}

/// Crashes once, at the given point.
struct CrashAt(Mutex<Option<&'static str>>);

impl Faults for CrashAt {
    fn hit(&self, point: &'static str) -> Result<(), Crash> {
        let mut wanted = self.0.lock().unwrap();
        if *wanted == Some(point) {
            *wanted = None;
            return Err(Crash(point));
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_crash_before_the_commit_loses_it_and_one_after_keeps_it() {
    for (point, kept) in [("store.commit.before", false), ("store.commit.after", true)] {
        let place = place();
        let faults = Arc::new(CrashAt(Mutex::new(None)));
        let store = Store::open(&place.path, Mode::Real, faults.clone()).unwrap();
        put(&store, &alice(), 1).await.unwrap().unwrap();
        *faults.0.lock().unwrap() = Some(point);
        assert!(matches!(put(&store, &alice(), 2).await, Err(StoreError::Crashed(Crash(p))) if p == point));
        assert_eq!(key_pairs(&store, &alice()), [key_pair(1)], "a dead process publishes nothing");
        assert!(matches!(put(&store, &alice(), 3).await, Err(StoreError::Crashed(_))), "nor writes");
        drop(store);
        let wanted = if kept { vec![key_pair(1), key_pair(2)] } else { vec![key_pair(1)] };
        assert_eq!(key_pairs(&open(&place.path), &alice()), wanted, "{point}");
    }
}

#[tokio::test]
async fn many_writers_lose_nothing() {
    let place = place();
    let store = open(&place.path);
    let tasks: Vec<_> = (0..500)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move { put(&store, &alice(), n).await.unwrap() })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let pages = store.snapshot().of(&alice()).list_after::<KeyPair>(&key_pair_id(489)).count();
    assert_eq!((key_pairs(&store, &alice()).len(), pages), (500, 10));
}
