//! `pileus env`: made to be evaluated by a shell.

use super::print;
use crate::admin::{Env, client};
use anyhow::Result;
use std::path::Path;

pub(crate) fn run(data_dir: &Path) -> Result<()> {
    let env: Env = match client::get(data_dir, "/env") {
        Ok(env) => env,
        Err(error) => {
            // `eval "$(pileus env)"` has the status of what it evaluates.
            print("false")?;
            return Err(error);
        }
    };
    // None of the values holds a quote: keys are letters, digits, `+` and `/`.
    print(&format!(
        "export AWS_ACCESS_KEY_ID='{}'\nexport AWS_SECRET_ACCESS_KEY='{}'\nexport AWS_DEFAULT_REGION='{}'\nexport AWS_ENDPOINT_URL='{}'\nunset AWS_SESSION_TOKEN AWS_PROFILE",
        env.access_key_id, env.secret_access_key, env.region, env.endpoint
    ))
}
