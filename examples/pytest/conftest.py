"""A simulated cloud for a test suite.

A suite that was written for moto's server keeps its tests: it starts this server instead of `moto_server`, and posts to `/_pileus/reset`
instead of `/moto-api/reset`. Any credentials are taken, and each access key is an account of its own.
"""

import os
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

import boto3
import pytest

PILEUS = os.environ.get("PILEUS", "pileus")
# How long the server may take to open, in seconds.
OPEN_SECONDS = 60


@pytest.fixture(scope="session")
def pileus():
    """Starts a cloud on a free port, and gives its endpoint."""
    with tempfile.TemporaryDirectory(prefix="pileus-") as directory:
        command = [PILEUS, "--data-dir", f"{directory}/cloud"]
        with open(f"{directory}/log", "wb") as log:
            serve = [*command, "serve", "--simulate", "--any-credentials", "--listen", "127.0.0.1:0"]
            server = subprocess.Popen(serve, stderr=log)
        try:
            yield endpoint(command, server, f"{directory}/log")
        finally:
            server.terminate()
            server.wait()


def reset(url):
    urllib.request.urlopen(urllib.request.Request(f"{url}/_pileus/reset", method="POST"))


def endpoint(command, server, log):
    """Waits until the cloud is open. `pileus env` says which port it took, a moment before it opens."""
    end = time.monotonic() + OPEN_SECONDS
    while time.monotonic() < end and server.poll() is None:
        env = subprocess.run([*command, "env"], capture_output=True, text=True)
        if env.returncode == 0:
            [url] = [line.split("=", 1)[1].strip("'") for line in env.stdout.splitlines() if line.startswith("export AWS_ENDPOINT_URL=")]
            try:
                reset(url)
                return url
            except urllib.error.URLError:
                pass
        time.sleep(0.05)
    with open(log) as text:
        raise RuntimeError(f"the cloud didn't open: {text.read()}")


@pytest.fixture(autouse=True)
def aws(pileus, monkeypatch):
    """Points every client of a test at the cloud, which is empty when the test begins."""
    reset(pileus)
    for name, value in {
        "AWS_ENDPOINT_URL": pileus,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_SESSION_TOKEN": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    # A session keeps the credentials that it found first.
    boto3.setup_default_session()
