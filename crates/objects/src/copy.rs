//! Copies of the index while it is in use, and holding back deletions until the bodies that a copy names were copied, too.

use crate::body::{FileId, StoredBody};
use crate::database;
use crate::error::{Error, Result};
use crate::janitor::Message;
use crate::lost::{self, Lost};
use crate::objects::{Engine, Objects};
use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// The copy that is kept beside the index, for [`crate::rebuild`].
pub(crate) const KEPT: &str = "index.backup.db";
/// Pages that are copied at once: 4 MiB.
const PAGES: i32 = 256;
/// The rest after them when nobody waits for the copy.
const REST: Duration = Duration::from_millis(40);

/// The rest where SQLite is asked to wait.
const BUSY_REST: Duration = Duration::from_millis(5);

/// While it is held, no file is deleted that belonged to an object.
pub struct Hold(Arc<Engine>);

impl std::fmt::Debug for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hold")
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.core.holds.fetch_sub(1, Ordering::SeqCst);
        _ = self.0.janitor.send(Message::Released);
    }
}

/// Copies one state of the index into a new file, which is on the disk then. The number of its last commit.
pub(crate) fn copy(from: &Connection, to: &Path, rest: Duration) -> Result<u64> {
    match std::fs::remove_file(to) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    // Within a transaction the copy is of its state, whatever is written meanwhile.
    let tx = from.unchecked_transaction()?;
    let position = database::position(&tx)?;
    let mut copied = Connection::open(to)?;
    copied.pragma_update(None, "journal_mode", "off")?;
    copied.pragma_update(None, "synchronous", "off")?;
    let backup = Backup::new(&tx, &mut copied)?;
    loop {
        let step = backup.step(PAGES)?;
        if step == StepResult::Done {
            break;
        }
        std::thread::sleep(if step == StepResult::More { rest } else { BUSY_REST });
    }
    drop(backup);
    drop(copied);
    tx.commit()?;
    File::open(to)?.sync_all()?;
    Ok(position.sequence)
}

/// The files that a copy of the index names.
///
/// # Errors
/// [`Error::Io`] if it can't be read.
pub fn files_named(index: &Path) -> Result<BTreeSet<String>> {
    let connection = Connection::open(index)?;
    let mut named = BTreeSet::new();
    named_files(&connection, |file, _| _ = named.insert(file.to_string()))?;
    Ok(named)
}

/// Every piece of the index that is a file, with the bytes that the file must have.
pub(crate) fn named_files(connection: &Connection, mut take: impl FnMut(&FileId, u64)) -> Result<()> {
    let mut each = |piece: &crate::body::Piece| {
        if let Some(file) = piece.file() {
            take(file, piece.stored() + crate::table::size(piece));
        }
    };
    let mut select = connection.prepare("SELECT body FROM version")?;
    let mut rows = select.query(())?;
    while let Some(row) = rows.next()? {
        let stored: StoredBody = serde_json::from_str(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?)?;
        stored.pieces.iter().for_each(&mut each);
    }
    let mut select = connection.prepare("SELECT piece FROM part")?;
    let mut rows = select.query(())?;
    while let Some(row) = rows.next()? {
        each(&serde_json::from_str(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?)?);
    }
    Ok(())
}

impl Objects {
    /// Holds back the deletion of files until what this gives is dropped.
    #[must_use]
    pub fn hold(&self) -> Hold {
        self.engine.core.holds.fetch_add(1, Ordering::SeqCst);
        Hold(self.engine.clone())
    }

    /// Copies the index as it is now into a new file.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Io`].
    pub async fn index_copy(&self, to: PathBuf) -> Result<()> {
        self.copying(to, Duration::ZERO).await.map(drop)
    }

    async fn copying(&self, to: PathBuf, rest: Duration) -> Result<u64> {
        self.engine.core.files.living()?;
        let readers = self.engine.readers.clone();
        let copied = tokio::task::spawn_blocking(move || copy(&readers.connect()?, &to, rest));
        copied.await.map_err(|e| Error::Io(e.into()))?
    }

    /// Copies the index to where [`crate::rebuild`] looks for it, unless nothing was written since or there is no room. Slow on purpose.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Io`].
    pub async fn index_keep(&self) -> Result<()> {
        let core = &self.engine.core;
        let dir = core.files.dir().to_owned();
        if core.copied.load(Ordering::Relaxed) == core.sequence.load(Ordering::Relaxed) {
            return Ok(());
        }
        let size = std::fs::metadata(dir.join("index.db"))?.len();
        if core.files.free_bytes()? < size.saturating_add(4 * crate::files::RESERVE_BYTES) {
            return Err(Error::Full);
        }
        let fresh = dir.join("index.backup.new");
        let sequence = self.copying(fresh.clone(), REST).await?;
        std::fs::rename(&fresh, dir.join(KEPT))?;
        core.files.sync_dir(&dir)?;
        core.journal.lock().unwrap_or_else(PoisonError::into_inner).copied()?;
        core.copied.store(sequence, Ordering::Relaxed);
        Ok(())
    }

    /// Deletes what has lain in `lost+found/` long enough, and says what is still there.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn lost(&self) -> Result<Lost> {
        lost::sweep(self.engine.core.files.dir())
    }

    /// Where a body's file is. It may be moved to its place at the same time.
    ///
    /// # Errors
    /// [`Error::Io`] if it is missing.
    pub fn file_open(&self, name: &str) -> Result<File> {
        let id = FileId::parse(name).ok_or_else(|| Error::Io(anyhow::anyhow!("{name} is not a file of ours")))?;
        self.engine.core.files.read(&id)
    }
}
