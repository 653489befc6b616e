use super::*;

/// Whether a condition holds in these circumstances.
fn holds(condition: &str, keys: &[(&str, &str)]) -> bool {
    let d = document(&format!(
        r#"{{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*","Condition":{{{condition}}}}}"#
    ));
    ask(&d, Principal::Anonymous, "s3:GetObject", "arn:aws:s3:::b/k", keys) == allow("1")
}

/// `operator`, its values as JSON, the value of `aws:k` in the request, whether it holds.
fn table(rows: &[(&str, &str, &str, bool)]) {
    for (operator, values, given, expected) in rows {
        assert_eq!(holds(&format!(r#""{operator}":{{"aws:K":{values}}}"#), &[("aws:k", given)]), *expected, "{operator} {values} {given}");
    }
}

/// "AWS JSON policy elements: Condition operators", one table a type.
#[test]
fn texts() {
    table(&[
        ("StringEquals", r#""a""#, "a", true),
        ("StringEquals", r#""a""#, "A", false),
        ("StringEquals", r#"["a","b"]"#, "b", true),
        ("StringEquals", r#""a*""#, "ab", false),
        ("StringEquals", r#""""#, "", true),
        ("StringEquals", "1", "1", true),
        ("StringNotEquals", r#""a""#, "a", false),
        ("StringNotEquals", r#"["a","b"]"#, "b", false),
        ("StringNotEquals", r#"["a","b"]"#, "c", true),
        ("StringEqualsIgnoreCase", r#""Ärger""#, "äRGER", true),
        ("StringNotEqualsIgnoreCase", r#""a""#, "A", false),
        ("StringLike", r#""a*c?""#, "abbcd", true),
        ("StringLike", r#""a*c?""#, "Abbcd", false),
        ("StringLike", r#""a${*}""#, "ab", false),
        ("StringLike", r#""a${*}""#, "a*", true),
        ("StringNotLike", r#"["a*","b*"]"#, "bx", false),
        ("StringNotLike", r#"["a*","b*"]"#, "cx", true),
    ]);
}

#[test]
fn arns() {
    let arn = "arn:aws:sns:us-east-1:111122223333:topic:x";
    for operator in ["ArnEquals", "ArnLike"] {
        table(&[
            (operator, &format!("{arn:?}"), arn, true),
            (operator, r#""arn:aws:sns:*:111122223333:t*""#, arn, true),
            // A wildcard doesn't reach over a colon, but in the last part.
            (operator, r#""arn:aws:sns:*:topic:x""#, arn, false),
            (operator, r#""arn:aws:sns:*""#, arn, false),
            (operator, r#""*""#, arn, true),
            (operator, r#""arn:aws:sns:*:111122223333:t*""#, "no arn", false),
        ]);
    }
    for operator in ["ArnNotEquals", "ArnNotLike"] {
        table(&[(operator, r#""arn:aws:sns:*:111122223333:t*""#, arn, false), (operator, r#""arn:aws:sqs:*:111122223333:t*""#, arn, true)]);
    }
}

#[test]
fn numbers() {
    table(&[
        ("NumericEquals", r#""10""#, "10.0", true),
        ("NumericEquals", "10", "10", true),
        ("NumericEquals", r#"["1","2"]"#, "2", true),
        // Beyond what a float tells apart.
        ("NumericEquals", r#""9007199254740993""#, "9007199254740992", false),
        ("NumericEquals", r#""10""#, "ten", false),
        ("NumericNotEquals", r#""10""#, "10", false),
        ("NumericNotEquals", r#""10""#, "ten", true),
        ("NumericLessThan", r#""1.2""#, "1.1", true),
        ("NumericLessThan", r#""1.2""#, "1.2", false),
        ("NumericLessThanEquals", r#""1.2""#, "1.20", true),
        ("NumericGreaterThan", r#""-1""#, "-0.5", true),
        ("NumericGreaterThanEquals", r#""1000""#, "1000", true),
        ("NumericGreaterThanEquals", r#""1000""#, "999", false),
    ]);
}

#[test]
fn dates() {
    table(&[
        ("DateEquals", r#""2020-04-01T00:00:00Z""#, "2020-04-01T02:00:00+02:00", true),
        ("DateEquals", r#""2020-04-01""#, "2020-04-01T00:00:00Z", true),
        ("DateEquals", r#""2020""#, "2020-01", true),
        ("DateEquals", r#""1585699200""#, "2020-04-01T00:00:00Z", true),
        ("DateNotEquals", r#""2020-04-01""#, "2020-04-02", true),
        ("DateLessThan", r#""2020-04-01T00:00:01Z""#, "2020-04-01T00:00:00.999Z", true),
        ("DateLessThanEquals", r#""2020-04-01""#, "2020-04-01", true),
        ("DateGreaterThan", r#""2020-04-01T00:00Z""#, "2020-04-01T00:00:00Z", false),
        ("DateGreaterThan", "1585699200", "1585699201", true),
        ("DateGreaterThanEquals", r#""2020-04-01""#, "whenever", false),
    ]);
}

#[test]
fn others() {
    table(&[
        ("Bool", r#""true""#, "true", true),
        ("Bool", "true", "True", true),
        ("Bool", r#""false""#, "true", false),
        ("Bool", "false", "perhaps", false),
        ("BinaryEquals", r#""QmluYXJ5VmFsdWVJbkJhc2U2NA==""#, "QmluYXJ5VmFsdWVJbkJhc2U2NA==", true),
        ("BinaryEquals", r#""QQ==""#, "Qg==", false),
        ("IpAddress", r#""203.0.113.0/24""#, "203.0.113.9", true),
        ("IpAddress", r#""203.0.113.7/24""#, "203.0.113.9", true),
        ("IpAddress", r#"["10.0.0.0/8","203.0.113.9"]"#, "203.0.113.9", true),
        ("IpAddress", r#""203.0.113.0/24""#, "203.0.114.1", false),
        ("IpAddress", r#""203.0.113.0/24""#, "::ffff:203.0.113.9", true),
        ("IpAddress", r#""2001:db8::/32""#, "2001:db8:1::1", true),
        ("IpAddress", r#""2001:db8::/32""#, "203.0.113.9", false),
        ("NotIpAddress", r#"["10.0.0.0/8","203.0.113.0/24"]"#, "203.0.113.9", false),
        ("NotIpAddress", r#"["10.0.0.0/8","203.0.113.0/24"]"#, "192.0.2.1", true),
        ("Null", r#""true""#, "x", false),
        ("Null", "false", "", true),
    ]);
}

/// "If the key that you specify in a policy condition is not present in the request context …".
#[test]
fn absent_keys() {
    for (operator, value, expected) in [
        ("StringEquals", r#""a""#, false),
        ("StringLike", r#""*""#, false),
        ("StringNotEquals", r#""a""#, true),
        ("StringNotLike", r#""*""#, true),
        ("ArnLike", r#""*""#, false),
        ("ArnNotEquals", r#""*""#, true),
        ("NumericLessThan", "1", false),
        ("NumericNotEquals", "1", true),
        ("DateLessThan", r#""2020""#, false),
        ("Bool", "false", false),
        ("IpAddress", r#""0.0.0.0/0""#, false),
        ("NotIpAddress", r#""0.0.0.0/0""#, true),
        ("Null", "true", true),
        ("Null", "false", false),
        ("StringEqualsIfExists", r#""a""#, true),
        ("BoolIfExists", "true", true),
        ("NotIpAddressIfExists", r#""10.0.0.0/8""#, true),
        ("ForAllValues:StringEquals", r#""a""#, true),
        ("ForAllValues:StringNotEquals", r#""a""#, true),
        ("ForAnyValue:StringEquals", r#""a""#, false),
        ("ForAnyValue:StringNotEquals", r#""a""#, false),
        ("ForAnyValue:StringEqualsIfExists", r#""a""#, true),
    ] {
        assert_eq!(holds(&format!(r#""{operator}":{{"aws:K":{value}}}"#), &[]), expected, "{operator}");
    }
    assert!(!holds(r#""StringEqualsIfExists":{"aws:K":"a"}"#, &[("aws:k", "b")]));
}

/// "Set operators for multivalued context keys".
#[test]
fn sets() {
    for (operator, values, given, expected) in [
        ("ForAllValues:StringEquals", r#"["a","b"]"#, &["a", "b"][..], true),
        ("ForAllValues:StringEquals", r#"["a","b"]"#, &["a"], true),
        ("ForAllValues:StringEquals", r#"["a","b"]"#, &["a", "c"], false),
        ("ForAllValues:StringNotEquals", r#"["a","b"]"#, &["c", "d"], true),
        ("ForAllValues:StringNotEquals", r#"["a","b"]"#, &["c", "a"], false),
        ("ForAllValues:StringEquals", r#""a""#, &[""], true),
        ("ForAnyValue:StringEquals", r#"["a","b"]"#, &["c", "b"], true),
        ("ForAnyValue:StringEquals", r#"["a","b"]"#, &["c", "d"], false),
        ("ForAnyValue:StringNotEquals", r#"["a","b"]"#, &["a", "c"], true),
        ("ForAnyValue:StringNotEquals", r#"["a","b"]"#, &["a", "b"], false),
        ("ForAnyValue:StringLike", r#""x*""#, &["a", "xy"], true),
        ("ForAnyValue:StringEquals", r#""""#, &[""], false),
        ("StringEquals", r#""a""#, &["b", "a"], true),
        ("StringNotEquals", r#""a""#, &["b", "a"], false),
    ] {
        let keys: Vec<(&str, &str)> = given.iter().map(|v| ("aws:k", *v)).collect();
        assert_eq!(holds(&format!(r#""{operator}":{{"aws:K":{values}}}"#), &keys), expected, "{operator} {values} {given:?}");
    }
}

/// All operators and all keys of each must hold; variables in values, without value: neither equal nor alike.
#[test]
fn together() {
    let both = r#""StringEquals":{"aws:A":"1","aws:B":"2"},"Bool":{"aws:C":"true"}"#;
    assert!(holds(both, &[("aws:a", "1"), ("aws:b", "2"), ("aws:c", "true")]));
    assert!(!holds(both, &[("aws:a", "1"), ("aws:b", "3"), ("aws:c", "true")]));
    assert!(!holds(both, &[("aws:a", "1"), ("aws:b", "2"), ("aws:c", "false")]));
    assert!(holds(r#""StringLike":{"aws:A":"${aws:username}/*"}"#, &[("aws:a", "bob/x"), ("aws:username", "bob")]));
    assert!(!holds(r#""StringLike":{"aws:A":"${aws:username}/*"}"#, &[("aws:a", "/x")]));
    assert!(holds(r#""StringNotLike":{"aws:A":"${aws:username}/*"}"#, &[("aws:a", "/x")]));
    // The key of a tag keeps its case: tags may be twins but for it.
    let tag = r#""StringEquals":{"s3:ExistingObjectTag/Security":"public"}"#;
    assert!(holds(tag, &[("s3:existingobjecttag/Security", "public")]));
}

#[test]
fn what_is_refused() {
    let refusal = |condition: &str| {
        let statement = format!(
            r#"{{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*","Condition":{condition}}}"#
        );
        Document::parse(&format!(r#"{{"Statement":{statement}}}"#), &bucket()).unwrap_err().to_string()
    };
    for (condition, expected) in [
        (r#"{"StringEqual":{"aws:K":"a"}}"#, "Invalid Condition type : StringEqual"),
        (r#"{"stringequals":{"aws:K":"a"}}"#, "Invalid Condition type : stringequals"),
        (r#"{"NumericLike":{"aws:K":"1"}}"#, "Invalid Condition type : NumericLike"),
        (r#"{"NullIfExists":{"aws:K":"true"}}"#, "Invalid Condition type : NullIfExists"),
        (r#"{"ForSomeValues:StringEquals":{"aws:K":"a"}}"#, "Invalid Condition type : ForSomeValues:StringEquals"),
        (r#"{"IpAddress":{"aws:SourceIp":"10.0.0/8"}}"#, "Invalid IP address in Conditions"),
        (r#"{"NotIpAddressIfExists":{"aws:SourceIp":"x"}}"#, "Invalid IP address in Conditions"),
        (r#"{"NumericEquals":{"aws:K":"x"}}"#, "Invalid value in Conditions for NumericEquals"),
        (r#"{"Bool":{"aws:K":"yes"}}"#, "Invalid value in Conditions for Bool"),
        (r#"{"DateEquals":{"aws:K":"2020-13"}}"#, "Invalid value in Conditions for DateEquals"),
        (r#"{"StringEquals":{"aws:K":null}}"#, "Invalid policy syntax."),
        (r#"{"StringEquals":{"aws:K":[]}}"#, "Invalid policy syntax."),
        (r#"{"StringEquals":{"aws:K":[["a"]]}}"#, "Invalid policy syntax."),
        (r#"{"StringEquals":"a"}"#, "Invalid policy syntax."),
        (r#"{"StringEquals":{"K":"a"}}"#, "Policy has an invalid condition key"),
        (r#"{"StringEquals":{"aws:K":"a","AWS:k":"b"}}"#, "Statement/policy already has instance of Condition"),
        (r#"{"Bool":{"aws:K":"true"},"Bool":{"aws:L":"true"}}"#, "Statement/policy already has instance of Condition"),
    ] {
        assert_eq!(refusal(condition), expected, "{condition}");
    }
}
