//! Where a version's bytes are.

/// Nothing yet.
#[derive(Debug, Clone, Default)]
pub(crate) struct Body;
