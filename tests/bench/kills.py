#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Acknowledged against opened messages over random kill -9 runs.

    CORDON_BUILD=build/release tests/bench/kills.py [--runs 20] [--seed 1] [--messages 600]

Each run starts the real daemon with an empty state, publishes numbered QoS 1 messages, kills the
worker, the enforcer or both with -9 at three random moments, lets everything settle, and compares
what the device was told (PUBACK) with what an independent reader opens at the cloud. A seed gives the
same victims and moments again. Exit 1 when anything acknowledged is missing, out of order or under a
sequence that was used twice. Root; nothing leaves the machine."""

import argparse
import os
import random
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
os.environ.setdefault("CORDON_BUILD", str(REPO / "build" / "release"))
sys.path.insert(0, str(REPO / "tests" / "system"))

import lab as site  # noqa: E402
from test_uplink import acked, opened, publisher, settle  # noqa: E402


def kill(place, rng):
    victim = rng.choice(("worker", "enforcer", "both"))
    if victim == "worker":
        place.daemon.kill_worker()
        site.wait_until(lambda: place.daemon.worker, 20, "a new worker")
    else:
        place.daemon.kill_both() if victim == "both" else place.daemon.kill_enforcer()
        site.wait_until(lambda: place.daemon.start(), 30, "a new start")
    return victim


def judge(messages):
    """(numbers opened, faults): repeats of a sequence are dropped, as `cordon envelope follow` does."""
    by_sequence, faults = {}, []
    for m in messages:
        if by_sequence.setdefault(m.sequence, m.payload) != m.payload:
            faults.append(f"sequence {m.sequence} used twice")
    return [int(by_sequence[s]) for s in sorted(by_sequence)], faults


def one_run(number, seed, total):
    rng = random.Random(f"{seed}/{number}")
    place = site.Lab()
    try:
        place.daemon.start()
        cloud = place.cloud.collect()
        cam = place.enrolled("cam-1")
        proc, path = publisher(cam, "d/cam-1/n", total)
        victims = []
        for at in sorted(rng.sample(range(20, total - 50), 3)):
            site.wait_until(lambda: len(acked(path)) >= at, 60, f"{at} acknowledgements")
            victims.append(kill(place, rng))
        assert proc.wait(120) == 0, "the publisher gave up"
        settle(place, 90)
        done = acked(path)
        site.wait_until(lambda: len(set(judge(opened(place, cloud))[0])) >= len(done), 30, "all at the cloud")
        numbers, faults = judge(opened(place, cloud))
        lost = done - set(numbers)
        print(f"run {number + 1}: killed {', '.join(victims)}; {len(done)} acknowledged, {len(lost)} lost, "
              f"{len(numbers) - len(set(numbers))} published twice by the device", flush=True)
        for fault in faults:
            print(f"  {fault}")
        return len(done), len(lost), len(faults)
    finally:
        place.close()


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--runs", type=int, default=20)
    args.add_argument("--seed", type=int, default=1)
    args.add_argument("--messages", type=int, default=600)
    args = args.parse_args()
    sums = [sum(column) for column in zip(*(one_run(i, args.seed, args.messages) for i in range(args.runs)))]
    print(f"{args.runs} runs, {3 * args.runs} kills: {sums[0]} acknowledged, {sums[1]} lost, {sums[2]} faults")
    return 1 if sums[1] or sums[2] else 0


if __name__ == "__main__":
    sys.exit(main())
