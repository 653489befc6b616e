//! The one writer: takes what is queued, applies it, commits it as one transaction, publishes the result, answers.

use crate::database::Database;
use crate::error::StoreError;
use crate::snapshot::Snapshot;
use crate::tx::Working;
use arc_swap::ArcSwap;
use model::fault::{Crash, Faults, panic_text};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};

/// Most transactions that are committed at once.
const BATCH_MAX: usize = 256;

/// What everybody reads.
pub(crate) struct Published {
    pub(crate) snapshot: ArcSwap<Snapshot>,
    pub(crate) revision: watch::Sender<u64>,
}

/// A closure that waits to be applied, and then to be answered.
pub(crate) trait Job: Send {
    /// Applies the closure and keeps its result. Whether its writes stand.
    fn apply(&mut self, working: &mut Working) -> bool;
    /// Gives the result to the caller, or the error in its place.
    fn answer(self: Box<Self>, outcome: Result<(), StoreError>);
}

pub(crate) struct Call<F, T, E> {
    pub(crate) closure: Option<F>,
    pub(crate) result: Option<Result<T, E>>,
    pub(crate) reply: oneshot::Sender<Result<Result<T, E>, StoreError>>,
}

impl<F, T, E> Job for Call<F, T, E>
where
    F: FnOnce(&mut Working) -> Result<T, E> + Send,
    T: Send,
    E: Send,
{
    fn apply(&mut self, working: &mut Working) -> bool {
        let closure = self.closure.take().expect("a job is applied once");
        self.result.insert(closure(working)).is_ok()
    }

    fn answer(self: Box<Self>, outcome: Result<(), StoreError>) {
        let Self { result, reply, .. } = *self;
        // The caller may have gone; its transaction stands.
        _ = reply.send(outcome.and_then(|()| result.ok_or(StoreError::Closed)));
    }
}

/// The writing half of a store. [`crate::Store::open`] gives it a thread of its own; a simulation runs it as a task, so that
/// the order of things follows from its seed alone.
pub struct Writer {
    pub(crate) queue: mpsc::Receiver<Box<dyn Job>>,
    pub(crate) database: Database,
    pub(crate) published: Arc<Published>,
    pub(crate) faults: Arc<dyn Faults>,
    pub(crate) crashed: Option<Crash>,
}

impl Writer {
    /// Works until the last [`crate::Store`] is dropped. Blocks the thread.
    pub fn run_blocking(mut self) {
        while let Some(job) = self.queue.blocking_recv() {
            self.batch(job);
        }
    }

    /// Works until the last [`crate::Store`] is dropped. Commits block the task.
    pub async fn run(mut self) {
        while let Some(job) = self.queue.recv().await {
            self.batch(job);
        }
    }

    fn batch(&mut self, first: Box<dyn Job>) {
        let mut working = Working::new(self.published.snapshot.load().tables.clone());
        let mut applied = Vec::new();
        let mut next = Some(first);
        while let Some(mut job) = next {
            match self.crashed {
                Some(crash) => job.answer(Err(StoreError::Crashed(crash))),
                None => match apply(job.as_mut(), &mut working) {
                    Ok(()) => applied.push(job),
                    Err(error) => job.answer(Err(error)),
                },
            }
            next = if applied.len() < BATCH_MAX { self.queue.try_recv().ok() } else { None };
        }
        let outcome = self.commit(working);
        for job in applied {
            job.answer(outcome.clone());
        }
    }

    /// Commits and publishes. A batch that wrote nothing costs nothing; one that only audits makes no new revision.
    fn commit(&mut self, working: Working) -> Result<(), StoreError> {
        if working.bodies.is_empty() && working.audit.is_empty() {
            return Ok(());
        }
        self.hit("store.commit.before")?;
        if let Some(path) = self.database.place.displaced() {
            let error = StoreError::Displaced { path: path.into() };
            tracing::error!(%error, "a commit was refused");
            return Err(error);
        }
        let previous = self.published.snapshot.load_full();
        let changed = !working.bodies.is_empty();
        let revision = previous.revision + u64::from(changed);
        self.database.commit(&working, revision).inspect_err(|error| tracing::error!(%error, "a commit failed"))?;
        self.hit("store.commit.after")?;
        if changed {
            let snapshot = Snapshot { tables: working.tables, revision, mode: previous.mode };
            self.published.snapshot.store(Arc::new(snapshot));
            self.published.revision.send_replace(revision);
        }
        Ok(())
    }

    fn hit(&mut self, point: &'static str) -> Result<(), StoreError> {
        self.faults.hit(point).map_err(|crash| {
            self.crashed = Some(crash);
            self.database.abandon();
            StoreError::Crashed(crash)
        })
    }
}

/// Applies one closure to a copy of the state, which is thrown away if the closure fails.
fn apply(job: &mut dyn Job, working: &mut Working) -> Result<(), StoreError> {
    let mut attempt = working.attempt();
    match catch_unwind(AssertUnwindSafe(|| job.apply(&mut attempt))) {
        Ok(true) => working.adopt(attempt),
        Ok(false) => {}
        Err(panic) => {
            let text = panic_text(panic.as_ref());
            tracing::error!(panic = text, "a transaction panicked and was undone");
            return Err(StoreError::Panicked(text.into()));
        }
    }
    Ok(())
}
