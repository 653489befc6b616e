//! `pileus doctor`, run as an operator or a script does.
#![allow(clippy::unwrap_used)]

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

fn doctor(data_dir: &Path, arguments: &[&str], path: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pileus"));
    command.arg("--data-dir").arg(data_dir).arg("doctor").args(arguments).env("PATH", path).output().unwrap()
}

fn finding<'a>(report: &'a Value, check: &str) -> &'a Value {
    let all = report["findings"].as_array().unwrap();
    all.iter().find(|f| f["check"] == check).unwrap_or_else(|| panic!("no finding {check} in {report:#}"))
}

#[test]
fn a_machine_that_runs_these_tests_is_ready_and_left_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("cloud");
    let output = doctor(&data_dir, &["--json"], &std::env::var("PATH").unwrap());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success() && report["ready"] == true, "{report:#}");
    assert!(report["findings"].as_array().unwrap().iter().all(|f| f["verdict"] != "missing"), "{report:#}");
    // What is claimed of the accelerator is what the processor can carry.
    let flags = &report["cpu_flags"];
    let hardware = flags["vmx"] == true || flags["svm"] == true;
    assert_eq!(finding(&report, "vmx or svm")["verdict"] == "ok", hardware);
    if !hardware {
        assert_eq!(report["accelerator"], "tcg");
        assert_eq!(finding(&report, "/dev/kvm")["verdict"], "weak");
    }
    assert!(!data_dir.exists());
}

#[test]
fn what_is_missing_is_named_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let output = doctor(directory.path(), &["--json"], "/nonexistent");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &report["ready"]), (Some(1), &Value::Bool(false)));
    for (check, package) in [("qemu-img", "qemu-utils"), ("nft", "nftables"), ("ip", "iproute2")] {
        let finding = finding(&report, check);
        assert_eq!(finding["verdict"], "missing");
        assert_eq!(finding["advice"], format!("apt-get install {package}"));
    }
    // What `ip` and `nft` would have made is not reported as missing too.
    assert!(report["findings"].as_array().unwrap().iter().all(|f| f["check"] != "/dev/net/tun" && f["check"] != "packet rules"));
    // Without these the cloud runs.
    for check in ["ssh", "pasta", "dpkg-deb"] {
        assert_eq!(finding(&report, check)["verdict"], "weak");
    }
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("pileus: no instance can run here yet; see to: qemu-img, ") && said.contains("nft"), "{said}");
}

#[test]
fn it_judges_what_the_server_would_do_with_that_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pileus.toml");
    let text = "[hypervisor]\naccelerator = \"kvm\"\nqemu = \"/nonexistent/qemu\"\n[network]\nuplink = \"none\"\n";
    std::fs::write(&file, text).unwrap();
    let output = doctor(directory.path(), &["--json", "--config", file.to_str().unwrap()], &std::env::var("PATH").unwrap());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(finding(&report, "qemu")["found"], "/nonexistent/qemu: not found");
    assert_eq!(report["accelerator"], Value::Null);
    assert!(finding(&report, "way out")["found"].as_str().unwrap().contains("network.uplink"));
    let output = doctor(directory.path(), &["--config", "/nonexistent/pileus.toml"], "/nonexistent");
    assert!(String::from_utf8(output.stderr).unwrap().contains("can't read the configuration /nonexistent/pileus.toml"));
}

#[test]
fn a_pipe_gets_plain_lines() {
    let directory = tempfile::tempdir().unwrap();
    let output = doctor(directory.path(), &[], "/nonexistent");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("\nMISSING nft                 not found\n                            -> apt-get install nftables\n"), "{text}");
    assert!(!text.contains('\u{1b}') && !text.contains('│'), "{text}");
}
