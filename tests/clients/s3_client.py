"""What the tests of S3 share: a client, what refuses it, and what it sends."""

import random

import botocore.exceptions
import pytest
from botocore.config import Config


def client(cloud, **config):
    """One that asks once only, and signs URLs and forms as S3 wants it: for us-east-1, botocore would sign them in the old way."""
    settled = dict(retries={"max_attempts": 0}, signature_version="s3v4", s3={"addressing_style": "path"})
    return cloud.client("s3", config=Config(**settled | config))


def refused(call, **arguments):
    """The code and status with which a call fails."""
    with pytest.raises(botocore.exceptions.ClientError) as error:
        call(**arguments)
    answer = error.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]


def noise(size, seed=1):
    return random.Random(seed).randbytes(size)
