//! `pileus image`: the work is done here, in the operator's process; the server only takes over what is finished.

use super::print;
use crate::admin::{ImageDeregister, ImageListed, ImageRegistered, ImageWanted, client};
use crate::cli::{ImageImportArgs, ImagePlaceArgs};
use crate::progress::Terminal;
use crate::size::size;
use anyhow::{Context as _, Result};
use api::operator;
use comfy_table::{ContentArrangement, Table, presets};
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

pub(crate) fn build_tiny(data_dir: &Path, name: String, mut place: ImagePlaceArgs, public: bool) -> Result<()> {
    if place.region.is_empty() {
        place.region.push(operator::ALL_REGIONS.into());
    }
    let asked = operator::ImageAsked { name, description: None, login_user: "root".into(), places: place.into() };
    let staging = Staging::new(data_dir, &asked)?;
    let cache = std::env::var_os("PILEUS_CACHE_DIR").map_or_else(|| data_dir.join("cache"), PathBuf::from);
    let built = node::image::tiny::build(&cache, &staging.path, &Terminal::new())?;
    let image = operator::ImageWanted {
        asked: operator::ImageAsked { description: Some(built.description), login_user: built.login_user, ..asked },
        size_gib: built.size_gib,
        boot: Boot::Kernel { command_line: built.command_line },
        public,
    };
    staging.register(data_dir, image)
}

pub(crate) fn import(data_dir: &Path, args: ImageImportArgs) -> Result<()> {
    let ImageImportArgs { file, name, description, login_user, place, public } = args;
    let asked = operator::ImageAsked { name, description, login_user, places: place.into() };
    let staging = Staging::new(data_dir, &asked)?;
    let imported = node::image::import::import(&file, &staging.path, &Limits::default(), &Terminal::new())?;
    staging.register(data_dir, operator::ImageWanted { asked, size_gib: imported.size_gib, boot: Boot::Firmware, public })
}

pub(crate) fn list(data_dir: &Path, region: Option<&str>, json: bool) -> Result<()> {
    let mut images: Vec<ImageListed> = client::get(data_dir, "/images")?;
    images.retain(|image| region.is_none_or(|region| image.region == region));
    if json {
        return print(&serde_json::to_string_pretty(&images)?);
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["IMAGE", "NAME", "REGION", "OWNER", "VISIBLE TO", "SIZE", "FILES", "ON DISK", "INSTANCES"]);
    for image in images {
        let visible = match (image.public, image.shared_with.len()) {
            (true, _) => "all".into(),
            (false, 0) => "owner".into(),
            (false, n) => format!("owner and {n}"),
        };
        table.add_row([
            image.image_id,
            image.name,
            image.region,
            image.owner_name.unwrap_or(image.owner_id),
            visible,
            format!("{} GiB", image.size_gib),
            image.files,
            size(image.file_bytes),
            image.instances.to_string(),
        ]);
    }
    // The preset puts a space before each line.
    let text = table.trim_fmt();
    print(&text.lines().map(|line| line.strip_prefix(' ').unwrap_or(line)).collect::<Vec<_>>().join("\n"))
}

pub(crate) fn remove(data_dir: &Path, id: &str, all_regions: bool) -> Result<()> {
    let path = format!("/images/{id}/deregister");
    let gone: Vec<String> = client::post(data_dir, &path, &ImageDeregister { all_regions })?;
    print(&gone.join("\n"))
}
