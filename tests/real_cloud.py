"""Real guests, in a network of their own: for tests/guests and bench/.

The whole process lives in a network and mount namespace that it makes itself: its loopback carries the API, and its only way out is a
second namespace, held by a process, that plays the internet. Nothing reaches, or comes from, the machine's own network, and all of it
is gone when the processes are.
"""

import contextlib
import ctypes
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile

from cloud import Cloud, wait_for

CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
INTERNET = "203.0.113.80"
# Stands beside the internet, but is in a range that guests must not reach: a machine in the office, say.
PRIVATE = "10.1.2.3"


def sh(command):
    subprocess.run(command, shell=True, check=True)


def namespaces_enter():
    """Leaves the network and the mounts that this process is in, for new ones."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS | CLONE_NEWNET) != 0:
        raise SystemExit(f"can't make namespaces ({os.strerror(ctypes.get_errno())}); run as root")
    sh("mount --make-rprivate / && ip link set lo up")


@contextlib.contextmanager
def internet():
    """A namespace that plays the internet: a gateway, and a web server at a public address."""
    holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
    try:
        own = os.readlink("/proc/self/ns/net")
        wait_for("the internet's namespace", 10, lambda: os.readlink(f"/proc/{holder.pid}/ns/net") != own, pause=0.02)
        inside = f"nsenter --net=/proc/{holder.pid}/ns/net"
        sh(f"ip link add up0 type veth peer name down0 netns {holder.pid}")
        sh("ip addr add 203.0.113.2/24 dev up0 && ip link set up0 up && ip route add default via 203.0.113.1")
        sh(f"{inside} sh -c 'ip link set lo up; ip addr add 203.0.113.1/24 dev down0; ip addr add {INTERNET}/32 dev lo; ip addr add {PRIVATE}/32 dev lo; ip link set down0 up'")
        page = tempfile.mkdtemp(prefix="pileus-internet-")
        pathlib.Path(page, "index.html").write_text("the internet answers\n")
        server = subprocess.Popen([*inside.split(), sys.executable, "-m", "http.server", "80", "--bind", "0.0.0.0", "--directory", page],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield INTERNET
        finally:
            server.kill()
            server.wait()
            shutil.rmtree(page)
    finally:
        holder.kill()
        holder.wait()


def sweep(data_dir):
    """Ends what a cloud left running: processes that name its data directory, and QEMUs, which name their instance only."""
    names = [str(data_dir), *(f"guest={p.name}" for p in pathlib.Path(data_dir, "machines").glob("i-*"))]
    for proc in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            words = (proc / "cmdline").read_bytes().decode(errors="replace") + (proc / "environ").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if any(name in words for name in names) and int(proc.name) != os.getpid():
            try:
                os.kill(int(proc.name), signal.SIGKILL)
            except ProcessLookupError:
                pass


class Guests(Cloud):
    """A real cloud with the tiny image and a key pair."""

    def prepare(self):
        self.ec2 = self.client()
        self.key = self.data_dir / "k.pem"
        made = self.ec2.create_key_pair(KeyName="k", KeyType="ed25519")
        self.key.write_text(made["KeyMaterial"])
        self.key.chmod(0o600)
        self.image = self.pileus("image", "build", "tiny").stdout.strip()
        return self

    def run(self, count=1, **more):
        more.setdefault("ImageId", self.image)
        more.setdefault("InstanceType", "t3.nano")
        more.setdefault("KeyName", "k")
        ids = [i["InstanceId"] for i in self.ec2.run_instances(MinCount=count, MaxCount=count, **more)["Instances"]]
        return ids[0] if count == 1 else ids

    def instance(self, instance):
        [reservation] = self.ec2.describe_instances(InstanceIds=[instance])["Reservations"]
        return reservation["Instances"][0]

    def state(self, instance):
        return self.instance(instance)["State"]["Name"]

    def wait_state(self, instance, state, seconds=180):
        wait_for(f"{instance} is {state}", seconds, lambda: self.state(instance) == state)
        return self.instance(instance)

    def ssh(self, instance, command, check=True, timeout=180):
        done = self.pileus("ssh", "--identity", self.key, "--wait", "150", instance, "--", command, check=check, timeout=timeout)
        if done.returncode == 0 and "PILEUS_GUESTS_BOOTED" in os.environ:
            with open(os.environ["PILEUS_GUESTS_BOOTED"], "a") as booted:
                booted.write(f"{instance}\n")
        return done.stdout if check else done

    def console(self, instance):
        return self.ec2.get_console_output(InstanceId=instance, Latest=True).get("Output", "")

    def terminate(self, *instances):
        self.ec2.terminate_instances(InstanceIds=list(instances))
        for instance in instances:
            self.wait_state(instance, "terminated")

    def qemu_pids(self, instance):
        """The processes that run an instance: QEMU alone has both its name and the instance's id in its words."""
        found = []
        for proc in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                words = (proc / "cmdline").read_bytes()
            except OSError:
                continue
            if b"qemu-system" in words.split(b"\0")[0] and instance.encode() in words:
                found.append(int(proc.name))
        return found
