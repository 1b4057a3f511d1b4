# SPDX-License-Identifier: GPL-2.0-only
"""What a device does on the wire is noticed, told with its figures, and judged by rule: scans, floods, forged
addresses, spoofed neighbours, rogue servers. Each by ordinary programs and plain sockets in a namespace of its own."""

import re
import subprocess
import time

import pytest

from conftest import finish
from lab import CLOUD4, GATEWAY4, GATEWAY6, PYTHON, Lab, wait_until

GATEWAY_MAC = "02:00:00:00:77:fe"
KINDS = ["scan-hosts", "scan-ports", "lateral", "packet-flood", "forged-address", "spoofed-neighbour", "mac-flapping",
         "rogue-dhcp", "rogue-router"]
#: The first event is only talked about, the second brings the verdict.
RULES = tuple({"strike": kind, "window_s": 300, "mode": "isolate", **more} for kind in KINDS
              for more in ({"count": 1, "dry_run": True}, {"count": 2, "for_s": 600}))
DETECT = {"window_s": 1, "hosts": 30, "ports": 30, "neighbours": 3, "packets_per_s": 5000, "moves": 4}


def alerts(lab, kind, device):
    events = lab.daemon.api("GET", "/api/v1/events?limit=1000")[1]
    return [e for e in events if e.get("kind") == kind and e.get("device") == device]


def known_as(device):
    return "mac-" + device.mac.replace(":", "")


def verdict(lab, device):
    return lab.daemon.device(known_as(device))["quarantine"]


def raw(device, *frames, seconds=0.0, times=1):
    """Frames (bytes) into the device's port, all of them so often, or for so long."""
    device.run("taskset", "-c", "0", PYTHON, "-c",
               "import socket, time\n"
               "s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(('eth0', 0))\n"
               f"end, left = time.monotonic() + {seconds!r}, {times!r}\n"
               "while left > 0 or time.monotonic() < end:\n"
               "    left -= 1\n"
               f"    for f in {list(frames)!r}:\n"
               "        try: s.send(f)\n"
               "        except OSError: pass\n", timeout=60)


def mac(text):
    return bytes.fromhex(text.replace(":", ""))


def ip4(text):
    return bytes(map(int, text.split(".")))


def udp(device, source, to=GATEWAY4, to_mac=GATEWAY_MAC, own_mac=None):
    """An Ethernet frame with an IPv4 datagram that says it is from `source`."""
    from scapy.all import IP, UDP, Ether
    return bytes(Ether(src=own_mac or device.mac, dst=to_mac) / IP(src=source, dst=to) / UDP(sport=4000, dport=9) / b"forged")


def arp_reply(device, claimed, target):
    """`claimed` is at the device's MAC, to whoever listens."""
    return (b"\xff" * 6 + mac(device.mac) + b"\x08\x06\0\1\x08\0\6\4\0\2" + mac(device.mac) + ip4(claimed) + mac(target.mac)
            + ip4(target.ip4)).ljust(60, b"\0")


def neighbour_advert(device, claimed):
    from scapy.all import Ether, ICMPv6ND_NA, ICMPv6NDOptDstLLAddr, IPv6
    return bytes(Ether(src=device.mac, dst="33:33:00:00:00:01") / IPv6(src=claimed, dst="ff02::1", hlim=255)
                 / ICMPv6ND_NA(tgt=claimed, R=1, S=0, O=1) / ICMPv6NDOptDstLLAddr(lladdr=device.mac))


def router_advert(device):
    from scapy.all import Ether, ICMPv6ND_RA, ICMPv6NDOptPrefixInfo, IPv6
    return bytes(Ether(src=device.mac, dst="33:33:00:00:00:01") / IPv6(src="fe80::bad", dst="ff02::1", hlim=255)
                 / ICMPv6ND_RA(routerlifetime=1800) / ICMPv6NDOptPrefixInfo(prefix="2001:db8:bad::", prefixlen=64))


# ---- the misdeeds ----

def connect_to(device, targets):
    """TCP connections to all of these, none waited for."""
    device.run(PYTHON, "-c",
               "import socket\n"
               "kept = []\n"
               f"for to in {targets!r}:\n"
               "    s = socket.socket(socket.AF_INET6 if ':' in to[0] else socket.AF_INET)\n"
               "    s.setblocking(False)\n"
               "    s.connect_ex(to)\n"
               "    kept.append(s)\n")
    time.sleep(0.1)


def scan_hosts(site, device):
    connect_to(device, [(f"192.168.77.{n}", 80) for n in range(100, 200)])


def scan_ports(site, device):
    connect_to(device, [(GATEWAY4, port) for port in range(1, 120)])


def talk_to_neighbours(site, device):
    others = [d for d in site.devices if d is not device]
    connect_to(device, [(d.ip4, 23) for d in others] + [(d.ip6, 23) for d in others])


def flood(site, device):
    raw(device, udp(device, device.ip4), seconds=2.2)


def forge_the_gateway(site, device):
    """The gateway's own address, and its router's."""
    raw(device, udp(device, GATEWAY4, to=site.third.ip4, to_mac=site.third.mac), udp(device, CLOUD4))


def spoof_the_gateway(site, device):
    raw(device, arp_reply(device, GATEWAY4, site.third), neighbour_advert(device, GATEWAY6), arp_reply(device, CLOUD4, site.third))


def flap(site, device):
    """Somebody else sends with its MAC: the bridge learns it here and there."""
    other = next(d for d in (site.bad, site.kept) if d is not device)
    frame = udp(device, device.ip4)
    for _ in range(6):
        raw(other, frame)
        raw(device, frame)


def serve_dhcp(site, device):
    """A DHCP server beside the real one, and somebody who asks."""
    server = device.popen("dnsmasq", "-d", "-C", "/dev/null", "--port=0", "--interface=eth0", "--bind-interfaces", "--no-ping",
                          "--dhcp-authoritative", "--dhcp-range=192.168.77.150,192.168.77.190,1h",
                          f"--dhcp-leasefile={device.dir / 'leases'}", stderr=subprocess.DEVNULL)
    time.sleep(0.3)
    site.third.run("busybox", "udhcpc", "-f", "-n", "-q", "-t", "2", "-T", "1", "-i", "eth0", "-s", "/bin/true", check=False)
    server.kill()
    server.wait()


def advertise_router(site, device):
    raw(device, router_advert(device))


MISDEEDS = {
    "scan-hosts": (scan_hosts, r"\d\d+ addresses in 1 s"),
    "scan-ports": (scan_ports, r"\d\d+ ports in 1 s"),
    "lateral": (talk_to_neighbours, r"\d+ devices in 1 s"),
    "packet-flood": (flood, r"\d{4,} packets in 1 s"),
    "forged-address": (forge_the_gateway, ""),
    "spoofed-neighbour": (spoof_the_gateway, ""),
    "mac-flapping": (flap, r"\d+ moves in 1 s"),
    "rogue-dhcp": (serve_dhcp, ""),
    "rogue-router": (advertise_router, ""),
}


@pytest.fixture(scope="module")
def site():
    """One that does all of it, one that does the same and is protected, and bystanders."""
    lab = Lab(uplink=False)
    try:
        lab.bad, lab.kept, lab.third, lab.fourth = (lab.device(n) for n in ("bad", "kept", "third", "fourth"))
        lab.daemon.configure(quarantine={"rules": RULES, "protected": [lab.kept.mac]}, detect=DETECT).start()
        wait_until(lambda: all(d.ping(GATEWAY4) and d.ping(GATEWAY6) for d in lab.devices), 20, "open ways")
        wait_until(lambda: all(d.ip4 in str(lab.daemon.api("GET", "/api/v1/devices")[1]) for d in lab.devices), 20, "all")
    except BaseException:
        finish(lab)
        raise
    yield lab
    finish(lab)


@pytest.fixture
def lab(site):
    """For what a failure shows."""
    return site


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_told_with_figures_and_judged_by_rule(lab, kind):
    misdeed, figures = MISDEEDS[kind]
    bad, kept, name = lab.bad, lab.kept, known_as(lab.bad)
    wait_until(lambda: all(d.ping(GATEWAY4) for d in lab.devices), 20, "open ways")

    def misbehave(device, until, seconds=30):
        def once():
            misdeed(lab, device)
            time.sleep(0.7)  # past the window in which the programs say a thing once
            return until()
        return wait_until(once, seconds, f"{kind} of {device.id}")

    # Told, with its figures, and what the dry run would have done; nothing is done.
    told = misbehave(bad, lambda: alerts(lab, kind, name))[0]
    assert told["mac"] == bad.mac and told["interface"] in (bad.port, kept.port) and told["window_ms"] >= 0, told
    assert re.search(figures, told["text"]), told
    assert told["dropped"] == (kind in ("forged-address", "spoofed-neighbour")), told
    if figures:
        assert told["count"] > 1 and told["window_ms"] == 1000, told
    said = wait_until(lambda: alerts(lab, "strikes", name), 5, "what the dry run says")
    said = [e for e in said if e["strike"] == kind]
    assert len(said) == 1 and said[0]["dry_run"] is True and "would have been cut off" in said[0]["text"], said
    shown = lab.daemon.cordon("events", "--limit", "1000").stdout
    assert told["text"] in shown and said[0]["text"] in shown

    # Then the rule that acts.
    got = misbehave(bad, lambda: verdict(lab, bad))
    assert got["mode"] == "isolate" and got["by"] == "rule" and got["until"], got
    assert got["reason"].startswith(kind) and got["reason"].endswith("2 times within 300 s"), got
    assert re.search(figures, got["reason"]), got
    assert not bad.ping(GATEWAY4) and not bad.ping(lab.third.ip4)
    assert lab.third.ping(GATEWAY4) and lab.third.ping(lab.fourth.ip4), "bystanders"

    # Who is protected is told about, and goes on.
    lab.daemon.cordon("release", name)

    def safe():
        said = [e for e in alerts(lab, "strikes", known_as(kept)) if e["strike"] == kind]
        assert all(e["protected"] is True and "is protected" in e["text"] for e in said), said
        return len(said) == 2  # by the rule that acts, too
    misbehave(kept, safe)
    assert verdict(lab, kept) is None and kept.ping(GATEWAY4)
    if verdict(lab, bad):  # flapping is two's doing
        lab.daemon.cordon("release", name)


def test_nobody_believes_a_spoofed_gateway(lab):
    """The lies are dropped before anybody hears them: neighbours keep the gateway's true address."""
    third = lab.third
    for _ in range(3):
        spoof_the_gateway(lab, lab.kept)
        forge_the_gateway(lab, lab.kept)
    assert third.ping(GATEWAY4) and third.ping(GATEWAY6)
    for address in (GATEWAY4, GATEWAY6):
        assert GATEWAY_MAC in third.run("ip", "neigh", "show", "to", address).stdout
    assert lab.kept.mac not in third.run("ip", "neigh", "show", "to", CLOUD4).stdout
    heard = third.watch("tcpdump", "--immediate-mode", "-l", "-n", "-i", "eth0", "ether", "src", lab.kept.mac)
    heard.wait("listening")
    honest = udp(lab.kept, lab.kept.ip4, to=third.ip4, to_mac=third.mac)
    for _ in range(2):  # what it says for itself comes, before and after
        wait_until(lambda: raw(lab.kept, honest) or ".9: UDP" in heard.text(), 10, "an honest frame")
        spoof_the_gateway(lab, lab.kept)
    for lie in (f"{GATEWAY4} is-at", f"{CLOUD4} is-at", "neighbor advertisement, tgt is fd77::1,"):
        assert lie not in heard.text(), heard.text()


def test_ordinary_work_is_no_misdeed(lab):
    """Pings, a page, names, a fast download: nothing of it is told."""
    before = lab.daemon.api("GET", "/api/v1/events?limit=1000")[1]
    fourth = lab.fourth
    assert fourth.ping(GATEWAY4, count=20) and fourth.ping(lab.third.ip4, count=5)
    for _ in range(5):
        fourth.run("curl", "-sk", "-o", "/dev/null", f"https://{GATEWAY4}:8443/.well-known/est/cacerts")
    server = lab.gateway.watch("iperf3", "-s", "-1")
    server.wait("listening")
    fourth.run("iperf3", "-c", GATEWAY4, "-t", "1", "-b", "20M")
    told = lab.daemon.api("GET", "/api/v1/events?limit=1000")[1][len(before):]
    assert not [e for e in told if e.get("kind") in KINDS and e.get("device") == known_as(fourth)], told
