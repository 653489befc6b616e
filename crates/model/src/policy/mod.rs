//! The one policy evaluator: what a JSON policy says of a request ("IAM JSON policy elements reference", "Policy evaluation logic").
//!
//! [`Document::parse`] refuses what AWS refuses, so that evaluation never meets a statement it can't understand. A document alone
//! allows, denies or is silent; putting several together (a bucket's, a user's, an ACL) is for the caller: a denial of one wins.

mod condition;
mod document;
mod evaluate;
mod json;
mod malformed;
mod pattern;
mod principal;
mod public;
mod s3;
mod value;

#[cfg(test)]
mod tests;

use crate::scope::AccountId;
use condition::Condition;
pub use malformed::MalformedPolicy;
use pattern::Pattern;
pub use principal::Grantee;

/// Most bytes of a bucket policy ("Bucket restrictions and limitations": 20 KB).
pub const BUCKET_POLICY_BYTES_MAX: usize = 20 * 1024;
/// Most bytes of a document of IAM: what its actions take as a parameter. The smaller quotas of its kinds are IAM's to check.
pub const IDENTITY_POLICY_BYTES_MAX: usize = 128 * 1024;
/// The context key under which a caller's account gives its canonical user id, for `{"CanonicalUser": …}`. AWS turns such a principal
/// into an account when the policy is put; this room knows no such table, so it asks. Not a key of AWS's: no policy of a bucket can
/// name it in a condition.
pub const CANONICAL_USER_KEY: &str = "pileus:canonicaluser";

/// What a document belongs to, and so what it may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A bucket: a principal is required, actions are S3's, resources are the bucket and what is in it.
    Bucket {
        /// The bucket's name.
        bucket: String,
    },
    /// A user, group or role: the principal is whom it is attached to, so it must name none.
    Identity,
}

/// A policy, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    statements: Vec<Statement>,
}

#[derive(Debug, Clone, PartialEq)]
struct Statement {
    /// The Sid, or the statement's number from 1 if it has none.
    name: String,
    effect: Effect,
    principal: Principals,
    action: Matches,
    resource: Matches,
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Allow,
    Deny,
}

/// `Principal`, `NotPrincipal`, or the one that the document is attached to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Principals {
    Of(Vec<Grantee>),
    NotOf(Vec<Grantee>),
    Attached,
}

/// `Action` or `Resource`, or their `Not…`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Matches {
    negated: bool,
    patterns: Vec<Pattern>,
}

/// Values of the request's condition keys: asked with a key in lower case but for a tag's (`s3:prefix`,
/// `s3:existingobjecttag/Team`), answers all its values; `None` or an empty list if the request has none.
pub type Context<'a> = &'a dyn Fn(&str) -> Option<Vec<String>>;

/// A request, as a policy sees it.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Who asks.
    pub principal: Principal<'a>,
    /// For what: `s3:GetObject`.
    pub action: &'a str,
    /// Of what: `arn:aws:s3:::bucket/key`.
    pub resource: &'a str,
    /// In what circumstances.
    pub context: Context<'a>,
}

/// Who asks. Roles' sessions get their own case when there are roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Principal<'a> {
    /// Whoever: the request isn't signed.
    Anonymous,
    /// The root user of an account.
    Account(&'a AccountId),
    /// A user of an account.
    ///
    /// A statement that allows its *account* is silent on it, since that only lets the account's owner give the right away
    /// ("Principal": "When you specify an AWS account … you delegate authority to the account"): ask again as [`Principal::Account`],
    /// and let the user's own policies decide. A statement that denies its account denies it.
    User {
        /// Its account.
        account: &'a AccountId,
        /// `arn:aws:iam::111122223333:user/path/name`.
        arn: &'a str,
        /// `AIDA…`, which no later user of the same name has.
        id: &'a str,
    },
    /// A service of the cloud itself: `logging.s3.amazonaws.com`.
    Service(&'a str),
}

/// What a document says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// A statement allows it and none denies it.
    Allow {
        /// Its Sid or, if it has none, its number from 1: for the owner's eyes.
        statement: String,
    },
    /// A statement denies it, whatever others say.
    Deny {
        /// Its Sid or, if it has none, its number from 1: for the owner's eyes.
        statement: String,
    },
    /// No statement matches: denied unless something else allows it.
    Silent,
}

impl Document {
    /// Reads a policy.
    ///
    /// # Errors
    /// [`MalformedPolicy`], for the first fault.
    pub fn parse(text: &str, kind: &Kind) -> Result<Self, MalformedPolicy> {
        document::parse(text, kind)
    }

    /// What the policy says of a request.
    #[must_use]
    pub fn evaluate(&self, request: &Request<'_>) -> Verdict {
        evaluate::evaluate(&self.statements, request)
    }

    /// Whether the policy lets the public in ("The meaning of 'public'", Blocking public access to your Amazon S3 storage).
    #[must_use]
    pub fn is_public(&self) -> bool {
        self.statements.iter().any(public::is_public)
    }

    /// Everyone whom the policy names. AWS refuses a bucket policy that names somebody who doesn't exist
    /// ([`MalformedPolicy::Principal`]); who exists is the caller's to say.
    pub fn grantees(&self) -> impl Iterator<Item = &Grantee> {
        self.statements.iter().flat_map(|s| match &s.principal {
            Principals::Of(all) | Principals::NotOf(all) => all.as_slice(),
            Principals::Attached => &[],
        })
    }
}
