//! Each operation of s3s's trait, and the function that does it. An operation that is not named here answers `NotImplemented`.

use crate::bucket;
use crate::error::Result;
use crate::settings::Settings;
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
}

impl S3 {
    /// The present time.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A bucket, or `NoSuchBucket`.
    pub(crate) fn bucket(&self, name: &str) -> Result<Arc<objects::Bucket>> {
        self.objects.bucket(name).ok_or_else(|| crate::error::engine(objects::Error::NoSuchBucket))
    }
}

macro_rules! operations {
    ($($method:ident: $input:ident => $output:ident by $function:path;)*) => {
        #[async_trait::async_trait]
        impl s3s::S3 for S3 {
            $(async fn $method(&self, request: S3Request<dto::$input>) -> Result<S3Response<dto::$output>> {
                $function(self, request).await
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

}
