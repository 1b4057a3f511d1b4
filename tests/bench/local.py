#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Cordon beside mosquitto in one run, messages that stay in the house: CPU per message and per copy,
handshakes per CPU-second, latency at a fixed rate.

    CORDON_BUILD=build/release tests/bench/local.py [--scale 1.0] [--rounds 3] [--json]

Mutual TLS everywhere, the same generator for both; each broker has CPU 0 to itself. CPU is that of every
process of the broker. Root; nothing leaves the machine. Differences under 15 % are noise."""

import argparse
import json
import statistics
import sys

from brokers import Cordon, Mosquitto, cpu_seconds, load, need_tools, pin, ready, report, site, table

# title: (mode, messages, copies of each, arguments of the generator)
CASES = {
    "QoS 0, 256 B, 100 to 1, µs/message": ("publish", 200000, 1, ["--qos", 0, "--connections", 100, "--subscribers", 1]),
    "QoS 1, 256 B, 100 to 1, µs/message": ("publish", 100000, 1, ["--qos", 1, "--connections", 100, "--subscribers", 1]),
    "QoS 1, 16 KiB, 10 to 1, µs/message": ("publish", 10000, 1, ["--qos", 1, "--connections", 10, "--subscribers", 1,
                                                                 "--size", 16384]),
    "QoS 0, 256 B, 1 to 100, µs/copy": ("publish", 5000, 100, ["--qos", 0, "--connections", 1, "--subscribers", 100]),
    "QoS 1, 256 B, 1 to 100, µs/copy": ("publish", 3000, 100, ["--qos", 1, "--connections", 1, "--subscribers", 100]),
    "handshake and CONNECT, µs": ("connect", 1000, 1, ["--connections", 20]),
}
RATE = ["--qos", 1, "--connections", 100, "--subscribers", 1, "--rate", 5000]


def cpu_us(device, broker, case, scale):
    """CPU µs of the broker for each copy."""
    mode, messages, copies, args = case
    messages = max(int(messages * scale), 20)
    wait = ["--wait"] if mode == "publish" else []
    before = cpu_seconds(broker.pids())
    proc = load(device, broker, mode, "--messages", messages, *args, *wait)
    if wait:
        ready(proc)
        before = cpu_seconds(broker.pids())
        proc.stdin.write(b"go\n")
        proc.stdin.flush()
    said = report(proc)
    if said["refused"]:
        raise site.Failed(f"refused: {said}")
    return (cpu_seconds(broker.pids()) - before) / messages / copies * 1e6


def latency(device, broker, scale):
    proc = load(device, broker, "publish", "--messages", max(int(25000 * scale), 1000), *RATE)
    return report(proc)


def measure(options):
    lab = site.Lab(uplink=False)
    try:
        lab.daemon.configure(limits={"publish_per_s": 1000000, "connections": 10000,
                                     "queued_bytes": 1 << 28}, quarantine={"auto": False})
        lab.daemon.start()
        device = lab.enrolled("load")
        brokers = [Cordon(lab, device), Mosquitto(lab, device, bridge=False)]
        for broker in brokers:
            pin(broker.pids(), "0")
        results = {}
        for title, case in CASES.items():
            runs = {b.name: [] for b in brokers}
            for _ in range(options.rounds):
                for broker in brokers:
                    print(f"{title}: {broker.name}", file=sys.stderr)
                    runs[broker.name].append(cpu_us(device, broker, case, options.scale))
            results[title] = {name: statistics.median(values) for name, values in runs.items()}
        said = {b.name: latency(device, b, options.scale) for b in brokers}
        for key in ("p50_us", "p99_us"):
            results[f"latency at 5,000/s, {key.replace('_us', ', µs')}"] = {n: v[key] for n, v in said.items()}
        lab.daemon.stop()
        return results
    finally:
        lab.close()


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--scale", type=float, default=1.0, help="of the number of messages")
    args.add_argument("--rounds", type=int, default=3)
    args.add_argument("--json", action="store_true")
    options = args.parse_args()
    need_tools()
    results = measure(options)
    if options.json:
        print(json.dumps(results))
    else:
        table([(title, r["cordon"], r["mosquitto"]) for title, r in results.items()])


if __name__ == "__main__":
    main()
