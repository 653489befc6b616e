"""Images of several accounts and regions, by the unmodified aws CLI and boto3. The cloud is simulated."""

import json

import botocore.exceptions
import pytest
from test_instances import refused

AMAZON, CANONICAL, DEBIAN = "137112412989", "099720109477", "136693071363"


@pytest.fixture(scope="module")
def stranger(cloud):
    return cloud.account("image-stranger")


def names(ec2, **words):
    return [i["Name"] for i in ec2.describe_images(**words)["Images"]]


def copied(cloud, name, region="us-east-1"):
    """A private image of the first account."""
    ec2 = cloud.client(region=region)
    [tiny] = cloud.client().describe_images(Owners=["self"], Filters=[{"Name": "name", "Values": ["tiny"]}])["Images"]
    return ec2.copy_image(SourceRegion="us-east-1", SourceImageId=tiny["ImageId"], Name=name)["ImageId"]


def answer(call, **words):
    """The whole text of a refusal."""
    with pytest.raises(botocore.exceptions.ClientError) as error:
        call(**words)
    return str(error.value)


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1"])
def test_public_images_are_found_as_those_of_aws(cloud, stranger, region):
    ec2 = cloud.client(credentials=stranger, region=region)
    found = json.loads(cloud.aws("ec2", "describe-images", "--region", region, "--owners", "amazon", "--filters",
                                 "Name=name,Values=amzn2-ami-hvm-*", "Name=architecture,Values=x86_64").stdout)["Images"]
    [linux] = found
    assert (linux["OwnerId"], linux["ImageOwnerAlias"], linux["RootDeviceName"]) == (AMAZON, "amazon", "/dev/xvda")
    assert linux["Description"] and linux["EnaSupport"] and linux["VirtualizationType"] == "hvm"
    assert linux["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"].startswith("snap-")
    assert any(n.startswith("ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-amd64-server-") for n in names(ec2, Owners=[CANONICAL]))
    assert any(n.startswith("ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-") for n in names(ec2, Owners=[CANONICAL]))
    assert any(n.startswith("debian-12-amd64-") for n in names(ec2, Owners=[DEBIAN]))
    newest = max(ec2.describe_images(Owners=[CANONICAL])["Images"], key=lambda i: i["CreationDate"])
    run = ec2.run_instances(ImageId=newest["ImageId"], InstanceType="t3.micro", MinCount=1, MaxCount=1)["Instances"][0]
    assert run["RootDeviceName"] == "/dev/sda1"
    ec2.terminate_instances(InstanceIds=[run["InstanceId"]])


def test_ids_of_regions_differ_and_pages_have_each_image_once(cloud, stranger):
    ec2 = cloud.client(credentials=stranger)
    pages = ec2.get_paginator("describe_images").paginate(PaginationConfig={"PageSize": 4})
    ids = [i["ImageId"] for page in pages for i in page["Images"]]
    assert len(ids) == len(set(ids)) == len(ec2.describe_images()["Images"]) > 10
    elsewhere = {i["ImageId"] for i in cloud.client(credentials=stranger, region="eu-west-1").describe_images()["Images"]}
    assert len(elsewhere) == len(ids) and not elsewhere & set(ids)


def test_a_private_image_is_shared_and_taken_back(cloud, stranger):
    image = copied(cloud, "shared")
    ec2 = cloud.client(credentials=stranger)
    launch = {"ImageId": image, "InstanceType": "t3.nano", "MinCount": 1, "MaxCount": 1}
    absent = dict(launch, ImageId="ami-0123456789abcdef0")
    assert answer(ec2.run_instances, **launch) == answer(ec2.run_instances, **absent).replace(absent["ImageId"], image)
    assert refused(ec2.describe_images, ImageIds=[image])[0] == "InvalidAMIID.NotFound"
    permission = "Add=[{UserId=%s}]" % stranger["id"]
    cloud.aws("ec2", "modify-image-attribute", "--image-id", image, "--launch-permission", permission)
    told = json.loads(cloud.aws("ec2", "describe-image-attribute", "--image-id", image, "--attribute", "launchPermission").stdout)
    assert told["LaunchPermissions"] == [{"UserId": stranger["id"]}]
    assert names(ec2, ExecutableUsers=["self"]) == ["shared"]
    guest = ec2.run_instances(**launch)["Instances"][0]["InstanceId"]
    assert refused(ec2.modify_image_attribute, ImageId=image, Description={"Value": "mine"})[0] == "AuthFailure"
    # The receiver copies it to another region, and has it there when it is no longer shared.
    there = cloud.client(credentials=stranger, region="eu-west-1")
    copy = there.copy_image(SourceRegion="us-east-1", SourceImageId=image, Name="got")["ImageId"]
    cloud.aws("ec2", "reset-image-attribute", "--image-id", image, "--attribute", "launchPermission")
    assert refused(ec2.run_instances, **launch)[0] == "InvalidAMIID.NotFound"
    [got] = there.describe_images(Owners=["self"])["Images"]
    assert (got["ImageId"], got["SourceImageId"], got["SourceImageRegion"]) == (copy, image, "us-east-1")
    cloud.aws("ec2", "deregister-image", "--image-id", image)
    assert ec2.describe_instances(InstanceIds=[guest])["Reservations"][0]["Instances"][0]["ImageId"] == image
    second = there.run_instances(**dict(launch, ImageId=copy))["Instances"][0]["InstanceId"]
    ec2.terminate_instances(InstanceIds=[guest])
    there.terminate_instances(InstanceIds=[second])
    there.deregister_image(ImageId=copy)


def test_a_public_image_has_the_tags_of_each_account_apart(cloud, stranger):
    ec2, other = cloud.client(), cloud.client(credentials=stranger)
    [public] = ec2.describe_images(Owners=[AMAZON], Filters=[{"Name": "name", "Values": ["al2023-ami-2023*-x86_64"]}])["Images"]
    cloud.aws("ec2", "create-tags", "--resources", public["ImageId"], "--tags", "Key=Use,Value=web")
    assert ec2.describe_images(ImageIds=[public["ImageId"]])["Images"][0]["Tags"] == [{"Key": "Use", "Value": "web"}]
    assert names(ec2, Filters=[{"Name": "tag:Use", "Values": ["web"]}]) == [public["Name"]]
    assert "Tags" not in other.describe_images(ImageIds=[public["ImageId"]])["Images"][0]
    assert other.describe_tags(Filters=[{"Name": "resource-id", "Values": [public["ImageId"]]}])["Tags"] == []
    ec2.delete_tags(Resources=[public["ImageId"]])
    assert names(ec2, Filters=[{"Name": "tag-key", "Values": ["Use"]}]) == []


def test_the_operator_lists_and_removes_images(cloud, stranger):
    mine = copied(cloud, "to go")
    listed = {i["ImageId"]: i for i in json.loads(cloud.pileus("image", "list", "--json").stdout)}
    assert (listed[mine]["Name"], listed[mine]["OwnerName"], listed[mine]["Public"]) == ("to go", "default", False)
    [tiny] = cloud.client().describe_images(Owners=["self"], Filters=[{"Name": "name", "Values": ["tiny"]}])["Images"]
    assert listed[mine]["Files"] == listed[tiny["ImageId"]]["Files"]
    line = next(line for line in cloud.pileus("image", "list").stdout.splitlines() if mine in line)
    assert "to go" in line and "us-east-1" in line and "default" in line
    elsewhere = cloud.pileus("image", "list", "--region", "eu-west-1").stdout
    assert mine not in elsewhere and "eu-west-1" in elsewhere and "us-east-1" not in elsewhere
    assert cloud.pileus("image", "rm", mine).stdout.split() == [mine]
    assert refused(cloud.client().describe_images, ImageIds=[mine])[0] == "InvalidAMIID.NotFound"
    assert "no image" in cloud.pileus("image", "rm", mine, check=False).stderr


def test_ids_are_the_same_after_a_restart(cloud):
    before = {i["ImageId"] for i in cloud.client().describe_images()["Images"]}
    assert cloud.stop() == 0
    cloud.start()
    assert {i["ImageId"] for i in cloud.client().describe_images()["Images"]} == before
