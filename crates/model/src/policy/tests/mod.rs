//! What AWS's pages say of policies, as tables. The pages' titles are at the tests.
#![allow(clippy::unwrap_used)]

mod conditions;
mod evaluation;
mod parsing;
mod properties;
mod public;

use super::*;

fn bucket() -> Kind {
    Kind::Bucket { bucket: "b".into() }
}

fn account(id: &str) -> AccountId {
    id.parse().unwrap()
}

const ONE: &str = "111122223333";
const TWO: &str = "444455556666";
const BOB: &str = "arn:aws:iam::111122223333:user/Bob";

/// A document of these statements for bucket `b`, of version 2012-10-17.
fn document(statements: &str) -> Document {
    Document::parse(&format!(r#"{{"Version":"2012-10-17","Statement":[{statements}]}}"#), &bucket())
        .unwrap_or_else(|e| panic!("{e}: {statements}"))
}

/// What a document says of a request whose context is `keys`; several values of a key are several pairs.
fn ask(document: &Document, principal: Principal<'_>, action: &str, resource: &str, keys: &[(&str, &str)]) -> Verdict {
    let context = |key: &str| {
        let values: Vec<String> = keys.iter().filter(|(k, _)| *k == key).map(|(_, v)| (*v).to_owned()).collect();
        (!values.is_empty()).then_some(values)
    };
    document.evaluate(&Request { principal, action, resource, context: &context })
}

fn allow(statement: &str) -> Verdict {
    Verdict::Allow { statement: statement.into() }
}

fn deny(statement: &str) -> Verdict {
    Verdict::Deny { statement: statement.into() }
}
