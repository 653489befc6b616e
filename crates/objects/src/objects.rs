//! The engine as a whole: opening and closing, buckets, upkeep. What is asked of objects is in [`crate::operations`].

use crate::core::Core;
use crate::database::{Database, Readers};
use crate::error::{Error, Result};
use crate::event::Witness;
use crate::files::Files;
use crate::fsck;
use crate::janitor::{Janitor, Message};
use crate::journal::{self, Journal};
use crate::mark::{self, Kept as KeptMark, Mark};
use crate::noun::Bucket;
use crate::pins::Pins;
use crate::recover;
use crate::request::{Scrubbed, Usage};
use crate::scrub::{self, Kept};
use crate::seal::MasterKey;
use crate::writer::{Queue, Writer};
use arc_swap::ArcSwap;
use model::fault::Faults;
use model::scope::AccountId;
use model::time::Timestamp;
use rand::CryptoRng;
use rand::rngs::StdRng;
use rusqlite::Connection;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::watch;

/// Plain bytes of a body up to which it lies in the index: there it costs no file and no sync of its own.
pub const INLINE_MAX: usize = 16 * 1024;
/// Most versions that one transaction of [`Objects::bucket_destroy`] removes: what others' writes wait for.
const CLEARED_MAX: usize = 256;

/// What a test changes of the engine.
pub struct Options {
    /// Plain bytes of a body up to which it lies in the index.
    pub inline_max: usize,
    /// Bytes after which it is kept how far a scrub has come.
    pub scrub_step: u64,
    /// Whether writes are synced to the disk. Without it a power cut may lose or damage anything.
    pub durable: bool,
    /// Where ids and data keys come from.
    pub rng: Box<dyn CryptoRng + Send>,
}

impl Default for Options {
    fn default() -> Self {
        Self { inline_max: INLINE_MAX, scrub_step: scrub::STEP, durable: true, rng: Box::new(rand::make_rng::<StdRng>()) }
    }
}

/// The engine. Clones are the same engine; when the last one is dropped, its files are closed.
#[derive(Clone)]
pub struct Objects {
    pub(crate) engine: Arc<Engine>,
    pub(crate) witness: Option<Arc<dyn Witness>>,
}

impl std::fmt::Debug for Objects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Objects").field("dir", &self.engine.core.files.dir()).finish_non_exhaustive()
    }
}

pub(crate) struct Engine {
    /// Taken when the engine is dropped, so that the writer sees the end of its queue.
    queue: Option<Queue>,
    pub(crate) core: Arc<Core>,
    pub(crate) readers: Arc<Readers>,
    pub(crate) janitor: mpsc::Sender<Message>,
    threads: Option<[JoinHandle<()>; 2]>,
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.queue = None;
        let Some([janitor, writer]) = self.threads.take() else { return };
        // A write may hold the last clone: the writer can't wait for itself.
        if std::thread::current().id() == writer.thread().id() {
            return;
        }
        _ = self.janitor.send(Message::Stop);
        if janitor.join().is_err() || writer.join().is_err() {
            tracing::error!("a thread of the object storage panicked");
        }
    }
}

/// Opens the index, unless it is not the one that names the files beside it. Whether that is certain.
fn open_index(dir: &Path, path: &Path, durable: bool) -> Result<(Database, bool)> {
    let mark = mark::read(dir)?;
    let empty = match std::fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Some("is missing"),
        found => (found?.len() == 0).then_some("is empty"),
    };
    if let Some(empty) = empty
        && (mark != KeptMark::None || fsck::any_file(dir)?)
    {
        return Err(refused(anyhow::anyhow!("{} {empty}, but there was an index in this directory before", path.display())));
    }
    let database = Database::open(path, durable).map_err(|error| {
        let Error::Io(cause) = error else { return error };
        // Those of SQLite say that the file is damaged.
        if cause.chain().any(|cause| cause.is::<rusqlite::Error>()) { refused(cause) } else { Error::Io(cause) }
    })?;
    let index = database.position()?;
    let judged = mark::judge(mark, index).and_then(|certain| {
        let (last, noted) = (index.sequence, journal::newest(dir)?);
        let old = noted > last;
        let why = || anyhow::anyhow!("it is older than the files beside it: its last commit is number {last}, but the journal has {noted}");
        if old { Err(Error::Io(why())) } else { Ok(certain) }
    });
    match judged {
        Ok(certain) => Ok((database, certain || empty.is_some())),
        Err(error) => {
            // It is left as it was found.
            database.abandon();
            Err(refused(anyhow::Error::from(error).context(format!("{} can't be used", path.display()))))
        }
    }
}

/// Says what to do about an index that can't be used.
fn refused(why: anyhow::Error) -> Error {
    Error::Io(why.context(
        "the index of objects was refused and nothing was changed; put back the whole directory from a backup (`pileus restore`), or make a new \
         index of what is there: `pileus fsck objects --rebuild`",
    ))
}

/// Tells a thread that nobody waits for it any more.
struct Abandon(Arc<AtomicBool>);

impl Drop for Abandon {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Objects {
    /// Opens the engine in this directory, or makes it there, and finishes what was under way when it was last closed.
    ///
    /// # Errors
    /// [`Error::Io`] if it is in use, of another program or a newer one, or can't be read; [`Error::Full`].
    pub fn open(dir: &Path, keys: MasterKey, faults: Arc<dyn Faults>) -> Result<Self> {
        Self::open_with(dir, keys, faults, Options::default())
    }

    /// As [`Objects::open`], with options for tests.
    ///
    /// # Errors
    /// As [`Objects::open`].
    pub fn open_with(dir: &Path, keys: MasterKey, faults: Arc<dyn Faults>, options: Options) -> Result<Self> {
        let files = Arc::new(Files::open(dir, options.durable, faults)?);
        let path = dir.join("index.db");
        let (database, certain) = open_index(dir, &path, options.durable)?;
        if let Err(error) = files.sync_dir(dir).and_then(|()| recover::recover(&database.connection, &files, certain)) {
            database.abandon();
            return Err(error);
        }
        let position = database.position()?;
        let (janitor, messages) = mpsc::channel();
        let core = Arc::new(Core {
            files,
            pins: Arc::new(Pins::new(janitor.clone())),
            master: keys,
            rng: Mutex::new(options.rng),
            inline_max: options.inline_max,
            scrub_step: options.scrub_step,
            buckets: ArcSwap::from_pointee(database.buckets()?),
            versions: AtomicU64::new(database.counter("versions")?),
            bytes: AtomicU64::new(database.counter("bytes")?),
            done: Mutex::default(),
            mark: Mark::open(dir, position)?,
            journal: Mutex::new(Journal::open(dir)?),
            sequence: AtomicU64::new(position.sequence),
            copied: AtomicU64::new(u64::MAX),
            holds: AtomicU64::new(0),
            events: watch::Sender::new(()),
            events_lost: Mutex::default(),
        });
        let (queue, jobs) = Queue::new();
        let place = database.place.clone();
        let writer = Writer { queue: jobs, database, core: core.clone(), janitor: janitor.clone() };
        let tidying = Janitor::new(core.clone());
        let spawn = |name: &str| std::thread::Builder::new().name(name.into());
        let threads =
            [spawn("objects-janitor").spawn(move || tidying.run(&messages))?, spawn("objects-writer").spawn(move || writer.run())?];
        let readers = Arc::new(Readers::new(path, place));
        Ok(Self { engine: Arc::new(Engine { queue: Some(queue), core, readers, janitor, threads: Some(threads) }), witness: None })
    }

    /// Checks that the index's files are still the ones that are open. While they aren't, nothing is written.
    ///
    /// # Errors
    /// [`Error::Io`], which names the file.
    pub fn place_check(&self) -> Result<()> {
        self.engine.readers.place_check()
    }

    pub(crate) fn queue(&self) -> Result<&Queue> {
        self.engine.queue.as_ref().ok_or_else(|| Error::Io(anyhow::anyhow!("the engine is closed")))
    }

    /// Looks at one state of a bucket's index from a blocking thread.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        bucket: &str,
        look: impl FnOnce(&Core, &Connection, i64) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.engine.core.files.living()?;
        let number = self.engine.core.buckets.load().get(bucket).ok_or(Error::NoSuchBucket)?.number;
        let (core, readers) = (self.engine.core.clone(), self.engine.readers.clone());
        let looked = tokio::task::spawn_blocking(move || readers.look(|connection| look(&core, connection, number)));
        looked.await.map_err(|e| Error::Io(e.into()))?
    }

    /// Looks at one state of the index from a blocking thread.
    pub(crate) async fn look_at_all<T: Send + 'static>(&self, look: impl FnOnce(&Connection) -> Result<T> + Send + 'static) -> Result<T> {
        self.engine.core.files.living()?;
        let readers = self.engine.readers.clone();
        tokio::task::spawn_blocking(move || readers.look(look)).await.map_err(|e| Error::Io(e.into()))?
    }

    /// Makes a bucket.
    ///
    /// # Errors
    /// [`Error::BucketExists`], [`Error::Full`], [`Error::Io`].
    pub async fn bucket_create(&self, bucket: Bucket) -> Result<()> {
        self.queue()?.write(move |tx| tx.bucket_create(bucket)).await
    }

    /// The bucket of this name.
    #[must_use]
    pub fn bucket(&self, name: &str) -> Option<Arc<Bucket>> {
        self.engine.core.buckets.load().get(name).map(|entry| entry.bucket.clone())
    }

    /// An account's buckets by name.
    #[must_use]
    pub fn buckets(&self, owner: &AccountId) -> Vec<Arc<Bucket>> {
        let buckets = self.engine.core.buckets.load();
        buckets.values().filter(|entry| entry.bucket.owner == *owner).map(|entry| entry.bucket.clone()).collect()
    }

    /// All buckets by name.
    #[must_use]
    pub fn buckets_all(&self) -> Vec<Arc<Bucket>> {
        self.engine.core.buckets.load().values().map(|entry| entry.bucket.clone()).collect()
    }

    /// Changes a bucket, but for its name, unless `change` refuses.
    ///
    /// # Errors
    /// Inside: what `change` refused with. [`Error::NoSuchBucket`], [`Error::Full`], [`Error::Io`].
    pub async fn bucket_update<E: Send + 'static>(
        &self,
        name: &str,
        change: impl FnOnce(&mut Bucket) -> Result<(), E> + Send + 'static,
    ) -> Result<Result<Arc<Bucket>, E>> {
        let name = name.to_owned();
        self.queue()?.try_write(move |tx| tx.bucket_update(&name, change)).await
    }

    /// Removes a bucket without versions and markers; its unfinished uploads go with it.
    ///
    /// # Errors
    /// [`Error::NoSuchBucket`], [`Error::BucketNotEmpty`], [`Error::Full`], [`Error::Io`].
    pub async fn bucket_delete(&self, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.queue()?.write(move |tx| tx.bucket_delete(&name)).await
    }

    /// Removes a bucket with everything in it, locked versions too: what the operator does, never a client.
    ///
    /// # Errors
    /// [`Error::NoSuchBucket`]; [`Error::BucketNotEmpty`] if something was written meanwhile; [`Error::Full`], [`Error::Io`].
    pub async fn bucket_destroy(&self, name: &str) -> Result<()> {
        loop {
            let emptied = name.to_owned();
            if !self.queue()?.write(move |tx| tx.bucket_clear(&emptied, CLEARED_MAX)).await? {
                return self.bucket_delete(name).await;
            }
        }
    }

    /// Reads all bodies and compares their checksums; goes on with a round that was under way when it was dropped or the process ended.
    /// After each block, of so many bytes, it rests as long as `pace` says.
    ///
    /// # Errors
    /// [`Error::Io`] if the index can't be read.
    pub async fn scrub(
        &self,
        now: impl Fn() -> Timestamp,
        pace: impl Fn(u64) -> Duration + Send + Sync + 'static,
    ) -> Result<(Timestamp, Scrubbed)> {
        let Kept { last, round } = self.look_at_all(scrub::kept).await?;
        let (mut round, pace, abandoned) = (round.unwrap_or_default(), Arc::new(pace), Abandon(Arc::default()));
        loop {
            let (core, readers, pace, flag) = (self.engine.core.clone(), self.engine.readers.clone(), pace.clone(), abandoned.0.clone());
            let step = tokio::task::spawn_blocking(move || scrub::step(&core, &readers, round, &*pace, &flag));
            round = step.await.map_err(|e| Error::Io(e.into()))??;
            if round.ended() {
                break;
            }
            self.scrub_keep(Kept { last: last.clone(), round: Some(round.clone()) }).await;
        }
        let ended = (now(), round.found);
        self.scrub_keep(Kept { last: Some(ended.clone()), round: None }).await;
        Ok(ended)
    }

    /// Without it, as on a full disk, the next start reads some bodies again.
    async fn scrub_keep(&self, kept: Kept) {
        let Ok(queue) = self.queue() else { return };
        if let Err(error) = queue.write(move |tx| tx.scrub_keep(&kept)).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "how far all objects were read could not be kept");
        }
    }

    /// When the last scrub that read all bodies ended, and what it found.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub async fn scrubbed(&self) -> Result<Option<(Timestamp, Scrubbed)>> {
        Ok(self.look_at_all(scrub::kept).await?.last)
    }

    /// Whether there is no space for more bodies: then only what frees space should be done.
    #[must_use]
    pub fn is_short(&self) -> bool {
        matches!(self.engine.core.files.room(), Err(Error::Full))
    }

    /// How much is kept, as of the last commit.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let core = &self.engine.core;
        Usage {
            buckets: core.buckets.load().len() as u64,
            versions: core.versions.load(Ordering::Relaxed),
            bytes: core.bytes.load(Ordering::Relaxed),
            free_bytes: core.files.free_bytes().unwrap_or(0),
        }
    }
}
