//! SSH keys: made, written in the forms that AWS gives out, read in those that it takes, and their fingerprints. ("Amazon EC2 key
//! pairs and Amazon EC2 instances", EC2 User Guide.) Chance is an argument; nothing is kept here.

mod fingerprint;
mod import;
mod openssh;
mod ppk;

pub(crate) use import::{BadKey, import};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::SigningKey;
use model::key_pair::KeyType;
use rand::CryptoRng;
use rsa::PrivateKey;
use rsa::pkcs1::EncodeRsaPrivateKey as _;
use rsa::pkcs8::LineEnding;

/// Size of the RSA keys that are made here, in bits.
const RSA_BITS: usize = 2048;

/// The forms of a private key that CreateKeyPair gives out (`KeyFormat`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PrivateForm {
    /// PKCS#1 for RSA, OpenSSH's own for Ed25519.
    Pem,
    /// PuTTY's, version 2, which every PuTTY reads.
    Ppk,
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublicKey {
    pub(crate) key_type: KeyType,
    /// In the form of SSH's protocol (RFC 4253, section 6.6).
    blob: Vec<u8>,
    /// As DescribeKeyPairs shows it.
    pub(crate) fingerprint: String,
}

impl PublicKey {
    /// One line of `authorized_keys`. AWS's comment is the key pair's name.
    pub(crate) fn line(&self, comment: &str) -> String {
        format!("{} {} {comment}", algorithm(self.key_type), BASE64.encode(&self.blob))
    }
}

/// A key pair that was just made.
pub(crate) struct Created {
    pub(crate) public: PublicKey,
    /// The private half, in the wanted form. Given out once.
    pub(crate) private: String,
}

/// What can go wrong with a key made here: it didn't fit its own encoding.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    #[error("an RSA key could not be made")]
    Rsa(#[from] rsa::Error),
    #[error("an RSA key could not be encoded as PKCS#1")]
    Pkcs1(#[from] rsa::pkcs1::Error),
    #[error("an RSA key could not be encoded as PKCS#8")]
    Pkcs8(#[from] rsa::pkcs8::Error),
    #[error("an RSA key could not be encoded: {0}")]
    Parts(&'static str),
}

/// Makes a key pair. An RSA one takes up to a second of a processor: not for a thread that others wait for.
///
/// # Errors
/// [`KeyError`], which is our fault.
pub(crate) fn create<R: CryptoRng>(key_type: KeyType, form: PrivateForm, comment: &str, rng: &mut R) -> Result<Created, KeyError> {
    match key_type {
        KeyType::Rsa => created_rsa(&PrivateKey::new(rng, RSA_BITS)?, form, comment),
        KeyType::Ed25519 => {
            let mut seed = [0; 32];
            rng.fill_bytes(&mut seed);
            Ok(created_ed25519(&SigningKey::from_bytes(&seed), form, comment, rng.next_u32()))
        }
    }
}

fn created_rsa(key: &PrivateKey, form: PrivateForm, comment: &str) -> Result<Created, KeyError> {
    let blob = openssh::rsa_blob(&rsa::PublicKey::from(key));
    let private = match form {
        PrivateForm::Pem => key.to_pkcs1_pem(LineEnding::LF)?.trim_end().to_owned(),
        PrivateForm::Ppk => ppk::write(algorithm(KeyType::Rsa), comment, &blob, &openssh::rsa_private_parts(key)?),
    };
    let public = PublicKey { key_type: KeyType::Rsa, blob, fingerprint: fingerprint::rsa_created(key)? };
    Ok(Created { public, private })
}

fn created_ed25519(key: &SigningKey, form: PrivateForm, comment: &str, check: u32) -> Created {
    let blob = openssh::ed25519_blob(&key.verifying_key());
    let private = match form {
        PrivateForm::Pem => openssh::ed25519_private(key, &blob, comment, check),
        PrivateForm::Ppk => ppk::write(algorithm(KeyType::Ed25519), comment, &blob, &ppk::ed25519_private_part(key)),
    };
    let fingerprint = fingerprint::ed25519(&blob);
    Created { public: PublicKey { key_type: KeyType::Ed25519, blob, fingerprint }, private }
}

/// SSH's name of a kind of key.
fn algorithm(key_type: KeyType) -> &'static str {
    match key_type {
        KeyType::Rsa => "ssh-rsa",
        KeyType::Ed25519 => "ssh-ed25519",
    }
}

#[cfg(test)]
mod tests;
