//! Encryption at rest: AES-256-GCM in pieces of 64 KiB, so that a range needs only its own pieces. Each body has a random key of its own, which is
//! kept wrapped. A piece's nonce is its number, which is safe since no key seals two bodies.

use crate::error::{Error, Result};
use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::aead::{AeadInOut as _, KeyInit as _};
use aes_gcm::{Aes256Gcm, Key, Nonce, Tag};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use rand::{CryptoRng, RngExt as _};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Plain bytes of a piece; the last one may be shorter.
pub(crate) const PIECE: usize = 64 * 1024;
/// Bytes that sealing adds to a piece.
pub(crate) const TAG: usize = 16;
/// Bytes of a nonce.
const NONCE: usize = 12;

/// The key that wraps the data keys. Whoever has it and the directory can read all but what customers sealed. The nonces of wrapped
/// keys are random: one master key is good for 2^32 bodies.
#[derive(Clone)]
pub struct MasterKey([u8; 32]);

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

/// A data key, sealed by another: nonce, key and tag in base64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Wrapped {
    Engine(String),
    Customer(String),
}

/// Seals and opens the pieces of one body.
pub(crate) struct Cipher(Aes256Gcm);

/// A new key for a body; nothing if it is not to be sealed.
pub(crate) fn draw(seal: &Seal, master: &MasterKey, rng: &mut dyn CryptoRng) -> Result<Option<(Cipher, Wrapped)>> {
    let wrapping = match seal {
        Seal::None => return Ok(None),
        Seal::Engine => &master.0,
        Seal::Customer(key) => key,
    };
    let (key, nonce): ([u8; 32], [u8; NONCE]) = (rng.random(), rng.random());
    let mut text = [nonce.as_slice(), &key].concat();
    let tag = cipher(wrapping).encrypt_inout_detached(&nonce.into(), b"", InOutBuf::from(&mut text[NONCE..])).map_err(|_| broken())?;
    text.extend_from_slice(&tag);
    let text = BASE64.encode(text);
    let wrapped = if matches!(seal, Seal::Engine) { Wrapped::Engine(text) } else { Wrapped::Customer(text) };
    Ok(Some((Cipher(cipher(&key)), wrapped)))
}

impl Wrapped {
    /// The key, or [`Error::WrongKey`] if it is a customer's and this is not it.
    pub(crate) fn open(&self, master: &MasterKey, customer: Option<&[u8; 32]>) -> Result<Cipher> {
        match self {
            Self::Engine(text) => unwrap(text, &master.0).ok_or_else(broken),
            Self::Customer(text) => customer.and_then(|key| unwrap(text, key)).ok_or(Error::WrongKey),
        }
    }
}

fn unwrap(text: &str, wrapping: &[u8; 32]) -> Option<Cipher> {
    let mut bytes = BASE64.decode(text).ok()?;
    let (nonce, rest) = bytes.split_first_chunk_mut::<NONCE>()?;
    let (key, tag) = rest.split_first_chunk_mut::<32>()?;
    let tag: [u8; TAG] = (&*tag).try_into().ok()?;
    let opened = cipher(wrapping).decrypt_inout_detached(&Nonce::from(*nonce), b"", InOutBuf::from(key.as_mut_slice()), &Tag::from(tag));
    opened.ok().map(|()| Cipher(cipher(key)))
}

impl Cipher {
    /// Appends the sealed pieces of `plain`, the first of which has this number.
    pub(crate) fn seal(&self, first: u64, plain: &[u8], sealed: &mut Vec<u8>) -> Result<()> {
        for (number, piece) in (first..).zip(plain.chunks(PIECE)) {
            let from = sealed.len();
            sealed.extend_from_slice(piece);
            let tag = self.0.encrypt_inout_detached(&nonce(number), b"", InOutBuf::from(&mut sealed[from..])).map_err(|_| broken())?;
            sealed.extend_from_slice(&tag);
        }
        Ok(())
    }

    /// Opens sealed pieces in place, the first of which has this number, and moves them together.
    pub(crate) fn open(&self, first: u64, bytes: &mut Vec<u8>) -> Result<()> {
        let (total, mut from, mut to) = (bytes.len(), 0, 0);
        for number in first.. {
            if from >= total {
                break;
            }
            let sealed = &mut bytes[from..total.min(from + PIECE + TAG)];
            let (length, plain) = (sealed.len(), sealed.len().saturating_sub(TAG));
            let (text, tag) = sealed.split_at_mut(plain);
            let tag: [u8; TAG] = (&*tag).try_into().map_err(|_| broken())?;
            self.0.decrypt_inout_detached(&nonce(number), b"", InOutBuf::from(text), &Tag::from(tag)).map_err(|_| broken())?;
            bytes.copy_within(from..from + plain, to);
            (from, to) = (from + length, to + plain);
        }
        bytes.truncate(to);
        Ok(())
    }
}

/// Bytes that so many plain bytes become.
pub(crate) fn sealed_size(plain: u64) -> u64 {
    plain + plain.div_ceil(PIECE as u64) * TAG as u64
}

fn cipher(key: &[u8; 32]) -> Aes256Gcm {
    Aes256Gcm::new(&Key::<Aes256Gcm>::from(*key))
}

fn nonce(number: u64) -> Nonce<aes_gcm::aead::consts::U12> {
    let mut bytes = [0; NONCE];
    bytes[NONCE - 8..].copy_from_slice(&number.to_be_bytes());
    bytes.into()
}

fn broken() -> Error {
    Error::Io(anyhow::anyhow!("a sealed body or its key is damaged, or the master key is another"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_key_opens_and_only_what_was_sealed() {
        let mut rng = rand::rng();
        let master = MasterKey::new([7; 32]);
        let plain: Vec<u8> = (0..PIECE * 2 + 5).map(|i| (i % 251) as u8).collect();
        let (cipher, wrapped) = draw(&Seal::Customer([1; 32]), &master, &mut rng).unwrap().unwrap();
        let mut sealed = Vec::new();
        cipher.seal(0, &plain[..PIECE], &mut sealed).unwrap();
        cipher.seal(1, &plain[PIECE..], &mut sealed).unwrap();
        assert_eq!(sealed.len() as u64, sealed_size(plain.len() as u64));

        assert!(matches!(wrapped.open(&master, None), Err(Error::WrongKey)));
        assert!(matches!(wrapped.open(&master, Some(&[2; 32])), Err(Error::WrongKey)));
        let cipher = wrapped.open(&master, Some(&[1; 32])).unwrap();
        let mut tail = sealed[PIECE + TAG..].to_vec();
        assert!(cipher.open(2, &mut tail.clone()).is_err(), "a piece in another's place");
        cipher.open(1, &mut tail).unwrap();
        assert_eq!(tail, plain[PIECE..]);
        sealed[3] ^= 1;
        assert!(cipher.open(0, &mut sealed).is_err());

        let (_, wrapped) = draw(&Seal::Engine, &master, &mut rng).unwrap().unwrap();
        assert!(wrapped.open(&master, None).is_ok());
        assert!(wrapped.open(&MasterKey::new([8; 32]), None).is_err());
    }
}
