//! What was committed since the index was last copied, apart from bodies that lie in it: `journal`, one JSON document a line. It is read when the
//! index is lost, and when it is opened: an index that lacks a commit of the journal is an old one.
//!
//! It is not synced. After a power cut it may lack its last lines, or end in the middle of one.

use crate::error::Result;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// A row of the index that was written, or is gone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Entry {
    Bucket {
        number: i64,
        name: String,
        document: String,
    },
    BucketGone {
        number: i64,
    },
    /// A version with bytes in files, or a delete marker.
    Version(VersionRow),
    /// A version's record was changed.
    Record {
        bucket: i64,
        key: String,
        age: i64,
        record: String,
    },
    VersionGone {
        bucket: i64,
        key: String,
        age: i64,
    },
}

/// A row of the table `version`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct VersionRow {
    pub(crate) bucket: i64,
    pub(crate) key: String,
    pub(crate) age: i64,
    pub(crate) id: String,
    pub(crate) modified: i64,
    pub(crate) marker: bool,
    pub(crate) size: i64,
    pub(crate) etag: String,
    pub(crate) record: String,
    pub(crate) body: String,
    /// Base64 of those pieces that lie in the index, in order: a short last part, say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) inline: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Line<E> {
    /// The commit that it was part of.
    sequence: u64,
    entry: E,
}

fn paths(dir: &Path) -> [PathBuf; 2] {
    [dir.join("journal.old"), dir.join("journal")]
}

pub(crate) struct Journal {
    dir: PathBuf,
    file: File,
    failed: bool,
}

impl Journal {
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        let [_, path] = paths(dir);
        Ok(Self { dir: dir.into(), file: append(&path)?, failed: false })
    }

    /// Notes what a commit wrote. What can't be noted, on a full disk, is missing when the index has to be rebuilt before it was copied again.
    pub(crate) fn add(&mut self, sequence: u64, entries: &[Entry]) {
        let mut text = Vec::new();
        let written = entries.iter().try_for_each(|entry| {
            serde_json::to_writer(&mut text, &Line { sequence, entry })?;
            text.push(b'\n');
            Ok::<(), serde_json::Error>(())
        });
        let written = written.map_err(std::io::Error::from).and_then(|()| self.file.write_all(&text));
        if let Err(error) = &written
            && !self.failed
        {
            tracing::warn!(%error, "the journal beside the index of objects can't be written; it is complete again after the next copy");
        }
        self.failed = written.is_err();
    }

    /// Forgets what was noted before the copy before this one: all of it is in the copy that was just made.
    pub(crate) fn copied(&mut self) -> Result<()> {
        let [old, path] = paths(&self.dir);
        std::fs::rename(&path, &old)?;
        self.file = append(&path)?;
        self.failed = false;
        Ok(())
    }
}

fn append(path: &Path) -> Result<File> {
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    if file.metadata()?.len() > 0 {
        // Ends a line that was cut off.
        file.write_all(b"\n")?;
    }
    Ok(file)
}

/// All lines that can be read, in order, with their commits' numbers.
pub(crate) fn read(dir: &Path, mut take: impl FnMut(u64, Entry) -> Result<()>) -> Result<()> {
    for path in paths(dir) {
        let file = match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            opened => opened?,
        };
        for line in BufReader::new(file).split(b'\n') {
            match serde_json::from_slice::<Line<Entry>>(&line?) {
                Ok(Line { sequence, entry }) => take(sequence, entry)?,
                // Empty, or cut off.
                Err(_) => continue,
            }
        }
    }
    Ok(())
}

/// The number of the last commit that was noted; 0 if there is none.
pub(crate) fn newest(dir: &Path) -> Result<u64> {
    #[derive(Deserialize)]
    struct Head {
        sequence: u64,
    }
    /// Bytes that are read at once, from the end on.
    const TAIL: u64 = 64 << 10;
    let [_, path] = paths(dir);
    let file = match File::open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
        opened => opened?,
    };
    let length = file.metadata()?.len();
    let mut from = length;
    while from > 0 {
        from = from.saturating_sub(TAIL.max(length - from));
        let mut tail = vec![0; (length - from) as usize];
        file.read_exact_at(&mut tail, from)?;
        // What comes before the first end of a line is not whole, unless it begins the file.
        let whole = if from == 0 { 0 } else { tail.iter().position(|b| *b == b'\n').map_or(tail.len(), |at| at + 1) };
        let lines = tail[whole..].split(|b| *b == b'\n').rev();
        if let Some(head) = lines.filter_map(|line| serde_json::from_slice::<Head>(line).ok()).next() {
            return Ok(head.sequence);
        }
    }
    Ok(0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn entries(dir: &Path) -> Vec<(u64, i64)> {
        let mut all = Vec::new();
        read(dir, |sequence, entry| {
            let Entry::BucketGone { number } = entry else { panic!("{entry:?}") };
            all.push((sequence, number));
            Ok(())
        })
        .unwrap();
        all
    }

    #[test]
    fn the_newest_line_is_found_however_long_it_is() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(newest(dir.path()).unwrap(), 0);
        let mut journal = Journal::open(dir.path()).unwrap();
        for (sequence, size) in [(1, 10), (2, 64 << 10), (3, 300_000), (4, 1)] {
            journal.add(sequence, &[Entry::Bucket { number: 1, name: "b".into(), document: "x".repeat(size) }]);
            assert_eq!(newest(dir.path()).unwrap(), sequence);
        }
        OpenOptions::new().append(true).open(dir.path().join("journal")).unwrap().write_all(b"{\"sequence\":9").unwrap();
        assert_eq!(newest(dir.path()).unwrap(), 4);
    }

    #[test]
    fn what_was_noted_is_kept_until_the_second_copy_and_a_cut_line_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(dir.path()).unwrap();
        journal.add(1, &[Entry::BucketGone { number: 10 }, Entry::BucketGone { number: 11 }]);
        drop(journal);
        let path = dir.path().join("journal");
        let text = std::fs::read(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 5]).unwrap();
        let mut journal = Journal::open(dir.path()).unwrap();
        journal.add(2, &[Entry::BucketGone { number: 12 }]);
        assert_eq!(entries(dir.path()), [(1, 10), (2, 12)]);
        assert_eq!(newest(dir.path()).unwrap(), 2);
        journal.copied().unwrap();
        journal.add(3, &[Entry::BucketGone { number: 13 }]);
        assert_eq!(entries(dir.path()), [(1, 10), (2, 12), (3, 13)]);
        journal.copied().unwrap();
        assert_eq!(entries(dir.path()), [(3, 13)]);
    }
}
