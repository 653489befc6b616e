//! What can go wrong with the store itself. What an action refuses is the action's own error.

use crate::Mode;
use model::fault::Crash;
use std::path::PathBuf;
use std::sync::Arc;

/// The store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another [`crate::Store`] of this one, has it open.
    #[error("{path} is in use by {}", match .pid { Some(pid) => format!("process {pid}"), None => "another process".into() })]
    InUse {
        /// The database.
        path: PathBuf,
        /// The process that holds it, if it left its number.
        pid: Option<u32>,
    },
    /// It was created for the other mode, which is fixed for ever.
    #[error("{path} holds a {found} cloud and can't be opened as a {wanted} one: a data directory is real or simulated for ever")]
    WrongMode {
        /// The database.
        path: PathBuf,
        /// What it is.
        found: Mode,
        /// What it was to be opened as.
        wanted: Mode,
    },
    /// A file of another program.
    #[error("{path} is not a database of Pileus (application id {application_id:#x})")]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// The id in its header.
        application_id: i32,
    },
    /// Its structure is broken.
    #[error("{path} is damaged ({found}): put back the copy of the last backup, without a {path}-wal from another time beside it")]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What SQLite says of it.
        found: String,
    },
    /// It doesn't belong to what is beside it.
    #[error("{reason}")]
    Refused {
        /// The database.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// A newer Pileus wrote it.
    #[error("{path} has version {found}, this program knows versions up to {known}: use the newer program")]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its `user_version`.
        found: i32,
        /// The newest that this program knows.
        known: i32,
    },
    /// A document that can't be read.
    #[error("document {kind} {id:?} of {account:?} in {region:?} can't be read: {reason}")]
    Document {
        /// Its kind.
        kind: String,
        /// Its id.
        id: String,
        /// Whose it is.
        account: String,
        /// Where it is.
        region: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The file or its lock can't be opened.
    #[error("{path} can't be opened")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// SQLite refused.
    #[error("SQLite can't open the database")]
    Database(#[from] rusqlite::Error),
}

/// A transaction could not be committed: nothing of it is kept (but see [`StoreError::Crashed`]).
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The disk is full or gave an error.
    #[error("the state can't be written")]
    Disk(#[source] Arc<rusqlite::Error>),
    /// A file of the database was moved, removed or replaced while it is open: what is written to it would be lost.
    #[error(
        "{path} was moved, removed or replaced while it is open, and nothing is written until it is back: move it back. One that was removed can \
         be copied out of /proc/PID/fd of this server, together with its -wal, before the server is stopped"
    )]
    Displaced {
        /// The file.
        path: PathBuf,
    },
    /// The closure broke an invariant. Only its own writes are undone.
    #[error("a transaction panicked: {0}")]
    Panicked(String),
    /// The simulated process died. As with a real one, the caller can't know whether the transaction was committed.
    #[error(transparent)]
    Crashed(Crash),
    /// The writer has ended.
    #[error("the store is closed")]
    Closed,
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Disk(Arc::new(error))
    }
}
