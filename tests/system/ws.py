# SPDX-License-Identifier: GPL-2.0-only
"""WebSocket by hand, as a client (RFC 6455): the opening handshake and every frame built from its bytes, so
that wrong ones can be built too."""

import os
import struct

import wire
from lab import GATEWAY4

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

# Status codes of a Close frame (§7.4.1).
PROTOCOL, UNSUPPORTED, BAD_DATA, TOO_BIG = 1002, 1003, 1007, 1009

KEY, ACCEPT = "dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455 §1.3

HANDSHAKE = {"Host": f"{GATEWAY4}:8443", "Connection": "Upgrade", "Upgrade": "websocket",
             "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": KEY, "Sec-WebSocket-Protocol": "mqtt"}


class Answer:
    """To an opening handshake: `status`, `fields` (lower case; several lines of one name are a list)."""

    def __init__(self, head):
        first, *lines = head.decode().split("\r\n")
        self.version, self.status = first.split(" ")[0], int(first.split(" ")[1])
        self.fields = {}
        for line in lines:
            name, _, value = line.partition(":")
            self.fields.setdefault(name.strip().lower(), []).append(value.strip())

    def get(self, name):
        """The value of a field that may be there once."""
        values = self.fields.get(name.lower(), [])
        assert len(values) < 2, f"{name} more than once: {values}"
        return values[0] if values else None


def ask(device, request="GET /mqtt HTTP/1.1", sock=None, **changes):
    """An opening handshake: (socket, Answer). `changes` to HANDSHAKE, `_` for `-`: None leaves a field out, a
    list writes several lines."""
    sock = sock or wire.tls_to(device, port=8443, alpn=["http/1.1"])
    fields = HANDSHAKE | {name.replace("_", "-"): value for name, value in changes.items()}
    lines = [f"{name}: {each}" for name, value in fields.items() if value is not None
             for each in (value if isinstance(value, list) else [value])]
    sock.sendall("\r\n".join([request, *lines, "", ""]).encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        part = sock.recv(1)  # no byte of the first frame
        assert part, f"the server closed: {head!r}"
        head += part
    return sock, Answer(head[:-4])


def frame(kind, data=b"", fin=True, rsv=0, masked=True, length=None, form=None):
    """`length`: what the frame says of itself, where that is another; `form`: how many bits say it."""
    length = len(data) if length is None else length
    form = form or (7 if length < 126 else 16 if length < 65536 else 64)
    small = {7: length, 16: 126, 64: 127}[form]
    head = bytes([kind | (0x80 if fin else 0) | rsv << 4, small | (0x80 if masked else 0)])
    head += {7: b"", 16: struct.pack(">H", length & 0xFFFF), 64: struct.pack(">Q", length)}[form]
    if not masked:
        return head + data
    mask = os.urandom(4)
    whole = (mask * (len(data) // 4 + 1))[:len(data)]
    return head + mask + (int.from_bytes(data, "big") ^ int.from_bytes(whole, "big")).to_bytes(len(data), "big")


class Frame:
    def __init__(self, kind, body):
        self.kind, self.body = kind, body
        self.code = int.from_bytes(body[:2], "big") if kind == CLOSE and body else None

    def __repr__(self):
        return f"frame {self.kind} {self.body[:40]!r}"


class Stream:
    """What a wire.Client takes for its socket: every send is one frame, and what is received is what binary
    frames carry. Every frame from the server is checked."""

    def __init__(self, device, **changes):
        self.sock, self.answer = ask(device, **changes)
        assert self.answer.status == 101, self.answer.fields
        self.data, self.frames = b"", []

    @property
    def kinds(self):
        return [f.kind for f in self.frames]

    @property
    def close_code(self):
        return self.frames[-1].code if self.frames else None

    def sendall(self, data):
        self.sock.sendall(frame(BINARY, data))

    def raw(self, *data):
        """Bytes as they are, frames or not, in one write."""
        self.sock.sendall(b"".join(data))
        return self

    def settimeout(self, seconds):
        self.sock.settimeout(seconds)

    def close(self):
        self.sock.close()

    def _exactly(self, size):
        while len(self.data) < size:
            part = self.sock.recv(65536)
            if not part:
                assert not self.data, f"the end inside a frame: {self.data!r}"
                return b""
            self.data += part
        out, self.data = self.data[:size], self.data[size:]
        return out

    def next(self):
        """The next frame; None at the end."""
        head = self._exactly(2)
        if not head:
            return None
        kind, size = head[0] & 15, head[1]
        assert head[0] & 0x70 == 0, f"RSV bits in {head.hex()}"
        assert not size & 0x80, "a server's frame is masked"
        if size >= 126:
            wide = size == 127
            size = int.from_bytes(self._exactly(8 if wide else 2), "big")
            assert size >= (65536 if wide else 126), "a length is not in its shortest form"
        if kind >= CLOSE:
            assert size <= 125 and head[0] & 0x80, f"a control frame of {size} bytes: {head.hex()}"
        self.frames.append(Frame(kind, self._exactly(size) if size else b""))
        return self.frames[-1]

    def recv(self, _):
        while True:
            got = self.next()
            if not got or got.kind == CLOSE:
                return b""
            if got.kind in (BINARY, CONTINUATION):
                return got.body

    def ended(self):
        """All frames until the server ended the connection, Close included, in order."""
        out = []
        while got := self.next():
            out.append(got)
        return out


def client(desk, name="ws", version=None, **kw):
    """An MQTT session over WebSocket; its `sock` is the Stream."""
    made = wire.Client(desk.one, version or desk.version, Stream(desk.one))
    desk.clients.append(made)
    return made.connect(f"{desk.name}-{name}", **kw)


def fails(peer, code, *data):
    """After these bytes the server says Close with this code (or one of them), and ends the connection."""
    peer.sock.raw(*data)
    last = peer.sock.ended()
    assert last and last[-1].kind == CLOSE, last
    assert last[-1].code in (code if isinstance(code, tuple) else (code,)), last
