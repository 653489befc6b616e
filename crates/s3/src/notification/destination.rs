//! Destinations: which there are, for whom, and what of the operator's list and the buckets' settings doesn't go together.

use crate::configuration::notification_rules;
use crate::service::S3;
use crate::settings::Settings;
use http::Uri;
use model::scope::AccountId;
use objects::Bucket;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Buckets that name others' webhooks and are told of one by one, at each start.
const FOREIGN_TOLD_MAX: usize = 100;

/// Why a destination's address can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadWebhook {
    /// The name is none of a topic, queue or function.
    #[error("{0:?} is no ARN of an SNS topic, SQS queue or Lambda function")]
    Arn(String),
    /// The address is none that can be asked.
    #[error("{0:?} is no address like http://127.0.0.1:8080/path")]
    Address(String),
}

/// Checks an entry of the operator's list.
///
/// # Errors
/// [`BadWebhook`].
pub fn webhook_check(arn: &str, address: &str) -> Result<(), BadWebhook> {
    // Who asks for the settings gets it in a document.
    if destination_owner(arn).is_none() || arn.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(BadWebhook::Arn(arn.to_owned()));
    }
    let uri = address.parse::<Uri>().ok().filter(|uri| uri.scheme_str() == Some("http") && uri.host().is_some());
    uri.map(drop).ok_or_else(|| BadWebhook::Address(address.to_owned()))
}

/// The account in the ARN of a topic, queue or function; nothing if it isn't one's ARN.
pub(crate) fn destination_owner(arn: &str) -> Option<AccountId> {
    let mut parts = ["arn:aws:sns:", "arn:aws:sqs:", "arn:aws:lambda:"].iter().find_map(|start| arn.strip_prefix(start))?.splitn(3, ':');
    let (region, account, name) = (parts.next()?, parts.next()?, parts.next()?);
    if region.is_empty() || name.is_empty() { None } else { account.parse().ok() }
}

/// Says what of the operator's list and the buckets' settings doesn't go together, and gives up what waits for destinations that are no
/// longer there for the bucket.
pub(super) async fn settle(s3: &S3) {
    let settings = s3.settings.clone();
    let snapshot = s3.store.snapshot();
    for arn in settings.webhooks.keys().filter(|arn| !settings.webhooks_for_all.contains(*arn)) {
        if destination_owner(arn).is_none_or(|owner| snapshot.account(&owner).is_none()) {
            tracing::warn!(destination = arn, "no bucket can name this webhook: it isn't in webhooks_for_all, and its account isn't there");
        }
    }
    let foreign = foreign(&settings, &s3.objects.buckets_all());
    for (bucket, destination) in foreign.iter().take(FOREIGN_TOLD_MAX) {
        tracing::warn!(bucket, destination, "a bucket's notifications go to nobody: the webhook that they name is another account's");
    }
    if foreign.len() > FOREIGN_TOLD_MAX {
        tracing::warn!(buckets = foreign.len(), "more notifications name webhooks of other accounts");
    }
    match s3.objects.events_keep(move |owner, arn| settings.has_destination(owner, arn)).await {
        Ok(0) => {}
        Ok(lost) => tracing::warn!(lost, "notifications for destinations that are no longer there are given up"),
        Err(error) => super::delivery::failed(&error),
    }
}

/// The buckets whose owners named somebody else's webhook, and that.
fn foreign(settings: &Settings, buckets: &[Arc<Bucket>]) -> Vec<(String, String)> {
    let named = |bucket: &Arc<Bucket>| {
        // Why they can't be read is in the log.
        let rules = notification_rules(bucket).ok().flatten().unwrap_or_default();
        let foreign = |arn: &&String| settings.webhooks.contains_key(*arn) && !settings.has_destination(&bucket.owner, arn);
        let arns: BTreeSet<String> = rules.iter().map(|rule| &rule.arn).filter(foreign).cloned().collect();
        arns.into_iter().map(|arn| (bucket.name.clone(), arn)).collect::<Vec<_>>()
    };
    buckets.iter().flat_map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_a_destination() {
        assert_eq!(webhook_check("arn:aws:sqs:us-east-1:000000000000:q", "http://[::1]:8080/x?y"), Ok(()));
        for (arn, address) in [
            ("arn:aws:s3:::b", "http://127.0.0.1"),
            ("arn:aws:sns:us-east-1:1:t", "http://127.0.0.1"),
            ("arn:aws:sns:us-east-1:000000000000:", "http://127.0.0.1"),
            ("arn:aws:sns:us-east-1:000000000000:t\n", "http://127.0.0.1"),
            ("arn:aws:sns:us-east-1\u{1}:000000000000:t", "http://127.0.0.1"),
            ("arn:aws:sns:us-east-1:000000000000:a t", "http://127.0.0.1"),
            ("arn:aws:sns:us-east-1:000000000000:t", "https://example.com"),
            ("arn:aws:sns:us-east-1:000000000000:t", "/path"),
            ("arn:aws:sns:us-east-1:000000000000:t", "not an address"),
        ] {
            assert!(webhook_check(arn, address).is_err(), "{arn} {address}");
        }
    }
}
