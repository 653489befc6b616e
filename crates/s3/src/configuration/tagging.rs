//! A bucket's tags ("Using cost allocation S3 bucket tags").

use super::update;
use crate::answer::Status;
use crate::error::{Result, custom};
use crate::service::S3;
use model::tag::{KEY_CHARS_MAX, TAGS_MAX, VALUE_CHARS_MAX};
use s3s::dto::*;
use s3s::{S3Request, S3Response, s3_error};
use std::collections::BTreeMap;

/// GetBucketTagging.
pub(crate) async fn tagging_get(s3: &S3, request: S3Request<GetBucketTaggingInput>) -> Result<S3Response<GetBucketTaggingOutput>> {
    let bucket = s3.bucket(&request.input.bucket)?;
    if bucket.tags.is_empty() {
        return Err(custom("NoSuchTagSet", 404, "The TagSet does not exist"));
    }
    let show = |(key, value): (&String, &String)| Tag { key: Some(key.clone()), value: Some(value.clone()) };
    Ok(S3Response::new(GetBucketTaggingOutput { tag_set: bucket.tags.iter().map(show).collect() }))
}

/// PutBucketTagging.
pub(crate) async fn tagging_put(s3: &S3, request: S3Request<PutBucketTaggingInput>) -> Result<S3Response<PutBucketTaggingOutput>> {
    let tags = read(request.input.tagging.tag_set)?;
    update(s3, &request.input.bucket, move |bucket| {
        bucket.tags = tags;
        Ok(())
    })
    .await?;
    let mut response = S3Response::new(PutBucketTaggingOutput {});
    response.extensions.insert(Status(http::StatusCode::NO_CONTENT));
    Ok(response)
}

/// DeleteBucketTagging.
pub(crate) async fn tagging_delete(s3: &S3, request: S3Request<DeleteBucketTaggingInput>) -> Result<S3Response<DeleteBucketTaggingOutput>> {
    update(s3, &request.input.bucket, |bucket| {
        bucket.tags.clear();
        Ok(())
    })
    .await?;
    Ok(S3Response::with_status(DeleteBucketTaggingOutput {}, http::StatusCode::NO_CONTENT))
}

/// Refuses more tags than a bucket may have.
pub(crate) fn limit(count: usize) -> Result<()> {
    if count > TAGS_MAX { Err(custom("BadRequest", 400, "Bucket tag count cannot be greater than 50")) } else { Ok(()) }
}

/// Tags of a bucket, if they keep the rules.
pub(crate) fn read(all: Vec<Tag>) -> Result<BTreeMap<String, String>> {
    limit(all.len())?;
    let mut tags = BTreeMap::new();
    for tag in all {
        let (key, value) = (tag.key.unwrap_or_default(), tag.value.unwrap_or_default());
        if key.is_empty() || key.chars().count() > KEY_CHARS_MAX {
            return Err(s3_error!(InvalidTag, "The TagKey you have provided is invalid"));
        }
        if value.chars().count() > VALUE_CHARS_MAX {
            return Err(s3_error!(InvalidTag, "The TagValue you have provided is invalid"));
        }
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(s3_error!(InvalidTag, "System tags cannot be added/updated by requester"));
        }
        if tags.insert(key, value).is_some() {
            return Err(s3_error!(InvalidTag, "Cannot provide multiple Tags with the same key"));
        }
    }
    Ok(tags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_keep_the_rules() {
        let tag = |key: &str, value: &str| Tag { key: Some(key.into()), value: Some(value.into()) };
        assert!(read(vec![tag("a", ""), tag(&"ä".repeat(128), &"v".repeat(256))]).is_ok());
        for bad in [
            vec![tag("", "x")],
            vec![tag("a", "1"), tag("a", "2")],
            vec![tag("AWS:x", "")],
            vec![tag(&"k".repeat(129), "")],
            vec![tag("k", &"v".repeat(257))],
            (0..51).map(|n| tag(&n.to_string(), "")).collect(),
        ] {
            assert!(read(bad).is_err());
        }
    }
}
