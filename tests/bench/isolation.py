#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Cordon's isolation on the wire, beside bare XDP and other filters in one run.

    CORDON_BUILD=build/release tests/bench/isolation.py [--only PART…] [--rounds 5] [--seconds 0.5] [--json]

drop      frames of condemned sources a second that a filter drops, and its CPU time for each: bare XDP_DROP,
          Cordon at 1, 1,000 and 100,000 verdicts, xdp-filter, nftables, ebtables, iptables with ipset
forward   UDP packets a second through a router, with Cordon at its LAN port and without
tcp       iperf3 through the same router
verdicts  bench_verdicts: loading, reaction and memory, in process
command   reaction.py: from the command's start to the last packet through
start     start.py: from a start to 100,000 stored verdicts in force

With two CPUs one sends, and the receiving port's NAPI has a thread of its own on the other: its CPU time is
what the filter and the way to it cost, but a fast filter waits for the sender. With one CPU the same does
both, as softirqs are handled, and the CPU time is that of both. Every way has its turn in each round; ratios
are medians of those within a round. Root; all traffic stays in namespaces made here."""

import argparse
import json
import math
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
os.environ.setdefault("CORDON_BUILD", str(REPO / "build" / "release"))
sys.path.insert(0, str(REPO / "tests" / "system"))

import lab as site  # noqa: E402

TOOLS = site.BUILD / "tests"
WIRE = TOOLS / "bench_wire"
SENDER_CPU, FILTER_CPU = "0", "1"
GATEWAY_MAC, DEVICE_MAC = "02:00:00:00:00:fe", "02:00:00:00:00:01"  # as the harness builds frames
BRIDGED_MAC = "02:00:00:00:00:fd"
TARGET4, TARGET6 = "192.0.2.1", "2001:db8::1"
PACKAGES = {"nft": "nftables", "ebtables-nft": "iptables", "iptables": "iptables", "ip6tables": "iptables",
            "ipset": "ipset", "iperf3": "iperf3"}


class Unavailable(Exception):
    """This way of filtering is not possible here; says why."""


def need(*tools):
    for tool in tools:
        if not shutil.which(tool):
            raise Unavailable(f"{tool} is not installed (Debian: apt-get install {PACKAGES[tool]})")


def must(ns, *args, stdin=None):
    """Run what a peer needs; what this kernel refuses is no failure of the bench."""
    done = ns.run(*args, check=False, stdin=stdin)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise Unavailable(f"{args[0]}: {said[0] if said else done.returncode}")


def addresses(kind, count):
    return site.run([WIRE, "list", kind, count]).stdout.split()


class Place:
    """Namespaces that go with close(), also when they could not all be made."""

    def __init__(self, *names):
        self.spaces = []
        try:
            for name in names:
                self.spaces.append(site.Ns(name))
            self.build(*self.spaces)
        except BaseException:
            self.close()
            raise

    def build(self, *spaces):
        raise NotImplementedError

    def close(self):
        for ns in self.spaces:
            ns.close()


# ---- a port whose packets are handled by a thread ----

class Port:
    """One end of a veth pair, as the filter's side: GRO switches NAPI on, a thread on a CPU of its own runs it."""

    def __init__(self, ns, name, one_cpu):
        self.ns, self.name, self.one_cpu = ns, name, one_cpu
        ns.run("ethtool", "-K", name, "gro", "on")
        if not one_cpu:
            ns.run("sh", "-c", f"echo 1 > /sys/class/net/{name}/threaded")

    def thread(self):
        """The NAPI thread; another program at the port may have given it a new one."""
        for comm in Path("/proc").glob("[0-9]*/comm"):
            try:
                if comm.read_text().startswith(f"napi/{self.name}-"):
                    return comm.parent
            except OSError:
                continue
        raise site.Failed(f"{self.name} has no NAPI thread: threaded NAPI needs Linux 5.12")

    def pin(self):
        if not self.one_cpu:
            site.run(["taskset", "-pc", FILTER_CPU, self.thread().name])

    def cpu_ns(self):
        """Of the thread; 0 without one: the sender's own time holds it."""
        return 0 if self.one_cpu else int((self.thread() / "schedstat").read_text().split()[0])

    def spent_ns(self, before, sent):
        """CPU time for what was sent: the thread's, or that of sender and port together."""
        return sent["cpu_seconds"] * 1e9 if self.one_cpu else self.cpu_ns() - before


def counter(ns, port, column):
    """0: bytes in, 1: packets in, 9: packets out."""
    for line in ns.run("cat", "/proc/net/dev").stdout.splitlines():
        name, _, figures = line.partition(":")
        if name.strip() == port:
            return int(figures.split()[column])
    raise site.Failed(f"no port {port}")


def rx_packets(ns, port):
    return counter(ns, port, 1)


def link(a, port_a, mac_a, b, port_b, mac_b):
    site.run(["ip", "link", "add", port_a, "netns", a.name, "address", mac_a, "type", "veth",
              "peer", "name", port_b, "netns", b.name, "address", mac_b])
    for ns, port in ((a, port_a), (b, port_b)):
        ns.sysctl(f"net.ipv6.conf.{port}.accept_dad", 0)
        ns.sysctl(f"net.ipv4.conf.{port}.rp_filter", 0)
        ns.run("ip", "link", "set", port, "up")


def port_name(letter):
    """Of this run alone: the threads of all namespaces are in one list."""
    return f"{letter}{os.getpid() % 0x10000:x}"


class Program:
    """A program that bench_wire holds at a port."""

    def __init__(self, ns, port, what, how, kind, verdicts, known=0):
        self.proc = ns.popen(WIRE, "hold", port, what, how, kind, verdicts, known,
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if self.proc.stdout.readline() != b"ready\n":
            self.proc.wait()
            raise Unavailable(self.proc.stderr.read().decode().strip())

    def close(self):
        self.proc.stdin.close()
        self.proc.wait(20)


def send(ns, port, who, kind, sources, seconds):
    done = ns.run("taskset", "-c", SENDER_CPU, WIRE, "send", port, who, kind, sources, seconds)
    return json.loads(done.stdout)


# ---- dropping ----

class Wire(Place):
    """A sender and a receiver; for bridges the receiver's port can be one of br0, beside a second."""

    def __init__(self, one_cpu):
        self.one_cpu = one_cpu
        super().__init__("send", "drop")

    def build(self, sender, receiver):
        self.sender, self.receiver = sender, receiver
        self.out_port, self.in_port = port_name("s"), port_name("r")
        r = self.receiver
        link(self.sender, self.out_port, DEVICE_MAC, r, self.in_port, GATEWAY_MAC)
        sender.sysctl("net.ipv6.conf.all.disable_ipv6", 1)  # nothing but the bench's packets
        r.run("ip", "address", "add", f"{TARGET4}/24", "dev", self.in_port)
        r.run("ip", "address", "add", f"{TARGET6}/64", "dev", self.in_port, "nodad")
        r.run("ip", "link", "add", "br0", "type", "bridge", "mcast_snooping", "0", "forward_delay", "0")
        r.run("ip", "link", "add", "out0", "type", "veth", "peer", "name", "out1")
        r.run("ip", "link", "set", "out0", "master", "br0")
        for port in ("br0", "out0", "out1"):
            r.sysctl(f"net.ipv6.conf.{port}.disable_ipv6", 1)
            r.run("ip", "link", "set", port, "up")
        self.port = Port(r, self.in_port, self.one_cpu)

    def bridge(self, on):
        """As a port of br0 it has another MAC: what is sent to the gateway's goes on to the second port."""
        self.receiver.run("ip", "link", "set", self.in_port, "address", BRIDGED_MAC if on else GATEWAY_MAC,
                          *(("master", "br0") if on else ("nomaster",)))

    def through(self):
        """Packets that no filter stopped: at UDP, or out of the bridge."""
        names = r"^(?:Udp6(?:NoPorts|InErrors|InDatagrams))\s+(\d+)"
        six = sum(map(int, re.findall(names, self.receiver.run("cat", "/proc/net/snmp6").stdout, re.M)))
        four = re.findall(r"^Udp: (\d.*)", self.receiver.run("cat", "/proc/net/snmp").stdout, re.M)[0].split()
        return six + sum(map(int, four[:3])) + counter(self.receiver, "out0", 9)


class Way:
    """One way to drop what `verdicts` sources of a kind send."""

    family, bridged, passes = None, False, False

    def __init__(self, kind, verdicts):
        self.kind, self.verdicts = kind, verdicts
        self.samples, self.why_not = [], None  # None among them: not in this round

    @property
    def title(self):
        return f"{self.family}, {self.verdicts} by {self.kind}"

    def install(self, wire):
        """Put it in place; returns what takes it away again."""
        raise NotImplementedError

    def measure(self, wire, seconds):
        """Packets a second that the port handled, CPU ns for each."""
        if self.bridged:
            wire.bridge(True)
        try:
            remove = self.install(wire)
            try:
                return self._run(wire, seconds)
            finally:
                remove()
        finally:
            if self.bridged:
                wire.bridge(False)

    def _run(self, wire, seconds):
        wire.port.pin()
        send(wire.sender, wire.out_port, "condemned", self.kind, self.verdicts, 0.02)
        time.sleep(0.05)
        packets, before = -rx_packets(wire.receiver, wire.in_port), wire.port.cpu_ns()
        through = -wire.through()
        sent = send(wire.sender, wire.out_port, "condemned", self.kind, self.verdicts, seconds)
        time.sleep(0.02)
        packets += rx_packets(wire.receiver, wire.in_port)
        spent = wire.port.spent_ns(before, sent)
        through += wire.through()
        if through != 0 and not self.passes or through < packets / 2 and self.passes:
            raise site.Failed(f"{self.title}: {through} of {packets} packets came through")
        return packets / sent["seconds"], spent / packets


class Nothing(Way):
    """No filter: what it costs when all come through, and the proof that the count of those counts."""

    family, passes = "nothing", True

    def __init__(self, bridged):
        super().__init__("ipv4", 1)
        self.bridged = bridged

    @property
    def title(self):
        return "nothing, up to UDP" if not self.bridged else "nothing, through the bridge"

    def install(self, wire):
        return lambda: None


class Held(Way):
    """A program that bench_wire attaches."""

    def __init__(self, what, how, kind, verdicts):
        super().__init__(kind, verdicts)
        self.what, self.how = what, how
        self.family = what if how == "native" else f"{what}, {how}"

    def install(self, wire):
        return Program(wire.receiver, wire.in_port, self.what, self.how, self.kind, self.verdicts).close


class Bare(Held):
    def __init__(self):
        super().__init__("drop", "native", "ipv4", 1)

    @property
    def title(self):
        return "bare XDP_DROP"


NFT_TYPE = {"mac": "ether_addr", "ipv4": "ipv4_addr", "ipv6": "ipv6_addr"}
NFT_MATCH = {"mac": "ether saddr", "ipv4": "ip saddr", "ipv6": "ip6 saddr"}


class Nftables(Way):
    """A set in the ingress hook of a device, or in a bridge's first hook."""

    def __init__(self, kind, verdicts, bridged=False):
        super().__init__(kind, verdicts)
        self.bridged = bridged
        self.family = "nftables bridge" if bridged else "nftables netdev"

    def install(self, wire):
        need("nft")
        family = "bridge" if self.bridged else "netdev"
        hook = "prerouting priority -300" if self.bridged else f'ingress device "{wire.in_port}" priority -500'
        rules = (f"table {family} cordon_bench {{\n"
                 f"set s {{ type {NFT_TYPE[self.kind]}; elements = {{ "
                 + ", ".join(addresses(self.kind, self.verdicts)) + " }; }\n"
                 f"chain c {{ type filter hook {hook}; {NFT_MATCH[self.kind]} @s drop; }}\n}}\n")
        must(wire.receiver, "nft", "-f", "-", stdin=rules)
        return lambda: wire.receiver.run("nft", "delete", "table", family, "cordon_bench")


class Ebtables(Way):
    """Its only way to hold many addresses is a list of MACs: --among-src."""

    family, bridged = "ebtables", True

    def install(self, wire):
        need("ebtables-nft")
        macs = wire.receiver.name + ".macs"
        path = Path("/tmp") / macs
        path.write_text(",".join(addresses("mac", self.verdicts)) + "\n")
        try:
            must(wire.receiver, "ebtables-nft", "-A", "FORWARD", "--among-src-file", path, "-j", "DROP")
        finally:
            path.unlink()
        return lambda: wire.receiver.run("ebtables-nft", "-F", "FORWARD")


class Iptables(Way):
    """ipset in the raw table: before connection tracking and routing."""

    family = "iptables raw, ipset"

    def install(self, wire):
        tool, family = ("ip6tables", "inet6") if self.kind == "ipv6" else ("iptables", "inet")
        need("ipset", tool)
        ns = wire.receiver
        entries = "".join(f"add s {a}\n" for a in addresses(self.kind, self.verdicts))
        rule = ("PREROUTING", "-m", "set", "--match-set", "s", "src", "-j", "DROP")

        def remove():
            ns.run(tool, "-t", "raw", "-F", "PREROUTING", check=False)
            ns.run("ipset", "destroy", "s", check=False)

        try:
            must(ns, "ipset", "restore",
                 stdin=f"create s hash:ip family {family} maxelem 131072\n{entries}")
            must(ns, tool, "-t", "raw", "-A", *rule)
        except Unavailable:
            remove()
            raise
        return remove


KINDS = ("mac", "ipv4", "ipv6")


def ways(sizes):
    """The bare program first: the others are compared with it."""
    middle = sizes[len(sizes) // 2]
    out = [Bare()]
    out += [Held("cordon", "native", k, n) for n in sizes for k in KINDS]
    out += [Held("cordon", how, k, middle) for how in ("generic", "tc") for k in KINDS]
    out += [Held("xdp-filter", "native", k, n) for n in sizes for k in KINDS]
    out += [Nftables(k, n) for n in sizes for k in KINDS]
    out += [Nftables(k, middle, bridged=True) for k in KINDS]
    out.append(Ebtables("mac", middle))
    out += [Iptables(k, middle) for k in ("ipv4", "ipv6")]
    return out + [Nothing(bridged=False), Nothing(bridged=True)]


def rounds_of(all_ways, wire, options):
    for _ in range(options.rounds):
        for way in all_ways:
            sample = None
            if way.why_not is None or any(way.samples):
                try:
                    sample = way.measure(wire, options.seconds)
                except Unavailable as why:
                    way.why_not = str(why)
            way.samples.append(sample)


def drop(options):
    """The ways by number of CPUs."""
    out = {}
    for cpus in options.cpus:
        out[cpus] = ways(options.verdicts)
        wire = Wire(one_cpu=cpus == 1)
        try:
            rounds_of(out[cpus], wire, options)
        finally:
            wire.close()
    return out


def middle_of(samples, figure):
    return statistics.median(s[figure] for s in samples if s)


def ratio(ours, base, figure):
    """The median of the ratios in the rounds that both were in."""
    return statistics.median([a[figure] / b[figure] for a, b in zip(ours, base) if a and b] or [math.nan])


def show_drop(by_cpus):
    for cpus, all_ways in by_cpus.items():
        print(f"dropped on the wire with {cpus} CPU{'s' if cpus > 1 else ''}, median of "
              f"{len(all_ways[0].samples)} rounds; beside bare")
        show_ways(all_ways)
        show_targets(all_ways)


def show_ways(all_ways):
    bare = all_ways[0].samples
    print(f"{'':36}{'Mpps':>8}{'ratio':>8}{'ns/packet':>12}{'ratio':>8}")
    for way in all_ways:
        if not any(way.samples):
            print(f"{way.title:36}  not here: {way.why_not}")
            continue
        print(f"{way.title:36}{middle_of(way.samples, 0) / 1e6:8.2f}{ratio(way.samples, bare, 0):8.2f}"
              f"{middle_of(way.samples, 1):12.0f}{ratio(way.samples, bare, 1):8.2f}")
        if way.why_not is not None:
            print(f"{'':36}  {way.samples.count(None)} rounds failed: {way.why_not}")


TARGETS = {"drop": 0.9, "xdp-filter": 1.0, "nftables netdev": 3.0}


def show_targets(all_ways):
    """Where Cordon drops fewer packets a second than so many times what a peer of the same set does."""
    for way in [w for w in all_ways if w.family == "cordon"]:
        for peer in [p for p in all_ways if p.family in TARGETS]:
            alike = peer.family == "drop" or (peer.kind, peer.verdicts) == (way.kind, way.verdicts)
            got = ratio(way.samples, peer.samples, 0)
            if alike and got < TARGETS[peer.family]:
                print(f"{way.title}: {got:.2f} times {peer.family}, asked for at least {TARGETS[peer.family]}  under")
    print()


# ---- forwarding ----

KNOWN = 3000
MODES = ("none", "native", "generic", "tc")


class Router(Place):
    """device – router – server. The ports toward the others carry the MAC and address that frames go to."""

    def __init__(self):
        super().__init__("device", "router", "server")

    def build(self, *spaces):
        self.device, self.router, self.server = spaces
        self.lan, self.wan = port_name("l"), port_name("w")
        link(self.device, "eth0", DEVICE_MAC, self.router, self.lan, GATEWAY_MAC)
        link(self.server, "eth0", DEVICE_MAC, self.router, self.wan, GATEWAY_MAC)
        for ns, port, address in ((self.device, "eth0", "192.168.7.2"), (self.router, self.lan, "192.168.7.1"),
                                  (self.server, "eth0", "192.168.8.2"), (self.router, self.wan, "192.168.8.1")):
            ns.run("ip", "address", "add", f"{address}/24", "dev", port)
        self.device.run("ip", "route", "add", "default", "via", "192.168.7.1")
        self.server.run("ip", "route", "add", "default", "via", "192.168.8.1")
        for ns in spaces:  # what arrives at the far end stays there
            ns.sysctl("net.ipv4.ip_forward", 1 if ns is self.router else 0)

    def toward(self, far):
        """Frames to TARGET4 leave on this side."""
        port = self.wan if far is self.server else self.lan
        self.router.run("ip", "route", "replace", f"{TARGET4}/32", "dev", port)
        self.router.run("ip", "neigh", "replace", TARGET4, "lladdr", DEVICE_MAC, "dev", port)

    def program(self, mode):
        if mode == "none":
            return lambda: None
        return Program(self.router, self.lan, "cordon", mode, "mac", 1000, KNOWN).close


def forwarded(place, near, far, entry, seconds):
    """Packets a second that reach the far end, CPU ns of the router's thread for each."""
    place.toward(far)
    entry.pin()
    send(near, "eth0", "known", "ipv4", KNOWN // 3, 0.02)
    time.sleep(0.05)
    packets, before = -rx_packets(far, "eth0"), entry.cpu_ns()
    sent = send(near, "eth0", "known", "ipv4", KNOWN // 3, seconds)
    time.sleep(0.02)
    packets += rx_packets(far, "eth0")
    spent = entry.spent_ns(before, sent)
    if packets < 1000:
        raise site.Failed(f"only {packets} packets were forwarded")
    return packets / sent["seconds"], spent / packets


def forward(options):
    place = Router()
    samples = {(way, mode): [] for way in ("from device", "to device") for mode in MODES}
    try:
        ports = {"from device": Port(place.router, place.lan, one_cpu=False),
                 "to device": Port(place.router, place.wan, one_cpu=False)}
        ends = {"from device": (place.device, place.server), "to device": (place.server, place.device)}
        for _ in range(options.rounds):
            for mode in MODES:
                remove = place.program(mode)
                try:
                    for way, port in ports.items():
                        samples[way, mode].append(forwarded(place, *ends[way], port, options.seconds))
                finally:
                    remove()
    finally:
        place.close()
    return samples


def show_forward(samples):
    print("UDP forwarded by a router, Cordon at its LAN port; beside none\n"
          f"{'':36}{'kpps':>8}{'ratio':>8}{'ns/packet':>12}{'ratio':>8}")
    for (way, mode), got in samples.items():
        base = samples[way, "none"]
        print(f"{way + ', ' + mode:36}{middle_of(got, 0) / 1e3:8.0f}{ratio(got, base, 0):8.2f}"
              f"{middle_of(got, 1):12.0f}{ratio(got, base, 1):8.2f}")
    print()


# ---- TCP ----

def iperf(place, reverse, seconds):
    """Gbit/s between device and server."""
    server = place.server.popen("iperf3", "-s", "-1", stdout=subprocess.DEVNULL)
    site.wait_until(lambda: ":5201" in place.server.run("ss", "-ltn").stdout, 10, "iperf3 to listen")
    done = place.device.run("iperf3", "-c", "192.168.8.2", "-J", "-t", max(seconds, 1), *(["-R"] if reverse else []))
    server.wait(20)
    return (json.loads(done.stdout)["end"]["sum_received"]["bits_per_second"] / 1e9,)


def tcp(options):
    need("iperf3")
    place = Router()
    samples = {(way, mode): [] for way in ("from device", "to device") for mode in MODES}
    try:
        for _ in range(options.rounds):
            for mode in MODES:
                remove = place.program(mode)
                try:
                    for way in ("from device", "to device"):
                        samples[way, mode].append(iperf(place, way == "to device", options.seconds))
                finally:
                    remove()
    finally:
        place.close()
    return samples


def show_tcp(samples):
    print(f"TCP through the router (iperf3), Cordon at its LAN port; beside none\n{'':36}{'Gbit/s':>8}{'ratio':>8}")
    for (way, mode), got in samples.items():
        print(f"{way + ', ' + mode:36}{middle_of(got, 0):8.1f}"
              f"{ratio(got, samples[way, 'none'], 0):8.2f}")
    print()


# ---- all ----

def outside(*args):
    """Another tool of this directory, in its own words."""
    sys.stdout.flush()
    if subprocess.run([str(a) for a in args], check=False).returncode != 0:
        print(f"{args[0]}: failed", file=sys.stderr)


def plain(name, got):
    """Keys and samples as JSON can say them."""
    if name == "drop":
        return {cpus: {way.title: way.samples if any(way.samples) else way.why_not for way in all_ways}
                for cpus, all_ways in got.items()}
    return {", ".join(key): samples for key, samples in got.items()}


PARTS = {"drop": (drop, show_drop), "forward": (forward, show_forward), "tcp": (tcp, show_tcp)}
OUTSIDE = {"verdicts": (TOOLS / "bench_verdicts",), "command": (Path(__file__).with_name("reaction.py"),),
           "start": (Path(__file__).with_name("start.py"),)}


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--only", nargs="+", choices=[*PARTS, *OUTSIDE], default=[*PARTS, *OUTSIDE])
    args.add_argument("--rounds", type=int, default=5)
    args.add_argument("--seconds", type=float, default=0.5, help="of each sample")
    args.add_argument("--verdicts", type=int, nargs="+", default=[1, 1000, 100000],
                      help="sizes of the sets in drop; some peers have only the middle one")
    args.add_argument("--cpus", type=int, nargs="+", choices=[1, 2], default=[2, 1], help="for drop")
    args.add_argument("--json", action="store_true", help="the samples of drop, forward and tcp")
    options = args.parse_args()
    if os.geteuid() != 0 or not WIRE.exists():
        sys.exit(f"needs root and {WIRE} (a release build; CORDON_BUILD names it)")
    if os.cpu_count() < 2:
        sys.exit("needs two CPUs: one sends, one receives")
    results = {}
    for name in options.only:
        if name in OUTSIDE:
            if not options.json:
                outside(*OUTSIDE[name])
            continue
        measure, show = PARTS[name]
        try:
            got = measure(options)
        except Unavailable as why:
            print(f"{name}: left out: {why}", file=sys.stderr)
            continue
        results[name] = plain(name, got)
        if not options.json:
            show(got)
    if options.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
