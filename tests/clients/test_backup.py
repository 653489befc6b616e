"""Backups of a simulated cloud: what clients write meanwhile, what a second one costs, and what is never restored."""

import hashlib
import json
import pathlib
import subprocess
import threading
import time

import pytest

import s3_client
from cloud import PILEUS, Cloud


@pytest.fixture
def clouds(tmp_path):
    """Opens clouds on ports that are free, and stops them."""
    opened = []

    def open_cloud(name):
        cloud = Cloud(tmp_path / name, listen=f"127.0.0.1:{45700 + len(opened)}", simulate=True).start()
        opened.append(cloud)
        return cloud

    yield open_cloud
    for cloud in opened:
        if cloud.process.poll() is None:
            cloud.stop()


def body(key):
    """What is written under a key: small ones lie in the index, others are files."""
    size = 100 + int(key.rsplit("-", 1)[1]) % 7 * 9000
    return hashlib.sha256(key.encode()).digest() * (size // 32)


def restore(backup, to, *more):
    return subprocess.run([PILEUS, "--data-dir", to, "restore", *more, backup], capture_output=True, text=True, timeout=120)


def copied(said):
    """Files and their number that a backup copied, by its last line."""
    return int(said.strip().splitlines()[-1].split("copied ")[1].split(" ")[0])


def test_objects_written_meanwhile_are_whole_in_the_backup(clouds, tmp_path):
    cloud, backups = clouds("a"), tmp_path / "backups"
    s3 = s3_client.client(cloud)
    s3.create_bucket(Bucket="bucket")
    answered, stop = [], threading.Event()

    def write():
        client, number = s3_client.client(cloud), 0
        while not stop.is_set():
            key = f"k-{number}"
            client.put_object(Bucket="bucket", Key=key, Body=body(key))
            answered.append(key)
            if number % 5 == 4:
                client.delete_object(Bucket="bucket", Key=f"k-{number - 2}")
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    time.sleep(2)
    before = list(answered)
    cloud.pileus("backup", backups)
    second = cloud.pileus("backup", backups).stdout if time.sleep(1.1) is None else ""
    stop.set()
    writer.join()
    cloud.stop()

    for backup in sorted(backups.iterdir()):
        to = tmp_path / f"restored-{backup.name}"
        done = restore(backup, to)
        assert done.returncode == 0, done.stderr
        restored = Cloud(to, listen="127.0.0.1:45720", simulate=True).start()
        try:
            client = s3_client.client(restored)
            keys = {o["Key"] for page in client.get_paginator("list_objects_v2").paginate(Bucket="bucket") for o in page.get("Contents", [])}
            for key in keys:
                assert client.get_object(Bucket="bucket", Key=key)["Body"].read() == body(key), key
            # All that was answered before it began is there, but for what was deleted, every fifth.
            gone = {f"k-{n - 2}" for n in range(4, len(answered), 5)}
            assert set(before) - keys <= gone
            client.put_object(Bucket="bucket", Key="goes on", Body=b"x")
        finally:
            restored.stop()
    assert copied(second) < len(answered)


def test_a_second_backup_copies_the_databases_only(clouds, tmp_path):
    cloud, backups = clouds("a"), tmp_path / "backups"
    s3 = s3_client.client(cloud)
    s3.create_bucket(Bucket="bucket")
    for number in range(20):
        s3.put_object(Bucket="bucket", Key=f"k-{number}", Body=bytes(50_000))
    cloud.pileus("backup", backups)
    time.sleep(1.1)
    said = cloud.pileus("backup", backups).stdout
    first, second = sorted(backups.iterdir())
    entries = {p.relative_to(second): p.stat().st_ino for p in second.rglob("*") if p.is_file()}
    bodies = [path for path in entries if path.parts[:2] == ("objects", "files")]
    assert len(bodies) == 20 and all((first / path).stat().st_ino == entries[path] for path in bodies)
    assert copied(said) <= 3, said
    # As good when the cloud is stopped, and one backup needs no other.
    cloud.stop()
    time.sleep(1.1)
    cloud.pileus("backup", backups)
    subprocess.run(["rm", "-r", first, second], check=True)
    assert restore(backups, tmp_path / "r", "--check").returncode == 0
    assert not (tmp_path / "r").exists()
    assert restore(backups, tmp_path / "r").returncode == 0
    assert restore(backups, tmp_path / "r").returncode != 0, "into a directory that isn't empty"


@pytest.mark.parametrize("damage", ["cut", "changed", "missing", "unfinished"])
def test_a_damaged_backup_is_not_restored(clouds, tmp_path, damage):
    cloud, backups = clouds("a"), tmp_path / "backups"
    s3 = s3_client.client(cloud)
    s3.create_bucket(Bucket="bucket")
    s3.put_object(Bucket="bucket", Key="k", Body=bytes(50_000))
    cloud.pileus("backup", backups)
    [backup] = backups.iterdir()
    manifest = json.loads((backup / "manifest.json").read_text())
    [name] = [entry["path"] for entry in manifest["files"] if entry["path"].startswith("objects/files/")]
    victim = backup / name
    bytes_ = victim.read_bytes()
    victim.unlink()  # a hard link to the cloud's own
    if damage == "cut":
        victim.write_bytes(bytes_[:-1])
    elif damage == "changed":
        victim.write_bytes(b"x" + bytes_[1:])
    elif damage == "unfinished":
        victim.write_bytes(bytes_)
        (backup / "manifest.json").unlink()
    done = restore(backup, tmp_path / "r")
    assert done.returncode == 1 and ("damaged" in done.stderr or "no finished backup" in done.stderr), done.stderr
    assert not (tmp_path / "r").exists()
    s3.get_object(Bucket="bucket", Key="k")["Body"].read()


def test_a_backup_that_is_killed_is_none_and_the_next_one_is_whole(clouds, tmp_path):
    cloud, backups = clouds("a"), tmp_path / "backups"
    s3 = s3_client.client(cloud)
    s3.create_bucket(Bucket="bucket")
    for number in range(200):
        s3.put_object(Bucket="bucket", Key=f"k-{number}", Body=bytes(50_000))
    asked = subprocess.Popen([PILEUS, "--data-dir", cloud.data_dir, "backup", backups], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list(pathlib.Path(backups).glob("*.partial/objects/files/*/*")) and asked.poll() is None:
        time.sleep(0.002)
    cloud.kill()
    assert asked.wait(30) != 0
    assert restore(backups, tmp_path / "r").returncode != 0
    cloud.start()
    time.sleep(1.1)
    cloud.pileus("backup", backups)
    assert [path.name.endswith(".partial") for path in backups.iterdir()] == [False]
    assert restore(backups, tmp_path / "r").returncode == 0
