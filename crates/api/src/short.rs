//! What may still be done on a disk without space: what frees some, and what ends machines.

use wire::ApiError;

/// How the names of actions that free space, or write next to nothing, begin.
const FREEING: [&str; 11] =
    ["Cancel", "Delete", "Deregister", "Detach", "Disassociate", "Reboot", "Release", "Revoke", "Stop", "Terminate", "Unmonitor"];

/// Whether an action may be done though there is no space.
pub(crate) fn frees(action: &str) -> bool {
    FREEING.iter().any(|beginning| action.starts_with(beginning))
}

/// AWS's answer where there is no room for what an action makes.
pub(crate) fn refusal(action: &str) -> ApiError {
    match action {
        "RunInstances" | "StartInstances" => ApiError::new("InsufficientInstanceCapacity", "Insufficient capacity."),
        "CreateVolume" => ApiError::new("InsufficientVolumeCapacity", "Insufficient capacity."),
        _ => ApiError::new("Unavailable", "The service is unavailable. Please try again shortly."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_or_deletes_something_goes_on() {
        for action in ["TerminateInstances", "StopInstances", "DeleteTags", "RevokeSecurityGroupIngress"] {
            assert!(frees(action), "{action}");
        }
        for action in ["RunInstances", "StartInstances", "CreateTags", "ModifyInstanceAttribute", "ImportKeyPair"] {
            assert!(!frees(action), "{action}");
        }
        assert_eq!(refusal("RunInstances").code, "InsufficientInstanceCapacity");
        assert_eq!(refusal("CreateTags").status, 503);
    }
}
