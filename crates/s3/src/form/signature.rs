//! Whose a form is: the signature of its policy, and whether the policy lets it be ("Authenticating requests in browser-based uploads
//! using POST"). A form may be as old as its policy lets it.

use super::Form;
use crate::error::{self, Result};
use crate::intake::BODY_BYTES_MAX;
use crate::service::S3;
use crate::{signature, time};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use model::scope::AccountId;
use s3s::post_policy::{PostPolicy, PostPolicyCondition};
use s3s::{S3Error, s3_error};
use std::ops::RangeInclusive;

/// The only way to sign.
const ALGORITHM: &str = "AWS4-HMAC-SHA256";

impl Form {
    /// Whose it is and how long its file may be: nobody's without a policy.
    ///
    /// # Errors
    /// `InvalidRequest` for a signature of the older way, `InvalidArgument` for what is missing, `InvalidAccessKeyId`,
    /// `SignatureDoesNotMatch`, `AccessDenied` for what the policy doesn't let be, `InvalidPolicyDocument`.
    pub(super) fn account(&self, s3: &S3, bucket: &str) -> Result<Option<(AccountId, RangeInclusive<u64>)>> {
        let signature = self.field("x-amz-signature");
        if signature.is_none() && (self.field("signature").is_some() || self.field("awsaccesskeyid").is_some()) {
            let text = "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.";
            return Err(s3_error!(InvalidRequest, "{text}"));
        }
        if self.field("x-amz-security-token").is_some() && !s3.settings.any_credentials {
            return Err(s3_error!(InvalidToken, "The provided token is malformed or otherwise invalid."));
        }
        let policy = match (self.field("policy"), signature) {
            (None, None) => return Ok(None),
            (Some(policy), _) => policy,
            (None, Some(_)) => return Err(missing("Policy")),
        };
        let signature = signature.ok_or_else(|| missing("X-Amz-Signature"))?;
        let algorithm = self.field("x-amz-algorithm").ok_or_else(|| missing("X-Amz-Algorithm"))?;
        let credential = self.field("x-amz-credential").ok_or_else(|| missing("X-Amz-Credential"))?;
        let date = self.field("x-amz-date").ok_or_else(|| missing("X-Amz-Date"))?;
        if algorithm != ALGORITHM {
            return Err(s3_error!(InvalidArgument, "X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\""));
        }
        let scope: Vec<&str> = credential.split('/').collect();
        let [id, day, region, "s3", "aws4_request"] = scope[..] else {
            return Err(s3_error!(
                InvalidArgument,
                "the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\"."
            ));
        };
        if date.get(..8) != Some(day) {
            return Err(s3_error!(InvalidArgument, "Invalid credential date. This date is not the same as X-Amz-Date."));
        }
        let snapshot = s3.store.snapshot();
        let unknown = || s3_error!(InvalidAccessKeyId, "The AWS Access Key Id you provided does not exist in our records.");
        let key = snapshot.access_key(id).ok_or_else(unknown)?;
        let any = s3.settings.any_credentials && key.any_secret;
        if !any && !signature::verify(&key.secret, &[day, region, "s3", "aws4_request"], policy, signature)? {
            return Err(mismatch(id, policy, signature));
        }
        let lengths = self.obeys(s3, policy, bucket)?;
        Ok(Some((key.account.clone(), lengths)))
    }

    /// Whether the policy lets the form be, and files of which lengths.
    fn obeys(&self, s3: &S3, policy: &str, bucket: &str) -> Result<RangeInclusive<u64>> {
        let invalid = |_| s3_error!(InvalidPolicyDocument, "Invalid Policy: Invalid JSON.");
        expires(policy)?;
        let policy = PostPolicy::from_base64(policy).map_err(invalid)?;
        if s3.now() >= time::read(&policy.expiration) {
            return Err(s3_error!(AccessDenied, "Invalid according to Policy: Policy expired."));
        }
        let value = |field: &str| if field == "bucket" { bucket } else { self.field(field).unwrap_or_default() };
        let names = |name: &str| {
            policy.conditions.iter().any(|condition| match condition {
                PostPolicyCondition::Eq { field, .. } | PostPolicyCondition::StartsWith { field, .. } => field == name,
                PostPolicyCondition::ContentLengthRange { .. } => false,
            })
        };
        let free = |name: &str| matches!(name, "policy" | "x-amz-signature") || name.starts_with("x-ignore-");
        if let Some((name, _)) = self.fields.iter().find(|(name, _)| !free(name) && !names(name)) {
            return Err(s3_error!(AccessDenied, "Invalid according to Policy: Extra input fields: {name}"));
        }
        let mut lengths = 0..=BODY_BYTES_MAX;
        for condition in &policy.conditions {
            let (holds, operator, field, expected) = match condition {
                PostPolicyCondition::Eq { field, value: expected } => (value(field) == expected, "eq", field, expected),
                PostPolicyCondition::StartsWith { field, prefix } => {
                    (value(field).starts_with(prefix.as_str()), "starts-with", field, prefix)
                }
                PostPolicyCondition::ContentLengthRange { min, max } => {
                    lengths = (*min).max(*lengths.start())..=(*max).min(*lengths.end());
                    continue;
                }
            };
            if !holds {
                let text = format!("Invalid according to Policy: Policy Condition failed: [\"{operator}\", \"${field}\", \"{expected}\"]");
                return Err(s3_error!(AccessDenied, "{text}"));
            }
        }
        Ok(lengths)
    }

    /// The region that it is signed for.
    pub(super) fn region(&self) -> Option<&str> {
        self.field("x-amz-credential")?.split('/').nth(2)
    }
}

/// Whether a policy says when it expires in the one form that S3 takes, "2007-12-01T12:00:00.000Z": s3s takes others.
fn expires(policy: &str) -> Result<()> {
    let document = BASE64.decode(policy).ok().and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok());
    // What isn't there, or no document, is refused by who reads it.
    let Some(expiration) = document.as_ref().and_then(|policy| policy.get("expiration")?.as_str()) else { return Ok(()) };
    let shape: String = expiration.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let fraction = shape.strip_prefix("0000-00-00T00:00:00").and_then(|rest| rest.strip_suffix('Z'));
    match fraction {
        Some("" | ".0" | ".00" | ".000") => Ok(()),
        _ => Err(s3_error!(InvalidPolicyDocument, "Invalid Policy: Invalid 'expiration' value: '{expiration}'")),
    }
}

fn missing(field: &str) -> S3Error {
    s3_error!(
        InvalidArgument,
        "Bucket POST must contain a field named '{field}'.  If it is specified, please check the order of the fields."
    )
}

/// What a form with a wrong signature is refused with.
fn mismatch(key: &str, policy: &str, signature: &str) -> S3Error {
    let text = "The request signature we calculated does not match the signature you provided. Check your key and signing method.";
    error::with_all(s3_error!(SignatureDoesNotMatch, "{text}"), &signature::details(key, policy, signature, None))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn policies_expire_in_one_form() {
        let read = |expiration: &str| expires(&BASE64.encode(format!("{{\"expiration\": \"{expiration}\"}}")));
        for right in ["2026-11-24T16:12:57Z", "2026-11-24T16:12:57.123Z"] {
            assert!(read(right).is_ok(), "{right}");
        }
        for wrong in ["2026-11-24 16:12:57.123456+00:00", "2026-11-24T16:12:57+00:00", "2026-11-24", "tomorrow", ""] {
            assert_eq!(read(wrong).unwrap_err().code().as_str(), "InvalidPolicyDocument", "{wrong}");
        }
    }
}
