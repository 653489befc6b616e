"""S3 for browsers: websites, cross-origin rules, and the small settings of a bucket."""

import http.client
import json
import urllib.parse

import pytest

import s3_client
from conftest import PORT
from s3_client import refused

BUCKET = "web-pages"


@pytest.fixture(scope="module")
def s3(cloud):
    client = s3_client.client(cloud)
    client.create_bucket(Bucket=BUCKET)
    return client


def ask(method, path, host=f"127.0.0.1:{PORT}", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=30)
    connection.request(method, path, headers={"Host": host, **{name.replace("_", "-"): value for name, value in headers.items()}})
    answer = connection.getresponse()
    return answer, answer.read()


def test_a_website(s3):
    site = f"{BUCKET}.s3-website.localhost:{PORT}"
    for key, body in [("index.html", b"<h1>home</h1>"), ("docs/index.html", b"docs"), ("sorry.html", b"sorry"), ("new/\u00e4 b", b"moved")]:
        s3.put_object(Bucket=BUCKET, Key=key, Body=body, ContentType="text/html")
    s3.put_object(Bucket=BUCKET, Key="away", Body=b"", WebsiteRedirectLocation="https://example.com/there")
    assert refused(s3.get_bucket_website, Bucket=BUCKET) == ("NoSuchWebsiteConfiguration", 404)
    answer, page = ask("GET", "/", host=site)
    assert answer.status == 404 and b"NoSuchWebsiteConfiguration" in page
    rule = {"Condition": {"KeyPrefixEquals": "old/"}, "Redirect": {"ReplaceKeyPrefixWith": "new/", "HttpRedirectCode": "302"}}
    wanted = {"IndexDocument": {"Suffix": "index.html"}, "ErrorDocument": {"Key": "sorry.html"}, "RoutingRules": [rule]}
    s3.put_bucket_website(Bucket=BUCKET, WebsiteConfiguration=wanted)
    got = s3.get_bucket_website(Bucket=BUCKET)
    assert {name: got[name] for name in wanted} == wanted
    assert refused(s3.put_bucket_website, Bucket=BUCKET, WebsiteConfiguration={"IndexDocument": {"Suffix": "a/b"}}) == ("InvalidArgument", 400)

    answer, page = ask("GET", "/", host=site)
    assert answer.status == 403 and b"AccessDenied" in page, "a website shows what anybody may read, and no more"
    s3.delete_public_access_block(Bucket=BUCKET)
    anybody = {"Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject", "s3:ListBucket"],
               "Resource": [f"arn:aws:s3:::{BUCKET}/*", f"arn:aws:s3:::{BUCKET}"]}
    s3.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps({"Version": "2012-10-17", "Statement": [anybody]}))

    answer, page = ask("GET", "/", host=site)
    assert (answer.status, answer.getheader("Content-Type"), page) == (200, "text/html", b"<h1>home</h1>")
    answer, page = ask("GET", "/", host=site, Range="bytes=1-2")
    assert (answer.status, page) == (206, b"h1")
    assert ask("HEAD", "/docs/", host=site)[0].status == 200
    answer, _ = ask("GET", "/docs", host=site)
    assert (answer.status, urllib.parse.urlsplit(answer.getheader("Location")).path) == (302, "/docs/")
    answer, _ = ask("GET", "/old/%C3%A4%20b", host=site)
    assert (answer.status, answer.getheader("Location")) == (302, f"http://{site}/new/%C3%A4%20b")
    assert ask("GET", "/new/%C3%A4%20b", host=site)[1] == b"moved"
    answer, _ = ask("GET", "/away", host=site)
    assert (answer.status, answer.getheader("Location")) == (301, "https://example.com/there")
    answer, page = ask("GET", "/none", host=site)
    assert (answer.status, page) == (404, b"sorry")
    assert ask("PUT", "/x", host=site)[0].status == 405
    s3.delete_bucket_website(Bucket=BUCKET)
    assert ask("GET", "/", host=site)[0].status == 404


def test_cross_origin(s3):
    path = f"/{BUCKET}/key"
    asking = dict(Origin="https://a.example.com", Access_Control_Request_Method="PUT")
    assert refused(s3.get_bucket_cors, Bucket=BUCKET) == ("NoSuchCORSConfiguration", 404)
    assert ask("OPTIONS", path, **asking)[0].status == 403
    rule = {"AllowedMethods": ["GET", "PUT"], "AllowedOrigins": ["https://*.example.com"], "AllowedHeaders": ["x-amz-*"],
            "ExposeHeaders": ["ETag"], "MaxAgeSeconds": 60}
    s3.put_bucket_cors(Bucket=BUCKET, CORSConfiguration={"CORSRules": [rule]})
    assert s3.get_bucket_cors(Bucket=BUCKET)["CORSRules"] == [rule]
    answer, _ = ask("OPTIONS", path, **asking, Access_Control_Request_Headers="x-amz-date, X-Amz-Acl")
    assert answer.status == 200
    assert answer.getheader("Access-Control-Allow-Origin") == "https://a.example.com"
    assert answer.getheader("Access-Control-Max-Age") == "60"
    assert ask("OPTIONS", path, **asking, Access_Control_Request_Headers="x-other")[0].status == 403
    assert ask("OPTIONS", path, **asking | dict(Origin="https://example.org"))[0].status == 403
    assert ask("OPTIONS", path)[0].status == 400
    answer, _ = ask("GET", path, Origin="https://a.example.com")
    assert answer.getheader("Access-Control-Expose-Headers") == "ETag", "an error can be read by the script, too"
    assert ask("GET", path, Origin="https://example.org")[0].getheader("Access-Control-Allow-Origin") is None
    unknown = {"AllowedMethods": ["FETCH"], "AllowedOrigins": ["*"]}
    assert refused(s3.put_bucket_cors, Bucket=BUCKET, CORSConfiguration={"CORSRules": [unknown]}) == ("InvalidRequest", 400)
    s3.delete_bucket_cors(Bucket=BUCKET)
    assert ask("OPTIONS", path, **asking)[0].status == 403


def test_a_changed_setting_counts_for_the_next_request(s3):
    def origin(name):
        answer, _ = ask("GET", f"/{BUCKET}/key", Origin=f"https://{name}.example.com")
        return answer.getheader("Access-Control-Allow-Origin")

    def put():
        done = s3.put_object(Bucket=BUCKET, Key="changing", Body=b"x")
        assert s3.head_object(Bucket=BUCKET, Key="changing").get("Expiration") == done.get("Expiration")
        return done.get("Expiration", 'rule-id="none"').split('rule-id="')[1].rstrip('"'), done.get("ServerSideEncryption")

    for name, algorithm in [("a", "AES256"), ("b", "aws:kms"), ("c", "AES256")]:
        rule = {"AllowedMethods": ["GET"], "AllowedOrigins": [f"https://{name}.example.com"]}
        s3.put_bucket_cors(Bucket=BUCKET, CORSConfiguration={"CORSRules": [rule]})
        assert [origin(other) is not None for other in "abc"] == [other == name for other in "abc"]
        rule = {"ID": name, "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 9}}
        s3.put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration={"Rules": [rule]})
        default = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": algorithm}}
        s3.put_bucket_encryption(Bucket=BUCKET, ServerSideEncryptionConfiguration={"Rules": [default]})
        assert put() == (name, algorithm)
        # Whatever else of the bucket changes.
        s3.put_bucket_tagging(Bucket=BUCKET, Tagging={"TagSet": [{"Key": "a", "Value": name}]})
        assert put() == (name, algorithm) and origin(name)
    s3.delete_bucket_cors(Bucket=BUCKET)
    s3.delete_bucket_lifecycle(Bucket=BUCKET)
    s3.delete_bucket_tagging(Bucket=BUCKET)
    s3.delete_bucket_encryption(Bucket=BUCKET)
    assert origin("c") is None and put() == ("none", None)
    everybody = {"Principal": "*", "Action": "s3:DeleteObject", "Resource": f"arn:aws:s3:::{BUCKET}/changing"}
    for effect in ["Allow", "Deny", "Allow"]:
        policy = {"Version": "2012-10-17", "Statement": [everybody | {"Effect": effect}]}
        s3.delete_public_access_block(Bucket=BUCKET)
        s3.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(policy))
        assert ask("DELETE", f"/{BUCKET}/changing")[0].status == (204 if effect == "Allow" else 403)
    s3.delete_bucket_policy(Bucket=BUCKET)
    assert ask("DELETE", f"/{BUCKET}/changing")[0].status == 403


def test_small_settings(s3):
    assert refused(s3.get_bucket_tagging, Bucket=BUCKET) == ("NoSuchTagSet", 404)
    tags = [{"Key": "course", "Value": "cloud"}]
    s3.put_bucket_tagging(Bucket=BUCKET, Tagging={"TagSet": tags})
    assert s3.get_bucket_tagging(Bucket=BUCKET)["TagSet"] == tags
    assert refused(s3.put_bucket_tagging, Bucket=BUCKET, Tagging={"TagSet": tags * 2}) == ("InvalidTag", 400)
    s3.delete_bucket_tagging(Bucket=BUCKET)
    assert refused(s3.get_bucket_tagging, Bucket=BUCKET) == ("NoSuchTagSet", 404)

    assert s3.get_bucket_request_payment(Bucket=BUCKET)["Payer"] == "BucketOwner"
    s3.put_bucket_request_payment(Bucket=BUCKET, RequestPaymentConfiguration={"Payer": "Requester"})
    assert s3.get_bucket_request_payment(Bucket=BUCKET)["Payer"] == "Requester"
    s3.put_bucket_request_payment(Bucket=BUCKET, RequestPaymentConfiguration={"Payer": "BucketOwner"})

    assert "Status" not in s3.get_bucket_accelerate_configuration(Bucket=BUCKET)
    s3.put_bucket_accelerate_configuration(Bucket=BUCKET, AccelerateConfiguration={"Status": "Suspended"})
    assert s3.get_bucket_accelerate_configuration(Bucket=BUCKET)["Status"] == "Suspended"

    missing = ("ServerSideEncryptionConfigurationNotFoundError", 404)
    assert refused(s3.get_bucket_encryption, Bucket=BUCKET) == missing
    rules = [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": False}]
    s3.put_bucket_encryption(Bucket=BUCKET, ServerSideEncryptionConfiguration={"Rules": rules})
    assert s3.get_bucket_encryption(Bucket=BUCKET)["ServerSideEncryptionConfiguration"]["Rules"] == rules
    assert s3.put_object(Bucket=BUCKET, Key="sealed", Body=b"x")["ServerSideEncryption"] == "AES256"
    s3.delete_bucket_encryption(Bucket=BUCKET)
    assert refused(s3.get_bucket_encryption, Bucket=BUCKET) == missing
    assert "ServerSideEncryption" not in s3.put_object(Bucket=BUCKET, Key="open", Body=b"x")
