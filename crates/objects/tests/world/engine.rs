//! The engine under test, and everything that can be seen of it.

use crate::model::{Bucket, Model, Upload, Version, kind};
use futures_util::StreamExt as _;
use model::fault::{Crash, Faults};
use model::time::Timestamp;
use objects::{ListUploads, ListVersions, MasterKey, Objects, Options};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// The customer's key of all that customers seal.
pub(crate) const CUSTOMER: [u8; 32] = [9; 32];

/// Where a process can die.
const POINTS: [&str; 14] = [
    "objects.create.before",
    "objects.sync.before",
    "objects.sync.between",
    "objects.sync.after",
    "objects.commit.before",
    "objects.commit.before",
    "objects.commit.after",
    "objects.commit.after",
    "objects.rename.before",
    "objects.rename.after",
    "objects.unlink.before",
    "objects.unlink.after",
    "objects.recover.before",
    "objects.recover.after",
];

/// Dies at the next passing of the point that is set.
#[derive(Default)]
pub(crate) struct CrashAt {
    point: Mutex<Option<&'static str>>,
    crashed: AtomicBool,
}

impl Faults for CrashAt {
    fn hit(&self, point: &'static str) -> Result<(), Crash> {
        let mut wanted = self.point.lock().unwrap();
        if *wanted == Some(point) {
            *wanted = None;
            self.crashed.store(true, Ordering::SeqCst);
            return Err(Crash(point));
        }
        Ok(())
    }
}

pub(crate) struct World {
    dir: tempfile::TempDir,
    engine: Option<Objects>,
    faults: Arc<CrashAt>,
    pub(crate) rng: ChaCha8Rng,
    pub(crate) model: Model,
    /// Versions that are held, with what they must read.
    pub(crate) held: Vec<(Arc<objects::Version>, Vec<u8>)>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let (dir, rng) = (tempfile::tempdir().unwrap(), ChaCha8Rng::seed_from_u64(seed));
        let mut world = Self { dir, engine: None, faults: Arc::default(), rng, model: Model::default(), held: Vec::new() };
        world.open();
        world
    }

    pub(crate) fn engine(&self) -> Objects {
        self.engine.clone().unwrap()
    }

    pub(crate) fn arm(&mut self) {
        let point = POINTS[self.rng.random_range(0..POINTS.len())];
        *self.faults.point.lock().unwrap() = Some(point);
    }

    pub(crate) fn crashed(&self) -> bool {
        self.faults.crashed.load(Ordering::SeqCst)
    }

    /// Opens the engine, again if it dies at that.
    fn open(&mut self) {
        loop {
            self.faults.crashed.store(false, Ordering::SeqCst);
            let rng = Box::new(ChaCha8Rng::seed_from_u64(self.rng.random()));
            let options = Options { inline_max: 16, scrub_step: 50, durable: false, rng };
            match Objects::open_with(self.dir.path(), MasterKey::new([3; 32]), self.faults.clone(), options) {
                Ok(engine) => {
                    self.engine = Some(engine);
                    return;
                }
                Err(error) => assert!(self.crashed(), "{error:?}"),
            }
        }
    }

    pub(crate) fn reopen(&mut self) {
        self.held.clear();
        self.engine = None;
        self.open();
    }

    /// Closes the engine in peace and looks at the disk.
    pub(crate) async fn close(mut self) {
        self.held.clear();
        self.engine = None;
        if self.crashed() {
            self.reopen();
        }
        *self.faults.point.lock().unwrap() = None;
        self.reopen();
        assert_eq!(self.see(true, &self.model).await.as_ref(), Some(&self.model));
        let (_, scrubbed) = self.engine().scrub(|| Timestamp(9), |_| std::time::Duration::ZERO).await.unwrap();
        assert_eq!(scrubbed.bad, []);
        let versions = self.model.buckets.values().flat_map(|b| b.keys.values().flatten());
        let (count, bytes) = versions.fold((0, 0), |(n, b), v| (n + 1, b + v.body.len() as u64));
        let usage = self.engine().usage();
        assert_eq!((usage.buckets, usage.versions, usage.bytes), (self.model.buckets.len() as u64, count, bytes));
        self.engine = None;
        crate::disk::check(self.dir.path());
    }

    /// What was answered, unless the process has died.
    fn living<T>(&self, answer: objects::Result<T>) -> Option<T> {
        answer.inspect_err(|error| assert!(self.crashed(), "{error:?}")).ok()
    }

    /// Everything that can be seen, with bodies or with those that are wanted in their place. Nothing if the process has died.
    pub(crate) async fn see(&self, bodies: bool, wanted: &Model) -> Option<Model> {
        let engine = self.engine();
        let mut seen = Model { now: self.model.now, ..Model::default() };
        for bucket in engine.buckets_all() {
            let mut all = Bucket { versioning: bucket.versioning, ..Bucket::default() };
            let q = ListVersions { bucket: bucket.name.clone(), max: 1000, ..ListVersions::default() };
            for listed in self.living(engine.list_versions(q).await)?.versions {
                let known = wanted.buckets.get(&bucket.name).and_then(|b| b.keys.get(&listed.key));
                let exact = |all: &'_ Vec<Version>| all.iter().find(|v| v.id.as_ref() == Some(&listed.id)).cloned();
                let known = known.and_then(|all| exact(all).or_else(|| all.iter().find(|v| v.id.is_none()).cloned()));
                let known = known.filter(|_| !listed.delete_marker);
                let mut version = Version::of(&listed.etag, known.as_ref().map(|v| v.body.clone()).unwrap_or_default());
                version.marker = listed.delete_marker;
                (version.tags, version.lock) = (listed.record.tags.clone(), listed.record.lock);
                version.upload = known.as_ref().and_then(|v| v.upload.clone());
                version.customer = listed.record.encryption.is_some();
                if bodies && !version.marker {
                    let got = self.living(engine.get(&bucket.name, &listed.key, Some(&listed.id)).await)?;
                    assert_eq!((got.is_latest, got.size, &got.record.owner), (listed.is_latest, listed.size, &listed.record.owner));
                    version.body = read(&engine, &got, 0..got.size).await.unwrap();
                    version.upload = got.record.metadata.get("upload").map(|id| id.as_str().into());
                }
                let versions = all.keys.entry(listed.key).or_default();
                assert_eq!(listed.is_latest, versions.is_empty());
                version.id = Some(listed.id);
                versions.push(version);
            }
            let q = ListUploads { bucket: bucket.name.clone(), max: 1000, ..ListUploads::default() };
            for listed in self.living(engine.uploads(q).await)?.uploads {
                let mut upload = Upload { customer: listed.record.encryption.is_some(), ..Upload::default() };
                for part in self.living(engine.parts(&bucket.name, &listed.key, &listed.id, 0, 1000).await)?.0 {
                    // A part's bytes are seen once its upload is complete.
                    let of = |model: &Model| {
                        let upload = model.buckets.get(&bucket.name)?.uploads.get(&(listed.key.clone(), listed.id.clone()))?;
                        upload.parts.get(&part.number).filter(|(etag, _)| *etag == part.etag).map(|(_, body)| body.clone())
                    };
                    let body = of(wanted).or_else(|| of(&self.model)).unwrap();
                    assert_eq!(part.size, body.len() as u64);
                    upload.parts.insert(part.number, (part.etag, body));
                }
                all.uploads.insert((listed.key.clone(), listed.id.clone()), upload);
            }
            seen.buckets.insert(bucket.name.clone(), all);
        }
        Some(seen)
    }
}

/// A range of a body.
pub(crate) async fn read(engine: &Objects, version: &objects::Version, range: std::ops::Range<u64>) -> Result<Vec<u8>, &'static str> {
    let mut reader = engine.read(version, range, Some(CUSTOMER));
    let mut body = Vec::new();
    while let Some(bytes) = reader.next().await {
        body.extend_from_slice(&bytes.map_err(|e| kind(&e))?);
    }
    assert_eq!(reader.left(), 0);
    Ok(body)
}
