//! Secrets for s3s, which checks signatures with them.

use crate::service::S3;
use s3s::auth::{S3Auth, SecretKey};
use s3s::{S3Result, s3_error};

#[async_trait::async_trait]
impl S3Auth for S3 {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        let snapshot = self.store.snapshot();
        let unknown = || s3_error!(InvalidAccessKeyId, "The AWS Access Key Id you provided does not exist in our records.");
        snapshot.access_key(access_key).map(|key| SecretKey::from(key.secret.as_str())).ok_or_else(unknown)
    }
}
