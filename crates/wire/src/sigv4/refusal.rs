//! Why a signature is refused, and how each kind of service says so.

use crate::{ApiError, Protocol};

/// A check that failed.
#[derive(Debug)]
pub(super) enum Refusal {
    /// There is no signature.
    Missing,
    /// The query string can't be read.
    BadQuery,
    /// The signature isn't whole.
    Incomplete(String),
    /// It is too old.
    Expired(String),
    /// It is not for this service, time or request. The words are for services that give reasons.
    DoesNotMatch(String),
    /// No such key, or a token that isn't the key's.
    UnknownKey,
    /// The key's session is over.
    ExpiredToken,
}

impl Refusal {
    pub(super) fn does_not_match(why: impl Into<String>) -> Self {
        Self::DoesNotMatch(why.into())
    }

    pub(super) fn mismatch(canonical: &str, string_to_sign: &str) -> Self {
        Self::DoesNotMatch(format!(
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing \
             method. Consult the service documentation for details.\n\nThe Canonical String for this request should have been\n'{canonical}'\n\n\
             The String-to-Sign should have been\n'{string_to_sign}'\n"
        ))
    }

    pub(super) fn unsupported(algorithm: &str) -> Self {
        Self::Incomplete(format!("Unsupported AWS 'algorithm': '{algorithm}'."))
    }

    pub(super) fn no_pair(parameter: &str, header: &str) -> Self {
        Self::Incomplete(format!("'{parameter}' not a valid key=value pair (missing equal-sign) in Authorization header: '{header}'."))
    }

    pub(super) fn bad_date(date: &str) -> Self {
        Self::Incomplete(format!("Date must be in ISO-8601 'basic format'. Got '{date}'. See http://en.wikipedia.org/wiki/ISO_8601"))
    }

    pub(super) fn bad_credential(credential: &str) -> Self {
        Self::Incomplete(format!(
            "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '{credential}'"
        ))
    }

    /// What an `Authorization` header lacks: `given` is credential, signature, signed headers, date.
    pub(super) fn incomplete_header(given: [bool; 4], header: &str) -> Self {
        let needs = [
            "Authorization header requires 'Credential' parameter. ",
            "Authorization header requires 'Signature' parameter. ",
            "Authorization header requires 'SignedHeaders' parameter. ",
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ",
        ];
        // The signature itself, even half of one, isn't repeated.
        let shown = header.split("Signature=").next().unwrap_or_default();
        Self::Incomplete(format!("{}Authorization={shown}", missing(given, needs)))
    }

    /// What a presigned URL lacks, in the same order.
    pub(super) fn incomplete_query(given: [bool; 4]) -> Self {
        let needs = [
            "AWS query-string parameters must include 'X-Amz-Credential'. ",
            "AWS query-string parameters must include 'X-Amz-Signature'. ",
            "AWS query-string parameters must include 'X-Amz-SignedHeaders'. ",
            "AWS query-string parameters must include 'X-Amz-Date'. ",
        ];
        Self::Incomplete(format!("{}Re-examine the query-string parameters.", missing(given, needs)))
    }

    pub(super) fn into_error(self, protocol: Protocol) -> ApiError {
        match protocol {
            Protocol::Ec2 => self.ec2(),
            Protocol::Query | Protocol::RestXml => self.query(),
            Protocol::Json10 | Protocol::Json11 | Protocol::RpcV2Cbor => self.json(400),
            Protocol::RestJson => self.json(403),
        }
    }

    /// EC2 tells a stranger no reasons.
    fn ec2(self) -> ApiError {
        let failure = || ApiError::with_status("AuthFailure", 401, "AWS was not able to validate the provided access credentials");
        match self {
            Self::Missing => ApiError::new("MissingParameter", "The request must contain the parameter AWSAccessKeyId"),
            Self::BadQuery => malformed(),
            Self::Incomplete(why) => ApiError::with_status("IncompleteSignature", 400, why),
            Self::Expired(_) => ApiError::with_status("RequestExpired", 400, "Request has expired."),
            Self::ExpiredToken => ApiError::with_status("RequestExpired", 400, "Request has expired."),
            Self::DoesNotMatch(_) | Self::UnknownKey => failure(),
        }
    }

    fn query(self) -> ApiError {
        match self {
            Self::Missing => ApiError::with_status("MissingAuthenticationToken", 403, "Request is missing Authentication Token"),
            Self::BadQuery => malformed(),
            Self::Incomplete(why) => ApiError::with_status("IncompleteSignature", 400, why),
            Self::Expired(why) | Self::DoesNotMatch(why) => ApiError::with_status("SignatureDoesNotMatch", 403, why),
            Self::UnknownKey => {
                ApiError::with_status("InvalidClientTokenId", 403, "The security token included in the request is invalid.")
            }
            Self::ExpiredToken => ApiError::with_status("ExpiredToken", 403, "The security token included in the request is expired"),
        }
    }

    fn json(self, status: u16) -> ApiError {
        match self {
            Self::Missing => {
                ApiError::with_status("MissingAuthenticationTokenException", status, "Request is missing Authentication Token")
            }
            Self::BadQuery => malformed(),
            Self::Incomplete(why) => ApiError::with_status("IncompleteSignatureException", status, why),
            Self::Expired(why) | Self::DoesNotMatch(why) => ApiError::with_status("InvalidSignatureException", status, why),
            Self::UnknownKey => {
                ApiError::with_status("UnrecognizedClientException", status, "The security token included in the request is invalid.")
            }
            Self::ExpiredToken => {
                ApiError::with_status("ExpiredTokenException", status, "The security token included in the request is expired")
            }
        }
    }
}

fn malformed() -> ApiError {
    ApiError::new("MalformedQueryString", "The query string contains a syntax error")
}

fn missing(given: [bool; 4], needs: [&str; 4]) -> String {
    given.iter().zip(needs).filter(|(given, _)| !**given).map(|(_, need)| need).collect()
}
