//! Each operation of s3s's trait, and the function that does it. An operation that is not named here answers `NotImplemented`.

use crate::access_log::AccessLog;
use crate::error::{self, Result};
use crate::notification::{Events, Fares};
use crate::object;
use crate::settings::Settings;
use crate::{access, bucket, configuration, list, multipart};
use model::time::{Clock, Timestamp};
use objects::Objects;
use s3s::dto::{self};
use s3s::{S3Request, S3Response};
use std::sync::Arc;
use store::Store;

/// What every operation works with.
#[derive(Clone)]
pub(crate) struct S3 {
    pub(crate) objects: Objects,
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) events: Events,
    pub(crate) log: AccessLog,
    pub(crate) fares: Fares,
}

impl S3 {
    pub(crate) fn new(objects: Objects, store: Store, clock: Arc<dyn Clock>, settings: Settings) -> Self {
        let (settings, events, log, fares) = (Arc::new(settings), Events::default(), AccessLog::default(), Fares::default());
        Self { objects, store, clock, settings, events, log, fares }
    }

    /// The present time.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A bucket, or `NoSuchBucket`.
    pub(crate) fn bucket(&self, name: &str) -> Result<Arc<objects::Bucket>> {
        let none = || error::with(error::engine(objects::Error::NoSuchBucket), "BucketName", name);
        self.objects.bucket(name).ok_or_else(none)
    }
}

macro_rules! operations {
    ($($method:ident: $input:ident => $output:ident by $function:path;)*) => {
        #[async_trait::async_trait]
        impl s3s::S3 for S3 {
            $(async fn $method(&self, request: S3Request<dto::$input>) -> Result<S3Response<dto::$output>> {
                let watching = self.watching(&request);
                $function(watching.as_ref().unwrap_or(self), request).await
            })*
        }
    };
}

operations! {
    // Buckets.
    list_buckets: ListBucketsInput => ListBucketsOutput by bucket::list;
    create_bucket: CreateBucketInput => CreateBucketOutput by bucket::create;
    head_bucket: HeadBucketInput => HeadBucketOutput by bucket::head;
    delete_bucket: DeleteBucketInput => DeleteBucketOutput by bucket::delete;
    get_bucket_location: GetBucketLocationInput => GetBucketLocationOutput by bucket::location;

    // Settings of buckets.
    get_bucket_versioning: GetBucketVersioningInput => GetBucketVersioningOutput by configuration::versioning_get;
    put_bucket_versioning: PutBucketVersioningInput => PutBucketVersioningOutput by configuration::versioning_put;
    get_bucket_tagging: GetBucketTaggingInput => GetBucketTaggingOutput by configuration::tagging_get;
    put_bucket_tagging: PutBucketTaggingInput => PutBucketTaggingOutput by configuration::tagging_put;
    delete_bucket_tagging: DeleteBucketTaggingInput => DeleteBucketTaggingOutput by configuration::tagging_delete;
    get_bucket_cors: GetBucketCorsInput => GetBucketCorsOutput by configuration::cors_get;
    put_bucket_cors: PutBucketCorsInput => PutBucketCorsOutput by configuration::cors_put;
    delete_bucket_cors: DeleteBucketCorsInput => DeleteBucketCorsOutput by configuration::cors_delete;
    get_bucket_encryption: GetBucketEncryptionInput => GetBucketEncryptionOutput by configuration::encryption_get;
    put_bucket_encryption: PutBucketEncryptionInput => PutBucketEncryptionOutput by configuration::encryption_put;
    delete_bucket_encryption: DeleteBucketEncryptionInput => DeleteBucketEncryptionOutput by configuration::encryption_delete;
    get_object_lock_configuration: GetObjectLockConfigurationInput => GetObjectLockConfigurationOutput by configuration::lock_get;
    put_object_lock_configuration: PutObjectLockConfigurationInput => PutObjectLockConfigurationOutput by configuration::lock_put;
    get_bucket_request_payment: GetBucketRequestPaymentInput => GetBucketRequestPaymentOutput by configuration::payment_get;
    put_bucket_request_payment: PutBucketRequestPaymentInput => PutBucketRequestPaymentOutput by configuration::payment_put;
    get_bucket_accelerate_configuration: GetBucketAccelerateConfigurationInput => GetBucketAccelerateConfigurationOutput by configuration::accelerate_get;
    put_bucket_accelerate_configuration: PutBucketAccelerateConfigurationInput => PutBucketAccelerateConfigurationOutput by configuration::accelerate_put;
    get_bucket_lifecycle_configuration: GetBucketLifecycleConfigurationInput => GetBucketLifecycleConfigurationOutput by configuration::lifecycle_get;
    put_bucket_lifecycle_configuration: PutBucketLifecycleConfigurationInput => PutBucketLifecycleConfigurationOutput by configuration::lifecycle_put;
    delete_bucket_lifecycle: DeleteBucketLifecycleInput => DeleteBucketLifecycleOutput by configuration::lifecycle_delete;
    get_bucket_notification_configuration: GetBucketNotificationConfigurationInput => GetBucketNotificationConfigurationOutput by configuration::notification_get;
    put_bucket_notification_configuration: PutBucketNotificationConfigurationInput => PutBucketNotificationConfigurationOutput by configuration::notification_put;
    get_bucket_logging: GetBucketLoggingInput => GetBucketLoggingOutput by configuration::logging_get;
    put_bucket_logging: PutBucketLoggingInput => PutBucketLoggingOutput by configuration::logging_put;
    get_bucket_replication: GetBucketReplicationInput => GetBucketReplicationOutput by configuration::replication_get;
    delete_bucket_replication: DeleteBucketReplicationInput => DeleteBucketReplicationOutput by configuration::replication_delete;
    get_bucket_website: GetBucketWebsiteInput => GetBucketWebsiteOutput by configuration::website_get;
    put_bucket_website: PutBucketWebsiteInput => PutBucketWebsiteOutput by configuration::website_put;
    delete_bucket_website: DeleteBucketWebsiteInput => DeleteBucketWebsiteOutput by configuration::website_delete;

    // Listings.
    list_objects: ListObjectsInput => ListObjectsOutput by list::list_v1;
    list_objects_v2: ListObjectsV2Input => ListObjectsV2Output by list::list_v2;
    list_object_versions: ListObjectVersionsInput => ListObjectVersionsOutput by list::list_versions;
    list_multipart_uploads: ListMultipartUploadsInput => ListMultipartUploadsOutput by list::list_uploads;
    list_parts: ListPartsInput => ListPartsOutput by list::list_parts;

    // Uploads in parts.
    create_multipart_upload: CreateMultipartUploadInput => CreateMultipartUploadOutput by multipart::create;
    upload_part: UploadPartInput => UploadPartOutput by multipart::upload_part;
    upload_part_copy: UploadPartCopyInput => UploadPartCopyOutput by multipart::upload_part_copy;
    complete_multipart_upload: CompleteMultipartUploadInput => CompleteMultipartUploadOutput by multipart::complete;
    abort_multipart_upload: AbortMultipartUploadInput => AbortMultipartUploadOutput by multipart::abort;

    // Objects.
    put_object: PutObjectInput => PutObjectOutput by object::put;
    get_object: GetObjectInput => GetObjectOutput by object::get;
    head_object: HeadObjectInput => HeadObjectOutput by object::head;
    delete_object: DeleteObjectInput => DeleteObjectOutput by object::delete;
    delete_objects: DeleteObjectsInput => DeleteObjectsOutput by object::delete_many;
    copy_object: CopyObjectInput => CopyObjectOutput by object::copy::copy;
    get_object_attributes: GetObjectAttributesInput => GetObjectAttributesOutput by object::attributes;
    restore_object: RestoreObjectInput => RestoreObjectOutput by object::archive::restore;
    get_object_retention: GetObjectRetentionInput => GetObjectRetentionOutput by object::retention::get;
    put_object_retention: PutObjectRetentionInput => PutObjectRetentionOutput by object::retention::put;
    get_object_legal_hold: GetObjectLegalHoldInput => GetObjectLegalHoldOutput by object::retention::hold_get;
    put_object_legal_hold: PutObjectLegalHoldInput => PutObjectLegalHoldOutput by object::retention::hold_put;
    get_object_tagging: GetObjectTaggingInput => GetObjectTaggingOutput by object::tagging::get;
    put_object_tagging: PutObjectTaggingInput => PutObjectTaggingOutput by object::tagging::put;
    delete_object_tagging: DeleteObjectTaggingInput => DeleteObjectTaggingOutput by object::tagging::delete;

    // Who may do what.
    get_bucket_acl: GetBucketAclInput => GetBucketAclOutput by access::bucket_acl_get;
    put_bucket_acl: PutBucketAclInput => PutBucketAclOutput by access::bucket_acl_put;
    get_object_acl: GetObjectAclInput => GetObjectAclOutput by access::object_acl_get;
    put_object_acl: PutObjectAclInput => PutObjectAclOutput by access::object_acl_put;
    get_bucket_ownership_controls: GetBucketOwnershipControlsInput => GetBucketOwnershipControlsOutput by access::ownership_get;
    put_bucket_ownership_controls: PutBucketOwnershipControlsInput => PutBucketOwnershipControlsOutput by access::ownership_put;
    delete_bucket_ownership_controls: DeleteBucketOwnershipControlsInput => DeleteBucketOwnershipControlsOutput by access::ownership_delete;
    get_bucket_policy: GetBucketPolicyInput => GetBucketPolicyOutput by access::policy_get;
    put_bucket_policy: PutBucketPolicyInput => PutBucketPolicyOutput by access::policy_put;
    delete_bucket_policy: DeleteBucketPolicyInput => DeleteBucketPolicyOutput by access::policy_delete;
    get_bucket_policy_status: GetBucketPolicyStatusInput => GetBucketPolicyStatusOutput by access::policy_status;
    get_public_access_block: GetPublicAccessBlockInput => GetPublicAccessBlockOutput by access::public_access_block_get;
    put_public_access_block: PutPublicAccessBlockInput => PutPublicAccessBlockOutput by access::public_access_block_put;
    delete_public_access_block: DeletePublicAccessBlockInput => DeletePublicAccessBlockOutput by access::public_access_block_delete;
}
