# SPDX-License-Identifier: GPL-2.0-only
"""Verdicts and addresses by the ten thousand: set and released in batches, listed in pages, kept through a kill and a
reboot, and no burden to the one that comes next. CORDON_MANY says how many: 100000 takes some minutes."""

import ipaddress
import json
import os
import re
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
    out, path, pages = [], "/api/v1/quarantine", 0
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
