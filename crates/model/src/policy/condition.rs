//! The conditions of a statement ("AWS JSON policy elements: Condition operators", "Set operators for multivalued context keys").
//!
//! Without its key in the request an operator doesn't match: false, or true if it is negated (`StringNotEquals` and the like).
//! `…IfExists` is then true, `ForAllValues:` true, `ForAnyValue:` false. Several values of a condition are alternatives; of a negated
//! one none may match. A key of several values without a set operator, which AWS leaves open, is taken as: any of them.

use super::pattern::{Case, Pattern, Syntax};
use super::value::{self, Nets};
use super::{Context, MalformedPolicy};
use ipnet::IpNet;

/// One operator on one key.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Condition {
    set: Set,
    if_exists: bool,
    negated: bool,
    /// In lower case, for keys have no case; what follows a slash is a tag's key and stays as it is.
    key: String,
    test: Test,
}

/// How a key of many values is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Set {
    No,
    ForAllValues,
    ForAnyValue,
}

/// What is compared with, and how.
#[derive(Debug, Clone, PartialEq)]
enum Test {
    Text(Vec<Pattern>, Case),
    Arn(Vec<Pattern>),
    Number(Relation, Vec<i128>),
    Date(Relation, Vec<i64>),
    Bool(Vec<bool>),
    Binary(Vec<Vec<u8>>),
    Address(Nets),
    /// `true`: the key must be absent.
    Null(Vec<bool>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    Equals,
    LessThan,
    LessThanEquals,
    GreaterThan,
    GreaterThanEquals,
}

impl Relation {
    fn holds<T: Ord>(self, left: T, right: T) -> bool {
        match self {
            Self::Equals => left == right,
            Self::LessThan => left < right,
            Self::LessThanEquals => left <= right,
            Self::GreaterThan => left > right,
            Self::GreaterThanEquals => left >= right,
        }
    }

    /// The relation that the end of an operator's name says, and whether it is negated.
    fn named(name: &str) -> Option<(Self, bool)> {
        Some(match name {
            "Equals" => (Self::Equals, false),
            "NotEquals" => (Self::Equals, true),
            "LessThan" => (Self::LessThan, false),
            "LessThanEquals" => (Self::LessThanEquals, false),
            "GreaterThan" => (Self::GreaterThan, false),
            "GreaterThanEquals" => (Self::GreaterThanEquals, false),
            _ => return None,
        })
    }
}

impl Condition {
    /// Reads one operator on one key. `variables`: whether texts may have them.
    pub(super) fn parse(operator: &str, key: &str, values: &[&str], variables: bool) -> Result<Self, MalformedPolicy> {
        let (set, name) = match operator.split_once(':') {
            None => (Set::No, operator),
            Some(("ForAllValues", name)) => (Set::ForAllValues, name),
            Some(("ForAnyValue", name)) => (Set::ForAnyValue, name),
            Some(_) => return Err(MalformedPolicy::Operator(operator.into())),
        };
        let (name, if_exists) = name.strip_suffix("IfExists").map_or((name, false), |name| (name, true));
        // Null asks whether a key exists; that it exists isn't its condition, nor has it values to take apart.
        if name == "Null" && (if_exists || set != Set::No) {
            return Err(MalformedPolicy::Operator(operator.into()));
        }
        let Some((test, negated)) = test(name, values, variables) else {
            return Err(MalformedPolicy::Operator(operator.into()));
        };
        let test = test.map_err(|BadValue| match name {
            "IpAddress" | "NotIpAddress" => MalformedPolicy::Address,
            _ => MalformedPolicy::ConditionValue(operator.into()),
        })?;
        Ok(Self { set, if_exists, negated, key: lower(key), test })
    }

    /// Whether it holds in these circumstances.
    pub(super) fn holds(&self, context: Context<'_>) -> bool {
        let values = context(&self.key).unwrap_or_default();
        if let Test::Null(wanted) = &self.test {
            return wanted.contains(&values.is_empty());
        }
        let each = |value: &String| self.test.matches(value, context) != self.negated;
        // To the set operators an empty text is no value ("a null data set, such as an empty string").
        let absent = values.is_empty() || self.set != Set::No && values.iter().all(String::is_empty);
        match self.set {
            _ if absent && self.if_exists => true,
            Set::ForAllValues => absent || values.iter().all(each),
            Set::ForAnyValue => !absent && values.iter().any(each),
            Set::No if absent || self.negated => self.negated && values.iter().all(each),
            Set::No => values.iter().any(each),
        }
    }

    /// The key, in lower case but for a tag's.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// Whether it can't hold for a request without the key.
    pub(super) fn fails_without_key(&self) -> bool {
        !self.if_exists && !self.negated && self.set != Set::ForAllValues
    }

    /// What a text or ARN is compared with.
    pub(super) fn patterns(&self) -> Option<&[Pattern]> {
        match &self.test {
            Test::Text(patterns, _) | Test::Arn(patterns) => Some(patterns),
            Test::Number(..) | Test::Date(..) | Test::Bool(_) | Test::Binary(_) | Test::Address(_) | Test::Null(_) => None,
        }
    }

    /// What an address is compared with.
    pub(super) fn networks(&self) -> Option<&Nets> {
        match &self.test {
            Test::Address(nets) => Some(nets),
            Test::Text(..) | Test::Arn(_) | Test::Number(..) | Test::Date(..) | Test::Bool(_) | Test::Binary(_) | Test::Null(_) => None,
        }
    }
}

/// A key in lower case, but for the key of a tag in it.
pub(super) fn lower(key: &str) -> String {
    key.split_once('/').map_or_else(|| key.to_lowercase(), |(name, tag)| format!("{}/{tag}", name.to_lowercase()))
}

/// A value that the operator can't compare.
struct BadValue;

/// The test of an operator's name, without set operator and `IfExists`, and whether it is negated. `None`: no such operator.
fn test(name: &str, values: &[&str], variables: bool) -> Option<(Result<Test, BadValue>, bool)> {
    let texts = |wildcards| -> Vec<Pattern> { values.iter().map(|v| Pattern::new(v, Syntax { wildcards, variables })).collect() };
    let relation = |rest: &str, test: fn(Relation, &[&str]) -> Result<Test, BadValue>| {
        Relation::named(rest).map(|(relation, negated)| (test(relation, values), negated))
    };
    if let Some(rest) = name.strip_prefix("Numeric") {
        return relation(rest, |relation, values| Ok(Test::Number(relation, all(values, value::number)?)));
    }
    if let Some(rest) = name.strip_prefix("Date") {
        return relation(rest, |relation, values| Ok(Test::Date(relation, all(values, value::date)?)));
    }
    Some(match name {
        "StringEquals" => (Ok(Test::Text(texts(false), Case::Exact)), false),
        "StringNotEquals" => (Ok(Test::Text(texts(false), Case::Exact)), true),
        "StringEqualsIgnoreCase" => (Ok(Test::Text(texts(false), Case::Ignored)), false),
        "StringNotEqualsIgnoreCase" => (Ok(Test::Text(texts(false), Case::Ignored)), true),
        "StringLike" => (Ok(Test::Text(texts(true), Case::Exact)), false),
        "StringNotLike" => (Ok(Test::Text(texts(true), Case::Exact)), true),
        "ArnEquals" | "ArnLike" => (Ok(Test::Arn(texts(true))), false),
        "ArnNotEquals" | "ArnNotLike" => (Ok(Test::Arn(texts(true))), true),
        "Bool" => (all(values, value::boolean).map(Test::Bool), false),
        "BinaryEquals" => (all(values, value::bytes).map(Test::Binary), false),
        "IpAddress" => (all(values, value::net).map(Test::Address), false),
        "NotIpAddress" => (all(values, value::net).map(Test::Address), true),
        "Null" => (all(values, value::boolean).map(Test::Null), false),
        _ => return None,
    })
}

fn all<T>(values: &[&str], read: fn(&str) -> Option<T>) -> Result<Vec<T>, BadValue> {
    values.iter().map(|v| read(v).ok_or(BadValue)).collect()
}

impl Test {
    /// Whether a value of the request matches one of the condition's, negation left aside. A value that isn't of the operator's type
    /// matches none.
    fn matches(&self, value: &str, context: Context<'_>) -> bool {
        match self {
            Self::Text(patterns, case) => patterns.iter().any(|p| p.matches(value, *case, context)),
            Self::Arn(patterns) => patterns.iter().any(|p| p.matches_arn(value, false, context)),
            Self::Number(relation, wanted) => value::number(value).is_some_and(|v| wanted.iter().any(|w| relation.holds(v, *w))),
            Self::Date(relation, wanted) => value::date(value).is_some_and(|v| wanted.iter().any(|w| relation.holds(v, *w))),
            Self::Bool(wanted) => value::boolean(value).is_some_and(|v| wanted.contains(&v)),
            Self::Binary(wanted) => value::bytes(value).is_some_and(|v| wanted.contains(&v)),
            Self::Address(nets) => nets.iter().any(|net: &IpNet| value::contains(net, value)),
            Self::Null(_) => false,
        }
    }
}
