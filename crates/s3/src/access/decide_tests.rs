//! Tables of who may do what, with an engine but without HTTP.

#![allow(clippy::unwrap_used)]
use super::*;
use crate::access::acl;
use crate::settings::Settings;
use http::{HeaderMap, Uri};
use model::fault::NoFaults;
use model::time::{Clock, Timestamp};
use objects::{Condition, Grant, MasterKey, Objects, PublicAccessBlock, Put, Record, Seal, Versioning};
use std::collections::BTreeMap;

const OWNER: &str = "111111111111";
const OTHER: &str = "222222222222";
const NOBODY: &str = "";

struct Still;
impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp(1_795_493_259_000)
    }
}

/// A bucket with an object of its owner (`mine`), one of another account (`theirs`), and one with a grant to all (`public`).
struct World {
    s3: S3,
    _dir: tempfile::TempDir,
}

fn account(id: &str) -> AccountId {
    id.parse().unwrap()
}

fn caller(id: &str) -> Caller {
    if id == NOBODY { Caller::Anonymous } else { Caller::Account(account(id)) }
}

fn granting(grantee: Grantee, permission: Permission) -> Acl {
    Acl { grants: vec![Grant { grantee, permission }] }
}

fn bucket() -> Bucket {
    Bucket {
        name: "bucket".into(),
        owner: account(OWNER),
        region: "us-east-1".into(),
        created: Timestamp(0),
        versioning: Versioning::Off,
        object_lock: false,
        acl: acl::private(&account(OWNER)),
        ownership: Some(Ownership::ObjectWriter),
        policy: None,
        public_access_block: None,
        tags: BTreeMap::new(),
        documents: BTreeMap::new(),
        readings: objects::Readings::default(),
    }
}

fn policy_text(effect: &str, principal: &str, action: &str) -> String {
    format!(
        r#"{{"Version":"2012-10-17","Statement":{{"Effect":"{effect}","Principal":{principal},"Action":"{action}","Resource":["arn:aws:s3:::bucket","arn:aws:s3:::bucket/*"]}}}}"#
    )
}

impl World {
    async fn new(ownership: Ownership) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = objects::Options { durable: false, ..objects::Options::default() };
        let keys = MasterKey::new([7; 32]);
        let engine = Objects::open_with(&dir.path().join("objects"), keys, Arc::new(NoFaults), options).unwrap();
        let store = store::Store::open(&dir.path().join("store"), store::Mode::Simulated, Arc::new(NoFaults)).unwrap();
        let s3 = S3::new(engine, store, Arc::new(Still), Settings::default());
        s3.objects.bucket_create(Bucket { ownership: Some(ownership), ..bucket() }).await.unwrap();
        let world = Self { s3, _dir: dir };
        world.put("mine", OWNER, None).await;
        world.put("theirs", OTHER, None).await;
        world.put("public", OWNER, Some(granting(Grantee::AllUsers, Permission::Read))).await;
        world
    }

    async fn put(&self, key: &str, owner: &str, acl: Option<Acl>) {
        let staged = self.s3.objects.stage(Seal::None).finish().await.unwrap();
        let record = Record { acl, tags: BTreeMap::from([("team".into(), "blue".into())]), ..Record::new(account(owner)) };
        let (bucket, key, etag) = ("bucket".to_owned(), key.to_owned(), "0".to_owned());
        let put =
            Put { bucket, bucket_created: Timestamp(0), key, staged, etag, record, condition: Condition::default(), now: Timestamp(0) };
        self.s3.objects.put(put).await.unwrap();
    }

    async fn change(&self, change: impl FnOnce(&mut Bucket) + Send + 'static) {
        let change = |bucket: &mut Bucket| {
            change(bucket);
            Ok::<(), ()>(())
        };
        self.s3.objects.bucket_update("bucket", change).await.unwrap().unwrap();
    }

    async fn policy(&self, text: String) {
        self.change(move |bucket| bucket.policy = Some(text)).await;
    }

    /// The code of the refusal, or nothing.
    async fn ask(&self, who: &str, action: &'static str, key: &str) -> String {
        let around = Circumstances::new(&HeaderMap::new(), &Uri::from_static("/bucket"), None, Timestamp(0));
        let bucket = self.s3.bucket("bucket").unwrap();
        let key = (!key.is_empty()).then_some(key);
        let ask = Ask { action, bucket: &bucket, key, version: None, making: false, around: &around };
        self.s3.allow(&caller(who), &ask).await.err().map(|e| e.code().as_str().to_owned()).unwrap_or_default()
    }

    async fn table(&self, rows: &[(&str, &'static str, &str, &str)]) {
        for (who, action, key, expected) in rows {
            assert_eq!(self.ask(who, action, key).await, *expected, "{who:?} {action} {key:?}");
        }
    }
}

const DENIED: &str = "AccessDenied";
const GET: &str = action::GET_OBJECT;
const PUT: &str = action::PUT_OBJECT;
const DELETE: &str = action::DELETE_OBJECT;
const LIST: &str = action::LIST_BUCKET;

#[tokio::test]
async fn without_grants_all_is_the_owners() {
    let world = World::new(Ownership::BucketOwnerEnforced).await;
    let rows = [
        (OWNER, GET, "mine", ""),
        (OWNER, GET, "theirs", ""),
        (OWNER, GET, "none", ""),
        (OWNER, LIST, "", ""),
        (OWNER, "s3:PutBucketPolicy", "", ""),
        (OTHER, GET, "theirs", DENIED),
        (OTHER, GET, "public", DENIED),
        (OTHER, GET, "none", DENIED),
        (OTHER, DELETE, "theirs", DENIED),
        (NOBODY, GET, "public", DENIED),
        (NOBODY, LIST, "", DENIED),
    ];
    world.table(&rows).await;
}

#[tokio::test]
async fn grants_are_for_the_owners_of_objects_to_give() {
    let world = World::new(Ownership::ObjectWriter).await;
    let rows = [
        (OWNER, GET, "mine", ""),
        (OWNER, GET, "theirs", DENIED),
        (OWNER, DELETE, "theirs", ""),
        (OWNER, "s3:GetObjectAcl", "theirs", DENIED),
        (OTHER, GET, "theirs", ""),
        (OTHER, "s3:PutObjectAcl", "theirs", ""),
        (OTHER, "s3:GetObjectTagging", "theirs", DENIED),
        (OTHER, DELETE, "theirs", DENIED),
        (OTHER, GET, "public", ""),
        (OTHER, "s3:GetObjectAcl", "public", DENIED),
        (NOBODY, GET, "public", ""),
        (NOBODY, GET, "none", DENIED),
        (NOBODY, PUT, "new", DENIED),
    ];
    world.table(&rows).await;
    world.change(|bucket| bucket.acl = granting(Grantee::AllUsers, Permission::Read)).await;
    world
        .table(&[(NOBODY, LIST, "", ""), (NOBODY, GET, "none", "NoSuchKey"), (NOBODY, GET, "mine", DENIED), (NOBODY, PUT, "new", DENIED)])
        .await;
    world.change(|bucket| bucket.acl = granting(Grantee::AuthenticatedUsers, Permission::Write)).await;
    let rows = [(NOBODY, PUT, "new", DENIED), (OTHER, PUT, "new", ""), (OTHER, DELETE, "mine", DENIED), (OTHER, DELETE, "theirs", "")];
    world.table(&rows).await;
    let block = PublicAccessBlock { ignore_public_acls: true, ..PublicAccessBlock::default() };
    world.change(move |bucket| bucket.public_access_block = Some(block)).await;
    world
        .table(&[(OTHER, PUT, "new", DENIED), (OTHER, GET, "public", DENIED), (OTHER, GET, "theirs", ""), (OWNER, GET, "public", "")])
        .await;
}

#[tokio::test]
async fn policies_allow_and_deny() {
    let world = World::new(Ownership::BucketOwnerEnforced).await;
    world.policy(policy_text("Allow", &format!(r#"{{"AWS":"{OTHER}"}}"#), "s3:GetObject")).await;
    let rows = [
        (OTHER, GET, "mine", ""),
        (OTHER, GET, "none", DENIED),
        (OTHER, "s3:GetObjectTagging", "mine", DENIED),
        (NOBODY, GET, "mine", DENIED),
        ("333333333333", GET, "mine", DENIED),
    ];
    world.table(&rows).await;
    world.policy(policy_text("Allow", r#""*""#, "s3:*")).await;
    world
        .table(&[(NOBODY, GET, "mine", ""), (NOBODY, GET, "none", ""), (NOBODY, PUT, "new", ""), (NOBODY, "s3:DeleteBucket", "", "")])
        .await;
    let block = PublicAccessBlock { restrict_public_buckets: true, ..PublicAccessBlock::default() };
    world.change(move |bucket| bucket.public_access_block = Some(block)).await;
    world.table(&[(NOBODY, GET, "mine", DENIED), (OTHER, GET, "mine", DENIED), (OWNER, GET, "mine", "")]).await;
    world.policy(policy_text("Deny", r#""*""#, "s3:*")).await;
    let rows = [
        (OWNER, GET, "mine", DENIED),
        (OWNER, LIST, "", DENIED),
        (OWNER, "s3:PutBucketAcl", "", DENIED),
        (OWNER, "s3:GetBucketPolicy", "", ""),
        (OWNER, "s3:PutBucketPolicy", "", ""),
        (OWNER, "s3:DeleteBucketPolicy", "", ""),
        (OTHER, "s3:DeleteBucketPolicy", "", DENIED),
    ];
    world.table(&rows).await;
}

/// A policy speaks for what is the bucket owner's; of what is another's it can only deny.
#[tokio::test]
async fn policies_dont_open_what_others_own() {
    let world = World::new(Ownership::ObjectWriter).await;
    world.policy(policy_text("Allow", r#""*""#, "s3:*")).await;
    world
        .table(&[(NOBODY, GET, "mine", ""), (NOBODY, GET, "theirs", DENIED), (NOBODY, DELETE, "theirs", ""), (OTHER, GET, "theirs", "")])
        .await;
    world.policy(policy_text("Deny", r#""*""#, "s3:GetObject")).await;
    world.table(&[(OTHER, GET, "theirs", DENIED), (NOBODY, GET, "public", DENIED)]).await;
}

/// Who may write an object may set its list of grants in the same go; a policy must say both.
#[tokio::test]
async fn a_list_of_grants_with_a_new_object() {
    let world = World::new(Ownership::ObjectWriter).await;
    let around = Circumstances::new(&HeaderMap::new(), &Uri::from_static("/bucket/new"), None, Timestamp(0));
    let may = async |action| {
        let bucket = world.s3.bucket("bucket").unwrap();
        let ask = Ask { action, bucket: &bucket, key: Some("new"), version: None, making: true, around: &around };
        world.s3.allow(&caller(OTHER), &ask).await.is_ok()
    };
    assert!(!may(action::PUT_OBJECT_ACL).await);
    world.policy(policy_text("Allow", r#""*""#, "s3:PutObject")).await;
    assert!(may(PUT).await && !may(action::PUT_OBJECT_ACL).await);
    world.change(|bucket| bucket.acl = granting(Grantee::AuthenticatedUsers, Permission::Write)).await;
    assert!(may(action::PUT_OBJECT_ACL).await);
    world.policy(policy_text("Deny", r#""*""#, "s3:PutObjectAcl")).await;
    assert!(may(PUT).await && !may(action::PUT_OBJECT_ACL).await);
}

/// Only the bucket's own account learns why.
#[tokio::test]
async fn why_it_is_denied() {
    let world = World::new(Ownership::ObjectWriter).await;
    world.policy(policy_text("Deny", r#""*""#, "s3:GetObject*")).await;
    let around = Circumstances::new(&HeaderMap::new(), &Uri::from_static("/bucket/mine"), None, Timestamp(0));
    let said = async |who: &str, version| {
        let bucket = world.s3.bucket("bucket").unwrap();
        let ask = Ask { action: GET, bucket: &bucket, key: Some("mine"), version, making: false, around: &around };
        world.s3.allow(&caller(who), &ask).await.unwrap_err().message().unwrap().to_owned()
    };
    let by = |permission| {
        format!(
            "User: arn:aws:iam::111111111111:root is not authorized to perform: {permission} on resource: \"arn:aws:s3:::bucket/mine\" \
             with an explicit deny in a resource-based policy"
        )
    };
    assert_eq!(said(OWNER, None).await, by("s3:GetObject"));
    assert_eq!(said(OWNER, Some("null")).await, by("s3:GetObjectVersion"));
    for who in [OTHER, NOBODY] {
        assert_eq!(said(who, None).await, "Access Denied");
    }
    world.change(|bucket| bucket.public_access_block = Some(PublicAccessBlock { block_public_acls: true, ..Default::default() })).await;
    let public = HeaderMap::from_iter([(http::HeaderName::from_static("x-amz-acl"), http::HeaderValue::from_static("public-read"))]);
    let put = |who: &str| {
        let refused = world.s3.new_object(&world.s3.bucket("bucket").unwrap(), &caller(who), &public, Some("a/b"));
        refused.unwrap_err().message().unwrap().to_owned()
    };
    let why = "on resource: \"arn:aws:s3:::bucket/a/b\" because public ACLs are prevented by the BlockPublicAcls setting in S3 Block Public Access.";
    assert!(put(OWNER).ends_with(why), "{}", put(OWNER));
    assert_eq!(put(OTHER), "Access Denied");
}
