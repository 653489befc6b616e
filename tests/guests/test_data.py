"""Files that are lost, and databases that don't fit: a guest's disk is never made anew, and no guest is ended by the wrong database."""

import os
import shutil
import subprocess

from cloud import PILEUS, wait_for

HOST_KEYS = "cat /etc/dropbear/*key | md5sum"


def stopped(cloud, guest):
    cloud.ec2.stop_instances(InstanceIds=[guest])
    return cloud.wait_state(guest, "stopped")


def volume_of(cloud, told):
    volume = told["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    return volume, cloud.data_dir / "volumes" / f"{volume}.qcow2"


def test_a_lost_volume_is_not_made_anew(cloud):
    guest = cloud.run()
    keys = cloud.ssh(guest, f"echo precious > /root/file; sync; {HOST_KEYS}")
    volume, file = volume_of(cloud, stopped(cloud, guest))
    kept = cloud.data_dir.parent / "kept.qcow2"

    def refused(loss):
        cloud.ec2.start_instances(InstanceIds=[guest])
        told = wait_for("the start is refused", 10, lambda: (i := cloud.instance(guest))["State"]["Name"] == "stopped" and i)
        assert told["StateReason"]["Code"] == "Server.InternalError"
        assert told["StateReason"]["Message"].endswith(f"the volume {volume} is {loss}")
        assert cloud.ec2.describe_volumes(VolumeIds=[volume])["Volumes"][0]["State"] == "error"
        assert any(volume in note and str(file) in note for note in cloud.status()["notes"])

    shutil.move(file, kept)
    refused("missing")
    assert not file.exists()
    whole = kept.read_bytes()
    for damage in (b"", whole[: len(whole) // 2], bytes(len(whole))):
        file.write_bytes(damage)
        refused("damaged")
    shutil.move(kept, file)
    cloud.ec2.start_instances(InstanceIds=[guest])
    cloud.wait_state(guest, "running")
    assert cloud.ssh(guest, f"cat /root/file; {HOST_KEYS}") == f"precious\n{keys}"
    assert cloud.ec2.describe_volumes(VolumeIds=[volume])["Volumes"][0]["State"] == "in-use"
    assert not any(volume in note for note in cloud.status()["notes"])
    cloud.terminate(guest)


def test_a_database_that_does_not_fit_ends_no_guest(cloud, workdir):
    guest = cloud.run()
    cloud.ssh(guest, "touch /root/here")
    [pid] = cloud.qemu_pids(guest)
    cloud.kill()
    kept = workdir / "kept"
    kept.mkdir()
    for name in ("state.db", "state.db-wal"):
        shutil.move(cloud.data_dir / name, kept / name)

    def refused(says):
        done = subprocess.run([PILEUS, "--data-dir", cloud.data_dir, *cloud.arguments], capture_output=True, text=True, timeout=60)
        assert done.returncode == 1 and says in done.stderr, done.stderr
        assert cloud.qemu_pids(guest) == [pid]

    (cloud.data_dir / "state.db").write_bytes(b"")
    refused("state.db is empty")
    shutil.copy(kept / "state.db", cloud.data_dir / "state.db")
    with_log = (kept / "state.db-wal").stat().st_size > 0
    assert with_log, "a killed server leaves its log"
    refused("pileus adopt" if os.path.getsize(kept / "state.db") > 4096 else "holds no tables")
    for name in ("state.db", "state.db-wal"):
        shutil.copy(kept / name, cloud.data_dir / name)
    shutil.move(cloud.data_dir / "volumes", kept / "volumes")
    (cloud.data_dir / "volumes").mkdir()
    refused("may not be mounted")
    (cloud.data_dir / "volumes").rmdir()
    shutil.move(kept / "volumes", cloud.data_dir / "volumes")

    cloud.start()
    assert cloud.state(guest) == "running" and cloud.qemu_pids(guest) == [pid]
    assert cloud.ssh(guest, "ls /root/here").strip() == "/root/here"
    cloud.terminate(guest)
