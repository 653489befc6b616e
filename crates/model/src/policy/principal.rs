//! Whom a statement names ("AWS JSON policy elements: Principal" and "NotPrincipal").

use super::json::Json;
use super::{CANONICAL_USER_KEY, Context, MalformedPolicy, Principal};
use crate::scope::AccountId;

/// Somebody whom a policy names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grantee {
    /// `*`: everybody, signed or not.
    Everyone,
    /// An account: its number or the ARN of its root user.
    Account(AccountId),
    /// A user, role or session of an account, by ARN.
    Arn {
        /// Whose.
        account: AccountId,
        /// All of it.
        arn: String,
    },
    /// A user or role by its unique id, `AIDA…` or `AROA…`.
    Id(String),
    /// An account by its canonical user id, 64 hexadecimal digits.
    CanonicalUser(String),
    /// A service, such as `logging.s3.amazonaws.com`.
    Service(String),
    /// An identity provider or an access identity of CloudFront; nobody comes from there here.
    Foreign(String),
}

/// Reads `Principal` or `NotPrincipal` (`element`).
pub(super) fn parse(value: &Json, element: &'static str) -> Result<Vec<Grantee>, MalformedPolicy> {
    if let Some(text) = value.text() {
        return if text == "*" { Ok(vec![Grantee::Everyone]) } else { Err(MalformedPolicy::Principal) };
    }
    let members = value.members().ok_or(MalformedPolicy::Principal)?;
    let mut all = Vec::new();
    for (at, (kind, names)) in members.iter().enumerate() {
        if members[..at].iter().any(|(k, _)| k == kind) {
            return Err(MalformedPolicy::Twice(element));
        }
        for name in names.texts().ok_or(MalformedPolicy::Principal)? {
            all.push(grantee(kind, name).ok_or(MalformedPolicy::Principal)?);
        }
    }
    if all.is_empty() { Err(MalformedPolicy::Principal) } else { Ok(all) }
}

fn grantee(kind: &str, name: &str) -> Option<Grantee> {
    if kind == "AWS" && name == "*" {
        return Some(Grantee::Everyone);
    }
    // "You cannot use a wildcard to match part of a principal name or ARN."
    if name.is_empty() || name.contains(['*', '?']) {
        return None;
    }
    match kind {
        "AWS" => aws(name),
        "CanonicalUser" => is_canonical_user(name).then(|| Grantee::CanonicalUser(name.to_ascii_lowercase())),
        "Service" => is_service(name).then(|| Grantee::Service(name.into())),
        "Federated" => Some(Grantee::Foreign(name.into())),
        _ => None,
    }
}

fn aws(name: &str) -> Option<Grantee> {
    if let Ok(account) = name.parse() {
        return Some(Grantee::Account(account));
    }
    let is_unique_id = |n: &str| matches!(n.get(..4), Some("AIDA" | "AROA")) && (16..=128).contains(&n.len());
    if is_unique_id(name) && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()) {
        return Some(Grantee::Id(name.into()));
    }
    let parts: Vec<&str> = name.splitn(6, ':').collect();
    let ["arn", "aws", service, "", account, resource] = parts[..] else { return None };
    if (service, account) == ("iam", "cloudfront") {
        return resource.starts_with("user/").then(|| Grantee::Foreign(name.into()));
    }
    let account: AccountId = account.parse().ok()?;
    let (kind, rest) = resource.split_once('/').unwrap_or((resource, ""));
    match (service, kind) {
        ("iam", "root") if resource == "root" => Some(Grantee::Account(account)),
        ("iam", "user" | "role") | ("sts", "assumed-role" | "federated-user") if !rest.is_empty() && !rest.ends_with('/') => {
            Some(Grantee::Arn { account, arn: name.into() })
        }
        _ => None,
    }
}

fn is_canonical_user(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit())
}

fn is_service(name: &str) -> bool {
    name.contains('.') && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-".contains(&b))
}

impl Grantee {
    /// Whether it is this very principal (a user isn't its account).
    pub(super) fn is(&self, principal: Principal<'_>, context: Context<'_>) -> bool {
        match (self, principal) {
            (Self::Everyone, _) => true,
            (Self::Account(named), Principal::Account(account)) => named == account,
            (Self::CanonicalUser(named), Principal::Account(_)) => {
                context(CANONICAL_USER_KEY).is_some_and(|ids| ids.iter().any(|id| id.eq_ignore_ascii_case(named)))
            }
            (Self::Arn { arn: named, .. }, Principal::User { arn, .. }) => named == arn,
            (Self::Id(named), Principal::User { id, .. }) => named == id,
            (Self::Service(named), Principal::Service(name)) => named == name,
            (
                Self::Account(_) | Self::CanonicalUser(_) | Self::Arn { .. } | Self::Id(_) | Self::Service(_) | Self::Foreign(_),
                Principal::Anonymous | Principal::Account(_) | Principal::User { .. } | Principal::Service(_),
            ) => false,
        }
    }
}
