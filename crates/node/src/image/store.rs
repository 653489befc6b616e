//! Images as directories.

use super::{Files, Images, Lost};
use crate::Result;
use crate::durable;
use crate::lost_found;
use crate::volume::header::Header;
use crate::volume::{Sight, check};
use anyhow::{Context as _, bail, ensure};
use async_trait::async_trait;
use model::ids::ImageId;
use model::time::Timestamp;
use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// The root disk's file.
pub(crate) const DISK: &str = "disk.qcow2";
/// The kernel's file.
pub(crate) const KERNEL: &str = "vmlinuz";
/// The initramfs's file.
pub(crate) const INITRAMFS: &str = "initramfs";

/// The driver: a directory with one directory an image, which only root can enter.
#[derive(Debug)]
pub struct ImageStore {
    directory: PathBuf,
}

impl ImageStore {
    /// Opens the directory, making it if need be, and deletes what an interrupted removal left there.
    ///
    /// # Errors
    /// If the directory can't be made or read.
    pub fn open(directory: &Path) -> Result<Self> {
        let directory = std::path::absolute(directory).with_context(|| format!("{}", directory.display()))?;
        durable::directory_open(&directory)?;
        Ok(Self { directory: directory.canonicalize()? })
    }

    fn path(&self, id: &ImageId) -> PathBuf {
        self.directory.join(id.as_str())
    }
}

#[async_trait]
impl Images for ImageStore {
    async fn list(&self) -> Result<Vec<ImageId>> {
        let directory = self.directory.clone();
        durable::blocking(move || Ok(durable::names(&directory)?.iter().filter_map(|name| name.parse().ok()).collect())).await
    }

    async fn adopt(&self, id: &ImageId, staged: &Path) -> Result<()> {
        let (path, staged) = (self.path(id), staged.to_owned());
        durable::blocking(move || adopt(&path, &staged)).await.with_context(|| format!("taking in image {id}"))
    }

    async fn inspect(&self, id: &ImageId) -> Result<Option<Lost>> {
        let disk = self.path(id).join(DISK);
        let seen = durable::blocking(move || check::inspect(&disk, None, 0)).await.with_context(|| format!("image {id}"))?;
        Ok(match seen {
            Sight::Whole(_) => None,
            Sight::Lost { loss, why } => Some(Lost { loss, why }),
        })
    }

    async fn set_aside(&self, id: &ImageId, why: &str, now: Timestamp) -> Result<()> {
        let (path, why) = (self.path(id), why.to_owned());
        durable::blocking(move || lost_found::set_aside(&path, &why, now)).await.with_context(|| format!("setting aside image {id}"))
    }

    async fn files(&self, id: &ImageId) -> Result<Files> {
        let path = self.path(id);
        durable::blocking(move || files(&path)).await.with_context(|| format!("image {id}"))
    }

    async fn remove(&self, id: &ImageId) -> Result<()> {
        let path = self.path(id);
        durable::blocking(move || durable::directory_remove(&path)).await.with_context(|| format!("deleting image {id}"))
    }
}

fn files(directory: &Path) -> Result<Files> {
    let disk = directory.join(DISK);
    if !disk.try_exists()? {
        bail!("there is no {}", disk.display());
    }
    let (kernel, initramfs) = (directory.join(KERNEL), directory.join(INITRAMFS));
    let direct = kernel.try_exists()? && initramfs.try_exists()?;
    Ok(Files { disk, kernel: direct.then_some((kernel, initramfs)) })
}

fn adopt(directory: &Path, staged: &Path) -> Result<()> {
    match (directory.try_exists()?, staged.try_exists()?) {
        (true, false) => return Ok(()),
        (true, true) => bail!("it is there already, and {} is too", staged.display()),
        (false, false) => bail!("there is no {}", staged.display()),
        (false, true) => {}
    }
    let found = files(staged)?;
    let header = Header::read(&File::open(&found.disk)?).with_context(|| format!("{}", found.disk.display()))?;
    ensure!(header.backing.is_none(), "{} has a backing file", found.disk.display());
    for name in durable::names(staged)? {
        ensure!([DISK, KERNEL, INITRAMFS].contains(&name.as_str()), "{} doesn't belong to an image", staged.join(name).display());
        // QEMU's user opens the kernel by itself; nobody but root gets as far as this directory.
        let mode = if name == DISK { 0o600 } else { 0o644 };
        let file = staged.join(name);
        std::fs::set_permissions(&file, Permissions::from_mode(mode))?;
        durable::sync(&file)?;
    }
    std::fs::set_permissions(staged, Permissions::from_mode(0o700))?;
    durable::sync(staged)?;
    ensure!(durable::rename_new(staged, directory)?, "it appeared meanwhile");
    directory.parent().map_or(Ok(()), durable::sync)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::image::contract;
    use crate::test_kit::{qemu_img, scratch, stage_image};
    use std::sync::Arc;

    #[tokio::test]
    async fn keeps_the_contract() {
        let root = scratch();
        let open = || -> Arc<dyn Images> { Arc::new(ImageStore::open(&root.path().join("images")).unwrap()) };
        contract::check(&open, &|n| stage_image(root.path(), n)).await;
    }

    #[tokio::test]
    async fn what_is_not_an_image_is_refused_and_stays() {
        let root = scratch();
        let images = ImageStore::open(&root.path().join("images")).unwrap();
        let id: ImageId = "ami-00000000000000001".parse().unwrap();

        let empty = root.path().join("empty");
        std::fs::create_dir(&empty).unwrap();
        assert!(images.adopt(&id, &empty).await.is_err());

        let staged = stage_image(root.path(), 1);
        std::fs::write(staged.join("notes"), b"").unwrap();
        assert!(images.adopt(&id, &staged).await.is_err());
        std::fs::remove_file(staged.join("notes")).unwrap();

        let disk = staged.join(DISK);
        std::fs::rename(&disk, root.path().join("base.qcow2")).unwrap();
        qemu_img(&["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", "../base.qcow2", disk.to_str().unwrap()]);
        let error = images.adopt(&id, &staged).await.unwrap_err();
        assert!(format!("{error:#}").contains("backing file"), "{error:#}");
        assert!(disk.exists());
        assert_eq!(images.list().await.unwrap(), []);
    }

    #[tokio::test]
    async fn a_second_image_of_the_same_id_is_refused() {
        let root = scratch();
        let images = ImageStore::open(&root.path().join("images")).unwrap();
        let id: ImageId = "ami-00000000000000001".parse().unwrap();
        images.adopt(&id, &stage_image(root.path(), 1)).await.unwrap();
        let other = stage_image(root.path(), 2);
        assert!(images.adopt(&id, &other).await.is_err());
        assert!(other.exists());
    }
}
