//! Encryption at rest.

use std::fmt;

/// The key that wraps the data keys. Whoever has it and the directory can read all but what customers sealed.
#[derive(Clone)]
pub struct MasterKey(pub(crate) [u8; 32]);

impl MasterKey {
    /// From 32 random bytes that are kept elsewhere.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey")
    }
}

/// How a body is encrypted.
#[derive(Clone)]
pub enum Seal {
    /// Not at all.
    None,
    /// With a key of its own, wrapped by the master key (SSE-S3, SSE-KMS).
    Engine,
    /// With a key of its own, wrapped by the customer's, which is not kept (SSE-C).
    Customer([u8; 32]),
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Engine => "Engine",
            Self::Customer(_) => "Customer",
        })
    }
}
