//! The only persistence: documents with revisions in SQLite, one writer, and immutable snapshots for everybody who reads.
//!
//! A write is a closure that the writer applies to the newest state. All that are queued together become one transaction of
//! SQLite; once that is on the disk, the new state is published and the callers are answered. A closure that returns an error
//! (or panics) leaves nothing behind. A reader takes a [`Snapshot`], which costs a pointer and never changes.
//!
//! [`AccountTx`] and [`View`] are one tenant's: through them nothing of another tenant can be named. [`SystemTx`] is for the
//! loops and the operator.

mod audit;
mod copy;
mod database;
mod error;
mod identity;
mod index;
mod place;
mod setting;
mod snapshot;
mod table;
mod token;
mod tx;
mod writer;

pub use audit::{AUDIT_AGE_MAX_MILLIS, AUDIT_RECORDS_MAX, AuditRecord};
pub use copy::CopyError;
pub use error::{OpenError, StoreError};
pub use identity::{Found, Identity};
pub use setting::Setting;
pub use snapshot::{Snapshot, UsedIps, View};
pub use table::{Document, Noun, Unique};
pub use token::{IdempotencyToken, TOKEN_KEPT_MILLIS, TokenId};
pub use tx::{AccountTx, SystemTx};
pub use writer::Writer;

use arc_swap::ArcSwap;
use database::Database;
use model::fault::Faults;
use model::scope::Scope;
use place::Place;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot, watch};
use tx::Working;
use writer::{Call, Job, Published};

/// Most transactions that wait for the writer; further callers wait for a place.
const QUEUE_MAX: usize = 1024;

/// What a cloud runs on. Fixed when its database is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// On a host, with guests.
    Real,
    /// On fakes.
    Simulated,
}

impl Mode {
    /// `real` or `simulated`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Real => "real",
            Self::Simulated => "simulated",
        }
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The state of the cloud. Clones are the same store; when the last one is dropped, the file is closed.
#[derive(Clone)]
pub struct Store {
    // Dropped before the thread is waited for, so that the writer sees the end of its queue.
    queue: mpsc::Sender<Box<dyn Job>>,
    published: Arc<Published>,
    path: Arc<PathBuf>,
    place: Place,
    _thread: Option<Arc<WriterThread>>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the database at `path`, or creates it with this mode, and starts the writer's thread.
    ///
    /// # Errors
    /// If it is in use, of the other mode, of another program or a newer one, or can't be read.
    pub fn open(path: &Path, mode: Mode, faults: Arc<dyn Faults>) -> Result<Self, OpenError> {
        Self::open_checked(path, mode, faults, |_| Ok(None))
    }

    /// As [`Store::open`], if `check` agrees to what is found there. It is called once, while the database is locked and before anything of
    /// it is created; the identity that it gives back is kept in the database.
    ///
    /// # Errors
    /// As [`Store::open`], and [`OpenError::Refused`] with what `check` says.
    pub fn open_checked(
        path: &Path,
        mode: Mode,
        faults: Arc<dyn Faults>,
        check: impl FnOnce(Found<'_>) -> Result<Option<Identity>, String>,
    ) -> Result<Self, OpenError> {
        let (mut store, writer) = Self::prepare(path, mode, faults, check)?;
        let thread = std::thread::Builder::new().name("store-writer".into()).spawn(|| writer.run_blocking());
        let thread = thread.map_err(|source| OpenError::Io { path: path.into(), source })?;
        store._thread = Some(Arc::new(WriterThread(Some(thread))));
        Ok(store)
    }

    /// As [`Store::open`], but the caller runs the writer.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_without_thread(path: &Path, mode: Mode, faults: Arc<dyn Faults>) -> Result<(Self, Writer), OpenError> {
        Self::prepare(path, mode, faults, |_| Ok(None))
    }

    fn prepare(
        path: &Path,
        mode: Mode,
        faults: Arc<dyn Faults>,
        check: impl FnOnce(Found<'_>) -> Result<Option<Identity>, String>,
    ) -> Result<(Self, Writer), OpenError> {
        let (database, snapshot) = Database::open(path, mode, check)?;
        let revision = snapshot.revision;
        let published = Arc::new(Published { snapshot: ArcSwap::from_pointee(snapshot), revision: watch::Sender::new(revision) });
        let (sender, queue) = mpsc::channel(QUEUE_MAX);
        let place = database.place.clone();
        let writer = Writer { queue, database, published: published.clone(), faults, crashed: None };
        Ok((Self { queue: sender, published, path: Arc::new(path.into()), place, _thread: None }, writer))
    }

    /// The newest committed state.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.published.snapshot.load_full()
    }

    /// Tells the revision of each commit that changed a document.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.published.revision.subscribe()
    }

    /// Whether the cloud is real or simulated.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.published.snapshot.load().mode
    }

    /// Checks that the database's files are still the ones that are open. While they aren't, nothing is committed.
    ///
    /// # Errors
    /// [`StoreError::Displaced`].
    pub fn place_check(&self) -> Result<(), StoreError> {
        self.place.displaced().map_or(Ok(()), |path| Err(StoreError::Displaced { path: path.into() }))
    }

    /// Runs a closure over the whole state. When this returns `Ok(Ok(_))`, what it wrote is on the disk. A caller that stops
    /// waiting doesn't undo it. The closure must not wait for anything, least of all for this store.
    ///
    /// # Errors
    /// The closure's own error, inside, after which nothing of it is kept; [`StoreError`] if it could not be committed.
    pub async fn write<T, E, F>(&self, closure: F) -> Result<Result<T, E>, StoreError>
    where
        F: FnOnce(&mut SystemTx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        self.call(move |working| closure(&mut SystemTx::new(working))).await
    }

    /// As [`Store::write`], confined to one tenant in one region.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub fn write_account<'s, T, E, F>(
        &'s self,
        scope: &Scope,
        closure: F,
    ) -> impl Future<Output = Result<Result<T, E>, StoreError>> + Send + use<'s, T, E, F>
    where
        F: FnOnce(&mut AccountTx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        let scope = scope.clone();
        self.call(move |working| closure(&mut AccountTx::new(working, scope)))
    }

    async fn call<T, E, F>(&self, closure: F) -> Result<Result<T, E>, StoreError>
    where
        F: FnOnce(&mut Working) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Call { closure: Some(closure), result: None, reply });
        self.queue.send(job).await.map_err(|_| StoreError::Closed)?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// The newest audit records of a scope, the newest first, at most `count`.
    ///
    /// # Errors
    /// If the database can't be read.
    pub async fn audit_newest(&self, scope: &Scope, count: usize) -> Result<Vec<AuditRecord>, StoreError> {
        let (path, scope) = (self.path.clone(), scope.clone());
        let read = tokio::task::spawn_blocking(move || database::audit_newest(&path, &scope, count));
        Ok(read.await.map_err(|_| StoreError::Closed)??)
    }
}

/// The writer's thread, waited for when the last store is dropped: then the file is closed and can be opened again.
struct WriterThread(Option<JoinHandle<()>>);

impl Drop for WriterThread {
    fn drop(&mut self) {
        // A closure may hold the last clone: the writer can't wait for itself.
        if let Some(thread) = self.0.take().filter(|t| t.thread().id() != std::thread::current().id())
            && thread.join().is_err()
        {
            tracing::error!("the store's writer panicked");
        }
    }
}
