#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Cordon beside mosquitto in one run: CPU per message and memory per idle connection.

    CORDON_BUILD=build/release tests/bench/compare.py [--messages 100000] [--rounds 3] [--json]

Both take QoS 1 messages over mutual TLS from the same generator on a device port and bring them to the
same mosquitto, the cloud: Cordon by its durable, sealed uplink, mosquitto by its TLS bridge, which is
neither. Each broker has CPU 0 to itself; the generator and the cloud share the others. CPU is that of
every process of the broker, from CONNECT done to the last message at the cloud. Root; nothing leaves
the machine. Differences under 15 % are noise."""

import argparse
import json
import statistics
import subprocess
import time

from brokers import Cordon, Mosquitto, cpu_seconds, load, memory_bytes, need_tools, pin, ready, report, site, table


def throughput(lab, device, broker, options):
    """CPU µs per message, messages per second."""
    sink = lab.cloud.popen(*lab.cloud.client("sub", "-q", 1, "-C", options.messages, "-t",
                                             broker.prefix, "-F", "."), stdout=subprocess.DEVNULL)
    time.sleep(0.5)
    proc = load(device, broker, "publish", "--connections", options.publishers,
                "--messages", options.messages, "--size", options.size, "--wait")
    ready(proc)
    pids = broker.pids()
    pin(pids, "0")
    before, began = cpu_seconds(pids), time.monotonic()
    proc.stdin.write(b"go\n")
    proc.stdin.flush()
    said = report(proc)
    if said["refused"]:
        raise site.Failed(f"refused: {said}")
    sink.wait(300)
    if sink.returncode != 0:
        raise site.Failed("the cloud did not get all")
    spent = cpu_seconds(pids) - before
    return {"cpu_us": spent / options.messages * 1e6, "acknowledged_per_s": said["per_second"],
            "at_cloud_per_s": options.messages / (time.monotonic() - began)}


def idle(lab, device, broker, options):
    """Bytes that each idle connection adds."""
    before = memory_bytes(broker.pids())
    proc = load(device, broker, "idle", "--connections", options.idle)
    ready(proc)
    time.sleep(2)
    after = memory_bytes(broker.pids())
    proc.stdin.close()
    proc.wait()
    return (after - before) / options.idle


def measure(options):
    lab = site.Lab()
    try:
        lab.daemon.configure(limits={"publish_per_s": 1000000, "connections": 10000},
                             quarantine={"auto": False})
        lab.daemon.start()
        device = lab.enrolled("load")
        brokers = [Cordon(lab, device), Mosquitto(lab, device, bridge=True)]
        results = {b.name: {"rounds": []} for b in brokers}
        for broker in brokers:
            results[broker.name]["idle_bytes"] = idle(lab, device, broker, options)
        for _ in range(options.rounds):
            for broker in brokers:
                results[broker.name]["rounds"].append(throughput(lab, device, broker, options))
        lab.daemon.stop()
        return results
    finally:
        lab.close()


def show(results, options):
    print(f"QoS 1, {options.size} B, {options.publishers} publishers, {options.messages} messages, "
          f"median of {options.rounds}; {options.idle} idle connections")
    rows = {}
    for name, r in results.items():
        rows[name] = [statistics.median(x[k] for x in r["rounds"])
                      for k in ("cpu_us", "acknowledged_per_s", "at_cloud_per_s")]
        rows[name].append(r["idle_bytes"] / 1024)
    titles = ["CPU µs/message", "acknowledged/s", "at the cloud/s", "KiB/idle connection"]
    table(list(zip(titles, rows["cordon"], rows["mosquitto"])))
    print("cordon: each message sealed, and on disk before it is acknowledged; mosquitto: neither.")


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--messages", type=int, default=100000)
    args.add_argument("--publishers", type=int, default=100)
    args.add_argument("--size", type=int, default=256)
    args.add_argument("--idle", type=int, default=1000)
    args.add_argument("--rounds", type=int, default=3)
    args.add_argument("--json", action="store_true")
    options = args.parse_args()
    need_tools()
    results = measure(options)
    if options.json:
        print(json.dumps(results))
    else:
        show(results, options)


if __name__ == "__main__":
    main()
