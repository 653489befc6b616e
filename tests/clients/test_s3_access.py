"""Who may do what in S3: two accounts and nobody, with boto3. The cloud is simulated."""

import base64
import contextlib
import datetime
import hashlib
import hmac
import json
import pathlib
import re
import socket
import uuid

import pytest
import urllib3
from botocore import UNSIGNED
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from s3_client import refused

OFF = dict(BlockPublicAcls=False, IgnorePublicAcls=False, BlockPublicPolicy=False, RestrictPublicBuckets=False)
# Without being told, boto3 signs forms in the older way.
FORMS = Config(signature_version="s3v4", retries={"max_attempts": 0})
ALL_USERS = "http://acs.amazonaws.com/groups/global/AllUsers"


@pytest.fixture(scope="module")
def main(cloud):
    client = cloud.client("s3", config=FORMS)
    client.account = cloud.client("sts").get_caller_identity()["Account"]
    client.canonical = client.list_buckets()["Owner"]["ID"]
    return client


@pytest.fixture(scope="module")
def other(cloud):
    account = cloud.account(f"other-{uuid.uuid4().hex[:8]}")
    client = cloud.client("s3", credentials=account, config=FORMS)
    client.account = account["id"]
    client.canonical = client.list_buckets()["Owner"]["ID"]
    return client


@pytest.fixture(scope="module")
def nobody(cloud):
    return cloud.client("s3", config=Config(signature_version=UNSIGNED, retries={"max_attempts": 0}))


@pytest.fixture
def bucket(main):
    """One that takes lists of grants and public access."""
    name = f"access-{uuid.uuid4().hex}"
    main.create_bucket(Bucket=name, ObjectOwnership="ObjectWriter")
    main.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=OFF)
    return name


def policy(bucket, action, effect="Allow", principal="*", **more):
    resources = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
    statement = dict(Effect=effect, Principal=principal, Action=action, Resource=resources, **more)
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def test_a_bucket_is_private_and_says_so(main, other, nobody):
    name = f"access-{uuid.uuid4().hex}"
    main.create_bucket(Bucket=name)
    main.put_object(Bucket=name, Key="k", Body=b"x")
    for client in (other, nobody):
        assert refused(client.get_object, Bucket=name, Key="k")[0] == "AccessDenied"
        assert refused(client.get_object, Bucket=name, Key="none")[0] == "AccessDenied"
        assert refused(client.list_objects_v2, Bucket=name)[0] == "AccessDenied"
        assert refused(client.put_object, Bucket=name, Key="k", Body=b"y")[0] == "AccessDenied"
        assert refused(client.get_bucket_policy, Bucket=name)[0] == "AccessDenied"
        assert refused(client.delete_bucket, Bucket=name)[0] == "AccessDenied"
        assert refused(client.head_bucket, Bucket=name)[0] == "403"
        assert refused(client.head_object, Bucket=name, Key="k")[0] == "403"
        assert refused(client.get_object, Bucket=f"{name}-none", Key="k")[0] == "NoSuchBucket"
    [error] = other.delete_objects(Bucket=name, Delete={"Objects": [{"Key": "k"}]})["Errors"]
    assert (error["Key"], error["Code"]) == ("k", "AccessDenied")
    assert refused(nobody.delete_objects, Bucket=name, Delete={"Objects": [{"Key": "k"}]}) == ("AccessDenied", 403)
    assert refused(main.get_object, Bucket=name, Key="none")[0] == "NoSuchKey"
    assert main.get_bucket_ownership_controls(Bucket=name)["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    assert all(main.get_public_access_block(Bucket=name)["PublicAccessBlockConfiguration"].values())
    acl = main.get_bucket_acl(Bucket=name)
    assert (acl["Owner"]["ID"], len(acl["Grants"]), acl["Grants"][0]["Permission"]) == (main.canonical, 1, "FULL_CONTROL")
    # It takes no lists, and nothing public.
    assert refused(main.put_bucket_acl, Bucket=name, ACL="private")[0] == "AccessControlListNotSupported"
    assert refused(main.put_object, Bucket=name, Key="k", ACL="public-read")[0] == "AccessControlListNotSupported"
    assert refused(main.put_object, Bucket=name, Key="k", ACL="private")[0] == "AccessControlListNotSupported"
    main.put_object(Bucket=name, Key="k", ACL="bucket-owner-full-control")
    assert refused(main.put_bucket_policy, Bucket=name, Policy=policy(name, "s3:GetObject"))[0] == "AccessDenied"
    assert refused(main.create_bucket, Bucket=f"{name}-2", ACL="public-read")[0] == "InvalidBucketAclWithObjectOwnership"
    error, _ = refused(main.create_bucket, Bucket=f"{name}-2", ACL="public-read", ObjectOwnership="ObjectWriter")
    assert error == "InvalidBucketAclWithBlockPublicAccessError"


def test_policies(main, other, nobody, bucket):
    assert refused(main.get_bucket_policy, Bucket=bucket)[0] == "NoSuchBucketPolicy"
    main.put_object(Bucket=bucket, Key="k", Body=b"x")
    text = policy(bucket, "s3:GetObject", principal={"AWS": other.account})
    main.put_bucket_policy(Bucket=bucket, Policy=text)
    assert main.get_bucket_policy(Bucket=bucket)["Policy"] == text
    assert main.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"]["IsPublic"] is False
    assert other.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
    assert refused(other.get_object, Bucket=bucket, Key="none")[0] == "AccessDenied"
    assert refused(other.put_object, Bucket=bucket, Key="k")[0] == "AccessDenied"
    assert refused(nobody.get_object, Bucket=bucket, Key="k")[0] == "AccessDenied"
    main.put_bucket_policy(Bucket=bucket, Policy=policy(bucket, ["s3:GetObject", "s3:ListBucket"]))
    assert main.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"]["IsPublic"] is True
    assert nobody.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
    assert refused(nobody.get_object, Bucket=bucket, Key="none")[0] == "NoSuchKey"
    # What a public policy gives, one switch takes from all but the owner.
    main.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration={**OFF, "RestrictPublicBuckets": True})
    assert refused(nobody.get_object, Bucket=bucket, Key="k")[0] == "AccessDenied"
    main.get_object(Bucket=bucket, Key="k")
    # A denial wins over everything but the owner's way out.
    main.put_bucket_policy(Bucket=bucket, Policy=policy(bucket, "s3:*", effect="Deny"))
    assert refused(main.get_object, Bucket=bucket, Key="k")[0] == "AccessDenied"
    assert refused(main.list_objects_v2, Bucket=bucket)[0] == "AccessDenied"
    main.get_bucket_policy(Bucket=bucket)
    main.delete_bucket_policy(Bucket=bucket)
    main.get_object(Bucket=bucket, Key="k")
    for wrong in ("{", policy("elsewhere", "s3:GetObject"), policy(bucket, "s3:Get"), policy(bucket, "s3:GetObject", principal={"AWS": "123456789012"}),
                  policy(bucket, "s3:GetObject", principal={"AWS": f"arn:aws:iam::{main.account}:user/none"}), policy(bucket, "s3:GetObject", Sid="x" * 21000)):
        assert refused(main.put_bucket_policy, Bucket=bucket, Policy=wrong)[0] == "MalformedPolicy"


def test_conditions(main, other, nobody, bucket):
    main.put_object(Bucket=bucket, Key="public/a", Body=b"x", Tagging="security=public")
    main.put_object(Bucket=bucket, Key="b", Body=b"x", Tagging="security=private")

    def when(action, **condition):
        main.put_bucket_policy(Bucket=bucket, Policy=policy(bucket, action, Condition=condition))

    when("s3:GetObject", StringEquals={"s3:ExistingObjectTag/security": "public"})
    other.get_object(Bucket=bucket, Key="public/a")
    assert refused(other.get_object, Bucket=bucket, Key="b")[0] == "AccessDenied"
    when("s3:ListBucket", StringLike={"s3:prefix": "public/*"})
    other.list_objects_v2(Bucket=bucket, Prefix="public/x")
    assert refused(other.list_objects_v2, Bucket=bucket)[0] == "AccessDenied"
    assert refused(other.head_object, Bucket=bucket, Key="public/none")[0] == "404"
    assert refused(other.head_object, Bucket=bucket, Key="none")[0] == "403"
    when("s3:GetObject", IpAddress={"aws:SourceIp": "10.0.0.0/8"})
    assert refused(nobody.get_object, Bucket=bucket, Key="b")[0] == "AccessDenied"
    when("s3:GetObject", IpAddress={"aws:SourceIp": "127.0.0.0/8"}, StringLike={"aws:UserAgent": "*Boto3*"})
    nobody.get_object(Bucket=bucket, Key="b")
    when("s3:PutObject", StringEquals={"s3:x-amz-acl": "bucket-owner-full-control"})
    assert refused(other.put_object, Bucket=bucket, Key="c", ACL="bucket-owner-full-control")[0] == "AccessDenied"
    when(["s3:PutObject", "s3:PutObjectAcl"], StringEquals={"s3:x-amz-acl": "bucket-owner-full-control"})
    assert refused(other.put_object, Bucket=bucket, Key="c")[0] == "AccessDenied"
    other.put_object(Bucket=bucket, Key="c", ACL="bucket-owner-full-control")
    when(["s3:PutObjectTagging"], StringEquals={"s3:RequestObjectTag/x": "1"})
    other.put_object_tagging(Bucket=bucket, Key="b", Tagging={"TagSet": [{"Key": "x", "Value": "1"}]})
    assert refused(other.put_object_tagging, Bucket=bucket, Key="b", Tagging={"TagSet": [{"Key": "x", "Value": "2"}]})[0] == "AccessDenied"
    when(["s3:PutObject", "s3:PutObjectTagging"], StringEquals={"s3:RequestObjectTag/x": "1"})
    other.put_object(Bucket=bucket, Key="d", Tagging="x=1")
    assert refused(other.put_object, Bucket=bucket, Key="d", Tagging="x=2")[0] == "AccessDenied"
    when("s3:PutObject", Null={"s3:x-amz-server-side-encryption": "true"})
    assert refused(other.put_object, Bucket=bucket, Key="d", ServerSideEncryption="AES256")[0] == "AccessDenied"
    # To make the ETag a condition takes the right to read.
    when("s3:PutObject", Bool={"s3:ObjectCreationOperation": "true"})
    etag = main.head_object(Bucket=bucket, Key="b")["ETag"]
    assert refused(other.put_object, Bucket=bucket, Key="b", IfMatch=etag)[0] == "AccessDenied"
    assert refused(other.create_multipart_upload, Bucket=bucket, Key="b")[0] == "AccessDenied"
    main.put_bucket_policy(Bucket=bucket, Policy=policy(bucket, ["s3:PutObject", "s3:GetObject"]))
    other.put_object(Bucket=bucket, Key="b", IfMatch=etag)
    when("s3:PutObject", StringLike={"s3:x-amz-copy-source": f"{bucket}/public/*"})
    assert refused(other.copy_object, Bucket=bucket, Key="e", CopySource=f"{bucket}/public/a")[0] == "AccessDenied"


def test_versions_have_permissions_of_their_own(main, other, bucket):
    main.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    version = main.put_object(Bucket=bucket, Key="k", Body=b"1")["VersionId"]
    main.put_object(Bucket=bucket, Key="k", Body=b"2")
    main.put_bucket_policy(Bucket=bucket, Policy=policy(bucket, ["s3:GetObject", "s3:DeleteObject"]))
    assert other.get_object(Bucket=bucket, Key="k")["Body"].read() == b"2"
    assert refused(other.get_object, Bucket=bucket, Key="k", VersionId=version)[0] == "AccessDenied"
    assert refused(other.delete_object, Bucket=bucket, Key="k", VersionId=version)[0] == "AccessDenied"
    answer = other.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "k", "VersionId": version}, {"Key": "other"}]})
    assert [error["Key"] for error in answer["Errors"]] == ["k"] and [d["Key"] for d in answer["Deleted"]] == ["other"]
    other.delete_object(Bucket=bucket, Key="k")


def test_grants(main, other, nobody, bucket):
    main.put_object(Bucket=bucket, Key="private", Body=b"x")
    main.put_object(Bucket=bucket, Key="public", Body=b"x", ACL="public-read")
    main.put_object(Bucket=bucket, Key="signed", Body=b"x", ACL="authenticated-read")
    nobody.get_object(Bucket=bucket, Key="public")
    other.get_object(Bucket=bucket, Key="signed")
    assert refused(nobody.get_object, Bucket=bucket, Key="signed")[0] == "AccessDenied"
    assert refused(other.get_object, Bucket=bucket, Key="private")[0] == "AccessDenied"
    assert refused(other.get_object_acl, Bucket=bucket, Key="public")[0] == "AccessDenied"
    main.put_bucket_acl(Bucket=bucket, ACL="public-read")
    nobody.list_objects_v2(Bucket=bucket)
    assert refused(nobody.get_object, Bucket=bucket, Key="none")[0] == "NoSuchKey"
    assert refused(nobody.put_object, Bucket=bucket, Key="new")[0] == "AccessDenied"
    main.put_bucket_acl(Bucket=bucket, ACL="public-read-write")
    nobody.put_object(Bucket=bucket, Key="new", Body=b"x")
    assert refused(nobody.delete_object, Bucket=bucket, Key="new")[0] == "AccessDenied"
    uris = {grant["Grantee"].get("URI"): grant["Permission"] for grant in main.get_bucket_acl(Bucket=bucket)["Grants"]}
    assert uris[ALL_USERS] in ("READ", "WRITE")
    # Ignored while the switch is on; refused anew while the other is.
    main.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration={**OFF, "IgnorePublicAcls": True})
    assert refused(nobody.list_objects_v2, Bucket=bucket)[0] == "AccessDenied"
    assert refused(nobody.get_object, Bucket=bucket, Key="public")[0] == "AccessDenied"
    main.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration={**OFF, "BlockPublicAcls": True})
    nobody.get_object(Bucket=bucket, Key="public")
    for acl in ("public-read", "public-read-write", "authenticated-read"):
        assert refused(main.put_bucket_acl, Bucket=bucket, ACL=acl)[0] == "AccessDenied"
        assert refused(main.put_object, Bucket=bucket, Key="k", ACL=acl)[0] == "AccessDenied"
    # To one account, by header and by document.
    main.put_object(Bucket=bucket, Key="private", Body=b"x", GrantRead=f'id="{other.canonical}"')
    other.get_object(Bucket=bucket, Key="private")
    owner = {"ID": main.canonical}
    grants = [{"Grantee": {"Type": "CanonicalUser", "ID": other.canonical}, "Permission": "READ_ACP"}]
    main.put_object_acl(Bucket=bucket, Key="private", AccessControlPolicy={"Owner": owner, "Grants": grants})
    [grant] = other.get_object_acl(Bucket=bucket, Key="private")["Grants"]
    assert (grant["Grantee"]["ID"], grant["Permission"]) == (other.canonical, "READ_ACP")
    assert refused(other.get_object, Bucket=bucket, Key="private")[0] == "AccessDenied"
    # The owner can always mend it.
    main.put_object_acl(Bucket=bucket, Key="private", ACL="private")

    def document(grantee, owner=owner):
        return {"Owner": owner, "Grants": [{"Grantee": grantee, "Permission": "READ"}]}

    for wrong, code in [
        (document({"Type": "CanonicalUser", "ID": "_foo"}), "InvalidArgument"),
        (document({"Type": "Group", "URI": "http://example.com/"}), "InvalidArgument"),
        (document({"Type": "AmazonCustomerByEmail", "EmailAddress": "nobody@example.com"}), "UnresolvableGrantByEmailAddress"),
        (document({"Type": "Group", "URI": ALL_USERS}, owner={"ID": other.canonical}), "AccessDenied"),
    ]:
        assert refused(main.put_bucket_acl, Bucket=bucket, AccessControlPolicy=wrong)[0] == code
    assert refused(main.put_bucket_acl, Bucket=bucket, ACL="private", GrantRead=f"id={other.canonical}")[0] == "InvalidRequest"
    assert refused(main.put_bucket_acl, Bucket=bucket)[0] == "MissingSecurityHeader"
    assert refused(main.put_bucket_acl, Bucket=bucket, ACL="mine")[0] == "InvalidArgument"


def test_who_owns_what_others_write(main, other, bucket):
    main.put_bucket_policy(Bucket=bucket, Policy=policy(bucket, "s3:*", principal={"AWS": other.account}))

    def owner(key, **words):
        other.put_object(Bucket=bucket, Key=key, Body=b"x", **words)
        return other.get_object_acl(Bucket=bucket, Key=key)["Owner"]["ID"]

    assert owner("a") == owner("b", ACL="bucket-owner-full-control") == other.canonical
    # It is the writer's: the bucket's owner reads it if it may, and can delete it.
    assert refused(main.get_object, Bucket=bucket, Key="a")[0] == "AccessDenied"
    main.get_object(Bucket=bucket, Key="b")
    main.delete_object(Bucket=bucket, Key="a")
    main.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls={"Rules": [{"ObjectOwnership": "BucketOwnerPreferred"}]})
    assert (owner("a"), owner("b", ACL="bucket-owner-full-control")) == (other.canonical, main.canonical)
    main.put_bucket_acl(Bucket=bucket, ACL="public-read")
    enforced = {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    assert refused(main.put_bucket_ownership_controls, Bucket=bucket, OwnershipControls=enforced)[0] == "InvalidBucketAclWithObjectOwnership"
    main.put_bucket_acl(Bucket=bucket, ACL="private")
    main.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls=enforced)
    assert owner("c") == main.canonical
    # All is the bucket owner's now, what was another's too.
    main.get_object(Bucket=bucket, Key="a")
    assert {found["Owner"]["ID"] for found in main.list_objects(Bucket=bucket)["Contents"]} == {main.canonical}
    main.delete_bucket_ownership_controls(Bucket=bucket)
    assert refused(main.get_bucket_ownership_controls, Bucket=bucket)[0] == "OwnershipControlsNotFoundError"
    main.delete_public_access_block(Bucket=bucket)
    assert refused(main.get_public_access_block, Bucket=bucket)[0] == "NoSuchPublicAccessBlockConfiguration"


def test_the_right_region_and_owner(cloud, main):
    name = f"access-{uuid.uuid4().hex}"
    west = cloud.client("s3", region="eu-west-1", config=Config(retries={"max_attempts": 0}))
    west.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    # boto3 reads the right region out of the refusal, and asks again.
    main.put_object(Bucket=name, Key="k", Body=b"x")
    main.head_bucket(Bucket=name)
    east = cloud.client("s3", config=Config(retries={"max_attempts": 0}))
    east.meta.events.unregister("needs-retry.s3", unique_id="retry-config-s3")
    assert east.get_bucket_location(Bucket=name)["LocationConstraint"] == "eu-west-1"
    west.get_object(Bucket=name, Key="k", ExpectedBucketOwner=main.account)
    assert refused(west.get_object, Bucket=name, Key="k", ExpectedBucketOwner="123456789012")[0] == "AccessDenied"
    assert refused(west.get_object, Bucket=name, Key="k", ExpectedBucketOwner="me")[0] == "InvalidBucketOwnerAWSAccountID"


def test_a_bucket_is_made_as_its_headers_say(main, other):
    name = f"access-{uuid.uuid4().hex}"
    main.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True, ObjectOwnership="BucketOwnerPreferred", GrantRead=f"id={other.canonical}")
    assert main.get_object_lock_configuration(Bucket=name)["ObjectLockConfiguration"]["ObjectLockEnabled"] == "Enabled"
    assert main.get_bucket_versioning(Bucket=name)["Status"] == "Enabled"
    [grant] = main.get_bucket_acl(Bucket=name)["Grants"]
    assert (grant["Grantee"]["ID"], grant["Permission"]) == (other.canonical, "READ")
    other.list_objects_v2(Bucket=name)
    # In us-east-1 it can be made again, which resets its grants.
    main.create_bucket(Bucket=name)
    assert refused(other.list_objects_v2, Bucket=name)[0] == "AccessDenied"
    assert refused(other.create_bucket, Bucket=name)[0] == "BucketAlreadyExists"
    assert refused(main.create_bucket, Bucket=f"{name}-2", ObjectOwnership="Mine")[0] == "InvalidArgument"


def test_a_copy_takes_the_right_to_read(main, other, bucket):
    theirs = f"access-{uuid.uuid4().hex}"
    other.create_bucket(Bucket=theirs)
    main.put_object(Bucket=bucket, Key="k", Body=b"x", Tagging="a=1")
    assert refused(other.copy_object, Bucket=theirs, Key="k", CopySource=f"{bucket}/k")[0] == "AccessDenied"
    upload = other.create_multipart_upload(Bucket=theirs, Key="k")["UploadId"]
    part = dict(Bucket=theirs, Key="k", UploadId=upload, PartNumber=1, CopySource=f"{bucket}/k")
    assert refused(other.upload_part_copy, **part)[0] == "AccessDenied"
    main.put_bucket_policy(Bucket=bucket, Policy=policy(bucket, "s3:GetObject"))
    other.upload_part_copy(**part)
    # Its tags are another right.
    assert refused(other.copy_object, Bucket=theirs, Key="k", CopySource=f"{bucket}/k")[0] == "AccessDenied"
    other.copy_object(Bucket=theirs, Key="k", CopySource=f"{bucket}/k", TaggingDirective="REPLACE")
    main.put_bucket_policy(Bucket=bucket, Policy=policy(bucket, ["s3:GetObject", "s3:GetObjectTagging"]))
    other.copy_object(Bucket=theirs, Key="k", CopySource=f"{bucket}/k")
    assert other.get_object_tagging(Bucket=theirs, Key="k")["TagSet"] == [{"Key": "a", "Value": "1"}]


def send(form, fields=None, body=b"x", filename="f.txt"):
    """What a browser sends of a form, redirects not followed: status, headers, body."""
    fields = {**form["fields"], **(fields or {}), "file": (filename, body, "application/octet-stream")}
    answer = urllib3.PoolManager().request("POST", form["url"], fields=fields, redirect=False, retries=False)
    code = re.search(rb"<Code>(.*?)</Code>", answer.data)
    return answer.status, answer.headers, code.group(1).decode() if code else answer.data.decode()


def test_signed_forms(main, other, bucket):
    fields = {"acl": "public-read", "Content-Type": "text/plain", "x-amz-meta-Who": "me", "tagging": "<Tagging><TagSet><Tag><Key>a</Key><Value>1</Value></Tag></TagSet></Tagging>"}
    conditions = [{name: value} for name, value in fields.items()]
    form = main.generate_presigned_post(bucket, "dir/${filename}", Fields=fields, Conditions=[*conditions, ["starts-with", "$key", "dir/"]])
    status, headers, _ = send(form, filename="C:\\docs\\my file.txt")
    assert (status, headers["Location"]) == (204, f"{form['url'].rstrip('/')}/dir/my%20file.txt")
    got = main.get_object(Bucket=bucket, Key="dir/my file.txt")
    assert (got["Body"].read(), got["ContentType"], got["Metadata"], got["TagCount"]) == (b"x", "text/plain", {"who": "me"}, 1)
    assert headers["ETag"] == got["ETag"]
    assert any(grant["Grantee"].get("URI") == ALL_USERS for grant in main.get_object_acl(Bucket=bucket, Key="dir/my file.txt")["Grants"])
    # What the policy doesn't let be.
    assert send(form, {"acl": "private"})[0::2] == (403, "AccessDenied")
    assert send(form, {"key": "other/x"})[0::2] == (403, "AccessDenied")
    assert send(form, {"more": "x"})[0::2] == (403, "AccessDenied")
    assert send(form, {"x-ignore-this": "x"})[0] == 204
    assert send(form, {"x-amz-signature": "0" * 64})[0::2] == (403, "SignatureDoesNotMatch")
    assert send({"url": form["url"], "fields": {k: v for k, v in form["fields"].items() if k != "x-amz-signature"}})[0::2] == (400, "InvalidArgument")
    assert send(main.generate_presigned_post(bucket, "k", ExpiresIn=-10))[0::2] == (403, "AccessDenied")
    sized = main.generate_presigned_post(bucket, "k", Conditions=[["content-length-range", 2, 4]])
    assert [send(sized, body=b"x" * length)[2] for length in (1, 5)] == ["EntityTooSmall", "EntityTooLarge"]
    assert send(sized, body=b"xxx")[0] == 204
    # A long one, with everything in it that looks like an end.
    long = (b"\r\n--" * 300_000 + b"\r") * 5
    assert send(main.generate_presigned_post(bucket, "long"), body=long)[0] == 204
    assert main.get_object(Bucket=bucket, Key="long")["Body"].read() == long
    # A sum that isn't the body's, and nothing at all.
    summed = main.generate_presigned_post(bucket, "k", Conditions=[["starts-with", "$x-amz-checksum-sha256", ""]])
    sha = lambda body: base64.b64encode(hashlib.sha256(body).digest()).decode()
    assert send(summed, {"x-amz-checksum-sha256": sha(b"x")})[0] == 204
    assert send(summed, {"x-amz-checksum-sha256": sha(b"y")})[0::2] == (400, "BadDigest")
    assert send(main.generate_presigned_post(bucket, "empty"), body=b"")[0] == 204
    assert main.head_object(Bucket=bucket, Key="empty")["ContentLength"] == 0
    # Another's right is asked for, and another bucket isn't this one.
    assert send(other.generate_presigned_post(bucket, "k"))[0::2] == (403, "AccessDenied")
    assert send({**form, "url": form["url"].replace(bucket, f"{bucket}-none")})[2] in ("AccessDenied", "NoSuchBucket")


def test_a_form_is_good_as_long_as_its_policy(cloud, main, bucket):
    """One that was made hours ago, as pages have them."""
    env = cloud.environment()
    made = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=5)
    day, stamp = made.strftime("%Y%m%d"), made.strftime("%Y%m%dT%H%M%SZ")
    fields = {"key": "old", "x-amz-algorithm": "AWS4-HMAC-SHA256", "x-amz-date": stamp,
              "x-amz-credential": f"{env['AWS_ACCESS_KEY_ID']}/{day}/us-east-1/s3/aws4_request"}
    expires = (made + datetime.timedelta(hours=10)).strftime("%Y-%m-%dT%H:%M:%SZ")
    policy = base64.b64encode(json.dumps({"expiration": expires, "conditions": [{n: v} for n, v in fields.items()]}).encode()).decode()
    key = f"AWS4{env['AWS_SECRET_ACCESS_KEY']}".encode()
    for part in (day, "us-east-1", "s3", "aws4_request", policy):
        key = hmac.new(key, part.encode(), "sha256").digest()
    form = {"url": main.generate_presigned_post(bucket, "old")["url"], "fields": {**fields, "policy": policy, "x-amz-signature": key.hex()}}
    assert send(form)[0] == 204


def test_forms_of_nobody(main, bucket):
    url = main.generate_presigned_post(bucket, "k")["url"]

    def form(**fields):
        return {"url": url, "fields": {"key": "k", **fields}}

    assert send(form())[0::2] == (403, "AccessDenied")
    main.put_bucket_acl(Bucket=bucket, ACL="public-read-write")
    status, headers, text = send(form(success_action_status="201", acl="public-read"))
    assert (status, headers["Location"], f"<Bucket>{bucket}</Bucket><Key>k</Key>" in text) == (201, f"{url.rstrip('/')}/k", True)
    assert [send(form(success_action_status=given))[0] for given in ("200", "204", "404", "x")] == [200, 204, 204, 204]
    status, headers, _ = send(form(success_action_redirect="https://example.com/done?a=b"))
    etag = main.head_object(Bucket=bucket, Key="k")["ETag"].strip('"')
    assert (status, headers["Location"]) == (303, f"https://example.com/done?a=b&bucket={bucket}&key=k&etag=%22{etag}%22")
    assert send(form(success_action_redirect="nowhere"))[0] == 204
    # The older way to sign, no key, too much before the file, no file.
    assert send(form(AWSAccessKeyId="AKIA", signature="x", policy="e30="))[0::2] == (400, "InvalidRequest")
    assert send({"url": url, "fields": {}})[0::2] == (400, "InvalidArgument")
    assert send(form(**{"x-amz-meta-long": "x" * 21000}))[0::2] == (400, "MaxPostPreDataLengthExceededError")
    head = urllib3.PoolManager().request("POST", url, fields={"key": "k"})
    assert (head.status, b"InvalidArgument" in head.data) == (400, True)
    wrong = {"content-type": "multipart/form-data"}
    assert b"MalformedPOSTRequest" in urllib3.PoolManager().request("POST", url, body=b"x", headers=wrong).data
    assert send({"url": f"{url.rstrip('/')}-none", "fields": {"key": "k"}})[0::2] == (404, "NoSuchBucket")


def resident_mib(cloud):
    status = pathlib.Path(f"/proc/{cloud.process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")) / 1024


@contextlib.contextmanager
def unfinished(cloud, target, size, count):
    """So many documents, all but whose last byte is sent: how those are answered that don't wait for it."""
    head = f"POST {target} HTTP/1.1\r\nHost: {cloud.listen}\r\nContent-Length: {size}\r\n\r\n".encode()
    host, port = cloud.listen.split(":")
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(socket.create_connection((host, int(port)), timeout=10)) for _ in range(count)]
        answers = []
        for connection in connections:
            connection.sendall(head + b" " * (size - 1))
        for connection in connections:
            connection.settimeout(0.2)
            with contextlib.suppress(TimeoutError):
                answers.append(connection.recv(12).decode())
        yield answers


def test_who_signs_nothing_fills_no_memory(cloud, main, bucket):
    before = resident_mib(cloud)
    # Nobody may delete there: none is read.
    with unfinished(cloud, f"/{bucket}?delete", 1024 * 1024, 60) as answers:
        assert answers == ["HTTP/1.1 403"] * 60
    main.put_bucket_policy(Bucket=bucket, Policy=policy(bucket, "s3:DeleteObject"))
    with unfinished(cloud, f"/{bucket}?delete", 1024 * 1024, 60) as answers:
        assert set(answers) == {"HTTP/1.1 503"} and len(answers) >= 58
    with unfinished(cloud, f"/{bucket}?delete", 1024 * 1024 + 1, 1) as answers:
        assert answers == ["HTTP/1.1 400"]
    assert resident_mib(cloud) - before < 60


def test_one_account_leaves_others_room_for_documents(cloud, main, other, bucket):
    main.put_bucket_policy(Bucket=bucket, Policy=policy(bucket, "s3:DeleteObject", principal={"AWS": other.account}))
    request = AWSRequest("POST", f"http://{cloud.listen}/{bucket}?delete")
    S3SigV4QueryAuth(main._request_signer._credentials, "s3", "us-east-1", expires=600).add_auth(request)
    deleted = {"Bucket": bucket, "Delete": {"Objects": [{"Key": "k"}]}}
    with unfinished(cloud, request.url.removeprefix(f"http://{cloud.listen}"), 4 * 1024 * 1024, 17) as answers:
        assert set(answers) == {"HTTP/1.1 503"} and len(answers) >= 13
        assert [one["Key"] for one in other.delete_objects(**deleted)["Deleted"]] == ["k"]
