# SPDX-License-Identifier: GPL-2.0-only
"""MQTT 5 §4.7 and §4.8: topics, filters, shared subscriptions."""

import pytest

import wire
from wire import (BAD_FILTER, BAD_TOPIC, MALFORMED, PROTOCOL_ERROR, PUBACK, PUBLISH, PUBREC, PUBREL, SUBACK, statement)


def refused_filters(desk, *filters):
    client = desk.client(device=desk.two)
    client.send(wire.subscribe(1, *[(f, 0) for f in filters]))
    client.expect(SUBACK, reasons=[BAD_FILTER] * len(filters))


@statement("MQTT-4.7.0-1")
@pytest.mark.parametrize("rest", ["#", "+", "a/#/b", "a/+", "a+b", "#a"])
def test_a_topic_name_has_no_wildcard(desk, rest):
    client = desk.client()
    client.send(wire.publish(desk.topic(rest), b"", 1, 1))
    client.closed_for(MALFORMED, BAD_TOPIC)


@statement("MQTT-4.7.1-1")
def test_the_multi_level_wildcard_is_the_last_level(desk):
    refused_filters(desk, "#/a", "a/#/b", "a#", "a/b#", "##", "a/##", "#+", "+#")
    pub = desk.client()
    sub = desk.client(device=desk.two)
    sub.subscribe(desk.topic("a/#"))
    for rest in ("a", "a/", "a/b", "a/b/c", "ab", "b/a"):
        pub.publish(desk.topic(rest))
    assert [p.topic for p in sub.until_ping()] == [desk.topic(r) for r in ("a", "a/", "a/b", "a/b/c")]


@statement("MQTT-4.7.1-2")
def test_the_single_level_wildcard_is_a_whole_level(desk):
    refused_filters(desk, "a+", "+a", "a/b+", "a/+b/c", "++", "a/++", "a+/b")
    pub = desk.client()
    sub = desk.client(device=desk.two)
    sub.subscribe(desk.topic("+/b/+"))
    for rest in ("a/b/c", "/b/", "a/b", "a/b/c/d", "a/x/c", "b/b/b"):
        pub.publish(desk.topic(rest))
    assert [p.topic for p in sub.until_ping()] == [desk.topic(r) for r in ("a/b/c", "/b/", "b/b/b")]


@statement("MQTT-4.7.2-1")
def test_a_leading_wildcard_does_not_match_dollar_topics(desk):
    named = desk.client(device=desk.two)
    named.subscribe("$SYS/#")
    named.take(PUBLISH, retain=True)
    sub = desk.client(device=desk.two)
    for filter_ in ("#", "+/broker/#", "+/#"):
        sub.subscribe(filter_)
    named.take(PUBLISH, retain=False)  # the gateway's figures, said anew
    assert all(not p.topic.startswith("$") for p in sub.until_ping())


@statement("MQTT-4.7.3-1")
def test_a_topic_or_filter_has_one_character_at_least(desk):
    refused_filters(desk, "")
    client = desk.client()
    client.send(wire.publish(""))
    client.closed_for(PROTOCOL_ERROR, MALFORMED)
    client = desk.client(device=desk.two)
    client.subscribe("/")
    client.unsubscribe("/")


@statement("MQTT-4.7.3-2")
def test_a_topic_or_filter_has_no_null_character(desk):
    for packet in (wire.publish("d/one/\0"), wire.subscribe(1, ("d/one/\0", 0)), wire.unsubscribe(1, "\0")):
        client = desk.client()
        client.send(packet)
        client.closed_for(MALFORMED)


@statement("MQTT-4.7.3-3")
def test_topics_and_filters_of_65535_bytes(desk):
    pub = desk.client()
    sub = desk.client(device=desk.two)
    longest = desk.topic("x" * (65535 - len(desk.topic(""))))
    sub.subscribe(longest, 1)
    pub.send(wire.publish(longest, b"", 1, 9))
    assert pub.expect(PUBACK, packet_id=9).reason >= 0x80  # with the uplink's prefix it would be too long
    long = longest[:65000]
    sub.subscribe(long, 1)
    pub.publish(long, b"far", 1)
    sub.receive(long, payload=b"far")
    pub.publish(long, b"kept", 1, retain=True)
    late = desk.client(device=desk.two)
    late.subscribe(long)
    late.receive(long, payload=b"kept", retain=True)
    pub.publish(long, b"", 1, retain=True)


@statement("MQTT-4.7.3-4")
def test_topics_are_compared_byte_by_byte(desk):
    names = ["a/b", "A/b", "a//b", "/a/b", "a/b/", "a /b", "\u00e9", "e\u0301", "\u212b", "\u00c5", "\ufb01", "fi",
             "a/./b", "a/../b", "%61/b", "\ufeffa/b"]
    pub = desk.client()
    subs = []
    for name in names:
        sub = desk.client(device=desk.two)
        sub.subscribe(desk.topic(name))
        subs.append(sub)
    for name in names:
        pub.publish(desk.topic(name), name)
    for name, sub in zip(names, subs):
        assert [(p.topic, p.payload.decode()) for p in sub.until_ping()] == [(desk.topic(name), name)]


@statement("MQTT-4.8.2-1")
def test_a_shared_filter_has_a_name(desk):
    refused_filters(desk, f"$share//{desk.topic()}", "$share/", "$share//")
    client = desk.client()
    client.subscribe(f"$share/n/{desk.topic()}")
    client.publish(desk.topic())
    client.receive()


@statement("MQTT-4.8.2-2")
def test_a_shares_name_has_no_wildcard_and_a_filter_behind(desk):
    refused_filters(desk, f"$share/a+/{desk.topic()}", f"$share/#/{desk.topic()}", f"$share/+/{desk.topic()}",
                    "$share/name", "$share/name/", "$share/name/a/#/b")


@statement("MQTT-4.8.2-3")
def test_a_shared_subscription_has_its_own_qos(desk):
    pub = desk.client()
    for granted in (0, 1, 2):
        sub = desk.client(device=desk.two)
        sub.subscribe(f"$share/g/{desk.topic()}", granted)
        for qos in (0, 1, 2):
            pub.publish(desk.topic(), b"", qos)
            sub.receive(qos=min(qos, granted))
        sub.unsubscribe(f"$share/g/{desk.topic()}")


def chosen(desk, qos):
    """Two members of a group and a message that went to one of them: (that one, its name, the other)."""
    members = {}
    for name in "ab":
        members[name] = desk.keeper(name, device=desk.two)
        members[name].subscribe(f"$share/g/{desk.topic()}", 2)
    desk.client().publish(desk.topic(), b"job", qos)
    for name, other in ("ab", "ba"):
        got = members[name].until_ping()
        if got:
            assert [(p.type, p.payload) for p in got] == [(PUBLISH, b"job")] and not members[other].until_ping()
            return members[name], name, got[0], members[other]
    pytest.fail("nobody got the message")


@statement("MQTT-4.8.2-4")
def test_a_begun_qos_2_delivery_waits_for_its_member(desk):
    member, name, first, other = chosen(desk, 2)
    member.drop()
    assert not other.until_ping()
    back = desk.keeper(name, device=desk.two)
    back.receive(packet_id=first.packet_id, payload=b"job", qos=2, dup=True)
    assert not other.until_ping()


@statement("MQTT-4.8.2-5")
def test_a_begun_qos_2_delivery_ends_with_its_members_session(desk):
    member, name, _, other = chosen(desk, 2)
    member.leave(0, {"session_expiry": 0})
    assert not desk.keeper(name, device=desk.two).until_ping()
    assert not other.until_ping()


@statement("MQTT-4.8.2-6")
@pytest.mark.parametrize("qos, kind", [(1, PUBACK), (2, PUBREC)])
def test_what_a_member_refuses_goes_to_nobody_else(desk, qos, kind):
    member, _, first, other = chosen(desk, qos)
    member.send(wire.ack(kind, first.packet_id, 0x80))
    assert not member.until_ping() and not other.until_ping()


@statement("§4.8.2")
def test_each_message_goes_to_one_member_of_each_group(desk):
    desk.client().publish(desk.topic(), b"kept", 1, retain=True)
    groups = {name: [desk.client(device=desk.two) for _ in range(3)] for name in ("g", "h")}
    for name, members in groups.items():
        for member in members:
            member.subscribe(f"$share/{name}/{desk.topic()}", 1)
    alone = desk.client(device=desk.two)
    alone.subscribe(desk.topic(), 1 | wire.NEVER_RETAINED)
    pub = desk.client()
    for n in range(12):
        pub.publish(desk.topic(), f"{n}", 1)
    all_ = [f"{n}".encode() for n in range(12)]
    for members in groups.values():
        got = [[p.payload for p in member.until_ping()] for member in members]
        assert all(got) and sorted(sum(got, [])) == sorted(all_)  # shared, each once, and nothing retained
    assert [p.payload for p in alone.until_ping()] == all_


@statement("§4.7.3")
def test_a_topic_of_too_many_levels_is_not_accepted(desk):
    """200 levels are what this server takes; more are not malformed, and no reason to close."""
    client = desk.client()
    deep = desk.topic("/" * 200)
    client.send(wire.publish(deep), wire.publish(deep, b"", 1, 1), wire.publish(deep, b"", 2, 2))
    client.expect(wire.PUBACK, packet_id=1, reason=wire.BAD_TOPIC)
    client.expect(PUBREC, packet_id=2, reason=wire.BAD_TOPIC)
    assert not client.until_ping()


@statement("§4.8.2.1")
def test_a_share_is_left_by_its_whole_name(desk):
    sub = desk.client(device=desk.two)
    sub.subscribe(f"$share/g/{desk.topic()}")
    assert sub.unsubscribe(f"$share/h/{desk.topic()}").reasons == [wire.NO_SUBSCRIPTION]
    assert sub.unsubscribe(desk.topic()).reasons == [wire.NO_SUBSCRIPTION]
    assert sub.unsubscribe(f"$share/g/{desk.topic()}").reasons == [0]
    desk.client().publish(desk.topic(), b"", 1)
    assert not sub.until_ping()


@statement("§4.3.3")
def test_a_qos_2_exchange_of_a_group_is_completed(desk):
    member, _, first, _ = chosen(desk, 2)
    member.send(wire.ack(PUBREC, first.packet_id))
    member.expect(PUBREL, packet_id=first.packet_id)
    member.send(wire.ack(wire.PUBCOMP, first.packet_id))
    assert not member.until_ping()
