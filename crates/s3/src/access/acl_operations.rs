//! Lists of grants of buckets and objects: read and replaced.

use super::acl::{self, Of};
use super::decide::{grants_count, owner_of};
use super::{action, denied};
use crate::caller::Caller;
use crate::configuration::update;
use crate::error::{self, Result};
use crate::service::S3;
use http::HeaderMap;
use model::scope::AccountId;
use objects::{Acl, Bucket, VersionId};
use s3s::dto::*;
use s3s::{S3Error, S3Request, S3Response, s3_error};

/// GetBucketAcl.
pub(crate) async fn bucket_acl_get(s3: &S3, request: S3Request<GetBucketAclInput>) -> Result<S3Response<GetBucketAclOutput>> {
    let bucket = s3.bucket(&request.input.bucket)?;
    let grants = if grants_count(&bucket) { s3.grants_show(&bucket.acl) } else { s3.grants_show(&acl::private(&bucket.owner)) };
    Ok(S3Response::new(GetBucketAclOutput { grants: Some(grants), owner: Some(s3.owner(&bucket.owner)) }))
}

/// PutBucketAcl.
pub(crate) async fn bucket_acl_put(s3: &S3, request: S3Request<PutBucketAclInput>) -> Result<S3Response<PutBucketAclOutput>> {
    let caller = Caller::of(&request);
    let bucket = s3.bucket(&request.input.bucket)?;
    let asked = Asked { headers: &request.headers, document: request.input.access_control_policy };
    let denied = move |bucket: &Bucket| denied::because(&caller, bucket, "s3:PutBucketAcl", None, denied::PUBLIC_ACL);
    let acl = wanted(s3, &bucket, asked, &bucket.owner, Of::Bucket, &denied)?;
    let refused = acl.clone();
    let change = move |bucket: &mut Bucket| {
        // What was judged may have changed since.
        if !grants_count(bucket) && acl != acl::private(&bucket.owner) {
            return Err(acl::not_supported());
        }
        acl::refuse_public(bucket, Some(&refused), || denied(bucket))?;
        bucket.acl = acl;
        Ok(())
    };
    update(s3, &bucket.name, change).await?;
    Ok(S3Response::new(PutBucketAclOutput {}))
}

/// GetObjectAcl.
pub(crate) async fn object_acl_get(s3: &S3, request: S3Request<GetObjectAclInput>) -> Result<S3Response<GetObjectAclOutput>> {
    let input = request.input;
    let bucket = s3.bucket(&input.bucket)?;
    let version = version_id(input.version_id.as_deref())?;
    let object = s3.objects.get(&input.bucket, &input.key, version.as_ref()).await.map_err(error::engine)?;
    let owner = owner_of(&bucket, &object);
    let grants = match &object.record.acl {
        Some(acl) if grants_count(&bucket) => s3.grants_show(acl),
        Some(_) | None => s3.grants_show(&acl::private(owner)),
    };
    Ok(S3Response::new(GetObjectAclOutput { grants: Some(grants), owner: Some(s3.owner(owner)), request_charged: None }))
}

/// PutObjectAcl.
pub(crate) async fn object_acl_put(s3: &S3, request: S3Request<PutObjectAclInput>) -> Result<S3Response<PutObjectAclOutput>> {
    let caller = Caller::of(&request);
    let input = request.input;
    let bucket = s3.bucket(&input.bucket)?;
    let version = version_id(input.version_id.as_deref())?;
    let object = s3.objects.get(&input.bucket, &input.key, version.as_ref()).await.map_err(error::engine)?;
    let owner = owner_of(&bucket, &object).clone();
    let asked = Asked { headers: &request.headers, document: input.access_control_policy };
    let permission = if version.is_some() { action::of_version(action::PUT_OBJECT_ACL) } else { action::PUT_OBJECT_ACL };
    let denied = |bucket: &Bucket| denied::because(&caller, bucket, permission, Some(&input.key), denied::PUBLIC_ACL);
    let acl = wanted(s3, &bucket, asked, &owner, Of::Object(&bucket.owner), denied)?;
    if grants_count(&bucket) {
        let judged = object.record.owner.clone();
        let change = move |object: &mut objects::Version| {
            // Somebody else's object took its place.
            if object.record.owner != judged {
                return Err(error::denied());
            }
            object.record.acl = Some(acl);
            Ok(())
        };
        s3.objects.update(&input.bucket, &input.key, version, change).await.map_err(error::engine)??;
    }
    Ok(S3Response::new(PutObjectAclOutput::default()))
}

/// What a request to replace a list says.
struct Asked<'a> {
    headers: &'a HeaderMap,
    document: Option<AccessControlPolicy>,
}

/// The list that is asked for, if the bucket lets it be. `denied`: what is said of one that is public where that is blocked.
fn wanted(
    s3: &S3,
    bucket: &Bucket,
    asked: Asked<'_>,
    owner: &AccountId,
    of: Of<'_>,
    denied: impl FnOnce(&Bucket) -> S3Error,
) -> Result<Acl> {
    let headers = s3.grants_of_headers(asked.headers, owner, of)?;
    let acl = match (headers, asked.document) {
        (Some(_), Some(_)) => return Err(s3_error!(UnexpectedContent, "This request does not support content")),
        (None, None) => return Err(s3_error!(MissingSecurityHeader, "Your request was missing a required header")),
        // Only a list that says what is so anyway passes, and no canned one but that which says so by its name.
        (Some(_), None) if !grants_count(bucket) && !acl::names_owner(asked.headers) => return Err(acl::not_supported()),
        (Some(acl), None) => acl,
        (None, Some(document)) => s3.grants_of_document(document, owner)?,
    };
    if !grants_count(bucket) && acl != acl::private(owner) {
        return Err(acl::not_supported());
    }
    acl::refuse_public(bucket, Some(&acl), || denied(bucket))?;
    Ok(acl)
}

fn version_id(text: Option<&str>) -> Result<Option<VersionId>> {
    let read = |text: &str| text.parse().map_err(|_| s3_error!(InvalidArgument, "Invalid version id specified"));
    text.map(read).transpose()
}
