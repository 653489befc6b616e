//! Sees operations go by, and tells what those that worked have done to objects.

use super::{By, Happening};
use crate::caller::Caller;
use crate::form::Form;
use crate::front::{Peer, RequestId};
use crate::service::S3;
use http::HeaderMap;
use objects::{Bucket, VersionId, Versioning};
use s3s::S3Request;
use s3s::dto::*;
use std::any::Any;
use std::collections::BTreeSet;
use std::sync::Arc;

/// An operation that is under way in a bucket of which somebody wants to know.
pub(crate) struct Watch {
    bucket: Arc<Bucket>,
    by: By,
    deed: Deed,
}

/// What it will have done.
enum Deed {
    Made { name: &'static str, key: String },
    Deleted { key: String, version: Option<String> },
    DeletedMany { objects: Vec<(String, Option<String>)> },
    Changed { name: &'static str, key: String, version: Option<String> },
}

/// What an operation did.
pub(crate) struct Done {
    bucket: Arc<Bucket>,
    by: By,
    /// Whether the objects are to be looked up for what there is to say of them.
    look: bool,
    happenings: Vec<Happening>,
}

impl By {
    /// Who sent a request.
    pub(crate) fn request<T>(request: &S3Request<T>) -> Self {
        Self {
            principal: Caller::of(request).account().map_or_else(|| "Anonymous".to_owned(), |id| format!("AWS:{}", id.as_str())),
            address: request.extensions.get::<Peer>().map_or_else(String::new, |peer| peer.0.ip().to_canonical().to_string()),
            request: request.extensions.get::<RequestId>().map_or_else(String::new, |id| id.0.clone()),
        }
    }
}

/// The bucket of an operation that does something to objects, and what.
fn deed<T: Any>(request: &S3Request<T>) -> Option<(&str, Deed)> {
    let input: &dyn Any = &request.input;
    let made = |name, key: &str| Deed::Made { name, key: key.to_owned() };
    if let Some(input) = input.downcast_ref::<PutObjectInput>() {
        // A form's object is put as any other.
        let of_form = request.extensions.get::<Arc<Form>>().is_some();
        return Some((&input.bucket, made(if of_form { "ObjectCreated:Post" } else { "ObjectCreated:Put" }, &input.key)));
    }
    if let Some(input) = input.downcast_ref::<CopyObjectInput>() {
        return Some((&input.bucket, made("ObjectCreated:Copy", &input.key)));
    }
    if let Some(input) = input.downcast_ref::<CompleteMultipartUploadInput>() {
        return Some((&input.bucket, made("ObjectCreated:CompleteMultipartUpload", &input.key)));
    }
    if let Some(input) = input.downcast_ref::<DeleteObjectInput>() {
        return Some((&input.bucket, Deed::Deleted { key: input.key.clone(), version: input.version_id.clone() }));
    }
    if let Some(input) = input.downcast_ref::<DeleteObjectsInput>() {
        let objects = input.delete.objects.iter().map(|o| (o.key.clone(), o.version_id.clone())).collect();
        return Some((&input.bucket, Deed::DeletedMany { objects }));
    }
    let changed = |name, key: &str, version: &Option<String>| Deed::Changed { name, key: key.to_owned(), version: version.clone() };
    if let Some(input) = input.downcast_ref::<PutObjectTaggingInput>() {
        return Some((&input.bucket, changed("ObjectTagging:Put", &input.key, &input.version_id)));
    }
    if let Some(input) = input.downcast_ref::<DeleteObjectTaggingInput>() {
        return Some((&input.bucket, changed("ObjectTagging:Delete", &input.key, &input.version_id)));
    }
    if let Some(input) = input.downcast_ref::<PutObjectAclInput>() {
        return Some((&input.bucket, changed("ObjectAcl:Put", &input.key, &input.version_id)));
    }
    None
}

impl S3 {
    /// Looks at an operation that begins.
    pub(crate) fn watch<T: Any>(&self, request: &S3Request<T>) -> Option<Watch> {
        let (bucket, deed) = deed(request)?;
        let bucket = self.objects.bucket(bucket).filter(|bucket| Self::is_watched(bucket))?;
        Some(Watch { bucket, by: By::request(request), deed })
    }

    /// Tells what an operation did, now that it worked.
    pub(crate) async fn watched(&self, done: Done) {
        let mut happenings = done.happenings;
        if done.look {
            for happening in &mut happenings {
                self.look(&done.bucket, happening).await;
            }
        }
        self.tell(&done.bucket, &done.by, &happenings);
    }

    /// Finds out what there is to say of an object that was written or changed.
    async fn look(&self, bucket: &Bucket, happening: &mut Happening) {
        let id: Option<VersionId> = happening.version.as_deref().and_then(|id| id.parse().ok());
        // It may be gone already.
        let Ok(found) = self.objects.get(&bucket.name, &happening.key, id.as_ref()).await else { return };
        happening.size = Some(found.size);
        happening.etag = Some(found.etag.clone());
        if bucket.versioning != Versioning::Off {
            happening.version.get_or_insert_with(|| found.id.as_str().to_owned());
        }
    }
}

impl Watch {
    /// What was done, by what the operation answers.
    pub(crate) fn done(self, headers: &HeaderMap, output: &dyn Any) -> Done {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let said = header("x-amz-version-id").map(str::to_owned);
        let Self { bucket, by, deed } = self;
        let (look, happenings) = match deed {
            Deed::Made { name, key } => {
                (true, vec![Happening { name, key, version: said.or_else(|| made_version(output)), ..Happening::default() }])
            }
            Deed::Changed { name, key, version } => (true, vec![Happening { name, key, version, ..Happening::default() }]),
            Deed::Deleted { key, version } => {
                let marker = version.is_none() && header("x-amz-delete-marker") == Some("true");
                (false, vec![deleted(key, version.or(said), marker)])
            }
            Deed::DeletedMany { objects } => {
                (false, output.downcast_ref::<DeleteObjectsOutput>().map(|o| many(&bucket, &objects, o)).unwrap_or_default())
            }
        };
        Done { bucket, by, look, happenings }
    }
}

/// The version that an operation says it made.
fn made_version(output: &dyn Any) -> Option<String> {
    if let Some(output) = output.downcast_ref::<PutObjectOutput>() {
        return output.version_id.clone();
    }
    if let Some(output) = output.downcast_ref::<CopyObjectOutput>() {
        return output.version_id.clone();
    }
    output.downcast_ref::<CompleteMultipartUploadOutput>().and_then(|output| output.version_id.clone())
}

fn deleted(key: String, version: Option<String>, marker: bool) -> Happening {
    /// The MD5 of nothing, which a marker is.
    const NOTHING: &str = "d41d8cd98f00b204e9800998ecf8427e";
    let name = if marker { "ObjectRemoved:DeleteMarkerCreated" } else { "ObjectRemoved:Delete" };
    Happening { name, key, version, etag: marker.then(|| NOTHING.to_owned()), size: None }
}

/// What was deleted of many: those that failed were not. A quiet answer doesn't name the markers that were made.
fn many(bucket: &Bucket, objects: &[(String, Option<String>)], output: &DeleteObjectsOutput) -> Vec<Happening> {
    let failed: BTreeSet<(&str, Option<&str>)> =
        output.errors.iter().flatten().filter_map(|e| Some((e.key.as_deref()?, e.version_id.as_deref()))).collect();
    let marker_of = |key: &str| {
        let mut done = output.deleted.iter().flatten();
        done.find(|d| d.key.as_deref() == Some(key) && d.version_id.is_none()).and_then(|d| d.delete_marker_version_id.clone())
    };
    let done = objects.iter().filter(|(key, version)| !failed.contains(&(key.as_str(), version.as_deref())));
    let tell = |(key, version): &(String, Option<String>)| {
        let marker = version.is_none() && bucket.versioning != Versioning::Off;
        deleted(key.clone(), version.clone().or_else(|| marker_of(key)), marker)
    };
    done.map(tell).collect()
}
