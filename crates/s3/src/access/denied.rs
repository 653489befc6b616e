//! Why something is denied, in AWS's words ("Troubleshoot access denied (403 Forbidden) errors in Amazon S3").

use super::action;
use super::decide::Ask;
use crate::caller::Caller;
use crate::error;
use objects::Bucket;
use s3s::{S3Error, s3_error};

/// Its policy says so by name.
pub(super) const BY_POLICY: &str = "with an explicit deny in a resource-based policy";
/// A policy that lets the public in can't be put.
pub(super) const PUBLIC_POLICY: &str = "because public policies are prevented by the BlockPublicPolicy setting in S3 Block Public Access.";
/// A list of grants that lets the public in can't be put.
pub(super) const PUBLIC_ACL: &str = "because public ACLs are prevented by the BlockPublicAcls setting in S3 Block Public Access.";

/// The refusal of a permission on a bucket, or on an object in it. Only the bucket's own account is told why.
pub(super) fn because(caller: &Caller, bucket: &Bucket, permission: &str, key: Option<&str>, why: &str) -> S3Error {
    match caller {
        Caller::Account(account) if *account == bucket.owner => {
            let name = &bucket.name;
            let resource = key.map_or_else(|| name.clone(), |key| format!("{name}/{key}"));
            let who = format!("arn:aws:iam::{account}:root");
            s3_error!(AccessDenied, "User: {who} is not authorized to perform: {permission} on resource: \"arn:aws:s3:::{resource}\" {why}")
        }
        Caller::Account(_) | Caller::Anonymous => error::denied(),
    }
}

/// The refusal of what somebody asked for, by the bucket's policy.
pub(super) fn by_policy(caller: &Caller, ask: &Ask<'_>) -> S3Error {
    let permission = if ask.version.is_some() { action::of_version(ask.action) } else { ask.action };
    because(caller, ask.bucket, permission, ask.key, BY_POLICY)
}
