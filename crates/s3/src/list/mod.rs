//! Listings: objects, versions, unfinished uploads and their parts. What they share is here.

mod objects;
mod parts;
mod uploads;
mod versions;

pub(crate) use objects::{list_v1, list_v2};
pub(crate) use parts::list_parts;
pub(crate) use uploads::list_uploads;
pub(crate) use versions::list_versions;

use crate::access::grants_count;
use crate::caller::canonical_id;
use crate::checksum;
use crate::error::Result;
use crate::service::S3;
use model::scope::AccountId;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::dto::{self, EncodingType};
use s3s::s3_error;

/// Most entries of one answer; who asks for more gets these ("ListObjectsV2", MaxKeys).
const ENTRIES_MAX: i32 = 1000;

/// What `encoding-type=url` leaves as it is. A space becomes `%20`, which both ways of decoding read.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'*').remove(b'/');

/// How many entries are asked for: as the answer says it, and as the engine wants it. `name` is the argument as S3 writes it.
fn entries(asked: Option<i32>, name: &str) -> Result<(i32, usize)> {
    let asked = asked.unwrap_or(ENTRIES_MAX);
    let max = usize::try_from(asked.min(ENTRIES_MAX));
    let max = max.map_err(|_| s3_error!(InvalidArgument, "Argument {name} must be an integer between 0 and 2147483647"))?;
    Ok((asked.min(ENTRIES_MAX), max))
}

/// How keys are written, and the text around them.
struct Encoding(Option<EncodingType>);

impl Encoding {
    fn new(asked: Option<EncodingType>) -> Result<Self> {
        match asked {
            Some(asked) if asked.as_str() != EncodingType::URL => {
                Err(s3_error!(InvalidArgument, "Invalid Encoding Method specified in Request"))
            }
            asked => Ok(Self(asked)),
        }
    }

    fn text(&self, text: &str) -> String {
        if self.0.is_some() { utf8_percent_encode(text, ENCODED).to_string() } else { text.to_owned() }
    }

    /// What was given and isn't empty.
    fn given(&self, text: Option<&str>) -> Option<String> {
        given(text).map(|text| self.text(text))
    }

    /// What is shown even if it is empty.
    fn shown(&self, text: Option<&str>) -> Option<String> {
        Some(self.text(text.unwrap_or_default()))
    }

    fn prefixes(&self, prefixes: &[String]) -> Option<Vec<dto::CommonPrefix>> {
        Some(prefixes.iter().map(|prefix| dto::CommonPrefix { prefix: Some(self.text(prefix)) }).collect())
    }
}

/// A parameter that says something: an empty one is as none.
fn given(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

/// Accounts as a listing shows them. Most entries of one have the same owner.
struct Owners<'s> {
    s3: &'s S3,
    /// Whose everything is, where lists of grants don't count.
    of_all: Option<AccountId>,
    last: Option<(AccountId, dto::Owner)>,
}

impl<'s> Owners<'s> {
    fn new(s3: &'s S3, bucket: &str) -> Self {
        let of_all = s3.objects.bucket(bucket).filter(|bucket| !grants_count(bucket)).map(|bucket| bucket.owner.clone());
        Self { s3, of_all, last: None }
    }

    fn show(&mut self, account: &AccountId) -> dto::Owner {
        let account = self.of_all.as_ref().unwrap_or(account);
        match &self.last {
            Some((last, owner)) if last == account => owner.clone(),
            _ => {
                let owner = self.s3.owner(account);
                self.last = Some((account.clone(), owner.clone()));
                owner
            }
        }
    }
}

/// Who began an upload.
fn initiator(s3: &S3, account: &AccountId) -> dto::Initiator {
    let display_name = s3.store.snapshot().account(account).map(|a| a.name.clone());
    dto::Initiator { id: Some(canonical_id(account)), display_name }
}

/// A quoted ETag.
fn etag(text: &str) -> Option<dto::ETag> {
    Some(dto::ETag::Strong(text.to_owned()))
}

/// The checksums that an object has: their algorithms, and of what they are.
fn checksums(checksums: &::objects::Checksums) -> (Option<Vec<dto::ChecksumAlgorithm>>, Option<dto::ChecksumType>) {
    if checksums.values.is_empty() {
        return (None, None);
    }
    let algorithms = checksums.values.keys().map(|name| dto::ChecksumAlgorithm::from(name.clone())).collect();
    (Some(algorithms), Some(checksum_type(checksums.kind)))
}

fn checksum_type(kind: ::objects::ChecksumKind) -> dto::ChecksumType {
    dto::ChecksumType::from_static(checksum::kind_name(kind))
}

/// A size as the protocol has it.
fn size(bytes: u64) -> Option<i64> {
    Some(i64::try_from(bytes).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn how_many_entries() {
        for (asked, shown, max) in
            [(None, 1000, 1000), (Some(0), 0, 0), (Some(7), 7, 7), (Some(1001), 1000, 1000), (Some(i32::MAX), 1000, 1000)]
        {
            assert_eq!(entries(asked, "maxKeys").unwrap(), (shown, max), "{asked:?}");
        }
        let error = entries(Some(-1), "maxKeys").unwrap_err();
        assert_eq!(error.code().as_str(), "InvalidArgument");
        assert_eq!(error.message(), Some("Argument maxKeys must be an integer between 0 and 2147483647"));
    }

    #[test]
    fn keys_are_written() {
        let url = Encoding::new(Some(EncodingType::from_static(EncodingType::URL))).unwrap();
        let plain = Encoding::new(None).unwrap();
        for (key, encoded) in [
            ("a/b-c_d.e*f", "a/b-c_d.e*f"),
            ("test_file(3).png", "test_file%283%29.png"),
            ("a b+c~\n", "a%20b%2Bc%7E%0A"),
            ("\u{e4}\u{1f600}", "%C3%A4%F0%9F%98%80"),
        ] {
            assert_eq!(url.text(key), encoded);
            assert_eq!(plain.text(key), key);
        }
        assert_eq!(plain.given(Some("")), None);
        assert_eq!(plain.shown(None), Some(String::new()));
        for other in ["", "URL", "base64"] {
            assert!(Encoding::new(Some(EncodingType::from(other.to_owned()))).is_err(), "{other}");
        }
    }
}
