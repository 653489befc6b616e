//! Texts of a policy with wildcards and variables ("Policy variables", "Resource" in the IAM JSON policy elements reference).

use super::Context;
use std::borrow::Cow;

/// A text in which `*` is any text, `?` any one character, and `${key}` a value of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Char(char),
    AnyText,
    AnyChar,
    Variable {
        /// The condition key, in lower case.
        key: String,
        default: Option<String>,
    },
}

/// What of a text has a meaning of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Syntax {
    /// `*` and `?`.
    pub(super) wildcards: bool,
    /// `${…}`: only in documents of version 2012-10-17.
    pub(super) variables: bool,
}

impl Pattern {
    /// Reads a text. What only looks like a variable stands for itself.
    pub(super) fn new(text: &str, syntax: Syntax) -> Self {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            if syntax.variables
                && let Some((piece, after)) = variable(rest)
            {
                pieces.push(piece);
                rest = after;
                continue;
            }
            pieces.push(match c {
                '*' if syntax.wildcards => Piece::AnyText,
                '?' if syntax.wildcards => Piece::AnyChar,
                c => Piece::Char(c),
            });
            rest = &rest[c.len_utf8()..];
        }
        Self(pieces)
    }

    /// Whether the whole text matches. A variable that the request has no single value for matches nothing.
    pub(super) fn matches(&self, text: &str, case: Case, context: Context<'_>) -> bool {
        let text: Vec<char> = text.chars().collect();
        substitute(&self.0, context).is_some_and(|pieces| glob(&pieces, &text, case))
    }

    /// Whether an ARN matches, each of its six parts for itself, so that a wildcard in one doesn't reach into the next.
    /// `padded`: parts missing at the end of the pattern are `*` ("Incomplete ARN" of Resource; not so in conditions).
    pub(super) fn matches_arn(&self, arn: &str, padded: bool, context: Context<'_>) -> bool {
        if self.0 == [Piece::AnyText] {
            return true;
        }
        let wanted = self.parts();
        let parts: Vec<&str> = arn.splitn(ARN_PARTS, ':').collect();
        if parts.len() < ARN_PARTS || (wanted.len() < ARN_PARTS && !padded) {
            return false;
        }
        // Parts before values: a colon in a variable's value doesn't begin a new part.
        wanted.iter().zip(parts).all(|(pieces, part)| {
            let part: Vec<char> = part.chars().collect();
            substitute(pieces, context).is_some_and(|pieces| glob(&pieces, &part, Case::Exact))
        })
    }

    fn parts(&self) -> Vec<&[Piece]> {
        self.0.splitn(ARN_PARTS, |piece| *piece == Piece::Char(':')).collect()
    }

    /// Whether it has neither wildcard nor variable, and doesn't look as if: `*` in an operator without wildcards is no fixed value
    /// that anybody means.
    pub(super) fn is_fixed(&self) -> bool {
        fixed(&self.0)
    }

    /// Whether the account of an ARN is fixed, whatever the rest.
    pub(super) fn is_account_fixed(&self) -> bool {
        self.parts().get(ARN_ACCOUNT).is_some_and(|part| !part.is_empty() && fixed(part))
    }
}

/// Parts of an ARN: `arn:partition:service:region:account:resource`.
const ARN_PARTS: usize = 6;
/// Which of them is the account.
const ARN_ACCOUNT: usize = 4;

/// Whether capital letters differ from small ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Case {
    /// They do.
    Exact,
    /// They don't.
    Ignored,
}

fn fixed(pieces: &[Piece]) -> bool {
    pieces.iter().all(|piece| match piece {
        Piece::Char(c) => !matches!(c, '*' | '?'),
        Piece::AnyText | Piece::AnyChar | Piece::Variable { .. } => false,
    })
}

/// The variable that a text begins with, and the text after it. `${*}`, `${?}` and `${$}` are the characters themselves;
/// `${key, 'default'}` has a value even if the request has none.
fn variable(text: &str) -> Option<(Piece, &str)> {
    let (inside, after) = text.strip_prefix("${")?.split_once('}')?;
    if let "*" | "?" | "$" = inside {
        return Some((Piece::Char(inside.chars().next()?), after));
    }
    let (key, default) = match inside.split_once(',') {
        Some((key, default)) => (key, Some(default.trim().strip_prefix('\'')?.strip_suffix('\'')?.to_owned())),
        None => (inside, None),
    };
    let key = key.trim();
    if key.is_empty() || key.contains(['$', '{']) {
        return None;
    }
    Some((Piece::Variable { key: super::condition::lower(key), default }, after))
}

/// The pieces with the request's values in place of variables. Wildcards in a value are characters: who can choose a tag mustn't
/// choose what the policy matches.
fn substitute<'a>(pieces: &'a [Piece], context: Context<'_>) -> Option<Cow<'a, [Piece]>> {
    if !pieces.iter().any(|p| matches!(p, Piece::Variable { .. })) {
        return Some(Cow::Borrowed(pieces));
    }
    let mut all = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Variable { key, default } => {
                // A key of several values can't be a variable ("Policy variables": multivalued keys).
                let value = match context(key).as_deref() {
                    Some([one]) => Some(one.clone()),
                    Some(_) | None => None,
                };
                all.extend(value.or_else(|| default.clone())?.chars().map(Piece::Char));
            }
            Piece::Char(_) | Piece::AnyText | Piece::AnyChar => all.push(piece.clone()),
        }
    }
    Some(Cow::Owned(all))
}

/// Matches with one way back, to the last `*`: the work is bounded by pattern × text, whatever the pattern.
fn glob(pieces: &[Piece], text: &[char], case: Case) -> bool {
    let (mut at, mut seen, mut back) = (0, 0, None);
    while seen < text.len() {
        let here = match pieces.get(at) {
            Some(Piece::AnyText) => {
                at += 1;
                back = Some((at, seen));
                continue;
            }
            Some(Piece::AnyChar) => true,
            Some(Piece::Char(c)) => same(*c, text[seen], case),
            Some(Piece::Variable { .. }) | None => false,
        };
        if here {
            (at, seen) = (at + 1, seen + 1);
        } else if let Some((after_star, from)) = back {
            (at, seen) = (after_star, from + 1);
            back = Some((after_star, from + 1));
        } else {
            return false;
        }
    }
    pieces[at..].iter().all(|piece| *piece == Piece::AnyText)
}

fn same(a: char, b: char, case: Case) -> bool {
    match case {
        Case::Exact => a == b,
        Case::Ignored => a == b || a.to_lowercase().eq(b.to_lowercase()),
    }
}
