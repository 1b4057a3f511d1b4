# SPDX-License-Identifier: GPL-2.0-only
"""MQTT 5 §3.1: CONNECT."""

import contextlib
import time

import pytest

import wire
from lab import wait_until
from wire import (BAD_AUTH_METHOD, BAD_CLIENT_ID, BAD_TOPIC, BAD_VERSION, CONNACK, KEEP_ALIVE, MALFORMED,
                  NOT_AUTHORIZED, PROTOCOL_ERROR, PUBACK, PUBLISH, PUBREC, SUBACK, TAKEN_OVER, Will, statement)


def refused(desk, packet, *reasons):
    client = desk.open()
    client.send(packet)
    client.refused_for(*reasons)


@statement("MQTT-3.1.0-1")
def test_the_first_packet_must_be_connect(desk):
    for packet in (wire.publish(desk.topic()), wire.subscribe(1, (desk.topic(), 0)), wire.pingreq(),
                   wire.disconnect(), wire.auth(), wire.ack(PUBACK, 1), wire.packet(CONNACK, 0, b"\0\0\0")):
        client = desk.open()
        client.send(packet, wire.connect("late"))
        assert not client.ended()


@statement("MQTT-3.1.0-2")
def test_a_second_connect_is_a_protocol_error(desk):
    client = desk.client("twice")
    client.send(wire.connect(f"{desk.name}-twice"))
    client.closed_for(PROTOCOL_ERROR)


@statement("MQTT-3.1.2-1")
@pytest.mark.parametrize("name", ["mqtt", "MQTX", "MQTT5", "", "MQ", b"\xff\xff\xff\xff"])
def test_the_protocols_name_is_mqtt(desk, name):
    client = desk.open()
    client.send(wire.connect("n", name=name))
    assert [(p.type, p.reason) for p in client.ended()] in ([], [(CONNACK, BAD_VERSION)])


@statement("MQTT-3.1.2-2")
@pytest.mark.parametrize("version", [6, 7, 0x7F, 0xFF, 0, 1, 2, 3])
def test_another_version_is_refused(desk, version):
    client = desk.open(version=5 if version > 5 else 4)
    client.send(wire.connect("v", version=version))
    client.refused_for(BAD_VERSION if version > 5 else 1)


@statement("MQTT-3.1.2-3")
def test_the_reserved_flag_of_connect_is_0(desk):
    refused(desk, wire.connect("r", flags=0x03), MALFORMED)


@statement("MQTT-3.1.2-4")
def test_clean_start_begins_anew(desk):
    old = desk.keeper()
    old.subscribe(desk.topic(), 1)
    old.drop()
    pub = desk.client()
    pub.publish(desk.topic(), b"for the old session", 1)
    new = desk.keeper(clean=True)
    assert not new.connack.session_present
    pub.publish(desk.topic(), b"nobody listens", 1)
    assert not new.until_ping()


@statement("MQTT-3.1.2-5")
def test_without_clean_start_the_session_goes_on(desk):
    old = desk.keeper()
    old.subscribe(desk.topic(), 1)
    old.drop()
    pub = desk.client()
    pub.publish(desk.topic(), b"while away", 1)
    new = desk.keeper()
    assert new.connack.session_present
    new.receive(payload=b"while away")
    pub.publish(desk.topic(), b"still subscribed", 1)
    new.receive(payload=b"still subscribed")


@statement("MQTT-3.1.2-6")
def test_without_clean_start_and_session_a_new_one_is_made(desk):
    client = desk.keeper("never-seen")
    assert not client.connack.session_present
    client.drop()
    assert desk.keeper("never-seen").connack.session_present


@statement("MQTT-3.1.2-7")
def test_a_will_is_stored_and_published(desk):
    sub = desk.client(device=desk.two)
    sub.subscribe(desk.topic("will"), 1)
    desk.client(will=Will(desk.topic("will"), b"gone", 1)).drop()
    sub.receive(desk.topic("will"), payload=b"gone", qos=1)


@statement("MQTT-3.1.2-8")
def test_a_will_waits_for_its_delay_or_the_sessions_end(desk):
    sub = desk.client(device=desk.two)
    sub.subscribe(desk.topic("#"), 1)
    start = time.monotonic()
    late = desk.client("late", properties={"session_expiry": 3600},
                       will=Will(desk.topic("late"), b"delayed", properties={"will_delay": 2}))
    ends = desk.client("ends", properties={"session_expiry": 1},
                       will=Will(desk.topic("ends"), b"session over", properties={"will_delay": 3600}))
    late.drop()
    ends.drop()
    sub.receive(desk.topic("ends"), payload=b"session over")
    assert time.monotonic() - start >= 1
    sub.receive(desk.topic("late"), payload=b"delayed")
    assert time.monotonic() - start >= 2


@statement("MQTT-3.1.2-9")
def test_a_will_has_properties_topic_and_payload(desk):
    whole = wire.connect("w", will=Will("d/one/w", b"p"))
    body = whole[2:]
    for cut in (len(wire.text("p")), len(wire.text("p") + wire.text("d/one/w")), len(wire.text("p") + wire.text("d/one/w")) + 1):
        refused(desk, wire.packet(1, 0, body[:-cut]), MALFORMED)


@statement("MQTT-3.1.2-10")
def test_a_will_is_published_once_and_not_after_a_good_bye(desk):
    sub = desk.client(device=desk.two)
    sub.subscribe(desk.topic("#"), 1)
    desk.client("polite", will=Will(desk.topic("polite"), b"no")).leave(0)
    desk.client("broken", properties={"session_expiry": 60}, will=Will(desk.topic("broken"), b"once")).drop()
    sub.receive(desk.topic("broken"), payload=b"once")
    desk.keeper("broken").drop()  # the same session, no will any more
    desk.client().publish(desk.topic("end"))
    sub.receive(desk.topic("end"))


@statement("MQTT-3.1.2-11")
@pytest.mark.parametrize("qos", [1, 2, 3])
def test_without_a_will_its_qos_is_0(desk, qos):
    refused(desk, wire.connect("q", flags=0x02 | qos << 3), MALFORMED)


@statement("MQTT-3.1.2-12")
def test_a_wills_qos_is_0_1_or_2(desk):
    sub = desk.client(device=desk.two)
    sub.subscribe(desk.topic("will"), 2)
    for qos in (0, 1, 2):
        desk.client(will=Will(desk.topic("will"), b"", qos)).drop()
        sub.receive(desk.topic("will"), qos=qos)
    refused(desk, wire.connect("q", will=Will(desk.topic("will"), b"", 3)), MALFORMED)


@statement("MQTT-3.1.2-13")
def test_without_a_will_its_retain_flag_is_0(desk):
    refused(desk, wire.connect("q", flags=0x22), MALFORMED)


@statement("MQTT-3.1.2-14")
def test_a_will_without_retain_is_not_kept(desk):
    sub = desk.client(device=desk.two)
    sub.subscribe(desk.topic("will"), wire.AS_PUBLISHED)
    desk.client(will=Will(desk.topic("will"), b"live")).drop()
    sub.receive(desk.topic("will"), retain=False)
    late = desk.client(device=desk.two)
    late.subscribe(desk.topic("will"))
    assert not late.until_ping()


@statement("MQTT-3.1.2-15")
def test_a_will_with_retain_is_kept(desk):
    sub = desk.client(device=desk.two)
    sub.subscribe(desk.topic("will"), wire.AS_PUBLISHED)
    desk.client(will=Will(desk.topic("will"), b"kept", 1, True)).drop()
    sub.receive(desk.topic("will"), retain=True)
    late = desk.client(device=desk.two)
    late.subscribe(desk.topic("will"))
    late.receive(desk.topic("will"), payload=b"kept", retain=True)


@statement("MQTT-3.1.2-16")
def test_a_user_name_without_its_flag_is_malformed(desk):
    refused(desk, wire.connect("u", user="name", flags=0x02), MALFORMED)


@statement("MQTT-3.1.2-17")
def test_a_flag_without_its_user_name_is_malformed(desk):
    refused(desk, wire.connect("u", flags=0x82), MALFORMED)


@statement("MQTT-3.1.2-18")
def test_a_password_without_its_flag_is_malformed(desk):
    refused(desk, wire.connect("u", user="name", password=b"word", flags=0x82), MALFORMED)


@statement("MQTT-3.1.2-19")
def test_a_flag_without_its_password_is_malformed(desk):
    refused(desk, wire.connect("u", flags=0x42), MALFORMED)


@statement("§3.1.2.9")
def test_a_password_needs_no_user_name(desk):
    desk.client("p", password=b"\0\xff word").leave()


@statement("MQTT-3.1.2-22")
def test_silence_past_the_keep_alive_ends_the_connection(desk):
    sub = desk.client(device=desk.two)
    sub.subscribe(desk.topic("will"))
    start = time.monotonic()
    silent = desk.client(keep_alive=1, will=Will(desk.topic("will"), b"as if the network had failed"))
    silent.closed_for(KEEP_ALIVE)
    assert time.monotonic() - start >= 1.5
    sub.receive(desk.topic("will"))


@statement("§3.1.2.10")
def test_pings_keep_a_connection_and_0_needs_none(desk):
    never, busy = desk.client(keep_alive=0), desk.client(keep_alive=1)
    for _ in range(4):
        time.sleep(0.7)
        assert not busy.until_ping()
    assert not never.until_ping()


@statement("§3.1.2.10")
def test_a_dribble_is_not_a_packet(desk):
    client = desk.client(keep_alive=1)
    packet = wire.publish(desk.topic(), b"x" * 100)
    try:
        for n in range(len(packet) - 1):
            client.send(packet[n:n + 1])
            time.sleep(0.2)
    except OSError:
        pass
    client.closed_for(KEEP_ALIVE)


@statement("MQTT-3.1.2-21")
def test_the_server_may_set_the_keep_alive(desk):
    daemon = desk.broker.daemon

    def keep_alive(asked, version=5):
        return desk.client(keep_alive=asked, version=version).connack.props.get("server_keep_alive")

    daemon.configure(limits={"keep_alive_s": 1})
    daemon.reload()
    try:
        wait_until(lambda: keep_alive(60) == 1, 10, "the server's keep-alive")
        assert keep_alive(0) == 1 and keep_alive(1) is None and keep_alive(60, 4) is None
        desk.client(keep_alive=60).closed_for(KEEP_ALIVE)
    finally:
        daemon.configure(limits={"keep_alive_s": 0})
        daemon.reload()
        wait_until(lambda: keep_alive(60) is None, 10, "the client's keep-alive")


@statement("MQTT-3.1.2-23")
def test_a_session_with_an_expiry_outlives_its_connection(desk):
    kept = desk.keeper("kept", expiry=3600)
    kept.subscribe(desk.topic(), 2)
    ended = desk.client("ended")
    ended.subscribe(desk.topic(), 2)
    kept.leave()
    ended.leave()
    pub = desk.client()
    for qos in (1, 2):
        pub.publish(desk.topic(), f"qos {qos}", qos)
    back = desk.keeper("kept")
    assert back.connack.session_present
    assert back.receive(qos=1).payload == b"qos 1" and back.receive(qos=2).payload == b"qos 2"
    assert not desk.client("ended", clean=False).connack.session_present


@statement("MQTT-3.1.2-24")
def test_no_packet_is_larger_than_the_client_takes(desk):
    sub = desk.client(device=desk.two, properties={"maximum_packet_size": 80})
    pub = desk.client()
    sub.subscribe(desk.topic(), 1)
    for size in (1, 20, 40, 60, 200, 3000, 10):
        pub.publish(desk.topic(), b"x" * size, 1)
    pub.publish(desk.topic(), b"end", 1)
    while True:
        got = sub.receive()
        assert got.size <= 80
        if got.payload == b"end":
            break
    assert got.packet_id


@statement("§3.1.2.11.4")
def test_an_answer_larger_than_the_client_takes_is_not_sent(desk):
    small = desk.client("small", properties={"maximum_packet_size": 30})
    filters = [(f"{desk.topic()}/{n}", 0) for n in range(40)]
    small.send(wire.subscribe(1, *filters))
    small.closed_for(wire.TOO_LARGE)
    for maximum in range(1, 25):
        client = desk.open()
        client.send(wire.connect("s", properties={"maximum_packet_size": maximum}), wire.disconnect())
        with contextlib.suppress(wire.Closed):
            while client.next().size <= maximum:
                pass
            pytest.fail(f"a packet of more than {maximum} bytes")


@statement("MQTT-3.1.2-25")
def test_what_is_too_large_counts_as_sent(desk):
    sub = desk.keeper(device=desk.two, maximum_packet_size=100)
    sub.subscribe(desk.topic(), 2)
    pub = desk.client()
    for qos in (0, 1, 2):
        pub.publish(desk.topic(), b"L" * 200, qos)
        pub.publish(desk.topic(), b"small", qos)
        sub.receive(payload=b"small", qos=qos)
    sub.drop()
    back = desk.keeper(device=desk.two)
    assert back.connack.session_present
    assert not back.until_ping()


@statement("§3.1.2.11.5")
def test_no_new_alias_makes_a_packet_too_large(desk):
    size = len(wire.publish(desk.topic(), b"x" * 40))
    for more in range(5):
        sub = desk.client(device=desk.two, properties={"topic_alias_maximum": 5, "maximum_packet_size": size + more})
        sub.subscribe(desk.topic())
        for n in range(3):
            desk.client().publish(desk.topic(), b"%d" % n * 40)
            assert sub.expect(PUBLISH).payload == b"%d" % n * 40


@statement("MQTT-3.1.2-26")
def test_topic_aliases_stay_within_the_clients_maximum(desk):
    sub = desk.client(device=desk.two, properties={"topic_alias_maximum": 2})
    sub.subscribe(desk.topic("#"))
    pub = desk.client()
    known, used = {}, set()
    for n in list(range(5)) * 4:
        pub.publish(desk.topic(f"{n}"), f"{n}")
        got = sub.expect(PUBLISH)
        alias = got.props.get("topic_alias")
        if alias is not None:
            assert 1 <= alias <= 2
            used.add(alias)
            if got.topic:
                known[alias] = got.topic
        assert (got.topic or known[alias]) == desk.topic(f"{n}")
    assert used


@statement("MQTT-3.1.2-27")
@pytest.mark.parametrize("properties", [{}, {"topic_alias_maximum": 0}])
def test_no_topic_alias_without_a_maximum(desk, properties):
    sub = desk.client(device=desk.two, properties=properties)
    sub.subscribe(desk.topic())
    pub = desk.client()
    for _ in range(5):
        pub.publish(desk.topic(), b"x")
        assert "topic_alias" not in sub.receive(desk.topic()).props


@statement("MQTT-3.1.2-28")
@pytest.mark.parametrize("properties", [{}, {"request_response": 0}])
def test_response_information_only_when_asked_for(desk, properties):
    assert "response_info" not in desk.client(properties=properties).connack.props


@statement("§3.1.2.11.6")
def test_response_information_is_the_devices_own_space(desk):
    assert desk.client(properties={"request_response": 1}).connack.props.get("response_info") == "d/one/"


@statement("MQTT-3.1.2-29")
def test_no_reasons_in_words_when_not_wanted(desk):
    client = desk.client(properties={"request_problem": 0})
    client.send(wire.publish("site/not-mine", b"", 1, 1), wire.publish("site/not-mine", b"", 2, 2),
                wire.subscribe(3, ("site/#", 0), ("a/#/b", 0)), wire.unsubscribe(4, "never/was"),
                wire.ack(wire.PUBREL, 77), wire.ack(PUBREC, 78))
    answers = client.until_ping()
    assert len(answers) == 6 and any(p.reason == NOT_AUTHORIZED for p in answers)
    for got in answers:
        assert not {"reason_string", "user"} & got.props.keys(), got


@statement("MQTT-3.1.2-30")
def test_before_connack_an_authenticating_client_sends_nothing_else(desk):
    sub = desk.client(device=desk.two)
    sub.subscribe(desk.topic())
    client = desk.open()
    client.send(wire.connect("a", properties={"auth_method": "SCRAM-SHA-256"}), wire.publish(desk.topic(), b"early"))
    client.refused_for(BAD_AUTH_METHOD)
    desk.client().publish(desk.topic(), b"end")
    sub.receive(payload=b"end")


@statement("MQTT-3.1.3-1")
def test_the_payloads_fields_are_in_order(desk):
    sub = desk.client(device=desk.two)
    sub.subscribe(desk.topic("will"), 1)
    will = Will(desk.topic("will"), b"payload", 1, False, {"content_type": "type", "user": [("k", "v")]})
    desk.client("ordered", will=will, user="user", password=b"password").drop()
    got = sub.receive(desk.topic("will"), payload=b"payload")
    assert got.props["content_type"] == "type" and got.props["user"] == [("k", "v")]
    assert desk.client("ordered", clean=False)  # the identifier was read from its own place


@statement("MQTT-3.1.3-2")
def test_the_client_identifier_names_the_session(desk):
    a, b = desk.keeper("a"), desk.keeper("b")
    a.subscribe(desk.topic("a"), 1)
    b.subscribe(desk.topic("b"), 1)
    a.drop()
    b.drop()
    pub = desk.client()
    pub.publish(desk.topic("a"), b"for a", 1)
    pub.publish(desk.topic("b"), b"for b", 1)
    for name in "ba":
        back = desk.keeper(name)
        assert back.connack.session_present
        back.receive(payload=f"for {name}".encode())
        assert not back.until_ping()


@statement("MQTT-3.1.3-3")
def test_a_connect_without_client_identifier_is_malformed(desk):
    body = wire.text("MQTT") + b"\5\2\0\0\0"
    refused(desk, wire.packet(1, 0, body), MALFORMED)
    refused(desk, wire.packet(1, 0, body + b"\0"), MALFORMED)
    refused(desk, wire.packet(1, 0, body + b"\0\5abc"), MALFORMED)


@statement("MQTT-3.1.3-4")
def test_the_client_identifier_is_text(desk):
    for bad in (b"\xff", b"a\0b", b"\xed\xa0\x80", b"\xc0\x80"):
        refused(desk, wire.connect(bad), MALFORMED)


@statement("MQTT-3.1.3-5")
def test_client_identifiers_of_1_to_23_letters_and_digits(desk):
    alphabet = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    for name in [*alphabet, alphabet[:23], alphabet[23:46], alphabet[39:]]:
        client = desk.open().connect(name)
        assert "assigned_client_id" not in client.connack.props
        client.close()


@statement("MQTT-3.1.3-6")
def test_an_empty_client_identifier_gets_a_unique_one(desk):
    names = {desk.client().connack.props["assigned_client_id"] for _ in range(20)}
    assert len(names) == 20 and "" not in names


@statement("MQTT-3.1.3-7")
def test_an_assigned_identifier_is_as_good_as_an_own(desk):
    first = desk.client(properties={"session_expiry": 60})
    first.subscribe(desk.topic(), 1)
    name = first.connack.props["assigned_client_id"]
    first.drop()
    desk.client().publish(desk.topic(), b"kept", 1)
    back = desk.open().connect(name, clean=False)
    assert back.connack.session_present
    back.receive(payload=b"kept")


@statement("MQTT-3.1.3-8")
def test_a_client_identifier_that_is_too_long_is_refused(desk):
    desk.open().connect("x" * 256).leave()
    for length in (257, 1000, 65535):
        refused(desk, wire.connect("x" * length), BAD_CLIENT_ID)


@statement("MQTT-3.1.3-9")
def test_a_client_that_is_back_in_time_has_no_will(desk):
    sub = desk.client(device=desk.two)
    sub.subscribe(desk.topic("#"), 1)
    first = desk.client("keeper", clean=False, properties={"session_expiry": 60},
                        will=Will(desk.topic("will"), b"too early", properties={"will_delay": 1}))
    first.drop()
    back = desk.keeper()
    assert back.connack.session_present
    time.sleep(1.3)
    back.publish(desk.topic("end"))
    sub.receive(desk.topic("end"))


@statement("MQTT-3.1.3-10")
def test_a_wills_user_properties_keep_their_order(desk):
    sub = desk.client(device=desk.two)
    sub.subscribe(desk.topic("will"))
    pairs = [("b", "1"), ("a", "2"), ("b", "1"), ("", ""), ("c", "é")]
    given = [("user", pairs[0]), ("content_type", "t"), ("user", pairs[1]), ("will_delay", 0), ("user", pairs[2]),
             ("user", pairs[3]), ("payload_format", 1), ("user", pairs[4])]
    desk.client(will=Will(desk.topic("will"), b"w", properties=given)).drop()
    assert sub.receive(desk.topic("will")).props["user"] == pairs


@statement("MQTT-3.1.3-11")
def test_the_wills_topic_is_text(desk):
    for bad in (b"d/one/\xff", b"d/one/\0", b"d/one/\xed\xa0\x80"):
        refused(desk, wire.connect("w", will=Will(bad)), MALFORMED)


@statement("MQTT-3.1.3-12")
def test_the_user_name_is_text(desk):
    for bad in (b"\xff", b"a\0", b"\xed\xa0\x80"):
        refused(desk, wire.connect("w", user=bad), MALFORMED)


@statement("MQTT-3.1.4-1")
def test_a_connect_cut_anywhere_is_malformed(desk):
    whole = wire.connect("client", user="user", password=b"word", properties={"receive_maximum": 9},
                         will=Will("d/one/w", b"payload", 1, False, {"will_delay": 1}))
    body = whole[2:]
    for cut in range(7, len(body)):
        refused(desk, wire.packet(1, 0, body[:cut]), MALFORMED)
    for cut in range(7):
        client = desk.open()
        client.send(wire.packet(1, 0, body[:cut]))
        assert not client.ended()
    refused(desk, wire.packet(1, 0, body + b"\0"), MALFORMED)


@statement("MQTT-3.1.4-2")
def test_a_connect_that_may_not_be_is_refused(desk):
    refused(desk, wire.connect("w", will=Will("d/one/+/w")), BAD_TOPIC)
    refused(desk, wire.connect("w", will=Will("d/one/#")), BAD_TOPIC)
    refused(desk, wire.connect("w", will=Will("")), BAD_TOPIC)
    refused(desk, wire.connect("w", properties={"auth_method": "x"}), BAD_AUTH_METHOD)


@statement("MQTT-3.1.4-3")
def test_a_session_is_taken_over(desk):
    old = desk.client("same")
    new = desk.client("same")
    old.closed_for(TAKEN_OVER)
    assert not new.until_ping()


@statement("MQTT-3.1.4-4")
def test_clean_start_is_obeyed_in_a_take_over_too(desk):
    for clean in (False, True):
        old = desk.keeper("same", clean=True)
        old.subscribe(desk.topic(), 1)
        new = desk.keeper("same", clean=clean)
        old.closed_for(TAKEN_OVER)
        assert new.connack.session_present is not clean
        new.publish(desk.topic(), b"me?", 1)
        assert bool([p for p in new.until_ping() if p.type == PUBLISH]) is not clean
        new.leave(0, {"session_expiry": 0})


@statement("MQTT-3.1.4-5")
def test_connack_says_success(desk):
    client = desk.open()
    client.send(wire.connect("x"))
    client.expect(CONNACK, reason=0)


@statement("MQTT-3.1.4-6")
def test_nothing_behind_a_refused_connect_is_heeded(desk):
    sub = desk.client(device=desk.two)
    sub.subscribe(desk.topic(), 1)
    client = desk.open()
    client.send(wire.connect("w", will=Will("+")), wire.publish(desk.topic(), b"no", 1, 1), wire.pingreq())
    client.refused_for(BAD_TOPIC)
    desk.client().publish(desk.topic(), b"end", 1)
    sub.receive(payload=b"end")


@statement("§3.1.4")
def test_packets_right_behind_connect_are_heeded(desk):
    client = desk.open()
    client.send(wire.connect("fast"), wire.subscribe(1, (desk.topic(), 1)), wire.publish(desk.topic(), b"me", 1, 2))
    client.expect(CONNACK, reason=0)
    client.expect(SUBACK, packet_id=1)
    assert {client.next().type, client.next().type} == {PUBACK, PUBLISH}
