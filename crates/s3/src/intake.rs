//! Bodies on their way in: counted, hashed, compared, staged. What isn't whole leaves nothing.

use crate::body::Stalled;
use crate::checksum::{Computed, Expected, Sums};
use crate::error::{self, Result, custom};
use crate::service::S3;
use futures_util::StreamExt as _;
use http::HeaderMap;
use objects::{Seal, Staged};
use s3s::dto::StreamingBlob;
use s3s::{S3Error, S3ErrorCode, s3_error};
use std::error::Error as StdError;

/// Most bytes of a body that comes in one piece, of an object or a part ("Amazon S3 multipart upload limits").
pub(crate) const BODY_BYTES_MAX: u64 = 5 << 30;

/// A body that a client announced.
pub(crate) struct Incoming {
    pub(crate) body: Option<StreamingBlob>,
    /// Its length as announced; a form announces none.
    pub(crate) length: Option<u64>,
    pub(crate) seal: Seal,
    /// What the client says of it.
    pub(crate) expected: Expected,
}

/// The length that a client announced.
///
/// # Errors
/// `MissingContentLength`, `EntityTooLarge`.
pub(crate) fn length(content_length: Option<i64>, headers: &HeaderMap) -> Result<u64> {
    let decoded = || headers.get("x-amz-decoded-content-length")?.to_str().ok()?.parse::<u64>().ok();
    let announced = content_length.and_then(|length| u64::try_from(length).ok()).or_else(decoded);
    let length = announced.ok_or_else(|| s3_error!(MissingContentLength, "You must provide the Content-Length HTTP header."))?;
    if length > BODY_BYTES_MAX {
        let error = s3_error!(EntityTooLarge, "Your proposed upload exceeds the maximum allowed size");
        return Err(error::with(error::with(error, "ProposedSize", length), "MaxSizeAllowed", BODY_BYTES_MAX));
    }
    Ok(length)
}

/// Takes a body. It belongs to nothing yet.
///
/// # Errors
/// `IncompleteBody`, `RequestTimeout`, `BadDigest` and others for what arrives; the engine's.
pub(crate) async fn take(s3: &S3, incoming: Incoming) -> Result<(Staged, Computed)> {
    let Incoming { body, length, seal, expected } = incoming;
    let mut sums = Sums::new(&expected);
    let mut staging = s3.objects.stage(seal);
    let mut left = length.unwrap_or(BODY_BYTES_MAX);
    if let Some(mut body) = body {
        while let Some(bytes) = body.next().await {
            let bytes = bytes.map_err(broken)?;
            left = left.checked_sub(bytes.len() as u64).ok_or_else(incomplete)?;
            sums.update(bytes.clone()).await?;
            staging.write(bytes).await.map_err(error::engine)?;
        }
    }
    if left > 0 && length.is_some() {
        return Err(incomplete());
    }
    let computed = sums.finish().await?;
    expected.check(&computed)?;
    let staged = staging.finish().await.map_err(error::engine)?;
    Ok((staged, computed))
}

/// Less came than was announced.
pub(crate) fn incomplete() -> S3Error {
    s3_error!(IncompleteBody, "You did not provide the number of bytes specified by the Content-Length HTTP header")
}

/// What S3 answers when a body breaks off. The errors of s3s's own streams can only be told by their text.
fn broken(error: s3s::StdError) -> S3Error {
    // A form's file says itself what is wrong.
    let error = match error.downcast::<S3Error>() {
        Ok(error) => return *error,
        Err(error) => error,
    };
    // The source of a copy.
    let error = match error.downcast::<objects::Error>() {
        Ok(error) => return error::engine(*error),
        Err(error) => error,
    };
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error.as_ref());
    while let Some(e) = cause {
        if e.is::<Stalled>() {
            return stalled();
        }
        cause = e.source();
    }
    let text = error.to_string();
    if text.ends_with(&Stalled.to_string()) {
        return stalled();
    }
    tracing::debug!(error = %text, "a body broke off");
    if text.ends_with("Sha256Mismatch") {
        return wrong_hash();
    }
    if text.ends_with("SignatureMismatch") {
        let text = "The request signature we calculated does not match the signature you provided. Check your key and signing method.";
        return s3_error!(SignatureDoesNotMatch, "{text}");
    }
    if text.ends_with("FormatError") || text.contains("TooLarge") || text.contains("TooMany") {
        return custom("InvalidChunkSizeError", 400, "The chunks of the body are not well-formed");
    }
    incomplete()
}

/// The body isn't the one that was signed.
pub(crate) fn wrong_hash() -> S3Error {
    custom("XAmzContentSHA256Mismatch", 400, "The provided 'x-amz-content-sha256' header does not match what was computed.")
}

/// Nothing came for too long.
pub(crate) fn stalled() -> S3Error {
    let text =
        "Your socket connection to the server was not read from or written to within the timeout period. Idle connections will be closed.";
    S3Error::with_message(S3ErrorCode::RequestTimeout, text)
}
