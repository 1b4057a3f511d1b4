# SPDX-License-Identifier: GPL-2.0-only
"""MQTT 5 §3.3: PUBLISH."""

import time

import pytest

import wire
from wire import (AS_PUBLISHED, BAD_ALIAS, BAD_TOPIC, MALFORMED, NEVER_RETAINED, ONLY_NEW, PROTOCOL_ERROR, PUBACK,
                  PUBCOMP, PUBLISH, PUBREC, PUBREL, RECEIVE_MAXIMUM, SUBACK, statement)


@statement("MQTT-3.3.1-1")
def test_a_repetition_is_marked(desk):
    sub = desk.keeper(device=desk.two)
    sub.subscribe(desk.topic(), 2)
    pub = desk.client()
    for qos in (1, 2):
        pub.publish(desk.topic(), f"{qos}", qos)
    first = [sub.expect(PUBLISH, dup=False) for _ in range(2)]
    sub.drop()
    back = desk.keeper(device=desk.two)
    for was in first:
        back.expect(PUBLISH, dup=True, packet_id=was.packet_id, payload=was.payload, qos=was.qos)


@statement("MQTT-3.3.1-2")
def test_qos_0_is_never_marked_as_repeated(desk):
    pub, sub = desk.pair()
    pub.publish(desk.topic(), b"x")
    sub.receive(qos=0, dup=False)
    pub.send(wire.publish(desk.topic(), b"x", dup=True))
    pub.closed_for(MALFORMED)


@statement("MQTT-3.3.1-3")
def test_the_mark_is_not_passed_on(desk):
    pub, sub = desk.pair()
    for qos in (1, 2):
        pub.send(wire.publish(desk.topic(), f"{qos}", qos, qos, dup=True))
        sub.receive(qos=qos, dup=False)


@statement("MQTT-3.3.1-4")
def test_qos_3_is_malformed(desk):
    client = desk.client()
    client.send(wire.publish(desk.topic(), b"", 3, 1))
    client.closed_for(MALFORMED)


def retained(desk, rest="t", options=0):
    """What a new subscriber is sent at once."""
    client = desk.client(device=desk.two)
    client.subscribe(desk.topic(rest), options)
    return [(p.topic, p.payload, p.retain) for p in client.until_ping()]


@statement("MQTT-3.3.1-5")
def test_a_retained_message_replaces_the_one_before(desk):
    pub = desk.client()
    for qos, payload in ((0, b"first"), (1, b"second"), (2, b"third"), (0, b"fourth")):
        pub.publish(desk.topic(), payload, qos, retain=True)
        pub.until_ping()
        assert retained(desk) == [(desk.topic(), payload, True)]


@statement("MQTT-3.3.1-6")
def test_an_empty_retained_message_removes(desk):
    pub, sub = desk.pair(AS_PUBLISHED)
    pub.publish(desk.topic(), b"kept", 1, retain=True)
    sub.receive(payload=b"kept")
    pub.publish(desk.topic(), b"", 1, retain=True)
    sub.receive(payload=b"", retain=True)  # processed as any other
    assert not retained(desk)


@statement("MQTT-3.3.1-7")
def test_an_empty_message_is_not_retained(desk):
    pub = desk.client()
    pub.publish(desk.topic(), b"", 1, retain=True)
    assert not retained(desk)


@statement("MQTT-3.3.1-8")
def test_an_ordinary_message_leaves_the_retained_one_alone(desk):
    pub = desk.client()
    pub.publish(desk.topic(), b"live", 1)
    assert not retained(desk)
    pub.publish(desk.topic(), b"kept", 1, retain=True)
    pub.publish(desk.topic(), b"live", 1)
    pub.publish(desk.topic(), b"", 1)
    assert retained(desk) == [(desk.topic(), b"kept", True)]


@statement("MQTT-3.3.1-9")
def test_retain_handling_0_sends_at_every_subscribe(desk):
    pub = desk.client()
    for name in "ab":
        pub.publish(desk.topic(name), name, 1, retain=True)
    sub = desk.client(device=desk.two)
    for _ in range(3):
        sub.subscribe(desk.topic("+"), 1)
        got = [sub.receive(retain=True) for _ in range(2)]
        assert {p.payload for p in got} == {b"a", b"b"}
    assert not sub.until_ping()


@statement("MQTT-3.3.1-10")
def test_retain_handling_1_sends_to_a_new_subscription(desk):
    desk.client().publish(desk.topic(), b"kept", 1, retain=True)
    sub = desk.client(device=desk.two)
    sub.subscribe(desk.topic(), ONLY_NEW)
    sub.receive(payload=b"kept", retain=True)
    sub.subscribe(desk.topic(), ONLY_NEW)
    assert not sub.until_ping()
    sub.unsubscribe(desk.topic())
    sub.subscribe(desk.topic(), ONLY_NEW)
    sub.receive(payload=b"kept", retain=True)


@statement("MQTT-3.3.1-11")
def test_retain_handling_2_sends_nothing(desk):
    desk.client().publish(desk.topic(), b"kept", 1, retain=True)
    assert not retained(desk, options=NEVER_RETAINED)


@statement("MQTT-3.3.1-12")
def test_without_retain_as_published_the_flag_is_cleared(desk):
    pub, sub = desk.pair(0)
    pub.publish(desk.topic(), b"r", 1, retain=True)
    pub.publish(desk.topic(), b"", 1, retain=True)
    sub.receive(payload=b"r", retain=False)
    sub.receive(payload=b"", retain=False)


@statement("MQTT-3.3.1-13")
def test_with_retain_as_published_the_flag_stays(desk):
    pub, sub = desk.pair(AS_PUBLISHED)
    for flag in (True, False, True):
        pub.publish(desk.topic(), b"x", 1, retain=flag)
        sub.receive(retain=flag)


@statement("MQTT-3.3.2-1")
def test_the_topic_is_first_and_text(desk):
    for body in (b"", b"\0", b"\0\5d/o", wire.text(b"d/one/\xff") + b"\0", wire.text(b"d/one/\0") + b"\0"):
        client = desk.client()
        client.send(wire.packet(PUBLISH, 0, body))
        client.closed_for(MALFORMED)


@statement("MQTT-3.3.2-2")
@pytest.mark.parametrize("rest", ["#", "+", "a/+/b", "a+", "a#b"])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_topic_has_no_wildcards(desk, rest, qos):
    client = desk.client()
    client.send(wire.publish(desk.topic(rest), b"", qos, 1 if qos else None))
    client.closed_for(MALFORMED, BAD_TOPIC)


@statement("MQTT-3.3.2-3")
def test_a_delivery_names_a_topic_that_the_filter_matches(desk):
    pub = desk.client()
    subs = {filter_: desk.client(device=desk.two) for filter_ in ("a/b", "a/+", "+/b", "a/#", "#")}
    for filter_, sub in subs.items():
        sub.subscribe(desk.topic(filter_))
    pub.publish(desk.topic("a/b"), b"x")
    pub.publish(desk.topic("a/c"), b"x")
    pub.publish(desk.topic("c/b"), b"x")
    pub.publish(desk.topic("end"), b"end")
    want = {"a/b": ["a/b"], "a/+": ["a/b", "a/c"], "+/b": ["a/b", "c/b"], "a/#": ["a/b", "a/c"],
            "#": ["a/b", "a/c", "c/b", "end"]}
    for filter_, sub in subs.items():
        assert [p.topic for p in sub.until_ping()] == [desk.topic(t) for t in want[filter_]], filter_


@statement("MQTT-3.3.2-4")
def test_the_payload_format_is_passed_on(desk):
    pub, sub = desk.pair()
    pub.publish(desk.topic(), "tëxt", payload_format=1)
    assert sub.receive().props["payload_format"] == 1
    pub.publish(desk.topic(), b"\xff", payload_format=0)
    assert sub.receive().props["payload_format"] == 0
    pub.publish(desk.topic(), b"\xff")
    assert "payload_format" not in sub.receive().props


@statement("MQTT-3.3.2-5")
def test_an_expired_message_is_not_sent(desk):
    sub = desk.keeper(device=desk.two)
    sub.subscribe(desk.topic("#"), 1)
    sub.drop()
    pub = desk.client()
    pub.publish(desk.topic("queued"), b"old", 1, message_expiry=1)
    pub.publish(desk.topic("kept"), b"old", 1, retain=True, message_expiry=1)
    pub.publish(desk.topic("stays"), b"new", 1, message_expiry=100)
    time.sleep(1.2)
    back = desk.keeper(device=desk.two)
    back.receive(desk.topic("stays"))
    assert not back.until_ping()
    assert not retained(desk, "kept")


@statement("MQTT-3.3.2-6")
def test_the_expiry_passed_on_is_what_is_left(desk):
    sub = desk.keeper(device=desk.two)
    sub.subscribe(desk.topic("#"), 1)
    pub = desk.client()
    pub.publish(desk.topic("live"), b"", 1, message_expiry=100)
    assert sub.receive().props["message_expiry"] in (99, 100)
    sub.drop()
    pub.publish(desk.topic("queued"), b"", 1, message_expiry=100)
    pub.publish(desk.topic("kept"), b"", 1, retain=True, message_expiry=100)
    pub.publish(desk.topic("kept"), b"kept", 1, retain=True, message_expiry=100)
    time.sleep(2.1)
    back = desk.keeper(device=desk.two)
    for _ in range(3):
        assert 50 <= back.receive().props["message_expiry"] <= 98
    late = desk.client(device=desk.two)
    late.subscribe(desk.topic("kept"))
    assert 50 <= late.receive(retain=True).props["message_expiry"] <= 98
    pub.publish(desk.topic("live"), b"forever", 1)
    assert "message_expiry" not in back.receive(payload=b"forever").props


@statement("MQTT-3.3.2-7")
def test_topic_aliases_end_with_the_connection(desk):
    client = desk.keeper()
    client.publish(desk.topic(), b"", 0, topic_alias=1)
    client.publish("", b"", 1, topic_alias=1)
    client.drop()
    back = desk.keeper()
    back.send(wire.publish("", b"", properties={"topic_alias": 1}))
    back.closed_for(PROTOCOL_ERROR)
    sub = desk.keeper("sub", device=desk.two, topic_alias_maximum=5)
    sub.subscribe(desk.topic(), 1)
    pub = desk.client()
    pub.publish(desk.topic(), b"1", 1)
    sub.receive(desk.topic())
    pub.publish(desk.topic(), b"2", 1)
    sub.receive(payload=b"2")
    sub.drop()
    pub.publish(desk.topic(), b"3", 1)
    desk.keeper("sub", device=desk.two, topic_alias_maximum=5).receive(desk.topic(), payload=b"3")


@statement("MQTT-3.3.2-8")
def test_topic_alias_0_is_invalid(desk):
    client = desk.client()
    client.send(wire.publish(desk.topic(), b"", properties={"topic_alias": 0}))
    client.closed_for(BAD_ALIAS)
    sub = desk.client(device=desk.two, properties={"topic_alias_maximum": 65535})
    sub.subscribe(desk.topic("#"))
    pub = desk.client()
    for n in range(40):
        pub.publish(desk.topic(f"{n}"), b"")
        assert sub.expect(PUBLISH).props.get("topic_alias", 1) > 0


@statement("MQTT-3.3.2-9")
@pytest.mark.parametrize("alias", [17, 256, 65535])
def test_a_topic_alias_too_high_is_invalid(desk, alias):
    client = desk.client()
    client.send(wire.publish(desk.topic(), b"", 1, 1, properties={"topic_alias": alias}))
    client.closed_for(BAD_ALIAS)


@statement("MQTT-3.3.2-11")
@pytest.mark.parametrize("maximum", [1, 3, 16])
def test_the_servers_aliases_are_the_clients(desk, maximum):
    sub = desk.client(device=desk.two, properties={"topic_alias_maximum": maximum})
    sub.subscribe(desk.topic("#"))
    pub = desk.client()
    for n in range(20):
        pub.publish(desk.topic(f"{n}"), b"")
        assert sub.expect(PUBLISH).props.get("topic_alias", 1) <= maximum


@statement("MQTT-3.3.2-12")
def test_every_alias_up_to_the_maximum_is_taken(desk):
    pub, sub = desk.pair(rest="#")
    for alias in range(1, 17):
        pub.publish(desk.topic(f"{alias}"), b"", topic_alias=alias)
        sub.receive(desk.topic(f"{alias}"))
    for alias in range(16, 0, -1):
        pub.publish("", b"by alias", topic_alias=alias)
        assert "topic_alias" not in sub.receive(desk.topic(f"{alias}"), payload=b"by alias").props
    pub.publish(desk.topic("moved"), b"", topic_alias=3)
    sub.receive(desk.topic("moved"))
    pub.publish("", b"", topic_alias=3)
    sub.receive(desk.topic("moved"))


@statement("§3.3.2.3.4")
def test_without_topic_and_alias_is_a_protocol_error(desk):
    for properties in ({}, {"topic_alias": 7}):
        client = desk.client()
        client.send(wire.publish("", b"", properties=properties))
        client.closed_for(PROTOCOL_ERROR)


@statement("MQTT-3.3.2-13")
def test_the_response_topic_is_text(desk):
    client = desk.client()
    client.send(wire.publish(desk.topic(), properties={"response_topic": b"a\xff"}))
    client.closed_for(MALFORMED)


@statement("MQTT-3.3.2-14")
@pytest.mark.parametrize("topic", ["#", "a/+", "+", ""])
def test_the_response_topic_has_no_wildcards(desk, topic):
    client = desk.client()
    client.send(wire.publish(desk.topic(), properties={"response_topic": topic}))
    client.closed_for(PROTOCOL_ERROR)
    client = desk.open()
    client.send(wire.connect("w", will=wire.Will(desk.topic(), properties={"response_topic": topic})))
    client.refused_for(PROTOCOL_ERROR)


PROPERTIES = {"payload_format": 1, "content_type": "text/plain; é", "response_topic": "d/two/answers",
              "correlation": b"\0\xff\0 42", "user": [("a", "1"), ("b", ""), ("a", "1"), ("", "é"), ("a", "0")]}
EMPTY = {"content_type": "", "correlation": b""}


def passed_on(desk, name, value):
    """The property through every way that a message can take to a subscriber."""
    pub = desk.client()
    live, away = desk.client(device=desk.two), desk.keeper(device=desk.two)
    live.subscribe(desk.topic())
    away.subscribe(desk.topic(), 2)
    away.drop()
    pub.publish(desk.topic(), b"m", 2, retain=True, **{name: value})
    late, back = desk.client(device=desk.two), desk.keeper(device=desk.two)
    late.subscribe(desk.topic())
    will = desk.client(will=wire.Will(desk.topic(), b"w", properties={name: value}))
    got = [live.receive(), late.receive(), back.receive()]
    will.drop()
    return [p.props.get(name) for p in [*got, live.receive(payload=b"w")]]


@statement("MQTT-3.3.2-15")
def test_the_response_topic_is_passed_on(desk):
    value = PROPERTIES["response_topic"]
    assert passed_on(desk, "response_topic", value) == [value] * 4


@statement("MQTT-3.3.2-16")
@pytest.mark.parametrize("value", [PROPERTIES["correlation"], b"", b"x" * 1000])
def test_the_correlation_data_is_passed_on(desk, value):
    assert passed_on(desk, "correlation", value) == [value] * 4


@statement("MQTT-3.3.2-17")
def test_user_properties_are_passed_on(desk):
    pairs = PROPERTIES["user"]
    assert passed_on(desk, "user", pairs) == [pairs] * 4


@statement("MQTT-3.3.2-18")
def test_user_properties_keep_their_order(desk):
    pub, sub = desk.pair()
    pairs = [(f"{n * 7 % 10}", f"{n}") for n in range(30)]
    mixed = [("user", p) for p in pairs]
    mixed[10:10] = [("content_type", "between")]
    mixed[20:20] = [("correlation", b"between")]
    mixed.append(("payload_format", 1))
    pub.send(wire.publish(desk.topic(), b"", properties=mixed))
    got = sub.receive()
    assert got.props["user"] == pairs and got.props["content_type"] == "between"


@statement("MQTT-3.3.2-19")
def test_the_content_type_is_text(desk):
    client = desk.client()
    client.send(wire.publish(desk.topic(), properties={"content_type": b"a\xff"}))
    client.closed_for(MALFORMED)


@statement("MQTT-3.3.2-20")
@pytest.mark.parametrize("value", [PROPERTIES["content_type"], ""])
def test_the_content_type_is_passed_on(desk, value):
    assert passed_on(desk, "content_type", value) == [value] * 4


@statement("MQTT-3.3.4-1")
def test_each_qos_has_its_answer(desk):
    client = desk.client()
    client.send(wire.publish(desk.topic(), b"", 0))
    assert not client.until_ping()
    client.send(wire.publish(desk.topic(), b"", 1, 5))
    client.expect(PUBACK, packet_id=5, reason=0)
    client.send(wire.publish(desk.topic(), b"", 2, 6))
    client.expect(PUBREC, packet_id=6, reason=0)
    client.send(wire.ack(PUBREL, 6))
    client.expect(PUBCOMP, packet_id=6, reason=0)


@statement("MQTT-3.3.4-2")
def test_overlapping_filters_give_the_highest_qos(desk):
    pub = desk.client()
    sub = desk.client(device=desk.two)
    for filter_, qos in (("a/#", 0), ("a/+", 2), ("a/b", 1)):
        sub.subscribe(desk.topic(filter_), qos)
    for qos in (0, 1, 2):
        pub.publish(desk.topic("a/b"), b"", qos)
        sub.receive(qos=qos)
    assert not sub.until_ping()


@statement("MQTT-3.3.4-3")
def test_a_delivery_names_its_subscriptions(desk):
    pub = desk.client()
    sub = desk.client(device=desk.two)
    sub.subscribe(desk.topic("a/#"), 1, sub_id=7)
    sub.subscribe(desk.topic("a/b"), 1)
    sub.subscribe(desk.topic("c"), 1, sub_id=268435455)
    pub.publish(desk.topic("a/b"), b"", 1)
    assert sub.receive().props["sub_id"] == [7]
    pub.publish(desk.topic("c"), b"", 1)
    assert sub.receive().props["sub_id"] == [268435455]


@statement("MQTT-3.3.4-4")
def test_one_copy_names_all_its_subscriptions(desk):
    pub = desk.client()
    sub = desk.keeper(device=desk.two)
    for number, filter_ in ((1, "a/#"), (2, "a/+"), (3, "a/b"), (3, "+/b"), (200000, "#")):
        sub.subscribe(desk.topic(filter_), 1, sub_id=number)
    pub.publish(desk.topic("a/b"), b"", 1)
    assert sorted(sub.receive().props["sub_id"]) == [1, 2, 3, 3, 200000]
    assert not sub.until_ping()
    sub.drop()
    pub.publish(desk.topic("a/b"), b"", 1)
    assert sorted(desk.keeper(device=desk.two).receive().props["sub_id"]) == [1, 2, 3, 3, 200000]


@statement("MQTT-3.3.4-5")
def test_a_shared_copy_names_its_own_subscription(desk):
    """The only case in which one client gets several copies."""
    pub = desk.client()
    sub = desk.client(device=desk.two)
    sub.subscribe(desk.topic("a"), 0, sub_id=1)
    sub.subscribe(f"$share/g/{desk.topic('a')}", 0, sub_id=2)
    sub.subscribe(f"$share/h/{desk.topic('+')}", 0, sub_id=3)
    pub.publish(desk.topic("a"), b"")
    assert sorted(sub.receive().props["sub_id"] for _ in range(3)) == [[1], [2], [3]]
    assert not sub.until_ping()


@statement("§3.8.2.1.2")
def test_a_retained_message_names_the_subscription_that_asked(desk):
    desk.client().publish(desk.topic(), b"kept", 1, retain=True)
    sub = desk.client(device=desk.two)
    sub.subscribe(desk.topic("+"), 0, sub_id=5)
    assert sub.receive(retain=True).props["sub_id"] == [5]
    sub.subscribe(desk.topic("+"), 0, sub_id=6)
    assert sub.receive(retain=True).props["sub_id"] == [6]
    sub.subscribe(desk.topic("+"), 0)
    assert "sub_id" not in sub.receive(retain=True).props


@statement("MQTT-3.3.4-6")
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_client_publishes_without_subscription_identifier(desk, qos):
    client = desk.client()
    client.send(wire.publish(desk.topic(), b"", qos, 1 if qos else None, properties={"sub_id": 1}))
    client.closed_for(PROTOCOL_ERROR)


@statement("MQTT-3.3.4-7")
def test_more_than_the_receive_maximum_is_an_error(desk):
    client = desk.client()
    maximum = client.connack.props["receive_maximum"]
    for packet_id in range(1, maximum + 1):
        client.send(wire.publish(desk.topic(), b"", 2, packet_id))
        client.expect(PUBREC, packet_id=packet_id, reason=0)
    client.send(wire.publish(desk.topic(), b"", 2, maximum + 1))
    client.closed_for(RECEIVE_MAXIMUM)


@statement("MQTT-3.3.4-9")
def test_the_server_keeps_to_the_clients_receive_maximum(desk):
    sub = desk.client(device=desk.two, properties={"receive_maximum": 3})
    sub.subscribe(desk.topic(), 2)
    pub = desk.client()
    for n in range(9):
        pub.publish(desk.topic(), f"{n}", 1 + n % 2)
    flying = [sub.expect(PUBLISH) for _ in range(3)]
    for n in range(3, 9):
        assert not sub.until_ping()
        got = flying.pop(0)
        if got.qos == 1:
            sub.send(wire.ack(PUBACK, got.packet_id))
        elif n == 4:
            sub.send(wire.ack(PUBREC, got.packet_id, 0x80))  # as good as an acknowledgement
        else:
            sub.send(wire.ack(PUBREC, got.packet_id))
            sub.expect(PUBREL)
            assert not sub.until_ping()
            sub.send(wire.ack(PUBCOMP, got.packet_id))
        flying.append(sub.expect(PUBLISH, payload=f"{n}".encode()))


@statement("MQTT-3.3.4-10")
def test_a_full_window_delays_only_publishes(desk):
    sub = desk.client(device=desk.two, properties={"receive_maximum": 1})
    sub.subscribe(desk.topic(), 2)
    pub = desk.client()
    for n in range(3):
        pub.publish(desk.topic(), f"{n}", 2)
    got = sub.expect(PUBLISH)
    sub.subscribe(desk.topic("other"))
    sub.publish(desk.topic("elsewhere"), b"", 1)
    sub.publish(desk.topic("elsewhere"), b"", 2)
    sub.unsubscribe(desk.topic("other"))
    sub.send(wire.ack(PUBREC, got.packet_id))
    sub.expect(PUBREL, packet_id=got.packet_id)
    assert not sub.until_ping()


@statement("MQTT-3.3.4-10")
def test_a_smaller_window_than_before_delays_no_release(desk):
    sub = desk.keeper(device=desk.two, receive_maximum=10)
    sub.subscribe(desk.topic(), 2)
    pub = desk.client()
    for n in range(4):
        pub.publish(desk.topic(), f"{n}", 2)
    ids = [sub.expect(PUBLISH, payload=f"{n}".encode()).packet_id for n in range(4)]
    for n in (1, 3):
        sub.send(wire.ack(PUBREC, ids[n]))
        sub.expect(PUBREL, packet_id=ids[n])
    sub.close()
    sub = desk.keeper(device=desk.two, receive_maximum=1)
    for n in (1, 3):
        sub.expect(PUBREL, packet_id=ids[n])
    sub.expect(PUBLISH, packet_id=ids[0], payload=b"0")
    assert not sub.until_ping()


@statement("§3.3.2.3.2")
@pytest.mark.parametrize("value", [2, 255])
def test_a_payload_format_is_0_or_1(desk, value):
    client = desk.client()
    client.send(wire.publish(desk.topic(), properties={"payload_format": value}))
    client.closed_for(PROTOCOL_ERROR)


@statement("§4.10")
def test_a_request_finds_its_response(desk):
    asker = desk.client(properties={"request_response": 1})
    reply_to = asker.connack.props["response_info"] + f"{desk.name}/replies"
    asker.subscribe(reply_to, 1)
    worker = desk.client(device=desk.two)
    worker.subscribe(desk.topic("work"), 1)
    asker.publish(desk.topic("work"), b"2+2", 1, response_topic=reply_to, correlation=b"\1\2")
    got = worker.receive()
    worker.publish(got.props["response_topic"], b"4", 1, correlation=got.props["correlation"])
    answer = asker.receive(reply_to, payload=b"4")
    assert answer.props["correlation"] == b"\1\2"


@statement("§3.3.1.3")
def test_subscribing_again_loses_nothing(desk):
    pub, sub = desk.pair(1)
    for n in range(20):
        pub.send(wire.publish(desk.topic(), f"{n}", 1, n + 1))
        sub.send(wire.subscribe(100 + n, (desk.topic(), 1)))
    seen = [sub.take(PUBLISH).payload for _ in range(20)]
    assert seen == [f"{n}".encode() for n in range(20)]
    for n in range(20):
        sub.take(SUBACK, packet_id=100 + n)
