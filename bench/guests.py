"""A real cloud to measure, and the bare `qemu` command of one of its machines."""

import contextlib
import json
import os
import pathlib
import re
import subprocess
import time

import real_cloud
from cloud import wait_for
from peers import Client, instance_ids, scratch
from real_cloud import Guests, sh, sweep

# The first line that anything but the kernel writes: tiny's first script after init.
USERLAND = b"tiny: userland"
BOOT_LIMIT_SECONDS = 120


@contextlib.contextmanager
def cloud():
    """A real cloud with the image tiny, in namespaces of its own."""
    real_cloud.namespaces_enter()
    with real_cloud.internet(), scratch() as directory:
        config = directory / "pileus.toml"
        config.write_text("[capacity]\nvcpu_overcommit = 64.0\n")
        guests = Guests(directory / "c", config=config)
        try:
            yield guests.start().prepare()
        finally:
            if guests.process and guests.process.poll() is None:
                guests.stop()
            sweep(guests.data_dir)


def client(cloud):
    env = cloud.environment()
    return Client(int(cloud.listen.rpartition(":")[2]), env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"])


def run_request(cloud, client):
    return client.sign("RunInstances", ImageId=cloud.image, InstanceType="t3.nano", KeyName="k", MinCount=1, MaxCount=1)


def run(client, signed):
    """Sends a request to run one instance. Returns how long the answer took, and the instance's id."""
    took, answer = client.send(signed)
    [instance] = instance_ids(answer)
    return took, instance


def console(cloud, instance):
    return cloud.data_dir / "consoles" / instance


def has_userland(console):
    try:
        return USERLAND in console.read_bytes()
    except FileNotFoundError:
        return False


def wait_userland(console, seconds=BOOT_LIMIT_SECONDS):
    wait_for(f"userland in {console}", seconds, lambda: has_userland(console), pause=0.005)


def stat(pid):
    """What the kernel says of a process: its processor seconds so far, and when it began, in seconds since the host did."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = os.sysconf("SC_CLK_TCK")
    return (int(fields[11]) + int(fields[12])) / ticks, int(fields[19]) / ticks


class Recipe:
    """The command line of a running machine, made into one that stands alone: files by their paths, the console in a file, a tap and an
    overlay of its own. What Pileus puts around a machine is left out: sandbox, user, control group, console helper."""

    def __init__(self, cloud, instance):
        [pid] = cloud.qemu_pids(instance)
        self.words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode().rstrip("\0").split("\0")
        self.paths = {fd.name: os.readlink(fd) for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir()}
        # Below a disk, file node fN is the Nth file of its chain.
        [volume] = {re.sub(r"-f\d+$", "", node["node-name"]) for node in self.file_nodes()}
        top = cloud.data_dir / "volumes" / f"{volume}.qcow2"
        info = subprocess.run(["qemu-img", "info", "-U", "--backing-chain", "--output=json", top], capture_output=True, check=True).stdout
        chain = json.loads(info)
        self.size = chain[0]["virtual-size"]
        self.files = {f"{volume}-f{depth}": os.path.realpath(file["filename"]) for depth, file in enumerate(chain)}
        self.top, self.base = f"{volume}-f0", self.files[f"{volume}-f1"]

    def file_nodes(self):
        values = (json.loads(value) for option, value in zip(self.words, self.words[1:]) if option == "-blockdev")
        return [node for node in values if node["driver"] == "file"]

    def machine(self, directory, number):
        """Makes what a machine needs, and the machine, which doesn't run yet."""
        overlay = directory / f"bare-{number}.qcow2"
        sh(f"qemu-img create -q -f qcow2 -F qcow2 -b {self.base} {overlay} {self.size}")
        tap = f"bare{number}"
        sh(f"ip tuntap add dev {tap} mode tap vnet_hdr && ip link set {tap} mtu 9001 up")
        return Bare(self, overlay, tap)

    def command(self, overlay, tap):
        words, at = [self.words[0]], 1
        while at < len(self.words):
            option, value = self.words[at], self.words[at + 1] if at + 1 < len(self.words) else ""
            at += 1
            if value.startswith("-") or not value:
                words.append(option)
                continue
            at += 1
            if option not in ("-sandbox", "-add-fd"):
                words += [option, self.value(option, value, overlay, tap)]
        return words

    def value(self, option, value, overlay, tap):
        if option == "-name":
            return "guest=bare"
        if option == "-chardev" and "id=serial" in value:
            return f"file,id=serial,path={overlay.with_suffix('.console')}"
        if option == "-chardev":
            return re.sub(r"fd=\d+", f"path={overlay.with_suffix('.qmp')}", value)
        if option == "-netdev":
            return re.sub(r"fd=\d+", f"ifname={tap},script=no,downscript=no", value)
        if option == "-blockdev":
            node = json.loads(value)
            if node["driver"] == "file":
                node["filename"] = str(overlay) if node["node-name"] == self.top else self.files[node["node-name"]]
            return json.dumps(node)
        return re.sub(r"/proc/self/fd/(\d+)", lambda found: self.paths[found[1]], value)


class Bare:
    """A guest by the bare command."""

    def __init__(self, recipe, overlay, tap):
        self.command, self.overlay, self.tap = recipe.command(overlay, tap), overlay, tap
        self.console = overlay.with_suffix(".console")
        self.log = overlay.with_suffix(".log")
        self.process = None

    def start(self):
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return self

    def end(self):
        if self.process:
            self.process.kill()
            self.process.wait(30)
        sh(f"ip link del {self.tap}")
        for path in (self.overlay, self.console, self.log, self.overlay.with_suffix(".qmp")):
            path.unlink(missing_ok=True)


def recipe(cloud):
    """Runs one machine for its command line. It also makes the VPC, so that no machine that is measured has to."""
    instance = cloud.run()
    wait_userland(console(cloud, instance))
    made = Recipe(cloud, instance)
    cloud.terminate(instance)
    return made


def boot_time():
    return time.clock_gettime(time.CLOCK_BOOTTIME)
