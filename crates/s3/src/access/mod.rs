//! Who may do what. Every operation passes here before it runs; what isn't allowed by name is denied.

pub(crate) mod acl;
mod acl_operations;
mod action;
mod circumstances;
mod decide;
mod denied;
pub(crate) mod ownership;
mod policy;
mod public;

pub(crate) use acl_operations::{bucket_acl_get, bucket_acl_put, object_acl_get, object_acl_put};
pub(crate) use circumstances::{AclRequired, Circumstances};
pub(crate) use decide::{Ask, grants_count, logs_allowed, logs_expected};
pub(crate) use ownership::{ownership_delete, ownership_get, ownership_put};
pub(crate) use policy::{policy_delete, policy_get, policy_put, policy_status};
pub(crate) use public::{public_access_block_delete, public_access_block_get, public_access_block_put};

use crate::caller::{Caller, Verified};
use crate::error::{self, Result};
use crate::front::Peer;
use crate::service::S3;
use crate::target::Target;
use http::{Extensions, HeaderMap, HeaderValue, Uri};
use model::scope::AccountId;
use objects::Bucket;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::Credentials;
use s3s::dto::{CopySource, ObjectIdentifier, PutObjectTaggingInput};
use s3s::{S3Error, S3Request, S3Result, s3_error};
use std::net::IpAddr;
use std::sync::Arc;

/// The header that says where a bucket is.
const BUCKET_REGION: &str = "x-amz-bucket-region";

#[async_trait::async_trait]
impl S3Access for S3 {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        let origin = Origin::of(cx.extensions_mut());
        let (caller, around) = self.asking(cx.credentials(), origin, cx.s3_op().name(), cx.headers(), cx.uri())?;
        let path = cx.s3_path();
        let wanted = Wanted { operation: cx.s3_op().name(), bucket: path.get_bucket_name(), key: path.get_object_key() };
        self.authorize(&caller, wanted, &around).await?;
        if action::grows(wanted.operation) && self.objects.is_short() {
            return Err(error::engine(objects::Error::Full));
        }
        cx.extensions_mut().insert(caller);
        cx.extensions_mut().insert(around);
        Ok(())
    }

    /// Its tags, which conditions may ask for, are in the body.
    async fn put_object_tagging(&self, request: &mut S3Request<PutObjectTaggingInput>) -> S3Result<()> {
        let around = Circumstances::of(request).ok_or_else(error::denied)?;
        let input = &request.input;
        let tags = input.tagging.tag_set.iter().map(|t| (t.key.clone().unwrap_or_default(), t.value.clone().unwrap_or_default()));
        let around = Circumstances::clone(&around).with_tags(tags.collect());
        let bucket = self.bucket(&input.bucket)?;
        let (key, version) = (Some(input.key.as_str()), input.version_id.as_deref());
        let ask = Ask { action: action::PUT_OBJECT_TAGGING, bucket: &bucket, key, version, making: false, around: &around };
        self.allow(&Caller::of(request), &ask).await
    }
}

/// Where a request came from, and where it is kept who sent it and what let it through.
struct Origin {
    verified: Option<Verified>,
    by_grants: Option<AclRequired>,
    peer: Option<IpAddr>,
}

impl Origin {
    fn of(extensions: &Extensions) -> Self {
        let peer = extensions.get::<Peer>().map(|peer| peer.0.ip());
        Self { verified: extensions.get().cloned(), by_grants: extensions.get().cloned(), peer }
    }
}

/// An operation and what its path names.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    operation: &'a str,
    bucket: Option<&'a str>,
    key: Option<&'a str>,
}

impl S3 {
    /// Who asks, and what the request says of itself, now that its signature is checked.
    fn asking(
        &self,
        credentials: Option<&Credentials>,
        origin: Origin,
        operation: &str,
        headers: &HeaderMap,
        uri: &Uri,
    ) -> Result<(Caller, Arc<Circumstances>)> {
        let caller = match credentials {
            None => Caller::Anonymous,
            Some(credentials) => {
                let snapshot = self.store.snapshot();
                let key = snapshot.access_key(&credentials.access_key).ok_or_else(error::denied)?;
                Caller::Account(key.account.clone())
            }
        };
        if let (Some(account), Some(verified)) = (caller.account(), origin.verified) {
            verified.set(account);
        }
        let around = Circumstances::new(headers, uri, origin.peer, self.now()).creating(action::creates(operation));
        Ok((caller, Arc::new(around.telling(origin.by_grants.as_ref()))))
    }

    /// Lets a request through, or doesn't, whose operation s3s doesn't find by itself.
    pub(crate) async fn admit<T>(&self, request: &mut S3Request<T>, operation: &str, target: &Target) -> Result<()> {
        let origin = Origin::of(&request.extensions);
        let (caller, around) = self.asking(request.credentials.as_ref(), origin, operation, &request.headers, &request.uri)?;
        let key = Some(target.key.as_str()).filter(|key| !key.is_empty());
        let wanted = Wanted { operation, bucket: Some(&target.bucket), key };
        self.authorize(&caller, wanted, &around).await?;
        request.extensions.insert(caller);
        request.extensions.insert(around);
        Ok(())
    }

    async fn authorize(&self, caller: &Caller, wanted: Wanted<'_>, around: &Circumstances) -> Result<()> {
        if action::OF_THE_ACCOUNT.contains(&wanted.operation) {
            return caller.account().map(|_| ()).ok_or_else(error::denied);
        }
        let name = wanted.bucket.ok_or_else(|| s3_error!(MethodNotAllowed))?;
        let bucket = self.bucket(name)?;
        let allowed = match arrived(&bucket, wanted.operation, around) {
            Ok(()) => self.authorize_in(caller, &bucket, wanted, around).await,
            refused @ Err(_) => refused,
        };
        allowed.map_err(|error| if wanted.operation == "HeadBucket" { with_region(error, &bucket.region) } else { error })
    }

    async fn authorize_in(&self, caller: &Caller, bucket: &Bucket, wanted: Wanted<'_>, around: &Circumstances) -> Result<()> {
        let Wanted { operation, key, .. } = wanted;
        if operation == action::DELETE_MANY || operation == "PutObjectTagging" {
            // It is decided once the body is read. No list of grants lets everybody do it, so that without a policy none need be.
            let hopeless = *caller == Caller::Anonymous && bucket.policy.is_none();
            return if hopeless { Err(error::denied()) } else { Ok(()) };
        }
        let actions = action::of_operation(operation).ok_or_else(error::denied)?;
        let making = action::MAKING.contains(&operation);
        // What makes a version names none.
        let version = around.query("versionId").filter(|_| !making);
        for action in actions.iter().copied().chain(action::of_headers(operation, &around.headers)) {
            // What is there already is only looked at by who makes its ETag a condition.
            let making = making && action != action::GET_OBJECT;
            self.allow(caller, &Ask { action, bucket, key, version, making, around }).await?;
        }
        if action::COPYING.contains(&operation) {
            self.authorize_source(caller, operation, around).await?;
        }
        if making {
            self.new_object(bucket, caller, &around.headers, key)?;
        }
        Ok(())
    }

    /// Whether the caller may delete an object that a body names.
    pub(crate) async fn allow_delete(
        &self,
        caller: &Caller,
        bucket: &Bucket,
        object: &ObjectIdentifier,
        around: &Circumstances,
    ) -> Result<()> {
        let version = object.version_id.as_deref().filter(|id| !id.is_empty());
        let ask = Ask { action: action::DELETE_OBJECT, bucket, key: Some(&object.key), version, making: false, around };
        self.allow(caller, &ask).await?;
        if object.e_tag.is_some() {
            self.allow(caller, &Ask { action: action::GET_OBJECT, ..ask }).await?;
        }
        if action::bypasses(&around.headers) {
            self.allow(caller, &Ask { action: action::BYPASS_GOVERNANCE, ..ask }).await?;
        }
        Ok(())
    }

    /// Whether the caller may put an object that a form describes.
    pub(crate) async fn allow_form(&self, caller: &Caller, bucket: &Bucket, key: &str, around: &Circumstances) -> Result<()> {
        for action in [action::PUT_OBJECT].into_iter().chain(action::of_headers("PostObject", &around.headers)) {
            let making = action != action::GET_OBJECT;
            self.allow(caller, &Ask { action, bucket, key: Some(key), version: None, making, around }).await?;
        }
        self.new_object(bucket, caller, &around.headers, Some(key)).map(drop)
    }

    /// Whether the caller may read what a copy is made of.
    async fn authorize_source(&self, caller: &Caller, operation: &str, around: &Circumstances) -> Result<()> {
        let malformed = || s3_error!(InvalidArgument, "Copy Source must mention the source bucket and key: sourcebucket/sourcekey");
        let source = CopySource::parse(around.header("x-amz-copy-source").unwrap_or_default()).map_err(|_| malformed())?;
        let CopySource::Bucket { bucket, key, version_id } = source else { return Err(s3_error!(NotImplemented)) };
        let bucket = self.bucket(&bucket)?;
        expected_owner(&bucket.owner, around.header("x-amz-source-expected-bucket-owner"))?;
        let ask =
            Ask { action: action::GET_OBJECT, bucket: &bucket, key: Some(&key), version: version_id.as_deref(), making: false, around };
        self.allow(caller, &ask).await?;
        // Tags go along unless they are replaced; the bucket's owner may read them anyway.
        let replaced = around.header("x-amz-tagging-directive") == Some("REPLACE");
        if operation == "UploadPartCopy" || replaced || caller.account() == Some(&bucket.owner) {
            return Ok(());
        }
        let version = version_id.as_deref().map(str::parse).transpose().map_err(|_| error::denied())?;
        let object = self.objects.get(&bucket.name, &key, version.as_ref()).await.map_err(error::engine)?;
        if object.record.tags.is_empty() {
            return Ok(());
        }
        self.allow(caller, &Ask { action: action::GET_OBJECT_TAGGING, ..ask }).await
    }
}

/// Whether a request came to the right place: signed for the bucket's region, and the owner is whom the caller expects.
fn arrived(bucket: &Bucket, operation: &str, around: &Circumstances) -> Result<()> {
    // Where a bucket is can be asked anywhere.
    if let Some(region) = around.region()
        && operation != "GetBucketLocation"
    {
        right_region(bucket, region, if around.header("authorization").is_some() { Signed::Header } else { Signed::Query })?;
    }
    expected_owner(&bucket.owner, around.header("x-amz-expected-bucket-owner"))
}

/// Where a request's signature stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signed {
    Header,
    /// A presigned URL.
    Query,
    Form,
}

/// Refuses a request that was signed for another region than the bucket's.
pub(crate) fn right_region(bucket: &Bucket, region: &str, signed: Signed) -> Result<()> {
    if region == bucket.region { Ok(()) } else { Err(wrong_region(region, &bucket.region, signed)) }
}

/// The refusal of a request that was signed for another region than is expected.
pub(crate) fn wrong_region(region: &str, expected: &str, signed: Signed) -> S3Error {
    let wrong = format!("the region '{region}' is wrong; expecting '{expected}'");
    let error = match signed {
        Signed::Header => s3_error!(AuthorizationHeaderMalformed, "The authorization header is malformed; {wrong}"),
        Signed::Query => s3_error!(AuthorizationQueryParametersError, "Error parsing the X-Amz-Credential parameter; {wrong}"),
        Signed::Form => s3_error!(InvalidArgument, "{wrong}"),
    };
    with_region(error, expected)
}

/// Says the region where the bucket is; clients ask there again.
fn with_region(mut error: S3Error, region: &str) -> S3Error {
    let mut headers = error.headers().cloned().unwrap_or_default();
    if let Ok(region) = HeaderValue::from_str(region) {
        headers.insert(BUCKET_REGION, region);
    }
    error.set_headers(headers);
    error
}

/// Whether the owner is whom the caller expects.
pub(crate) fn expected_owner(owner: &AccountId, expected: Option<&str>) -> Result<()> {
    let Some(expected) = expected else { return Ok(()) };
    let Ok(expected) = expected.parse::<AccountId>() else {
        let text = "The value of the expected bucket owner parameter must be an AWS Account ID";
        return Err(s3_error!(InvalidBucketOwnerAWSAccountID, "{text}"));
    };
    if expected == *owner { Ok(()) } else { Err(error::denied()) }
}
