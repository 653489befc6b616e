//! Sees what is written, and makes the events that a bucket's owner wants of it.

use super::{By, Events, Happening, record};
use crate::caller::Caller;
use crate::configuration::{NOTIFICATION, notification_rules};
use crate::form::Form;
use crate::front::{Peer, RequestId};
use crate::service::S3;
use crate::settings::Settings;
use model::time::Clock;
use objects::{Bucket, Change, Event, Version, VersionId, Versioning, Witness};
use s3s::S3Request;
use s3s::dto::*;
use std::any::Any;
use std::sync::Arc;

/// The MD5 of nothing, which a marker is.
const NOTHING: &str = "d41d8cd98f00b204e9800998ecf8427e";

/// What is written by one operation in a bucket of which somebody wants to know.
struct Watch {
    by: By,
    deed: Deed,
    events: Events,
    clock: Arc<dyn Clock>,
    settings: Arc<Settings>,
}

/// What an operation does to objects.
#[derive(Clone, Copy)]
enum Deed {
    /// Writes a version or changes one: the event of that name.
    Writes(&'static str),
    /// Deletes: the event's name, and its name if that only makes a marker.
    Deletes(&'static str, &'static str),
    /// Restores an archived version, at once: what was asked for is done.
    Restores,
}

const REMOVES: Deed = Deed::Deletes("ObjectRemoved:Delete", "ObjectRemoved:DeleteMarkerCreated");
const EXPIRES: Deed = Deed::Deletes("LifecycleExpiration:Delete", "LifecycleExpiration:DeleteMarkerCreated");

impl By {
    /// Who sent a request.
    fn request<T>(request: &S3Request<T>) -> Self {
        Self {
            principal: Caller::of(request).account().map_or_else(|| "Anonymous".to_owned(), |id| format!("AWS:{}", id.as_str())),
            address: request.extensions.get::<Peer>().map_or_else(String::new, |peer| peer.0.ip().to_canonical().to_string()),
            request: request.extensions.get::<RequestId>().map_or_else(String::new, |id| id.0.clone()),
        }
    }

    /// S3 itself, by a bucket's rules.
    fn lifecycle() -> Self {
        let name = || "s3.amazonaws.com".to_owned();
        Self { principal: name(), address: name(), request: String::new() }
    }
}

/// The bucket of an operation that does something to objects, and what.
fn deed<T: Any>(request: &S3Request<T>) -> Option<(&str, Deed)> {
    let input: &dyn Any = &request.input;
    if let Some(input) = input.downcast_ref::<PutObjectInput>() {
        // A form's object is put as any other.
        let of_form = request.extensions.get::<Arc<Form>>().is_some();
        return Some((&input.bucket, Deed::Writes(if of_form { "ObjectCreated:Post" } else { "ObjectCreated:Put" })));
    }
    if let Some(input) = input.downcast_ref::<CopyObjectInput>() {
        return Some((&input.bucket, Deed::Writes("ObjectCreated:Copy")));
    }
    if let Some(input) = input.downcast_ref::<CompleteMultipartUploadInput>() {
        return Some((&input.bucket, Deed::Writes("ObjectCreated:CompleteMultipartUpload")));
    }
    if let Some(input) = input.downcast_ref::<DeleteObjectInput>() {
        return Some((&input.bucket, REMOVES));
    }
    if let Some(input) = input.downcast_ref::<DeleteObjectsInput>() {
        return Some((&input.bucket, REMOVES));
    }
    if let Some(input) = input.downcast_ref::<PutObjectTaggingInput>() {
        return Some((&input.bucket, Deed::Writes("ObjectTagging:Put")));
    }
    if let Some(input) = input.downcast_ref::<DeleteObjectTaggingInput>() {
        return Some((&input.bucket, Deed::Writes("ObjectTagging:Delete")));
    }
    if let Some(input) = input.downcast_ref::<RestoreObjectInput>() {
        return Some((&input.bucket, Deed::Restores));
    }
    if let Some(input) = input.downcast_ref::<PutObjectAclInput>() {
        return Some((&input.bucket, Deed::Writes("ObjectAcl:Put")));
    }
    None
}

impl S3 {
    /// For an operation that begins: what it must work with so that its events are kept. `None`: nobody wants to know.
    pub(crate) fn watching<T: Any>(&self, request: &S3Request<T>) -> Option<Self> {
        let (bucket, deed) = deed(request)?;
        self.objects.bucket(bucket).filter(|bucket| bucket.documents.contains_key(NOTIFICATION))?;
        Some(self.watched(By::request(request), deed))
    }

    /// The same for a bucket's lifecycle rules.
    pub(crate) fn watching_rules(&self) -> Self {
        self.watched(By::lifecycle(), EXPIRES)
    }

    fn watched(&self, by: By, deed: Deed) -> Self {
        let (events, clock, settings) = (self.events.clone(), self.clock.clone(), self.settings.clone());
        let witness = Arc::new(Watch { by, deed, events, clock, settings });
        Self { objects: self.objects.witnessed(witness), ..self.clone() }
    }
}

impl Witness for Watch {
    fn tell(&self, bucket: &Bucket, change: Change<'_>) -> Vec<Event> {
        // Why the rules can't be read is in the log. What happens, happens.
        let Ok(Some(rules)) = notification_rules(bucket) else { return Vec::new() };
        // Nobody delivers to others than the operator gave the bucket's owner.
        let known = |arn: &str| self.settings.has_destination(&bucket.owner, arn);
        let now = self.clock.now();
        let mut events = Vec::new();
        for happening in self.happenings(bucket, change) {
            let wanted = rules.iter().filter(|rule| rule.wants(happening.name, happening.key) && known(&rule.arn));
            let sequencer = self.events.sequencer(now);
            let event = |rule| record::event(bucket, rule, &self.by, &happening, sequencer, now);
            events.extend(wanted.map(|rule| Event { destination: rule.arn.clone(), body: event(rule), at: now }));
        }
        events
    }
}

impl Watch {
    fn happenings<'a>(&self, bucket: &Bucket, change: Change<'a>) -> Vec<Happening<'a>> {
        let written = |name, version: &'a Version| Happening {
            name,
            key: &version.key,
            size: Some(version.size),
            etag: Some(&version.etag),
            version: (bucket.versioning != Versioning::Off).then(|| version.id.as_str()),
            restored: None,
        };
        match (self.deed, change) {
            (Deed::Writes(name), Change::Written(version)) => vec![written(name, version)],
            (Deed::Restores, Change::Written(version)) => {
                let record = &version.record;
                let restored = record.restored_until.zip(record.storage_class.as_deref());
                vec![written("ObjectRestore:Post", version), Happening { restored, ..written("ObjectRestore:Completed", version) }]
            }
            (Deed::Deletes(removed, marked), Change::Deleted(delete, done)) => {
                let marker = delete.version.is_none() && done.marker;
                let name = if marker { marked } else { removed };
                let version = done.version.as_ref().map(VersionId::as_str);
                vec![Happening { name, key: &delete.key, size: None, etag: marker.then_some(NOTHING), version, restored: None }]
            }
            // An operation writes or deletes, never both.
            (Deed::Writes(_) | Deed::Restores, Change::Deleted(..)) | (Deed::Deletes(..), Change::Written(_)) => Vec::new(),
        }
    }
}
