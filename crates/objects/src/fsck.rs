//! Looks at the index and the files of an engine that is closed, and says what doesn't fit.

use crate::body::{FileId, StoredBody};
use crate::copy::named_files;
use crate::database::Database;
use crate::error::{Error, Result};
use crate::noun::VersionId;
use crate::request::Bad;
use crate::{mark, row, table};
use anyhow::anyhow;
use rusqlite::Connection;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Damaged objects that are named, at most.
const BAD_MAX: usize = 100;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checked {
    /// Versions of objects.
    pub versions: u64,
    /// Files of bodies that are there.
    pub files: u64,
    /// What is wrong with the index itself.
    pub index: Vec<String>,
    /// How many versions and parts miss files, or have files of another size.
    pub damaged: u64,
    /// The first hundred of them.
    pub bad: Vec<Bad>,
    /// Files that the index doesn't name.
    pub unnamed: Vec<PathBuf>,
}

impl Checked {
    /// Whether everything fits.
    #[must_use]
    pub fn sound(&self) -> bool {
        self.index.is_empty() && self.damaged == 0 && self.unnamed.is_empty()
    }
}

/// Whether there is any file of a body.
pub(crate) fn any_file(dir: &Path) -> Result<bool> {
    Ok(!files(dir)?.is_empty())
}

/// All files of bodies, with their sizes.
pub(crate) fn files(dir: &Path) -> Result<BTreeMap<FileId, (PathBuf, u64)>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![dir.join("incoming")];
    for entry in read_dir(&dir.join("files"))? {
        folders.push(entry.path());
    }
    for folder in folders.into_iter().filter(|folder| folder.is_dir()) {
        for entry in read_dir(&folder)? {
            if let Some(file) = entry.file_name().to_str().and_then(FileId::parse) {
                found.insert(file, (entry.path(), entry.metadata()?.len()));
            }
        }
    }
    Ok(found)
}

fn read_dir(dir: &Path) -> Result<Vec<std::fs::DirEntry>> {
    match std::fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        read => Ok(read?.collect::<Result<_, _>>()?),
    }
}

/// Checks the engine in this directory: the index against the files and the files against the index. Bodies are not read: that is what a scrub
/// does. Changes nothing but what opening the index does.
///
/// # Errors
/// [`Error::Io`] if it is in use, or the index can't be opened.
pub fn check(dir: &Path) -> Result<Checked> {
    let path = dir.join("index.db");
    if std::fs::metadata(&path).map_or(0, |found| found.len()) == 0 {
        return Err(Error::Io(anyhow!("{} is missing or empty", path.display())));
    }
    let database = Database::open(&path, true)?;
    let mut checked = Checked::default();
    if let Err(error) = mark::judge(mark::read(dir)?, database.position()?) {
        checked.index.push(format!("{:#}", anyhow::Error::from(error)));
    }
    integrity(&database.connection, &mut checked.index)?;
    let there = files(dir)?;
    checked.files = there.len() as u64;
    bodies(&database.connection, &there, &mut checked)?;
    let mut unnamed: BTreeSet<FileId> = there.keys().cloned().collect();
    named_files(&database.connection, |file, _| _ = unnamed.remove(file))?;
    for file in garbage(&database.connection)? {
        // The next start deletes them.
        unnamed.remove(&file);
    }
    checked.unnamed = unnamed.iter().filter_map(|file| Some(there.get(file)?.0.clone())).collect();
    Ok(checked)
}

/// What SQLite finds wrong.
pub(crate) fn integrity(connection: &Connection, wrong: &mut Vec<String>) -> Result<()> {
    let mut select = connection.prepare("PRAGMA integrity_check(10)")?;
    let mut rows = select.query(())?;
    while let Some(row) = rows.next()? {
        let said: String = row.get(0)?;
        if said != "ok" {
            wrong.push(said);
        }
    }
    Ok(())
}

pub(crate) fn garbage(connection: &Connection) -> Result<Vec<FileId>> {
    let mut select = connection.prepare("SELECT file FROM garbage")?;
    let names = select.query_map((), |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    Ok(names.iter().filter_map(|name| FileId::parse(name)).collect())
}

/// Looks at the files of each version and part.
fn bodies(connection: &Connection, there: &BTreeMap<FileId, (PathBuf, u64)>, checked: &mut Checked) -> Result<()> {
    let wrong = |pieces: &[crate::body::Piece]| {
        pieces.iter().find_map(|piece| {
            let file = piece.file()?;
            let size = piece.stored() + table::size(piece);
            match there.get(file) {
                None => Some(format!("the file {file} is missing")),
                Some((_, found)) if *found != size => Some(format!("the file {file} has {found} bytes instead of {size}")),
                Some(_) => None,
            }
        })
    };
    let mut note = |bucket: String, key: String, version: Option<VersionId>, why: String| {
        checked.damaged += 1;
        if checked.bad.len() < BAD_MAX {
            checked.bad.push(Bad { bucket, key, version, why });
        }
    };
    let bucket = "coalesce(bucket.name, 'bucket ' || ";
    let mut select = connection.prepare(&format!(
        "SELECT {bucket} version.bucket), key, id, body FROM version LEFT JOIN bucket ON bucket.number = version.bucket"
    ))?;
    let mut rows = select.query(())?;
    while let Some(row) = rows.next()? {
        checked.versions += 1;
        let stored: StoredBody = serde_json::from_str(row.get_ref(3)?.as_str().map_err(rusqlite::Error::from)?)?;
        if let Some(why) = wrong(&stored.pieces) {
            note(row.get(0)?, row::key(row, 1)?, Some(row::id(row, 2)?), why);
        }
    }
    let mut select = connection.prepare(&format!(
        "SELECT {bucket} upload.bucket), upload.key, part.piece FROM part JOIN upload ON upload.id = part.upload
         LEFT JOIN bucket ON bucket.number = upload.bucket"
    ))?;
    let mut rows = select.query(())?;
    while let Some(row) = rows.next()? {
        let piece = serde_json::from_str(row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?)?;
        if let Some(why) = wrong(&[piece]) {
            note(row.get(0)?, row::key(row, 1)?, None, why);
        }
    }
    Ok(())
}
