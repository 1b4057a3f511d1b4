# SPDX-License-Identifier: GPL-2.0-only
"""MQTT 5 §3.2: CONNACK."""

import wire
from wire import (BAD_ALIAS, BAD_AUTH_METHOD, BAD_CLIENT_ID, BAD_TOPIC, BAD_VERSION, CONNACK, DISCONNECT, KEEP_ALIVE,
                  MALFORMED, PROTOCOL_ERROR, PUBACK, PUBLISH, SUBACK, TOO_LARGE, Will, statement)

# The reasons that a CONNACK may have (table 3-1).
REASONS = {0x00, *range(0x80, 0x8B), 0x8C, 0x90, 0x95, 0x97, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F}

REFUSED = {
    BAD_VERSION: wire.connect("x", version=6),
    MALFORMED: wire.connect("x", flags=3),
    PROTOCOL_ERROR: wire.connect("x", properties={"receive_maximum": 0}),
    BAD_CLIENT_ID: wire.connect("x" * 300),
    BAD_TOPIC: wire.connect("x", will=Will("#")),
    BAD_AUTH_METHOD: wire.connect("x", properties={"auth_method": "PLAIN"}),
    TOO_LARGE: wire.connect("x", properties={"maximum_packet_size": 6}),
}


@statement("MQTT-3.2.0-1")
def test_connack_is_the_first_packet(desk):
    old = desk.keeper(device=desk.two)
    old.subscribe(desk.topic(), 1)
    old.drop()
    desk.client().publish(desk.topic(), b"waits", 1)
    client = desk.open(desk.two)
    client.send(wire.connect(f"{desk.name}-keeper", clean=False), wire.pingreq(),
                wire.subscribe(1, (desk.topic("other"), 0)))
    client.expect(CONNACK, reason=0)
    client.take(PUBLISH)
    client.take(SUBACK)


@statement("MQTT-3.2.0-2")
def test_there_is_one_connack(desk):
    client = desk.open()
    client.send(wire.connect("one"), wire.pingreq(), wire.connect("one"))
    kinds = [p.type for p in client.ended()]
    assert kinds.count(CONNACK) == 1 and kinds[0] == CONNACK and kinds[-1] == DISCONNECT


@statement("MQTT-3.2.2-1")
def test_connacks_reserved_flags_are_0(desk):
    for clean in (True, False, False):
        client = desk.keeper(clean=clean)
        assert client.connack.body[0] in (0, 1)
        client.drop()
    for packet in REFUSED.values():
        client = desk.open()
        client.send(packet)
        assert client.expect(CONNACK).body[0] == 0


@statement("MQTT-3.2.2-2")
def test_after_clean_start_no_session_is_present(desk):
    desk.keeper().drop()
    assert not desk.keeper(clean=True).connack.session_present


@statement("MQTT-3.2.2-3")
def test_session_present_says_whether_it_is(desk):
    assert not desk.keeper().connack.session_present
    assert desk.keeper().connack.session_present
    assert desk.client("keeper", clean=False).connack.session_present
    assert not desk.client("other", clean=False).connack.session_present


@statement("MQTT-3.2.2-6")
def test_a_refusal_has_no_session(desk):
    desk.keeper().drop()
    client = desk.open()
    client.send(wire.connect(f"{desk.name}-keeper", clean=False, will=Will("#")))
    client.refused_for(BAD_TOPIC)
    assert desk.keeper().connack.session_present


@statement("MQTT-3.2.2-7")
def test_a_refusal_closes(desk):
    for reason, packet in REFUSED.items():
        client = desk.open()
        client.send(packet)
        client.refused_for(reason)


@statement("MQTT-3.2.2-8")
def test_connack_uses_its_own_reasons(desk):
    for packet in REFUSED.values():
        client = desk.open()
        client.send(packet)
        assert client.expect(CONNACK).reason in REASONS


@statement("MQTT-3.2.2-9")
def test_every_qos_is_supported(desk):
    pub, sub = desk.pair(2)
    assert "maximum_qos" not in pub.connack.props
    for qos in (0, 1, 2):
        pub.publish(desk.topic(), b"", qos)
        sub.receive(qos=qos)


@statement("§3.2.2.3")
def test_connack_tells_what_there_is(desk):
    """What is not told there has the value that the standard assumes."""
    told = desk.client("told").connack.props
    assert told == {"receive_maximum": 256, "maximum_packet_size": 262144 + 4096, "topic_alias_maximum": 16}
    absent = {"session_expiry", "maximum_qos", "retain_available", "wildcard_available", "sub_id_available",
              "shared_available", "server_keep_alive", "reason_string", "user", "auth_method"}
    assert not absent & told.keys()


@statement("MQTT-3.2.2-15")
def test_a_packet_over_the_servers_maximum_is_too_large(desk):
    client = desk.client()
    maximum = client.connack.props["maximum_packet_size"]
    client.send(b"\x30" + wire.varint(maximum))  # its head says enough
    client.closed_for(TOO_LARGE)
    pub, sub = desk.pair()
    fits = maximum - len(wire.publish(desk.topic(), b"x" * 262144)) + 262144
    pub.publish(desk.topic(), b"x" * min(fits, 262144), 1)
    sub.receive(payload=b"x" * min(fits, 262144))


@statement("MQTT-3.2.2-16")
def test_an_assigned_identifier_is_nobody_elses(desk):
    kept = [desk.client(properties={"session_expiry": 60}) for _ in range(10)]
    names = {c.connack.props["assigned_client_id"] for c in kept}
    assert len(names) == 10
    for client in kept:
        assert not client.connack.session_present
        client.drop()
    assert desk.client().connack.props["assigned_client_id"] not in names


@statement("MQTT-3.2.2-17")
def test_a_topic_alias_over_the_servers_maximum_is_invalid(desk):
    client = desk.client()
    over = client.connack.props["topic_alias_maximum"] + 1
    client.send(wire.publish(desk.topic(), b"", properties={"topic_alias": over}))
    client.closed_for(BAD_ALIAS)


@statement("MQTT-3.2.2-19")
def test_no_reason_string_makes_a_connack_too_large(desk):
    client = desk.open()
    client.send(wire.connect("x" * 300, properties={"maximum_packet_size": 5}))
    got = client.expect(CONNACK, reason=BAD_CLIENT_ID)
    assert got.size <= 5 and "reason_string" not in got.props


@statement("MQTT-3.2.2-20")
def test_no_user_property_makes_a_connack_too_large(desk):
    client = desk.open()
    client.send(wire.connect("x", properties={"maximum_packet_size": 20}))
    got = client.expect(CONNACK, reason=0)
    assert got.size <= 20 and "user" not in got.props


@statement("MQTT-3.2.2-22")
def test_without_a_server_keep_alive_the_clients_own_holds(desk):
    client = desk.client(keep_alive=1)
    assert "server_keep_alive" not in client.connack.props
    client.closed_for(KEEP_ALIVE)


@statement("§3.2.2.2")
def test_a_failed_publish_keeps_the_connection(desk):
    """Only where the standard says so does an error end it."""
    client = desk.client()
    client.send(wire.publish("site/none", b"", 1, 1))
    assert client.expect(PUBACK).reason == wire.NOT_AUTHORIZED
    assert not client.until_ping()
