//! Copies of the database while it is in use.

use crate::error::StoreError;
use crate::snapshot::Snapshot;
use crate::{Store, database};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Pages that are copied at once.
const PAGES: i32 = 1024;
/// The rest where SQLite is asked to wait, and before another look at a state that was being published.
const REST: Duration = Duration::from_millis(2);

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The database can't be read, or the copy not be written.
    #[error("the database can't be copied")]
    Sqlite(#[from] rusqlite::Error),
    /// The files aren't those that are open.
    #[error("the database can't be copied")]
    Store(#[from] StoreError),
    /// The copy's file.
    #[error("the copy of the database can't be written")]
    Io(#[from] io::Error),
}

impl Store {
    /// Copies one state of the database into a new file, which is on the disk then. What the copy holds. Blocks.
    ///
    /// # Errors
    /// [`CopyError`].
    pub fn copy(&self, to: &Path) -> Result<Arc<Snapshot>, CopyError> {
        self.place_check()?;
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
        let from = Connection::open_with_flags_and_vfs(&*self.path, OpenFlags::SQLITE_OPEN_READ_ONLY, database::VFS)?;
        from.busy_timeout(database::BUSY_WAIT)?;
        loop {
            self.place_check()?;
            // Within a transaction the copy is of its state, whatever is written meanwhile.
            let tx = from.unchecked_transaction()?;
            let select = "SELECT value FROM meta WHERE name = 'revision'";
            let revision: u64 = tx.query_row(select, (), |row| row.get::<_, String>(0)).map_or(0, |text| text.parse().unwrap_or(0));
            // A commit is published a moment later.
            let snapshot = self.snapshot();
            if snapshot.revision() == revision {
                copy(&tx, to)?;
                return Ok(snapshot);
            }
            drop(tx);
            std::thread::sleep(REST);
        }
    }
}

fn copy(from: &Connection, to: &Path) -> Result<(), CopyError> {
    let mut copied = Connection::open(to)?;
    copied.pragma_update(None, "journal_mode", "off")?;
    copied.pragma_update(None, "synchronous", "off")?;
    let backup = Backup::new(from, &mut copied)?;
    while backup.step(PAGES)? != StepResult::Done {
        std::thread::sleep(REST);
    }
    drop(backup);
    drop(copied);
    Ok(File::open(to)?.sync_all()?)
}
