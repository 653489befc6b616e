//! STS.

mod caller_identity;

use crate::action::Entry;

/// The actions of each noun.
pub(crate) const ACTIONS: &[&[Entry]] = &[caller_identity::ACTIONS];
