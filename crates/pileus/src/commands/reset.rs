//! `pileus reset`.

use crate::admin::client;
use anyhow::Result;
use std::path::Path;

pub(crate) fn run(data_dir: &Path) -> Result<()> {
    client::post(data_dir, "/reset", &())
}
