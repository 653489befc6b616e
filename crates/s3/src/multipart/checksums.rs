//! Checksums of uploads: what can be asked for, and how those of the parts become the object's ("Checking object integrity").

use crate::checksum::{self, Algorithm, combine, digest};
use crate::error::Result;
use ::objects::{ChecksumKind, Checksums, Part};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use s3s::dto::ChecksumType;
use s3s::{S3Error, s3_error};
use std::collections::BTreeMap;

/// What an upload is begun with. Without an algorithm the parts may have any, and the object gets S3's own.
///
/// # Errors
/// `InvalidRequest` for what S3 doesn't know or doesn't combine.
pub(super) fn asked(algorithm: Option<&str>, kind: Option<&str>) -> Result<Option<(Algorithm, ChecksumKind)>> {
    let Some(name) = algorithm else {
        return match kind {
            None => Ok(None),
            Some(_) => {
                let text = "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.";
                Err(s3_error!(InvalidRequest, "{text}"))
            }
        };
    };
    let algorithm = Algorithm::parse(name).ok_or_else(checksum::unsupported)?;
    // Only those whose values can be joined give one of the whole; CRC64NVME gives nothing else.
    let (default, allowed): (_, &[ChecksumKind]) = match algorithm {
        Algorithm::Crc64Nvme => (ChecksumKind::FullObject, &[ChecksumKind::FullObject]),
        Algorithm::Crc32 | Algorithm::Crc32c => (ChecksumKind::Composite, &[ChecksumKind::FullObject, ChecksumKind::Composite]),
        Algorithm::Sha1
        | Algorithm::Sha256
        | Algorithm::Sha512
        | Algorithm::Md5
        | Algorithm::XxHash64
        | Algorithm::XxHash3
        | Algorithm::XxHash128 => (ChecksumKind::Composite, &[ChecksumKind::Composite]),
    };
    let kind = match kind {
        None => default,
        Some(ChecksumType::FULL_OBJECT) => ChecksumKind::FullObject,
        Some(ChecksumType::COMPOSITE) => ChecksumKind::Composite,
        Some(_) => return Err(s3_error!(InvalidRequest, "Value for x-amz-checksum-type header is invalid.")),
    };
    if !allowed.contains(&kind) {
        let (kind, name) = (self::kind(kind), name.to_lowercase());
        return Err(s3_error!(InvalidRequest, "The {} checksum type cannot be used with the {name} checksum algorithm.", kind.as_str()));
    }
    Ok(Some((algorithm, kind)))
}

/// As in requests and replies.
pub(super) fn kind(kind: ChecksumKind) -> ChecksumType {
    ChecksumType::from_static(checksum::kind_name(kind))
}

/// A request speaks of another algorithm than the upload.
pub(super) fn mismatch(expected: Option<Algorithm>, actual: Algorithm) -> S3Error {
    let (expected, actual) = (expected.map_or("null".to_owned(), |a| a.name().to_lowercase()), actual.name().to_lowercase());
    s3_error!(InvalidRequest, "Checksum Type mismatch occurred, expected checksum Type: {expected}, actual checksum Type: {actual}")
}

/// The object's checksums. An upload that was begun without an algorithm gets S3's own, of the whole.
pub(super) fn of_object(upload: Option<(Algorithm, ChecksumKind)>, parts: &[Part]) -> Checksums {
    let value = |algorithm, kind| match kind {
        ChecksumKind::FullObject => whole(algorithm, parts),
        ChecksumKind::Composite => composite(algorithm, parts),
    };
    let (algorithm, kind) = upload.unwrap_or((checksum::DEFAULT, ChecksumKind::FullObject));
    match value(algorithm, kind) {
        Some(value) => Checksums { kind, values: BTreeMap::from([(algorithm.name().to_owned(), value)]) },
        None => Checksums::default(),
    }
}

fn decoded(algorithm: Algorithm, part: &Part) -> Option<Vec<u8>> {
    BASE64.decode(part.checksums.get(algorithm.name())?).ok()
}

/// The checksum of all bytes.
fn whole(algorithm: Algorithm, parts: &[Part]) -> Option<String> {
    let parts = parts.iter().map(|part| Some((decoded(algorithm, part)?, part.size))).collect::<Option<Vec<_>>>()?;
    combine(algorithm, &parts).map(|value| BASE64.encode(value))
}

/// The checksum of the parts' checksums, and how many they are.
fn composite(algorithm: Algorithm, parts: &[Part]) -> Option<String> {
    let values = parts.iter().map(|part| decoded(algorithm, part)).collect::<Option<Vec<_>>>()?;
    Some(format!("{}-{}", BASE64.encode(digest(algorithm, &values.concat())), parts.len()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use model::time::Timestamp;

    fn part(algorithm: Algorithm, bytes: &[u8]) -> Part {
        let value = BASE64.encode(digest(algorithm, bytes));
        let checksums = BTreeMap::from([(algorithm.name().to_owned(), value)]);
        Part { number: 1, size: bytes.len() as u64, etag: String::new(), last_modified: Timestamp(0), checksums }
    }

    #[test]
    fn what_can_be_asked_for() {
        use ChecksumKind::{Composite, FullObject};
        let read = |algorithm, kind| {
            asked(algorithm, kind).map(|found| found.map(|(a, k)| (a.name(), k))).map_err(|e| e.code().as_str().to_owned())
        };
        assert_eq!(read(None, None), Ok(None));
        assert_eq!(read(Some("CRC32"), None), Ok(Some(("CRC32", Composite))));
        assert_eq!(read(Some("crc32c"), Some("FULL_OBJECT")), Ok(Some(("CRC32C", FullObject))));
        assert_eq!(read(Some("CRC64NVME"), None), Ok(Some(("CRC64NVME", FullObject))));
        assert_eq!(read(Some("SHA512"), Some("COMPOSITE")), Ok(Some(("SHA512", Composite))));
        for (algorithm, kind) in [
            (None, Some("COMPOSITE")),
            (Some("CRC64NVME"), Some("COMPOSITE")),
            (Some("SHA256"), Some("FULL_OBJECT")),
            (Some("XXHASH3"), Some("FULL_OBJECT")),
            (Some("CRC32"), Some("BOTH")),
            (Some("CRC16"), None),
        ] {
            assert_eq!(read(algorithm, kind), Err("InvalidRequest".to_owned()), "{algorithm:?} {kind:?}");
        }
    }

    #[test]
    fn whole_checksums_are_those_of_all_bytes() {
        for algorithm in [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64Nvme] {
            let parts = [b"1234".as_slice(), b"", b"5678", b"9"].map(|bytes| part(algorithm, bytes));
            let whole = BASE64.encode(digest(algorithm, b"123456789"));
            let found = of_object(Some((algorithm, ChecksumKind::FullObject)), &parts);
            assert_eq!(found.values.get(algorithm.name()), Some(&whole), "{}", algorithm.name());
            assert_eq!(of_object(None, &parts) == found, algorithm == checksum::DEFAULT);
        }
    }

    #[test]
    fn composite_checksums_are_of_the_parts_checksums() {
        // As of the object of three parts of 5 MiB that ceph/s3-tests uploads.
        let bytes = |letter: u8| vec![letter; 5 << 20];
        let parts = [b'A', b'B', b'C'].map(|letter| part(Algorithm::Sha256, &bytes(letter)));
        let found = of_object(Some((Algorithm::Sha256, ChecksumKind::Composite)), &parts);
        assert_eq!(found.kind, ChecksumKind::Composite);
        assert_eq!(found.values["SHA256"], "uWBwpe1dxI4Vw8Gf0X9ynOdw/SS6VBzfWm9giiv1sf4=-3");
    }

    #[test]
    fn without_each_parts_there_is_none() {
        let mixed = [part(Algorithm::Crc32, b"a"), part(Algorithm::Crc64Nvme, b"b")];
        assert_eq!(of_object(None, &mixed), Checksums::default());
        assert_eq!(of_object(None, &[part(Algorithm::Sha256, b"a")]), Checksums::default());
    }
}
