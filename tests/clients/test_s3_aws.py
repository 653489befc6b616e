"""What the unmodified aws CLI and boto3 make of S3. The cloud is simulated; its S3 is the real one."""

import base64
import hashlib
import io
import json
import socket
import urllib.error
import urllib.request

import boto3.s3.transfer
import botocore.exceptions
import pytest
from botocore.config import Config

import s3_client
from s3_client import noise

MIB = 1 << 20


def tree(directory):
    return {str(file.relative_to(directory)): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in directory.rglob("*") if file.is_file()}


@pytest.fixture
def s3(cloud):
    return s3_client.client(cloud)


@pytest.fixture
def bucket(s3, request):
    name = "t-" + "".join(c if c.isalnum() else "-" for c in request.node.name)[:50].strip("-").lower()
    s3.create_bucket(Bucket=name)
    yield name
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=name):
        for version in page.get("Versions", []) + page.get("DeleteMarkers", []):
            s3.delete_object(Bucket=name, Key=version["Key"], VersionId=version["VersionId"])
    s3.delete_bucket(Bucket=name)


def test_the_clis_high_commands(cloud, tmp_path):
    here, back = tmp_path / "here", tmp_path / "back"
    (here / "sub/deep").mkdir(parents=True)
    (here / "plain.txt").write_text("hello\n")
    (here / "sub/empty").touch()
    (here / "sub/deep/ключ +&=%20.bin").write_bytes(noise(100_000))
    # Over the CLI's threshold: sent in parts.
    (here / "large").write_bytes(noise(17 * MIB))
    cloud.aws("s3", "mb", "s3://high-commands")
    assert "high-commands" in cloud.aws("s3", "ls").stdout
    cloud.aws("s3", "sync", here, "s3://high-commands/all")
    cloud.aws("s3", "sync", "s3://high-commands/all", back)
    assert tree(back) == tree(here)
    assert cloud.aws("s3", "sync", here, "s3://high-commands/all").stdout == "", "nothing is sent twice"
    (here / "plain.txt").write_text("changed\n")
    (here / "sub/empty").unlink()
    said = cloud.aws("s3", "sync", "--delete", "--no-progress", here, "s3://high-commands/all").stdout
    assert sorted(line.split(":")[0] for line in said.splitlines()) == ["delete", "upload"]
    listed = cloud.aws("s3", "ls", "--recursive", "s3://high-commands/all/").stdout.splitlines()
    assert [line.split(maxsplit=3)[2:] for line in listed] == [
        [str(17 * MIB), "all/large"], ["8", "all/plain.txt"], ["100000", "all/sub/deep/ключ +&=%20.bin"]]
    assert [line.split()[-1] for line in cloud.aws("s3", "ls", "s3://high-commands/all/").stdout.splitlines()] == ["sub/", "large", "plain.txt"]
    cloud.aws("s3", "cp", "s3://high-commands/all/large", "s3://high-commands/copied")
    cloud.aws("s3", "mv", "s3://high-commands/copied", tmp_path / "moved")
    assert (tmp_path / "moved").read_bytes() == (here / "large").read_bytes()
    assert cloud.aws("s3", "cp", "s3://high-commands/all/plain.txt", "-").stdout == "changed\n"

    (tmp_path / "config").write_text("[default]\ns3 =\n    signature_version = s3v4\n")
    url = cloud.aws("s3", "presign", "s3://high-commands/all/plain.txt", "--expires-in", "60", config=tmp_path / "config").stdout.strip()
    assert urllib.request.urlopen(url).read() == b"changed\n"
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(url.replace("plain", "other"))
    assert refused.value.code == 403

    assert "BucketNotEmpty" in cloud.aws("s3", "rb", "s3://high-commands", check=False).stderr
    cloud.aws("s3", "rm", "--recursive", "s3://high-commands/all/sub")
    cloud.aws("s3", "rb", "--force", "s3://high-commands")
    assert "high-commands" not in cloud.aws("s3", "ls").stdout


def test_the_clis_s3api(cloud, bucket, tmp_path):
    def api(*words):
        return json.loads(cloud.aws("s3api", *words, "--bucket", bucket).stdout or "null")

    body = tmp_path / "body"
    body.write_bytes(b"0123456789")
    put = api("put-object", "--key", "k", "--body", body, "--metadata", "a=b", "--checksum-algorithm", "SHA256", "--tagging", "t=u")
    assert put["ETag"] == f'"{hashlib.md5(b"0123456789").hexdigest()}"'
    assert put["ChecksumSHA256"] == base64.b64encode(hashlib.sha256(b"0123456789").digest()).decode()
    got = api("get-object", "--key", "k", "--range", "bytes=2-4", tmp_path / "got")
    assert (got["ContentRange"], (tmp_path / "got").read_bytes(), got["Metadata"]) == ("bytes 2-4/10", b"234", {"a": "b"})
    assert api("get-object-tagging", "--key", "k")["TagSet"] == [{"Key": "t", "Value": "u"}]
    attributes = api("get-object-attributes", "--key", "k", "--object-attributes", "ETag", "Checksum", "ObjectSize")
    assert (attributes["ObjectSize"], attributes["Checksum"]["ChecksumSHA256"]) == (10, put["ChecksumSHA256"])

    api("put-bucket-versioning", "--versioning-configuration", "Status=Enabled")
    first = api("put-object", "--key", "v", "--body", body)["VersionId"]
    api("put-object", "--key", "v", "--body", body)
    marker = api("delete-object", "--key", "v")
    assert marker["DeleteMarker"] is True
    versions = api("list-object-versions", "--prefix", "v")
    assert ([v["IsLatest"] for v in versions["Versions"]], versions["DeleteMarkers"][0]["VersionId"]) == ([False, False], marker["VersionId"])
    assert versions["Versions"][1]["VersionId"] == first
    assert "NoSuchKey" in cloud.aws("s3api", "get-object", "--bucket", bucket, "--key", "v", tmp_path / "x", check=False).stderr
    api("delete-object", "--key", "v", "--version-id", marker["VersionId"])
    assert api("head-object", "--key", "v")["ContentLength"] == 10

    rules = {"Rules": [{"ID": "r", "Status": "Enabled", "Filter": {"Prefix": "old/"}, "Expiration": {"Days": 3}}]}
    api("put-bucket-lifecycle-configuration", "--lifecycle-configuration", json.dumps(rules))
    assert api("get-bucket-lifecycle-configuration")["Rules"] == rules["Rules"]
    assert api("get-bucket-location")["LocationConstraint"] is None


def test_files_through_boto3s_transfer(cloud, s3, bucket, monkeypatch):
    # Names under localhost are this machine, also where the system's resolver doesn't know that (RFC 6761).
    look_up = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *more, **words: look_up("127.0.0.1", *more, **words))
    content = noise(20 * MIB + 17)
    config = boto3.s3.transfer.TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB, max_concurrency=4)
    s3.upload_fileobj(io.BytesIO(content), bucket, "large", Config=config, ExtraArgs={"ContentType": "a/b", "ChecksumAlgorithm": "SHA256"})
    head = s3.head_object(Bucket=bucket, Key="large", ChecksumMode="ENABLED")
    md5s = [hashlib.md5(content[at:at + 5 * MIB]).digest() for at in range(0, len(content), 5 * MIB)]
    assert head["ETag"] == f'"{hashlib.md5(b"".join(md5s)).hexdigest()}-5"'
    assert (head["ContentLength"], head["ContentType"]) == (len(content), "a/b")
    back = io.BytesIO()
    s3.download_fileobj(bucket, "large", back, Config=config)
    assert back.getvalue() == content
    # By hosts that name the bucket, as it is on Amazon.
    endpoint = f"http://localhost:{cloud.listen.split(':')[1]}"
    env = cloud.environment()
    hosted = boto3.client("s3", endpoint_url=endpoint, region_name=env["AWS_DEFAULT_REGION"], aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
                          aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"], config=Config(s3={"addressing_style": "virtual"}))
    hosted.copy({"Bucket": bucket, "Key": "large"}, bucket, "copied", Config=config)
    assert hosted.get_object(Bucket=bucket, Key="copied")["Body"].read() == content
    resource = boto3.resource("s3", endpoint_url=endpoint, region_name=env["AWS_DEFAULT_REGION"], aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
                              aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"])
    assert [o.key for o in resource.Bucket(bucket).objects.all()] == ["copied", "large"]


def test_a_form_of_a_browser(s3, bucket):
    form = s3.generate_presigned_post(bucket, "in/${filename}", Conditions=[["content-length-range", 1, 100]], ExpiresIn=60)
    edge = "edge"

    def post(content):
        fields = "".join(f'--{edge}\r\nContent-Disposition: form-data; name="{n}"\r\n\r\n{v}\r\n' for n, v in form["fields"].items())
        body = f'{fields}--{edge}\r\nContent-Disposition: form-data; name="file"; filename="photo.txt"\r\n\r\n{content}\r\n--{edge}--\r\n'
        asked = urllib.request.Request(form["url"], body.encode(), {"Content-Type": f"multipart/form-data; boundary={edge}"})
        return urllib.request.urlopen(asked).status

    assert post("a picture") == 204
    assert s3.get_object(Bucket=bucket, Key="in/photo.txt")["Body"].read() == b"a picture"
    with pytest.raises(urllib.error.HTTPError) as refused:
        post("x" * 200)
    assert b"EntityTooLarge" in refused.value.read()


def test_others_and_nobody(cloud, s3, bucket):
    other = cloud.client("s3", cloud.account("s3-other"))
    s3.put_object(Bucket=bucket, Key="open/k", Body=b"x")
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")

    def anonymous(key):
        try:
            return urllib.request.urlopen(f"http://{cloud.listen}/{bucket}/{key}").status
        except urllib.error.HTTPError as error:
            return error.code

    with pytest.raises(botocore.exceptions.ClientError, match="AccessDenied"):
        other.get_object(Bucket=bucket, Key="k")
    with pytest.raises(botocore.exceptions.ClientError, match="BucketAlreadyExists"):
        other.create_bucket(Bucket=bucket)
    assert anonymous("open/k") == 403
    policy = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/open/*"}]}
    with pytest.raises(botocore.exceptions.ClientError, match="AccessDenied"):
        s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    s3.delete_public_access_block(Bucket=bucket)
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    assert (anonymous("open/k"), anonymous("k")) == (200, 403)
    assert other.get_object(Bucket=bucket, Key="open/k")["Body"].read() == b"x"
