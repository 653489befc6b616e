//! ListObjectVersions: versions and delete markers by key, newest first.

use super::{Encoding, Owners, checksums, entries, etag, given, size};
use crate::error::{self, Result};
use crate::object::archive;
use crate::service::S3;
use crate::time;
use ::objects::{ListVersions, Version, VersionId};
use s3s::dto::{self, ListObjectVersionsInput, ListObjectVersionsOutput};
use s3s::{S3Request, S3Response, s3_error};

/// ListObjectVersions.
pub(crate) async fn list_versions(s3: &S3, request: S3Request<ListObjectVersionsInput>) -> Result<S3Response<ListObjectVersionsOutput>> {
    let input = request.input;
    let encoding = Encoding::new(input.encoding_type)?;
    let (max_keys, max) = entries(input.max_keys, "maxKeys")?;
    let after = after(given(input.key_marker.as_deref()), input.version_id_marker.as_deref())?;
    let q = ListVersions {
        bucket: input.bucket.clone(),
        prefix: input.prefix.clone().unwrap_or_default(),
        delimiter: input.delimiter.clone(),
        after,
        max,
    };
    let listing = s3.objects.list_versions(q).await.map_err(error::engine)?;
    let mut owners = Owners::new(s3, &input.bucket);
    let now = s3.now();
    let (mut versions, mut delete_markers) = (Vec::new(), Vec::new());
    for found in &listing.versions {
        let owner = owners.show(&found.record.owner);
        if found.delete_marker {
            delete_markers.push(marker(&encoding, found, owner));
        } else {
            let restored = archive::listed(input.optional_object_attributes.as_ref(), &found.record, now);
            versions.push(version(&encoding, found, owner, restored));
        }
    }
    let is_truncated = listing.next.is_some();
    let (next_key, next_version) = listing.next.unzip();
    Ok(S3Response::new(ListObjectVersionsOutput {
        common_prefixes: encoding.prefixes(&listing.prefixes),
        delete_markers: Some(delete_markers),
        delimiter: encoding.given(input.delimiter.as_deref()),
        is_truncated: Some(is_truncated),
        key_marker: encoding.shown(input.key_marker.as_deref()),
        max_keys: Some(max_keys),
        name: Some(input.bucket),
        next_key_marker: next_key.map(|key| encoding.text(&key)),
        next_version_id_marker: next_version.flatten().map(|id| id.as_str().to_owned()),
        prefix: encoding.shown(input.prefix.as_deref()),
        version_id_marker: Some(input.version_id_marker.unwrap_or_default()),
        versions: Some(versions),
        encoding_type: encoding.0,
        request_charged: None,
    }))
}

/// Where to begin.
fn after(key: Option<&str>, version: Option<&str>) -> Result<Option<(String, Option<VersionId>)>> {
    let version = match (key, version) {
        (_, None) => None,
        (_, Some("")) => return Err(s3_error!(InvalidArgument, "A version-id marker cannot be empty.")),
        (None, Some(_)) => return Err(s3_error!(InvalidArgument, "A version-id marker cannot be specified without a key marker.")),
        (Some(_), Some(text)) => Some(text.parse().map_err(|_| s3_error!(InvalidArgument, "Invalid version id specified"))?),
    };
    Ok(key.map(|key| (key.to_owned(), version)))
}

fn version(encoding: &Encoding, found: &Version, owner: dto::Owner, restore_status: Option<dto::RestoreStatus>) -> dto::ObjectVersion {
    let (checksum_algorithm, checksum_type) = checksums(&found.record.checksums);
    let class = found.record.storage_class.clone().unwrap_or_else(|| dto::ObjectVersionStorageClass::STANDARD.into());
    dto::ObjectVersion {
        checksum_algorithm,
        checksum_type,
        e_tag: etag(&found.etag),
        is_latest: Some(found.is_latest),
        key: Some(encoding.text(&found.key)),
        last_modified: Some(time::show(found.last_modified)),
        owner: Some(owner),
        restore_status,
        size: size(found.size),
        storage_class: Some(dto::ObjectVersionStorageClass::from(class)),
        version_id: Some(found.id.as_str().to_owned()),
    }
}

fn marker(encoding: &Encoding, found: &Version, owner: dto::Owner) -> dto::DeleteMarkerEntry {
    dto::DeleteMarkerEntry {
        is_latest: Some(found.is_latest),
        key: Some(encoding.text(&found.key)),
        last_modified: Some(time::show(found.last_modified)),
        owner: Some(owner),
        version_id: Some(found.id.as_str().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn where_it_begins() {
        let id = "0123456789abcdef0123456789abcdef";
        assert_eq!(after(None, None).unwrap(), None);
        assert_eq!(after(Some("k"), None).unwrap(), Some(("k".into(), None)));
        assert_eq!(after(Some("k"), Some(id)).unwrap(), Some(("k".into(), Some(id.parse().unwrap()))));
        assert_eq!(after(Some("k"), Some("null")).unwrap(), Some(("k".into(), Some(VersionId::null()))));
        for (key, version) in [(None, Some(id)), (Some("k"), Some("")), (Some("k"), Some("nonsense"))] {
            assert_eq!(after(key, version).unwrap_err().code().as_str(), "InvalidArgument");
        }
    }
}
