"""What a call costs: Pileus, simulated, against moto's server, call by call in one loop, by one client."""

import os
import re
import time

from peers import both, file_system, instance_ids
from rows import Row, milliseconds, p50, p99, ratio

INSTANCES = 50
DESCRIBES, RUNS = 300, 200
# Calls before the first that counts.
WARM = 20


def image(client):
    """An image for x86-64 whose name both servers have."""
    wanted = {"Filter.1.Name": "name", "Filter.1.Value.1": "amzn2-ami-hvm-2.0.*", "Filter.2.Name": "architecture", "Filter.2.Value.1": "x86_64"}
    return re.search(r"<imageId>(ami-[0-9a-f]+)</imageId>", client.call("DescribeImages", **wanted)[1])[1]


def disk_write(file):
    """What the disk takes for the least that a commit must write: one page, over what is there, as SQLite's log is written."""
    begun = time.perf_counter()
    os.pwrite(file, bytes(4096), 0)
    os.fdatasync(file)
    return time.perf_counter() - begun


def row(name, ours, theirs, goal, *notes):
    tail = f"p99 {milliseconds(p99(ours))} and {milliseconds(p99(theirs))}, of {len(ours)} calls each."
    return Row(name, milliseconds(p50(ours)), f"moto {milliseconds(p50(theirs))}", ratio(p50(ours), p50(theirs)),
               f"< {goal * 1000:.0f} ms", p50(ours) < goal, [" ".join([tail, *notes])])


def measure():
    with both() as (pileus, moto, directory):
        pileus.start()
        moto.start()
        clients = [pileus.client(), moto.client()]
        run = [dict(ImageId=image(client), InstanceType="t3.nano", MinCount=1, MaxCount=1) for client in clients]
        for client, parameters in zip(clients, run):
            client.call("RunInstances", **parameters | dict(MinCount=INSTANCES, MaxCount=INSTANCES))
            found = len(instance_ids(client.call("DescribeInstances")[1]))
            if found != INSTANCES:
                raise AssertionError(f"port {client.port} shows {found} instances, not {INSTANCES}")

        times = [[], []]
        for _ in range(WARM + DESCRIBES):
            for client, took in zip(clients, times):
                took.append(client.call("DescribeInstances")[0])
        # Not judged: between two calls of the loop moto uses the processor, and Pileus finds its caches cold.
        alone = [clients[0].call("DescribeInstances") for _ in range(DESCRIBES)]
        yield row(f"DescribeInstances of {INSTANCES}, p50", *(took[WARM:] for took in times), 0.001,
                  f"Call after call, without moto in between, Pileus takes {milliseconds(p50([took for took, _ in alone]))}; its answer has "
                  f"{len(alone[0][1]) / 1000:.0f} kB.")

        times, writes = [[], []], []
        file = os.open(directory / "write", os.O_WRONLY | os.O_CREAT)
        for _ in range(WARM + RUNS):
            for client, parameters, took in zip(clients, run, times):
                took.append(client.call("RunInstances", **parameters)[0])
            writes.append(disk_write(file))
        os.close(file)
        yield row("RunInstances, simulated, p50", *(took[WARM:] for took in times), 0.003,
                  f"Pileus answers once the commit is on the disk ({file_system(directory)}), where writing 4 KiB and fdatasync alone took "
                  f"{milliseconds(p50(writes))} in the same loop; moto keeps nothing.")
