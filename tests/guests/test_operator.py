"""What the operator's commands do with a running guest: forwarded ports, a tunnel through ssh, user data that is refused."""

import contextlib
import re
import subprocess
import urllib.request

import pytest

from cloud import PILEUS, wait_for

CLOUD_CONFIG = "#cloud-config\npackages: [nginx]\n"
PAGE = "served by the guest"


@pytest.fixture(scope="module")
def guest(cloud):
    instance = cloud.run(UserData=CLOUD_CONFIG)
    cloud.wait_state(instance, "running")
    cloud.ssh(instance, f"mkdir /srv/www && echo '{PAGE}' >/srv/www/index.html && httpd -p 8000 -h /srv/www")
    yield instance
    cloud.terminate(instance)


@contextlib.contextmanager
def running(cloud, *words):
    process = subprocess.Popen([PILEUS, "--data-dir", cloud.data_dir, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def get(port):
    try:
        return urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10).read().decode().strip()
    except OSError:
        return None


def test_a_port_is_forwarded_to_a_guest(cloud, guest):
    with running(cloud, "forward", guest, "0:8000") as process:
        line = process.stdout.readline()
        port = re.fullmatch(rf"127\.0\.0\.1:(\d+) -> {guest} port 8000\n", line)[1]
        assert [get(port), get(port)] == [PAGE, PAGE]
        # A port on which the guest doesn't listen ends the connection; the others go on.
        with running(cloud, "forward", guest, "0:8001") as closed:
            assert get(re.match(r"127\.0\.0\.1:(\d+)", closed.stdout.readline())[1]) is None
        assert get(port) == PAGE


def test_ssh_forwards_a_port(cloud, guest):
    with running(cloud, "ssh", "--identity", cloud.key, "-N", "-L", "18999:127.0.0.1:8000", guest):
        assert wait_for("the tunnel", 60, lambda: get(18999)) == PAGE


def test_forward_refuses_what_it_cant_do(cloud, guest):
    for words, message in [((guest, "x"), "is not PORT"), (("i-00000000000000000", "0:80"), "i-00000000000000000"), (("nonsense", "0:80"), "no instance id")]:
        done = cloud.pileus("forward", *words, check=False)
        assert done.returncode != 0 and message in done.stderr, done.stderr


def test_cloud_config_is_refused_in_words(cloud, guest):
    wait_for("the console", 60, lambda: "the user data was NOT run: it is for cloud-init" in cloud.console(guest))
    assert "NOT run" in cloud.ssh(guest, "cat /var/log/user-data.log /etc/motd")
