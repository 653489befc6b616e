//! XML replies, written straight into a string.

use crate::Timestamp;
use base64::Engine as _;
use std::fmt::Write as _;

/// A structure that is written into a reply.
pub trait Encode {
    /// Whether the model gives the operation no output at all; see [`Empty`].
    const EMPTY: bool = false;

    /// Writes its members, without an element around them.
    fn encode(&self, xml: &mut Xml);
}

/// The output of an operation whose model has none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Empty;

impl Encode for Empty {
    const EMPTY: bool = true;

    fn encode(&self, _: &mut Xml) {}
}

/// Writes elements. Names come from the models and are written as they are; values are escaped.
#[derive(Debug, Default)]
pub struct Xml {
    out: String,
}

impl Xml {
    /// Opens an element.
    pub fn open(&mut self, name: &str) {
        self.out.extend(["<", name, ">"]);
    }

    /// Opens an element in a namespace.
    pub fn open_in(&mut self, name: &str, namespace: &str) {
        self.out.extend(["<", name, " xmlns=\"", namespace, "\">"]);
    }

    /// Closes an element.
    pub fn close(&mut self, name: &str) {
        self.out.extend(["</", name, ">"]);
    }

    /// An element with text.
    pub fn text(&mut self, name: &str, text: &str) {
        self.open(name);
        escape(text, &mut self.out);
        self.close(name);
    }

    /// A member that is a scalar.
    pub fn scalar<T: Text>(&mut self, name: &str, value: &Option<T>) {
        if let Some(value) = value {
            self.open(name);
            value.write(&mut self.out);
            self.close(name);
        }
    }

    /// A member that is a structure.
    pub fn structure<T: Encode>(&mut self, name: &str, value: &Option<T>) {
        if let Some(value) = value {
            self.open(name);
            value.encode(self);
            self.close(name);
        }
    }

    /// A member that is a list of scalars.
    pub fn scalars<T: Text>(&mut self, name: &str, item: &str, values: &Option<Vec<T>>) {
        self.list(name, values, |xml, value| {
            xml.open(item);
            value.write(&mut xml.out);
            xml.close(item);
        });
    }

    /// A member that is a list of structures.
    pub fn structures<T: Encode>(&mut self, name: &str, item: &str, values: &Option<Vec<T>>) {
        self.list(name, values, |xml, value| {
            xml.open(item);
            value.encode(xml);
            xml.close(item);
        });
    }

    fn list<T>(&mut self, name: &str, values: &Option<Vec<T>>, mut write: impl FnMut(&mut Self, &T)) {
        match values.as_deref() {
            None => {}
            Some([]) => self.out.extend(["<", name, "/>"]),
            Some(values) => {
                self.open(name);
                values.iter().for_each(|value| write(self, value));
                self.close(name);
            }
        }
    }

    /// The text written so far.
    #[must_use]
    pub fn into_string(self) -> String {
        self.out
    }

    /// Text that is XML already.
    pub fn raw(&mut self, xml: &str) {
        self.out.push_str(xml);
    }

    /// A writer with room for this many bytes.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { out: String::with_capacity(capacity) }
    }

    /// A writer that has begun with the XML declaration, with room for this many bytes.
    #[must_use]
    pub fn document(capacity: usize) -> Self {
        let mut xml = Self::with_capacity(capacity);
        xml.raw("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        xml
    }
}

/// A scalar's text.
pub trait Text {
    /// Appends its text, escaped.
    fn write(&self, out: &mut String);
}

impl Text for String {
    fn write(&self, out: &mut String) {
        escape(self, out);
    }
}

impl Text for bool {
    fn write(&self, out: &mut String) {
        out.push_str(if *self { "true" } else { "false" });
    }
}

impl Text for i32 {
    fn write(&self, out: &mut String) {
        i64::from(*self).write(out);
    }
}

impl Text for i64 {
    fn write(&self, out: &mut String) {
        // Writing to a string can't fail.
        let _ = write!(out, "{self}");
    }
}

impl Text for f64 {
    fn write(&self, out: &mut String) {
        // `{:?}` keeps the `.0` of whole numbers, as AWS does. Writing to a string can't fail.
        let _ = write!(out, "{self:?}");
    }
}

impl Text for Timestamp {
    fn write(&self, out: &mut String) {
        out.push_str(&self.iso8601());
    }
}

impl Text for Vec<u8> {
    fn write(&self, out: &mut String) {
        base64::engine::general_purpose::STANDARD.encode_string(self, out);
    }
}

/// Appends `text` with what XML 1.0 reserves escaped. Characters that XML can't carry in any form become U+FFFD: one bad tag must not
/// make a whole reply unreadable.
pub fn escape(text: &str, out: &mut String) {
    // Nearly every value is plain: one pass over its bytes says so.
    if !text.bytes().any(is_special) {
        return out.push_str(text);
    }
    let mut plain = 0;
    for (at, c) in text.char_indices() {
        let instead = match c {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            '"' => "&quot;",
            '\r' => "&#13;",
            '\t' | '\n' => continue,
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => "\u{fffd}",
            _ => continue,
        };
        out.push_str(&text[plain..at]);
        out.push_str(instead);
        plain = at + c.len_utf8();
    }
    out.push_str(&text[plain..]);
}

/// Whether a byte is, or may begin, a character that is not written as it is; 0xEF begins U+FFFE and U+FFFF.
fn is_special(byte: u8) -> bool {
    byte < 0x20 || matches!(byte, b'&' | b'<' | b'>' | b'"' | 0xef)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Pair(Option<String>, Option<Vec<i32>>);
    impl Encode for Pair {
        fn encode(&self, xml: &mut Xml) {
            xml.scalar("key", &self.0);
            xml.scalars("values", "item", &self.1);
        }
    }

    #[test]
    fn members_lists_and_nothing() {
        let mut xml = Xml::default();
        xml.structures("all", "item", &Some(vec![Pair(Some("a<b".into()), Some(vec![1, -2])), Pair(None, Some(vec![])), Pair(None, None)]));
        assert_eq!(
            xml.into_string(),
            "<all><item><key>a&lt;b</key><values><item>1</item><item>-2</item></values></item><item><values/></item><item></item></all>"
        );
    }

    #[test]
    fn scalars_as_aws_writes_them() {
        let mut xml = Xml::default();
        xml.scalar("a", &Some(true));
        xml.scalar("b", &Some(Timestamp(0)));
        xml.scalar("c", &Some(b"hi".to_vec()));
        xml.scalar("d", &Some(2.0));
        xml.scalar("e", &Some("\u{1}\r\n&\"é".to_owned()));
        xml.scalar("f", &Some("é\u{ffff}\u{fffd}".to_owned()));
        assert_eq!(
            xml.into_string(),
            "<a>true</a><b>1970-01-01T00:00:00.000Z</b><c>aGk=</c><d>2.0</d><e>\u{fffd}&#13;\n&amp;&quot;é</e>\
             <f>é\u{fffd}\u{fffd}</f>"
        );
    }
}
