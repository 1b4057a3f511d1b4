# SPDX-License-Identifier: GPL-2.0-only
"""MQTT 3.1.1, chapters 1 and 2, CONNECT and CONNACK (§3.1, §3.2)."""

import time

import pytest

import wire
from lab import GATEWAY4, wait_until
from wire import CONNACK, PINGRESP, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, UNSUBACK, Will, statement
from wire3 import ILL_FORMED, closes, closes_fresh, connect, publish, subscribe, unsubscribe

# Return codes of CONNACK (table 3.1).
BAD_LEVEL, BAD_IDENTIFIER = 1, 2


def has_text(desk, bad):
    """Every packet that takes text with `bad` in it is the last of its connection."""
    text = b"x" + bad
    for packet in (publish(b"d/one/" + text), subscribe(1, (b"d/one/" + text, 0)), unsubscribe(1, text)):
        closes(desk, packet)
    for packet in (connect(text), connect("w", will=Will(b"d/one/" + text)), connect("u", user=text)):
        closes_fresh(desk, packet)


# -- chapter 1 --


@statement("MQTT-1.5.3-1")
@pytest.mark.parametrize("name", ILL_FORMED)
def test_ill_formed_text_closes(desk3, name):
    has_text(desk3, ILL_FORMED[name])


@statement("MQTT-1.5.3-2")
def test_a_null_character_closes(desk3):
    has_text(desk3, b"\0")


@statement("MQTT-1.5.3-3")
def test_a_byte_order_mark_is_not_stripped(desk3):
    pub, marked = desk3.pair(rest="\ufeff")
    bare = desk3.client(device=desk3.two)
    bare.subscribe(desk3.topic(""))
    pub.publish(desk3.topic("\ufeff"), b"marked")
    marked.receive(desk3.topic("\ufeff"))
    pub.publish(desk3.topic(""), b"bare")
    bare.receive(desk3.topic(""), payload=b"bare")


# -- chapter 2 --


@statement("MQTT-2.2.2-1")
def test_the_servers_own_flags_are_those_of_the_table(desk3):
    """wire.Packet looks at the flags of whatever comes: here every type does."""
    sub = desk3.keeper(device=desk3.two)
    sub.subscribe(desk3.topic(), 2)
    client = desk3.client()
    client.publish(desk3.topic(), b"", 1)
    client.publish(desk3.topic(), b"", 2)
    sub.receive()
    sub.receive()
    sub.unsubscribe(desk3.topic())
    sub.until_ping()


@statement("MQTT-2.2.2-2")
@pytest.mark.parametrize("kind, right", [
    (wire.CONNECT, 0), (PUBACK, 0), (PUBREC, 0), (PUBREL, 2), (PUBCOMP, 0), (wire.SUBSCRIBE, 2),
    (wire.UNSUBSCRIBE, 2), (wire.PINGREQ, 0), (wire.DISCONNECT, 0)])
def test_invalid_flags_close(desk3, kind, right):
    bodies = {wire.CONNECT: connect("f")[2:], wire.SUBSCRIBE: subscribe(1, ("d/one/f", 0))[2:],
              wire.UNSUBSCRIBE: unsubscribe(1, "d/one/f")[2:], wire.PINGREQ: b"", wire.DISCONNECT: b""}
    for flags in {0, 1, 2, 3, 4, 8, 15} - {right}:
        packet = wire.packet(kind, flags, bodies.get(kind, b"\0\1"))
        (closes_fresh if kind == wire.CONNECT else closes)(desk3, packet)


@statement("MQTT-2.3.1-1")
def test_packet_identifier_0_closes(desk3):
    for packet in (subscribe(0, (desk3.topic(), 0)), unsubscribe(0, desk3.topic()), publish(desk3.topic(), b"", 1, 0),
                   publish(desk3.topic(), b"", 2, 0)):
        closes(desk3, packet)


@statement("MQTT-2.3.1-4")
def test_the_servers_identifiers_are_unused_ones_and_kept_in_repetitions(desk3):
    sub = desk3.keeper(device=desk3.two)
    sub.subscribe(desk3.topic(), 2)
    pub = desk3.client()
    for n in range(20):
        pub.publish(desk3.topic(), f"{n}", 1 + n % 2)
    sent = [(p.packet_id, p.payload) for p in (sub.expect(PUBLISH) for _ in range(20))]
    assert len({packet_id for packet_id, _ in sent}) == 20 and all(packet_id for packet_id, _ in sent)
    sub.drop()
    again = desk3.keeper(device=desk3.two)
    assert [(p.packet_id, p.payload) for p in (again.expect(PUBLISH, dup=True) for _ in range(20))] == sent
    again.send(wire.ack(PUBACK, sent[0][0]))
    for n in range(5):
        pub.publish(desk3.topic(), b"", 1)
        assert again.expect(PUBLISH, dup=False).packet_id not in [packet_id for packet_id, _ in sent[1:]]


@statement("MQTT-2.3.1-5")
def test_qos_0_has_no_packet_identifier(desk3):
    pub, sub = desk3.pair(0)
    pub.publish(desk3.topic(), b"bare")
    pub.publish(desk3.topic(), b"lowered", 1)
    assert [sub.expect(PUBLISH, qos=0).payload for _ in range(2)] == [b"bare", b"lowered"]


@statement("MQTT-2.3.1-6")
def test_acknowledgements_have_their_publishs_identifier(desk3):
    client = desk3.client()
    client.send(publish(desk3.topic(), b"", 1, 0xFFFF), publish(desk3.topic(), b"", 2, 0x0100))
    client.expect(PUBACK, packet_id=0xFFFF)
    client.expect(PUBREC, packet_id=0x0100)
    client.send(wire.ack(PUBREL, 0x0100))
    client.expect(PUBCOMP, packet_id=0x0100)


@statement("MQTT-2.3.1-7")
def test_suback_and_unsuback_have_their_requests_identifier(desk3):
    client = desk3.client()
    client.send(subscribe(0xFFFF, (desk3.topic(), 0)), unsubscribe(0x0100, desk3.topic()))
    client.expect(SUBACK, packet_id=0xFFFF)
    client.expect(UNSUBACK, packet_id=0x0100)


# -- CONNECT --


@statement("MQTT-3.1.0-1")
def test_the_first_packet_is_a_connect(desk3):
    for packet in (publish(desk3.topic()), subscribe(1, (desk3.topic(), 0)), wire.pingreq(), wire.disconnect(),
                   wire.ack(PUBACK, 1), wire.packet(CONNACK, 0, b"\0\0"), wire.packet(PINGRESP, 0, b"")):
        closes_fresh(desk3, packet, connect("late"))


@statement("MQTT-3.1.0-2")
def test_a_second_connect_closes(desk3):
    client = desk3.client("twice")
    client.send(connect(f"{desk3.name}-twice"))
    client.closed_for()


@statement("MQTT-3.1.2-1")
@pytest.mark.parametrize("name", ["mqtt", "MQTX", "MQTTT", "MQIsdpp", "HTTP", "", b"\xff\xfe"])
def test_another_protocol_is_not_served(desk3, name):
    closes_fresh(desk3, connect("n", name=name), publish(desk3.topic()))


@statement("MQTT-3.1.2-2")
@pytest.mark.parametrize("level", [0, 1, 2, 3, 0x83, 0x84])
def test_another_level_is_told_0x01(desk3, level):
    """The last two are how mosquitto's bridge introduces itself; told this it goes on with 0x04."""
    client = desk3.open()
    client.send(connect("v").replace(b"MQTT\4", b"MQTT" + bytes([level])))
    client.refused_for(BAD_LEVEL)


@statement("§3.1.2.2")
@pytest.mark.parametrize("level", [3, 4, 5, 0x83])
def test_a_client_of_3_1_is_told_0x01(desk3, level):
    """MQIsdp: a CONNACK of 3.1 is two bytes, too, and its 0x01 says the same."""
    client = desk3.open()
    body = connect("old")[2:].replace(b"\0\4MQTT\4", b"\0\6MQIsdp" + bytes([level]))
    client.send(wire.packet(wire.CONNECT, 0, body))
    client.refused_for(BAD_LEVEL)


@statement("MQTT-3.1.2-3")
def test_the_reserved_connect_flag_is_0(desk3):
    closes_fresh(desk3, connect("r", flags=0x03))


@statement("MQTT-3.1.2-4")
def test_without_clean_session_the_session_goes_on(desk3):
    first = desk3.keeper()
    assert not first.connack.session_present
    first.subscribe(desk3.topic(), 1)
    first.drop()
    second = desk3.keeper()
    assert second.connack.session_present
    desk3.client().publish(desk3.topic(), b"still subscribed", 1)
    second.receive(payload=b"still subscribed", qos=1)


@statement("MQTT-3.1.2-5")
@pytest.mark.parametrize("leave", [True, False])
def test_qos_1_and_2_are_kept_for_who_is_away(desk3, leave):
    sub = desk3.keeper(device=desk3.two)
    sub.subscribe(desk3.topic("#"), 2)
    sub.leave() if leave else sub.drop()
    pub = desk3.client()
    for qos in (1, 2, 1):
        pub.publish(desk3.topic(f"{qos}"), f"at {qos}", qos)
    back = desk3.keeper(device=desk3.two)
    assert [back.receive().payload for _ in range(3)] == [b"at 1", b"at 2", b"at 1"]


@statement("MQTT-3.1.2-6")
def test_clean_session_begins_anew_and_leaves_nothing(desk3):
    old = desk3.keeper()
    old.subscribe(desk3.topic(), 1)
    old.drop()
    pub = desk3.client()
    pub.publish(desk3.topic(), b"for the old one", 1)
    clean = desk3.keeper(clean=True)
    assert not clean.connack.session_present and not clean.until_ping()
    clean.subscribe(desk3.topic(), 1)
    clean.drop()
    pub.publish(desk3.topic(), b"for nobody", 1)
    after = desk3.keeper()
    assert not after.connack.session_present and not after.until_ping()


@statement("MQTT-3.1.2-7")
def test_retained_messages_outlive_the_session(desk3):
    client = desk3.client("gone")
    client.publish(desk3.topic(), b"stays", 1, retain=True)
    client.leave()
    desk3.client("gone").leave()
    late = desk3.client(device=desk3.two)
    late.subscribe(desk3.topic())
    late.receive(payload=b"stays", retain=True)


@statement("MQTT-3.1.2-8")
def test_a_will_is_stored_and_published(desk3):
    sub = desk3.client(device=desk3.two)
    sub.subscribe(desk3.topic("#"), 2)
    desk3.client(will=Will(desk3.topic("broken"), b"reset", 1)).drop()
    sub.receive(desk3.topic("broken"), payload=b"reset", qos=1)
    wrong = desk3.client(will=Will(desk3.topic("wrong"), b"protocol error", 2))
    wrong.send(b"\0\0")
    sub.receive(desk3.topic("wrong"), payload=b"protocol error", qos=2)
    desk3.client("same", will=Will(desk3.topic("same"), b"taken over"))
    desk3.client("same")
    sub.receive(desk3.topic("same"), payload=b"taken over")


@statement("MQTT-3.1.2-9")
def test_a_will_has_topic_and_message(desk3):
    body = connect("w", will=Will("d/one/w", b"p"))[2:]
    for cut in (1, 3, 4, 3 + 9):
        closes_fresh(desk3, wire.packet(1, 0, body[:-cut]))


@statement("MQTT-3.1.2-10")
def test_a_will_is_gone_once_published_or_after_a_good_bye(desk3):
    sub = desk3.client(device=desk3.two)
    sub.subscribe(desk3.topic("#"), 1)
    desk3.client("polite", clean=False, will=Will(desk3.topic("polite"), b"no")).leave()
    desk3.client("broken", clean=False, will=Will(desk3.topic("broken"), b"once")).drop()
    sub.receive(desk3.topic("broken"))
    desk3.keeper("broken").drop()
    desk3.keeper("polite").drop()
    desk3.client().publish(desk3.topic("end"), b"", 1)
    sub.receive(desk3.topic("end"))


@statement("MQTT-3.1.2-11")
def test_without_a_will_there_is_none_of_it(desk3):
    body = connect("w", will=Will("d/one/w", b"p"), flags=0x02)[2:]
    closes_fresh(desk3, wire.packet(1, 0, body))
    for flags in (0x0A, 0x12, 0x1A, 0x22, 0x32):
        closes_fresh(desk3, connect("w", flags=flags))


@statement("MQTT-3.1.2-12")
def test_without_a_will_none_is_published(desk3):
    sub = desk3.client(device=desk3.two)
    sub.subscribe(desk3.topic("#"))
    desk3.client("same", will=Will(desk3.topic("will"), b"")).leave()
    desk3.client("same").drop()
    desk3.client().publish(desk3.topic("end"))
    sub.receive(desk3.topic("end"))


@statement("MQTT-3.1.2-13")
@pytest.mark.parametrize("qos", [1, 2, 3])
def test_without_a_will_its_qos_is_0(desk3, qos):
    closes_fresh(desk3, connect("q", flags=0x02 | qos << 3))


@statement("MQTT-3.1.2-14")
def test_a_wills_qos_is_0_1_or_2(desk3):
    sub = desk3.client(device=desk3.two)
    sub.subscribe(desk3.topic("will"), 2)
    for qos in (0, 1, 2):
        desk3.client(will=Will(desk3.topic("will"), b"", qos)).drop()
        sub.receive(desk3.topic("will"), qos=qos)
    closes_fresh(desk3, connect("q", will=Will(desk3.topic("will"), b"", 3)))


@statement("MQTT-3.1.2-15")
def test_without_a_will_its_retain_flag_is_0(desk3):
    closes_fresh(desk3, connect("r", flags=0x22))


@statement("MQTT-3.1.2-16")
def test_a_will_without_retain_is_not_kept(desk3):
    sub = desk3.client(device=desk3.two)
    sub.subscribe(desk3.topic("will"))
    desk3.client(will=Will(desk3.topic("will"), b"live")).drop()
    sub.receive(desk3.topic("will"), retain=False)
    late = desk3.client(device=desk3.two)
    late.subscribe(desk3.topic("will"))
    assert not late.until_ping()


@statement("MQTT-3.1.2-17")
def test_a_will_with_retain_is_kept(desk3):
    sub = desk3.client(device=desk3.two)
    sub.subscribe(desk3.topic("will"))
    desk3.client(will=Will(desk3.topic("will"), b"kept", 1, True)).drop()
    sub.receive(desk3.topic("will"))
    late = desk3.client(device=desk3.two)
    late.subscribe(desk3.topic("will"))
    late.receive(desk3.topic("will"), payload=b"kept", retain=True)


@statement("MQTT-3.1.2-18")
def test_a_user_name_without_its_flag_closes(desk3):
    closes_fresh(desk3, connect("u", user="name", flags=0x02))


@statement("MQTT-3.1.2-19")
def test_a_flag_without_its_user_name_closes(desk3):
    closes_fresh(desk3, connect("u", flags=0x82))


@statement("MQTT-3.1.2-20")
def test_a_password_without_its_flag_closes(desk3):
    closes_fresh(desk3, connect("u", user="name", password=b"word", flags=0x82))


@statement("MQTT-3.1.2-21")
def test_a_flag_without_its_password_closes(desk3):
    closes_fresh(desk3, connect("u", user="name", flags=0xC2))


@statement("MQTT-3.1.2-22")
def test_a_password_needs_a_user_name(desk3):
    closes_fresh(desk3, connect("u", password=b"word"))
    desk3.client("u", user="name", password=b"\0\xff any bytes").leave()


@statement("MQTT-3.1.2-24")
def test_silence_of_one_and_a_half_keep_alives_closes(desk3):
    sub, never = desk3.client(device=desk3.two), desk3.client(keep_alive=0)
    sub.subscribe(desk3.topic("will"))
    start = time.monotonic()
    silent = desk3.client(keep_alive=1, will=Will(desk3.topic("will"), b"as if the network had failed"))
    silent.closed_for()
    assert time.monotonic() - start >= 1.5
    sub.receive(desk3.topic("will"))
    busy = desk3.client(keep_alive=1)
    for _ in range(3):
        time.sleep(0.7)
        assert not busy.until_ping()
    assert not never.until_ping()


@statement("MQTT-3.1.3-1")
def test_the_payloads_fields_are_in_order(desk3):
    sub = desk3.client(device=desk3.two)
    sub.subscribe(desk3.topic("will"), 1)
    desk3.client("order", clean=False, will=Will(desk3.topic("will"), b"payload", 1), user="u", password=b"p").drop()
    sub.receive(desk3.topic("will"), payload=b"payload", qos=1)
    assert desk3.keeper("order").connack.session_present


@statement("MQTT-3.1.3-2")
def test_the_client_identifier_names_the_session(desk3):
    for name in ("a", "b"):
        client = desk3.keeper(name)
        client.subscribe(desk3.topic(name), 1)
        client.drop()
    pub = desk3.client()
    pub.publish(desk3.topic("a"), b"for a", 1)
    pub.publish(desk3.topic("b"), b"for b", 1)
    for name in ("a", "b"):
        back = desk3.keeper(name)
        back.receive(desk3.topic(name), payload=f"for {name}".encode())
        assert not back.until_ping()
    other = desk3.client("a", desk3.two, clean=False)  # another device's "a" is another client
    assert not other.connack.session_present


@statement("MQTT-3.1.3-3")
def test_a_connect_without_client_identifier_closes(desk3):
    closes_fresh(desk3, wire.packet(1, 0, connect("")[2:-2]))


@statement("MQTT-3.1.3-4")
def test_the_client_identifier_is_text(desk3):
    desk3.open().connect("Grüße-客户端-" + desk3.name).leave()
    closes_fresh(desk3, connect(b"\xc3\x28"))


@statement("MQTT-3.1.3-5")
def test_client_identifiers_of_1_to_23_letters_and_digits(desk3):
    letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    for client_id in (*letters, letters[:23], letters[23:46], letters[39:]):
        desk3.open().connect(client_id).leave()


@statement("MQTT-3.1.3-6")
def test_an_empty_client_identifier_gets_a_unique_one(desk3):
    clients = [desk3.client() for _ in range(3)]
    for n, client in enumerate(clients):
        client.subscribe(desk3.topic(f"{n}"))
    for n, client in enumerate(clients):
        clients[0].publish(desk3.topic(f"{n}"))
        client.receive(desk3.topic(f"{n}"))


@statement("MQTT-3.1.3-8")
def test_an_empty_identifier_needs_clean_session(desk3):
    client = desk3.open()
    client.send(connect("", clean=False))
    client.refused_for(BAD_IDENTIFIER)


@statement("MQTT-3.1.3-9")
def test_a_refused_identifier_is_told_0x02(desk3):
    client = desk3.open()
    client.send(connect("x" * 300), publish(desk3.topic()))
    client.refused_for(BAD_IDENTIFIER)


@statement("MQTT-3.1.3-10")
def test_the_wills_topic_is_text(desk3):
    for bad in ILL_FORMED.values():
        closes_fresh(desk3, connect("w", will=Will(b"d/one/" + bad)))


@statement("MQTT-3.1.3-11")
def test_the_user_name_is_text(desk3):
    for bad in ILL_FORMED.values():
        closes_fresh(desk3, connect("u", user=bad))
    desk3.client("u", user="Ж").leave()


@statement("MQTT-3.1.4-1")
def test_a_connect_of_wrong_form_closes_without_a_word(desk3):
    whole = connect("form", will=Will("d/one/w", b"p"), user="u", password=b"p")[2:]
    for cut in range(len(whole)):
        closes_fresh(desk3, wire.packet(1, 0, whole[:cut]))
    closes_fresh(desk3, wire.packet(1, 0, whole + b"\0"))
    for topic in ("", "#", "d/one/+", "d/#/one"):
        closes_fresh(desk3, connect("w", will=Will(topic)))


@statement("MQTT-3.1.4-2")
def test_the_older_connection_of_a_session_is_closed(desk3):
    old = desk3.keeper()
    old.subscribe(desk3.topic(), 1)
    new = desk3.keeper()
    old.closed_for()
    assert new.connack.session_present
    desk3.client().publish(desk3.topic(), b"for the new one", 1)
    new.receive(payload=b"for the new one")


@statement("MQTT-3.1.4-3")
def test_clean_session_is_obeyed_in_a_take_over_too(desk3):
    old = desk3.keeper()
    old.subscribe(desk3.topic(), 1)
    new = desk3.keeper(clean=True)
    old.closed_for()
    assert not new.connack.session_present
    desk3.client().publish(desk3.topic(), b"nobody listens", 1)
    assert not new.until_ping()


@statement("MQTT-3.1.4-4")
def test_a_good_connect_is_told_0x00(desk3):
    client = desk3.open()
    client.send(connect("fine"))
    assert client.expect(CONNACK).body == b"\0\0"


@statement("MQTT-3.1.4-5")
def test_nothing_behind_a_refused_connect_is_heeded(desk3):
    sub = desk3.client(device=desk3.two)
    sub.subscribe(desk3.topic())
    for refused in (connect("", clean=False), connect("v", version=3), connect("r", flags=3)):
        client = desk3.open()
        client.send(refused, publish(desk3.topic(), b"behind"), connect("again"), publish(desk3.topic(), b"behind"))
        assert len(client.ended()) <= 1
    desk3.client().publish(desk3.topic(), b"end")
    sub.receive(payload=b"end")


# -- CONNACK --


@statement("MQTT-3.2.0-1")
def test_connack_is_the_first_packet(desk3):
    sub = desk3.keeper(device=desk3.two)
    sub.subscribe(desk3.topic(), 1)
    sub.drop()
    desk3.client().publish(desk3.topic(), b"waits", 1)
    back = desk3.open(desk3.two)
    back.send(connect(f"{desk3.name}-keeper", clean=False), wire.pingreq(), subscribe(1, (desk3.topic("x"), 0)))
    back.expect(CONNACK, reason=0)
    back.take(PUBLISH)
    back.take(SUBACK)


@statement("MQTT-3.2.2-1")
def test_with_clean_session_no_session_is_present(desk3):
    desk3.keeper().drop()
    assert desk3.keeper(clean=True).connack.body == b"\0\0"


@statement("MQTT-3.2.2-2")
def test_a_stored_session_is_present(desk3):
    desk3.keeper().leave()
    assert desk3.keeper().connack.body == b"\1\0"


@statement("MQTT-3.2.2-3")
def test_without_a_stored_session_none_is_present(desk3):
    assert desk3.keeper().connack.body == b"\0\0"


@statement("MQTT-3.2.2-4")
def test_a_refusal_has_no_session(desk3):
    desk3.keeper().drop()
    client = desk3.open()
    client.send(connect(f"{desk3.name}-keeper", clean=False, version=3))
    assert client.expect(CONNACK).body == b"\0\1"
    assert desk3.keeper().connack.session_present


@statement("MQTT-3.2.2-5")
def test_a_refusal_closes(desk3):
    for packet in (connect("v", version=3), connect("", clean=False), connect("x" * 300)):
        client = desk3.open()
        client.send(packet)
        assert client.expect(CONNACK).reason
        assert not client.ended()


@statement("MQTT-3.2.2-6")
def test_without_a_code_for_it_a_refusal_says_nothing(desk3):
    """No return code speaks of a will's topic."""
    closes_fresh(desk3, connect("w", will=Will("d/one/#", b"")))


# -- ordinary clients --


@statement("§3.1.2.2")
def test_mosquitto_hears_why_3_1_is_refused(desk3):
    for version, code, says in (("mqttv31", 1, "unacceptable protocol version"), ("mqttv311", 0, "")):
        ran = desk3.one.publish(desk3.topic(), "x", "-V", version, check=False)
        assert ran.returncode == code and says in ran.stderr, (version, ran)


@statement("§3.1.2.2")
def test_a_mosquitto_bridge_finds_its_level(desk3):
    """It marks itself in the level's top bit, hears 0x01, and comes again without."""
    device, sub = desk3.one, desk3.client(device=desk3.two)
    sub.subscribe(desk3.topic("up/#"), 1)
    conf = device.dir / f"{desk3.name}-bridge.conf"
    key = device.dir / f"{desk3.name}-bridge.key"  # mosquitto reads it as its own user
    key.write_bytes(device.key.read_bytes())
    key.chmod(0o644)
    conf.write_text(
        "listener 1883 127.0.0.1\nallow_anonymous true\nlog_type all\n"
        f"connection cordon\naddress {GATEWAY4}:8883\nremote_clientid {desk3.name}-bridge\n"
        "bridge_protocol_version mqttv311\n"
        f"bridge_cafile {device.ca}\nbridge_certfile {device.cert}\nbridge_keyfile {key}\nbridge_insecure true\n"
        "try_private true\nnotifications false\nrestart_timeout 1\n"
        f'topic # out 1 up/ {desk3.topic("up/")}\ntopic # in 1 down/ {desk3.topic("down/")}\n')
    local = ["-h", "127.0.0.1", "-q", "1"]
    broker = device.watch("mosquitto", "-v", "-c", conf)
    try:
        wait_until(lambda: device.run("mosquitto_pub", *local, "-t", "ready", "-n", check=False).returncode == 0, 15,
                   "the bridge's broker to listen")
        got = device.watch("mosquitto_sub", *local, "-t", "down/#", "-v")
        device.run("mosquitto_pub", *local, "-t", "up/a", "-m", "from behind the bridge")
        sub.receive(desk3.topic("up/a"), payload=b"from behind the bridge", qos=1)
        down = desk3.client()

        def crossed():
            down.publish(desk3.topic("down/b"), b"to behind it", 1)
            return "down/b to behind it" in got.text()

        wait_until(crossed, 15, "a message to cross the bridge")
        assert "unacceptable protocol version" in broker.text()
    finally:
        broker.proc.terminate()
        broker.proc.wait(10)
