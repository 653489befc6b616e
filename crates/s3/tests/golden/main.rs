//! Golden exchanges: what is asked and what is answered, in `testdata/<group>.http`. Each case runs through the front with signed
//! requests, on a cloud of its own with a fixed clock; every reply of an operation is then checked against AWS's model by botocore
//! (`tests/clients/check_shapes.py`).
//!
//! `UPDATE_GOLDEN=1` writes the replies that came into the files: read the difference before you commit it.

#![allow(clippy::unwrap_used, missing_docs)]

mod case;
mod mismatch;
mod names;
#[path = "../../../api/tests/golden/pretty.rs"]
mod pretty;
#[path = "../../../api/tests/golden/script.rs"]
mod script;
mod send;
#[path = "../hostile/sign.rs"]
mod sign;
mod world;

use case::{Case, Step};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use world::World;

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata")
}

/// Every case, by its name.
fn cases() -> BTreeMap<String, PathBuf> {
    let paths = std::fs::read_dir(testdata()).unwrap().map(|entry| entry.unwrap().path());
    let named = |path: PathBuf| (path.file_stem().unwrap().to_string_lossy().into_owned(), path);
    paths.filter(|path| path.extension().is_some_and(|e| e == "http")).map(named).collect()
}

/// Goal: every exchange is answered as it was written down, and every reply is one that AWS's model allows.
#[tokio::test]
async fn exchanges() {
    script::exchanges(cases(), async |case, name| World::new().await.play(case, name).await).await;
}

/// Operations that never succeed: no bucket has a replication, since PutBucketReplication isn't built.
const NEVER: [&str; 1] = ["GetBucketReplication"];

/// Goal: no operation that is built is without an exchange in which it succeeds, and that is compared.
#[test]
fn every_operation_has_its_exchange() {
    let shown: BTreeSet<String> = cases()
        .iter()
        .flat_map(|(name, path)| Case::parse(&std::fs::read_to_string(path).unwrap()).unwrap_or_else(|e| panic!("{name}: {e}")).steps)
        .filter_map(|step| match step {
            Step::Call(call) if call.status < 400 && call.reply.is_some() => Some(call.operation),
            Step::Call(_) | Step::Do(_) | Step::Comment(_) => None,
        })
        .collect();
    // The operations that the service has, each on its line: `get_object: GetObjectInput => …`.
    let service = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/service.rs")).unwrap();
    let built = service.lines().filter_map(|line| line.trim().split_once("Input => ")?.0.split_once(": ").map(|(_, name)| camel(name)));
    let built: BTreeSet<String> = built.collect();
    assert!(built.len() > 50, "the table of operations isn't found any more");
    let missing: Vec<&String> = built.difference(&shown).filter(|name| !NEVER.contains(&name.as_str())).collect();
    assert!(missing.is_empty(), "without an exchange: {missing:?}");
}

/// `ListObjectsV2` of `list_objects_v2`.
fn camel(name: &str) -> String {
    name.split('_').map(|word| word[..1].to_uppercase() + &word[1..]).collect()
}
