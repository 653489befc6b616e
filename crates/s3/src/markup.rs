//! What a document in XML may not have, and s3s passes over: a type of its own, foreign names, CDATA, whose text s3s would lose, and characters
//! that XML doesn't have.

/// What the names of S3's documents belong to, now and in its first years, and those of S3 Control; with or without the slash at the end.
const NAMESPACES: [&[u8]; 3] = [
    b"http://s3.amazonaws.com/doc/2006-03-01",
    b"http://doc.s3.amazonaws.com/2006-03-01",
    b"http://awss3control.amazonaws.com/doc/2018-08-20",
];

/// Whether S3 takes a document's markup. What isn't well-formed is left to s3s, as is what isn't XML.
pub(crate) fn is_taken(text: &[u8]) -> bool {
    has_characters_of_xml(text) && has_markup_of_s3(text)
}

/// Whether all characters are XML's ("Extensible Markup Language 1.0", Char), also those that are named by their numbers. Others couldn't be
/// answered again.
fn has_characters_of_xml(text: &[u8]) -> bool {
    let forbidden = |c: u32| matches!(c, 0..=8 | 0x0b | 0x0c | 0x0e..=0x1f | 0xd800..=0xdfff | 0xfffe | 0xffff | 0x11_0000..);
    if text.iter().any(|b| *b < 0x20 && forbidden(u32::from(*b))) || text.windows(3).any(|c| matches!(c, [0xef, 0xbf, 0xbe | 0xbf])) {
        return false;
    }
    let mut rest = text;
    while let Some(behind) = after(rest, b"&#") {
        let digits = behind.split(|b| *b == b';').next().and_then(|digits| std::str::from_utf8(digits).ok()).unwrap_or_default();
        let (digits, radix) = digits.strip_prefix('x').map_or((digits, 10), |hex| (hex, 16));
        // What is no number is left to s3s.
        if digits.bytes().all(|b| b.is_ascii_alphanumeric()) && u32::from_str_radix(digits, radix).is_ok_and(forbidden) {
            return false;
        }
        rest = behind;
    }
    true
}

fn has_markup_of_s3(text: &[u8]) -> bool {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|b| *b == b'<') {
        let markup = &rest[at + 1..];
        let behind = match markup {
            [b'!', b'-', b'-', comment @ ..] => after(comment, b"-->"),
            [b'!', ..] => return false,
            [b'?', ..] => after(markup, b"?>"),
            _ => match tag(markup) {
                Tag::Known(behind) => Some(behind),
                Tag::Foreign => return false,
                Tag::Open => None,
            },
        };
        let Some(behind) = behind else { return true };
        rest = behind;
    }
    true
}

/// What stands behind the first of these.
fn after<'a>(text: &'a [u8], end: &[u8]) -> Option<&'a [u8]> {
    let at = text.windows(end.len()).position(|window| window == end)?;
    Some(&text[at + end.len()..])
}

enum Tag<'a> {
    /// Its names are S3's; what stands behind it.
    Known(&'a [u8]),
    /// Its names belong to something else.
    Foreign,
    /// It doesn't end.
    Open,
}

/// Reads a tag up to its end, and the namespace that it declares.
fn tag(mut rest: &[u8]) -> Tag<'_> {
    while let Some(at) = rest.iter().position(|b| matches!(b, b'>' | b'"' | b'\'')) {
        let (before, behind) = (&rest[..at], &rest[at + 1..]);
        if rest[at] == b'>' {
            return Tag::Known(behind);
        }
        let Some(end) = behind.iter().position(|b| *b == rest[at]) else { return Tag::Open };
        let value = &behind[..end];
        let value = value.strip_suffix(b"/").unwrap_or(value);
        if attribute(before) == b"xmlns" && !value.is_empty() && !NAMESPACES.contains(&value) {
            return Tag::Foreign;
        }
        rest = &behind[end + 1..];
    }
    Tag::Open
}

/// The name of the attribute whose value follows.
fn attribute(before: &[u8]) -> &[u8] {
    let before = before.trim_ascii_end();
    let before = before.strip_suffix(b"=").unwrap_or(before).trim_ascii_end();
    before.rsplit(u8::is_ascii_whitespace).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_s3_takes() {
        for text in [
            "<Tagging/>",
            "<Tagging xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><TagSet></TagSet></Tagging>",
            "<Tagging xmlns='http://s3.amazonaws.com/doc/2006-03-01'/>",
            "<Tagging xmlns = \"http://doc.s3.amazonaws.com/2006-03-01\"/>",
            "<Tagging xmlns=\"\"/>",
            "<?xml version=\"1.0\"?><!-- <!DOCTYPE a> xmlns=\"x\" --><Tagging/>",
            "<Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"Group\"/>",
            "<a title=\"xmlns='x' > <!DOCTYPE\"/>",
            "",
            "{\"Version\": \"2012-10-17\"}",
            "<a b=\"",
            "<!-- ",
            "<?",
            "<a",
            "<Key>&#9;&#xA;&#13;&#32;&#x10ffff;&#xfffd;\t\r\n\u{fffd}\u{ffef}</Key>",
            "<Key>&#;&#x;&#1x;&#",
        ] {
            assert!(is_taken(text.as_bytes()), "{text}");
        }
        for text in [
            "<!DOCTYPE Tagging><Tagging/>",
            "<?xml version=\"1.0\"?>\n<!doctype a [<!ENTITY b \"c\">]><Tagging/>",
            "<Tagging xmlns=\"http://example.com/\"/>",
            "<Tagging xmlns='http://s3.amazonaws.com/doc/2007-03-01/'/>",
            "<Tagging><TagSet\txmlns\n=\n\"x\"/></Tagging>",
            "<Tagging a='b'xmlns='x'/>",
            "<Tagging><Key><![CDATA[a]]></Key></Tagging>",
            "<Key>\u{1}</Key>",
            "<Key>\u{ffff}</Key>",
            "<Key>&#1;</Key>",
            "<Key>a&#x0B;</Key>",
            "<Key>&#32;&#65534;</Key>",
            "<Key>&#xd800;</Key>",
            "<Key>&#1114112;</Key>",
        ] {
            assert!(!is_taken(text.as_bytes()), "{text}");
        }
    }
}
