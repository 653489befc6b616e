"""How much later a guest is there than by the bare `qemu` command."""

import pathlib
import re
import time

import guests
from rows import Row, p50

PAIRS = 9
GOAL = 1.05


def by_pileus(cloud):
    """Seconds from sending the call to userland, QEMU's processor seconds until then, and seconds to the answer and to QEMU's start."""
    # A connection of its own: the server closes one that is idle for as long as a boot may take.
    client = guests.client(cloud)
    signed = guests.run_request(cloud, client)
    since_boot, begun = guests.boot_time(), time.perf_counter()
    answered, instance = guests.run(client, signed)
    guests.wait_userland(guests.console(cloud, instance))
    took = time.perf_counter() - begun
    [pid] = cloud.qemu_pids(instance)
    processor, started = guests.stat(pid)
    cloud.terminate(instance)
    return took, processor, answered, started - since_boot


def by_command(machine):
    """Seconds from the command to userland, and QEMU's processor seconds until then."""
    try:
        begun = time.perf_counter()
        machine.start()
        guests.wait_userland(machine.console)
        took = time.perf_counter() - begun
        return took, guests.stat(machine.process.pid)[0]
    finally:
        machine.end()


def measure():
    with guests.cloud() as cloud:
        recipe = guests.recipe(cloud)
        ours, theirs = [], []
        for number in range(PAIRS):
            # Who is first takes turns.
            if number % 2 == 0:
                ours.append(by_pileus(cloud))
            theirs.append(by_command(recipe.machine(cloud.data_dir, number)))
            if number % 2 == 1:
                ours.append(by_pileus(cloud))
        status = pathlib.Path(f"/proc/{cloud.process.pid}/status").read_text()
    took, processor, answered, started = (p50(values) for values in zip(*ours))
    bare_took, bare_processor = (p50(values) for values in zip(*theirs))
    each = sorted(a[0] / b[0] for a, b in zip(ours, theirs))
    server_mib = int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024
    yield Row("run-instances → first line of userland", f"{took:.2f} s", f"bare qemu {bare_took:.2f} s", f"{took / bare_took:.3f} ×",
              f"≤ {GOAL} ×", took / bare_took <= GOAL, [
                  f"Medians of {PAIRS} pairs, whose own ratios were {', '.join(f'{one:.2f}' for one in each)}. Pileus's answer came after "
                  f"{answered * 1000:.0f} ms and its QEMU began after {started * 1000:.0f} ms; QEMU's processor seconds until userland were "
                  f"{processor:.2f} and {bare_processor:.2f}. The server (real, not simulated) then had {server_mib:.1f} MiB."])
