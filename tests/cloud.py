"""A cloud under test: starts the server, kills it, speaks to it. Used by tests/clients (simulated) and tests/guests (real)."""

import json
import os
import pathlib
import signal
import subprocess
import time

import boto3
from botocore.config import Config

ROOT = pathlib.Path(__file__).resolve().parent.parent
PILEUS = pathlib.Path(os.environ.get("PILEUS_BINARY", ROOT / "target/debug/pileus"))


def wait_for(what, seconds, check, pause=0.2):
    """Waits until check() gives something true, and gives that; fails with `what` after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        got = check()
        if got:
            return got
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(pause)


class Cloud:
    def __init__(self, data_dir, listen="127.0.0.1:4566", simulate=False, config=None):
        self.data_dir = pathlib.Path(data_dir)
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self.listen = listen
        self.arguments = ["serve", "--listen", listen]
        if simulate:
            self.arguments.append("--simulate")
        if config:
            self.arguments += ["--config", str(config)]
        self.process = None
        self.log = self.data_dir / "pileus.log"

    # ---- the server

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [PILEUS, "--data-dir", self.data_dir, *self.arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True)

        def up():
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended with {self.process.returncode}:\n{self.log_end()}")
            return self.pileus("status", "--json", check=False).returncode == 0

        wait_for("the server answers", 60, up, pause=0.05)
        return self

    def log_end(self, lines=40):
        if not self.log.is_file():
            return f"(the log is {self.log})"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def kill(self):
        """kill -9: what a crash is."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)

    def stop(self):
        """SIGTERM: what an operator does."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    # ---- its command line

    def pileus(self, *words, check=True, timeout=300, **more):
        done = subprocess.run([PILEUS, "--data-dir", self.data_dir, *map(str, words)], capture_output=True, text=True, timeout=timeout,
                              stdin=subprocess.DEVNULL, **more)
        if check and done.returncode != 0:
            raise AssertionError(f"pileus {' '.join(map(str, words))} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done

    def status(self):
        return json.loads(self.pileus("status", "--json").stdout)

    def environment(self):
        """The process environment of `eval "$(pileus env)"`."""
        env = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
        for line in self.pileus("env").stdout.splitlines():
            if line.startswith("export "):
                name, value = line.removeprefix("export ").split("=", 1)
                env[name] = value.strip("'")
        # What `pileus env` names where the user has no file of their own.
        env["AWS_CONFIG_FILE"], env["AWS_SHARED_CREDENTIALS_FILE"] = str(self.data_dir / "aws.config"), "/dev/null"
        return env

    def aws(self, *words, check=True, timeout=120, config="/dev/null"):
        """The unmodified aws CLI."""
        env = self.environment() | {"AWS_CONFIG_FILE": str(config)}
        done = subprocess.run(["aws", *map(str, words)], capture_output=True, text=True, timeout=timeout, env=env, stdin=subprocess.DEVNULL)
        if check and done.returncode != 0:
            raise AssertionError(f"aws {' '.join(map(str, words))} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done

    # ---- boto3

    def client(self, service="ec2", credentials=None, **more):
        env = self.environment()
        credentials = credentials or dict(access=env["AWS_ACCESS_KEY_ID"], secret=env["AWS_SECRET_ACCESS_KEY"])
        more.setdefault("config", Config(retries={"max_attempts": 1, "mode": "standard"}))
        return boto3.session.Session().client(
            service, region_name=more.pop("region", env["AWS_DEFAULT_REGION"]), endpoint_url=env["AWS_ENDPOINT_URL"],
            aws_access_key_id=credentials["access"], aws_secret_access_key=credentials["secret"], **more)

    def account(self, name):
        made = json.loads(self.pileus("account", "create", "--name", name).stdout)
        return dict(id=made["AccountId"], access=made["AccessKeyId"], secret=made["SecretAccessKey"])
