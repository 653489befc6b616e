"""What the unmodified aws CLI and boto3 see of instances. The cloud is simulated: this proves the API's shape, not machines."""

import concurrent.futures
import json
import uuid

import botocore.exceptions
import pytest

from cloud import wait_for


def refused(call, **words):
    with pytest.raises(botocore.exceptions.ClientError) as error:
        call(**words)
    answer = error.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]


def state(ec2, instance):
    [reservation] = ec2.describe_instances(InstanceIds=[instance])["Reservations"]
    return reservation["Instances"][0]["State"]["Name"]


def launch(ec2, image, **more):
    return ec2.run_instances(ImageId=image, InstanceType="t3.nano", **{"MinCount": 1, "MaxCount": 1, **more})["Instances"][0]["InstanceId"]


def test_the_cli_tells_who_asks_and_runs_an_instance(cloud, image):
    told = json.loads(cloud.aws("sts", "get-caller-identity").stdout)
    assert told["Arn"] == f"arn:aws:iam::{told['Account']}:root"
    words = ["ec2", "run-instances", "--image-id", image, "--instance-type", "t3.nano", "--query", "Instances[0].InstanceId"]
    instance = cloud.aws(*words, "--output", "text").stdout.strip()
    cloud.aws("ec2", "wait", "instance-running", "--instance-ids", instance)
    console = cloud.aws("ec2", "get-console-output", "--instance-id", instance, "--latest", "--output", "text").stdout
    assert "simulated" in console
    cloud.aws("ec2", "stop-instances", "--instance-ids", instance)
    cloud.aws("ec2", "wait", "instance-stopped", "--instance-ids", instance)
    cloud.aws("ec2", "start-instances", "--instance-ids", instance)
    cloud.aws("ec2", "wait", "instance-running", "--instance-ids", instance)
    cloud.aws("ec2", "reboot-instances", "--instance-ids", instance)
    cloud.aws("ec2", "terminate-instances", "--instance-ids", instance)
    cloud.aws("ec2", "wait", "instance-terminated", "--instance-ids", instance)
    assert "No such" not in cloud.aws("ec2", "describe-instances", "--output", "text").stdout


def test_bad_input_has_awss_codes_and_makes_nothing(cloud, image):
    ec2 = cloud.client()
    before = len(ec2.describe_instances()["Reservations"])
    run = ec2.run_instances
    good = {"ImageId": image, "InstanceType": "t3.nano", "MinCount": 1, "MaxCount": 1}
    for wrong, code in [
        ({"ImageId": "ami-12345678"}, "InvalidAMIID.NotFound"),
        ({"ImageId": "nonsense"}, "InvalidAMIID.Malformed"),
        ({"InstanceType": "t3.gigantic"}, "InvalidParameterValue"),
        ({"KeyName": "nobody"}, "InvalidKeyPair.NotFound"),
        ({"SubnetId": "subnet-12345678"}, "InvalidSubnetID.NotFound"),
        ({"SecurityGroupIds": ["sg-12345678"]}, "InvalidGroup.NotFound"),
        ({"MinCount": 0, "MaxCount": 0}, "InvalidParameterValue"),
        ({"UserData": "x" * 16385}, "InvalidParameterValue"),
        ({"InstanceType": "t9.gig"}, "InvalidParameterValue"),
    ]:
        assert refused(run, **{**good, **wrong})[0] == code, wrong
    assert refused(run, **{**good, "MinCount": 10000, "MaxCount": 10000})[0] in ("InstanceLimitExceeded", "InsufficientInstanceCapacity")
    assert refused(run, **good, DryRun=True) == ("DryRunOperation", 412)
    assert refused(ec2.describe_instances, InstanceIds=["i-12345678"])[0] == "InvalidInstanceID.NotFound"
    assert refused(ec2.describe_instances, Filters=[{"Name": "colour", "Values": ["red"]}])[0] == "InvalidParameterValue"
    assert len(ec2.describe_instances()["Reservations"]) == before


def test_signatures_decide(cloud):
    env = cloud.environment()
    right = dict(access=env["AWS_ACCESS_KEY_ID"], secret=env["AWS_SECRET_ACCESS_KEY"])
    for wrong in [{**right, "secret": "x" * 40}, {**right, "access": "AKIA" + "A" * 16}]:
        assert refused(cloud.client(credentials=wrong).describe_instances) == ("AuthFailure", 401)
        assert refused(cloud.client("sts", credentials=wrong).get_caller_identity)[1] == 403


def test_what_is_not_built_says_so_and_is_not_retried(cloud):
    assert refused(cloud.client().describe_spot_instance_requests) == ("NotImplemented", 501)
    assert refused(cloud.client("iam", region="us-east-1").list_users) == ("NotImplemented", 501)
    assert refused(cloud.client("dynamodb").list_tables) == ("NotImplemented", 501)


def test_a_retried_token_makes_one_instance(cloud, image):
    ec2, token = cloud.client(), str(uuid.uuid4())
    one = launch(ec2, image, ClientToken=token)
    assert launch(ec2, image, ClientToken=token) == one
    other = {"ImageId": image, "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1, "ClientToken": token}
    assert refused(ec2.run_instances, **other)[0] == "IdempotentParameterMismatch"
    ec2.terminate_instances(InstanceIds=[one])


def test_tenants_dont_see_each_other(cloud, image):
    mine = launch(cloud.client(), image)
    stranger = cloud.client(credentials=cloud.account("stranger"))
    assert stranger.describe_instances()["Reservations"] == []
    for call, words in [(stranger.describe_instances, {"InstanceIds": [mine]}), (stranger.terminate_instances, {"InstanceIds": [mine]}),
                        (stranger.get_console_output, {"InstanceId": mine})]:
        assert refused(call, **words)[0] == "InvalidInstanceID.NotFound"
    assert cloud.client(region="eu-west-1").describe_instances()["Reservations"] == []
    cloud.client().terminate_instances(InstanceIds=[mine])


def test_what_was_answered_survives_kill_9(cloud, image):
    ec2 = cloud.client()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: launch(ec2, image), range(12)))
    cloud.kill()
    cloud.start()
    ec2 = cloud.client()
    for instance in made:
        wait_for(f"{instance} is running", 20, lambda: state(ec2, instance) == "running")
    told = [i for r in ec2.describe_instances(InstanceIds=made)["Reservations"] for i in r["Instances"]]
    assert len({i["PrivateIpAddress"] for i in told}) == len({i["PublicIpAddress"] for i in told}) == len(made)
    ec2.terminate_instances(InstanceIds=made)
    for instance in made:
        wait_for(f"{instance} is terminated", 20, lambda: state(ec2, instance) == "terminated")


def test_a_simulated_data_directory_stays_so(cloud):
    assert cloud.status()["mode"] == "simulated"
    assert "SIMULATED" in cloud.pileus("status").stdout


def test_status_in_a_pipe_is_plain_lines(cloud):
    told, lines = cloud.status(), cloud.pileus("status").stdout.splitlines()
    assert [line[:13].strip() for line in lines if not line.startswith("note")] == [
        "cloud", "cloud id", "endpoint", "accelerator", "way out", "accounts", "images", "instances", "processors", "memory", "objects", "disk"]
    assert not any(set(line) & set("│┌└─\x1b") for line in lines)
    processors = next(line for line in lines if line.startswith("processors"))
    assert processors.endswith(f"of {told['vcpus']} in use ({told['host_vcpus']} of the host × vcpu_overcommit 16)")
    assert told["vcpus"] == told["host_vcpus"] * told["vcpu_overcommit"]
