"""What other clients make of S3: rclone, s3cmd and the JavaScript SDK; s3fs and rclone as file systems. The cloud is simulated."""

import contextlib
import os
import pathlib
import random
import shutil
import subprocess

import pytest

from cloud import ROOT, wait_for

MIB = 1 << 20


@pytest.fixture(scope="module")
def environment(cloud):
    return cloud.environment()


@pytest.fixture
def files(tmp_path):
    """A directory of files, one large enough for parts."""
    here = tmp_path / "here"
    (here / "sub dir").mkdir(parents=True)
    (here / "plain.txt").write_text("hello\n")
    (here / "sub dir/ключ +&=%20").write_bytes(random.Random(1).randbytes(70_000))
    (here / "large").write_bytes(random.Random(2).randbytes(16 * MIB + 3))
    return here


def run(*words, env, check=True, **more):
    done = subprocess.run([str(word) for word in words], env=env, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL, **more)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, words))} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done


def same(one, other):
    subprocess.run(["diff", "-r", one, other], check=True)


# ---- rclone

@pytest.fixture(scope="module")
def rclone_env(environment, tmp_path_factory):
    config = tmp_path_factory.mktemp("rclone") / "rclone.conf"
    # This rclone always names an ACL; buckets of today refuse all but this one, on Amazon, too.
    config.write_text(
        f"[c]\ntype = s3\nprovider = Other\naccess_key_id = {environment['AWS_ACCESS_KEY_ID']}\nsecret_access_key = {environment['AWS_SECRET_ACCESS_KEY']}\n"
        f"region = {environment['AWS_DEFAULT_REGION']}\nendpoint = {environment['AWS_ENDPOINT_URL']}\nforce_path_style = true\n"
        "acl = bucket-owner-full-control\nupload_cutoff = 6Mi\nchunk_size = 6Mi\n")
    return {k: v for k, v in environment.items() if not k.startswith("AWS_")} | {"RCLONE_CONFIG": str(config)}


@pytest.fixture
def rclone(rclone_env):
    return lambda *words: run("rclone", "--retries", "1", "--low-level-retries", "2", *words, env=rclone_env)


def test_rclone_copies_checks_and_deletes(rclone, files, tmp_path):
    rclone("mkdir", "c:rclone-bucket")
    rclone("copy", files, "c:rclone-bucket/all")
    rclone("check", "--download", files, "c:rclone-bucket/all")
    assert sorted(rclone("lsf", "-R", "c:rclone-bucket").stdout.splitlines()) == [
        "all/", "all/large", "all/plain.txt", "all/sub dir/", "all/sub dir/ключ +&=%20"]
    # Times are metadata of rclone's: what is the same is not sent again.
    assert "There was nothing to transfer" in rclone("sync", "-v", files, "c:rclone-bucket/all").stderr
    rclone("copy", "c:rclone-bucket/all", tmp_path / "back")
    same(files, tmp_path / "back")
    rclone("copyto", "c:rclone-bucket/all/large", "c:rclone-bucket/copied")
    assert "16777219 copied" in rclone("ls", "c:rclone-bucket").stdout
    assert "hello" in rclone("cat", "c:rclone-bucket/all/plain.txt").stdout
    rclone("purge", "c:rclone-bucket")
    assert "rclone-bucket" not in rclone("lsd", "c:").stdout


# ---- s3cmd

def test_s3cmd_syncs_and_signs(cloud, environment, files, tmp_path):
    config = tmp_path / "s3cfg"
    config.write_text(
        f"[default]\naccess_key = {environment['AWS_ACCESS_KEY_ID']}\nsecret_key = {environment['AWS_SECRET_ACCESS_KEY']}\n"
        f"host_base = {cloud.listen}\nhost_bucket = {cloud.listen}\nbucket_location = {environment['AWS_DEFAULT_REGION']}\nuse_https = False\n"
        "multipart_chunk_size_mb = 5\n")
    env = {k: v for k, v in environment.items() if not k.startswith("AWS_")}

    def s3cmd(*words):
        return run("s3cmd", "-c", config, "--no-progress", *words, env=env).stdout

    s3cmd("mb", "s3://s3cmd-bucket")
    s3cmd("sync", f"{files}/", "s3://s3cmd-bucket/all/")
    (tmp_path / "back").mkdir()
    s3cmd("sync", "s3://s3cmd-bucket/all/", f"{tmp_path}/back/")
    same(files, tmp_path / "back")
    assert "s3://s3cmd-bucket/all/large" in s3cmd("ls", "-r", "s3://s3cmd-bucket")
    assert "16777219" in s3cmd("info", "s3://s3cmd-bucket/all/large")
    s3cmd("cp", "s3://s3cmd-bucket/all/plain.txt", "s3://s3cmd-bucket/copied")
    s3cmd("setlifecycle", pathlib.Path(__file__).with_name("s3_lifecycle.xml"), "s3://s3cmd-bucket")
    assert "<Days>30</Days>" in s3cmd("getlifecycle", "s3://s3cmd-bucket")
    s3cmd("del", "-r", "--force", "s3://s3cmd-bucket")
    s3cmd("rb", "s3://s3cmd-bucket")
    assert "s3cmd-bucket" not in s3cmd("ls")


# ---- the JavaScript SDK

def test_the_javascript_sdk(cloud, environment):
    modules = ROOT / "target/js/node_modules"
    env = environment | {"NODE_PATH": os.environ.get("PILEUS_NODE_PATH", str(modules)), "AWS_REGION": environment["AWS_DEFAULT_REGION"]}
    endpoint = f"http://localhost:{cloud.listen.split(':')[1]}"
    run("node", pathlib.Path(__file__).with_name("s3.cjs"), "js-bucket", endpoint, env=env)


# ---- file systems

fuse = pytest.mark.skipif(not os.access("/dev/fuse", os.W_OK), reason="/dev/fuse can't be opened")


@contextlib.contextmanager
def mounted(command, directory, env):
    """A file system of `command`, which stays in the foreground."""
    directory.mkdir()
    log = directory.with_suffix(".log")
    with open(log, "w") as out:
        process = subprocess.Popen([str(word) for word in command], env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        def there():
            if process.poll() is not None:
                raise AssertionError(f"{command[0]} ended with {process.returncode}:\n{log.read_text()}")
            return os.path.ismount(directory)

        wait_for(f"{directory} is mounted", 20, there)
        yield directory
    finally:
        if os.path.ismount(directory):
            subprocess.run(["fusermount3" if shutil.which("fusermount3") else "fusermount", "-u", "-z", directory], check=True)
        process.terminate()
        process.wait(20)


def used_as_a_file_system(directory, files):
    """What programs do with files; the large one is sent in parts."""
    shutil.copytree(files, directory / "tree")
    same(files, directory / "tree")
    (directory / "tree/plain.txt").write_text("changed\n")
    os.rename(directory / "tree/plain.txt", directory / "renamed")
    assert (directory / "renamed").read_text() == "changed\n"
    with open(directory / "tree/large", "rb") as file:
        file.seek(16 * MIB)
        assert file.read() == (files / "large").read_bytes()[16 * MIB:]
    assert sorted(os.listdir(directory)) == ["renamed", "tree"]
    shutil.rmtree(directory / "tree")
    assert os.listdir(directory) == ["renamed"]


@fuse
def test_s3fs_mounts_a_bucket(cloud, environment, files, tmp_path):
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket="s3fs-bucket")
    password = tmp_path / "password"
    password.write_text(f"{environment['AWS_ACCESS_KEY_ID']}:{environment['AWS_SECRET_ACCESS_KEY']}\n")
    password.chmod(0o600)
    options = f"passwd_file={password},url={environment['AWS_ENDPOINT_URL']},endpoint={environment['AWS_DEFAULT_REGION']},use_path_request_style"
    env = {k: v for k, v in environment.items() if not k.startswith("AWS_")}
    command = ["s3fs", "s3fs-bucket", tmp_path / "mount", "-f", "-o", options + ",multipart_size=6,singlepart_copy_limit=5,enable_content_md5"]
    with mounted(command, tmp_path / "mount", env) as directory:
        used_as_a_file_system(directory, files)
    assert s3.get_object(Bucket="s3fs-bucket", Key="renamed")["Body"].read() == b"changed\n"


@fuse
def test_rclone_mounts_a_bucket(cloud, rclone_env, files, tmp_path):
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket="mount-bucket")
    # Without a cache a file is there once it is closed; with one, rclone renames none that it still uploads.
    command = ["rclone", "mount", "c:mount-bucket", tmp_path / "mount", "--cache-dir", tmp_path / "cache", "--dir-cache-time", "1s"]
    with mounted(command, tmp_path / "mount", rclone_env) as directory:
        used_as_a_file_system(directory, files)
    assert s3.get_object(Bucket="mount-bucket", Key="renamed")["Body"].read() == b"changed\n"
