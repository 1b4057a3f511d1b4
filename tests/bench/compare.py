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
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
os.environ.setdefault("CORDON_BUILD", str(REPO / "build" / "release"))
sys.path.insert(0, str(REPO / "tests" / "system"))

import lab as site  # noqa: E402

LOAD = site.BUILD / "tests" / "bench_load"
TICK = os.sysconf("SC_CLK_TCK")
PEER_PORT = 18883


def cpu_seconds(pids):
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICK


def memory_bytes(pids):
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


def pin(pids, cpus):
    for pid in pids:
        site.run(["taskset", "-a", "-pc", cpus, pid])


class Cordon:
    name, prefix = "cordon", "cordon/+/up/#"

    def __init__(self, lab, device):
        self.port, self.ca = 8883, device.ca
        self.pids = lambda: [lab.daemon.enforcer, lab.daemon.worker]


class Mosquitto:
    """A second mosquitto, on the gateway, with a bridge to the cloud."""

    name, prefix = "mosquitto", "peer/#"

    def __init__(self, lab, device):
        self.port, self.ca = PEER_PORT, lab.pki.ca
        where = lab.dir / "peer"
        where.mkdir()
        key, cert, request = where / "key.pem", where / "cert.pem", where / "req.pem"
        site.openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                     "-keyout", key, "-out", request, "-subj", "/CN=peer")
        (where / "ext").write_text(f"subjectAltName=IP:{site.GATEWAY4}\n")
        site.openssl("x509", "-req", "-in", request, "-CA", lab.pki.ca, "-CAkey",
                     lab.pki.dir / "ca.key", "-CAcreateserial", "-days", "30",
                     "-extfile", where / "ext", "-out", cert)
        key.chmod(0o644)
        conf = where / "peer.conf"
        conf.write_text(
            f"listener {PEER_PORT} {site.GATEWAY4}\ncafile {device.ca}\ncertfile {cert}\nkeyfile {key}\n"
            "require_certificate true\nallow_anonymous true\npersistence false\nlog_type none\n"
            "max_inflight_messages 1000\nmax_queued_messages 0\n"
            f"connection cloud\naddress {site.CLOUD4}:8883\nbridge_cafile {lab.pki.ca}\n"
            "bridge_protocol_version mqttv50\ntopic d/# out 1 \"\" peer/\n")
        self.proc = lab.gateway.popen("mosquitto", "-c", conf, stderr=subprocess.DEVNULL)
        self.pids = lambda: [self.proc.pid]
        time.sleep(2)  # the bridge connects


def load(lab, device, broker, mode, *args):
    return device.popen("taskset", "-c", others(), LOAD, mode, "--host", site.GATEWAY4,
                        "--port", broker.port, "--ca", broker.ca, "--cert", device.cert,
                        "--key", device.key, "--topic", f"d/{device.id}/x", *args,
                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def others():
    return f"1-{os.cpu_count() - 1}" if os.cpu_count() > 1 else "0"


def ready(proc):
    if proc.stdout.readline() != b"ready\n":
        raise site.Failed("the generator could not connect")


def throughput(lab, device, broker, options):
    """CPU µs per message, messages per second."""
    sink = lab.cloud.popen(*lab.cloud.client("sub", "-q", 1, "-C", options.messages, "-t",
                                             broker.prefix, "-F", "."), stdout=subprocess.DEVNULL)
    time.sleep(0.5)
    proc = load(lab, device, broker, "publish", "--connections", options.publishers,
                "--messages", options.messages, "--size", options.size, "--wait")
    ready(proc)
    pids = broker.pids()
    pin(pids, "0")
    before, began = cpu_seconds(pids), time.monotonic()
    proc.stdin.write(b"go\n")
    proc.stdin.flush()
    report = json.loads(proc.stdout.readline() or "{}")
    if proc.wait() != 0 or report["refused"]:
        raise site.Failed(f"the generator failed: {report}")
    sink.wait(300)
    if sink.returncode != 0:
        raise site.Failed("the cloud did not get all")
    spent = cpu_seconds(pids) - before
    return {"cpu_us": spent / options.messages * 1e6, "acknowledged_per_s": report["per_second"],
            "at_cloud_per_s": options.messages / (time.monotonic() - began)}


def idle(lab, device, broker, options):
    """Bytes that each idle connection adds."""
    before = memory_bytes(broker.pids())
    proc = load(lab, device, broker, "idle", "--connections", options.idle)
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
        brokers = [Cordon(lab, device), Mosquitto(lab, device)]
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
    print(f"{'':22}{'cordon':>12}{'mosquitto':>12}{'ratio':>9}")
    for i, title in enumerate(titles):
        ours, theirs = rows["cordon"][i], rows["mosquitto"][i]
        print(f"{title:22}{ours:12.1f}{theirs:12.1f}{ours / theirs:9.2f}")
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
    if os.geteuid() != 0 or not LOAD.exists():
        sys.exit(f"needs root and {LOAD} (a release build; CORDON_BUILD names it)")
    results = measure(options)
    if options.json:
        print(json.dumps(results))
    else:
        show(results, options)


if __name__ == "__main__":
    main()
