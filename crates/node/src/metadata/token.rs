//! Session tokens of the metadata service's version 2. Nothing is kept: a token says until when it is good, and is sealed for its
//! instance, so it outlives a restart of the server and is worth nothing in another guest.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use model::ids::InstanceId;
use model::time::Clock;
use sha2::Sha256;
use std::sync::Arc;

/// The first bytes of every token, so that it looks like AWS's (`AQ…`) and its form can be changed one day.
const FORM: [u8; 2] = [1, 0];
const EXPIRY_BYTES: usize = 8;
const SEAL_BYTES: usize = 32;
const TOKEN_BYTES: usize = FORM.len() + EXPIRY_BYTES + SEAL_BYTES;

/// Gives out tokens and checks them.
#[derive(Clone)]
pub struct Tokens {
    secret: [u8; 32],
    clock: Arc<dyn Clock>,
}

impl Tokens {
    /// Whoever has the secret can make tokens; a new one makes all old tokens void.
    #[must_use]
    pub fn new(secret: [u8; 32], clock: Arc<dyn Clock>) -> Self {
        Self { secret, clock }
    }

    /// A token of 56 characters, good for `ttl_seconds`.
    #[must_use]
    pub fn issue(&self, instance: &InstanceId, ttl_seconds: u32) -> String {
        let expiry = self.clock.now().plus_millis(i64::from(ttl_seconds) * 1000).0.to_be_bytes();
        let mut token = Vec::with_capacity(TOKEN_BYTES);
        token.extend_from_slice(&FORM);
        token.extend_from_slice(&expiry);
        token.extend_from_slice(&self.seal(instance, expiry).finalize().into_bytes());
        BASE64.encode(token)
    }

    /// For how many seconds more the token is good for the instance; `None` if it isn't.
    #[must_use]
    pub fn check(&self, instance: &InstanceId, token: &str) -> Option<u32> {
        let bytes: [u8; TOKEN_BYTES] = BASE64.decode(token).ok()?.try_into().ok()?;
        let (expiry, seal) = bytes.strip_prefix(&FORM)?.split_first_chunk::<EXPIRY_BYTES>()?;
        self.seal(instance, *expiry).verify_slice(seal).ok()?;
        let left = i64::from_be_bytes(*expiry).checked_sub(self.clock.now().0).filter(|left| *left > 0)?;
        u32::try_from((left + 999) / 1000).ok()
    }

    fn seal(&self, instance: &InstanceId, expiry: [u8; EXPIRY_BYTES]) -> Hmac<Sha256> {
        let mut seal = Hmac::<Sha256>::new_from_slice(&self.secret).expect("HMAC takes a key of any length");
        seal.update(&FORM);
        seal.update(&expiry);
        seal.update(instance.as_str().as_bytes());
        seal
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use model::time::Timestamp;
    use std::sync::atomic::{AtomicI64, Ordering};

    struct Hand(AtomicI64);

    impl Clock for Hand {
        fn now(&self) -> Timestamp {
            Timestamp(self.0.load(Ordering::Relaxed))
        }
    }

    #[test]
    fn a_token_is_good_for_its_instance_and_time_only() {
        let clock = Arc::new(Hand(AtomicI64::new(1_000_000)));
        let tokens = Tokens::new([7; 32], Arc::clone(&clock) as Arc<dyn Clock>);
        let (one, other): (InstanceId, InstanceId) = ("i-0123456789abcdef0".parse().unwrap(), "i-0123456789abcdef1".parse().unwrap());
        let token = tokens.issue(&one, 60);
        assert_eq!(token.len(), 56);
        assert!(token.starts_with("AQ"));
        assert_eq!(tokens.check(&one, &token), Some(60));
        assert_eq!(tokens.check(&other, &token), None);
        assert_eq!(Tokens::new([8; 32], Arc::clone(&clock) as Arc<dyn Clock>).check(&one, &token), None);
        clock.0.fetch_add(59_001, Ordering::Relaxed);
        assert_eq!(tokens.check(&one, &token), Some(1));
        clock.0.fetch_add(999, Ordering::Relaxed);
        assert_eq!(tokens.check(&one, &token), None);
    }

    #[test]
    fn no_altered_token_is_good() {
        let tokens = Tokens::new([7; 32], Arc::new(Hand(AtomicI64::new(0))));
        let instance = "i-0123456789abcdef0".parse().unwrap();
        let token = tokens.issue(&instance, 21_600);
        let bytes = BASE64.decode(&token).unwrap();
        for i in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[i] ^= 1;
            assert_eq!(tokens.check(&instance, &BASE64.encode(altered)), None, "byte {i}");
        }
        for bad in ["", "x", &token[..52], &format!("{token}AAAA"), "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"] {
            assert_eq!(tokens.check(&instance, bad), None, "{bad}");
        }
    }
}
