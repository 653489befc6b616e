//! Tags: what owners write on their resources.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most tags on one resource ("Tag your Amazon EC2 resources").
pub const TAGS_MAX: usize = 50;
/// Longest key, in Unicode characters.
pub const KEY_CHARS_MAX: usize = 128;
/// Longest value, in Unicode characters.
pub const VALUE_CHARS_MAX: usize = 256;

/// A resource's tags, by key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tags(pub BTreeMap<String, String>);
