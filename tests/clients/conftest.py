"""A simulated cloud on loopback, for the unmodified aws CLI and boto3."""

import pathlib
import socket
import sys
import tempfile
import uuid

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import pytest
import s3_client

from cloud import Cloud


def free_port():
    """A port of loopback that nothing uses now: several runs of the tests fit on one machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# Of the session's cloud.
PORT = free_port()


@pytest.fixture(scope="session")
def cloud():
    with tempfile.TemporaryDirectory(prefix="plc-") as directory:
        cloud = Cloud(directory, listen=f"127.0.0.1:{PORT}", simulate=True).start()
        try:
            yield cloud
        finally:
            if cloud.process.poll() is None:
                assert cloud.stop() == 0


@pytest.fixture(scope="session")
def image(cloud):
    """The first account's image, which is public."""
    [found] = cloud.client().describe_images(Owners=["self"], Filters=[{"Name": "name", "Values": ["tiny"]}])["Images"]
    return found["ImageId"]


@pytest.fixture(scope="session")
def s3(cloud):
    return s3_client.client(cloud)


@pytest.fixture
def bucket(s3):
    name = f"bucket-{uuid.uuid4().hex}"
    s3.create_bucket(Bucket=name)
    return name
