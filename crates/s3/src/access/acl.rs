//! Lists of grants ("Access control list (ACL) overview"): read from canned names, headers and documents, and shown again.

use super::decide::grants_count;
use super::{action, denied};
use crate::caller::{Caller, canonical_id};
use crate::error::{self, Result};
use crate::service::S3;
use http::HeaderMap;
use model::scope::AccountId;
use objects::{Acl, Bucket, Grant, Grantee, Ownership, Permission};
use s3s::dto::{self, AccessControlPolicy};
use s3s::{S3Error, s3_error};

/// Most grants of a list.
const GRANTS_MAX: usize = 100;

/// Headers that grant, and what.
const HEADERS: [(&str, Permission); 5] = [
    ("x-amz-grant-read", Permission::Read),
    ("x-amz-grant-write", Permission::Write),
    ("x-amz-grant-read-acp", Permission::ReadAcp),
    ("x-amz-grant-write-acp", Permission::WriteAcp),
    ("x-amz-grant-full-control", Permission::FullControl),
];
/// The header with a canned list's name.
const CANNED: &str = "x-amz-acl";
/// The one canned list that a bucket without lists takes: it says what is so anyway.
const OWNERS: &str = "bucket-owner-full-control";

const ALL_USERS: &str = "http://acs.amazonaws.com/groups/global/AllUsers";
const AUTHENTICATED_USERS: &str = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers";
const LOG_DELIVERY: &str = "http://acs.amazonaws.com/groups/s3/LogDelivery";

/// What a list is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of<'a> {
    Bucket,
    /// An object in a bucket of this owner.
    Object(&'a AccountId),
}

/// The owner may do everything, nobody else anything.
pub(crate) fn private(owner: &AccountId) -> Acl {
    Acl { grants: vec![grant(Grantee::Account(owner.clone()), Permission::FullControl)] }
}

/// Whether everybody, or everybody with a signature, is let in ("The meaning of 'public'").
pub(crate) fn is_public(acl: &Acl) -> bool {
    acl.grants.iter().any(|g| matches!(g.grantee, Grantee::AllUsers | Grantee::AuthenticatedUsers))
}

fn grant(grantee: Grantee, permission: Permission) -> Grant {
    Grant { grantee, permission }
}

/// Whether headers ask for no canned list but that of the bucket's owner ("Disabling ACLs": `private` is refused too).
pub(crate) fn names_owner(headers: &HeaderMap) -> bool {
    headers.get(CANNED).is_none_or(|name| name.as_bytes() == OWNERS.as_bytes())
}

/// The bucket takes no lists.
pub(crate) fn not_supported() -> S3Error {
    s3_error!(AccessControlListNotSupported, "The bucket does not allow ACLs")
}

impl S3 {
    /// Whose a new object is and its list, if it has one of its own ("Controlling ownership of objects").
    ///
    /// # Errors
    /// `AccessControlListNotSupported`, `AccessDenied` for a public list where that is blocked, and as [`S3::grants_of_headers`].
    pub(crate) fn new_object(
        &self,
        bucket: &Bucket,
        caller: &Caller,
        headers: &HeaderMap,
        key: Option<&str>,
    ) -> Result<(AccountId, Option<Acl>)> {
        let given = headers.get(CANNED).is_some_and(|name| name.as_bytes() == OWNERS.as_bytes());
        // What nobody wrote has no other owner.
        let writer = caller.account().unwrap_or(&bucket.owner);
        let owner = match bucket.ownership {
            Some(Ownership::BucketOwnerEnforced) => &bucket.owner,
            Some(Ownership::BucketOwnerPreferred) if given => &bucket.owner,
            Some(Ownership::BucketOwnerPreferred | Ownership::ObjectWriter) | None => writer,
        };
        let acl = self.grants_of_headers(headers, owner, Of::Object(&bucket.owner))?;
        if !grants_count(bucket) {
            let supported = acl.is_none_or(|acl| names_owner(headers) && acl == private(owner));
            return if supported { Ok((owner.clone(), None)) } else { Err(not_supported()) };
        }
        refuse_public(bucket, acl.as_ref(), || denied::because(caller, bucket, action::PUT_OBJECT, key, denied::PUBLIC_ACL))?;
        Ok((owner.clone(), acl))
    }

    /// The list that headers ask for, if they do.
    ///
    /// # Errors
    /// `InvalidRequest` for a canned list beside grants, `InvalidArgument` for who or what isn't, `UnresolvableGrantByEmailAddress`.
    pub(crate) fn grants_of_headers(&self, headers: &HeaderMap, owner: &AccountId, of: Of<'_>) -> Result<Option<Acl>> {
        let mut grants = Vec::new();
        for (name, permission) in HEADERS {
            for value in headers.get_all(name) {
                let text = value.to_str().map_err(|_| s3_error!(InvalidArgument, "Invalid header {name}"))?;
                for grantee in text.split(',') {
                    grants.push(grant(self.grantee_of_header(grantee)?, permission));
                }
            }
        }
        let Some(canned) = headers.get(CANNED) else {
            return if grants.is_empty() { Ok(None) } else { limited(grants).map(Some) };
        };
        if !grants.is_empty() {
            return Err(s3_error!(InvalidRequest, "Specifying both Canned ACLs and Header Grants is not allowed"));
        }
        let named = canned.to_str().ok().and_then(|name| self::canned(name, owner, of));
        let wrong = || error::argument(CANNED, String::from_utf8_lossy(canned.as_bytes()), "The canned ACL is not valid");
        named.map(Some).ok_or_else(wrong)
    }

    /// `id="…"`, `uri="…"` or `emailAddress="…"`.
    fn grantee_of_header(&self, text: &str) -> Result<Grantee> {
        let invalid = || s3_error!(InvalidArgument, "Argument format not recognized");
        let (kind, value) = text.trim().split_once('=').ok_or_else(invalid)?;
        let value = value.trim_matches('"');
        match kind.trim().to_ascii_lowercase().as_str() {
            "id" => self.account_of(value).map(Grantee::Account),
            "uri" => group(value),
            "emailaddress" => Err(no_email()),
            _ => Err(invalid()),
        }
    }

    /// The account of a canonical user id.
    fn account_of(&self, id: &str) -> Result<AccountId> {
        let found = self.store.snapshot().accounts().map(|a| a.id.clone()).find(|account| canonical_id(account).eq_ignore_ascii_case(id));
        found.ok_or_else(|| s3_error!(InvalidArgument, "Invalid id"))
    }

    /// The list of a document.
    ///
    /// # Errors
    /// `MalformedACLError`, `AccessDenied` for another owner than there is, `InvalidArgument`, `UnresolvableGrantByEmailAddress`.
    pub(crate) fn grants_of_document(&self, document: AccessControlPolicy, owner: &AccountId) -> Result<Acl> {
        let id = document.owner.and_then(|o| o.id).ok_or_else(malformed)?;
        // An owner can't be made another by a list.
        if !id.eq_ignore_ascii_case(&canonical_id(owner)) {
            return Err(error::denied());
        }
        let read = |g: dto::Grant| -> Result<Grant> {
            let (grantee, permission) = (g.grantee.ok_or_else(malformed)?, g.permission.ok_or_else(malformed)?);
            let permission = permission_of(permission.as_str()).ok_or_else(malformed)?;
            let grantee = match (grantee.type_.as_str(), grantee.id, grantee.uri) {
                (dto::Type::CANONICAL_USER, Some(id), _) => Grantee::Account(self.account_of(&id)?),
                (dto::Type::GROUP, _, Some(uri)) => group(&uri)?,
                (dto::Type::AMAZON_CUSTOMER_BY_EMAIL, _, _) => return Err(no_email()),
                _ => return Err(malformed()),
            };
            Ok(grant(grantee, permission))
        };
        limited(document.grants.unwrap_or_default().into_iter().map(read).collect::<Result<_>>()?)
    }

    /// A list as S3 shows it, groups first.
    pub(crate) fn grants_show(&self, acl: &Acl) -> Vec<dto::Grant> {
        let show = |g: &Grant| dto::Grant {
            grantee: Some(self.grantee_show(&g.grantee)),
            permission: Some(permission_name(g.permission).to_owned().into()),
        };
        let (accounts, groups): (Vec<_>, Vec<_>) = acl.grants.iter().partition(|g| matches!(g.grantee, Grantee::Account(_)));
        groups.into_iter().chain(accounts).map(show).collect()
    }

    fn grantee_show(&self, grantee: &Grantee) -> dto::Grantee {
        let group = |uri: &str| dto::Grantee {
            display_name: None,
            email_address: None,
            id: None,
            type_: dto::Type::GROUP.to_owned().into(),
            uri: Some(uri.into()),
        };
        match grantee {
            Grantee::AllUsers => group(ALL_USERS),
            Grantee::AuthenticatedUsers => group(AUTHENTICATED_USERS),
            Grantee::LogDelivery => group(LOG_DELIVERY),
            Grantee::Account(account) => {
                let dto::Owner { id, display_name } = self.owner(account);
                dto::Grantee { display_name, email_address: None, id, type_: dto::Type::CANONICAL_USER.to_owned().into(), uri: None }
            }
        }
    }
}

/// Refuses a public list where the bucket blocks them.
pub(crate) fn refuse_public(bucket: &Bucket, acl: Option<&Acl>, denied: impl FnOnce() -> S3Error) -> Result<()> {
    let blocked = bucket.public_access_block.is_some_and(|block| block.block_public_acls);
    if blocked && acl.is_some_and(is_public) { Err(denied()) } else { Ok(()) }
}

/// A canned list ("Canned ACL").
fn canned(name: &str, owner: &AccountId, of: Of<'_>) -> Option<Acl> {
    let mut acl = private(owner);
    let bucket_owner = |permission| match of {
        Of::Object(account) if account != owner => vec![grant(Grantee::Account(account.clone()), permission)],
        // A bucket's own list takes the name and passes over it.
        Of::Object(_) | Of::Bucket => Vec::new(),
    };
    acl.grants.extend(match name {
        // Amazon's machine images are read from S3 by a service that isn't here.
        "private" | "aws-exec-read" => Vec::new(),
        "public-read" => vec![grant(Grantee::AllUsers, Permission::Read)],
        "public-read-write" => vec![grant(Grantee::AllUsers, Permission::Read), grant(Grantee::AllUsers, Permission::Write)],
        "authenticated-read" => vec![grant(Grantee::AuthenticatedUsers, Permission::Read)],
        "bucket-owner-read" => bucket_owner(Permission::Read),
        OWNERS => bucket_owner(Permission::FullControl),
        "log-delivery-write" if of == Of::Bucket => {
            vec![grant(Grantee::LogDelivery, Permission::Write), grant(Grantee::LogDelivery, Permission::ReadAcp)]
        }
        _ => return None,
    });
    Some(acl)
}

fn group(uri: &str) -> Result<Grantee> {
    match uri {
        ALL_USERS => Ok(Grantee::AllUsers),
        AUTHENTICATED_USERS => Ok(Grantee::AuthenticatedUsers),
        LOG_DELIVERY => Ok(Grantee::LogDelivery),
        _ => Err(s3_error!(InvalidArgument, "Invalid group uri")),
    }
}

fn limited(grants: Vec<Grant>) -> Result<Acl> {
    if grants.len() > GRANTS_MAX { Err(malformed()) } else { Ok(Acl { grants }) }
}

fn malformed() -> S3Error {
    s3_error!(MalformedACLError, "The XML you provided was not well-formed or did not validate against our published schema")
}

/// Accounts of this cloud have no addresses.
fn no_email() -> S3Error {
    s3_error!(UnresolvableGrantByEmailAddress, "The e-mail address you provided does not match any account on record.")
}

fn permission_of(name: &str) -> Option<Permission> {
    [Permission::FullControl, Permission::Read, Permission::Write, Permission::ReadAcp, Permission::WriteAcp]
        .into_iter()
        .find(|permission| permission_name(*permission) == name)
}

fn permission_name(permission: Permission) -> &'static str {
    match permission {
        Permission::FullControl => dto::Permission::FULL_CONTROL,
        Permission::Read => dto::Permission::READ,
        Permission::Write => dto::Permission::WRITE,
        Permission::ReadAcp => dto::Permission::READ_ACP,
        Permission::WriteAcp => dto::Permission::WRITE_ACP,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn canned_lists() {
        let (owner, other): (AccountId, AccountId) = ("111111111111".parse().unwrap(), "222222222222".parse().unwrap());
        let count = |name, of| canned(name, &owner, of).map(|acl| (acl.grants.len(), is_public(&acl)));
        assert_eq!(count("private", Of::Bucket), Some((1, false)));
        assert_eq!(count("public-read", Of::Bucket), Some((2, true)));
        assert_eq!(count("public-read-write", Of::Object(&owner)), Some((3, true)));
        assert_eq!(count("authenticated-read", Of::Bucket), Some((2, true)));
        assert_eq!(count("log-delivery-write", Of::Bucket), Some((3, false)));
        assert_eq!(count("log-delivery-write", Of::Object(&owner)), None);
        assert_eq!(count(OWNERS, Of::Object(&owner)), Some((1, false)));
        assert_eq!(count(OWNERS, Of::Object(&other)), Some((2, false)));
        assert_eq!(count("bucket-owner-read", Of::Bucket), Some((1, false)));
        assert_eq!(count("everybody", Of::Bucket), None);
    }
}
