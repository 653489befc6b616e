//! Makes a backup, of a cloud that runs or is stopped.
//!
//! The order is the point: nothing is named by the databases' copies that isn't copied. Deletions of objects are held back from before the index is
//! copied until their bodies are; the store is copied after it, so that each bucket's account is there; the files of images and volumes are open
//! before anything is copied of them, and stay readable when they are deleted.

use super::progress::{Made, Progress};
use super::{Entry, FORMAT, MANIFEST, Manifest, Origin, PARTIAL, all, files, is_unfinished};
use anyhow::{Context as _, Result, bail, ensure};
use model::ids::{InstanceId, VolumeId};
use model::volume::Volume;
use nix::fcntl::{FallocateFlags, Flock, FlockArg, fallocate};
use node::hypervisor::{Hypervisor, VolumeCopy};
use node::volume::qcow2;
use objects::Objects;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{DirBuilder, File};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::{Mode, Snapshot, Store};

/// How often the copy of one machine's volumes is begun anew, when the machine starts or ends meanwhile.
const TRIES: usize = 5;
/// Files in the data directory that a restore needs, if they are there.
const LOOSE: [&str; 1] = ["objects.key"];
/// The configuration's name in a backup.
const CONFIGURATION: &str = "pileus.toml";
/// Room for the tables of a copied volume, beyond what its own file takes.
const TABLES_BYTES: u64 = 4 << 20;

/// A cloud to be backed up.
pub(crate) struct Sources {
    pub(crate) data_dir: PathBuf,
    /// Which cloud it is.
    pub(crate) cloud: String,
    /// The present time, ISO 8601.
    pub(crate) now: String,
    pub(crate) store: Store,
    pub(crate) objects: Objects,
    /// Without one no machine runs.
    pub(crate) hypervisor: Option<Arc<dyn Hypervisor>>,
    /// The configuration's text, if there is a file of it.
    pub(crate) configuration: Option<String>,
}

/// A backup that is being made.
struct Maker {
    partial: PathBuf,
    previous: Option<(PathBuf, HashMap<String, Entry>)>,
    files: Vec<Entry>,
    copied: (u64, u64),
    notes: Vec<String>,
    progress: Arc<Progress>,
}

/// Makes a backup in this directory.
///
/// # Errors
/// If another one is being made there, or something can't be read or written; then no backup was made.
pub(crate) async fn make(sources: &Sources, dir: &Path, progress: &Arc<Progress>) -> Result<Made> {
    let (lock, mut maker, name) = {
        let (data_dir, cloud, dir) = (sources.data_dir.clone(), sources.cloud.clone(), dir.to_owned());
        let name: String = sources.now.chars().filter(|c| c.is_ascii_alphanumeric()).collect();
        let progress = progress.clone();
        blocking(move || begin(&data_dir, &cloud, &dir, &name, progress).map(|(lock, maker)| (lock, maker, name))).await?
    };
    let hold = sources.objects.hold();
    progress.step("Copying the databases", 0);
    DirBuilder::new().mode(0o700).create(maker.partial.join("objects"))?;
    let index = maker.partial.join("objects/index.db");
    sources.objects.index_copy(index.clone()).await.context("can't copy the index of objects")?;
    let (store, to) = (sources.store.clone(), maker.partial.join("state.db"));
    let snapshot = blocking(move || Ok(store.copy(&to)?)).await?;
    let opened = match snapshot.mode() {
        Mode::Real => {
            let (data_dir, snapshot) = (sources.data_dir.clone(), snapshot.clone());
            blocking(move || open_disks(&data_dir, &snapshot)).await?
        }
        Mode::Simulated => Disks::default(),
    };
    let (data_dir, configuration) = (sources.data_dir.clone(), sources.configuration.clone());
    let Disks { images, volumes, missing } = opened;
    maker.notes.extend(missing);
    maker = blocking(move || {
        for path in ["objects/index.db", "state.db"] {
            maker.note_file(path)?;
        }
        maker.loose(&data_dir, configuration)?;
        maker.images(images)?;
        Ok(maker)
    })
    .await?;
    for (instance, volumes) in volumes {
        maker = machine(sources, maker, instance, volumes).await?;
    }
    let objects = sources.objects.clone();
    maker = blocking(move || {
        maker.bodies(&objects, &index)?;
        Ok(maker)
    })
    .await?;
    drop(hold);
    let (cloud, now, dir) = (sources.cloud.clone(), sources.now.clone(), dir.to_owned());
    let made = blocking(move || maker.finish(cloud, now, &dir.join(name))).await;
    drop(lock);
    made
}

/// Runs file work off the event loop.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.context("the file work panicked")?
}

/// Makes the directories, and finds the backup before this one.
fn begin(data_dir: &Path, cloud: &str, dir: &Path, name: &str, progress: Arc<Progress>) -> Result<(Flock<File>, Maker)> {
    ensure!(dir.is_absolute(), "{} is no absolute path", dir.display());
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.with_context(|| format!("can't make {}", dir.display()))?;
    let dir = dir.canonicalize()?;
    let inside = dir.starts_with(data_dir.canonicalize()?);
    ensure!(!inside, "{} is in the data directory: name a directory elsewhere, best on another disk", dir.display());
    let lock = Flock::lock(File::open(&dir)?, FlockArg::LockExclusiveNonblock);
    let lock = lock.map_err(|(_, error)| error).with_context(|| format!("another backup is being made in {}", dir.display()))?;
    for entry in std::fs::read_dir(&dir)? {
        let path = entry?.path();
        if is_unfinished(&path) {
            std::fs::remove_dir_all(&path).with_context(|| format!("can't remove the unfinished {}", path.display()))?;
        }
    }
    ensure!(!dir.join(name).exists(), "{} is there already", dir.join(name).display());
    let mut previous = None;
    let mut notes = Vec::new();
    if let Some(path) = all(&dir)?.pop() {
        match Manifest::read(&path) {
            Ok(manifest) => {
                ensure!(manifest.cloud == cloud, "{} has backups of another cloud ({})", dir.display(), manifest.cloud);
                previous = Some((path, manifest.files.into_iter().map(|entry| (entry.path.clone(), entry)).collect()));
            }
            Err(error) => notes.push(format!("everything is copied, since the backup before can't be used: {error:#}")),
        }
    }
    let partial = dir.join(format!("{name}{PARTIAL}"));
    DirBuilder::new().mode(0o700).create(&partial)?;
    Ok((lock, Maker { partial, previous, files: Vec::new(), copied: (0, 0), notes, progress }))
}

/// A volume's file, open.
struct OpenVolume {
    id: VolumeId,
    top: File,
}

/// Everything that the store's copy names, open.
#[derive(Default)]
struct Disks {
    /// Paths in the data directory.
    images: Vec<(String, File)>,
    /// By the instance that they are attached to.
    volumes: BTreeMap<Option<InstanceId>, Vec<OpenVolume>>,
    /// What isn't there.
    missing: Vec<String>,
}

fn open_disks(data_dir: &Path, snapshot: &Snapshot) -> Result<Disks> {
    let mut disks = Disks::default();
    for id in snapshot.image_contents().collect::<BTreeSet<_>>() {
        let directory = data_dir.join("images").join(id.as_str());
        if !directory.is_dir() {
            disks.missing.push(format!("image {id} has no files: it is not in the backup"));
            continue;
        }
        for entry in std::fs::read_dir(&directory)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if !name.starts_with('.') {
                let file = File::open(directory.join(&name)).with_context(|| format!("can't open {name} of image {id}"))?;
                disks.images.push((format!("images/{id}/{name}"), file));
            }
        }
    }
    for (_, volume) in snapshot.all::<Volume>().filter(|(_, volume)| !volume.deleting) {
        let instance = volume.attachment.as_ref().map(|attachment| attachment.instance_id.clone());
        match File::open(qcow2::path(&data_dir.join("volumes"), &volume.id)) {
            Ok(top) => disks.volumes.entry(instance).or_default().push(OpenVolume { id: volume.id.clone(), top }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                disks.missing.push(format!("volume {} has no file, it may not have been made yet: it is not in the backup", volume.id));
            }
            Err(error) => return Err(error).with_context(|| format!("can't open volume {}", volume.id)),
        }
    }
    Ok(disks)
}

/// Copies the volumes of one instance, or those of none.
async fn machine(sources: &Sources, mut maker: Maker, instance: Option<InstanceId>, mut volumes: Vec<OpenVolume>) -> Result<Maker> {
    let name = instance.as_ref().map_or_else(|| "volumes without an instance".into(), |id| format!("volumes of {id}"));
    for _ in 0..TRIES {
        if let (Some(hypervisor), Some(id)) = (&sources.hypervisor, &instance) {
            let (prepared, back) = {
                let partial = maker.partial.clone();
                blocking(move || Ok((targets(&partial, &volumes)?, volumes))).await?
            };
            volumes = back;
            maker.progress.step(&format!("Copying the {name}"), 0);
            let progress = maker.progress.clone();
            match hypervisor.volumes_copy(id, &prepared, &move |done, total| progress.set(done, total)).await {
                Ok(true) => {
                    return blocking(move || {
                        for copy in prepared {
                            // Gives back what was reserved.
                            copy.to.set_len(copy.to.metadata()?.len())?;
                            copy.to.sync_all()?;
                            drop(copy.to);
                            let path = volume_path(&copy.volume);
                            maker.note_file(&path)?;
                        }
                        Ok(maker)
                    })
                    .await;
                }
                Ok(false) => {}
                // It may have ended meanwhile; then its files are as it left them.
                Err(error) => {
                    tracing::warn!(instance = %id, error = format!("{error:#}"), "the copy of a machine's volumes is begun anew");
                    maker.notes.push(format!("the copy of the volumes of {id} was begun anew: {error:#}"));
                    continue;
                }
            }
        }
        maker.progress.step(
            &format!("Copying the {name}"),
            volumes.iter().filter_map(|volume| volume.top.metadata().ok()).map(|found| found.len()).sum(),
        );
        let (back, files, whole) = blocking(move || maker.still(&volumes).map(|whole| (maker, volumes, whole))).await?;
        (maker, volumes) = (back, files);
        if whole {
            return Ok(maker);
        }
    }
    bail!("the {name} changed {TRIES} times while they were copied")
}

fn volume_path(id: &VolumeId) -> String {
    format!("volumes/{id}.qcow2")
}

/// Empty files for the copies of a running machine's volumes, with room for all of them.
fn targets(partial: &Path, volumes: &[OpenVolume]) -> Result<Vec<VolumeCopy>> {
    let mut targets = Vec::new();
    for volume in volumes {
        let path = partial.join(volume_path(&volume.id));
        make_parent(&path)?;
        remove(&path)?;
        let to = qcow2::empty_like(&volume.top, &path).with_context(|| format!("can't prepare the copy of volume {}", volume.id))?;
        let bytes = volume.top.metadata()?.blocks() * 512 + TABLES_BYTES;
        match fallocate(&to, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, i64::try_from(bytes)?) {
            // Some file systems can't. They are asked for room at least.
            Err(nix::errno::Errno::EOPNOTSUPP) => {
                let place = nix::sys::statvfs::fstatvfs(&to)?;
                ensure!(place.blocks_available() * place.fragment_size() > bytes, "no room for the copy of volume {}", volume.id);
            }
            reserved => reserved.with_context(|| format!("no room for the copy of volume {}", volume.id))?,
        }
        targets.push(VolumeCopy { volume: volume.id.clone(), to });
    }
    Ok(targets)
}

fn make_parent(path: &Path) -> Result<()> {
    let parent = path.parent().context("a path without a directory")?;
    DirBuilder::new().recursive(true).mode(0o700).create(parent).with_context(|| format!("can't make {}", parent.display()))
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("can't remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

impl Maker {
    /// Puts a file into the backup: as a link to the same one of the backup before, else, if it never changes, to the file itself, else as a copy.
    fn put(&mut self, path: &str, file: &File, immutable: bool) -> Result<()> {
        let found = file.metadata()?;
        let (to, origin) = (self.partial.join(path), Origin::of(&found));
        make_parent(&to)?;
        if let Some((previous, entries)) = &self.previous
            && let Some(entry) = entries.get(path).filter(|entry| entry.origin == Some(origin))
            && std::fs::hard_link(previous.join(path), &to).is_ok()
        {
            self.progress.add(entry.size);
            self.files.push(entry.clone());
            return Ok(());
        }
        let progress = self.progress.clone();
        let add = move |bytes| progress.add(bytes);
        let mode = found.permissions().mode() & 0o777;
        let summed = if immutable && files::link(file, &to) {
            files::sum(file, &add)
        } else {
            self.copied = (self.copied.0 + 1, self.copied.1 + found.len());
            files::copy(file, &to, mode, &add)
        };
        let sum = summed.with_context(|| format!("can't copy {path}"))?;
        self.files.push(Entry { path: path.into(), size: sum.size, mode, crc32c: sum.crc, origin: Some(origin) });
        Ok(())
    }

    /// Notes a file that is in the backup already.
    fn note_file(&mut self, path: &str) -> Result<()> {
        let file = File::open(self.partial.join(path))?;
        let sum = files::sum(&file, &|_| ())?;
        self.copied = (self.copied.0 + 1, self.copied.1 + sum.size);
        self.files.push(Entry { path: path.into(), size: sum.size, mode: 0o600, crc32c: sum.crc, origin: None });
        Ok(())
    }

    fn loose(&mut self, data_dir: &Path, configuration: Option<String>) -> Result<()> {
        for name in LOOSE {
            match File::open(data_dir.join(name)) {
                Ok(file) => self.put(name, &file, false)?,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error).with_context(|| format!("can't open {name}")),
            }
        }
        if let Some(text) = configuration {
            let path = self.partial.join(CONFIGURATION);
            let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            self.note_file(CONFIGURATION)?;
        }
        Ok(())
    }

    fn images(&mut self, images: Vec<(String, File)>) -> Result<()> {
        self.progress.step("Copying images", images.iter().filter_map(|(_, file)| file.metadata().ok()).map(|found| found.len()).sum());
        images.iter().try_for_each(|(path, file)| self.put(path, file, true))
    }

    /// Copies volumes that no machine writes to. `false` if one did.
    fn still(&mut self, volumes: &[OpenVolume]) -> Result<bool> {
        let kept = (self.files.len(), self.copied);
        for volume in volumes {
            let path = volume_path(&volume.id);
            remove(&self.partial.join(&path))?;
            let before = Origin::of(&volume.top.metadata()?);
            self.put(&path, &volume.top, false)?;
            if Origin::of(&volume.top.metadata()?) != before {
                self.files.truncate(kept.0);
                self.copied = kept.1;
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn bodies(&mut self, objects: &Objects, index: &Path) -> Result<()> {
        let named = objects::files_named(index).map_err(anyhow::Error::from).context("can't read the copy of the index")?;
        self.progress.step("Copying objects", named.len() as u64);
        let progress = std::mem::take(&mut self.progress);
        for name in named {
            let path = format!("objects/files/{}/{name}", &name[..2]);
            match objects.file_open(&name) {
                Ok(file) => self.put(&path, &file, true)?,
                // It was lost before: a backup of the rest is better than none.
                Err(error) => self.notes.push(format!("a body of an object is not in the backup: {:#}", anyhow::Error::from(error))),
            }
            progress.add(1);
        }
        self.progress = progress;
        Ok(())
    }

    /// Writes the manifest, which makes the backup one.
    fn finish(self, cloud: String, made: String, to: &Path) -> Result<Made> {
        self.progress.step("Writing the manifest", 0);
        let manifest = Manifest {
            format: FORMAT,
            cloud,
            made,
            version: env!("CARGO_PKG_VERSION").into(),
            notes: self.notes.clone(),
            files: self.files,
        };
        let path = self.partial.join(MANIFEST);
        // Before the manifest says so, all of it is on the disk.
        let partial = File::open(&self.partial)?;
        nix::unistd::syncfs(&partial)?;
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(&serde_json::to_vec(&manifest)?)?;
        file.sync_all()?;
        partial.sync_all()?;
        std::fs::rename(&self.partial, to).with_context(|| format!("can't name the backup {}", to.display()))?;
        File::open(to.parent().context("a backup without a directory")?)?.sync_all()?;
        Ok(Made {
            path: to.display().to_string(),
            files: manifest.files.len() as u64,
            bytes: manifest.files.iter().map(|entry| entry.size).sum(),
            copied_files: self.copied.0,
            copied_bytes: self.copied.1,
            notes: self.notes,
        })
    }
}
