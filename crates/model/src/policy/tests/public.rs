use super::*;

/// "The meaning of 'public'" (Blocking public access to your Amazon S3 storage).
#[test]
fn the_meaning_of_public() {
    for (effect, principal, condition, public) in [
        ("Allow", r#""*""#, "", true),
        ("Allow", r#"{"AWS":"*"}"#, "", true),
        ("Allow", r#"{"AWS":["111122223333","*"]}"#, "", true),
        ("Deny", r#""*""#, "", false),
        ("Allow", r#"{"AWS":"111122223333"}"#, "", false),
        ("Allow", r#"{"Service":"cloudtrail.amazonaws.com"}"#, "", false),
        ("Allow", r#""*""#, r#""IpAddress":{"aws:SourceIp":"203.0.113.0/24"}"#, false),
        ("Allow", r#""*""#, r#""IpAddress":{"aws:SourceIp":["203.0.113.0/24","10.0.0.0/8"]}"#, false),
        ("Allow", r#""*""#, r#""IpAddress":{"aws:SourceIp":["203.0.113.0/24","0.0.0.0/1"]}"#, true),
        ("Allow", r#""*""#, r#""IpAddress":{"aws:SourceIp":"10.0.0.0/7"}"#, true),
        ("Allow", r#""*""#, r#""IpAddress":{"aws:SourceIp":"2001:db8::/32"}"#, false),
        ("Allow", r#""*""#, r#""IpAddress":{"aws:SourceIp":"2001:db8::/31"}"#, true),
        ("Allow", r#""*""#, r#""NotIpAddress":{"aws:SourceIp":"203.0.113.0/24"}"#, true),
        ("Allow", r#""*""#, r#""IpAddressIfExists":{"aws:SourceIp":"203.0.113.0/24"}"#, true),
        ("Allow", r#""*""#, r#""StringEquals":{"aws:SourceVpc":"vpc-91237329"}"#, false),
        ("Allow", r#""*""#, r#""StringLike":{"aws:SourceVpc":"vpc-*"}"#, true),
        ("Allow", r#""*""#, r#""StringLike":{"aws:SourceVpc":"vpc-91237329"}"#, false),
        ("Allow", r#""*""#, r#""StringEquals":{"aws:SourceVpc":"${aws:username}"}"#, true),
        ("Allow", r#""*""#, r#""StringNotEquals":{"aws:SourceVpc":"vpc-91237329"}"#, true),
        ("Allow", r#""*""#, r#""StringEquals":{"aws:PrincipalOrgID":"o-a1b2c3d4e5"}"#, false),
        ("Allow", r#""*""#, r#""ForAnyValue:StringEquals":{"aws:PrincipalOrgID":"o-a1b2c3d4e5"}"#, false),
        ("Allow", r#""*""#, r#""ForAllValues:StringEquals":{"aws:PrincipalOrgID":"o-a1b2c3d4e5"}"#, true),
        ("Allow", r#""*""#, r#""ArnLike":{"aws:SourceArn":"arn:aws:sns:us-east-1:111122223333:x"}"#, false),
        ("Allow", r#""*""#, r#""ArnLike":{"aws:SourceArn":"arn:aws:sns:us-east-1:111122223333:*"}"#, true),
        ("Allow", r#""*""#, r#""ArnLike":{"s3:DataAccessPointArn":"arn:aws:s3:us-west-2:111122223333:accesspoint/*"}"#, false),
        ("Allow", r#""*""#, r#""ArnLike":{"s3:DataAccessPointArn":"arn:aws:s3:us-west-2:*:accesspoint/x"}"#, true),
        ("Allow", r#""*""#, r#""StringEquals":{"s3:DataAccessPointAccount":"111122223333"}"#, false),
        ("Allow", r#""*""#, r#""StringLike":{"aws:userid":"AROAEXAMPLEID:*"}"#, true),
        ("Allow", r#""*""#, r#""StringLike":{"aws:Referer":"http://www.example.com/x"}"#, true),
        ("Allow", r#""*""#, r#""Null":{"aws:SourceVpc":"false"}"#, true),
        ("Allow", r#""*""#, r#""StringEquals":{"aws:SourceVpc":"vpc-1"},"Bool":{"aws:SecureTransport":"true"}"#, false),
    ] {
        let d = document(&format!(
            r#"{{"Effect":"{effect}","Principal":{principal},"Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*","Condition":{{{condition}}}}}"#
        ));
        assert_eq!(d.is_public(), public, "{effect} {principal} {condition}");
    }
    let closed = r#"{"Effect":"Allow","Principal":{"AWS":"111122223333"},"Action":"s3:*","Resource":"arn:aws:s3:::b/*"}"#;
    let open = r#"{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"}"#;
    assert!(document(&format!("{closed},{open}")).is_public());
}
