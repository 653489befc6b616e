//! DeleteObject and DeleteObjects.

use crate::access::Circumstances;
use crate::access_log::{Batched, One};
use crate::caller::Caller;
use crate::checksum::Expected;
use crate::error::{self, Result};
use crate::object::version_id;
use crate::service::S3;
use crate::{condition, record};
use http::HeaderMap;
use model::time::Timestamp;
use objects::{Delete, Deleted};
use s3s::dto::{
    DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, DeletedObject, ETagCondition, Error, ObjectIdentifier,
};
use s3s::{S3Error, S3Request, S3Response, s3_error};

/// Most keys of one DeleteObjects.
const KEYS_MAX: usize = 1000;
/// Longest key, in bytes.
const KEY_BYTES_MAX: usize = 1024;

/// DeleteObject.
pub(crate) async fn delete(s3: &S3, request: S3Request<DeleteObjectInput>) -> Result<S3Response<DeleteObjectOutput>> {
    let input = request.input;
    if input.if_match_last_modified_time.is_some() || input.if_match_size.is_some() {
        // For directory buckets only ("DeleteObject").
        return Err(condition::not_implemented());
    }
    let delete = Delete {
        version: version_id(input.version_id.as_deref())?,
        bucket: input.bucket,
        key: input.key,
        if_match: input.if_match.as_ref().map(condition::etags),
        bypass_governance: input.bypass_governance_retention.unwrap_or_default(),
        now: s3.now(),
    };
    let Deleted { version, marker, .. } = s3.objects.delete(delete).await.map_err(error::engine)?;
    let mut headers = HeaderMap::new();
    if let Some(version) = version {
        record::put(&mut headers, "x-amz-version-id", version.as_str());
    }
    if marker {
        record::put(&mut headers, "x-amz-delete-marker", "true");
    }
    Ok(S3Response::with_headers(DeleteObjectOutput::default(), headers))
}

/// DeleteObjects: what can't be deleted is told of beside what was.
pub(crate) async fn delete_many(s3: &S3, request: S3Request<DeleteObjectsInput>) -> Result<S3Response<DeleteObjectsOutput>> {
    let (caller, around) = (Caller::of(&request), Circumstances::of(&request).ok_or_else(error::denied)?);
    if !Expected::read(&request.headers, request.trailing_headers)?.any() {
        return Err(s3_error!(InvalidRequest, "Missing required header for this request: Content-MD5 OR x-amz-checksum-*"));
    }
    let batched = request.extensions.get::<Batched>();
    let input = request.input;
    let bucket = s3.bucket(&input.bucket)?;
    let objects = input.delete.objects;
    // A key has one character at least ("ObjectIdentifier").
    if objects.is_empty() || objects.len() > KEYS_MAX || objects.iter().any(|object| object.key.is_empty()) {
        return Err(error::malformed_xml());
    }
    let bypass = input.bypass_governance_retention.unwrap_or_default();
    let (mut deletes, mut granted, mut errors) = (Vec::with_capacity(objects.len()), Vec::with_capacity(objects.len()), Vec::new());
    for object in &objects {
        let allowed = s3.allow_delete(&caller, &bucket, object, &around).await;
        match allowed.and_then(|()| one(&input.bucket, object, bypass, s3.now())) {
            Ok(delete) => {
                deletes.push(delete);
                granted.push(around.was_granted());
            }
            Err(refusal) => errors.push(failed(batched, object.key.clone(), object.version_id.clone(), &refusal)),
        }
    }
    let asked: Vec<_> = deletes.iter().map(|delete| (delete.key.clone(), delete.version.clone())).collect();
    let done = s3.objects.delete_many(&input.bucket, deletes).await.map_err(error::engine)?;
    let quiet = input.delete.quiet.unwrap_or_default();
    let mut deleted = Vec::new();
    for (((key, version), acl_required), done) in asked.into_iter().zip(granted).zip(done) {
        let version = version.map(|version| version.to_string());
        match done {
            Ok(done) => {
                if let Some(batched) = batched {
                    let (key, version) = (key.clone(), version.clone());
                    batched.add(One { key, version, size: done.size, status: 204, error: None, acl_required });
                }
                if !quiet {
                    deleted.push(succeeded(key, version, &done));
                }
            }
            Err(refusal) => errors.push(failed(batched, key, version, &error::engine(refusal))),
        }
    }
    let output = DeleteObjectsOutput { deleted: Some(deleted), errors: Some(errors), ..DeleteObjectsOutput::default() };
    Ok(S3Response::new(output))
}

fn one(bucket: &str, object: &ObjectIdentifier, bypass_governance: bool, now: Timestamp) -> Result<Delete> {
    if object.last_modified_time.is_some() || object.size.is_some() {
        return Err(condition::not_implemented());
    }
    if object.key.len() > KEY_BYTES_MAX {
        return Err(s3_error!(KeyTooLongError, "Your key is too long"));
    }
    let version = version_id(object.version_id.as_deref().filter(|id| !id.is_empty()))?;
    let if_match = object.e_tag.clone().map(|etag| {
        let any = etag.value() == "*";
        condition::etags(&if any { ETagCondition::Any } else { ETagCondition::ETag(etag) })
    });
    Ok(Delete { bucket: bucket.to_owned(), key: object.key.clone(), version, if_match, bypass_governance, now })
}

fn succeeded(key: String, asked: Option<String>, done: &Deleted) -> DeletedObject {
    let marker = done.version.as_ref().filter(|_| done.marker).map(ToString::to_string);
    DeletedObject { delete_marker: done.marker.then_some(true), delete_marker_version_id: marker, key: Some(key), version_id: asked }
}

fn failed(batched: Option<&Batched>, key: String, version_id: Option<String>, error: &S3Error) -> Error {
    let (code, message) = (error.code().as_str().to_owned(), error.message().unwrap_or_default().to_owned());
    if let Some(batched) = batched {
        let status = error.status_code().map_or(500, |status| status.as_u16());
        batched.add(One {
            key: key.clone(),
            version: version_id.clone(),
            size: None,
            status,
            error: Some(code.clone()),
            acl_required: false,
        });
    }
    Error { code: Some(code), key: Some(key), message: Some(message), version_id }
}
