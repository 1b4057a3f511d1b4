# SPDX-License-Identifier: GPL-2.0-only
"""MQTT 3.1.1 chapter 6: WebSocket as the transport."""

import pytest

import wire
import ws
from wire import CONNACK, PINGRESP, PUBLISH, SUBACK, statement
from wire3 import connect, publish, subscribe
from ws import BINARY, TEXT, frame


@statement("MQTT-6.0.0-1")
def test_mqtt_travels_in_binary_frames(desk3):
    peer = ws.client(desk3)
    peer.until_ping()
    assert set(peer.sock.kinds) == {BINARY}
    peer.sock.raw(frame(TEXT, wire.pingreq()))
    with pytest.raises(wire.Closed):
        peer.next()


@statement("MQTT-6.0.0-2")
def test_packets_and_frames_need_not_begin_together(desk3):
    peer = ws.client(desk3)
    many = subscribe(1, (desk3.topic(), 1)) + publish(desk3.topic(), b"x" * 300) + wire.pingreq()
    peer.send(many)  # several packets in one frame
    assert {peer.next().type for _ in range(3)} == {SUBACK, PUBLISH, PINGRESP}
    for n in range(len(many)):
        peer.sock.raw(frame(BINARY, many[n:n + 1]))  # and one in many
    assert {peer.next().type for _ in range(3)} == {SUBACK, PUBLISH, PINGRESP}


@statement("MQTT-6.0.0-3")
def test_a_client_must_offer_mqtt(desk3):
    for protocols in ((), ("mqttv3.1",), ("MQTT", "chat")):
        sock, answer = ws.ask(desk3.one, Sec_WebSocket_Protocol=list(protocols))
        assert answer.status == 400
        sock.close()


@statement("MQTT-6.0.0-4")
def test_the_subprotocol_chosen_is_mqtt(desk3):
    for protocols in (("mqtt",), ("mqttv3.1, mqtt",), ("mqttv3.1", "mqtt")):
        sock, answer = ws.ask(desk3.one, Sec_WebSocket_Protocol=list(protocols))
        assert answer.status == 101 and answer.get("Sec-WebSocket-Protocol") == "mqtt"
        sock.sendall(frame(BINARY, connect(f"{desk3.name}-ws")))
        assert sock.recv(2)[0] == 0x80 | BINARY and sock.recv(1)[0] == CONNACK << 4
        sock.close()
