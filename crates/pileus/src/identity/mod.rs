//! A data directory is of one cloud: its database, its marker and the markers of the directories in it must agree before any of it is opened.
//!
//! What is refused and what can't be noticed is in docs/decisions/0012-data-directory-identity.md. For backup and restore:
//!
//! - [`Root::read`] says which cloud a directory is of, and which revision its database must have at least.
//! - [`stamp`] makes a directory whole again after its database was put back: it takes the database for the truth, begins a new epoch and
//!   writes all markers. A restore copies `state.db` and the parts, and then calls it; the markers of the backup needn't be copied.

mod guard;
mod judge;
mod marker;
mod traces;

#[cfg(test)]
mod tests;

pub(crate) use guard::Guarded;
pub(crate) use marker::Root;

use anyhow::{Context as _, Result};
use judge::judge;
use marker::Part;
use model::fault::NoFaults;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use store::{Found, Identity, Mode, OpenError, Store};
use tokio::sync::{Mutex, watch};

/// The database's name in the data directory.
pub(crate) const DATABASE: &str = "state.db";
/// How often the marker is brought up to the database's revision while the server runs.
const KEEP_PERIOD: Duration = Duration::from_secs(10);

/// The identity of an open data directory.
#[derive(Debug)]
pub(crate) struct DataDirectory {
    path: PathBuf,
    store: Store,
    root: Mutex<Root>,
    /// The revision that the marker on the disk names.
    marked: AtomicU64,
    cloud: String,
}

/// Opens the database of a data directory, if everything in the directory agrees. A new directory, and one from before there were markers,
/// is marked.
pub(crate) fn open(data_dir: &Path, mode: Mode) -> Result<(Store, Arc<DataDirectory>)> {
    let check = |found: Found<'_>| judge(data_dir, mode, found).map(Some).map_err(|error| format!("{error:#}"));
    let store = Store::open_checked(&data_dir.join(DATABASE), mode, Arc::new(NoFaults), check).context("can't open the store")?;
    let mut root = Root::read(data_dir)?.context("the data directory's marker is gone")?;
    for part in Part::all(mode) {
        if !root.parts.contains(part) {
            marker::part_mark(data_dir, *part, &root.cloud)?;
            root.parts.insert(*part);
        }
    }
    let marked = root.revision;
    root.revision = store.snapshot().revision();
    root.machines_forfeit = false;
    match root.write(data_dir) {
        // The server must start on a full disk, so that it can be freed. The marker that is there stays true; it is raised later.
        Err(error) if marked > 0 && is_full(&error) => {
            tracing::warn!(error = format!("{error:#}"), "the data directory's marker is behind its database");
            root.revision = marked;
        }
        written => written?,
    }
    std::fs::File::open(data_dir).and_then(|directory| directory.sync_all()).context("can't sync the data directory")?;
    let (marked, cloud) = (AtomicU64::new(root.revision), root.cloud.clone());
    let this = DataDirectory { path: data_dir.into(), store: store.clone(), root: Mutex::new(root), marked, cloud };
    Ok((store, Arc::new(this)))
}

fn is_full(error: &anyhow::Error) -> bool {
    let full = |e: &std::io::Error| matches!(e.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
    error.chain().filter_map(|cause| cause.downcast_ref()).any(full)
}

/// Takes the database for the truth, whatever the markers say: begins a new epoch and writes all markers anew. `machines_forfeit`: machines
/// that run without an instance in it may be ended at the next start. No server may have the directory open.
///
/// # Errors
/// If there is no database, it can't be opened, or a server has it open.
pub(crate) fn stamp(data_dir: &Path, machines_forfeit: bool) -> Result<Root> {
    let found = Root::read(data_dir).ok().flatten();
    let agree = |at: Found<'_>| match at {
        Found::Nothing { .. } => Err(format!(
            "{} holds no database, so there is nothing to adopt. Put the database back, or restore a backup (`pileus restore`) into another directory",
            data_dir.join(DATABASE).display()
        )),
        Found::Cloud { identity, .. } => {
            let known = identity.or_else(|| found.as_ref().map(Root::identity)).unwrap_or_else(|| draw(&mut rand::rng()));
            let epoch = 1 + found.as_ref().map_or(0, |root| root.epoch).max(known.epoch);
            Ok(Some(Identity { cloud: known.cloud, epoch }))
        }
    };
    let open = |mode| {
        let mut given = None;
        let check = |at: Found<'_>| agree(at).inspect(|identity| given.clone_from(identity));
        Store::open_checked(&data_dir.join(DATABASE), mode, Arc::new(NoFaults), check).map(|store| (store, given))
    };
    let (store, identity) = match open(Mode::Real) {
        Err(OpenError::WrongMode { found, .. }) => open(found),
        other => other,
    }
    .context("can't open the store")?;
    let mut root = Root::new(identity.context("the database has no identity")?);
    root.revision = store.snapshot().revision();
    root.machines_forfeit = machines_forfeit;
    for part in Part::all(store.mode()) {
        marker::part_mark(data_dir, *part, &root.cloud)?;
        root.parts.insert(*part);
    }
    root.write(data_dir)?;
    Ok(root)
}

/// Draws the identity of a new cloud.
fn draw(rng: &mut impl rand::Rng) -> Identity {
    let mut bytes = [0; 16];
    rng.fill_bytes(&mut bytes);
    Identity { cloud: bytes.iter().map(|byte| format!("{byte:02x}")).collect(), epoch: 0 }
}

impl DataDirectory {
    /// Which cloud it is.
    pub(crate) fn cloud(&self) -> &str {
        &self.cloud
    }

    /// Lets the marker name at least this revision: an older database is refused from then on. Costs nothing if it does already; those that
    /// wait together are served by one write.
    pub(crate) async fn raise(&self, revision: u64) -> Result<()> {
        if self.marked.load(Ordering::Acquire) >= revision {
            return Ok(());
        }
        let mut root = self.root.lock().await;
        if root.revision >= revision {
            return Ok(());
        }
        // The whole directory may have been exchanged for another cloud's.
        self.store.place_check()?;
        let mut raised = root.clone();
        raised.revision = self.store.snapshot().revision().max(revision);
        let path = self.path.clone();
        let written = tokio::task::spawn_blocking(move || raised.write(&path).map(|()| raised)).await?;
        *root = written?;
        self.marked.store(root.revision, Ordering::Release);
        Ok(())
    }

    /// Lets the marker name the newest revision: for files that are about to be made for a document.
    pub(crate) async fn raise_to_newest(&self) -> Result<()> {
        self.raise(self.store.snapshot().revision()).await
    }

    /// Checks that a part is still the directory that this cloud marked: its disk may have been unmounted.
    pub(crate) async fn part_check(&self, part: Part) -> Result<()> {
        let (path, cloud) = (self.path.clone(), self.cloud.clone());
        tokio::task::spawn_blocking(move || judge::part_check(&path, part, &cloud)).await?
    }

    /// Brings the marker up to the database's revision now and then, until `stop` turns true.
    pub(crate) async fn keep(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut commits = self.store.changed();
        loop {
            tokio::select! {
                changed = commits.changed() => if changed.is_err() { return },
                _ = stop.wait_for(|stop| *stop) => return,
            }
            self.raise_or_warn().await;
            tokio::select! {
                () = tokio::time::sleep(KEEP_PERIOD) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Brings the marker up to the database's revision. A disk that is full now will have room later.
    pub(crate) async fn raise_or_warn(&self) {
        if let Err(error) = self.raise_to_newest().await {
            tracing::warn!(error = format!("{error:#}"), "the data directory's marker is behind its database");
        }
    }
}
