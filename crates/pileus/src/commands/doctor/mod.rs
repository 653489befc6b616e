//! `pileus doctor`: what this machine can do, and what to do about what it can't. It tries rather than guesses, and leaves nothing behind.

mod host;
mod network;
mod processor;
mod tools;

use super::print;
use crate::config::Config;
use crate::parts;
use anyhow::Result;
use comfy_table::{Attribute, Cell, Color, presets};
use node::hypervisor::qemu::{AcceleratorChoice, accelerator_probe};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::Path;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    #[serde(rename = "ok")]
    Good,
    /// Instances run, but slower or with less.
    Weak,
    /// No instance runs.
    Missing,
}

#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    verdict: Verdict,
    found: String,
    /// What to do; empty if there is nothing to do.
    advice: String,
}

fn good(check: &'static str, found: impl Into<String>) -> Finding {
    Finding { check, verdict: Verdict::Good, found: found.into(), advice: String::new() }
}

fn weak(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Finding {
    Finding { check, verdict: Verdict::Weak, found: found.into(), advice: advice.into() }
}

fn missing(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Finding {
    Finding { check, verdict: Verdict::Missing, found: found.into(), advice: advice.into() }
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    /// Whether instances can run.
    ready: bool,
    /// What they would run on: `kvm` or `tcg`; nothing without QEMU.
    accelerator: Option<&'static str>,
    cpu_flags: BTreeMap<&'static str, bool>,
    findings: Vec<Finding>,
}

pub(crate) fn run(data_dir: &Path, config: Option<&Path>, json: bool) -> Result<()> {
    let report = examine(&std::path::absolute(data_dir)?, &Config::load(config)?)?;
    let text = if json {
        serde_json::to_string_pretty(&report)?
    } else if std::io::stdout().is_terminal() {
        table(&report.findings)
    } else {
        plain(&report.findings)
    };
    print(&text)?;
    let lacking: Vec<&str> = report.findings.iter().filter(|f| f.verdict == Verdict::Missing).map(|f| f.check).collect();
    anyhow::ensure!(report.ready, "no instance can run here yet; see to: {}", lacking.join(", "));
    Ok(())
}

fn examine(data_dir: &Path, config: &Config) -> Result<Report> {
    let mut report = Report { ready: false, accelerator: None, cpu_flags: BTreeMap::new(), findings: vec![host::root()] };
    let machines = parts::machines(data_dir, config);
    let qemu = tools::version(&machines.program, "--version");
    // A configured KVM that doesn't work is an error of the probe's, without the flags; here it is to be explained.
    let mut asked = machines.clone();
    if asked.accelerator == AcceleratorChoice::Kvm {
        asked.accelerator = AcceleratorChoice::Auto;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let found = runtime.block_on(accelerator_probe(&asked))?;
    report.cpu_flags.extend(found.cpu_flags.iter().copied());
    report.findings.extend(processor::flags(&report.cpu_flags));
    report.findings.push(tools::qemu(&machines.program, &qemu));
    report.findings.push(tools::qemu_img(&qemu, &tools::version("qemu-img", "--version")));
    if qemu.is_ok() {
        report.accelerator = Some(parts::accelerator_name(found.accelerator));
        report.findings.extend(processor::accelerator(&found, machines.accelerator, Path::new("/dev/kvm").exists()));
    }
    report.findings.extend(tools::others());
    report.findings.extend(network::namespace());
    report.findings.extend(network::way_out(config.network.uplink));
    report.findings.extend(host::room(data_dir, config)?);
    report.findings.push(host::cgroups());
    report.ready = report.findings.iter().all(|f| f.verdict != Verdict::Missing);
    Ok(report)
}

/// For eyes: a table as wide as the terminal.
fn table(findings: &[Finding]) -> String {
    let mut table = super::table(presets::UTF8_FULL_CONDENSED);
    for f in findings {
        let (mark, color) = match f.verdict {
            Verdict::Good => ("✓", Color::Green),
            Verdict::Weak => ("!", Color::Yellow),
            Verdict::Missing => ("✗", Color::Red),
        };
        let text = if f.advice.is_empty() { f.found.clone() } else { format!("{}\n→ {}", f.found, f.advice) };
        table.add_row([Cell::new(mark).fg(color).add_attribute(Attribute::Bold), Cell::new(f.check), Cell::new(text)]);
    }
    table.to_string()
}

/// For pipes and logs: a line a finding, and one for what to do.
fn plain(findings: &[Finding]) -> String {
    let mut text = String::new();
    for f in findings {
        let verdict = match f.verdict {
            Verdict::Good => "ok",
            Verdict::Weak => "weak",
            Verdict::Missing => "MISSING",
        };
        let _ = writeln!(text, "{verdict:8}{:20}{}", f.check, f.found);
        if !f.advice.is_empty() {
            let _ = writeln!(text, "{:28}-> {}", "", f.advice);
        }
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_is_shown_where_there_is_some() {
        let findings = [good("user", "root"), missing("nft", "not found", "apt-get install nftables")];
        let text = plain(&findings);
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.starts_with("ok ") && text.contains("\nMISSING nft ") && text.ends_with("-> apt-get install nftables"), "{text}");
        let text = table(&findings);
        assert!(text.contains('✓') && text.contains('✗') && text.contains("→ apt-get install nftables"), "{text}");
    }
}
