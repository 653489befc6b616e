//! `pileus image`: the work is done here, in the operator's process; the server only takes over what is finished.

use super::print;
use crate::admin::{ImageRegistered, ImageWanted, client};
use crate::progress::Terminal;
use anyhow::{Context as _, Result};
use api::operator;
use model::image::Boot;
use nix::fcntl::{Flock, FlockArg};
use node::image::import::Limits;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a command may take to lock the directory that it made.
const LOCK_TIME: Duration = Duration::from_secs(5);

/// A directory below `staging/`, removed again unless the server took it over. While it is in use it is locked.
struct Staging {
    path: PathBuf,
    _lock: Flock<File>,
}

impl Staging {
    /// Asks the server first: nobody is to wait for an image that can't be registered.
    fn new(data_dir: &Path, asked: &operator::ImageAsked) -> Result<Self> {
        let () = client::post(data_dir, "/images/check", asked)?;
        let path = data_dir.join("staging").join(format!("image-{:016x}", rand::random::<u64>()));
        std::fs::create_dir_all(&path).with_context(|| format!("can't make {}", path.display()))?;
        let lock = Flock::lock(File::open(&path)?, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| error).context("locking it")?;
        Ok(Self { path, _lock: lock })
    }

    fn register(&self, data_dir: &Path, image: operator::ImageWanted) -> Result<()> {
        let staged = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let registered: ImageRegistered = client::post(data_dir, "/images", &ImageWanted { staged, image })?;
        print(&registered.image_id)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Removes what was left by commands that were killed: directories that nobody holds locked. One that was just made may not be locked yet.
pub(crate) fn leftovers_remove(staging: &Path) {
    for entry in std::fs::read_dir(staging).into_iter().flatten().flatten() {
        let Ok(directory) = File::open(entry.path()) else { continue };
        let changed = directory.metadata().and_then(|meta| meta.modified());
        if changed.is_ok_and(|at| at.elapsed().is_ok_and(|age| age < LOCK_TIME)) {
            continue;
        }
        if let Ok(_lock) = Flock::lock(directory, FlockArg::LockExclusiveNonblock)
            && let Err(error) = std::fs::remove_dir_all(entry.path())
        {
            tracing::warn!(%error, path = %entry.path().display(), "can't remove an unfinished image");
        }
    }
}

pub(crate) fn build_tiny(data_dir: &Path, name: String) -> Result<()> {
    let asked = operator::ImageAsked { name: name.clone(), description: None, login_user: "root".into() };
    let staging = Staging::new(data_dir, &asked)?;
    let cache = std::env::var_os("PILEUS_CACHE_DIR").map_or_else(|| data_dir.join("cache"), PathBuf::from);
    let built = node::image::tiny::build(&cache, &staging.path, &Terminal::new())?;
    let image = operator::ImageWanted {
        name,
        description: Some(built.description),
        size_gib: built.size_gib,
        boot: Boot::Kernel { command_line: built.command_line },
        login_user: built.login_user,
        public: false,
    };
    staging.register(data_dir, image)
}

pub(crate) fn import(data_dir: &Path, file: &Path, name: String, description: Option<String>, login_user: String) -> Result<()> {
    let asked = operator::ImageAsked { name, description, login_user };
    let staging = Staging::new(data_dir, &asked)?;
    let operator::ImageAsked { name, description, login_user } = asked;
    let imported = node::image::import::import(file, &staging.path, &Limits::default(), &Terminal::new())?;
    let image = operator::ImageWanted { name, description, size_gib: imported.size_gib, boot: Boot::Firmware, login_user, public: false };
    staging.register(data_dir, image)
}
