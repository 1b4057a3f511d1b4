#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Cordon beside mosquitto in one run, what stays in the house: CPU per message and per copy over quality
of service, size and number of connections; handshakes; latency at fixed rates; memory of idle connections.

    CORDON_BUILD=build/release tests/bench/suite.py [--full] [--only TEXT] [--scale 1.0] [--rounds 3] [--json]

A minute or two; --full walks through every combination and holds 10,000 connections, which takes about
an hour. Mutual TLS everywhere, the same generator for both; each broker has CPU 0 to itself. CPU is
that of every process of the broker. Root; nothing leaves the machine. Differences under 15 % are noise."""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

from brokers import (Cordon, Mosquitto, cpu_seconds, load, memory_bytes, need_tools, pin, ready, report, site,
                     table)

SIZES = {64: "64 B", 256: "256 B", 4096: "4 KiB", 65536: "64 KiB"}
RATES = (1000, 5000)


class Case:
    """One row of the table. `messages` publishes, each of which makes `copies` of what is counted."""

    def __init__(self, title, mode, messages, args, copies=1):
        self.title, self.mode, self.messages, self.args, self.copies = title, mode, messages, args, copies

    def measure(self, device, broker, scale):
        """CPU µs of the broker for each message or copy."""
        messages = max(int(self.messages * scale), 20)
        wait = ["--wait"] if self.mode == "publish" else []
        before = cpu_seconds(broker.pids())
        proc = load(device, broker, self.mode, "--messages", messages, *self.args, *wait)
        if wait:
            ready(proc)
            before = cpu_seconds(broker.pids())
            proc.stdin.write(b"go\n")
            proc.stdin.flush()
        said = report(proc)
        if said["refused"]:
            raise site.Failed(f"{self.title}: refused: {said}")
        return (cpu_seconds(broker.pids()) - before) / messages / self.copies * 1e6


def publish(qos, size, connections, subscribers=0):
    """Into the broker, or through it to one subscriber: about as many bytes for each size."""
    messages = {64: 100000, 256: 100000, 4096: 30000, 65536: 4000}[size] // (2 if qos == 2 else 1)
    where = "to 1" if subscribers else "in"
    return Case(f"QoS {qos}, {SIZES[size]}, {connections} {where}, µs/message", "publish", messages,
                ["--qos", qos, "--size", size, "--connections", connections, "--subscribers", subscribers])


def fan_out(qos, size, subscribers=100):
    messages = {64: 5000, 256: 5000, 4096: 1000, 65536: 100}[size] // (2 if qos == 2 else 1) * 100 // subscribers
    return Case(f"QoS {qos}, {SIZES[size]}, 1 to {subscribers}, µs/copy", "publish", messages,
                ["--qos", qos, "--size", size, "--connections", 1, "--subscribers", subscribers], subscribers)


def cases(full):
    listed = [publish(qos, 256, 100, 1) for qos in (0, 1, 2)]
    listed += [fan_out(qos, 256) for qos in (0, 1, 2)]
    if full:
        listed += [publish(qos, size, n) for qos in (0, 1, 2) for size in SIZES for n in (1, 10, 100, 1000)]
        listed += [publish(qos, size, 10, 1) for qos in (0, 1, 2) for size in (64, 4096, 65536)]
        listed += [fan_out(qos, size) for qos in (0, 1, 2) for size in (64, 4096, 65536)]
        listed += [fan_out(qos, 256, n) for qos in (0, 1, 2) for n in (10, 1000)]
    return listed + [Case("handshake and CONNECT, µs", "connect", 1000, ["--connections", 20])]


def latency(device, broker, rate, seconds):
    """How long a message takes at a steady rate, and what it costs when there is little to gather."""
    proc = load(device, broker, "publish", "--messages", int(rate * seconds), "--qos", 1, "--connections", 100,
                "--subscribers", 1, "--rate", rate, "--wait")
    ready(proc)
    before = cpu_seconds(broker.pids())
    proc.stdin.write(b"go\n")
    proc.stdin.flush()
    said = report(proc)
    spent = cpu_seconds(broker.pids()) - before
    return {f"latency at {rate}/s, p50, µs": said["p50_us"], f"latency at {rate}/s, p99, µs": said["p99_us"],
            f"QoS 1 at {rate}/s, µs/message": spent / int(rate * seconds) * 1e6}


def kernel_bytes():
    """What the kernel holds in its own structures, on both sides of every connection."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("Slab:"):
            return int(line.split()[1]) * 1024
    raise site.Failed("no Slab in /proc/meminfo")


def idle(device, broker, connections):
    """KiB that each idle connection adds: to the broker, and to the kernel for both of its ends."""
    before, kernel = memory_bytes(broker.pids()), kernel_bytes()
    proc = load(device, broker, "idle", "--connections", connections)
    ready(proc)
    time.sleep(3)
    after, kernel_after = memory_bytes(broker.pids()), kernel_bytes()
    proc.stdin.close()
    proc.wait()
    time.sleep(2)  # until what they leave behind is tidied up
    return {f"{connections} idle, KiB/connection": (after - before) / connections / 1024,
            f"{connections} idle, kernel's KiB/connection": (kernel_after - kernel) / connections / 1024}


class Bench:
    """Both brokers on one gateway, and the rows so far."""

    def __init__(self, lab, options):
        self.device, self.options, self.rows = lab.enrolled("load"), options, {}
        self.brokers = [Cordon(lab, self.device), Mosquitto(lab, self.device, bridge=False)]
        for broker in self.brokers:
            pin(broker.pids(), "0")

    def wanted(self, title):
        return self.options.only in title

    def add(self, title, rounds, figures):
        """`figures` of a broker gives some rows by name; the median of the rounds, the brokers in turn."""
        if not self.wanted(title):
            return
        seen = {}
        for _ in range(rounds):
            for broker in self.brokers:
                print(f"{title}: {broker.name}", file=sys.stderr)
                for row, value in figures(broker).items():
                    seen.setdefault(row, {}).setdefault(broker.name, []).append(value)
        for row, values in seen.items():
            self.rows[row] = {name: statistics.median(v) for name, v in values.items()}

    def run(self):
        o = self.options
        # Memory first: what a heap kept from before would hide what a connection takes.
        for connections in (1000, 10000) if o.full else (1000,):
            self.add(f"{connections} idle", 1, lambda b, n=connections: idle(self.device, b, n))
        for case in cases(o.full):
            self.add(case.title, o.rounds, lambda b, c=case: {c.title: c.measure(self.device, b, o.scale)})
        for rate in RATES:
            self.add(f"latency at {rate}/s", o.rounds, lambda b, r=rate: latency(self.device, b, r, 5 * o.scale))


def measure(options):
    lab = site.Lab(uplink=False)
    try:
        # One device may hold half of the connections.
        lab.daemon.configure(limits={"publish_per_s": 1000000, "connections": 24000, "queued_bytes": 1 << 28},
                             quarantine={"auto": False})
        lab.daemon.start()
        bench = Bench(lab, options)
        bench.run()
        lab.daemon.stop()
        return bench.rows
    finally:
        lab.close()


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--full", action="store_true", help="every combination, and 10,000 connections")
    args.add_argument("--only", default="", help="rows whose name contains this")
    args.add_argument("--scale", type=float, default=1.0, help="of the number of messages")
    args.add_argument("--rounds", type=int, default=0, help="1, with --full 3")
    args.add_argument("--json", action="store_true")
    options = args.parse_args()
    options.rounds = options.rounds or (3 if options.full else 1)
    need_tools()
    results = measure(options)
    if options.json:
        print(json.dumps(results))
    else:
        table([(title, r["cordon"], r["mosquitto"]) for title, r in results.items()])


if __name__ == "__main__":
    main()
