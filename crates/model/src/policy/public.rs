//! Whether a statement lets the public in ("The meaning of 'public'", Blocking public access to your Amazon S3 storage).
//!
//! It does if it allows everybody, unless a condition holds it to fixed values of a key that says who or whence. Only a condition that
//! fails without the key counts.

use super::principal::Grantee;
use super::value::Nets;
use super::{Effect, Principals, Statement};

/// Keys that say who or whence.
const HOLDING: &[&str] = &[
    "aws:principalaccount",
    "aws:principalarn",
    "aws:principalorgid",
    "aws:sourceaccount",
    "aws:sourcearn",
    "aws:sourceowner",
    "aws:sourcevpc",
    "aws:sourcevpce",
    "aws:userid",
    "s3:dataaccesspointaccount",
    "s3:x-amz-server-side-encryption-aws-kms-key-id",
];
/// Its value may have a wildcard for the access point's name if the account is fixed.
const ACCESS_POINT: &str = "s3:dataaccesspointarn";
/// Shorter prefixes are so broad that they are public: `/8` of IPv4 and `/32` of IPv6 are not.
const PREFIX_MIN_V4: u8 = 8;
const PREFIX_MIN_V6: u8 = 32;

pub(super) fn is_public(statement: &Statement) -> bool {
    let everyone = match &statement.principal {
        Principals::Of(all) => all.contains(&Grantee::Everyone),
        Principals::NotOf(_) => true,
        Principals::Attached => false,
    };
    let held = statement.conditions.iter().any(|condition| {
        condition.fails_without_key()
            && match condition.key() {
                "aws:sourceip" => condition.networks().is_some_and(narrow),
                ACCESS_POINT => condition.patterns().is_some_and(|all| all.iter().all(|p| p.is_fixed() || p.is_account_fixed())),
                key if HOLDING.contains(&key) => condition.patterns().is_some_and(|all| all.iter().all(super::Pattern::is_fixed)),
                _ => false,
            }
    });
    statement.effect == Effect::Allow && everyone && !held
}

fn narrow(nets: &Nets) -> bool {
    nets.iter().all(|net| match net {
        ipnet::IpNet::V4(net) => net.prefix_len() >= PREFIX_MIN_V4,
        ipnet::IpNet::V6(net) => net.prefix_len() >= PREFIX_MIN_V6,
    })
}
