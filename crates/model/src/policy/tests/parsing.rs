use super::*;

/// Why a bucket's document is refused; empty if it isn't.
fn refusal(text: &str) -> String {
    Document::parse(text, &bucket()).err().map(|e| e.to_string()).unwrap_or_default()
}

/// The same of a document of one statement.
fn refusal_of(statement: &str) -> String {
    refusal(&format!(r#"{{"Version":"2012-10-17","Statement":{statement}}}"#))
}

const GOOD: &str = r#""Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*""#;

/// "Grammar of the IAM JSON policy language", and what PutBucketPolicy answers.
#[test]
fn documents() {
    let whole = |inner: &str| inner.replace("GOOD", &format!("{{{GOOD}}}"));
    for (text, expected) in [
        (r#"{"Statement":GOOD}"#, ""),
        (r#"{"Version":"2008-10-17","Id":"x","Statement":[GOOD]}"#, ""),
        (r#"{"Version":"2012-10-17","Statement":[GOOD,GOOD]} "#, ""),
        ("", "Policies must be valid JSON and the first byte must be '{'"),
        (r#" {"Statement":GOOD}"#, "Policies must be valid JSON and the first byte must be '{'"),
        ("[]", "Policies must be valid JSON and the first byte must be '{'"),
        (r#"{"Statement":GOOD"#, "This policy contains invalid Json"),
        (r#"{"Statement":GOOD}}"#, "This policy contains invalid Json"),
        ("{}", "Missing required field Statement"),
        (r#"{"Statement":[]}"#, "Could not parse the policy: Statement is empty!"),
        (r#"{"Statement":"x"}"#, "Invalid policy syntax."),
        (r#"{"Statement":[1]}"#, "Invalid policy syntax."),
        (r#"{"Version":"2012-10-18","Statement":GOOD}"#, "The policy must contain a valid version string"),
        (r#"{"Version":2012,"Statement":GOOD}"#, "The policy must contain a valid version string"),
        (r#"{"Statement":GOOD,"Extra":1}"#, "Unknown field Extra"),
        (r#"{"statement":GOOD}"#, "Unknown field statement"),
        (r#"{"Statement":GOOD,"Statement":GOOD}"#, "Statement/policy already has instance of Statement"),
    ] {
        assert_eq!(refusal(&whole(text)), expected, "{text}");
    }
}

#[test]
fn statements() {
    let base = [
        ("Effect", r#""Allow""#),
        ("Principal", r#"{"AWS":"111122223333"}"#),
        ("Action", r#""s3:*""#),
        ("Resource", r#"["arn:aws:s3:::b","arn:aws:s3:::b/*"]"#),
    ];
    // Each case sets one element of a good statement to something else, or takes it away (empty).
    for (element, value, expected) in [
        ("Sid", r#""Any words, really.""#, ""),
        ("Sid", "1", "Invalid policy syntax."),
        ("Effect", "", "Missing required field Effect"),
        ("Effect", r#""""#, "Missing required field Effect cannot be empty!"),
        ("Effect", r#""allow""#, "Invalid effect: allow"),
        ("Effect", "true", "Invalid effect: true"),
        ("Effect", r#"["Allow"]"#, "Invalid policy syntax."),
        ("Action", "", "Missing required field Action"),
        ("Action", "[]", "Missing required field Action cannot be empty!"),
        ("Action", "1", "Policy has invalid action"),
        ("Action", r#""*""#, ""),
        ("Action", r#""S3:getobject""#, ""),
        ("Action", r#"["s3:Get*","s3:?utObject","s3:ListBucket"]"#, ""),
        ("Action", r#""s3:GetObjects""#, "Policy has invalid action"),
        ("Action", r#""s3:Frob*""#, "Policy has invalid action"),
        ("Action", r#""ec2:*""#, "Policy has invalid action"),
        ("Action", r#""GetObject""#, "Policy has invalid action"),
        ("Action", r#""s3:ListAllMyBuckets""#, "Action does not apply to any resource(s) in statement"),
        ("NotAction", r#""s3:GetObject""#, "Statement/policy already has instance of Action"),
        ("Resource", "", "Missing required field Resource"),
        ("Resource", r#""arn:aws:s3:::b*""#, ""),
        ("Resource", r#""arn:aws:s3:::b/${aws:username}/*""#, ""),
        ("Resource", r#""*""#, "Policy has invalid resource"),
        ("Resource", r#""arn:aws:s3:::*""#, "Policy has invalid resource"),
        ("Resource", r#""arn:aws:s3:::bb/*""#, "Policy has invalid resource"),
        ("Resource", r#"["arn:aws:s3:::b/*","arn:aws:s3:::other/*"]"#, "Policy has invalid resource"),
        ("Resource", r#""b/*""#, "Policy has invalid resource"),
        ("Resource", r#""arn:aws:s3:us-east-1::b/*""#, "Policy has invalid resource"),
        ("Resource", "{}", "Policy has invalid resource"),
        ("NotResource", r#""arn:aws:s3:::b""#, "Statement/policy already has instance of Resource"),
        ("NotPrincipal", r#""*""#, "Statement/policy already has instance of Principal"),
        ("Condition", "[]", "Invalid policy syntax."),
        ("Condition", "{}", ""),
        ("condition", "{}", "Unknown field condition"),
    ] {
        let mut all: Vec<(&str, &str)> = base.iter().copied().filter(|(name, _)| *name != element).collect();
        if !value.is_empty() {
            all.push((element, value));
        }
        let members: Vec<String> = all.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        assert_eq!(refusal_of(&format!("{{{}}}", members.join(","))), expected, "{element} {value}");
    }
    let twice = format!(r#"[{{"Sid":"a",{GOOD}}},{{"Sid":"a",{GOOD}}}]"#);
    assert_eq!(refusal_of(&twice), "The Statement Ids in the policy are not unique");
    assert_eq!(refusal_of(&format!(r#"[{{"Sid":"",{GOOD}}},{{"Sid":"",{GOOD}}}]"#)), "");
    assert_eq!(refusal_of(&format!(r#"{{{GOOD},"Effect":"Deny"}}"#)), "Statement/policy already has instance of Effect");
}

/// S3's own check: each action with some resource, each key with some action.
#[test]
fn what_could_never_apply() {
    let not_applicable = "Action does not apply to any resource(s) in statement";
    let key = "Conditions do not apply to combination of actions and resources in statement";
    for (action, resource, condition, expected) in [
        (r#""s3:GetObject""#, r#""arn:aws:s3:::b""#, "", not_applicable),
        (r#""s3:ListBucket""#, r#""arn:aws:s3:::b/*""#, "", not_applicable),
        (r#"["s3:ListBucket","s3:GetObject"]"#, r#""arn:aws:s3:::b/*""#, "", not_applicable),
        (r#"["s3:ListBucket","s3:GetObject"]"#, r#"["arn:aws:s3:::b","arn:aws:s3:::b/*"]"#, "", ""),
        (r#"["s3:ListBucket","s3:GetObject"]"#, r#""arn:aws:s3:::b*""#, "", ""),
        (r#""s3:*""#, r#""arn:aws:s3:::b""#, "", ""),
        (r#""s3:*""#, r#""arn:aws:s3:::b/*""#, "", ""),
        (r#""s3:ListBucket""#, r#""arn:aws:s3:::b""#, r#"{"StringLike":{"s3:prefix":"x/*"}}"#, ""),
        (r#""s3:*""#, r#""arn:aws:s3:::b""#, r#"{"StringLike":{"s3:Prefix":"x/*"}}"#, ""),
        (r#"["s3:ListBucket","s3:GetObject"]"#, r#""arn:aws:s3:::b*""#, r#"{"StringLike":{"s3:prefix":"x/*"}}"#, key),
        (r#""s3:ListBucketMultipartUploads""#, r#""arn:aws:s3:::b""#, r#"{"StringEquals":{"s3:prefix":"x"}}"#, key),
        (r#""s3:GetObject""#, r#""arn:aws:s3:::b/*""#, r#"{"StringEquals":{"s3:ExistingObjectTag/Team":"x"}}"#, ""),
        (r#""s3:GetObjectRetention""#, r#""arn:aws:s3:::b/*""#, r#"{"StringEquals":{"s3:ExistingObjectTag/a":"x"}}"#, key),
        (r#""s3:GetObject""#, r#""arn:aws:s3:::b/*""#, r#"{"StringEquals":{"aws:NoSuchKey":"x"}}"#, ""),
        (r#""s3:GetObject""#, r#""arn:aws:s3:::b/*""#, r#"{"StringEquals":{"s3:nosuch":"x"}}"#, "Policy has an invalid condition key"),
        (
            r#""s3:GetObject""#,
            r#""arn:aws:s3:::b/*""#,
            r#"{"StringEquals":{"s3:ExistingObjectTag/":"x"}}"#,
            "Policy has an invalid condition key",
        ),
        (
            r#""s3:GetObject""#,
            r#""arn:aws:s3:::b/*""#,
            r#"{"StringEquals":{"pileus:canonicaluser":"x"}}"#,
            "Policy has an invalid condition key",
        ),
    ] {
        let condition = if condition.is_empty() { String::new() } else { format!(r#","Condition":{condition}"#) };
        let statement = format!(r#"{{"Effect":"Allow","Principal":"*","Action":{action},"Resource":{resource}{condition}}}"#);
        assert_eq!(refusal_of(&statement), expected, "{statement}");
    }
}

/// "AWS JSON policy elements: Principal".
#[test]
fn principals() {
    let canonical = format!(r#"{{"CanonicalUser":"{}"}}"#, "0a".repeat(32));
    for good in [
        r#""*""#,
        r#"{"AWS":"*"}"#,
        r#"{"AWS":["111122223333","arn:aws:iam::444455556666:root"]}"#,
        r#"{"AWS":"arn:aws:iam::111122223333:user/a/path/Bob"}"#,
        r#"{"AWS":"arn:aws:iam::111122223333:role/x"}"#,
        r#"{"AWS":"arn:aws:sts::111122223333:assumed-role/x/session"}"#,
        r#"{"AWS":"AIDACKCEVSQ6C2EXAMPLE"}"#,
        r#"{"AWS":"arn:aws:iam::cloudfront:user/CloudFront Origin Access Identity E1"}"#,
        r#"{"Service":"logging.s3.amazonaws.com","AWS":"111122223333"}"#,
        r#"{"Federated":"cognito-identity.amazonaws.com"}"#,
        &canonical,
    ] {
        let statement = GOOD.replace(r#""*","Action"#, &format!("{good},\"Action"));
        assert_eq!(refusal_of(&format!("{{{statement}}}")), "", "{good}");
    }
    for bad in [
        r#""""#,
        r#""111122223333""#,
        "{}",
        "[]",
        "null",
        r#"["*"]"#,
        r#"{"AWS":[]}"#,
        r#"{"AWS":"1111"}"#,
        r#"{"AWS":"bob"}"#,
        r#"{"AWS":"arn:aws:iam::111122223333:user/*"}"#,
        r#"{"AWS":"arn:aws:iam::*:root"}"#,
        r#"{"AWS":"arn:aws:iam::111122223333:user/"}"#,
        r#"{"AWS":"arn:aws:iam::111122223333:group/x"}"#,
        r#"{"AWS":"arn:aws:iam::1:root"}"#,
        r#"{"aws":"*"}"#,
        r#"{"Service":"*"}"#,
        r#"{"CanonicalUser":"xyz"}"#,
    ] {
        let statement = GOOD.replace(r#""*","Action"#, &format!("{bad},\"Action"));
        assert_eq!(refusal_of(&format!("{{{statement}}}")), "Invalid principal in policy", "{bad}");
    }
    let statement = GOOD.replace(r#""Principal":"*","#, "");
    assert_eq!(refusal_of(&format!("{{{statement}}}")), "Missing required field Principal");
    let not = GOOD.replace("Principal", "NotPrincipal");
    assert_eq!(refusal_of(&format!("{{{not}}}")), "Allow with NotPrincipal is not allowed.");
    assert_eq!(refusal_of(&format!("{{{}}}", not.replace("Allow", "Deny"))), "");
}

#[test]
fn everyone_named_is_known() {
    let d = document(
        r#"{"Effect":"Deny","NotPrincipal":{"AWS":["111122223333","arn:aws:iam::111122223333:user/Bob"]},"Action":"s3:*","Resource":"arn:aws:s3:::b/*"}"#,
    );
    let bob = Grantee::Arn { account: account(ONE), arn: BOB.into() };
    assert_eq!(d.grantees().collect::<Vec<_>>(), [&Grantee::Account(account(ONE)), &bob]);
}

/// "Bucket policies: 20 KB in size"; nesting is bounded so that no document ends the process.
#[test]
fn limits() {
    let id = |bytes: usize| format!(r#"{{"Id":"{}","Statement":{{{GOOD}}}}}"#, "x".repeat(bytes));
    let room = BUCKET_POLICY_BYTES_MAX - id(0).len();
    assert_eq!(refusal(&id(room)), "");
    assert_eq!(refusal(&id(room + 1)), "Policy exceeds the maximum allowed document size");
    let deep = format!(r#"{{"Statement":{}"#, "[".repeat(20_000));
    assert_eq!(refusal(&deep), "This policy contains invalid Json");
}

/// The words of CreatePolicy.
#[test]
fn identity_documents() {
    let statement = |inner: &str| format!(r#"{{"Version":"2012-10-17","Statement":{{"Effect":"Allow",{inner}}}}}"#);
    for (text, expected) in [
        (statement(r#""Action":"s3:*","Resource":"*""#), ""),
        (statement(r#""Action":["ec2:Describe*","*"],"NotResource":"arn:aws:s3:::b""#), ""),
        (statement(r#""Action":"s3:*","Resource":"*","Principal":"*""#), "Policy document should not specify a principal."),
        (statement(r#""Resource":"*""#), "Policy statement must contain actions."),
        (statement(r#""Action":"s3:*""#), "Policy statement must contain resources."),
        (statement(r#""Action":"GetObject","Resource":"*""#), "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."),
        (statement(r#""Action":"s3:*","Resource":"b""#), "Resource b must be in ARN format or \"*\"."),
        (statement(r#""Sid":"a b","Action":"s3:*","Resource":"*""#), "Syntax errors in policy."),
        (statement(r#""Action":"s3:*","Resource":"*","Condition":{"Frob":{"a:b":"c"}}"#), "Syntax errors in policy."),
        ("[]".into(), "Syntax errors in policy."),
        (r#"{"Statement":[]}"#.into(), "Policy document must be version 2012-10-17 or greater."),
    ] {
        let found = Document::parse(&text, &Kind::Identity).err().map(|e| e.to_string()).unwrap_or_default();
        assert_eq!(found, expected, "{text}");
    }
}
