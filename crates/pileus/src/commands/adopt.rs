//! `pileus adopt`.

use super::print;
use crate::identity;
use anyhow::Result;
use std::path::Path;

pub(crate) fn run(data_dir: &Path) -> Result<()> {
    let root = identity::stamp(data_dir, true)?;
    let (cloud, revision, epoch) = (&root.cloud, root.revision, root.epoch);
    print(&format!("{}: adopted as cloud {cloud}, with its database at revision {revision} (epoch {epoch})", data_dir.display()))
}
