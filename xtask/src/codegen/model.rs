//! A service model, read.

use super::botocore::gunzip;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The parts of a `service-2.json` that are used. Documentation isn't read.
#[derive(Deserialize)]
pub(crate) struct Model {
    pub(crate) metadata: Metadata,
    pub(crate) operations: BTreeMap<String, Operation>,
    #[serde(default)]
    pub(crate) shapes: BTreeMap<String, Shape>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Metadata {
    pub(crate) api_version: String,
    pub(crate) protocol: String,
    pub(crate) xml_namespace: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct Operation {
    pub(crate) input: Option<Reference>,
    pub(crate) output: Option<Reference>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Reference {
    pub(crate) shape: String,
    pub(crate) location_name: Option<String>,
    pub(crate) query_name: Option<String>,
    #[serde(default)]
    pub(crate) flattened: bool,
}

#[derive(Deserialize)]
pub(crate) struct Shape {
    pub(crate) r#type: String,
    #[serde(default)]
    pub(crate) members: BTreeMap<String, Reference>,
    #[serde(default)]
    pub(crate) required: Vec<String>,
    pub(crate) member: Option<Reference>,
    #[serde(default)]
    pub(crate) r#enum: Vec<String>,
    pub(crate) min: Option<f64>,
    pub(crate) max: Option<f64>,
    pub(crate) pattern: Option<String>,
    #[serde(default)]
    pub(crate) flattened: bool,
}

impl Model {
    /// Reads a packed model.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        serde_json::from_slice(&gunzip(path)?).with_context(|| format!("in {}", path.display()))
    }

    /// The shape of this name.
    pub(crate) fn shape(&self, name: &str) -> Result<&Shape> {
        self.shapes.get(name).with_context(|| format!("the model has no shape {name}"))
    }

    /// All shapes that these refer to, themselves too.
    pub(crate) fn reachable<'a>(&'a self, from: impl IntoIterator<Item = &'a str>) -> Result<BTreeSet<&'a str>> {
        let mut seen = BTreeSet::new();
        let mut todo: Vec<&str> = from.into_iter().collect();
        while let Some(name) = todo.pop() {
            if !seen.insert(name) {
                continue;
            }
            let shape = self.shape(name)?;
            if shape.r#type == "map" {
                bail!("shape {name}: maps are not generated yet; no operation built so far has one");
            }
            todo.extend(shape.members.values().chain(&shape.member).map(|r| r.shape.as_str()));
        }
        Ok(seen)
    }
}
