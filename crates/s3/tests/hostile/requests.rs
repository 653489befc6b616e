//! Requests that clients send, as a start for what they don't.

use super::world::{Ask, World};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

const DELETE: &str = "<Delete><Object><Key>k</Key></Object><Object><Key>none</Key><VersionId>null</VersionId></Object></Delete>";
const TAGS: &str = "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>";
const LIFECYCLE: &str = "<LifecycleConfiguration><Rule><ID>r</ID><Filter><And><Prefix>p/</Prefix><Tag><Key>a</Key><Value>b</Value></Tag>\
<ObjectSizeGreaterThan>5</ObjectSizeGreaterThan></And></Filter><Status>Enabled</Status><Expiration><Days>3</Days></Expiration>\
<NoncurrentVersionExpiration><NoncurrentDays>2</NoncurrentDays></NoncurrentVersionExpiration></Rule><Rule><ID>s</ID><Prefix>q</Prefix>\
<Status>Disabled</Status><Expiration><Date>2030-01-01T00:00:00.000Z</Date></Expiration></Rule></LifecycleConfiguration>";
const CORS: &str = "<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>https://*.example.com</AllowedOrigin>\
<AllowedHeader>*</AllowedHeader><MaxAgeSeconds>30</MaxAgeSeconds><ExposeHeader>etag</ExposeHeader></CORSRule></CORSConfiguration>";
const WEBSITE: &str = "<WebsiteConfiguration><IndexDocument><Suffix>index.html</Suffix></IndexDocument><ErrorDocument><Key>e</Key></ErrorDocument>\
<RoutingRules><RoutingRule><Condition><KeyPrefixEquals>a/</KeyPrefixEquals></Condition><Redirect><ReplaceKeyPrefixWith>b/</ReplaceKeyPrefixWith>\
<HttpRedirectCode>302</HttpRedirectCode></Redirect></RoutingRule></RoutingRules></WebsiteConfiguration>";
const NOTIFICATION: &str = "<NotificationConfiguration><QueueConfiguration><Id>n</Id><Queue>arn:aws:sqs:us-east-1:111122223333:q</Queue>\
<Event>s3:ObjectCreated:*</Event><Filter><S3Key><FilterRule><Name>prefix</Name><Value>p</Value></FilterRule></S3Key></Filter>\
</QueueConfiguration></NotificationConfiguration>";
const ENCRYPTION: &str = "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm>\
</ApplyServerSideEncryptionByDefault><BucketKeyEnabled>false</BucketKeyEnabled></Rule></ServerSideEncryptionConfiguration>";
const LOCK: &str = "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention><Mode>GOVERNANCE</Mode>\
<Days>1</Days></DefaultRetention></Rule></ObjectLockConfiguration>";
const ACL: &str = "<AccessControlPolicy><Owner><ID>0</ID></Owner><AccessControlList><Grant>\
<Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"Group\"><URI>http://acs.amazonaws.com/groups/global/AllUsers</URI></Grantee>\
<Permission>READ</Permission></Grant></AccessControlList></AccessControlPolicy>";
const POLICY: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::bucket-0/*",
"Condition":{"StringLike":{"aws:UserAgent":["x*"]},"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}}]}"#;
const REPLICATION: &str = "<ReplicationConfiguration><Role>arn:aws:iam::111122223333:role/r</Role><Rule><Status>Enabled</Status><Filter><Prefix>p</Prefix>\
</Filter><Priority>1</Priority><DeleteMarkerReplication><Status>Disabled</Status></DeleteMarkerReplication><Destination><Bucket>arn:aws:s3:::b</Bucket>\
</Destination></Rule></ReplicationConfiguration>";
const BOUNDARY: &str = "----edge";

/// Bodies of settings of buckets, by their query.
const SETTINGS: [(&str, &str); 16] = [
    ("acl", ACL),
    ("cors", CORS),
    ("encryption", ENCRYPTION),
    ("lifecycle", LIFECYCLE),
    (
        "logging",
        "<BucketLoggingStatus><LoggingEnabled><TargetBucket>bucket-0</TargetBucket><TargetPrefix>p</TargetPrefix></LoggingEnabled></BucketLoggingStatus>",
    ),
    ("notification", NOTIFICATION),
    ("object-lock", LOCK),
    ("ownershipControls", "<OwnershipControls><Rule><ObjectOwnership>ObjectWriter</ObjectOwnership></Rule></OwnershipControls>"),
    ("policy", POLICY),
    ("publicAccessBlock", "<PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls></PublicAccessBlockConfiguration>"),
    ("requestPayment", "<RequestPaymentConfiguration><Payer>Requester</Payer></RequestPaymentConfiguration>"),
    ("tagging", TAGS),
    ("versioning", "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"),
    ("website", WEBSITE),
    ("accelerate", "<AccelerateConfiguration><Status>Enabled</Status></AccelerateConfiguration>"),
    ("replication", REPLICATION),
];

fn form(world: &World, bucket: &str) -> Ask {
    let signer = &world.signer;
    let policy = format!(
        r#"{{"expiration":"2100-01-01T00:00:00Z","conditions":[{{"bucket":"{bucket}"}},["starts-with","$key","f"],["content-length-range",0,1000],
        {{"x-amz-algorithm":"AWS4-HMAC-SHA256"}},{{"x-amz-credential":"{}"}},{{"x-amz-date":"{}"}}]}}"#,
        signer.credential(),
        signer.date
    );
    let policy = BASE64_STANDARD.encode(policy);
    let credential = signer.credential();
    let signature = signer.sign(&policy);
    let fields = [
        ("key", "f${filename}"),
        ("x-amz-algorithm", "AWS4-HMAC-SHA256"),
        ("x-amz-credential", &credential),
        ("x-amz-date", &signer.date),
        ("policy", &policy),
        ("x-amz-signature", &signature),
    ];
    let mut body: String =
        fields.iter().map(|(n, v)| format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{n}\"\r\n\r\n{v}\r\n")).collect();
    body += &format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"x.txt\"\r\nContent-Type: text/plain\r\n\r\nhello\r\n--{BOUNDARY}--\r\n"
    );
    let ask = Ask { signed: false, ..Ask::new("POST", &format!("/{bucket}")) };
    ask.header("content-type", &format!("multipart/form-data; boundary={BOUNDARY}")).body(body)
}

/// Requests about a bucket that is furnished; each is a good one.
pub(crate) fn seeds(world: &World, bucket: &str, upload: &str) -> Vec<Ask> {
    let key = format!("/{bucket}/k");
    let bucket_path = format!("/{bucket}");
    let on = |method: &str| Ask::new(method, &key);
    let of = |method: &str| Ask::new(method, &bucket_path);
    let part = || Ask::new("PUT", &format!("/{bucket}/u")).query("partNumber", "1").query("uploadId", upload);
    let complete = "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>\"9a0364b9e99bb480dd25e1f0284c8555\"</ETag></Part></CompleteMultipartUpload>";
    let mut seeds = vec![
        on("GET").header("range", "bytes=1-3").header("if-none-match", "\"x\"").query("response-content-type", "a/b"),
        on("GET").header("if-modified-since", "Tue, 24 Nov 2026 04:07:39 GMT").query("partNumber", "1"),
        on("HEAD").header("x-amz-checksum-mode", "ENABLED").header("if-match", "*"),
        on("PUT")
            .header("x-amz-checksum-crc32", "DUoRhQ==")
            .header("x-amz-meta-a", "b")
            .header("x-amz-tagging", "a=b&c=d")
            .body("hello world"),
        on("PUT").header("content-md5", "XrY7u+Ae7tCTyyK7j1rNww==").header("if-none-match", "*").body("hello world"),
        on("PUT")
            .header("x-amz-server-side-encryption", "AES256")
            .header("x-amz-acl", "private")
            .header("cache-control", "no-cache")
            .body("x"),
        on("PUT")
            .header("x-amz-copy-source", &key[1..])
            .header("x-amz-metadata-directive", "REPLACE")
            .header("x-amz-tagging-directive", "COPY"),
        on("GET").query("attributes", "").header("x-amz-object-attributes", "ETag,Checksum,ObjectParts,ObjectSize,StorageClass"),
        on("PUT").query("tagging", "").body(TAGS),
        on("PUT").query("acl", "").body(ACL),
        on("PUT")
            .query("retention", "")
            .body("<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>2030-01-01T00:00:00Z</RetainUntilDate></Retention>"),
        on("PUT").query("legal-hold", "").body("<LegalHold><Status>ON</Status></LegalHold>"),
        on("POST").query("select", "").query("select-type", "2").body("<SelectObjectContentRequest></SelectObjectContentRequest>"),
        on("DELETE").query("versionId", "null"),
        of("POST").query("delete", "").header("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==").body(DELETE),
        of("GET")
            .query("list-type", "2")
            .query("prefix", "k")
            .query("delimiter", "/")
            .query("max-keys", "3")
            .query("encoding-type", "url")
            .query("start-after", "a"),
        of("GET").query("list-type", "2").query("continuation-token", "aGVsbG8="),
        of("GET").query("prefix", "").query("marker", "a").query("max-keys", "0"),
        of("GET").query("versions", "").query("key-marker", "k").query("version-id-marker", "null"),
        of("GET").query("uploads", "").query("key-marker", "u").query("upload-id-marker", upload),
        Ask::new("GET", &format!("/{bucket}/u")).query("uploadId", upload).query("part-number-marker", "0").query("max-parts", "2"),
        part().header("x-amz-checksum-sha256", "uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek=").body("hello world"),
        part().header("x-amz-copy-source", &key).header("x-amz-copy-source-range", "bytes=0-1"),
        Ask::new("POST", &format!("/{bucket}/u")).query("uploadId", upload).body(complete),
        Ask::new("POST", &format!("/{bucket}/v"))
            .query("uploads", "")
            .header("x-amz-checksum-algorithm", "CRC32C")
            .header("x-amz-checksum-type", "COMPOSITE"),
        on("PUT")
            .header("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")
            .header("x-amz-decoded-content-length", "5")
            .header("content-encoding", "aws-chunked")
            .header("x-amz-trailer", "x-amz-checksum-crc32")
            .body("5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n"),
        on("PUT")
            .header("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")
            .header("x-amz-decoded-content-length", "5")
            .header("content-encoding", "aws-chunked")
            .body(format!("5;chunk-signature={0}\r\nhello\r\n0;chunk-signature={0}\r\n\r\n", "a".repeat(64))),
        Ask { signed: false, ..Ask::new("OPTIONS", &key) }
            .header("origin", "https://a.example.com")
            .header("access-control-request-method", "GET"),
        Ask { signed: false, ..on("GET") }
            .query("X-Amz-Algorithm", "AWS4-HMAC-SHA256")
            .query("X-Amz-Credential", &world.signer.credential())
            .query("X-Amz-Date", &world.signer.date)
            .query("X-Amz-Expires", "60")
            .query("X-Amz-SignedHeaders", "host")
            .query("X-Amz-Signature", "00"),
        form(world, bucket),
        Ask::new("GET", "/"),
        Ask::new("PUT", &format!("/{bucket}-2"))
            .header("x-amz-bucket-object-lock-enabled", "true")
            .body("<CreateBucketConfiguration><LocationConstraint>eu-west-1</LocationConstraint></CreateBucketConfiguration>"),
    ];
    seeds.extend(SETTINGS.iter().map(|(query, body)| of("PUT").query(query, "").body(*body)));
    seeds
}
