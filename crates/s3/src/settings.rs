//! What the operator decides.

use crate::notification::destination_owner;
use model::scope::AccountId;
use objects::Ownership;
use std::collections::{BTreeMap, BTreeSet};

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
    /// Destinations that buckets of all accounts may name. Any other is for buckets of the account in its ARN.
    pub webhooks_for_all: BTreeSet<String>,
    /// Whether signatures by keys that were made at their first use are taken unseen (`serve --any-credentials`).
    pub any_credentials: bool,
}

impl Settings {
    /// Whether there is such a destination for the buckets of an account. Nobody learns of the others.
    pub(crate) fn has_destination(&self, account: &AccountId, arn: &str) -> bool {
        self.webhooks.contains_key(arn) && (self.webhooks_for_all.contains(arn) || destination_owner(arn).is_some_and(|o| o == *account))
    }
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
            webhooks_for_all: BTreeSet::new(),
            any_credentials: false,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_destination_is_for_its_account_unless_it_is_for_all() {
        let (own, open) = ("arn:aws:sqs:us-east-1:111111111111:own", "arn:aws:lambda:us-east-1:000000000000:function:open");
        let settings = Settings {
            webhooks: [own, open].map(|arn| (arn.to_owned(), "http://127.0.0.1:9".to_owned())).into(),
            webhooks_for_all: BTreeSet::from([open.to_owned()]),
            ..Settings::default()
        };
        let has = |account: &str, arn: &str| settings.has_destination(&account.parse().unwrap(), arn);
        assert!(has("111111111111", own) && has("111111111111", open) && has("222222222222", open));
        assert!(!has("222222222222", own));
        assert!(!has("111111111111", "arn:aws:sqs:us-east-1:111111111111:none"));
    }
}
