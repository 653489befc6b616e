//! Files of the tree, and words in them.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Folders that hold nothing written by hand.
const SKIPPED: [&str; 4] = ["target", "__pycache__", "proptest-regressions", ".git"];

/// All files below a folder, in order; none if there is no such folder.
pub(crate) fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    walk(folder, &mut |path, is_folder| {
        if !is_folder {
            found.push(path.to_owned());
        }
    })?;
    Ok(found)
}

/// All folders below a folder, in order.
pub(crate) fn folders(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    walk(folder, &mut |path, is_folder| {
        if is_folder {
            found.push(path.to_owned());
        }
    })?;
    Ok(found)
}

fn walk(folder: &Path, see: &mut dyn FnMut(&Path, bool)) -> Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    let mut entries = std::fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let (path, is_folder) = (entry.path(), entry.file_type()?.is_dir());
        if is_folder && SKIPPED.iter().any(|s| entry.file_name() == *s) {
            continue;
        }
        see(&path, is_folder);
        if is_folder {
            walk(&path, see)?;
        }
    }
    Ok(())
}

/// A file's text; bytes that aren't text are shown as such.
pub(crate) fn read(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Whether a word stands in a text, with no letter, digit, `_` or `-` beside it.
pub(crate) fn has_word(text: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    text.match_indices(word).any(|(at, _)| {
        let (before, after) = (text[..at].chars().next_back(), text[at + word.len()..].chars().next());
        !before.is_some_and(part) && !after.is_some_and(part)
    })
}
