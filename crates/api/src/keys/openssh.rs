//! The forms of OpenSSH: public keys as its protocol carries them (RFC 4253, section 6.6; RFC 8709) and Ed25519 private keys in its own
//! format (`PROTOCOL.key` of OpenSSH).

use super::KeyError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{SigningKey, VerifyingKey};
use rsa::traits::{PrivateKeyParts as _, PublicKeyParts as _};
use rsa::{PrivateKey, PublicKey};

/// Characters a line of the private key's base64.
const LINE_CHARS: usize = 70;
/// The private part is padded to a multiple of this many bytes.
const BLOCK_BYTES: usize = 8;

/// Appends a string: its length in four bytes, then its bytes.
pub(super) fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("a key's part is far shorter than 4 GiB");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Appends a positive number: without leading zeros, but for one if its first bit is set (RFC 4251, section 5).
pub(super) fn put_number(out: &mut Vec<u8>, big_endian: &[u8]) {
    let first = big_endian.iter().position(|b| *b != 0).unwrap_or(big_endian.len());
    let digits = &big_endian[first..];
    if digits.first().is_some_and(|b| b & 0x80 != 0) {
        put_string(out, &[&[0], digits].concat());
    } else {
        put_string(out, digits);
    }
}

pub(super) fn rsa_blob(key: &PublicKey) -> Vec<u8> {
    let mut blob = Vec::new();
    put_string(&mut blob, b"ssh-rsa");
    put_number(&mut blob, &key.e_bytes());
    put_number(&mut blob, &key.n_bytes());
    blob
}

pub(super) fn ed25519_blob(key: &VerifyingKey) -> Vec<u8> {
    let mut blob = Vec::new();
    put_string(&mut blob, b"ssh-ed25519");
    put_string(&mut blob, key.as_bytes());
    blob
}

/// An RSA key's secret numbers as PuTTY lists them: d, p, q, q⁻¹ mod p.
pub(super) fn rsa_private_parts(key: &PrivateKey) -> Result<Vec<u8>, KeyError> {
    let [p, q] = key.primes() else { return Err(KeyError::Parts("it doesn't have two primes")) };
    let coefficient = key.crt_coefficient().ok_or(KeyError::Parts("it has no coefficient"))?;
    let mut out = Vec::new();
    for number in [key.d(), p.as_ref(), q.as_ref(), &coefficient] {
        put_number(&mut out, &number.to_be_bytes());
    }
    Ok(out)
}

/// An Ed25519 private key, without a passphrase. `check` is a random number that stands twice, to tell a wrong passphrase from a right one.
pub(super) fn ed25519_private(key: &SigningKey, blob: &[u8], comment: &str, check: u32) -> String {
    let mut private = Vec::new();
    private.extend_from_slice(&check.to_be_bytes());
    private.extend_from_slice(&check.to_be_bytes());
    private.extend_from_slice(blob);
    put_string(&mut private, &key.to_keypair_bytes());
    put_string(&mut private, comment.as_bytes());
    private.extend((1..).take(private.len().next_multiple_of(BLOCK_BYTES) - private.len()));

    let mut out = b"openssh-key-v1\0".to_vec();
    put_string(&mut out, b"none"); // cipher
    put_string(&mut out, b"none"); // key derivation
    put_string(&mut out, b""); // and its options
    out.extend_from_slice(&1_u32.to_be_bytes());
    put_string(&mut out, blob);
    put_string(&mut out, &private);
    // OpenSSH doesn't read this format without the last line feed.
    format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{}-----END OPENSSH PRIVATE KEY-----\n", lines(&out, LINE_CHARS))
}

/// Base64 in lines, each with its line feed.
pub(super) fn lines(bytes: &[u8], chars: usize) -> String {
    let text = BASE64.encode(bytes);
    let mut out = String::with_capacity(text.len() + text.len() / chars + 1);
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(chars.min(rest.len()));
        out.extend([line, "\n"]);
        rest = after;
    }
    out
}
