"""`pileus account`: tenants and their keys, for the operator."""

import json
import uuid

import boto3
import pytest
from botocore.exceptions import ClientError


@pytest.fixture
def team(cloud):
    """A new account: its name, its id, and a way to its clients."""
    name = f"team {uuid.uuid4().hex}/ä"
    return name, json.loads(cloud.pileus("account", "create", "--name", name).stdout)


def client(cloud, service, key):
    return boto3.client(service, region_name="us-east-1", endpoint_url=f"http://{cloud.listen}", aws_access_key_id=key["AccessKeyId"],
                        aws_secret_access_key=key["SecretAccessKey"])


def refused(cloud, *words):
    done = cloud.pileus(*words, check=False)
    assert done.returncode != 0 and done.stdout == ""
    return done.stderr


def test_accounts_are_listed_and_shown(cloud, team):
    name, key = team
    [shown] = [a for a in json.loads(cloud.pileus("account", "list", "--json").stdout) if a["Name"] == name]
    assert shown == json.loads(cloud.pileus("account", "show", key["AccountId"], "--json").stdout)
    assert shown["State"] == "active" and [k["AccessKeyId"] for k in shown["AccessKeys"]] == [key["AccessKeyId"]]
    assert f"{key['AccountId']}\t{name}\tactive\t1\t0\t0" in cloud.pileus("account", "list").stdout
    plain = cloud.pileus("account", "show", name).stdout
    assert key["AccessKeyId"] in plain and key["SecretAccessKey"] not in plain
    assert 'no account of the name or id "nobody"' in refused(cloud, "account", "show", "nobody")


def test_a_key_is_changed_for_a_new_one(cloud, team):
    name, old = team
    new = json.loads(cloud.pileus("account", "key", "create", name).stdout)
    assert "at most 2 access keys" in refused(cloud, "account", "key", "create", name)
    assert client(cloud, "sts", new).get_caller_identity()["Account"] == old["AccountId"]
    cloud.pileus("account", "key", "delete", old["AccessKeyId"])
    with pytest.raises(ClientError, match="InvalidClientTokenId"):
        client(cloud, "sts", old).get_caller_identity()
    with pytest.raises(ClientError, match="InvalidAccessKeyId"):
        client(cloud, "s3", old).list_buckets()
    assert "no access key" in refused(cloud, "account", "key", "delete", old["AccessKeyId"])


def test_an_account_is_closed_only_without_what_it_has(cloud, team, image):
    name, key = team
    ec2, s3, bucket = client(cloud, "ec2", key), client(cloud, "s3", key), f"bucket-{uuid.uuid4().hex}"
    [instance] = ec2.run_instances(ImageId=image, InstanceType="t3.nano", MinCount=1, MaxCount=1, DisableApiTermination=True)["Instances"]
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert "instances: 1, buckets: 1" in refused(cloud, "account", "close", name)
    assert ec2.describe_instances()["Reservations"]
    cloud.pileus("account", "close", name, "--force")
    with pytest.raises(ClientError, match="AuthFailure"):
        ec2.describe_instances()
    shown = json.loads(cloud.pileus("account", "show", name, "--json").stdout)
    assert (shown["State"], shown["AccessKeys"], shown["Buckets"]) == ("closed", [], 0)
    assert "is closed" in refused(cloud, "account", "key", "create", name)
    assert "can't be closed" in refused(cloud, "account", "close", "default", "--force")
    assert "already" in refused(cloud, "account", "create", "--name", name)
