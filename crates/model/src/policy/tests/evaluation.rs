use super::*;

const KEY: &str = "arn:aws:s3:::b/photos/a.jpg";

/// "AWS JSON policy elements: Principal", "… NotPrincipal".
#[test]
fn who() {
    let (one, two) = (account(ONE), account(TWO));
    let bob = Principal::User { account: &one, arn: BOB, id: "AIDACKCEVSQ6C2EXAMPLE" };
    let other = Principal::User { account: &one, arn: "arn:aws:iam::111122223333:user/Eve", id: "AIDAEVE0000000000000" };
    let canonical = "0A".repeat(32);
    let of_canonical = format!(r#"{{"CanonicalUser":"{canonical}"}}"#);
    let logging = Principal::Service("logging.s3.amazonaws.com");
    // Whom "Principal" names: whether Allow then allows them and Deny denies them.
    for (principal, who, allowed, denied) in [
        (r#""*""#, Principal::Anonymous, true, true),
        (r#""*""#, bob, true, true),
        (r#"{"AWS":"*"}"#, Principal::Anonymous, true, true),
        (r#"{"AWS":"111122223333"}"#, Principal::Account(&one), true, true),
        (r#"{"AWS":"arn:aws:iam::111122223333:root"}"#, Principal::Account(&one), true, true),
        (r#"{"AWS":["444455556666","111122223333"]}"#, Principal::Account(&one), true, true),
        (r#"{"AWS":"111122223333"}"#, Principal::Account(&two), false, false),
        (r#"{"AWS":"111122223333"}"#, Principal::Anonymous, false, false),
        // An account can only give away what it is allowed; denied to it is denied to its users.
        (r#"{"AWS":"111122223333"}"#, bob, false, true),
        (r#"{"AWS":"arn:aws:iam::111122223333:user/Bob"}"#, bob, true, true),
        (r#"{"AWS":"AIDACKCEVSQ6C2EXAMPLE"}"#, bob, true, true),
        (r#"{"AWS":"arn:aws:iam::111122223333:user/Bob"}"#, other, false, false),
        (r#"{"AWS":"arn:aws:iam::111122223333:user/Bob"}"#, Principal::Account(&one), false, false),
        (of_canonical.as_str(), Principal::Account(&one), true, true),
        (of_canonical.as_str(), Principal::Anonymous, false, false),
        (r#"{"Service":"logging.s3.amazonaws.com"}"#, logging, true, true),
        (r#"{"Service":"cloudtrail.amazonaws.com"}"#, logging, false, false),
        (r#"{"Federated":"cognito-identity.amazonaws.com"}"#, Principal::Anonymous, false, false),
    ] {
        for (effect, expected) in
            [("Allow", if allowed { allow("1") } else { Verdict::Silent }), ("Deny", if denied { deny("1") } else { Verdict::Silent })]
        {
            let d = document(&format!(
                r#"{{"Effect":"{effect}","Principal":{principal},"Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"}}"#
            ));
            let keys = [(CANONICAL_USER_KEY, canonical.as_str())];
            assert_eq!(ask(&d, who, "s3:GetObject", KEY, &keys), expected, "{effect} {principal} {who:?}");
        }
    }
    for (not, who, denied) in [
        (r#"{"AWS":"111122223333"}"#, Principal::Account(&one), false),
        (r#"{"AWS":"111122223333"}"#, Principal::Account(&two), true),
        (r#"{"AWS":"111122223333"}"#, Principal::Anonymous, true),
        // "You must also specify the account ARN of the not-denied principal."
        (r#"{"AWS":["111122223333","arn:aws:iam::111122223333:user/Bob"]}"#, bob, false),
        (r#"{"AWS":["111122223333","arn:aws:iam::111122223333:user/Bob"]}"#, other, true),
        (r#"{"AWS":"arn:aws:iam::111122223333:user/Bob"}"#, bob, true),
        (r#""*""#, bob, false),
        (r#"{"Service":"logging.s3.amazonaws.com"}"#, logging, false),
    ] {
        let d = document(&format!(r#"{{"Effect":"Deny","NotPrincipal":{not},"Action":"s3:*","Resource":"arn:aws:s3:::b/*"}}"#));
        assert_eq!(ask(&d, who, "s3:GetObject", KEY, &[]), if denied { deny("1") } else { Verdict::Silent }, "{not} {who:?}");
    }
}

/// "AWS JSON policy elements: Action", "… NotAction", "… Resource", "… NotResource".
#[test]
fn what() {
    for (elements, action, resource, matches) in [
        (r#""Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*""#, "s3:GetObject", KEY, true),
        (r#""Action":"S3:getobject","Resource":"arn:aws:s3:::b/*""#, "s3:GetObject", KEY, true),
        (r#""Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*""#, "s3:GetObjectAcl", KEY, false),
        (r#""Action":"s3:Get*","Resource":"arn:aws:s3:::b/*""#, "s3:GetObjectAcl", KEY, true),
        (r#""Action":"s3:?utObject","Resource":"arn:aws:s3:::b/*""#, "s3:PutObject", KEY, true),
        (r#""Action":"*","Resource":"arn:aws:s3:::b/*""#, "s3:DeleteObject", KEY, true),
        (r#""NotAction":"s3:DeleteObject","Resource":"arn:aws:s3:::b/*""#, "s3:DeleteObject", KEY, false),
        (r#""NotAction":"s3:DeleteObject","Resource":"arn:aws:s3:::b/*""#, "s3:GetObject", KEY, true),
        (r#""Action":"s3:*","Resource":"arn:aws:s3:::b""#, "s3:ListBucket", "arn:aws:s3:::b", true),
        (r#""Action":"s3:*","Resource":"arn:aws:s3:::b""#, "s3:GetObject", KEY, false),
        (r#""Action":"s3:*","Resource":"arn:aws:s3:::b/*""#, "s3:ListBucket", "arn:aws:s3:::b", false),
        (r#""Action":"s3:*","Resource":"arn:aws:s3:::b/PHOTOS/*""#, "s3:GetObject", KEY, false),
        (r#""Action":"s3:*","Resource":"arn:aws:s3:::b/*.jp?""#, "s3:GetObject", KEY, true),
        (r#""Action":"s3:*","Resource":"arn:aws:s3:::b/*:x""#, "s3:GetObject", "arn:aws:s3:::b/a:b:x", true),
        (r#""Action":"s3:*","Resource":"arn:aws:s3:::b/a?c""#, "s3:GetObject", "arn:aws:s3:::b/aéc", true),
        (r#""Action":"s3:*","NotResource":"arn:aws:s3:::b/photos/*""#, "s3:GetObject", KEY, false),
        (r#""Action":"s3:*","NotResource":"arn:aws:s3:::b/photos/*""#, "s3:GetObject", "arn:aws:s3:::b/x", true),
    ] {
        let d = document(&format!(r#"{{"Effect":"Allow","Principal":"*",{elements}}}"#));
        let expected = if matches { allow("1") } else { Verdict::Silent };
        assert_eq!(ask(&d, Principal::Anonymous, action, resource, &[]), expected, "{elements} {action} {resource}");
    }
}

/// "Policy evaluation logic": an explicit deny wins, wherever it stands.
#[test]
fn a_denial_wins() {
    let (give, take) = (
        r#"{"Sid":"Give","Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::b/*"}"#,
        r#"{"Sid":"Take","Effect":"Deny","Principal":"*","Action":"s3:Delete*","Resource":"arn:aws:s3:::b/*"}"#,
    );
    for both in [format!("{give},{take}"), format!("{take},{give}")] {
        let d = document(&both);
        assert_eq!(ask(&d, Principal::Anonymous, "s3:DeleteObject", KEY, &[]), deny("Take"));
        assert_eq!(ask(&d, Principal::Anonymous, "s3:GetObject", KEY, &[]), allow("Give"));
        assert_eq!(ask(&d, Principal::Anonymous, "s3:ListBucket", "arn:aws:s3:::b", &[]), Verdict::Silent);
    }
    let unnamed = document(&format!("{give},{}", take.replace(r#""Sid":"Take","#, "")));
    assert_eq!(ask(&unnamed, Principal::Anonymous, "s3:DeleteObject", KEY, &[]), deny("2"));
}

/// "IAM policy elements: Variables and tags".
#[test]
fn variables() {
    for (path, keys, key, matches) in [
        ("${aws:username}/*", &[("aws:username", "bob")][..], "bob/x", true),
        ("${AWS:UserName}/*", &[("aws:username", "bob")], "bob/x", true),
        ("${aws:username}/*", &[("aws:username", "bob")], "eve/x", false),
        ("${aws:username}/*", &[], "/x", false),
        ("${aws:username}/*", &[], "${aws:username}/x", false),
        ("${aws:username, 'guest'}/*", &[], "guest/x", true),
        ("${aws:username, 'guest'}/*", &[("aws:username", "bob")], "guest/x", false),
        ("${aws:PrincipalTag/Team}/*", &[("aws:principaltag/Team", "red")], "red/x", true),
        // A tag can't be a wildcard.
        ("${aws:PrincipalTag/Team}/*", &[("aws:principaltag/Team", "*")], "red/x", false),
        ("${aws:PrincipalTag/Team}/*", &[("aws:principaltag/Team", "*")], "*/x", true),
        ("${aws:PrincipalTag/Team}/*", &[("aws:principaltag/Team", "a:b")], "a:b/x", true),
        // A key of several values has no one value to stand here.
        ("${aws:TagKeys}", &[("aws:tagkeys", "a"), ("aws:tagkeys", "b")], "a", false),
        ("a${*}c", &[], "a*c", true),
        ("a${*}c", &[], "abc", false),
        ("a${?}c", &[], "abc", false),
        ("${$}{x}", &[], "${x}", true),
        ("${unclosed", &[], "${unclosed", true),
        ("${}", &[], "${}", true),
    ] {
        let d = document(&format!(r#"{{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::b/{path}"}}"#));
        let expected = if matches { allow("1") } else { Verdict::Silent };
        assert_eq!(ask(&d, Principal::Anonymous, "s3:GetObject", &format!("arn:aws:s3:::b/{key}"), keys), expected, "{path} {key}");
    }
    // "Version": before 2012-10-17 a variable is text.
    let text = r#"{"Statement":{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::b/${aws:username}/*"}}"#;
    let old = Document::parse(text, &bucket()).unwrap();
    let keys = [("aws:username", "bob")];
    assert_eq!(ask(&old, Principal::Anonymous, "s3:GetObject", "arn:aws:s3:::b/bob/x", &keys), Verdict::Silent);
    assert_eq!(ask(&old, Principal::Anonymous, "s3:GetObject", "arn:aws:s3:::b/${aws:username}/x", &keys), allow("1"));
}

/// "AWS JSON policy elements: Resource": each part of an ARN for itself, missing ones are `*`.
#[test]
fn resources_of_identities() {
    for (pattern, resource, matches) in [
        ("*", "arn:aws:s3:::b", true),
        ("arn:aws:s3:::*", KEY, true),
        ("arn:aws:ec2:*:111122223333:instance/*", "arn:aws:ec2:us-east-1:111122223333:instance/i-1", true),
        ("arn:aws:ec2:*:instance/*", "arn:aws:ec2:us-east-1:111122223333:instance/i-1", false),
        ("arn:aws:ec2", "arn:aws:ec2:us-east-1:111122223333:instance/i-1", true),
        ("arn:aws:s3", "arn:aws:ec2:us-east-1:111122223333:instance/i-1", false),
    ] {
        let text = format!(r#"{{"Version":"2012-10-17","Statement":{{"Effect":"Allow","Action":"*","Resource":"{pattern}"}}}}"#);
        let d = Document::parse(&text, &Kind::Identity).unwrap();
        let one = account(ONE);
        let expected = if matches { allow("1") } else { Verdict::Silent };
        assert_eq!(ask(&d, Principal::User { account: &one, arn: BOB, id: "" }, "x:Y", resource, &[]), expected, "{pattern} {resource}");
    }
}
