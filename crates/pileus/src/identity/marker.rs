//! The small files that say which cloud a directory is of.
//!
//! ```text
//!   DATA/.pileus            which cloud, how far its database had got, and which of the directories below it has marked
//!   DATA/volumes/.pileus    which cloud, and that it is its `volumes`; likewise in images, machines and objects
//! ```

use anyhow::{Context as _, Result, bail, ensure};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use store::{Identity, Mode};

/// The name of a marker.
pub(crate) const MARKER: &str = ".pileus";
/// The version of what is in it.
const FORMAT: u32 = 1;
/// No marker is longer, in bytes.
const BYTES_MAX: u64 = 64 << 10;

/// A directory below the data directory that has a marker of its own, since it may be a file system of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Part {
    /// Images' files.
    Images,
    /// Machines that run.
    Machines,
    /// The object store.
    Objects,
    /// Volumes' files.
    Volumes,
}

impl Part {
    /// Those of a cloud of this mode.
    pub(crate) fn all(mode: Mode) -> &'static [Self] {
        match mode {
            Mode::Real => &[Self::Images, Self::Machines, Self::Objects, Self::Volumes],
            Mode::Simulated => &[Self::Objects],
        }
    }

    /// The directory's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Images => "images",
            Self::Machines => "machines",
            Self::Objects => "objects",
            Self::Volumes => "volumes",
        }
    }
}

/// The marker of a data directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Root {
    format: u32,
    /// Which cloud.
    pub(crate) cloud: String,
    /// As [`Identity::epoch`].
    pub(crate) epoch: u64,
    /// The database of this directory is known to have had this revision: one that has less is an older one.
    pub(crate) revision: u64,
    /// The directories that have been marked: each must have its marker from then on.
    pub(crate) parts: BTreeSet<Part>,
    /// An operator has declared that machines without an instance may be ended.
    #[serde(default)]
    pub(crate) machines_forfeit: bool,
}

/// The marker of a [`Part`].
#[derive(Debug, Serialize, Deserialize)]
struct PartMarker {
    format: u32,
    cloud: String,
    part: Part,
}

impl Root {
    /// Of a directory whose marking is about to begin.
    pub(crate) fn new(identity: Identity) -> Self {
        let Identity { cloud, epoch } = identity;
        Self { format: FORMAT, cloud, epoch, revision: 0, parts: BTreeSet::new(), machines_forfeit: false }
    }

    /// The marker of a data directory, if there is one.
    ///
    /// # Errors
    /// If it can't be read: empty, cut short, or of a newer program.
    pub(crate) fn read(data_dir: &Path) -> Result<Option<Self>> {
        read(&data_dir.join(MARKER))
    }

    /// Writes it, so that a crash leaves this one or the one before.
    pub(crate) fn write(&self, data_dir: &Path) -> Result<()> {
        write(&data_dir.join(MARKER), self)
    }

    /// What it says the database carries.
    pub(crate) fn identity(&self) -> Identity {
        Identity { cloud: self.cloud.clone(), epoch: self.epoch }
    }

    /// Whether the directory is still being marked for the first time: then a database may be missing, and directories may have no marker.
    pub(crate) fn is_new(&self) -> bool {
        self.revision == 0 && self.parts.is_empty()
    }
}

/// Of which cloud a part of a data directory is. `None` if it has no marker, or isn't there.
///
/// # Errors
/// If its marker can't be read, or is that of another part.
pub(crate) fn part_cloud(data_dir: &Path, part: Part) -> Result<Option<String>> {
    let path = data_dir.join(part.name()).join(MARKER);
    let Some(marker) = read::<PartMarker>(&path)? else { return Ok(None) };
    ensure!(marker.part == part, "{} is the marker of a directory {}", path.display(), marker.part.name());
    Ok(Some(marker.cloud))
}

/// Marks a part of a data directory, and makes it if need be.
pub(crate) fn part_mark(data_dir: &Path, part: Part, cloud: &str) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let directory = data_dir.join(part.name());
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory);
    made.with_context(|| format!("can't make {}", directory.display()))?;
    write(&directory.join(MARKER), &PartMarker { format: FORMAT, cloud: cloud.into(), part })
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let here = || format!("can't read {}", path.display());
    match std::fs::metadata(path) {
        Ok(metadata) => ensure!(metadata.len() <= BYTES_MAX, "{} is no marker of Pileus", path.display()),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(error) => return Err(error).with_context(here),
    }
    let text = std::fs::read(path).with_context(here)?;
    let format = serde_json::from_slice::<Format>(&text).with_context(here)?.format;
    if format != FORMAT {
        bail!("{} has format {format}, this program knows format {FORMAT}: use the newer program", path.display());
    }
    serde_json::from_slice(&text).with_context(here).map(Some)
}

fn write(path: &Path, marker: &impl Serialize) -> Result<()> {
    let fresh = path.with_file_name(".pileus.tmp");
    let put = || -> Result<()> {
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        let mut text = serde_json::to_vec(marker)?;
        text.push(b'\n');
        file.write_all(&text)?;
        file.sync_data()?;
        std::fs::rename(&fresh, path)?;
        Ok(())
    };
    put().with_context(|| format!("can't write {}", path.display()))
}
