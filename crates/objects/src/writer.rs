//! The one writer: takes what is queued, applies it, commits it as one transaction, moves new files to their place, answers.

use crate::core::{Buckets, Core, Done};
use crate::database::Database;
use crate::error::{Error, Result};
use crate::files::Loose;
use crate::janitor::Message;
use crate::journal::Entry;
use crate::tx::{Effects, Tx};
use anyhow::anyhow;
use rusqlite::Connection;
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, mpsc as std_mpsc};
use tokio::sync::{mpsc, oneshot};

/// Most writes that are committed at once.
const BATCH_MAX: usize = 256;
/// Most writes that wait for the writer; further callers wait for a place.
pub(crate) const QUEUE_MAX: usize = 1024;

/// A write that waits to be applied, and then to be answered.
pub(crate) trait Job: Send {
    /// Applies it and keeps its result. Whether its writes stand.
    fn apply(&mut self, tx: &mut Tx<'_>) -> bool;
    /// Gives the result to the caller, or the error in its place.
    fn answer(self: Box<Self>, outcome: Result<()>);
    /// Whether the index itself failed, and if so, for lack of room.
    fn failed(&self) -> Option<bool>;
}

struct Call<F, T, E> {
    closure: Option<F>,
    result: Option<Result<Result<T, E>>>,
    reply: oneshot::Sender<Result<Result<T, E>>>,
}

impl<F, T, E> Job for Call<F, T, E>
where
    F: FnOnce(&mut Tx<'_>) -> Result<Result<T, E>> + Send,
    T: Send,
    E: Send,
{
    fn apply(&mut self, tx: &mut Tx<'_>) -> bool {
        let Some(closure) = self.closure.take() else { return false };
        matches!(self.result.insert(closure(tx)), Ok(Ok(_)))
    }

    fn answer(self: Box<Self>, outcome: Result<()>) {
        let Self { result, reply, .. } = *self;
        // The caller may have gone; its write stands.
        _ = reply.send(outcome.and_then(|()| result.unwrap_or_else(|| Err(Error::Io(anyhow!("a write panicked"))))));
    }

    fn failed(&self) -> Option<bool> {
        match self.result {
            Some(Err(Error::Full)) => Some(true),
            Some(Err(Error::Io(_))) => Some(false),
            Some(Ok(_) | Err(_)) | None => None,
        }
    }
}

/// Where writes are queued.
#[derive(Clone)]
pub(crate) struct Queue(mpsc::Sender<Box<dyn Job>>);

impl Queue {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Box<dyn Job>>) {
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        (Self(sender), receiver)
    }

    /// Has the writer run the closure; returns when what it wrote is on the disk.
    pub(crate) async fn try_write<T, E>(
        &self,
        closure: impl FnOnce(&mut Tx<'_>) -> Result<Result<T, E>> + Send + 'static,
    ) -> Result<Result<T, E>>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Call { closure: Some(closure), result: None, reply });
        self.0.send(job).await.map_err(|_| closed())?;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    /// As [`Queue::try_write`], for what has no error of its own.
    pub(crate) async fn write<T: Send + 'static>(&self, closure: impl FnOnce(&mut Tx<'_>) -> Result<T> + Send + 'static) -> Result<T> {
        match self.try_write(move |tx| closure(tx).map(Ok::<T, Infallible>)).await? {
            Ok(done) => Ok(done),
            Err(never) => match never {},
        }
    }
}

fn closed() -> Error {
    Error::Io(anyhow!("the engine is closed"))
}

/// Why a whole batch was not kept; the same for each of its writes.
#[derive(Clone)]
enum Failure {
    Full,
    Io(Arc<Error>),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        if matches!(error, Error::Full) { Self::Full } else { Self::Io(Arc::new(error)) }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Full => Self::Full,
            Failure::Io(error) => Self::Io(anyhow::Error::from(error).context("a commit failed")),
        }
    }
}

/// The writing half of the engine.
pub(crate) struct Writer {
    pub(crate) queue: mpsc::Receiver<Box<dyn Job>>,
    pub(crate) database: Database,
    pub(crate) core: Arc<Core>,
    pub(crate) janitor: std_mpsc::Sender<Message>,
}

impl Writer {
    /// Works until the engine is dropped.
    pub(crate) fn run(mut self) {
        while let Some(job) = self.queue.blocking_recv() {
            self.batch(job);
        }
        if self.core.files.dead() {
            self.database.abandon();
        } else if let Err(error) = self.forget_done() {
            tracing::warn!(error = &error as &dyn std::error::Error, "the next start looks after moved files again");
        }
        if !self.core.files.dead()
            && let Err(error) = self.core.mark.sync()
        {
            tracing::warn!(error = &error as &dyn std::error::Error, "how far the index of objects has come may not be on the disk");
        }
    }

    fn batch(&mut self, first: Box<dyn Job>) {
        let mut applied = Vec::new();
        let mut effects = Effects::new(self.core.buckets.load_full());
        let changes = self.database.connection.total_changes();
        let mut failed = self.database.place.check().and_then(|()| begin(&self.database.connection)).err();
        let mut next = Some(first);
        while let Some(mut job) = next {
            match &failed {
                None => match self.apply(job.as_mut(), &mut effects) {
                    Ok(()) => applied.push(job),
                    Err(error) => {
                        failed = Some(error);
                        applied.push(job);
                    }
                },
                Some(_) => applied.push(job),
            }
            next = if applied.len() < BATCH_MAX && failed.is_none() { self.queue.try_recv().ok() } else { None };
        }
        let outcome = match failed {
            None => self.commit(effects, self.database.connection.total_changes() != changes),
            Some(error) => {
                self.undo();
                Err(error.into())
            }
        };
        if let Err(Failure::Io(error)) = &outcome
            && !self.core.files.dead()
        {
            tracing::error!(error = error.as_ref() as &dyn std::error::Error, "a commit failed");
        }
        for job in applied {
            job.answer(outcome.clone().map_err(Error::from));
        }
    }

    /// Applies one write; what it did is undone if it fails. An error is that of the whole batch.
    fn apply(&self, job: &mut dyn Job, effects: &mut Effects) -> Result<()> {
        let connection = &self.database.connection;
        self.core.files.living()?;
        connection.prepare_cached("SAVEPOINT job")?.execute(())?;
        let mut tx = Tx { connection, core: &self.core, effects: Effects::new(effects.buckets.clone()) };
        let stands = catch_unwind(AssertUnwindSafe(|| job.apply(&mut tx)));
        if stands.is_err() {
            tracing::error!("a write panicked and was undone");
        }
        if let Some(full) = job.failed()
            && connection.is_autocommit()
        {
            // SQLite undoes all when it runs out of room.
            return Err(if full { Error::Full } else { Error::Io(anyhow!("the index failed")) });
        }
        if matches!(stands, Ok(true)) {
            effects.add(tx.effects);
        } else {
            connection.prepare_cached("ROLLBACK TO job")?.execute(())?;
        }
        connection.prepare_cached("RELEASE job")?.execute(())?;
        Ok(())
    }

    /// Commits, moves files, publishes.
    fn commit(&self, effects: Effects, changed: bool) -> Result<(), Failure> {
        let sequence = self.core.sequence.load(Ordering::Relaxed) + u64::from(changed);
        let done = match self.write_commit(&effects, changed) {
            Ok(done) => done,
            Err(error) => {
                self.undo();
                let failure = Failure::from(error);
                if matches!(failure, Failure::Io(_)) {
                    // The commit may be on the disk for all that, and then the files are named: the next start decides.
                    effects.arrived.into_iter().for_each(|loose| _ = loose.keep());
                }
                return Err(failure);
            }
        };
        self.forgotten(&done);
        if changed {
            self.keep_position(sequence, &effects.noted);
        }
        Ok(self.publish(effects)?)
    }

    /// Notes beside the index how far it has come, and what it has written.
    fn keep_position(&self, sequence: u64, noted: &[Entry]) {
        self.core.sequence.store(sequence, Ordering::Relaxed);
        if let Err(error) = self.core.mark.raise(sequence) {
            tracing::warn!(error = &error as &dyn std::error::Error, "how far the index of objects has come can't be noted");
        }
        if !noted.is_empty() {
            self.core.journal.lock().unwrap_or_else(PoisonError::into_inner).add(sequence, noted);
        }
    }

    fn write_commit(&self, effects: &Effects, changed: bool) -> Result<(usize, usize)> {
        let connection = &self.database.connection;
        count(connection, "sequence", i64::from(changed))?;
        count(connection, "versions", effects.versions)?;
        count(connection, "bytes", effects.bytes)?;
        let done = self.forget()?;
        self.core.files.hit("objects.commit.before")?;
        connection.prepare_cached("COMMIT")?.execute(())?;
        Ok(done)
    }

    /// What follows a commit. An error here is a crash: the writes stand, but nobody learns of it.
    fn publish(&self, effects: Effects) -> Result<()> {
        let Effects { buckets, arrived, doomed, versions, bytes, events, events_lost, noted: _ } = effects;
        let ids: Vec<_> = arrived.into_iter().map(Loose::keep).collect();
        self.core.files.hit("objects.commit.after")?;
        for id in &ids {
            self.core.files.hit("objects.rename.before")?;
            // Found in incoming/ too.
            if let Err(error) = self.core.files.settle(id) {
                tracing::warn!(%id, error = &error as &dyn std::error::Error, "a new file stays in incoming/ until the next start");
            }
            self.core.files.hit("objects.rename.after")?;
        }
        self.publish_buckets(buckets);
        self.core.versions.fetch_add(versions as u64, Ordering::Relaxed);
        self.core.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        if !events_lost.is_empty() {
            let mut all = self.core.events_lost.lock().unwrap_or_else(PoisonError::into_inner);
            events_lost.into_iter().for_each(|(destination, lost)| *all.entry(destination).or_default() += lost);
        }
        if events {
            self.core.events.send_replace(());
        }
        if !ids.is_empty() {
            _ = self.janitor.send(Message::Settled(ids));
        }
        for files in doomed {
            _ = self.janitor.send(Message::Unlink(files));
        }
        Ok(())
    }

    fn publish_buckets(&self, buckets: Buckets) {
        if !Arc::ptr_eq(&buckets, &self.core.buckets.load()) {
            self.core.buckets.store(buckets);
        }
    }

    fn undo(&self) {
        let connection = &self.database.connection;
        if !connection.is_autocommit()
            && let Err(error) = connection.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "a failed transaction can't be undone");
        }
    }

    /// Takes files off the lists of what a start would have to do, if that is on the disk. How many of each list.
    fn forget(&self) -> Result<(usize, usize)> {
        let done = self.core.done.lock().unwrap_or_else(PoisonError::into_inner);
        let connection = &self.database.connection;
        for file in &done.settled {
            connection.prepare_cached("DELETE FROM arriving WHERE file = ?1")?.execute([file.as_str()])?;
        }
        for file in &done.unlinked {
            connection.prepare_cached("DELETE FROM garbage WHERE file = ?1")?.execute([file.as_str()])?;
        }
        Ok((done.settled.len(), done.unlinked.len()))
    }

    fn forgotten(&self, (settled, unlinked): &(usize, usize)) {
        let mut done = self.core.done.lock().unwrap_or_else(PoisonError::into_inner);
        let Done { settled: all_settled, unlinked: all_unlinked } = &mut *done;
        all_settled.drain(..settled);
        all_unlinked.drain(..unlinked);
    }

    fn forget_done(&self) -> Result<()> {
        self.database.place.check()?;
        begin(&self.database.connection)?;
        self.forget()?;
        Ok(self.database.connection.execute_batch("COMMIT")?)
    }
}

fn begin(connection: &Connection) -> Result<()> {
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute(())?;
    Ok(())
}

fn count(connection: &Connection, name: &str, more: i64) -> Result<()> {
    if more != 0 {
        connection.prepare_cached("UPDATE counter SET value = value + ?2 WHERE name = ?1")?.execute((name, more))?;
    }
    Ok(())
}
