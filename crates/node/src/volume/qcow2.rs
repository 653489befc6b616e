//! Volumes as qcow2 files, copied on write from their image.

use super::check::{self, CHAIN_FILES_MAX};
use super::header::{self, Header};
use super::{Files, Sight, Volumes};
use crate::Result;
use crate::durable;
use crate::image::Images;
use crate::lost_found;
use anyhow::{Context as _, bail, ensure};
use async_trait::async_trait;
use model::ids::VolumeId;
use model::time::Timestamp;
use model::volume::Source;
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// The driver: a directory with `<volume>.qcow2` files, which only root can open.
///
/// A file appears under its name only once it is whole and on the disk. Its backing file is named relative to the directory, so that
/// the data directory can be moved.
pub struct Qcow2Volumes {
    directory: PathBuf,
    images: Arc<dyn Images>,
}

impl Qcow2Volumes {
    /// Opens the directory, making it if need be, and deletes what an interrupted call left there.
    ///
    /// # Errors
    /// If the directory can't be made or read.
    pub fn open(directory: &Path, images: Arc<dyn Images>) -> Result<Self> {
        let directory = std::path::absolute(directory).with_context(|| format!("{}", directory.display()))?;
        durable::directory_open(&directory)?;
        Ok(Self { directory, images })
    }

    fn path(&self, id: &VolumeId) -> PathBuf {
        path(&self.directory, id)
    }
}

/// A volume's file in the directory of all.
#[must_use]
pub fn path(directory: &Path, id: &VolumeId) -> PathBuf {
    directory.join(format!("{id}.qcow2"))
}

/// Makes an empty volume of the size of another, over the backing file of the same name, as a new file, open for reading and writing.
///
/// # Errors
/// If the other can't be read, or the file can't be made.
pub fn empty_like(top: &File, to: &Path) -> Result<File> {
    let header = Header::read(top)?;
    let file =
        OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(to).with_context(|| format!("{}", to.display()))?;
    header::write_empty(&file, header.size_bytes, header.backing.as_deref())?;
    Ok(file)
}

#[async_trait]
impl Volumes for Qcow2Volumes {
    async fn list(&self) -> Result<Vec<VolumeId>> {
        let directory = self.directory.clone();
        durable::blocking(move || {
            let names = durable::names(&directory)?;
            Ok(names.iter().filter_map(|name| name.strip_suffix(".qcow2")?.parse().ok()).collect())
        })
        .await
    }

    async fn ensure(&self, id: &VolumeId, size_bytes: u64, source: &Source) -> Result<()> {
        let path = self.path(id);
        if tokio::fs::try_exists(&path).await.with_context(|| format!("{}", path.display()))? {
            return Ok(());
        }
        let base = match source {
            Source::Blank => None,
            Source::Image(image) => Some(self.images.files(image).await.with_context(|| format!("volume {id}"))?.disk),
        };
        durable::blocking(move || create(&path, size_bytes, base.as_deref())).await.with_context(|| format!("making volume {id}"))
    }

    async fn remove(&self, id: &VolumeId) -> Result<()> {
        let path = self.path(id);
        durable::blocking(move || durable::file_remove(&path)).await.with_context(|| format!("deleting volume {id}"))
    }

    async fn inspect(&self, id: &VolumeId, size_bytes: u64, bytes_synced: u64) -> Result<Sight> {
        let top = self.path(id);
        durable::blocking(move || check::inspect(&top, Some(size_bytes), bytes_synced)).await.with_context(|| format!("volume {id}"))
    }

    async fn settle(&self, id: &VolumeId) -> Result<u64> {
        let path = self.path(id);
        let settle = move || {
            durable::sync(&path)?;
            Ok(std::fs::metadata(&path)?.len())
        };
        durable::blocking(settle).await.with_context(|| format!("volume {id}"))
    }

    async fn set_aside(&self, id: &VolumeId, why: &str, now: Timestamp) -> Result<()> {
        let (path, why) = (self.path(id), why.to_owned());
        durable::blocking(move || lost_found::set_aside(&path, &why, now)).await.with_context(|| format!("setting aside volume {id}"))
    }

    async fn files(&self, id: &VolumeId) -> Result<Files> {
        let top = self.path(id);
        durable::blocking(move || Ok(Files { backing: backing_chain(&top)?, top })).await.with_context(|| format!("volume {id}"))
    }
}

/// Makes a volume's file. If another call was faster, its file stays.
fn create(path: &Path, size_bytes: u64, base: Option<&Path>) -> Result<()> {
    let directory = path.parent().context("a volume's path without a directory")?;
    let backing = match base {
        None => None,
        Some(base) => {
            let file = File::open(base).with_context(|| format!("{}", base.display()))?;
            let image_bytes = Header::read(&file).with_context(|| format!("{}", base.display()))?.size_bytes;
            ensure!(image_bytes <= size_bytes, "{size_bytes} bytes are less than the {image_bytes} bytes of the image");
            let relative = relative_to(directory, base).unwrap_or_else(|| base.to_owned());
            Some(relative.into_os_string().into_string().ok().context("the image's path isn't UTF-8")?)
        }
    };
    durable::file_create(path, |file| header::write_empty(file, size_bytes, backing.as_deref()))
}

/// The way from a directory to a file, both absolute and without `..`.
fn relative_to(directory: &Path, file: &Path) -> Option<PathBuf> {
    if !directory.is_absolute() || !file.is_absolute() {
        return None;
    }
    let common = directory.components().zip(file.components()).take_while(|(a, b)| a == b).count();
    let up = directory.components().skip(common).map(|_| Component::ParentDir);
    Some(up.chain(file.components().skip(common)).collect())
}

/// The files below `top`, the nearest first.
fn backing_chain(top: &Path) -> Result<Vec<PathBuf>> {
    let mut chain = Vec::new();
    let mut current = top.to_owned();
    loop {
        let file = match File::open(&current) {
            Err(error) if error.kind() == ErrorKind::NotFound && chain.is_empty() => bail!("there is no {}", current.display()),
            opened => opened.with_context(|| format!("{}", current.display()))?,
        };
        let Some(backing) = Header::read(&file).with_context(|| format!("{}", current.display()))?.backing else {
            return Ok(chain);
        };
        ensure!(chain.len() < CHAIN_FILES_MAX, "{} is a chain of more than {CHAIN_FILES_MAX} files", top.display());
        let directory = current.parent().unwrap_or(Path::new("/"));
        current = directory.join(backing).canonicalize().with_context(|| format!("the backing file of {}", current.display()))?;
        chain.push(current.clone());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::image::store::ImageStore;
    use crate::test_kit::{qemu_img, scratch, stage_image};
    use crate::volume::contract::{self, image_id, volume_id};
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    const GIB: u64 = 1 << 30;

    async fn with_image(root: &Path) -> Arc<dyn Images> {
        let images = Arc::new(ImageStore::open(&root.join("images")).unwrap());
        images.adopt(&image_id(1), &stage_image(root, 1)).await.unwrap();
        images
    }

    #[tokio::test]
    async fn keeps_the_contract() {
        let root = scratch();
        let images = with_image(root.path()).await;
        contract::check(&|| Arc::new(Qcow2Volumes::open(&root.path().join("volumes"), images.clone()).unwrap()), &image_id(1)).await;
    }

    /// QEMU's own judgement, at sizes where the tables change shape.
    #[tokio::test]
    async fn qemu_takes_what_is_written() {
        let root = scratch();
        let volumes = Qcow2Volumes::open(&root.path().join("volumes"), with_image(root.path()).await).unwrap();
        let sizes = [512, 512 << 20, (512 << 20) + 512, GIB, 4097 * GIB, 16384 * GIB, SIZE_LARGEST];
        for (n, size) in (1..).zip(sizes) {
            volumes.ensure(&volume_id(n), size, &Source::Blank).await.unwrap();
            let top = volumes.files(&volume_id(n)).await.unwrap().top;
            assert!(qemu_img(&["check", "-f", "qcow2", top.to_str().unwrap()]).contains("No errors were found"), "{size}");
            assert!(qemu_img(&["info", top.to_str().unwrap()]).contains(&format!("({size} bytes)")), "{size}");
        }
        let root_volume = volume_id(100);
        volumes.ensure(&root_volume, 8 * GIB, &Source::Image(image_id(1))).await.unwrap();
        let files = volumes.files(&root_volume).await.unwrap();
        let info = qemu_img(&["info", "--backing-chain", files.top.to_str().unwrap()]);
        assert!(info.contains("backing file: ../images/ami-00000000000000001/disk.qcow2"), "{info}");
        assert!(info.contains("backing file format: qcow2"), "{info}");
        // The image's content shows through, and stays when the volume is written to.
        let written = qemu_io(&files.top, &["read -P 0x5a 0 64k", "read -P 0 6G 64k", "write -P 0x77 0 4k", "read -P 0x77 0 4k"]);
        assert_eq!(written.matches("Pattern verification failed").count(), 0, "{written}");
        assert!(qemu_io(&files.backing[0], &["read -P 0x5a 0 64k"]).contains("read 65536/65536"));
        assert!(qemu_img(&["check", files.top.to_str().unwrap()]).contains("No errors were found"));
    }

    const SIZE_LARGEST: u64 = header::SIZE_BYTES_MAX;

    fn qemu_io(path: &Path, commands: &[&str]) -> String {
        let mut command = std::process::Command::new("qemu-io");
        command.args(["-f", "qcow2"]);
        for text in commands {
            command.args(["-c", text]);
        }
        let output = command.arg(path).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    #[tokio::test]
    async fn is_small_private_and_copies_nothing() {
        let root = scratch();
        let volumes = Qcow2Volumes::open(&root.path().join("volumes"), with_image(root.path()).await).unwrap();
        volumes.ensure(&volume_id(1), 8 * GIB, &Source::Image(image_id(1))).await.unwrap();
        let metadata = std::fs::metadata(volumes.files(&volume_id(1)).await.unwrap().top).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        assert!(metadata.blocks() * 512 <= 64 * 1024, "{} blocks", metadata.blocks());
    }

    #[tokio::test]
    async fn what_an_interrupted_call_left_goes_at_the_next_start() {
        let root = scratch();
        let (directory, images) = (root.path().join("volumes"), with_image(root.path()).await);
        let volumes = Qcow2Volumes::open(&directory, images.clone()).unwrap();
        volumes.ensure(&volume_id(1), GIB, &Source::Blank).await.unwrap();
        std::fs::write(directory.join(".vol-00000000000000002.qcow2.7.tmp"), b"half").unwrap();
        let volumes = Qcow2Volumes::open(&directory, images).unwrap();
        assert_eq!(volumes.list().await.unwrap(), [volume_id(1)]);
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1);
    }

    /// What can become of a file, and that each is told from a whole one.
    #[tokio::test]
    async fn a_file_that_is_not_what_it_was_is_lost() {
        use model::volume::Loss;
        let root = scratch();
        let volumes = Qcow2Volumes::open(&root.path().join("volumes"), with_image(root.path()).await).unwrap();
        let id = volume_id(1);
        volumes.ensure(&id, 8 * GIB, &Source::Image(image_id(1))).await.unwrap();
        let top = volumes.files(&id).await.unwrap().top;
        // Written to at both ends, so that tables lie at the end of the file.
        qemu_io(&top, &["write -P 0x77 0 64k", "write -P 0x77 7G 64k"]);
        let whole = std::fs::read(&top).unwrap();
        let synced = std::cell::Cell::new(0);
        let sight = async || volumes.inspect(&id, 8 * GIB, synced.get()).await.unwrap();
        let lost = async |says: &str| match volumes.inspect(&id, 8 * GIB, synced.get()).await.unwrap() {
            Sight::Lost { loss, why } if why.contains(says) => loss,
            other @ (Sight::Whole(_) | Sight::Lost { .. }) => panic!("{says}: {other:?}"),
        };
        assert!(matches!(sight().await, Sight::Whole(_)));
        std::fs::write(&top, b"").unwrap();
        assert_eq!(lost("empty").await, Loss::Damaged);
        for length in [1, 60, 104, 70_000, 200_000, 300_000] {
            std::fs::write(&top, &whole[..length]).unwrap();
            assert_eq!(lost("damaged").await, Loss::Damaged, "cut at {length}");
        }
        std::fs::write(&top, vec![0; whole.len()]).unwrap();
        assert_eq!(lost("not a qcow2 file").await, Loss::Damaged);
        std::fs::remove_file(&top).unwrap();
        assert_eq!(lost("is missing").await, Loss::Missing);
        std::fs::write(&top, &whole).unwrap();
        assert!(matches!(sight().await, Sight::Whole(_)));

        // Data alone may lie beyond the end after a crash, but not of a file that was synced.
        let cut = &whole[..whole.len() - (64 << 10)];
        std::fs::write(&top, cut).unwrap();
        assert!(matches!(sight().await, Sight::Whole(_)), "the test cuts off data only");
        synced.set(whole.len() as u64);
        assert_eq!(lost("cut short").await, Loss::Damaged);
        std::fs::write(&top, &whole).unwrap();
        assert!(matches!(sight().await, Sight::Whole(_)));
        // A copy that takes less room, as a backup's does, is whole.
        let compact = root.path().join("volumes/compact");
        let backing = "../images/ami-00000000000000001/disk.qcow2";
        qemu_io(&top, &["discard 0 64k", "write -P 0x55 6G 1M", "discard 6G 1M"]);
        qemu_img(&["convert", "-O", "qcow2", "-B", backing, "-F", "qcow2", top.to_str().unwrap(), compact.to_str().unwrap()]);
        synced.set(std::fs::metadata(&top).unwrap().len());
        assert!(std::fs::metadata(&compact).unwrap().len() < synced.get());
        std::fs::rename(&compact, &top).unwrap();
        assert!(matches!(sight().await, Sight::Whole(_)));
        synced.set(0);

        let image = root.path().join("images/ami-00000000000000001");
        std::fs::rename(&image, root.path().join("images/kept")).unwrap();
        assert_eq!(lost("images/ami-00000000000000001/disk.qcow2, which").await, Loss::Damaged);
        std::fs::create_dir(&image).unwrap();
        std::fs::write(image.join("disk.qcow2"), b"").unwrap();
        assert_eq!(lost("disk.qcow2 is damaged").await, Loss::Damaged);
        std::fs::remove_dir_all(&image).unwrap();
        std::fs::rename(root.path().join("images/kept"), &image).unwrap();
        assert!(matches!(sight().await, Sight::Whole(_)));
        // Set aside, it still finds its image.
        volumes.set_aside(&id, "a test", Timestamp(0)).await.unwrap();
        let aside = root.path().join("lost+found").join(top.file_name().unwrap());
        assert!(matches!(check::inspect(&aside, Some(8 * GIB), 0).unwrap(), Sight::Whole(_)));
    }

    #[tokio::test]
    async fn a_size_below_the_image_is_refused() {
        let root = scratch();
        let volumes = Qcow2Volumes::open(&root.path().join("volumes"), with_image(root.path()).await).unwrap();
        let error = volumes.ensure(&volume_id(1), 1 << 20, &Source::Image(image_id(1))).await.unwrap_err();
        assert!(format!("{error:#}").contains("are less than"), "{error:#}");
        assert_eq!(volumes.list().await.unwrap(), []);
    }

    #[tokio::test]
    async fn the_data_directory_can_be_moved() {
        let root = scratch();
        let before = root.path().join("before");
        std::fs::create_dir(&before).unwrap();
        let volumes = Qcow2Volumes::open(&before.join("volumes"), with_image(&before).await).unwrap();
        volumes.ensure(&volume_id(1), GIB, &Source::Image(image_id(1))).await.unwrap();
        let after = root.path().join("after");
        std::fs::rename(&before, &after).unwrap();
        let images = Arc::new(ImageStore::open(&after.join("images")).unwrap());
        let volumes = Qcow2Volumes::open(&after.join("volumes"), images.clone()).unwrap();
        let disk = images.files(&image_id(1)).await.unwrap().disk;
        assert_eq!(volumes.files(&volume_id(1)).await.unwrap().backing, [disk]);
    }

    /// A full disk: the error says so, and nothing is left.
    #[test]
    fn a_full_disk_is_named() {
        let root = scratch();
        crate::test_kit::on_a_tiny_disk(root.path(), "64k", || async {
            let images = Arc::new(crate::image::fake::FakeImages::new(crate::image::fake::FakeImageHost::default()));
            let volumes = Qcow2Volumes::open(&root.path().join("volumes"), images).unwrap();
            std::fs::write(root.path().join("volumes/fill"), vec![1; 56 * 1024]).unwrap();
            let error = volumes.ensure(&volume_id(1), GIB, &Source::Blank).await.unwrap_err();
            assert!(format!("{error:#}").contains("is full"), "{error:#}");
            assert_eq!(std::fs::read_dir(root.path().join("volumes")).unwrap().count(), 1);
        });
    }
}
