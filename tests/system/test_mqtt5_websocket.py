# SPDX-License-Identifier: GPL-2.0-only
"""MQTT 5 chapter 6: WebSocket as the transport, frame by frame."""

import pytest

import wire
import ws
from wire import CONNACK, PINGRESP, PUBLISH, SUBACK, statement
from ws import BINARY, TEXT, frame


@statement("MQTT-6.0.0-1")
def test_mqtt_travels_in_binary_frames(desk):
    peer = ws.client(desk)
    peer.until_ping()
    assert set(peer.sock.kinds) == {BINARY}
    peer.sock.raw(frame(TEXT, wire.pingreq()))
    with pytest.raises(wire.Closed):
        peer.next()
    assert peer.sock.close_code == 1003


@statement("MQTT-6.0.0-2")
def test_packets_and_frames_need_not_begin_together(desk):
    peer = ws.client(desk)
    many = wire.subscribe(1, (desk.topic(), 1)) + wire.publish(desk.topic(), b"x" * 300) + wire.pingreq()
    peer.send(many)  # several packets in one frame
    assert {peer.next().type for _ in range(3)} == {SUBACK, PUBLISH, PINGRESP}
    for n in range(len(many)):
        peer.sock.raw(frame(BINARY, many[n:n + 1]))  # and one in many
    assert {peer.next().type for _ in range(3)} == {SUBACK, PUBLISH, PINGRESP}
    peer.sock.raw(frame(BINARY, many[:7], fin=False) + frame(0, many[7:9], fin=False) + frame(0, many[9:]))
    assert {peer.next().type for _ in range(3)} == {SUBACK, PUBLISH, PINGRESP}


@statement("MQTT-6.0.0-3")
@pytest.mark.parametrize("protocols", [(), ("mqttv3.1",), ("MQTT5", "chat")])
def test_a_client_must_offer_mqtt(desk, protocols):
    sock, answer = ws.ask(desk.one, Sec_WebSocket_Protocol=list(protocols))
    assert answer.status == 400
    sock.close()


@statement("MQTT-6.0.0-4")
@pytest.mark.parametrize("protocols", [("mqtt",), ("chat", "mqtt"), ("mqttv3.1, mqtt",)])
def test_the_subprotocol_chosen_is_mqtt(desk, protocols):
    sock, answer = ws.ask(desk.one, Sec_WebSocket_Protocol=list(protocols))
    assert answer.status == 101 and answer.get("Sec-WebSocket-Protocol") == "mqtt"
    sock.sendall(frame(BINARY, wire.connect(f"{desk.name}-ws")))
    assert sock.recv(2)[0] == 0x80 | BINARY and sock.recv(1)[0] == CONNACK << 4
    sock.close()
