# SPDX-License-Identifier: GPL-2.0-only
"""`cordon isolation test`: it passes where the isolation holds, fails where it does not, says both where
people look, and leaves nothing behind."""

import json
import os
import re
import signal
import subprocess
import time
from datetime import datetime, timezone
from pathlib import Path

import pytest

from lab import CORDOND, GATEWAY4, wait_until

PLACES = ("native", "generic", "tc", "egress")


def run_test(lab, check=True):
    """(exit status, result)"""
    got = lab.daemon.cordon("isolation", "test", "--json", check=False, timeout=40)
    result = json.loads(got.stdout) if got.stdout.strip() else None
    if check:
        assert got.returncode == 0, got.stdout + got.stderr
    return got.returncode, result


def failed(result):
    return [f"{c['where']}: {c['name']} ({c['detail']})" for c in result["checks"] if c["result"] == "failed"]


def prefixes(lab):
    """The prefixes that the programs ask for, of both families."""
    pins = lab.gateway.run("sh", "-c", "ls -d /sys/fs/bpf/cordon/v*/cordon_lpm?").stdout.split()
    assert len(pins) == 2
    return [lab.gateway.run("bpftool", "-j", "map", "dump", "pinned", pin).stdout.strip() for pin in pins]


def policy_maps(lab):
    """Whom policies name, and what they say, as bytes."""
    dumps = []
    for name in ("cordon_peers", "cordon_nets", "cordon_policies"):
        pin = lab.gateway.run("sh", "-c", f"ls -d /sys/fs/bpf/cordon/v*/{name}").stdout.strip()
        entries = json.loads(lab.gateway.run("bpftool", "-j", "map", "dump", "pinned", pin).stdout)
        dumps.append([(e["key"], e["value"]) for e in entries])
    return dumps


def policies_in_force(lab):
    """Flags and limits of each number's bank that the programs read, where they are not all zero."""
    pin = lab.gateway.run("sh", "-c", "ls -d /sys/fs/bpf/cordon/v*/cordon_meters").stdout.strip()
    meters = json.loads(lab.gateway.run("bpftool", "-j", "map", "dump", "pinned", pin).stdout)
    peers, nets, policies = policy_maps(lab)
    found = {}
    for number, meter in enumerate(meters):
        bank = int(meter["value"][0], 16) & 1
        value = policies[2 * number + bank][1]
        if any(int(byte, 16) for byte in value):
            found[number] = value
    return found, peers, [key for key, _ in nets if any(int(byte, 16) for byte in key[5:8])]


def last_policy(lab):
    """What both banks of the last number hold; quick."""
    pin = lab.gateway.run("sh", "-c", "ls -d /sys/fs/bpf/cordon/v*/cordon_policies").stdout.strip()
    last = json.loads(lab.gateway.run("bpftool", "-j", "map", "show", "pinned", pin).stdout)["max_entries"] - 1

    def read():
        keys = [map(str, i.to_bytes(4, "little")) for i in (last - 1, last)]
        banks = [lab.gateway.run("bpftool", "-j", "map", "lookup", "pinned", pin, "key", *key).stdout for key in keys]
        return [json.loads(bank)["value"] for bank in banks]
    return read


@pytest.fixture
def pair(lab):
    lab.daemon.start()
    lab.bad, lab.good = lab.device("bad"), lab.device("good")
    wait_until(lambda: lab.bad.ping(lab.good.ip4), 15, "open ways")
    return lab


def test_each_check_passes_at_each_place_and_on_each_port(pair):
    before = datetime.now(timezone.utc)
    got = pair.daemon.cordon("isolation", "test")
    lines = got.stdout.splitlines()
    for place in PLACES:
        named = [ln for ln in lines if re.match(rf"passed +{place}: ", ln)]
        assert len(named) > 20, f"{place}: {named}"
        for what in ("a policy lets through what it allows", "a policy drops another port",
                     "a policy that only reports drops nothing", "over a limit",
                     "observed, a policy drops nothing"):
            assert f"passed   {place}: {what}" in lines
        if place != "egress":
            for what in ("a bound IPv4, used by another MAC", "a bound IPv6, used by another MAC",
                         "ARP that claims the gateway's own IPv4"):
                assert f"passed   {place}: {what}" in lines
    for port in (pair.bad.port, pair.good.port):
        assert f"passed   {port}: the program runs, from it" in lines
        assert f"passed   {port}: the program runs, toward it" in lines
    assert re.match(r"\d+ passed, 0 failed, 0 skipped in \d+ ms$", lines[-1]), lines[-1]

    _, report = pair.daemon.api("GET", "/api/v1/isolation")
    at = datetime.fromisoformat(report["test"]["at"].replace("Z", "+00:00"))
    assert -1 < (at - before).total_seconds() < 20
    assert report["test"]["failed"] == 0 and report["test"]["took_ms"] < 10_000
    assert len(report["test"]["checks"]) == report["test"]["passed"]
    summary = pair.daemon.json("status")["isolation"]["test"]
    assert summary["at"] == report["test"]["at"] and "checks" not in summary
    event = [e for e in pair.daemon.api("GET", "/api/v1/events?limit=50")[1]
             if e.get("kind") == "isolation-test"]
    assert len(event) == 1 and event[0]["severity"] == "info" and event[0]["passed"] == summary["passed"]
    shown = pair.daemon.cordon("isolation").stdout
    assert "Last test" in shown and f"{summary['passed']} passed" in shown


def test_nothing_of_it_stays(pair):
    pair.daemon.cordon("quarantine", "203.0.113.0/24")  # somebody's own prefix stays
    verdicts = pair.daemon.api("GET", "/api/v1/quarantine")[1]
    devices = {d["id"] for d in pair.daemon.json("devices")}
    before, kept = prefixes(pair), (pair.daemon.state / "verdicts").read_bytes()
    links = pair.gateway.run("ip", "-o", "link").stdout
    spaces = len(os.listdir("/proc/self/ns"))
    for _ in range(3):
        run_test(pair)
    assert pair.gateway.run("ip", "-o", "link").stdout == links
    assert len(os.listdir("/proc/self/ns")) == spaces
    assert prefixes(pair) == before
    assert policies_in_force(pair) == ({}, [], [])
    assert (pair.daemon.state / "verdicts").read_bytes() == kept, "the copy for a reboot"
    assert pair.daemon.api("GET", "/api/v1/quarantine")[1] == verdicts
    assert {d["id"] for d in pair.daemon.json("devices")} == devices, "nobody was seen"
    children = Path(f"/proc/{pair.daemon.proc.pid}/task/{pair.daemon.proc.pid}/children").read_text().split()
    assert children == [str(pair.daemon.worker)], "only the worker is left"
    # A new daemon takes the tables over and finds nobody it does not know in them either.
    pair.daemon.stop()
    pair.daemon.start()
    assert {d["id"] for d in pair.daemon.json("devices")} == devices
    assert pair.daemon.api("GET", "/api/v1/quarantine")[1] == verdicts


def test_verdicts_and_traffic_go_on_meanwhile(pair):
    third = pair.device("third")
    pair.daemon.cordon("quarantine", pair.bad.mac)
    wait_until(lambda: third.ping(pair.good.ip4), 15, "open ways")
    flow = third.popen("ping", "-n", "-q", "-i", "0.01", "-c", "300", pair.good.ip4, stdout=subprocess.PIPE)
    leak = pair.bad.popen("ping", "-n", "-q", "-i", "0.01", "-c", "300", "-W", "1", pair.good.ip4,
                          stdout=subprocess.PIPE)
    tests = 0
    while flow.poll() is None:
        run_test(pair)
        tests += 1
    assert tests >= 2
    assert b" 0% packet loss" in flow.communicate()[0]
    assert b" 100% packet loss" in leak.communicate()[0]


def test_unknown_devices_are_tried_as_configured(lab):
    lab.daemon.configure(lan={"new_devices": "isolate"})
    lab.daemon.start()
    lab.device("new")
    run_test(lab)


def test_two_who_ask_at_once_get_one_answer(pair):
    ask = [pair.gateway.popen(
        "curl", "-sS", "--unix-socket", pair.daemon.socket, "-X", "POST", "-H", "content-type: application/json",
        "-d", "{}", "http://cordon/api/v1/isolation/test", stdout=subprocess.PIPE) for _ in range(3)]
    results = [json.loads(p.communicate(timeout=40)[0]) for p in ask]
    assert all(r["failed"] == 0 for r in results)
    pair.daemon.cordon("isolation", "test")


def bss_of(lab):
    """The id and size of the programs' variables."""
    pin = lab.gateway.run("sh", "-c", "ls -d /sys/fs/bpf/cordon/v*/cordon_slots").stdout.strip()
    ours = json.loads(lab.gateway.run("bpftool", "-j", "map", "show", "pinned", pin).stdout)["id"]
    for program in json.loads(lab.gateway.run("bpftool", "-j", "prog", "show").stdout):
        if ours not in program.get("map_ids", []) or program["name"] != "cordon_xdp":
            continue
        for number in program["map_ids"]:
            found = json.loads(lab.gateway.run("bpftool", "-j", "map", "show", "id", number).stdout)
            if found["name"].endswith(".bss"):
                return found["id"], found["bytes_value"]
    raise AssertionError("the programs have no variables")


def test_tables_that_were_tampered_with_are_found_out(lab):
    """Whoever may write to the maps opens the way to unknown devices: only frames show it."""
    lab.daemon.configure(lan={"new_devices": "isolate"})
    lab.daemon.start()
    lab.device("one")
    run_test(lab)
    number, size = bss_of(lab)
    lab.gateway.run("bpftool", "map", "update", "id", number, "key", "0", "0", "0", "0",
                    "value", *["0"] * size)
    status, result = run_test(lab, check=False)
    assert status == 1
    assert {"native: an unknown device is treated as configured (it came through)",
            "tc: an unknown device is treated as configured (it came through)"} <= set(failed(result)), failed(result)
    got = lab.daemon.cordon("isolation", "test", check=False)
    assert got.returncode == 1 and "checks failed" in got.stderr
    assert "failed   generic: an unknown device" in got.stdout
    events = [e for e in lab.daemon.api("GET", "/api/v1/events?limit=50")[1] if e.get("kind") == "isolation-test"]
    assert [e["severity"] for e in events] == ["info", "critical", "critical"]
    assert "it came through" in events[-1]["text"]


def test_a_policy_that_was_widened_is_found_out(lab):
    """Whoever may write to the maps lets all of IPv4 be the other end of the last policy's rules."""
    lab.daemon.start()
    lab.device("one")
    run_test(lab)
    pin = lab.gateway.run("sh", "-c", "ls -d /sys/fs/bpf/cordon/v*/cordon_meters").stdout.strip()
    number = json.loads(lab.gateway.run("bpftool", "-j", "map", "show", "pinned", pin).stdout)["max_entries"] - 1
    for bank in (0, 1):
        key = (32).to_bytes(4, "little") + (number << 8 | bank << 4 | 2).to_bytes(4, "little") + bytes(16)
        lab.gateway.run("bpftool", "map", "update", "pinned", pin.replace("meters", "nets"), "key",
                        *map(str, key), "value", "3", *["0"] * 7)
    status, result = run_test(lab, check=False)
    assert status == 1
    assert sorted(failed(result)) == [
        "egress: a policy drops what comes from somebody else (it came through)",
        "generic: a policy drops what goes to somebody else (it came through)",
        "native: a policy drops what goes to somebody else (it came through)",
        "tc: a policy drops what goes to somebody else (it came through)"]


@pytest.mark.parametrize("side", ["xdp", "out"])
def test_a_program_that_was_taken_off_is_found_out_and_put_back(pair, side):
    ifindex = pair.gateway.run("cat", f"/sys/class/net/{pair.bad.port}/ifindex").stdout.strip()
    time.sleep(1.2)  # what the new ports caused is over
    pair.gateway.run("bpftool", "link", "detach", "pinned", f"/sys/fs/bpf/cordon/links/{ifindex}_{side}")
    status, result = run_test(pair, check=False)
    what = "from it" if side == "xdp" else "toward it"
    assert status == 1
    assert failed(result) == [f"{pair.bad.port}: the program runs, {what} (the link was taken off the port)"]
    pair.gateway.run("ip", "link", "add", "dummy9", "type", "bridge")  # any change of the links
    wait_until(lambda: run_test(pair, check=False)[0] == 0, 10, "the program to run again")
    assert re.search(r"LAN port was not held name=\S+, and is again: the link was taken off", pair.daemon.tail())
    pair.daemon.cordon("quarantine", pair.bad.mac)
    time.sleep(0.1)
    assert not pair.bad.ping(pair.good.ip4)


def test_a_pin_that_was_taken_away_is_put_back_while_the_program_runs(pair):
    ifindex = pair.gateway.run("cat", f"/sys/class/net/{pair.bad.port}/ifindex").stdout.strip()
    pins = [f"/sys/fs/bpf/cordon/links/{ifindex}_{side}" for side in ("xdp", "out")]

    def links():
        return [json.loads(pair.gateway.run("bpftool", "-j", "link", "show", "pinned", pin).stdout)["id"] for pin in pins]
    before = links()
    pair.daemon.cordon("quarantine", pair.bad.mac)
    leak = pair.bad.watch("ping", "-n", "-i", "0.002", "-W", "1", pair.good.ip4)
    time.sleep(1.2)  # what the new ports caused is over
    pair.gateway.run("rm", *pins)
    pair.gateway.run("ip", "link", "add", "dummy9", "type", "bridge")  # any change of the links
    wait_until(lambda: run_test(pair, check=False)[0] == 0, 10, "the pins")
    assert links() == before, "the same links go on"
    assert re.search(r"LAN port was not held name=\S+, and is again: the link is not pinned", pair.daemon.tail())
    assert "bytes from" not in leak.text()


def process_of_test(lab):
    """The enforcer's child that sends the frames; None when there is none."""
    enforcer = lab.daemon.proc.pid
    for pid in Path(f"/proc/{enforcer}/task/{enforcer}/children").read_text().split():
        try:
            if Path(f"/proc/{pid}/comm").read_text().strip() == "cordon-test":
                return int(pid)
        except OSError:
            pass
    return None


def test_no_device_gets_the_policy_of_the_test(lab):
    """The tables hold 64 numbers, from 0: the last one is never a device's, so that a test finds it free."""
    lab.daemon.configure(isolation={"addresses": 256}).start()
    lab.device("one")
    macs = [f"0a:00:00:00:00:{i:02x}" for i in range(1, 64)]
    (lab.dir / "neighbours").write_text("".join(
        f"neigh replace 10.0.0.{i} lladdr {mac} dev br0 nud permanent\n" for i, mac in enumerate(macs, 1)))
    lab.gateway.run("ip", "-batch", lab.dir / "neighbours")
    wait_until(lambda: lab.daemon.json("status")["devices"]["known"] >= 63, 10, "the devices")
    for i, mac in enumerate(macs, 1):
        got = lab.daemon.cordon("limit", "mac-" + mac.replace(":", ""), "--packets", "1000", check=False)
        assert (got.returncode == 0) == (i < 63), (i, got.stdout, got.stderr)
    assert "no more policies" in got.stderr
    run_test(lab)
    run_test(lab)


def test_a_killed_test_says_so_and_leaves_nothing(pair):
    """Its process is stopped, so that it hangs in the middle, then killed."""
    before = prefixes(pair)
    asked = pair.gateway.popen("curl", "-sS", "--unix-socket", pair.daemon.socket, "-X", "POST", "-H",
                               "content-type: application/json", "-d", "{}",
                               "http://cordon/api/v1/isolation/test", stdout=subprocess.PIPE)
    pid = wait_until(lambda: process_of_test(pair), 10, "the test's process", every=0.001)
    os.kill(pid, signal.SIGSTOP)
    time.sleep(0.3)
    pair.daemon.cordon("status")  # neither process waits for it
    assert pair.bad.ping(GATEWAY4)
    os.kill(pid, signal.SIGKILL)
    result = json.loads(asked.communicate(timeout=20)[0])
    assert ": the test ran to its end (it was killed by signal 9)" in failed(result), failed(result)
    assert prefixes(pair) == before
    assert policies_in_force(pair) == ({}, [], [])
    run_test(pair)


def test_a_test_that_hangs_is_ended(pair):
    before = prefixes(pair)
    asked = pair.gateway.popen("curl", "-sS", "--unix-socket", pair.daemon.socket, "-X", "POST", "-H",
                               "content-type: application/json", "-d", "{}",
                               "http://cordon/api/v1/isolation/test", stdout=subprocess.PIPE)
    os.kill(wait_until(lambda: process_of_test(pair), 10, "the test's process", every=0.001), signal.SIGSTOP)
    began = time.monotonic()
    result = json.loads(asked.communicate(timeout=30)[0])
    assert 15 < time.monotonic() - began < 25
    assert ": the test ran to its end (it hung and was killed after 20 s)" in failed(result), failed(result)
    assert prefixes(pair) == before


def test_a_daemon_killed_in_the_middle_leaves_nothing(pair):
    before, policy = prefixes(pair), last_policy(pair)
    unused = policy()
    asked = pair.gateway.popen("curl", "-sS", "--unix-socket", pair.daemon.socket, "-X", "POST", "-H",
                               "content-type: application/json", "-d", "{}",
                               "http://cordon/api/v1/isolation/test", stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL)
    wait_until(lambda: prefixes(pair) != before, 5, "the test's prefixes", every=0.001)
    wait_until(lambda: policy() != unused, 5, "the test's policy", every=0.001)
    pair.daemon.kill_both()
    asked.wait(10)
    assert policies_in_force(pair)[0], "it was killed too late to show anything"
    pair.daemon.start()
    assert prefixes(pair) == before
    assert policies_in_force(pair) == ({}, [], [])
    assert pair.daemon.api("GET", "/api/v1/quarantine")[1] == []
    run_test(pair)


def test_refused_where_isolation_is_off(lab):
    lab.device("dev")
    daemon = lab.daemon.configure()
    with open(daemon.log, "ab") as log:
        daemon.proc = lab.gateway.popen("setpriv", "--bounding-set", "-sys_admin,-bpf,-perfmon", CORDOND, "-c",
                                        daemon.conf, stdout=log, stderr=log, env=daemon.env())
    daemon.wait_ready()
    got = daemon.cordon("isolation", "test", check=False)
    assert got.returncode == 1
    assert "The isolation was not tested: the kernel does not take the programs" in got.stderr
    assert daemon.json("status")["isolation"]["test"] is None
    assert "Not tested" in daemon.cordon("isolation").stdout


def test_without_the_right_to_make_a_namespace_it_fails_and_says_so(lab):
    """What cannot be proven is not reported as proven."""
    daemon = lab.daemon.configure()
    with open(daemon.log, "ab") as log:
        daemon.proc = lab.gateway.popen("setpriv", "--bounding-set", "-net_raw", CORDOND, "-c", daemon.conf,
                                        stdout=log, stderr=log, env=daemon.env())
    daemon.wait_ready()
    status, result = run_test(lab, check=False)
    assert status == 1
    assert failed(result) == [": sockets at both ends of it (Operation not permitted)"]


def test_status_says_what_could_go_past(pair):
    def port(name):
        return {p["name"]: p for p in pair.daemon.json("status")["isolation"]["interfaces"]}[name]

    wait_until(lambda: any("segmentation" in note for note in port(pair.good.port)["notes"]), 5, "the note")
    assert port(pair.good.port)["ingress"] == "native" and port(pair.good.port)["bypass"] == []
    # A second device behind the port of the first, as behind a switch.
    frame = ("ff" * 6 + "020000008801" + "0800" + "4500001c00010000401100000a000001" + "c0a84d01" + "00" * 8)
    pair.bad.run("/usr/bin/python3", "-c", "import socket\n"
                 "s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(('eth0', 0))\n"
                 f"s.send(bytes.fromhex('{frame}'))\n")
    wait_until(lambda: "mac-020000008801" in {d["id"] for d in pair.daemon.json("devices")}, 5, "the second device")
    time.sleep(1.2)
    pair.gateway.run("ip", "link", "add", "dummy8", "type", "bridge")
    wait_until(lambda: any("several devices" in b for b in port(pair.bad.port)["bypass"]), 5, "the warning")
    assert "several devices are behind this port" in pair.daemon.cordon("status").stdout
    assert port(pair.good.port)["bypass"] == []
