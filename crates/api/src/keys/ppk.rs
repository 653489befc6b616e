//! PuTTY's private key files, version 2, without a passphrase ("PPK file format", PuTTY User Manual, appendix C).

use super::openssh::{lines, put_string};
use ed25519_dalek::SigningKey;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::{Digest as _, Sha1};

/// Characters a line of base64.
const LINE_CHARS: usize = 64;

/// A file of the given key: `public` as SSH carries it, `private` as PuTTY orders its secret numbers.
pub(super) fn write(algorithm: &str, comment: &str, public: &[u8], private: &[u8]) -> String {
    let (public_lines, private_lines) = (lines(public, LINE_CHARS), lines(private, LINE_CHARS));
    format!(
        "PuTTY-User-Key-File-2: {algorithm}\nEncryption: none\nComment: {comment}\nPublic-Lines: {}\n{public_lines}Private-Lines: {}\n\
         {private_lines}Private-MAC: {}\n",
        public_lines.lines().count(),
        private_lines.lines().count(),
        mac(algorithm, comment, public, private),
    )
}

/// The secret of an Ed25519 key: its seed, all 32 bytes of it as they are.
pub(super) fn ed25519_private_part(key: &SigningKey) -> Vec<u8> {
    let mut out = Vec::new();
    put_string(&mut out, &key.to_bytes());
    out
}

fn mac(algorithm: &str, comment: &str, public: &[u8], private: &[u8]) -> String {
    let mut covered = Vec::new();
    for part in [algorithm.as_bytes(), b"none", comment.as_bytes(), public, private] {
        put_string(&mut covered, part);
    }
    let key = Sha1::digest(b"putty-private-key-file-mac-key");
    let mut mac = Hmac::<Sha1>::new_from_slice(&key).expect("HMAC takes a key of any length");
    mac.update(&covered);
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}
