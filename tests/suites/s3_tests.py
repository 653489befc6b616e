"""Runs ceph/s3-tests against a simulated cloud and judges the results by the list of expected failures. Started by `s3_tests`.

The same file is the plugin that the suite's pytest loads: it gives each worker accounts of its own, so that workers don't see each
other's buckets, and writes down what happened."""

import argparse
import collections
import configparser
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
DOCS = HERE.parent.parent / "docs/guide/s3-tests.md"
# Of the suite's files; the others judge services that aren't S3.
FILES = ["test_s3.py", "test_headers.py"]
# Where AWS's pages about S3 are.
PAGES = "https://docs.aws.amazon.com/AmazonS3/latest/"
# A test that takes longer has failed, in seconds.
TEST_TIMEOUT = 120
# What a day of a lifecycle rule lasts, in seconds; the suite sleeps by it.
DAY = 6
# How often access logs are delivered, in seconds; the suite waits a little longer.
LOGS = 5
SETTINGS = f"""
[s3]
ownership = "ObjectWriter"
block_public_access = false
lifecycle_debug_day_seconds = {DAY}
log_delivery_seconds = {LOGS}
"""


# ---- the plugin

# What the running test asked for in another form than its own (`s3_tests_as_aws.py`).
AS_AWS = []


def used(form):
    if form not in AS_AWS:
        AS_AWS.append(form)


def pytest_configure(config):
    import s3_tests_as_aws

    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    os.environ["S3TEST_CONF"] = f"{os.environ['S3_TESTS_CONFIGURATIONS']}/{worker}.conf"
    s3_tests_as_aws.forms(used)
    s3_tests_as_aws.logs(used)


def pytest_collection_finish(session):
    import s3_tests_as_aws

    for module in {item.module for item in session.items if item.module.__name__.endswith("test_headers")}:
        s3_tests_as_aws.headers(module, used)


def pytest_runtest_setup(item):
    AS_AWS.clear()
    item.user_properties.append(("as_aws", AS_AWS))


def pytest_runtest_logreport(report):
    if "PYTEST_XDIST_WORKER" in os.environ or (report.passed and report.when != "call"):
        return
    crash = getattr(report.longrepr, "reprcrash", None)
    why = crash.message if crash else str(report.longrepr or "")
    if report.skipped and isinstance(report.longrepr, (tuple, list)):
        why = report.longrepr[2]
    known = [word for word in report.keywords if re.fullmatch(r"[a-z][a-z0-9_]*", word) and not word.startswith("test")]
    line = dict(name=report.nodeid.split("::", 1)[1], outcome=report.outcome, when=report.when, marks=known,
                as_aws=dict(report.user_properties).get("as_aws", []), why=" ".join(why.split())[:400], seconds=round(report.duration, 1))
    with open(os.environ["S3_TESTS_RESULTS"], "a") as out:
        out.write(json.dumps(line) + "\n")


# ---- the cloud

def kms_key(client, bucket):
    """The one key that there is for an account: the cloud's own, by its ARN, which the suite wants to see again."""
    client.create_bucket(Bucket=bucket)
    key = client.put_object(Bucket=bucket, Key="k", Body=b"", ServerSideEncryption="aws:kms")["SSEKMSKeyId"]
    client.delete_object(Bucket=bucket, Key="k")
    client.delete_bucket(Bucket=bucket)
    return key


def users(cloud, worker):
    """The configuration of one worker: its accounts."""
    config = configparser.RawConfigParser()
    host, port = cloud.listen.split(":")
    config["DEFAULT"] = dict(host="localhost", port=port, is_secure="False", ssl_verify="False")
    config["fixtures"] = {"bucket prefix": "suite-{random}-"}
    for section in ["s3 main", "s3 alt", "s3 tenant", "iam", "iam root", "iam alt root"]:
        name = f"{worker}-{section.replace(' ', '-')}"
        account = cloud.account(name)
        client = cloud.client("s3", account)
        owner = client.list_buckets()["Owner"]
        config[section] = dict(access_key=account["access"], secret_key=account["secret"], user_id=owner["ID"],
                               display_name=owner.get("DisplayName", name), email=f"{name}@example.com",
                               account_number=account["id"])
        if section == "s3 main":
            config[section]["kms_keyid"] = config[section]["kms_keyid2"] = kms_key(client, f"{worker}-probe")
    config["s3 main"].update(api_name="us-east-1", lc_debug_interval=str(DAY))
    config["s3 tenant"]["tenant"] = ""
    return config


def run(checkout, directory, workers, words):
    """Runs the suite. Returns what happened, a test a line."""
    from cloud import Cloud

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = directory / "pileus.toml"
    settings.write_text(SETTINGS)
    cloud = Cloud(directory / "c", listen=f"127.0.0.1:{port}", simulate=True, config=settings).start()
    try:
        for n in range(workers):
            with open(directory / f"gw{n}.conf", "w") as out:
                users(cloud, f"gw{n}").write(out)
        results = directory / "results"
        results.touch()
        env = os.environ | dict(S3_TESTS_CONFIGURATIONS=str(directory), S3_TESTS_RESULTS=str(results),
                                AWS_REQUEST_CHECKSUM_CALCULATION="when_supported")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "s3_tests", "-p", "no:cacheprovider", "--tb=short", "--no-header",
                   f"--timeout={TEST_TIMEOUT}", *(["-n", str(workers), "--dist=worksteal"] if workers > 1 else [])]
        with open(directory / "pytest.log", "w") as log:
            files = [f"s3tests/functional/{file}" for file in FILES]
            subprocess.run([*command, *words, *files], cwd=checkout, env=env, stdout=log, stderr=subprocess.STDOUT)
    finally:
        cloud.stop()
    return [json.loads(line) for line in results.read_text().splitlines()]


# ---- the judgement

class Expected:
    """The list of expected failures."""

    def __init__(self):
        self.groups = tomllib.loads((HERE / "s3_tests.toml").read_text())["group"]

    def group(self, result):
        """The group that names a test, or none. A group may expect a certain failure only."""
        for group in self.groups:
            if result["name"] in group["tests"]:
                wanted = result["outcome"] != "failed" or re.search(group.get("only", ""), result["why"])
                return group if wanted else None
        return None


def judge(results):
    """Each test's fate: (passed, skipped, failures by group's title, failures that nobody expected)."""
    expected = Expected()
    fate = {}
    for result in results:
        worse = fate.get(result["name"], {}).get("outcome") == "failed"
        if not worse:
            fate[result["name"]] = result
    table = dict(passed=[], skipped=[], groups=collections.defaultdict(list), failed=[], stale=[], outside=0)
    for result in fate.values():
        group = expected.group(result)
        if result["outcome"] in ("passed", "skipped"):
            table[result["outcome"]].append(result)
            if group and group["kind"] != "loose":
                table["stale"].append(result)
        elif group:
            table["groups"][group["title"]].append(result)
            table["outside"] += group["kind"] == "outside"
        else:
            table["failed"].append(result)
    return table


def report(table, checkout):
    expected = Expected()
    judged = len(table["passed"]) + len(table["failed"]) + sum(len(found) for found in table["groups"].values()) - table["outside"]
    share = 100 * len(table["passed"]) / max(judged, 1)
    # What the suite wants and AWS doesn't do is no fault.
    fair = len(table["passed"]) + len(table["failed"]) + sum(len(table["groups"].get(g["title"], [])) for g in expected.groups if g["kind"] == "missing")
    translated = [result for result in table["passed"] if result["as_aws"]]
    failures = [*table["failed"], *(result for group in expected.groups if group["kind"] != "outside" for result in table["groups"].get(group["title"], []))]
    disowned = sum("fails_on_aws" in result["marks"] for result in failures)
    lines = [
        f"| passed, of those that ask for what AWS does | {len(table['passed'])} of {fair} ({100 * len(table['passed']) / max(fair, 1):.1f} %) |",
        f"| passed, of all | {len(table['passed'])} of {judged} ({share:.1f} %) |",
        f"| of the passed: asked in Amazon's form instead of the suite's | {len(translated)} |",
        f"| passed, of all but those that failed and of which the suite itself says `fails_on_aws` | {len(table['passed'])} of {judged - disowned} "
        f"({100 * len(table['passed']) / max(judged - disowned, 1):.1f} %) |",
        f"| failed as expected | {judged - len(table['passed']) - len(table['failed'])} |",
        f"| failed | {len(table['failed'])} |",
        f"| skipped by the suite | {len(table['skipped'])} |",
        f"| need something that isn't S3 | {table['outside']} |",
    ]
    out = ["| what | tests |", "|---|---|", *lines, ""]
    for kind, heading in [("aws", "Expected: the suite asks for what AWS does otherwise"), ("loose", "Expected now and then"), ("missing", "Expected: not built"),
                          ("outside", "Not judged: needs something that isn't S3")]:
        groups = [g for g in expected.groups if g["kind"] == kind and table["groups"].get(g["title"])]
        if not groups:
            continue
        out += [f"## {heading}", ""]
        for group in groups:
            found = table["groups"][group["title"]]
            out += [f"**{group['title']}** ({len(found)}). {group['why']} [AWS]({PAGES}{group['page']})", ""]
            names = ", ".join(f"`{result['name']}`" for result in sorted(found, key=lambda r: r["name"]))
            names = names.replace("`test_", "`")
            out += [textwrap.fill(names, 160, break_long_words=False, break_on_hyphens=False), ""]
    if translated:
        out += ["## Passed, asked in Amazon's form", ""]
        for form in sorted({form for result in translated for form in result["as_aws"]}):
            found = sorted(result["name"] for result in translated if form in result["as_aws"])
            names = ", ".join(f"`{name.removeprefix('test_')}`" for name in found)
            out += [textwrap.fill(f"**{form}** ({len(found)}): {names}", 160, break_long_words=False, break_on_hyphens=False), ""]
    if table["failed"]:
        out += ["## Failed", ""]
        out += [f"- `{result['name']}`: {result['why']}" for result in sorted(table["failed"], key=lambda r: r["name"])]
    if table["stale"]:
        out += ["## Listed as failing, but passed: take them off the list", ""]
        out += [f"- `{result['name']}`" for result in sorted(table["stale"], key=lambda r: r["name"])]
    return "\n".join(out).rstrip() + "\n"


def main():
    parser = argparse.ArgumentParser(prog="tests/suites/s3_tests")
    parser.add_argument("checkout", type=pathlib.Path)
    parser.add_argument("--docs", action="store_true", help="write docs/guide/s3-tests.md")
    parser.add_argument("--json", type=pathlib.Path, help="write every result there")
    parser.add_argument("-n", type=int, default=4, help="workers; many tests only wait")
    parser.add_argument("-k", help="only tests with these words in their names, as pytest has it")
    asked = parser.parse_args()
    # Whoever ends this wants the cloud gone, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("s3_tests: terminated"))
    with tempfile.TemporaryDirectory(prefix="pls-") as directory:
        directory = pathlib.Path(directory)
        results = run(asked.checkout, directory, asked.n, ["-k", asked.k] if asked.k else [])
        if not results:
            sys.exit(f"no test ran:\n{(directory / 'pytest.log').read_text()[-3000:]}")
    if asked.json:
        asked.json.write_text(json.dumps(results))
    table = judge(results)
    text = report(table, asked.checkout)
    print(text)
    if asked.docs:
        DOCS.write_text((HERE / "s3_tests.head.md").read_text() + "\n" + text)
    sys.exit(1 if table["failed"] or table["stale"] else 0)


if __name__ == "__main__":
    main()
