//! Listings. They seek with the index: past what rolls up into a common prefix, and past old versions of a key.

use crate::error::Result;
use crate::noun::{Upload, UploadId, VersionId};
use crate::request::{List, ListUploads, ListVersions, Listing, UploadListing, VersionListing};
use crate::row::{self, COLUMNS};
use rusqlite::{Connection, params};
use std::sync::Arc;

/// Older versions of a key that are passed over one by one before the next key is sought.
const PASSED_MAX: usize = 16;

/// The range of keys of a listing, and how they roll up.
struct Scope<'q> {
    prefix: &'q str,
    delimiter: Option<&'q str>,
}

impl<'q> Scope<'q> {
    fn new(prefix: &'q str, delimiter: Option<&'q str>) -> Self {
        Self { prefix, delimiter: delimiter.filter(|d| !d.is_empty()) }
    }

    /// What a key rolls up into.
    fn rolled<'k>(&self, key: &'k str) -> Option<&'k str> {
        let (delimiter, rest) = (self.delimiter?, key.strip_prefix(self.prefix)?);
        let at = rest.find(delimiter)?;
        key.get(..self.prefix.len() + at + delimiter.len())
    }

    /// The first key that is not in it.
    fn end(&self) -> Vec<u8> {
        past(self.prefix)
    }

    /// Where keys and common prefixes that sort after this one begin.
    fn start(&self, after: Option<&str>) -> Vec<u8> {
        let start = match after {
            None => Vec::new(),
            Some(after) => self.rolled(after).map_or_else(|| next(after), past),
        };
        start.max(self.prefix.as_bytes().to_vec())
    }
}

/// The first bytes that sort after all that begin with this.
fn past(prefix: &str) -> Vec<u8> {
    let mut bytes = prefix.as_bytes().to_vec();
    match bytes.last_mut() {
        // No byte of UTF-8 is 0xff.
        Some(last) => *last += 1,
        None => bytes.push(0xff),
    }
    bytes
}

/// The first key after this one.
fn next(key: &str) -> Vec<u8> {
    [key.as_bytes(), &[0]].concat()
}

/// Current objects.
pub(crate) fn objects(connection: &Connection, bucket: i64, q: &List) -> Result<Listing> {
    let mut listing = Listing::default();
    if q.max == 0 {
        return Ok(listing);
    }
    let scope = Scope::new(&q.prefix, q.delimiter.as_deref());
    let (mut from, end) = (scope.start(q.after.as_deref()), scope.end());
    let mut last = None;
    let sql = format!("SELECT {COLUMNS} FROM version WHERE bucket = ?1 AND key >= ?2 AND key < ?3 ORDER BY key, age");
    let mut select = connection.prepare_cached(&sql)?;
    'seek: loop {
        let mut rows = select.query(params![bucket, from, end])?;
        let (mut key, mut passed) = (Vec::new(), 0);
        while let Some(row) = rows.next()? {
            let this = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
            if this == key {
                passed += 1;
                if passed == PASSED_MAX {
                    key.push(0);
                    from = key;
                    continue 'seek;
                }
                continue;
            }
            (key, passed) = (this.to_vec(), 0);
            if row.get(4)? {
                continue;
            }
            if listing.objects.len() + listing.prefixes.len() == q.max {
                listing.next = last;
                return Ok(listing);
            }
            let name = row::key(row, 0)?;
            if let Some(prefix) = scope.rolled(&name) {
                listing.prefixes.push(prefix.to_owned());
                last = Some(prefix.to_owned());
                from = past(prefix);
                continue 'seek;
            }
            listing.objects.push(Arc::new(row::listed(row, true)?));
            last = Some(name);
        }
        return Ok(listing);
    }
}

/// Versions and markers.
pub(crate) fn versions(connection: &Connection, bucket: i64, q: &ListVersions) -> Result<VersionListing> {
    let mut listing = VersionListing::default();
    if q.max == 0 {
        return Ok(listing);
    }
    let scope = Scope::new(&q.prefix, q.delimiter.as_deref());
    let (mut from, mut age, end) = (scope.start(q.after.as_ref().map(|(key, _)| key.as_str())), i64::MIN, scope.end());
    // Whether the first row's key was begun by the page before.
    let mut within = false;
    if let Some((key, Some(id))) = &q.after
        && key.starts_with(&q.prefix)
        && scope.rolled(key).is_none()
    {
        (from, age, within) = (key.as_bytes().to_vec(), age_of(connection, bucket, key, id)?, true);
    }
    let mut last = None;
    let sql = format!("SELECT {COLUMNS} FROM version WHERE bucket = ?1 AND (key, age) > (?2, ?3) AND key < ?4 ORDER BY key, age");
    let mut select = connection.prepare_cached(&sql)?;
    'seek: loop {
        let mut rows = select.query(params![bucket, from, age, end])?;
        let mut key = None;
        while let Some(row) = rows.next()? {
            if listing.versions.len() + listing.prefixes.len() == q.max {
                listing.next = last;
                return Ok(listing);
            }
            let name = row::key(row, 0)?;
            if let Some(prefix) = scope.rolled(&name) {
                listing.prefixes.push(prefix.to_owned());
                last = Some((prefix.to_owned(), None));
                (from, age, within) = (past(prefix), i64::MIN, false);
                continue 'seek;
            }
            let is_latest = if std::mem::take(&mut within) {
                row::newest_age(connection, bucket, &name)? == Some(row.get(1)?)
            } else {
                key.as_ref() != Some(&name)
            };
            let version = row::listed(row, is_latest)?;
            last = Some((name.clone(), Some(version.id.clone())));
            key = Some(name);
            listing.versions.push(version);
        }
        return Ok(listing);
    }
}

/// The age of a version, even if it has been removed since. If that can't be told, one before all: nothing is left out.
fn age_of(connection: &Connection, bucket: i64, key: &str, id: &VersionId) -> Result<i64> {
    Ok(row::age(connection, bucket, key, id)?.unwrap_or(i64::MIN))
}

/// Unfinished uploads.
pub(crate) fn uploads(connection: &Connection, bucket: i64, q: &ListUploads) -> Result<UploadListing> {
    let mut listing = UploadListing::default();
    if q.max == 0 {
        return Ok(listing);
    }
    let scope = Scope::new(&q.prefix, q.delimiter.as_deref());
    let (mut from, mut after, end) = (scope.start(q.after.as_ref().map(|(key, _)| key.as_str())), "", scope.end());
    if let Some((key, Some(id))) = &q.after
        && key.starts_with(&q.prefix)
        && scope.rolled(key).is_none()
    {
        (from, after) = (key.as_bytes().to_vec(), id.as_str());
    }
    let mut last: Option<(String, Option<UploadId>)> = None;
    let mut select = connection
        .prepare_cached("SELECT key, document FROM upload WHERE bucket = ?1 AND (key, id) > (?2, ?3) AND key < ?4 ORDER BY key, id")?;
    'seek: loop {
        let mut rows = select.query(params![bucket, from, after, end])?;
        while let Some(row) = rows.next()? {
            if listing.uploads.len() + listing.prefixes.len() == q.max {
                listing.next = last;
                return Ok(listing);
            }
            let name = row::key(row, 0)?;
            if let Some(prefix) = scope.rolled(&name) {
                listing.prefixes.push(prefix.to_owned());
                last = Some((prefix.to_owned(), None));
                (from, after) = (past(prefix), "");
                continue 'seek;
            }
            let upload: Upload = serde_json::from_str(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?)?;
            last = Some((name, Some(upload.id.clone())));
            listing.uploads.push(Arc::new(upload));
        }
        return Ok(listing);
    }
}
