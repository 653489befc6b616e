//! S3's error codes for what can go wrong underneath.

use s3s::{S3Error, S3ErrorCode, s3_error};

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
        E::DeleteMarker { version, current } => delete_marker(version.as_str(), current),
        E::NoSuchUpload => s3_error!(
            NoSuchUpload,
            "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed."
        ),
        E::InvalidPart => s3_error!(
            InvalidPart,
            "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified entity tag may not match the part's entity tag."
        ),
        E::InvalidPartOrder => {
            s3_error!(InvalidPartOrder, "The list of parts was not in ascending order. Parts must be ordered by part number.")
        }
        E::EntityTooSmall => s3_error!(EntityTooSmall, "Your proposed upload is smaller than the minimum allowed size"),
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

/// Nobody may know more.
pub(crate) fn denied() -> S3Error {
    s3_error!(AccessDenied, "Access Denied")
}

/// What reading a delete marker answers ("Working with delete markers").
fn delete_marker(version: &str, current: bool) -> S3Error {
    let mut error = if current {
        s3_error!(NoSuchKey, "The specified key does not exist.")
    } else {
        s3_error!(MethodNotAllowed, "The specified method is not allowed against this resource.")
    };
    let mut headers = http::HeaderMap::new();
    headers.insert("x-amz-delete-marker", http::HeaderValue::from_static("true"));
    if let Ok(version) = version.parse() {
        headers.insert("x-amz-version-id", version);
    }
    error.set_headers(headers);
    error
}
