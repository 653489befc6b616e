//! Who asks.

use crate::action::{Call, Read, actions};
use store::View;
use wire::ApiError;
use wire::shapes::sts::{GetCallerIdentityRequest, GetCallerIdentityResponse};

actions![read GetCallerIdentity,];

/// GetCallerIdentity. Needs no permission.
struct GetCallerIdentity;

impl Read for GetCallerIdentity {
    const SERVICE: &'static str = "sts";
    const NAME: &'static str = "GetCallerIdentity";
    type Input = GetCallerIdentityRequest;
    type Output = GetCallerIdentityResponse;

    fn run(call: &Call, _view: View<'_>, _input: Self::Input) -> Result<Self::Output, ApiError> {
        let account = call.scope.account.as_str();
        // The key speaks for the account's root user, whose id is the account's.
        Ok(GetCallerIdentityResponse {
            user_id: Some(account.into()),
            account: Some(account.into()),
            arn: Some(format!("arn:aws:iam::{account}:root")),
        })
    }
}
