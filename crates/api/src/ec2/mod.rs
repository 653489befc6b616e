//! EC2, one file (or folder) a noun.

mod common;
mod instance;

use crate::action::Entry;

/// The actions of each noun.
pub(crate) const ACTIONS: &[&[Entry]] = &[instance::ACTIONS];
