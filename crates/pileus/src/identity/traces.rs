//! What a data directory holds, without its database.

use super::marker::{MARKER, Part};
use anyhow::{Context as _, Result};
use model::ids::{ImageId, VolumeId};
use std::io::ErrorKind;
use std::path::Path;

/// The names in a directory, without those that begin with a dot. None if it isn't there.
fn names(directory: &Path) -> Result<Vec<String>> {
    let read = || -> std::io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            names.extend(entry?.file_name().into_string().ok());
        }
        names.retain(|name| !name.starts_with('.') && name != "lost+found");
        names.sort();
        Ok(names)
    };
    match read() {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        other => other.with_context(|| format!("can't read {}", directory.display())),
    }
}

/// The volumes that have a file.
pub(super) fn volumes(data_dir: &Path) -> Result<Vec<VolumeId>> {
    let names = names(&data_dir.join(Part::Volumes.name()))?;
    Ok(names.iter().filter_map(|name| name.strip_suffix(".qcow2")?.parse().ok()).collect())
}

/// The images that have a directory.
pub(super) fn images(data_dir: &Path) -> Result<Vec<ImageId>> {
    Ok(names(&data_dir.join(Part::Images.name()))?.iter().filter_map(|name| name.parse().ok()).collect())
}

/// What says that a cloud was here, in words.
pub(super) fn traces(data_dir: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for part in [Part::Volumes, Part::Images, Part::Machines] {
        let things = names(&data_dir.join(part.name()))?.len();
        if things > 0 {
            found.push(format!("{}/ with {things} entries", part.name()));
        }
    }
    for part in Part::all(store::Mode::Real) {
        let marker = format!("{}/{MARKER}", part.name());
        if data_dir.join(&marker).try_exists()? {
            found.push(marker);
        }
    }
    for name in ["objects/index.db", "objects.key"] {
        if data_dir.join(name).try_exists()? {
            found.push(name.to_owned());
        }
    }
    let log = format!("{}-wal", super::DATABASE);
    if std::fs::metadata(data_dir.join(&log)).is_ok_and(|metadata| metadata.len() > 0) {
        found.push(format!("{log}, the log that belongs to the database"));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_empty_directory_has_no_traces_and_data_are_some() {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = directory.path();
        std::fs::write(data_dir.join("pileus.log"), "text").unwrap();
        std::fs::create_dir_all(data_dir.join("volumes")).unwrap();
        std::fs::write(data_dir.join("state.db-wal"), "").unwrap();
        assert_eq!(traces(data_dir).unwrap(), Vec::<String>::new());
        std::fs::write(data_dir.join("volumes/vol-00000001.qcow2"), "").unwrap();
        std::fs::write(data_dir.join("state.db-wal"), "x").unwrap();
        assert_eq!(traces(data_dir).unwrap().len(), 2);
        assert_eq!(volumes(data_dir).unwrap(), ["vol-00000001".parse().unwrap()]);
    }
}
