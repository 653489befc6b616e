//! The directory: `incoming/` for what is being written, `files/<2 digits>/` for what the index names.

use crate::body::FileId;
use crate::error::{Error, Result};
use crate::lost;
use anyhow::Context as _;
use model::fault::{Crash, Faults};
use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes of the file system that bodies leave free, so that the index can still be written: above all to delete.
pub const RESERVE_BYTES: u64 = 32 << 20;

/// The bodies' files, and whether this process still lives.
pub(crate) struct Files {
    dir: PathBuf,
    pub(crate) durable: bool,
    faults: Arc<dyn Faults>,
    dead: AtomicBool,
}

impl Files {
    /// Makes the directories.
    pub(crate) fn open(dir: &Path, durable: bool, faults: Arc<dyn Faults>) -> Result<Self> {
        let files = Self { dir: dir.into(), durable, faults, dead: AtomicBool::new(false) };
        for dir in [dir, &files.incoming_dir(), &dir.join("files")] {
            make_dir(dir).with_context(|| format!("making {}", dir.display())).map_err(Error::from_any)?;
        }
        files.sync_dir(dir)?;
        Ok(files)
    }

    /// A named point, at which a test may let the process die.
    pub(crate) fn hit(&self, point: &'static str) -> Result<()> {
        self.living()?;
        self.faults.hit(point).map_err(|crash| {
            self.dead.store(true, Ordering::SeqCst);
            Error::Io(crash.into())
        })
    }

    /// Whether a test let the process die.
    pub(crate) fn dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    /// Fails once the process is dead.
    pub(crate) fn living(&self) -> Result<()> {
        if self.dead() { Err(Error::Io(Crash("an earlier point").into())) } else { Ok(()) }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn incoming_dir(&self) -> PathBuf {
        self.dir.join("incoming")
    }

    pub(crate) fn incoming(&self, id: &FileId) -> PathBuf {
        self.incoming_dir().join(id.as_str())
    }

    fn home_dir(&self, id: &FileId) -> PathBuf {
        self.dir.join("files").join(id.folder())
    }

    pub(crate) fn home(&self, id: &FileId) -> PathBuf {
        self.home_dir(id).join(id.as_str())
    }

    /// Free bytes of the file system.
    pub(crate) fn free_bytes(&self) -> Result<u64> {
        let stat = nix::sys::statvfs::statvfs(&self.dir).map_err(io::Error::from)?;
        Ok(stat.blocks_available().saturating_mul(stat.fragment_size()))
    }

    /// [`Error::Full`] if there is no room for more bodies.
    pub(crate) fn room(&self) -> Result<()> {
        if self.free_bytes()? < RESERVE_BYTES { Err(Error::Full) } else { Ok(()) }
    }

    /// A new file in `incoming/`.
    pub(crate) fn create(&self, id: &FileId) -> Result<File> {
        self.hit("objects.create.before")?;
        Ok(OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.incoming(id))?)
    }

    /// Brings a new file and its name to the disk.
    pub(crate) fn sync_new(&self, file: &File) -> Result<()> {
        self.hit("objects.sync.before")?;
        if self.durable {
            file.sync_data()?;
        }
        self.hit("objects.sync.between")?;
        self.sync_dir(&self.incoming_dir())?;
        self.hit("objects.sync.after")
    }

    /// Moves a file that the index names from `incoming/` to its place. If it is there already, does nothing.
    pub(crate) fn settle(&self, id: &FileId) -> Result<()> {
        let (from, to) = (self.incoming(id), self.home(id));
        match std::fs::rename(&from, &to) {
            Err(error) if error.kind() == ErrorKind::NotFound && from.exists() => {
                make_dir(&self.home_dir(id))?;
                self.sync_dir(&self.dir.join("files"))?;
                Ok(std::fs::rename(&from, &to)?)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            done => Ok(done?),
        }
    }

    /// Opens a file that the index names. It may be moved to its place at the same time.
    pub(crate) fn read(&self, id: &FileId) -> Result<File> {
        let places = [self.home(id), self.incoming(id), self.home(id)];
        let mut missing = io::Error::from(ErrorKind::NotFound);
        for place in places {
            match File::open(place) {
                Err(error) if error.kind() == ErrorKind::NotFound => missing = error,
                other => return Ok(other?),
            }
        }
        Err(Error::Io(anyhow::Error::from(missing).context(format!("the file {id} is missing"))))
    }

    /// Deletes a file wherever it is. If it is nowhere, does nothing.
    pub(crate) fn unlink(&self, id: &FileId) -> Result<()> {
        self.hit("objects.unlink.before")?;
        if !remove(&self.home(id))? {
            remove(&self.incoming(id))?;
        }
        self.hit("objects.unlink.after")
    }

    /// Deletes a file that nothing names.
    pub(crate) fn discard(&self, id: &FileId) -> Result<()> {
        remove(&self.incoming(id))?;
        Ok(())
    }

    /// Moves a file that nothing names, of an index that may be old, to `lost+found/`.
    pub(crate) fn keep_lost(&self, id: &FileId) -> Result<()> {
        lost::keep(&self.dir, &self.incoming(id))
    }

    /// Brings to the disk that these files were moved or deleted.
    pub(crate) fn sync_homes<'a>(&self, ids: impl IntoIterator<Item = &'a FileId>) -> Result<()> {
        let dirs: BTreeSet<PathBuf> = ids.into_iter().map(|id| self.home_dir(id)).filter(|dir| dir.exists()).collect();
        for dir in dirs {
            self.sync_dir(&dir)?;
        }
        self.sync_dir(&self.incoming_dir())
    }

    pub(crate) fn sync_dir(&self, dir: &Path) -> Result<()> {
        if self.durable {
            File::open(dir)?.sync_all()?;
        }
        Ok(())
    }
}

fn make_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Whether it was there.
fn remove(path: &Path) -> io::Result<bool> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// A file in `incoming/` that the index doesn't name. Dropped, it is deleted.
pub(crate) struct Loose {
    pub(crate) files: Arc<Files>,
    pub(crate) id: FileId,
    kept: bool,
}

impl Loose {
    pub(crate) fn new(files: Arc<Files>, id: FileId) -> Self {
        Self { files, id, kept: false }
    }

    /// Leaves the file where it is.
    pub(crate) fn keep(mut self) -> FileId {
        self.kept = true;
        self.id.clone()
    }
}

impl std::fmt::Debug for Loose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Loose({})", self.id)
    }
}

impl Drop for Loose {
    fn drop(&mut self) {
        // The dead delete nothing.
        if !self.kept
            && !self.files.dead()
            && let Err(error) = self.files.discard(&self.id)
        {
            tracing::warn!(id = %self.id, error = &error as &dyn std::error::Error, "an unused file stays until the next start");
        }
    }
}
