//! Settings of buckets: one file a setting. What a setting does is where it is used.

mod cors;
mod encryption;
mod lifecycle;
mod lock;
mod logging;
mod notification;
mod payment;
mod replication;
mod tagging;
mod versioning;
mod website;

pub(crate) use cors::{cors_delete, cors_get, cors_put, rules as cors_rules};
pub(crate) use encryption::{encryption_delete, encryption_get, encryption_put};
pub(crate) use lifecycle::{lifecycle_delete, lifecycle_get, lifecycle_put, rules as lifecycle_rules};
pub(crate) use lock::{lock_get, lock_put};
pub(crate) use logging::{LOGGING, grants as logging_grants, logging_get, logging_put, target as logging_target};
pub(crate) use notification::{NOTIFICATION, notification_get, notification_put, rules as notification_rules};
use payment::payer;
pub(crate) use payment::{accelerate_get, accelerate_put, payment_get, payment_put};
pub(crate) use replication::{replication_delete, replication_get};
pub(crate) use tagging::{limit as tags_limit, read as tags_read, tagging_delete, tagging_get, tagging_put};
pub(crate) use versioning::{versioning_get, versioning_put};
pub(crate) use website::{config as website_config, website_delete, website_get, website_put};

use crate::error::{self, Result};
use crate::service::S3;
use anyhow::Context as _;
use objects::Bucket;
use s3s::xml::{Deserialize, Deserializer, Serialize, Serializer};
use std::sync::Arc;

/// A setting that is kept as AWS's XML, read back.
pub(crate) fn document<T: for<'xml> Deserialize<'xml>>(bucket: &Bucket, name: &str) -> Result<Option<T>> {
    bucket.documents.get(name).map(|text| parse(bucket, name, text)).transpose()
}

/// What `read` makes of a setting: once for each state of the bucket.
pub(crate) fn reading<T, R>(bucket: &Bucket, name: &'static str, read: impl FnOnce(T) -> Result<R>) -> Result<Option<Arc<R>>>
where
    T: for<'xml> Deserialize<'xml>,
    R: Send + Sync + 'static,
{
    let Some(text) = bucket.documents.get(name) else { return Ok(None) };
    bucket.readings.get(name, || read(parse(bucket, name, text)?)).map(Some)
}

fn parse<T: for<'xml> Deserialize<'xml>>(bucket: &Bucket, name: &str, text: &str) -> Result<T> {
    let read = T::deserialize(&mut Deserializer::new(text.as_bytes()));
    let read = read.map_err(|e| anyhow::anyhow!("{e:?}")).with_context(|| format!("{name} of the bucket {} can't be read", bucket.name));
    read.map_err(|e| error::internal(&e))
}

/// A setting as AWS's XML.
fn xml<T: Serialize>(value: &T) -> Result<String> {
    let mut text = Vec::new();
    value.serialize(&mut Serializer::new(&mut text)).map_err(|e| error::internal(&e.into()))?;
    String::from_utf8(text).map_err(|e| error::internal(&e.into()))
}

/// Keeps a setting as AWS's XML.
async fn document_put<T: Serialize>(s3: &S3, bucket: &str, name: &'static str, value: &T) -> Result<()> {
    let text = xml(value)?;
    let put = move |bucket: &mut Bucket| {
        bucket.documents.insert(name.into(), text);
        Ok(())
    };
    update(s3, bucket, put).await.map(drop)
}

/// Forgets a setting.
async fn document_delete(s3: &S3, bucket: &str, name: &'static str) -> Result<()> {
    let delete = move |bucket: &mut Bucket| {
        bucket.documents.remove(name);
        Ok(())
    };
    update(s3, bucket, delete).await.map(drop)
}

/// Changes a bucket, unless `change` refuses.
pub(crate) async fn update(s3: &S3, bucket: &str, change: impl FnOnce(&mut Bucket) -> Result<()> + Send + 'static) -> Result<Arc<Bucket>> {
    s3.objects.bucket_update(bucket, change).await.map_err(error::engine)?
}
