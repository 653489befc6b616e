//! Idempotency tokens: what a retried call is answered from.

use model::time::Timestamp;
use serde::{Deserialize, Serialize};

/// How long a token is remembered, in milliseconds: 24 hours ("Ensuring idempotency in Amazon EC2 API requests").
pub const TOKEN_KEPT_MILLIS: i64 = 86_400_000;

/// A token, as one account in one region used it with one action.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TokenId {
    /// The action, such as `RunInstances`.
    pub action: String,
    /// The `ClientToken`.
    pub token: String,
}

impl std::fmt::Display for TokenId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // No action has a space in its name, so two tokens never look the same.
        write!(f, "{} {}", self.action, self.token)
    }
}

/// What a call with a token did, committed together with what it did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdempotencyToken {
    /// The token and its action.
    pub id: TokenId,
    /// A hash of the call's parameters: a retry with others is an `IdempotentParameterMismatch`.
    pub params_hash: String,
    /// The ids of what it made, in an order that its action knows.
    pub result_ids: Vec<String>,
    /// When it was used first.
    pub at: Timestamp,
}

impl IdempotencyToken {
    /// Whether it is to be forgotten.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        now.millis_since(self.at) > TOKEN_KEPT_MILLIS
    }
}
