//! Key pairs: the public half, which goes to instances at launch. The private half is given out once and never kept.

use crate::ids::KeyPairId;
use crate::tag::Tags;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// The algorithm of a key pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyType {
    /// RSA, 2048 bits when created here.
    Rsa,
    /// Ed25519.
    Ed25519,
}

/// A key pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPair {
    /// Its id.
    pub id: KeyPairId,
    /// Its name; unique in an account and region.
    pub name: String,
    /// Its algorithm.
    pub key_type: KeyType,
    /// As AWS computes it for this kind and origin ("Fingerprint", DescribeKeyPairs).
    pub fingerprint: String,
    /// One line of OpenSSH's `authorized_keys`.
    pub public_key: String,
    /// When it was created.
    pub created: Timestamp,
    /// Its tags.
    pub tags: Tags,
}
