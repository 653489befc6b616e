//! What is on the disk, seen past the engine.

use std::collections::BTreeSet;
use std::path::Path;

/// Files that the index names.
fn named(dir: &Path) -> BTreeSet<String> {
    let index = rusqlite::Connection::open(dir.join("index.db")).unwrap();
    let mut named = BTreeSet::new();
    for sql in ["SELECT body FROM version", "SELECT json_object('pieces', json_array(json(piece))) FROM part"] {
        let mut select = index.prepare(sql).unwrap();
        for body in select.query_map((), |r| r.get::<_, String>(0)).unwrap() {
            let body: serde_json::Value = serde_json::from_str(&body.unwrap()).unwrap();
            let pieces = body["pieces"].as_array().into_iter().flatten();
            named.extend(pieces.filter_map(|p| p["File"].as_str().map(str::to_owned)));
        }
    }
    assert_eq!(count(&index, "inline"), inline(&index), "each body of the index belongs to something");
    named
}

fn count(index: &rusqlite::Connection, table: &str) -> i64 {
    index.query_row(&format!("SELECT count(*) FROM {table}"), (), |r| r.get(0)).unwrap()
}

/// Bodies in the index that something names.
fn inline(index: &rusqlite::Connection) -> i64 {
    let sql = "SELECT (SELECT count(*) FROM version, json_each(version.body, '$.pieces') AS p WHERE p.value ->> '$.Inline.row' > 0)
                    + (SELECT count(*) FROM part WHERE piece ->> '$.Inline.row' > 0)";
    index.query_row(sql, (), |r| r.get(0)).unwrap()
}

/// Files that are there, and whether each is in its place.
fn present(dir: &Path) -> BTreeSet<String> {
    let incoming = std::fs::read_dir(dir.join("incoming")).unwrap().count();
    assert_eq!(incoming, 0, "nothing stays in incoming/");
    let folders = std::fs::read_dir(dir.join("files")).unwrap();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
    files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
}

/// Of an engine that was closed in peace: the index names what is there, and the lists of what is under way are empty.
pub(crate) fn check(dir: &Path) {
    assert_eq!(named(dir), present(dir));
    let index = rusqlite::Connection::open(dir.join("index.db")).unwrap();
    assert_eq!((count(&index, "arriving"), count(&index, "garbage")), (0, 0));
}
