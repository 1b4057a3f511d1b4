# SPDX-License-Identifier: GPL-2.0-only
"""A strict reading of MUD files by the YANG modules of RFC 8519 and RFC 8520, with nothing of Cordon in it: which
members may be where, of which type, and what must be there. `faults(file)` lists what is wrong."""

import ipaddress
import re

MUD = "ietf-mud:mud"
ACLS = "ietf-access-control-list:acls"
HOST = re.compile(r"(?=.{1,253}\Z)(([A-Za-z0-9_][A-Za-z0-9_-]{0,61})?[A-Za-z0-9]\.)*"
                  r"([A-Za-z0-9_][A-Za-z0-9_-]{0,61})?[A-Za-z0-9]\Z")  # RFC 6991, domain-name
CONTROLS = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\ufdd0-\ufdef\ufffe\uffff]")  # RFC 7950 §9.4
TIME = re.compile(r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$")


def text(value):
    return isinstance(value, str) and not CONTROLS.search(value)


def flag(value):
    return isinstance(value, bool)


def empty(value):
    return value == [None]  # RFC 7951 §6.9


def number(low, high):
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def pattern(expression):
    return lambda value: isinstance(value, str) and bool(expression.match(value))


def prefix(kind):
    def check(value):
        try:
            return isinstance(value, str) and "/" in value and bool(kind(value, strict=False))
        except ValueError:
            return False
    return check


def one_of(*words):
    return lambda value: value in words


uri = pattern(re.compile(r"^[a-z][a-z0-9+.-]*:\S+$"))
host = pattern(HOST)
name = pattern(re.compile(r"^\S{1,64}$"))
port = number(0, 65535)

IP = {"dscp": number(0, 63), "ecn": number(0, 3), "length": port, "ttl": number(0, 255), "protocol": number(0, 255),
      "ietf-acldns:src-dnsname": host, "ietf-acldns:dst-dnsname": host}
V4 = {**IP, "source-ipv4-network": prefix(ipaddress.IPv4Network),
      "destination-ipv4-network": prefix(ipaddress.IPv4Network)}
V6 = {**IP, "source-ipv6-network": prefix(ipaddress.IPv6Network),
      "destination-ipv6-network": prefix(ipaddress.IPv6Network), "flow-label": number(0, 1048575)}
CLASSES = {"manufacturer": host, "same-manufacturer": empty, "model": uri, "local-networks": empty,
           "controller": uri, "my-controller": empty}
HEAD = {"mud-version": one_of(1), "mud-url": pattern(re.compile(r"^https://\S+$")), "last-update": pattern(TIME),
        "mud-signature": uri, "cache-validity": number(1, 168), "is-supported": flag, "systeminfo": text,
        "mfg-name": text, "model-name": text, "firmware-rev": text, "software-rev": text, "documentation": uri}


class Reader:
    def __init__(self):
        self.faults = []

    def must(self, holds, where, what):
        if not holds:
            self.faults.append(f"{where}: {what}")
        return holds

    def members(self, value, known, where, needed=()):
        """An object with these leaves and no others."""
        if not self.must(isinstance(value, dict), where, "is no object"):
            return
        for key, leaf in value.items():
            if self.must(key in known, where, f"has no member {key}"):
                self.must(known[key](leaf), f"{where}/{key}", f"cannot be {leaf!r}")
        for key in needed:
            self.must(key in value, where, f"needs {key}")

    def ports(self, value, where):
        if "operator" in value or "port" in value:
            self.members(value, {"operator": one_of("lte", "gte", "eq", "neq"), "port": port}, where, ["port"])
            return
        self.members(value, {"lower-port": port, "upper-port": port}, where, ["lower-port", "upper-port"])
        self.must(value.get("lower-port", 0) <= value.get("upper-port", 0), where, "is a range that ends early")

    def layer4(self, value, where, tcp):
        for key in ("source-port", "destination-port"):
            if key in value:
                self.ports(value[key], f"{where}/{key}")
        rest = {k: v for k, v in value.items() if not k.endswith("-port")}
        known = {"ietf-mud:direction-initiated": one_of("to-device", "from-device")} if tcp else {}
        self.members(rest, known, where)

    def matches(self, value, where, kind):
        choices = [("ipv4", "ipv6"), ("tcp", "udp", "icmp")]
        for choice in choices:  # YANG's choice: one case at most
            self.must(len([k for k in choice if k in value]) <= 1, where, f"has more than one of {choice}")
        for key, part in value.items():
            at = f"{where}/{key}"
            if key in ("ipv4", "ipv6"):
                self.must(kind == f"{key}-acl-type", at, f"is in a list of type {kind}")
                self.members(part, V4 if key == "ipv4" else V6, at)
            elif key in ("tcp", "udp"):
                self.layer4(part, at, key == "tcp")
                protocol = (value.get("ipv4") or value.get("ipv6") or {}).get("protocol")
                self.must(protocol in (None, 6 if key == "tcp" else 17), at, f"is not protocol {protocol}")
            elif key == "icmp":
                self.members(part, {"type": number(0, 255), "code": number(0, 255)}, at)
            elif key == "ietf-mud:mud":
                self.members(part, CLASSES, at)
            else:
                self.must(False, where, f"has no member {key}")

    def ace(self, value, where, kind):
        self.must(set(value) <= {"name", "matches", "actions"}, where, f"has {sorted(value)}")
        self.must(name(value.get("name")), where, "needs a name")
        self.matches(value.get("matches", {}), where, kind)
        self.members(value.get("actions", {}), {"forwarding": one_of("accept", "drop")}, f"{where}/actions",
                     ["forwarding"])

    def acl(self, value, where):
        self.must(set(value) == {"name", "type", "aces"}, where, f"has {sorted(value)}")
        self.must(name(value.get("name")), where, "needs a name")
        kind = value.get("type")
        self.must(kind in ("ipv4-acl-type", "ipv6-acl-type"), where, f"is of type {kind}")
        aces = value.get("aces", {}).get("ace", [])
        self.unique([a.get("name") for a in aces], where)
        for i, ace in enumerate(aces):
            self.ace(ace, f"{where}/{ace.get('name', i)}", kind)

    def unique(self, names, where):
        self.must(len(set(names)) == len(names), where, "has a key twice")

    def policy(self, mud, key, acls):
        lists = mud.get(key, {}).get("access-lists", {}).get("access-list", [])
        self.must(set(mud.get(key, {})) <= {"access-lists"}, key, "has other members")
        self.unique([entry.get("name") for entry in lists], key)
        for entry in lists:  # a leafref
            self.must(set(entry) == {"name"} and entry["name"] in acls, key, f"names {entry}, which is not there")
        return [entry.get("name") for entry in lists]

    def file(self, file):
        self.must(set(file) == {MUD, ACLS}, "the file", f"has {sorted(file)}")
        mud, acls = file.get(MUD, {}), file.get(ACLS, {}).get("acl", [])
        head = {k: v for k, v in mud.items() if not k.endswith("-device-policy")}
        self.members(head, HEAD, MUD, ["mud-version", "mud-url", "last-update", "is-supported"])
        self.unique([a.get("name") for a in acls], ACLS)
        for acl in acls:
            self.acl(acl, acl.get("name", "a list"))
        names = {a.get("name") for a in acls}
        used = [n for key in ("from-device-policy", "to-device-policy") for n in self.policy(mud, key, names)]
        self.must(sorted(used) == sorted(names), MUD, "does not use every list once")
        for acl in acls:
            self.ends(acl, "from" if acl["name"] in self.policy(mud, "from-device-policy", names) else "to")

    def ends(self, acl, direction):
        """RFC 8520 §3.13: the device's own end goes without saying."""
        own = ("source-", "ietf-acldns:src-") if direction == "from" else ("destination-", "ietf-acldns:dst-")
        for ace in acl["aces"]["ace"]:
            for layer in ("ipv4", "ipv6"):
                for key in ace.get("matches", {}).get(layer, {}):
                    self.must(not key.startswith(own), f"{acl['name']}/{ace['name']}", f"{key} is the device itself")


def faults(file):
    reader = Reader()
    reader.file(file)
    return reader.faults
