# SPDX-License-Identifier: GPL-2.0-only
"""MQTT 3.1.1 §3.3 to §3.7: PUBLISH and its acknowledgements."""

import pytest

import wire
from wire import PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, statement
from wire3 import ILL_FORMED, closes, publish

FORBIDDEN = "site/nobody/granted/this"


@statement("MQTT-3.3.1-1")
def test_a_repetition_is_marked(desk3):
    sub = desk3.keeper(device=desk3.two)
    sub.subscribe(desk3.topic(), 2)
    pub = desk3.client()
    for qos in (1, 2):
        pub.publish(desk3.topic(), f"{qos}", qos)
    first = [sub.expect(PUBLISH, dup=False) for _ in range(2)]
    sub.drop()
    back = desk3.keeper(device=desk3.two)
    for was in first:
        back.expect(PUBLISH, dup=True, packet_id=was.packet_id, payload=was.payload, qos=was.qos)


@statement("MQTT-3.3.1-2")
def test_qos_0_is_never_marked_as_repeated(desk3):
    pub, sub = desk3.pair()
    pub.publish(desk3.topic(), b"x")
    sub.receive(qos=0, dup=False)
    closes(desk3, publish(desk3.topic(), b"x", dup=True))


@statement("MQTT-3.3.1-3")
def test_the_mark_is_not_passed_on(desk3):
    pub, sub = desk3.pair()
    for qos in (1, 2):
        pub.send(publish(desk3.topic(), f"{qos}", qos, qos, dup=True))
        sub.receive(qos=qos, dup=False)


@statement("MQTT-3.3.1-4")
@pytest.mark.parametrize("dup", [False, True])
@pytest.mark.parametrize("retain", [False, True])
def test_qos_3_closes(desk3, dup, retain):
    closes(desk3, publish(desk3.topic(), b"x", 3, 1, retain, dup))


def retained(desk3, rest="t", qos=0):
    """What a new subscriber is sent at once."""
    client = desk3.client(device=desk3.two)
    client.subscribe(desk3.topic(rest), qos)
    return [(p.topic, p.payload, p.retain, p.qos) for p in client.until_ping()]


@statement("MQTT-3.3.1-5")
def test_a_retained_message_is_stored_with_its_qos(desk3):
    pub = desk3.client()
    for qos in (2, 0, 1):
        pub.publish(desk3.topic(f"{qos}"), f"{qos}", qos, retain=True)
    got = sorted(retained(desk3, "#", 2))
    assert got == [(desk3.topic(f"{qos}"), f"{qos}".encode(), True, qos) for qos in range(3)]


@statement("MQTT-3.3.1-6")
def test_a_new_subscription_gets_the_last_of_every_topic(desk3):
    pub = desk3.client()
    for payload in ("first", "last"):
        for rest in ("a/b", "a/c", "b/b"):
            pub.publish(desk3.topic(rest), f"{payload} of {rest}", 1, retain=True)
    got = retained(desk3, "a/+", 1)
    assert sorted(got) == [(desk3.topic(rest), f"last of {rest}".encode(), True, 1) for rest in ("a/b", "a/c")]


@statement("MQTT-3.3.1-7")
def test_a_retained_message_of_qos_0_replaces_the_one_before(desk3):
    pub = desk3.client()
    pub.publish(desk3.topic(), b"old", 2, retain=True)
    pub.publish(desk3.topic(), b"new", 0, retain=True)
    assert retained(desk3) == [(desk3.topic(), b"new", True, 0)]


@statement("MQTT-3.3.1-8")
def test_what_a_subscription_brings_is_marked_as_retained(desk3):
    desk3.client().publish(desk3.topic(), b"kept", 1, retain=True)
    sub = desk3.client(device=desk3.two)
    for _ in range(2):  # the same one again is as good as a new one
        sub.subscribe(desk3.topic(), 1)
        sub.receive(payload=b"kept", retain=True)


@statement("MQTT-3.3.1-9")
def test_what_comes_to_a_standing_subscription_is_not_marked(desk3):
    pub, sub = desk3.pair()
    away = desk3.keeper(device=desk3.two)
    away.subscribe(desk3.topic(), 1)
    away.drop()
    for qos in (0, 1, 2):
        pub.publish(desk3.topic(), f"{qos}", qos, retain=True)
        sub.receive(payload=f"{qos}".encode(), retain=False)
    back = desk3.keeper(device=desk3.two)
    assert [p.retain for p in back.until_ping()] == [False, False]


@statement("MQTT-3.3.1-10")
def test_an_empty_retained_message_is_sent_on_and_removes(desk3):
    pub, sub = desk3.pair()
    for qos in (0, 1, 2):
        pub.publish(desk3.topic(), b"kept", 1, retain=True)
        sub.receive(payload=b"kept")
        pub.publish(desk3.topic(), b"", qos, retain=True)
        sub.receive(payload=b"", qos=qos, retain=False)
        assert not retained(desk3)


@statement("MQTT-3.3.1-11")
def test_an_empty_message_is_not_retained(desk3):
    pub = desk3.client()
    for qos in (0, 1, 2):
        pub.publish(desk3.topic(), b"", qos, retain=True)
    assert not retained(desk3)


@statement("MQTT-3.3.1-12")
def test_an_ordinary_message_leaves_the_retained_one_alone(desk3):
    pub = desk3.client()
    pub.publish(desk3.topic(), b"live", 1)
    assert not retained(desk3)
    pub.publish(desk3.topic(), b"kept", 1, retain=True)
    for payload in (b"live", b""):
        pub.publish(desk3.topic(), payload, 1)
    assert retained(desk3, qos=2) == [(desk3.topic(), b"kept", True, 1)]


@statement("MQTT-3.3.2-1")
def test_the_topic_is_first_and_text(desk3):
    for body in (b"", b"\0", b"\0\5d/o", *[wire.text(b"d/one/" + bad) for bad in (b"\0", *ILL_FORMED.values())]):
        closes(desk3, wire.packet(PUBLISH, 0, body))
    closes(desk3, wire.packet(PUBLISH, 2, b"\0\1" + wire.text(desk3.topic())))  # the identifier in front


@statement("MQTT-3.3.2-2")
@pytest.mark.parametrize("rest", ["#", "+", "a/+/b", "a+", "a#b"])
def test_a_topic_has_no_wildcards(desk3, rest):
    for qos in (0, 1, 2):
        closes(desk3, publish(desk3.topic(rest), b"", qos, 1 if qos else None))


@statement("MQTT-3.3.2-3")
def test_a_delivery_names_a_topic_that_the_filter_matches(desk3):
    pub = desk3.client()
    want = {"a/b": ["a/b"], "a/+": ["a/b", "a/c"], "+/b": ["a/b", "c/b"], "a/#": ["a/b", "a/c"],
            "#": ["a/b", "a/c", "c/b", "end"]}
    subs = {filter_: desk3.client(device=desk3.two) for filter_ in want}
    for filter_, sub in subs.items():
        sub.subscribe(desk3.topic(filter_))
    for rest in ("a/b", "a/c", "c/b", "end"):
        pub.publish(desk3.topic(rest), b"x")
    for filter_, sub in subs.items():
        assert [p.topic for p in sub.until_ping()] == [desk3.topic(t) for t in want[filter_]], filter_


@statement("MQTT-3.3.4-1")
def test_each_qos_has_its_answer(desk3):
    client = desk3.client()
    client.send(publish(desk3.topic(), b"", 0))
    assert not client.until_ping()
    client.send(publish(desk3.topic(), b"", 1, 5))
    client.expect(PUBACK, packet_id=5)
    client.send(publish(desk3.topic(), b"", 2, 6))
    client.expect(PUBREC, packet_id=6)
    client.send(wire.ack(PUBREL, 6))
    client.expect(PUBCOMP, packet_id=6)
    assert not client.until_ping()


@statement("MQTT-3.3.5-1")
def test_overlapping_filters_give_the_highest_qos(desk3):
    pub = desk3.client()
    sub = desk3.client(device=desk3.two)
    for filter_, qos in (("a/#", 0), ("a/+", 2), ("a/b", 1)):
        sub.subscribe(desk3.topic(filter_), qos)
    for qos in (0, 1, 2):
        pub.publish(desk3.topic("a/b"), b"", qos)
        sub.receive(qos=qos)
    assert not sub.until_ping()


@statement("MQTT-3.3.5-2")
@pytest.mark.parametrize("qos", [1, 2])
def test_a_publish_without_a_grant_closes(desk3, qos):
    """The other way would be to acknowledge it, and then its sender would believe that it went somewhere."""
    sub = desk3.client(device=desk3.two)
    sub.subscribe("#", 2)
    for kept in (False, True):
        closes(desk3, publish(FORBIDDEN, b"no", qos, 1, kept))
    bare = desk3.client()
    bare.publish(FORBIDDEN, b"no")  # at QoS 0 there is nothing to acknowledge
    bare.publish(desk3.topic("end"), b"yes", 1)
    sub.take(PUBLISH, topic=desk3.topic("end"))
    assert not [p for p in sub.inbox if p.topic == FORBIDDEN]
    late = desk3.client(device=desk3.two)
    late.subscribe(FORBIDDEN)
    assert not late.until_ping()


@statement("MQTT-3.6.1-1")
@pytest.mark.parametrize("flags", [n for n in range(16) if n != 2])
def test_pubrels_flags_are_0010(desk3, flags):
    closes(desk3, wire.packet(PUBREL, flags, b"\0\1"))


@statement("§3.4")
@pytest.mark.parametrize("qos, wrong", [(1, PUBREC), (1, PUBCOMP), (2, PUBACK), (2, PUBCOMP)])
def test_an_acknowledgement_of_another_qos_acknowledges_nothing(desk3, qos, wrong):
    sub = desk3.keeper(device=desk3.two)
    sub.subscribe(desk3.topic(), 2)
    desk3.client().publish(desk3.topic(), b"still owed", qos)
    got = sub.expect(PUBLISH, qos=qos)
    sub.send(wire.ack(wrong, got.packet_id))
    sub.closed_for()
    desk3.keeper(device=desk3.two).receive(packet_id=got.packet_id, payload=b"still owed", dup=True)


@statement("§3.5")
def test_an_acknowledgement_of_nothing_harms_nobody(desk3):
    client = desk3.client()
    client.send(*[wire.ack(kind, 0x7777) for kind in (PUBACK, PUBCOMP, PUBREC, PUBREL)])
    client.take(PUBREL, packet_id=0x7777)  # both ends come to rest
    client.take(PUBCOMP, packet_id=0x7777)
    assert not client.until_ping()
