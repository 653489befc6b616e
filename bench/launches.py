"""Many launches at once: whether each of them comes up."""

import concurrent.futures
import threading
import time

import guests
from rows import Row

LAUNCHES = 30
LIMIT_SECONDS = 300
# What a guest touches until userland, its QEMU included, in MiB, with room.
GUEST_MIB = 400


def memory_available_mib():
    with open("/proc/meminfo") as meminfo:
        return next(int(line.split()[1]) for line in meminfo if line.startswith("MemAvailable:")) / 1024


def wait_all(consoles, begun):
    """Seconds until the last came up, and how many never did."""
    waiting = set(consoles)
    while waiting and time.perf_counter() - begun < LIMIT_SECONDS:
        time.sleep(0.05)
        waiting = {console for console in waiting if not guests.has_userland(console)}
    return time.perf_counter() - begun, len(waiting)


def by_pileus(cloud):
    clients = [guests.client(cloud) for _ in range(LAUNCHES)]
    signed = [guests.run_request(cloud, client) for client in clients]
    together = threading.Barrier(LAUNCHES + 1)

    def launch(client, request):
        together.wait(30)
        return guests.run(client, request)

    with concurrent.futures.ThreadPoolExecutor(LAUNCHES) as pool:
        calls = [pool.submit(launch, client, request) for client, request in zip(clients, signed)]
        together.wait(30)
        begun = time.perf_counter()
        answers = [call.result() for call in calls]
    instances = [instance for _, instance in answers]
    took, stuck = wait_all([guests.console(cloud, instance) for instance in instances], begun)
    slowest = max(answered for answered, _ in answers)
    cloud.terminate(*instances)
    left = [pid for instance in instances for pid in cloud.qemu_pids(instance)]
    if left:
        raise AssertionError(f"QEMUs of terminated instances still run: {left}")
    return took, stuck, slowest


def by_command(cloud, recipe):
    machines = [recipe.machine(cloud.data_dir, number) for number in range(LAUNCHES)]
    try:
        begun = time.perf_counter()
        for machine in machines:
            machine.start()
        return wait_all([machine.console for machine in machines], begun)
    finally:
        for machine in machines:
            machine.end()


def measure():
    if memory_available_mib() < LAUNCHES * GUEST_MIB:
        raise AssertionError(f"{LAUNCHES} guests want {LAUNCHES * GUEST_MIB} MiB, and {memory_available_mib():.0f} MiB are free")
    with guests.cloud() as cloud:
        recipe = guests.recipe(cloud)
        took, stuck, slowest = by_pileus(cloud)
        bare_took, bare_stuck = by_command(cloud, recipe)
    yield Row(f"{LAUNCHES} launches at once", f"{LAUNCHES - stuck} up in {took:.0f} s", f"bare qemu {LAUNCHES - bare_stuck} in {bare_took:.0f} s",
              f"{took / bare_took:.2f} ×", "none stuck", stuck == 0,
              [f"One RunInstances a thread, until the last guest's first line of userland, within {LIMIT_SECONDS} s; the slowest answer took "
               f"{slowest * 1000:.0f} ms. All were terminated after it and no QEMU was left."])
