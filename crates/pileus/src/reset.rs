//! Taking a simulated cloud back to its beginning.

use anyhow::{Context as _, Result};
use model::time::Timestamp;
use objects::{Error, Objects};
use store::{Mode, Store};

/// Removes what all accounts have, and the accounts that were made at the first use of unknown keys.
pub(crate) async fn reset(store: &Store, objects: &Objects, now: Timestamp) -> Result<()> {
    anyhow::ensure!(store.mode() == Mode::Simulated, "only a simulated cloud can be reset; this one is real");
    let cleared = store.write(move |tx| {
        api::account::reset(tx);
        api::catalogue::catalogue_renew(tx, now);
        Ok::<_, std::convert::Infallible>(())
    });
    match cleared.await? {
        Ok(()) => {}
        Err(never) => match never {},
    }
    for bucket in objects.buckets_all() {
        bucket_destroy(objects, &bucket.name).await?;
    }
    Ok(())
}

/// Removes a bucket with all objects. One that is gone by now is no error.
pub(crate) async fn bucket_destroy(objects: &Objects, name: &str) -> Result<()> {
    match objects.bucket_destroy(name).await {
        Err(Error::NoSuchBucket) => Ok(()),
        done => done.with_context(|| format!("can't delete the bucket {name}")),
    }
}
