//! `pileus backup` and `pileus restore`.

use super::print;
use crate::admin::{BackupWanted, SOCKET, client};
use crate::backup::make::Sources;
use crate::backup::{Progress, State, make, restore};
use crate::progress::Terminal;
use crate::size::size;
use crate::{identity, parts};
use anyhow::{Context as _, Result, bail};
use model::fault::NoFaults;
use node::image::progress::Progress as _;
use objects::{MasterKey, Objects};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use store::{Mode, OpenError};

/// Between two looks at how far it is.
const LOOK_PERIOD: Duration = Duration::from_millis(200);

/// Makes a backup: by the server if one runs, else by itself.
pub(crate) fn backup(data_dir: &Path, dir: &Path) -> Result<()> {
    let dir = std::path::absolute(dir)?;
    let show = Terminal::new();
    let mut shown = String::new();
    let mut tell = |state: &State| {
        if state.step != shown {
            shown.clone_from(&state.step);
            show.step(&state.step);
        }
        #[allow(clippy::cast_precision_loss)] // a percentage
        show.fraction(state.done as f32 / state.total.max(1) as f32);
    };
    let state = if std::os::unix::net::UnixStream::connect(data_dir.join(SOCKET)).is_ok() {
        let () = client::post(data_dir, "/backup", &BackupWanted { dir })?;
        loop {
            let state: State = client::get(data_dir, "/backup")?;
            tell(&state);
            if state.ended {
                break state;
            }
            std::thread::sleep(LOOK_PERIOD);
        }
    } else {
        let progress = Arc::new(Progress::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let made = runtime.block_on(async {
            let sources = stopped(data_dir)?;
            let work = make::make(&sources, &dir, &progress);
            tokio::pin!(work);
            loop {
                tokio::select! {
                    made = &mut work => break made,
                    () = tokio::time::sleep(LOOK_PERIOD) => tell(&progress.state()),
                }
            }
        });
        progress.end(made);
        progress.state()
    };
    drop(show);
    if let Some(error) = state.error {
        bail!("no backup was made: {error}");
    }
    let made = state.made.context("the backup has ended without a result")?;
    for note in &made.notes {
        print(&format!("note: {note}"))?;
    }
    let (linked, linked_bytes) = (made.files - made.copied_files, made.bytes.saturating_sub(made.copied_bytes));
    print(&format!(
        "{}: {} files, {}; copied {} ({}), linked {linked} ({})",
        made.path,
        made.files,
        size(made.bytes),
        made.copied_files,
        size(made.copied_bytes),
        size(linked_bytes)
    ))
}

/// A cloud that no server has open.
fn stopped(data_dir: &Path) -> Result<Sources> {
    anyhow::ensure!(data_dir.join(identity::DATABASE).is_file(), "{} holds no cloud", data_dir.display());
    let running = node::hypervisor::qemu::running(data_dir)?;
    if let Some(first) = running.first() {
        let count = running.len();
        bail!("{count} guests run without the server ({first} …): start it (`pileus serve`) and back up again");
    }
    let opened = match identity::open(data_dir, Mode::Real) {
        Err(error) if error.chain().any(|cause| matches!(cause.downcast_ref(), Some(OpenError::WrongMode { .. }))) => {
            identity::open(data_dir, Mode::Simulated)
        }
        opened => opened,
    };
    let (store, directory) = opened?;
    let objects = Objects::open(&data_dir.join("objects"), MasterKey::new(parts::master_key(data_dir)?), Arc::new(NoFaults));
    Ok(Sources {
        data_dir: data_dir.into(),
        cloud: directory.cloud().into(),
        now: parts::now().iso8601_seconds(),
        store,
        objects: objects.context("can't open the objects")?,
        hypervisor: None,
        configuration: None,
    })
}

/// Restores a backup, or only reads and compares it.
pub(crate) fn restore(data_dir: &Path, dir: &Path, only_check: bool) -> Result<()> {
    let backup = restore::find(dir)?;
    let show = Terminal::new();
    let manifest = restore::restore(&backup, data_dir, only_check, &show)?;
    drop(show);
    for note in &manifest.notes {
        print(&format!("note: {note}"))?;
    }
    let (files, bytes): (usize, u64) = (manifest.files.len(), manifest.files.iter().map(|entry| entry.size).sum());
    let done = if only_check { "complete, all checksums match".into() } else { format!("restored into {}", data_dir.display()) };
    print(&format!("{}: {done}; cloud {}, {}, {files} files, {}", backup.display(), manifest.cloud, manifest.made, size(bytes)))
}
