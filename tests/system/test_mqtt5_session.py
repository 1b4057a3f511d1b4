# SPDX-License-Identifier: GPL-2.0-only
"""MQTT 5 §4.1 to §4.6: sessions, the exchanges of each QoS, repetition, order."""

import time

import wire
from wire import PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, statement


@statement("MQTT-4.1.0-1")
def test_a_session_stays_while_its_connection_does(desk):
    client = desk.keeper(expiry=1)
    client.subscribe(desk.topic(), 1)
    time.sleep(1.5)
    client.publish(desk.topic(), b"still there", 1)
    client.receive()
    client.drop()
    assert desk.keeper(expiry=1).connack.session_present


@statement("MQTT-4.1.0-2")
def test_a_session_ends_with_its_expiry(desk):
    for name, expiry in (("never", 0), ("soon", 1), ("later", 3600), ("forever", 0xFFFFFFFF)):
        client = desk.keeper(name, expiry=expiry)
        client.subscribe(desk.topic(), 1)
        client.drop()
    assert not desk.keeper("never").connack.session_present
    time.sleep(1.3)
    desk.client().publish(desk.topic(), b"x", 1)
    for name, there in (("soon", False), ("later", True), ("forever", True)):
        back = desk.keeper(name)
        assert back.connack.session_present is there, name
        assert bool(back.until_ping()) is there


@statement("MQTT-4.2-1")
def test_the_transport_is_a_stream(desk):
    """Packets may be cut and joined at any byte."""
    sub = desk.client(device=desk.two)
    sub.subscribe(desk.topic(), 2)
    client = desk.open()
    everything = wire.connect("cut") + wire.publish(desk.topic(), b"one", 1, 1) + wire.pingreq() + \
        wire.publish(desk.topic(), b"two", 2, 2) + wire.subscribe(3, (desk.topic("x"), 0))
    for n in range(len(everything)):
        client.send(everything[n:n + 1])
    kinds = [client.next().type for _ in range(5)]
    assert kinds[0] == wire.CONNACK and sorted(kinds[1:]) == sorted([PUBACK, wire.PINGRESP, PUBREC, SUBACK])
    assert [sub.receive().payload for _ in range(2)] == [b"one", b"two"]
    joined = desk.open()
    joined.send(everything.replace(wire.connect("cut"), wire.connect("joined")))
    assert [joined.next().type for _ in range(5)][0] == wire.CONNACK


@statement("MQTT-4.3.1-1")
def test_qos_0_goes_out_once_and_bare(desk):
    pub, sub = desk.pair(2)
    pub.publish(desk.topic(), b"x")
    got = sub.expect(PUBLISH, qos=0, dup=False)
    assert got.packet_id is None
    assert not sub.until_ping()


@statement("MQTT-4.3.2-1")
def test_qos_1_takes_an_unused_identifier(desk):
    pub, sub = desk.pair(1)
    for n in range(30):
        pub.publish(desk.topic(), f"{n}", 1)
    flying = {sub.expect(PUBLISH).packet_id for _ in range(30)}
    assert len(flying) == 30 and 0 not in flying
    for packet_id in list(flying)[::2]:
        sub.send(wire.ack(PUBACK, packet_id))
        flying.discard(packet_id)
    for n in range(30):
        pub.publish(desk.topic(), f"{n}", 1)
        packet_id = sub.expect(PUBLISH).packet_id
        assert packet_id and packet_id not in flying
        flying.add(packet_id)


@statement("MQTT-4.3.2-2")
def test_qos_1_is_sent_with_its_identifier_and_not_as_a_repetition(desk):
    pub, sub = desk.pair(1)
    pub.publish(desk.topic(), b"x", 1)
    assert sub.expect(PUBLISH, qos=1, dup=False).packet_id


@statement("MQTT-4.3.2-3")
def test_qos_1_is_owed_until_its_puback(desk):
    sub = desk.keeper(device=desk.two)
    sub.subscribe(desk.topic(), 1)
    desk.client().publish(desk.topic(), b"owed", 1)
    first = sub.expect(PUBLISH)
    for _ in range(3):
        sub.drop()
        sub = desk.keeper(device=desk.two)
        sub.expect(PUBLISH, packet_id=first.packet_id, payload=b"owed", dup=True)
    sub.send(wire.ack(PUBACK, first.packet_id))
    sub.until_ping()
    sub.drop()
    assert not desk.keeper(device=desk.two).until_ping()


@statement("MQTT-4.3.2-4")
def test_qos_1_is_answered_with_its_identifier(desk):
    client = desk.client()
    client.send(*[wire.publish(desk.topic(), b"", 1, n) for n in (9, 3, 7)])
    for n in (9, 3, 7):
        client.expect(PUBACK, packet_id=n, reason=0)


@statement("MQTT-4.3.2-5")
def test_after_a_puback_its_identifier_is_a_new_message(desk):
    pub, sub = desk.pair(1)
    for n in range(3):
        pub.send(wire.publish(desk.topic(), f"{n}", 1, 5, dup=n > 0))
        pub.expect(PUBACK, packet_id=5)
    assert [sub.receive().payload for _ in range(3)] == [b"0", b"1", b"2"]


@statement("MQTT-4.3.3-1")
def test_qos_2_takes_an_unused_identifier(desk):
    pub, sub = desk.pair(2)
    for n in range(20):
        pub.publish(desk.topic(), f"{n}", 2)
    flying = [sub.expect(PUBLISH).packet_id for _ in range(20)]
    assert len(set(flying)) == 20
    for packet_id in flying[:10]:
        sub.send(wire.ack(PUBREC, packet_id))
        sub.expect(PUBREL, packet_id=packet_id)
    for n in range(10):
        pub.publish(desk.topic(), f"{n}", 2)
        assert sub.expect(PUBLISH).packet_id not in flying


@statement("MQTT-4.3.3-2")
def test_qos_2_is_sent_with_its_identifier_and_not_as_a_repetition(desk):
    pub, sub = desk.pair(2)
    pub.publish(desk.topic(), b"x", 2)
    assert sub.expect(PUBLISH, qos=2, dup=False).packet_id


@statement("MQTT-4.3.3-3")
def test_qos_2_is_owed_until_its_pubrec(desk):
    sub = desk.keeper(device=desk.two)
    sub.subscribe(desk.topic(), 2)
    desk.client().publish(desk.topic(), b"owed", 2)
    first = sub.expect(PUBLISH)
    for _ in range(3):
        sub.drop()
        sub = desk.keeper(device=desk.two)
        sub.expect(PUBLISH, packet_id=first.packet_id, payload=b"owed", dup=True)


@statement("MQTT-4.3.3-4")
def test_a_pubrec_is_answered_with_its_pubrel(desk):
    pub, sub = desk.pair(2)
    pub.publish(desk.topic(), b"x", 2)
    packet_id = sub.expect(PUBLISH).packet_id
    sub.send(wire.ack(PUBREC, packet_id))
    sub.expect(PUBREL, packet_id=packet_id, reason=0)
    pub.publish(desk.topic(), b"y", 2)
    packet_id = sub.expect(PUBLISH).packet_id
    sub.send(wire.ack(PUBREC, packet_id, 0x97))
    assert not sub.until_ping()


@statement("MQTT-4.3.3-5")
def test_a_pubrel_is_owed_until_its_pubcomp(desk):
    sub = desk.keeper(device=desk.two)
    sub.subscribe(desk.topic(), 2)
    desk.client().publish(desk.topic(), b"x", 2)
    packet_id = sub.expect(PUBLISH).packet_id
    sub.send(wire.ack(PUBREC, packet_id))
    sub.expect(PUBREL)
    for _ in range(3):
        sub.drop()
        sub = desk.keeper(device=desk.two)
        sub.expect(PUBREL, packet_id=packet_id)
    sub.send(wire.ack(PUBCOMP, packet_id))
    assert not sub.until_ping()
    sub.drop()
    assert not desk.keeper(device=desk.two).until_ping()


@statement("MQTT-4.3.3-6")
def test_after_its_pubrel_a_message_is_not_sent_again(desk):
    sub = desk.keeper(device=desk.two)
    sub.subscribe(desk.topic(), 2)
    desk.client().publish(desk.topic(), b"x", 2)
    packet_id = sub.expect(PUBLISH).packet_id
    sub.send(wire.ack(PUBREC, packet_id))
    sub.expect(PUBREL)
    sub.drop()
    back = desk.keeper(device=desk.two)
    assert [p.type for p in back.until_ping()] == [PUBREL]


@statement("MQTT-4.3.3-7")
def test_what_was_sent_does_not_expire(desk):
    sub = desk.keeper(device=desk.two)
    sub.subscribe(desk.topic(), 2)
    pub = desk.client()
    for qos in (1, 2):
        pub.publish(desk.topic(), f"{qos}", qos, message_expiry=1)
    for qos in (1, 2):
        sub.expect(PUBLISH, qos=qos)
    sub.drop()
    time.sleep(1.3)
    back = desk.keeper(device=desk.two)
    assert back.receive(qos=1, dup=True).props["message_expiry"] == 0
    back.receive(qos=2, dup=True)


@statement("MQTT-4.3.3-8")
def test_qos_2_is_answered_with_its_identifier(desk):
    client = desk.client()
    client.send(*[wire.publish(desk.topic(), b"", 2, n) for n in (9, 3, 7)])
    for n in (9, 3, 7):
        client.expect(PUBREC, packet_id=n, reason=0)


@statement("MQTT-4.3.3-9")
def test_after_a_refusing_pubrec_its_identifier_is_a_new_message(desk):
    pub, sub = desk.pair(2)
    pub.send(wire.publish("site/forbidden", b"no", 2, 5))
    assert pub.expect(PUBREC, packet_id=5).reason >= 0x80
    pub.send(wire.publish(desk.topic(), b"yes", 2, 5))
    pub.expect(PUBREC, packet_id=5, reason=0)
    sub.receive(payload=b"yes")


@statement("MQTT-4.3.3-10")
def test_until_its_pubrel_a_message_is_delivered_once(desk):
    sub = desk.client(device=desk.two)
    sub.subscribe(desk.topic(), 2)
    pub = desk.keeper()
    for n in range(4):
        pub.send(wire.publish(desk.topic(), b"once", 2, 5, dup=n > 0))
        pub.expect(PUBREC, packet_id=5, reason=0)
        if n == 2:
            pub.drop()
            pub = desk.keeper()
    pub.send(wire.ack(PUBREL, 5))
    pub.expect(PUBCOMP, packet_id=5, reason=0)
    sub.receive(payload=b"once")
    assert not sub.until_ping()


@statement("MQTT-4.3.3-11")
def test_a_pubrel_is_answered_with_its_pubcomp(desk):
    client = desk.client()
    for n in (5, 65535, 1):
        client.send(wire.publish(desk.topic(), b"", 2, n), wire.ack(PUBREL, n))
    for n in (5, 65535, 1):
        client.take(PUBCOMP, packet_id=n)


@statement("MQTT-4.3.3-12")
def test_after_a_pubcomp_its_identifier_is_a_new_message(desk):
    pub, sub = desk.pair(2)
    for n in range(3):
        pub.send(wire.publish(desk.topic(), f"{n}", 2, 5))
        pub.expect(PUBREC, packet_id=5, reason=0)
        pub.send(wire.ack(PUBREL, 5))
        pub.expect(PUBCOMP, packet_id=5, reason=0)
    assert [sub.receive().payload for _ in range(3)] == [b"0", b"1", b"2"]


@statement("MQTT-4.3.3-13")
def test_an_expired_message_is_acknowledged_to_the_end(desk):
    pub = desk.client()
    pub.send(wire.publish(desk.topic(), b"", 2, 5, properties={"message_expiry": 1}))
    pub.expect(PUBREC, packet_id=5, reason=0)
    time.sleep(1.2)
    pub.send(wire.ack(PUBREL, 5))
    pub.expect(PUBCOMP, packet_id=5, reason=0)


@statement("MQTT-4.4.0-1")
def test_only_a_reconnect_repeats_and_all_that_is_owed(desk):
    sub = desk.keeper(device=desk.two)
    sub.subscribe(desk.topic(), 2)
    pub = desk.client()
    for n in range(6):
        pub.publish(desk.topic(), f"{n}", 1 + n % 2)
    first = [sub.expect(PUBLISH) for _ in range(6)]
    sub.send(wire.ack(PUBREC, first[1].packet_id), wire.ack(PUBACK, first[2].packet_id))
    sub.expect(PUBREL)
    time.sleep(1)
    assert not sub.until_ping()  # nothing by itself
    sub.drop()
    back = desk.keeper(device=desk.two)
    got = back.until_ping()
    owed = [p for n, p in enumerate(first) if n not in (1, 2)]
    assert [(p.packet_id, p.payload, p.dup) for p in got if p.type == PUBLISH] == \
        [(p.packet_id, p.payload, True) for p in owed]
    assert [p.packet_id for p in got if p.type == PUBREL] == [first[1].packet_id]


@statement("MQTT-4.4.0-2")
def test_a_refused_delivery_is_not_repeated(desk):
    sub = desk.keeper(device=desk.two)
    sub.subscribe(desk.topic(), 2)
    pub = desk.client()
    for qos, kind in ((1, PUBACK), (2, PUBREC)):
        pub.publish(desk.topic(), b"unwanted", qos)
        sub.send(wire.ack(kind, sub.expect(PUBLISH, qos=qos).packet_id, 0x83))
    assert not sub.until_ping()
    sub.drop()
    assert not desk.keeper(device=desk.two).until_ping()


@statement("§4.4")
def test_a_release_takes_no_place_in_the_receive_maximum(desk):
    sub = desk.keeper(device=desk.two)
    sub.subscribe(desk.topic(), 2)
    pub = desk.client()
    for n in range(4):
        pub.publish(desk.topic(), f"{n}", 2)
    ids = [sub.expect(PUBLISH).packet_id for _ in range(4)]
    for packet_id in ids[:3]:
        sub.send(wire.ack(PUBREC, packet_id))
        sub.expect(PUBREL)
    sub.drop()
    back = desk.keeper(device=desk.two, receive_maximum=1)
    got = back.until_ping()
    assert [(p.type, p.packet_id) for p in got] == [(PUBREL, i) for i in ids[:3]] + [(PUBLISH, ids[3])]
    pub.publish(desk.topic(), b"next", 2)
    back.send(wire.ack(PUBCOMP, ids[0]))
    assert not back.until_ping()  # one PUBLISH is on its way, and that is all it takes
    back.send(wire.ack(PUBREC, ids[3]))
    back.expect(PUBREL)
    back.send(wire.ack(PUBCOMP, ids[3]))
    back.expect(PUBLISH, payload=b"next")


@statement("MQTT-4.5.0-1")
def test_a_message_joins_every_matching_session(desk):
    sessions = [desk.keeper(f"{n}", device=desk.two) for n in range(3)]
    for n, client in enumerate(sessions):
        client.subscribe(desk.topic("#"), n)
    sessions[0].drop()
    sessions[1].drop()
    desk.client().publish(desk.topic(), b"x", 2)
    sessions[2].receive(qos=2)
    assert not desk.keeper("0", device=desk.two).until_ping()  # QoS 0 is not kept for who is away
    desk.keeper("1", device=desk.two).receive(qos=1)


@statement("MQTT-4.6.0-1")
def test_repetitions_keep_their_order(desk):
    sub = desk.keeper(device=desk.two)
    sub.subscribe(desk.topic(), 2)
    pub = desk.client()
    for n in range(20):
        pub.publish(desk.topic(), f"{n}", 1 + n % 2)
    first = [sub.expect(PUBLISH).payload for _ in range(20)]
    sub.drop()
    back = desk.keeper(device=desk.two)
    assert [back.expect(PUBLISH, dup=True).payload for _ in range(20)] == first


@statement("MQTT-4.6.0-2")
def test_pubacks_keep_the_publishes_order(desk):
    client = desk.client()
    ids = [5, 2, 9, 1, 65535, 40, 3]
    client.send(*[wire.publish(desk.topic(), b"", 1, n) for n in ids])
    assert [client.expect(PUBACK).packet_id for _ in ids] == ids


@statement("MQTT-4.6.0-3")
def test_pubrecs_keep_the_publishes_order(desk):
    client = desk.client()
    ids = [5, 2, 9, 1, 65535, 40, 3]
    client.send(*[wire.publish(desk.topic(), b"", 2, n) for n in ids])
    assert [client.expect(PUBREC).packet_id for _ in ids] == ids


@statement("MQTT-4.6.0-4")
def test_pubrels_keep_the_pubrecs_order(desk):
    pub, sub = desk.pair(2)
    for n in range(7):
        pub.publish(desk.topic(), f"{n}", 2)
    ids = [sub.expect(PUBLISH).packet_id for _ in range(7)]
    ids = [ids[n] for n in (4, 1, 6, 0, 3, 5, 2)]
    sub.send(*[wire.ack(PUBREC, n) for n in ids])
    assert [sub.expect(PUBREL).packet_id for _ in ids] == ids


@statement("MQTT-4.6.0-5")
def test_one_clients_messages_stay_in_order(desk):
    subs = [desk.client(device=desk.two) for _ in range(3)]
    for qos, sub in enumerate(subs):
        sub.subscribe(desk.topic(), qos)
    pub = desk.client()
    for qos in (0, 1, 2):
        for n in range(30):
            pub.send(wire.publish(desk.topic(), f"{qos} {n}", qos, n + 1 if qos else None))
        if qos == 2:
            pub.send(*[wire.ack(PUBREL, n + 1) for n in range(30)])
        pub.until_ping()
    for sub in subs:
        got = [sub.receive().payload.decode() for _ in range(90)]
        for qos in "012":
            assert [p for p in got if p[0] == qos] == [f"{qos} {n}" for n in range(30)]


@statement("MQTT-4.6.0-6")
def test_every_topic_is_ordered(desk):
    """Whatever the filter and whoever was away."""
    sub = desk.keeper(device=desk.two)
    sub.subscribe(desk.topic("#"), 1)
    pub = desk.client()
    for n in range(10):
        pub.publish(desk.topic(f"{n % 3}"), f"{n}", 1)
    sub.drop()
    for n in range(10, 20):
        pub.publish(desk.topic(f"{n % 3}"), f"{n}", 1)
    back = desk.keeper(device=desk.two)
    assert [back.receive().payload for _ in range(20)] == [f"{n}".encode() for n in range(20)]
