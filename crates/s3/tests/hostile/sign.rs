//! Signatures as a client makes them ("Calculating a signature"); the golden exchanges use them, too.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use std::fmt::Write as _;

/// A key that signs.
pub(crate) struct Signer {
    pub(crate) key: String,
    pub(crate) secret: String,
    pub(crate) region: String,
    /// `20261124T040739Z`
    pub(crate) date: String,
}

impl Signer {
    pub(crate) fn scope(&self) -> String {
        format!("{}/{}/s3/aws4_request", &self.date[..8], self.region)
    }

    pub(crate) fn credential(&self) -> String {
        format!("{}/{}", self.key, self.scope())
    }

    pub(crate) fn sign(&self, text: &str) -> String {
        let key = self.scope().split('/').fold(format!("AWS4{}", self.secret).into_bytes(), |key, word| hmac(&key, word));
        hex(&hmac(&key, text))
    }
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    Hmac::<Sha256>::new_from_slice(key).unwrap().chain_update(text).finalize().into_bytes().to_vec()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        _ = write!(text, "{byte:02x}");
        text
    })
}
