"""The server dies; the guests don't. What was answered is there once, what wasn't is made once by the retry."""

import concurrent.futures
import os
import pathlib
import signal
import subprocess
import uuid

import pytest

from cloud import wait_for
from conftest import sweep

LAUNCHES = 20


def test_a_guest_outlives_kill_9_of_the_server(cloud):
    guest = cloud.run()
    cloud.ssh(guest, "touch /root/here; echo ready")
    [pid] = cloud.qemu_pids(guest)
    cloud.kill()
    assert cloud.qemu_pids(guest) == [pid]
    cloud.start()
    assert cloud.state(guest) == "running"
    assert cloud.qemu_pids(guest) == [pid]
    assert cloud.ssh(guest, "ls /root/here").strip() == "/root/here"
    # Adopted, not only left alone: it still obeys.
    cloud.ec2.stop_instances(InstanceIds=[guest])
    cloud.wait_state(guest, "stopped")
    cloud.terminate(guest)


def test_a_guest_that_powers_off_while_the_server_is_down_is_not_an_error(cloud):
    guest = cloud.run()
    cloud.ssh(guest, "(sleep 3; poweroff) >/dev/null 2>&1 &")
    cloud.kill()
    import time
    time.sleep(10)
    cloud.start()
    told = cloud.wait_state(guest, "stopped", seconds=60)
    assert told["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"
    cloud.terminate(guest)


def network_holders(cloud):
    """The processes that hold this cloud's network namespaces."""
    mark = f"PILEUS_NAMESPACE={os.path.realpath(cloud.data_dir)}:".encode()
    found = []
    for proc in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if any(word.startswith(mark) for word in (proc / "environ").read_bytes().split(b"\0")):
                found.append(int(proc.name))
        except OSError:
            continue
    return found


def is_running(pid):
    try:
        os.readlink(f"/proc/{pid}/ns/net")
    except OSError:  # gone, or a zombie
        return False
    return True


def kill_all(pids):
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    wait_for("the processes end", 10, lambda: not any(map(is_running, pids)))


@pytest.mark.parametrize("server", ["lives", "dies"])
def test_a_guest_keeps_its_network_when_the_holders_are_killed(cloud, internet, server):
    guest = cloud.run()
    cloud.ssh(guest, "echo ready")
    [qemu] = cloud.qemu_pids(guest)
    boot = cloud.ssh(guest, "cat /proc/sys/kernel/random/boot_id")
    holders = network_holders(cloud)
    assert len(holders) >= 2, "the fabric's and the VPC's"
    if server == "dies":
        cloud.kill()
    kill_all(holders)
    if server == "dies":
        cloud.start()
    wait_for("other holders", 30, lambda: len(network_holders(cloud)) >= 2)
    assert cloud.ssh(guest, "cat /proc/sys/kernel/random/boot_id") == boot
    assert cloud.qemu_pids(guest) == [qemu] and cloud.state(guest) == "running"
    # The way out and the metadata service, too.
    wait_for("the way out", 30, lambda: "open" in cloud.status()["way_out"])
    assert cloud.ssh(guest, f"wget -q -O - http://{internet}/") == "the internet answers\n"
    assert cloud.ssh(guest, "curl -s http://169.254.169.254/latest/meta-data/instance-id").strip() == guest
    cloud.terminate(guest)


def test_kill_9_in_the_middle_of_20_launches(cloud):
    tokens = [str(uuid.uuid4()) for _ in range(LAUNCHES)]

    def launch(token):
        client = cloud.ec2
        made = client.run_instances(ImageId=cloud.image, InstanceType="t3.nano", KeyName="k", MinCount=1, MaxCount=1, ClientToken=token)
        return made["Instances"][0]["InstanceId"]

    answered, unanswered = {}, []
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        calls = {pool.submit(launch, token): token for token in tokens}
        for number, call in enumerate(concurrent.futures.as_completed(calls), 1):
            try:
                answered[calls[call]] = call.result()
            except Exception:  # the connection broke: nobody knows whether it was done
                unanswered.append(calls[call])
            if number == LAUNCHES // 2:
                cloud.kill()
    assert answered and unanswered, "the kill fell outside the launches"
    cloud.start()
    for token in unanswered:
        answered[token] = launch(token)
    # A retry of an answered call, too, finds what is there.
    for token in tokens[:3]:
        assert launch(token) == answered[token]
    ids = list(answered.values())
    assert len(set(ids)) == LAUNCHES

    told = [i for r in cloud.ec2.describe_instances(Filters=[{"Name": "client-token", "Values": tokens}])["Reservations"] for i in r["Instances"]]
    assert sorted(i["InstanceId"] for i in told) == sorted(ids)
    for guest in ids:
        cloud.wait_state(guest, "running", seconds=300)
        assert len(cloud.qemu_pids(guest)) == 1
    assert len({i["PrivateIpAddress"] for i in told}) == LAUNCHES
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for guest, said in zip(ids, pool.map(lambda g: cloud.ssh(g, "hostname", timeout=400), ids)):
            assert said.strip() == cloud.instance(guest)["PrivateDnsName"]
    cloud.terminate(*ids)
    assert [p for g in ids for p in cloud.qemu_pids(g)] == []


@pytest.mark.parametrize("boot_id", ["same", "another"])
def test_after_a_restart_of_the_host_what_ran_is_started_again(cloud, workdir, boot_id):
    guest, stopped, off = cloud.run(count=3)
    cloud.ssh(guest, "echo kept > /root/file; sync")
    cloud.ssh(off, "poweroff", check=False)
    cloud.wait_state(off, "stopped")
    cloud.ec2.stop_instances(InstanceIds=[stopped], Force=True)
    cloud.wait_state(stopped, "stopped")
    # The host goes down: all its processes end at once. It comes up with another boot id; when a container's processes are killed, or all of
    # a service's, the boot id is the same.
    cloud.kill()
    sweep(cloud.data_dir)
    wait_for("all processes end", 10, lambda: not cloud.qemu_pids(guest) and not network_holders(cloud))
    if boot_id == "another":
        file = workdir / "boot_id"
        file.write_text(f"{uuid.uuid4()}\n")
        subprocess.run(["mount", "--bind", file, "/proc/sys/kernel/random/boot_id"], check=True)
    cloud.start()
    wait_for("a machine again", 60, lambda: cloud.qemu_pids(guest))
    assert cloud.ssh(guest, "cat /root/file") == "kept\n"
    assert cloud.state(guest) == "running"
    assert [cloud.state(stopped), cloud.state(off)] == ["stopped", "stopped"]
    cloud.terminate(guest, stopped, off)
