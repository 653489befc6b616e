//! Ids that were drawn, by numbers: `i-0a1b…` is `i-#1` if it is the first of its kind in a case.

use std::collections::BTreeMap;

/// What stands before an id's digits, the longest first.
const PREFIXES: &[&str] =
    &["eni-attach-", "subnet-", "vpc-", "dopt-", "igw-", "eni-", "sgr-", "key-", "vol-", "snap-", "ami-", "sg-", "i-", "r-"];
const DIGITS: usize = 17;

#[derive(Default)]
pub(crate) struct Names {
    /// By prefix, the ids in the order in which they appeared.
    drawn: BTreeMap<&'static str, Vec<String>>,
}

impl Names {
    /// A text with its ids as numbers. Ids of the world that every case begins with have many zeros, and stay.
    pub(crate) fn hide(&mut self, text: &str) -> String {
        let (mut hidden, mut at) = (String::new(), 0);
        while at < text.len() {
            let boundary = at == 0 || !text.as_bytes()[at - 1].is_ascii_alphanumeric() && text.as_bytes()[at - 1] != b'-';
            if let Some((prefix, id)) = boundary.then(|| id_at(&text[at..])).flatten() {
                let known = self.drawn.entry(prefix).or_default();
                let number = known.iter().position(|k| k == id).unwrap_or_else(|| {
                    known.push(id.into());
                    known.len() - 1
                });
                hidden += &format!("{prefix}#{}", number + 1);
                at += id.len();
            } else {
                let c = text[at..].chars().next().unwrap();
                hidden.push(c);
                at += c.len_utf8();
            }
        }
        hidden
    }

    /// A text with its numbers as ids.
    pub(crate) fn show(&self, text: &str) -> String {
        let mut shown = text.to_owned();
        // The longest prefix first: `sgr-#1` ends in `r-#1`.
        for prefix in PREFIXES {
            for (number, id) in self.drawn.get(prefix).into_iter().flatten().enumerate().collect::<Vec<_>>().into_iter().rev() {
                shown = shown.replace(&format!("{prefix}#{}", number + 1), id);
            }
        }
        shown
    }
}

fn id_at(text: &str) -> Option<(&'static str, &str)> {
    let prefix = PREFIXES.iter().find(|p| text.starts_with(**p))?;
    let id = text.get(..prefix.len() + DIGITS)?;
    let digits = &id[prefix.len()..];
    let is_hex = digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let ends = text[id.len()..].bytes().next().is_none_or(|b| !b.is_ascii_alphanumeric());
    (is_hex && ends && !digits.starts_with("00000000")).then_some((*prefix, id))
}
