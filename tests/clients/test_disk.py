"""A disk that others have filled: what frees space is done, what takes some is refused, and with space again all is done."""

import contextlib
import subprocess

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from cloud import Cloud, wait_for

PORT = 45683
ONCE = Config(retries={"max_attempts": 0}, s3={"addressing_style": "path"})


@pytest.fixture
def small(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m,mode=755", "small", str(disk)], check=True)
    cloud = Cloud(disk / "c", listen=f"127.0.0.1:{PORT}", simulate=True)
    cloud.log = tmp_path / "log"
    try:
        yield cloud.start()
    finally:
        if cloud.process.poll() is None:
            cloud.stop()
        subprocess.run(["umount", "-l", str(disk)], check=True)


def states(ec2, ids):
    told = ec2.describe_instances(InstanceIds=ids)["Reservations"]
    return {i["State"]["Name"] for r in told for i in r["Instances"]}


def fill(disk):
    with open(disk / "ballast", "ab", buffering=0) as ballast:
        for size in (1 << 20, 4096):
            with contextlib.suppress(OSError):
                while ballast.write(bytes(size)):
                    pass


def test_what_frees_space_is_done_on_a_full_disk(small):
    ec2, s3 = small.client("ec2", config=ONCE), small.client("s3", config=ONCE)
    image = ec2.describe_images()["Images"][0]["ImageId"]
    wanted = {"ImageId": image, "InstanceType": "t3.nano"}
    ids = [i["InstanceId"] for i in ec2.run_instances(MinCount=2, MaxCount=2, **wanted)["Instances"]]
    wait_for("they run", 30, lambda: states(ec2, ids) == {"running"})
    s3.create_bucket(Bucket="kept")
    for number in range(40):
        s3.put_object(Bucket="kept", Key=f"k{number}", Body=bytes(5000))
    fill(small.data_dir.parent)
    wait_for("the log says so", 10, lambda: "the disk is full" in small.log.read_text())
    for _ in range(3):
        with pytest.raises(ClientError, match="Unavailable"):
            ec2.create_tags(Resources=ids, Tags=[{"Key": "a", "Value": "b"}])
        with pytest.raises(ClientError, match="InsufficientInstanceCapacity"):
            ec2.run_instances(MinCount=1, MaxCount=1, **wanted)
        with pytest.raises(ClientError, match="InsufficientStorage"):
            s3.put_object_tagging(Bucket="kept", Key="k30", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    ec2.stop_instances(InstanceIds=ids[:1])
    s3.delete_object(Bucket="kept", Key="k0")
    for number in range(1, 30):
        s3.delete_object(Bucket="kept", Key=f"k{number}")
        fill(small.data_dir.parent)
    ec2.terminate_instances(InstanceIds=ids)
    wait_for("they are gone", 30, lambda: states(ec2, ids) == {"terminated"})
    assert len(s3.list_objects_v2(Bucket="kept")["Contents"]) == 10
    assert small.log.read_text().count("the disk is full") == 1, "not once a refusal"
    (small.data_dir.parent / "ballast").unlink()
    wait_for("there is space again", 10, lambda: "the disk has space again" in small.log.read_text())
    ec2.run_instances(MinCount=1, MaxCount=1, **wanted)
