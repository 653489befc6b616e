//! What a start does after whatever happened before. It looks at what was under way only, never at all files.

use crate::body::FileId;
use crate::error::{Error, Result};
use crate::files::Files;
use rusqlite::{Connection, Transaction, TransactionBehavior};

/// Finishes deletions and moves that the index knows of, and deletes what never got into it. Where it isn't `certain` that the index is the newest
/// one, that is moved to `lost+found/`: a later index may name it.
pub(crate) fn recover(connection: &Connection, files: &Files, certain: bool) -> Result<()> {
    let garbage = names(connection, "SELECT file FROM garbage")?;
    for file in &garbage {
        files.unlink(file)?;
    }
    // What was given up is no longer moved.
    let arriving = names(connection, "SELECT file FROM arriving WHERE file NOT IN (SELECT file FROM garbage)")?;
    for file in &arriving {
        files.settle(file)?;
    }
    for entry in std::fs::read_dir(files.incoming_dir())? {
        let name = entry?.file_name();
        match name.to_str().and_then(FileId::parse) {
            Some(file) if certain => files.discard(&file)?,
            Some(file) => files.keep_lost(&file)?,
            None => tracing::warn!(?name, "a file that is not ours in incoming/"),
        }
    }
    if garbage.is_empty() && arriving.is_empty() {
        return Ok(());
    }
    files.sync_homes(garbage.iter().chain(&arriving))?;
    files.hit("objects.recover.before")?;
    match forget(connection) {
        // Reads go on: the next start does the same again, which changes nothing.
        Err(Error::Full) => tracing::warn!("the disk under S3 is full: what a start has tidied up can't be noted"),
        noted => noted?,
    }
    files.hit("objects.recover.after")
}

/// Forgets what was under way.
fn forget(connection: &Connection) -> Result<()> {
    let tx = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    tx.execute_batch("DELETE FROM garbage; DELETE FROM arriving")?;
    Ok(tx.commit()?)
}

fn names(connection: &Connection, sql: &str) -> Result<Vec<FileId>> {
    let mut select = connection.prepare(sql)?;
    let names = select.query_map((), |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    let parsed = names.iter().map(|name| FileId::parse(name).ok_or_else(|| Error::Io(anyhow::anyhow!("{name} is not a file of ours"))));
    parsed.collect()
}
