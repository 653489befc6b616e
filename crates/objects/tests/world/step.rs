//! One step: something is asked of the engine and of the model, and both are compared.

use crate::engine::{CUSTOMER, World, read};
use crate::model::{Answer, Model, Upload, Version, kind, rolled};
use model::time::Timestamp;
use objects::{
    Bucket, Complete, Condition, Delete, Encryption, EtagMatch, List, ListVersions, Lock, LockMode, PartPut, Put, Record, Seal, Staged,
    UploadId, VersionId, Versioning,
};
use rand::RngExt as _;

const BUCKETS: [&str; 2] = ["one", "two"];
const KEYS: [&str; 7] = ["a", "a/b", "a/b/c", "a/d", "b", "é/x", "é/y"];
/// Smallest size of a part that is not the last.
const MINIMUM: usize = 8;

impl World {
    fn pick<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.rng.random_range(0..all.len())].clone()
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    fn key(&mut self) -> (String, String) {
        (if self.chance(90) { BUCKETS[0] } else { BUCKETS[1] }.into(), self.pick(&KEYS).into())
    }

    fn body(&mut self) -> Vec<u8> {
        let sizes = [0, 1, 7, 8, 16, 17, 40];
        let size = if self.rng.random_range(0..60) == 0 { 140_000 } else { self.pick(&sizes) };
        let first: u8 = self.rng.random();
        (0..size).map(|i| first.wrapping_add((i % 251) as u8)).collect()
    }

    /// An ETag that is there, or none.
    fn etags(&mut self, bucket: &str, key: &str) -> EtagMatch {
        let there = self.model.buckets.get(bucket).and_then(|b| b.current(key)).map(|v| v.etag.clone());
        match self.rng.random_range(0..3) {
            0 => EtagMatch::Any,
            1 => EtagMatch::List(vec!["other".into()]),
            _ => EtagMatch::List(there.into_iter().chain(["another".into()]).collect()),
        }
    }

    fn condition(&mut self, bucket: &str, key: &str) -> Condition {
        let mut condition = Condition::default();
        if self.chance(10) {
            condition.if_match = Some(self.etags(bucket, key));
        }
        if self.chance(10) {
            condition.if_none_match = Some(self.etags(bucket, key));
        }
        condition
    }

    /// A version that is there, or not.
    fn version(&mut self, bucket: &str, key: &str) -> VersionId {
        let all = self.model.buckets.get(bucket).and_then(|b| b.keys.get(key)).cloned().unwrap_or_default();
        let mut ids: Vec<VersionId> = all.into_iter().filter_map(|v| v.id).collect();
        if ids.is_empty() || self.chance(10) {
            ids = vec![VersionId::null(), "00000000000000010000000000000002".parse().unwrap()];
        }
        self.pick(&ids)
    }

    async fn stage(&mut self, body: &[u8], seal: Seal) -> objects::Result<Staged> {
        let mut staging = self.engine().stage(seal);
        let (first, rest) = body.split_at(self.rng.random_range(0..=body.len()));
        staging.write(first.to_vec().into()).await?;
        staging.write(rest.to_vec().into()).await?;
        let staged = staging.finish().await?;
        assert_eq!(staged.size(), body.len() as u64);
        Ok(staged)
    }

    fn delete_of(&mut self, bucket: &str, key: String) -> Delete {
        let version = if self.chance(50) { Some(self.version(bucket, &key)) } else { None };
        let if_match = if self.chance(10) { Some(self.etags(bucket, &key)) } else { None };
        Delete { bucket: bucket.into(), key, version, if_match, bypass_governance: false, now: Timestamp(self.model.now) }
    }

    /// Compares the answers and what is there now. After a crash what was asked for was done as a whole or not at all.
    async fn settle(&mut self, wanted: Answer, got: Answer, mut after: Model) {
        let full = self.rng.random_range(0..4) == 0;
        if got == Err("Io") {
            assert!(self.crashed(), "an error without a crash");
        } else {
            assert_eq!(got, wanted);
        }
        if let Some(seen) = self.see(full, &after).await
            && !self.crashed()
        {
            after.learn(&seen);
            assert_eq!(seen, after);
            self.model = after;
            return;
        }
        self.reopen();
        let seen = self.see(true, &after).await.unwrap();
        after.learn(&seen);
        if got == Err("Io") && seen == self.model {
            return;
        }
        self.model = after;
        assert_eq!(self.see(true, &self.model).await.as_ref(), Some(&self.model));
    }
}

fn owner() -> model::scope::AccountId {
    "111111111111".parse().unwrap()
}

fn refused<T>(result: objects::Result<T>) -> Answer<T> {
    result.map_err(|e| kind(&e))
}

pub(crate) async fn step(w: &mut World) {
    w.model.now += w.rng.random_range(0..3);
    if w.chance(8) {
        w.arm();
    }
    let mut after = w.model.clone();
    match w.rng.random_range(0..100) {
        0..5 => {
            let name = w.pick(&BUCKETS);
            let bucket = bucket(name, w.model.now);
            let wanted = after.create(name);
            let got = refused(w.engine().bucket_create(bucket).await);
            w.settle(wanted, got, after).await;
        }
        5..7 => {
            let name = w.pick(&BUCKETS);
            let wanted = after.drop_bucket(name);
            let got = refused(w.engine().bucket_delete(name).await);
            w.settle(wanted, got, after).await;
        }
        7..13 => {
            let (name, _) = w.key();
            let versioning = w.pick(&[Versioning::Enabled, Versioning::Enabled, Versioning::Suspended]);
            let wanted = after.bucket(&name).map(|b| b.versioning = versioning);
            let change = move |b: &mut Bucket| {
                b.versioning = versioning;
                Ok::<(), ()>(())
            };
            let got = refused(w.engine().bucket_update(&name, change).await).map(|_| ());
            w.settle(wanted, got, after).await;
        }
        13..42 => put(w, after).await,
        42..55 => {
            let (bucket, key) = w.key();
            let delete = w.delete_of(&bucket, key);
            let wanted = after.delete(&bucket, &delete);
            let got = refused(w.engine().delete(delete).await).map(|deleted| deleted.marker);
            if let (Ok(wanted), Ok(got)) = (&wanted, &got) {
                assert_eq!(wanted, got);
            }
            w.settle(wanted.map(|_| ()), got.map(|_| ()), after).await;
        }
        55..59 => {
            let (bucket, _) = w.key();
            let deletes: Vec<Delete> = (0..4)
                .map(|_| {
                    let key = w.pick(&KEYS).into();
                    w.delete_of(&bucket, key)
                })
                .collect();
            let each: Vec<Answer<bool>> = deletes.iter().map(|d| after.delete(&bucket, d)).collect();
            let got = refused(w.engine().delete_many(&bucket, deletes).await);
            let got = got.map(|all| all.into_iter().map(|one| refused(one).map(|d| d.marker)).collect::<Vec<_>>());
            if let Ok(got) = &got {
                assert_eq!(*got, each);
            }
            let wanted = if after.buckets.contains_key(&bucket) { Ok(()) } else { Err("NoSuchBucket") };
            w.settle(wanted, got.map(|_| ()), after).await;
        }
        59..64 => update(w, after).await,
        64..86 => upload(w, after).await,
        86..90 => hold(w).await,
        90..95 => list(w).await,
        95..99 => list_versions(w).await,
        _ => {
            w.reopen();
            assert_eq!(w.see(true, &w.model).await.as_ref(), Some(&w.model));
        }
    }
}

fn bucket(name: &str, now: i64) -> Bucket {
    Bucket {
        name: name.into(),
        owner: owner(),
        region: "us-east-1".into(),
        created: Timestamp(now),
        versioning: Versioning::Off,
        object_lock: false,
        acl: objects::Acl::default(),
        ownership: None,
        policy: None,
        public_access_block: None,
        tags: Default::default(),
        documents: Default::default(),
        readings: Default::default(),
    }
}

fn sealed(w: &mut World) -> (Seal, Record) {
    let seal = w.pick(&[Seal::None, Seal::None, Seal::Engine, Seal::Customer(CUSTOMER)]);
    let encryption = matches!(seal, Seal::Customer(_)).then(|| Encryption::Customer { key_md5: "x".into() });
    (seal, Record { encryption, ..Record::new(owner()) })
}

async fn put(w: &mut World, mut after: Model) {
    let (bucket, key) = w.key();
    let (body, condition) = (w.body(), w.condition(&bucket, &key));
    let ((seal, mut record), etag) = (sealed(w), format!("e{}", w.rng.random_range(0..100)));
    if w.chance(5) && w.model.buckets.get(&bucket).is_some_and(|b| b.versioning == Versioning::Enabled) {
        let until = Some(Timestamp(w.model.now + 10));
        record.lock = Lock { mode: Some(LockMode::Governance), until, legal_hold: None };
    }
    let mut version = Version::of(&etag, body.clone());
    (version.customer, version.lock) = (record.encryption.is_some(), record.lock);
    let wanted = after.put(&bucket, &key, version, &condition);
    let now = Timestamp(w.model.now);
    let created = |w: &World, bucket: &str| w.engine().bucket(bucket).map_or(Timestamp(0), |bucket| bucket.created);
    let got = match w.stage(&body, seal).await {
        Ok(_) if w.chance(5) => return unchanged(w).await,
        Ok(staged) => {
            refused(w.engine().put(Put { bucket_created: created(w, &bucket), bucket, key, staged, etag, record, condition, now }).await)
                .map(|_| ())
        }
        Err(error) => Err(kind(&error)),
    };
    w.settle(wanted, got, after).await;
}

/// Something was staged and dropped.
async fn unchanged(w: &mut World) {
    let same = w.model.clone();
    w.settle(Ok(()), Ok(()), same).await;
}

async fn update(w: &mut World, mut after: Model) {
    let (bucket, key) = w.key();
    let id = if w.chance(50) { Some(w.version(&bucket, &key)) } else { None };
    let value = w.rng.random_range(0..100).to_string();
    let refuse = w.chance(20);
    let found = after.find(&bucket, &key, id.as_ref()).map(|version| {
        if !refuse {
            version.tags.insert("t".into(), value.clone());
        }
    });
    let change = move |version: &mut objects::Version| {
        version.record.tags.insert("t".into(), value);
        if refuse { Err(()) } else { Ok(()) }
    };
    let got = refused(w.engine().update(&bucket, &key, id, change).await).map(|changed| assert_eq!(changed.is_err(), refuse));
    w.settle(found, got, after).await;
}

async fn upload(w: &mut World, mut after: Model) {
    let (bucket, key) = w.key();
    let now = Timestamp(w.model.now);
    let all: Vec<(String, UploadId)> = w.model.buckets.get(&bucket).map(|b| b.uploads.keys().cloned().collect()).unwrap_or_default();
    if all.is_empty() || w.chance(15) {
        let (_, record) = sealed(w);
        let id = w.engine().upload_id(now);
        let new = Upload { customer: record.encryption.is_some(), ..Upload::default() };
        let wanted = after.bucket(&bucket).map(|b| _ = b.uploads.insert((key.clone(), id.clone()), new));
        let upload = objects::Upload { id, bucket, key, initiated: now, initiator: owner(), record, checksum: None };
        let got = refused(w.engine().upload_create(upload).await);
        return w.settle(wanted, got, after).await;
    }
    let (key, mut id) = w.pick(&all);
    if w.chance(5) {
        id = "gone".into();
    }
    match w.rng.random_range(0..10) {
        0..6 => part(w, after, bucket, key, id).await,
        6..9 => complete(w, after, bucket, key, id).await,
        _ => {
            let wanted = after.upload(&bucket, &key, &id).map(|_| ());
            if wanted.is_ok() {
                after.bucket(&bucket).unwrap().uploads.remove(&(key.clone(), id.clone()));
            }
            let got = refused(w.engine().upload_abort(&bucket, &key, &id).await);
            w.settle(wanted, got, after).await;
        }
    }
}

async fn part(w: &mut World, mut after: Model, bucket: String, key: String, upload: UploadId) {
    let (number, body, etag) = (w.rng.random_range(1..5), w.body(), format!("p{}", w.rng.random_range(0..1_000_000)));
    let customer = after.upload(&bucket, &key, &upload).is_ok_and(|u| u.customer);
    let seal = if customer { Seal::Customer(CUSTOMER) } else { Seal::Engine };
    let new = (etag.clone(), body.clone());
    let wanted = after.upload(&bucket, &key, &upload).map(|u| _ = u.parts.insert(number, new));
    let now = Timestamp(w.model.now);
    let got = match w.stage(&body, seal).await {
        Ok(staged) => {
            let put = PartPut { bucket, key, upload, number, staged, etag, checksums: Default::default(), now };
            refused(w.engine().part_put(put).await).map(|_| ())
        }
        Err(error) => Err(kind(&error)),
    };
    w.settle(wanted, got, after).await;
}

async fn complete(w: &mut World, mut after: Model, bucket: String, key: String, upload: UploadId) {
    let there = after.upload(&bucket, &key, &upload).map(|u| u.parts.clone()).unwrap_or_default();
    let mut parts: Vec<(u32, String)> = there.into_iter().map(|(number, (etag, _))| (number, etag)).collect();
    match w.rng.random_range(0..8) {
        0 => parts.reverse(),
        1 => parts.truncate(2),
        2 => parts.push((9, "gone".into())),
        _ => {}
    }
    let condition = w.condition(&bucket, &key);
    let mut wanted = after.complete(&bucket, &key, &upload, &parts, MINIMUM, &condition);
    let refuse = wanted.is_ok() && w.chance(10);
    if refuse {
        (after, wanted) = (w.model.clone(), Ok(()));
    }
    let now = Timestamp(w.model.now);
    let (asked, id) = (Complete { bucket, key, upload, parts, minimum: MINIMUM as u64, condition, now }, ());
    let finish = move |upload: &objects::Upload, parts: &[objects::Part]| {
        if refuse {
            return Err(id);
        }
        let mut record = upload.record.clone();
        record.metadata.insert("upload".into(), upload.id.to_string());
        Ok((format!("{}-{}", parts.iter().map(|p| p.size).sum::<u64>(), parts.len()), record))
    };
    let got = refused(w.engine().upload_complete(asked.clone(), finish).await);
    if let Ok(Ok(version)) = &got
        && !w.crashed()
    {
        let again = w.engine().upload_complete(asked, |_, _| Err(())).await;
        let again = if w.crashed() { Ok(version.id.clone()) } else { again.unwrap().map(|v| v.id.clone()) };
        assert_eq!(again, Ok(version.id.clone()), "asked again");
    }
    w.settle(wanted, got.map(|_| ()), after).await;
}

/// Holds a version, and reads those that were held: whatever happened to the object, they are what they were.
async fn hold(w: &mut World) {
    for (version, body) in std::mem::take(&mut w.held) {
        let (a, b) = (w.rng.random_range(0..=body.len()), w.rng.random_range(0..=body.len()));
        let range = a.min(b)..a.max(b);
        let got = read(&w.engine(), &version, range.start as u64..range.end as u64).await;
        assert_eq!(got.as_deref(), Ok(&body[range]));
    }
    for _ in 0..3 {
        let (bucket, key) = w.key();
        let wanted = w.model.find(&bucket, &key, None).map(|v| v.body.clone());
        match (refused(w.engine().get(&bucket, &key, None).await), wanted) {
            (Ok(version), Ok(body)) => w.held.push((version, body)),
            (got, wanted) => assert!(w.crashed() || got.as_ref().err() == wanted.as_ref().err(), "{got:?} {wanted:?}"),
        }
    }
    if w.crashed() {
        w.reopen();
    }
}

async fn list(w: &mut World) {
    let bucket = w.key().0;
    let Some(there) = w.model.buckets.get(&bucket).cloned() else { return };
    let (prefix, delimiter) = (w.pick(&["", "a", "a/", "é", "z"]), w.pick(&[None, Some("/"), Some("/b")]));
    let start = w.pick(&[None, None, Some("a"), Some("a/"), Some("a/b"), Some("b"), Some("é/x")]).map(str::to_owned);
    let max = w.rng.random_range(1..4);
    let keys: Vec<String> = there.keys.keys().filter(|k| there.current(k).is_some()).cloned().collect();
    let wanted = rolled(&keys, prefix, delimiter, start.as_deref());
    let (mut got, mut after) = (Vec::new(), start);
    loop {
        let delimiter = delimiter.map(str::to_owned);
        let q = List { bucket: bucket.clone(), prefix: prefix.into(), delimiter, after, max };
        let Ok(page) = w.engine().list(q).await else { return assert!(w.crashed()) };
        let mut items: Vec<(String, bool)> = page.objects.iter().map(|v| (v.key.clone(), false)).collect();
        items.extend(page.prefixes.into_iter().map(|p| (p, true)));
        items.sort();
        assert!(items.len() == max || page.next.is_none());
        assert!(page.next.is_none() || page.next.as_ref() == items.last().map(|i| &i.0));
        got.extend(items);
        after = page.next;
        if after.is_none() {
            return assert_eq!(got, wanted);
        }
    }
}

async fn list_versions(w: &mut World) {
    let bucket = w.key().0;
    let Some(there) = w.model.buckets.get(&bucket).cloned() else { return };
    let (prefix, delimiter) = (w.pick(&["", "a", "a/", "é", "z"]), w.pick(&[None, Some("/")]));
    let max = w.rng.random_range(1..4);
    let keys: Vec<String> = there.keys.keys().cloned().collect();
    let ids = |item: &str| there.keys[item].iter().map(|v| v.id.clone()).collect::<Vec<_>>();
    let wanted = rolled(&keys, prefix, delimiter, None);
    let wanted: Vec<(String, Option<VersionId>)> = wanted
        .into_iter()
        .flat_map(
            |(item, is_prefix)| if is_prefix { vec![(item, None)] } else { ids(&item).into_iter().map(|id| (item.clone(), id)).collect() },
        )
        .collect();
    let (mut got, mut after) = (Vec::new(), None);
    loop {
        let delimiter = delimiter.map(str::to_owned);
        let q = ListVersions { bucket: bucket.clone(), prefix: prefix.into(), delimiter, after, max };
        let Ok(page) = w.engine().list_versions(q).await else { return assert!(w.crashed()) };
        for version in &page.versions {
            assert_eq!(version.is_latest, there.keys[&version.key][0].id.as_ref() == Some(&version.id));
        }
        let mut items: Vec<(String, Option<VersionId>)> = page.versions.into_iter().map(|v| (v.key, Some(v.id))).collect();
        items.extend(page.prefixes.into_iter().map(|p| (p, None)));
        items.sort_by(|a, b| a.0.cmp(&b.0));
        assert!(page.next.is_none() || page.next.as_ref() == items.last());
        got.extend(items);
        after = page.next;
        if after.is_none() {
            return assert_eq!(got, wanted);
        }
    }
}
