//! `pileus fsck`: works on a cloud that is stopped.

use super::print;
use anyhow::{Context as _, Result};
use std::path::Path;

/// Files that are named, at most.
const NAMED_MAX: usize = 20;

/// Checks the objects, or makes their index anew. Whether all is sound.
pub(crate) fn objects(data_dir: &Path, rebuild: bool) -> Result<bool> {
    let dir = data_dir.join("objects");
    anyhow::ensure!(dir.is_dir(), "{} is not there", dir.display());
    if rebuild {
        let made = objects::rebuild(&dir).map_err(anyhow::Error::from).context("the index can't be made anew")?;
        print(&format!("begun with      {}", made.base.display()))?;
        print(&format!("added           {} commits from the journal", made.commits))?;
        print(&format!("versions        {}", made.versions))?;
        print(&format!("left out        {} whose files are gone", made.dropped))?;
        print(&format!("set aside       {} files that belong to nothing, in {}", made.lost, dir.join("lost+found").display()))?;
    }
    let checked = objects::check(&dir).map_err(anyhow::Error::from).context("the objects can't be checked")?;
    for wrong in &checked.index {
        print(&format!("index           {wrong}"))?;
    }
    for bad in &checked.bad {
        print(&format!("damaged         s3://{}/{}: {}", bad.bucket, bad.key, bad.why))?;
    }
    if checked.damaged > checked.bad.len() as u64 {
        print(&format!("damaged         {} more", checked.damaged - checked.bad.len() as u64))?;
    }
    for path in checked.unnamed.iter().take(NAMED_MAX) {
        print(&format!("no object       {}", path.display()))?;
    }
    if checked.unnamed.len() > NAMED_MAX {
        print(&format!("no object       {} more", checked.unnamed.len() - NAMED_MAX))?;
    }
    print(&format!(
        "checked         {} versions, {} files: {}",
        checked.versions,
        checked.files,
        if checked.sound() { "sound" } else { "not sound" }
    ))?;
    Ok(checked.sound())
}
