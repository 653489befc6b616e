//! Filters of Describe calls: AND between filters, OR between the values of one ("List and filter using the CLI and API", EC2 User Guide).

use crate::tag::Tags;

/// Most filter values in one call, of all filters together. AWS says 200 a filter; its answers say 200 a call.
pub const FILTER_VALUES_MAX: usize = 200;
/// Most filters in one call.
pub const FILTERS_MAX: usize = 50;
/// Longest filter value, in Unicode characters.
pub const FILTER_VALUE_CHARS_MAX: usize = 255;

/// Reads a filter's values from an item: calls the second argument with each of them. Numbers and booleans are given as text, as AWS
/// compares them.
pub type Values<T> = fn(&T, &mut dyn FnMut(&str));

/// One filter's name and its values.
pub type Field<T> = (&'static str, Values<T>);

/// The filters of a call, checked.
#[derive(Debug)]
pub struct Filters<T> {
    tests: Vec<(Subject<T>, Vec<Pattern>)>,
}

#[derive(Debug)]
enum Subject<T> {
    Field(Values<T>),
    /// `tag:KEY`.
    Tag(String),
    /// `tag-key`.
    TagKey,
    /// `tag-value`: no longer documented, and still taken.
    TagValue,
}

/// Why filters are refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilterError {
    /// `InvalidParameterValue`: a name that this call doesn't know, or none.
    Unknown(Option<String>),
    /// `InvalidParameterValue`: a filter without a value.
    NoValue(String),
    /// `FilterLimitExceeded`: too many values, too many filters, or too long a value; which one.
    Limit(String),
}

impl FilterError {
    /// AWS's code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unknown(_) | Self::NoValue(_) => "InvalidParameterValue",
            Self::Limit(_) => "FilterLimitExceeded",
        }
    }
}

impl std::fmt::Display for FilterError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unknown(name) => write!(f, "The filter '{}' is invalid", name.as_deref().unwrap_or("null")),
            Self::NoValue(name) => write!(f, "The filter '{name}' has no values"),
            Self::Limit(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for FilterError {}

impl<T> Filters<T> {
    /// Checks the filters of a call. `known` are the names the call has; `tags` says whether `tag:KEY`, `tag-key` and `tag-value` are.
    ///
    /// # Errors
    /// [`FilterError`], for the first one that is wrong.
    pub fn new<'a>(
        given: impl Iterator<Item = (Option<&'a str>, &'a [String])>,
        known: &[Field<T>],
        tags: bool,
    ) -> Result<Self, FilterError> {
        let (mut tests, mut values_count) = (Vec::new(), 0);
        for (name, values) in given {
            let name = name.filter(|n| !n.is_empty()).ok_or(FilterError::Unknown(None))?;
            let subject = subject(name, known, tags).ok_or_else(|| FilterError::Unknown(Some(name.into())))?;
            values_count += values.len();
            if values_count > FILTER_VALUES_MAX {
                let text = format!("The maximum number of filter values specified on a single call is {FILTER_VALUES_MAX}");
                return Err(FilterError::Limit(text));
            }
            if tests.len() == FILTERS_MAX {
                return Err(FilterError::Limit(format!("The maximum number of filters specified on a single call is {FILTERS_MAX}")));
            }
            if values.is_empty() {
                return Err(FilterError::NoValue(name.into()));
            }
            if values.iter().any(|v| v.chars().count() > FILTER_VALUE_CHARS_MAX) {
                let text = format!("The maximum length for a filter value is {FILTER_VALUE_CHARS_MAX} characters");
                return Err(FilterError::Limit(text));
            }
            tests.push((subject, values.iter().map(|v| Pattern::new(v)).collect()));
        }
        Ok(Self { tests })
    }

    /// Whether every filter has a value that matches.
    pub fn matches(&self, item: &T, tags: &Tags) -> bool {
        self.tests.iter().all(|(subject, patterns)| {
            let mut matched = false;
            let mut test = |value: &str| matched = matched || patterns.iter().any(|p| p.matches(value));
            match subject {
                Subject::Field(values) => values(item, &mut test),
                Subject::Tag(key) => _ = tags.0.get(key).map(|value| test(value)),
                Subject::TagKey => tags.0.keys().for_each(|key| test(key)),
                Subject::TagValue => tags.0.values().for_each(|value| test(value)),
            }
            matched
        })
    }
}

fn subject<T>(name: &str, known: &[Field<T>], tags: bool) -> Option<Subject<T>> {
    match name.strip_prefix("tag:") {
        Some(key) if tags => Some(Subject::Tag(key.into())),
        None if tags && name == "tag-key" => Some(Subject::TagKey),
        None if tags && name == "tag-value" => Some(Subject::TagValue),
        Some(_) | None => known.iter().find(|(n, _)| *n == name).map(|(_, values)| Subject::Field(*values)),
    }
}

/// A filter value: `*` is any text, `?` is one character or none, a backslash takes their meaning from them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    AnyText,
    OneOrNone,
}

impl Pattern {
    /// Reads a filter value.
    #[must_use]
    pub fn new(value: &str) -> Self {
        let mut pieces = Vec::new();
        let mut chars = value.chars();
        while let Some(c) = chars.next() {
            match c {
                '*' if pieces.last() == Some(&Piece::AnyText) => {}
                '*' => pieces.push(Piece::AnyText),
                '?' => pieces.push(Piece::OneOrNone),
                c => {
                    // A backslash at the very end stands for itself.
                    let c = if c == '\\' { chars.next().unwrap_or(c) } else { c };
                    match pieces.last_mut() {
                        Some(Piece::Text(text)) => text.push(c),
                        Some(Piece::AnyText | Piece::OneOrNone) | None => pieces.push(Piece::Text(c.into())),
                    }
                }
            }
        }
        Self(pieces)
    }

    /// Whether the whole of a text matches.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        match self.0.as_slice() {
            [Piece::Text(only)] => only == text,
            pieces => matches(pieces, text),
        }
    }
}

/// Carries the set of places in the text where the rest of the pattern may begin: the work is bounded by pattern × text, whatever
/// the pattern.
fn matches(pieces: &[Piece], text: &str) -> bool {
    let mut places = vec![false; text.len() + 1];
    places[0] = true;
    for piece in pieces {
        let mut next = vec![false; text.len() + 1];
        let (mut any, ends) = (false, text.char_indices().map(|(at, c)| (at, Some(c))).chain([(text.len(), None)]));
        for (at, c) in ends {
            match piece {
                Piece::Text(t) if places[at] && text[at..].starts_with(t.as_str()) => next[at + t.len()] = true,
                Piece::Text(_) => {}
                Piece::AnyText => {
                    any |= places[at];
                    next[at] = any;
                }
                Piece::OneOrNone if places[at] => {
                    next[at] = true;
                    if let Some(c) = c {
                        next[at + c.len_utf8()] = true;
                    }
                }
                Piece::OneOrNone => {}
            }
        }
        places = next;
    }
    places[text.len()]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, yes, no) in [
            ("a", &["a"][..], &["", "A", "ab"][..]),
            ("", &[""], &["a"]),
            ("*", &["", "a", "äöü"], &[]),
            ("a*c", &["ac", "abc", "abcc", "aéc"], &["ab", "bac", "acb"]),
            ("*.xlarge", &["m5.xlarge"], &["m5.2xlarge.x", "xlarge"]),
            ("t?", &["t", "t3", "té"], &["t33", "u3"]),
            ("??", &["", "a", "ab"], &["abc"]),
            ("a**b", &["ab", "axyb"], &["a"]),
            (r"\*amazon\?\\", &[r"*amazon?\"], &["xamazon?\\", "*amazon"]),
            ("a\\", &["a\\"], &["a"]),
            ("*a*b*", &["ab", "xaxbx"], &["ba"]),
        ] {
            let p = Pattern::new(pattern);
            yes.iter().for_each(|t| assert!(p.matches(t), "{pattern} {t}"));
            no.iter().for_each(|t| assert!(!p.matches(t), "{pattern} {t}"));
        }
    }

    #[test]
    fn a_nasty_pattern_is_quick() {
        let p = Pattern::new(&"*a".repeat(127));
        assert!(!p.matches(&"a".repeat(120)));
        assert!(p.matches(&"ba".repeat(200)));
    }

    struct Row(&'static str, u32);
    const FIELDS: &[Field<Row>] = &[("name", |r, is| is(r.0)), ("size", |r, is| is(&r.1.to_string()))];

    fn filters(given: &[(&str, &[&str])]) -> Result<Filters<Row>, FilterError> {
        let owned: Vec<(&str, Vec<String>)> = given.iter().map(|(n, v)| (*n, v.iter().map(|v| (*v).into()).collect())).collect();
        Filters::new(owned.iter().map(|(n, v)| (Some(*n), v.as_slice())), FIELDS, true)
    }

    #[test]
    fn and_between_filters_or_between_values() {
        let tags = Tags([("Team".to_owned(), "red".to_owned())].into());
        let row = Row("web", 8);
        for (given, expected) in [
            (&[][..], true),
            (&[("name", &["db", "web"][..])], true),
            (&[("name", &["web"]), ("size", &["9"])], false),
            (&[("name", &["w*"]), ("size", &["8"])], true),
            (&[("tag:Team", &["red", "blue"])], true),
            (&[("tag:team", &["red"])], false),
            (&[("tag:Team", &["r??"]), ("tag-key", &["Te*"])], true),
            (&[("tag-key", &["red"])], false),
            (&[("tag-value", &["blue", "r*"])], true),
            (&[("tag-value", &["Team"])], false),
        ] {
            assert_eq!(filters(given).unwrap().matches(&row, &tags), expected, "{given:?}");
        }
    }

    #[test]
    fn what_is_refused() {
        let text = |given: &[(&str, &[&str])]| filters(given).map(drop).map_err(|e| (e.code(), e.to_string())).unwrap_err();
        assert_eq!(text(&[("colour", &["x"])]), ("InvalidParameterValue", "The filter 'colour' is invalid".into()));
        assert_eq!(text(&[("", &["x"])]), ("InvalidParameterValue", "The filter 'null' is invalid".into()));
        assert_eq!(text(&[("name", &[])]).0, "InvalidParameterValue");
        assert_eq!(text(&[("name", &["x"; 150]), ("size", &["1"; 51])]).0, "FilterLimitExceeded");
        assert_eq!(text(&[("name", &["x"][..]); 51]).0, "FilterLimitExceeded");
        assert_eq!(text(&[("name", &["x".repeat(256).as_str()])]).0, "FilterLimitExceeded");
        assert!(filters(&[("name", &["x"; 150]), ("size", &["1"; 50])]).is_ok());
    }
}
