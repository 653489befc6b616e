//! Who asks, and how a request came.

use crate::service::S3;
use model::scope::AccountId;
use s3s::S3Request;
use sha2::{Digest as _, Sha256};
use std::sync::{Arc, OnceLock};

/// Who asks; an extension of each request that was let through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Caller {
    /// Nobody: the request has no signature.
    Anonymous,
    /// An account's root user.
    Account(AccountId),
}

impl Caller {
    /// The account, if it has one.
    pub(crate) fn account(&self) -> Option<&AccountId> {
        match self {
            Self::Anonymous => None,
            Self::Account(id) => Some(id),
        }
    }

    /// Who asks by this request. One that was not looked at is nobody's.
    pub(crate) fn of<T>(request: &S3Request<T>) -> Self {
        request.extensions.get().cloned().unwrap_or(Self::Anonymous)
    }
}

/// The account whose signature a request bears, once that was verified; an extension of each request. Who wants to know puts one into the
/// extensions of what it passes to [`crate::Front::call`], and looks at it at any time.
#[derive(Debug, Clone, Default)]
pub struct Verified(Arc<OnceLock<AccountId>>);

impl Verified {
    /// Keeps it; it doesn't change.
    pub fn set(&self, account: &AccountId) {
        self.0.get_or_init(|| account.clone());
    }

    /// `None`: nobody's was, so far.
    #[must_use]
    pub fn get(&self) -> Option<&AccountId> {
        self.0.get()
    }
}

/// The canonical user id of an account: 64 hexadecimal digits, always the same, that don't show the account.
pub(crate) fn canonical_id(account: &AccountId) -> String {
    use std::fmt::Write as _;
    let digest = Sha256::new().chain_update(b"canonical user id of ").chain_update(account.as_str()).finalize();
    digest.iter().fold(String::with_capacity(64), |mut text, byte| {
        _ = write!(text, "{byte:02x}");
        text
    })
}

impl S3 {
    /// An account as S3 shows it.
    pub(crate) fn owner(&self, account: &AccountId) -> s3s::dto::Owner {
        let display_name = self.store.snapshot().account(account).map(|a| a.name.clone());
        s3s::dto::Owner { id: Some(canonical_id(account)), display_name }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn who_was_verified_is_seen_by_who_began() {
        let begun = Verified::default();
        assert_eq!(begun.get(), None);
        let of_request = begun.clone();
        of_request.set(&"111111111111".parse().unwrap());
        of_request.set(&"222222222222".parse().unwrap());
        assert_eq!(begun.get().map(AccountId::as_str), Some("111111111111"));
    }
}
