//! CompleteMultipartUpload: parts become an object, of which no bytes are copied.

use super::request::Checksums;
use super::{PART_BYTES_MIN, PARTS_MAX, checksums, number, part};
use crate::checksum::{self, Algorithm};
use crate::error::{self, Result, malformed_xml};
use crate::service::S3;
use crate::xml::Added;
use crate::{condition, record, sse};
use ::objects::{ChecksumKind, Complete, Encryption, Part, PartInfo, Record, Upload, UploadId, Version};
use http::{HeaderMap, Uri, header};
use md5::{Digest as _, Md5};
use s3s::dto::{self, CompleteMultipartUploadInput, CompleteMultipartUploadOutput, CompletedPart};
use s3s::{S3Error, S3Request, S3Response, s3_error};

/// CompleteMultipartUpload.
pub(crate) async fn complete(
    s3: &S3,
    request: S3Request<CompleteMultipartUploadInput>,
) -> Result<S3Response<CompleteMultipartUploadOutput>> {
    let S3Request { input, headers, uri, mut extensions, .. } = request;
    let Checksums(checksums) = extensions.remove().unwrap_or_default();
    let bucket = s3.bucket(&input.bucket)?;
    let condition = condition::of_write(input.if_match.as_ref(), input.if_none_match.as_ref());
    let named = named(input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default(), checksums)?;
    let claims = Claims::read(&headers, input.checksum_type, input.mpu_object_size)?;
    let complete = Complete {
        bucket: input.bucket.clone(),
        key: input.key.clone(),
        upload: UploadId::from(input.upload_id),
        parts: named.iter().map(|part| (part.number, part.etag.clone())).collect(),
        minimum: PART_BYTES_MIN,
        condition,
        now: s3.now(),
    };
    let key = sse::customer_key(&headers)?;
    let finish = move |upload: &Upload, parts: &[Part]| {
        knows_key(upload, key.clone())?;
        finish(upload, parts, &named, &claims)
    };
    let version = s3.objects.upload_complete(complete, finish).await.map_err(error::engine)??;
    let mut reply = HeaderMap::with_capacity(8);
    record::written_version_id(&version, &mut reply);
    sse::show(version.record.encryption.as_ref(), &mut reply);
    record::expiration(&bucket, &version, &mut reply)?;
    let added = Added::checksums("</CompleteMultipartUploadResult>", [&version.record.checksums.values]);
    let mut response = S3Response::with_headers(output(input.bucket, input.key, location(&uri, &headers), &version), reply);
    response.extensions.insert(added);
    Ok(response)
}

/// A part that a request names.
struct Named {
    number: u32,
    /// Without quotes.
    etag: String,
    checksums: Vec<(Algorithm, String)>,
}

/// The parts that a request names, with their checksums.
fn named(parts: Vec<CompletedPart>, checksums: Vec<Vec<(Algorithm, String)>>) -> Result<Vec<Named>> {
    if parts.is_empty() || u32::try_from(parts.len()).is_ok_and(|n| n > PARTS_MAX) {
        return Err(malformed_xml());
    }
    let read = |(part, checksums): (CompletedPart, _)| {
        Ok(Named {
            number: number(part.part_number.ok_or_else(malformed_xml)?)?,
            etag: part.e_tag.ok_or_else(malformed_xml)?.value().to_owned(),
            checksums,
        })
    };
    parts.into_iter().zip(checksums).map(read).collect()
}

/// What a request says that the object will be.
struct Claims {
    checksum: Option<(Algorithm, String)>,
    kind: Option<ChecksumKind>,
    size: Option<u64>,
}

impl Claims {
    fn read(headers: &HeaderMap, kind: Option<dto::ChecksumType>, size: Option<i64>) -> Result<Self> {
        let value = |algorithm: Algorithm| Some((algorithm, headers.get(algorithm.header())?.to_str().ok()?.trim().to_owned()));
        let mut given = Algorithm::ALL.into_iter().filter_map(value);
        let checksum = given.next();
        if given.next().is_some() {
            return Err(checksum::multiple());
        }
        let kind = match kind.as_ref().map(dto::ChecksumType::as_str) {
            None => None,
            Some(dto::ChecksumType::FULL_OBJECT) => Some(ChecksumKind::FullObject),
            Some(dto::ChecksumType::COMPOSITE) => Some(ChecksumKind::Composite),
            Some(_) => return Err(s3_error!(InvalidRequest, "Value for x-amz-checksum-type header is invalid.")),
        };
        let read =
            |size: i64| u64::try_from(size).map_err(|_| s3_error!(InvalidRequest, "Value for x-amz-mp-object-size header is invalid."));
        Ok(Self { checksum, kind, size: size.map(read).transpose()? })
    }

    /// Compares with what the object is.
    fn check(&self, upload: &Upload, size: u64, record: &Record) -> Result<()> {
        if let Some(said) = self.size.filter(|said| *said != size) {
            let text = format!("The provided 'x-amz-mp-object-size' header value {said} does not match what was computed: {size}");
            return Err(s3_error!(InvalidRequest, "{text}"));
        }
        let begun = upload.checksum.as_ref().map(|(_, kind)| *kind);
        if self.kind.is_some() && begun != self.kind {
            let mode = begun.map_or("null", checksum::kind_name);
            let text =
                format!("The upload was created using the {mode} checksum mode. The complete request must use the same checksum mode.");
            return Err(s3_error!(InvalidRequest, "{text}"));
        }
        let Some((algorithm, said)) = &self.checksum else { return Ok(()) };
        let begun = part::algorithm(upload);
        match record.checksums.values.get(algorithm.name()) {
            Some(value) if value == said => Ok(()),
            // Of an upload that was begun without an algorithm, S3 passes over what isn't its own.
            None if begun.is_none() => Ok(()),
            _ => {
                let name = begun.unwrap_or(*algorithm).name().to_lowercase();
                Err(s3_error!(BadDigest, "The {name} you specified did not match the calculated checksum."))
            }
        }
    }
}

/// The customer's key "is required only when the object was created using a checksum algorithm". One that is given must be right.
fn knows_key(upload: &Upload, key: Option<sse::CustomerKey>) -> Result<()> {
    let customers = matches!(upload.record.encryption, Some(Encryption::Customer { .. }));
    if key.is_some() || customers && upload.checksum.is_some() {
        sse::of_part(upload.record.encryption.as_ref(), key)?;
    }
    Ok(())
}

/// What the object is: its ETag and record.
fn finish(upload: &Upload, parts: &[Part], named: &[Named], claims: &Claims) -> Result<(String, Record)> {
    let mut digest = Md5::new();
    let begun = part::algorithm(upload).zip(upload.checksum.as_ref().map(|(_, kind)| *kind));
    for (part, named) in parts.iter().zip(named) {
        compare(begun, part, named)?;
        digest.update(unhex(&part.etag));
    }
    let etag = format!("{}-{}", checksum::hex(&digest.finalize()), parts.len());
    let mut record = upload.record.clone();
    // What a customer's key seals has no checksum that nobody asked for.
    if begun.is_some() || !matches!(record.encryption, Some(Encryption::Customer { .. })) {
        record.checksums = checksums::of_object(begun, parts);
    }
    record.parts = parts.iter().map(|part| PartInfo { number: part.number, size: part.size, checksums: part.checksums.clone() }).collect();
    claims.check(upload, parts.iter().map(|part| part.size).sum(), &record)?;
    Ok((etag, record))
}

/// Compares the checksums that a request names for a part, which it may leave out if the object's isn't made of them.
fn compare(begun: Option<(Algorithm, ChecksumKind)>, part: &Part, named: &Named) -> Result<()> {
    let number = part.number;
    for (algorithm, value) in &named.checksums {
        match (begun, part.checksums.get(algorithm.name())) {
            (_, Some(known)) if known == value => {}
            (Some((begun, _)), _) if begun != *algorithm => {
                let name = algorithm.name().to_lowercase();
                return Err(s3_error!(BadDigest, "The {name} you specified for part {number} did not match what we received."));
            }
            _ => return Err(invalid_part(named)),
        }
    }
    match begun {
        Some((algorithm, ChecksumKind::Composite)) if named.checksums.is_empty() => {
            let name = algorithm.name().to_lowercase();
            let text = format!(
                "The upload was created using a {name} checksum. The complete request must include the checksum for each part. It was \
                 missing for part {number} in the request."
            );
            Err(s3_error!(InvalidRequest, "{text}"))
        }
        _ => Ok(()),
    }
}

fn invalid_part(named: &Named) -> S3Error {
    error::engine(::objects::Error::InvalidPart { number: named.number, etag: named.etag.clone() })
}

/// The bytes of a part's ETag, which is an MD5 in hexadecimal digits.
fn unhex(etag: &str) -> Vec<u8> {
    let digits = etag.as_bytes().chunks_exact(2);
    digits.filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

fn output(bucket: String, key: String, location: String, version: &Version) -> CompleteMultipartUploadOutput {
    let checksums = &version.record.checksums;
    let value = |algorithm: Algorithm| checksums.values.get(algorithm.name()).cloned();
    CompleteMultipartUploadOutput {
        bucket: Some(bucket),
        checksum_crc32: value(Algorithm::Crc32),
        checksum_crc32c: value(Algorithm::Crc32c),
        checksum_crc64nvme: value(Algorithm::Crc64Nvme),
        checksum_sha1: value(Algorithm::Sha1),
        checksum_sha256: value(Algorithm::Sha256),
        checksum_type: (!checksums.values.is_empty()).then(|| checksums::kind(checksums.kind)),
        e_tag: Some(dto::ETag::Strong(version.etag.clone())),
        key: Some(key),
        location: Some(location),
        ..CompleteMultipartUploadOutput::default()
    }
}

/// Where the object is, as the client asked for it.
fn location(uri: &Uri, headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).or(uri.host());
    host.map_or_else(|| uri.path().to_owned(), |host| format!("http://{host}{}", uri.path()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use model::time::Timestamp;

    fn part(number: u32, etag: &str, size: u64) -> Part {
        Part {
            number,
            size,
            etag: etag.into(),
            last_modified: Timestamp(0),
            checksums: [("CRC32".to_owned(), "AAAAAA==".to_owned())].into(),
        }
    }

    fn upload(checksum: Option<(&str, ChecksumKind)>) -> Upload {
        Upload {
            id: "u".into(),
            bucket: "b".into(),
            key: "k".into(),
            initiated: Timestamp(0),
            initiator: "000000000001".parse().unwrap(),
            record: Record::new("000000000001".parse().unwrap()),
            checksum: checksum.map(|(name, kind)| (name.to_owned(), kind)),
        }
    }

    fn completed(number: i32, etag: &str) -> CompletedPart {
        CompletedPart { e_tag: Some(dto::ETag::Strong(etag.into())), part_number: Some(number), ..CompletedPart::default() }
    }

    const NOTHING: Claims = Claims { checksum: None, kind: None, size: None };

    #[test]
    fn parts_must_be_named() {
        let code = |parts: Vec<_>| named(parts.clone(), vec![vec![]; parts.len()]).err().unwrap().code().as_str().to_owned();
        assert_eq!(code(vec![]), "MalformedXML");
        assert_eq!(code(vec![CompletedPart { e_tag: None, ..completed(1, "a") }]), "MalformedXML");
        assert_eq!(code(vec![CompletedPart { part_number: None, ..completed(1, "a") }]), "MalformedXML");
        assert_eq!(code(vec![completed(0, "a")]), "InvalidArgument");
        assert_eq!(code(vec![completed(1, "a"); 10_001]), "MalformedXML");
        assert_eq!(named(vec![completed(7, "a")], vec![vec![]; 1]).unwrap()[0].number, 7);
    }

    #[test]
    fn a_customers_key_is_wanted_with_an_algorithm() {
        let key = |md5: &str| Some(sse::CustomerKey { key: [0; 32], md5: md5.into() });
        let sealed = |checksum| {
            let mut upload = upload(checksum);
            upload.record.encryption = Some(Encryption::Customer { key_md5: "right".into() });
            upload
        };
        let (with, without) = (sealed(Some(("CRC32", ChecksumKind::Composite))), sealed(None));
        assert!(knows_key(&with, None).is_err());
        assert!(knows_key(&without, None).is_ok());
        for upload in [&with, &without] {
            assert!(knows_key(upload, key("right")).is_ok());
            assert!(knows_key(upload, key("wrong")).is_err());
        }
        assert!(knows_key(&upload(None), None).is_ok());
        assert!(knows_key(&upload(None), key("right")).is_err());
    }

    #[test]
    fn an_etag_is_of_the_parts_etags() {
        let parts = [part(1, "5d41402abc4b2a76b9719d911017c592", 3), part(5, "7d793037a0760186574b0282f2f435e7", 4)];
        let named = named(vec![completed(1, "x"), completed(5, "y")], vec![vec![]; 2]).unwrap();
        let (etag, record) = finish(&upload(None), &parts, &named, &NOTHING).unwrap();
        // Of MD5("hello") and MD5("world"), one after the other.
        assert_eq!(etag, "065947336a2f2a95ba8899f3675c3be6-2");
        assert_eq!(record.parts.iter().map(|p| (p.number, p.size)).collect::<Vec<_>>(), [(1, 3), (5, 4)]);
    }

    #[test]
    fn claims_are_compared() {
        let parts = [part(1, "00", 3)];
        let mut named = named(vec![completed(1, "00")], vec![vec![]; 1]).unwrap();
        let code = |upload: &Upload, named: &[Named], claims: Claims| {
            finish(upload, &parts, named, &claims).map(|_| ()).map_err(|error| error.code().as_str().to_owned())
        };
        let crc = |value: &str| Some((Algorithm::Crc32, value.to_owned()));
        let begun = upload(Some(("CRC32", ChecksumKind::FullObject)));
        let refused = |code: &str| Err(code.to_owned());
        assert_eq!(code(&begun, &named, Claims { size: Some(3), checksum: crc("AAAAAA=="), kind: Some(ChecksumKind::FullObject) }), Ok(()));
        assert_eq!(code(&begun, &named, Claims { size: Some(4), ..NOTHING }), refused("InvalidRequest"));
        assert_eq!(code(&begun, &named, Claims { checksum: crc("AAAAAQ=="), ..NOTHING }), refused("BadDigest"));
        assert_eq!(code(&begun, &named, Claims { kind: Some(ChecksumKind::Composite), ..NOTHING }), refused("InvalidRequest"));
        let sha = || Some((Algorithm::Sha1, String::new()));
        assert_eq!(code(&begun, &named, Claims { checksum: sha(), ..NOTHING }), refused("BadDigest"));
        assert_eq!(code(&upload(None), &named, Claims { checksum: sha(), ..NOTHING }), Ok(()));
        assert_eq!(code(&upload(None), &named, Claims { kind: Some(ChecksumKind::FullObject), ..NOTHING }), refused("InvalidRequest"));
        let composite = upload(Some(("CRC32", ChecksumKind::Composite)));
        assert_eq!(code(&composite, &named, NOTHING), refused("InvalidRequest"));
        named[0].checksums = vec![(Algorithm::Crc32, "AAAAAA==".into())];
        assert_eq!(code(&composite, &named, NOTHING), Ok(()));
        named[0].checksums = vec![(Algorithm::Crc32, "AAAAAQ==".into())];
        assert_eq!(code(&begun, &named, NOTHING), refused("InvalidPart"));
        named[0].checksums = vec![(Algorithm::Sha256, "AAAA".into())];
        assert_eq!(code(&begun, &named, NOTHING), refused("BadDigest"));
        assert_eq!(code(&upload(None), &named, NOTHING), refused("InvalidPart"));
    }
}
