//! Public keys as ImportKeyPair takes them: a line of OpenSSH; for RSA also base64 of the DER form, and RFC 4716.

use super::{PublicKey, algorithm, fingerprint, openssh};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::VerifyingKey;
use model::key_pair::KeyType;
use rsa::BoxedUint;
use rsa::pkcs8::DecodePublicKey as _;
use rsa::traits::PublicKeyParts as _;

/// Longest text that is looked at, in bytes.
const MATERIAL_BYTES_MAX: usize = 16_384;
/// The sizes of RSA keys that AWS takes, in bits.
const RSA_BITS: [u32; 3] = [1024, 2048, 4096];
const SSH2_BEGIN: &str = "---- BEGIN SSH2 PUBLIC KEY ----";
const SSH2_END: &str = "---- END SSH2 PUBLIC KEY ----";

/// Why a public key isn't taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadKey {
    /// It isn't in one of the forms, or not a key.
    Format,
    /// It is an RSA key of a size that AWS doesn't take.
    Length,
}

/// Reads a public key.
///
/// # Errors
/// [`BadKey`].
pub(crate) fn import(material: &[u8]) -> Result<PublicKey, BadKey> {
    if material.len() > MATERIAL_BYTES_MAX {
        return Err(BadKey::Format);
    }
    let text = std::str::from_utf8(material).map_err(|_| BadKey::Format)?.trim();
    if text.starts_with(SSH2_BEGIN) {
        return rfc4716(text);
    }
    let mut words = text.split_ascii_whitespace();
    match words.next() {
        Some("ssh-rsa") => openssh_rsa(&decode(words.next())?),
        Some("ssh-ed25519") => openssh_ed25519(&decode(words.next())?),
        Some(_) => der(text),
        None => Err(BadKey::Format),
    }
}

fn decode(base64: Option<&str>) -> Result<Vec<u8>, BadKey> {
    BASE64.decode(base64.ok_or(BadKey::Format)?).map_err(|_| BadKey::Format)
}

/// Base64 of a SubjectPublicKeyInfo, in one line or more.
fn der(text: &str) -> Result<PublicKey, BadKey> {
    let base64: String = text.split_ascii_whitespace().collect();
    rsa(rsa::PublicKey::from_public_key_der(&decode(Some(&base64))?).map_err(|_| BadKey::Format)?)
}

/// RFC 4716: header lines have a colon, and go on in the next line after a backslash.
fn rfc4716(text: &str) -> Result<PublicKey, BadKey> {
    let body = text.strip_prefix(SSH2_BEGIN).and_then(|t| t.strip_suffix(SSH2_END)).ok_or(BadKey::Format)?;
    let (mut base64, mut in_header) = (String::new(), false);
    for line in body.lines().map(str::trim_end) {
        if in_header || line.contains(':') {
            in_header = line.ends_with('\\');
        } else {
            base64.push_str(line.trim());
        }
    }
    openssh_rsa(&decode(Some(&base64))?)
}

fn openssh_rsa(blob: &[u8]) -> Result<PublicKey, BadKey> {
    let mut reader = Reader(blob);
    let (name, e, n) = (reader.string()?, reader.number()?, reader.number()?);
    if name != algorithm(KeyType::Rsa).as_bytes() || !reader.0.is_empty() {
        return Err(BadKey::Format);
    }
    let number = |digits: &[u8]| {
        let bits = u32::try_from(digits.len() * 8).map_err(|_| BadKey::Format)?;
        BoxedUint::from_be_slice(digits, bits).map_err(|_| BadKey::Format)
    };
    rsa_size(bit_length(n))?;
    rsa(rsa::PublicKey::new(number(n)?, number(e)?).map_err(|_| BadKey::Format)?)
}

fn openssh_ed25519(blob: &[u8]) -> Result<PublicKey, BadKey> {
    let mut reader = Reader(blob);
    let (name, point) = (reader.string()?, reader.string()?);
    let point: [u8; 32] = point.try_into().map_err(|_| BadKey::Format)?;
    if name != algorithm(KeyType::Ed25519).as_bytes() || !reader.0.is_empty() {
        return Err(BadKey::Format);
    }
    let key = VerifyingKey::from_bytes(&point).map_err(|_| BadKey::Format)?;
    let blob = openssh::ed25519_blob(&key);
    let fingerprint = fingerprint::ed25519(&blob);
    Ok(PublicKey { key_type: KeyType::Ed25519, blob, fingerprint })
}

fn rsa(key: rsa::PublicKey) -> Result<PublicKey, BadKey> {
    rsa_size(key.n().bit_width_vartime())?;
    let fingerprint = fingerprint::rsa_imported(&key).ok_or(BadKey::Format)?;
    Ok(PublicKey { key_type: KeyType::Rsa, blob: openssh::rsa_blob(&key), fingerprint })
}

fn rsa_size(bits: u32) -> Result<(), BadKey> {
    if RSA_BITS.contains(&bits) { Ok(()) } else { Err(BadKey::Length) }
}

/// Of a number without leading zeros.
fn bit_length(digits: &[u8]) -> u32 {
    let first = digits.first().map_or(8, |b| b.leading_zeros());
    u32::try_from(digits.len() * 8).map_or(u32::MAX, |bits| bits - first)
}

/// Reads the parts of a blob.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn string(&mut self) -> Result<&'a [u8], BadKey> {
        let (length, rest) = self.0.split_first_chunk::<4>().ok_or(BadKey::Format)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| BadKey::Format)?;
        let (string, rest) = rest.split_at_checked(length).ok_or(BadKey::Format)?;
        self.0 = rest;
        Ok(string)
    }

    /// A positive number, without the zero that its sign may need.
    fn number(&mut self) -> Result<&'a [u8], BadKey> {
        match self.string()? {
            [0, digits @ ..] if digits.first().is_some_and(|b| b & 0x80 != 0) => Ok(digits),
            digits @ [1..=0x7f, ..] => Ok(digits),
            _ => Err(BadKey::Format),
        }
    }
}
