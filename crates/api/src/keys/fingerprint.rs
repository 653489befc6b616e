//! Fingerprints as AWS computes them: which hash of what differs by the key's kind and origin ("Verify the fingerprint of your key
//! pair", EC2 User Guide).

use super::KeyError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use md5::Md5;
use rsa::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _};
use rsa::{PrivateKey, PublicKey};
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// Of an RSA key made by AWS: SHA-1 of the private key's PKCS#8 DER, in hexadecimal with colons.
pub(super) fn rsa_created(key: &PrivateKey) -> Result<String, KeyError> {
    Ok(colons::<Sha1>(key.to_pkcs8_der()?.as_bytes()))
}

/// Of an imported RSA key: MD5 of the public key's DER (SubjectPublicKeyInfo), in hexadecimal with colons. `None` if it can't be encoded.
pub(super) fn rsa_imported(key: &PublicKey) -> Option<String> {
    Some(colons::<Md5>(key.to_public_key_der().ok()?.as_bytes()))
}

/// Of an Ed25519 key: SHA-256 of its SSH form, in base64.
pub(super) fn ed25519(blob: &[u8]) -> String {
    BASE64.encode(Sha256::digest(blob))
}

fn colons<D: Digest>(bytes: &[u8]) -> String {
    D::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}
