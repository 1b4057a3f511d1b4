# SPDX-License-Identifier: GPL-2.0-only
"""MQTT 5 §3.12 to §3.15: PINGREQ, DISCONNECT, AUTH."""

import pytest

import wire
from wire import (BAD_ALIAS, CONNACK, DISCONNECT, MALFORMED, PINGREQ, PINGRESP, PROTOCOL_ERROR, RECEIVE_MAXIMUM,
                  TAKEN_OVER, TOO_LARGE, WITH_WILL, Will, statement)

DISCONNECT_REASONS = {0x00, 0x04, *range(0x80, 0x84), 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x90, *range(0x93, 0x9C),
                      0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2}
CLIENT_REASONS = [0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99]


@statement("MQTT-3.12.4-1")
def test_a_ping_is_answered(desk):
    client = desk.client()
    for _ in range(3):
        client.send(wire.pingreq())
        assert client.expect(PINGRESP).body == b""
    client.send(wire.pingreq() * 50)
    for _ in range(50):
        client.expect(PINGRESP)


@statement("§3.12.1")
def test_a_ping_has_no_body(desk):
    client = desk.client()
    client.send(wire.packet(PINGREQ, 0, b"\0"))
    client.closed_for(MALFORMED)


ENDS = {
    MALFORMED: b"\0\0",
    PROTOCOL_ERROR: wire.subscribe(1),
    BAD_ALIAS: wire.publish("d/one/x", properties={"topic_alias": 0}),
    TOO_LARGE: b"\x30\xff\xff\xff\x7f",
    RECEIVE_MAXIMUM: b"".join(wire.publish("d/one/window", b"", 2, n) for n in range(1, 258)),
}


def server_disconnects(desk, **properties):
    """Every DISCONNECT that a client's fault brings, and the one of a take-over."""
    for packet in ENDS.values():
        client = desk.client("ends", properties=properties)
        client.send(packet)
        yield client.ended()[-1]
    old = desk.client("old", properties=properties)
    desk.client("old")
    yield old.ended()[-1]


@statement("MQTT-3.14.0-1")
def test_before_connack_there_is_no_disconnect(desk):
    for packet in (b"\0\0", wire.pingreq(), wire.packet(1, 0, b"\0"), wire.connect("x", name="x"),
                   wire.connect("x", flags=3), wire.connect("x", version=9), wire.connect("x", will=Will("#")),
                   wire.connect("x", properties={"maximum_packet_size": 4}), b"\x10\xff\xff\xff\x7f"):
        client = desk.open()
        client.send(packet)
        assert all(p.type == CONNACK and p.reason >= 0x80 for p in client.ended())


@statement("MQTT-3.14.1-1")
@pytest.mark.parametrize("flags", range(1, 16))
def test_disconnects_flags_are_0(desk, flags):
    sub = desk.client(device=desk.two)
    sub.subscribe(desk.topic())
    client = desk.client(will=Will(desk.topic(), b"it was none"))
    client.send(wire.packet(DISCONNECT, flags, b""))
    client.closed_for(MALFORMED)
    sub.receive()


@statement("MQTT-3.14.2-1")
def test_disconnect_uses_its_own_reasons(desk):
    got = [p.reason for p in server_disconnects(desk)]
    assert got == [*ENDS, TAKEN_OVER] and set(got) <= DISCONNECT_REASONS


@statement("MQTT-3.14.2-2")
def test_a_servers_disconnect_has_no_session_expiry(desk):
    for got in server_disconnects(desk):
        assert got.type == DISCONNECT and "session_expiry" not in got.props


@statement("MQTT-3.14.2-3")
def test_no_reason_string_makes_a_disconnect_too_large(desk):
    for got in server_disconnects(desk, maximum_packet_size=20):
        assert got.type == DISCONNECT and got.size <= 20 and "reason_string" not in got.props


@statement("MQTT-3.14.2-4")
def test_no_user_property_makes_a_disconnect_too_large(desk):
    for got in server_disconnects(desk, maximum_packet_size=20):
        assert got.type == DISCONNECT and got.size <= 20 and "user" not in got.props


@statement("MQTT-3.14.4-1")
def test_nothing_follows_a_disconnect(desk):
    client = desk.client()
    client.subscribe(desk.topic())
    client.send(b"\0\0", wire.pingreq(), wire.publish(desk.topic(), b"x", 1, 1))
    client.closed_for(MALFORMED)
    sub = desk.client(device=desk.two)
    sub.subscribe(desk.topic("after"))
    client = desk.client()
    client.send(wire.disconnect(), wire.publish(desk.topic("after"), b"x"), wire.pingreq())
    assert not client.ended()
    desk.client().publish(desk.topic("after"), b"end")
    sub.receive(payload=b"end")


@statement("MQTT-3.14.4-2")
def test_after_a_disconnect_the_connection_is_closed(desk):
    for packet in (*ENDS.values(), wire.disconnect(), wire.disconnect(WITH_WILL)):
        client = desk.client()
        client.send(packet)
        client.ended()


@statement("MQTT-3.14.4-3")
def test_a_normal_disconnect_discards_the_will(desk):
    sub = desk.client(device=desk.two)
    sub.subscribe(desk.topic("#"))
    for packet in (wire.disconnect(), wire.disconnect(0), wire.disconnect(0, {})):
        client = desk.client(will=Will(desk.topic("will"), b"no", properties={"will_delay": 0}))
        client.send(packet)
        client.ended()
    desk.client().publish(desk.topic("end"))
    sub.receive(desk.topic("end"))


@statement("§3.14.2.1")
def test_any_other_reason_to_leave_lets_the_will_speak(desk):
    sub = desk.client(device=desk.two)
    sub.subscribe(desk.topic("#"))
    for reason in CLIENT_REASONS[1:]:
        client = desk.client(will=Will(desk.topic(f"{reason}"), b"will"))
        client.send(wire.disconnect(reason))
        assert not client.ended()
        sub.receive(desk.topic(f"{reason}"))
    for reason in sorted(set(range(256)) - set(CLIENT_REASONS))[::9] + [0x87, 0x8B, 0x8E]:
        client = desk.client()
        client.send(wire.disconnect(reason))
        client.closed_for(PROTOCOL_ERROR)


@statement("§3.14.2.2.2")
def test_a_session_that_was_to_end_cannot_be_kept_at_disconnect(desk):
    sub = desk.client(device=desk.two)
    sub.subscribe(desk.topic())
    client = desk.client("ends", will=Will(desk.topic(), b"not a valid good-bye"))
    client.send(wire.disconnect(0, {"session_expiry": 1}))
    client.closed_for(PROTOCOL_ERROR)
    sub.receive()
    assert not desk.client("ends", clean=False).connack.session_present
    longer = desk.keeper("longer", expiry=1)
    longer.leave(0, {"session_expiry": 3600})
    assert desk.keeper("longer").connack.session_present
    shorter = desk.keeper("shorter", expiry=3600)
    shorter.leave(0, {"session_expiry": 0})
    assert not desk.keeper("shorter").connack.session_present


@statement("§3.14.2.2.3")
def test_a_disconnect_may_say_why(desk):
    client = desk.client()
    client.send(wire.disconnect(WITH_WILL, {"reason_string": "because", "user": [("a", "b"), ("a", "c")]}))
    assert not client.ended()


@statement("MQTT-3.15.1-1")
@pytest.mark.parametrize("flags", range(1, 16))
def test_auths_flags_are_0(desk, flags):
    client = desk.client()
    client.send(wire.packet(wire.AUTH, flags, b""))
    client.closed_for(MALFORMED)
