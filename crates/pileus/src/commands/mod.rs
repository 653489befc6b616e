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
use std::io::Write as _;

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
