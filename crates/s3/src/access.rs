//! Who may do what. Every operation passes here before it runs; what isn't allowed by name is denied.

use crate::caller::Caller;
use crate::error::{self, Result};
use crate::service::S3;
use objects::Bucket;
use s3s::access::{S3Access, S3AccessContext};
use s3s::{S3Result, s3_error};

/// Operations that an account may do without there being a bucket.
const OF_THE_ACCOUNT: [&str; 2] = ["ListBuckets", "CreateBucket"];

#[async_trait::async_trait]
impl S3Access for S3 {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        let caller = match cx.credentials() {
            None => Caller::Anonymous,
            Some(credentials) => {
                let snapshot = self.store.snapshot();
                let key = snapshot.access_key(&credentials.access_key).ok_or_else(error::denied)?;
                Caller::Account(key.account.clone())
            }
        };
        self.authorize(&caller, cx)?;
        cx.extensions_mut().insert(caller);
        Ok(())
    }
}

impl S3 {
    fn authorize(&self, caller: &Caller, cx: &S3AccessContext<'_>) -> Result<()> {
        let account = caller.account().ok_or_else(error::denied)?;
        if OF_THE_ACCOUNT.contains(&cx.s3_op().name()) {
            return Ok(());
        }
        let name = cx.s3_path().get_bucket_name().ok_or_else(|| s3_error!(MethodNotAllowed))?;
        let bucket: std::sync::Arc<Bucket> = self.bucket(name)?;
        if bucket.owner == *account { Ok(()) } else { Err(error::denied()) }
    }
}
