//! XML as S3 writes it: what s3s leaves out of what it writes, and texts.

use crate::checksum::Algorithm;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What the names of S3's documents belong to.
const NAMESPACE: &str = " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"";
/// Roots that belong to nothing: of errors and of the answers to forms.
const BARE: [&str; 2] = ["Error", "PostResponse"];

/// Characters that a reader of XML wouldn't give back: carriage returns become line feeds, and XML 1.0 has no other controls.
fn is_lost(byte: u8) -> bool {
    byte < b' ' && byte != b'\n' && byte != b'\t'
}

/// A text with its markup and its lost characters as references (`&#13;`), as S3 writes them.
pub(crate) fn escape(text: &str) -> String {
    let mut written = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => written.push_str("&amp;"),
            '<' => written.push_str("&lt;"),
            '>' => written.push_str("&gt;"),
            c if u8::try_from(c).is_ok_and(is_lost) => reference(&mut written, c),
            c => written.push(c),
        }
    }
    written
}

fn reference(written: &mut String, c: impl Into<u32>) {
    // Writing into a string doesn't fail.
    _ = write!(written, "&#{};", c.into());
}

/// Elements that s3s doesn't know, for the ends of elements that it writes; an extension of an answer.
#[derive(Debug, Clone)]
pub(crate) struct Added {
    end: &'static str,
    /// One for each element that ends so, in their order.
    texts: Vec<String>,
}

impl Added {
    /// The checksums that s3s doesn't write; `end` is `</Element>`.
    pub(crate) fn checksums<'a>(end: &'static str, values: impl IntoIterator<Item = &'a BTreeMap<String, String>>) -> Self {
        let unknown = |values: &BTreeMap<String, String>| {
            let mut text = String::new();
            for (name, value) in values {
                if Algorithm::parse(name).is_some_and(|algorithm| !algorithm.in_documents()) {
                    // Writing into a string doesn't fail. Neither has a character that XML would have to escape.
                    _ = write!(text, "<Checksum{name}>{value}</Checksum{name}>");
                }
            }
            text
        };
        Self { end, texts: values.into_iter().map(unknown).collect() }
    }
}

/// A document as S3 writes it: with the namespace at its root, which some clients look for, the added elements, and lost characters as
/// references.
pub(crate) fn rewritten(text: &str, added: Option<&Added>) -> String {
    let root = root_end(text);
    let mut texts = added.iter().flat_map(|added| &added.texts);
    let mut written = String::with_capacity(text.len() + NAMESPACE.len());
    let mut from = 0;
    for (at, byte) in text.bytes().enumerate() {
        let is_end = || byte == b'<' && added.is_some_and(|added| text[at..].starts_with(added.end));
        if is_lost(byte) {
            written.push_str(&text[from..at]);
            reference(&mut written, byte);
            from = at + 1;
        } else if root == Some(at) || is_end() {
            written.push_str(&text[from..at]);
            written.push_str(if root == Some(at) { NAMESPACE } else { texts.next().map_or("", String::as_str) });
            from = at;
        }
    }
    written.push_str(&text[from..]);
    written
}

/// Where the start tag of a document's root ends, if it is to get a namespace.
fn root_end(text: &str) -> Option<usize> {
    let start = text.find("?>")?;
    let start = start + text[start..].find('<')? + 1;
    let end = start + text[start..].find('>')?;
    let root = &text[start..end];
    (root.bytes().all(|b| b.is_ascii_alphanumeric()) && !BARE.contains(&root)).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRONT: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

    #[test]
    fn lost_characters_become_references() {
        assert_eq!(rewritten("<Key>a\rb\u{1}\u{1f}\n\t\u{e4}</Key>", None), "<Key>a&#13;b&#1;&#31;\n\t\u{e4}</Key>");
        assert_eq!(escape("<a>\r&\u{e4}"), "&lt;a&gt;&#13;&amp;\u{e4}");
    }

    #[test]
    fn documents_have_a_namespace() {
        let named = format!("{FRONT}<Tagging{NAMESPACE}><TagSet></TagSet></Tagging>");
        assert_eq!(rewritten(&format!("{FRONT}<Tagging><TagSet></TagSet></Tagging>"), None), named);
        for rest in [&named[FRONT.len()..], "<Error><Code>NoSuchKey</Code></Error>", "<PostResponse></PostResponse>", "no document"] {
            let text = format!("{FRONT}{rest}");
            assert_eq!(rewritten(&text, None), text);
        }
    }

    #[test]
    fn checksums_are_added_where_they_belong() {
        let parts = [("SHA512", "one"), ("CRC32", "known"), ("XXHASH3", "three")];
        let parts = parts.map(|(name, value)| BTreeMap::from([(name.to_owned(), value.to_owned())]));
        let added = Added::checksums("</Part>", &parts);
        let text = format!("{FRONT}<L><Part>1\r</Part><Part>2</Part><Part>3</Part></L>");
        let wanted = format!(
            "{FRONT}<L{NAMESPACE}><Part>1&#13;<ChecksumSHA512>one</ChecksumSHA512></Part><Part>2</Part><Part>3<ChecksumXXHASH3>three</ChecksumXXHASH3></Part></L>"
        );
        assert_eq!(rewritten(&text, Some(&added)), wanted);
    }
}
