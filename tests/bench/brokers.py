# SPDX-License-Identifier: GPL-2.0-only
"""What the comparisons share: Cordon and mosquitto on one gateway, the generator, and their figures."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
os.environ.setdefault("CORDON_BUILD", str(REPO / "build" / "release"))
sys.path.insert(0, str(REPO / "tests" / "system"))

import lab as site  # noqa: E402

LOAD = site.BUILD / "tests" / "bench_load"
PEER_PORT = 18883


def need_tools():
    if os.geteuid() != 0 or not LOAD.exists():
        sys.exit(f"needs root and {LOAD} (a release build; CORDON_BUILD names it)")


def cpu_seconds(pids):
    """Of all their threads, to the nanosecond: what /proc/PID/stat says comes in ticks of 10 ms."""
    threads = [task for pid in pids for task in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    return sum(int(task.read_text().split()[0]) for task in threads) / 1e9


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


def others():
    """Every CPU but the broker's."""
    return f"1-{os.cpu_count() - 1}" if os.cpu_count() > 1 else "0"


class Cordon:
    name, prefix = "cordon", "cordon/+/up/#"

    def __init__(self, lab, device):
        self.port, self.ca = 8883, device.ca
        self.pids = lambda: [lab.daemon.enforcer, lab.daemon.worker]


class Mosquitto:
    """A second mosquitto, on the gateway; with `bridge` it brings everything to the cloud."""

    name, prefix = "mosquitto", "peer/#"

    def __init__(self, lab, device, bridge):
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
            + (f"connection cloud\naddress {site.CLOUD4}:8883\nbridge_cafile {lab.pki.ca}\n"
               "bridge_protocol_version mqttv50\ntopic d/# out 1 \"\" peer/\n" if bridge else ""))
        self.proc = lab.gateway.popen("mosquitto", "-c", conf, stderr=subprocess.DEVNULL)
        self.pids = lambda: [self.proc.pid]
        time.sleep(2)  # it listens, and its bridge connects


def load(device, broker, mode, *args):
    return device.popen("taskset", "-c", others(), LOAD, mode, "--host", site.GATEWAY4,
                        "--port", broker.port, "--ca", broker.ca, "--cert", device.cert,
                        "--key", device.key, "--topic", f"d/{device.id}/x", *args,
                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def ready(proc):
    if proc.stdout.readline() != b"ready\n":
        raise site.Failed("the generator could not connect")


def report(proc):
    line = proc.stdout.readline()
    if proc.wait() != 0 or not line:
        raise site.Failed("the generator failed")
    return json.loads(line)


def table(rows):
    """rows: (title, cordon, mosquitto)."""
    print(f"{'':36}{'cordon':>12}{'mosquitto':>12}{'ratio':>9}")
    for title, ours, theirs in rows:
        print(f"{title:36}{ours:12.1f}{theirs:12.1f}{ours / theirs:9.2f}")
