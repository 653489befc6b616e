//! The parameters of the query protocols, as a tree: `Filter.1.Value.2=x` is a path of four names.

use crate::ApiError;
use crate::decode::Dialect;
use std::cmp::Ordering;

/// Parameters in one request. The largest that a real client sends (1,000 ids, 200 filters of 200 values) is far below.
pub const MAX_PARAMETERS: usize = 50_000;
/// Names in the path of one parameter. The deepest of EC2's model has 9.
pub const MAX_DEPTH: usize = 16;
/// Bytes in the name of one parameter.
pub const MAX_NAME_BYTES: usize = 1024;

/// Parameters that say what is asked and by whom, and are no part of an operation's input.
const CONTROL: [&str; 9] = [
    "Action",
    "Version",
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-Security-Token",
    "X-Amz-Signature",
    "X-Amz-SignedHeaders",
];

/// All parameters of a request, of its query string and its form body together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameters {
    dialect: Dialect,
    /// The operation's input, sorted by [`path_order`], so that what shares a prefix of names lies together.
    pairs: Vec<(String, String)>,
    /// Those of [`CONTROL`].
    control: Vec<(String, String)>,
}

impl Parameters {
    /// Reads `application/x-www-form-urlencoded` texts; a request may have one in its query string and one in its body.
    ///
    /// # Errors
    /// `MalformedQueryString` for bad escapes and text that isn't UTF-8, `InvalidQueryParameter` for a name given twice or a limit
    /// overstepped.
    pub fn parse(dialect: Dialect, forms: &[&[u8]]) -> Result<Self, ApiError> {
        let mut pairs = Vec::new();
        for pair in forms.iter().flat_map(|form| form.split(|b| *b == b'&')).filter(|pair| !pair.is_empty()) {
            if pairs.len() == MAX_PARAMETERS {
                return Err(invalid(format!("The request has more than {MAX_PARAMETERS} parameters")));
            }
            let cut = pair.iter().position(|b| *b == b'=').unwrap_or(pair.len());
            let name = unescape(&pair[..cut])?;
            let value = unescape(pair.get(cut + 1..).unwrap_or_default())?;
            if name.len() > MAX_NAME_BYTES || name.split('.').nth(MAX_DEPTH).is_some() {
                return Err(invalid("The name of a parameter is too long".to_owned()));
            }
            pairs.push((name, value));
        }
        pairs.sort_by(|a, b| path_order(&a.0, &b.0));
        if let Some(twice) = pairs.windows(2).find(|w| w[0].0 == w[1].0) {
            return Err(invalid(format!("The parameter {} is given more than once", twice[0].0)));
        }
        let control = pairs.extract_if(.., |(name, _)| CONTROL.contains(&name.as_str())).collect();
        Ok(Self { dialect, pairs, control })
    }

    /// Whose words and rules hold.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The value of the parameter with exactly this name, `Action` and `Version` among them.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        if let Some((_, value)) = self.control.iter().find(|(n, _)| n == name) {
            return Some(value);
        }
        let at = self.pairs.binary_search_by(|(n, _)| path_order(n, name)).ok()?;
        Some(&self.pairs[at].1)
    }

    /// The operation's input, name and value, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The operation's input, a structure.
    #[must_use]
    pub fn root(&self) -> Node<'_> {
        Node { pairs: &self.pairs, from: 0, to: None }
    }
}

/// A place in the tree: the parameters that share its path.
#[derive(Debug, Clone, Copy)]
pub struct Node<'a> {
    pairs: &'a [(String, String)],
    /// Where its own name begins in each key.
    from: usize,
    /// Where its own name ends in each key; `None` for the root.
    to: Option<usize>,
}

impl<'a> Node<'a> {
    /// The last name of its path; empty for the root.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.to.map_or("", |to| &self.pairs[0].0[self.from..to])
    }

    /// Its path, as the client wrote it; empty for the root.
    #[must_use]
    pub fn path(&self) -> &'a str {
        self.to.map_or("", |to| &self.pairs[0].0[..to])
    }

    /// Its value, if it has one itself.
    #[must_use]
    pub fn value(&self) -> Option<&'a str> {
        let (key, value) = self.pairs.first()?;
        (self.to == Some(key.len())).then_some(value)
    }

    /// What lies below it, in order; numbers in their numeric order.
    pub fn members(&self) -> impl Iterator<Item = Node<'a>> + use<'a> {
        let from = self.to.map_or(0, |to| to + 1);
        let mut rest = if self.value().is_some() { &self.pairs[1..] } else { self.pairs };
        std::iter::from_fn(move || {
            let first = &rest.first()?.0;
            let to = first[from..].find('.').map_or(first.len(), |dot| from + dot);
            // By bytes: another key may have a character across `to`, where a string can't be cut.
            let own = &first.as_bytes()[..to];
            let same = |key: &str| key.as_bytes().starts_with(own) && matches!(key.as_bytes().get(to), None | Some(b'.'));
            let end = rest.iter().position(|(key, _)| !same(key)).unwrap_or(rest.len());
            let (pairs, after) = rest.split_at(end);
            rest = after;
            Some(Node { pairs, from, to: Some(to) })
        })
    }
}

/// Orders names by their parts, numbers first and by value: `A`, `A.2`, `A.10`, `A-b`.
fn path_order(a: &str, b: &str) -> Ordering {
    let (mut a_parts, mut b_parts) = (a.split('.'), b.split('.'));
    loop {
        match (a_parts.next(), b_parts.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(x), Some(y)) => {
                let number = |s: &str| !s.is_empty() && s.bytes().all(|c| c.is_ascii_digit());
                // Numbers stand apart from the rest, or 9 < 10 < 5a < 9 would be no order.
                let by_value = match (number(x), number(y)) {
                    (true, true) => x.len().cmp(&y.len()),
                    (x, y) => y.cmp(&x),
                };
                match by_value.then_with(|| x.cmp(y)) {
                    Ordering::Equal => {}
                    unequal @ (Ordering::Less | Ordering::Greater) => return unequal,
                }
            }
        }
    }
}

/// Undoes form encoding: `+` is a space, `%41` is `A`.
fn unescape(text: &[u8]) -> Result<String, ApiError> {
    let malformed = || ApiError::new("MalformedQueryString", "The query string contains a syntax error");
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || bytes.next().and_then(|d| char::from(*d).to_digit(16));
                let (high, low) = (digit().ok_or_else(malformed)?, digit().ok_or_else(malformed)?);
                u8::try_from(high * 16 + low).map_err(|_| malformed())?
            }
            other => other,
        });
    }
    String::from_utf8(out).map_err(|_| malformed())
}

fn invalid(message: String) -> ApiError {
    ApiError::new("InvalidQueryParameter", message)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Parameters {
        Parameters::parse(Dialect::Ec2, &[text.as_bytes()]).unwrap()
    }

    proptest::proptest! {
        #[test]
        fn any_names_have_an_order(names in proptest::collection::vec("[0-9a.]{1,4}", 0..60)) {
            let text: Vec<String> = names.iter().map(|name| format!("{name}=x")).collect();
            // Repeated names are refused, whatever stands between them; nothing panics.
            let parsed = Parameters::parse(Dialect::Ec2, &[text.join("&").as_bytes()]);
            let unique: std::collections::BTreeSet<_> = names.iter().collect();
            proptest::prop_assert!(unique.len() == names.len() || parsed.is_err());
        }
    }

    #[test]
    fn a_tree_in_numeric_order() {
        let p = parse("F.10.N=ten&F.2.N=two&A=1&F.2.V.1=x+y%3D&A-b=2&A.b=3");
        let top: Vec<_> = p.root().members().map(|m| (m.name(), m.value())).collect();
        assert_eq!(top, [("A", Some("1")), ("A-b", Some("2")), ("F", None)]);
        let f = p.root().members().last().unwrap();
        let items: Vec<_> = f.members().map(|m| m.path()).collect();
        assert_eq!(items, ["F.2", "F.10"]);
        let two = f.members().next().unwrap();
        let below: Vec<_> = two.members().map(|m| (m.name(), m.value(), m.members().count())).collect();
        assert_eq!(below, [("N", Some("two"), 0), ("V", None, 1)]);
        assert_eq!(p.get("F.2.V.1"), Some("x y="));
        assert_eq!(p.get("F.2.V"), None);
        assert_eq!(p.root().path(), "");
    }

    #[test]
    fn names_of_several_bytes() {
        let p = parse("n.ab=1&n.\u{e9}\u{e9}=2&\u{1234}.1=3");
        let below: Vec<_> = p.root().members().flat_map(|m| m.members()).map(|m| m.path()).collect();
        assert_eq!(below, ["n.ab", "n.\u{e9}\u{e9}", "\u{1234}.1"]);
        // The first name ends in the middle of the second's character.
        assert_eq!(parse("nl.abc=1&nl.ab\u{e9}\u{e9}=2").root().members().flat_map(|m| m.members()).count(), 2);
    }

    #[test]
    fn query_and_body_are_one() {
        let p = Parameters::parse(Dialect::Ec2, &[b"Action=X&X-Amz-Date=1", b"&Version=1&&Flag"]).unwrap();
        assert_eq!((p.get("Action"), p.get("Version"), p.get("Flag")), (Some("X"), Some("1"), Some("")));
        assert_eq!(p.iter().collect::<Vec<_>>(), [("Flag", "")]);
        assert_eq!(parse("").root().members().count(), 0);
    }

    #[test]
    fn what_is_refused() {
        let code = |text: &[u8]| Parameters::parse(Dialect::Ec2, &[text]).unwrap_err().code.into_owned();
        for text in ["a=%", "a=%4", "a=%zz", "%ff=1", "a=%C3%28"] {
            assert_eq!(code(text.as_bytes()), "MalformedQueryString", "{text}");
        }
        assert_eq!(code(b"a=1&a=1"), "InvalidQueryParameter");
        assert_eq!(code("a.".repeat(MAX_DEPTH).as_bytes()), "InvalidQueryParameter");
        assert_eq!(code("a".repeat(MAX_NAME_BYTES + 1).as_bytes()), "InvalidQueryParameter");
        assert_eq!(
            code("&".repeat(3).as_bytes().iter().chain(b"x&").copied().collect::<Vec<_>>().repeat(MAX_PARAMETERS + 1).as_slice()),
            "InvalidQueryParameter"
        );
    }
}
