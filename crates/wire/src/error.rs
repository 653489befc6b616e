//! The error that a client gets: AWS's code, status and words.

use std::borrow::Cow;

/// What a client is told when its request fails. What the operator should know goes to the log, never in here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ApiError {
    /// AWS's error code, such as `InvalidInstanceID.NotFound`.
    pub code: Cow<'static, str>,
    /// HTTP status.
    pub status: u16,
    /// AWS's wording, for people.
    pub message: String,
}

impl ApiError {
    /// An error with the status that AWS answers this code with; see [`usual_status`].
    #[must_use]
    pub fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        let code = code.into();
        let status = usual_status(&code);
        Self { code, status, message: message.into() }
    }

    /// An error with a status of its own, for codes whose status differs by service.
    #[must_use]
    pub fn with_status(code: impl Into<Cow<'static, str>>, status: u16, message: impl Into<String>) -> Self {
        Self { code: code.into(), status, message: message.into() }
    }

    /// The server failed, not the client. What failed goes to the log with the request id.
    #[must_use]
    pub fn internal() -> Self {
        Self::new("InternalError", "An internal error has occurred")
    }

    /// Whether the client is to blame (a status below 500).
    #[must_use]
    pub fn is_client(&self) -> bool {
        self.status < 500
    }
}

/// The HTTP status that goes with a code, where a service doesn't say otherwise.
///
/// From "Error codes for the Amazon EC2 API" and the "Common Error Types" page of the query services. `NotImplemented` is 501 because
/// AWS's SDKs retry 500, 502, 503 and 504.
#[must_use]
pub fn usual_status(code: &str) -> u16 {
    match code {
        "AuthFailure" => 401,
        "AccessDenied"
        | "ExpiredToken"
        | "InvalidClientTokenId"
        | "MissingAuthenticationToken"
        | "OptInRequired"
        | "SignatureDoesNotMatch"
        | "UnauthorizedOperation" => 403,
        "DryRunOperation" => 412,
        "RequestEntityTooLarge" => 413,
        "InternalError"
        | "InternalFailure"
        | "InsufficientAddressCapacity"
        | "InsufficientCapacity"
        | "InsufficientHostCapacity"
        | "InsufficientInstanceCapacity"
        | "InsufficientReservedInstanceCapacity"
        | "InsufficientVolumeCapacity" => 500,
        "NotImplemented" => 501,
        "RequestLimitExceeded" | "ServiceUnavailable" | "Throttling" | "Unavailable" => 503,
        _ => 400,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_brings_its_status() {
        assert_eq!(ApiError::new("AuthFailure", "x").status, 401);
        assert_eq!(ApiError::new("InvalidAMIID.NotFound", "x").status, 400);
        assert_eq!(ApiError::new(String::from("DryRunOperation"), "x").status, 412);
        assert!(!ApiError::internal().is_client());
    }
}
