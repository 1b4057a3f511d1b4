# SPDX-License-Identifier: GPL-2.0-only
"""It never opens: numbered packets from and to those who are cut off, by MAC, by IPv4, by IPv6 and by prefix, through
whatever happens to the gateway. Zero may arrive."""

import re
import shutil
import time

import pytest

from lab import BUILD, GATEWAY4, wait_until
from leaks import HONEST, Flows


def ports(lab):
    return {p["name"]: p for p in lab.daemon.json("status")["isolation"]["interfaces"]}


def cut_off(lab, flows):
    """All four, two of them with an end."""
    for name, address in flows.addresses.items():
        lab.daemon.cordon("quarantine", address, "--reason", name, *(["--for", "1h"] if name in ("prefix", "IPv4") else []))
    time.sleep(0.1)
    return flows.settle()


def dropped(lab, flows):
    """Packets dropped for each verdict."""
    return {v["reason"]: v["dropped_packets"] for v in lab.daemon.api("GET", "/api/v1/quarantine")[1]}


@pytest.fixture
def site(lab):
    lab.bad, lab.good = lab.device("bad"), lab.device("good")
    lab.flows = Flows(lab.bad, lab.good)
    lab.flows.wait_open()
    return lab


def start(lab, **isolation):
    if isolation:
        lab.daemon.configure(isolation=isolation)
    lab.daemon.start()
    wait_until(lambda: {lab.bad.port, lab.good.port} <= set(ports(lab)), 10, "the ports")


def test_no_kill_opens(site):
    start(site)
    flows, daemon = site.flows, site.daemon
    flows.wait_open()
    before = cut_off(site, flows)
    killed = daemon.kill_worker()
    wait_until(lambda: daemon.worker not in (0, killed), 20, "a new worker")
    daemon.wait_ready()
    flows.none_arrived(before, "the worker killed")
    counted = dropped(site, flows)
    assert all(counted[name] > 100 for name in flows.addresses), counted
    for what in (daemon.kill_both, daemon.kill_enforcer, daemon.stop):
        what()
        flows.none_arrived(before, f"{what.__name__}, nobody there")
        wait_until(lambda: not daemon.worker, 10, "the worker's end")
        start(site)
        flows.none_arrived(before, f"{what.__name__}, and a start")
    assert all(dropped(site, flows)[name] >= counted[name] for name in counted), "the counters went on"
    for address in flows.addresses.values():
        daemon.cordon("release", address)
    flows.wait_open()


def test_no_change_of_size_opens(site):
    """isolation.addresses, up and down; what does not fit any more is no reason to open either."""
    start(site, addresses=256)
    flows, daemon = site.flows, site.daemon
    flows.wait_open()
    before = cut_off(site, flows)
    counted = dropped(site, flows)
    for size in (4096, 256, 1024):
        daemon.stop()
        start(site, addresses=size)
        assert "isolation moved to new tables" in daemon.log.read_text()
        flows.none_arrived(before, f"to {size} addresses")
        assert all(dropped(site, flows)[name] >= counted[name] for name in counted), "the counters went on"

    # More verdicts than the smallest table has room for: it is said, and nobody is let go.
    (site.dir / "many").write_text("".join(f"10.1.{i >> 8}.{i & 255}\n" for i in range(700)))
    daemon.cordon("quarantine", "--file", site.dir / "many", timeout=60)
    daemon.kill_both()
    start(site, addresses=256)
    flows.none_arrived(before, "to 256 addresses with 704 verdicts")
    assert re.search(r"isolation.addresses has no room.*addresses=256 verdicts=704", daemon.log.read_text()), daemon.tail()
    assert len(daemon.api("GET", "/api/v1/quarantine")[1]) == 704
    assert not [e for e in daemon.api("GET", "/api/v1/events?limit=1000")[1] if "is not in force" in e.get("text", "")]


def test_a_full_table_refuses_and_keeps(site):
    """The kernel's tables, full of verdicts: one more is refused in so many words, by each way of asking."""
    start(site, addresses=256)
    flows, daemon = site.flows, site.daemon
    before = cut_off(site, flows)
    (site.dir / "many").write_text("".join(f"10.1.{i >> 8}.{i & 255}\n" for i in range(400)))
    said = daemon.cordon("quarantine", "--file", site.dir / "many", check=False, timeout=60)
    done = int(re.search(r"^(\d+) addresses are cut off", said.stdout, re.M)[1])
    refused = re.findall(r"^cordon: (\S+): .*no room", said.stderr, re.M)
    assert said.returncode == 1 and 150 <= done < 256 and done + len(refused) == 400, said
    one = daemon.cordon("quarantine", "10.9.9.9", check=False)
    assert one.returncode == 1 and "no room" in one.stderr, one
    status, problem = daemon.api("POST", "/api/v1/quarantine", {"address": "10.9.9.9"}, check=False)
    assert status == 507 and "no room" in problem["detail"], problem
    held = daemon.api("GET", "/api/v1/quarantine?limit=10000")[1]
    assert len(held) == done + 4 and not {v["address"] for v in held} & {*refused, "10.9.9.9"}
    flows.none_arrived(before, "a full table")
    daemon.kill_both()
    start(site)
    flows.none_arrived(before, "a full table, and a start")
    assert len(daemon.api("GET", "/api/v1/quarantine?limit=10000")[1]) == done + 4
    assert "is not in force" not in daemon.log.read_text()
    daemon.cordon("release", "10.1.0.1")
    daemon.cordon("quarantine", "10.9.9.9")


def test_no_change_of_the_hook_opens(site):
    start(site, ingress="native")
    flows, daemon = site.flows, site.daemon
    before = cut_off(site, flows)
    for hook in ("generic", "tc", "native", "tc", "generic", "auto"):
        daemon.stop()
        start(site, ingress=hook)
        got = wait_until(lambda: (p := ports(site)[site.bad.port]["ingress"]) != "none" and p, 10, "a hook")
        flows.none_arrived(before, f"{hook} ({got} in force)")
        assert got == hook or hook == "auto", (got, hook)


def test_no_change_of_the_network_opens(site):
    """Ports that leave the bridge and come back, a port that goes away, a bridge that is made again."""
    start(site)
    flows, gateway, bad = site.flows, site.gateway, site.bad
    before = cut_off(site, flows)
    for port in (bad.port, site.good.port):
        gateway.run("ip", "link", "set", port, "down")
        gateway.run("ip", "link", "set", port, "nomaster", "up")
        gateway.run("ip", "link", "set", port, "master", "br0")
    flows.none_arrived(before, "ports out of the bridge and back")
    gateway.run("ip", "link", "del", "br0")
    gateway.run("ip", "link", "add", "br1", "type", "bridge", "forward_delay", "0", "mcast_snooping", "0")
    for port in (bad.port, site.good.port):
        gateway.run("ip", "link", "set", port, "master", "br1")
    gateway.run("ip", "link", "set", "br1", "up")
    flows.none_arrived(before, "another bridge")
    for again in range(2):
        gateway.run("ip", "link", "del", bad.port)
        gateway.run("ip", "link", "add", bad.port, "type", "veth", "peer", "name", "eth0", "address", bad.mac, "netns", bad.name)
        bad.run("ip", "link", "set", "eth0", "up")
        time.sleep(0.3 * again)  # its packets are on their way before and after it has a hook
        gateway.run("ip", "link", "set", bad.port, "master", "br1", "up")
        flows.none_arrived(before, "the port removed and made again")


def test_after_a_reboot_all_is_closed_before_anybody_decides(site):
    """Only the copy on disk is left, and the worker cannot start: the enforcer closes all the same."""
    start(site)
    flows, daemon, gateway = site.flows, site.daemon, site.gateway
    cut_off(site, flows)
    daemon.kill_both()
    site.unpin()
    flows.wait_open()  # so it is the copy that closes
    for port in (site.bad.port, site.good.port):
        gateway.run("ip", "link", "set", port, "down")
    time.sleep(0.5)
    before = flows.counts()
    aside = site.dir / "aside"
    shutil.copytree(daemon.state, aside)
    for file in daemon.state.glob("cordon.db*"):
        file.write_bytes(b"no database" * 1000)
    daemon.start(wait=False)
    daemon.proc.wait(20)
    assert daemon.proc.returncode == 1 and "verdicts are back in force count=4" in daemon.log.read_text(), daemon.tail()
    for port in (site.bad.port, site.good.port):
        gateway.run("ip", "link", "set", port, "up")
    flows.none_arrived(before, "after a reboot, without a worker")
    for file in aside.glob("cordon.db*"):
        shutil.copy(file, daemon.state)
        shutil.chown(daemon.state / file.name, "cordon", "cordon")
    start(site)
    flows.none_arrived(before, "and with one")


def test_after_a_reboot_a_damaged_copy_opens_nothing(site):
    """Who is cut off cannot be read, and the worker cannot start: nobody there may do more than be repaired."""
    start(site)
    flows, daemon, gateway = site.flows, site.daemon, site.gateway
    before = cut_off(site, flows)
    daemon.kill_both()
    for port in (site.bad.port, site.good.port):
        gateway.run("ip", "link", "set", port, "down")
    site.unpin()
    copy = daemon.state / "verdicts"
    copy.write_bytes(copy.read_bytes()[:-1])
    database = {file: file.read_bytes() for file in daemon.state.glob("cordon.db*")}
    for file in database:
        file.write_bytes(b"no database" * 1000)
    for said in ("not all kept verdicts are in force", "isolation taken over"):
        daemon.start(wait=False)
        daemon.proc.wait(20)
        assert daemon.proc.returncode == 1 and said in daemon.log.read_text(), daemon.tail()
        for port in (site.bad.port, site.good.port):
            gateway.run("ip", "link", "set", port, "up")
        time.sleep(1.5)
        assert {**flows.counts()[0], HONEST: 0} == {**before[0], HONEST: 0}, f"from them, {said}"
    for file, was in database.items():
        file.write_bytes(was)
        shutil.chown(file, "cordon", "cordon")
    start(site)
    flows.none_arrived(before, "and with one")
    assert wait_until(lambda: site.good.ping(GATEWAY4), 4, "the others, as soon as it is known who is cut off")


@pytest.mark.parametrize("how", ["stop", "kill_both"])
def test_no_upgrade_opens(site, how):
    """To a daemon whose kernel program and maps are others, and back to the one before."""
    start(site)
    flows, daemon, now = site.flows, site.daemon, site.daemon.program
    flows.wait_open()
    before = cut_off(site, flows)
    held = {v["address"]: (v["mode"], v["until"], v["reason"]) for v in daemon.api("GET", "/api/v1/quarantine")[1]}
    counted, seen = dropped(site, flows), set(devices(site))
    after = [BUILD / "tests" / "cordond_next"]
    for program, said in ((after, "moved to new tables"), (now, "verdicts are back in force count=4")):
        getattr(daemon, how)()
        flows.none_arrived(before, "nobody there")
        daemon.program = program
        start(site)
        flows.none_arrived(before, f"{said} after {how}")
        assert said in daemon.tail(20), daemon.tail(20)
        got = {v["address"]: (v["mode"], v["until"], v["reason"]) for v in daemon.api("GET", "/api/v1/quarantine")[1]}
        assert got == held
        if program == after:
            assert seen <= set(devices(site))
            assert all(dropped(site, flows)[name] >= counted[name] for name in counted), "the counters went on"
    pins = site.gateway.run("sh", "-c", "ls -d /sys/fs/bpf/cordon/v*").stdout.split()
    assert len(pins) == 1, f"maps of before are gone: {pins}"
    for address in flows.addresses.values():
        daemon.cordon("release", address)
    flows.wait_open()


def devices(lab):
    return [d["id"] for d in lab.daemon.json("devices")]
