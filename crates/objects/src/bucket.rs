//! Buckets, inside the writer's transaction.

use crate::core::Entry;
use crate::error::{Error, Result};
use crate::journal;
use crate::noun::{Bucket, UploadId};
use crate::readings::Readings;
use crate::row;
use crate::tx::Tx;
use rusqlite::params;
use std::sync::Arc;

impl Tx<'_> {
    pub(crate) fn bucket_create(&mut self, bucket: Bucket) -> Result<()> {
        if let Some(there) = self.effects.buckets.get(&bucket.name) {
            return Err(Error::BucketExists { owner: there.bucket.owner.clone() });
        }
        let mut insert = self.connection.prepare_cached("INSERT INTO bucket (name, document) VALUES (?1, ?2)")?;
        let document = serde_json::to_string(&bucket)?;
        insert.execute(params![bucket.name, document])?;
        let number = self.connection.last_insert_rowid();
        self.effects.noted.push(journal::Entry::Bucket { number, name: bucket.name.clone(), document });
        let entry = Entry { number, bucket: Arc::new(bucket) };
        Arc::make_mut(&mut self.effects.buckets).insert(entry.bucket.name.clone(), entry);
        Ok(())
    }

    pub(crate) fn bucket_update<E>(
        &mut self,
        name: &str,
        change: impl FnOnce(&mut Bucket) -> Result<(), E>,
    ) -> Result<Result<Arc<Bucket>, E>> {
        let Entry { number, bucket } = self.bucket(name)?;
        let mut changed = Bucket::clone(&bucket);
        if let Err(refusal) = change(&mut changed) {
            return Ok(Err(refusal));
        }
        changed.name = name.into();
        // What `change` has read may be of what was there before.
        changed.readings = Readings::default();
        let mut update = self.connection.prepare_cached("UPDATE bucket SET document = ?2 WHERE number = ?1")?;
        let document = serde_json::to_string(&changed)?;
        update.execute(params![number, document])?;
        self.effects.noted.push(journal::Entry::Bucket { number, name: name.into(), document });
        let bucket = Arc::new(changed);
        Arc::make_mut(&mut self.effects.buckets).insert(name.into(), Entry { number, bucket: bucket.clone() });
        Ok(Ok(bucket))
    }

    /// Removes versions and markers of a bucket, locked ones too, at most `count`. Whether there may be more.
    pub(crate) fn bucket_clear(&mut self, name: &str, count: usize) -> Result<bool> {
        let number = self.bucket(name)?.number;
        let mut select = self.connection.prepare_cached("SELECT key, age, size, body FROM version WHERE bucket = ?1 LIMIT ?2")?;
        let read = |r: &rusqlite::Row<'_>| Ok((row::key(r, 0)?, r.get(1)?, r.get(2)?, r.get::<_, String>(3)?));
        let versions: Vec<(String, i64, i64, String)> = select.query_map([number, count as i64], read)?.collect::<Result<_, _>>()?;
        for (key, age, size, body) in &versions {
            self.erase(number, key, *age, (*size, body))?;
        }
        Ok(versions.len() == count)
    }

    /// Unfinished uploads go with it, as with AWS.
    pub(crate) fn bucket_delete(&mut self, name: &str) -> Result<()> {
        let number = self.bucket(name)?.number;
        let mut any = self.connection.prepare_cached("SELECT EXISTS (SELECT 1 FROM version WHERE bucket = ?1)")?;
        if any.query_row([number], |r| r.get(0))? {
            return Err(Error::BucketNotEmpty);
        }
        let mut select = self.connection.prepare_cached("SELECT key, id FROM upload WHERE bucket = ?1")?;
        let uploads: Vec<(String, String)> = select.query_map([number], |r| Ok((row::key(r, 0)?, r.get(1)?)))?.collect::<Result<_, _>>()?;
        for (key, id) in uploads {
            let parts = self.upload_remove(number, &key, &UploadId::from(id))?;
            parts.into_values().try_for_each(|(_, piece)| self.discard(&[piece]))?;
        }
        self.connection.prepare_cached("DELETE FROM bucket WHERE number = ?1")?.execute([number])?;
        self.effects.noted.push(journal::Entry::BucketGone { number });
        Arc::make_mut(&mut self.effects.buckets).remove(name);
        Ok(())
    }
}
