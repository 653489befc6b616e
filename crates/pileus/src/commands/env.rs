//! `pileus env`: made to be evaluated by a shell.

use super::print;
use crate::admin::{Env, client};
use anyhow::Result;
use std::path::Path;

/// The configuration for AWS's clients, in the data directory.
pub(crate) const AWS_CONFIG: &str = "aws.config";
/// What is in it.
pub(crate) const AWS_CONFIG_TEXT: &str = "[default]\ns3 =\n    signature_version = s3v4\n";

pub(crate) fn run(data_dir: &Path) -> Result<()> {
    let env: Env = match client::get(data_dir, "/env") {
        Ok(env) => env,
        Err(error) => {
            // `eval "$(pileus env)"` has the status of what it evaluates.
            print("false")?;
            return Err(error);
        }
    };
    let config = config_export(data_dir)?;
    // None of the values holds a quote: keys are letters, digits, `+` and `/`.
    // Python's clients read AWS_DEFAULT_REGION, the other SDKs AWS_REGION.
    print(&format!(
        "export AWS_ACCESS_KEY_ID='{}'\nexport AWS_SECRET_ACCESS_KEY='{}'\nexport AWS_DEFAULT_REGION='{region}'\nexport AWS_REGION='{region}'\nexport AWS_ENDPOINT_URL='{}'\nunset AWS_SESSION_TOKEN AWS_PROFILE{config}",
        env.access_key_id,
        env.secret_access_key,
        env.endpoint,
        region = env.region
    ))
}

/// Tells the aws CLI of version 1 and boto3 to presign S3's URLs by signature version 4, which they do by a configuration file only:
/// in us-east-1 they take version 2 by default, which this cloud refuses. A user's own file is left alone.
fn config_export(data_dir: &Path) -> Result<String> {
    let own = |name: &str| std::env::var_os("HOME").is_some_and(|home| Path::new(&home).join(".aws").join(name).exists());
    if std::env::var_os("AWS_CONFIG_FILE").is_some() || own("config") {
        return Ok("\n# for `aws s3 presign` by version 1: aws configure set default.s3.signature_version s3v4".into());
    }
    let path = std::path::absolute(data_dir)?.join(AWS_CONFIG);
    let quoted = path.display().to_string().replace('\'', r"'\''");
    Ok(if path.exists() { format!("\nexport AWS_CONFIG_FILE='{quoted}'") } else { String::new() })
}
