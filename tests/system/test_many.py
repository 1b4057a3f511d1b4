# SPDX-License-Identifier: GPL-2.0-only
"""Verdicts and addresses by the ten thousand: set and released in batches, listed in pages, kept through a kill and a
reboot, and no burden to the one that comes next. CORDON_MANY says how many: 100000 takes some minutes."""

import ipaddress
import json
import os
import re
import signal
import time
from pathlib import Path

import pytest

from lab import GATEWAY4, wait_until

MANY = int(os.environ.get("CORDON_MANY", "20000"))
TABLE = max(8192, 4 * MANY)
SLOW = 1.0  # a command: with sanitizers, on a busy machine


def addresses(count):
    """MACs, IPv4 and IPv6 addresses by turns, none of the site's."""
    for i in range(count):
        if i % 3 == 0:
            yield "06:%02x:%02x:%02x:%02x:01" % (i >> 24, i >> 16 & 255, i >> 8 & 255, i & 255)
        elif i % 3 == 1:
            yield str(ipaddress.IPv4Address(0x0a800000 + i))
        else:
            yield str(ipaddress.IPv6Address((0x20010db8 << 96) + i))


def timed(what, call):
    start = time.monotonic()
    result = call()
    print(f"{what}: {1000 * (time.monotonic() - start):.0f} ms")
    return result


def resident(pid):
    """MiB of its own and what it shares with nobody's file."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"^RssAnon:\s+(\d+)", status, re.M)[1]) / 1024


def listed(lab):
    """All verdicts, page by page."""
    return pages_of(lab, "/api/v1/quarantine")


def pages_of(lab, path):
    out, pages = [], 0
    while path:
        head = lab.dir / "head"
        got = lab.gateway.run("curl", "-sS", "--fail", "--unix-socket", lab.daemon.socket, "-D", head, f"http://cordon{path}",
                              timeout=60)
        page = json.loads(got.stdout)
        assert len(page) <= 10000
        out += page
        pages += 1
        link = re.search(r"^link: <([^>]+)>", head.read_text(), re.M | re.I)
        path = link and link[1]
    return out, pages


@pytest.fixture
def site(lab):
    lab.daemon.configure(isolation={"addresses": TABLE}).start()
    lab.bad, lab.good = lab.device("bad"), lab.device("good")
    wait_until(lambda: lab.bad.ping(lab.good.ip4) and lab.good.ping(GATEWAY4), 15, "open ways")
    return lab


def test_many_verdicts_are_set_listed_kept_and_released(site):
    daemon, path = site.daemon, site.dir / "many"
    wanted = list(addresses(MANY - 1)) + [site.bad.mac]
    path.write_text("# by the thousand\n\n" + "".join(f"{a}  # one\n" for a in wanted))
    before = resident(daemon.enforcer), resident(daemon.worker)
    said = timed(f"{MANY} verdicts by the command", lambda: daemon.cordon(
        "quarantine", "--file", path, "--reason", "a list", "--for", "1h", timeout=300))
    assert said.stdout == f"{MANY} addresses are cut off.\n"
    after = resident(daemon.enforcer), resident(daemon.worker)
    print("MiB of enforcer and worker before and with them: %.1f %.1f, %.1f %.1f" % (*before, *after))
    assert not site.bad.ping(GATEWAY4) and not site.good.ping(site.bad.ip4), "the last of them is in force"
    # Each has the reason and the end, and there is one event for each call, not for each address.
    found, pages = timed("all of them listed", lambda: listed(site))
    assert sorted(v["address"] for v in found) == sorted(wanted)
    assert pages == -(-MANY // 10000)
    assert all(v["reason"] == "a list" and v["until"] and v["by"] == "admin" for v in found)
    events = [e for e in daemon.api("GET", "/api/v1/events?limit=1000")[1] if e.get("kind") == "quarantine"]
    assert sum(e["count"] for e in events) == MANY and len(events) == -(-MANY // 2000)

    # One more takes no longer for it.
    took = []
    for _ in range(5):
        for verb in ("quarantine", "release"):
            start = time.monotonic()
            daemon.cordon(verb, site.good.mac)
            took.append(time.monotonic() - start)
    print(f"one more: {1000 * sorted(took)[len(took) // 2]:.0f} ms a command")
    assert sorted(took)[len(took) // 2] < SLOW

    # Nor does a start, after a kill and after a reboot.
    ping = site.bad.watch("ping", "-n", "-i", "0.01", "-W", "1", GATEWAY4)
    daemon.kill_both()
    timed("start with the tables in the kernel", daemon.start)
    assert len(listed(site)[0]) == MANY
    daemon.kill_both()
    assert "bytes from" not in ping.text()
    site.unpin()
    timed("start after a reboot", daemon.start)
    counts = re.findall(r"verdicts are back in force count=(\d+)", daemon.log.read_text())
    assert int(counts[-1]) == MANY
    assert not site.bad.ping(GATEWAY4)

    said = timed(f"{MANY} released by the command", lambda: daemon.cordon("release", "--file", path, timeout=300))
    assert said.stdout == f"{MANY} addresses are released.\n"
    assert daemon.api("GET", "/api/v1/quarantine")[1] == []
    wait_until(lambda: site.bad.ping(GATEWAY4), 10, "the release")


def test_many_known_addresses_hinder_nobody(site):
    """Many devices, each with a link address and a network address, beside as many verdicts; half as many when
    CORDON_MANY says so."""
    daemon, gateway, devices = site.daemon, site.gateway, MANY // (2 if "CORDON_MANY" in os.environ else 10)
    (site.dir / "verdicts").write_text("".join(f"{a}\n" for a in addresses(MANY)))
    daemon.cordon("quarantine", "--file", site.dir / "verdicts", timeout=300)
    (site.dir / "neighbours").write_text("".join(
        "neigh replace 10.%d.%d.%d lladdr 0a:00:00:%02x:%02x:%02x dev br0 nud permanent\n" % (
            i >> 16, i >> 8 & 255, i & 255, i >> 16, i >> 8 & 255, i & 255) for i in range(devices)))
    start = time.monotonic()
    gateway.run("ip", "-batch", site.dir / "neighbours", timeout=120)
    wait_until(lambda: daemon.json("status")["devices"]["known"] >= devices, 120, "all of them known", every=0.5)
    print(f"{devices} devices known in {time.monotonic() - start:.1f} s")
    slowest = 0
    for _ in range(5):
        for verb in ("quarantine", "release"):
            began = time.monotonic()
            daemon.cordon(verb, site.bad.mac)
            slowest = max(slowest, time.monotonic() - began)
            assert site.bad.ping(GATEWAY4) == (verb == "release")
    assert slowest < SLOW, slowest
    began = time.monotonic()
    assert site.bad.ping(site.good.ip4, count=20) and time.monotonic() - began < 5
    found, pages = timed("all devices listed", lambda: pages_of(site, "/api/v1/devices"))
    assert len(found) >= devices and pages == -(-len(found) // 10000)
    print("MiB of enforcer and worker: %.1f %.1f, and of the kernel's maps: %.1f" % (
        resident(daemon.enforcer), resident(daemon.worker), maps_mib(site)))
    daemon.kill_both()
    timed("start", daemon.start)
    wait_until(lambda: daemon.json("status")["devices"]["known"] >= devices, 60, "all of them known", every=0.5)
    assert len(listed(site)[0]) == MANY
    daemon.cordon("quarantine", site.bad.mac)
    assert not site.bad.ping(GATEWAY4)


def test_neighbours_come_faster_than_they_are_read(lab):
    """The enforcer gets little of the processor, so that its socket overflows again and again: what it was not told it asks
    for."""
    many = 10000
    lab.daemon.configure(isolation={"addresses": 4 * many}).start()
    gateway, enforcer = lab.gateway, lab.daemon.enforcer
    lab.device("one")
    (lab.dir / "neighbours").write_text("".join(
        f"neigh replace 10.0.{i >> 8}.{i & 255} lladdr 0a:00:00:00:{i >> 8:02x}:{i & 255:02x} dev br0 nud permanent\n"
        for i in range(many)))
    adding = gateway.popen("ip", "-batch", lab.dir / "neighbours")
    while adding.poll() is None:
        for how, seconds in ((signal.SIGSTOP, 0.03), (signal.SIGCONT, 0.003)):
            os.kill(enforcer, how)
            time.sleep(seconds)
    assert adding.returncode == 0
    wait_until(lambda: lab.daemon.json("status")["devices"]["known"] >= many, 20, "all of them known", every=0.5)


def maps_mib(lab):
    """What the kernel holds for the maps that are pinned."""
    pins = lab.gateway.run("sh", "-c", "ls -d /sys/fs/bpf/cordon/v*/*").stdout.split()
    sizes = [json.loads(lab.gateway.run("bpftool", "-j", "map", "show", "pinned", pin).stdout)["bytes_memlock"] for pin in pins]
    return sum(sizes) / 2 ** 20
