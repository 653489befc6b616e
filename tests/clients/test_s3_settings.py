"""Buckets' settings, and what S3 does by itself because of them, as boto3 sees it. A day of a lifecycle rule is a second here."""

import http.server
import json
import re
import tempfile
import threading
import time
import urllib.error
import urllib.request

import pytest
import urllib3
from botocore.config import Config
from botocore.exceptions import ClientError

import s3_client
from cloud import Cloud, wait_for
from s3_client import refused

PORT = 45740
DAY = 1
QUEUE = "arn:aws:sqs:us-east-1:000000000000:heard"
TOPIC = "arn:aws:sns:us-east-1:000000000000:deaf"
THEIRS = "arn:aws:sqs:us-east-1:000000000001:theirs"


class Hook(http.server.BaseHTTPRequestHandler):
    """Where notifications go. It fails once when it is told to, and keeps what it heard."""

    heard = []
    fail_next = False

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if Hook.fail_next:
            Hook.fail_next = False
            self.send_response(503)
        else:
            Hook.heard.append((self.headers["x-pileus-destination"], body))
            self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *words):
        pass


@pytest.fixture(scope="module")
def hook():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/events"
    server.shutdown()


@pytest.fixture(scope="module")
def settings_cloud(hook):
    with tempfile.TemporaryDirectory(prefix="plc-") as directory:
        config = f"{directory}/pileus.toml"
        with open(config, "w") as file:
            file.write(f"[s3]\nlifecycle_debug_day_seconds = {DAY}\nlog_delivery_seconds = 1\n")
            # Port 9 hears nobody.
            file.write(f'webhooks = {{ "{QUEUE}" = "{hook}", "{TOPIC}" = "http://127.0.0.1:9", "{THEIRS}" = "{hook}" }}\n')
            file.write(f'webhooks_for_all = ["{QUEUE}", "{TOPIC}"]\n')
        cloud = Cloud(f"{directory}/data", listen=f"127.0.0.1:{PORT}", simulate=True, config=config).start()
        try:
            yield cloud
        finally:
            assert cloud.stop() == 0


@pytest.fixture(scope="module")
def s3(settings_cloud):
    return s3_client.client(settings_cloud)


@pytest.fixture
def bucket(s3, request):
    name = "s-" + request.node.name.replace("_", "-").replace("[", "-").replace("]", "").lower()[:55].rstrip("-")
    s3.create_bucket(Bucket=name)
    return name


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


def test_the_operator_is_told_of_short_days(settings_cloud):
    said = f"a day of lifecycle rules has {DAY} seconds"
    assert [note for note in settings_cloud.status()["notes"] if note.startswith(said)]
    assert said in settings_cloud.log.read_text()


def test_the_operator_is_told_what_host_stood_for_a_bucket(settings_cloud):
    for _ in range(3):
        request = urllib.request.Request(f"http://127.0.0.1:{PORT}/", headers={"Host": f"my-cloud.localhost:{PORT}"})
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(request)
        assert error.value.code == 404
    said = [line for line in settings_cloud.log.read_text().splitlines() if "there is no such bucket" in line]
    assert len(said) == 1 and f"my-cloud.localhost:{PORT}" in said[0] and "my-cloud" in said[0]


# ---- notifications


def events(bucket):
    """Names, keys and whole records of what was heard of a bucket."""
    records = [r for _, body in list(Hook.heard) for r in body.get("Records", []) if r["s3"]["bucket"]["name"] == bucket]
    return [(r["eventName"], r["s3"]["object"]["key"]) for r in records], records


def notify(s3, bucket, *queues, **more):
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={
        "QueueConfigurations": [dict({"QueueArn": QUEUE}, **queue) for queue in queues]}, **more)


def test_events_are_told(s3, bucket):
    assert "QueueConfigurations" not in s3.get_bucket_notification_configuration(Bucket=bucket)
    only = {"Key": {"FilterRules": [{"Name": "Prefix", "Value": "in/"}, {"Name": "suffix", "Value": ".jpg"}]}}
    notify(s3, bucket, {"Id": "made", "Events": ["s3:ObjectCreated:*"], "Filter": only},
           {"Id": "gone", "Events": ["s3:ObjectRemoved:*", "s3:ObjectTagging:Put", "s3:LifecycleExpiration:*"]})
    wait_for("the destination is tried", 5, lambda: any(b.get("Event") == "s3:TestEvent" and b["Bucket"] == bucket for _, b in list(Hook.heard)))
    assert [q["Id"] for q in s3.get_bucket_notification_configuration(Bucket=bucket)["QueueConfigurations"]] == ["made", "gone"]
    put = s3.put_object(Bucket=bucket, Key="in/red flower.jpg", Body=b"12345")
    s3.put_object(Bucket=bucket, Key="in/a.png", Body=b"x")
    s3.put_object(Bucket=bucket, Key="out/a.jpg", Body=b"x")
    s3.copy_object(Bucket=bucket, Key="in/b.jpg", CopySource={"Bucket": bucket, "Key": "in/a.png"})
    s3.put_object_tagging(Bucket=bucket, Key="in/b.jpg", Tagging={"TagSet": []})
    upload = s3.create_multipart_upload(Bucket=bucket, Key="in/c.jpg")["UploadId"]
    part = s3.upload_part(Bucket=bucket, Key="in/c.jpg", UploadId=upload, PartNumber=1, Body=b"part")
    s3.complete_multipart_upload(Bucket=bucket, Key="in/c.jpg", UploadId=upload,
                                 MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
    s3.delete_object(Bucket=bucket, Key="in/a.png")
    s3.delete_objects(Bucket=bucket, Delete={"Quiet": True, "Objects": [{"Key": "in/b.jpg"}, {"Key": "in/c.jpg"}]})
    rules(s3, bucket, {"Expiration": {"Days": 1}, "Filter": {"Prefix": "out/"}})
    expected = [("ObjectCreated:Put", "in/red+flower.jpg"), ("ObjectCreated:Copy", "in/b.jpg"), ("ObjectTagging:Put", "in/b.jpg"),
                ("ObjectCreated:CompleteMultipartUpload", "in/c.jpg"), ("ObjectRemoved:Delete", "in/a.png"),
                ("ObjectRemoved:Delete", "in/b.jpg"), ("ObjectRemoved:Delete", "in/c.jpg"), ("LifecycleExpiration:Delete", "out/a.jpg")]
    wait_for("everything is heard", 10, lambda: len(events(bucket)[0]) >= len(expected))
    assert events(bucket)[0] == expected
    records = events(bucket)[1]
    first = records[0]
    assert first["s3"]["configurationId"] == "made" and first["s3"]["bucket"]["arn"] == f"arn:aws:s3:::{bucket}"
    assert first["s3"]["object"]["size"] == 5 and first["s3"]["object"]["eTag"] == put["ETag"].strip('"')
    assert first["responseElements"]["x-amz-request-id"] == put["ResponseMetadata"]["RequestId"]
    assert first["requestParameters"]["sourceIPAddress"] == "127.0.0.1" and first["eventSource"] == "aws:s3"
    sequencers = [r["s3"]["object"]["sequencer"] for r in records]
    assert sequencers == sorted(set(sequencers))


def test_restored_copies_are_told(s3, bucket):
    notify(s3, bucket, {"Events": ["s3:ObjectRestore:*"]})
    s3.put_object(Bucket=bucket, Key="k", Body=b"1", StorageClass="DEEP_ARCHIVE")
    s3.restore_object(Bucket=bucket, Key="k", RestoreRequest={"Days": 1})
    wait_for("both are heard", 10, lambda: len(events(bucket)[0]) == 2)
    assert events(bucket)[0] == [("ObjectRestore:Post", "k"), ("ObjectRestore:Completed", "k")]
    restored = events(bucket)[1][1]["glacierEventData"]["restoreEventData"]
    assert restored["lifecycleRestoreStorageClass"] == "DEEP_ARCHIVE" and restored["lifecycleRestorationExpiryTime"].endswith("T00:00:00.000Z")


def test_versions_are_told(s3, bucket):
    versioned(s3, bucket)
    notify(s3, bucket, {"Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]})
    first = s3.put_object(Bucket=bucket, Key="k", Body=b"1")["VersionId"]
    marker = s3.delete_object(Bucket=bucket, Key="k")["VersionId"]
    s3.delete_object(Bucket=bucket, Key="k", VersionId=first)
    wait_for("everything is heard", 10, lambda: len(events(bucket)[0]) == 3)
    told = [(r["eventName"], r["s3"]["object"]["versionId"]) for r in events(bucket)[1]]
    assert told == [("ObjectCreated:Put", first), ("ObjectRemoved:DeleteMarkerCreated", marker), ("ObjectRemoved:Delete", first)]


def test_forms_are_told(settings_cloud, s3, bucket):
    notify(s3, bucket, {"Events": ["s3:ObjectCreated:Post"]})
    # Without being told, boto3 signs forms in the older way.
    form = settings_cloud.client("s3", config=Config(signature_version="s3v4")).generate_presigned_post(bucket, "k")
    answer = urllib3.PoolManager().request("POST", form["url"], fields={**form["fields"], "file": ("f", b"12345")})
    assert answer.status == 204
    wait_for("it is heard", 5, lambda: events(bucket)[0] == [("ObjectCreated:Post", "k")])
    assert events(bucket)[1][0]["s3"]["object"]["size"] == 5


def test_a_destination_that_fails_is_tried_again_and_holds_up_nobody(s3, bucket):
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={
        "TopicConfigurations": [{"TopicArn": TOPIC, "Events": ["s3:ObjectCreated:*"], "Filter": {"Key": {"FilterRules": [
            {"Name": "prefix", "Value": "deaf/"}]}}}],
        "QueueConfigurations": [{"QueueArn": QUEUE, "Events": ["s3:ObjectCreated:*"], "Filter": {"Key": {"FilterRules": [
            {"Name": "prefix", "Value": "heard/"}]}}}]})
    s3.put_object(Bucket=bucket, Key="deaf/a", Body=b"x")
    time.sleep(0.3)
    Hook.fail_next = True
    s3.put_object(Bucket=bucket, Key="heard/a", Body=b"x")
    wait_for("it is heard the second time", 5, lambda: events(bucket)[0] == [("ObjectCreated:Put", "heard/a")])
    assert not Hook.fail_next


def test_notifications_are_judged(s3, bucket):
    def answer(skip=False, **queue):
        queue = dict({"QueueArn": QUEUE, "Events": ["s3:ObjectCreated:*"]}, **queue)
        return refused(s3.put_bucket_notification_configuration, Bucket=bucket, SkipDestinationValidation=skip,
                       NotificationConfiguration={"QueueConfigurations": [queue]})

    unknown = QUEUE + "-unknown"
    assert answer(QueueArn=unknown) == ("InvalidArgument", 400)
    assert answer(QueueArn=TOPIC) == ("InvalidArgument", 400)
    assert answer(Events=["s3:ObjectCreated:Nothing"]) == ("InvalidArgument", 400)
    assert answer(Filter={"Key": {"FilterRules": [{"Name": "prefix", "Value": "x" * 1025}]}}) == ("InvalidArgument", 400)
    notify(s3, bucket, {"Events": ["s3:ObjectCreated:*"], "QueueArn": unknown}, SkipDestinationValidation=True)
    notify(s3, bucket)
    assert "QueueConfigurations" not in s3.get_bucket_notification_configuration(Bucket=bucket)
    assert refused(s3.put_bucket_notification_configuration, Bucket=bucket,
                   NotificationConfiguration={"EventBridgeConfiguration": {}}) == ("NotImplemented", 501)
    assert refused(s3.get_bucket_replication, Bucket=bucket) == ("ReplicationConfigurationNotFoundError", 404)
    assert refused(s3.list_bucket_analytics_configurations, Bucket=bucket) == ("NotImplemented", 501)
    assert refused(s3.list_bucket_intelligent_tiering_configurations, Bucket=bucket) == ("NotImplemented", 501)


def test_another_accounts_destination_is_none(s3, bucket, settings_cloud):
    def put(arn, **more):
        wanted = [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}]
        return s3.put_bucket_notification_configuration(
            Bucket=bucket, NotificationConfiguration={"QueueConfigurations": wanted}, **more)

    answers = []
    for arn in (THEIRS, QUEUE + "-unknown"):
        with pytest.raises(ClientError) as error:
            put(arn)
        answers.append(error.value.response["Error"])
    assert answers[0] == answers[1], "they look the same"
    assert answers[0]["Message"] == "Unable to validate the following destination configurations"
    # As one that was kept before destinations had owners.
    put(THEIRS, SkipDestinationValidation=True)
    s3.put_object(Bucket=bucket, Key="theirs", Body=b"x")
    put(QUEUE)
    s3.put_object(Bucket=bucket, Key="ours", Body=b"x")
    wait_for("the one for all is heard", 5, lambda: events(bucket)[0] == [("ObjectCreated:Put", "ours")])
    assert not [d for d, _ in Hook.heard if d == THEIRS]
    put(THEIRS, SkipDestinationValidation=True)
    assert settings_cloud.stop() == 0
    settings_cloud.start()
    said = [line for line in settings_cloud.log.read_text().splitlines() if "the webhook that they name is another account's" in line]
    assert len(said) == 1 and bucket in said[0] and THEIRS in said[0]
    log = settings_cloud.log.read_text().splitlines()
    nobodys, starts = ([line for line in log if words in line] for words in ("no bucket can name this webhook", "the cloud is open"))
    assert len(nobodys) == len(starts) and all(THEIRS in line for line in nobodys), "its account isn't there: said once a start"


# ---- access logs


def logs_let_in(s3, target, source, owner):
    s3.put_bucket_policy(Bucket=target, Policy=json.dumps({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"Service": "logging.s3.amazonaws.com"}, "Action": "s3:PutObject",
        "Resource": f"arn:aws:s3:::{target}/*", "Condition": {
            "ArnLike": {"aws:SourceArn": f"arn:aws:s3:::{source}"}, "StringEquals": {"aws:SourceAccount": owner}}}]}))


def lines(s3, target):
    """Fields of all delivered lines, by time and number; what is in brackets or quotes is one field."""
    found = []
    for thing in s3.list_objects_v2(Bucket=target, Prefix="log/").get("Contents", []):
        text = s3.get_object(Bucket=target, Key=thing["Key"])["Body"].read().decode()
        found += [[a or b or c for a, b, c in re.findall(r'\[([^]]*)\]|"([^"]*)"|(\S+)', line)] for line in text.splitlines()]
    return found


def test_a_log_that_is_not_delivered_is_told_of(s3, bucket, settings_cloud):
    target, account = bucket[:50] + "-t", settings_cloud.client("sts").get_caller_identity()["Account"]
    s3.create_bucket(Bucket=target)
    s3.put_bucket_logging(Bucket=bucket, BucketLoggingStatus={"LoggingEnabled": {"TargetBucket": target, "TargetPrefix": "log/"}})

    def failing():
        s3.list_objects_v2(Bucket=bucket)
        return [t for t in settings_cloud.status()["access_logs_failing"] if t["bucket"] == bucket]

    def said(what):
        return sum(f"an access log is {what}" in line and bucket in line for line in settings_cloud.log.read_text().splitlines())

    [trouble] = wait_for("it fails", 10, failing)
    wait_for("more lines are lost", 10, lambda: failing()[0]["lines_lost"] > trouble["lines_lost"])
    assert trouble["target"] == target and "lets the log's service write" in trouble["why"]
    assert f"access log of {bucket} to {target}: not delivered since {trouble['since']}" in settings_cloud.pileus("status").stdout
    assert (said("not delivered"), said("delivered again")) == (1, 0)
    logs_let_in(s3, target, bucket, account)
    wait_for("it is delivered", 10, lambda: not failing())
    assert lines(s3, target) and (said("not delivered"), said("delivered again")) == (1, 1)
    s3.delete_bucket_policy(Bucket=target)
    [trouble] = wait_for("it fails again", 10, failing)
    for thing in s3.list_objects_v2(Bucket=target)["Contents"]:
        s3.delete_object(Bucket=target, Key=thing["Key"])
    s3.delete_bucket(Bucket=target)
    wait_for("the bucket is gone", 10, lambda: failing()[0]["why"].startswith("NoSuchBucket"))
    s3.put_bucket_logging(Bucket=bucket, BucketLoggingStatus={})
    wait_for("nobody wants it", 10, lambda: not failing())


def test_logs_say_what_only_a_list_of_grants_allowed(s3, bucket, settings_cloud):
    target, account = bucket[:50] + "-t", settings_cloud.client("sts").get_caller_identity()["Account"]
    s3.create_bucket(Bucket=target)
    logs_let_in(s3, target, bucket, account)
    s3.delete_public_access_block(Bucket=bucket)
    s3.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls={"Rules": [{"ObjectOwnership": "BucketOwnerPreferred"}]})
    s3.put_object(Bucket=bucket, Key="public", Body=b"x", ACL="public-read")
    s3.put_object(Bucket=bucket, Key="private", Body=b"x")
    s3.put_bucket_logging(Bucket=bucket, BucketLoggingStatus={"LoggingEnabled": {"TargetBucket": target, "TargetPrefix": "log/"}})
    s3.get_object(Bucket=bucket, Key="public")
    for key in ("public", "private"):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{PORT}/{bucket}/{key}").close()
        except urllib.error.HTTPError as error:
            assert error.code == 403
    s3.put_bucket_acl(Bucket=bucket, ACL="public-read-write")
    form = {"key": "form"}
    assert urllib3.PoolManager().request("POST", f"http://127.0.0.1:{PORT}/{bucket}", fields={**form, "file": ("f", b"x")}).status == 204
    s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "public"}]})
    other = settings_cloud.client("s3", credentials=settings_cloud.account("granted"))
    other.put_object(Bucket=bucket, Key="theirs", Body=b"x")
    other.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "theirs"}, {"Key": "private"}]})
    wait_for("all lines are delivered", 10, lambda: len(lines(s3, target)) >= 11)
    said = {(line[6], line[9], line[25]) for line in lines(s3, target)}
    assert said == {("REST.GET.OBJECT", "200", "-"), ("REST.GET.OBJECT", "200", "Yes"), ("REST.GET.OBJECT", "403", "-"),
                         ("REST.PUT.ACL", "200", "-"), ("REST.POST.OBJECT", "204", "Yes"), ("REST.POST.MULTI_OBJECT_DELETE", "200", "-"),
                         ("BATCH.DELETE.OBJECT", "204", "-"), ("REST.PUT.OBJECT", "200", "Yes"), ("BATCH.DELETE.OBJECT", "204", "Yes"),
                         ("BATCH.DELETE.OBJECT", "403", "-")}


def test_requests_are_logged(s3, bucket, settings_cloud):
    target, account = bucket + "-t", settings_cloud.client("sts").get_caller_identity()["Account"]
    s3.create_bucket(Bucket=target)
    logs_let_in(s3, target, bucket, account)
    assert "LoggingEnabled" not in s3.get_bucket_logging(Bucket=bucket)
    wanted = {"TargetBucket": target, "TargetPrefix": "log/"}
    s3.put_bucket_logging(Bucket=bucket, BucketLoggingStatus={"LoggingEnabled": wanted})
    assert s3.get_bucket_logging(Bucket=bucket)["LoggingEnabled"] == wanted
    put = s3.put_object(Bucket=bucket, Key="a b", Body=b"12345")
    s3.get_object(Bucket=bucket, Key="a b")
    refused(s3.get_object, Bucket=bucket, Key="none")
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(f"http://127.0.0.1:{PORT}/{bucket}/a%20b")
    many = s3.delete_objects(Bucket=bucket, Delete={"Quiet": True, "Objects": [{"Key": "a b"}, {"Key": "c", "ETag": '"other"'}]})
    expected = ["REST.GET.LOGGING_STATUS", "REST.PUT.OBJECT", "REST.GET.OBJECT", "REST.GET.OBJECT", "REST.GET.OBJECT",
                "REST.POST.MULTI_OBJECT_DELETE", "BATCH.DELETE.OBJECT", "BATCH.DELETE.OBJECT"]
    wait_for("all lines are delivered", 10, lambda: len(lines(s3, target)) >= len(expected))
    all_lines = lines(s3, target)
    assert [line[6] for line in all_lines] == expected and all(len(line) == 26 for line in all_lines)
    me = s3.list_buckets()["Owner"]["ID"]
    by_put, by_get, by_none, by_nobody, by_many, *of_many = all_lines[1:]
    assert by_put[:2] == [me, bucket] and by_put[3:6] == ["127.0.0.1", me, put["ResponseMetadata"]["RequestId"]]
    assert by_put[7] == "a%20b" and by_put[8] == f"PUT /{bucket}/a%20b HTTP/1.1" and by_put[9:13] == ["200", "-", "-", "5"]
    assert by_get[9:13] == ["200", "-", "5", "5"] and "Boto3" in by_get[16] and by_get[19:22] == ["SigV4", "-", "AuthHeader"]
    assert by_none[9:11] == ["404", "NoSuchKey"] and by_nobody[4] == "-" and by_nobody[9:11] == ["403", "AccessDenied"]
    assert by_many[5] == many["ResponseMetadata"]["RequestId"] and by_many[7] == "-" and by_many[9] == "200"
    deleted, kept = of_many
    assert deleted[:6] == by_many[:6] == kept[:6], "who sent it, when, from where"
    assert deleted[7:19] == ["a%20b", "-", "204", "-", "-", "5", *["-"] * 5, by_many[5]] and deleted[19:] == by_many[19:]
    assert kept[7:19] == ["c", "-", "404", "NoSuchKey", *["-"] * 7, by_many[5]]
    s3.put_bucket_logging(Bucket=bucket, BucketLoggingStatus={})
    assert "LoggingEnabled" not in s3.get_bucket_logging(Bucket=bucket)


def test_what_rules_end_is_logged(s3, bucket, settings_cloud):
    target, account = bucket + "-t", settings_cloud.client("sts").get_caller_identity()["Account"]
    s3.create_bucket(Bucket=target)
    logs_let_in(s3, target, bucket, account)
    versioned(s3, bucket)
    first = s3.put_object(Bucket=bucket, Key="old", Body=b"12345")["VersionId"]
    s3.create_multipart_upload(Bucket=bucket, Key="begun")
    s3.put_bucket_logging(Bucket=bucket, BucketLoggingStatus={"LoggingEnabled": {"TargetBucket": target, "TargetPrefix": "log/"}})
    rules(s3, bucket, {"Expiration": {"Days": 1}, "NoncurrentVersionExpiration": {"NoncurrentDays": 1},
                       "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}})
    def own():
        # Last of all the marker that is left alone expires, too.
        return {line[6]: line for line in reversed(lines(s3, target)) if line[6].startswith("S3.")}
    wait_for("all is ended", 15 * DAY, lambda: len(own()) == 3)
    marked, expired, aborted = (own()[f"S3.{name}"] for name in ["CREATE.DELETEMARKER", "EXPIRE.OBJECT", "DELETE.UPLOAD"])
    assert all(line[3:5] == ["-", "AmazonS3"] and len(line) == 26 for line in [marked, expired, aborted])
    assert marked[7:12] == ["old", "-", "-", "-", "-"] and marked[17] not in ["-", first]
    assert expired[7:18] == ["old", *["-"] * 4, "5", *["-"] * 4, first]
    assert aborted[7:18] == ["begun", *["-"] * 10]
    s3.put_bucket_logging(Bucket=bucket, BucketLoggingStatus={})


def test_logs_are_filed_by_date_and_only_where_they_are_let_in(s3, bucket, settings_cloud):
    target, account = bucket + "-t", settings_cloud.client("sts").get_caller_identity()["Account"]
    s3.create_bucket(Bucket=target)
    s3.put_bucket_logging(Bucket=bucket, BucketLoggingStatus={"LoggingEnabled": {
        "TargetBucket": target, "TargetPrefix": "log/", "TargetObjectKeyFormat": {"PartitionedPrefix": {"PartitionDateSource": "EventTime"}}}})
    s3.head_bucket(Bucket=bucket)
    time.sleep(3)
    assert s3.list_objects_v2(Bucket=target)["KeyCount"] == 0, "no policy lets them in"
    logs_let_in(s3, target, bucket, account)
    s3.head_bucket(Bucket=bucket)
    [delivered] = wait_for("the line is delivered", 10, lambda: s3.list_objects_v2(Bucket=target).get("Contents"))
    day = time.strftime("%Y/%m/%d/%Y-%m-%d", time.gmtime())
    assert re.fullmatch(f"log/{account}/us-east-1/{bucket}/{day}-00-00-00-[0-9A-F]{{16}}", delivered["Key"])


def test_logging_is_judged(s3, bucket, settings_cloud):
    def answer(target, **more):
        wanted = dict({"TargetBucket": target, "TargetPrefix": ""}, **more)
        return refused(s3.put_bucket_logging, Bucket=bucket, BucketLoggingStatus={"LoggingEnabled": wanted})

    assert answer(bucket + "-none") == ("InvalidTargetBucketForLogging", 400)
    assert answer(bucket, TargetObjectKeyFormat={"PartitionedPrefix": {"PartitionDateSource": "Never"}}) == ("MalformedXML", 400)
    grant = {"Grantee": {"Type": "CanonicalUser", "ID": s3.list_buckets()["Owner"]["ID"]}, "Permission": "READ"}
    assert answer(bucket, TargetGrants=[grant]) == ("AccessControlListNotSupported", 400)
    lists, stranger = bucket + "-acl", settings_cloud.account("stranger")
    s3.create_bucket(Bucket=lists, ObjectOwnership="ObjectWriter")
    assert answer(lists) == ("InvalidTargetBucketForLogging", 400), "the group has no grant"
    s3.put_bucket_acl(Bucket=lists, ACL="log-delivery-write")
    s3.put_bucket_logging(Bucket=bucket, BucketLoggingStatus={"LoggingEnabled": {
        "TargetBucket": lists, "TargetPrefix": "x", "TargetGrants": [grant]}})
    s3.put_bucket_request_payment(Bucket=lists, RequestPaymentConfiguration={"Payer": "Requester"})
    assert answer(lists) == ("InvalidTargetBucketForLogging", 400)
    others = settings_cloud.client("s3", credentials=stranger, config=Config(s3={"addressing_style": "path"}))
    others.create_bucket(Bucket="s-strangers")
    assert answer("s-strangers") == ("InvalidTargetBucketForLogging", 400)


# ---- what is only kept, and what is asked of it


def test_versioning_and_lock_configurations(s3, bucket):
    assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)
    lock = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}}
    assert refused(s3.get_object_lock_configuration, Bucket=bucket) == ("ObjectLockConfigurationNotFoundError", 404)
    assert refused(s3.put_object_lock_configuration, Bucket=bucket, ObjectLockConfiguration=lock) == ("InvalidBucketState", 409)
    assert refused(s3.put_bucket_versioning, Bucket=bucket, VersioningConfiguration={"Status": "Off"}) == ("MalformedXML", 400)
    assert refused(s3.put_bucket_versioning, Bucket=bucket, MFA="0 0",
                   VersioningConfiguration={"Status": "Enabled", "MFADelete": "Enabled"}) == ("NotImplemented", 501)
    versioned(s3, bucket)
    s3.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration=lock)
    assert s3.get_object_lock_configuration(Bucket=bucket)["ObjectLockConfiguration"] == lock
    assert refused(s3.put_bucket_versioning, Bucket=bucket, VersioningConfiguration={"Status": "Suspended"}) == ("InvalidBucketState", 409)
    for bad, code in (({"Mode": "GOVERNANCE", "Days": 0}, "InvalidRetentionPeriod"), ({"Mode": "COMPLIANCE", "Days": 1, "Years": 1}, "MalformedXML"),
                      ({"Mode": "governance", "Days": 1}, "MalformedXML"), ({"Mode": "GOVERNANCE", "Years": 101}, "InvalidRetentionPeriod")):
        wanted = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": bad}}
        assert refused(s3.put_object_lock_configuration, Bucket=bucket, ObjectLockConfiguration=wanted) == (code, 400), bad


def test_bucket_tags(s3, bucket):
    assert refused(s3.get_bucket_tagging, Bucket=bucket) == ("NoSuchTagSet", 404)
    tags = [{"Key": "team", "Value": "a/b"}, {"Key": "x", "Value": ""}]
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": tags})
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == tags
    for bad in ([{"Key": "a", "Value": ""}] * 2, [{"Key": "aws:a", "Value": ""}], [{"Key": "k" * 129, "Value": ""}]):
        assert refused(s3.put_bucket_tagging, Bucket=bucket, Tagging={"TagSet": bad}) == ("InvalidTag", 400), bad
    s3.delete_bucket_tagging(Bucket=bucket)
    assert refused(s3.get_bucket_tagging, Bucket=bucket)[0] == "NoSuchTagSet"


def test_encryption_payment_and_acceleration(s3, bucket):
    assert refused(s3.get_bucket_encryption, Bucket=bucket) == ("ServerSideEncryptionConfigurationNotFoundError", 404)
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [
        {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]})
    [rule] = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    assert s3.put_object(Bucket=bucket, Key="k", Body=b"x")["ServerSideEncryption"] == "AES256"
    s3.delete_bucket_encryption(Bucket=bucket)
    assert "ServerSideEncryption" not in s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert s3.get_bucket_request_payment(Bucket=bucket)["Payer"] == "BucketOwner"
    s3.put_bucket_request_payment(Bucket=bucket, RequestPaymentConfiguration={"Payer": "Requester"})
    assert s3.get_bucket_request_payment(Bucket=bucket)["Payer"] == "Requester"
    s3.put_bucket_accelerate_configuration(Bucket=bucket, AccelerateConfiguration={"Status": "Suspended"})
    assert s3.get_bucket_accelerate_configuration(Bucket=bucket)["Status"] == "Suspended"


# ---- browsers


def asked(method, url, **headers):
    """Status, headers and body; redirects are not followed."""
    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *words):
            return None

    request = urllib.request.Request(url, method=method, headers={name.replace("_", "-"): value for name, value in headers.items()})
    try:
        answer = urllib.request.build_opener(Stay).open(request)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        return answer.status, answer.headers, answer.read()


def test_scripts_of_other_origins(s3, bucket):
    url = f"http://127.0.0.1:{PORT}/{bucket}/k"
    preflight = dict(Origin="https://a.example.com", Access_Control_Request_Method="PUT", Access_Control_Request_Headers="x-amz-date")
    assert asked("OPTIONS", url, **preflight)[0] == 403
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [{
        "AllowedOrigins": ["https://*.example.com"], "AllowedMethods": ["PUT", "GET"], "AllowedHeaders": ["x-amz-*"],
        "ExposeHeaders": ["ETag"], "MaxAgeSeconds": 60}]})
    status, headers, _ = asked("OPTIONS", url, **preflight)
    assert (status, headers["Access-Control-Allow-Origin"], headers["Access-Control-Allow-Methods"]) == (200, "https://a.example.com", "PUT, GET")
    assert (headers["Access-Control-Allow-Headers"], headers["Access-Control-Max-Age"]) == ("x-amz-date", "60")
    assert asked("OPTIONS", url, **dict(preflight, Origin="https://evil.org"))[0] == 403
    assert asked("OPTIONS", url, Origin="https://a.example.com")[0] == 400
    # What is refused tells the script so, too.
    status, headers, _ = asked("GET", url, Origin="https://a.example.com")
    assert (status, headers["Access-Control-Allow-Origin"], headers["Access-Control-Expose-Headers"]) == (403, "https://a.example.com", "ETag")
    assert asked("GET", url, Origin="https://evil.org")[1]["Access-Control-Allow-Origin"] is None
    assert refused(s3.put_bucket_cors, Bucket=bucket, CORSConfiguration={"CORSRules": [
        {"AllowedOrigins": ["*"], "AllowedMethods": ["PATCH"]}]}) == ("InvalidRequest", 400)
    s3.delete_bucket_cors(Bucket=bucket)
    assert refused(s3.get_bucket_cors, Bucket=bucket) == ("NoSuchCORSConfiguration", 404)


def test_a_website(s3, bucket):
    def page(path, method="GET"):
        status, headers, body = asked(method, f"http://127.0.0.1:{PORT}{path}", Host=f"{bucket}.s3-website.localhost:{PORT}")
        return status, body, headers["Location"]

    assert page("/")[0] == 404
    s3.put_bucket_website(Bucket=bucket, WebsiteConfiguration={
        "IndexDocument": {"Suffix": "index.html"}, "ErrorDocument": {"Key": "oops.html"}, "RoutingRules": [
            {"Condition": {"KeyPrefixEquals": "old/"}, "Redirect": {"ReplaceKeyPrefixWith": "new/", "HttpRedirectCode": "302"}}]})
    for key in ("index.html", "sub/index.html", "oops.html"):
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode(), ContentType="text/html")
    s3.put_object(Bucket=bucket, Key="moved", Body=b"", WebsiteRedirectLocation="https://example.com/there")
    assert page("/")[0] == 403, "nobody is let in yet"
    s3.delete_public_access_block(Bucket=bucket)
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject", "s3:ListBucket"],
         "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]}]}))
    assert page("/") == (200, b"index.html", None) and page("/sub/") == (200, b"sub/index.html", None)
    assert page("/", method="HEAD") == (200, b"", None)
    assert page("/sub")[0] == 302 and page("/sub")[2].endswith("/sub/")
    assert page("/none") == (404, b"oops.html", None)
    assert page("/old/a")[0] == 302 and page("/old/a")[2].endswith("/new/a")
    assert page("/moved")[::2] == (301, "https://example.com/there")
    assert page("/", method="POST")[0] == 405
    assert refused(s3.put_bucket_website, Bucket=bucket, WebsiteConfiguration={"ErrorDocument": {"Key": "x"}}) == ("InvalidArgument", 400)
    s3.delete_bucket_website(Bucket=bucket)
    assert page("/")[0] == 404
    assert refused(s3.get_bucket_website, Bucket=bucket) == ("NoSuchWebsiteConfiguration", 404)
