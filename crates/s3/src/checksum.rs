//! Checksums of bodies: computed while they pass, and compared with what the client says ("Checking object integrity").

use crate::error::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use crc_fast::CrcAlgorithm;
use http::{HeaderMap, HeaderName, HeaderValue};
use md5::{Digest as _, Md5};
use objects::{ChecksumKind, Checksums};
use s3s::{S3Error, TrailingHeaders, s3_error};
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use std::collections::BTreeMap;
use std::hash::Hasher as _;
use tokio::task::JoinHandle;
use twox_hash::{XxHash3_64, XxHash3_128, XxHash64};

/// Bytes that are gathered before a blocking thread takes them.
const BATCH_BYTES: usize = 256 << 10;

/// What S3 computes if nobody names an algorithm.
pub(crate) const DEFAULT: Algorithm = Algorithm::Crc64Nvme;

/// What S3 knows to compute ("ChecksumAlgorithm").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
    Sha512,
    Md5,
    XxHash64,
    XxHash3,
    XxHash128,
}

impl Algorithm {
    pub(crate) const ALL: [Self; 10] = [
        Self::Crc32,
        Self::Crc32c,
        Self::Crc64Nvme,
        Self::Sha1,
        Self::Sha256,
        Self::Sha512,
        Self::Md5,
        Self::XxHash64,
        Self::XxHash3,
        Self::XxHash128,
    ];

    /// As in requests and records.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
            Self::Sha512 => "SHA512",
            Self::Md5 => "MD5",
            Self::XxHash64 => "XXHASH64",
            Self::XxHash3 => "XXHASH3",
            Self::XxHash128 => "XXHASH128",
        }
    }

    /// The header that the value is in, in requests, trailers and replies.
    pub(crate) fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
            Self::Sha512 => "x-amz-checksum-sha512",
            Self::Md5 => "x-amz-checksum-md5",
            Self::XxHash64 => "x-amz-checksum-xxhash64",
            Self::XxHash3 => "x-amz-checksum-xxhash3",
            Self::XxHash128 => "x-amz-checksum-xxhash128",
        }
    }

    /// Nothing if S3 has no such algorithm.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.name().eq_ignore_ascii_case(name))
    }

    /// The algorithm of an element in a document: `ChecksumCRC32`.
    pub(crate) fn of_element(name: &[u8]) -> Option<Self> {
        let name = name.strip_prefix(b"Checksum")?;
        Self::ALL.into_iter().find(|a| a.name().as_bytes() == name)
    }

    /// Whether s3s writes the algorithm's values in documents.
    pub(crate) fn in_documents(self) -> bool {
        matches!(self, Self::Crc32 | Self::Crc32c | Self::Crc64Nvme | Self::Sha1 | Self::Sha256)
    }

    /// Length of a value in bytes.
    pub(crate) fn length(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme | Self::XxHash64 | Self::XxHash3 => 8,
            Self::Md5 | Self::XxHash128 => 16,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    /// The CRC that it is, if it is one.
    fn crc(self) -> Option<CrcAlgorithm> {
        match self {
            Self::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
            Self::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
            Self::Crc64Nvme => Some(CrcAlgorithm::Crc64Nvme),
            Self::Sha1 | Self::Sha256 | Self::Sha512 | Self::Md5 | Self::XxHash64 | Self::XxHash3 | Self::XxHash128 => None,
        }
    }

    /// Whether this is a value of this algorithm.
    pub(crate) fn accepts(self, value: &str) -> bool {
        BASE64.decode(value).is_ok_and(|bytes| bytes.len() == self.length())
    }
}

/// One algorithm under way.
enum Running {
    Crc(crc_fast::Digest, usize),
    Sha1(Sha1),
    Sha256(Sha256),
    Sha512(Box<Sha512>),
    Md5(Md5),
    XxHash64(XxHash64),
    XxHash3(Box<XxHash3_64>),
    XxHash128(Box<XxHash3_128>),
}

/// Computes one checksum.
pub(crate) struct Hasher(Running);

impl Hasher {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        let crc = |crc| Running::Crc(crc_fast::Digest::new(crc), algorithm.length());
        Self(match algorithm {
            Algorithm::Crc32 => crc(CrcAlgorithm::Crc32IsoHdlc),
            Algorithm::Crc32c => crc(CrcAlgorithm::Crc32Iscsi),
            Algorithm::Crc64Nvme => crc(CrcAlgorithm::Crc64Nvme),
            Algorithm::Sha1 => Running::Sha1(Sha1::new()),
            Algorithm::Sha256 => Running::Sha256(Sha256::new()),
            Algorithm::Sha512 => Running::Sha512(Box::new(Sha512::new())),
            Algorithm::Md5 => Running::Md5(Md5::new()),
            Algorithm::XxHash64 => Running::XxHash64(XxHash64::with_seed(0)),
            Algorithm::XxHash3 => Running::XxHash3(Box::new(XxHash3_64::new())),
            Algorithm::XxHash128 => Running::XxHash128(Box::new(XxHash3_128::new())),
        })
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Running::Crc(digest, _) => digest.update(bytes),
            Running::Sha1(digest) => digest.update(bytes),
            Running::Sha256(digest) => digest.update(bytes),
            Running::Sha512(digest) => digest.update(bytes),
            Running::Md5(digest) => digest.update(bytes),
            Running::XxHash64(digest) => digest.write(bytes),
            Running::XxHash3(digest) => digest.write(bytes),
            Running::XxHash128(digest) => digest.write(bytes),
        }
    }

    /// Big-endian, as S3 encodes them all.
    pub(crate) fn finish(self) -> Vec<u8> {
        match self.0 {
            Running::Crc(digest, length) => digest.finalize().to_be_bytes()[8 - length..].to_vec(),
            Running::Sha1(digest) => digest.finalize().to_vec(),
            Running::Sha256(digest) => digest.finalize().to_vec(),
            Running::Sha512(digest) => digest.finalize().to_vec(),
            Running::Md5(digest) => digest.finalize().to_vec(),
            Running::XxHash64(digest) => digest.finish().to_be_bytes().to_vec(),
            Running::XxHash3(digest) => digest.finish().to_be_bytes().to_vec(),
            Running::XxHash128(digest) => digest.finish_128().to_be_bytes().to_vec(),
        }
    }
}

/// The checksum of bytes that are all there.
pub(crate) fn digest(algorithm: Algorithm, bytes: &[u8]) -> Vec<u8> {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(bytes);
    hasher.finish()
}

/// The checksum of what pieces are together, by their checksums and lengths in bytes. Only that of a CRC can be told.
pub(crate) fn combine(algorithm: Algorithm, pieces: &[(Vec<u8>, u64)]) -> Option<Vec<u8>> {
    let crc = algorithm.crc()?;
    let number = |value: &[u8]| value.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    let (first, others) = pieces.split_first()?;
    let join = |sum, (value, length): &(Vec<u8>, u64)| crc_fast::checksum_combine(crc, sum, number(value), *length);
    let sum = others.iter().fold(number(&first.0), join);
    Some(sum.to_be_bytes()[8 - algorithm.length()..].to_vec())
}

/// The MD5 that an ETag is made of, one checksum, and another if both the client and the object have one.
pub(crate) struct Pair {
    md5: Hasher,
    algorithm: Algorithm,
    other: Hasher,
    beside: Option<(Algorithm, Hasher)>,
}

impl Pair {
    pub(crate) fn new(algorithm: Algorithm, beside: Option<Algorithm>) -> Self {
        let beside = beside.filter(|beside| *beside != algorithm).map(|beside| (beside, Hasher::new(beside)));
        Self { md5: Hasher::new(Algorithm::Md5), algorithm, other: Hasher::new(algorithm), beside }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.md5.update(bytes);
        self.other.update(bytes);
        if let Some((_, hasher)) = &mut self.beside {
            hasher.update(bytes);
        }
    }

    pub(crate) fn finish(self) -> Computed {
        let md5 = self.md5.finish().try_into().unwrap_or_default();
        let beside = self.beside.map(|(algorithm, hasher)| (algorithm, BASE64.encode(hasher.finish())));
        Computed { md5, algorithm: self.algorithm, value: BASE64.encode(self.other.finish()), beside }
    }
}

/// Checksums of a body that is passing. Long bodies are hashed by a blocking thread while the next bytes come.
pub(crate) struct Sums {
    state: State,
    gathered: Vec<Bytes>,
    bytes: usize,
}

enum State {
    /// Only while the next state is made.
    Taken,
    Idle(Box<Pair>),
    Busy(JoinHandle<Box<Pair>>),
}

/// What a body's checksums turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Computed {
    pub(crate) md5: [u8; 16],
    pub(crate) algorithm: Algorithm,
    /// Base64.
    pub(crate) value: String,
    beside: Option<(Algorithm, String)>,
}

impl Computed {
    /// The MD5 as an ETag, without quotes.
    pub(crate) fn etag(&self) -> String {
        hex(&self.md5)
    }

    /// For a record.
    pub(crate) fn values(&self) -> BTreeMap<String, String> {
        BTreeMap::from([(self.algorithm.name().to_owned(), self.value.clone())])
    }

    /// That of one algorithm, for a record.
    pub(crate) fn values_of(&self, algorithm: Algorithm) -> BTreeMap<String, String> {
        match &self.beside {
            Some((beside, value)) if *beside == algorithm => BTreeMap::from([(algorithm.name().to_owned(), value.clone())]),
            _ if self.algorithm == algorithm => self.values(),
            _ => BTreeMap::new(),
        }
    }

    /// For an object that came in one piece.
    pub(crate) fn checksums(&self) -> Checksums {
        Checksums { kind: ChecksumKind::FullObject, values: self.values() }
    }
}

impl Sums {
    pub(crate) fn new(expected: &Expected) -> Self {
        let pair = Pair::new(expected.algorithm(), expected.beside);
        Self { state: State::Idle(Box::new(pair)), gathered: Vec::new(), bytes: 0 }
    }

    /// Takes the next bytes.
    pub(crate) async fn update(&mut self, bytes: Bytes) -> Result<()> {
        self.bytes += bytes.len();
        self.gathered.push(bytes);
        if self.bytes < BATCH_BYTES {
            return Ok(());
        }
        let mut pair = self.pair().await?;
        let gathered = std::mem::take(&mut self.gathered);
        self.bytes = 0;
        self.state = State::Busy(tokio::task::spawn_blocking(move || {
            gathered.iter().for_each(|bytes| pair.update(bytes));
            pair
        }));
        Ok(())
    }

    async fn pair(&mut self) -> Result<Box<Pair>> {
        match std::mem::replace(&mut self.state, State::Taken) {
            State::Taken => Err(crate::error::internal(&anyhow::anyhow!("checksums are asked for after they failed"))),
            State::Idle(pair) => Ok(pair),
            State::Busy(task) => task.await.map_err(|error| crate::error::internal(&error.into())),
        }
    }

    /// When all of it has passed.
    pub(crate) async fn finish(mut self) -> Result<Computed> {
        let mut pair = self.pair().await?;
        self.gathered.iter().for_each(|bytes| pair.update(bytes));
        Ok(pair.finish())
    }
}

/// What the client says that the checksums are.
#[derive(Debug)]
pub(crate) struct Expected {
    content_md5: Option<[u8; 16]>,
    /// The client's algorithm.
    algorithm: Option<Algorithm>,
    /// The one to compute if the client has none.
    otherwise: Algorithm,
    /// The one to compute whatever the client has.
    beside: Option<Algorithm>,
    /// Of a header.
    value: Option<String>,
    /// Whether one comes behind the body.
    behind: bool,
    trailer: Option<TrailingHeaders>,
}

impl Expected {
    /// What a request's headers say.
    ///
    /// # Errors
    /// `InvalidDigest`; `InvalidRequest` for values that can't be, for more than one, and for an algorithm without a value.
    pub(crate) fn read(headers: &HeaderMap, trailing: Option<TrailingHeaders>) -> Result<Self> {
        let content_md5 = text(headers, "content-md5").map(content_md5).transpose()?;
        let mut given = Algorithm::ALL.into_iter().filter_map(|a| text(headers, a.header()).map(|value| (a, value)));
        let header = given.next();
        if given.next().is_some() {
            return Err(multiple());
        }
        if let Some((algorithm, value)) = header
            && !algorithm.accepts(value)
        {
            return Err(s3_error!(InvalidRequest, "Value for {} header is invalid.", algorithm.header()));
        }
        let behind = announced(headers)?;
        let named = named(headers)?;
        let algorithm = header.map(|(a, _)| a).or(behind);
        if behind.is_some() && behind != algorithm {
            return Err(multiple());
        }
        match (named, algorithm) {
            (Some(named), Some(algorithm)) if named != algorithm => {
                return Err(s3_error!(InvalidRequest, "Value for x-amz-sdk-checksum-algorithm header is invalid."));
            }
            (Some(_), None) if content_md5.is_none() => {
                let text =
                    "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.";
                return Err(s3_error!(InvalidRequest, "{text}"));
            }
            _ => {}
        }
        let value = header.map(|(_, value)| value.to_owned());
        Ok(Self { content_md5, algorithm, otherwise: DEFAULT, beside: None, value, behind: behind.is_some(), trailer: trailing })
    }

    /// Nothing is said; this is to be computed.
    pub(crate) fn nothing(algorithm: Algorithm) -> Self {
        Self { content_md5: None, algorithm: None, otherwise: algorithm, beside: None, value: None, behind: false, trailer: None }
    }

    /// The algorithm to compute: the client's, else the one that S3 takes by itself.
    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm.unwrap_or(self.otherwise)
    }

    /// The client's algorithm.
    pub(crate) fn given(&self) -> Option<Algorithm> {
        self.algorithm
    }

    /// With an algorithm to compute, whatever the client says.
    pub(crate) fn with(self, algorithm: Algorithm) -> Self {
        Self { otherwise: algorithm, beside: Some(algorithm), ..self }
    }

    /// Whether there is anything to compare with ("Content-MD5 OR x-amz-checksum- HTTP header is required").
    pub(crate) fn any(&self) -> bool {
        self.content_md5.is_some() || self.algorithm.is_some()
    }

    /// Compares when the body, with what comes behind it, has passed.
    ///
    /// # Errors
    /// `BadDigest`, `MalformedTrailerError`.
    pub(crate) fn check(&self, computed: &Computed) -> Result<()> {
        if self.content_md5.is_some_and(|md5| md5 != computed.md5) {
            return Err(s3_error!(BadDigest, "The Content-MD5 you specified did not match what we received."));
        }
        let Some(algorithm) = self.algorithm else { return Ok(()) };
        let behind = if self.behind { Some(self.value_behind(algorithm)?) } else { None };
        for value in self.value.iter().chain(&behind) {
            if !algorithm.accepts(value) {
                return Err(s3_error!(InvalidRequest, "Value for {} header is invalid.", algorithm.header()));
            }
            if *value != computed.value {
                return Err(s3_error!(BadDigest, "The {} you specified did not match the calculated checksum.", algorithm.name()));
            }
        }
        Ok(())
    }

    /// The announced checksum, which must be the only one behind the body: which of two would count is nobody's to guess.
    fn value_behind(&self, algorithm: Algorithm) -> Result<String> {
        let read = |trailers: &HeaderMap| {
            let all = || Algorithm::ALL.into_iter().flat_map(|a| trailers.get_all(a.header()));
            text(trailers, algorithm.header()).filter(|_| all().count() == 1).map(str::to_owned)
        };
        self.trailer.as_ref().and_then(|t| t.read(read)).flatten().ok_or_else(malformed_trailer)
    }
}

/// The algorithm that a client's library says it uses, `x-amz-sdk-checksum-algorithm`.
pub(crate) fn named(headers: &HeaderMap) -> Result<Option<Algorithm>> {
    let read = |name| Algorithm::parse(name).ok_or_else(unsupported);
    text(headers, "x-amz-sdk-checksum-algorithm").map(read).transpose()
}

/// No such algorithm.
pub(crate) fn unsupported() -> S3Error {
    let names = "[CRC32, CRC32C, CRC64NVME, SHA1, SHA256, SHA512, MD5, XXHASH64, XXHASH3, XXHASH128]";
    s3_error!(InvalidRequest, "Checksum algorithm provided is unsupported. Please try again with any of the valid types: {names}")
}

/// The checksum that comes behind the body.
fn announced(headers: &HeaderMap) -> Result<Option<Algorithm>> {
    let Some(names) = text(headers, "x-amz-trailer") else { return Ok(None) };
    let mut known = names.split(',').filter_map(|name| Algorithm::ALL.into_iter().find(|a| a.header().eq_ignore_ascii_case(name.trim())));
    let first =
        known.next().ok_or_else(|| s3_error!(InvalidRequest, "The value specified in the x-amz-trailer header is not supported"))?;
    if known.next().is_some() {
        return Err(multiple());
    }
    Ok(Some(first))
}

/// A request says more than one thing of its body.
pub(crate) fn multiple() -> S3Error {
    s3_error!(InvalidRequest, "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
}

fn malformed_trailer() -> S3Error {
    let text = "The request contained trailing data that was not well-formed or did not conform to our published schema.";
    crate::error::custom("MalformedTrailerError", 400, text)
}

fn content_md5(value: &str) -> Result<[u8; 16]> {
    let bytes = BASE64.decode(value).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| s3_error!(InvalidDigest, "The Content-MD5 you specified was invalid."))
}

/// A header's text, if it has any.
fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim)
}

/// Puts checksums into a reply.
pub(crate) fn show(checksums: &Checksums, headers: &mut HeaderMap) {
    for (name, value) in &checksums.values {
        if let (Some(algorithm), Ok(value)) = (Algorithm::parse(name), HeaderValue::from_str(value)) {
            headers.insert(HeaderName::from_static(algorithm.header()), value);
        }
    }
    if !checksums.values.is_empty() {
        headers.insert("x-amz-checksum-type", HeaderValue::from_static(kind_name(checksums.kind)));
    }
}

/// As in requests and replies.
pub(crate) fn kind_name(kind: ChecksumKind) -> &'static str {
    match kind {
        ChecksumKind::FullObject => "FULL_OBJECT",
        ChecksumKind::Composite => "COMPOSITE",
    }
}

/// In lower case.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn of(algorithm: Algorithm, bytes: &[u8]) -> String {
        let mut hasher = Hasher::new(algorithm);
        bytes.chunks(3).for_each(|piece| hasher.update(piece));
        hex(&hasher.finish())
    }

    #[test]
    fn algorithms_give_their_published_values() {
        for (algorithm, value) in [
            (Algorithm::Crc32, "cbf43926"),
            (Algorithm::Crc32c, "e3069283"),
            (Algorithm::Crc64Nvme, "ae8b14860a799888"),
            (Algorithm::Sha1, "f7c3bc1d808e04732adf679965ccc34ca7ae3441"),
            (Algorithm::Sha256, "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"),
            (Algorithm::Md5, "25f9e794323b453885f5181f1b624d0b"),
            (Algorithm::XxHash64, "8cb841db40e6ae83"),
        ] {
            assert_eq!(of(algorithm, b"123456789"), value, "{}", algorithm.name());
        }
        assert_eq!(of(Algorithm::XxHash3, b""), "2d06800538d394c2");
        assert_eq!(of(Algorithm::XxHash128, b""), "99aa06d3014798d86001c324468d497f");
        assert!(of(Algorithm::Sha512, b"").starts_with("cf83e1357eefb8bd"));
        for algorithm in Algorithm::ALL {
            assert_eq!(of(algorithm, b"x").len(), algorithm.length() * 2);
            assert_eq!(Algorithm::parse(algorithm.name()), Some(algorithm));
        }
    }

    #[tokio::test]
    async fn long_bodies_are_summed_as_short_ones() {
        let body: Vec<u8> = (0..BATCH_BYTES * 2 + 77).map(|i| (i % 253) as u8).collect();
        let mut sums = Sums::new(&Expected::nothing(Algorithm::Crc32));
        for piece in body.chunks(100_000) {
            sums.update(Bytes::copy_from_slice(piece)).await.unwrap();
        }
        let computed = sums.finish().await.unwrap();
        assert_eq!(computed.etag(), of(Algorithm::Md5, &body));
        assert_eq!(hex(&BASE64.decode(&computed.value).unwrap()), of(Algorithm::Crc32, &body));
    }

    #[tokio::test]
    async fn what_the_object_needs_is_computed_beside() {
        let headers = [("x-amz-checksum-crc32", "y/Q5Jg==")].map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v)));
        let expected = Expected::read(&headers.into_iter().collect(), None).unwrap().with(Algorithm::Crc64Nvme);
        let mut sums = Sums::new(&expected);
        sums.update(Bytes::from_static(b"123456789")).await.unwrap();
        let computed = sums.finish().await.unwrap();
        assert!(expected.check(&computed).is_ok());
        let whole = BASE64.encode(digest(Algorithm::Crc64Nvme, b"123456789"));
        assert_eq!(computed.values_of(Algorithm::Crc64Nvme), BTreeMap::from([("CRC64NVME".to_owned(), whole)]));
        assert_eq!(computed.values_of(Algorithm::Crc32)["CRC32"], "y/Q5Jg==");
        assert!(computed.values_of(Algorithm::Sha1).is_empty());
    }

    #[tokio::test]
    async fn what_the_client_says_is_compared() {
        let mut sums = Sums::new(&Expected::nothing(Algorithm::Crc32));
        sums.update(Bytes::from_static(b"123456789")).await.unwrap();
        let computed = sums.finish().await.unwrap();
        let read = |pairs: &[(&'static str, &'static str)]| {
            let headers = pairs.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect();
            Expected::read(&headers, None).and_then(|expected| expected.check(&computed)).map_err(|e| e.code().as_str().to_owned())
        };
        assert_eq!(read(&[]), Ok(()));
        assert_eq!(read(&[("x-amz-checksum-crc32", "y/Q5Jg==")]), Ok(()));
        assert_eq!(read(&[("content-md5", "JfnnlDI7RTiF9RgfG2JNCw==")]), Ok(()));
        let refused = |pairs: &[(&'static str, &'static str)], code: &str| assert_eq!(read(pairs), Err(code.to_owned()), "{pairs:?}");
        refused(&[("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==")], "BadDigest");
        refused(&[("content-md5", "YWJj")], "InvalidDigest");
        refused(&[("x-amz-checksum-crc32", "AAAAAA==")], "BadDigest");
        refused(&[("x-amz-checksum-crc32", "AAAA")], "InvalidRequest");
        refused(&[("x-amz-checksum-crc32", "y/Q5Jg=="), ("x-amz-checksum-crc32c", "y/Q5Jg==")], "InvalidRequest");
        refused(&[("x-amz-sdk-checksum-algorithm", "SHA1"), ("x-amz-checksum-crc32", "y/Q5Jg==")], "InvalidRequest");
        refused(&[("x-amz-sdk-checksum-algorithm", "SHA3")], "InvalidRequest");
        refused(&[("x-amz-trailer", "x-amz-checksum-crc32")], "MalformedTrailerError");
        let header = ("x-amz-checksum-crc32", "y/Q5Jg==");
        refused(&[header, ("x-amz-trailer", "x-amz-checksum-crc32")], "MalformedTrailerError");
        refused(&[header, ("x-amz-trailer", "x-amz-checksum-sha1")], "InvalidRequest");
        refused(&[("x-amz-trailer", "x-other")], "InvalidRequest");
    }
}
