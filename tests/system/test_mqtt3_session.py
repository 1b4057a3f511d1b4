# SPDX-License-Identifier: GPL-2.0-only
"""MQTT 3.1.1 chapter 4: sessions, the exchanges of each QoS, repetition, order, topics, errors; and chapter 7."""

import contextlib
import time

import pytest

import wire
from lab import wait_until
from wire import CONNACK, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, SUBSCRIBE, UNSUBACK, UNSUBSCRIBE, Will, \
    statement
from wire3 import closes, connect, publish, subscribe, unsubscribe


@statement("MQTT-4.1.0-1")
def test_all_of_a_session_is_kept(desk3):
    """Subscriptions; what was sent and not acknowledged; what waits; what came in and was not released."""
    pub, sub = desk3.client(), desk3.keeper(device=desk3.two)
    sub.subscribe(desk3.topic("in"), 2)
    for n, qos in enumerate((1, 2, 2)):
        pub.publish(desk3.topic("in"), f"{n}", qos)
    sent = [sub.expect(PUBLISH) for _ in range(3)]
    sub.send(wire.ack(PUBREC, sent[2].packet_id), publish(desk3.topic("out"), b"once", 2, 77))
    sub.take(PUBREL, packet_id=sent[2].packet_id)
    sub.take(PUBREC, packet_id=77)
    out = desk3.client("out", desk3.two)
    out.subscribe(desk3.topic("out"), 2)
    sub.leave()
    pub.publish(desk3.topic("in"), b"waits", 1)
    back = desk3.keeper(device=desk3.two)
    got = back.until_ping()
    assert back.connack.session_present
    assert {(p.packet_id, p.payload, p.dup) for p in got if p.type == PUBLISH and p.dup} == \
        {(p.packet_id, p.payload, True) for p in sent[:2]}
    assert [p.packet_id for p in got if p.type == PUBREL] == [sent[2].packet_id]
    assert [p.payload for p in got if p.type == PUBLISH and not p.dup] == [b"waits"]
    back.send(publish(desk3.topic("out"), b"once", 2, 77, dup=True), wire.ack(PUBREL, 77))
    back.expect(PUBREC, packet_id=77)
    back.expect(PUBCOMP, packet_id=77)
    assert not out.until_ping()  # it went out before `out` came


def reconnected(lab, device, name):
    """A connection of that client, once the gateway answers again after a kill."""
    found = []

    def answered():
        with contextlib.suppress(OSError, wire.Failed):
            found.append(wire.Client(device, 4).connect(name, clean=False))
        return found

    wait_until(answered, 30, "the gateway to answer")
    return found[0]


@statement("§4.1")
@pytest.mark.parametrize("how", ["kill_worker", "kill_both"])
def test_all_of_a_session_outlives_the_gateway(lab, how):
    """The same as above, and the gateway is killed in between."""
    lab.daemon.start()
    cam = lab.enrolled("cam-1")
    out, sub, pub = (wire.Client(cam, 4).connect(name, clean=False) for name in ("out", "sub", "pub"))
    out.subscribe("d/cam-1/out", 2)
    sub.subscribe("d/cam-1/in", 2)
    for n, qos in enumerate((1, 2, 2)):
        pub.publish("d/cam-1/in", f"{n}", qos)
    sent = [sub.expect(PUBLISH) for _ in range(3)]
    sub.send(wire.ack(PUBREC, sent[2].packet_id), publish("d/cam-1/out", b"once", 2, 77))
    sub.take(PUBREL, packet_id=sent[2].packet_id)
    sub.take(PUBREC, packet_id=77)
    out.receive(payload=b"once")
    out.leave()
    sub.leave()
    pub.publish("d/cam-1/in", b"waits", 2)
    getattr(lab.daemon, how)()
    if how == "kill_both":
        lab.daemon.start()
    lab.daemon.wait_ready()
    back = reconnected(lab, cam, "sub")
    assert back.connack.session_present
    got = back.until_ping()
    assert [(p.packet_id, p.payload, p.qos) for p in got if p.type == PUBLISH][:2] == \
        [(p.packet_id, p.payload, p.qos) for p in sent[:2]]
    assert [p.dup for p in got if p.type == PUBLISH] == [True, True, False]
    assert [p.packet_id for p in got if p.type == PUBREL] == [sent[2].packet_id]
    assert [p.payload for p in got if p.type == PUBLISH][2:] == [b"waits"]
    back.send(publish("d/cam-1/out", b"once", 2, 77, dup=True), wire.ack(PUBREL, 77))
    back.expect(PUBREC, packet_id=77)
    back.expect(PUBCOMP, packet_id=77)
    assert PUBLISH not in [p.type for p in reconnected(lab, cam, "out").until_ping()]


@statement("MQTT-4.1.0-2")
@pytest.mark.parametrize("clean", [True, False])
def test_a_session_stays_while_its_connection_does(desk3, clean):
    client = desk3.client("stays", clean=clean)
    client.subscribe(desk3.topic(), 1)
    time.sleep(1.1)
    client.publish(desk3.topic(), b"still there", 1)
    client.receive(payload=b"still there")


@statement("MQTT-4.3.1-1")
def test_qos_0_goes_out_once_and_bare(desk3):
    pub, sub = desk3.pair(2)
    pub.publish(desk3.topic(), b"x")
    assert sub.expect(PUBLISH, qos=0, dup=False).packet_id is None
    assert not sub.until_ping()


@statement("MQTT-4.3.2-1")
def test_qos_1_as_its_sender(desk3):
    """An unused identifier, not marked as repeated, and owed until its PUBACK."""
    sub = desk3.keeper(device=desk3.two)
    sub.subscribe(desk3.topic(), 1)
    pub = desk3.client()
    for n in range(30):
        pub.publish(desk3.topic(), f"{n}", 1)
    flying = {sub.expect(PUBLISH, qos=1, dup=False).packet_id: n for n in range(30)}
    assert len(flying) == 30 and 0 not in flying
    for packet_id in list(flying)[::2]:
        sub.send(wire.ack(PUBACK, packet_id))
        del flying[packet_id]
    for n in range(30, 40):
        pub.publish(desk3.topic(), f"{n}", 1)
        packet_id = sub.expect(PUBLISH, qos=1, dup=False).packet_id
        assert packet_id and packet_id not in flying
        flying[packet_id] = n
    for _ in range(2):
        sub.until_ping()
        sub.drop()
        sub = desk3.keeper(device=desk3.two)
        assert {p.packet_id: int(p.payload) for p in sub.until_ping() if p.dup} == flying
    sub.send(*[wire.ack(PUBACK, packet_id) for packet_id in flying])
    sub.until_ping()
    sub.drop()
    assert not desk3.keeper(device=desk3.two).until_ping()


@statement("MQTT-4.3.2-2")
def test_qos_1_as_its_receiver(desk3):
    """Each is answered with its identifier, which then is a new message's, marked as repeated or not."""
    pub, sub = desk3.pair(1)
    pub.send(*[publish(desk3.topic("other"), b"", 1, n) for n in (9, 3, 7)])
    for n in (9, 3, 7):
        pub.expect(PUBACK, packet_id=n)
    for n in range(4):
        pub.send(publish(desk3.topic(), f"{n}", 1, 5, dup=n % 2))
        pub.expect(PUBACK, packet_id=5)
    assert [sub.receive().payload for _ in range(4)] == [b"0", b"1", b"2", b"3"]


@statement("MQTT-4.3.3-1")
def test_qos_2_as_its_sender(desk3):
    """An unused identifier; owed until its PUBREC; that is answered with PUBREL; which is owed until its
    PUBCOMP; and from then on the message itself is not sent again."""
    sub = desk3.keeper(device=desk3.two)
    sub.subscribe(desk3.topic(), 2)
    pub = desk3.client()
    for n in range(20):
        pub.publish(desk3.topic(), f"{n}", 2)
    ids = [sub.expect(PUBLISH, qos=2, dup=False).packet_id for _ in range(20)]
    assert len(set(ids)) == 20 and 0 not in ids
    for packet_id in ids[:10]:
        sub.send(wire.ack(PUBREC, packet_id))
        sub.expect(PUBREL, packet_id=packet_id)
    pub.publish(desk3.topic(), b"new", 2)
    assert sub.expect(PUBLISH, dup=False).packet_id not in ids
    for _ in range(3):
        sub.drop()
        sub = desk3.keeper(device=desk3.two)
        got = sub.until_ping()
        assert [p.packet_id for p in got if p.type == PUBREL] == ids[:10]
        assert [p.packet_id for p in got if p.type == PUBLISH][:10] == ids[10:]
    for packet_id in ids[:10]:
        sub.send(wire.ack(PUBCOMP, packet_id))
    sub.until_ping()
    sub.drop()
    assert PUBREL not in [p.type for p in desk3.keeper(device=desk3.two).until_ping()]


@statement("MQTT-4.3.3-2")
def test_qos_2_as_its_receiver(desk3):
    """Delivered once until its PUBREL, over a reconnect too; then the identifier is a new message's."""
    sub = desk3.client(device=desk3.two)
    sub.subscribe(desk3.topic(), 2)
    pub = desk3.keeper()
    for n in range(4):
        pub.send(publish(desk3.topic(), b"once", 2, 5, dup=n > 0))
        pub.expect(PUBREC, packet_id=5)
        if n == 2:
            pub.drop()
            pub = desk3.keeper()
    pub.send(wire.ack(PUBREL, 5))
    pub.expect(PUBCOMP, packet_id=5)
    sub.receive(payload=b"once")
    assert not sub.until_ping()
    pub.send(wire.ack(PUBREL, 5))
    pub.expect(PUBCOMP, packet_id=5)  # the one before may have been lost
    for n in range(3):
        pub.send(publish(desk3.topic(), f"{n}", 2, 5, dup=True))
        pub.expect(PUBREC, packet_id=5)
        pub.send(wire.ack(PUBREL, 5))
        pub.expect(PUBCOMP, packet_id=5)
    assert [sub.receive().payload for _ in range(3)] == [b"0", b"1", b"2"]


@statement("§4.3.3")
def test_unreleased_messages_are_bounded_and_none_is_doubled(desk3):
    """3.1.1 has no receive maximum: past the gateway's limit the connection ends, and nothing is taken only to be
    forgotten."""
    sub = desk3.client(device=desk3.two)
    sub.subscribe(desk3.topic())
    pub, heard, sent, came = desk3.keeper(), set(), 0, []
    with contextlib.suppress(wire.Closed):
        while sent < 8192:
            ids = range(sent + 1, sent + 65)
            sent += len(ids)
            pub.send(*[publish(desk3.topic(), f"{n}", 2, n) for n in ids])
            for n in ids:
                heard.add(pub.expect(PUBREC, packet_id=n).packet_id)
            came += [int(sub.expect(PUBLISH).payload) for _ in ids]
    assert 256 <= len(heard) < sent < 8192
    back = desk3.keeper()
    for n in range(1, 129):
        back.send(wire.ack(PUBREL, n))
        back.expect(PUBCOMP, packet_id=n)
    again = range(sent - 127, sent + 1)  # heard of or not, it says them again
    back.send(*[publish(desk3.topic(), f"{n}", 2, n, dup=True) for n in again])
    for n in again:
        back.expect(PUBREC, packet_id=n)
    back.publish(desk3.topic(), b"0", 1)
    came += iter(lambda: int(sub.take(PUBLISH).payload), 0)
    assert sorted(came) == list(range(1, sent + 1))


@statement("MQTT-4.4.0-1")
def test_a_reconnect_repeats_all_that_is_owed(desk3):
    sub = desk3.keeper(device=desk3.two)
    sub.subscribe(desk3.topic(), 2)
    pub = desk3.client()
    for n in range(6):
        pub.publish(desk3.topic(), f"{n}", 1 + n % 2)
    first = [sub.expect(PUBLISH) for _ in range(6)]
    sub.send(wire.ack(PUBREC, first[1].packet_id), wire.ack(PUBACK, first[2].packet_id))
    sub.expect(PUBREL)
    sub.until_ping()
    sub.drop()
    got = desk3.keeper(device=desk3.two).until_ping()
    owed = [p for n, p in enumerate(first) if n not in (1, 2)]
    assert [(p.packet_id, p.payload, p.dup) for p in got if p.type == PUBLISH] == \
        [(p.packet_id, p.payload, True) for p in owed]
    assert [p.packet_id for p in got if p.type == PUBREL] == [first[1].packet_id]


@statement("MQTT-4.5.0-1")
def test_a_message_joins_every_matching_session(desk3):
    sessions = [desk3.keeper(f"{n}", device=desk3.two) for n in range(3)]
    for n, client in enumerate(sessions):
        client.subscribe(desk3.topic("#"), n)
    sessions[0].drop()
    sessions[1].drop()
    desk3.client().publish(desk3.topic(), b"x", 2)
    sessions[2].receive(qos=2)
    assert not desk3.keeper("0", device=desk3.two).until_ping()  # QoS 0 is not kept for who is away
    desk3.keeper("1", device=desk3.two).receive(qos=1)


@statement("MQTT-4.6.0-1")
def test_repetitions_keep_their_order(desk3):
    sub = desk3.keeper(device=desk3.two)
    sub.subscribe(desk3.topic(), 2)
    pub = desk3.client()
    for n in range(20):
        pub.publish(desk3.topic(), f"{n}", 1 + n % 2)
    first = [sub.expect(PUBLISH).payload for _ in range(20)]
    sub.drop()
    back = desk3.keeper(device=desk3.two)
    assert [back.expect(PUBLISH, dup=True).payload for _ in range(20)] == first


IDS = [5, 2, 9, 1, 65535, 40, 3]


@statement("MQTT-4.6.0-2")
def test_pubacks_keep_the_publishes_order(desk3):
    client = desk3.client()
    client.send(*[publish(desk3.topic(), b"", 1, n) for n in IDS])
    assert [client.expect(PUBACK).packet_id for _ in IDS] == IDS


@statement("MQTT-4.6.0-3")
def test_pubrecs_keep_the_publishes_order(desk3):
    client = desk3.client()
    client.send(*[publish(desk3.topic(), b"", 2, n) for n in IDS])
    assert [client.expect(PUBREC).packet_id for _ in IDS] == IDS


@statement("MQTT-4.6.0-4")
def test_pubrels_keep_the_pubrecs_order(desk3):
    pub, sub = desk3.pair(2)
    for n in range(7):
        pub.publish(desk3.topic(), f"{n}", 2)
    ids = [sub.expect(PUBLISH).packet_id for _ in range(7)]
    ids = [ids[n] for n in (4, 1, 6, 0, 3, 5, 2)]
    sub.send(*[wire.ack(PUBREC, n) for n in ids])
    assert [sub.expect(PUBREL).packet_id for _ in ids] == ids


@statement("MQTT-4.6.0-5")
def test_every_topic_is_ordered(desk3):
    """Whatever the filter and whoever was away."""
    sub = desk3.keeper(device=desk3.two)
    sub.subscribe(desk3.topic("#"), 1)
    pub = desk3.client()
    for n in range(10):
        pub.publish(desk3.topic(f"{n % 3}"), f"{n}", 1)
    sub.drop()
    for n in range(10, 20):
        pub.publish(desk3.topic(f"{n % 3}"), f"{n}", 1)
    back = desk3.keeper(device=desk3.two)
    assert [back.receive().payload for _ in range(20)] == [f"{n}".encode() for n in range(20)]


@statement("MQTT-4.6.0-6")
def test_one_clients_messages_stay_in_order(desk3):
    subs = [desk3.client(device=desk3.two) for _ in range(3)]
    for qos, sub in enumerate(subs):
        sub.subscribe(desk3.topic(), qos)
    pub = desk3.client()
    for qos in (0, 1, 2):
        for n in range(30):
            pub.send(publish(desk3.topic(), f"{qos} {n}", qos, n + 1 if qos else None))
        if qos == 2:
            pub.send(*[wire.ack(PUBREL, n + 1) for n in range(30)])
        pub.until_ping()
    for sub in subs:
        got = [sub.receive().payload.decode() for _ in range(90)]
        for qos in "012":
            assert [p for p in got if p[0] == qos] == [f"{qos} {n}" for n in range(30)]


# -- topics --


def refused_filters(desk3, *filters):
    client = desk3.client(device=desk3.two)
    client.send(subscribe(1, *[(f, 0) for f in filters]))
    client.expect(SUBACK, reasons=[0x80] * len(filters))


@statement("MQTT-4.7.1-1")
@pytest.mark.parametrize("rest", ["#", "+", "a/#/b", "a/+", "a+b", "#a"])
def test_a_topic_name_has_no_wildcard(desk3, rest):
    for qos in (0, 1):
        closes(desk3, publish(desk3.topic(rest), b"", qos, 1 if qos else None))


@statement("MQTT-4.7.1-2")
def test_the_multi_level_wildcard_is_the_last_level(desk3):
    refused_filters(desk3, "#/a", "a/#/b", "a#", "a/b#", "##", "a/##", "#+", "+#")
    pub = desk3.client()
    sub = desk3.client(device=desk3.two)
    sub.subscribe(desk3.topic("a/#"))
    for rest in ("a", "a/", "a/b", "a/b/c", "ab", "b/a"):
        pub.publish(desk3.topic(rest))
    assert [p.topic for p in sub.until_ping()] == [desk3.topic(r) for r in ("a", "a/", "a/b", "a/b/c")]


@statement("MQTT-4.7.1-3")
def test_the_single_level_wildcard_is_a_whole_level(desk3):
    refused_filters(desk3, "a+", "+a", "a/b+", "a/+b/c", "++", "a/++", "a+/b")
    pub = desk3.client()
    sub = desk3.client(device=desk3.two)
    sub.subscribe(desk3.topic("+/b/+"))
    for rest in ("a/b/c", "/b/", "a/b", "a/b/c/d", "a/x/c", "b/b/b"):
        pub.publish(desk3.topic(rest))
    assert [p.topic for p in sub.until_ping()] == [desk3.topic(r) for r in ("a/b/c", "/b/", "b/b/b")]


@statement("MQTT-4.7.2-1")
def test_a_leading_wildcard_does_not_match_dollar_topics(desk3):
    named = desk3.client(device=desk3.two)
    named.subscribe("$SYS/#")
    named.take(PUBLISH, retain=True)
    sub = desk3.client(device=desk3.two)
    for filter_ in ("#", "+/broker/#", "+/#"):
        sub.subscribe(filter_)
    named.take(PUBLISH, retain=False)  # the gateway's figures, said anew
    assert all(not p.topic.startswith("$") for p in sub.until_ping())


@statement("MQTT-4.7.3-1")
def test_a_topic_or_filter_has_one_character_at_least(desk3):
    refused_filters(desk3, "")
    for qos in (0, 1, 2):
        closes(desk3, publish("", b"", qos, 1 if qos else None))
    client = desk3.client(device=desk3.two)
    client.subscribe("/")
    client.unsubscribe("/")


@statement("MQTT-4.7.3-2")
def test_a_topic_or_filter_has_no_null_character(desk3):
    for packet in (publish("d/one/\0"), subscribe(1, ("d/one/\0", 0)), unsubscribe(1, "\0")):
        closes(desk3, packet)


@statement("MQTT-4.7.3-3")
def test_topics_and_filters_of_65535_bytes(desk3):
    pub = desk3.client()
    sub = desk3.client(device=desk3.two)
    longest = desk3.topic("x" * (65535 - len(desk3.topic(""))))
    sub.subscribe(longest, 1)
    closes(desk3, publish(longest, b"", 1, 9))  # with the uplink's prefix it would be too long
    long = longest[:65000]
    sub.subscribe(long, 1)
    pub.publish(long, b"far", 1)
    sub.receive(long, payload=b"far")
    pub.publish(long, b"kept", 1, retain=True)
    late = desk3.client(device=desk3.two)
    late.subscribe(long)
    late.receive(long, payload=b"kept", retain=True)
    pub.publish(long, b"", 1, retain=True)


@statement("MQTT-4.7.3-4")
def test_topics_are_compared_byte_by_byte(desk3):
    names = ["a/b", "A/b", "a//b", "/a/b", "a/b/", "a /b", "\u00e9", "e\u0301", "\u212b", "\u00c5", "\ufb01", "fi",
             "a/./b", "a/../b", "%61/b", "\ufeffa/b"]
    pub = desk3.client()
    subs = [desk3.client(device=desk3.two) for _ in names]
    for name, sub in zip(names, subs):
        sub.subscribe(desk3.topic(name))
    for name in names:
        pub.publish(desk3.topic(name), name)
    for name, sub in zip(names, subs):
        assert [(p.topic, p.payload.decode()) for p in sub.until_ping()] == [(desk3.topic(name), name)]


# -- errors --

FAULTS = {
    "packet type 0": b"\0\0",
    "packet type 15": b"\xf0\0",
    "a length that does not end": b"\x30\xff\xff\xff\xff\x01",
    "a packet too large": b"\x30\xff\xff\xff\x7f",
    "CONNACK": wire.packet(CONNACK, 0, b"\0\0"),
    "SUBACK": wire.packet(SUBACK, 0, b"\0\1\0"),
    "UNSUBACK": wire.packet(UNSUBACK, 0, b"\0\1"),
    "PINGRESP": wire.packet(wire.PINGRESP, 0, b""),
    "PUBACK of one byte": wire.packet(PUBACK, 0, b"\0"),
    "PUBACK with a reason": wire.packet(PUBACK, 0, b"\0\1\0"),
    "PUBREC of nothing": wire.packet(PUBREC, 0, b""),
    "PUBREC with a reason": wire.packet(PUBREC, 0, b"\0\1\0"),
    "PUBREL with a reason": wire.packet(PUBREL, 2, b"\0\1\0"),
    "PUBCOMP with properties": wire.packet(PUBCOMP, 0, b"\0\1\0\0"),
    "PUBLISH without identifier": wire.packet(PUBLISH, 2, wire.text("d/one/x")),
    "SUBSCRIBE of nothing": wire.packet(SUBSCRIBE, 2, b""),
    "SUBSCRIBE with half a filter": wire.packet(SUBSCRIBE, 2, b"\0\1\0\5a"),
    "SUBSCRIBE in the form of MQTT 5": wire.subscribe(1, ("d/one/x", 0)),
    "UNSUBSCRIBE with half a filter": wire.packet(UNSUBSCRIBE, 2, b"\0\1\0\5a"),
    "a second CONNECT": connect("again"),
}


@statement("MQTT-4.8.0-1")
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_closes_its_connection_and_no_other(desk3, name):
    bystander, heard = desk3.client(), desk3.client(device=desk3.two)
    heard.subscribe(desk3.topic("will"))
    client = desk3.client(will=Will(desk3.topic("will"), b"thrown out"))
    client.send(FAULTS[name])
    client.closed_for()
    heard.receive(payload=b"thrown out")
    assert not bystander.until_ping()


@statement("MQTT-4.8.0-2")
def test_what_cannot_be_taken_closes(desk3):
    """A message over the limit, which at QoS 1 and 2 has no other answer."""
    sub = desk3.client(device=desk3.two)
    sub.subscribe(desk3.topic(), 2)
    for qos in (1, 2):
        closes(desk3, publish(desk3.topic(), b"x" * 262145, qos, 1))
    pub = desk3.client()
    pub.publish(desk3.topic(), b"x" * 262144, 1)
    assert len(sub.receive().payload) == 262144


# -- chapter 7 --


@statement("MQTT-7.0.0-2")
def test_an_ordinary_client_needs_nothing_of_ours(desk3):
    """mosquitto's programs, told no more than where and who."""
    got = desk3.two.subscribe(desk3.topic(), "-V", "mqttv311")
    desk3.one.publish(desk3.topic(), "plain", "-V", "mqttv311", qos=1)
    got.wait("plain")


@statement("MQTT-7.1.1-1")
def test_the_transport_is_a_stream(desk3):
    """Packets may be cut and joined at any byte."""
    sub = desk3.client(device=desk3.two)
    sub.subscribe(desk3.topic(), 2)
    everything = publish(desk3.topic(), b"one", 1, 1) + wire.pingreq() + publish(desk3.topic(), b"two", 2, 2) + \
        subscribe(3, (desk3.topic("x"), 0))
    client = desk3.open()
    for byte in connect("cut") + everything:
        client.send(bytes([byte]))
    kinds = [client.next().type for _ in range(5)]
    assert kinds[0] == CONNACK and sorted(kinds[1:]) == sorted([PUBACK, wire.PINGRESP, PUBREC, SUBACK])
    assert [sub.receive().payload for _ in range(2)] == [b"one", b"two"]
    joined = desk3.open()
    joined.send(connect("joined") + everything)
    kinds = [joined.next().type for _ in range(5)]
    assert kinds[0] == CONNACK and sorted(kinds[1:]) == sorted([PUBACK, wire.PINGRESP, PUBREC, SUBACK])
