# SPDX-License-Identifier: GPL-2.0-only
"""Cutting off: by every name a device has, both ways, quickly, and for as long as it is meant, whoever
dies meanwhile."""

import os
import pty
import re
import subprocess
import time

import pytest

from lab import CORDON, GATEWAY4, GATEWAY6, wait_until

BIT_MS = 100  # the promise: in force within this time after the command returned


def cut_both_ways(lab, device, v6=True):
    """No packet from the device or to it, IPv4 and IPv6."""
    return not (device.ping(GATEWAY4) or lab.gateway.ping(device.ip4) or (v6 and device.ping(GATEWAY6))
                or (v6 and lab.gateway.ping(device.ip6)))


def open_both_ways(lab, device):
    return all((device.ping(GATEWAY4), lab.gateway.ping(device.ip4), device.ping(GATEWAY6),
                lab.gateway.ping(device.ip6)))


@pytest.fixture
def site(lab):
    lab.daemon.start()
    lab.bad = lab.enrolled("bad-1")
    lab.good = lab.enrolled("good-1")
    lab.bad.publish("d/bad-1/x", "hello")
    wait_until(lambda: open_both_ways(lab, lab.bad) and open_both_ways(lab, lab.good), 15, "open ways")
    wait_until(lambda: lab.daemon.device("bad-1")["addresses"]["mac"] == [lab.bad.mac], 15, "the binding")
    return lab


@pytest.mark.parametrize("name", ["id", "mac", "ip4", "ip6"])
def test_quarantine_by_every_name_cuts_and_release_restores(site, name):
    who = getattr(site.bad, name)
    site.daemon.cordon("quarantine", who, "--reason", "test")
    time.sleep(BIT_MS / 1000)
    if name in ("id", "mac"):
        assert cut_both_ways(site, site.bad)
    elif name == "ip4":
        assert not site.bad.ping(GATEWAY4) and not site.gateway.ping(site.bad.ip4)
    else:
        assert not site.bad.ping(GATEWAY6) and not site.gateway.ping(site.bad.ip6)
    assert open_both_ways(site, site.good), "the neighbour is untouched"
    if name != "ip6":
        assert site.bad.publish("d/bad-1/x", "x", check=False, timeout=2).returncode != 0
    site.daemon.cordon("release", who)
    time.sleep(BIT_MS / 1000)
    wait_until(lambda: open_both_ways(site, site.bad), 10, "everything restored")
    site.bad.publish("d/bad-1/x", "back again")


def test_it_takes_effect_at_once(site):
    """The time from the command's start to the last packet that got through."""
    ping = site.bad.watch("ping", "-n", "-D", "-i", "0.002", "-c", "4000", "-W", "1", GATEWAY4)
    ping.wait("icmp_seq=50")
    start = time.time()
    site.daemon.cordon("quarantine", "bad-1")
    done = time.time()
    time.sleep(0.5)
    through = [float(m) for m in re.findall(r"\[(\d+\.\d+)\].*bytes from", ping.text())]
    assert through[-1] <= done + BIT_MS / 1000
    print(f"command {1000 * (done - start):.0f} ms, last packet {1000 * (through[-1] - start):.0f} ms after its start")


def test_lan_to_lan_is_cut_on_the_ports(site):
    assert site.good.ping(site.bad.ip4)
    site.daemon.cordon("quarantine", "bad-1")
    assert not site.good.ping(site.bad.ip4) and not site.bad.ping(site.good.ip4)
    assert not site.good.ping(site.bad.ip6) and not site.bad.ping(site.good.ip6)


def test_its_session_ends_and_its_certificate_is_refused(site):
    session = site.bad.subscribe("d/bad-1/#", "-V", "mqttv5")
    site.daemon.cordon("quarantine", "bad-1", "--mode", "remediate")
    wait_until(lambda: session.proc.poll() is not None or "DISCONNECT" in session.text(), 10, "the session's end")
    # remediate leaves the port open: it is the certificate that is refused.
    assert site.bad.publish("d/bad-1/x", "x", check=False).returncode != 0
    site.daemon.cordon("release", "bad-1")
    site.bad.publish("d/bad-1/x", "x")


def test_remediate_leaves_the_gateways_repairs_open(site):
    site.daemon.cordon("quarantine", "bad-1", "--mode", "remediate")
    time.sleep(0.2)
    assert not site.bad.ping(GATEWAY4) and not site.bad.ping(site.good.ip4)
    site.bad.fetch_ca()  # enrolment on 8443 answers
    assert site.daemon.device("bad-1")["quarantine"]["mode"] == "remediate"


def test_an_end_is_kept_by_the_kernel_itself(site):
    site.daemon.cordon("quarantine", "bad-1", "--for", "6s")
    assert cut_both_ways(site, site.bad, v6=False)
    site.daemon.kill_both()
    assert not site.bad.ping(GATEWAY4)
    wait_until(lambda: site.bad.ping(GATEWAY4), 12, "the end, with no daemon running")
    site.daemon.proc = None


def test_a_kill_of_anyone_opens_nothing(site):
    site.daemon.cordon("quarantine", "bad-1")
    ping = site.bad.watch("ping", "-n", "-i", "0.01", "-W", "1", GATEWAY4)
    back = site.gateway.watch("ping", "-n", "-i", "0.01", "-W", "1", site.bad.ip4)
    before = site.daemon.kill_worker()
    wait_until(lambda: site.daemon.worker not in (0, before), 20, "a new worker")
    site.daemon.wait_ready()
    site.daemon.kill_both()
    time.sleep(1)
    site.daemon.start()
    site.daemon.kill_enforcer()
    time.sleep(1)
    wait_until(lambda: site.daemon.start() is not None, 30, "a start after the enforcer's death")
    site.daemon.stop()
    time.sleep(0.5)
    site.daemon.start()
    assert site.daemon.device("bad-1")["quarantine"]["mode"] == "isolate"
    assert "bytes from" not in ping.text() and "bytes from" not in back.text()
    assert open_both_ways(site, site.good)
    site.daemon.cordon("release", "bad-1")
    wait_until(lambda: open_both_ways(site, site.bad), 15, "the release")


def test_after_a_reboot_the_registry_closes_before_the_first_packet(site):
    site.daemon.cordon("quarantine", "bad-1")
    site.daemon.stop()
    site.unpin()
    wait_until(lambda: site.bad.ping(GATEWAY4), 10, "the ping again: a reboot forgets the kernel's verdicts")
    # As at boot: the ports come up only after the daemon has said that it guards.
    for port in (site.bad.port, site.good.port):
        site.gateway.run("ip", "link", "set", port, "down")
    ping = site.bad.watch("ping", "-n", "-i", "0.01", "-W", "1", GATEWAY4)
    site.daemon.start()
    for port in (site.bad.port, site.good.port):
        site.gateway.run("ip", "link", "set", port, "up")
    wait_until(lambda: site.good.ping(GATEWAY4), 20, "the good one to be served")
    time.sleep(1)
    assert "bytes from" not in ping.text()
    assert cut_both_ways(site, site.bad)


def test_a_verdict_that_was_answered_outlives_the_plug(site):
    """The power may go the moment that the command has returned: the next boot knows before any port is open."""
    addresses = sum(len(kind) for kind in site.daemon.device("bad-1")["addresses"].values())
    for verb, count in (("quarantine", addresses), ("release", 0)):
        site.daemon.cordon(verb, "bad-1")
        site.daemon.kill_both()
        site.unpin()
        site.daemon.start()
        counts = re.findall(r"verdicts are back in force count=(\d+)", site.daemon.log.read_text())
        assert int(counts[-1]) == count, (verb, counts)


def test_a_new_port_is_guarded_the_moment_it_appears(site):
    site.daemon.cordon("quarantine", "02:00:00:00:77:03")
    late = site.device("late-1")  # its MAC is ...:03: the third device
    assert late.mac == "02:00:00:00:77:03"
    ping = late.watch("ping", "-n", "-i", "0.01", "-W", "1", GATEWAY4)
    time.sleep(2)
    assert "bytes from" not in ping.text()
    assert late.port in [p["name"] for p in site.daemon.json("status")["isolation"]["interfaces"]]


def test_a_verdict_follows_the_device_to_a_new_address(site):
    site.daemon.cordon("quarantine", "bad-1")
    site.bad.run("ip", "address", "add", "192.168.77.200/24", "dev", "eth0")
    assert not site.bad.run("ping", "-c", "2", "-i", "0.1", "-W", "1", "-I", "192.168.77.200", GATEWAY4,
                            check=False).returncode == 0


def test_drops_are_counted(site):
    site.daemon.cordon("quarantine", "bad-1")
    site.bad.ping(GATEWAY4, count=20)
    got = wait_until(lambda: (q := site.daemon.device("bad-1")["quarantine"])["dropped_packets"] >= 10 and q, 10,
                     "counted drops")
    assert got["dropped_bytes"] > got["dropped_packets"] * 40
    ports = {p["name"]: p for p in site.daemon.json("status")["isolation"]["interfaces"]}
    assert ports[site.bad.port]["dropped_packets"] >= 10
    assert ports[site.good.port]["dropped_packets"] == 0


@pytest.mark.parametrize("address", [GATEWAY4, GATEWAY6, "02:00:00:00:77:fe"])
def test_the_gateways_own_addresses_are_never_cut(site, address):
    got = site.daemon.cordon("quarantine", address, check=False)
    assert got.returncode == 1, got
    assert "protected" in got.stderr or "gateway" in got.stderr, got
    assert site.good.ping(GATEWAY4) and site.good.ping(GATEWAY6)


@pytest.mark.parametrize("net, why", [
    ("192.168.77.0/24", "192.168.77.1 is the gateway's own"),
    ("192.168.77.254/31", "192.168.77.255 is everybody's on its network"),
    ("10.77.0.2/31", "10.77.0.2 is its router's"),
])
def test_a_refused_network_is_told_for_whose_sake(site, net, why):
    got = site.daemon.cordon("quarantine", net, check=False)
    assert got.returncode == 1 and "a network with one in it" in got.stderr, got.stderr
    assert f"verdict refused address={net}: {why}, which is never cut off" in site.daemon.tail()


def test_a_configured_protected_address_is_never_cut(lab):
    lab.daemon.configure(quarantine={"protected": ["192.168.77.11"]})
    lab.daemon.start()
    cam = lab.device("cam-1")
    assert lab.daemon.cordon("quarantine", "192.168.77.11", check=False).returncode == 1
    assert cam.ping(GATEWAY4)


@pytest.mark.parametrize("what", ["nobody-1", "02:00:00:00:77", "999.1.1.1", "fd77::/129", ""])
def test_what_is_no_one_is_refused_in_one_line(house, what):
    got = house.daemon.cordon("quarantine", what, check=False)
    assert got.returncode in (1, 2) and len(got.stderr.strip().splitlines()) >= 1, got


def test_too_much_garbage_quarantines_by_rule(site):
    bad = site.bad
    code = ("import ssl, socket\n"
            f"c = ssl.create_default_context(cafile={str(bad.ca)!r}); c.check_hostname = False\n"
            f"c.load_cert_chain({str(bad.cert)!r}, {str(bad.key)!r})\n"
            "for i in range(40):\n"
            "    try:\n"
            f"        s = c.wrap_socket(socket.create_connection(({GATEWAY4!r}, 8883), timeout=2))\n"
            "        s.sendall(b'\\x10\\xff\\xff\\xff\\xff'); s.settimeout(1); s.recv(1); s.close()\n"
            "    except OSError:\n"
            "        pass\n")
    bad.run("/usr/bin/python3", "-c", code, timeout=120)
    got = wait_until(lambda: site.daemon.device("bad-1")["quarantine"], 10, "a verdict by rule")
    assert got["by"] == "rule" and got["reason"], got


def test_a_person_sees_how_far_many_are(house):
    """On a terminal only; nothing of it is left there."""
    path = house.dir / "many"
    path.write_text("".join(f"10.0.{i >> 8}.{i & 255}\n" for i in range(2500)))
    command = [CORDON, "--socket", house.daemon.socket, "quarantine", "--mode", "observe", "--file", path]
    ours, theirs = pty.openpty()
    proc = house.gateway.popen(*command, stdout=subprocess.PIPE, stderr=theirs, env=house.daemon.env())
    os.close(theirs)
    assert proc.stdout.read() == b"2500 addresses are observed.\n" and proc.wait(10) == 0
    assert os.read(ours, 4096) == b"0 of 2500\r2000 of 2500\r\x1b[K"
    os.close(ours)
    assert house.gateway.run(*command, env=house.daemon.env()).stderr == ""
