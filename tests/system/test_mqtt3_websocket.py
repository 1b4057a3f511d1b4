# SPDX-License-Identifier: GPL-2.0-only
"""MQTT 3.1.1 chapter 6: WebSocket as the transport."""

import pytest

import wire
from test_mqtt5_websocket import BINARY, TEXT, Stream, frame, upgrade
from wire import CONNACK, PINGRESP, PUBLISH, SUBACK, statement
from wire3 import connect, publish, subscribe


def client(desk3):
    made = wire.Client(desk3.one, 4, Stream(desk3.one))
    desk3.clients.append(made)
    return made.connect(f"{desk3.name}-ws")


@statement("MQTT-6.0.0-1")
def test_mqtt_travels_in_binary_frames(desk3):
    ws = client(desk3)
    ws.until_ping()
    assert set(ws.sock.kinds) == {BINARY}
    ws.sock.sock.sendall(frame(TEXT, wire.pingreq()))
    with pytest.raises(wire.Closed):
        ws.next()


@statement("MQTT-6.0.0-2")
def test_packets_and_frames_need_not_begin_together(desk3):
    ws = client(desk3)
    many = subscribe(1, (desk3.topic(), 1)) + publish(desk3.topic(), b"x" * 300) + wire.pingreq()
    ws.send(many)  # several packets in one frame
    assert {ws.next().type for _ in range(3)} == {SUBACK, PUBLISH, PINGRESP}
    for n in range(len(many)):
        ws.sock.sock.sendall(frame(BINARY, many[n:n + 1]))  # and one in many
    assert {ws.next().type for _ in range(3)} == {SUBACK, PUBLISH, PINGRESP}


@statement("MQTT-6.0.0-3")
def test_a_client_must_offer_mqtt(desk3):
    for protocols in ((), ("mqttv3.1",), ("MQTT", "chat")):
        sock, head = upgrade(desk3.one, protocols)
        assert " 400 " in head.splitlines()[0]
        sock.close()


@statement("MQTT-6.0.0-4")
def test_the_subprotocol_chosen_is_mqtt(desk3):
    for protocols in (("mqtt",), ("mqttv3.1, mqtt",), ("mqttv3.1", "mqtt")):
        sock, head = upgrade(desk3.one, protocols)
        lines = [ln.split(":", 1) for ln in head.splitlines()[1:] if ":" in ln]
        assert [v.strip() for k, v in lines if k.lower() == "sec-websocket-protocol"] == ["mqtt"]
        sock.sendall(frame(BINARY, connect(f"{desk3.name}-ws")))
        assert sock.recv(2)[0] == 0x80 | BINARY and sock.recv(1)[0] == CONNACK << 4
        sock.close()
