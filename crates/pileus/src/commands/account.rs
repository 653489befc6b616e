//! `pileus account`.

use super::print;
use crate::admin::{AccountCreated, AccountWanted, client};
use anyhow::Result;
use std::path::Path;

pub(crate) fn create(data_dir: &Path, name: String) -> Result<()> {
    let created: AccountCreated = client::post(data_dir, "/accounts", &AccountWanted { name })?;
    print(&serde_json::to_string_pretty(&created)?)
}
