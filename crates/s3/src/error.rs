//! S3's error codes for what can go wrong underneath.

use crate::multipart::PART_BYTES_MIN;
use crate::{record, time};
use http::{HeaderMap, HeaderValue, header};
use model::time::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use s3s::{S3Error, S3ErrorCode, s3_error};
use std::fmt::Display;

/// The header in which what an operation tells of an error goes through s3s, which keeps nothing else of it. No answer has it.
const DETAILS: &str = "x-error-details";
/// Longest value of them, in bytes: a key.
const VALUE_BYTES_MAX: usize = 1024;

/// What an operation answers.
pub(crate) type Result<T, E = S3Error> = std::result::Result<T, E>;

/// S3's answer for the engine's.
pub(crate) fn engine(error: objects::Error) -> S3Error {
    use objects::Error as E;
    match error {
        E::NoSuchBucket => s3_error!(NoSuchBucket, "The specified bucket does not exist"),
        E::BucketExists { .. } => s3_error!(
            BucketAlreadyExists,
            "The requested bucket name is not available. The bucket namespace is shared by all users of the system. Please select a different name and try again."
        ),
        E::BucketNotEmpty => s3_error!(BucketNotEmpty, "The bucket you tried to delete is not empty"),
        E::NoSuchKey => s3_error!(NoSuchKey, "The specified key does not exist."),
        E::NoSuchVersion => s3_error!(NoSuchVersion, "The specified version does not exist."),
        E::DeleteMarker { version, made, current } => delete_marker(version.as_str(), made, current),
        E::NoSuchUpload => s3_error!(
            NoSuchUpload,
            "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed."
        ),
        E::InvalidPart { number, etag } => of_part(
            number,
            &etag,
            s3_error!(
                InvalidPart,
                "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified entity tag may not match the part's entity tag."
            ),
        ),
        E::InvalidPartOrder => {
            s3_error!(InvalidPartOrder, "The list of parts was not in ascending order. Parts must be ordered by part number.")
        }
        E::EntityTooSmall { number, etag, size } => {
            let error = s3_error!(EntityTooSmall, "Your proposed upload is smaller than the minimum allowed size");
            of_part(number, &etag, with(with(error, "ProposedSize", size), "MinSizeAllowed", PART_BYTES_MIN))
        }
        E::PreconditionFailed => precondition_failed(),
        E::ConditionalConflict => custom(
            "ConditionalRequestConflict",
            409,
            "The conditional request cannot succeed due to a conflicting operation against this resource.",
        ),
        E::Locked => s3_error!(AccessDenied, "Access Denied because object protected by object lock."),
        E::WrongKey => s3_error!(AccessDenied, "Access Denied"),
        E::Full => {
            tracing::error!("the disk under S3 is full: writes are refused");
            custom("InsufficientStorage", 507, "There is not enough space left to store the object.")
        }
        E::Io(error) => internal(&error),
    }
}

/// The same of an object, whose key it says if there is none: what a copy reads isn't what its request names.
pub(crate) fn of_key(error: objects::Error, key: &str) -> S3Error {
    match engine(error) {
        error if matches!(error.code(), S3ErrorCode::NoSuchKey | S3ErrorCode::NoSuchVersion) => with(error, "Key", key),
        error => error,
    }
}

/// Writes why to the log, and says nothing of it.
pub(crate) fn internal(error: &anyhow::Error) -> S3Error {
    tracing::error!(error = format!("{error:#}"), "S3 failed inside");
    s3_error!(InternalError, "We encountered an internal error. Please try again.")
}

/// The condition of a request doesn't hold.
pub(crate) fn precondition_failed() -> S3Error {
    s3_error!(PreconditionFailed, "At least one of the pre-conditions you specified did not hold")
}

/// The body is XML, but not what it should be, or no XML at all.
pub(crate) fn malformed_xml() -> S3Error {
    s3_error!(MalformedXML, "The XML you provided was not well-formed or did not validate against our published schema")
}

/// A code that s3s doesn't know.
pub(crate) fn custom(code: &'static str, status: u16, text: &'static str) -> S3Error {
    custom_text(code, status, text)
}

/// The same, with a text that is made.
pub(crate) fn custom_text(code: &'static str, status: u16, text: impl Into<std::borrow::Cow<'static, str>>) -> S3Error {
    let mut error = S3Error::with_message(S3ErrorCode::Custom(code.into()), text);
    error.set_status_code(http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR));
    error
}

/// An error whose document has one more element: `<UploadId>`. A value that is longer than a key isn't told.
pub(crate) fn with(error: S3Error, element: &str, value: impl Display) -> S3Error {
    let value = value.to_string();
    if value.len() <= VALUE_BYTES_MAX { with_all(error, &[(element, value)]) } else { error }
}

/// An error whose document has more elements, however long their values are.
pub(crate) fn with_all(mut error: S3Error, details: &[(&str, String)]) -> S3Error {
    let mut headers = error.headers().cloned().unwrap_or_default();
    details_put(&mut headers, details);
    error.set_headers(headers);
    error
}

/// Adds elements to an error's document by the headers of its answer.
pub(crate) fn details_put(headers: &mut HeaderMap, details: &[(&str, String)]) {
    for (element, value) in details {
        if let Ok(detail) = HeaderValue::try_from(format!("{element}={}", utf8_percent_encode(value, NON_ALPHANUMERIC))) {
            headers.append(DETAILS, detail);
        }
    }
}

/// Takes what [`details_put`] told out of an answer's headers.
pub(crate) fn details_take(headers: &mut HeaderMap) -> Vec<(String, String)> {
    let read = |detail: &HeaderValue| {
        let (element, value) = detail.to_str().ok()?.split_once('=')?;
        Some((element.to_owned(), percent_decode_str(value).decode_utf8_lossy().into_owned()))
    };
    let details = headers.get_all(DETAILS).iter().filter_map(read).collect();
    headers.remove(DETAILS);
    details
}

/// `InvalidArgument`: which, what it is, and what is wrong with it.
pub(crate) fn argument(name: &str, value: impl Display, text: impl Into<std::borrow::Cow<'static, str>>) -> S3Error {
    let error = S3Error::with_message(S3ErrorCode::InvalidArgument, text);
    with(with(error, "ArgumentName", name), "ArgumentValue", value)
}

/// Nobody may know more.
pub(crate) fn denied() -> S3Error {
    s3_error!(AccessDenied, "Access Denied")
}

/// An error that a part of an upload makes.
fn of_part(number: u32, etag: &str, error: S3Error) -> S3Error {
    with(with(error, "PartNumber", number), "ETag", etag)
}

/// What reading a delete marker answers ("Working with delete markers", "GetObject").
fn delete_marker(version: &str, made: Timestamp, current: bool) -> S3Error {
    let mut headers = HeaderMap::new();
    let mut error = if current {
        s3_error!(NoSuchKey, "The specified key does not exist.")
    } else {
        headers.insert(header::ALLOW, HeaderValue::from_static("DELETE"));
        record::put(&mut headers, "last-modified", &time::http_date(made));
        s3_error!(MethodNotAllowed, "The specified method is not allowed against this resource.")
    };
    headers.insert("x-amz-delete-marker", HeaderValue::from_static("true"));
    record::put(&mut headers, "x-amz-version-id", version);
    error.set_headers(headers);
    error
}

/// What S3 says with the codes that s3s gives no text ("Error responses").
pub(crate) fn usual(code: &str) -> Option<&'static str> {
    Some(match code {
        "IncompleteBody" => "You did not provide the number of bytes specified by the Content-Length HTTP header",
        "InvalidAccessKeyId" => "The AWS Access Key Id you provided does not exist in our records.",
        "InvalidBucketName" => "The specified bucket is not valid.",
        "InvalidPolicyDocument" => "The content of the form does not meet the conditions specified in the policy document.",
        "InvalidRange" => "The requested range is not satisfiable",
        "InvalidURI" => "Couldn't parse the specified URI.",
        "KeyTooLongError" => "Your key is too long",
        "MalformedXML" => "The XML you provided was not well-formed or did not validate against our published schema",
        "MalformedPOSTRequest" => "The body of your POST request is not well-formed multipart/form-data.",
        "MethodNotAllowed" => "The specified method is not allowed against this resource.",
        "MissingRequestBodyError" => "Request body is empty.",
        "NotImplemented" => "A header you provided implies functionality that is not implemented",
        "RequestTimeTooSkewed" => "The difference between the request time and the current time is too large.",
        "SignatureDoesNotMatch" => {
            "The request signature we calculated does not match the signature you provided. Check your key and signing method."
        }
        _ => return None,
    })
}
