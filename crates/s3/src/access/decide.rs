//! Whether a request is allowed ("How Amazon S3 authorizes a request"): the bucket's policy, its owner, the lists of grants.
//!
//! A denial of the policy wins. A bucket's owner may do everything with what is its own; what another account put into the bucket and
//! owns is that account's, except that the bucket's owner may delete it.

use super::action;
use super::circumstances::{Circumstances, Subject};
use super::denied;
use crate::caller::Caller;
use crate::error::{self, Result};
use crate::service::S3;
use model::policy::{Document, Kind, Principal, Request, Verdict};
use model::scope::AccountId;
use objects::{Acl, Bucket, Grantee, Ownership, Permission, UploadId, Version, VersionId};
use s3s::S3Error;
use std::sync::Arc;

/// What somebody wants to do.
#[derive(Clone, Copy)]
pub(crate) struct Ask<'a> {
    /// A permission of [`action`], always that without a version.
    pub(crate) action: &'static str,
    pub(crate) bucket: &'a Bucket,
    /// The object's key, if it is of an object.
    pub(crate) key: Option<&'a str>,
    /// The version that is named.
    pub(crate) version: Option<&'a str>,
    /// Whether the object is about to be made: what is there in its place is not asked.
    pub(crate) making: bool,
    pub(crate) around: &'a Circumstances,
}

/// What is known of the object.
enum Object {
    /// Nobody needs to know.
    NotAsked,
    There(Arc<Version>),
    /// What reading it answers.
    Gone(S3Error),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    Allowed,
    /// Allowed by a list of grants, and by nothing else.
    Granted,
    /// By name.
    Denied,
    /// Nothing allows it.
    Silent,
}

impl S3 {
    /// Whether the caller may do this.
    ///
    /// # Errors
    /// `AccessDenied`; for an object that isn't there and somebody who may list the bucket what reading it answers.
    pub(crate) async fn allow(&self, caller: &Caller, ask: &Ask<'_>) -> Result<()> {
        let policy = policy(ask.bucket)?;
        let object = self.object(caller, ask, policy.is_some()).await?;
        let (found, gone) = match object {
            Object::NotAsked => (None, None),
            Object::There(version) => (Some(version), None),
            Object::Gone(error) => (None, Some(error)),
        };
        let decision = decide(caller, ask, policy.as_deref(), found.as_deref());
        match decision {
            Decision::Denied => Err(denied::by_policy(caller, ask)),
            // To know that an object isn't there takes the right to list.
            Decision::Allowed | Decision::Granted if gone.is_none() || may_list(caller, ask, policy.as_deref()) => {
                if decision == Decision::Granted {
                    ask.around.granted();
                }
                Ok(())
            }
            Decision::Silent if gone.is_some() && may_list(caller, ask, policy.as_deref()) => Err(gone.unwrap_or_else(error::denied)),
            Decision::Silent if self.began(caller, ask).await => Ok(()),
            Decision::Allowed | Decision::Granted | Decision::Silent => Err(error::denied()),
        }
    }

    /// Looks at the object if the decision depends on it.
    async fn object(&self, caller: &Caller, ask: &Ask<'_>, any_policy: bool) -> Result<Object> {
        let Some(key) = ask.key else { return Ok(Object::NotAsked) };
        let owner = owns(caller, ask.bucket);
        let grants = grants_count(ask.bucket);
        let needed = if action::deletes(ask.action) { !owner && grants } else { !owner || grants || any_policy };
        if !needed || ask.making || !(action::on_existing(ask.action) || action::deletes(ask.action)) {
            return Ok(Object::NotAsked);
        }
        let version: Option<VersionId> = match ask.version.map(str::parse) {
            None => None,
            Some(Ok(version)) => Some(version),
            Some(Err(_)) => {
                return Ok(Object::Gone(error::argument("versionId", ask.version.unwrap_or_default(), "Invalid version id specified")));
            }
        };
        match self.objects.get(&ask.bucket.name, key, version.as_ref()).await {
            Ok(version) => Ok(Object::There(version)),
            // Deleting nothing is no error, so that nobody is told.
            Err(objects::Error::NoSuchKey | objects::Error::NoSuchVersion | objects::Error::DeleteMarker { .. })
                if action::deletes(ask.action) =>
            {
                Ok(Object::NotAsked)
            }
            Err(gone @ (objects::Error::NoSuchKey | objects::Error::NoSuchVersion | objects::Error::DeleteMarker { .. })) => {
                Ok(Object::Gone(error::of_key(gone, key)))
            }
            Err(error) => Err(error::engine(error)),
        }
    }

    /// Whether it is about an upload that the caller began and may write.
    async fn began(&self, caller: &Caller, ask: &Ask<'_>) -> bool {
        let (Some(account), Some(key), Some(id)) = (caller.account(), ask.key, ask.around.query("uploadId")) else { return false };
        if !action::on_upload(ask.action) {
            return false;
        }
        let upload = self.objects.upload(&ask.bucket.name, key, &UploadId::from(id)).await;
        upload.is_ok_and(|upload| upload.initiator == *account)
    }
}

/// The policy of a bucket.
fn policy(bucket: &Bucket) -> Result<Option<Arc<Document>>> {
    let Some(text) = &bucket.policy else { return Ok(None) };
    let read = || Document::parse(text, &Kind::Bucket { bucket: bucket.name.clone() });
    // It was whole when it was put.
    let failed = |e| error::internal(&anyhow::Error::from(e).context(format!("the policy of {} can't be read", bucket.name)));
    bucket.readings.get("policy", read).map(Some).map_err(failed)
}

fn owns(caller: &Caller, bucket: &Bucket) -> bool {
    caller.account() == Some(&bucket.owner)
}

/// Who delivers access logs.
const LOGS: &str = "logging.s3.amazonaws.com";

/// Whether S3 may deliver a bucket's access logs to another ("Permissions for log delivery"): by the target's policy, which is asked
/// for a service, or its list of grants.
///
/// # Errors
/// `InternalError` for a policy that can't be read.
pub(crate) fn logs_allowed(source: &Bucket, target: &Bucket, key: &str) -> Result<bool> {
    let values = |key: &str| match key {
        "aws:sourcearn" => Some(vec![format!("arn:aws:s3:::{}", source.name)]),
        "aws:sourceaccount" => Some(vec![source.owner.as_str().to_owned()]),
        _ => None,
    };
    let request = Request {
        principal: Principal::Service(LOGS),
        action: "s3:PutObject",
        resource: &format!("arn:aws:s3:::{}/{key}", target.name),
        context: &values,
    };
    Ok(match policy(target)?.map(|policy| policy.evaluate(&request)) {
        Some(Verdict::Allow { .. }) => true,
        Some(Verdict::Deny { .. }) => false,
        Some(Verdict::Silent) | None => logs_granted(target),
    })
}

/// Whether access logs may ever be delivered to a bucket: its policy names who delivers them, in whatever conditions, or its list of
/// grants does.
///
/// # Errors
/// As [`logs_allowed`].
pub(crate) fn logs_expected(target: &Bucket) -> Result<bool> {
    let names = |policy: Arc<Document>| policy.grantees().any(|grantee| *grantee == model::policy::Grantee::Service(LOGS.into()));
    Ok(policy(target)?.is_some_and(names) || logs_granted(target))
}

fn logs_granted(target: &Bucket) -> bool {
    let delivers = |permission| target.acl.grants.iter().any(|g| g.grantee == Grantee::LogDelivery && g.permission == permission);
    let all = delivers(Permission::FullControl);
    grants_count(target) && (all || delivers(Permission::Write) && delivers(Permission::ReadAcp))
}

/// Whether lists of grants count.
pub(crate) fn grants_count(bucket: &Bucket) -> bool {
    bucket.ownership != Some(Ownership::BucketOwnerEnforced)
}

/// Whose an object is.
pub(crate) fn owner_of<'a>(bucket: &'a Bucket, version: &'a Version) -> &'a AccountId {
    if grants_count(bucket) { &version.record.owner } else { &bucket.owner }
}

fn may_list(caller: &Caller, ask: &Ask<'_>, policy: Option<&Document>) -> bool {
    let listing = Ask { action: action::LIST_BUCKET, key: None, version: None, ..*ask };
    matches!(decide_with(caller, &listing, policy, None, ask.key), Decision::Allowed | Decision::Granted)
}

fn decide(caller: &Caller, ask: &Ask<'_>, policy: Option<&Document>, object: Option<&Version>) -> Decision {
    decide_with(caller, ask, policy, object, None)
}

fn decide_with(caller: &Caller, ask: &Ask<'_>, policy: Option<&Document>, object: Option<&Version>, prefix: Option<&str>) -> Decision {
    let bucket = ask.bucket;
    let action = if ask.version.is_some() { action::of_version(ask.action) } else { ask.action };
    let subject = Subject { caller, bucket, version: ask.version, object, prefix };
    let verdict = policy.map_or(Verdict::Silent, |policy| verdict(policy, ask, action, &subject));
    let owner = owns(caller, bucket);
    if matches!(verdict, Verdict::Deny { .. }) && !(owner && action::OF_THE_OWNER.contains(&action)) {
        return Decision::Denied;
    }
    let foreign = object.is_some_and(|object| *owner_of(bucket, object) != bucket.owner);
    if !foreign || action::deletes(action) {
        let restricted = bucket.public_access_block.is_some_and(|block| block.restrict_public_buckets);
        let policy_counts = || !restricted || policy.is_none_or(|policy| !policy.is_public());
        if owner || matches!(verdict, Verdict::Allow { .. }) && policy_counts() {
            return Decision::Allowed;
        }
    }
    // Who may write an object owns it then, and says who else may use it.
    let action = if ask.making && action == action::PUT_OBJECT_ACL { action::PUT_OBJECT } else { action };
    if granted(caller, bucket, action, object) { Decision::Granted } else { Decision::Silent }
}

fn verdict(policy: &Document, ask: &Ask<'_>, action: &str, subject: &Subject<'_>) -> Verdict {
    let resource = match ask.key {
        None => format!("arn:aws:s3:::{}", ask.bucket.name),
        Some(key) => format!("arn:aws:s3:::{}/{key}", ask.bucket.name),
    };
    let principal = subject.caller.account().map_or(Principal::Anonymous, Principal::Account);
    let context = |key: &str| ask.around.values(key, subject);
    policy.evaluate(&Request { principal, action, resource: &resource, context: &context })
}

/// Whether a list of grants allows it.
fn granted(caller: &Caller, bucket: &Bucket, action: &str, object: Option<&Version>) -> bool {
    if !grants_count(bucket) {
        return false;
    }
    let ignore_public = bucket.public_access_block.is_some_and(|block| block.ignore_public_acls);
    let gives = |acl: &Acl, permission| {
        acl.grants.iter().any(|grant| {
            let permits = grant.permission == Permission::FullControl || grant.permission == permission;
            permits && names(&grant.grantee, caller, ignore_public)
        })
    };
    let owns_object = |object: &Version| caller.account() == Some(&object.record.owner);
    let of_object = action::object_grant(action).zip(object).is_some_and(|(permission, object)| {
        let own = owns_object(object);
        match &object.record.acl {
            // An owner can always read and write the list: else nobody could mend it.
            _ if own && permission != Permission::Read => true,
            Some(acl) => gives(acl, permission),
            None => own,
        }
    });
    let of_bucket = action::bucket_grant(action).is_some_and(|permission| {
        // "For the bucket and object owners of existing objects, also allows deletions": WRITE is for new objects.
        gives(&bucket.acl, permission) && (!action::deletes(action) || object.is_some_and(owns_object))
    });
    of_object || of_bucket
}

fn names(grantee: &Grantee, caller: &Caller, ignore_public: bool) -> bool {
    match grantee {
        Grantee::Account(account) => caller.account() == Some(account),
        Grantee::AllUsers => !ignore_public,
        Grantee::AuthenticatedUsers => !ignore_public && caller.account().is_some(),
        Grantee::LogDelivery => false,
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
