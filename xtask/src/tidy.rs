//! `cargo xtask tidy`: the rules of the house that a compiler doesn't know. Each complaint says why.

use crate::parity;
use crate::tree::{self, has_word, read};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// Which of our crates each may use. A new arrow wants a line in a decision page.
const EDGES: [(&str, &[&str]); 14] = [
    ("model", &[]),
    ("wire", &[]),
    ("reserve", &[]),
    ("store", &["model", "reserve"]),
    ("objects", &["model", "reserve"]),
    ("api", &["wire", "model", "store"]),
    ("s3", &["model", "store", "objects"]),
    ("s3-fuzz", &["model", "store", "objects", "s3"]),
    ("node", &["model"]),
    ("reconcile", &["model", "store", "node"]),
    ("pileus", &["model", "wire", "reserve", "store", "objects", "api", "s3", "node", "reconcile"]),
    ("pileus-tests", &["model", "wire", "reserve", "store", "objects", "api", "s3", "node", "reconcile", "pileus"]),
    ("bench-load", &[]),
    ("xtask", &[]),
];

/// Lines of a source file that a person will still read.
const MAX_LINES: usize = 800;
/// Files that are longer, with their length: a number here may only go down.
const LONGER: [(&str, usize); 0] = [];
/// Folders whose files are ours.
const OURS: [&str; 8] = ["crates", "tests", "xtask", "scripts", "docs", "bench", "benches", "examples"];
/// Where the map is.
const MAP: &str = "ARCHITECTURE.md";
/// Where the recipes are.
const RECIPES: &str = "CONTRIBUTING.md";

/// Fails with all complaints.
pub(crate) fn run(root: &Path) -> Result<()> {
    let complaints = complaints(root)?;
    if complaints.is_empty() { Ok(()) } else { bail!("not tidy:\n  {}", complaints.join("\n  ")) }
}

/// Everything that is wrong.
pub(crate) fn complaints(root: &Path) -> Result<Vec<String>> {
    let mut all = edges(root)?;
    all.extend(lengths(root, &LONGER)?);
    all.extend(leftovers(root)?);
    all.extend(map(root)?);
    all.extend(recipes(root)?);
    all.extend(parity_is_fresh(root)?);
    Ok(all)
}

/// Who depends on whom.
fn edges(root: &Path) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    let manifests = tree::files(root)?.into_iter().filter(|p| p.ends_with("Cargo.toml") && p.parent() != Some(root));
    for path in manifests {
        let manifest: toml::Table = toml::from_str(&read(&path)?).with_context(|| format!("in {}", path.display()))?;
        let name = manifest.get("package").and_then(|p| p.get("name")).and_then(toml::Value::as_str).unwrap_or_default();
        let Some((_, allowed)) = EDGES.iter().find(|(n, _)| *n == name) else {
            wrong.push(format!(
                "crate {name} is not in the table of crates: a new crate wants a decision page and a line in xtask/src/tidy.rs"
            ));
            continue;
        };
        for used in dependencies(&manifest) {
            if EDGES.iter().any(|(n, _)| *n == used) && !allowed.contains(&used.as_str()) {
                wrong.push(format!("crate {name} must not use {used}: the way of a request goes one way only (see {MAP})"));
            }
        }
    }
    Ok(wrong)
}

/// What a manifest depends on: for running, testing and building, on every target, by the packages' own names.
fn dependencies(manifest: &toml::Table) -> Vec<String> {
    let targets =
        manifest.get("target").and_then(toml::Value::as_table).into_iter().flat_map(toml::Table::values).filter_map(toml::Value::as_table);
    let tables = std::iter::once(manifest).chain(targets);
    let sections =
        tables.flat_map(|t| ["dependencies", "dev-dependencies", "build-dependencies"].into_iter().filter_map(|s| t.get(s)?.as_table()));
    let own_name = |(key, value): (&String, &toml::Value)| value.get("package").and_then(toml::Value::as_str).unwrap_or(key).to_owned();
    sections.flat_map(toml::Table::iter).map(own_name).collect()
}

/// How long files are.
fn lengths(root: &Path, longer: &[(&str, usize)]) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    let mut left: Vec<&(&str, usize)> = longer.iter().collect();
    for path in ours(root, &["rs", "py", "sh"])? {
        let (name, text) = (relative(root, &path), read(&path)?);
        if text.starts_with("// @generated") {
            continue;
        }
        let lines = text.lines().count();
        left.retain(|(n, _)| *n != name);
        match longer.iter().find(|(n, _)| *n == name) {
            Some((_, max)) if lines > *max => wrong.push(format!("{name} has {lines} lines and had {max}: it may only get shorter")),
            Some(_) if lines <= MAX_LINES => wrong.push(format!("{name} is short enough now: take it out of LONGER in xtask/src/tidy.rs")),
            None if lines > MAX_LINES => {
                wrong.push(format!("{name} has {lines} lines: more than {MAX_LINES} are no longer read as one thing"))
            }
            Some(_) | None => {}
        }
    }
    wrong.extend(left.iter().map(|(name, _)| format!("{name} is gone: take it out of LONGER in xtask/src/tidy.rs")));
    Ok(wrong)
}

/// Work that was put off, and tests that don't run.
fn leftovers(root: &Path) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    // Put together here, so that this file doesn't complain of itself.
    let marks = [["TO", "DO"].concat(), ["FIX", "ME"].concat()];
    let ignored = ["#[", "ignore"].concat();
    for path in ours(root, &["rs", "py", "sh", "toml", "md"])? {
        let name = relative(root, &path);
        for (at, line) in read(&path)?.lines().enumerate() {
            let at = at + 1;
            if let Some(mark) = marks.iter().find(|m| has_word(line, m)) {
                wrong.push(format!("{name}:{at} has a {mark}: what is missing goes into an issue, not into the code"));
            }
            if line.contains(&ignored) {
                wrong.push(format!("{name}:{at} has a test that is ignored: a test that doesn't run proves nothing"));
            }
        }
    }
    Ok(wrong)
}

/// Whether the map shows every crate and folder, and only what is there.
fn map(root: &Path) -> Result<Vec<String>> {
    let path = root.join(MAP);
    if !path.is_file() {
        return Ok(vec![format!("{MAP} is missing: a newcomer has no map")]);
    }
    let text = read(&path)?;
    let named: Vec<&str> = named(&text).collect();
    let mut wrong = lies(root, MAP, &named)?;
    for folder in tree::folders(&root.join("crates"))? {
        let name = relative(root, &folder);
        let holds_code = std::fs::read_dir(&folder)?.flatten().any(|e| e.path().extension().is_some_and(|x| x == "rs"));
        let is_crate = folder.join("Cargo.toml").is_file();
        let shown = named.iter().any(|n| n.strip_prefix(&name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')));
        if (holds_code || is_crate) && !shown {
            wrong.push(format!("{MAP} doesn't show `{name}`: every crate and folder of code has its place on the map"));
        }
    }
    Ok(wrong)
}

/// Whether the recipes name only what is there; `<Action>` and the like stand for names of the reader's own.
fn recipes(root: &Path) -> Result<Vec<String>> {
    let path = root.join(RECIPES);
    if !path.is_file() {
        return Ok(vec![format!("{RECIPES} is missing: a newcomer has no recipes")]);
    }
    let text = read(&path)?;
    let named: Vec<&str> = named(&text).filter(|name| !name.contains('<')).collect();
    lies(root, RECIPES, &named)
}

/// The places of the tree that a document names.
fn named(text: &str) -> impl Iterator<Item = &str> {
    backticked(text).filter(|n| OURS.iter().any(|o| n.strip_prefix(o).is_some_and(|r| r.starts_with('/'))))
}

/// A complaint for each name in a document that names nothing.
fn lies(root: &Path, document: &str, named: &[&str]) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for name in named {
        if let Some(why) = names_nothing(root, name)? {
            wrong.push(format!("{document} names `{name}`, but {why}: a map that lies is worse than none"));
        }
    }
    Ok(wrong)
}

/// What stands between single backticks on one line; blocks of code are passed over.
fn backticked(text: &str) -> impl Iterator<Item = &str> {
    let mut in_block = false;
    let lines = text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        in_block ^= fence;
        !in_block && !fence
    });
    lines.flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// Why a name on the map (`crates/x`, `crates/x/src/y.rs`, `crates/x/src/y.rs::function`, `…::Type::function`) names nothing.
fn names_nothing(root: &Path, name: &str) -> Result<Option<String>> {
    let (path, items) = name.split_once("::").map_or((name, ""), |(path, items)| (path, items));
    let file = root.join(path.trim_end_matches('/'));
    if !file.exists() {
        return Ok(Some(format!("there is no {path}")));
    }
    if items.is_empty() {
        return Ok(None);
    }
    if !file.is_file() {
        return Ok(Some(format!("{path} is a folder")));
    }
    let text = read(&file)?;
    let missing = items.split("::").map(|item| item.trim_end_matches("()")).find(|item| !defines(&text, item));
    Ok(missing.map(|item| format!("{path} defines no {item}")))
}

/// Whether a Rust file defines an item of this name.
fn defines(text: &str, item: &str) -> bool {
    let kinds = ["fn", "struct", "enum", "trait", "const", "static", "type", "mod", "macro_rules!"];
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.into_iter().any(|line| kinds.iter().any(|kind| has_word(line, &format!("{kind} {item}"))))
}

/// Whether the table of what is built is of today.
fn parity_is_fresh(root: &Path) -> Result<Vec<String>> {
    let now = std::fs::read_to_string(root.join(parity::PLACE)).unwrap_or_default();
    let stale = now != parity::table(root)?;
    Ok(if stale { vec![format!("{} is not of today: run `cargo xtask parity`", parity::PLACE)] } else { Vec::new() })
}

/// Our files with one of these endings.
fn ours(root: &Path, endings: &[&str]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for folder in OURS {
        found.extend(tree::files(&root.join(folder))?);
    }
    found.retain(|p| p.extension().is_some_and(|e| endings.iter().any(|x| e == *x)));
    Ok(found)
}

fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// What is known to be wrong with the tree. It may only get shorter: when something here is mended, its line must go.
    const KNOWN: [&str; 0] = [];

    #[test]
    fn the_tree_is_tidy() {
        assert_eq!(complaints(crate::root()).unwrap(), KNOWN);
    }

    /// A tree with these files.
    fn tree_of(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn crates_use_only_what_they_may() {
        let manifest = |name: &str, rest: &str| format!("[package]\nname = \"{name}\"\n{rest}");
        let of = |name: &str, rest: &str| edges(tree_of(&[("crates/x/Cargo.toml", &manifest(name, rest))]).path()).unwrap();
        assert!(of("store", "[dependencies]\nmodel.workspace = true\nserde.workspace = true\n").is_empty());
        for rest in [
            "[dependencies]\nstore.workspace = true\n",
            "[dev-dependencies]\nstore = { path = \"../store\" }\n",
            "[build-dependencies]\nother = { package = \"store\", path = \"../store\" }\n",
            "[target.'cfg(unix)'.dependencies]\nstore.workspace = true\n",
        ] {
            assert!(of("wire", rest)[0].starts_with("crate wire must not use store"), "{rest}");
        }
        assert!(of("novel", "")[0].starts_with("crate novel is not in the table"));
    }

    #[test]
    fn files_stay_short() {
        let long = "x\n".repeat(MAX_LINES + 1);
        let generated = format!("// @generated\n{long}");
        let root = tree_of(&[("crates/a.rs", &long), ("crates/b.rs", &generated), ("crates/c.rs", "x\n")]);
        assert_eq!(lengths(root.path(), &[]).unwrap().len(), 1);
        assert!(lengths(root.path(), &[("crates/a.rs", MAX_LINES + 1)]).unwrap().is_empty());
        assert!(lengths(root.path(), &[("crates/a.rs", MAX_LINES)]).unwrap()[0].contains("may only get shorter"));
        assert!(lengths(root.path(), &[("crates/a.rs", 900), ("crates/c.rs", 900)]).unwrap()[0].contains("short enough now"));
        assert!(lengths(root.path(), &[("crates/a.rs", 900), ("crates/d.rs", 900)]).unwrap()[0].contains("is gone"));
    }

    #[test]
    fn nothing_is_put_off() {
        let (mark, ignored) = (["// TO", "DO: later"].concat(), ["#[", "ignore = \"slow\"]"].concat());
        let root = tree_of(&[("crates/a.rs", &format!("\n{mark}\n{ignored}\n")), ("docs/b.md", "A METHODOLOGY"), ("other/c.rs", &mark)]);
        let found = leftovers(root.path()).unwrap();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("crates/a.rs:2 ") && found[1].starts_with("crates/a.rs:3 "));
    }

    #[test]
    fn the_map_is_true() {
        let code = "struct Gate;\nimpl Gate {\n    pub async fn handle(&self) {}\n}\n// fn gone() {}\n";
        let of = |text: &str| {
            let root =
                tree_of(&[("crates/api/Cargo.toml", ""), ("crates/api/src/gate.rs", code), ("crates/api/src/ec2/x.rs", ""), (MAP, text)]);
            map(root.path()).unwrap()
        };
        let whole = "`crates/api/src/ec2/` `crates/api/src/gate.rs::Gate::handle`";
        assert_eq!(of(whole), Vec::<String>::new());
        assert!(of(&format!("{whole} `crates/api/src/gate.rs::handle()`\n```\n`crates/nothing`\n```\n")).is_empty());
        assert!(of(&format!("{whole} `crates/store`"))[0].contains("there is no crates/store"));
        assert!(of(&format!("{whole} `crates/api/src/gate.rs::gone`"))[0].contains("defines no gone"));
        assert!(of(&format!("{whole} `crates/api/src/gate.rs::hand`"))[0].contains("defines no hand"));
        assert!(of(&format!("{whole} `crates/api/src::handle`"))[0].contains("is a folder"));
        assert!(of("`crates/api/src/gate.rs`")[0].contains("doesn't show `crates/api/src/ec2`"));
        assert_eq!(map(tree_of(&[]).path()).unwrap(), ["ARCHITECTURE.md is missing: a newcomer has no map"]);
    }

    #[test]
    fn the_recipes_name_what_is_there() {
        let of = |text: &str| recipes(tree_of(&[("crates/api/src/x.rs", ""), (RECIPES, text)]).path()).unwrap();
        assert_eq!(of("`crates/api/src/x.rs` `crates/api/testdata/<Action>/<case>.http`"), Vec::<String>::new());
        assert!(of("`tests/golden/case.rs`")[0].contains("CONTRIBUTING.md names `tests/golden/case.rs`, but there is no"));
        assert_eq!(recipes(tree_of(&[]).path()).unwrap().len(), 1);
    }
}
