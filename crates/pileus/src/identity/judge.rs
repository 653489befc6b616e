//! Whether what is in a data directory belongs together.

use super::marker::{self, MARKER, Part, Root};
use super::{DATABASE, draw, traces};
use anyhow::{Context as _, Result, bail, ensure};
use model::image::Image;
use model::instance::Instance;
use model::volume::Volume;
use std::collections::BTreeSet;
use std::path::Path;
use store::{Found, Identity, Mode, Snapshot};

/// Things that a message names, at most.
const NAMED_MAX: usize = 3;

/// What an operator can do about a directory and a database that don't agree.
const REMEDY: &str = "Mount the disk that belongs here, or restore a backup (`pileus restore`). If what is missing is lost, `pileus adopt` accepts \
                      the database as it is: files that it doesn't name are then moved to lost+found and kept for 7 days";

/// Judges what is found where the database is to be, and gives back the identity that the database is to carry.
///
/// # Errors
/// If it doesn't belong to what is beside it: why, and what to do. Nothing is changed then.
pub(super) fn judge(data_dir: &Path, mode: Mode, found: Found<'_>) -> Result<Identity> {
    let root = Root::read(data_dir).with_context(|| REMEDY)?;
    match found {
        Found::Nothing { bytes } => nothing(data_dir, root, bytes),
        Found::Cloud { identity, snapshot } => {
            let (database, marker) = (data_dir.join(DATABASE), data_dir.join(MARKER));
            match (identity, root) {
                (None, None) => adopt(data_dir, mode, None, snapshot),
                (None, Some(root)) if root.is_new() => adopt(data_dir, mode, Some(root), snapshot),
                (None, Some(root)) => bail!(
                    "{} has no cloud id, but {} says that it is of cloud {}: the database is from before the directory was marked. {REMEDY}.",
                    database.display(),
                    marker.display(),
                    root.cloud
                ),
                (Some(identity), Some(root)) => {
                    agree(data_dir, mode, &identity, &root, snapshot)?;
                    Ok(identity)
                }
                (Some(identity), None) => bail!(
                    "{} is of cloud {}, but the directory has no marker ({MARKER}): it isn't the directory that the database was in, or only a part \
                     of it. {REMEDY}.",
                    database.display(),
                    identity.cloud
                ),
            }
        }
    }
}

/// No database: a new cloud, unless there was one here.
fn nothing(data_dir: &Path, root: Option<Root>, bytes: Option<u64>) -> Result<Identity> {
    let mut traces = traces::traces(data_dir)?;
    if let Some(root) = root.as_ref().filter(|root| !root.is_new()) {
        traces.insert(0, format!("{MARKER}, which says cloud {} at revision {}", root.cloud, root.revision));
    }
    let database = data_dir.join(DATABASE);
    let state = match bytes {
        None => "is missing".to_owned(),
        Some(0) => "is empty".to_owned(),
        Some(bytes) => format!("holds no tables ({bytes} bytes)"),
    };
    ensure!(
        traces.is_empty(),
        "{} {state}, but a cloud was here: there is {}. Put the database back together with its {DATABASE}-wal, or restore a backup into \
         another directory (`pileus restore`). A copy of {DATABASE} alone, made while the server ran, is not enough. To delete all of this cloud, run \
         scripts/remove.",
        database.display(),
        traces.join("; ")
    );
    let identity = root.map_or_else(|| draw(&mut rand::rng()), |root| root.identity());
    Root::new(identity.clone()).write(data_dir)?;
    Ok(identity)
}

/// The database and the markers name one cloud, and the database isn't older than what was made for it.
fn agree(data_dir: &Path, mode: Mode, identity: &Identity, root: &Root, snapshot: &Snapshot) -> Result<()> {
    let (database, marker) = (data_dir.join(DATABASE), data_dir.join(MARKER));
    let (database, marker) = (database.display(), marker.display());
    ensure!(
        identity.cloud == root.cloud,
        "{database} is of cloud {}, but {marker} says that this directory is of cloud {}. {REMEDY}.",
        identity.cloud,
        root.cloud
    );
    ensure!(
        identity.epoch == root.epoch,
        "{database} is of epoch {}, but {marker} says {}: it is a copy from before another database was declared the truth, or the other way \
         round. {REMEDY}.",
        identity.epoch,
        root.epoch
    );
    ensure!(
        snapshot.revision() >= root.revision,
        "{database} is at revision {}, but {marker} says that it had got to {}: it is an older copy, or was copied without its {DATABASE}-wal. \
         {REMEDY}.",
        snapshot.revision(),
        root.revision
    );
    for part in Part::all(mode) {
        if root.parts.contains(part) || marker::part_cloud(data_dir, *part).with_context(|| REMEDY)?.is_some() {
            part_check(data_dir, *part, &root.cloud)?;
        }
    }
    if mode == Mode::Real && !root.machines_forfeit {
        machines_known(data_dir, snapshot)?;
    }
    Ok(())
}

/// A part that was marked is the one that was marked.
pub(super) fn part_check(data_dir: &Path, part: Part, cloud: &str) -> Result<()> {
    let directory = data_dir.join(part.name());
    match marker::part_cloud(data_dir, part).with_context(|| REMEDY)? {
        Some(found) if found == cloud => Ok(()),
        Some(found) => bail!("{} is of cloud {found}, this cloud is {cloud}. {REMEDY}.", directory.display()),
        None => bail!(
            "{} isn't the directory that this cloud made: it has no marker ({MARKER}). Its disk may not be mounted. {REMEDY}.",
            directory.display()
        ),
    }
}

/// A database from before there were markers: its directory is marked, if both say the same.
fn adopt(data_dir: &Path, mode: Mode, root: Option<Root>, snapshot: &Snapshot) -> Result<Identity> {
    for part in Part::all(Mode::Real) {
        if let Some(cloud) = marker::part_cloud(data_dir, *part).with_context(|| REMEDY)?
            && root.as_ref().is_none_or(|root| root.cloud != cloud)
        {
            bail!("{} is of cloud {cloud}, but the database has no cloud id. {REMEDY}.", data_dir.join(part.name()).display());
        }
    }
    if snapshot.accounts().next().is_none() {
        let traces = traces::traces(data_dir)?;
        ensure!(traces.is_empty(), "{} names nothing, but there is {}. {REMEDY}.", data_dir.join(DATABASE).display(), traces.join("; "));
    }
    if mode == Mode::Real {
        volumes_known(data_dir, snapshot)?;
        images_there(data_dir, snapshot)?;
        machines_known(data_dir, snapshot)?;
    }
    let identity = root.map_or_else(|| draw(&mut rand::rng()), |root| root.identity());
    Root::new(identity.clone()).write(data_dir)?;
    Ok(identity)
}

/// Every volume's file has a document, and not all of the documents' files are missing.
fn volumes_known(data_dir: &Path, snapshot: &Snapshot) -> Result<()> {
    let have = traces::volumes(data_dir)?;
    let unknown = have.iter().filter(|id| snapshot.find::<Volume>(id).is_none());
    refuse_unknown(data_dir, "volumes", unknown)?;
    let made = snapshot.all::<Instance>().filter(|(_, i)| i.has_run()).flat_map(|(_, i)| &i.volumes);
    let made: BTreeSet<_> = made.filter(|id| snapshot.find::<Volume>(id).is_some_and(|(_, v)| !v.deleting)).collect();
    ensure!(
        made.is_empty() || made.iter().any(|id| have.contains(id)),
        "{} holds none of the {} volumes that the database names. Its disk may not be mounted. {REMEDY}.",
        data_dir.join("volumes").display(),
        made.len()
    );
    Ok(())
}

/// Not all images are missing.
fn images_there(data_dir: &Path, snapshot: &Snapshot) -> Result<()> {
    let have = traces::images(data_dir)?;
    let named: BTreeSet<_> = snapshot.all::<Image>().map(|(_, image)| image.content()).collect();
    ensure!(
        named.is_empty() || named.iter().any(|id| have.contains(id)),
        "{} holds none of the {} images that the database names. Its disk may not be mounted. {REMEDY}.",
        data_dir.join("images").display(),
        named.len()
    );
    Ok(())
}

/// Every machine that runs has an instance.
fn machines_known(data_dir: &Path, snapshot: &Snapshot) -> Result<()> {
    let alive = node::hypervisor::qemu::machines_alive(data_dir)?;
    refuse_unknown(data_dir, "running machines", alive.iter().filter(|id| snapshot.find::<Instance>(id).is_none()))
}

fn refuse_unknown<T: ToString>(data_dir: &Path, what: &str, unknown: impl Iterator<Item = T>) -> Result<()> {
    let unknown: Vec<String> = unknown.map(|id| id.to_string()).collect();
    let more = if unknown.len() > NAMED_MAX { ", …" } else { "" };
    ensure!(
        unknown.is_empty(),
        "there are {} {what} that {} doesn't name ({}{more}): the database is an older one, or another cloud's. {REMEDY}.",
        unknown.len(),
        data_dir.join(DATABASE).display(),
        unknown[..unknown.len().min(NAMED_MAX)].join(", ")
    );
    Ok(())
}
