//! Reading a policy ("Grammar of the IAM JSON policy language"; for buckets also "Bucket policies for Amazon S3").

use super::condition::Condition;
use super::json::Json;
use super::pattern::{Pattern, Syntax};
use super::{BUCKET_POLICY_BYTES_MAX, Document, Effect, IDENTITY_POLICY_BYTES_MAX, Kind, MalformedPolicy, Matches, Principals, Statement};
use super::{principal, s3};

/// The elements of a statement, each at most once.
const ELEMENTS: [&str; 9] = ["Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition"];

pub(super) fn parse(text: &str, kind: &Kind) -> Result<Document, MalformedPolicy> {
    parse_any(text, kind).map_err(|e| match kind {
        Kind::Bucket { .. } => e,
        Kind::Identity => e.of_identity(),
    })
}

fn parse_any(text: &str, kind: &Kind) -> Result<Document, MalformedPolicy> {
    let bytes_max = match kind {
        Kind::Bucket { .. } => BUCKET_POLICY_BYTES_MAX,
        Kind::Identity => IDENTITY_POLICY_BYTES_MAX,
    };
    if text.len() > bytes_max {
        return Err(MalformedPolicy::TooLarge);
    }
    if !text.starts_with('{') {
        return Err(MalformedPolicy::FirstByte);
    }
    let json: Json = serde_json::from_str(text).map_err(|_| MalformedPolicy::Json)?;
    let [version, _, statement] = elements(&json, ["Version", "Id", "Statement"])?;
    let variables = match (version.map(Json::text), kind) {
        (Some(Some("2012-10-17")), _) => true,
        (None | Some(Some("2008-10-17")), Kind::Bucket { .. }) => false,
        (None | Some(_), Kind::Bucket { .. } | Kind::Identity) => return Err(MalformedPolicy::Version),
    };
    let statements = match statement.ok_or(MalformedPolicy::Missing("Statement"))? {
        Json::List(all) => all.as_slice(),
        one @ Json::Object(_) => std::slice::from_ref(one),
        Json::Null | Json::Scalar(_) | Json::Text(_) => return Err(MalformedPolicy::Syntax),
    };
    if statements.is_empty() {
        return Err(MalformedPolicy::StatementEmpty);
    }
    let mut sids = std::collections::BTreeSet::new();
    let mut read = Vec::new();
    for (at, json) in statements.iter().enumerate() {
        let (sid, statement) = statement_parse(json, at + 1, kind, variables)?;
        if sid.is_some_and(|sid| !sids.insert(sid)) {
            return Err(MalformedPolicy::SidTwice);
        }
        read.push(statement);
    }
    Ok(Document { statements: read })
}

/// The members of an object that has no others, and none twice.
fn elements<'a, const N: usize>(json: &'a Json, names: [&'static str; N]) -> Result<[Option<&'a Json>; N], MalformedPolicy> {
    let mut found = [None; N];
    for (name, value) in json.members().ok_or(MalformedPolicy::Syntax)? {
        let at = names.iter().position(|n| n == name).ok_or_else(|| MalformedPolicy::Unknown(name.clone()))?;
        if found[at].replace(value).is_some() {
            return Err(MalformedPolicy::Twice(names[at]));
        }
    }
    Ok(found)
}

/// The statement's Sid, and the statement.
fn statement_parse<'a>(
    json: &'a Json,
    number: usize,
    kind: &Kind,
    variables: bool,
) -> Result<(Option<&'a str>, Statement), MalformedPolicy> {
    let [sid, effect, principal, not_principal, action, not_action, resource, not_resource, condition] = elements(json, ELEMENTS)?;
    let sid = sid.map(|sid| sid.text().ok_or(MalformedPolicy::Syntax)).transpose()?.filter(|sid| !sid.is_empty());
    let effect = match effect.ok_or(MalformedPolicy::Missing("Effect"))? {
        Json::Text(text) if text == "Allow" => Effect::Allow,
        Json::Text(text) if text == "Deny" => Effect::Deny,
        Json::Text(text) if text.is_empty() => return Err(MalformedPolicy::Empty("Effect")),
        Json::Text(other) | Json::Scalar(other) => return Err(MalformedPolicy::Effect(other.clone())),
        Json::Null | Json::List(_) | Json::Object(_) => return Err(MalformedPolicy::Syntax),
    };
    let principal = principals(principal, not_principal, effect, kind)?;
    let (action, actions) = either("Action", action, not_action, MalformedPolicy::Action)?;
    let (resource, resources) = either("Resource", resource, not_resource, MalformedPolicy::Resource)?;
    let conditions = condition.map_or(Ok(Vec::new()), |json| conditions_parse(json, variables))?;
    match kind {
        Kind::Bucket { bucket } => {
            s3::check(bucket, (action, &actions), (resource, &resources), conditions.iter().map(Condition::key))?;
        }
        Kind::Identity => identity_check(sid, &actions, &resources)?,
    }
    let matches = |negated, texts: &[&str], variables| {
        let syntax = Syntax { wildcards: true, variables };
        Matches { negated, patterns: texts.iter().map(|t| Pattern::new(t, syntax)).collect() }
    };
    let statement = Statement {
        name: sid.map_or_else(|| number.to_string(), Into::into),
        effect,
        principal,
        action: matches(action, &actions, false),
        resource: matches(resource, &resources, variables),
        conditions,
    };
    Ok((sid, statement))
}

fn principals(of: Option<&Json>, not_of: Option<&Json>, effect: Effect, kind: &Kind) -> Result<Principals, MalformedPolicy> {
    match (of, not_of, kind) {
        (None, None, Kind::Identity) => Ok(Principals::Attached),
        (_, _, Kind::Identity) => Err(MalformedPolicy::IdentityPrincipal),
        (Some(_), Some(_), Kind::Bucket { .. }) => Err(MalformedPolicy::Twice("Principal")),
        (None, None, Kind::Bucket { .. }) => Err(MalformedPolicy::Missing("Principal")),
        (Some(of), None, Kind::Bucket { .. }) => principal::parse(of, "Principal").map(Principals::Of),
        (None, Some(_), Kind::Bucket { .. }) if effect == Effect::Allow => Err(MalformedPolicy::AllowNotPrincipal),
        (None, Some(not_of), Kind::Bucket { .. }) => principal::parse(not_of, "NotPrincipal").map(Principals::NotOf),
    }
}

/// The texts of an element or of its `Not…`, and whether it is the latter.
fn either<'a>(
    name: &'static str,
    of: Option<&'a Json>,
    not_of: Option<&'a Json>,
    wrong: MalformedPolicy,
) -> Result<(bool, Vec<&'a str>), MalformedPolicy> {
    let (negated, json) = match (of, not_of) {
        (Some(_), Some(_)) => return Err(MalformedPolicy::Twice(name)),
        (Some(json), None) => (false, json),
        (None, Some(json)) => (true, json),
        (None, None) => return Err(MalformedPolicy::Missing(name)),
    };
    let texts = json.texts().ok_or(wrong)?;
    if texts.is_empty() {
        return Err(MalformedPolicy::Empty(name));
    }
    Ok((negated, texts))
}

fn conditions_parse(json: &Json, variables: bool) -> Result<Vec<Condition>, MalformedPolicy> {
    let mut all = Vec::new();
    let operators = json.members().ok_or(MalformedPolicy::Syntax)?;
    for (at, (operator, keys)) in operators.iter().enumerate() {
        let keys = keys.members().ok_or(MalformedPolicy::Syntax)?;
        // A second block of one operator, or a key twice in one, would be forgotten by most readers of JSON: none must think that
        // a policy says less than it does here.
        let twice = operators[..at].iter().any(|(o, _)| o == operator)
            || keys.iter().enumerate().any(|(i, (key, _))| keys[..i].iter().any(|(k, _)| k.eq_ignore_ascii_case(key)));
        if twice {
            return Err(MalformedPolicy::Twice("Condition"));
        }
        for (key, values) in keys {
            let values = values.scalars().filter(|v| !v.is_empty()).ok_or(MalformedPolicy::Syntax)?;
            all.push(Condition::parse(operator, key, &values, variables)?);
        }
    }
    Ok(all)
}

/// What IAM asks of a statement beyond the grammar.
fn identity_check(sid: Option<&str>, actions: &[&str], resources: &[&str]) -> Result<(), MalformedPolicy> {
    // "Sid": upper- and lower-case letters and digits.
    if sid.is_some_and(|sid| !sid.bytes().all(|b| b.is_ascii_alphanumeric())) {
        return Err(MalformedPolicy::IdentitySyntax);
    }
    let is_action = |a: &&str| *a == "*" || a.split_once(':').is_some_and(|(service, name)| !service.is_empty() && !name.is_empty());
    if !actions.iter().all(is_action) {
        return Err(MalformedPolicy::IdentityAction);
    }
    match resources.iter().find(|r| **r != "*" && !r.starts_with("arn:")) {
        Some(wrong) => Err(MalformedPolicy::IdentityResource((*wrong).into())),
        None => Ok(()),
    }
}
