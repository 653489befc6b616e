"""What a test suite uses: any credentials, the reset, and the example of pytest fixtures."""

import os
import pty
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

import boto3
import pytest
import urllib3
from botocore.config import Config
from botocore.exceptions import ClientError

from cloud import PILEUS, ROOT, Cloud


@pytest.fixture(scope="module")
def open_cloud():
    """A cloud that takes any credentials."""
    with tempfile.TemporaryDirectory(prefix="plt-") as directory:
        cloud = Cloud(directory, listen="127.0.0.1:45661", simulate=True)
        cloud.arguments.append("--any-credentials")
        cloud.start()
        yield cloud
        assert cloud.stop() == 0


def client(cloud, service, key="testing", secret="any", region="us-east-1", token=None):
    return boto3.client(service, region_name=region, endpoint_url=f"http://{cloud.listen}", aws_access_key_id=key,
                        aws_secret_access_key=secret, aws_session_token=token)


def reset(listen):
    return urllib.request.urlopen(urllib.request.Request(f"http://{listen}/_pileus/reset", method="POST")).status


def test_the_example_of_pytest_fixtures_runs():
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")} | {"PILEUS": str(PILEUS)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", ROOT / "examples/pytest"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "5 passed" in done.stdout, done.stdout + done.stderr


def test_any_secret_is_taken_and_each_key_is_an_account(open_cloud):
    one, other = client(open_cloud, "sts", "AKIAONE", "a"), client(open_cloud, "sts", "AKIATWO", "b", token="token")
    account = one.get_caller_identity()["Account"]
    assert account == client(open_cloud, "sts", "AKIAONE", "another").get_caller_identity()["Account"]
    assert account != other.get_caller_identity()["Account"]


def test_objects_come_and_go_by_presigned_urls_and_forms(open_cloud):
    s3 = client(open_cloud, "s3", token="token")
    s3.create_bucket(Bucket="open")
    s3.put_object(Bucket="open", Key="a b+ä", Body=b"1" * 100_000)
    signer = boto3.client("s3", region_name="us-east-1", endpoint_url=f"http://{open_cloud.listen}", aws_access_key_id="testing",
                          aws_secret_access_key="x", aws_session_token="y", config=Config(signature_version="s3v4"))
    url = signer.generate_presigned_url("get_object", Params={"Bucket": "open", "Key": "a b+ä"})
    assert urllib.request.urlopen(url).read() == b"1" * 100_000
    post = signer.generate_presigned_post("open", "form")
    form = [*post["fields"].items(), ("file", ("f", b"form"))]
    assert urllib3.request("POST", post["url"], fields=form, retries=False).status == 204
    assert s3.get_object(Bucket="open", Key="form")["Body"].read() == b"form"


def test_a_reset_leaves_nothing_but_the_clouds_own(open_cloud):
    ec2, s3 = client(open_cloud, "ec2"), client(open_cloud, "s3")
    images = len(ec2.describe_images()["Images"])
    image = ec2.describe_images()["Images"][0]["ImageId"]
    ec2.run_instances(ImageId=image, InstanceType="t3.nano", MinCount=2, MaxCount=2)
    ec2.create_key_pair(KeyName="k")
    s3.create_bucket(Bucket="full", ObjectLockEnabledForBucket=True)
    s3.put_bucket_versioning(Bucket="full", VersioningConfiguration={"Status": "Enabled"})
    for n in range(300):
        s3.put_object(Bucket="full", Key=f"k{n % 3}", Body=b"x" * (20_000 if n < 3 else 1))
    s3.put_object_legal_hold(Bucket="full", Key="k1", LegalHold={"Status": "ON"})
    s3.create_multipart_upload(Bucket="full", Key="unfinished")
    assert reset(open_cloud.listen) == 200
    assert ec2.describe_instances()["Reservations"] == [] and ec2.describe_key_pairs()["KeyPairs"] == []
    assert s3.list_buckets()["Buckets"] == [] and len(ec2.describe_images()["Images"]) == images
    status = open_cloud.status()
    assert (status["buckets"], status["object_versions"], status["object_bytes"], status["accounts"]) == (0, 0, 0, 2)
    # The name is free for another account, and what is created works.
    client(open_cloud, "s3", "AKIAOTHER").create_bucket(Bucket="full")
    open_cloud.pileus("reset")
    assert open_cloud.status()["accounts"] == 1


def test_keys_that_the_operator_made_keep_their_secrets(open_cloud):
    env = open_cloud.environment()
    good = client(open_cloud, "sts", env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"])
    assert good.get_caller_identity()["Account"]
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        client(open_cloud, "sts", env["AWS_ACCESS_KEY_ID"], "wrong").get_caller_identity()


def test_other_clouds_take_no_unknown_keys_and_no_reset(cloud):
    with pytest.raises(ClientError, match="InvalidClientTokenId"):
        client(cloud, "sts").get_caller_identity()
    with pytest.raises(urllib.error.HTTPError):
        reset(cloud.listen)
    refused = subprocess.run([PILEUS, "--data-dir", "/nowhere", "serve", "--any-credentials"], capture_output=True, text=True)
    assert refused.returncode != 0 and "--simulate" in refused.stderr


def test_tables_are_readable_on_a_terminal_without_a_size(open_cloud):
    master, terminal = pty.openpty()  # 0 columns, as `docker run -t` has
    try:
        done = subprocess.run([PILEUS, "--data-dir", open_cloud.data_dir, "status"], stdout=terminal, timeout=60)
        shown = os.read(master, 65536).decode()
    finally:
        os.close(master)
        os.close(terminal)
    assert done.returncode == 0 and f"http://{open_cloud.listen}" in shown, shown


def test_a_command_without_a_cloud_says_what_to_do(tmp_path):
    done = subprocess.run([PILEUS, "--data-dir", tmp_path, "status"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and f"no cloud runs on the data directory {tmp_path}" in done.stderr and "os error" not in done.stderr
