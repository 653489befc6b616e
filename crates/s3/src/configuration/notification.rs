//! Whom to tell what happens to objects ("Enabling and configuring event notifications"): kept here, followed in `crate::notification`.

use super::{document, document_put, reading};
use crate::error::{Result, custom, malformed_xml};
use crate::front::RequestId;
use crate::notification::{EVENTS, Rule, is_asked};
use crate::service::S3;
use base64::Engine as _;
use objects::Bucket;
use s3s::dto::*;
use s3s::{S3Request, S3Response, s3_error};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

/// The document's name.
pub(crate) const NOTIFICATION: &str = "notification";
/// Most destinations of a bucket ("Amazon S3 Event Notifications": quotas).
const RULES_MAX: usize = 100;
/// Longest prefix or suffix, in characters.
const FILTER_CHARS_MAX: usize = 1024;
/// Longest id, in characters.
const ID_CHARS_MAX: usize = 255;

/// Whom a bucket's owner wants told what; `None` for nobody.
pub(crate) fn rules(bucket: &Bucket) -> Result<Option<Arc<Vec<Rule>>>> {
    reading(bucket, NOTIFICATION, |found| read(&found))
}

/// GetBucketNotificationConfiguration.
pub(crate) async fn notification_get(
    s3: &S3,
    request: S3Request<GetBucketNotificationConfigurationInput>,
) -> Result<S3Response<GetBucketNotificationConfigurationOutput>> {
    let found: Option<NotificationConfiguration> = document(&*s3.bucket(&request.input.bucket)?, NOTIFICATION)?;
    let NotificationConfiguration {
        event_bridge_configuration,
        lambda_function_configurations,
        queue_configurations,
        topic_configurations,
    } = found.unwrap_or_default();
    Ok(S3Response::new(GetBucketNotificationConfigurationOutput {
        event_bridge_configuration,
        lambda_function_configurations,
        queue_configurations,
        topic_configurations,
    }))
}

/// PutBucketNotificationConfiguration. Each destination hears of it.
pub(crate) async fn notification_put(
    s3: &S3,
    request: S3Request<PutBucketNotificationConfigurationInput>,
) -> Result<S3Response<PutBucketNotificationConfigurationOutput>> {
    let request_id = request.extensions.get::<RequestId>().map_or_else(String::new, |id| id.0.clone());
    let input = request.input;
    let mut wanted = input.notification_configuration;
    if wanted.event_bridge_configuration.is_some() {
        return Err(custom("NotImplemented", 501, "Notifications to EventBridge are not implemented"));
    }
    for (number, id) in ids(&mut wanted).into_iter().enumerate() {
        if id.as_deref().is_none_or(str::is_empty) {
            let digest = Sha256::digest(format!("{} {number} {}", input.bucket, s3.now().0));
            *id = Some(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(digest));
        }
    }
    let rules = read(&wanted)?;
    check(&rules)?;
    let bucket = s3.bucket(&input.bucket)?;
    let unknown = |rule: &Rule| !s3.settings.has_destination(&bucket.owner, &rule.arn);
    if !input.skip_destination_validation.unwrap_or_default() && rules.iter().any(unknown) {
        return Err(s3_error!(InvalidArgument, "Unable to validate the following destination configurations"));
    }
    if rules.is_empty() {
        super::document_delete(s3, &input.bucket, NOTIFICATION).await?;
    } else {
        document_put(s3, &input.bucket, NOTIFICATION, &wanted).await?;
    }
    s3.tell_test(&bucket, &rules, &request_id).await?;
    Ok(S3Response::new(PutBucketNotificationConfigurationOutput {}))
}

fn ids(config: &mut NotificationConfiguration) -> Vec<&mut Option<String>> {
    let topics = config.topic_configurations.iter_mut().flatten().map(|c| &mut c.id);
    let queues = config.queue_configurations.iter_mut().flatten().map(|c| &mut c.id);
    let functions = config.lambda_function_configurations.iter_mut().flatten().map(|c| &mut c.id);
    topics.chain(queues).chain(functions).collect()
}

fn read(config: &NotificationConfiguration) -> Result<Vec<Rule>> {
    let topics = config.topic_configurations.iter().flatten().map(|c| (&c.id, &c.topic_arn, &c.events, &c.filter, "sns"));
    let queues = config.queue_configurations.iter().flatten().map(|c| (&c.id, &c.queue_arn, &c.events, &c.filter, "sqs"));
    let functions =
        config.lambda_function_configurations.iter().flatten().map(|c| (&c.id, &c.lambda_function_arn, &c.events, &c.filter, "lambda"));
    let all = topics.chain(queues).chain(functions);
    let read =
        |(id, arn, events, filter, service): (&Option<String>, &String, &EventList, &Option<NotificationConfigurationFilter>, &str)| {
            if !arn.starts_with(&format!("arn:aws:{service}:")) {
                return Err(s3_error!(InvalidArgument, "The ARN could not be parsed"));
            }
            let (prefix, suffix) = key_filter(filter.as_ref())?;
            let events = events.iter().map(|event| event.as_ref().to_owned()).collect();
            Ok(Rule { id: id.clone().unwrap_or_default(), arn: arn.clone(), events, prefix, suffix })
        };
    all.map(read).collect()
}

/// What keys begin and end with.
fn key_filter(filter: Option<&NotificationConfigurationFilter>) -> Result<(String, String)> {
    let (mut prefix, mut suffix) = (None, None);
    for rule in filter.and_then(|f| f.key.as_ref()).and_then(|k| k.filter_rules.as_ref()).into_iter().flatten() {
        let name = rule.name.as_ref().map(FilterRuleName::as_str).unwrap_or_default();
        let place = match name.to_ascii_lowercase().as_str() {
            "prefix" => &mut prefix,
            "suffix" => &mut suffix,
            _ => return Err(s3_error!(InvalidArgument, "filter rule name must be either prefix or suffix")),
        };
        let value = rule.value.clone().unwrap_or_default();
        if value.chars().count() > FILTER_CHARS_MAX {
            return Err(s3_error!(InvalidArgument, "Size of filter rule value cannot exceed 1024 bytes in UTF-8 representation"));
        }
        if place.replace(value).is_some() {
            return Err(s3_error!(InvalidArgument, "Cannot specify more than one {} rule in a filter.", name.to_ascii_lowercase()));
        }
    }
    Ok((prefix.unwrap_or_default(), suffix.unwrap_or_default()))
}

/// Refuses what can't be followed, and two rules that would both be told of one event.
fn check(rules: &[Rule]) -> Result<()> {
    if rules.len() > RULES_MAX {
        return Err(s3_error!(InvalidArgument, "The number of notification configurations cannot exceed {RULES_MAX}"));
    }
    for rule in rules {
        if rule.events.is_empty() {
            return Err(malformed_xml());
        }
        if rule.id.chars().count() > ID_CHARS_MAX {
            return Err(s3_error!(InvalidArgument, "Size of notification configuration ID cannot exceed {ID_CHARS_MAX} characters"));
        }
        if rule.events.iter().any(|asked| !EVENTS.iter().any(|name| is_asked(asked, name))) {
            return Err(s3_error!(InvalidArgument, "A specified event is not supported for notifications."));
        }
    }
    for (at, one) in rules.iter().enumerate() {
        for other in &rules[..at] {
            if one.id == other.id {
                return Err(s3_error!(InvalidArgument, "Same ID used for multiple configurations. IDs must be unique"));
            }
            let common = EVENTS.iter().any(|name| {
                let asks = |rule: &Rule| rule.events.iter().any(|asked| is_asked(asked, name));
                asks(one) && asks(other)
            });
            let begin = one.prefix.starts_with(&other.prefix) || other.prefix.starts_with(&one.prefix);
            let end = one.suffix.ends_with(&other.suffix) || other.suffix.ends_with(&one.suffix);
            if common && begin && end {
                let text = "Configuration is ambiguously defined. Cannot have overlapping suffixes in two rules if the prefixes are \
                            overlapping for the same event type.";
                return Err(s3_error!(InvalidArgument, "{text}"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(id: &str, event: &str, prefix: &str, suffix: &str) -> Rule {
        Rule { id: id.into(), arn: "arn:aws:sqs:r:1:q".into(), events: vec![event.into()], prefix: prefix.into(), suffix: suffix.into() }
    }

    /// "Configuring event notifications using object key name filtering", its examples.
    #[test]
    fn which_rules_go_together() {
        let made = "s3:ObjectCreated:*";
        for (rules, good) in [
            (vec![rule("1", made, "images/", ""), rule("2", made, "logs/", "")], true),
            (vec![rule("1", made, "", ".jpg"), rule("2", made, "", ".png")], true),
            (vec![rule("1", made, "images", ".jpg"), rule("2", made, "images", ".png")], true),
            (vec![rule("1", made, "images/", ""), rule("2", "s3:ObjectRemoved:*", "images/", "")], true),
            (vec![rule("1", made, "images", ""), rule("2", made, "images/pub", "")], false),
            (vec![rule("1", made, "", "jpg"), rule("2", "s3:ObjectCreated:Put", "", "pg")], false),
            (vec![rule("1", made, "", ""), rule("2", made, "a", "b")], false),
            (vec![rule("1", made, "a", ""), rule("1", made, "b", "")], false),
            (vec![rule("1", "s3:ObjectCreated", "", "")], false),
            (vec![rule("1", "s3:TestEvent", "", "")], false),
            (vec![rule("1", "s3:*", "", "")], false),
        ] {
            assert_eq!(check(&rules).is_ok(), good, "{rules:?}");
        }
    }
}
