# SPDX-License-Identifier: GPL-2.0-only
"""MQTT 5 chapter 6: WebSocket as the transport, frame by frame."""

import os

import pytest

import wire
from lab import GATEWAY4
from wire import CONNACK, PINGRESP, PUBLISH, SUBACK, statement

TEXT, BINARY, CLOSE = 1, 2, 8


def upgrade(device, protocols=("mqtt",)):
    """The opening handshake: (socket, the answer's head)."""
    sock = wire.tls_to(device, port=8443, alpn=["http/1.1"])
    offered = "".join(f"Sec-WebSocket-Protocol: {p}\r\n" for p in protocols)
    sock.sendall(f"GET /mqtt HTTP/1.1\r\nHost: {GATEWAY4}:8443\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                 f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{offered}\r\n".encode())
    head = b""
    while b"\r\n\r\n" not in head:
        part = sock.recv(1)
        assert part, f"the server closed: {head!r}"
        head += part
    return sock, head.decode()


def frame(kind, data, fin=True):
    assert len(data) < 65536
    mask = os.urandom(4)
    length = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + len(data).to_bytes(2, "big")
    return bytes([kind | (0x80 if fin else 0)]) + length + mask + bytes(b ^ mask[n % 4] for n, b in enumerate(data))


class Stream:
    """What a wire.Client takes for its socket: every send is one frame, unless it is cut."""

    def __init__(self, device):
        self.sock, _ = upgrade(device)
        self.data, self.kinds, self.close_code = b"", [], None

    def sendall(self, data):
        self.sock.sendall(frame(BINARY, data))

    def settimeout(self, seconds):
        self.sock.settimeout(seconds)

    def close(self):
        self.sock.close()

    def _exactly(self, size):
        while len(self.data) < size:
            part = self.sock.recv(65536)
            if not part:
                return b""
            self.data += part
        out, self.data = self.data[:size], self.data[size:]
        return out

    def recv(self, _):
        head = self._exactly(2)
        if not head:
            return b""
        size = head[1]
        if size >= 126:
            size = int.from_bytes(self._exactly(2 if size == 126 else 8), "big")
        body = self._exactly(size)
        self.kinds.append(head[0] & 15)
        if head[0] & 15 == CLOSE:
            self.close_code = int.from_bytes(body[:2], "big")
            return b""
        return body


def client(desk, **kw):
    stream = Stream(desk.one)
    made = wire.Client(desk.one, 5, stream)
    desk.clients.append(made)
    return made.connect(f"{desk.name}-ws", **kw)


@statement("MQTT-6.0.0-1")
def test_mqtt_travels_in_binary_frames(desk):
    ws = client(desk)
    ws.until_ping()
    assert set(ws.sock.kinds) == {BINARY}
    ws.sock.sock.sendall(frame(TEXT, wire.pingreq()))
    with pytest.raises(wire.Closed):
        ws.next()
    assert ws.sock.close_code == 1003


@statement("MQTT-6.0.0-2")
def test_packets_and_frames_need_not_begin_together(desk):
    ws = client(desk)
    many = wire.subscribe(1, (desk.topic(), 1)) + wire.publish(desk.topic(), b"x" * 300) + wire.pingreq()
    ws.send(many)  # several packets in one frame
    assert {ws.next().type for _ in range(3)} == {SUBACK, PUBLISH, PINGRESP}
    for n in range(len(many)):
        ws.sock.sock.sendall(frame(BINARY, many[n:n + 1]))  # and one in many
    assert {ws.next().type for _ in range(3)} == {SUBACK, PUBLISH, PINGRESP}
    ws.sock.sock.sendall(frame(BINARY, many[:7], fin=False) + frame(0, many[7:9], fin=False) + frame(0, many[9:]))
    assert {ws.next().type for _ in range(3)} == {SUBACK, PUBLISH, PINGRESP}


@statement("MQTT-6.0.0-3")
@pytest.mark.parametrize("protocols", [(), ("mqttv3.1",), ("MQTT5", "chat")])
def test_a_client_must_offer_mqtt(desk, protocols):
    sock, head = upgrade(desk.one, protocols)
    assert " 400 " in head.splitlines()[0]
    sock.close()


@statement("MQTT-6.0.0-4")
@pytest.mark.parametrize("protocols", [("mqtt",), ("chat", "mqtt"), ("mqttv3.1, mqtt",)])
def test_the_subprotocol_chosen_is_mqtt(desk, protocols):
    sock, head = upgrade(desk.one, protocols)
    assert " 101 " in head.splitlines()[0]
    chosen = [ln.split(":", 1)[1].strip() for ln in head.splitlines() if ln.lower().startswith("sec-websocket-protocol:")]
    assert chosen == ["mqtt"]
    sock.sendall(frame(BINARY, wire.connect(f"{desk.name}-ws")))
    assert sock.recv(2)[0] == 0x80 | BINARY and sock.recv(1)[0] == CONNACK << 4
    sock.close()
