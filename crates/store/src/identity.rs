//! Which cloud a database is of, and what it is found to be before it is opened.

use crate::snapshot::Snapshot;

/// Which cloud a database is of. The database carries it; the data directory carries it too, and compares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Drawn at random once, in hexadecimal digits.
    pub cloud: String,
    /// How often an operator declared a database to be the truth. A copy from before that has a lower number.
    pub epoch: u64,
}

/// What is found under a database's path before anything of it is created or changed.
#[derive(Debug)]
pub enum Found<'a> {
    /// No database.
    Nothing {
        /// The size of the file, if there is one: it is empty or has no tables.
        bytes: Option<u64>,
    },
    /// A database.
    Cloud {
        /// Its identity. `None` in one that was written before databases had any.
        identity: Option<Identity>,
        /// Its documents.
        snapshot: &'a Snapshot,
    },
}
