use super::*;
use proptest::prelude::*;
use proptest::sample::select;

fn principal() -> impl Strategy<Value = &'static str> {
    select(vec![r#""*""#, r#"{"AWS":"111122223333"}"#, r#"{"AWS":"arn:aws:iam::111122223333:user/Bob"}"#, r#"{"AWS":["444455556666"]}"#])
}

fn condition() -> impl Strategy<Value = String> {
    let operator = select(vec![
        "StringEquals",
        "StringNotLike",
        "ForAllValues:StringLike",
        "ForAnyValue:StringNotEquals",
        "StringLikeIfExists",
        "ArnLike",
    ]);
    let value = select(vec!["a", "*", "a*", "${aws:username}", "${*}", "${aws:username, 'a'}", "arn:aws:*:*:*:a"]);
    (operator, value).prop_map(|(operator, value)| format!(r#","Condition":{{"{operator}":{{"aws:K":"{value}"}}}}"#))
}

/// A statement that is refused for nothing.
fn statement() -> impl Strategy<Value = String> {
    let action = select(vec![r#""Action":"s3:*""#, r#""Action":"s3:GetObject""#, r#""NotAction":"s3:Put*""#, r#""Action":["*"]"#]);
    let resource =
        select(vec![r#""Resource":"arn:aws:s3:::b*""#, r#""Resource":"arn:aws:s3:::b/k""#, r#""NotResource":"arn:aws:s3:::b/x*""#]);
    (select(vec!["Allow", "Deny"]), principal(), action, resource, proptest::option::of(condition())).prop_map(
        |(effect, principal, action, resource, condition)| {
            format!(r#"{{"Effect":"{effect}","Principal":{principal},{action},{resource}{}}}"#, condition.unwrap_or_default())
        },
    )
}

fn is_denied(statements: &[String], who: Principal<'_>, keys: &[(&str, &str)]) -> bool {
    matches!(ask(&document(&statements.join(",")), who, "s3:GetObject", "arn:aws:s3:::b/k", keys), Verdict::Deny { .. })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_denied_stays_denied(
        statements in proptest::collection::vec(statement(), 1..4),
        more in proptest::collection::vec(statement(), 0..4),
        at in any::<proptest::sample::Index>(),
        user in any::<bool>(),
        value in proptest::option::of(select(vec!["a", "ab", "", "arn:aws:s3:::a"])),
    ) {
        let one = account(ONE);
        let who = if user { Principal::User { account: &one, arn: BOB, id: "AIDACKCEVSQ6C2EXAMPLE" } } else { Principal::Account(&one) };
        let keys: Vec<(&str, &str)> = value.into_iter().map(|v| ("aws:k", v)).collect();
        let mut all = statements.clone();
        let at = at.index(all.len() + 1);
        all.splice(at..at, more.clone());
        let denied = is_denied(&statements, who, &keys);
        prop_assert_eq!(is_denied(&all, who, &keys), denied || !more.is_empty() && is_denied(&more, who, &keys));
    }

    /// Parts of a good document cut, doubled and swapped for others: refused or read, never a panic, and what is read is evaluated.
    #[test]
    fn no_document_is_a_panic(
        statements in proptest::collection::vec(statement(), 1..3),
        edits in proptest::collection::vec((any::<proptest::sample::Index>(), any::<proptest::sample::Index>(), "[\\[\\]{}\":,*?$'/A-Za-z0-9é\\\\]{0,4}"), 0..6),
        resource in ".{0,30}",
        value in ".{0,10}",
    ) {
        let mut text: Vec<char> = format!(r#"{{"Version":"2012-10-17","Statement":[{}]}}"#, statements.join(",")).chars().collect();
        for (from, length, new) in edits {
            let from = from.index(text.len());
            let to = (from + length.index(8)).min(text.len());
            text.splice(from..to, new.chars());
            if text.is_empty() {
                text.push('{');
            }
        }
        let text: String = text.into_iter().collect();
        for kind in [bucket(), Kind::Identity] {
            if let Ok(d) = Document::parse(&text, &kind) {
                _ = d.is_public();
                _ = ask(&d, Principal::Anonymous, &value, &resource, &[("aws:k", &value), ("aws:username", &value)]);
            }
        }
    }

    #[test]
    fn no_text_is_a_panic(text in ".{0,60}", value in ".{0,40}") {
        for syntax in [(true, true), (false, true), (true, false)] {
            let pattern = Pattern::new(&text, pattern::Syntax { wildcards: syntax.0, variables: syntax.1 });
            _ = pattern.matches(&value, pattern::Case::Ignored, &|_| Some(vec![text.clone()]));
            _ = pattern.matches_arn(&value, true, &|_| None);
        }
        _ = (value::number(&text), value::date(&text), value::net(&text));
        _ = Document::parse(&format!("{{{text}"), &bucket());
    }

    /// A text is matched as the obvious recursion matches it.
    #[test]
    fn wildcards(pattern in "[ab*?]{0,8}", text in "[ab]{0,8}") {
        fn slow(p: &[u8], t: &[u8]) -> bool {
            match (p.first(), t.first()) {
                (None, None) => true,
                (Some(b'*'), _) => slow(&p[1..], t) || !t.is_empty() && slow(p, &t[1..]),
                (Some(b'?'), Some(_)) => slow(&p[1..], &t[1..]),
                (Some(a), Some(b)) => a == b && slow(&p[1..], &t[1..]),
                (None, Some(_)) | (Some(_), None) => false,
            }
        }
        let read = Pattern::new(&pattern, pattern::Syntax { wildcards: true, variables: false });
        let found = read.matches(&text, pattern::Case::Exact, &|_| None);
        prop_assert_eq!(found, slow(pattern.as_bytes(), text.as_bytes()));
    }
}
