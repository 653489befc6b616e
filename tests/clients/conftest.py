"""A simulated cloud on loopback, for the unmodified aws CLI and boto3."""

import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import pytest

from cloud import Cloud

PORT = 45660


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
    """The simulated cloud's one public image."""
    [found] = cloud.client().describe_images()["Images"]
    return found["ImageId"]
