//! What the operator decides.

use objects::Ownership;
use std::collections::BTreeMap;

/// How S3 is set up.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Domains under which `bucket.domain` and `bucket.s3.domain` name a bucket.
    pub domains: Vec<String>,
    /// Who owns what is written into a new bucket. Amazon's is [`Ownership::BucketOwnerEnforced`], since April 2023.
    pub ownership: Ownership,
    /// Whether new buckets refuse everything public, as Amazon's do since April 2023.
    pub block_public_access: bool,
    /// For tests: how many seconds a day of a lifecycle rule has, without waiting for midnight. `None`: real days.
    pub lifecycle_debug_day_seconds: Option<u32>,
    /// How long lines of access logs are gathered before they are delivered, in seconds.
    pub log_delivery_seconds: u32,
    /// Where notifications go: destinations' ARNs, and addresses that [`crate::webhook_check`] let pass.
    pub webhooks: BTreeMap<String, String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            domains: vec!["localhost".into()],
            ownership: Ownership::BucketOwnerEnforced,
            block_public_access: true,
            lifecycle_debug_day_seconds: None,
            log_delivery_seconds: 300,
            webhooks: BTreeMap::new(),
        }
    }
}
