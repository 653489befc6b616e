"""Tests as a suite for moto's server has them."""

import boto3
import pytest
from botocore.exceptions import ClientError


def image():
    return boto3.client("ec2").describe_images()["Images"][0]["ImageId"]


def test_an_instance_runs():
    ec2 = boto3.client("ec2")
    [instance] = ec2.run_instances(ImageId=image(), InstanceType="t3.nano", MinCount=1, MaxCount=1)["Instances"]
    ec2.get_waiter("instance_running").wait(InstanceIds=[instance["InstanceId"]], WaiterConfig={"Delay": 1})
    ec2.create_tags(Resources=[instance["InstanceId"]], Tags=[{"Key": "Name", "Value": "web"}])
    [reservation] = ec2.describe_instances(Filters=[{"Name": "tag:Name", "Values": ["web"]}])["Reservations"]
    assert reservation["Instances"][0]["InstanceId"] == instance["InstanceId"]


def test_each_test_begins_with_an_empty_cloud():
    assert boto3.client("ec2").describe_instances()["Reservations"] == []
    assert boto3.client("s3").list_buckets()["Buckets"] == []


def test_an_object_is_kept():
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="things")
    s3.put_object(Bucket="things", Key="a key", Body=b"thing")
    assert s3.get_object(Bucket="things", Key="a key")["Body"].read() == b"thing"


def test_buckets_are_gone_too():
    assert boto3.client("s3").list_buckets()["Buckets"] == []
    boto3.client("s3").create_bucket(Bucket="things")


def test_another_key_is_another_account():
    """`testing` is moto's account; a key of twelve digits names its account, any other has one of its own."""

    def account(key):
        sts = boto3.client("sts", aws_access_key_id=key, aws_secret_access_key="any", aws_session_token=None)
        return sts.get_caller_identity()["Account"]

    assert account("testing") == "123456789012"
    assert account("111122223333") == "111122223333"
    mine, other = account("AKIAMINE"), account("AKIAOTHER")
    assert len({mine, other, "123456789012"}) == 3 and account("AKIAMINE") == mine

    boto3.client("s3").create_bucket(Bucket="private")
    stranger = boto3.client("s3", aws_access_key_id="AKIAOTHER", aws_secret_access_key="any")
    with pytest.raises(ClientError, match="AccessDenied"):
        stranger.list_objects_v2(Bucket="private")
