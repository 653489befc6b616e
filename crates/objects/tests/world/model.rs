//! What the engine should be: maps in memory, searched from end to end.

use objects::{Condition, Delete, Error, EtagMatch, Lock, UploadId, VersionId, Versioning};
use std::collections::BTreeMap;

/// The error's kind: the fields are the engine's business.
pub(crate) fn kind(error: &Error) -> &'static str {
    match error {
        Error::NoSuchBucket => "NoSuchBucket",
        Error::BucketExists { .. } => "BucketExists",
        Error::BucketNotEmpty => "BucketNotEmpty",
        Error::NoSuchKey => "NoSuchKey",
        Error::NoSuchVersion => "NoSuchVersion",
        Error::DeleteMarker { .. } => "DeleteMarker",
        Error::NoSuchUpload => "NoSuchUpload",
        Error::InvalidPart { .. } => "InvalidPart",
        Error::InvalidPartOrder => "InvalidPartOrder",
        Error::EntityTooSmall { .. } => "EntityTooSmall",
        Error::PreconditionFailed => "PreconditionFailed",
        Error::ConditionalConflict => "ConditionalConflict",
        Error::Locked => "Locked",
        Error::WrongKey => "WrongKey",
        Error::Full => "Full",
        Error::Io(_) => "Io",
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Version {
    /// Nothing: whatever the engine draws.
    pub(crate) id: Option<VersionId>,
    pub(crate) marker: bool,
    pub(crate) etag: String,
    pub(crate) body: Vec<u8>,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) lock: Lock,
    /// Whether only the customer's key opens it.
    pub(crate) customer: bool,
    pub(crate) upload: Option<UploadId>,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Upload {
    pub(crate) parts: BTreeMap<u32, (String, Vec<u8>)>,
    pub(crate) customer: bool,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Bucket {
    pub(crate) versioning: Versioning,
    /// Newest first.
    pub(crate) keys: BTreeMap<String, Vec<Version>>,
    pub(crate) uploads: BTreeMap<(String, UploadId), Upload>,
}

pub(crate) type Answer<T = ()> = Result<T, &'static str>;

#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Model {
    pub(crate) buckets: BTreeMap<String, Bucket>,
    pub(crate) now: i64,
}

impl Bucket {
    pub(crate) fn current(&self, key: &str) -> Option<&Version> {
        self.keys.get(key).and_then(|v| v.first()).filter(|v| !v.marker)
    }

    fn place(&mut self, key: &str, mut version: Version, now: i64) -> Answer {
        if self.versioning != Versioning::Enabled {
            version.id = Some(VersionId::null());
            self.remove(key, &VersionId::null(), now)?;
        }
        self.keys.entry(key.into()).or_default().insert(0, version);
        Ok(())
    }

    /// Whether what was removed was a marker.
    fn remove(&mut self, key: &str, id: &VersionId, now: i64) -> Answer<bool> {
        let Some(versions) = self.keys.get_mut(key) else { return Ok(false) };
        let Some(at) = versions.iter().position(|v| v.id.as_ref() == Some(id)) else { return Ok(false) };
        if versions[at].lock.holds(::model::time::Timestamp(now), false) {
            return Err("Locked");
        }
        let gone = versions.remove(at);
        if versions.is_empty() {
            self.keys.remove(key);
        }
        Ok(gone.marker)
    }
}

fn matches(wanted: &EtagMatch, found: Option<&Version>) -> Answer {
    match found {
        None => Err("NoSuchKey"),
        Some(v) if wanted.matches(&v.etag) => Ok(()),
        Some(_) => Err("PreconditionFailed"),
    }
}

impl Model {
    pub(crate) fn bucket(&mut self, name: &str) -> Answer<&mut Bucket> {
        self.buckets.get_mut(name).ok_or("NoSuchBucket")
    }

    pub(crate) fn create(&mut self, name: &str) -> Answer {
        if self.buckets.contains_key(name) {
            return Err("BucketExists");
        }
        self.buckets.insert(name.into(), Bucket::default());
        Ok(())
    }

    pub(crate) fn drop_bucket(&mut self, name: &str) -> Answer {
        if !self.bucket(name)?.keys.is_empty() {
            return Err("BucketNotEmpty");
        }
        self.buckets.remove(name);
        Ok(())
    }

    pub(crate) fn put(&mut self, bucket: &str, key: &str, version: Version, condition: &Condition) -> Answer {
        let now = self.now;
        let bucket = self.bucket(bucket)?;
        if let Some(wanted) = &condition.if_match {
            matches(wanted, bucket.current(key))?;
        }
        if let (Some(unwanted), Some(v)) = (&condition.if_none_match, bucket.current(key))
            && unwanted.matches(&v.etag)
        {
            return Err("PreconditionFailed");
        }
        bucket.place(key, version, now)
    }

    pub(crate) fn delete(&mut self, name: &str, delete: &Delete) -> Answer<bool> {
        let now = self.now;
        let bucket = self.bucket(name)?;
        if let Some(id) = &delete.version {
            let found = bucket.keys.get(&delete.key).and_then(|all| all.iter().find(|v| v.id.as_ref() == Some(id)));
            if let Some(wanted) = &delete.if_match {
                matches(wanted, found.filter(|v| !v.marker))?;
            }
            return bucket.remove(&delete.key, id, now);
        }
        if let Some(wanted) = &delete.if_match {
            matches(wanted, bucket.current(&delete.key))?;
        }
        if bucket.versioning == Versioning::Off {
            return bucket.remove(&delete.key, &VersionId::null(), now).map(|_| false);
        }
        bucket.place(&delete.key, Version::marker(), now)?;
        Ok(true)
    }

    pub(crate) fn find(&mut self, bucket: &str, key: &str, id: Option<&VersionId>) -> Answer<&mut Version> {
        let all = self.bucket(bucket)?.keys.get_mut(key);
        let found = match id {
            None => all.and_then(|v| v.first_mut()).ok_or("NoSuchKey")?,
            Some(id) => all.and_then(|v| v.iter_mut().find(|v| v.id.as_ref() == Some(id))).ok_or("NoSuchVersion")?,
        };
        if found.marker { Err("DeleteMarker") } else { Ok(found) }
    }

    pub(crate) fn upload(&mut self, bucket: &str, key: &str, id: &UploadId) -> Answer<&mut Upload> {
        self.bucket(bucket)?.uploads.get_mut(&(key.into(), id.clone())).ok_or("NoSuchUpload")
    }

    pub(crate) fn complete(
        &mut self,
        bucket: &str,
        key: &str,
        id: &UploadId,
        parts: &[(u32, String)],
        minimum: usize,
        condition: &Condition,
    ) -> Answer {
        let upload = match self.upload(bucket, key, id) {
            Err("NoSuchUpload") => {
                let current = self.bucket(bucket)?.current(key);
                return if current.is_some_and(|v| v.upload.as_ref() == Some(id)) { Ok(()) } else { Err("NoSuchUpload") };
            }
            found => found?.clone(),
        };
        if !parts.is_sorted_by(|a, b| a.0 < b.0) {
            return Err("InvalidPartOrder");
        }
        let mut version = Version { upload: Some(id.clone()), customer: upload.customer, ..Version::of("", Vec::new()) };
        for (at, (number, etag)) in parts.iter().enumerate() {
            let (_, body) = upload.parts.get(number).filter(|(e, _)| e == etag).ok_or("InvalidPart")?;
            if body.len() < minimum && at + 1 < parts.len() {
                return Err("EntityTooSmall");
            }
            version.body.extend_from_slice(body);
        }
        if parts.is_empty() {
            return Err("InvalidPart");
        }
        version.etag = format!("{}-{}", version.body.len(), parts.len());
        self.put(bucket, key, version, condition)?;
        self.bucket(bucket)?.uploads.remove(&(key.into(), id.clone()));
        Ok(())
    }

    /// Takes over the ids that the engine drew.
    pub(crate) fn learn(&mut self, seen: &Self) {
        for (name, bucket) in &mut self.buckets {
            for (key, versions) in &mut bucket.keys {
                let all = seen.buckets.get(name).and_then(|b| b.keys.get(key));
                for (at, version) in versions.iter_mut().enumerate().filter(|(_, v)| v.id.is_none()) {
                    version.id = all.and_then(|all| all.get(at)).and_then(|v| v.id.clone());
                }
            }
        }
    }
}

impl Version {
    pub(crate) fn of(etag: &str, body: Vec<u8>) -> Self {
        let (tags, lock) = (BTreeMap::new(), Lock::default());
        Self { id: None, marker: false, etag: etag.into(), body, tags, lock, customer: false, upload: None }
    }

    pub(crate) fn marker() -> Self {
        Self { marker: true, ..Self::of("", Vec::new()) }
    }
}

/// What keys roll up into; sorted, once each, only what sorts after `after`.
pub(crate) fn rolled(keys: &[String], prefix: &str, delimiter: Option<&str>, after: Option<&str>) -> Vec<(String, bool)> {
    let mut items: Vec<(String, bool)> = Vec::new();
    for key in keys.iter().filter(|k| k.starts_with(prefix)) {
        let cut = delimiter.and_then(|d| key[prefix.len()..].find(d).map(|at| prefix.len() + at + d.len()));
        let item = cut.map_or((key.clone(), false), |cut| (key[..cut].to_owned(), true));
        if after.is_none_or(|after| item.0.as_str() > after) && items.last() != Some(&item) {
            items.push(item);
        }
    }
    items
}
