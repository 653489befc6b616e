//! What each command does.

pub(crate) mod account;
pub(crate) mod adopt;
pub(crate) mod backup;
pub(crate) mod console;
pub(crate) mod doctor;
pub(crate) mod env;
pub(crate) mod forward;
pub(crate) mod fsck;
mod guest;
pub(crate) mod image;
pub(crate) mod reset;
pub(crate) mod ssh;
pub(crate) mod status;

use anyhow::Result;
use comfy_table::{ContentArrangement, Table, TableStyle};
use std::io::Write as _;

/// An empty table that fits the terminal's width. A terminal without a size (`docker run -t`) reports 0 columns; rows are not wrapped then.
fn table(preset: TableStyle) -> Table {
    let mut table = Table::new();
    table.load_style(preset).set_content_arrangement(ContentArrangement::Dynamic);
    if table.width() == Some(0) {
        table.set_content_arrangement(ContentArrangement::Disabled);
    }
    table
}

/// Writes a result to standard output.
///
/// # Errors
/// If it can't be written; a closed pipe counts as read enough.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}
