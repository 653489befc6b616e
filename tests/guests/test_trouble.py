"""What goes wrong ends in a state and a reason: images that don't boot or that name other files, full disks, a host that is full."""

import json
import os
import shutil
import subprocess
import time

import pytest

from cloud import wait_for
from conftest import Guests, sweep


def test_an_image_that_does_not_boot_ends_with_a_reason(cloud, workdir):
    disk = workdir / "dead.raw"
    with open(disk, "wb") as file:
        file.truncate(64 << 20)
        file.seek(0)
        # A boot sector that is signed, and does nothing but reset the machine.
        file.write(bytes([0xEA, 0xF0, 0xFF, 0x00, 0xF0]))
        file.seek(510)
        file.write(b"\x55\xaa")
    image = cloud.pileus("image", "import", disk, "--name", "dead").stdout.strip()
    guest = cloud.run(ImageId=image)
    told = cloud.wait_state(guest, "stopped", seconds=240)
    assert told["StateReason"]["Code"] == "Server.InternalError"
    assert cloud.qemu_pids(guest) == []
    cloud.terminate(guest)


def test_a_qcow2_that_names_another_file_is_refused(cloud, workdir):
    secret = workdir / "secret.raw"
    secret.write_bytes(os.urandom(1 << 20))
    made = {
        "backing": ["-b", str(secret), "-F", "raw"],
        "json": ["-b", "json:" + json.dumps({"driver": "raw", "file": {"driver": "file", "filename": str(secret)}}), "-F", "raw"],
        "data-file": ["-o", f"data_file={workdir / 'data.raw'},data_file_raw=on"],
    }
    for name, options in made.items():
        file = workdir / f"{name}.qcow2"
        size = [] if "-b" in options else ["4M"]
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *options, file, *size], check=True)
        done = cloud.pileus("image", "import", file, "--name", f"evil-{name}", check=False)
        assert done.returncode != 0 and "file" in done.stderr, f"{name}: {done.stdout}{done.stderr}"
    assert not cloud.ec2.describe_images(Owners=["self"], Filters=[{"Name": "name", "Values": ["evil-*"]}])["Images"]
    assert not list((cloud.data_dir / "staging").iterdir())


def test_what_does_not_fit_is_insufficient_capacity(cloud):
    with pytest.raises(cloud.ec2.exceptions.ClientError) as refused:
        cloud.run(InstanceType="m5.24xlarge")
    assert refused.value.response["Error"]["Code"] == "InsufficientInstanceCapacity"


def test_a_guest_that_has_halted_is_stopped_at_once(cloud):
    guest = cloud.run()
    cloud.ssh(guest, "echo ready")
    # It doesn't react to the power button any more.
    cloud.ssh(guest, "nohup sh -c 'sleep 1; halt -f' >/dev/null 2>&1 &")
    time.sleep(10)
    assert cloud.state(guest) == "running"
    begun = time.monotonic()
    cloud.ec2.stop_instances(InstanceIds=[guest])
    cloud.wait_state(guest, "stopped", seconds=60)
    assert time.monotonic() - begun < 15
    cloud.terminate(guest)


def disk_make(image, directory, size=2 << 30):
    """A small file system. Not tmpfs: its pages would count against the memory limit of the machine that writes them."""
    with open(image, "wb") as file:
        file.truncate(size)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, directory], check=True)


def ballast_add(directory, keep):
    """Leaves only this many bytes of free space."""
    free = shutil.disk_usage(directory).free
    with open(directory / "ballast", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, free - keep)


def test_a_full_disk_pauses_the_guest_and_says_so(cloud, internet, workdir):
    # A cloud of its own on a small file system; the packages come from the other's cache.
    small = workdir / "small"
    small.mkdir()
    disk_make(workdir / "small.ext4", small)
    config = workdir / "tight.toml"
    config.write_text("[capacity]\ndisk_overcommit = 1000.0\n")
    tight = Guests(small / "c", listen="127.0.0.1:4588", config=config)
    try:
        tight.start()
        cache = os.environ.get("PILEUS_CACHE_DIR", str(cloud.data_dir / "cache"))
        os.environ["PILEUS_CACHE_DIR"] = cache
        tight.prepare()
        guest = tight.run()
        tight.ssh(guest, "echo ready")
        # Building the image takes more space than is left to the guest.
        ballast_add(small, keep=64 << 20)
        tight.ssh(guest, "nohup sh -c 'while :; do cat /dev/urandom > /root/fill; done' >/dev/null 2>&1 &")
        wait_for("the guest is reported paused", 240, lambda: any(guest in note for note in tight.status()["notes"]))
        assert tight.state(guest) == "running"
        note = next(n for n in tight.status()["notes"] if guest in n)
        assert "space" in note

        def status():
            return tight.ec2.describe_instance_status(InstanceIds=[guest])["InstanceStatuses"][0]["InstanceStatus"]

        assert status()["Status"] == "impaired" and status()["Details"][0]["ImpairedSince"]
        assert "disk space" in tight.instance(guest)["StateReason"]["Message"]
        wait_for("the log names the disk", 10, lambda: "the disk is full" in tight.log.read_text())
        with pytest.raises(tight.ec2.exceptions.ClientError, match="InsufficientInstanceCapacity"):
            tight.run()
        time.sleep(25)
        log = tight.log.read_text()
        assert log.count("the instance is impaired") == 1 and log.count("the disk is full") == 1 and str(small) in log
        assert status()["Status"] == "impaired", "also while it is let go on to see whether there is space"
        # With room again it goes on, and no write was lost or failed.
        (small / "ballast").unlink()
        wait_for("the guest goes on", 120, lambda: not any(guest in note for note in tight.status()["notes"]))
        assert "I/O error" not in tight.ssh(guest, "killall cat sh; dmesg | tail -n 50", check=False).stdout
        wait_for("it is well again", 60, lambda: status()["Status"] == "ok")
        # Once more, and now it is terminated while it is paused.
        tight.ssh(guest, "rm -f /root/fill; sync; fstrim / 2>/dev/null; true")
        ballast_add(small, keep=16 << 20)
        tight.ssh(guest, "nohup sh -c 'while :; do cat /dev/urandom > /root/fill; done' >/dev/null 2>&1 &")
        wait_for("it is impaired again", 240, lambda: status()["Status"] == "impaired")
        begun = time.monotonic()
        tight.terminate(guest)
        assert time.monotonic() - begun < 20
    finally:
        if tight.process and tight.process.poll() is None:
            tight.stop()
        sweep(tight.data_dir)
        subprocess.run(["umount", "-l", small])
