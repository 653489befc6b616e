//! Which actions and condition keys S3 has, and which go together ("Actions, resources, and condition keys for Amazon S3", Service
//! Authorization Reference). S3 refuses a bucket policy with a statement that could never apply.

use super::MalformedPolicy;
use super::pattern::{Case, Pattern, Syntax};

/// Actions on objects.
const OBJECT_ACTIONS: &str = "AbortMultipartUpload BypassGovernanceRetention DeleteObject DeleteObjectTagging DeleteObjectVersion DeleteObjectVersionTagging \
    GetObject GetObjectAcl GetObjectAttributes GetObjectLegalHold GetObjectRetention GetObjectTagging GetObjectTorrent \
    GetObjectVersion GetObjectVersionAcl GetObjectVersionAttributes GetObjectVersionForReplication GetObjectVersionTagging \
    GetObjectVersionTorrent InitiateReplication ListMultipartUploadParts ObjectOwnerOverrideToBucketOwner PutObject PutObjectAcl \
    PutObjectLegalHold PutObjectRetention PutObjectTagging PutObjectVersionAcl PutObjectVersionTagging ReplicateDelete \
    ReplicateObject ReplicateTags RestoreObject UpdateObjectEncryption";
/// Actions on buckets.
const BUCKET_ACTIONS: &str = "CreateBucket CreateBucketMetadataTableConfiguration DeleteBucket DeleteBucketMetadataTableConfiguration DeleteBucketPolicy \
    DeleteBucketWebsite GetAccelerateConfiguration GetAnalyticsConfiguration GetBucketAbac GetBucketAcl GetBucketCORS \
    GetBucketLocation GetBucketLogging GetBucketMetadataTableConfiguration GetBucketNotification GetBucketObjectLockConfiguration \
    GetBucketOwnershipControls GetBucketPolicy GetBucketPolicyStatus GetBucketPublicAccessBlock GetBucketRequestPayment \
    GetBucketTagging GetBucketVersioning GetBucketWebsite GetEncryptionConfiguration GetIntelligentTieringConfiguration \
    GetInventoryConfiguration GetLifecycleConfiguration GetMetricsConfiguration GetReplicationConfiguration ListBucket \
    ListBucketMultipartUploads ListBucketVersions ListTagsForResource PauseReplication PutAccelerateConfiguration \
    PutAnalyticsConfiguration PutBucketAbac PutBucketAcl PutBucketCORS PutBucketLogging PutBucketNotification \
    PutBucketObjectLockConfiguration PutBucketOwnershipControls PutBucketPolicy PutBucketPublicAccessBlock PutBucketRequestPayment \
    PutBucketTagging PutBucketVersioning PutBucketWebsite PutEncryptionConfiguration PutIntelligentTieringConfiguration \
    PutInventoryConfiguration PutLifecycleConfiguration PutMetricsConfiguration PutReplicationConfiguration TagResource \
    UntagResource UpdateBucketMetadataInventoryTableConfiguration UpdateBucketMetadataJournalTableConfiguration";
/// Actions on neither: a bucket policy can name them, and is told that they don't apply.
const OTHER_ACTIONS: &str = "AssociateAccessGrantsIdentityCenter CreateAccessGrant CreateAccessGrantsInstance CreateAccessGrantsLocation CreateAccessPoint \
    CreateAccessPointForObjectLambda CreateJob CreateMultiRegionAccessPoint CreateStorageLensGroup DeleteAccessGrant \
    DeleteAccessGrantsInstance DeleteAccessGrantsInstanceResourcePolicy DeleteAccessGrantsLocation DeleteAccessPoint \
    DeleteAccessPointForObjectLambda DeleteAccessPointPolicy DeleteAccessPointPolicyForObjectLambda DeleteJobTagging \
    DeleteMultiRegionAccessPoint DeleteStorageLensConfiguration DeleteStorageLensConfigurationTagging DeleteStorageLensGroup \
    DescribeJob DescribeMultiRegionAccessPointOperation DissociateAccessGrantsIdentityCenter GetAccessGrant GetAccessGrantsInstance \
    GetAccessGrantsInstanceForPrefix GetAccessGrantsInstanceResourcePolicy GetAccessGrantsLocation GetAccessPoint \
    GetAccessPointConfigurationForObjectLambda GetAccessPointForObjectLambda GetAccessPointPolicy \
    GetAccessPointPolicyForObjectLambda GetAccessPointPolicyStatus GetAccessPointPolicyStatusForObjectLambda \
    GetAccountPublicAccessBlock GetDataAccess GetJobTagging GetMultiRegionAccessPoint GetMultiRegionAccessPointPolicy \
    GetMultiRegionAccessPointPolicyStatus GetMultiRegionAccessPointRoutes GetStorageLensConfiguration \
    GetStorageLensConfigurationTagging GetStorageLensDashboard GetStorageLensGroup ListAccessGrants ListAccessGrantsInstances \
    ListAccessGrantsLocations ListAccessPoints ListAccessPointsForObjectLambda ListAllMyBuckets ListCallerAccessGrants ListJobs \
    ListMultiRegionAccessPoints ListStorageLensConfigurations ListStorageLensGroups PutAccessGrantsInstanceResourcePolicy \
    PutAccessPointConfigurationForObjectLambda PutAccessPointPolicy PutAccessPointPolicyForObjectLambda \
    PutAccessPointPublicAccessBlock PutAccountPublicAccessBlock PutJobTagging PutMultiRegionAccessPointPolicy \
    PutStorageLensConfiguration PutStorageLensConfigurationTagging SubmitMultiRegionAccessPointRoutes UpdateAccessGrantsLocation \
    UpdateJobPriority UpdateJobStatus UpdateStorageLensGroup";

/// Condition keys of every action, without `s3:`, in lower case.
const KEYS_OF_ALL: &str = "accessgrantsinstancearn accesspointnetworkorigin authtype dataaccesspointaccount dataaccesspointarn \
    locationconstraint resourceaccount signatureage signatureversion tlsversion x-amz-content-sha256";
/// Condition keys of some actions, and of which. A key that ends in a slash has a tag's key after it.
const KEYS_OF_SOME: &[(&str, &str)] = &[
    ("delimiter max-keys prefix", "ListBucket ListBucketVersions"),
    ("destinationregion", "PauseReplication"),
    (
        "existingobjecttag/",
        "DeleteObjectTagging DeleteObjectVersionTagging GetObject GetObjectAcl GetObjectAttributes GetObjectTagging GetObjectVersion \
         GetObjectVersionAcl GetObjectVersionAttributes GetObjectVersionTagging PutObjectAcl PutObjectTagging PutObjectVersionAcl \
         PutObjectVersionTagging",
    ),
    ("if-match", "DeleteObject PutObject"),
    ("if-none-match objectcreationoperation", "PutObject"),
    ("inventoryaccessibleoptionalfields", "PutInventoryConfiguration"),
    ("isreplicationpauserequest", "PutReplicationConfiguration"),
    ("object-lock-legal-hold", "PutObject PutObjectLegalHold"),
    ("object-lock-mode object-lock-remaining-retention-days object-lock-retain-until-date", "PutObject PutObjectRetention"),
    ("requestobjecttag/ requestobjecttagkeys", "BypassGovernanceRetention PutObject PutObjectTagging PutObjectVersionTagging"),
    (
        "versionid",
        "DeleteObjectVersion DeleteObjectVersionTagging GetObjectVersion GetObjectVersionAcl GetObjectVersionAttributes \
         GetObjectVersionTagging GetObjectVersionTorrent PutObjectVersionAcl PutObjectVersionTagging",
    ),
    (
        "x-amz-acl x-amz-grant-full-control x-amz-grant-read x-amz-grant-read-acp x-amz-grant-write x-amz-grant-write-acp",
        "BypassGovernanceRetention CreateBucket PutBucketAcl PutObject PutObjectAcl PutObjectVersionAcl",
    ),
    ("x-amz-bucket-namespace x-amz-object-ownership", "CreateBucket"),
    ("x-amz-copy-source x-amz-metadata-directive x-amz-website-redirect-location", "BypassGovernanceRetention PutObject"),
    (
        "x-amz-server-side-encryption x-amz-server-side-encryption-aws-kms-key-id",
        "BypassGovernanceRetention PutObject ReplicateObject UpdateObjectEncryption",
    ),
    ("x-amz-server-side-encryption-customer-algorithm", "BypassGovernanceRetention PutObject ReplicateObject"),
    ("x-amz-storage-class", "BypassGovernanceRetention PutObject PutObjectAcl PutObjectVersionAcl"),
];

/// Checks a statement of a bucket's policy: `action` and `resource` are their texts, and whether they are negated.
pub(super) fn check<'a>(
    bucket: &str,
    action: (bool, &[&str]),
    resource: (bool, &[&str]),
    keys: impl Iterator<Item = &'a str>,
) -> Result<(), MalformedPolicy> {
    let actions: Vec<Vec<&str>> = action.1.iter().map(|a| actions_named(a)).collect();
    if actions.iter().any(Vec::is_empty) {
        return Err(MalformedPolicy::Action);
    }
    let (mut on_bucket, mut on_objects) = (false, false);
    for text in resource.1 {
        let rest = text.strip_prefix("arn:aws:s3:::").and_then(|name| name.strip_prefix(bucket)).ok_or(MalformedPolicy::Resource)?;
        // `bucket*` is the bucket and all in it; what other buckets it may name is out of this policy's reach.
        if !rest.is_empty() && !rest.starts_with(['/', '*', '?']) {
            return Err(MalformedPolicy::Resource);
        }
        on_bucket |= rest.bytes().all(|b| b == b'*');
        on_objects |= !rest.is_empty();
    }
    // What a negated element leaves is never nothing.
    let applies = |name: &&str| {
        let on = |actions: &str| actions.split(' ').any(|a| a == *name);
        resource.0 && !on(OTHER_ACTIONS) || on_bucket && on(BUCKET_ACTIONS) || on_objects && on(OBJECT_ACTIONS)
    };
    if !action.0 && !actions.iter().all(|names| names.iter().any(applies)) {
        return Err(MalformedPolicy::NotApplicable);
    }
    for key in keys {
        let having = actions_having(key)?;
        let fits = |names: &Vec<&str>| names.iter().any(|name| having.is_none_or(|h| h.split(' ').any(|a| a == *name)));
        if !action.0 && !actions.iter().all(fits) {
            return Err(MalformedPolicy::ConditionNotApplicable);
        }
    }
    Ok(())
}

/// The actions of S3 that a text, which may have wildcards, names.
fn actions_named(text: &str) -> Vec<&'static str> {
    let name = match text.split_once(':') {
        None if text == "*" => text,
        Some((service, name)) if service.eq_ignore_ascii_case("s3") => name,
        None | Some(_) => return Vec::new(),
    };
    let pattern = Pattern::new(name, Syntax { wildcards: true, variables: false });
    let all = [OBJECT_ACTIONS, BUCKET_ACTIONS, OTHER_ACTIONS].into_iter().flat_map(|list| list.split(' '));
    all.filter(|action| pattern.matches(action, Case::Ignored, &|_| None)).collect()
}

/// The actions whose requests have a condition key (in lower case); `None`: all.
fn actions_having(key: &str) -> Result<Option<&'static str>, MalformedPolicy> {
    if key.starts_with("aws:") {
        return Ok(None);
    }
    let name = key.strip_prefix("s3:").ok_or(MalformedPolicy::ConditionKey)?;
    if KEYS_OF_ALL.split(' ').any(|k| k == name) || name.starts_with("buckettag/") || name.starts_with("accesspointtag/") {
        return Ok(None);
    }
    let is = |k: &str| if k.ends_with('/') { name.len() > k.len() && name.starts_with(k) } else { k == name };
    let (_, actions) = KEYS_OF_SOME.iter().find(|(keys, _)| keys.split(' ').any(is)).ok_or(MalformedPolicy::ConditionKey)?;
    Ok(Some(actions))
}
