//! Golden exchanges: what is asked and what is answered, in `testdata/<group>.http`. Each case runs through the front with signed
//! requests, on a cloud of its own with a fixed clock; every reply of an operation is then checked against AWS's model by botocore
//! (`tests/clients/check_shapes.py`).
//!
//! `UPDATE_GOLDEN=1` writes the replies that came into the files: read the difference before you commit it.

#![allow(clippy::unwrap_used, missing_docs)]

mod case;
mod names;
#[path = "../../../api/tests/golden/pretty.rs"]
mod pretty;
mod send;
mod world;

use case::{Case, Step};
use pretty::difference;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use world::World;

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata")
}

/// Every case, by its name.
fn cases() -> BTreeMap<String, (PathBuf, String)> {
    let paths = std::fs::read_dir(testdata()).unwrap().map(|entry| entry.unwrap().path());
    let of_path = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        (path.file_stem().unwrap().to_string_lossy().into_owned(), (path, text))
    };
    paths.filter(|path| path.extension().is_some_and(|e| e == "http")).map(of_path).collect()
}

/// Goal: every exchange is answered as it was written down, and every reply is one that AWS's model allows.
#[tokio::test]
async fn exchanges() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut replies = tempfile::NamedTempFile::new().unwrap();
    let (mut different, mut count) = (Vec::new(), 0);
    for (name, (path, written)) in cases() {
        let case = Case::parse(&written).unwrap_or_else(|e| panic!("{name}: {e}"));
        let (came, shapes) = World::new().await.play(&case, &name).await;
        count += shapes.len();
        for line in shapes {
            writeln!(replies, "{line}").unwrap();
        }
        let came = came.to_string();
        if came != written && update {
            std::fs::write(&path, &came).unwrap();
        } else if came != written {
            different.push(format!("{name}:\n{}", difference(&written, &came)));
        }
    }
    assert!(count > 0, "there are no cases");
    check_shapes(replies.path());
    assert!(different.is_empty(), "{} cases differ\n{}", different.len(), different.join("\n"));
}

fn check_shapes(replies: &Path) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/clients/check_shapes.py");
    let output = std::process::Command::new("python3").arg(script).arg(replies).output().expect("python3 with botocore is installed");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
}

/// Operations that never succeed: no bucket has a replication, since PutBucketReplication isn't built.
const NEVER: [&str; 1] = ["GetBucketReplication"];

/// Goal: no operation that is built is without an exchange in which it succeeds, and that is compared.
#[test]
fn every_operation_has_its_exchange() {
    let shown: BTreeSet<String> = cases()
        .iter()
        .flat_map(|(name, (_, text))| Case::parse(text).unwrap_or_else(|e| panic!("{name}: {e}")).steps)
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
