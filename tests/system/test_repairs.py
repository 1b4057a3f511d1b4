# SPDX-License-Identifier: GPL-2.0-only
"""What is left to a device that is to be repaired, or that nobody has approved yet, with real DHCP and DNS; what crosses
the gateway; and whose an address is."""

import re
import subprocess
import time

import pytest

from conftest import finish
from lab import CLOUD4, GATEWAY4, GATEWAY6, PYTHON, Lab, wait_until
from test_wire import alerts, arp_reply, known_as, neighbour_advert, raw, udp


@pytest.fixture
def home():
    """A site with the gateway's own DHCP and DNS server, and a host behind the uplink."""
    lab = Lab(uplink=False)
    try:
        lab.gateway.sysctl("net.ipv4.ip_forward", 1)
        lab.cloud.run("ip", "route", "add", "192.168.77.0/24", "via", "10.77.0.1")
        lab.dnsmasq = lab.gateway.popen(
            "dnsmasq", "-d", "-C", "/dev/null", "--no-resolv", "--no-hosts", "--interface=br0", "--bind-interfaces",
            "--no-ping", "--dhcp-authoritative", "--dhcp-range=192.168.77.100,192.168.77.120,1h",
            f"--address=/fw.example/{GATEWAY4}", f"--dhcp-leasefile={lab.dir / 'leases'}", stderr=subprocess.DEVNULL)
        lab.gateway.popen(PYTHON, "-m", "http.server", "8080", "--bind", GATEWAY4, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL)
    except BaseException:
        lab.close()
        raise
    yield lab
    finish(lab)


LEASED = """#!/bin/sh
[ "$1" = bound ] || exit 0
ip address flush dev eth0 scope global
ip address add "$ip/$mask" dev eth0
ip route replace default via "$router"
"""


def lease(device):
    """An address by DHCP, as a new device gets it; None: none was given."""
    script = device.dir / "leased"
    script.write_text(LEASED)
    script.chmod(0o755)
    device.run("ip", "address", "flush", "dev", "eth0", "scope", "global")
    got = device.run("busybox", "udhcpc", "-f", "-n", "-q", "-t", "3", "-T", "1", "-i", "eth0", "-s", script, check=False)
    found = re.search(r"lease of (\S+) obtained from " + re.escape(GATEWAY4), got.stderr)
    return found and found[1]


def asks_names(device):
    got = device.run("busybox", "nslookup", "-type=a", "fw.example", GATEWAY4, check=False, timeout=20)
    return got.returncode == 0 and f"Address: {GATEWAY4}" in got.stdout


def opens(device, to, port):
    return device.run("timeout", "1", "bash", "-c", f"exec 3<>/dev/tcp/{to}/{port}", check=False).returncode == 0


def has_only_repairs(lab, device, other):
    """An address, names and the gateway's own service; nobody else, nothing else."""
    assert lease(device), "an address"
    assert asks_names(device), "names"
    assert opens(device, GATEWAY4, 8443), "enrolment"
    assert not opens(device, GATEWAY4, 8080) and not opens(device, GATEWAY4, 22)
    assert not device.ping(GATEWAY4) and not device.ping(other.ip4) and not other.ping(device.ip4)
    assert not device.ping(CLOUD4) and not device.ping(CLOUD4, wait=2)


def has_everything(device, other):
    return device.ping(GATEWAY4) and device.ping(other.ip4) and device.ping(CLOUD4) and opens(device, GATEWAY4, 8080)


def test_remediation_leaves_an_address_and_names(home):
    home.daemon.start()
    bad, good = home.device("bad"), home.device("good")
    wait_until(lambda: lease(bad) and has_everything(bad, good), 30, "everything before")
    home.daemon.cordon("quarantine", bad.mac, "--mode", "remediate")
    has_only_repairs(home, bad, good)
    home.daemon.cordon("release", bad.mac)
    wait_until(lambda: has_everything(bad, good), 15, "everything after")


def test_a_new_device_gets_an_address_and_names_until_approved(home):
    home.daemon.configure(lan={"new_devices": "isolate"}).start()
    good, new = home.device("good"), home.device("new")
    wait_until(lambda: lease(good) and known_as(good) in home.daemon.cordon("devices", "--json").stdout, 20, "the first one")
    home.daemon.cordon("approve", known_as(good))
    good.ip4 = wait_until(lambda: lease(good), 15, "its address")
    wait_until(lambda: good.ping(GATEWAY4), 15, "the approved one")
    has_only_repairs(home, new, good)
    held = home.daemon.device(known_as(new))["quarantine"]
    assert held["mode"] == "remediate" and held["by"] == "policy", held
    home.daemon.cordon("approve", known_as(new))
    wait_until(lambda: has_everything(new, good), 15, "everything, once approved")


def test_a_transfer_across_the_gateway_stops_at_once(home):
    """iperf3 to the host behind the uplink: nothing comes through from the verdict on, and the others' goes on."""
    home.daemon.start()
    bad, good = home.device("bad"), home.device("good")
    for device in (bad, good):
        device.run("ip", "route", "add", "default", "via", GATEWAY4)
    wait_until(lambda: bad.ping(CLOUD4) and good.ping(CLOUD4), 15, "open ways")
    reports = {}
    for device, port in ((bad, 5201), (good, 5202)):
        server = home.cloud.watch("iperf3", "-s", "-p", port, "--forceflush", "-i", "0.25")
        server.wait("listening")
        device.popen("iperf3", "-c", CLOUD4, "-p", port, "-u", "-b", "40M", "-t", "6", stdout=subprocess.DEVNULL,
                     stderr=subprocess.DEVNULL)
        reports[device.id] = server

    def intervals(name):
        lines = re.findall(r"^\[ *\d+\] +([\d.]+)-[\d.]+ +sec .* ([\d.]+) ([KM]?)bits/sec", reports[name].text(), re.M)
        return [float(rate) * {"": 1, "K": 1e3, "M": 1e6}[unit] for _, rate, unit in lines]
    wait_until(lambda: len(intervals("bad")) >= 4 and len(intervals("good")) >= 4, 10, "traffic")
    assert min(intervals("bad")[1:4]) > 1e6, intervals("bad")
    home.daemon.cordon("quarantine", bad.mac)
    done = len(intervals("bad"))
    wait_until(lambda: len(intervals("good")) >= done + 6, 10, "the others' traffic")
    assert min(intervals("good")[-5:-1]) > 1e6, intervals("good")
    assert max(intervals("bad")[done + 1:], default=0) == 0, intervals("bad")


def test_an_approved_devices_address_is_its_own(home):
    """Another one that sends with it, or claims it, is dropped and told; its owner notices nothing."""
    home.daemon.configure(detect={"window_s": 1}).start()
    bad, good, third = home.device("bad"), home.enrolled("good-1"), home.device("third")
    good.publish("d/good-1/x", "hello")
    wait_until(lambda: good.ping(GATEWAY6), 15, "IPv6")
    wait_until(lambda: {good.ip4, good.ip6} <= {*home.daemon.device("good-1")["addresses"]["ipv4"],
                                                *home.daemon.device("good-1")["addresses"]["ipv6"]}, 15, "its addresses")
    wait_until(lambda: all(d.ping(GATEWAY4) and d.ping(third.ip4) for d in (bad, good)), 15, "open ways")
    heard = third.watch("tcpdump", "--immediate-mode", "-l", "-n", "-i", "eth0", "ether", "src", bad.mac)
    heard.wait("listening")
    home.gateway.run("ping", "-c", "1", good.ip4)
    for _ in range(3):
        raw(bad, udp(bad, good.ip4), udp(bad, good.ip4, to=third.ip4, to_mac=third.mac), arp_reply(bad, good.ip4, third),
            neighbour_advert(bad, good.ip6))
        time.sleep(0.7)
    for kind in ("forged-address", "spoofed-neighbour"):
        told = wait_until(lambda kind=kind: alerts(home, kind, known_as(bad)), 10, kind)[0]
        assert told["peer"] == good.mac and told["dropped"] is True and told["ip"] in (good.ip4, good.ip6), told
        assert "of good-1" in told["text"], told
    assert good.ip4 not in heard.text() and "tgt is " + good.ip6 not in heard.text(), heard.text()
    assert good.mac in home.gateway.run("ip", "neigh", "show", "to", good.ip4).stdout
    good.publish("d/good-1/x", "still")
    assert good.ping(third.ip4)
    # Its own new address is its own, and a verdict holds the forger alone.
    home.daemon.cordon("quarantine", bad.mac)
    assert good.ping(GATEWAY4) and not bad.ping(GATEWAY4)
