//! `pileus status`.

use super::print;
use crate::admin::{Status, client};
use crate::size::size;
use anyhow::Result;
use comfy_table::presets;
use std::io::IsTerminal as _;
use std::path::Path;

pub(crate) fn run(data_dir: &Path, json: bool) -> Result<()> {
    let status: Status = client::get(data_dir, "/status")?;
    if json {
        return print(&serde_json::to_string_pretty(&status)?);
    }
    let rows = rows(&status);
    print(&if std::io::stdout().is_terminal() { table(rows) } else { plain(&rows) })
}

fn rows(status: &Status) -> Vec<(&'static str, String)> {
    let instances: Vec<String> = status.instances.iter().map(|(state, n)| format!("{n} {state}")).collect();
    let mode = if status.mode == "simulated" { "SIMULATED: instances are records only, no guest runs" } else { "real" };
    let processors = format!(
        "{} of {} in use ({} of the host × vcpu_overcommit {})",
        status.vcpus_used, status.vcpus, status.host_vcpus, status.vcpu_overcommit
    );
    let memory = format!(
        "{} of {} MiB in use ({} MiB of the host less memory_reserve_mib {}, × memory_overcommit {})",
        status.memory_used_mib, status.memory_mib, status.host_memory_mib, status.memory_reserve_mib, status.memory_overcommit
    );
    let checked = status.scrub.as_deref().unwrap_or("never checked");
    let (buckets, versions, bytes) = (status.buckets, status.object_versions, size(status.object_bytes));
    let objects = format!("{versions} versions in {buckets} buckets, {bytes}; {checked}");
    let mut rows = vec![
        ("cloud", format!("pileus {}, {mode}", status.version)),
        ("cloud id", status.cloud_id.clone()),
        ("endpoint", status.endpoint.clone()),
        ("accelerator", format!("{}: {}", status.accelerator, status.accelerator_reason)),
        ("way out", status.way_out.clone()),
        ("accounts", status.accounts.to_string()),
        ("images", status.images.to_string()),
        ("instances", if instances.is_empty() { "none".into() } else { instances.join(", ") }),
        ("processors", processors),
        ("memory", memory),
        ("objects", objects),
        ("disk", format!("{} free", size(status.disk_free_bytes))),
    ];
    rows.extend(status.notes.iter().map(|note| ("note", note.clone())));
    rows
}

/// For eyes: a table as wide as the terminal.
fn table(rows: Vec<(&'static str, String)>) -> String {
    let mut table = super::table(presets::UTF8_BORDERS_ONLY);
    for (name, value) in rows {
        table.add_row([name.to_owned(), value]);
    }
    table.to_string()
}

/// For pipes and logs: a line each, never broken.
fn plain(rows: &[(&'static str, String)]) -> String {
    let lines: Vec<String> = rows.iter().map(|(name, value)| format!("{name:13}{}", value.replace('\n', " "))).collect();
    lines.join("\n")
}
