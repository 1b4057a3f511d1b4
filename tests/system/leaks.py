# SPDX-License-Identifier: GPL-2.0-only
"""Numbered packets past the isolation, both ways, counted on the other side: while whatever happens to the gateway,
of those that are cut off none may arrive, and of the honest ones many must."""

import json
import subprocess

from lab import PYTHON, wait_until

MARK = b"cordon-leak"
HONEST = "honest"

SENDER = r"""
import json, socket, struct, sys, time
mark, flows = sys.argv[1].encode(), [(bytes.fromhex(h), bytes.fromhex(t)) for h, t in json.loads(sys.argv[2])]
def port():
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    s.bind(('eth0', 0))
    return s
s, number = port(), 0
while True:
    for i, (head, tail) in enumerate(flows):
        for _ in range(2):
            number += 1
            try:
                s.send((head + mark + struct.pack('>BQ', i, number) + tail).ljust(60, b'\0'))
            except OSError:
                try: s = port()  # the port went away and came back
                except OSError: pass
    time.sleep(0.001)
"""

COUNTER = r"""
import json, select, socket, struct, sys, time
mark, flows = sys.argv[1].encode(), int(sys.argv[2])
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
s.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE
counts, first, told = [0] * flows, [None] * flows, 0
while True:
    if select.select([s], [], [], 0.1)[0]:
        try: frame, where = s.recvfrom(2048)
        except OSError: continue
        at = frame.find(mark)
        if where[2] != 4 and at > 0:  # not what leaves here
            flow, number = struct.unpack_from('>BQ', frame, at + len(mark))
            counts[flow] += 1
            first[flow] = first[flow] or number
    if time.monotonic() - told > 0.1:
        told = time.monotonic()
        print(json.dumps([counts, first]), flush=True)
"""


def mac(text):
    return bytes.fromhex(text.replace(":", ""))


def experimental(source, to):
    """No protocol that anybody knows: judged by the link address alone."""
    return mac(to) + mac(source) + b"\x88\xb5", b""


def ipv4(source, to, source_mac, to_mac):
    from scapy.all import IP, UDP, Ether
    body = bytes(Ether(src=source_mac, dst=to_mac) / IP(src=source, dst=to) / UDP(sport=4000, dport=9, chksum=0)
                 / (MARK + bytes(9)))
    return body[:-len(MARK) - 9], b""


def ipv6(source, to, source_mac, to_mac):
    from scapy.all import UDP, Ether, IPv6
    body = bytes(Ether(src=source_mac, dst=to_mac) / IPv6(src=source, dst=to) / UDP(sport=4000, dport=9) / (MARK + bytes(9)))
    return body[:-len(MARK) - 9], b""


class Flows:
    """From `bad` to `good` and back: one flow of each kind of verdict, and an honest one."""

    verdicts = {"MAC": None, "IPv4": "192.168.77.201", "IPv6": "fd77::c9", "prefix": "192.168.90.0/24"}
    names = [*verdicts, HONEST]

    def __init__(self, bad, good):
        self.bad, self.good = bad, good
        self.addresses = {**self.verdicts, "MAC": bad.mac}
        self.streams = []
        for sender, counter, out in ((bad, good, True), (good, bad, False)):
            counting = counter.watch(PYTHON, "-c", COUNTER, MARK.decode(), len(self.names))
            flows = [[part.hex() for part in self.frame(name, out)] for name in self.names]
            sending = sender.popen(PYTHON, "-c", SENDER, MARK.decode(), json.dumps(flows), stderr=subprocess.DEVNULL)
            self.streams.append((counting, sending))

    def frame(self, name, out):
        """A frame of this flow, from the bad one's side (`out`) or to it."""
        bad, good = {"MAC": self.bad.mac}.get(name, "06:00:00:00:aa:%02x" % self.names.index(name)), self.good.mac
        ours = {"IPv4": "192.168.77.201", "IPv6": "fd77::c9", "prefix": "192.168.90.7", HONEST: "192.168.91.7"}.get(name)
        macs = (bad, good) if out else (good, bad)
        if ours is None:
            return experimental(*macs)
        other = self.good.ip6 if ":" in ours else self.good.ip4
        ends = (ours, other) if out else (other, ours)
        return (ipv6 if ":" in ours else ipv4)(*ends, *macs)

    def counts(self):
        """{flow: packets that arrived}, for each way."""
        out = []
        for counting, sending in self.streams:
            assert sending.poll() is None and counting.proc.poll() is None, counting.text()[-500:]
            lines = [ln for ln in counting.lines() if ln.startswith("[") and ln.endswith("]")]
            out.append(dict(zip(self.names, json.loads(lines[-1])[0])) if lines else dict.fromkeys(self.names, 0))
        return out

    def wait_open(self, names=None, seconds=20):
        """Until more packets of these flows come, both ways."""
        before = self.counts()
        names = names or self.names
        wait_until(lambda: all(now[n] > then[n] + 20 for now, then in zip(self.counts(), before) for n in names), seconds,
                   f"packets of {names}: {before}")

    def settle(self):
        """The counts once everything that was on its way has been counted."""
        self.wait_open([HONEST])
        return self.counts()

    def none_arrived(self, before, what):
        """Not one of those who are cut off since then; the honest ones go on."""
        after = self.settle()
        leaked = {n: [a[n] - b[n] for a, b in zip(after, before)] for n in self.verdicts}
        honest = [a[HONEST] - b[HONEST] for a, b in zip(after, before)]
        print(f"{what}: of the honest {honest} arrived, of the others {list(leaked.values())}")
        assert not any(map(any, leaked.values())), f"{what}: {leaked}"
