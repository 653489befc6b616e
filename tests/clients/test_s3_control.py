"""S3 Control: tags of buckets, as Terraform's provider for AWS reads and writes them from version 6.23 on."""

import json
import socket

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

import s3_client

BUCKET = "tagged-by-control"
ARN = f"arn:aws:s3:::{BUCKET}"


@pytest.fixture
def names(monkeypatch):
    """A resolver that knows the names under localhost, as systemd-resolved does."""
    resolve = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo",
                        lambda host, *more, **named: resolve("127.0.0.1" if str(host).endswith(".localhost") else host, *more, **named))


def control(env):
    return boto3.client("s3control", region_name=env["AWS_DEFAULT_REGION"], endpoint_url=env["AWS_ENDPOINT_URL_S3_CONTROL"],
                        aws_access_key_id=env["AWS_ACCESS_KEY_ID"], aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
                        config=Config(retries={"max_attempts": 1, "mode": "standard"}))


def test_tags_of_a_bucket(cloud, names):
    s3, env = s3_client.client(cloud), cloud.environment()
    account = json.loads(cloud.aws("sts", "get-caller-identity").stdout)["Account"]
    s3.create_bucket(Bucket=BUCKET)
    client = control(env)
    of = dict(AccountId=account, ResourceArn=ARN)
    assert client.list_tags_for_resource(**of)["Tags"] == []
    client.tag_resource(**of, Tags=[{"Key": "team", "Value": "a & b"}, {"Key": "stage", "Value": "test"}])
    client.tag_resource(**of, Tags=[{"Key": "stage", "Value": "live"}, {"Key": "zone", "Value": ""}])
    wanted = [{"Key": "stage", "Value": "live"}, {"Key": "team", "Value": "a & b"}, {"Key": "zone", "Value": ""}]
    assert client.list_tags_for_resource(**of)["Tags"] == wanted
    assert s3.get_bucket_tagging(Bucket=BUCKET)["TagSet"] == wanted
    client.untag_resource(**of, TagKeys=["zone", "team"])
    assert client.list_tags_for_resource(**of)["Tags"] == [{"Key": "stage", "Value": "live"}]
    for wrong, code in [(of | {"AccountId": "000000000001"}, "AccessDenied"), (of | {"ResourceArn": ARN + "-none"}, "NoSuchBucket")]:
        with pytest.raises(ClientError) as refused:
            client.list_tags_for_resource(**wrong)
        assert refused.value.response["Error"]["Code"] == code
    with pytest.raises(ClientError) as unbuilt:
        client.get_public_access_block(AccountId=account)
    assert unbuilt.value.response["Error"]["Code"] == "NotImplemented"
    s3.delete_bucket(Bucket=BUCKET)
