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

/// Whether a character may be in a tag. EC2 takes any in tags ("Tag restrictions"); control characters, of which no XML reply can carry
/// most, are no text.
#[must_use]
pub fn character_ok(c: char) -> bool {
    !c.is_control() || matches!(c, '\t' | '\n' | '\r')
}

/// Whether a tag of this key can be shown by the metadata service (`InstanceMetadataTags`). With it enabled, an instance can't have a tag
/// of another key ("View tags for your EC2 instances using instance metadata").
#[must_use]
pub fn metadata_key_ok(key: &str) -> bool {
    !matches!(key, "." | ".." | "_index") && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_+=,.@:".contains(&b))
}

/// What AWS says (`InvalidParameterValue`) of a key that [`metadata_key_ok`] refuses.
#[must_use]
pub fn metadata_key_refusal(key: &str) -> String {
    format!(
        "'{key}' is not a valid tag key. Tag keys must match pattern ([0-9a-zA-Z\\-_+=,.@:]{{1,255}}), and must not be a reserved name \
         ('.', '..', '_index')"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_no_text() {
        assert!("a ä\t\n\r;日".chars().all(character_ok));
        for c in ['\0', '\u{1}', '\u{1b}', '\u{7f}', '\u{85}'] {
            assert!(!character_ok(c), "{c:?}");
        }
    }

    #[test]
    fn keys_that_make_a_path() {
        for key in ["Name", "a:b", "x.y", "a_b-c+d=e,f@g", "_index2", "..."] {
            assert!(metadata_key_ok(key), "{key}");
        }
        for key in ["a b", "a/b", ".", "..", "_index", "ä"] {
            assert!(!metadata_key_ok(key), "{key}");
        }
    }
}
