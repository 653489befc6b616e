//! Operations of objects, one file a group.

pub(crate) mod archive;
mod attributes;
pub(crate) mod copy;
mod delete;
pub(crate) mod lock;
mod put;
mod read;
pub(crate) mod retention;
pub(crate) mod tagging;
pub(crate) mod tags;
mod write;

pub(crate) use attributes::attributes;
pub(crate) use delete::{delete, delete_many};
pub(crate) use put::put;
pub(crate) use read::{get, head};
pub(crate) use write::write;

use crate::error::{self, Result};
use objects::VersionId;

/// A version's id as a client names it.
///
/// # Errors
/// `InvalidArgument`.
pub(crate) fn version_id(text: Option<&str>) -> Result<Option<VersionId>> {
    let read = |text: &str| text.parse().map_err(|_| error::argument("versionId", text, "Invalid version id specified"));
    text.map(read).transpose()
}
