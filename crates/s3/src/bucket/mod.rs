//! Buckets: made, found, listed, deleted.

use crate::access::{self, acl};
use crate::caller::Caller;
use crate::configuration::update;
use crate::error::{self, Result, custom};
use crate::service::S3;
use crate::time;
use http::{HeaderMap, HeaderValue};
use model::scope::{AccountId, DEFAULT_REGION, Region};
use objects::{Acl, Bucket, Ownership, PublicAccessBlock, Versioning};
use s3s::dto::{self, *};
use s3s::validation::NameValidation;
use s3s::{S3Request, S3Response, s3_error};
use std::collections::BTreeMap;

/// Most buckets of an account ("Bucket restrictions and limitations").
const BUCKETS_MAX: usize = 10_000;

/// Which names s3s lets through: all that a bucket here can have. CreateBucket says why it refuses one.
pub(crate) struct Names;

impl NameValidation for Names {
    fn validate_bucket_name(&self, _: &str) -> bool {
        true
    }
}

/// ListBuckets.
pub(crate) async fn list(s3: &S3, request: S3Request<ListBucketsInput>) -> Result<S3Response<ListBucketsOutput>> {
    let caller = Caller::of(&request);
    let account = caller.account().ok_or_else(error::denied)?;
    let input = request.input;
    let max = input.max_buckets.unwrap_or(10_000);
    if !(1..=10_000).contains(&max) {
        return Err(error::argument("max-buckets", max, "Argument max-buckets must be an integer between 1 and 10000"));
    }
    let prefix = input.prefix.as_deref().unwrap_or_default();
    let after = input.continuation_token.as_deref().unwrap_or_default();
    let mut found = s3.objects.buckets(account);
    found.retain(|b| b.name.starts_with(prefix) && b.name.as_str() > after && input.bucket_region.as_ref().is_none_or(|r| b.region == *r));
    found.sort_by(|a, b| a.name.cmp(&b.name));
    let max = usize::try_from(max).unwrap_or_default();
    let more = found.len() > max;
    found.truncate(max);
    let continuation_token = if more { found.last().map(|b| b.name.clone()) } else { None };
    let paged = input.max_buckets.is_some();
    let show = |b: &std::sync::Arc<Bucket>| dto::Bucket {
        name: Some(b.name.clone()),
        creation_date: Some(time::show(b.created)),
        bucket_region: paged.then(|| b.region.clone()),
    };
    let buckets = Some(found.iter().map(show).collect());
    let owner = Some(s3.owner(account));
    Ok(S3Response::new(ListBucketsOutput { buckets, owner, continuation_token, prefix: input.prefix }))
}

/// CreateBucket.
pub(crate) async fn create(s3: &S3, request: S3Request<CreateBucketInput>) -> Result<S3Response<CreateBucketOutput>> {
    let caller = Caller::of(&request);
    let account = caller.account().ok_or_else(error::denied)?.clone();
    let signed = request.region.as_ref().map_or(DEFAULT_REGION, |r| r.as_str()).to_owned();
    let (input, headers) = (request.input, request.headers);
    if let Err(why) = model::bucket::name_check(&input.bucket) {
        tracing::debug!(%why, "no bucket's name");
        return Err(s3_error!(InvalidBucketName, "The specified bucket is not valid."));
    }
    namespace(&headers)?;
    let asked = input.create_bucket_configuration.as_ref().and_then(|c| c.location_constraint.as_ref()).map(|l| l.as_str().to_owned());
    let region = region(asked.as_deref(), &signed)?;
    if s3.objects.buckets(&account).len() >= BUCKETS_MAX {
        return Err(s3_error!(TooManyBuckets, "You have attempted to create more buckets than allowed"));
    }
    let bucket = described(s3, &input, &headers, account.clone(), region)?;
    let acl = bucket.acl.clone();
    match s3.objects.bucket_create(bucket).await {
        Ok(()) => {}
        Err(objects::Error::BucketExists { owner }) if owner == account => {
            // In us-east-1 making one's own bucket again is no error, and resets its grants ("CreateBucket", BucketAlreadyOwnedByYou).
            if s3.bucket(&input.bucket)?.region != DEFAULT_REGION || signed != DEFAULT_REGION {
                let text = "Your previous request to create the named bucket succeeded and you already own it.";
                return Err(s3_error!(BucketAlreadyOwnedByYou, "{text}"));
            }
            let reset = move |bucket: &mut Bucket| {
                refuse_mismatch(bucket, &acl)?;
                bucket.acl = acl;
                Ok(())
            };
            update(s3, &input.bucket, reset).await?;
        }
        Err(error) => return Err(error::engine(error)),
    }
    Ok(S3Response::new(CreateBucketOutput { location: Some(format!("/{}", input.bucket)) }))
}

/// Refuses a bucket outside of the global namespace: a bucket in its account's own namespace would need names that other accounts can't take.
fn namespace(headers: &HeaderMap) -> Result<()> {
    match headers.get("x-amz-bucket-namespace").map(HeaderValue::as_bytes) {
        None | Some(b"global") => Ok(()),
        Some(b"account-regional") => Err(custom("NotImplemented", 501, "Buckets in an account's regional namespace are not implemented")),
        Some(value) => {
            let value = String::from_utf8_lossy(value);
            Err(error::argument("x-amz-bucket-namespace", value, "The value must be global or account-regional"))
        }
    }
}

/// The bucket that a request asks for.
fn described(s3: &S3, input: &CreateBucketInput, headers: &HeaderMap, account: AccountId, region: String) -> Result<Bucket> {
    let unknown = || s3_error!(InvalidArgument, "Invalid x-amz-object-ownership header");
    let ownership = input.object_ownership.as_ref().map(|o| access::ownership::read(o).ok_or_else(unknown)).transpose()?;
    let acl = s3.grants_of_headers(headers, &account, acl::Of::Bucket)?;
    let object_lock = input.object_lock_enabled_for_bucket.unwrap_or_default();
    let bucket = Bucket {
        name: input.bucket.clone(),
        owner: account.clone(),
        region,
        created: s3.now(),
        // Locks need versions.
        versioning: if object_lock { Versioning::Enabled } else { Versioning::Off },
        object_lock,
        acl: acl.unwrap_or_else(|| acl::private(&account)),
        ownership: Some(ownership.unwrap_or(s3.settings.ownership)),
        policy: None,
        public_access_block: s3.settings.block_public_access.then_some(BLOCK_ALL),
        tags: BTreeMap::new(),
        documents: BTreeMap::new(),
        readings: objects::Readings::default(),
    };
    refuse_mismatch(&bucket, &bucket.acl)?;
    Ok(bucket)
}

/// Refuses grants that a bucket's other settings forbid.
fn refuse_mismatch(bucket: &Bucket, acl: &Acl) -> Result<()> {
    if bucket.ownership == Some(Ownership::BucketOwnerEnforced) && *acl != acl::private(&bucket.owner) {
        return Err(access::ownership::with_acl());
    }
    if acl::refuse_public(bucket, Some(acl), error::denied).is_err() {
        let text = "Bucket cannot have public ACLs set with BlockPublicAccess enabled";
        return Err(custom("InvalidBucketAclWithBlockPublicAccessError", 400, text));
    }
    Ok(())
}

/// Refuses everything public.
const BLOCK_ALL: PublicAccessBlock =
    PublicAccessBlock { block_public_acls: true, ignore_public_acls: true, block_public_policy: true, restrict_public_buckets: true };

/// The region of a new bucket. `signed`: the region of the request's signature, which stands for the endpoint that it was sent to.
///
/// # Errors
/// At the endpoint of us-east-1, which creates buckets in every region: `InvalidLocationConstraint` for us-east-1 itself and for what is no
/// region. At the endpoint of any other region: `IllegalLocationConstraintException` unless the constraint is that region.
fn region(asked: Option<&str>, signed: &str) -> Result<String> {
    let asked = match asked {
        None | Some("") => None,
        Some("EU") => Some("eu-west-1"),
        Some(other) => Some(other),
    };
    let known = |name: &str| name.parse::<Region>().is_ok();
    match asked {
        None if signed == DEFAULT_REGION => Ok(signed.to_owned()),
        Some(name) if signed == DEFAULT_REGION && name != DEFAULT_REGION && known(name) => Ok(name.to_owned()),
        Some(_) if signed == DEFAULT_REGION => Err(s3_error!(InvalidLocationConstraint, "The specified location-constraint is not valid")),
        Some(name) if name == signed && known(name) => Ok(name.to_owned()),
        other => {
            let name = other.unwrap_or("unspecified");
            let text = "location constraint is incompatible for the region specific endpoint this request was sent to.";
            Err(s3_error!(IllegalLocationConstraintException, "The {name} {text}"))
        }
    }
}

/// HeadBucket.
pub(crate) async fn head(s3: &S3, request: S3Request<HeadBucketInput>) -> Result<S3Response<HeadBucketOutput>> {
    let bucket = s3.bucket(&request.input.bucket)?;
    Ok(S3Response::new(HeadBucketOutput { bucket_region: Some(bucket.region.clone()), ..HeadBucketOutput::default() }))
}

/// DeleteBucket.
pub(crate) async fn delete(s3: &S3, request: S3Request<DeleteBucketInput>) -> Result<S3Response<DeleteBucketOutput>> {
    s3.objects.bucket_delete(&request.input.bucket).await.map_err(error::engine)?;
    Ok(S3Response::with_status(DeleteBucketOutput {}, http::StatusCode::NO_CONTENT))
}

/// GetBucketLocation: nothing for us-east-1.
pub(crate) async fn location(s3: &S3, request: S3Request<GetBucketLocationInput>) -> Result<S3Response<GetBucketLocationOutput>> {
    let bucket = s3.bucket(&request.input.bucket)?;
    let location_constraint = (bucket.region != DEFAULT_REGION).then(|| BucketLocationConstraint::from(bucket.region.clone()));
    Ok(S3Response::new(GetBucketLocationOutput { location_constraint }))
}
