# SPDX-License-Identifier: GPL-2.0-only
"""What a bad device may try: other addresses, other frames, somebody else's name, the moment when a
port appears. Raw frames in, a capture behind."""

import socket
import time

import pytest

from lab import CLOUD4, GATEWAY4, PYTHON, wait_until

BAD4, BAD6, GOOD4 = "192.168.77.11", "fd77::b", "192.168.77.12"
BAD, GOOD, GATEWAY = "02:00:00:00:77:01", "02:00:00:00:77:02", "02:00:00:00:77:fe"
FORGED = "02:00:00:00:99:99"
MARK = b"leaked-from-the-bad-one"


def mac(text):
    return bytes.fromhex(text.replace(":", ""))


def ip4(text):
    return bytes(map(int, text.split(".")))


def ip6(text):
    return socket.inet_pton(socket.AF_INET6, text)


def checksum(data):
    total = sum(int.from_bytes(data[i:i + 2].ljust(2, b"\0"), "big") for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return (~total & 0xffff).to_bytes(2, "big")


def eth(to, src, kind, body):
    return mac(to) + mac(src) + kind + body


def udp4(src, to):
    head = b"\x45\0" + (28 + len(MARK)).to_bytes(2, "big") + b"\0\1\0\0\x40\x11"
    head = head + checksum(head + b"\0\0" + ip4(src) + ip4(to)) + ip4(src) + ip4(to)
    return head + b"\x03\xe8\x07\xd0" + (8 + len(MARK)).to_bytes(2, "big") + b"\0\0" + MARK


def udp6(src, to, chain=b"", first=17):
    body = chain + b"\x03\xe8\x07\xd0" + (8 + len(MARK)).to_bytes(2, "big") + b"\0\0" + MARK
    return b"\x60\0\0\0" + len(body).to_bytes(2, "big") + bytes([first]) + b"\x40" + ip6(src) + ip6(to) + body


def arp(operation, sender_mac, sender, target, hardware=1):
    return (hardware.to_bytes(2, "big") + b"\x08\0\6\4" + operation.to_bytes(2, "big") + mac(sender_mac) + ip4(sender)
            + bytes(6) + ip4(target) + MARK)


def icmp6(src, to, body):
    pseudo = ip6(src) + ip6(to) + len(body).to_bytes(4, "big") + b"\0\0\0\x3a"
    body = body[:2] + checksum(pseudo + body) + body[4:]
    return b"\x60\0\0\0" + len(body).to_bytes(2, "big") + b"\x3a\xff" + ip6(src) + ip6(to) + body


def router_advert(src, link):
    return icmp6(src, "ff02::1", b"\x86\0\0\0\x40\0\x07\x08" + bytes(8) + b"\1\1" + mac(link))


def send(ns, frames, times=1, pause=0.0):
    ns.run(PYTHON, "-c", "import socket, time\n"
           "s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(('eth0', 0))\n"
           f"for _ in range({times}):\n"
           f"    for f in {[f.hex() for f in frames]!r}:\n"
           "        s.send(bytes.fromhex(f))\n"
           f"    time.sleep({pause})\n")


def ports(lab):
    return {p["name"]: p for p in lab.daemon.json("status")["isolation"]["interfaces"]}


@pytest.fixture
def site(lab):
    lab.daemon.start()
    lab.bad, lab.good = lab.enrolled("bad-1"), lab.device("good")
    assert (lab.bad.ip4, lab.good.ip4, lab.bad.mac) == (BAD4, GOOD4, BAD)
    wait_until(lambda: lab.bad.ping(GOOD4) and lab.bad.ping("fd77::c") and lab.good.ping(GATEWAY4), 15, "open ways")
    lab.bad.publish("d/bad-1/x", "x")
    wait_until(lambda: {BAD4, BAD6} <= {*lab.daemon.device("bad-1")["addresses"]["ipv4"],
                                        *lab.daemon.device("bad-1")["addresses"]["ipv6"]}, 15, "the binding")
    return lab


def forgeries():
    """(name, frame): each carries MARK, and an address of the bad one somewhere."""
    tag, ad = b"\x81\0\0\5", b"\x88\xa8\0\5"
    options = bytes([60, 0]) + bytes(6)
    for to, what in ((GOOD, "to the neighbour"), ("ff:ff:ff:ff:ff:ff", "to all")):
        yield f"its own, {what}", eth(to, BAD, b"\x08\0", udp4(BAD4, GOOD4))
        yield f"another IP {what}", eth(to, BAD, b"\x08\0", udp4("192.168.77.99", GOOD4))
        yield f"another MAC {what}", eth(to, FORGED, b"\x08\0", udp4(BAD4, GOOD4))
        yield f"a tag {what}", eth(to, FORGED, tag + b"\x08\0", udp4(BAD4, GOOD4))
        yield f"two tags {what}", eth(to, FORGED, ad + tag + b"\x08\0", udp4(BAD4, GOOD4))
        yield f"three tags {what}", eth(to, BAD, ad + tag + tag + b"\x08\0", udp4(BAD4, GOOD4))
        yield f"another kind {what}", eth(to, BAD, b"\x88\xb5", MARK + bytes(30))
        yield f"IPv6 of another MAC {what}", eth(to, FORGED, b"\x86\xdd", udp6(BAD6, "fd77::c"))
        yield f"IPv6 behind options {what}", eth(to, FORGED, b"\x86\xdd",
                                                 udp6(BAD6, "fd77::c", bytes([60, 0]) + bytes(6) + bytes([17, 0])
                                                      + bytes(6), 0))
        yield f"link-local {what}", eth(to, BAD, b"\x86\xdd", udp6("fe80::1234", "ff02::1", options, 60))
        yield f"ARP of another MAC {what}", eth(to, FORGED, b"\x08\x06", arp(2, FORGED, BAD4, GOOD4))
        yield f"ARP of IEEE 802 {what}", eth(to, FORGED, b"\x08\x06", arp(2, FORGED, BAD4, GOOD4, 6))
        yield f"ARP with its MAC {what}", eth(to, FORGED, b"\x08\x06", arp(2, BAD, "192.168.77.99", GOOD4))


def test_no_forgery_gets_through(site):
    site.daemon.cordon("quarantine", "bad-1")
    time.sleep(0.1)
    capture = site.good.watch("tcpdump", "--immediate-mode", "-l", "-n", "-A", "-s", "200", "-i", "eth0", "inbound")
    capture.wait("listening")
    for name, frame in forgeries():
        send(site.bad, [frame.ljust(60, b"\0")], times=3)
        time.sleep(0.02)
        assert MARK.decode() not in capture.text(), name
    site.daemon.cordon("release", "bad-1")
    for name, frame in forgeries():
        before = capture.text().count(MARK.decode())
        if frame[6:12] == mac(FORGED):  # every address here was heard of the approved device, and is its own
            # An IPv4 address is its owner's for as long as that uses no other one.
            used = "192.168.77.99" if name.startswith("ARP with its MAC") else BAD4
            send(site.bad, [eth(GATEWAY, BAD, b"\x08\0", udp4(used, GATEWAY4))])
            send(site.bad, [frame.ljust(60, b"\0")], times=3)
            time.sleep(0.02)
            assert capture.text().count(MARK.decode()) == before, name
            continue
        wait_until(lambda: send(site.bad, [frame.ljust(60, b"\0")]) or capture.text().count(MARK.decode()) > before, 5,
                   f"{name} after the release")


def test_nobody_escapes_by_the_routers_address(site):
    """A device that says it has the router's address, which is never cut off, is still itself."""
    send(site.bad, [eth("ff:ff:ff:ff:ff:ff", BAD, b"\x08\x06", arp(2, BAD, CLOUD4, CLOUD4)),
                    eth(GATEWAY, BAD, b"\x08\0", udp4(CLOUD4, GATEWAY4))], times=20, pause=0.1)
    for name in ("bad-1", BAD):
        got = site.daemon.cordon("quarantine", name, check=False)
        assert got.returncode == 0, got
        time.sleep(0.1)
        assert not site.bad.ping(GATEWAY4) and not site.bad.ping(GOOD4)
        site.daemon.cordon("release", name)
        wait_until(lambda: site.bad.ping(GATEWAY4), 10, "the release")


def test_nobody_hides_behind_the_gateways_address(lab):
    """Whoever is heard only with the gateway's own address is known by its MAC all the same."""
    lab.daemon.start()
    bad = lab.device("bad-1")
    send(bad, [eth(GATEWAY, FORGED, b"\x08\0", udp4(GATEWAY4, GATEWAY4))], times=5, pause=0.1)
    wait_until(lambda: "mac-020000009999" in lab.daemon.cordon("devices", "--json").stdout, 10, "the forger")
    lab.daemon.cordon("quarantine", "mac-020000009999")


def test_nobody_escapes_by_advertising_a_route(lab):
    """A route that a device advertises makes its port no uplink, and the device no router."""
    bad, good = lab.device("bad-1", bridge=False), lab.device("good")
    lab.gateway.sysctl(f"net.ipv6.conf.{bad.port}.accept_ra", 2)
    lab.gateway.run("ip", "address", "add", "192.168.78.1/24", "dev", bad.port)
    bad.run("ip", "address", "add", "192.168.78.2/24", "dev", "eth0")
    lab.daemon.start()
    wait_until(lambda: bad.ping("192.168.78.1") and good.ping(GATEWAY4), 15, "open ways")
    advert = eth("33:33:00:00:00:01", BAD, b"\x86\xdd", router_advert("fe80::bad", BAD))
    send(bad, [advert], times=3, pause=0.1)
    wait_until(lambda: f"dev {bad.port}" in lab.gateway.run("ip", "-6", "route", "show", "default").stdout, 5,
               "the kernel to believe it")
    time.sleep(1)
    assert bad.port in ports(lab) and "wan0" not in ports(lab)
    lab.daemon.cordon("quarantine", bad.mac)
    time.sleep(0.1)
    assert not bad.ping("192.168.78.1")
    lab.daemon.cordon("quarantine", "fe80::bad")


def test_ports_go_down_and_up_and_the_bridge_is_made_again(site):
    site.daemon.cordon("quarantine", "bad-1")
    site.bad.run("ip", "neigh", "replace", GATEWAY4, "lladdr", GATEWAY, "dev", "eth0", "nud", "permanent")
    ping = site.bad.watch("ping", "-n", "-i", "0.005", "-W", "1", GATEWAY4)
    gateway = site.gateway
    for _ in range(3):
        gateway.run("ip", "link", "set", site.bad.port, "down")
        gateway.run("ip", "link", "set", site.bad.port, "up")
        gateway.run("ip", "link", "set", site.bad.port, "nomaster")
        gateway.run("ip", "link", "set", site.bad.port, "master", "br0")
    gateway.run("ip", "link", "del", "br0")
    gateway.run("ip", "link", "add", "br0", "address", GATEWAY, "type", "bridge", "forward_delay", "0")
    for port in (site.bad.port, site.good.port):
        gateway.run("ip", "link", "set", port, "master", "br0")
    gateway.run("ip", "address", "add", f"{GATEWAY4}/24", "dev", "br0")
    gateway.run("ip", "link", "set", "br0", "up")
    wait_until(lambda: site.good.ping(GATEWAY4), 15, "the good one on the new bridge")
    time.sleep(1)
    assert "bytes from" not in ping.text()
    site.daemon.cordon("release", "bad-1")
    wait_until(lambda: "bytes from" in ping.text(), 10, "the release")


def test_a_new_port_leaks_nothing(site):
    """A cut-off MAC sends all it can while its new port comes up in the bridge."""
    site.daemon.cordon("quarantine", BAD)
    capture = site.good.watch("tcpdump", "--immediate-mode", "-l", "-n", "-A", "-i", "eth0", "inbound", "and", "ether", "src", BAD)
    capture.wait("listening")
    gateway, leaked = site.gateway, []
    for i in range(5):
        late = f"late{i}"
        gateway.run("ip", "link", "add", late, "type", "veth", "peer", "name", "eth9", "netns", site.bad.name)
        site.bad.run("ip", "link", "set", "eth9", "up")
        before = capture.text().count(MARK.decode())
        flood = site.bad.popen(PYTHON, "-c", "import socket\n"
                               "s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(('eth9', 0))\n"
                               f"f = {eth(GOOD, BAD, bytes.fromhex('88b5'), MARK + bytes(30))!r}\n"
                               "while True:\n    try: s.send(f)\n    except OSError: pass\n")
        gateway.run("ip", "link", "set", late, "master", "br0", "up")
        wait_until(lambda: late in ports(site), 5, "the port to be covered")
        time.sleep(0.3)
        assert flood.poll() is None
        flood.kill()
        flood.wait()
        leaked.append(capture.text().count(MARK.decode()) - before)
        gateway.run("ip", "link", "del", late)
    print("frames through at a new port:", leaked)
    assert sum(leaked) == 0, leaked


def test_who_is_cut_off_takes_nobodys_address(site):
    """In remediation the bad one may still speak ARP with the gateway: what it claims there is not believed."""
    site.good.ping(GATEWAY4)
    wait_until(lambda: GOOD4 in site.daemon.device("mac-020000007702")["addresses"]["ipv4"], 10, "the good one")
    site.daemon.cordon("quarantine", "bad-1", "--mode", "remediate")
    send(site.bad, [eth(GATEWAY, BAD, b"\x08\x06", arp(1, BAD, GOOD4, GATEWAY4)),
                    eth(GATEWAY, BAD, b"\x08\0", udp4(GOOD4, GATEWAY4))], times=20, pause=0.1)
    assert GOOD4 in site.daemon.device("mac-020000007702")["addresses"]["ipv4"]
    assert GOOD4 not in site.daemon.device("bad-1")["addresses"]["ipv4"]
    site.gateway.run("ip", "neigh", "flush", "dev", "br0")  # the gateway's own belief is another matter
    assert site.good.ping(GATEWAY4, wait=3) and not site.good.ping(BAD4)


def test_a_prefix_ends_when_the_gateway_moves_into_it(site):
    site.daemon.cordon("quarantine", "192.168.90.0/24")
    site.gateway.run("ip", "address", "add", "192.168.90.1/24", "dev", "br0")
    site.good.run("ip", "address", "add", "192.168.90.2/24", "dev", "eth0")
    wait_until(lambda: site.good.ping("192.168.90.1"), 5, "the gateway's new address")
    assert site.daemon.cordon("quarantine", "192.168.90.1", check=False).returncode == 1


@pytest.mark.parametrize("address", ["wan0 link-local", "wan0 MAC", "10.77.0.1", "192.168.77.255", "192.168.77.0/24",
                                     "192.168.0.0/16", "255.255.255.255", "224.0.0.251", "ff02::1", "127.0.0.1", "::1",
                                     "fd77::/64", "::/0", "0.0.0.0/0", "128.0.0.0/1", "ff:ff:ff:ff:ff:ff",
                                     "33:33:00:00:00:01", "01:00:5e:00:00:fb", CLOUD4])
def test_what_is_the_gateways_or_everybodys_is_refused(house, address):
    gateway = house.gateway
    if address == "wan0 link-local":
        address = gateway.run("ip", "-6", "-o", "address", "show", "dev", "wan0", "scope", "link").stdout.split()[3].split("/")[0]
    elif address == "wan0 MAC":
        address = gateway.run("cat", "/sys/class/net/wan0/address").stdout.strip()
    got = house.daemon.cordon("quarantine", address, check=False)
    assert got.returncode == 1, got
    assert len(got.stderr.strip().splitlines()) == 1 and "protect" in got.stderr.lower(), got
