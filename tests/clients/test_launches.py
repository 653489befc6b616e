"""Launches: the aws CLI's own examples of run-instances, and a type of every family. The cloud is simulated."""

import itertools
import json
import pathlib
import re
import shlex

import awscli
import pytest

EXAMPLES = pathlib.Path(awscli.__file__).parent / "examples/ec2/run-instances.rst"


def examples():
    """The commands of the CLI's manual, each as its list of words."""
    for block in re.findall(r"^    aws ec2 run-instances \\\n(?:        .*\n)+", EXAMPLES.read_text(), re.MULTILINE):
        yield shlex.split(block.replace("\\\n", " "))[3:]


def mapping():
    """The manual's first mapping.json: an empty volume of 100 GiB."""
    return re.search(r"^    \[\n        \{\n            \"DeviceName\".*?^    \]", EXAMPLES.read_text(), re.MULTILINE | re.DOTALL)[0]


@pytest.mark.parametrize("number", range(1, 7))
def test_the_manuals_example_launches(cloud, image, tmp_path, number):
    all_examples = list(examples())
    assert len(all_examples) == 6
    ec2 = cloud.client()
    [subnet] = ec2.describe_subnets(Filters=[{"Name": "availability-zone", "Values": ["us-east-1a"]}])["Subnets"]
    [group] = ec2.describe_security_groups(GroupNames=["default"])["SecurityGroups"]
    if not ec2.describe_key_pairs(Filters=[{"Name": "key-name", "Values": ["MyKeyPair"]}])["KeyPairs"]:
        ec2.create_key_pair(KeyName="MyKeyPair")
    (tmp_path / "mapping.json").write_text(mapping())
    (tmp_path / "my_script.txt").write_text("#!/bin/sh\n")
    replaced = {"ami-0abcdef1234567890": image, "subnet-08fc749671b2d077c": subnet["SubnetId"], "sg-0b0384b66d7d692f9": group["GroupId"]}
    words = [replaced.get(word, word).replace("file://", f"file://{tmp_path}/") for word in all_examples[number - 1]]
    [launched] = json.loads(cloud.aws("ec2", "run-instances", *words).stdout)["Instances"]
    assert launched["InstanceType"] == "t2.micro" and launched["KeyName"] == "MyKeyPair"
    ec2.terminate_instances(InstanceIds=[launched["InstanceId"]])


def test_a_type_of_every_family_launches(cloud, image):
    ec2 = cloud.client()
    pages = ec2.get_paginator("describe_instance_types").paginate()
    kinds = [kind for page in pages for kind in page["InstanceTypes"] if "x86_64" in kind["ProcessorInfo"]["SupportedArchitectures"]]
    families = {family: next(of)["InstanceType"] for family, of in
                itertools.groupby(sorted(kinds, key=lambda k: k["InstanceType"]), lambda k: k["InstanceType"].split(".")[0])}
    assert len(families) > 100
    for name in families.values():
        [launched] = ec2.run_instances(ImageId=image, InstanceType=name, MinCount=1, MaxCount=1)["Instances"]
        assert launched["InstanceType"] == name
        ec2.terminate_instances(InstanceIds=[launched["InstanceId"]])
