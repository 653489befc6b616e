//! Why a policy is refused, in AWS's words.

use std::fmt;

/// Why a policy is refused: `MalformedPolicy` in S3, `MalformedPolicyDocument` in IAM. Shown as AWS's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MalformedPolicy {
    /// It isn't an object of JSON, or something stands before it.
    FirstByte,
    /// It begins as an object and isn't one.
    Json,
    /// More than 20 KB.
    TooLarge,
    /// Neither 2008-10-17 nor 2012-10-17.
    Version,
    /// No statement in the list.
    StatementEmpty,
    /// An element isn't there.
    Missing(&'static str),
    /// An element is there with nothing in it.
    Empty(&'static str),
    /// An element that policies don't have.
    Unknown(String),
    /// An element twice, or beside its `Not…`.
    Twice(&'static str),
    /// Two statements with one Sid.
    SidTwice,
    /// Neither `Allow` nor `Deny`.
    Effect(String),
    /// An element of the wrong type.
    Syntax,
    /// Somebody who can't be a principal; or, found by the caller, who doesn't exist.
    Principal,
    /// It would allow everybody but a few.
    AllowNotPrincipal,
    /// An action that S3 doesn't have.
    Action,
    /// A resource that isn't the bucket or in it.
    Resource,
    /// An action on objects with no object among the resources, or one on buckets with no bucket.
    NotApplicable,
    /// No such operator.
    Operator(String),
    /// A key that S3 doesn't have.
    ConditionKey,
    /// A key that requests of these actions never have.
    ConditionNotApplicable,
    /// A value that isn't an address or a range of them.
    Address,
    /// A value that the operator can't compare. The words are ours: AWS's aren't known.
    ConditionValue(String),
    /// IAM: anything that isn't built as a policy is.
    IdentitySyntax,
    /// IAM: not 2012-10-17.
    IdentityVersion,
    /// IAM: no `Action` or `NotAction`.
    IdentityNoAction,
    /// IAM: no `Resource` or `NotResource`.
    IdentityNoResource,
    /// IAM: a principal in a document that has one by being attached.
    IdentityPrincipal,
    /// IAM: a Sid twice.
    IdentitySidTwice,
    /// IAM: an action without a service before it.
    IdentityAction,
    /// IAM: a resource that is neither an ARN nor `*`.
    IdentityResource(String),
}

impl fmt::Display for MalformedPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FirstByte => f.write_str("Policies must be valid JSON and the first byte must be '{'"),
            Self::Json => f.write_str("This policy contains invalid Json"),
            Self::TooLarge => f.write_str("Policy exceeds the maximum allowed document size"),
            Self::Version => f.write_str("The policy must contain a valid version string"),
            Self::StatementEmpty => f.write_str("Could not parse the policy: Statement is empty!"),
            Self::Missing(element) => write!(f, "Missing required field {element}"),
            Self::Empty(element) => write!(f, "Missing required field {element} cannot be empty!"),
            Self::Unknown(element) => write!(f, "Unknown field {element}"),
            Self::Twice(element) => write!(f, "Statement/policy already has instance of {element}"),
            Self::SidTwice => f.write_str("The Statement Ids in the policy are not unique"),
            Self::Effect(effect) => write!(f, "Invalid effect: {effect}"),
            Self::Syntax => f.write_str("Invalid policy syntax."),
            Self::Principal => f.write_str("Invalid principal in policy"),
            Self::AllowNotPrincipal => f.write_str("Allow with NotPrincipal is not allowed."),
            Self::Action => f.write_str("Policy has invalid action"),
            Self::Resource => f.write_str("Policy has invalid resource"),
            Self::NotApplicable => f.write_str("Action does not apply to any resource(s) in statement"),
            Self::Operator(operator) => write!(f, "Invalid Condition type : {operator}"),
            Self::ConditionKey => f.write_str("Policy has an invalid condition key"),
            Self::ConditionNotApplicable => f.write_str("Conditions do not apply to combination of actions and resources in statement"),
            Self::Address => f.write_str("Invalid IP address in Conditions"),
            Self::ConditionValue(operator) => write!(f, "Invalid value in Conditions for {operator}"),
            Self::IdentitySyntax => f.write_str("Syntax errors in policy."),
            Self::IdentityVersion => f.write_str("Policy document must be version 2012-10-17 or greater."),
            Self::IdentityNoAction => f.write_str("Policy statement must contain actions."),
            Self::IdentityNoResource => f.write_str("Policy statement must contain resources."),
            Self::IdentityPrincipal => f.write_str("Policy document should not specify a principal."),
            Self::IdentitySidTwice => f.write_str("Statement IDs (SID) in a single policy must be unique."),
            Self::IdentityAction => f.write_str("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."),
            Self::IdentityResource(resource) => write!(f, "Resource {resource} must be in ARN format or \"*\"."),
        }
    }
}

impl std::error::Error for MalformedPolicy {}

impl MalformedPolicy {
    /// The fault in IAM's words, which are fewer than S3's.
    pub(super) fn of_identity(self) -> Self {
        match self {
            Self::Version => Self::IdentityVersion,
            Self::Missing("Action") | Self::Empty("Action") => Self::IdentityNoAction,
            Self::Missing("Resource") | Self::Empty("Resource") => Self::IdentityNoResource,
            Self::SidTwice => Self::IdentitySidTwice,
            Self::ConditionKey => Self::IdentityAction,
            Self::FirstByte
            | Self::Json
            | Self::StatementEmpty
            | Self::Missing(_)
            | Self::Empty(_)
            | Self::Unknown(_)
            | Self::Twice(_)
            | Self::Effect(_)
            | Self::Syntax
            | Self::Operator(_)
            | Self::Address
            | Self::ConditionValue(_)
            | Self::Principal
            | Self::AllowNotPrincipal
            | Self::Action
            | Self::Resource
            | Self::NotApplicable
            | Self::ConditionNotApplicable
            | Self::IdentitySyntax => Self::IdentitySyntax,
            kept @ (Self::TooLarge
            | Self::IdentityVersion
            | Self::IdentityNoAction
            | Self::IdentityNoResource
            | Self::IdentityPrincipal
            | Self::IdentitySidTwice
            | Self::IdentityAction
            | Self::IdentityResource(_)) => kept,
        }
    }
}
