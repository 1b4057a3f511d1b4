#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""From `cordon quarantine` to the last packet that got through.

    CORDON_BUILD=build/release tests/bench/reaction.py [--runs 11]

A device pings the gateway every 2 ms; the command is started, and the send time of the last ping that
was answered is compared with the command's start. Prints median and maximum, the command's own run
time beside them. Root; nothing leaves the machine."""

import argparse
import os
import re
import statistics
import sys
import time
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
os.environ.setdefault("CORDON_BUILD", str(REPO / "build" / "release"))
sys.path.insert(0, str(REPO / "tests" / "system"))

import lab as site  # noqa: E402


def one_run(place, bad):
    ping = bad.watch("ping", "-n", "-D", "-i", "0.002", "-c", "1000", "-W", "1", site.GATEWAY4)
    ping.wait("icmp_seq=50")
    start = time.time()
    place.daemon.cordon("quarantine", "bad-1")
    done = time.time()
    time.sleep(0.3)
    answered = [float(m) for m in re.findall(r"\[(\d+\.\d+)\].*bytes from", ping.text())]
    ping.proc.terminate()
    ping.proc.wait()
    place.daemon.cordon("release", "bad-1")
    return 1000 * (answered[-1] - start), 1000 * (done - start)


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--runs", type=int, default=11)
    args = args.parse_args()
    place = site.Lab(uplink=False)
    try:
        place.daemon.start()
        bad = place.enrolled("bad-1")
        bad.publish("d/bad-1/x", "hello")  # proves the certificate, which binds the addresses
        site.wait_until(lambda: place.daemon.device("bad-1")["addresses"]["mac"], 15, "the binding")
        runs = [one_run(place, bad) for _ in range(args.runs)]
    finally:
        place.close()
    for name, values in zip(("last packet", "command"), zip(*runs)):
        print(f"{name}: median {statistics.median(values):.1f} ms, maximum {max(values):.1f} ms "
              f"after the command's start ({args.runs} runs)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
