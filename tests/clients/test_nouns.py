"""What the unmodified aws CLI and boto3 make of key pairs, images, types, tags and the default VPC. The cloud is simulated."""

import json
import os
import subprocess

import botocore.exceptions
import pytest


def refused(call, **words):
    with pytest.raises(botocore.exceptions.ClientError) as error:
        call(**words)
    return error.value.response["Error"]["Code"]


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
def test_a_key_that_the_cli_saved_is_one_for_openssh(cloud, tmp_path, kind):
    name, file = f"saved-{kind}", tmp_path / "k.pem"
    words = ["ec2", "create-key-pair", "--key-name", name, "--key-type", kind, "--query", "KeyMaterial", "--output", "text"]
    file.write_text(cloud.aws(*words).stdout)
    os.chmod(file, 0o600)
    public = subprocess.run(["ssh-keygen", "-y", "-f", file], check=True, capture_output=True, text=True).stdout
    ec2 = cloud.client()
    [described] = ec2.describe_key_pairs(KeyNames=[name], IncludePublicKey=True)["KeyPairs"]
    assert described["PublicKey"].split()[:2] == public.split()[:2]
    assert described["PublicKey"].split()[2] == name
    assert refused(ec2.create_key_pair, KeyName=name) == "InvalidKeyPair.Duplicate"
    # What was given out can be imported again, by file as the CLI does it.
    (tmp_path / "k.pub").write_text(public)
    cloud.aws("ec2", "import-key-pair", "--key-name", f"{name}-2", "--public-key-material", f"fileb://{tmp_path}/k.pub")
    [again] = ec2.describe_key_pairs(KeyNames=[f"{name}-2"])["KeyPairs"]
    if kind == "ed25519":
        assert again["KeyFingerprint"] == described["KeyFingerprint"]
    else:
        assert (len(again["KeyFingerprint"]), len(described["KeyFingerprint"])) == (16 * 3 - 1, 20 * 3 - 1)
    cloud.aws("ec2", "delete-key-pair", "--key-name", name)
    assert refused(ec2.describe_key_pairs, KeyNames=[name]) == "InvalidKeyPair.NotFound"


def test_the_clis_own_ssh_rule(cloud):
    ec2 = cloud.client()
    [group] = ec2.describe_security_groups(GroupNames=["default"])["SecurityGroups"]
    cloud.aws("ec2", "authorize-security-group-ingress", "--group-name", "default", "--protocol", "tcp", "--port", "22", "--cidr", "0.0.0.0/0")
    permission = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    again = {"GroupId": group["GroupId"], "IpPermissions": [permission]}
    assert refused(ec2.authorize_security_group_ingress, **again) == "InvalidPermission.Duplicate"
    [changed] = ec2.describe_security_groups(GroupIds=[group["GroupId"]])["SecurityGroups"]
    rules = ec2.describe_security_group_rules(Filters=[{"Name": "group-id", "Values": [group["GroupId"]]}])["SecurityGroupRules"]
    assert {r["FromPort"] for r in rules if not r["IsEgress"]} == {-1, 22}
    # What is shown can be given back as it is.
    shown = [p for p in changed["IpPermissions"] if p["IpProtocol"] == "tcp"]
    ec2.revoke_security_group_ingress(GroupId=group["GroupId"], IpPermissions=shown)
    assert ec2.describe_security_groups(GroupIds=[group["GroupId"]])["SecurityGroups"] == [group]


def test_pages_by_boto3s_paginators(cloud):
    pages = list(cloud.client().get_paginator("describe_instance_types").paginate(
        Filters=[{"Name": "instance-type", "Values": ["t3.*", "m5.*"]}], PaginationConfig={"PageSize": 5}))
    names = [t["InstanceType"] for page in pages for t in page["InstanceTypes"]]
    assert len(pages) == 4 and len(names) == len(set(names)) == 16
    assert {n.split(".")[0] for n in names} == {"t3", "m5"}


def test_the_default_vpc_hangs_together(cloud):
    ec2 = cloud.client()
    [vpc] = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
    subnets = ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc["VpcId"]]}])["Subnets"]
    zones = ec2.describe_availability_zones()["AvailabilityZones"]
    assert sorted(s["AvailabilityZone"] for s in subnets) == [z["ZoneName"] for z in zones]
    assert {s["AvailabilityZone"]: s["AvailabilityZoneId"] for s in subnets} == {z["ZoneName"]: z["ZoneId"] for z in zones}
    attribute = ec2.describe_account_attributes(AttributeNames=["default-vpc"])["AccountAttributes"][0]
    assert attribute["AttributeValues"] == [{"AttributeValue": vpc["VpcId"]}]
    [gateway] = ec2.describe_internet_gateways(Filters=[{"Name": "attachment.vpc-id", "Values": [vpc["VpcId"]]}])["InternetGateways"]
    assert gateway["Attachments"] == [{"State": "available", "VpcId": vpc["VpcId"]}]
    assert any(r["RegionName"] == ec2.meta.region_name for r in ec2.describe_regions()["Regions"])


def test_tags_by_the_cli_and_the_resource_model(cloud, image):
    ec2 = cloud.client()
    run = ec2.run_instances(ImageId=image, InstanceType="t3.nano", MinCount=1, MaxCount=1)
    instance = run["Instances"][0]["InstanceId"]
    ec2.get_waiter("instance_running").wait(InstanceIds=[instance], WaiterConfig={"Delay": 1})
    [volume] = ec2.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": [instance]}])["Volumes"]
    [interface] = ec2.describe_network_interfaces(Filters=[{"Name": "attachment.instance-id", "Values": [instance]}])["NetworkInterfaces"]
    things = [instance, volume["VolumeId"], interface["NetworkInterfaceId"]]
    cloud.aws("ec2", "create-tags", "--resources", *things, "--tags", "Key=Name,Value=web server", "Key=empty,Value=")
    told = json.loads(cloud.aws("ec2", "describe-tags", "--filters", "Name=key,Values=Name", "Name=value,Values=web*").stdout)["Tags"]
    assert {t["ResourceId"] for t in told} == set(things)
    found = ec2.describe_instances(Filters=[{"Name": "tag:Name", "Values": ["web server"]}])["Reservations"]
    assert [i["InstanceId"] for r in found for i in r["Instances"]] == [instance]
    cloud.aws("ec2", "delete-tags", "--resources", *things, "--tags", "Key=Name")
    assert {t["Key"] for t in ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": things}])["Tags"]} == {"empty"}
    ec2.terminate_instances(InstanceIds=[instance])
