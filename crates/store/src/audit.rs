//! The audit trail: what was asked for, by whom, and how it ended. Kept on disk only, and pruned.

use model::scope::Scope;
use model::time::Timestamp;

/// Most records that are kept.
pub const AUDIT_RECORDS_MAX: i64 = 1_000_000;
/// How long a record is kept, in milliseconds: 90 days, as CloudTrail's event history.
pub const AUDIT_AGE_MAX_MILLIS: i64 = 90 * 86_400_000;

/// One call that changed something, or was refused. Committed together with what it changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// When.
    pub time: Timestamp,
    /// Whose resources, and where.
    pub scope: Scope,
    /// The action, such as `ec2:RunInstances`.
    pub action: String,
    /// The request's id, as the caller got it.
    pub request_id: String,
    /// AWS's error code, if it was refused.
    pub error: Option<String>,
}
