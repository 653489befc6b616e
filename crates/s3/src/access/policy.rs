//! A bucket's policy: put, read, taken away, and whether it lets the public in.

use super::denied;
use crate::caller::{Caller, canonical_id};
use crate::configuration::update;
use crate::error::Result;
use crate::service::S3;
use model::policy::{Document, Grantee, Kind, MalformedPolicy};
use objects::Bucket;
use s3s::dto::*;
use s3s::{S3Error, S3Request, S3Response, s3_error};

/// GetBucketPolicy.
pub(crate) async fn policy_get(s3: &S3, request: S3Request<GetBucketPolicyInput>) -> Result<S3Response<GetBucketPolicyOutput>> {
    let bucket = s3.bucket(&request.input.bucket)?;
    let policy = bucket.policy.clone().ok_or_else(none)?;
    Ok(S3Response::new(GetBucketPolicyOutput { policy: Some(policy) }))
}

/// PutBucketPolicy. Who sends it is its account's root user, whom no policy can keep from replacing it: that it be confirmed is never
/// needed.
pub(crate) async fn policy_put(s3: &S3, request: S3Request<PutBucketPolicyInput>) -> Result<S3Response<PutBucketPolicyOutput>> {
    let caller = Caller::of(&request);
    let PutBucketPolicyInput { bucket, policy, .. } = request.input;
    let document = Document::parse(&policy, &Kind::Bucket { bucket: bucket.clone() }).map_err(|e| malformed(&e))?;
    if !document.grantees().all(|grantee| s3.exists(grantee)) {
        return Err(malformed(&MalformedPolicy::Principal));
    }
    let public = document.is_public();
    let change = move |bucket: &mut Bucket| {
        if public && bucket.public_access_block.is_some_and(|block| block.block_public_policy) {
            return Err(denied::because(&caller, bucket, "s3:PutBucketPolicy", None, denied::PUBLIC_POLICY));
        }
        bucket.policy = Some(policy);
        Ok(())
    };
    update(s3, &bucket, change).await?;
    Ok(S3Response::with_status(PutBucketPolicyOutput {}, http::StatusCode::NO_CONTENT))
}

/// DeleteBucketPolicy.
pub(crate) async fn policy_delete(s3: &S3, request: S3Request<DeleteBucketPolicyInput>) -> Result<S3Response<DeleteBucketPolicyOutput>> {
    let change = |bucket: &mut Bucket| {
        bucket.policy = None;
        Ok(())
    };
    update(s3, &request.input.bucket, change).await?;
    Ok(S3Response::new(DeleteBucketPolicyOutput {}))
}

/// GetBucketPolicyStatus.
pub(crate) async fn policy_status(
    s3: &S3,
    request: S3Request<GetBucketPolicyStatusInput>,
) -> Result<S3Response<GetBucketPolicyStatusOutput>> {
    let bucket = s3.bucket(&request.input.bucket)?;
    let text = bucket.policy.as_ref().ok_or_else(none)?;
    let document = Document::parse(text, &Kind::Bucket { bucket: bucket.name.clone() }).map_err(|e| malformed(&e))?;
    let policy_status = Some(PolicyStatus { is_public: Some(document.is_public()) });
    Ok(S3Response::new(GetBucketPolicyStatusOutput { policy_status }))
}

impl S3 {
    /// Whether somebody whom a policy names exists. Users and roles come with IAM; identity providers are no part of this cloud.
    fn exists(&self, grantee: &Grantee) -> bool {
        let snapshot = self.store.snapshot();
        match grantee {
            Grantee::Everyone | Grantee::Service(_) => true,
            Grantee::Account(account) => snapshot.account(account).is_some(),
            Grantee::CanonicalUser(id) => snapshot.accounts().any(|account| canonical_id(&account.id) == *id),
            Grantee::Arn { .. } | Grantee::Id(_) | Grantee::Foreign(_) => false,
        }
    }
}

fn malformed(why: &MalformedPolicy) -> S3Error {
    s3_error!(MalformedPolicy, "{why}")
}

fn none() -> S3Error {
    s3_error!(NoSuchBucketPolicy, "The bucket policy does not exist")
}
