# SPDX-License-Identifier: GPL-2.0-only
"""What becomes of a packet: a second opinion, written from the rules and from the RFCs, on plain bytes.

Terms. An address (MAC, IPv4, IPv6) or prefix may have a slot: a verdict (isolate, remediate or
observe, perhaps with an end), the number of a policy, BOUND, OURS; a slot of an IP address knows its
owner, the MAC that uses it. From a port (`xdp`, `in`) the source is judged, toward one (`out`) the
destination.

1. Less than 14 bytes passes. Up to two tags (802.1Q, 802.1ad) are stepped over. Other kinds (LLC, PPPoE,
   three tags, what is cut) are judged by MAC alone.
2. IPv4 of at least 20 bytes and IPv6 of at least 40 have addresses. ARP for IPv4 (28 bytes) claims its
   sender's MAC and IP, a probe (RFC 5227) its target's IP; toward a port, the target's. Neighbour
   discovery, behind up to CHAIN extension headers (eight headers are looked at, the last one must be the
   message): an advertisement claims its target, and so does a
   solicitation from ::; toward a port, a solicitation is for its target. From a port it claims the MAC in
   its link-layer address option: source (RS, RA, NS) or target (NA, redirect), among its first eight.
3. The strictest verdict among MAC, IP, its prefixes, inner MAC and inner IP (with its prefixes)
   counts: isolate, remediate, observe. From a port, a MAC without a slot has the mode for unknown ones, and
   so has one that calls itself by a MAC of OURS.
4. isolate drops.
5. From a port: a source, or an inner IP that is no probe's, that is OURS while the MAC is not, or BOUND to
   a MAC other than this one, is forged: dropped, whatever the verdict. The source is looked at before
   anything inside is: a frame whose source is forged is dropped for that, also if it claims somebody isolated.
6. remediate drops but for what repairs, see Remedy.
7. The policy of the MAC, or else of the IP, with REPORT or ENFORCE: see `departs`. ENFORCE drops what
   departs unless the verdict is observe. What repairs never departs: DHCP by broadcast or with the gateway,
   too, though with nobody else; a lease that another server gave is kept by rebinding (RFC 2131 §4.4.5).
8. All else passes.

What passes counts once: for the MAC, or else for the IP, the claimed one if there is one; not toward a group.
What drops counts for the slot whose verdict or policy it was, what is forged for the MAC.
"""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass, field

NONE, OBSERVE, REMEDIATE, ISOLATE = range(4)  # by strictness
MODES = {"none": NONE, "observe": OBSERVE, "remediate": REMEDIATE, "isolate": ISOLATE}

CHAIN = 7  # extension headers that are stepped over in front of a message, the eighth header looked at
OPTIONS = 8  # options of neighbour discovery that are looked at
TAGS = (0x8100, 0x88A8)
IPV4, ARP, IPV6, EAPOL = 0x0800, 0x0806, 0x86DD, 0x888E
PAE_GROUP = bytes.fromhex("0180c2000003")
ICMP, IGMP, TCP, UDP, ROUTING, FRAGMENT, AH, ICMPV6, DESTINATION = 1, 2, 6, 17, 43, 44, 51, 58, 60
HOP_BY_HOP = 0
SOLICIT_ROUTER, ADVERTISE_ROUTER, SOLICIT, ADVERTISE, REDIRECT = range(133, 138)
# Where the options of a message begin (RFC 4861 §4), and the one that holds whose link address it is.
OPTIONS_AT = {SOLICIT_ROUTER: 8, ADVERTISE_ROUTER: 16, SOLICIT: 24, ADVERTISE: 24, REDIRECT: 40}
LINK_OPTION = {SOLICIT_ROUTER: 1, ADVERTISE_ROUTER: 1, SOLICIT: 1, ADVERTISE: 2, REDIRECT: 2}
NO_IP = (bytes(4), bytes(16))
HIDDEN = b"hidden"  # behind more options than are looked at: nobody's
ALL_DHCPV6 = bytes.fromhex("ff020000000000000000000000010002")


def is_group(mac):
    return bool(mac[0] & 1)


def number(data, at, size=2):
    return int.from_bytes(data[at:at + size], "big")


# ---- what a frame says -------------------------------------------------------------------------


@dataclass
class Message:
    """What an IP packet carries, as far as it can be found behind its headers."""

    protocol: int
    data: bytes
    later: bool = False  # a fragment but the first: no ports


@dataclass
class Packet:
    """One frame as one side of it is judged. Addresses are bytes: 6, 4 or 16 of them."""

    outward: bool
    own_mac: bytes
    other_mac: bytes
    kind: int = 0  # EtherType of what was understood, else 0
    own_ip: bytes | None = None  # of the network header
    other_ip: bytes | None = None
    inner_mac: bytes | None = None  # claimed in ARP and neighbour discovery
    inner_ip: bytes | None = None
    asked_ip: bytes | None = None  # the other party of an ARP packet
    probe: bool = False
    message: Message | None = None
    discovery: int = 0  # type of a whole message of neighbour discovery
    length: int = 0
    ethertype: int = 0

    def ports(self):
        """Own and other port of TCP and UDP; None without."""
        m = self.message
        if not m or m.later or m.protocol not in (TCP, UDP) or len(m.data) < 4:
            return None
        source, destination = struct.unpack(">HH", m.data[:4])
        return (destination, source) if self.outward else (source, destination)


def read_frame(frame, outward):
    """None for a frame that is too short to have addresses."""
    if len(frame) < 14:
        return None
    destination, source = frame[:6], frame[6:12]
    p = Packet(outward, *(destination, source) if outward else (source, destination))
    p.length = len(frame)
    kind, at = number(frame, 12), 14
    for _ in TAGS:
        if kind in TAGS and len(frame) >= at + 4:
            kind, at = number(frame, at + 2), at + 4
    p.ethertype = kind
    read = {IPV4: read_ipv4, IPV6: read_ipv6, ARP: read_arp}.get(kind)
    if read and read(p, frame[at:]):
        p.kind = kind
    return p


def side(p, source, destination):
    return (destination, source) if p.outward else (source, destination)


def read_ipv4(p, data):
    if len(data) < 20 or data[0] >> 4 != 4:
        return False
    p.own_ip, p.other_ip = side(p, data[12:16], data[16:20])
    header = (data[0] & 15) * 4
    if 20 <= header <= len(data):
        p.message = Message(data[9], data[header:], later=number(data, 6) & 0x1FFF != 0)
    return True


def read_ipv6(p, data):
    if len(data) < 40 or data[0] >> 4 != 6:
        return False
    p.own_ip, p.other_ip = side(p, data[8:24], data[24:40])
    p.message = walk(data[6], data[40:])
    if p.message and p.message.protocol == ICMPV6 and not p.message.later:
        read_discovery(p, data[8:24], p.message.data)
    return True


def walk(kind, data):
    """Behind the extension headers (RFC 8200 §4, RFC 4302 §2); None where they cannot be followed."""
    for _ in range(CHAIN + 1):
        if len(data) < 8:  # the shortest header, of an extension or of a transport
            return None
        if kind not in (HOP_BY_HOP, ROUTING, DESTINATION, AH, FRAGMENT):
            return Message(kind, data)
        size = (data[1] + 2) * 4 if kind == AH else 8 if kind == FRAGMENT else (data[1] + 1) * 8
        if kind == FRAGMENT and number(data, 2) & 0xFFF8:
            return Message(data[0], data[8:], later=True)
        if len(data) < size:
            return None
        kind, data = data[0], data[size:]
    return None


def read_arp(p, data):
    if len(data) < 28 or data[2:6] != b"\x08\x00\x06\x04":
        return False
    sender, target = (data[8:14], data[14:18]), (data[18:24], data[24:28])
    (p.inner_mac, p.inner_ip), (_, p.asked_ip) = side(p, sender, target)
    if not p.outward and p.inner_ip == bytes(4):
        p.inner_ip, p.probe = p.asked_ip, True
    return True


def read_discovery(p, source, data):
    kind = data[0] if data else 0
    if kind not in OPTIONS_AT or len(data) < OPTIONS_AT[kind]:
        return
    p.discovery = kind
    if p.outward:
        if kind == SOLICIT:
            p.inner_ip = data[8:24]
        return
    if kind == ADVERTISE or (kind == SOLICIT and source == bytes(16)):
        p.inner_ip, p.probe = data[8:24], kind == SOLICIT
    p.inner_mac = link_option(data[OPTIONS_AT[kind]:], LINK_OPTION[kind])


def link_option(options, wanted):
    for _ in range(OPTIONS):
        if len(options) < 8 or options[1] == 0:
            return None
        if options[0] == wanted:
            return options[2:8]
        if options[1] * 8 > len(options):  # it is cut off: nobody takes anything of it (RFC 4861 §7.1)
            return None
        options = options[options[1] * 8:]
    return HIDDEN


# ---- what was decided --------------------------------------------------------------------------


@dataclass
class Slot:
    mode: int = NONE
    until: float | None = None  # on the monotonic clock
    policy: int = 0
    bound: bool = False
    owner: bytes | None = None

    def live(self):
        return NONE if self.until is not None and self.until <= time.monotonic() else self.mode


@dataclass
class Rule:
    outward: bool
    family: int = 0  # IPV4, IPV6; 0: both
    protocol: int = 0  # 0: any
    own: tuple[int, int] = (0, 65535)
    other: tuple[int, int] = (0, 65535)
    no_open: bool = False
    classes: frozenset = frozenset()  # of any, local, gateway
    peers: tuple = ()  # (address, prefix length)


@dataclass
class Policy:
    report: bool = False
    enforce: bool = False
    rules: list[Rule] = field(default_factory=list)


@dataclass
class Ruling:
    passes: bool
    counted: frozenset  # addresses, or (address, length) of a prefix, whose counters move
    why: str = ""


def in_prefix(address, network, bits):
    shift = len(address) * 8 - bits
    return len(address) == len(network) and (
        int.from_bytes(address, "big") >> shift == int.from_bytes(network, "big") >> shift)


class World:
    """Everything decided and known."""

    def __init__(self):
        self.slots = {}  # address: Slot
        self.prefixes = {}  # (address, length): Slot
        self.policies = {}
        self.networks = []  # (address, length) that LAN ports are in
        self.ours = set()
        self.unknown = NONE
        self.used = {}  # MAC: the IPv4 address it sent from last

    def slot(self, address):
        return self.slots.setdefault(address, Slot())

    def judge(self, frame, outward):
        """What becomes of the frame. Notes, too, whose address it shows an unowned one to be."""
        p = read_frame(frame, outward)
        if p is None:
            return Ruling(True, frozenset(), "too short")
        for mode, whose, ip, inside in self.outside_in(p):
            if mode == ISOLATE:
                return Ruling(False, whose, "isolated")
            if not outward and p.own_mac in self.ours:
                return Ruling(False, frozenset([p.own_mac]), "the gateway's link address")
            if not outward and (forged := self.forged(p, ip, inside)):
                return Ruling(False, frozenset([p.own_mac]) & self.slots.keys(), forged)
        if mode == REMEDIATE and not Remedy(self, p).passes():
            return Ruling(False, whose, "in remediation")
        policy_of = self.policy_of(p)
        if policy_of and mode != OBSERVE:
            policy = self.policies[self.slots[policy_of].policy]
            if policy.enforce and self.departs(p, policy):
                return Ruling(False, frozenset([policy_of]), "departs from its policy")
        return Ruling(True, self.counted(p), "")

    # verdicts

    def outside_in(self, p):
        """The verdict so far, whose it is, and the IP address that is claimed: by the headers, then inside."""
        best = NONE
        if not p.outward and p.own_mac not in self.slots and p.own_mac not in self.ours:
            best = self.unknown
        outside = self.strictest((best, frozenset()), (p.own_mac, p.own_ip))
        self.note_use(p)
        yield *outside, p.own_ip, False
        yield *self.strictest(outside, (p.inner_ip, p.inner_mac)), None if p.probe else p.inner_ip, True

    def strictest(self, so_far, addresses):
        """Of equally strict ones the first."""
        best, whose = so_far
        for mode, key in self.verdicts(addresses):
            if mode > best:
                best, whose = mode, frozenset([key])
        return best, whose

    def verdicts(self, addresses):
        for address in addresses:
            if address is None:
                continue
            if address in self.slots:
                yield self.slots[address].live(), address
            if len(address) != 6:
                for prefix in self.prefixes_of(address):
                    yield self.prefixes[prefix].live(), prefix

    def prefixes_of(self, address):
        """The longest first."""
        return sorted((p for p in self.prefixes if in_prefix(address, *p)), key=lambda prefix: -prefix[1])

    def counted(self, p):
        if p.outward and is_group(p.own_mac):
            return frozenset()
        places = [a for a in (p.own_mac, p.inner_ip or p.own_ip) if a in self.slots or a in self.ours]
        return frozenset(places[:1])

    # forging

    def note_use(self, p):
        """Which IPv4 address a MAC sent from last, as far as both are known and it is not cut off."""
        mac = self.slots.get(p.own_mac)
        if p.outward or p.kind != IPV4 or not p.own_ip or (mac and mac.live() == ISOLATE):
            return
        if (mac or p.own_mac in self.ours) and (p.own_ip in self.slots or p.own_ip in self.ours):
            self.used[p.own_mac] = p.own_ip

    def moved_on(self, owner, ip):
        """The owner uses another IPv4 address by now."""
        return len(ip) == 4 and self.used.get(owner, ip) != ip

    def forged(self, p, ip, inside):
        if ip is None or ip in NO_IP:
            return ""
        if ip in self.ours:
            return "the gateway's address"
        slot = self.slots.get(ip)
        if not slot or not slot.bound or not slot.owner:
            return ""
        said = p.inner_mac if inside and p.inner_mac and any(p.inner_mac) else p.own_mac
        if slot.owner == p.own_mac == said or self.moved_on(slot.owner, ip):
            return ""
        return "another's address"

    # policies

    def policy_of(self, p):
        mac, ip = self.slots.get(p.own_mac), self.slots.get(p.inner_ip or p.own_ip)
        if mac and mac.policy:
            return p.own_mac
        return (p.inner_ip or p.own_ip) if ip and ip.policy and not p.probe else None

    def departs(self, p, policy):
        if p.kind == ARP or self.is_eapol(p) or self.is_housekeeping(p, policy) or Remedy(self, p).passes():
            return False
        if p.kind not in (IPV4, IPV6):
            return True
        return not any(self.holds(rule, p) for rule in policy.rules)

    def is_eapol(self, p):
        to, source = (p.own_mac, p.other_mac) if p.outward else (p.other_mac, p.own_mac)
        return p.ethertype == EAPOL and (to == PAE_GROUP or to in self.ours or source in self.ours)

    def is_housekeeping(self, p, policy):
        """Errors of whom some rule leads to, or about packets to them, and the link's own business on the link."""
        if not p.kind or not p.other_ip:
            return False
        if is_error(p):
            parties = [ip for ip in (p.other_ip, quoted_ip(p)) if ip]
            return any(self.reaches(rule, ip) for rule in policy.rules for ip in parties)
        return is_of_link(p) and self.is_local(p.other_ip)

    def holds(self, rule, p):
        if rule.outward != p.outward or rule.family not in (0, p.kind):
            return False
        return message_fits(rule, p) and self.reaches(rule, p.other_ip)

    def reaches(self, rule, other):
        if "any" in rule.classes or ("gateway" in rule.classes and other in self.ours):
            return True
        if "local" in rule.classes and self.is_local(other):
            return True
        return any(in_prefix(other, *peer) for peer in rule.peers)

    def is_local(self, ip):
        group = ip[0] == 0xFF if len(ip) == 16 else ip[0] >> 4 == 14 or ip == b"\xff\xff\xff\xff"
        return group or any(in_prefix(ip, *network) for network in self.networks)


ANY_PORT = (0, 65535)
PORTS_IN = {TCP: 4, UDP: 4, ICMP: 1, ICMPV6: 1}  # so many bytes; with fewer it tells nothing of itself


def message_fits(rule, p):
    """Protocol and ports, RFC 8519's part of the rule."""
    m, anything = p.message, rule.own == rule.other == ANY_PORT
    if m is None or (not m.later and len(m.data) < PORTS_IN.get(m.protocol, 0)):
        return rule.protocol == 0 and anything
    if rule.protocol not in (0, m.protocol):
        return False
    if m.protocol not in (TCP, UDP, ICMP, ICMPV6):
        return anything
    if m.later:
        return True
    if m.protocol in (ICMP, ICMPV6):  # at the other end, port 0
        return rule.own[0] <= m.data[0] <= rule.own[1] and rule.other[0] == 0
    if rule.no_open and m.protocol == TCP and (len(m.data) < 14 or m.data[13] & 0x12 == 0x02):
        return False
    ports = p.ports()
    return rule.own[0] <= ports[0] <= rule.own[1] and rule.other[0] <= ports[1] <= rule.other[1]


def message_kind(p):
    """Protocol and type of a message that is there from its beginning."""
    m = p.message
    if m is None or m.later:
        return None, -1
    return m.protocol, m.data[0] if m.data else -1


def is_error(p):
    protocol, kind = message_kind(p)
    if p.kind == IPV4:
        return protocol == ICMP and kind in (3, 11, 12)
    return protocol == ICMPV6 and 1 <= kind <= 4


def quoted_ip(p):
    """Whom the device's packet went to that an error toward it quotes."""
    data = p.message.data[8:]
    if not p.outward or len(data) < (20 if p.kind == IPV4 else 40) or data[0] >> 4 != (4 if p.kind == IPV4 else 6):
        return None
    source, to = (data[12:16], data[16:20]) if p.kind == IPV4 else (data[8:24], data[24:40])
    return to if source == p.own_ip else None


def is_of_link(p):
    protocol, kind = message_kind(p)
    if p.kind == IPV4:
        return protocol == IGMP
    return protocol == ICMPV6 and (130 <= kind <= 137 or kind == 143)


@dataclass
class Remedy:
    """What a device in remediation may do: ARP and neighbour discovery with the gateway, DHCP, DHCPv6,
    DNS, and ports 8443, 8883 and 5684 of the gateway. Only the gateway hears it, never a neighbour."""

    world: World
    p: Packet

    def passes(self):
        p = self.p
        if not p.outward and not is_group(p.other_mac) and p.other_mac not in self.world.ours:
            return False
        if p.kind == ARP:
            return p.asked_ip in self.world.ours
        if p.message is None or p.message.later:
            return False
        return self.discovery() if p.message.protocol == ICMPV6 else self.service()

    def gateway(self):
        return self.p.other_ip in self.world.ours

    def discovery(self):
        p = self.p
        if p.kind != IPV6:
            return False
        if p.outward:  # a redirect would lead it elsewhere
            return self.gateway() and p.message.data[0] in (ADVERTISE_ROUTER, SOLICIT, ADVERTISE)
        if p.discovery == SOLICIT:
            return p.message.data[8:24] in self.world.ours
        return p.discovery == SOLICIT_ROUTER or (p.discovery == ADVERTISE and self.gateway())

    def service(self):
        p, ports = self.p, self.p.ports()
        if ports is None:
            return False
        udp = p.message.protocol == UDP
        if udp and ports == ((68, 67) if p.kind == IPV4 else (546, 547)):
            servers = b"\xff\xff\xff\xff" if p.kind == IPV4 else ALL_DHCPV6
            return p.outward or self.gateway() or p.other_ip == servers
        if udp and p.kind == IPV4 and not p.outward and ports == (67, 68) and p.other_mac in self.world.ours:
            return True  # the gateway may be a DHCP client there, before it has a route
        return self.gateway() and ports[1] in ((53, 5684) if udp else (53, 8443, 8883))
