# SPDX-License-Identifier: GPL-2.0-only
"""Frames of every kind that the kernel programs tell apart, well-formed ones made with scapy, and what
becomes of them when they are cut and damaged. All from one random source, so that a seed names them.

Everybody's addresses come from small pools: whoever is judged is met often, and in every place of a frame.
"""

import struct

from scapy.contrib.lldp import (LLDPDUChassisID, LLDPDUEndOfLLDPDU, LLDPDUPortID, LLDPDUTimeToLive)
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.dhcp6 import DHCP6_Solicit
from scapy.layers.eap import EAPOL
from scapy.layers.inet import (ICMP, IP, TCP, UDP, IPOption_NOP, IPOption_Router_Alert, IPOption_Timestamp)
from scapy.layers.inet6 import (ICMPv6DestUnreach, ICMPv6EchoRequest, ICMPv6MLReport2, ICMPv6PacketTooBig, ICMPv6ND_NA, ICMPv6ND_NS,
                                ICMPv6ND_RA, ICMPv6ND_RS, ICMPv6ND_Redirect, ICMPv6NDOptDstLLAddr,
                                ICMPv6NDOptMTU, ICMPv6NDOptPrefixInfo, ICMPv6NDOptSrcLLAddr, IPv6,
                                IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, IPv6ExtHdrRouting,
                                PadN)
from scapy.layers.ipsec import AH
from scapy.layers.l2 import ARP, LLC, SNAP, Dot1AD, Dot1Q, Dot3, Ether
from scapy.layers.ppp import PPP, PPPoE, PPPoED
from scapy.packet import Raw

DEVICES = 5
GATEWAY_MAC, GATEWAY4, GATEWAY6 = "02:00:00:00:00:fe", "192.0.2.1", "2001:db8::1"
DEVICE_MACS = [f"02:00:00:00:00:{i:02x}" for i in range(1, DEVICES + 1)]
GROUP_MACS = ["ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:fb", "33:33:00:00:00:01", "01:80:c2:00:00:0e"]
DEVICE4 = [f"192.0.2.{9 + i}" for i in range(1, DEVICES + 1)]
OTHER4 = ["198.51.100.7", "224.0.0.251", "255.255.255.255", "192.0.2.255", "0.0.0.0"]
DEVICE6 = [f"2001:db8::{0xf + i:x}" for i in range(1, DEVICES + 1)]
OTHER6 = ["fe80::1", "ff02::1", "ff02::2", "ff02::1:2", "ff02::fb", "2001:db8:1::7", "::"]
PREFIXES = ["192.0.2.0/24", "192.0.2.8/29", "192.0.2.10/31", "192.0.0.0/16", "198.51.100.0/24", "224.0.0.0/4",
            "2001:db8::/32", "2001:db8::/64", "2001:db8::10/126", "2001:db8::12/127", "fe80::/10", "ff02::/16"]
SERVICES = [53, 67, 68, 443, 546, 547, 5353, 5684, 8443, 8883, 1024, 50000]
JUMBO = 9000


def stack(*layers):
    """The layers that are there, in one packet."""
    packet = None
    for layer in layers:
        if layer is None:
            continue
        if packet is not None and isinstance(packet.lastlayer(), AH):  # scapy leaves it to us
            packet.lastlayer().nh = layer.overload_fields.get(IPv6, {}).get("nh", 59)
        packet = packet / layer if packet is not None else layer
    return packet


class Frames:
    """`one()` is the next frame; `odds(…)` and the like are shared with whoever draws what is decided."""

    def __init__(self, random):
        self.random = random
        self.kinds = [
            (self.ipv4, 20), (self.ipv6, 20), (self.arp, 14), (self.discovery, 18), (self.dhcp, 6),
            (self.dhcpv6, 4), (self.fragment4, 4), (self.options4, 4), (self.errors, 4), (self.llc, 3),
            (self.pppoe, 4), (self.other_kind, 4), (self.mld, 3), (self.jumbo, 1),
        ]

    # drawing

    def odds(self, share):
        return self.random.random() < share

    def pick(self, values):
        return values[int(self.random.random() * len(values))]

    def mac(self, group=0.1):
        if self.odds(group):
            return self.pick(GROUP_MACS)
        return GATEWAY_MAC if self.odds(0.3) else self.pick(DEVICE_MACS)

    def ip4(self):
        return self.pick([GATEWAY4, GATEWAY4] + OTHER4) if self.odds(0.4) else self.pick(DEVICE4)

    def ip6(self):
        return self.pick([GATEWAY6, GATEWAY6] + OTHER6) if self.odds(0.4) else self.pick(DEVICE6)

    def port(self):
        return self.pick(SERVICES)

    # links

    def link(self, **fixed):
        """Ethernet with none to three tags."""
        frame = Ether(**{"dst": self.mac(0.25), "src": self.mac(0.03), **fixed})
        for _ in range(self.pick([0, 0, 0, 1, 1, 2, 2, 3]) if self.odds(0.5) else 0):
            frame /= self.pick([Dot1Q, Dot1AD])(vlan=self.pick([0, 5, 4094]))
        return frame

    def payload(self):
        return Raw(bytes(self.pick([0, 1, 7, 18, 64, 300])))

    def transport(self):
        kind = self.random.random()
        if kind < 0.4:
            return UDP(sport=self.port(), dport=self.port(), chksum=0) / self.payload()
        if kind < 0.8:
            return TCP(sport=self.port(), dport=self.port(), flags=self.pick(["S", "SA", "A", "R", "FA"]),
                       chksum=0) / self.payload()
        return Raw(bytes(int(self.random.random() * 40)))

    # kinds

    def ipv4(self):
        ip = IP(src=self.ip4(), dst=self.ip4(), chksum=0)
        body = self.pick([self.transport, self.transport, self.echo])()
        if isinstance(body, Raw):
            ip.proto = self.pick([2, 4, 41, 47, 50, 132, 253, 6, 17])
        return self.link() / ip / body

    def echo(self):
        return ICMP(type=self.pick([0, 3, 5, 8, 11, 12, 13]), chksum=0) / self.payload()

    def errors(self):
        """With what they are about, mostly a packet of whom they tell."""
        if self.odds(0.5):
            to = self.ip4()
            quoted = IP(src=self.pick([to, to, self.ip4()]), dst=self.ip4(), chksum=0) / self.payload()
            body = self.pick([self.echo(), ICMP(type=self.pick([3, 11, 12]), chksum=0) / quoted])
            return self.link() / IP(src=self.ip4(), dst=to, chksum=0) / body
        to = self.ip6()
        quoted = IPv6(src=self.pick([to, to, self.ip6()]), dst=self.ip6()) / self.payload()
        return stack(self.link(), IPv6(src=self.ip6(), dst=to), self.chain(), self.pick(
            [ICMPv6DestUnreach(cksum=0) / self.payload(), ICMPv6EchoRequest(cksum=0),
             ICMPv6DestUnreach(cksum=0) / quoted, ICMPv6PacketTooBig(cksum=0) / quoted]))

    def options4(self):
        options = [self.pick([IPOption_NOP, IPOption_Router_Alert, IPOption_Timestamp])()
                   for _ in range(self.pick([1, 2, 3]))]
        return self.link() / IP(src=self.ip4(), dst=self.ip4(), options=options, chksum=0) / self.transport()

    def fragment4(self):
        flags, offset = self.pick([("MF", 0), ("MF", 1), (0, 185), ("DF", 0), (0, 8191), ("evil", 0)])
        return self.link() / IP(src=self.ip4(), dst=self.ip4(), flags=flags, frag=offset, chksum=0,
                                proto=self.pick([6, 17, 1])) / Raw(bytes(self.transport()))

    def arp(self):
        sender, target = self.ip4(), self.ip4()
        kind = self.random.random()
        if kind < 0.15:  # a probe (RFC 5227)
            sender = "0.0.0.0"
        elif kind < 0.3:  # gratuitous
            target = sender
        packet = ARP(hwtype=self.pick([1, 1, 1, 6, 7, 0xffff]), op=self.pick([1, 1, 2, 2, 3, 4, 8, 9, 0, 25]),
                     hwsrc=self.mac(0.03), psrc=sender, hwdst=self.mac(), pdst=target)
        if self.odds(0.1):
            packet.ptype = self.pick([0x86dd, 0x0806, 0])
        data = bytearray(bytes(packet))
        if self.odds(0.1):
            data[4 + self.pick([0, 1])] = self.pick([0, 1, 4, 6, 8, 255])  # other lengths of addresses
        return self.link(type=0x0806) / Raw(bytes(data)) if self.odds(0.2) else self.link() / packet

    def ipv6(self):
        return stack(self.link(), IPv6(src=self.ip6(), dst=self.ip6()), self.chain(), self.transport())

    def chain(self):
        """None to many extension headers, often about as many as are stepped over."""
        if self.odds(0.5):
            return None
        headers = None
        for _ in range(self.pick([1, 1, 1, 2, 3, 6, 7, 8, 9, 20])):
            header = self.extension()
            headers = stack(headers, header)
        return headers

    def extension(self):
        kind = self.random.random()
        if kind < 0.3:
            return IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(self.pick([0, 4, 12, 40])))])
        if kind < 0.6:
            return IPv6ExtHdrHopByHop(options=[PadN(optdata=bytes(self.pick([0, 4, 12])))])
        if kind < 0.75:
            return IPv6ExtHdrRouting(addresses=[self.ip6()] * self.pick([0, 1, 2]), type=self.pick([0, 2, 4]))
        if kind < 0.9:
            return IPv6ExtHdrFragment(offset=self.pick([0, 0, 0, 1, 100]), m=self.pick([0, 1]))
        words = self.pick([6, 7, 8])
        return AH(spi=7, seq=1, icv=bytes(words * 4 - 12), payloadlen=words - 2)

    def options(self):
        """Those of neighbour discovery: the right ones, decoys, many, and a right one behind many."""
        if self.odds(0.3):
            decoys = self.pick([6, 7, 7, 7, 8, 8, 8, 9])
            return Raw(b"".join([bytes(ICMPv6NDOptMTU())] * decoys + [bytes(self.link_option())]))
        return Raw(b"".join(bytes(self.option()) for _ in range(self.pick([0, 1, 1, 1, 2, 3, 10]))))

    def link_option(self):
        return self.pick([ICMPv6NDOptSrcLLAddr, ICMPv6NDOptDstLLAddr])(lladdr=self.mac())

    def option(self):
        kind = self.random.random()
        if kind < 0.7:
            return self.link_option()
        if kind < 0.85:
            return ICMPv6NDOptMTU()
        if kind < 0.97:
            return ICMPv6NDOptPrefixInfo()
        return Raw(bytes([self.pick([1, 2, 14]), self.pick([0, 1, 2, 255])]) + bytes(6))

    def discovery(self):
        message = self.pick([
            lambda: ICMPv6ND_RS(cksum=0), lambda: ICMPv6ND_RA(cksum=0),
            lambda: ICMPv6ND_NS(tgt=self.ip6(), cksum=0), lambda: ICMPv6ND_NS(tgt=self.ip6(), cksum=0),
            lambda: ICMPv6ND_NA(tgt=self.ip6(), cksum=0), lambda: ICMPv6ND_NA(tgt=self.ip6(), cksum=0),
            lambda: ICMPv6ND_Redirect(tgt=self.ip6(), dst=self.ip6(), cksum=0),
        ])()
        source = "::" if self.odds(0.15) else self.ip6()
        return stack(self.link(), IPv6(src=source, dst=self.ip6(), hlim=255), self.chain(), message, self.options())

    def mld(self):
        return (self.link() / IPv6(src=self.ip6(), dst=self.ip6(), hlim=1) / IPv6ExtHdrHopByHop()
                / ICMPv6MLReport2(cksum=0))

    def dhcp(self):
        ports = self.pick([(68, 67), (67, 68), (68, 68), (67, 67)])
        return (self.link() / IP(src=self.ip4(), dst=self.ip4(), chksum=0)
                / UDP(sport=ports[0], dport=ports[1], chksum=0) / BOOTP() / DHCP(options=["end"]))

    def dhcpv6(self):
        ports = self.pick([(546, 547), (547, 546), (546, 546)])
        return stack(self.link(), IPv6(src=self.ip6(), dst=self.ip6()), self.chain(),
                     UDP(sport=ports[0], dport=ports[1], chksum=0), DHCP6_Solicit())

    def llc(self):
        frame = Dot3(dst=self.mac(), src=self.mac(0.03)) / LLC()
        if self.odds(0.5):
            frame = frame / SNAP(code=0x0800) / IP(src=self.ip4(), dst=self.ip4(), chksum=0)
        return frame / self.payload()

    def pppoe(self):
        if self.odds(0.4):
            return self.link() / PPPoED(code=self.pick([9, 7, 25, 101, 167])) / self.payload()
        return self.link() / PPPoE(sessionid=7) / PPP(proto=0x0021) / IP(
            src=self.ip4(), dst=self.ip4(), chksum=0) / self.transport()

    def other_kind(self):
        kind = self.random.random()
        if kind < 0.3:
            return self.link(type=0x888e) / EAPOL() / self.payload()
        if kind < 0.6:
            return (self.link(type=0x88cc) / LLDPDUChassisID(subtype=7, id=b"x") / LLDPDUPortID(subtype=7, id=b"y")
                    / LLDPDUTimeToLive(ttl=120) / LLDPDUEndOfLLDPDU())
        return self.link(type=self.pick([0, 46, 1500, 0x0600, 0x8847, 0x86db, 0xffff, 0x9100])) / self.payload()

    def jumbo(self):
        """More than one page: its end is in other buffers."""
        return self.pick([self.ipv4, self.ipv6, self.arp])() / Raw(bytes(self.pick([3000, 3600, 5000, JUMBO - 1200])))

    # what becomes of them

    def one(self):
        kinds, weights = zip(*self.kinds)
        return bytes(self.random.choices(kinds, weights)[0]())

    def damaged(self, frame):
        """The same, cut, longer, or with some bytes that are others."""
        kind = self.random.random()
        if kind < 0.4:
            return self.cut(frame)
        data = bytearray(frame)
        if kind < 0.5:
            return bytes(data) + self.random.randbytes(self.pick([1, 2, 20]))
        reach = min(len(data), self.pick([24, 64, 128]))
        for _ in range(self.pick([1, 1, 2, 4, 16])):
            self.hurt(data, int(self.random.random() * reach))
        return bytes(self.cut(bytes(data)) if self.odds(0.2) else data)

    def hurt(self, data, at):
        kind = self.random.random()
        if kind < 0.3:
            data[at] ^= 1 << int(self.random.random() * 8)
        elif kind < 0.6:
            data[at] = int(self.random.random() * 256)
        elif kind < 0.8:
            data[at] = self.pick([0, 1, 2, 4, 6, 17, 43, 44, 45, 51, 58, 60, 127, 128, 255])
        elif at + 2 <= len(data):  # one kind for another
            struct.pack_into(">H", data, at, self.pick([0x0800, 0x86dd, 0x0806, 0x8100, 0x88a8, 0x8864]))

    def cut(self, frame):
        most = len(frame) if self.odds(0.5) else min(len(frame), 100)
        return frame[:1 + int(self.random.random() * most)]
