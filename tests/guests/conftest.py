"""Real guests: pytest itself lives in namespaces of its own, see tests/real_cloud.py."""

import pathlib
import shutil
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import pytest

import real_cloud
from real_cloud import Guests, sweep


def pytest_sessionstart(session):
    real_cloud.namespaces_enter()


@pytest.fixture(scope="session")
def internet():
    with real_cloud.internet() as address:
        yield address


@pytest.fixture(scope="session")
def private(internet):
    return real_cloud.PRIVATE


@pytest.fixture(scope="session")
def workdir():
    # Short: a unix socket's path has 107 bytes at most.
    path = pathlib.Path(tempfile.mkdtemp(prefix="plg-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def cloud(internet, workdir):
    # Twenty guests at once are to fit on two processors.
    config = workdir / "pileus.toml"
    config.write_text("[capacity]\nvcpu_overcommit = 64.0\n")
    cloud = Guests(workdir / "c", config=config).start()
    try:
        yield cloud.prepare()
    finally:
        if cloud.process.poll() is None:
            cloud.stop()
        sweep(cloud.data_dir)


@pytest.fixture(autouse=True)
def nothing_left(request):
    """A test that fails shows the end of the server's log."""
    yield
    report = getattr(request.node, "report", None)
    if report is not None and report.failed and "cloud" in request.fixturenames:
        print(request.getfixturevalue("cloud").log_end())


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    if call.when == "call":
        item.report = outcome.get_result()
