# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's side of isolation: which ports are covered and how, what stays, what is taken over,
and what happens where the machine cannot do it."""

import json
import re
import subprocess
import threading
import time
from pathlib import Path

import pytest

from lab import CORDOND, GATEWAY4, GATEWAY6, wait_until

FOREIGN = '__attribute__((section("xdp"), used)) int pass(void *ctx) { return 2; }\n' \
          '__attribute__((section("license"), used)) char l[] = "GPL";\n'


def ports(lab):
    return {p["name"]: p for p in lab.daemon.json("status")["isolation"]["interfaces"]}


@pytest.fixture
def pair(lab):
    """Two devices that were never enrolled: isolation needs nobody's cooperation."""
    lab.daemon.start()
    lab.bad, lab.good = lab.device("bad"), lab.device("good")
    wait_until(lambda: lab.bad.ping(lab.good.ip4) and lab.good.ping(GATEWAY4), 15, "open ways")
    return lab


def test_every_lan_port_is_covered_and_nothing_else(pair):
    pair.gateway.run("ip", "link", "add", "dummy9", "type", "dummy", check=False)
    found = ports(pair)
    assert {pair.bad.port, pair.good.port} <= set(found)
    assert not {"lo", "br0", "wan0", "dummy9"} & set(found)
    assert found[pair.bad.port]["ingress"] in ("native", "generic")
    assert found[pair.bad.port]["egress"] in ("tcx", "clsact")


def test_a_port_follows_the_default_route(pair):
    assert "wan0" not in ports(pair)
    pair.gateway.run("ip", "route", "del", "default")
    wait_until(lambda: "wan0" in ports(pair), 5, "the port without the default route")
    pair.restore_uplink()
    wait_until(lambda: "wan0" not in ports(pair), 5, "the uplink to be left alone")
    links = pair.gateway.run("ip", "-json", "link", "show", "wan0").stdout
    assert "xdp" not in json.loads(links)[0]


def test_named_interfaces_and_reload(pair):
    pair.daemon.configure(lan={"interfaces": [pair.bad.port]})
    pair.daemon.reload()
    wait_until(lambda: set(ports(pair)) == {pair.bad.port}, 5, "only the named port")
    pair.daemon.configure(lan={"interfaces": ["auto"]})
    pair.daemon.reload()
    wait_until(lambda: {pair.bad.port, pair.good.port} <= set(ports(pair)), 5, "all ports again")


def test_a_foreign_program_stays_and_we_stand_beside_it(lab, tmp_path):
    bad, good = lab.device("bad"), lab.device("good")
    source, obj = tmp_path / "pass.c", tmp_path / "pass.o"
    source.write_text(FOREIGN)
    subprocess.run(["clang", "-target", "bpf", "-O2", "-c", source, "-o", obj], check=True)
    lab.gateway.run("ip", "link", "set", bad.port, "xdpgeneric", "obj", obj, "sec", "xdp")
    lab.daemon.start()
    port = ports(lab)[bad.port]
    assert port["ingress"] == "tc", port
    assert "another XDP program" in lab.daemon.tail(), "it says why"
    assert ports(lab)[good.port]["ingress"] in ("native", "generic")
    wait_until(lambda: bad.ping(good.ip4), 10, "open ways")
    lab.daemon.cordon("quarantine", bad.mac)
    time.sleep(0.1)
    assert not bad.ping(good.ip4) and not good.ping(bad.ip4)
    lab.daemon.cordon("release", bad.mac)
    wait_until(lambda: bad.ping(good.ip4), 10, "the release")


def test_no_packet_leaks_while_programs_are_replaced(pair):
    """A flood through three restarts, by SIGTERM and by SIGKILL: the capture behind stays empty."""
    pair.daemon.cordon("quarantine", pair.bad.mac)
    time.sleep(0.1)
    capture = pair.good.watch("tcpdump", "-l", "-n", "-i", "eth0", "ether", "host", pair.bad.mac)
    capture.wait("listening")
    frame = (pair.good.mac + pair.bad.mac).replace(":", "") + "88b5" + "00" * 46
    flood = pair.bad.popen("/usr/bin/python3", "-c", "import socket\n"
                           "s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(('eth0', 0))\n"
                           f"while True: s.send(bytes.fromhex('{frame}'))\n")
    for how in (pair.daemon.stop, pair.daemon.kill_both, pair.daemon.stop):
        how()
        time.sleep(0.3)
        pair.daemon.start()
    assert flood.poll() is None, "the flood went on"
    flood.kill()
    time.sleep(0.2)
    assert pair.bad.mac not in capture.text()
    dropped = ports(pair)[pair.bad.port]["dropped_packets"]
    assert dropped > 10000, "and it was a flood"


def test_counters_survive_a_restart(pair):
    pair.daemon.cordon("quarantine", pair.bad.mac)
    pair.bad.ping(pair.good.ip4, count=20, wait=0.2)
    before = ports(pair)[pair.bad.port]["dropped_packets"]
    assert before > 0
    pair.daemon.kill_both()
    pair.daemon.start()
    assert ports(pair)[pair.bad.port]["dropped_packets"] >= before


def test_a_prefix_is_cut_and_released(pair):
    net = "192.168.77.10/31"
    assert pair.bad.ip4 == "192.168.77.11"
    pair.daemon.cordon("quarantine", net)
    time.sleep(0.1)
    assert not pair.bad.ping(pair.good.ip4) and not pair.bad.ping(GATEWAY4)
    assert pair.bad.ping(GATEWAY6), "IPv6 was not named"
    pair.daemon.kill_both()
    assert not pair.bad.ping(GATEWAY4)
    pair.daemon.start()
    assert not pair.bad.ping(GATEWAY4)
    pair.daemon.cordon("release", net)
    wait_until(lambda: pair.bad.ping(GATEWAY4), 5, "the release")


def test_unpin_leaves_nothing_behind(pair):
    pair.daemon.cordon("quarantine", pair.bad.mac)
    pair.daemon.stop()
    assert not pair.bad.ping(GATEWAY4)
    pair.unpin()
    wait_until(lambda: pair.bad.ping(GATEWAY4), 5, "the port to be open")
    assert "cordon" not in pair.gateway.run("ls", "/sys/fs/bpf").stdout.split()
    left = json.loads(pair.gateway.run("ip", "-json", "link", "show", pair.bad.port).stdout)[0]
    assert "xdp" not in left
    pair.unpin()  # nothing to remove is fine


def test_unpin_is_refused_while_the_daemon_runs(pair):
    """What is isolated then stays so, whatever becomes of the daemon."""
    pair.daemon.cordon("quarantine", pair.bad.mac)
    conf = pair.daemon.conf
    said = pair.gateway.run(CORDOND, "-c", conf, "--unpin", env=pair.daemon.env(), check=False)
    assert said.returncode == 1 and "a cordond runs with the state directory" in said.stderr
    pair.daemon.stop()
    assert not pair.bad.ping(GATEWAY4)
    pair.gateway.run(CORDOND, "-c", conf, "--unpin", env=pair.daemon.env())
    wait_until(lambda: pair.bad.ping(GATEWAY4), 5, "the port to be open")


def test_pins_of_another_namespace_are_not_touched(pair):
    """A second daemon that sees the first one's pins, but not its links, refuses to guess."""
    first, conf = pair.daemon, pair.dir / "second.conf"
    conf.write_text(f'gateway = {{ state_dir = "{pair.dir}/s2"; run_dir = "{pair.dir}/r2"; }};\n'
                    'listen = { mqtt = []; https = []; coap = []; }; admin = { https = []; };\n')
    args = ["nsenter", "-t", str(pair.gateway.holder.pid), "-m", "--", "nsenter",
            f"--net=/proc/{pair.bad.holder.pid}/ns/net", CORDOND, "-c", conf]
    with open(pair.dir / "second.log", "w") as log:
        second = subprocess.Popen(args, stderr=log, env=first.env())
    try:
        text = lambda: (pair.dir / "second.log").read_text()  # noqa: E731
        wait_until(lambda: "isolation is off" in text(), 20, "the refusal")
        assert "another network namespace" in text() and "--unpin" in text()
    finally:
        second.terminate()
        second.wait(20)
    first.cordon("quarantine", pair.bad.mac)
    time.sleep(0.1)
    assert not pair.bad.ping(GATEWAY4), "the first one goes on"


def test_without_the_right_to_load_programs_the_daemon_runs_and_says_so(lab):
    """A machine that cannot isolate still serves its devices; a verdict closes sessions, and says that it does no more."""
    device, daemon = lab.device("dev"), lab.daemon.configure()
    with open(daemon.log, "ab") as log:
        daemon.proc = lab.gateway.popen("setpriv", "--bounding-set", "-sys_admin,-bpf,-perfmon", CORDOND, "-c",
                                        daemon.conf, stdout=log, stderr=log, env=daemon.env())
    daemon.wait_ready()
    state = daemon.json("status")["isolation"]
    assert state["state"] == "off"
    assert daemon.tail().count("isolation is off") == 1, "once, with the reason"
    assert device.ping(GATEWAY4)
    wait_until(lambda: device.mac in daemon.cordon("devices", "--json").stdout, 10, "the neighbour table's word")
    daemon.cordon("quarantine", device.mac)
    wait_until(lambda: "its sessions only" in daemon.tail(), 5, "the truth about it")


def test_a_second_daemon_on_the_same_state_is_refused(pair):
    out = pair.gateway.run(CORDOND, "-c", pair.daemon.conf, check=False, env=pair.daemon.env())
    assert out.returncode == 1
    assert "another cordond" in (out.stderr or "") + (out.stdout or "")


def test_new_devices_can_be_kept_to_repairs_until_approved(lab):
    lab.daemon.configure(lan={"new_devices": "isolate"})
    lab.daemon.start()
    known, new = lab.enrolled("known-1"), lab.device("new")
    wait_until(lambda: known.ping(GATEWAY4) or known.publish("d/known-1/x", "x", check=False).returncode == 0,
               15, "the approved one")
    ping = new.watch("ping", "-n", "-i", "0.05", "-W", "1", known.ip4)
    time.sleep(7)  # longer than the kernel's own patience
    assert "bytes from" not in ping.text()
    assert new.run("curl", "-sk", "-m", "3", "-o", "/dev/null", "-w", "%{http_code}",
                   f"https://{GATEWAY4}:8443/.well-known/est/cacerts").stdout == "200", "repairs are open"


def wakings(pid):
    return int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.M)[1])


def test_ten_thousand_addresses_do_not_stop_the_port(pair):
    """Random sources: few reach the daemon, and everybody else is served as before."""
    script = ("import os, socket, sys\n"
              "s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(('eth0', 0))\n"
              "for i in range(200000):\n"
              "    m = b'\\x02' + os.urandom(5); ip = b'\\x0a' + os.urandom(3)\n"
              "    s.send(b'\\xff' * 6 + m + b'\\x08\\x06\\x00\\x01\\x08\\x00\\x06\\x04\\x00\\x01' + m + ip"
              " + b'\\x00' * 6 + ip)\n")
    woken = wakings(pair.daemon.enforcer)
    flood = threading.Thread(target=lambda: pair.bad.run("/usr/bin/python3", "-c", script, timeout=120))
    flood.start()
    slow = 0
    while flood.is_alive():
        began = time.monotonic()
        assert pair.good.ping(GATEWAY4, wait=2)
        slow += time.monotonic() - began > 1
        time.sleep(0.1)
    flood.join()
    assert slow <= 2
    assert wakings(pair.daemon.enforcer) - woken < 5000, "not once for each address that the bridge learned"
    pair.daemon.cordon("quarantine", pair.bad.mac)
    time.sleep(0.1)
    assert not pair.bad.ping(GATEWAY4) and pair.good.ping(GATEWAY4)


def test_who_is_beyond_the_uplink_is_no_device(lab):
    """Not even when the number of an uplink's peer, in another namespace, is that of a LAN port here."""
    first, late = lab.device("first"), lab.device("late")
    lab.daemon.configure(lan={"interfaces": [first.port, late.port]}).start()
    number = json.loads(lab.gateway.run("ip", "-json", "link", "show", first.port).stdout)[0]["ifindex"]
    lab.gateway.run("ip", "link", "add", "wan9", "type", "veth", "peer", "name", "far0", "address",
                    "02:00:00:00:99:01", "index", number, "netns", lab.cloud.name)
    for ns, name, address in ((lab.gateway, "wan9", "10.99.0.1/30"), (lab.cloud, "far0", "10.99.0.2/30")):
        ns.run("ip", "address", "add", address, "dev", name)
        ns.run("ip", "link", "set", name, "up")
    wait_until(lambda: lab.gateway.ping("10.99.0.2"), 10, "the other end")
    wait_until(lambda: late.ping(GATEWAY4), 10, "a device that is heard later")

    def heard():
        return [d["id"] for d in lab.daemon.json("devices")]
    wait_until(lambda: f"mac-{late.mac.replace(':', '')}" in heard(), 10, "its sighting")
    assert "mac-020000009901" not in heard()
