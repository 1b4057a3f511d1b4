# SPDX-License-Identifier: GPL-2.0-only
"""MQTT 5 §3.4 to §3.7: PUBACK, PUBREC, PUBREL, PUBCOMP."""

import pytest

import wire
from wire import (ID_IN_USE, ID_NOT_FOUND, MALFORMED, NOT_AUTHORIZED, PROTOCOL_ERROR, PUBACK, PUBCOMP, PUBLISH, PUBREC,
                  PUBREL, statement)

PUBACK_REASONS = {0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99}
FORBIDDEN = "site/nobody/granted/this"


def answers_to_publish(desk, qos, **properties):
    """What the server says to a publish that it takes, and to ones that it does not."""
    client = desk.client("answers", properties=properties)
    too_long = b"x" * 262145
    for packet_id, topic, payload in ((1, desk.topic(), b""), (2, FORBIDDEN, b""), (3, desk.topic(), too_long)):
        client.send(wire.publish(topic, payload, qos, packet_id))
        yield client.expect(PUBACK if qos == 1 else PUBREC, packet_id=packet_id)


@statement("MQTT-3.4.2-1")
def test_puback_uses_its_own_reasons(desk):
    reasons = [p.reason for p in answers_to_publish(desk, 1)]
    assert reasons[0] == 0 and reasons[1] == NOT_AUTHORIZED and set(reasons) <= PUBACK_REASONS


@statement("MQTT-3.4.2-2")
def test_no_reason_string_makes_a_puback_too_large(desk):
    for got in answers_to_publish(desk, 1, maximum_packet_size=20):
        assert got.size <= 20 and "reason_string" not in got.props


@statement("MQTT-3.4.2-3")
def test_no_user_property_makes_a_puback_too_large(desk):
    for got in answers_to_publish(desk, 1, maximum_packet_size=20):
        assert got.size <= 20 and "user" not in got.props


@statement("MQTT-3.5.2-1")
def test_pubrec_uses_its_own_reasons(desk):
    reasons = [p.reason for p in answers_to_publish(desk, 2)]
    assert reasons[0] == 0 and reasons[1] == NOT_AUTHORIZED and set(reasons) <= PUBACK_REASONS


@statement("MQTT-3.5.2-2")
def test_no_reason_string_makes_a_pubrec_too_large(desk):
    for got in answers_to_publish(desk, 2, maximum_packet_size=20):
        assert got.size <= 20 and "reason_string" not in got.props


@statement("MQTT-3.5.2-3")
def test_no_user_property_makes_a_pubrec_too_large(desk):
    for got in answers_to_publish(desk, 2, maximum_packet_size=20):
        assert got.size <= 20 and "user" not in got.props


@statement("MQTT-3.6.1-1")
@pytest.mark.parametrize("flags", [n for n in range(16) if n != 2])
def test_pubrels_flags_are_0010(desk, flags):
    client = desk.client()
    client.send(wire.packet(PUBREL, flags, b"\0\1"))
    client.closed_for(MALFORMED)


def pubrels(desk, **properties):
    """A PUBREL for a delivery, and one for a PUBREC of nothing."""
    sub = desk.client("pubrels", properties=properties)
    sub.subscribe(desk.topic(), 2)
    desk.client().publish(desk.topic(), b"", 2)
    got = sub.expect(PUBLISH)
    sub.send(wire.ack(PUBREC, got.packet_id))
    yield sub.expect(PUBREL, packet_id=got.packet_id)
    sub.send(wire.ack(PUBREC, 0x7777))
    yield sub.expect(PUBREL, packet_id=0x7777)


@statement("MQTT-3.6.2-1")
def test_pubrel_uses_its_own_reasons(desk):
    assert [p.reason for p in pubrels(desk)] == [0, ID_NOT_FOUND]


@statement("MQTT-3.6.2-2")
def test_no_reason_string_makes_a_pubrel_too_large(desk):
    for got in pubrels(desk, maximum_packet_size=60):
        assert got.size <= 60 and "reason_string" not in got.props


@statement("MQTT-3.6.2-3")
def test_no_user_property_makes_a_pubrel_too_large(desk):
    for got in pubrels(desk, maximum_packet_size=60):
        assert got.size <= 60 and "user" not in got.props


def pubcomps(desk, **properties):
    """A PUBCOMP for a publish, and one for a PUBREL of nothing."""
    client = desk.client("pubcomps", properties=properties)
    client.send(wire.publish(desk.topic(), b"", 2, 1))
    client.expect(PUBREC, reason=0)
    client.send(wire.ack(PUBREL, 1))
    yield client.expect(PUBCOMP, packet_id=1)
    client.send(wire.ack(PUBREL, 0x7777))
    yield client.expect(PUBCOMP, packet_id=0x7777)


@statement("MQTT-3.7.2-1")
def test_pubcomp_uses_its_own_reasons(desk):
    assert [p.reason for p in pubcomps(desk)] == [0, ID_NOT_FOUND]


@statement("MQTT-3.7.2-2")
def test_no_reason_string_makes_a_pubcomp_too_large(desk):
    for got in pubcomps(desk, maximum_packet_size=20):
        assert got.size <= 20 and "reason_string" not in got.props


@statement("MQTT-3.7.2-3")
def test_no_user_property_makes_a_pubcomp_too_large(desk):
    for got in pubcomps(desk, maximum_packet_size=20):
        assert got.size <= 20 and "user" not in got.props


@statement("§3.4.2.1")
def test_short_and_long_acknowledgements_mean_the_same(desk):
    """Reason and properties may be left out when the reason is Success."""
    sub = desk.client(device=desk.two, properties={"receive_maximum": 1})
    sub.subscribe(desk.topic(), 2)
    pub = desk.client()
    forms = [(None, None), (0, None), (0, {}), (0x10, None), (0, {"reason_string": "fine", "user": ("a", "b")})]
    for reason, properties in forms:
        for qos in (1, 2):
            pub.publish(desk.topic(), b"", qos)
            got = sub.expect(PUBLISH, qos=qos)
            sub.send(wire.ack(PUBACK if qos == 1 else PUBREC, got.packet_id, reason, properties))
            if qos == 2:
                sub.expect(PUBREL, packet_id=got.packet_id)
                sub.send(wire.ack(PUBCOMP, got.packet_id, reason if reason != 0x10 else 0, properties))
        pub.send(wire.publish(desk.topic("x"), b"", 2, 99))
        pub.expect(PUBREC, packet_id=99)
        pub.send(wire.ack(PUBREL, 99, reason if reason != 0x10 else 0, properties))
        pub.expect(PUBCOMP, packet_id=99, reason=0)
    assert not sub.until_ping()


UNKNOWN = {PUBACK: (0x01, 0x11, 0x81, 0x92, 0xFF), PUBREC: (0x01, 0x11, 0x81, 0x92, 0xFF),
           PUBREL: (0x01, 0x10, 0x80, 0x91, 0xFF), PUBCOMP: (0x01, 0x10, 0x80, 0x91, 0xFF)}


@statement("§2.4")
@pytest.mark.parametrize("kind", UNKNOWN)
def test_a_reason_that_the_packet_does_not_have_is_a_protocol_error(desk, kind):
    for reason in UNKNOWN[kind]:
        client = desk.client()
        client.send(wire.ack(kind, 1, reason))
        client.closed_for(PROTOCOL_ERROR)


@statement("§3.4")
@pytest.mark.parametrize("qos, wrong", [(1, PUBREC), (1, PUBCOMP), (2, PUBACK), (2, PUBCOMP)])
def test_an_acknowledgement_of_another_qos_acknowledges_nothing(desk, qos, wrong):
    sub = desk.keeper(device=desk.two)
    sub.subscribe(desk.topic(), 2)
    desk.client().publish(desk.topic(), b"still owed", qos)
    got = sub.expect(PUBLISH, qos=qos)
    sub.send(wire.ack(wrong, got.packet_id))
    sub.closed_for(PROTOCOL_ERROR)
    desk.keeper(device=desk.two).receive(packet_id=got.packet_id, payload=b"still owed", dup=True)


@statement("§4.3")
def test_an_identifier_in_a_qos_2_exchange_is_in_use(desk):
    client = desk.client()
    client.send(wire.publish(desk.topic(), b"", 2, 5))
    client.expect(PUBREC, packet_id=5, reason=0)
    client.send(wire.publish(desk.topic(), b"", 1, 5))
    client.expect(PUBACK, packet_id=5, reason=ID_IN_USE)
    client.send(wire.ack(PUBREL, 5))
    client.expect(PUBCOMP, packet_id=5, reason=0)
    client.send(wire.publish(desk.topic(), b"", 1, 5))
    client.expect(PUBACK, packet_id=5, reason=0)
