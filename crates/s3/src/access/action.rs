//! Which permission each operation takes ("Actions, resources, and condition keys for Amazon S3"; "Required permissions for Amazon S3
//! API operations"), and which permission of a list of grants stands for it ("Mapping of ACL permissions and access policy
//! permissions").

use http::HeaderMap;
use objects::Permission;

/// Permissions that more than this file names.
pub(crate) const GET_OBJECT: &str = "s3:GetObject";
pub(crate) const GET_OBJECT_TAGGING: &str = "s3:GetObjectTagging";
pub(crate) const DELETE_OBJECT: &str = "s3:DeleteObject";
pub(crate) const PUT_OBJECT: &str = "s3:PutObject";
pub(crate) const PUT_OBJECT_ACL: &str = "s3:PutObjectAcl";
pub(crate) const PUT_OBJECT_TAGGING: &str = "s3:PutObjectTagging";
pub(crate) const PUT_OBJECT_RETENTION: &str = "s3:PutObjectRetention";
pub(crate) const PUT_OBJECT_LEGAL_HOLD: &str = "s3:PutObjectLegalHold";
pub(crate) const BYPASS_GOVERNANCE: &str = "s3:BypassGovernanceRetention";
pub(crate) const LIST_BUCKET: &str = "s3:ListBucket";

/// What a bucket's owner may do whatever its policy says: else nobody could take a policy away that denies everybody.
pub(crate) const OF_THE_OWNER: [&str; 3] = ["s3:GetBucketPolicy", "s3:PutBucketPolicy", "s3:DeleteBucketPolicy"];

/// Operations of an account, without a bucket that is there.
pub(crate) const OF_THE_ACCOUNT: [&str; 3] = ["ListBuckets", "CreateBucket", "ListDirectoryBuckets"];
/// The operation whose keys are in the body: it asks for each itself.
pub(crate) const DELETE_MANY: &str = "DeleteObjects";
/// Operations that make an object, by what their headers say of it.
pub(crate) const MAKING: [&str; 3] = ["PutObject", "CopyObject", "CreateMultipartUpload"];
/// Operations that can be made to depend on an object's ETag.
const MATCHING: [&str; 5] = ["PutObject", "CopyObject", "CompleteMultipartUpload", "PostObject", "DeleteObject"];
/// Operations after which there is an object, and others with the same permission, after which there is a part of one at most.
const CREATING: [(&str, bool); 6] = [
    ("PutObject", true),
    ("CopyObject", true),
    ("CompleteMultipartUpload", true),
    ("CreateMultipartUpload", false),
    ("UploadPart", false),
    ("UploadPartCopy", false),
];
/// How the names of operations begin that make nothing longer, so that they are done on a full disk too.
const NOT_GROWING: [&str; 6] = ["Abort", "Delete", "Get", "Head", "List", "Select"];

/// Whether an operation makes what is stored grow.
pub(crate) fn grows(operation: &str) -> bool {
    !NOT_GROWING.iter().any(|beginning| operation.starts_with(beginning))
}

/// Operations that read another object, which a header names.
pub(crate) const COPYING: [&str; 2] = ["CopyObject", "UploadPartCopy"];

/// Operations and their permissions, by operation. What isn't here is denied.
const OPERATIONS: &[(&str, &[&str])] = &[
    ("AbortMultipartUpload", &["s3:AbortMultipartUpload"]),
    ("CompleteMultipartUpload", &[PUT_OBJECT]),
    ("CopyObject", &[PUT_OBJECT]),
    ("CreateBucketMetadataTableConfiguration", &["s3:CreateBucketMetadataTableConfiguration"]),
    ("CreateMultipartUpload", &[PUT_OBJECT]),
    ("DeleteBucket", &["s3:DeleteBucket"]),
    ("DeleteBucketAnalyticsConfiguration", &["s3:PutAnalyticsConfiguration"]),
    ("DeleteBucketCors", &["s3:PutBucketCORS"]),
    ("DeleteBucketEncryption", &["s3:PutEncryptionConfiguration"]),
    ("DeleteBucketIntelligentTieringConfiguration", &["s3:PutIntelligentTieringConfiguration"]),
    ("DeleteBucketInventoryConfiguration", &["s3:PutInventoryConfiguration"]),
    ("DeleteBucketLifecycle", &["s3:PutLifecycleConfiguration"]),
    ("DeleteBucketMetadataTableConfiguration", &["s3:DeleteBucketMetadataTableConfiguration"]),
    ("DeleteBucketMetricsConfiguration", &["s3:PutMetricsConfiguration"]),
    ("DeleteBucketOwnershipControls", &["s3:PutBucketOwnershipControls"]),
    ("DeleteBucketPolicy", &["s3:DeleteBucketPolicy"]),
    ("DeleteBucketReplication", &["s3:PutReplicationConfiguration"]),
    ("DeleteBucketTagging", &["s3:PutBucketTagging"]),
    ("DeleteBucketWebsite", &["s3:DeleteBucketWebsite"]),
    ("DeleteObject", &[DELETE_OBJECT]),
    ("DeleteObjectTagging", &["s3:DeleteObjectTagging"]),
    ("DeletePublicAccessBlock", &["s3:PutBucketPublicAccessBlock"]),
    ("GetBucketAccelerateConfiguration", &["s3:GetAccelerateConfiguration"]),
    ("GetBucketAcl", &["s3:GetBucketAcl"]),
    ("GetBucketAnalyticsConfiguration", &["s3:GetAnalyticsConfiguration"]),
    ("GetBucketCors", &["s3:GetBucketCORS"]),
    ("GetBucketEncryption", &["s3:GetEncryptionConfiguration"]),
    ("GetBucketIntelligentTieringConfiguration", &["s3:GetIntelligentTieringConfiguration"]),
    ("GetBucketInventoryConfiguration", &["s3:GetInventoryConfiguration"]),
    ("GetBucketLifecycleConfiguration", &["s3:GetLifecycleConfiguration"]),
    ("GetBucketLocation", &["s3:GetBucketLocation"]),
    ("GetBucketLogging", &["s3:GetBucketLogging"]),
    ("GetBucketMetadataTableConfiguration", &["s3:GetBucketMetadataTableConfiguration"]),
    ("GetBucketMetricsConfiguration", &["s3:GetMetricsConfiguration"]),
    ("GetBucketNotificationConfiguration", &["s3:GetBucketNotification"]),
    ("GetBucketOwnershipControls", &["s3:GetBucketOwnershipControls"]),
    ("GetBucketPolicy", &["s3:GetBucketPolicy"]),
    ("GetBucketPolicyStatus", &["s3:GetBucketPolicyStatus"]),
    ("GetBucketReplication", &["s3:GetReplicationConfiguration"]),
    ("GetBucketRequestPayment", &["s3:GetBucketRequestPayment"]),
    ("GetBucketTagging", &["s3:GetBucketTagging"]),
    ("GetBucketVersioning", &["s3:GetBucketVersioning"]),
    ("GetBucketWebsite", &["s3:GetBucketWebsite"]),
    ("GetObject", &[GET_OBJECT]),
    ("GetObjectAcl", &["s3:GetObjectAcl"]),
    ("GetObjectAttributes", &[GET_OBJECT, "s3:GetObjectAttributes"]),
    ("GetObjectLegalHold", &["s3:GetObjectLegalHold"]),
    ("GetObjectLockConfiguration", &["s3:GetBucketObjectLockConfiguration"]),
    ("GetObjectRetention", &["s3:GetObjectRetention"]),
    ("GetObjectTagging", &[GET_OBJECT_TAGGING]),
    ("GetObjectTorrent", &["s3:GetObjectTorrent"]),
    ("GetPublicAccessBlock", &["s3:GetBucketPublicAccessBlock"]),
    ("HeadBucket", &[LIST_BUCKET]),
    ("HeadObject", &[GET_OBJECT]),
    ("ListBucketAnalyticsConfigurations", &["s3:GetAnalyticsConfiguration"]),
    ("ListBucketIntelligentTieringConfigurations", &["s3:GetIntelligentTieringConfiguration"]),
    ("ListBucketInventoryConfigurations", &["s3:GetInventoryConfiguration"]),
    ("ListBucketMetricsConfigurations", &["s3:GetMetricsConfiguration"]),
    ("ListMultipartUploads", &["s3:ListBucketMultipartUploads"]),
    ("ListObjectVersions", &["s3:ListBucketVersions"]),
    ("ListObjects", &[LIST_BUCKET]),
    ("ListObjectsV2", &[LIST_BUCKET]),
    ("ListParts", &["s3:ListMultipartUploadParts"]),
    ("ListTagsForResource", &["s3:ListTagsForResource"]),
    ("PutBucketAccelerateConfiguration", &["s3:PutAccelerateConfiguration"]),
    ("PutBucketAcl", &["s3:PutBucketAcl"]),
    ("PutBucketAnalyticsConfiguration", &["s3:PutAnalyticsConfiguration"]),
    ("PutBucketCors", &["s3:PutBucketCORS"]),
    ("PutBucketEncryption", &["s3:PutEncryptionConfiguration"]),
    ("PutBucketIntelligentTieringConfiguration", &["s3:PutIntelligentTieringConfiguration"]),
    ("PutBucketInventoryConfiguration", &["s3:PutInventoryConfiguration"]),
    ("PutBucketLifecycleConfiguration", &["s3:PutLifecycleConfiguration"]),
    ("PutBucketLogging", &["s3:PutBucketLogging"]),
    ("PutBucketMetricsConfiguration", &["s3:PutMetricsConfiguration"]),
    ("PutBucketNotificationConfiguration", &["s3:PutBucketNotification"]),
    ("PutBucketOwnershipControls", &["s3:PutBucketOwnershipControls"]),
    ("PutBucketPolicy", &["s3:PutBucketPolicy"]),
    ("PutBucketReplication", &["s3:PutReplicationConfiguration"]),
    ("PutBucketRequestPayment", &["s3:PutBucketRequestPayment"]),
    ("PutBucketTagging", &["s3:PutBucketTagging"]),
    ("PutBucketVersioning", &["s3:PutBucketVersioning"]),
    ("PutBucketWebsite", &["s3:PutBucketWebsite"]),
    ("PutObject", &[PUT_OBJECT]),
    ("PutObjectAcl", &[PUT_OBJECT_ACL]),
    ("PutObjectLegalHold", &[PUT_OBJECT_LEGAL_HOLD]),
    ("PutObjectLockConfiguration", &["s3:PutBucketObjectLockConfiguration"]),
    ("PutObjectRetention", &[PUT_OBJECT_RETENTION]),
    ("PutObjectTagging", &[PUT_OBJECT_TAGGING]),
    ("PutPublicAccessBlock", &["s3:PutBucketPublicAccessBlock"]),
    ("RestoreObject", &["s3:RestoreObject"]),
    ("SelectObjectContent", &[GET_OBJECT]),
    ("TagResource", &["s3:TagResource"]),
    ("UntagResource", &["s3:UntagResource"]),
    ("UploadPart", &[PUT_OBJECT]),
    ("UploadPartCopy", &[PUT_OBJECT]),
];

/// Permissions that are others when a version is named.
const OF_VERSIONS: &[(&str, &str)] = &[
    (DELETE_OBJECT, "s3:DeleteObjectVersion"),
    ("s3:DeleteObjectTagging", "s3:DeleteObjectVersionTagging"),
    (GET_OBJECT, "s3:GetObjectVersion"),
    ("s3:GetObjectAcl", "s3:GetObjectVersionAcl"),
    ("s3:GetObjectAttributes", "s3:GetObjectVersionAttributes"),
    (GET_OBJECT_TAGGING, "s3:GetObjectVersionTagging"),
    ("s3:GetObjectTorrent", "s3:GetObjectVersionTorrent"),
    (PUT_OBJECT_ACL, "s3:PutObjectVersionAcl"),
    (PUT_OBJECT_TAGGING, "s3:PutObjectVersionTagging"),
];

/// Permissions on an object that is there.
const ON_EXISTING: [&str; 6] = [
    "s3:GetObjectLegalHold",
    "s3:GetObjectRetention",
    PUT_OBJECT_LEGAL_HOLD,
    PUT_OBJECT_RETENTION,
    "s3:RestoreObject",
    "s3:GetObjectTorrent",
];

/// The permissions of an operation. `None`: nobody has it.
pub(crate) fn of_operation(name: &str) -> Option<&'static [&'static str]> {
    OPERATIONS.iter().find(|(operation, _)| *operation == name).map(|(_, actions)| *actions)
}

/// Whether there is an object after an operation that takes [`PUT_OBJECT`].
pub(crate) fn creates(operation: &str) -> Option<bool> {
    CREATING.iter().find(|(name, _)| *name == operation).map(|(_, creates)| *creates)
}

/// The permission on a version for that on an object.
pub(crate) fn of_version(action: &'static str) -> &'static str {
    OF_VERSIONS.iter().find(|(plain, _)| *plain == action).map_or(action, |(_, of_version)| of_version)
}

/// Whether it is a deletion: that takes something out of a bucket, whoever owns it.
pub(crate) fn deletes(action: &str) -> bool {
    matches!(action, DELETE_OBJECT | "s3:DeleteObjectVersion")
}

/// Whether it is of an object that must be there.
pub(crate) fn on_existing(action: &str) -> bool {
    ON_EXISTING.contains(&action) || !deletes(action) && OF_VERSIONS.iter().any(|(plain, version)| action == *plain || action == *version)
}

/// Whether it is of an upload, which who began it may see and end.
pub(crate) fn on_upload(action: &str) -> bool {
    matches!(action, "s3:AbortMultipartUpload" | "s3:ListMultipartUploadParts")
}

/// What a bucket's grants must say.
pub(crate) fn bucket_grant(action: &str) -> Option<Permission> {
    match action {
        LIST_BUCKET | "s3:ListBucketVersions" | "s3:ListBucketMultipartUploads" => Some(Permission::Read),
        PUT_OBJECT => Some(Permission::Write),
        "s3:GetBucketAcl" => Some(Permission::ReadAcp),
        "s3:PutBucketAcl" => Some(Permission::WriteAcp),
        action if deletes(action) => Some(Permission::Write),
        _ => None,
    }
}

/// What an object's grants must say.
pub(crate) fn object_grant(action: &str) -> Option<Permission> {
    match action {
        GET_OBJECT | "s3:GetObjectVersion" | "s3:GetObjectTorrent" | "s3:GetObjectVersionTorrent" => Some(Permission::Read),
        "s3:GetObjectAcl" | "s3:GetObjectVersionAcl" => Some(Permission::ReadAcp),
        PUT_OBJECT_ACL | "s3:PutObjectVersionAcl" => Some(Permission::WriteAcp),
        _ => None,
    }
}

/// What the headers of a request that makes, locks or deletes an object take beside its own permission.
pub(crate) fn of_headers(operation: &str, headers: &HeaderMap) -> Vec<&'static str> {
    let mut actions = Vec::new();
    if MAKING.contains(&operation) || operation == "PostObject" {
        if headers.keys().any(|name| name == "x-amz-acl" || name.as_str().starts_with("x-amz-grant-")) {
            actions.push(PUT_OBJECT_ACL);
        }
        if headers.contains_key("x-amz-tagging") {
            actions.push(PUT_OBJECT_TAGGING);
        }
        if headers.contains_key("x-amz-object-lock-mode") || headers.contains_key("x-amz-object-lock-retain-until-date") {
            actions.push(PUT_OBJECT_RETENTION);
        }
        if headers.contains_key("x-amz-object-lock-legal-hold") {
            actions.push(PUT_OBJECT_LEGAL_HOLD);
        }
    }
    // Whether an ETag is the object's is told to those only who may read it ("How to perform conditional writes", "… deletes").
    if MATCHING.contains(&operation) && headers.contains_key("if-match") {
        actions.push(GET_OBJECT);
    }
    if matches!(operation, "DeleteObject" | "PutObjectRetention") && bypasses(headers) {
        actions.push(BYPASS_GOVERNANCE);
    }
    actions
}

/// Whether a lock of mode governance is to be passed over.
pub(crate) fn bypasses(headers: &HeaderMap) -> bool {
    headers.get("x-amz-bypass-governance-retention").is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn headers_take_permissions_of_their_own() {
        for (name, action) in [
            ("x-amz-acl", PUT_OBJECT_ACL),
            ("x-amz-grant-read", PUT_OBJECT_ACL),
            ("x-amz-grant-full-control", PUT_OBJECT_ACL),
            ("x-amz-tagging", PUT_OBJECT_TAGGING),
            ("x-amz-object-lock-mode", PUT_OBJECT_RETENTION),
            ("x-amz-object-lock-legal-hold", PUT_OBJECT_LEGAL_HOLD),
        ] {
            let headers = [(name.parse().unwrap(), http::HeaderValue::from_static("x"))].into_iter().collect();
            for operation in MAKING.into_iter().chain(["PostObject"]) {
                assert_eq!(of_headers(operation, &headers), [action], "{operation} {name}");
            }
            assert!(of_headers("GetObject", &headers).is_empty(), "{name}");
        }
    }

    #[test]
    fn versions_have_their_own_permissions() {
        assert_eq!(of_version(GET_OBJECT), "s3:GetObjectVersion");
        assert_eq!(of_version("s3:GetObjectRetention"), "s3:GetObjectRetention");
        for (plain, version) in OF_VERSIONS {
            assert_eq!(on_existing(plain), on_existing(version), "{plain}");
            assert_eq!(object_grant(plain), object_grant(version), "{plain}");
        }
        assert!(on_existing("s3:GetObjectVersionTagging") && !on_existing("s3:DeleteObjectVersion") && !on_existing(PUT_OBJECT));
    }

    /// A permission that no policy could name would be nobody's.
    #[test]
    fn every_permission_can_be_named_in_a_policy() {
        let kind = model::policy::Kind::Bucket { bucket: "bucket".into() };
        for action in OPERATIONS.iter().flat_map(|(_, actions)| *actions).chain(OF_VERSIONS.iter().map(|(_, version)| version)) {
            let text = format!(
                r#"{{"Statement":{{"Effect":"Allow","Principal":"*","Action":"{action}","Resource":["arn:aws:s3:::bucket","arn:aws:s3:::bucket/*"]}}}}"#
            );
            assert_eq!(model::policy::Document::parse(&text, &kind).err(), None, "{action}");
        }
    }
}
