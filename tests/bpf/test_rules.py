# SPDX-License-Identifier: GPL-2.0-only
"""The model's own rules, one claim a row: what a policy with one rule lets pass, and who forges whom."""

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6ND_NA, ICMPv6ND_NS, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw

import model
from frames import DEVICE4, DEVICE6, DEVICE_MACS, GATEWAY4, GATEWAY6, GATEWAY_MAC
from oracle import key_of, obey

MAC, MINE4, MINE6 = DEVICE_MACS[0], DEVICE4[0], DEVICE6[0]
CLOUD4, CLOUD6 = "198.51.100.7", "2001:db8:1::7"
HAND = f"known {MAC} {MINE4} {MINE6}", f"ours {GATEWAY_MAC} {GATEWAY4} {GATEWAY6}", "locals 192.0.2.0/24"


def world_of(*commands):
    world = model.World()
    for command in [*HAND, *commands]:
        obey(world, command)
    return world


def ip4(body, peer=CLOUD4, out=False, **fields):
    source, destination = (peer, MINE4) if out else (MINE4, peer)
    macs = {"src": GATEWAY_MAC, "dst": MAC} if out else {"src": MAC, "dst": GATEWAY_MAC}
    return bytes(Ether(**macs) / IP(src=source, dst=destination, **fields) / body), out


def ip6(body, peer=CLOUD6):
    return bytes(Ether(src=MAC, dst=GATEWAY_MAC) / IPv6(src=MINE6, dst=peer) / body), False


def chain(count):
    packet = IPv6ExtHdrDestOpt()
    for _ in range(count - 1):
        packet /= IPv6ExtHdrDestOpt()
    return packet


ANY = "0-65535 0-65535"
WEB = TCP(sport=4000, dport=443, flags="S")
ANSWER = TCP(sport=443, dport=4000, flags="SA")
OPENED = TCP(sport=443, dport=4000, flags="S")

ROWS = [
    ("no rule", None, ip4(WEB), False),
    ("any", f"rule from 0 0 {ANY} any", ip4(WEB), True),
    ("any, the other way", f"rule to 0 0 {ANY} any", ip4(WEB), False),
    ("port", "rule from 0 6 0-65535 443-443 any", ip4(WEB), True),
    ("another port", "rule from 0 6 0-65535 80-442 any", ip4(WEB), False),
    ("the device's own port", "rule from 0 6 4000-4000 0-65535 any", ip4(WEB), True),
    ("own port as its answer has it", "rule to 0 6 4000-4000 443-443 any", ip4(ANSWER, out=True), True),
    ("another protocol", f"rule from 0 17 {ANY} any", ip4(WEB), False),
    ("IPv6 alone", f"rule from 6 0 {ANY} any", ip4(WEB), False),
    ("IPv6", f"rule from 6 0 {ANY} any", ip6(WEB), True),
    ("a peer", f"rule from 0 0 {ANY} -\npeer {CLOUD4} 1", ip4(WEB), True),
    ("a peer's network", f"rule from 0 0 {ANY} -\npeer 198.51.100.0/24 1", ip4(WEB), True),
    ("another rule's peer", f"rule from 0 0 {ANY} -\npeer {CLOUD4} 2", ip4(WEB), False),
    ("another peer", f"rule from 0 0 {ANY} -\npeer 203.0.113.0/24 1", ip4(WEB), False),
    ("local", f"rule from 0 0 {ANY} local", ip4(WEB, DEVICE4[1]), True),
    ("multicast is local", f"rule from 0 0 {ANY} local", ip4(UDP(), "224.0.0.251"), True),
    ("broadcast is local", f"rule from 0 0 {ANY} local", ip4(UDP(), "255.255.255.255"), True),
    ("the internet is not", f"rule from 0 0 {ANY} local", ip4(WEB), False),
    ("gateway", f"rule from 0 0 {ANY} gateway", ip4(WEB, GATEWAY4), True),
    ("another is not the gateway", f"rule from 0 0 {ANY} gateway", ip4(WEB, DEVICE4[1]), False),
    ("not opened toward it", f"rule to 0 6 {ANY} any no-open", ip4(OPENED, out=True), False),
    ("answered toward it", f"rule to 0 6 {ANY} any no-open", ip4(ANSWER, out=True), True),
    ("flags that are cut off may open", f"rule to 0 6 {ANY} any no-open",
     (ip4(ANSWER, out=True)[0][:14 + 20 + 8], True), False),
    ("ports that are cut off", f"rule from 0 6 {ANY} any", (ip4(WEB)[0][:14 + 20 + 2], False), False),
    ("ports that are cut off, anything goes", f"rule from 0 0 {ANY} any", (ip4(WEB)[0][:14 + 20 + 2], False), True),
    ("a type that is cut off", "rule from 0 1 8-8 0-65535 any", (ip4(ICMP(type=8))[0][:14 + 20], False), False),
    ("a type of ICMP", "rule from 0 1 8-8 0-65535 any", ip4(ICMP(type=8)), True),
    ("another type", "rule from 0 1 13-13 0-65535 any", ip4(ICMP(type=8)), False),
    ("a type of ICMPv6", "rule from 0 58 128-128 0-65535 any", ip6(ICMPv6EchoRequest()), True),
    ("no ports to be in a range", "rule from 0 0 1-65535 0-65535 any", ip4(Raw(b"\0" * 8), proto=47), False),
    ("a protocol without ports", f"rule from 0 47 {ANY} any", ip4(Raw(b"\0" * 8), proto=47), True),
    ("a later fragment by protocol", "rule from 0 6 0-65535 443-443 any", ip4(Raw(b"\0" * 8), proto=6, frag=9), True),
    ("a later fragment of another", f"rule from 0 17 {ANY} any", ip4(Raw(b"\0" * 8), proto=6, frag=9), False),
    ("a later fragment over IPv6", "rule from 0 17 0-65535 53-53 any",
     ip6(IPv6ExtHdrFragment(offset=9, nh=17) / Raw(b"\0" * 8)), True),
    ("behind seven headers", "rule from 0 6 0-65535 443-443 any", ip6(chain(7) / WEB), True),
    ("behind too many", "rule from 0 6 0-65535 443-443 any", ip6(chain(8) / WEB), False),
    ("behind too many, anything goes", f"rule from 0 0 {ANY} any", ip6(chain(8) / WEB), True),
    ("ARP", None, (bytes(Ether(src=MAC) / ARP(hwsrc=MAC, psrc=MINE4, pdst=DEVICE4[1])), False), True),
    ("neighbour discovery", None, ip6(ICMPv6ND_NS(tgt=DEVICE6[1]), "ff02::1"), True),
    ("DHCP", None, ip4(UDP(sport=68, dport=67), "255.255.255.255"), True),
    ("DHCP with the gateway", None, ip4(UDP(sport=68, dport=67), GATEWAY4), True),
    ("DHCP with another", None, ip4(UDP(sport=68, dport=67), CLOUD4), False),
    ("DHCP with another by a rule", "rule from 0 17 68-68 67-67 any", ip4(UDP(sport=68, dport=67), CLOUD4), True),
    ("an ICMP error to whom a rule leads", "rule from 4 6 0-65535 443-443 any", ip4(ICMP(type=3)), True),
    ("an ICMP error to anybody", None, ip4(ICMP(type=3)), False),
    ("an echo", None, ip4(ICMP(type=8)), False),
    ("what remediation leaves open", None, ip4(TCP(dport=8883), GATEWAY4), True),
    ("LLDP", f"rule from 0 0 {ANY} any", (bytes(Ether(src=MAC, type=0x88CC) / Raw(b"\0" * 46)), False), False),
]


@pytest.mark.parametrize("rule, sent, passes", [pytest.param(*row[1:], id=row[0]) for row in ROWS])
def test_a_policy_passes_what_its_rule_holds_for(rule, sent, passes):
    frame, out = sent
    for flags, kept in (("enforce", True), ("report", False), ("learn", False)):
        world = world_of(f"policy 1 {flags} 0 0", *(rule or "").splitlines(), "commit", f"attach {MAC} 1")
        assert world.judge(frame, out).passes == (passes or not kept), flags
    world = world_of("policy 1 enforce 0 0", *(rule or "").splitlines(), "commit", f"attach {MAC} 1",
                     f"verdict {MAC} observe")
    assert world.judge(frame, out).passes, "observed"


THIEF = DEVICE_MACS[1]


@pytest.mark.parametrize("frame, passes", [
    (Ether(src=MAC) / IP(src=MINE4), True),
    (Ether(src=THIEF) / IP(src=MINE4), False),
    (Ether(src=THIEF) / IP(src=GATEWAY4), False),
    (Ether(src=GATEWAY_MAC) / IP(src=GATEWAY4), False),
    (Ether(src=THIEF) / ARP(op=2, psrc=MINE4), False),
    (Ether(src=THIEF) / ARP(psrc="0.0.0.0", pdst=MINE4), True),  # a probe only asks
    (Ether(src=THIEF) / IPv6(src="::") / ICMPv6ND_NS(tgt=MINE6), True),
    (Ether(src=THIEF) / IPv6(src=MINE6) / ICMPv6ND_NS(tgt=CLOUD6), False),
    (Ether(src=THIEF) / IPv6(src=DEVICE6[1]) / ICMPv6ND_NA(tgt=MINE6), False),
    (Ether(src=THIEF) / IPv6(src=MINE6) / ICMPv6ND_NA(tgt=DEVICE6[1]), False),
    (Ether(src=THIEF) / IPv6(src=DEVICE6[1]) / ICMPv6ND_NA(tgt=DEVICE6[1]), True),
])
@pytest.mark.parametrize("mode", ["none", "observe"])
def test_a_bound_address_is_its_owner_s(frame, passes, mode):
    world = world_of(f"bind {MINE4}", f"bind {MINE6}", f"verdict {THIEF} {mode}")
    assert world.judge(bytes(frame), False).passes == passes
    assert world.judge(bytes(frame), True).passes, "toward a port nobody claims anything"


@pytest.mark.parametrize("mac, passes", [(MAC, True), (THIEF, False), (GATEWAY_MAC, False)])
def test_whom_nobody_knows_and_who_calls_himself_the_gateway(mac, passes):
    world = world_of("unknown isolate")
    assert world.judge(bytes(Ether(src=mac) / IP(src=CLOUD4)), False).passes == passes
    assert world.judge(bytes(Ether(dst=mac) / IP(dst=CLOUD4)), True).passes
