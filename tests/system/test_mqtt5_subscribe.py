# SPDX-License-Identifier: GPL-2.0-only
"""MQTT 5 §3.8 to §3.11: SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK."""

import pytest

import wire
from wire import (BAD_FILTER, MALFORMED, NO_LOCAL, NO_SUBSCRIPTION, NOT_AUTHORIZED, PROTOCOL_ERROR, PUBLISH, SUBACK,
                  UNSUBACK, statement)

SUBACK_REASONS = {0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2}
UNSUBACK_REASONS = {0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91}
BAD_FLAGS = [n for n in range(16) if n != 2]


@statement("MQTT-3.8.1-1")
@pytest.mark.parametrize("flags", BAD_FLAGS)
def test_subscribes_flags_are_0010(desk, flags):
    client = desk.client()
    client.send(wire.subscribe(1, (desk.topic(), 0), flags=flags))
    client.closed_for(MALFORMED)


@statement("MQTT-3.8.3-1")
def test_a_filter_is_text(desk):
    for bad in (b"\xff", b"d/one/\0", b"\xed\xa0\x80", b"\xc0\xaf"):
        client = desk.client()
        client.send(wire.subscribe(1, (desk.topic(), 0), (bad, 0)))
        client.closed_for(MALFORMED)


@statement("MQTT-3.8.3-2")
def test_a_subscribe_has_a_filter_with_options(desk):
    client = desk.client()
    client.send(wire.subscribe(1))
    client.closed_for(PROTOCOL_ERROR)
    client = desk.client()
    client.send(wire.packet(wire.SUBSCRIBE, 2, wire.subscribe(1, (desk.topic(), 0))[2:-1]))
    client.closed_for(MALFORMED)


@statement("MQTT-3.8.3-3")
def test_no_local_is_not_sent_what_one_published(desk):
    for options in (0, NO_LOCAL):
        client = desk.client("self")
        client.subscribe(desk.topic("#"), options)
        for qos in (0, 1, 2):
            client.publish(desk.topic(), b"mine", qos)
        desk.client("other").publish(desk.topic(), b"another's", 1)
        got = [p.payload for p in client.until_ping() if p.type == PUBLISH]
        assert got == ([b"mine"] * 3 if not options else []) + [b"another's"]
    client = desk.client("self")
    client.publish(desk.topic("kept"), b"mine", 1, retain=True)
    client.subscribe(desk.topic("kept"), NO_LOCAL)
    assert not client.until_ping()
    again = desk.client("self")
    again.subscribe(desk.topic("kept"), NO_LOCAL)
    assert not again.until_ping()


@statement("MQTT-3.8.3-4")
def test_no_local_on_a_shared_subscription_is_a_protocol_error(desk):
    client = desk.keeper("c")
    client.send(wire.subscribe(1, (desk.topic(), 1), (f"$share/g/{desk.topic()}", NO_LOCAL)))
    client.closed_for(PROTOCOL_ERROR)
    desk.client().publish(desk.topic(), b"", 1)
    assert not desk.keeper("c").until_ping()  # nor did the other filter become a subscription


@statement("MQTT-3.8.3-5")
@pytest.mark.parametrize("bits", [0x40, 0x80, 0xC0])
def test_reserved_subscription_options_are_0(desk, bits):
    client = desk.client()
    client.send(wire.subscribe(1, (desk.topic(), bits)))
    client.closed_for(MALFORMED)


@statement("§3.8.3.1")
@pytest.mark.parametrize("options", [3, 0x30, 0x33])
def test_qos_3_and_retain_handling_3_are_protocol_errors(desk, options):
    client = desk.client()
    client.send(wire.subscribe(1, (desk.topic(), options)))
    client.closed_for(PROTOCOL_ERROR)


@statement("§3.8.2.1")
def test_subscription_identifiers_are_1_to_268435455(desk):
    client = desk.client()
    for number in (1, 127, 128, 16383, 16384, 2097151, 2097152, 268435455):
        client.subscribe(desk.topic(f"{number}"), 0, sub_id=number)
        client.publish(desk.topic(f"{number}"))
        assert client.receive().props["sub_id"] == [number]
    client.send(wire.subscribe(99, (desk.topic(), 0), properties={"sub_id": 0}))
    client.closed_for(PROTOCOL_ERROR)


@statement("MQTT-3.8.4-1")
def test_a_subscribe_is_answered(desk):
    client = desk.client()
    client.send(wire.subscribe(10, (desk.topic(), 0)))
    client.expect(SUBACK)


@statement("MQTT-3.8.4-2")
def test_suback_has_the_subscribes_identifier(desk):
    client = desk.client()
    for packet_id in (10, 65535, 1):
        client.send(wire.subscribe(packet_id, (desk.topic(), 0)))
    for packet_id in (10, 65535, 1):
        client.expect(SUBACK, packet_id=packet_id)


@statement("MQTT-3.8.4-3")
def test_the_same_filter_again_replaces(desk):
    pub, sub = desk.pair(2, sub_id=1)
    sub.subscribe(desk.topic(), 1, sub_id=2)
    pub.publish(desk.topic(), b"x", 2)
    assert sub.receive(qos=1).props["sub_id"] == [2]
    assert not sub.until_ping()
    sub.unsubscribe(desk.topic())
    pub.publish(desk.topic(), b"x", 2)
    assert not sub.until_ping()


@statement("MQTT-3.8.4-4")
def test_replacing_sends_retained_again_and_loses_nothing(desk):
    pub, sub = desk.pair(1)
    pub.publish(desk.topic(), b"kept", 1, retain=True)
    sub.receive(payload=b"kept", retain=False)
    for n in range(10):
        pub.publish(desk.topic(), f"{n}", 1)
        sub.subscribe(desk.topic(), 1)
        payloads = [sub.receive().payload for _ in range(2)]
        assert sorted(payloads) == sorted([f"{n}".encode(), b"kept"])
    assert not sub.until_ping()


@statement("MQTT-3.8.4-5")
def test_many_filters_are_as_many_subscribes(desk):
    pub = desk.client()
    pub.publish(desk.topic("kept"), b"kept", 1, retain=True)
    sub = desk.client(device=desk.two)
    sub.send(wire.subscribe(1, (desk.topic("a"), 0), (desk.topic("kept"), 1), (desk.topic("a"), 2)))
    sub.expect(SUBACK, reasons=[0, 1, 2])
    sub.receive(desk.topic("kept"), retain=True)
    pub.publish(desk.topic("a"), b"", 2)
    sub.receive(desk.topic("a"), qos=2)  # the later one replaced the earlier
    assert not sub.until_ping()


def mixed(desk):
    """Good, forbidden, and bad filters in one packet, and the reasons they must get."""
    client = desk.client()
    client.send(wire.subscribe(7, (desk.topic("a"), 2), ("site/#", 0), ("a/#/b", 1), (desk.topic("b"), 0),
                               ("$share//x", 1), (desk.topic("c"), 1)))
    return client.expect(SUBACK, packet_id=7), [2, NOT_AUTHORIZED, BAD_FILTER, 0, BAD_FILTER, 1]


@statement("MQTT-3.8.4-6")
def test_suback_has_a_reason_for_each_filter(desk):
    got, want = mixed(desk)
    assert len(got.reasons) == len(want)
    client = desk.client()
    client.send(wire.subscribe(1, *[(desk.topic(f"{n}"), n % 3) for n in range(200)]))
    client.expect(SUBACK, reasons=[n % 3 for n in range(200)])


@statement("MQTT-3.8.4-7")
def test_a_reason_is_the_granted_qos_or_a_failure(desk):
    got, _ = mixed(desk)
    for reason in got.reasons:
        assert reason in (0, 1, 2) or reason >= 0x80
    client = desk.client()
    for qos in (0, 1, 2):
        assert client.subscribe(desk.topic(), qos).reasons == [qos]


@statement("MQTT-3.8.4-8")
@pytest.mark.parametrize("granted", [0, 1, 2])
def test_deliveries_have_the_lower_qos(desk, granted):
    pub, sub = desk.pair(granted)
    for qos in (0, 1, 2):
        pub.publish(desk.topic(), b"", qos)
        sub.receive(qos=min(qos, granted))
        pub.publish(desk.topic("kept"), b"k", qos, retain=True)
        pub.until_ping()
        sub.subscribe(desk.topic("kept"), granted)
        sub.receive(desk.topic("kept"), retain=True, qos=min(qos, granted))
        sub.unsubscribe(desk.topic("kept"))


def failing_subacks(desk, **properties):
    client = desk.client("failing", properties=properties)
    for packet_id, filter_ in ((1, "site/#"), (2, "#/a"), (3, desk.topic())):
        client.send(wire.subscribe(packet_id, (filter_, 0)))
        yield client.expect(SUBACK, packet_id=packet_id)


def unsubacks(desk, **properties):
    client = desk.client("failing", properties=properties)
    client.subscribe(desk.topic())
    for packet_id, filter_ in ((1, "site/#"), (2, "#/a"), (3, desk.topic())):
        client.send(wire.unsubscribe(packet_id, filter_))
        yield client.expect(UNSUBACK, packet_id=packet_id)


@statement("MQTT-3.9.2-1")
def test_no_reason_string_makes_a_suback_too_large(desk):
    for got in failing_subacks(desk, maximum_packet_size=20):
        assert got.size <= 20 and "reason_string" not in got.props


@statement("MQTT-3.9.2-2")
def test_no_user_property_makes_a_suback_too_large(desk):
    for got in failing_subacks(desk, maximum_packet_size=20):
        assert got.size <= 20 and "user" not in got.props


@statement("MQTT-3.9.3-1")
def test_subacks_reasons_are_in_the_filters_order(desk):
    got, want = mixed(desk)
    assert got.reasons == want


@statement("MQTT-3.9.3-2")
def test_suback_uses_its_own_reasons(desk):
    got, _ = mixed(desk)
    assert set(got.reasons) <= SUBACK_REASONS


@statement("§3.11.3")
@pytest.mark.parametrize("filter_", ["", "#/a", "a+", "$share/g", "$share//x", "$share/a+b/x"])
def test_no_filter_is_no_subscription(desk, filter_):
    client = desk.client()
    client.send(wire.unsubscribe(1, filter_, desk.topic()))
    assert client.expect(wire.UNSUBACK).reasons == [wire.BAD_FILTER, wire.NO_SUBSCRIPTION]


@statement("MQTT-3.10.1-1")
@pytest.mark.parametrize("flags", BAD_FLAGS)
def test_unsubscribes_flags_are_0010(desk, flags):
    client = desk.client()
    client.send(wire.unsubscribe(1, desk.topic(), flags=flags))
    client.closed_for(MALFORMED)


@statement("MQTT-3.10.3-1")
def test_an_unsubscribes_filter_is_text(desk):
    for bad in (b"\xff", b"d/one/\0", b"\xed\xa0\x80", b"\xc0\xaf"):
        client = desk.client()
        client.send(wire.unsubscribe(1, desk.topic(), bad))
        client.closed_for(MALFORMED)


@statement("MQTT-3.10.3-2")
def test_an_unsubscribe_has_a_filter(desk):
    client = desk.client()
    client.send(wire.unsubscribe(1))
    client.closed_for(PROTOCOL_ERROR)


@statement("MQTT-3.10.4-1")
def test_a_filter_is_compared_letter_by_letter(desk):
    client = desk.client()
    for filter_ in ("a/+", "a/b"):
        client.subscribe(desk.topic(filter_))
    for other in ("a/#", "+/b", "a/c", "A/b", "a/b/", "/a/b", "a/B"):
        client.send(wire.unsubscribe(1, desk.topic(other)))
        client.expect(UNSUBACK, reasons=[NO_SUBSCRIPTION])
    client.publish(desk.topic("a/b"))
    client.receive()
    client.send(wire.unsubscribe(2, desk.topic("a/b")))
    client.expect(UNSUBACK, reasons=[0])
    client.publish(desk.topic("a/b"))
    client.receive()  # by a/+ still
    client.send(wire.unsubscribe(3, desk.topic("a/+")))
    client.expect(UNSUBACK, reasons=[0])
    client.publish(desk.topic("a/b"))
    assert not client.until_ping()


@statement("MQTT-3.10.4-2")
def test_after_unsubscribe_nothing_new_comes(desk):
    pub, sub = desk.pair(1)
    sub.unsubscribe(desk.topic())
    for qos in (0, 1, 2):
        pub.publish(desk.topic(), b"late", qos)
    assert not sub.until_ping()


@statement("MQTT-3.10.4-3")
def test_what_was_begun_is_completed_after_unsubscribe(desk):
    sub = desk.keeper(device=desk.two)
    sub.subscribe(desk.topic(), 2)
    pub = desk.client()
    for qos in (1, 2):
        pub.publish(desk.topic(), f"{qos}", qos)
    begun = [sub.expect(PUBLISH) for _ in range(2)]
    sub.unsubscribe(desk.topic())
    sub.drop()
    back = desk.keeper(device=desk.two)
    for was in begun:
        back.receive(packet_id=was.packet_id, payload=was.payload, qos=was.qos, dup=True)
    assert not back.until_ping()


@statement("MQTT-3.10.4-4")
def test_an_unsubscribe_is_answered(desk):
    client = desk.client()
    client.subscribe(desk.topic())
    client.send(wire.unsubscribe(10, desk.topic()))
    client.expect(UNSUBACK, packet_id=10, reasons=[0])


@statement("MQTT-3.10.4-5")
def test_unsuback_has_the_identifier_even_where_nothing_was(desk):
    client = desk.client()
    for packet_id in (10, 65535, 1):
        client.send(wire.unsubscribe(packet_id, desk.topic("never")))
        client.expect(UNSUBACK, packet_id=packet_id, reasons=[NO_SUBSCRIPTION])


@statement("MQTT-3.10.4-6")
def test_many_filters_are_as_many_unsubscribes(desk):
    pub, sub = desk.pair(0, "a")
    sub.subscribe(desk.topic("b"))
    sub.subscribe(desk.topic("c"))
    sub.send(wire.unsubscribe(50, desk.topic("a"), desk.topic("b"), desk.topic("a")))
    sub.expect(UNSUBACK, packet_id=50, reasons=[0, 0, NO_SUBSCRIPTION])
    for name in "abc":
        pub.publish(desk.topic(name))
    sub.receive(desk.topic("c"))
    assert not sub.until_ping()


@statement("MQTT-3.11.2-1")
def test_no_reason_string_makes_an_unsuback_too_large(desk):
    for got in unsubacks(desk, maximum_packet_size=20):
        assert got.size <= 20 and "reason_string" not in got.props


@statement("MQTT-3.11.2-2")
def test_no_user_property_makes_an_unsuback_too_large(desk):
    for got in unsubacks(desk, maximum_packet_size=20):
        assert got.size <= 20 and "user" not in got.props


@statement("MQTT-3.11.3-1")
def test_unsubacks_reasons_are_in_the_filters_order(desk):
    client = desk.client()
    client.subscribe(desk.topic("a"))
    client.subscribe(desk.topic("b"))
    client.send(wire.unsubscribe(9, desk.topic("x"), desk.topic("b"), desk.topic("y"), desk.topic("a")))
    client.expect(UNSUBACK, reasons=[NO_SUBSCRIPTION, 0, NO_SUBSCRIPTION, 0])


@statement("MQTT-3.11.3-2")
def test_unsuback_uses_its_own_reasons(desk):
    for got in unsubacks(desk):
        assert set(got.reasons) <= UNSUBACK_REASONS


@statement("§3.9.3")
def test_past_the_limit_a_subscription_is_refused_for_quota(desk):
    client = desk.client()
    for at in range(0, 1024, 256):
        client.send(wire.subscribe(1, *[(desk.topic(f"{n}"), 0) for n in range(at, at + 256)]))
        client.expect(SUBACK, reasons=[0] * 256)
    client.send(wire.subscribe(2, (desk.topic("one/more"), 0), (desk.topic("7"), 1)))
    client.expect(SUBACK, reasons=[wire.QUOTA, 1])  # an old one may still be replaced


@statement("§3.8.4")
def test_more_filters_than_a_session_holds_in_one_packet_change_nothing(desk):
    client = desk.keeper("many")
    client.send(wire.subscribe(1, *[(desk.topic(f"{n}"), 0) for n in range(1025)]))
    client.closed_for(wire.QUOTA)
    again = desk.keeper("many")
    again.send(wire.unsubscribe(2, desk.topic("0"), desk.topic("1024")))
    again.expect(UNSUBACK, reasons=[NO_SUBSCRIPTION] * 2)
