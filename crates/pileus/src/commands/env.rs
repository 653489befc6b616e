//! `pileus env`: made to be evaluated by a shell.

use super::print;
use crate::admin::{Env, client};
use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};

/// The configuration for AWS's clients, in the data directory.
pub(crate) const AWS_CONFIG: &str = "aws.config";
/// What is in it.
const AWS_CONFIG_TEXT: &str = "[default]\ns3 =\n    signature_version = s3v4\n";

/// Writes the configuration for AWS's clients, if it isn't there yet: a start writes nothing that it need not, since the disk may be full.
///
/// # Errors
/// If it can't be written.
pub(crate) fn aws_config_write(data_dir: &Path) -> Result<()> {
    let path = data_dir.join(AWS_CONFIG);
    if std::fs::read(&path).is_ok_and(|text| text == AWS_CONFIG_TEXT.as_bytes()) {
        return Ok(());
    }
    std::fs::write(&path, AWS_CONFIG_TEXT).with_context(|| format!("can't write {}", path.display()))
}

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
        "export AWS_ACCESS_KEY_ID='{}'\nexport AWS_SECRET_ACCESS_KEY='{}'\nexport AWS_DEFAULT_REGION='{region}'\nexport AWS_REGION='{region}'\nexport AWS_ENDPOINT_URL='{}'\n{control}\nunset AWS_SESSION_TOKEN AWS_PROFILE{config}",
        env.access_key_id,
        env.secret_access_key,
        env.endpoint,
        region = env.region,
        control = control_line(&env.endpoint)
    ))
}

/// S3 Control's endpoint. Its clients write the account and a dot before the endpoint's host, and no name ends in an address of the loopback:
/// there it is `localhost`, whose sub-names many resolvers know (`docs/guide/s3.md`). An earlier one is taken back.
fn control_line(endpoint: &str) -> String {
    let port = ["http://127.0.0.1:", "http://[::1]:"].iter().find_map(|front| endpoint.strip_prefix(front));
    port.map_or_else(
        || "unset AWS_ENDPOINT_URL_S3_CONTROL".to_owned(),
        |port| format!("export AWS_ENDPOINT_URL_S3_CONTROL='http://localhost:{port}'"),
    )
}

/// Tells the aws CLI of version 1 and boto3 to presign S3's URLs by signature version 4, which they do by a configuration file only:
/// in us-east-1 they take version 2 by default, which this cloud refuses. A user's own file is left alone.
fn config_export(data_dir: &Path) -> Result<String> {
    let named = std::env::var_os("AWS_CONFIG_FILE").map(PathBuf::from);
    let own = std::env::var_os("HOME").is_some_and(|home| Path::new(&home).join(".aws/config").exists());
    Ok(config_lines(named.as_deref(), own, &std::path::absolute(data_dir)?.join(AWS_CONFIG)))
}

/// `named`: what the shell's AWS_CONFIG_FILE says; `own`: whether there is a file where clients look without it.
fn config_lines(named: Option<&Path>, own: bool, ours: &Path) -> String {
    const HINT: &str = "\n# for `aws s3 presign` by version 1: aws configure set default.s3.signature_version s3v4";
    // An earlier `pileus env` may have named this cloud's, or that of another one, which may be gone by now.
    let is_gone = |path: &Path| !path.exists() && !path.starts_with("~");
    let left_over = named.is_some_and(|path| is_gone(path) || std::fs::read_to_string(path).is_ok_and(|text| text == AWS_CONFIG_TEXT));
    match named {
        Some(_) if !left_over => HINT.into(),
        Some(_) if own => format!("\nunset AWS_CONFIG_FILE{HINT}"),
        None if own => HINT.into(),
        Some(_) | None if ours.exists() => format!("\nexport AWS_CONFIG_FILE='{}'", ours.display().to_string().replace('\'', r"'\''")),
        Some(_) => "\nunset AWS_CONFIG_FILE".into(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn s3_control_has_a_name_to_put_the_account_before() {
        let export = "export AWS_ENDPOINT_URL_S3_CONTROL='http://localhost:4566'";
        assert_eq!(control_line("http://127.0.0.1:4566"), export);
        assert_eq!(control_line("http://[::1]:4566"), export);
        for named in ["http://10.0.0.5:4566", "https://cloud.example.com"] {
            assert_eq!(control_line(named), "unset AWS_ENDPOINT_URL_S3_CONTROL", "{named}");
        }
    }

    #[test]
    fn a_file_that_another_cloud_left_in_the_shell_gives_way() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            std::fs::write(dir.path().join(name), text).unwrap();
            dir.path().join(name)
        };
        let (ours, others) = (file("ours", AWS_CONFIG_TEXT), file("others", AWS_CONFIG_TEXT));
        let (users, gone) = (file("users", "[default]\n"), dir.path().join("gone"));
        let export = format!("export AWS_CONFIG_FILE='{}'", ours.display());
        for named in [None, Some(&ours), Some(&others), Some(&gone)] {
            let lines = |own| config_lines(named.map(PathBuf::as_path), own, &ours);
            assert_eq!(lines(false).trim(), export, "{named:?}");
            assert!(lines(true).contains("signature_version s3v4") && !lines(true).contains("export"), "{named:?}");
            assert_eq!(lines(true).contains("unset AWS_CONFIG_FILE"), named.is_some(), "{named:?}");
        }
        for (named, own) in [(&*users, true), (&*users, false), (Path::new("~/.aws/mine"), false)] {
            let lines = config_lines(Some(named), own, &ours);
            assert!(lines.contains("signature_version s3v4") && !lines.contains("AWS_CONFIG_FILE"), "{lines}");
        }
        assert_eq!(config_lines(Some(&gone), false, &gone).trim(), "unset AWS_CONFIG_FILE");
        assert_eq!(config_lines(None, false, &gone), "");
    }
}
