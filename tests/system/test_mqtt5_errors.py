# SPDX-License-Identifier: GPL-2.0-only
"""MQTT 5 §4.9 to §4.13: flow control, authentication, errors."""

import pytest

import wire
from wire import (AUTH, BAD_ALIAS, BAD_AUTH_METHOD, CONNACK, DISCONNECT, MALFORMED, PROTOCOL_ERROR, PUBACK, PUBCOMP,
                  PUBLISH, PUBREC, PUBREL, SUBACK, SUBSCRIBE, TOO_LARGE, UNSUBACK, UNSUBSCRIBE, statement)


@statement("MQTT-4.9.0-1")
@pytest.mark.parametrize("maximum", [1, 2, 7, None])
def test_the_first_window_is_the_receive_maximum(desk, maximum):
    sub = desk.keeper(device=desk.two)
    sub.subscribe(desk.topic(), 1)
    sub.drop()
    pub = desk.client()
    for n in range(10):
        pub.publish(desk.topic(), f"{n}", 1)
    properties = {"receive_maximum": maximum} if maximum else {}
    back = desk.keeper(device=desk.two, **properties)
    assert len(back.until_ping()) == (maximum or 10)


@statement("MQTT-4.9.0-2")
def test_a_window_of_0_lets_no_publish_out(desk):
    sub = desk.client(device=desk.two, properties={"receive_maximum": 2})
    sub.subscribe(desk.topic(), 2)
    pub = desk.client()
    for n in range(6):
        pub.publish(desk.topic(), f"{n}", 2)
    first = sub.expect(PUBLISH), sub.expect(PUBLISH)
    assert not sub.until_ping()
    sub.send(wire.ack(PUBREC, first[0].packet_id))
    sub.expect(PUBREL)
    assert not sub.until_ping()  # a PUBREC opens nothing
    sub.send(wire.ack(PUBCOMP, first[0].packet_id), wire.ack(PUBCOMP, 0x7777))
    sub.expect(PUBLISH, payload=b"2")
    assert not sub.until_ping()  # and one PUBCOMP opens one place


@statement("MQTT-4.9.0-3")
def test_with_a_window_of_0_all_else_goes_on(desk):
    sub = desk.client(device=desk.two, properties={"receive_maximum": 1})
    sub.subscribe(desk.topic(), 1)
    pub = desk.client()
    for n in range(3):
        pub.publish(desk.topic(), f"{n}", 1)
    sub.expect(PUBLISH)
    sub.send(wire.subscribe(1, (desk.topic("x"), 1)), wire.unsubscribe(2, desk.topic("x")),
             wire.publish(desk.topic("y"), b"", 1, 3), wire.publish(desk.topic("y"), b"", 2, 4), wire.ack(PUBREL, 4))
    want = {SUBACK, UNSUBACK, PUBACK, PUBREC, PUBCOMP}
    got = [sub.next().type for _ in want]
    assert set(got) == want


@statement("MQTT-4.12.0-1")
@pytest.mark.parametrize("method", ["SCRAM-SHA-1", "PLAIN", "", "x" * 1000])
def test_every_authentication_method_is_refused(desk, method):
    for properties in ({"auth_method": method}, {"auth_method": method, "auth_data": b"\0\1"}):
        client = desk.open()
        client.send(wire.connect("a", properties=properties))
        client.refused_for(BAD_AUTH_METHOD)


@statement("MQTT-4.12.0-4")
def test_a_refused_authentication_closes(desk):
    client = desk.open()
    client.send(wire.connect("a", properties={"auth_method": "x"}), wire.auth(0x18, {"auth_method": "x"}))
    client.refused_for(BAD_AUTH_METHOD)


@statement("MQTT-4.12.0-6")
def test_the_server_never_authenticates_unasked(desk):
    client = desk.client(user="u", password=b"p")
    assert not {"auth_method", "auth_data"} & client.connack.props.keys()
    assert not client.until_ping()


@statement("MQTT-4.12.0-7")
@pytest.mark.parametrize("packet", [wire.auth(), wire.auth(0), wire.auth(0x18, {"auth_method": "x"}),
                                    wire.auth(0x18, {"auth_method": "x", "auth_data": b"y"})])
def test_an_auth_without_a_method_is_a_protocol_error(desk, packet):
    client = desk.client()
    client.send(packet)
    client.closed_for(PROTOCOL_ERROR)


@statement("MQTT-4.12.1-1")
def test_a_re_authentication_without_a_method_is_a_protocol_error(desk):
    client = desk.client()
    client.send(wire.auth(0x19, {"auth_method": "x"}))
    client.closed_for(PROTOCOL_ERROR)


FAULTS = {
    "packet type 0": (b"\0\0", MALFORMED),
    "a length that does not end": (b"\x30\xff\xff\xff\xff\x01", MALFORMED),
    "a packet from the server": (wire.packet(CONNACK, 0, b"\0\0\0"), PROTOCOL_ERROR),
    "SUBACK": (wire.packet(SUBACK, 0, b"\0\1\0\0"), PROTOCOL_ERROR),
    "UNSUBACK": (wire.packet(UNSUBACK, 0, b"\0\1\0\0"), PROTOCOL_ERROR),
    "PINGRESP": (wire.packet(wire.PINGRESP, 0, b""), PROTOCOL_ERROR),
    "PUBACK of one byte": (wire.packet(PUBACK, 0, b"\0"), MALFORMED),
    "PUBACK with too much": (wire.packet(PUBACK, 0, b"\0\1\0\0x"), MALFORMED),
    "PUBREC of nothing": (wire.packet(PUBREC, 0, b""), MALFORMED),
    "PUBREL with too much": (wire.packet(PUBREL, 2, b"\0\1\0\0x"), MALFORMED),
    "PUBCOMP with a property that ends outside": (wire.packet(PUBCOMP, 0, b"\0\1\0\5\x1f"), MALFORMED),
    "SUBSCRIBE of nothing": (wire.packet(SUBSCRIBE, 2, b""), MALFORMED),
    "SUBSCRIBE with half a filter": (wire.packet(SUBSCRIBE, 2, b"\0\1\0\0\5a"), MALFORMED),
    "UNSUBSCRIBE with half a filter": (wire.packet(UNSUBSCRIBE, 2, b"\0\1\0\0\5a"), MALFORMED),
    "DISCONNECT with too much": (wire.packet(DISCONNECT, 0, b"\0\0x"), MALFORMED),
    "PUBLISH without identifier": (wire.packet(PUBLISH, 2, wire.text("d/one/x")), MALFORMED),
    "PUBLISH with a property that ends outside": (wire.packet(PUBLISH, 0, wire.text("d/one/x") + b"\5\x01"), MALFORMED),
    "a second CONNECT": (wire.connect("again"), PROTOCOL_ERROR),
    "AUTH": (wire.auth(), PROTOCOL_ERROR),
    "an alias of 0": (wire.publish("d/one/x", properties={"topic_alias": 0}), BAD_ALIAS),
    "a packet too large": (b"\x30\xff\xff\xff\x7f", TOO_LARGE),
}


@statement("MQTT-4.13.1-1")
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_closes_with_its_reason(desk, name):
    packet, reason = FAULTS[name]
    bystander = desk.client()
    client = desk.client()
    client.send(packet)
    client.closed_for(reason)
    assert not bystander.until_ping()  # of the same device, and none of its business


@statement("MQTT-4.13.2-1")
def test_a_reason_of_failure_in_connack_or_disconnect_is_the_end(desk):
    for packet, reason in FAULTS.values():
        client = desk.client()
        client.send(packet)
        last = client.ended()[-1]
        assert last.type == DISCONNECT and last.reason == reason >= 0x80
    for packet in (wire.connect("x", flags=3), wire.connect("x", will=wire.Will("+"))):
        client = desk.open()
        client.send(packet)
        last = client.ended()[-1]
        assert last.type == CONNACK and last.reason >= 0x80


# -- properties --

VALUES = {"u8": 1, "u16": 1, "u32": 1, "var": 1, "text": "t", "bytes": b"b", "pair": ("a", "b")}
ALLOWED = {
    "CONNECT": {"session_expiry", "auth_method", "auth_data", "request_problem", "request_response",
                "receive_maximum", "topic_alias_maximum", "user", "maximum_packet_size"},
    "will": {"payload_format", "message_expiry", "content_type", "response_topic", "correlation", "will_delay",
             "user"},
    "PUBLISH": {"payload_format", "message_expiry", "content_type", "response_topic", "correlation", "sub_id",
                "topic_alias", "user"},
    "SUBSCRIBE": {"sub_id", "user"},
    "UNSUBSCRIBE": {"user"},
    "PUBACK": {"reason_string", "user"}, "PUBREC": {"reason_string", "user"}, "PUBREL": {"reason_string", "user"},
    "PUBCOMP": {"reason_string", "user"},
    "DISCONNECT": {"session_expiry", "reason_string", "user", "server_reference"},
}
ONCE = {where: names - {"user"} for where, names in ALLOWED.items()}


def with_properties(desk, where, properties):
    if where == "CONNECT":
        return wire.connect("p", properties=properties)
    if where == "will":
        return wire.connect("p", will=wire.Will(desk.topic("will"), properties=properties))
    if where == "PUBLISH":
        return wire.publish(desk.topic(), properties=properties)
    if where == "SUBSCRIBE":
        return wire.subscribe(1, (desk.topic(), 0), properties=properties)
    if where == "UNSUBSCRIBE":
        return wire.unsubscribe(1, desk.topic(), properties=properties)
    if where == "DISCONNECT":
        return wire.disconnect(0, properties)
    return wire.ack(wire.TYPES.index(where), 1, 0, properties)


def refused_with(desk, where, properties, *reasons):
    packet = with_properties(desk, where, properties)
    client = desk.open() if where in ("CONNECT", "will") else desk.keeper("p", clean=True)
    client.send(packet)
    try:
        if where in ("CONNECT", "will"):
            client.refused_for(*reasons)
        else:
            client.closed_for(*reasons)
    except AssertionError as why:
        pytest.fail(f"{where}, {properties}: {why}")
    client.close()


@statement("§2.2.2.2")
@pytest.mark.parametrize("where", ALLOWED)
def test_a_property_in_the_wrong_packet_is_malformed(desk, where):
    for name, (_, kind) in wire.PROPERTIES.items():
        if name not in ALLOWED[where]:
            refused_with(desk, where, {name: VALUES[kind]}, MALFORMED)
    for ident in (0x00, 0x04, 0x07, 0x0A, 0x0C, 0x10, 0x14, 0x1B, 0x1D, 0x1E, 0x20, 0x2B, 0x7F, 0x80, 0xFF):
        refused_with(desk, where, bytes([ident, 1]), MALFORMED)
    for cut in (b"\x26", b"\x26\0", b"\x26\0\1a", b"\x26\0\1a\0", b"\x26\0\1a\0\2b"):
        refused_with(desk, where, cut, MALFORMED)


@statement("§3.1.2.11")
@pytest.mark.parametrize("where", ONCE)
def test_a_property_twice_is_a_protocol_error(desk, where):
    for name in ONCE[where]:
        value = VALUES[wire.PROPERTIES[name][1]]
        refused_with(desk, where, [(name, value), ("user", ("k", "v")), (name, value)], PROTOCOL_ERROR)
    client = desk.open() if where in ("CONNECT", "will") else desk.client()
    client.send(with_properties(desk, where, {"user": [("k", "v")] * 3}))  # those may come many times
    if where == "DISCONNECT":
        assert not client.ended()
    else:
        assert not [p for p in client.until_ping() if p.type == DISCONNECT]


@statement("§3.1.2.11.3")
def test_values_out_of_range_are_protocol_errors(desk):
    for name in ("receive_maximum", "maximum_packet_size"):
        refused_with(desk, "CONNECT", {name: 0}, PROTOCOL_ERROR)
    for name in ("request_problem", "request_response"):
        for value in (2, 255):
            refused_with(desk, "CONNECT", {name: value}, PROTOCOL_ERROR)
    for value in (2, 255):
        refused_with(desk, "will", {"payload_format": value}, PROTOCOL_ERROR)
        refused_with(desk, "PUBLISH", {"payload_format": value}, PROTOCOL_ERROR)
    refused_with(desk, "PUBLISH", {"topic_alias": 0}, BAD_ALIAS)
    refused_with(desk, "SUBSCRIBE", {"sub_id": 0}, PROTOCOL_ERROR)
    for edge in ({"receive_maximum": 65535}, {"maximum_packet_size": 0xFFFFFFFF}, {"topic_alias_maximum": 65535},
                 {"session_expiry": 0}, {"request_problem": 1}):
        desk.client(properties=edge).leave()


@statement("§3.1.2.11.10")
def test_authentication_data_without_a_method_is_a_protocol_error(desk):
    refused_with(desk, "CONNECT", {"auth_data": b"x"}, PROTOCOL_ERROR)


@statement("§4.13")
def test_an_auth_before_connect_ends_the_connection(desk):
    client = desk.open()
    client.send(wire.packet(AUTH, 0, b""))
    assert not client.ended()
