# SPDX-License-Identifier: GPL-2.0-only
"""MQTT 3.1.1 and 5 by hand, over TLS: every packet built from its bytes, so that a wrong one can be built
too, and every answer taken apart and checked on the way in. No MQTT library has a part in it."""

import collections
import contextlib
import ctypes
import itertools
import os
import socket
import ssl
import struct
import time

import pytest

from lab import GATEWAY4, Failed

(CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ,
 PINGRESP, DISCONNECT, AUTH) = range(1, 16)
TYPES = ("", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBSCRIBE", "SUBACK",
         "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH")

# Reason codes of MQTT 5 (§2.4) that the tests name.
SUCCESS, WITH_WILL, NO_SUBSCRIBERS, NO_SUBSCRIPTION = 0x00, 0x04, 0x10, 0x11
MALFORMED, PROTOCOL_ERROR, BAD_VERSION, BAD_CLIENT_ID = 0x81, 0x82, 0x84, 0x85
NOT_AUTHORIZED, BAD_AUTH_METHOD, KEEP_ALIVE, TAKEN_OVER = 0x87, 0x8C, 0x8D, 0x8E
BAD_FILTER, BAD_TOPIC, ID_IN_USE, ID_NOT_FOUND = 0x8F, 0x90, 0x91, 0x92
RECEIVE_MAXIMUM, BAD_ALIAS, TOO_LARGE, QUOTA = 0x93, 0x94, 0x95, 0x97
BAD_PAYLOAD, SHUTTING_DOWN = 0x99, 0x8B

# Subscription options (MQTT 5 §3.8.3.1), beside the QoS.
NO_LOCAL, AS_PUBLISHED, ONLY_NEW, NEVER_RETAINED = 0x04, 0x08, 0x10, 0x20

PATIENCE = 20.0  # seconds after which an answer is not coming

# name: (identifier, kind), MQTT 5 table 2-4
PROPERTIES = {
    "payload_format": (0x01, "u8"), "message_expiry": (0x02, "u32"), "content_type": (0x03, "text"),
    "response_topic": (0x08, "text"), "correlation": (0x09, "bytes"), "sub_id": (0x0B, "var"),
    "session_expiry": (0x11, "u32"), "assigned_client_id": (0x12, "text"), "server_keep_alive": (0x13, "u16"),
    "auth_method": (0x15, "text"), "auth_data": (0x16, "bytes"), "request_problem": (0x17, "u8"),
    "will_delay": (0x18, "u32"), "request_response": (0x19, "u8"), "response_info": (0x1A, "text"),
    "server_reference": (0x1C, "text"), "reason_string": (0x1F, "text"), "receive_maximum": (0x21, "u16"),
    "topic_alias_maximum": (0x22, "u16"), "topic_alias": (0x23, "u16"), "maximum_qos": (0x24, "u8"),
    "retain_available": (0x25, "u8"), "user": (0x26, "pair"), "maximum_packet_size": (0x27, "u32"),
    "wildcard_available": (0x28, "u8"), "sub_id_available": (0x29, "u8"), "shared_available": (0x2A, "u8"),
}
BY_ID = {ident: (name, kind) for name, (ident, kind) in PROPERTIES.items()}


def statement(*numbers):
    """Marks the test of a numbered statement ("MQTT-3.1.2-1"), or of a section without one ("§4.12")."""
    return pytest.mark.statement(*numbers)


# -- building --


def raw(value):
    return value.encode() if isinstance(value, str) else bytes(value)


def varint(n):
    out = bytearray()
    while True:
        n, low = divmod(n, 128)
        out.append(low | (0x80 if n else 0))
        if not n:
            return bytes(out)


def text(value):
    """Two bytes of length and the bytes; also what the standard calls binary data."""
    value = raw(value)
    return struct.pack(">H", len(value)) + value


def prop(name, value):
    """One property as on the wire."""
    ident, kind = PROPERTIES[name]
    if kind == "pair":
        body = text(value[0]) + text(value[1])
    elif kind in ("text", "bytes"):
        body = text(value)
    elif kind == "var":
        body = varint(value)
    else:
        body = value.to_bytes({"u8": 1, "u16": 2, "u32": 4}[kind], "big")
    return bytes([ident]) + body


def props(given):
    """The property block with its length: from {name: value}, where a list means several, from pairs, or
    from bytes that are taken as they are."""
    if isinstance(given, (bytes, bytearray)):
        return varint(len(given)) + given
    pairs = given.items() if isinstance(given, dict) else given
    body = b""
    for name, value in pairs:
        for each in value if isinstance(value, list) else [value]:
            body += prop(name, each)
    return varint(len(body)) + body


def packet(kind, flags, body):
    return bytes([kind << 4 | flags]) + varint(len(body)) + body


Will = collections.namedtuple("Will", "topic payload qos retain properties", defaults=(b"", 0, False, ()))


def connect(client_id="", version=5, clean=True, keep_alive=0, properties=(), will=None, user=None, password=None,
            name="MQTT", flags=None):
    """`flags`: the byte itself, where another than what belongs to the rest is wanted."""
    bits = 0x02 if clean else 0
    if will:
        bits |= 0x04 | will.qos << 3 | (0x20 if will.retain else 0)
    bits |= (0x80 if user is not None else 0) | (0x40 if password is not None else 0)
    body = text(name) + bytes([version, bits if flags is None else flags]) + struct.pack(">H", keep_alive)
    body += props(properties) if version >= 5 else b""
    body += text(client_id)
    if will:
        body += (props(will.properties) if version >= 5 else b"") + text(will.topic) + text(will.payload)
    body += text(user) if user is not None else b""
    body += text(password) if password is not None else b""
    return packet(CONNECT, 0, body)


def publish(topic, payload=b"", qos=0, packet_id=None, retain=False, dup=False, properties=(), version=5):
    body = text(topic)
    body += struct.pack(">H", packet_id) if packet_id is not None else b""
    body += props(properties) if version >= 5 else b""
    return packet(PUBLISH, dup << 3 | qos << 1 | retain, body + raw(payload))


def ack(kind, packet_id, reason=None, properties=None):
    """PUBACK, PUBREC, PUBREL, PUBCOMP; without a reason it is as short as in 3.1.1."""
    body = struct.pack(">H", packet_id)
    body += bytes([reason]) if reason is not None else b""
    body += props(properties) if properties is not None else b""
    return packet(kind, 2 if kind == PUBREL else 0, body)


def subscribe(packet_id, *filters, properties=(), version=5, flags=2):
    """`filters`: (filter, options byte)."""
    body = struct.pack(">H", packet_id) + (props(properties) if version >= 5 else b"")
    for filter_, options in filters:
        body += text(filter_) + bytes([options])
    return packet(SUBSCRIBE, flags, body)


def unsubscribe(packet_id, *filters, properties=(), version=5, flags=2):
    body = struct.pack(">H", packet_id) + (props(properties) if version >= 5 else b"")
    return packet(UNSUBSCRIBE, flags, body + b"".join(text(f) for f in filters))


def disconnect(reason=None, properties=None):
    body = bytes([reason]) if reason is not None else b""
    return packet(DISCONNECT, 0, body + (props(properties) if properties is not None else b""))


def auth(reason=None, properties=None):
    body = bytes([reason]) if reason is not None else b""
    return packet(AUTH, 0, body + (props(properties) if properties is not None else b""))


def pingreq():
    return packet(PINGREQ, 0, b"")


# -- taking apart; whatever the server sends must be right to the last bit --


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def left(self):
        return len(self.data) - self.at

    def bytes(self, n):
        if self.left() < n:
            raise Failed(f"a field of {n} bytes ends outside its packet: {self.data.hex()}")
        self.at += n
        return self.data[self.at - n:self.at]

    def rest(self):
        return self.bytes(self.left())

    def u8(self):
        return self.bytes(1)[0]

    def u16(self):
        return int.from_bytes(self.bytes(2), "big")

    def u32(self):
        return int.from_bytes(self.bytes(4), "big")

    def var(self):
        value = shift = 0
        while True:
            byte = self.u8()
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                assert shift == 7 or byte, "a length is not in its shortest form"
                return value
            assert shift < 28, "a length of more than four bytes"

    def binary(self):
        return self.bytes(self.u16())

    def text(self):
        value = self.binary().decode("utf-8", "strict")
        assert "\0" not in value
        return value

    def pair(self):
        return self.text(), self.text()

    def props(self):
        """{name: value}; a user property or subscription identifier is always a list."""
        inner, out = Reader(self.bytes(self.var())), {}
        while inner.left():
            name, kind = BY_ID[inner.u8()]
            value = inner.binary() if kind == "bytes" else getattr(inner, kind)()
            if name in ("user", "sub_id"):
                out.setdefault(name, []).append(value)
            else:
                assert name not in out, f"{name} twice in one packet"
                out[name] = value
        return out


class Packet:
    """One packet from the server. Which fields it has depends on its type; `size` is all its bytes."""

    def __init__(self, head, body, version, size):
        self.type, self.flags, self.body, self.size = head >> 4, head & 15, body, size
        self.props, self.reason, self.packet_id = {}, 0, None
        r, five = Reader(body), version >= 5
        if self.type != PUBLISH:
            assert self.flags == (2 if self.type == PUBREL else 0), f"flags {self.flags:#x} in {TYPES[self.type]}"
        if self.type == CONNACK:
            acknowledge = r.u8()
            assert acknowledge <= 1, f"connect acknowledge flags {acknowledge:#x}"
            self.session_present, self.reason = bool(acknowledge), r.u8()
            self.props = r.props() if five else {}
        elif self.type == PUBLISH:
            self.dup, self.qos, self.retain = bool(self.flags & 8), self.flags >> 1 & 3, bool(self.flags & 1)
            self.topic = r.text()
            self.packet_id = r.u16() if self.qos else None
            self.props = r.props() if five else {}
            self.payload = r.rest()
        elif self.type in (PUBACK, PUBREC, PUBREL, PUBCOMP):
            self.packet_id = r.u16()
            self.reason = r.u8() if five and r.left() else 0
            self.props = r.props() if five and r.left() else {}
        elif self.type in (SUBACK, UNSUBACK):
            self.packet_id = r.u16()
            self.props = r.props() if five else {}
            self.reasons = list(r.rest())
        elif self.type in (DISCONNECT, AUTH):
            assert five, f"a client of 3.1.1 was sent {TYPES[self.type]}"
            self.reason = r.u8() if r.left() else 0
            self.props = r.props() if r.left() else {}
        elif self.type != PINGRESP:
            raise Failed(f"a server never sends {TYPES[self.type] or 'type 0'}")
        assert not r.left(), f"{r.left()} bytes too many in {TYPES[self.type]}: {body.hex()}"

    def __repr__(self):
        fields = {k: v for k, v in vars(self).items() if k not in ("type", "body", "size", "flags")}
        return f"{TYPES[self.type]}({', '.join(f'{k}={v!r}' for k, v in fields.items())})"


# -- connections --


class Closed(Failed):
    """The server closed the connection."""


@contextlib.contextmanager
def inside(ns):
    """This thread works in the network namespace of `ns`; sockets made meanwhile stay there."""
    libc = ctypes.CDLL(None, use_errno=True)

    def enter(fd):
        if libc.setns(fd, 0x40000000):  # CLONE_NEWNET
            raise OSError(ctypes.get_errno(), "setns")

    home, there = (os.open(f"/proc/{who}/ns/net", os.O_RDONLY) for who in ("thread-self", ns.holder.pid))
    try:
        enter(there)
        try:
            yield
        finally:
            enter(home)
    finally:
        os.close(home)
        os.close(there)


def tls_context(device):
    """With the device's certificate."""
    context = ssl.create_default_context(cafile=str(device.ca))
    context.check_hostname = False
    context.load_cert_chain(str(device.cert), str(device.key))
    return context


def tls_to(device, host=GATEWAY4, port=8883, alpn=None):
    """A TLS connection from the device's namespace with the device's certificate."""
    context = tls_context(device)
    if alpn:
        context.set_alpn_protocols(alpn)
    with inside(device):
        plain = socket.create_connection((host, port), PATIENCE)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(plain)


class Client:
    """One connection. Nothing is sent or answered but by the test's word."""

    def __init__(self, device, version=5, stream=None):
        self.device, self.version = device, version
        self.sock = stream or tls_to(device)
        self.data, self.inbox, self.eof = b"", collections.deque(), False
        self.ids = itertools.count(1)

    # -- bytes --

    def send(self, *packets):
        """In one write."""
        self.sock.sendall(b"".join(packets))
        return self

    def _more(self, seconds):
        self.sock.settimeout(max(seconds, 0.001))
        try:
            part = self.sock.recv(65536)
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionError):
            part = b""
        except (TimeoutError, ssl.SSLWantReadError):
            return False
        finally:
            with contextlib.suppress(OSError):
                self.sock.settimeout(PATIENCE)
        self.eof = not part
        self.data += part
        return True

    def _parse(self):
        """The next whole packet that was received, or None."""
        r = Reader(self.data)
        try:
            head, remaining = r.u8(), r.var()
            body = r.bytes(remaining)
        except Failed:
            return None
        size, self.data = r.at, self.data[r.at:]
        return Packet(head, body, self.version, size)

    def _read(self, seconds):
        """The next packet off the wire; None when the time is over; Closed."""
        end = time.monotonic() + seconds
        while True:
            got = self._parse()
            if got:
                return got
            if self.eof:
                assert not self.data, f"half a packet, then the end: {self.data.hex()}"
                raise Closed("the server closed the connection")
            left = end - time.monotonic()
            if left <= 0 or not self._more(left):
                return None

    # -- packets --

    def next(self, seconds=PATIENCE):
        """The next packet; fails when there is none in time, Closed when there will be none."""
        got = self.inbox.popleft() if self.inbox else self._read(seconds)
        if got is None:
            raise Failed(f"no packet came within {seconds:g} s")
        return got

    def expect(self, kind, **fields):
        """The next packet must be of this type and have these fields."""
        got = self.next()
        assert got.type == kind, f"wanted {TYPES[kind]}, got {got}"
        for name, value in fields.items():
            assert getattr(got, name) == value, f"{name}: wanted {value!r}, got {got}"
        return got

    def take(self, kind, **fields):
        """The next packet of this type; others wait in the order of their arrival."""
        waiting = []
        try:
            while True:
                got = self.next()
                if got.type == kind and all(getattr(got, k) == v for k, v in fields.items()):
                    return got
                waiting.append(got)
        except Failed as why:
            raise type(why)(f"{why}, no {TYPES[kind]} {fields or ''}; but {waiting}") from None
        finally:
            self.inbox.extendleft(reversed(waiting))

    def until_ping(self):
        """All packets that come before the answer to a PINGREQ sent now."""
        out = []
        self.send(pingreq())
        while True:
            got = self.next()
            if got.type == PINGRESP:
                return out
            out.append(got)

    def ended(self, seconds=PATIENCE):
        """The packets that still came until the server closed; fails when it does not."""
        out = list(self.inbox)
        self.inbox.clear()
        end = time.monotonic() + seconds
        try:
            while True:
                got = self._read(end - time.monotonic())
                if got is None:
                    raise Failed(f"the connection is still open after {seconds:g} s; got {out}")
                out.append(got)
        except Closed:
            return out

    def closed_for(self, *reasons, seconds=PATIENCE):
        """The server says DISCONNECT with one of these reasons (3.1.1: nothing), then it closes."""
        last = self.ended(seconds)
        if self.version < 5:
            assert not last, f"wanted the end, got {last}"
            return
        assert len(last) == 1 and last[0].type == DISCONNECT, f"wanted one DISCONNECT and the end, got {last}"
        assert last[0].reason in reasons, f"wanted {[hex(r) for r in reasons]}, got {last[0].reason:#x}"

    def refused_for(self, *reasons):
        """The server says CONNACK with one of these reasons, then it closes."""
        last = self.ended()
        assert len(last) == 1 and last[0].type == CONNACK, f"wanted one CONNACK and the end, got {last}"
        assert last[0].reason in reasons, f"wanted {[hex(r) for r in reasons]}, got {last[0].reason:#x}"
        assert not last[0].session_present

    # -- whole exchanges --

    def connect(self, client_id="", **kw):
        """CONNECT, and its CONNACK that must accept, in self.connack."""
        kw.setdefault("version", self.version)
        self.send(connect(client_id, **kw))
        self.connack = self.expect(CONNACK, reason=0)
        return self

    def subscribe(self, filter_, options=0, **properties):
        """SUBSCRIBE one filter; its SUBACK, which must grant the QoS."""
        packet_id = next(self.ids)
        self.send(subscribe(packet_id, (filter_, options), properties=properties, version=self.version))
        got = self.take(SUBACK, packet_id=packet_id)
        assert got.reasons == [options & 3], got
        return got

    def unsubscribe(self, filter_):
        packet_id = next(self.ids)
        self.send(unsubscribe(packet_id, filter_, version=self.version))
        return self.take(UNSUBACK, packet_id=packet_id)

    def publish(self, topic, payload=b"", qos=0, retain=False, **properties):
        """PUBLISH, and the whole exchange that its QoS asks for; every reason must be Success. At QoS 0 a
        ping follows, so that the server has it in any case."""
        packet_id = next(self.ids) if qos else None
        self.send(publish(topic, payload, qos, packet_id, retain, properties=properties, version=self.version))
        if qos == 0:
            self.send(pingreq())
            self.take(PINGRESP)
        elif qos == 1:
            assert self.take(PUBACK, packet_id=packet_id).reason in (SUCCESS, NO_SUBSCRIBERS)
        elif qos == 2:
            assert self.take(PUBREC, packet_id=packet_id).reason in (SUCCESS, NO_SUBSCRIBERS)
            self.send(ack(PUBREL, packet_id))
            assert self.take(PUBCOMP, packet_id=packet_id).reason == SUCCESS
        return packet_id

    def receive(self, topic=None, **fields):
        """The next packet must be a PUBLISH; it is acknowledged as its QoS asks."""
        got = self.expect(PUBLISH, **({"topic": topic} if topic else {}), **fields)
        if got.qos == 1:
            self.send(ack(PUBACK, got.packet_id))
        elif got.qos == 2:
            self.send(ack(PUBREC, got.packet_id))
            self.take(PUBREL, packet_id=got.packet_id)
            self.send(ack(PUBCOMP, got.packet_id))
        return got

    def leave(self, reason=None, properties=None):
        """DISCONNECT in order, and the server's end of the connection."""
        self.send(disconnect(reason, properties) if self.version >= 5 else packet(DISCONNECT, 0, b""))
        self.ended()
        self.close()

    def drop(self):
        """Gone without a word: the connection is reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self):
        with contextlib.suppress(OSError):
            self.sock.close()
