# SPDX-License-Identifier: GPL-2.0-only
"""MQTT 3.1.1 §3.8 to §3.14: SUBSCRIBE, UNSUBSCRIBE, PINGREQ, DISCONNECT."""

import pytest

import wire
from wire import PINGRESP, PUBLISH, SUBACK, SUBSCRIBE, UNSUBACK, Will, statement
from wire3 import ILL_FORMED, closes, publish, subscribe, unsubscribe

FAILURE = 0x80
BAD_FLAGS = [n for n in range(16) if n != 2]


@statement("MQTT-3.8.1-1")
@pytest.mark.parametrize("flags", BAD_FLAGS)
def test_subscribes_flags_are_0010(desk3, flags):
    closes(desk3, subscribe(1, (desk3.topic(), 0), flags=flags))


@statement("MQTT-3.8.3-1")
def test_a_filter_is_text(desk3):
    for bad in (b"d/one/\0", *ILL_FORMED.values()):
        closes(desk3, subscribe(1, (desk3.topic(), 0), (bad, 0)))


@statement("MQTT-3.8.3-2")
def test_filters_may_have_wildcards(desk3):
    pub = desk3.client()
    for filter_ in ("#", "+/b", "a/+", "+/+", "a/b/#"):
        sub = desk3.client(device=desk3.two)
        sub.subscribe(desk3.topic(filter_), 1)
        pub.publish(desk3.topic("a/b"), filter_, 1)
        sub.receive(desk3.topic("a/b"), payload=filter_.encode())


@statement("MQTT-3.8.3-3")
def test_a_subscribe_has_a_filter_with_its_qos(desk3):
    closes(desk3, subscribe(1))
    closes(desk3, wire.packet(SUBSCRIBE, 2, subscribe(1, (desk3.topic(), 0))[2:-1]))


@statement("MQTT-3.8.3-4")
def test_reserved_bits_and_qos_3_close(desk3):
    for byte in (0x03, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xFF):
        closes(desk3, subscribe(1, (desk3.topic("good"), 0), (desk3.topic(), byte)))


@statement("MQTT-3.8.4-1")
def test_a_subscribe_is_answered(desk3):
    client = desk3.client()
    client.send(subscribe(10, (desk3.topic(), 0)))
    client.expect(SUBACK, reasons=[0])


@statement("MQTT-3.8.4-2")
def test_suback_has_the_subscribes_identifier(desk3):
    client = desk3.client()
    for packet_id in (10, 65535, 1):
        client.send(subscribe(packet_id, (desk3.topic(), 0)))
    for packet_id in (10, 65535, 1):
        client.expect(SUBACK, packet_id=packet_id)


@statement("MQTT-3.8.4-3")
def test_the_same_filter_again_replaces(desk3):
    pub, sub = desk3.pair(2)
    pub.publish(desk3.topic(), b"kept", 1, retain=True)
    sub.receive(payload=b"kept", retain=False)
    sub.subscribe(desk3.topic(), 1)
    sub.receive(payload=b"kept", retain=True)
    for n in range(20):  # and nothing is lost meanwhile
        pub.send(publish(desk3.topic(), f"{n}", 2, n + 1))
        sub.send(subscribe(100 + n, (desk3.topic(), 1)))
    live = []
    while len(live) < 20:
        got = sub.take(PUBLISH, qos=1)
        sub.send(wire.ack(wire.PUBACK, got.packet_id))
        live += [] if got.retain else [got.payload]
    assert live == [f"{n}".encode() for n in range(20)]
    sub.until_ping()
    sub.unsubscribe(desk3.topic())
    pub.publish(desk3.topic(), b"x", 1)
    assert not sub.until_ping()  # there was one subscription, not two


@statement("MQTT-3.8.4-4")
def test_many_filters_are_as_many_subscribes(desk3):
    pub = desk3.client()
    pub.publish(desk3.topic("kept"), b"kept", 1, retain=True)
    sub = desk3.client(device=desk3.two)
    sub.send(subscribe(1, (desk3.topic("a"), 0), (desk3.topic("kept"), 1), (desk3.topic("a"), 2)))
    sub.expect(SUBACK, reasons=[0, 1, 2])
    sub.receive(desk3.topic("kept"), retain=True)
    pub.publish(desk3.topic("a"), b"", 2)
    sub.receive(desk3.topic("a"), qos=2)  # the later one replaced the earlier
    assert not sub.until_ping()


def mixed(desk3):
    """Good, forbidden, and bad filters in one packet, and the codes they must get."""
    client = desk3.client()
    client.send(subscribe(7, (desk3.topic("a"), 2), ("site/#", 0), ("a/#/b", 1), (desk3.topic("b"), 0), ("", 1),
                          (desk3.topic("c"), 1)))
    return client.expect(SUBACK, packet_id=7), [2, FAILURE, FAILURE, 0, FAILURE, 1]


@statement("MQTT-3.8.4-5")
def test_suback_has_a_code_for_each_filter(desk3):
    got, want = mixed(desk3)
    assert len(got.reasons) == len(want)
    client = desk3.client()
    client.send(subscribe(1, *[(desk3.topic(f"{n}"), n % 3) for n in range(200)]))
    client.expect(SUBACK, reasons=[n % 3 for n in range(200)])


@statement("MQTT-3.8.4-6")
@pytest.mark.parametrize("granted", [0, 1, 2])
def test_deliveries_have_the_lower_qos(desk3, granted):
    pub, sub = desk3.pair(granted)
    for qos in (0, 1, 2):
        pub.publish(desk3.topic(), b"", qos)
        sub.receive(qos=min(qos, granted))
        pub.publish(desk3.topic("kept"), b"k", qos, retain=True)
        sub.subscribe(desk3.topic("kept"), granted)
        sub.receive(desk3.topic("kept"), retain=True, qos=min(qos, granted))
        sub.unsubscribe(desk3.topic("kept"))
    assert not sub.until_ping()


@statement("MQTT-3.9.3-1")
def test_subacks_codes_are_in_the_filters_order(desk3):
    got, want = mixed(desk3)
    assert got.reasons == want


@statement("MQTT-3.9.3-2")
def test_suback_uses_no_other_codes(desk3):
    got, _ = mixed(desk3)
    assert set(got.reasons) == {0, 1, 2, FAILURE}
    client = desk3.client()
    for at in range(0, 1024, 256):
        client.send(subscribe(1, *[(desk3.topic(f"{n}"), 0) for n in range(at, at + 256)]))
        client.expect(SUBACK, reasons=[0] * 256)
    client.send(subscribe(2, (desk3.topic("one/more"), 0), (desk3.topic("7"), 1)))  # past the limit
    client.expect(SUBACK, reasons=[FAILURE, 1])


@statement("MQTT-3.10.1-1")
@pytest.mark.parametrize("flags", BAD_FLAGS)
def test_unsubscribes_flags_are_0010(desk3, flags):
    closes(desk3, unsubscribe(1, desk3.topic(), flags=flags))


@statement("MQTT-3.10.3-1")
def test_an_unsubscribes_filter_is_text(desk3):
    for bad in (b"d/one/\0", *ILL_FORMED.values()):
        closes(desk3, unsubscribe(1, desk3.topic(), bad))


@statement("MQTT-3.10.3-2")
def test_an_unsubscribe_has_a_filter(desk3):
    closes(desk3, unsubscribe(1))
    closes(desk3, wire.packet(wire.UNSUBSCRIBE, 2, unsubscribe(1, desk3.topic())[2:-1]))


@statement("MQTT-3.10.4-1")
def test_a_filter_is_compared_letter_by_letter(desk3):
    client = desk3.client()
    for filter_ in ("a/+", "a/b"):
        client.subscribe(desk3.topic(filter_))
    for other in ("a/#", "+/b", "a/c", "A/b", "a/b/", "/a/b", "a/B"):
        client.unsubscribe(desk3.topic(other))
    client.publish(desk3.topic("a/b"))
    client.receive()
    client.unsubscribe(desk3.topic("a/b"))
    client.publish(desk3.topic("a/b"))
    client.receive()  # by a/+ still
    client.unsubscribe(desk3.topic("a/+"))
    client.publish(desk3.topic("a/b"))
    assert not client.until_ping()


@statement("MQTT-3.10.4-2")
def test_after_unsubscribe_nothing_new_comes(desk3):
    pub, sub = desk3.pair(1)
    sub.unsubscribe(desk3.topic())
    for qos in (0, 1, 2):
        pub.publish(desk3.topic(), b"late", qos)
    assert not sub.until_ping()


@statement("MQTT-3.10.4-3")
def test_what_was_begun_is_completed_after_unsubscribe(desk3):
    sub = desk3.keeper(device=desk3.two)
    sub.subscribe(desk3.topic(), 2)
    pub = desk3.client()
    for qos in (1, 2):
        pub.publish(desk3.topic(), f"{qos}", qos)
    begun = [sub.expect(PUBLISH) for _ in range(2)]
    sub.unsubscribe(desk3.topic())
    sub.drop()
    back = desk3.keeper(device=desk3.two)
    for was in begun:
        back.receive(packet_id=was.packet_id, payload=was.payload, qos=was.qos, dup=True)
    assert not back.until_ping()


@statement("MQTT-3.10.4-4")
def test_an_unsubscribe_is_answered(desk3):
    client = desk3.client()
    client.subscribe(desk3.topic())
    client.send(unsubscribe(10, desk3.topic()))
    assert client.expect(UNSUBACK).body == b"\0\x0a"


@statement("MQTT-3.10.4-5")
def test_even_where_nothing_was(desk3):
    client = desk3.client()
    for packet_id in (10, 65535, 1):
        client.send(unsubscribe(packet_id, desk3.topic("never")))
        client.expect(UNSUBACK, packet_id=packet_id, reasons=[])


@statement("MQTT-3.10.4-6")
def test_many_filters_are_as_many_unsubscribes(desk3):
    pub, sub = desk3.pair(0, "a")
    sub.subscribe(desk3.topic("b"))
    sub.subscribe(desk3.topic("c"))
    sub.send(unsubscribe(50, desk3.topic("a"), desk3.topic("b"), desk3.topic("a")))
    sub.expect(UNSUBACK, packet_id=50, reasons=[])
    for name in "abc":
        pub.publish(desk3.topic(name))
    sub.receive(desk3.topic("c"))
    assert not sub.until_ping()


@statement("MQTT-3.12.4-1")
def test_every_ping_is_answered(desk3):
    client = desk3.client()
    client.send(*[wire.pingreq()] * 5)
    for _ in range(5):
        client.expect(PINGRESP)


@statement("§3.12")
def test_a_ping_has_no_body(desk3):
    closes(desk3, wire.packet(wire.PINGREQ, 0, b"\0"))


@statement("MQTT-3.14.1-1")
@pytest.mark.parametrize("flags", range(1, 16))
def test_disconnects_flags_are_0(desk3, flags):
    """Such a one is no good-bye: the will speaks."""
    sub = desk3.client(device=desk3.two)
    sub.subscribe(desk3.topic())
    client = desk3.client(will=Will(desk3.topic(), b"it broke the rules"))
    client.send(wire.packet(wire.DISCONNECT, flags, b""))
    client.closed_for()
    sub.receive(payload=b"it broke the rules")


@statement("§3.14")
def test_a_disconnect_has_no_body(desk3):
    for body in (b"\0", b"\0\0", b"\x04"):
        closes(desk3, wire.packet(wire.DISCONNECT, 0, body))


@statement("MQTT-3.14.4-1")
def test_after_a_disconnect_the_connection_is_closed(desk3):
    client = desk3.client()
    client.send(wire.disconnect())
    assert not client.ended()  # by the server, where the client does not


@statement("MQTT-3.14.4-2")
def test_what_follows_a_disconnect_is_ignored(desk3):
    sub = desk3.client(device=desk3.two)
    sub.subscribe(desk3.topic())
    client = desk3.client()
    client.send(wire.disconnect(), publish(desk3.topic(), b"behind"), wire.pingreq())
    assert not client.ended()
    desk3.client().publish(desk3.topic(), b"end")
    sub.receive(payload=b"end")


@statement("MQTT-3.14.4-3")
def test_a_disconnect_discards_the_will(desk3):
    sub = desk3.client(device=desk3.two)
    sub.subscribe(desk3.topic("#"))
    for qos in (0, 1, 2):
        desk3.client(will=Will(desk3.topic("will"), b"no", qos, True)).leave()
    desk3.client().publish(desk3.topic("end"))
    sub.receive(desk3.topic("end"))
    late = desk3.client(device=desk3.two)
    late.subscribe(desk3.topic("will"))
    assert not late.until_ping()
