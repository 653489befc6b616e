"""A backup while guests write, restored on an empty machine: nothing that was synced before it is missing, and the disk is whole."""

import json
import subprocess
import time

from cloud import PILEUS, wait_for
from real_cloud import Guests, sweep

# Each number is on the disk before the next one is written.
WRITER = "nohup sh -c 'i=0; while :; do i=$((i+1)); echo $i >>/root/counter; sync; done' >/dev/null 2>&1 &"


def numbers(cloud, instance):
    return [int(line) for line in cloud.ssh(instance, "cat /root/counter").split()]


def test_a_guest_that_writes_is_backed_up_and_restored(cloud, workdir):
    instance, still = cloud.run(), cloud.run()
    for each in (instance, still):
        cloud.wait_state(each, "running")
    cloud.ssh(instance, WRITER)
    cloud.ssh(still, "echo kept >/root/word; sync")
    cloud.ec2.stop_instances(InstanceIds=[still])
    cloud.wait_state(still, "stopped")
    wait_for("the guest writes", 120, lambda: len(numbers(cloud, instance)) > 20)

    backups = workdir / "backups"
    before = numbers(cloud, instance)
    cloud.pileus("backup", backups)
    after = wait_for("the guest goes on", 120, lambda: [n for n in numbers(cloud, instance) if n > before[-1] + 20])
    assert cloud.state(instance) == "running"

    # The second one is begun and the server killed; the guest doesn't notice, and the third is whole.
    asked = subprocess.Popen([PILEUS, "--data-dir", cloud.data_dir, "backup", backups], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for("a copy is under way", 60, lambda: list(backups.glob("*.partial/volumes/*.qcow2")) or asked.poll() is not None, pause=0.005)
    cloud.kill()
    asked.wait(60)
    cloud.start()
    cloud.ec2 = cloud.client()
    wait_for("the guest goes on", 120, lambda: numbers(cloud, instance)[-1] > after[-1])
    cloud.pileus("backup", backups)
    newest = numbers(cloud, instance)

    all_of = sorted(path for path in backups.iterdir() if not path.name.endswith(".partial"))
    assert len(all_of) == 2
    files = {entry["path"]: entry for entry in json.loads((all_of[1] / "manifest.json").read_text())["files"]}
    for path in (p for p in files if p.startswith("volumes/")):
        checked = subprocess.run(["qemu-img", "check", "-f", "qcow2", all_of[1] / path], capture_output=True, text=True)
        assert checked.returncode == 0, checked.stdout + checked.stderr
    # The image and the volume of the guest that stands still are there once.
    linked = [p for p in files if (all_of[0] / p).exists() and (all_of[0] / p).stat().st_ino == (all_of[1] / p).stat().st_ino]
    assert any(p.startswith("images/") for p in linked) and any(p.startswith("volumes/") for p in linked), linked

    cloud.stop()
    sweep(cloud.data_dir)
    restored = Guests(workdir / "r", config=workdir / "pileus.toml")
    done = subprocess.run([PILEUS, "--data-dir", workdir / "r", "restore", all_of[1]], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    restored.start()
    try:
        restored.ec2, restored.key = restored.client(), cloud.key
        # As after a restart of the host.
        wait_for("what ran is started again", 120, lambda: restored.qemu_pids(instance))
        restored.wait_state(instance, "running")
        kept = numbers(restored, instance)
        assert kept == list(range(1, len(kept) + 1)) and before[-1] <= kept[-1] <= newest[-1] + 1
        assert restored.state(still) == "stopped"
        restored.ec2.start_instances(InstanceIds=[still])
        restored.wait_state(still, "running")
        assert restored.ssh(still, "cat /root/word").strip() == "kept"
    finally:
        restored.stop()
        sweep(restored.data_dir)
        cloud.start()
        cloud.ec2 = cloud.client()
