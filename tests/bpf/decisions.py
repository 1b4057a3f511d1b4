# SPDX-License-Identifier: GPL-2.0-only
"""Draws what is decided about the addresses that frames.py uses, as commands of oracle.c."""

from frames import (DEVICE4, DEVICE6, DEVICE_MACS, GATEWAY4, GATEWAY6, GATEWAY_MAC, OTHER4, OTHER6, PREFIXES, SERVICES)

MODES = ["isolate", "remediate", "remediate", "observe"]
OURS = [GATEWAY_MAC, GATEWAY4, GATEWAY6]


class Decisions:
    def __init__(self, frames):
        self.frames = frames

    def one(self):
        """Everything that holds in one case. Who is known comes first, so that nobody is in his way."""
        f = self.frames
        decided = ["ours " + " ".join(OURS)] if f.odds(0.85) else []
        decided += self.known()
        decided += [self.verdict() for _ in range(f.pick([0, 1, 1, 2, 3, 6, 12]))]
        decided += [f"bind {ip}" for ip in self.owned(decided) if f.odds(0.3)]
        if f.odds(0.25):
            decided.append(f"unknown {f.pick(MODES)}")
        if f.odds(0.5):
            decided += ["locals 192.0.2.0/24 2001:db8::/64"] if f.odds(0.8) else []
            for number in range(1, f.pick([2, 2, 3])):
                decided += self.policy(number)
        return decided

    def known(self):
        f = self.frames
        return [" ".join(["known", mac] + [ip for ip in (four, six) if f.odds(0.8)])
                for mac, four, six in zip(DEVICE_MACS, DEVICE4, DEVICE6) if f.odds(0.6)]

    def owned(self, decided):
        return [ip for command in decided if command.startswith("known ") for ip in command.split()[2:]]

    def verdict(self):
        f = self.frames
        hosts = DEVICE_MACS * 2 + DEVICE4 + DEVICE6 + OTHER4[:1] + OTHER6[5:6]
        address = f.pick(PREFIXES) if f.odds(0.35) else f.pick(hosts)
        kind = f.random.random()
        end = "" if kind < 0.7 else " 3600" if kind < 0.9 else " 0.05"
        return f"verdict {address} {f.pick(MODES)}{end}"

    def policy(self, number):
        f = self.frames
        flags = f.pick(["enforce", "enforce", "report,enforce", "learn,enforce", "report", "learn", "-"])
        rules = [self.rule() for _ in range(f.pick([0, 1, 2, 4, 8]))]
        peers = [f"peer {f.pick(DEVICE4 + DEVICE6 + OTHER4 + OTHER6[:6] + PREFIXES)} {f.random.getrandbits(len(rules)):x}"
                 for _ in range(f.pick([0, 1, 3])) if rules]
        holders = f.random.sample(DEVICE_MACS + DEVICE4 + DEVICE6, f.pick([1, 2, 3]))
        return ([f"policy {number} {flags} 0 0"] + rules + list({p.split()[1]: p for p in peers}.values()) + ["commit"]
                + [f"attach {holder} {number}" for holder in holders])

    def rule(self):
        f = self.frames
        direction, family = f.pick(["from", "to"]), f.pick([0, 0, 4, 6])
        protocol = f.pick([0, 0, 6, 6, 17, 17, 1, 58, 2, 253])
        classes = f.pick(["any", "local", "gateway", "local,gateway", "-", "-"])
        no_open = " no-open" if protocol in (0, 6) and f.odds(0.3) else ""
        return f"rule {direction} {family} {protocol} {self.ports()} {self.ports()} {classes}{no_open}"

    def ports(self):
        f = self.frames
        if f.odds(0.6):
            return "0-65535"
        return "-".join(str(port) for port in sorted([f.pick(SERVICES + [0, 8, 128]), f.pick(SERVICES)]))
