#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""How long a start takes until every stored verdict is in force, the whole way: the worker reads them from its
registry and says each to the enforcer, which answers each.

    CORDON_BUILD=build/release tests/bench/start.py [--verdicts 100000] [--runs 3]

The registry is filled while nothing runs. One verdict that only the enforcer still knows makes it say when all
were repeated: it is cleared then. Beside a start with none stored, of which the rest is a start by itself. Root;
nothing leaves the machine."""

import argparse
import os
import sqlite3
import statistics
import sys
import time
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
os.environ.setdefault("CORDON_BUILD", str(REPO / "build" / "release"))
sys.path.insert(0, str(REPO / "tests" / "system"))

import lab as site  # noqa: E402

STRAY = "02:99:00:00:00:01"
COMPLETE = "verdicts that the registry does not hold are cleared"
MAC, IPV4, IPV6 = (1, 48), (2, 32), (3, 128)  # kind and bits, as struct gw_hwaddr


def address(number):
    """A MAC, an IPv4 and an IPv6 address by turns, as the registry keys them."""
    low = (number // 3).to_bytes(4, "big")
    (kind, bits), raw = ((MAC, b"\x02\xb0" + low), (IPV4, (0xC6120000 + number // 3).to_bytes(4, "big")),
                         (IPV6, b"\x20\x01\x0d\xb8\0\x01" + bytes(6) + low))[number % 3]
    return bytes((kind, bits, 0, 0)) + raw.ljust(16, b"\0")


def fill(daemon, count):
    """The registry holds exactly these."""
    with sqlite3.connect(daemon.state / "cordon.db") as db:
        db.execute("DELETE FROM quarantine")
        db.executemany("INSERT INTO quarantine VALUES('', ?, 'isolate', 'bench', 'bench', 0, 0)",
                       ((address(n),) for n in range(count)))
    db.close()


def start_ms(count):
    """From the start to the enforcer's word that all verdicts were repeated, on a site of its own."""
    place = site.Lab(uplink=False)
    try:
        return 1000 * start_seconds(place.daemon, count)
    finally:
        place.close()


def start_seconds(daemon, count):
    daemon.start()
    daemon.cordon("quarantine", STRAY)
    daemon.stop(60)
    fill(daemon, count)
    said = len(daemon.log.read_text())
    began = time.monotonic()
    daemon.start(wait=False)
    site.wait_until(lambda: COMPLETE in daemon.log.read_text()[said:], 60, "all verdicts to be repeated", every=0.002)
    took = time.monotonic() - began
    daemon.wait_ready()
    daemon.stop(60)
    return took


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--verdicts", type=int, default=100000)
    args.add_argument("--runs", type=int, default=3)
    args = args.parse_args()
    runs = [[start_ms(count) for count in (0, args.verdicts)] for _ in range(args.runs)]
    none, all_ = (statistics.median(r[i] for r in runs) for i in (0, 1))
    print(f"start to every verdict in force, median of {args.runs}\n"
          f"none stored{none:16.0f} ms\n{args.verdicts} stored{all_:17.0f} ms  {all_ - none:.0f} ms more")
    return 0


if __name__ == "__main__":
    sys.exit(main())
