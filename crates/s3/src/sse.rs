//! Encryption of bodies: what a request or its bucket asks for, how the engine seals it, what replies say of it
//! ("Protecting data with server-side encryption"). Nothing is said that is not done: docs/decisions/0008-encryption-at-rest.md.

use crate::checksum::Computed;
use crate::configuration::reading;
use crate::error::{self, Result, custom};
use crate::service::S3;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{HeaderMap, HeaderName, HeaderValue};
use md5::{Digest as _, Md5};
use objects::{Bucket, Encryption, Seal};
use s3s::dto::{ServerSideEncryption, ServerSideEncryptionConfiguration, ServerSideEncryptionRule};
use s3s::{S3Error, s3_error};
use sha2::Sha256;
use std::sync::Arc;

const ENCRYPTION: HeaderName = HeaderName::from_static("x-amz-server-side-encryption");
const KMS_KEY: HeaderName = HeaderName::from_static("x-amz-server-side-encryption-aws-kms-key-id");
const BUCKET_KEY: HeaderName = HeaderName::from_static("x-amz-server-side-encryption-bucket-key-enabled");
const KMS_CONTEXT: HeaderName = HeaderName::from_static("x-amz-server-side-encryption-context");
const ALGORITHM: HeaderName = HeaderName::from_static("x-amz-server-side-encryption-customer-algorithm");
const KEY: HeaderName = HeaderName::from_static("x-amz-server-side-encryption-customer-key");
const KEY_MD5: HeaderName = HeaderName::from_static("x-amz-server-side-encryption-customer-key-md5");
const SOURCE_ALGORITHM: HeaderName = HeaderName::from_static("x-amz-copy-source-server-side-encryption-customer-algorithm");
const SOURCE_KEY: HeaderName = HeaderName::from_static("x-amz-copy-source-server-side-encryption-customer-key");
const SOURCE_KEY_MD5: HeaderName = HeaderName::from_static("x-amz-copy-source-server-side-encryption-customer-key-md5");

/// A key that a customer sends with a request.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct CustomerKey {
    pub(crate) key: [u8; 32],
    /// Base64.
    pub(crate) md5: String,
}

/// How a new body is encrypted.
pub(crate) struct Sealing {
    pub(crate) seal: Seal,
    /// For its record.
    pub(crate) encryption: Option<Encryption>,
}

impl Sealing {
    const NONE: Self = Self { seal: Seal::None, encryption: None };

    fn engine(encryption: Encryption) -> Self {
        Self { seal: Seal::Engine, encryption: Some(encryption) }
    }
}

/// What a write's headers ask for, else its bucket.
///
/// # Errors
/// S3's, for what can't be or isn't here.
pub(crate) fn of_write(bucket: &Bucket, headers: &HeaderMap) -> Result<Sealing> {
    let method = headers.get(&ENCRYPTION);
    let kms = headers.contains_key(&KMS_KEY) || headers.contains_key(&KMS_CONTEXT);
    if let Some(key) = customer_key(headers)? {
        if method.is_some() || kms {
            let text = "Server Side Encryption with Customer provided key is incompatible with the encryption method specified";
            return Err(s3_error!(InvalidArgument, "{text}"));
        }
        return Ok(Sealing { seal: Seal::Customer(key.key), encryption: Some(Encryption::Customer { key_md5: key.md5 }) });
    }
    match method.map(HeaderValue::as_bytes) {
        Some(b"AES256") if !kms => Ok(Sealing::engine(Encryption::S3)),
        Some(b"aws:kms") if headers.contains_key(&KMS_CONTEXT) => Err(s3_error!(NotImplemented, "Encryption contexts are not implemented")),
        Some(b"aws:kms") => {
            let named = headers.get(&KMS_KEY).map(|key| key.to_str().unwrap_or_default());
            // A default whose key isn't there any more doesn't matter to who names another.
            let bucket_key = bucket_key(headers)?.unwrap_or_else(|| of_bucket(bucket).is_ok_and(|default| default.bucket_key));
            Ok(Sealing::engine(Encryption::Kms { key_id: kms_key(bucket, named)?, bucket_key }))
        }
        Some(b"aws:kms:dsse") => Err(dsse()),
        None if !kms => by_default(bucket, headers),
        method => {
            let method = String::from_utf8_lossy(method.unwrap_or_default());
            Err(error::argument(ENCRYPTION.as_str(), method, "The encryption method specified is not supported"))
        }
    }
}

fn dsse() -> S3Error {
    s3_error!(NotImplemented, "Dual-layer encryption (aws:kms:dsse) is not implemented")
}

/// Whether a request asks for an S3 Bucket Key; `None`: it says nothing of it.
fn bucket_key(headers: &HeaderMap) -> Result<Option<bool>> {
    match headers.get(&BUCKET_KEY).map(HeaderValue::as_bytes) {
        None => Ok(None),
        Some(value) if value.eq_ignore_ascii_case(b"true") => Ok(Some(true)),
        Some(value) if value.eq_ignore_ascii_case(b"false") => Ok(Some(false)),
        Some(value) => Err(error::argument(BUCKET_KEY.as_str(), String::from_utf8_lossy(value), "The value must be true or false")),
    }
}

/// What a bucket encrypts new objects with unless their requests say otherwise.
#[derive(Debug, Default)]
struct BucketDefault {
    encryption: Option<Encryption>,
    /// Whether objects under a key of KMS's get an S3 Bucket Key.
    bucket_key: bool,
}

fn of_bucket(bucket: &Bucket) -> Result<Arc<BucketDefault>> {
    let read = |found: ServerSideEncryptionConfiguration| {
        let rule = found.rules.into_iter().find(|rule| rule.apply_server_side_encryption_by_default.is_some());
        let Some(ServerSideEncryptionRule { apply_server_side_encryption_by_default: Some(default), bucket_key_enabled }) = rule else {
            return Ok(BucketDefault::default());
        };
        let bucket_key = bucket_key_enabled.unwrap_or_default();
        let encryption = match default.sse_algorithm.as_str() {
            ServerSideEncryption::AES256 => Encryption::S3,
            ServerSideEncryption::AWS_KMS => Encryption::Kms { key_id: kms_key(bucket, default.kms_master_key_id.as_deref())?, bucket_key },
            _ => return Err(dsse()),
        };
        Ok(BucketDefault { encryption: Some(encryption), bucket_key })
    };
    Ok(reading(bucket, "encryption", read)?.unwrap_or_default())
}

/// The bucket's default; a request may still say whether it wants an S3 Bucket Key.
fn by_default(bucket: &Bucket, headers: &HeaderMap) -> Result<Sealing> {
    let asked = bucket_key(headers)?;
    Ok(match (of_bucket(bucket)?.encryption.clone(), asked) {
        (None, _) => Sealing::NONE,
        (Some(Encryption::Kms { key_id, .. }), Some(bucket_key)) => Sealing::engine(Encryption::Kms { key_id, bucket_key }),
        (Some(encryption), _) => Sealing::engine(encryption),
    })
}

/// The ARN of the key that a request means. There is one key for each account and region until there is a key service: the cloud's own
/// for S3, which the engine's master key stands for.
fn kms_key(bucket: &Bucket, named: Option<&str>) -> Result<String> {
    let (region, account) = (&bucket.region, &bucket.owner);
    let digest = Sha256::new().chain_update(format!("key of S3 for {account} in {region}")).finalize();
    let hex = crate::checksum::hex(&digest[..16]);
    let id = format!("{}-{}-4{}-a{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..]);
    let arn = |resource: &str| format!("arn:aws:kms:{region}:{account}:{resource}");
    let key = arn(&format!("key/{id}"));
    match named {
        None => Ok(key),
        Some(name) if name == "alias/aws/s3" || name == id || name == key || name == arn("alias/aws/s3") => Ok(key),
        Some(name) => {
            let mut error =
                S3Error::with_message(s3s::S3ErrorCode::Custom("KMS.NotFoundException".into()), format!("Invalid keyId '{name}'"));
            error.set_status_code(http::StatusCode::BAD_REQUEST);
            Err(error)
        }
    }
}

/// The customer's key for the object that a request is about.
///
/// # Errors
/// `InvalidArgument`, `InvalidEncryptionAlgorithmError`.
pub(crate) fn customer_key(headers: &HeaderMap) -> Result<Option<CustomerKey>> {
    key_of(headers.get(ALGORITHM), headers.get(KEY), headers.get(KEY_MD5))
}

/// The customer's key for the source of a copy.
///
/// # Errors
/// As [`customer_key`].
pub(crate) fn source_key(headers: &HeaderMap) -> Result<Option<CustomerKey>> {
    key_of(headers.get(SOURCE_ALGORITHM), headers.get(SOURCE_KEY), headers.get(SOURCE_KEY_MD5))
}

fn key_of(algorithm: Option<&HeaderValue>, key: Option<&HeaderValue>, md5: Option<&HeaderValue>) -> Result<Option<CustomerKey>> {
    const WHO: &str = "Requests specifying Server Side Encryption with Customer provided keys must provide";
    if algorithm.is_none() && key.is_none() && md5.is_none() {
        return Ok(None);
    }
    let Some(algorithm) = algorithm else {
        return Err(s3_error!(InvalidArgument, "{WHO} a valid encryption algorithm."));
    };
    if algorithm.as_bytes() != b"AES256" {
        let text = "The encryption request you specified is not valid. The valid value is AES256.";
        return Err(custom("InvalidEncryptionAlgorithmError", 400, text));
    }
    let key = key.ok_or_else(|| s3_error!(InvalidArgument, "{WHO} an appropriate secret key."))?;
    let md5 = md5.ok_or_else(|| s3_error!(InvalidArgument, "{WHO} the client calculated MD5 of the secret key."))?;
    let bytes = BASE64.decode(key.as_bytes()).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    let key = bytes.ok_or_else(|| s3_error!(InvalidArgument, "The secret key was invalid for the specified algorithm."))?;
    let calculated = BASE64.encode(Md5::digest(key));
    if md5.as_bytes() != calculated.as_bytes() {
        return Err(s3_error!(InvalidArgument, "The calculated MD5 hash of the key did not match the hash that was provided."));
    }
    Ok(Some(CustomerKey { key, md5: calculated }))
}

/// The key for reading a body: the customer's, if it is sealed with one.
///
/// # Errors
/// `InvalidRequest` if one is missing or out of place, `AccessDenied` if it is another one.
pub(crate) fn of_read(encryption: Option<&Encryption>, key: Option<CustomerKey>) -> Result<Option<[u8; 32]>> {
    match (encryption, key) {
        (Some(Encryption::Customer { key_md5 }), Some(key)) if *key_md5 == key.md5 => Ok(Some(key.key)),
        (Some(Encryption::Customer { .. }), Some(_)) => Err(error::denied()),
        (Some(Encryption::Customer { .. }), None) => {
            let text = "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object.";
            Err(s3_error!(InvalidRequest, "{text}"))
        }
        (_, Some(_)) => Err(s3_error!(InvalidRequest, "The encryption parameters are not applicable to this object.")),
        (_, None) => Ok(None),
    }
}

/// How a part of an upload is sealed: as the upload was begun.
///
/// # Errors
/// `InvalidRequest` unless the customer's key is the one that the upload was begun with.
pub(crate) fn of_part(encryption: Option<&Encryption>, key: Option<CustomerKey>) -> Result<Seal> {
    match (encryption, key) {
        (Some(Encryption::Customer { key_md5 }), Some(key)) if *key_md5 == key.md5 => Ok(Seal::Customer(key.key)),
        (Some(Encryption::Customer { .. }), Some(_)) => {
            Err(s3_error!(InvalidRequest, "The provided encryption parameters did not match the ones used originally."))
        }
        (Some(Encryption::Customer { .. }), None) => {
            let text = "The multipart upload initiate requested encryption. Subsequent part requests must include the appropriate encryption parameters.";
            Err(s3_error!(InvalidRequest, "{text}"))
        }
        (_, Some(_)) => Err(s3_error!(
            InvalidRequest,
            "The multipart upload initiate did not request encryption. Please resend the request without the encryption parameters."
        )),
        (Some(_), None) => Ok(Seal::Engine),
        (None, None) => Ok(Seal::None),
    }
}

/// The ETag of a body that came in one piece, without quotes: its MD5, but not of what a key of KMS's or a customer's seals ("Common Response
/// Headers"). Whoever sees an ETag can try bodies against an MD5: theirs is drawn, and says nothing.
pub(crate) fn etag(s3: &S3, encryption: Option<&Encryption>, computed: &Computed) -> String {
    match encryption {
        None | Some(Encryption::S3) => computed.etag(),
        Some(Encryption::Kms { .. } | Encryption::Customer { .. }) => s3.objects.etag(),
    }
}

/// Puts into a reply how a body is encrypted.
pub(crate) fn show(encryption: Option<&Encryption>, headers: &mut HeaderMap) {
    let mut put = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    match encryption {
        None => {}
        Some(Encryption::S3) => put(ENCRYPTION, "AES256"),
        Some(Encryption::Kms { key_id, bucket_key }) => {
            put(ENCRYPTION, "aws:kms");
            put(KMS_KEY, key_id);
            if *bucket_key {
                put(BUCKET_KEY, "true");
            }
        }
        Some(Encryption::Customer { key_md5 }) => {
            put(ALGORITHM, "AES256");
            put(KEY_MD5, key_md5);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const GOOD_KEY: &str = "pO3upElrwuEXSoFwCfnZPdSsmt/xWeFa0N9KgDijwVs=";
    const GOOD_MD5: &str = "DWygnHRtgiJ77HCm+1rvHw==";

    fn headers(pairs: &[(&HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| ((*name).clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_customer_key_is_whole_or_refused() {
        let read = |pairs: &[(&HeaderName, &'static str)]| {
            customer_key(&headers(pairs)).map(|key| key.is_some()).map_err(|e| e.code().as_str().to_owned())
        };
        let refused = |code: &str| Err(code.to_owned());
        assert_eq!(read(&[]), Ok(false));
        assert_eq!(read(&[(&ALGORITHM, "AES256"), (&KEY, GOOD_KEY), (&KEY_MD5, GOOD_MD5)]), Ok(true));
        assert_eq!(read(&[(&ALGORITHM, "DES"), (&KEY, GOOD_KEY), (&KEY_MD5, GOOD_MD5)]), refused("InvalidEncryptionAlgorithmError"));
        assert_eq!(read(&[(&KEY, GOOD_KEY), (&KEY_MD5, GOOD_MD5)]), refused("InvalidArgument"));
        assert_eq!(read(&[(&ALGORITHM, "AES256"), (&KEY_MD5, GOOD_MD5)]), refused("InvalidArgument"));
        assert_eq!(read(&[(&ALGORITHM, "AES256"), (&KEY, GOOD_KEY)]), refused("InvalidArgument"));
        assert_eq!(read(&[(&ALGORITHM, "AES256"), (&KEY, GOOD_KEY), (&KEY_MD5, "AAAAAAAAAAAAAAAAAAAAAA==")]), refused("InvalidArgument"));
        assert_eq!(read(&[(&ALGORITHM, "AES256"), (&KEY, "YWJj"), (&KEY_MD5, GOOD_MD5)]), refused("InvalidArgument"));
    }

    #[test]
    fn only_the_key_it_was_sealed_with_reads_a_body() {
        let key = |byte: u8| CustomerKey { key: [byte; 32], md5: BASE64.encode(Md5::digest([byte; 32])) };
        let sealed = Encryption::Customer { key_md5: key(1).md5 };
        assert_eq!(of_read(Some(&sealed), Some(key(1))).unwrap(), Some([1; 32]));
        assert_eq!(of_read(Some(&sealed), Some(key(2))).unwrap_err().code().as_str(), "AccessDenied");
        assert_eq!(of_read(Some(&sealed), None).unwrap_err().code().as_str(), "InvalidRequest");
        assert_eq!(of_read(None, Some(key(1))).unwrap_err().code().as_str(), "InvalidRequest");
        assert_eq!(of_read(Some(&Encryption::S3), None).unwrap(), None);
        assert!(matches!(of_part(Some(&sealed), Some(key(1))), Ok(Seal::Customer(_))));
        assert!(of_part(Some(&sealed), Some(key(2))).is_err());
        assert!(of_part(None, Some(key(1))).is_err());
    }
}
