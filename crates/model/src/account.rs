//! Accounts (tenants) and the access keys that speak for them.

use crate::scope::AccountId;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Twelve digits.
    pub id: AccountId,
    /// The name it was created with; unique on this cloud.
    pub name: String,
    /// When it was created.
    pub created: Timestamp,
    /// Since when it is closed: it has no keys any more.
    #[serde(default)]
    pub closed: Option<Timestamp>,
}

/// A long-term access key. It speaks for the account's root user until identity (IAM) is built.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessKey {
    /// `AKIA` and 16 letters or digits.
    pub id: String,
    /// 40 characters; kept in clear, since verifying SigV4 needs it.
    pub secret: String,
    /// Whom it speaks for.
    pub account: AccountId,
    /// When it was created.
    pub created: Timestamp,
    /// It was made at its first use by a client whose secret nobody knows (`serve --any-credentials`): while the server takes any
    /// credentials, signatures by it are not judged.
    #[serde(default)]
    pub any_secret: bool,
}

impl std::fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessKey").field("id", &self.id).field("account", &self.account).finish_non_exhaustive()
    }
}

/// Draws an access key id: `AKIA` and 16 of A–Z, 2–7.
pub fn access_key_id(rng: &mut dyn rand::Rng) -> String {
    use rand::RngExt as _;
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let tail: String = (0..16).map(|_| LETTERS[rng.random_range(0..32)] as char).collect();
    format!("AKIA{tail}")
}

/// Draws a secret access key: 30 random bytes in base64, which are 40 characters.
pub fn secret_access_key(rng: &mut dyn rand::Rng) -> String {
    use base64::Engine as _;
    let mut bytes = [0u8; 30];
    rng.fill_bytes(&mut bytes);
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// Draws an account id.
pub fn account_id(rng: &mut dyn rand::Rng) -> AccountId {
    use rand::RngExt as _;
    let n: u64 = rng.random_range(100_000_000_000..1_000_000_000_000);
    n.to_string().parse().expect("twelve digits are an account id")
}
