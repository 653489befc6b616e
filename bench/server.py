"""What the server itself costs: its start, and its memory when nothing is asked of it."""

import time

from peers import both
from rows import Row, milliseconds, p50, ratio

STARTS = 5
IDLE_SECONDS = 5
START_GOAL_SECONDS = 0.2
MEMORY_GOAL_MIB = 40


def measure():
    with both() as (pileus, moto, _):
        times = [[], []]
        for _ in range(STARTS):
            for server, took in zip((pileus, moto), times):
                took.append(server.start())
                server.stop()
        ours, theirs = map(p50, times)
        yield Row("start to first answer", milliseconds(ours), f"moto {milliseconds(theirs)}", ratio(ours, theirs),
                  f"< {START_GOAL_SECONDS} s", ours < START_GOAL_SECONDS,
                  [f"The median of {STARTS} starts, until a signed DescribeRegions is answered; Pileus on a data directory that is there."])

        pileus.start()
        moto.start()
        time.sleep(IDLE_SECONDS)
        ours, theirs = pileus.memory(), moto.memory()
        yield Row("idle memory", f"{ours:.1f} MiB", f"moto {theirs:.1f} MiB", ratio(ours, theirs), f"< {MEMORY_GOAL_MIB} MiB",
                  ours < MEMORY_GOAL_MIB, [f"Resident (VmRSS), {IDLE_SECONDS} s after the first answer; Pileus simulated."])
