//! Who owns what others write into a bucket ("Controlling ownership of objects and disabling ACLs for your bucket").

use super::acl;
use crate::configuration::update;
use crate::error::{Result, malformed_xml};
use crate::service::S3;
use objects::{Bucket, Ownership};
use s3s::dto::*;
use s3s::{S3Error, S3Request, S3Response, s3_error};

/// GetBucketOwnershipControls.
pub(crate) async fn ownership_get(
    s3: &S3,
    request: S3Request<GetBucketOwnershipControlsInput>,
) -> Result<S3Response<GetBucketOwnershipControlsOutput>> {
    let bucket = s3.bucket(&request.input.bucket)?;
    let none = || s3_error!(OwnershipControlsNotFoundError, "The bucket ownership controls were not found");
    let ownership = bucket.ownership.ok_or_else(none)?;
    let rules = vec![OwnershipControlsRule { object_ownership: name(ownership).to_owned().into() }];
    Ok(S3Response::new(GetBucketOwnershipControlsOutput { ownership_controls: Some(OwnershipControls { rules }) }))
}

/// PutBucketOwnershipControls.
pub(crate) async fn ownership_put(
    s3: &S3,
    request: S3Request<PutBucketOwnershipControlsInput>,
) -> Result<S3Response<PutBucketOwnershipControlsOutput>> {
    let [rule] = request.input.ownership_controls.rules.as_slice() else { return Err(malformed_xml()) };
    let ownership = read(&rule.object_ownership).ok_or_else(malformed_xml)?;
    let change = move |bucket: &mut Bucket| {
        if ownership == Ownership::BucketOwnerEnforced && bucket.acl != acl::private(&bucket.owner) {
            return Err(with_acl());
        }
        bucket.ownership = Some(ownership);
        Ok(())
    };
    update(s3, &request.input.bucket, change).await?;
    Ok(S3Response::new(PutBucketOwnershipControlsOutput {}))
}

/// DeleteBucketOwnershipControls.
pub(crate) async fn ownership_delete(
    s3: &S3,
    request: S3Request<DeleteBucketOwnershipControlsInput>,
) -> Result<S3Response<DeleteBucketOwnershipControlsOutput>> {
    let change = |bucket: &mut Bucket| {
        bucket.ownership = None;
        Ok(())
    };
    update(s3, &request.input.bucket, change).await?;
    Ok(S3Response::new(DeleteBucketOwnershipControlsOutput {}))
}

/// The setting of this name.
pub(crate) fn read(named: &ObjectOwnership) -> Option<Ownership> {
    [Ownership::BucketOwnerEnforced, Ownership::BucketOwnerPreferred, Ownership::ObjectWriter]
        .into_iter()
        .find(|ownership| name(*ownership) == named.as_str())
}

/// Lists of grants that let others in don't go with a bucket that has none.
pub(crate) fn with_acl() -> S3Error {
    s3_error!(InvalidBucketAclWithObjectOwnership, "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting")
}

fn name(ownership: Ownership) -> &'static str {
    match ownership {
        Ownership::BucketOwnerEnforced => ObjectOwnership::BUCKET_OWNER_ENFORCED,
        Ownership::BucketOwnerPreferred => ObjectOwnership::BUCKET_OWNER_PREFERRED,
        Ownership::ObjectWriter => ObjectOwnership::OBJECT_WRITER,
    }
}
