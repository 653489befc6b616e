//! Ids that were drawn, by numbers: `{version 1}` is the first version's id that appeared in a case.

use sha2::{Digest as _, Sha256};

/// Where an id stands: its kind, and the elements and headers that have one.
const PLACES: [(&str, &[&str], &[&str]); 2] = [
    ("version", &["VersionId", "DeleteMarkerVersionId", "NextVersionIdMarker"], &["x-amz-version-id", "x-amz-copy-source-version-id"]),
    ("upload", &["UploadId"], &[]),
];

/// The canonical user id of an account; it never changes, since clients keep it.
fn canonical_id(account: &str) -> String {
    use std::fmt::Write as _;
    let digest = Sha256::digest(format!("canonical user id of {account}"));
    digest.iter().fold(String::new(), |mut text, byte| {
        _ = write!(text, "{byte:02x}");
        text
    })
}

pub(crate) struct Names {
    /// Long words and what stands for them.
    fixed: Vec<(String, String)>,
    /// Kinds and ids, in the order in which they appeared.
    drawn: Vec<(&'static str, String)>,
}

impl Names {
    /// With `{1025}`, a key that is too long, and the owners' canonical ids by their names, `{alice}`.
    pub(crate) fn new(owners: &[(&str, &str)]) -> Self {
        let mut fixed = vec![("{1025}".to_owned(), "k".repeat(1025))];
        fixed.extend(owners.iter().map(|(name, account)| (format!("{{{name}}}"), canonical_id(account))));
        Self { fixed, drawn: Vec::new() }
    }

    pub(crate) fn learn_header(&mut self, name: &str, value: &str) {
        if let Some((kind, ..)) = PLACES.iter().find(|(_, _, headers)| headers.contains(&name)) {
            self.learn(kind, value);
        }
    }

    /// An ETag that is drawn, with quotes; without the number of parts behind it.
    pub(crate) fn learn_etag(&mut self, value: &str) {
        let etag = value.trim_matches('"');
        self.learn("etag", etag.split_once('-').map_or(etag, |(etag, _)| etag));
    }

    pub(crate) fn learn_document(&mut self, text: &str) {
        for piece in text.split('<').skip(1) {
            let Some((element, value)) = piece.split_once('>') else { continue };
            if let Some((kind, ..)) = PLACES.iter().find(|(_, elements, _)| elements.contains(&element)) {
                self.learn(kind, value);
            }
        }
    }

    fn learn(&mut self, kind: &'static str, value: &str) {
        // Some are no drawn ones: `null`, and what a client made up.
        if value.len() >= 16 && !self.drawn.iter().any(|(_, known)| known == value) {
            self.drawn.push((kind, value.into()));
        }
    }

    fn all(&self) -> impl Iterator<Item = (String, &str)> {
        let drawn = self.drawn.iter().enumerate().map(|(at, (kind, id))| {
            let number = self.drawn[..=at].iter().filter(|(k, _)| k == kind).count();
            (format!("{{{kind} {number}}}"), id.as_str())
        });
        drawn.chain(self.fixed.iter().map(|(name, text)| (name.clone(), text.as_str())))
    }

    /// A text with its ids as names.
    pub(crate) fn hide(&self, text: &str) -> String {
        self.all().fold(text.to_owned(), |text, (name, id)| text.replace(id, &name))
    }

    /// A text with its names as ids.
    pub(crate) fn show(&self, text: &str) -> String {
        self.all().fold(text.to_owned(), |text, (name, id)| text.replace(&name, id))
    }
}
