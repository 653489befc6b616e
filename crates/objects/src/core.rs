//! What all parts of the engine share.

use crate::body::FileId;
use crate::error::Result;
use crate::files::Files;
use crate::journal::Journal;
use crate::mark::Mark;
use crate::noun::Bucket;
use crate::pins::Pins;
use crate::seal::{self, Cipher, MasterKey, Seal, Wrapped};
use arc_swap::ArcSwap;
use rand::distr::{Distribution, StandardUniform};
use rand::{CryptoRng, RngExt as _};
use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// A bucket and its number in the index, which is never used again.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) number: i64,
    pub(crate) bucket: Arc<Bucket>,
}

/// All buckets by name.
pub(crate) type Buckets = Arc<BTreeMap<String, Entry>>;

/// Files whose moving or deletion is on the disk, so that the index may forget it.
#[derive(Default)]
pub(crate) struct Done {
    pub(crate) settled: Vec<FileId>,
    pub(crate) unlinked: Vec<FileId>,
}

pub(crate) struct Core {
    pub(crate) files: Arc<Files>,
    pub(crate) pins: Arc<Pins>,
    pub(crate) master: MasterKey,
    pub(crate) rng: Mutex<Box<dyn CryptoRng + Send>>,
    /// Bodies up to this many plain bytes lie in the index.
    pub(crate) inline_max: usize,
    /// Bytes after which it is kept how far a scrub has come.
    pub(crate) scrub_step: u64,
    pub(crate) buckets: ArcSwap<BTreeMap<String, Entry>>,
    pub(crate) versions: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) done: Mutex<Done>,
    pub(crate) mark: Mark,
    pub(crate) journal: Mutex<Journal>,
    /// Number of the index's last commit.
    pub(crate) sequence: AtomicU64,
    /// That of the commit with which the index was last copied.
    pub(crate) copied: AtomicU64,
    /// While it is more than 0, nothing that the index has given up is deleted.
    pub(crate) holds: AtomicU64,
    /// Told when events were committed.
    pub(crate) events: watch::Sender<()>,
    /// Events that had to go for newer ones since the start, by destination.
    pub(crate) events_lost: Mutex<BTreeMap<String, u64>>,
}

impl Core {
    pub(crate) fn random<T>(&self) -> T
    where
        StandardUniform: Distribution<T>,
    {
        self.rng.lock().unwrap_or_else(PoisonError::into_inner).random()
    }

    /// A new key for a body.
    pub(crate) fn draw(&self, seal: &Seal) -> Result<Option<(Cipher, Wrapped)>> {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        seal::draw(seal, &self.master, rng.as_mut())
    }
}
