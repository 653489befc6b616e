//! How far the index has come, kept in a file of its own beside it: `mark`. An index that has not come that far is an old copy, or lacks its
//! write-ahead log.
//!
//! The number is that of the index's last commit, and it is written after that commit is on the disk. It isn't synced: a process that is killed
//! loses nothing of it, and after a power cut it may be too low, never too high. So an index that is refused is always an old one.

use crate::error::{Error, Result};
use anyhow::anyhow;
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// What an index says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    /// Which index it is: drawn when it was made.
    pub(crate) identity: u64,
    /// The number of its last commit.
    pub(crate) sequence: u64,
}

impl Position {
    fn text(self) -> String {
        let said = format!("{:016x} {:020}", self.identity, self.sequence);
        format!("{said} {:08x}\n", crc_fast::crc32_iscsi(said.as_bytes()))
    }

    fn parse(text: &str) -> Option<Self> {
        let (said, crc) = text.strip_suffix('\n')?.rsplit_once(' ')?;
        if u32::from_str_radix(crc, 16).ok()? != crc_fast::crc32_iscsi(said.as_bytes()) {
            return None;
        }
        let (identity, sequence) = said.split_once(' ')?;
        Some(Self { identity: u64::from_str_radix(identity, 16).ok()?, sequence: sequence.parse().ok()? })
    }
}

/// What stands in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// There is no file.
    None,
    /// It can't be read as what was written.
    Damaged,
    At(Position),
}

pub(crate) fn path(dir: &Path) -> PathBuf {
    dir.join("mark")
}

pub(crate) fn read(dir: &Path) -> Result<Kept> {
    match std::fs::read(path(dir)) {
        Ok(bytes) => Ok(std::str::from_utf8(&bytes).ok().and_then(Position::parse).map_or(Kept::Damaged, Kept::At)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Kept::None),
        Err(error) => Err(error.into()),
    }
}

/// Whether an index may be opened, by what is kept of it. `true` if it is certain that it is not an old one.
pub(crate) fn judge(kept: Kept, index: Position) -> Result<bool> {
    match kept {
        // It is from before there were marks, or the mark was lost.
        Kept::None | Kept::Damaged => Ok(false),
        Kept::At(mark) if mark.identity != index.identity => Err(Error::Io(anyhow!("it is the index of other objects"))),
        Kept::At(mark) if mark.sequence > index.sequence => Err(Error::Io(anyhow!(
            "it is older than the files beside it: its last commit is number {}, but {} were made; it is an old copy, or its index.db-wal is missing",
            index.sequence,
            mark.sequence
        ))),
        Kept::At(_) => Ok(true),
    }
}

/// The file, open for writing.
pub(crate) struct Mark {
    file: File,
    identity: u64,
}

impl Mark {
    pub(crate) fn open(dir: &Path, at: Position) -> Result<Self> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path(dir))?;
        let mark = Self { file, identity: at.identity };
        mark.raise(at.sequence)?;
        Ok(mark)
    }

    /// Notes that the index has come this far. One small write to the page cache.
    pub(crate) fn raise(&self, sequence: u64) -> Result<()> {
        let text = Position { identity: self.identity, sequence }.text();
        Ok(self.file.write_all_at(text.as_bytes(), 0)?)
    }

    pub(crate) fn sync(&self) -> Result<()> {
        Ok(self.file.sync_data()?)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap(), Kept::None);
        let at = Position { identity: 0xfeed, sequence: 7 };
        let mark = Mark::open(dir.path(), at).unwrap();
        assert_eq!(read(dir.path()).unwrap(), Kept::At(at));
        mark.raise(u64::MAX).unwrap();
        assert_eq!(read(dir.path()).unwrap(), Kept::At(Position { sequence: u64::MAX, ..at }));
        let mut bytes = std::fs::read(path(dir.path())).unwrap();
        bytes[20] ^= 1;
        std::fs::write(path(dir.path()), bytes).unwrap();
        assert_eq!(read(dir.path()).unwrap(), Kept::Damaged);
    }

    #[test]
    fn only_an_index_that_came_as_far_may_be_opened() {
        let at = Position { identity: 1, sequence: 5 };
        assert!(!judge(Kept::None, at).unwrap() && !judge(Kept::Damaged, at).unwrap());
        assert!(judge(Kept::At(at), at).unwrap());
        assert!(judge(Kept::At(at), Position { sequence: 6, ..at }).unwrap(), "a power cut: the mark came less far");
        assert!(judge(Kept::At(at), Position { sequence: 4, ..at }).is_err());
        assert!(judge(Kept::At(at), Position { identity: 2, ..at }).is_err());
    }
}
