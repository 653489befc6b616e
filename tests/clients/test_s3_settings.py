"""Buckets' settings, and what S3 does by itself because of them, as boto3 sees it. A day of a lifecycle rule is a second here."""

import tempfile
import time
import urllib.error
import urllib.request

import botocore.exceptions
import pytest
from botocore.config import Config

from cloud import Cloud, wait_for

PORT = 45740
DAY = 1


@pytest.fixture(scope="module")
def settings_cloud():
    with tempfile.TemporaryDirectory(prefix="plc-") as directory:
        config = f"{directory}/pileus.toml"
        with open(config, "w") as file:
            file.write(f"[s3]\nlifecycle_debug_day_seconds = {DAY}\n")
        cloud = Cloud(f"{directory}/data", listen=f"127.0.0.1:{PORT}", simulate=True, config=config).start()
        try:
            yield cloud
        finally:
            assert cloud.stop() == 0


@pytest.fixture(scope="module")
def s3(settings_cloud):
    return settings_cloud.client("s3", config=Config(retries={"max_attempts": 1}, s3={"addressing_style": "path"}))


@pytest.fixture
def bucket(s3, request):
    name = "s-" + request.node.name.replace("_", "-").replace("[", "-").replace("]", "").lower()[:55]
    s3.create_bucket(Bucket=name)
    return name


def refused(call, **arguments):
    with pytest.raises(botocore.exceptions.ClientError) as error:
        call(**arguments)
    return error.value.response["Error"]["Code"], error.value.response["ResponseMetadata"]["HTTPStatusCode"]


def versioned(s3, bucket):
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})


def there(s3, bucket):
    """Keys of versions and of delete markers."""
    found = s3.list_object_versions(Bucket=bucket)
    return [[v["Key"] for v in found.get(kind, [])] for kind in ("Versions", "DeleteMarkers")]


def rules(s3, bucket, *rules):
    everything = [dict({"Status": "Enabled", "Filter": {"Prefix": ""}}, **rule) for rule in rules]
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": everything})


# ---- lifecycle


def test_objects_expire(s3, bucket):
    for key in ("old/a", "old/b", "kept/a", "tagged"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"x", Tagging="a=b" if key == "tagged" else "")
    rules(s3, bucket, {"Filter": {"Prefix": "old/"}, "Expiration": {"Days": 2}},
          {"Filter": {"Tag": {"Key": "a", "Value": "b"}}, "Expiration": {"Days": 1}},
          {"Status": "Disabled", "Expiration": {"Days": 1}})
    assert there(s3, bucket)[0] == ["kept/a", "old/a", "old/b", "tagged"]
    wait_for("the rules are followed", 10 * DAY, lambda: there(s3, bucket) == [["kept/a"], []])


def test_versions_expire(s3, bucket):
    versioned(s3, bucket)
    for key, times in (("many", 5), ("gone", 1)):
        for _ in range(times):
            s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    s3.delete_object(Bucket=bucket, Key="gone")
    rules(s3, bucket, {"NoncurrentVersionExpiration": {"NoncurrentDays": 1, "NewerNoncurrentVersions": 2},
                       "Filter": {"Prefix": "many"}},
          {"NoncurrentVersionExpiration": {"NoncurrentDays": 1}, "Expiration": {"ExpiredObjectDeleteMarker": True},
           "Filter": {"Prefix": "gone"}})
    wait_for("two old versions are left, and no marker", 10 * DAY, lambda: there(s3, bucket) == [["many"] * 3, []])
    rules(s3, bucket, {"Expiration": {"Days": 1}})
    wait_for("the current one gets a marker", 10 * DAY, lambda: there(s3, bucket) == [["many"] * 3, ["many"]])
    time.sleep(2 * DAY)
    assert there(s3, bucket) == [["many"] * 3, ["many"]], "a marker over versions stays, and no second one is made"


def test_locked_versions_stay(s3, bucket):
    versioned(s3, bucket)
    s3.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"})
    for key in ("held", "free"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"x", ObjectLockLegalHoldStatus="ON" if key == "held" else "OFF")
        s3.delete_object(Bucket=bucket, Key=key)
    rules(s3, bucket, {"NoncurrentVersionExpiration": {"NoncurrentDays": 1}})
    wait_for("the free one is gone", 10 * DAY, lambda: there(s3, bucket) == [["held"], ["free", "held"]])


def test_rules_outlive_a_crash(s3, settings_cloud, bucket):
    s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    rules(s3, bucket, {"Expiration": {"Days": 3}})
    settings_cloud.kill()
    settings_cloud.start()
    wait_for("it expired after all", 15 * DAY, lambda: there(s3, bucket) == [[], []])


def test_lifecycle_rules_are_judged(s3, bucket):
    assert refused(s3.get_bucket_lifecycle_configuration, Bucket=bucket) == ("NoSuchLifecycleConfiguration", 404)
    for bad, code in (({"Expiration": {"Days": 0}}, "InvalidArgument"), ({"Status": "enabled", "Expiration": {"Days": 1}}, "MalformedXML"),
                      ({"ID": "x" * 256, "Expiration": {"Days": 1}}, "InvalidArgument"), ({}, "InvalidRequest"),
                      ({"Expiration": {"Date": "2017-09-27T08:00:00Z"}}, "InvalidArgument")):
        whole = {"Rules": [dict({"Status": "Enabled", "Filter": {"Prefix": ""}}, **bad)]}
        assert refused(s3.put_bucket_lifecycle_configuration, Bucket=bucket, LifecycleConfiguration=whole) == (code, 400), bad
    rules(s3, bucket, {"ID": "r", "Expiration": {"Days": 100}}, {"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7}})
    kept = s3.get_bucket_lifecycle_configuration(Bucket=bucket)
    assert kept["Rules"][0] == {"ID": "r", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 100}}
    assert kept["Rules"][1]["ID"], "one is drawn"
    assert kept["TransitionDefaultMinimumObjectSize"] == "all_storage_classes_128K"
    s3.delete_bucket_lifecycle(Bucket=bucket)
    assert refused(s3.get_bucket_lifecycle_configuration, Bucket=bucket)[1] == 404
