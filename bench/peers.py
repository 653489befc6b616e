"""The servers that are compared, and the one client that asks all of them."""

import contextlib
import http.client
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from cloud import PILEUS, Cloud

REGION = "us-east-1"
# File systems that keep nothing: a commit on one of them costs nothing.
NO_DISK = ("tmpfs", "ramfs", "overlay")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def file_system(directory):
    return subprocess.run(["findmnt", "-n", "-o", "FSTYPE", "--target", directory], capture_output=True, text=True, check=True).stdout.strip()


@contextlib.contextmanager
def scratch():
    """A directory on a disk, with a short name: a unix socket's path has 107 bytes at most."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="plb-"))
    try:
        if file_system(directory) in NO_DISK:
            raise AssertionError(f"{directory} is on {file_system(directory)}: set TMPDIR to a directory on a disk")
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


class Client:
    """One connection to EC2 that is kept. What is timed is the server: a request is signed before the clock starts, and its answer
    is not parsed."""

    def __init__(self, port, access, secret):
        self.port = port
        self.signer = SigV4Auth(Credentials(access, secret), "ec2", REGION)
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def sign(self, action, **parameters):
        body = urllib.parse.urlencode({"Action": action, "Version": "2016-11-15", **parameters}).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
        request = AWSRequest("POST", f"http://127.0.0.1:{self.port}/", headers, body)
        self.signer.add_auth(request)
        return body, dict(request.headers.items())

    def send(self, signed):
        """Sends what was signed. Returns the seconds until the whole answer was there, and the answer."""
        body, headers = signed
        begun = time.perf_counter()
        self.connection.request("POST", "/", body, headers)
        response = self.connection.getresponse()
        answer = response.read()
        took = time.perf_counter() - begun
        if response.status != 200:
            raise AssertionError(f"port {self.port} answered {response.status}: {answer.decode(errors='replace')}")
        return took, answer.decode()

    def call(self, action, **parameters):
        return self.send(self.sign(action, **parameters))


def instance_ids(answer):
    return re.findall(r"<instanceId>(i-[0-9a-f]+)</instanceId>", answer)


class Server:
    """A server as a process, started as its users start it."""

    def __init__(self, command, port, log, access="bench", secret="bench"):
        self.command, self.port, self.log = [str(word) for word in command], port, log
        self.access, self.secret = access, secret
        self.process = None

    def client(self):
        return Client(self.port, self.access, self.secret)

    def start(self):
        """Starts it. Returns the seconds until it had answered a request."""
        client = self.client()
        signed = client.sign("DescribeRegions")
        with open(self.log, "ab") as log:
            begun = time.perf_counter()
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        while time.perf_counter() - begun < 60:
            try:
                client.send(signed)
                return time.perf_counter() - begun
            except OSError:
                # Nobody listens yet.
                client.connection.close()
                time.sleep(0.001)
        raise AssertionError(f"no answer within 60 s:\n{self.log.read_text(errors='replace')}")

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)

    def memory(self):
        """Its resident memory in MiB."""
        [kib] = re.findall(r"VmRSS:\s+(\d+) kB", pathlib.Path(f"/proc/{self.process.pid}/status").read_text())
        return int(kib) / 1024


@contextlib.contextmanager
def both():
    """A simulated Pileus, on a data directory that is there already, and moto's server. Neither runs yet."""
    with scratch() as directory:
        config = directory / "pileus.toml"
        # Instances without guests need no host to carry them.
        config.write_text("[capacity]\nvcpu_overcommit = 10000.0\nmemory_overcommit = 1000.0\n")
        port, moto_port = free_port(), free_port()
        cloud = Cloud(directory / "c", listen=f"127.0.0.1:{port}", simulate=True, config=config).start()
        env = cloud.environment()
        cloud.stop()
        pileus = Server([PILEUS, "--data-dir", cloud.data_dir, *cloud.arguments], port, cloud.log,
                        env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"])
        moto = Server([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", moto_port], moto_port, directory / "moto.log")
        try:
            yield pileus, moto, directory
        finally:
            pileus.stop()
            moto.stop()
