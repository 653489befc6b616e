//! The list of everything AWS has: `crates/wire/src/operations.txt`.

use super::botocore::gunzip;
use anyhow::{Context, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

#[derive(Deserialize)]
struct Model {
    metadata: Metadata,
    operations: BTreeMap<String, Operation>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    protocol: String,
    protocols: Option<Vec<String>>,
    json_version: Option<String>,
    endpoint_prefix: String,
    signing_name: Option<String>,
    target_prefix: Option<String>,
    xml_namespace: Option<String>,
}

#[derive(Deserialize)]
struct Operation {
    http: Http,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Http {
    method: String,
    request_uri: String,
}

/// The list's text, from all service models in botocore's data. A service's newest version says how it is spoken to; the operations of
/// older ones are kept.
pub(crate) fn list(data: &Path) -> Result<String> {
    let mut out = String::new();
    for id in folders(data)? {
        let mut versions = folders(&data.join(&id))?;
        versions.retain(|v| data.join(&id).join(v).join("service-2.json.gz").exists());
        let mut newest = None;
        let mut operations = BTreeMap::new();
        for version in &versions {
            let path = data.join(&id).join(version).join("service-2.json.gz");
            let model: Model = serde_json::from_slice(&gunzip(&path)?).with_context(|| format!("in {}", path.display()))?;
            operations.extend(model.operations);
            newest = Some(model.metadata);
        }
        let Some(metadata) = newest else { continue };
        let protocols = metadata.protocols.unwrap_or_else(|| vec![metadata.protocol]);
        let rest = protocols.iter().any(|p| p.starts_with("rest-"));
        let dash = |field: Option<String>| field.unwrap_or_else(|| "-".to_owned());
        let _ = writeln!(
            out,
            "={id}\t{}\t{}\t{}\t{}\t{}\t{}",
            metadata.signing_name.unwrap_or(metadata.endpoint_prefix),
            protocols.join(","),
            dash(metadata.json_version),
            dash(metadata.target_prefix),
            versions.join(","),
            dash(metadata.xml_namespace),
        );
        for (name, operation) in operations {
            let _ = if rest {
                writeln!(out, "{name}\t{}\t{}", operation.http.method, operation.http.request_uri)
            } else {
                writeln!(out, "{name}")
            };
        }
    }
    Ok(out)
}

fn folders(place: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(place)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}
