//! Events: what is to be told of changes. They are written in the transaction of the change and wait until somebody has told them.

use crate::core::Entry;
use crate::error::Result;
use crate::noun::{Bucket, Version};
use crate::objects::Objects;
use crate::request::{Delete, Deleted};
use crate::tx::Tx;
use model::scope::AccountId;
use model::time::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params};
use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use tokio::sync::watch;

/// Events of a bucket that wait for one destination; the oldest goes for what comes then.
pub const EVENTS_MAX: i64 = 10_000;

/// What a write does.
#[derive(Debug, Clone, Copy)]
pub enum Change<'a> {
    /// A new version, or another record of one.
    Written(&'a Version),
    /// A deletion that was asked for, and what it did.
    Deleted(&'a Delete, &'a Deleted),
}

/// What a destination is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Whom.
    pub destination: String,
    /// What.
    pub body: String,
    /// When it happened.
    pub at: Timestamp,
}

/// Events of one bucket that wait for a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The bucket, which may be gone.
    pub bucket: i64,
    /// Their numbers and bodies, oldest first.
    pub events: Vec<(i64, String)>,
}

/// Makes events of changes, inside the writer's transaction.
pub trait Witness: Send + Sync {
    /// What is to be told of a change of a bucket.
    fn tell(&self, bucket: &Bucket, change: Change<'_>) -> Vec<Event>;
}

impl Objects {
    /// The same engine; writes through it are shown to a witness.
    #[must_use]
    pub fn witnessed(&self, witness: Arc<dyn Witness>) -> Self {
        Self { engine: self.engine.clone(), witness: Some(witness) }
    }

    /// Changes when there are new events.
    #[must_use]
    pub fn events_news(&self) -> watch::Receiver<()> {
        self.engine.core.events.subscribe()
    }

    /// Writes events of a bucket that no change made.
    ///
    /// # Errors
    /// [`crate::Error::NoSuchBucket`], [`crate::Error::Full`], [`crate::Error::Io`].
    pub async fn events_put(&self, bucket: &str, events: Vec<Event>) -> Result<()> {
        let bucket = bucket.to_owned();
        self.queue()?.write(move |tx| tx.events_put(&tx.bucket(&bucket)?, &events)).await
    }

    /// The oldest events, at most `max`, for a destination of the first bucket after this number that has any and is none of `but`.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub async fn events(&self, destination: &str, after: i64, but: BTreeSet<i64>, max: u32) -> Result<Option<Waiting>> {
        let destination = destination.to_owned();
        self.look_at_all(move |connection| waiting(connection, &destination, after, &but, max)).await
    }

    /// How many events wait for a destination.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub async fn events_waiting(&self, destination: &str) -> Result<u64> {
        let destination = destination.to_owned();
        self.look_at_all(move |connection| count(connection, &destination)).await
    }

    /// How many events for a destination had to go for newer ones since the start.
    #[must_use]
    pub fn events_lost(&self, destination: &str) -> u64 {
        let lost = self.engine.core.events_lost.lock().unwrap_or_else(PoisonError::into_inner);
        lost.get(destination).copied().unwrap_or_default()
    }

    /// Forgets the oldest events of a bucket for a destination, those from before this time. How many.
    ///
    /// # Errors
    /// [`crate::Error::Full`], [`crate::Error::Io`].
    pub async fn events_expire(&self, destination: &str, bucket: i64, before: Timestamp) -> Result<usize> {
        let destination = destination.to_owned();
        // Up to the first that isn't: what waits is without holes.
        let sql = "DELETE FROM event WHERE destination = ?1 AND bucket = ?2 AND number < coalesce(
            (SELECT number FROM event WHERE destination = ?1 AND bucket = ?2 AND added >= ?3 ORDER BY number LIMIT 1), 9223372036854775807)";
        self.queue()?.write(move |tx| Ok(tx.connection.prepare_cached(sql)?.execute(params![destination, bucket, before.0])?)).await
    }

    /// Forgets events of a bucket for a destination, up to this number.
    ///
    /// # Errors
    /// [`crate::Error::Full`], [`crate::Error::Io`].
    pub async fn events_done(&self, destination: &str, bucket: i64, number: i64) -> Result<()> {
        let destination = destination.to_owned();
        let done = self.queue()?.write(move |tx| {
            let sql = "DELETE FROM event WHERE destination = ?1 AND bucket = ?2 AND number <= ?3";
            tx.connection.prepare_cached(sql)?.execute(params![destination, bucket, number])?;
            Ok(())
        });
        done.await
    }

    /// Forgets all events but those that `keep` wants, by their bucket's owner and their destination. How many it forgot.
    ///
    /// # Errors
    /// [`crate::Error::Full`], [`crate::Error::Io`].
    pub async fn events_keep(&self, keep: impl Fn(&AccountId, &str) -> bool + Send + 'static) -> Result<usize> {
        self.queue()?.write(move |tx| tx.events_keep(keep)).await
    }
}

impl Tx<'_> {
    /// Shows a change to whoever watches.
    pub(crate) fn show(&mut self, witness: Option<&Arc<dyn Witness>>, bucket: &str, change: Change<'_>) -> Result<()> {
        let Some(witness) = witness else { return Ok(()) };
        let entry = self.bucket(bucket)?;
        self.events_put(&entry, &witness.tell(&entry.bucket, change))
    }

    fn events_keep(&self, keep: impl Fn(&AccountId, &str) -> bool) -> Result<usize> {
        let mut select = self.connection.prepare("SELECT DISTINCT destination, owner FROM event")?;
        let pairs = select.query_map((), |r| Ok((r.get(0)?, r.get(1)?)))?.collect::<Result<Vec<(String, String)>, _>>()?;
        let mut forgotten = 0;
        for (destination, owner) in pairs {
            if !owner.parse().is_ok_and(|owner| keep(&owner, &destination)) {
                let sql = "DELETE FROM event WHERE destination = ?1 AND owner = ?2";
                forgotten += self.connection.execute(sql, params![destination, owner])?;
            }
        }
        Ok(forgotten)
    }

    fn events_put(&mut self, entry: &Entry, events: &[Event]) -> Result<()> {
        let (bucket, owner) = (entry.number, entry.bucket.owner.as_str());
        for Event { destination, body, at } in events {
            let (first, last) = ends(self.connection, destination, bucket)?;
            if last - first + 1 >= EVENTS_MAX {
                let mut oldest =
                    self.connection.prepare_cached("DELETE FROM event WHERE destination = ?1 AND bucket = ?2 AND number = ?3")?;
                oldest.execute(params![destination, bucket, first])?;
                *self.effects.events_lost.entry(destination.clone()).or_default() += 1;
            }
            let mut insert = self
                .connection
                .prepare_cached("INSERT INTO event (destination, bucket, number, body, owner, added) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
            insert.execute(params![destination, bucket, last + 1, body, owner, at.0])?;
            self.effects.events = true;
        }
        Ok(())
    }
}

/// The numbers of the first and the last event of a bucket for a destination. What waits is without holes.
fn ends(connection: &Connection, destination: &str, bucket: i64) -> Result<(i64, i64)> {
    let mut ends = connection.prepare_cached(
        "SELECT coalesce((SELECT number FROM event WHERE destination = ?1 AND bucket = ?2 ORDER BY number LIMIT 1), 1),
                coalesce((SELECT number FROM event WHERE destination = ?1 AND bucket = ?2 ORDER BY number DESC LIMIT 1), 0)",
    )?;
    Ok(ends.query_row(params![destination, bucket], |r| Ok((r.get(0)?, r.get(1)?)))?)
}

/// The first bucket after this number that has events for a destination.
fn bucket_after(connection: &Connection, destination: &str, after: i64) -> Result<Option<i64>> {
    let mut next = connection.prepare_cached("SELECT bucket FROM event WHERE destination = ?1 AND bucket > ?2 ORDER BY bucket LIMIT 1")?;
    Ok(next.query_row(params![destination, after], |r| r.get(0)).optional()?)
}

fn count(connection: &Connection, destination: &str) -> Result<u64> {
    let (mut all, mut after) = (0, 0);
    while let Some(bucket) = bucket_after(connection, destination, after)? {
        let (first, last) = ends(connection, destination, bucket)?;
        all += (last - first + 1).unsigned_abs();
        after = bucket;
    }
    Ok(all)
}

fn waiting(connection: &Connection, destination: &str, mut after: i64, but: &BTreeSet<i64>, max: u32) -> Result<Option<Waiting>> {
    let bucket = loop {
        match bucket_after(connection, destination, after)? {
            None => return Ok(None),
            Some(bucket) if but.contains(&bucket) => after = bucket,
            Some(bucket) => break bucket,
        }
    };
    let mut select =
        connection.prepare_cached("SELECT number, body FROM event WHERE destination = ?1 AND bucket = ?2 ORDER BY number LIMIT ?3")?;
    let events = select.query_map(params![destination, bucket, max], |r| Ok((r.get(0)?, r.get(1)?)))?.collect::<Result<_, _>>()?;
    Ok(Some(Waiting { bucket, events }))
}
