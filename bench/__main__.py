"""Prints the table. Started by scripts/bench."""

import argparse
import datetime
import importlib
import importlib.metadata
import os
import pathlib
import platform
import re
import signal
import sys
import time
import traceback

# In the order of the table.
FAMILIES = {
    "api": "DescribeInstances and RunInstances, simulated, against moto's server",
    "server": "start to first answer and idle memory, against moto's server",
    "boot": "run-instances to the first line of userland, against the bare qemu command (root)",
    "s3": "S3's puts, gets, lists and deletes, against SeaweedFS and nginx",
    "launches": "30 launches at once (root)",
}


def machine():
    model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    load = os.getloadavg()[0]
    return (f"{datetime.date.today()}: {os.cpu_count()} processors ({model[1] if model else platform.machine()}), Linux "
            f"{platform.release()}, load {load:.1f} at the end; moto {importlib.metadata.version('moto')}")


def main():
    parser = argparse.ArgumentParser(
        prog="scripts/bench", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measures Pileus (a release build) beside its peers, in the same run, and prints one table.",
        epilog="families:\n" + "\n".join(f"  {name:10}{what}" for name, what in FAMILIES.items()))
    parser.add_argument("family", nargs="*", help="what to measure; without one: everything")
    wanted = parser.parse_args().family
    if unknown := set(wanted) - set(FAMILIES):
        parser.error(f"no family {', '.join(sorted(unknown))}; there are {', '.join(FAMILIES)}")
    # Imported after --help is dealt with, which needs nothing installed.
    from rows import render

    # Whoever ends this wants the guests gone, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: terminated"))

    rows, failed = [], []
    for name in FAMILIES:
        if wanted and name not in wanted:
            continue
        begun = time.monotonic()
        print(f"== {name}: {FAMILIES[name]}", file=sys.stderr, flush=True)
        try:
            rows += importlib.import_module(name).measure()
        except Exception:
            traceback.print_exc()
            failed.append(name)
        print(f"   {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
    print(render(rows, color=sys.stdout.isatty()))
    print(machine())
    if failed:
        sys.exit(f"bench: not measured: {', '.join(failed)}")


main()
