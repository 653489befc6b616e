//! Events as AWS writes them ("Event message structure").

use super::{By, Happening, Rule};
use model::time::Timestamp;
use objects::Bucket;
use serde_json::{Map, Value, json};

/// An event.
pub(super) fn event(bucket: &Bucket, rule: &Rule, by: &By, happening: &Happening<'_>, sequencer: u64, now: Timestamp) -> String {
    let mut object = Map::new();
    object.insert("key".into(), encoded(happening.key).into());
    if let Some(size) = happening.size {
        object.insert("size".into(), size.into());
    }
    if let Some(etag) = happening.etag {
        object.insert("eTag".into(), etag.into());
    }
    if let Some(version) = happening.version {
        object.insert("versionId".into(), version.into());
    }
    object.insert("sequencer".into(), format!("{sequencer:018X}").into());
    let mut record = json!({
        "eventVersion": version(happening.name),
        "eventSource": "aws:s3",
        "awsRegion": bucket.region,
        "eventTime": now.iso8601(),
        "eventName": happening.name,
        "userIdentity": { "principalId": by.principal },
        "requestParameters": { "sourceIPAddress": by.address },
        "responseElements": { "x-amz-request-id": by.request, "x-amz-id-2": by.request },
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": rule.id,
            "bucket": {
                "name": bucket.name,
                "ownerIdentity": { "principalId": bucket.owner.as_str() },
                "arn": format!("arn:aws:s3:::{}", bucket.name),
            },
            "object": Value::Object(object),
        },
    });
    if let (Some((until, class)), Some(record)) = (happening.restored, record.as_object_mut()) {
        let restored = json!({ "lifecycleRestorationExpiryTime": until.iso8601(), "lifecycleRestoreStorageClass": class });
        record.insert("glacierEventData".into(), json!({ "restoreEventData": restored }));
    }
    json!({ "Records": [record] }).to_string()
}

/// What tries a destination.
pub(super) fn test(bucket: &Bucket, request: &str, now: Timestamp) -> String {
    json!({
        "Service": "Amazon S3",
        "Event": "s3:TestEvent",
        "Time": now.iso8601(),
        "Bucket": bucket.name,
        "RequestId": request,
        "HostId": request,
    })
    .to_string()
}

/// 2.3 for what came later than 2.1.
fn version(name: &str) -> &'static str {
    let later = ["LifecycleExpiration:", "ObjectTagging:", "ObjectAcl:"];
    if later.iter().any(|family| name.starts_with(family)) { "2.3" } else { "2.1" }
}

/// "The object key name value is URL encoded": as a form's, `red flower.jpg` as `red+flower.jpg`.
fn encoded(key: &str) -> String {
    use std::fmt::Write as _;
    key.bytes().fold(String::with_capacity(key.len()), |mut text, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' | b'/' => text.push(char::from(byte)),
            b' ' => text.push('+'),
            _ => _ = write!(text, "%{byte:02X}"),
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_encoded_as_in_forms() {
        assert_eq!(encoded("a/red flower+ä&.jpg"), "a/red+flower%2B%C3%A4%26.jpg");
    }
}
