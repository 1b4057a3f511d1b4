# SPDX-License-Identifier: GPL-2.0-only
"""MQTT 5, chapters 1 and 2: how data and packets are written."""

import pytest

import wire
from wire import (AUTH, CONNECT, DISCONNECT, MALFORMED, PINGREQ, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK,
                  SUBSCRIBE, UNSUBACK, UNSUBSCRIBE, statement)

ILL_FORMED = {
    "first surrogate": b"\xed\xa0\x80", "last surrogate": b"\xed\xbf\xbf", "a pair of surrogates":
    b"\xed\xa0\xbd\xed\xb8\x80", "overlong slash": b"\xc0\xaf", "overlong in three": b"\xe0\x80\xaf",
    "overlong in four": b"\xf0\x80\x80\xaf", "past U+10FFFF": b"\xf4\x90\x80\x80", "first byte F5":
    b"\xf5\x80\x80\x80", "cut off": b"\xe2\x82", "a lone continuation": b"\x80", "FF": b"\xff",
}
NULLS = {"null": b"\0", "overlong null": b"\xc0\x80"}


def everywhere(desk, bad):
    """Every place of a connected client's packets that takes text, with `bad` in it."""
    text = b"x" + bad + b"y"
    return {
        "topic": wire.publish(b"d/one/" + text),
        "response topic": wire.publish(desk.topic(), properties={"response_topic": text}),
        "content type": wire.publish(desk.topic(), properties={"content_type": text}),
        "filter": wire.subscribe(1, (b"d/one/" + text, 0)),
        "filter to end": wire.unsubscribe(1, b"d/one/" + text),
        "reason string": wire.ack(PUBACK, 1, 0, {"reason_string": text}),
    }


def in_connect(bad):
    """Every place of CONNECT that takes text."""
    text = b"x" + bad + b"y"
    return {
        "client id": wire.connect(text),
        "will topic": wire.connect("w", will=wire.Will(b"d/one/" + text)),
        "user name": wire.connect("u", user=text),
        "user property": wire.connect("p", properties={"user": (text, "v")}),
        "will's content type": wire.connect("c", will=wire.Will("d/one/w", properties={"content_type": text})),
        "will's response topic": wire.connect("r", will=wire.Will("d/one/w", properties={"response_topic": text})),
    }


def refuses(desk, bad):
    for where, packet in everywhere(desk, bad).items():
        client = desk.client()
        client.send(packet)
        try:
            client.closed_for(MALFORMED)
        except AssertionError as why:
            pytest.fail(f"{where}: {why}")
    for where, packet in in_connect(bad).items():
        client = desk.open()
        client.send(packet)
        try:
            client.refused_for(MALFORMED)
        except AssertionError as why:
            pytest.fail(f"CONNECT, {where}: {why}")


@statement("MQTT-1.5.4-1")
@pytest.mark.parametrize("name", ILL_FORMED)
def test_ill_formed_text_is_malformed(desk, name):
    refuses(desk, ILL_FORMED[name])


@statement("MQTT-1.5.4-2")
@pytest.mark.parametrize("name", NULLS)
def test_a_null_character_is_malformed(desk, name):
    refuses(desk, NULLS[name])


@statement("MQTT-1.5.4-3")
def test_a_byte_order_mark_stays_where_it_is(desk):
    pub, sub = desk.pair(rest="\ufeff")
    other = desk.client(device=desk.two)
    other.subscribe(desk.topic(""))
    pub.publish(desk.topic("\ufeff"), b"marked", user=[("\ufeffname", "va\ufefflue")])
    got = sub.receive(desk.topic("\ufeff"))
    assert got.props["user"] == [("\ufeffname", "va\ufefflue")]
    pub.publish(desk.topic(""), b"plain")
    other.receive(desk.topic(""), payload=b"plain")


@statement("MQTT-1.5.5-1")
@pytest.mark.parametrize("name, packet", [
    ("remaining length in two bytes", b"\xc0\x80\x00"),
    ("remaining length in four bytes", b"\xc0\x80\x80\x80\x00"),
    ("property length in two bytes", b"\x30\x08\x00\x03d/o\x80\x00x"),
    ("subscription identifier in two bytes", b"\x82\x0c\x00\x01\x03\x0b\x81\x00\x00\x03d/o\x00"),
])
def test_a_length_longer_than_needed_is_malformed(desk, name, packet):
    client = desk.client()
    client.send(packet)
    client.closed_for(MALFORMED)


@statement("§1.5.5")
@pytest.mark.parametrize("packet", [
    b"\xc0\x80\x80\x80\x80\x00", b"\xc0\xff\xff\xff\xff\x7f", b"\x30\xff\xff\xff\xff\xff",
    b"\x30\x0a\x00\x03d/o\x80\x80\x80\x80\x01",
])
def test_a_length_of_five_bytes_is_malformed(desk, packet):
    client = desk.client()
    client.send(packet)
    client.closed_for(MALFORMED)


@statement("MQTT-1.5.7-1")
@pytest.mark.parametrize("pair", [(b"\xff", "v"), ("n", b"\xff"), (b"\0", "v"), ("n", b"\0"),
                                  (b"\xed\xa0\x80", "v"), ("n", b"\xed\xa0\x80")])
def test_both_strings_of_a_pair_are_text(desk, pair):
    for packet in (wire.publish(desk.topic(), properties={"user": pair}),
                   wire.subscribe(1, (desk.topic(), 0), properties={"user": pair}),
                   wire.unsubscribe(1, desk.topic(), properties={"user": pair}),
                   wire.disconnect(0, {"user": pair})):
        client = desk.client()
        client.send(packet)
        client.closed_for(MALFORMED)


FLAGS = [(kind, flags) for kind, right in ((PUBACK, 0), (PUBREC, 0), (PUBREL, 2), (PUBCOMP, 0), (SUBSCRIBE, 2),
                                           (UNSUBSCRIBE, 2), (PINGREQ, 0), (DISCONNECT, 0), (AUTH, 0))
         for flags in (0, 1, 2, 4, 8, 15) if flags != right]


@statement("MQTT-2.1.3-1")
def test_reserved_flags_are_fixed(desk):
    bodies = {SUBSCRIBE: wire.subscribe(1, (desk.topic(), 0))[2:], UNSUBSCRIBE: wire.unsubscribe(1, desk.topic())[2:],
              PINGREQ: b"", DISCONNECT: b"", AUTH: b""}
    for kind, flags in FLAGS:
        client = desk.client()
        client.send(wire.packet(kind, flags, bodies.get(kind, b"\0\1")))
        client.closed_for(MALFORMED)
    for flags in (1, 2, 4, 8):
        client = desk.open()
        client.send(wire.packet(CONNECT, flags, wire.connect("f")[2:]))
        assert not client.ended()


@statement("§2.1.2")
@pytest.mark.parametrize("flags", range(16))
def test_packet_type_0_is_malformed(desk, flags):
    client = desk.client()
    client.send(bytes([flags, 0]))
    client.closed_for(MALFORMED)


@statement("MQTT-2.2.1-2")
def test_qos_0_has_no_packet_identifier(desk):
    pub, sub = desk.pair()
    pub.send(b"\x30" + wire.varint(2 + len(desk.topic()) + 1 + 3) + wire.text(desk.topic()) + b"\0" + b"\0\7x")
    assert sub.receive(qos=0).payload == b"\0\7x"  # neither side took two bytes for an identifier


@statement("MQTT-2.2.1-3")
def test_packet_identifier_0_is_malformed(desk):
    for packet in (wire.subscribe(0, (desk.topic(), 0)), wire.unsubscribe(0, desk.topic()),
                   wire.publish(desk.topic(), b"", 1, 0), wire.publish(desk.topic(), b"", 2, 0),
                   wire.ack(PUBREL, 0), wire.ack(PUBACK, 0), wire.ack(PUBREC, 0), wire.ack(PUBCOMP, 0)):
        client = desk.client()
        client.send(packet)
        client.closed_for(MALFORMED)


@statement("MQTT-2.2.1-4")
def test_the_servers_packet_identifiers_are_its_own_and_unused(desk):
    pub, sub = desk.pair()
    for n in range(40):
        pub.publish(desk.topic(), f"{n}", 1 + n % 2)
    ids = [sub.expect(PUBLISH).packet_id for _ in range(40)]
    assert 0 not in ids and len(set(ids)) == 40


@statement("MQTT-2.2.1-5")
def test_acknowledgements_name_their_publish(desk):
    client = desk.client()
    for packet_id in (1, 0x1234, 0xFFFF):
        client.send(wire.publish(desk.topic(), b"", 1, packet_id))
        client.expect(PUBACK, packet_id=packet_id)
        client.send(wire.publish(desk.topic(), b"", 2, packet_id))
        client.expect(PUBREC, packet_id=packet_id)
        client.send(wire.ack(PUBREL, packet_id))
        client.expect(PUBCOMP, packet_id=packet_id)
    client.subscribe(desk.topic(), 2)
    client.publish(desk.topic(), b"", 2)
    got = client.take(PUBLISH)
    client.send(wire.ack(PUBREC, got.packet_id))
    client.expect(PUBREL, packet_id=got.packet_id)


@statement("MQTT-2.2.1-6")
def test_suback_and_unsuback_name_their_request(desk):
    client = desk.client()
    for packet_id in (1, 0x1234, 0xFFFF):
        client.send(wire.subscribe(packet_id, (desk.topic(), 0)))
        client.expect(SUBACK, packet_id=packet_id)
        client.send(wire.unsubscribe(packet_id, desk.topic()))
        client.expect(UNSUBACK, packet_id=packet_id)


@statement("MQTT-2.2.2-1")
def test_no_properties_are_a_length_of_zero(desk):
    pub, sub = desk.pair()
    pub.publish(desk.topic(), b"x")
    assert sub.expect(PUBLISH).body == wire.text(desk.topic()) + b"\0x"
    pub.send(wire.subscribe(9, (desk.topic("none"), 0)))
    assert pub.expect(SUBACK).body == b"\0\x09\0\0"
    pub.send(wire.packet(PUBLISH, 0, wire.text(desk.topic())))  # without the length
    pub.closed_for(MALFORMED)
