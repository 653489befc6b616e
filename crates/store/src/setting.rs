//! Small facts of the whole cloud, such as the host's boot id that was seen last.

use serde::{Deserialize, Serialize};

/// One named text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Its name, such as `host_boot_id`.
    pub name: String,
    /// Its text.
    pub value: String,
}
