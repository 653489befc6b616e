"""What S3 answered for is there after `kill -9`, what was cut off is not, and a full disk refuses writes and goes on reading."""

import contextlib
import hashlib
import http.server
import json
import os
import pathlib
import random
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request

import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from cloud import PILEUS, ROOT, Cloud, wait_for

PORT = 45681
FULL_PORT = 45682
# Around the size below which bodies lie in the index, and far above it.
SIZES = [0, 1, 4096, 16384, 16385, 200_000, 3_000_000]


def quick(cloud, **more):
    return cloud.client("s3", config=Config(retries={"max_attempts": 0}, s3={"addressing_style": "path"}, **more))


@pytest.fixture
def own():
    with tempfile.TemporaryDirectory(prefix="plc-") as directory:
        cloud = Cloud(directory, listen=f"127.0.0.1:{PORT}", simulate=True).start()
        try:
            yield cloud
        finally:
            if cloud.process.poll() is None:
                cloud.stop()


def body_of(seed):
    rng = random.Random(seed)
    return rng.randbytes(rng.choice(SIZES))


def write(client, number, acknowledged, asked, done):
    """Puts, overwrites and deletes keys of its own until the server is gone."""
    step = 0
    while not done.is_set():
        key, step = f"w{number}/k{step % 7}", step + 1
        seed = number * 100_000 + step
        try:
            if step % 5 == 0:
                asked[key] = None
                client.delete_object(Bucket="kept", Key=key)
                acknowledged[key] = None
            else:
                asked[key] = seed
                client.put_object(Bucket="kept", Key=key, Body=body_of(seed))
                acknowledged[key] = seed
        except (BotoCoreError, ClientError):
            return


def test_kill_9_loses_nothing_that_was_answered(own):
    quick(own).create_bucket(Bucket="kept")
    acknowledged, kills = {}, 4
    for round_number in range(kills):
        asked, done = dict(acknowledged), threading.Event()
        # Each thread its client, before the server dies: making one asks the server.
        clients = [quick(own, max_pool_connections=1) for _ in range(6)]
        threads = [threading.Thread(target=write, args=(client, n + 10 * round_number, acknowledged, asked, done))
                   for n, client in enumerate(clients)]
        for thread in threads:
            thread.start()
        time.sleep(1.0 + 0.3 * round_number)
        own.kill()
        done.set()
        for thread in threads:
            thread.join(60)
        own.start()
        client = quick(own)
        found = {}
        for page in client.get_paginator("list_objects_v2").paginate(Bucket="kept"):
            for item in page.get("Contents", []):
                found[item["Key"]] = client.get_object(Bucket="kept", Key=item["Key"])["Body"].read()
        for key in asked.keys() | found.keys():
            # The last call of each thread may have been done or not, but nothing in between.
            may = {acknowledged.get(key), asked.get(key)}
            if key in found:
                seeds = [seed for seed in may if seed is not None and body_of(seed) == found[key]]
                assert seeds, f"{key} has {len(found[key])} bytes that nobody wrote last"
                acknowledged[key] = seeds[0]
            else:
                assert None in may, f"{key} was answered for and is gone"
                acknowledged[key] = None
    assert sum(seed is not None for seed in acknowledged.values()) > 20, "too little was written to prove anything"
    left = [name for _, _, names in os.walk(own.data_dir / "objects" / "incoming") for name in names]
    assert left == [], "what was cut off is swept away"


class Hook(http.server.BaseHTTPRequestHandler):
    """Where notifications go."""

    heard = []

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        Hook.heard += [(r["eventName"], r["s3"]["object"]["key"]) for r in body.get("Records", [])]
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *words):
        pass


def test_kill_9_loses_no_notification():
    queue = "arn:aws:sqs:us-east-1:000000000000:q"
    with socket.socket() as taken, tempfile.TemporaryDirectory(prefix="plc-") as directory:
        # Nobody answers there until the server has died.
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        config = f"{directory}/pileus.toml"
        with open(config, "w") as file:
            file.write(f'[s3]\nwebhooks = {{ "{queue}" = "http://127.0.0.1:{port}/" }}\nwebhooks_for_all = ["{queue}"]\n')
        cloud = Cloud(f"{directory}/data", listen=f"127.0.0.1:{PORT}", simulate=True, config=config).start()
        try:
            client = quick(cloud)
            client.create_bucket(Bucket="told")
            client.create_bucket(Bucket="silent")
            wanted = [{"QueueArn": queue, "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]}]
            client.put_bucket_notification_configuration(Bucket="told", NotificationConfiguration={"QueueConfigurations": wanted})
            for key in "abc":
                client.put_object(Bucket="told", Key=key, Body=b"x")
                client.put_object(Bucket="silent", Key=key, Body=b"x")
            client.delete_object(Bucket="told", Key="b")

            def down():
                [found] = cloud.status()["destinations"]
                return found if found["down_since"] else None

            # Once five tries have failed.
            found = wait_for("the destination is down", 30, down)
            assert (found["arn"], found["events_waiting"], found["events_given_up"]) == (queue, 5, 0), "with what tried it"
            assert f"notifications to {queue}: down since {found['down_since']}, 5 events wait" in cloud.pileus("status").stdout
            cloud.kill()
            taken.close()
            hook = http.server.ThreadingHTTPServer(("127.0.0.1", port), Hook)
            threading.Thread(target=hook.serve_forever, daemon=True).start()
            expected = [("ObjectCreated:Put", key) for key in "abc"] + [("ObjectRemoved:Delete", "b")]
            cloud.start()
            wait_for("everything is heard after all", 20, lambda: len(Hook.heard) >= len(expected))
            assert Hook.heard == expected
            wait_for("nothing waits", 5, lambda: cloud.status()["destinations"][0]["events_waiting"] == 0)
            assert cloud.status()["destinations"][0]["down_since"] is None and not cloud.status()["notes"]
            assert cloud.stop() == 0
            cloud.start()
            quick(cloud).put_object(Bucket="told", Key="last", Body=b"x")
            wait_for("the next one is heard", 20, lambda: len(Hook.heard) > len(expected))
            assert Hook.heard == [*expected, ("ObjectCreated:Put", "last")], "what was told is not told again"
            hook.shutdown()
            hook.server_close()
            quick(cloud).put_object(Bucket="told", Key="deaf", Body=b"x")
            wait_for("it is down again", 30, down)
            hook = http.server.ThreadingHTTPServer(("127.0.0.1", port), Hook)
            threading.Thread(target=hook.serve_forever, daemon=True).start()
            wait_for("it is heard though it was down for longer than some tries", 40, lambda: len(Hook.heard) == len(expected) + 2)
            hook.shutdown()
            log = cloud.log.read_text()
            assert [log.count(f"a destination of notifications is {state}") for state in ("down", "up again")] == [2, 1]
        finally:
            if cloud.process.poll() is None:
                cloud.stop()


def test_a_cut_body_leaves_nothing(own):
    client = quick(own, signature_version="s3v4")
    client.create_bucket(Bucket="kept")
    url = client.generate_presigned_url("put_object", Params={"Bucket": "kept", "Key": "half"})
    path = url.split(f":{PORT}", 1)[1]
    with socket.create_connection(("127.0.0.1", PORT)) as raw:
        raw.sendall(f"PUT {path} HTTP/1.1\r\nHost: 127.0.0.1:{PORT}\r\nContent-Length: 5000000\r\n\r\n".encode() + b"x" * 2_500_000)
        time.sleep(0.3)
    incoming = own.data_dir / "objects" / "incoming"
    end = time.monotonic() + 10
    while any(incoming.iterdir()) and time.monotonic() < end:
        time.sleep(0.1)
    assert not any(incoming.iterdir())
    with pytest.raises(ClientError, match="404|NoSuchKey"):
        client.head_object(Bucket="kept", Key="half")


def test_a_full_disk_refuses_writes_and_goes_on_reading(tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160m,mode=755", "small", str(small)], check=True)
    own = Cloud(small / "c", listen=f"127.0.0.1:{FULL_PORT}", simulate=True)
    own.log = tmp_path / "log"
    try:
        own.start()
        client = quick(own)
        client.create_bucket(Bucket="kept")
        body = os.urandom(8 << 20)
        stored, refused = 0, None
        for number in range(20):
            try:
                client.put_object(Bucket="kept", Key=f"k{number}", Body=body)
                stored += 1
            except ClientError as error:
                refused = error.response
                break
        assert stored >= 3 and refused, "the disk was never full"
        assert (refused["Error"]["Code"], refused["ResponseMetadata"]["HTTPStatusCode"]) == ("InsufficientStorage", 507)
        assert len(client.list_objects_v2(Bucket="kept")["Contents"]) == stored
        assert hashlib.sha256(client.get_object(Bucket="kept", Key="k0")["Body"].read()).digest() == hashlib.sha256(body).digest()
        client.delete_object(Bucket="kept", Key="k0")
        client.delete_object(Bucket="kept", Key="k1")

        def again():
            try:
                return client.put_object(Bucket="kept", Key="again", Body=b"room")
            except ClientError:
                return None

        # The disk is looked at once a second.
        wait_for("there is room again", 30, again)

        # Nothing at all is left, for the log neither. It starts, reads, and refuses.
        own.stop()
        with open(small / "ballast", "wb", buffering=0) as ballast, contextlib.suppress(OSError):
            while ballast.write(bytes(4096)):
                pass
        own.log = pathlib.Path("/dev/full")
        own.start()
        client = quick(own)
        for _ in range(2):
            with pytest.raises(ClientError, match="InsufficientStorage"):
                client.put_object(Bucket="kept", Key="more", Body=body)
        assert hashlib.sha256(client.get_object(Bucket="kept", Key="k2")["Body"].read()).digest() == hashlib.sha256(body).digest()
    finally:
        if own.process is not None and own.process.poll() is None:
            own.stop()
        subprocess.run(["umount", "-l", str(small)], check=True)


def test_the_environment_makes_old_clients_presign_by_version_4(own):
    """The aws CLI of version 1 takes signature version 2 in us-east-1 unless a configuration file says else; AWS's new buckets refuse it."""
    home = own.data_dir / "home"
    home.mkdir()
    bare = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")} | dict(HOME=str(home))
    script = 'set -e; env=$("$1" --data-dir "$2" env); eval "$env"; aws s3 mb s3://shown; echo hi | aws s3 cp - s3://shown/k; aws s3 presign s3://shown/k'
    done = subprocess.run(["sh", "-c", script, "sh", PILEUS, own.data_dir], env=bare, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    url = done.stdout.splitlines()[-1]
    assert "X-Amz-Signature" in url
    with urllib.request.urlopen(url, timeout=30) as answer:
        assert answer.read() == b"hi\n"
    refused = quick(own).generate_presigned_url("get_object", Params={"Bucket": "shown", "Key": "k"})
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(refused, timeout=30)
    assert error.value.code == 400 and b"Please use AWS4-HMAC-SHA256" in error.value.read()
    (home / ".aws").mkdir()
    (home / ".aws/config").write_text("")
    kept = subprocess.run([PILEUS, "--data-dir", own.data_dir, "env"], env=bare, capture_output=True, text=True, check=True).stdout
    assert "export AWS_CONFIG_FILE" not in kept and "signature_version s3v4" in kept, "a user's own file is left alone"


def test_status_says_how_much_is_stored(own):
    objects = lambda: next(line for line in own.pileus("status").stdout.splitlines() if line.startswith("objects"))
    # A cloud that was never checked is checked when it starts, and the next time a week later.
    wait_for("the first check", 20, lambda: own.status()["scrub"])
    checked = objects().partition("; ")[2]
    assert objects() == f"objects      0 versions in 0 buckets, 0 bytes; {checked}" and checked.startswith("checked 0 bytes until ")
    quick(own).create_bucket(Bucket="kept")
    quick(own).put_object(Bucket="kept", Key="k", Body=os.urandom(3_355_443))
    assert objects() == f"objects      1 versions in 1 buckets, 3.2 MiB; {checked}"
    own.stop()
    own.start()
    assert objects() == f"objects      1 versions in 1 buckets, 3.2 MiB; {checked}", "a restart has forgotten nothing"


def test_remove_leaves_nothing_of_a_cloud(own):
    quick(own).create_bucket(Bucket="kept")
    quick(own).put_object(Bucket="kept", Key="k", Body=os.urandom(100_000))
    own.stop()
    data = own.data_dir / "gone"
    data.mkdir()
    for name in [entry.name for entry in own.data_dir.iterdir() if entry != data]:
        (own.data_dir / name).rename(data / name)
    done = subprocess.run([ROOT / "scripts/remove"], env=os.environ | dict(PILEUS_DATA_DIR=str(data)), stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert not data.exists()
