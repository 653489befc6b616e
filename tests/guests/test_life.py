"""The life of an instance, with the machine it has: boot, address, metadata, user data, ssh, disk, stop, start, reboot, terminate."""

import base64
import os
import signal
import subprocess
import time

from cloud import PILEUS, wait_for

SCRIPT = """#!/bin/sh
echo the user data ran as $(id -un)
echo kept > /root/user-data-ran
"""


def test_a_guest_boots_and_is_what_the_api_says(cloud, internet):
    guest = cloud.run(UserData=SCRIPT, TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "first"}]}])
    told = cloud.wait_state(guest, "running")
    assert told["State"]["Code"] == 16
    assert "Linux" in cloud.ssh(guest, "uname -a")

    # The address comes by DHCP, the name from the metadata service.
    assert told["PrivateIpAddress"] + "/20" in cloud.ssh(guest, "ip -4 addr show dev eth0")
    assert cloud.ssh(guest, "hostname").strip() == told["PrivateDnsName"]

    # Version 1 of the metadata service, as a plain curl; version 2 with a token.
    meta = "http://169.254.169.254/latest"
    assert cloud.ssh(guest, f"curl -s {meta}/meta-data/instance-id").strip() == guest
    assert cloud.ssh(guest, f"curl -s {meta}/meta-data/ami-id").strip() == cloud.image
    assert cloud.ssh(guest, f"curl -s {meta}/meta-data/local-ipv4").strip() == told["PrivateIpAddress"]
    token = f"T=$(curl -s -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' {meta}/api/token)"
    assert cloud.ssh(guest, f'{token}; curl -s -H "X-aws-ec2-metadata-token: $T" {meta}/meta-data/instance-type').strip() == "t3.nano"
    assert cloud.ssh(guest, f"curl -s {meta}/user-data") == SCRIPT

    # The user data ran once, as root.
    wait_for("the user data's file", 30, lambda: cloud.ssh(guest, "cat /root/user-data-ran", check=False).stdout == "kept\n")
    wait_for("the console", 30, lambda: "the user data ran as root" in cloud.console(guest))

    # Names inside the VPC, and the way out through the namespace that plays the internet.
    name = told["PrivateDnsName"]
    assert told["PrivateIpAddress"] in cloud.ssh(guest, f"nslookup {name}")
    assert cloud.ssh(guest, f"wget -q -O - http://{internet}/") == "the internet answers\n"
    cloud.terminate(guest)
    assert cloud.qemu_pids(guest) == []


def test_the_disk_is_kept_over_stop_and_start_and_reboot(cloud):
    guest = cloud.run()
    cloud.ssh(guest, "echo precious > /root/file && sync")
    cloud.ec2.stop_instances(InstanceIds=[guest])
    told = cloud.wait_state(guest, "stopped")
    assert told["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    assert told["StateTransitionReason"].startswith("User initiated (")
    assert cloud.qemu_pids(guest) == []
    assert "PublicIpAddress" not in told

    cloud.ec2.start_instances(InstanceIds=[guest])
    again = cloud.wait_state(guest, "running")
    assert again["PrivateIpAddress"] == told["PrivateIpAddress"]
    assert cloud.ssh(guest, "cat /root/file") == "precious\n"

    before = cloud.ssh(guest, "cat /proc/sys/kernel/random/boot_id")
    cloud.ec2.reboot_instances(InstanceIds=[guest])

    def rebooted():
        done = cloud.ssh(guest, "cat /proc/sys/kernel/random/boot_id /root/file", check=False)
        return done.returncode == 0 and before not in done.stdout and "precious" in done.stdout

    wait_for("the guest has rebooted", 180, rebooted, pause=1)
    assert cloud.state(guest) == "running"

    cloud.ec2.stop_instances(InstanceIds=[guest], Force=True)
    cloud.wait_state(guest, "stopped", seconds=20)
    volume = told["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    assert (cloud.data_dir / "volumes" / f"{volume}.qcow2").exists()
    cloud.terminate(guest)
    assert not (cloud.data_dir / "volumes" / f"{volume}.qcow2").exists()


def test_a_guest_that_powers_itself_off_is_stopped_and_says_so(cloud):
    guest = cloud.run()
    cloud.ssh(guest, "echo ready")
    cloud.ssh(guest, "poweroff", check=False)
    told = cloud.wait_state(guest, "stopped")
    assert told["StateReason"] == {
        "Code": "Client.InstanceInitiatedShutdown", "Message": "Client.InstanceInitiatedShutdown: Instance initiated shutdown"}
    cloud.terminate(guest)

    guest = cloud.run(InstanceInitiatedShutdownBehavior="terminate")
    cloud.ssh(guest, "echo ready")
    cloud.ssh(guest, "poweroff", check=False)
    told = cloud.wait_state(guest, "terminated")
    assert told["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"


def test_a_machine_that_dies_is_an_internal_error(cloud):
    guest = cloud.run()
    cloud.ssh(guest, "echo ready")
    [pid] = cloud.qemu_pids(guest)
    os.kill(pid, signal.SIGKILL)
    told = cloud.wait_state(guest, "stopped", seconds=30)
    assert told["StateReason"]["Code"] == "Server.InternalError"
    cloud.ec2.start_instances(InstanceIds=[guest])
    cloud.wait_state(guest, "running")
    cloud.ssh(guest, "echo again")
    cloud.terminate(guest)


def test_termination_protection(cloud):
    guest = cloud.run(DisableApiTermination=True)
    cloud.wait_state(guest, "running")
    try:
        cloud.ec2.terminate_instances(InstanceIds=[guest])
        raise AssertionError("terminated in spite of its protection")
    except cloud.ec2.exceptions.ClientError as error:
        assert error.response["Error"]["Code"] == "OperationNotPermitted"
    assert cloud.state(guest) == "running"
    cloud.ec2.modify_instance_attribute(InstanceId=guest, DisableApiTermination={"Value": False})
    cloud.terminate(guest)


def test_metadata_options_are_enforced(cloud):
    guest = cloud.run(MetadataOptions={"HttpTokens": "required"}, UserData=base64.b64encode(b"plain text").decode())
    url = "http://169.254.169.254/latest/meta-data/instance-id"
    assert guest not in cloud.ssh(guest, f"curl -s {url}", check=False).stdout
    token = "T=$(curl -s -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' http://169.254.169.254/latest/api/token)"
    assert cloud.ssh(guest, f'{token}; curl -s -H "X-aws-ec2-metadata-token: $T" {url}').strip() == guest
    cloud.ec2.modify_instance_metadata_options(InstanceId=guest, HttpTokens="optional")
    assert cloud.ssh(guest, f"curl -s {url}").strip() == guest
    cloud.ec2.modify_instance_metadata_options(InstanceId=guest, HttpEndpoint="disabled")
    assert guest not in cloud.ssh(guest, f"curl -s {url}", check=False).stdout
    cloud.terminate(guest)


def test_the_root_file_system_grows_to_the_volume(cloud):
    guest = cloud.run(BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 3}}])
    kib = int(cloud.ssh(guest, "df -k / | tail -n 1 | awk '{print $2}'"))
    assert kib > 2.7 * 1024 * 1024, kib
    cloud.terminate(guest)


def test_the_console_is_bounded_and_outlives_the_machine(cloud):
    guest = cloud.run()
    cloud.ssh(guest, "i=0; while [ $i -lt 40000 ]; do echo line $i of a talkative guest, far more than anybody keeps; i=$((i+1)); done > /dev/console; "
                     "echo the end > /dev/console", timeout=300)
    wait_for("the newest console output", 60, lambda: "the end" in cloud.console(guest))
    kept = sum(f.stat().st_size for f in (cloud.data_dir / "consoles").rglob("*") if f.is_file())
    assert kept < 4 << 20, kept
    cloud.terminate(guest)
    time.sleep(1)
    assert "the end" in cloud.console(guest)


def test_ssh_and_console_say_what_a_newcomer_needs(cloud):
    guest, keyless = cloud.run(), cloud.ec2.run_instances(ImageId=cloud.image, InstanceType="t3.nano", MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    cloud.ssh(guest, "echo ready")
    assert cloud.ssh(guest, "echo out; echo err >&2; exit 7", check=False).returncode == 7
    for instance, says in [(guest, "the key pair 'k'"), (keyless, "without a key pair")]:
        done = cloud.pileus("ssh", "--wait", "150", instance, "--", "true", check=False)
        assert done.returncode == 255 and "Permission denied" in done.stderr, done.stderr
        assert says in done.stderr and "--identity FILE" in done.stderr, done.stderr
    # Standard input is at its end: what the console holds, and nothing to wait for.
    assert cloud.pileus("console", guest, timeout=5).stdout.split() == cloud.console(guest).split() != []
    # What is piped in is typed, and the guest's terminal echoes it.
    typed = subprocess.run([PILEUS, "--data-dir", cloud.data_dir, "console", guest], input="a newcomer\n", capture_output=True, text=True, timeout=20)
    assert typed.returncode == 0 and "a newcomer" in typed.stdout and typed.stderr == ""
    cloud.ec2.stop_instances(InstanceIds=[guest])
    cloud.wait_state(guest, "stopped")
    done = cloud.pileus("ssh", "--identity", cloud.key, guest, check=False)
    assert (done.returncode, done.stderr) == (1, f"pileus: {guest} is stopped\n")
    assert cloud.pileus("console", guest, timeout=5).stdout != ""
    cloud.terminate(guest, keyless)
