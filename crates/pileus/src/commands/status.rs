//! `pileus status`.

use super::print;
use crate::admin::{Status, client};
use anyhow::Result;
use comfy_table::{ContentArrangement, Table, presets};
use std::path::Path;

const GIB: f64 = 1_073_741_824.0;

pub(crate) fn run(data_dir: &Path, json: bool) -> Result<()> {
    let status: Status = client::get(data_dir, "/status")?;
    if json {
        return print(&serde_json::to_string_pretty(&status)?);
    }
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    let instances: Vec<String> = status.instances.iter().map(|(state, n)| format!("{n} {state}")).collect();
    let mode = if status.mode == "simulated" { "SIMULATED: instances are records only, no guest runs" } else { "real" };
    for (name, value) in [
        ("cloud", format!("pileus {}, {mode}", status.version)),
        ("endpoint", status.endpoint.clone()),
        ("accelerator", format!("{}: {}", status.accelerator, status.accelerator_reason)),
        ("way out", status.way_out.clone()),
        ("accounts", status.accounts.to_string()),
        ("images", status.images.to_string()),
        ("instances", if instances.is_empty() { "none".into() } else { instances.join(", ") }),
        ("processors", format!("{} of {} in use", status.vcpus_used, status.vcpus)),
        ("memory", format!("{} of {} MiB in use", status.memory_used_mib, status.memory_mib)),
        ("disk", format!("{:.1} GiB free", gib(status.disk_free_bytes))),
    ] {
        table.add_row([name.to_owned(), value]);
    }
    for note in &status.notes {
        table.add_row(["note".to_owned(), note.clone()]);
    }
    print(&table.to_string())
}

#[allow(clippy::cast_precision_loss)] // shown with one decimal
fn gib(bytes: u64) -> f64 {
    bytes as f64 / GIB
}
