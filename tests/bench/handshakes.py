#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Handshakes beside mosquitto in one run: how many a CPU-second of the broker, full and resumed.

    CORDON_BUILD=build/release tests/bench/handshakes.py [--count 2000] [--devices 20] [--rounds 5] [--json]

Each is a whole visit of a device: TCP, TLS with the device's certificate (P-256), CONNECT, CONNACK, DISCONNECT;
in TLS 1.3 and 1.2. A resumed one says who it is by the session it was given before, and it is counted only if
the TLS library says that it was resumed. The clients are OpenSSL's, by Python: another library than either
broker's own tests use, the same for both. Each broker has CPU 0 to itself; CPU is that of every process of the
broker. Median of the rounds, the brokers in turn, and the spread of the ratio over the rounds. Root; nothing
leaves the machine. Differences under 15 % are noise."""

import argparse
import json
import multiprocessing
import os
import socket
import ssl
import statistics
import sys
import time
from pathlib import Path

from brokers import Cordon, Mosquitto, pin, site

import wire  # noqa: E402  (brokers found the way to it)

VERSIONS = {"TLS 1.3": ssl.TLSVersion.TLSv1_3, "TLS 1.2": ssl.TLSVersion.TLSv1_2}
DISCONNECT = wire.packet(wire.DISCONNECT, 0, b"")


class Client:
    """One device that comes again and again."""

    def __init__(self, device, broker, version, resumes):
        self.device, self.address = device, (site.GATEWAY4, broker.port)
        self.resumes, self.session, self.reused = resumes, None, 0
        self.hello = wire.connect(device.id, version=4)
        self.context = ssl.create_default_context(cafile=str(broker.ca))
        self.context.check_hostname = False
        self.context.minimum_version = self.context.maximum_version = version
        self.context.load_cert_chain(str(device.cert), str(device.key))

    def visit(self):
        with wire.inside(self.device):
            plain = socket.create_connection(self.address, wire.PATIENCE)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self.context.wrap_socket(plain, session=self.session) as tls:
            tls.sendall(self.hello)
            answer = tls.recv(4)
            if answer[:1] != b"\x20" or answer[3]:
                raise site.Failed(f"CONNACK: {answer.hex()}")
            self.reused += tls.session_reused
            if self.resumes:
                self.session = tls.session
            tls.sendall(DISCONNECT)


def work(clients, count, gate, results):
    """In a process of its own: one visit of each in turn."""
    for client in clients if clients[0].resumes else ():
        client.visit()
    gate.wait()
    for n in range(count):
        clients[n % len(clients)].visit()
    results.put(sum(client.reused for client in clients))


def cpu_ns(pids):
    """On a CPU so far, of every thread."""
    return sum(int(task.read_text().split()[0]) for pid in pids
               for task in Path(f"/proc/{pid}/task").glob("*/schedstat"))


def measure(devices, broker, version, resumes, options):
    """CPU µs of the broker for one visit."""
    each = options.count // options.clients
    gate, results = multiprocessing.Barrier(options.clients + 1), multiprocessing.Queue()
    clients = [Client(device, broker, version, resumes) for device in devices]
    workers = [multiprocessing.Process(target=work, args=(clients[n::options.clients], each, gate, results))
               for n in range(options.clients)]
    for worker in workers:
        worker.start()
        if os.cpu_count() > 1:
            os.sched_setaffinity(worker.pid, range(1, os.cpu_count()))
    gate.wait()
    before = cpu_ns(broker.pids())
    reused = sum(results.get() for _ in workers)
    time.sleep(0.1)  # the last of them are over
    spent = cpu_ns(broker.pids()) - before
    for worker in workers:
        worker.join()
    done = each * options.clients
    if reused != (done if resumes else 0):
        raise site.Failed(f"{broker.name}: {reused} of {done} visits were resumed")
    return spent / done / 1000


def rows(lab, options):
    """{(version, kind): {broker: [µs of each round]}}"""
    devices, seen = [lab.enrolled(f"load-{n}") for n in range(max(options.devices, options.clients))], {}
    brokers = [Cordon(lab, devices[0]), Mosquitto(lab, devices[0], bridge=False)]
    for broker in brokers:
        pin(broker.pids(), "0")
    for number in range(options.rounds):
        for (name, version), resumes in ((v, r) for v in VERSIONS.items() for r in (False, True)):
            for broker in brokers:
                row = seen.setdefault((name, "resumed" if resumes else "full"), {})
                row.setdefault(broker.name, []).append(measure(devices, broker, version, resumes, options))
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
    return seen


def summary(seen):
    """One line a row: visits a CPU-second, and beside mosquitto's full ones of the same version and round."""
    out = []
    for (name, kind), row in seen.items():
        full = seen[name, "full"]["mosquitto"]
        ratios = [theirs / ours for ours, theirs in zip(row["cordon"], full)]
        per_s = {broker: 1e6 / statistics.median(us) for broker, us in row.items()}
        out.append({"version": name, "kind": kind, **{f"{b}_per_cpu_s": round(v) for b, v in per_s.items()},
                    "ratio_to_full": round(statistics.median(ratios), 2),
                    "lowest": round(min(ratios), 2), "highest": round(max(ratios), 2)})
    return out


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--count", type=int, default=2000, help="visits for each figure")
    args.add_argument("--devices", type=int, default=20, help="each with a key, a certificate and a port of its own")
    args.add_argument("--clients", type=int, default=4, help="at a time")
    args.add_argument("--rounds", type=int, default=5)
    args.add_argument("--json", action="store_true")
    options = args.parse_args()
    if os.geteuid() != 0:
        sys.exit("needs root")
    lab = site.Lab(uplink=False)
    try:
        lab.daemon.configure(quarantine={"auto": False})
        lab.daemon.start()
        table = summary(rows(lab, options))
        lab.daemon.stop()
    finally:
        lab.close()
    if options.json:
        print(json.dumps(table))
        return
    print(f"{'handshake, CONNECT; a CPU-second':34}{'cordon':>10}{'mosquitto':>12}   beside its full ones")
    for r in table:
        print(f"{r['version'] + ', ' + r['kind']:34}{r['cordon_per_cpu_s']:10}{r['mosquitto_per_cpu_s']:12}"
              f"{r['ratio_to_full']:9.2f}  ({r['lowest']:.2f} to {r['highest']:.2f})")


if __name__ == "__main__":
    main()
