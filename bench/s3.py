"""What S3 does: Pileus, simulated (its S3 is the real one), against SeaweedFS, which syncs each object, too; large reads also against nginx."""

import base64
import contextlib
import functools
import hashlib
import hmac
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
import urllib.parse

from peers import REGION, Server, file_system, free_port, scratch
from rows import Row, milliseconds, ratio

from cloud import PILEUS, Cloud

LOAD = PILEUS.parent / "bench-load"
KIB, MIB = 1 << 10, 1 << 20
# Size, clients, puts, gets: of each server, in all rounds.
ROUNDS = 3
SMALL = [(4 * KIB, 1, 900, 3000), (4 * KIB, 32, 6000, 24000), (MIB, 1, 150, 600), (MIB, 32, 480, 1800)]
LARGE, LARGE_CLIENTS, LARGE_PUTS, LARGE_GETS = 256 * MIB, 32, 3, 6
LISTED, PAGE, DELETED = 100_000, 1000, 10_000
REST_SECONDS = 5
# Of nginx's rate with a static file, what a large read must reach.
STATIC_SHARE = 0.8
BUCKET = "bench"
# Bytes that must be free for the large objects of one server.
ROOM = 12 << 30
WEED = pathlib.Path(sys.executable).with_name("weed")


class Peer:
    """A server, and how requests to it are signed: by presigned URLs, so that a client signs nothing while it is timed."""

    def __init__(self, name, address, access, secret, server):
        self.name, self.address, self.access, self.secret, self.server = name, address, access, secret, server
        now = time.gmtime()
        self.date, day = time.strftime("%Y%m%dT%H%M%SZ", now), time.strftime("%Y%m%d", now)
        self.scope = f"{day}/{REGION}/s3/aws4_request"
        self.key = functools.reduce(lambda key, word: hmac.digest(key, word.encode(), "sha256"), self.scope.split("/"), f"AWS4{secret}".encode())

    def sign(self, method, key="", **query):
        path = f"/{BUCKET}/{key}" if key else f"/{BUCKET}"
        query = {"X-Amz-Algorithm": "AWS4-HMAC-SHA256", "X-Amz-Credential": f"{self.access}/{self.scope}", "X-Amz-Date": self.date,
                 "X-Amz-Expires": "43200", "X-Amz-SignedHeaders": "host", **query}
        words = urllib.parse.urlencode(sorted(query.items()), quote_via=urllib.parse.quote, safe="-_.~")
        canonical = f"{method}\n{path}\n{words}\nhost:{self.address}\n\nhost\nUNSIGNED-PAYLOAD"
        text = f"AWS4-HMAC-SHA256\n{self.date}\n{self.scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        return f"{path}?{words}&X-Amz-Signature={hmac.new(self.key, text.encode(), 'sha256').hexdigest()}"

    def put(self, key, size):
        return f"PUT\t{self.sign('PUT', key)}\t={size}"

    def get(self, key):
        return f"GET\t{self.sign('GET', key)}"


def load(address, clients, lines):
    """Sends the requests. Returns seconds in all, bytes received, and the 50th and 99th percent of one request's seconds."""
    done = subprocess.run([LOAD, address, str(clients)], input="\n".join(lines), capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError(f"{address}: {done.stderr}")
    seconds, received, p50, p99 = map(float, done.stdout.split())
    return seconds, int(received), p50, p99


# ---- the servers

def process(command, log, address, **more):
    server = Server(command, int(address.split(":")[1]), log)
    with open(log, "ab") as out:
        server.process = subprocess.Popen(server.command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, **more)
    return server


def answers(peer):
    """Waits until it makes a bucket."""
    end = time.monotonic() + 60
    while True:
        try:
            load(peer.address, 1, [f"PUT\t{peer.sign('PUT')}"])
            return peer
        except AssertionError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


@contextlib.contextmanager
def pileus(directory):
    port = free_port()
    cloud = Cloud(directory / "p", listen=f"127.0.0.1:{port}", simulate=True).start()
    env = cloud.environment()
    server = Server([], port, cloud.log)
    server.process = cloud.process
    try:
        yield answers(Peer("Pileus", cloud.listen, env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"], server))
    finally:
        server.stop()
        shutil.rmtree(directory / "p")


@contextlib.contextmanager
def weed(directory):
    home = directory / "w"
    (home / "d").mkdir(parents=True)
    identity = dict(name="bench", credentials=[dict(accessKey="bench", secretKey="benchsecret")], actions=["Admin", "Read", "Write", "List"])
    (home / "s3.json").write_text(json.dumps(dict(identities=[identity])))
    kinds = ["master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc", "s3.port", "s3.port.grpc"]
    ports = {kind: free_port() for kind in kinds}
    env = os.environ | dict(HOME=str(home))
    address = f"127.0.0.1:{ports['s3.port']}"
    server = process([WEED, "-logtostderr", "server", f"-dir={home}/d", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false", "-filer", "-s3",
                      "-s3.port.iceberg=0", "-metricsPort=0", f"-s3.config={home}/s3.json", "-volume.max=200", "-master.volumeSizeLimitMB=2048",
                      *(f"-{kind}={port}" for kind, port in ports.items())], home / "log", address, env=env)
    try:
        peer = answers(Peer("weed", address, "bench", "benchsecret", server))
        shell = [WEED, "shell", f"-master=127.0.0.1:{ports['master.port']}.{ports['master.port.grpc']}",
                 f"-filer=127.0.0.1:{ports['filer.port']}.{ports['filer.port.grpc']}"]
        order = "fs.configure -locationPrefix=/buckets/ -fsync -apply\n"
        said = subprocess.run(shell, input=order, capture_output=True, text=True, timeout=60, env=env)
        if not re.search(r'"fsync":\s*true', said.stdout + said.stderr):
            raise AssertionError(f"weed was not made to sync:\n{said.stdout}{said.stderr}")
        yield peer
    finally:
        server.stop()
        shutil.rmtree(home)


@contextlib.contextmanager
def nginx(directory):
    home = directory / "n"
    home.mkdir()
    address = f"127.0.0.1:{free_port()}"
    with open("/dev/urandom", "rb") as chance, open(home / "large", "wb") as out:
        for _ in range(LARGE // MIB):
            out.write(chance.read(MIB))
    (home / "conf").write_text(
        f"daemon off; user root; worker_processes auto; pid {home}/pid; error_log {home}/log;\n"
        "events { worker_connections 256; }\n"
        f"http {{ access_log off; sendfile on; tcp_nopush on; server {{ listen {address}; root {home}; }} }}\n")
    server = process(["nginx", "-p", home, "-c", home / "conf", "-e", home / "log"], home / "out", address)
    try:
        end = time.monotonic() + 20
        while True:
            with contextlib.suppress(AssertionError):
                load(address, 1, ["GET\t/large"])
                break
            if time.monotonic() > end:
                raise AssertionError((home / "log").read_text())
            time.sleep(0.1)
        yield address
    finally:
        server.stop()
        shutil.rmtree(home)


def peak(peer):
    """The most memory that a server ever had, in MiB."""
    [kib] = re.findall(r"VmHWM:\s+(\d+) kB", pathlib.Path(f"/proc/{peer.server.process.pid}/status").read_text())
    return int(kib) / 1024


# ---- the rows

def named(size):
    return f"{size // MIB} MiB" if size >= MIB else f"{size // KIB} KiB"


def rate(size, count, seconds):
    """In the unit that says most: objects or megabytes a second."""
    return count / seconds if size < MIB else count * size / seconds / 1e6


def shown(size, value):
    return f"{value:.0f} /s" if size < MIB else f"{value:.0f} MB/s"


def compared(what, size, clients, rates, times, *notes):
    ours, theirs = rates
    tail = f"One took {milliseconds(times[0][0])} and {milliseconds(times[1][0])} (p50), {milliseconds(times[0][1])} and {milliseconds(times[1][1])} (p99)."
    many = "1 client" if clients == 1 else f"{clients} clients"
    return Row(f"{what} {named(size)}, {many}", shown(size, ours), f"weed {shown(size, theirs)}", ratio(ours, theirs), "≥ 1 ×", ours >= theirs,
               [" ".join([tail, *notes])])


def measured(size, runs):
    """The median of the rounds' rates, and of their times of one request."""
    middle = sorted(runs, key=lambda run: run[0])[len(runs) // 2]
    return middle[0], (middle[1], middle[2])


def small(peers):
    """Puts and gets, taking turns."""
    for size, clients, puts, gets in SMALL:
        results = {(what, peer.name): [] for what in ("put", "get") for peer in peers}
        for turn in range(ROUNDS):
            for peer in peers:
                keys = [f"{size}-{clients}/{turn}/{n:06}" for n in range(puts // ROUNDS)]
                asked = [("put", [peer.put(key, size) for key in keys])]
                asked.append(("get", [peer.get(keys[n % len(keys)]) for n in range(gets // ROUNDS)]))
                for what, lines in asked:
                    seconds, _, p50, p99 = load(peer.address, clients, lines)
                    results[what, peer.name].append((rate(size, len(lines), seconds), p50, p99))
        for what in ("put", "get"):
            rates, times = zip(*(measured(size, results[what, peer.name]) for peer in peers))
            yield compared(what, size, clients, rates, times)


def large(directory):
    """Large objects, a server at a time: each needs room on the disk."""
    if shutil.disk_usage(directory).free < ROOM:
        raise AssertionError(f"{directory} has less than {ROOM >> 30} GiB free")
    results = {}
    for start in (pileus, weed):
        with start(directory) as peer:
            for clients, puts, gets in [(1, LARGE_PUTS, LARGE_GETS), (LARGE_CLIENTS, LARGE_CLIENTS, 2 * LARGE_CLIENTS)]:
                keys = [f"large-{clients}-{n}" for n in range(puts)]
                asked = [("put", [peer.put(key, LARGE) for key in keys]), ("get", [peer.get(keys[n % puts]) for n in range(gets)])]
                for what, lines in asked:
                    seconds, received, p50, p99 = load(peer.address, clients, lines)
                    if what == "get" and received != gets * LARGE:
                        raise AssertionError(f"{peer.name} sent {received} bytes")
                    results.setdefault((what, clients), []).append((rate(LARGE, len(lines), seconds), (p50, p99)))
            # Beside nginx: turns of one read each, while both files are in the page cache.
            if start is pileus:
                with nginx(directory) as address:
                    beside = {}
                    for clients, count in [(1, 6), (LARGE_CLIENTS, LARGE_CLIENTS)]:
                        for _ in range(ROUNDS):
                            for name, where, line in [("Pileus", peer.address, peer.get("large-1-0")), ("nginx", address, "GET\t/large")]:
                                seconds, *_ = load(where, clients, [line] * count)
                                beside.setdefault((name, clients), []).append(rate(LARGE, count, seconds))
            top = peak(peer)
            results.setdefault("peak", []).append(top)
    for (what, clients) in [("put", 1), ("get", 1), ("put", LARGE_CLIENTS), ("get", LARGE_CLIENTS)]:
        rates, times = zip(*results[what, clients])
        yield compared(what, LARGE, clients, rates, times)
    for clients in (1, LARGE_CLIENTS):
        ours, theirs = (sorted(beside[name, clients])[ROUNDS // 2] for name in ("Pileus", "nginx"))
        many = "1 client" if clients == 1 else f"{clients} clients"
        yield Row(f"get {named(LARGE)}, {many}", shown(LARGE, ours), f"nginx {shown(LARGE, theirs)}", ratio(ours, theirs), f"≥ {STATIC_SHARE} ×",
                  ours >= STATIC_SHARE * theirs, ["nginx sends a static file (sendfile); one object and one file, both in the page cache, in turns."])
    ours, theirs = results["peak"]
    yield Row(f"peak memory, {LARGE_CLIENTS} × {named(LARGE)}", f"{ours:.0f} MiB", f"weed {theirs:.0f} MiB", ratio(ours, theirs), "≤ 1 ×", ours <= theirs,
              ["VmHWM after the puts and gets of large objects, of servers that did nothing else."])


def many(peers, directory):
    """A listing of many keys, and their deletion."""
    keys = [f"many/{n // 1000:03}/{n:06}" for n in range(LISTED)]
    times = {}
    for peer in peers:
        load(peer.address, 32, [peer.put(key, 1) for key in keys])
        pages = [f"GET\t{peer.sign('GET', **{'list-type': '2', 'prefix': 'many/', 'start-after': keys[n - 1] if n else ''})}" for n in range(0, LISTED, PAGE)]
        for turn in range(ROUNDS):
            times.setdefault(("list", peer.name), []).append(load(peer.address, 1, pages)[0])
        batches = []
        for start in range(0, DELETED, PAGE):
            body = "<Delete><Quiet>true</Quiet>" + "".join(f"<Object><Key>{key}</Key></Object>" for key in keys[start:start + PAGE]) + "</Delete>"
            file = directory / f"{peer.name}-{start}.xml"
            file.write_text(body)
            digest = base64.b64encode(hashlib.md5(body.encode()).digest()).decode()
            batches.append(f"POST\t{peer.sign('POST', delete='')}\t@{file}\tContent-MD5: {digest}")
        times["batches", peer.name] = [load(peer.address, 1, batches)[0]]
        times["single", peer.name] = [load(peer.address, 32, [f"DELETE\t{peer.sign('DELETE', key)}" for key in keys[DELETED:2 * DELETED]])[0]]
    for what, name in [("list", f"list {LISTED:,} keys"), ("batches", f"delete {DELETED:,} by DeleteObjects"), ("single", f"delete {DELETED:,}, 32 clients")]:
        ours, theirs = (sorted(times[what, peer.name])[len(times[what, peer.name]) // 2] for peer in peers)
        yield Row(name, milliseconds(ours), f"weed {milliseconds(theirs)}", ratio(ours, theirs), "≤ 1 ×", ours <= theirs,
                  [{"list": f"Pages of {PAGE:,}, one after the other.", "batches": f"Batches of {PAGE:,}, one after the other.",
                    "single": "DeleteObject."}[what]])


SYNCED = ("Before it answers a put, Pileus has synced the object's file and its directory (small objects: the index's log), and the index's log; "
          "weed was told to sync each object (fs.configure -fsync) into its volume; its filer's index of names is not synced.")


def measure():
    with scratch() as directory:
        with pileus(directory) as ours, weed(directory) as theirs:
            peers = [ours, theirs]
            time.sleep(REST_SECONDS)
            rest = [peer.server.memory() for peer in peers]
            yield Row("S3: memory at rest", f"{rest[0]:.1f} MiB", f"weed {rest[1]:.1f} MiB", ratio(*rest), "≤ 1 ×", rest[0] <= rest[1],
                      [f"VmRSS, {REST_SECONDS} s after the first bucket. {SYNCED} Both on {file_system(directory)}."])
            yield from small(peers)
            yield from many(peers, directory)
            tops = [peak(peer) for peer in peers]
            yield Row("peak memory, the rows above", f"{tops[0]:.0f} MiB", f"weed {tops[1]:.0f} MiB", ratio(*tops), "≤ 1 ×", tops[0] <= tops[1],
                      ["VmHWM."])
        yield from large(directory)
