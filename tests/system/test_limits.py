# SPDX-License-Identifier: GPL-2.0-only
"""Each limit of the configuration: enforced, told in the protocol's own words, counted and shown."""

import re

import pytest

import lab as site
import wire
from conftest import finish
from lab import wait_until

KEPT = {"session_expiry": 3600}
LIMITS = {"connections": 12, "message_bytes": 8000, "publish_per_s": 50, "queued_bytes": 20000}
V311_UNAVAILABLE = 3


@pytest.fixture(scope="module")
def place():
    """A site without a cloud, so that only local subscribers can take a message, and small limits."""
    lab = site.Lab(uplink=False)
    try:
        lab.daemon.configure(limits=LIMITS)
        lab.daemon.start()
        yield lab
    finally:
        finish(lab)


@pytest.fixture(scope="module")
def cam(place):
    return place.enrolled("cam-1")


def talk(device, version=5):
    return wire.Client(device, version)


def absent(cam, name, topic):
    """A session that waits for `topic` with nobody there."""
    reader = talk(cam).connect(name, properties=KEPT)
    reader.subscribe(topic, 1)
    reader.leave()


def answer(client, topic, size=4000, **kw):
    """The reason that a PUBLISH with QoS 1 is answered with."""
    packet_id = next(client.ids)
    client.send(wire.publish(topic, b"x" * size, 1, packet_id, version=client.version, **kw))
    return client.take(wire.PUBACK, packet_id=packet_id).reason


def test_a_full_queue_is_told_to_everybody_it_concerns(place, cam):
    topic = "d/cam-1/full"
    absent(cam, "late", topic)
    sender = talk(cam).connect("sender")
    answers = [answer(sender, topic) for _ in range(7)]
    assert answers == sorted(answers) and set(answers) == {wire.SUCCESS, wire.QUOTA}, "nobody took the last ones"
    taken = answers.count(wire.SUCCESS)

    def alerts():
        return [e for e in place.daemon.json("events") if e.get("kind") == "queue-full"]

    wait_until(alerts, what="the alert")
    assert [e["device"] for e in alerts()] == ["cam-1"] and "late" in alerts()[0]["text"], "once, and it says which"
    late = talk(cam).connect("late", clean=False, properties=KEPT)
    assert late.connack.props["reason_string"].startswith(f"{len(answers) - taken} messages were dropped")
    for _ in range(taken):
        late.receive(topic)
    late.until_ping()
    late.leave()
    again = talk(cam).connect("late", clean=False, properties=KEPT)
    assert "reason_string" not in again.connack.props, "it was told"
    assert answer(sender, topic) == wire.SUCCESS
    again.close()
    sender.close()


def test_a_full_queue_harms_no_other_subscriber(cam):
    topic = "d/cam-1/shared-fate"
    absent(cam, "slow", topic)
    quick = talk(cam).connect("quick")
    quick.subscribe(topic, 1)
    sender = talk(cam).connect("sender-2")
    for _ in range(8):
        assert answer(sender, topic) == wire.SUCCESS, "somebody took it"
        quick.receive(topic)
    quick.close()
    sender.close()


def test_a_full_queue_costs_a_3_1_1_publisher_nothing(cam):
    topic = "d/cam-1/old"
    absent(cam, "old-late", topic)
    sender = talk(cam, 4).connect("old-sender")
    for _ in range(8):
        packet_id = next(sender.ids)
        sender.send(wire.publish(topic, b"x" * 4000, 1, packet_id, version=4))
        sender.take(wire.PUBACK, packet_id=packet_id)
    sender.until_ping()
    sender.close()


def reached(place, limit):
    """How often it was, as status has it; the same must stand in the metrics."""
    got = place.daemon.json("status")["broker"]["limits"][limit]
    assert got["max"] == LIMITS[limit]
    return got["reached"]


def metric(place, limit):
    daemon = place.daemon
    text = daemon.ns.run("curl", "-sS", "--unix-socket", daemon.socket, "http://cordon/metrics").stdout
    return int(re.search(rf'(?m)^cordon_limit_reached_total{{limit="{limit}"}} (\d+)$', text)[1])


def test_connections_past_the_limit_hear_why(place, cam):
    tv = place.enrolled("tv-1")
    before = reached(place, "connections")
    held = [talk(cam).connect(f"held-{n}") for n in range(6)]
    talk(cam).send(wire.connect("one-more")).refused_for(wire.QUOTA)
    held += [talk(tv).connect(f"held-{n}") for n in range(6)]
    rest = place.enrolled("rest-1")
    talk(rest).send(wire.connect("past-all")).refused_for(wire.QUOTA)
    talk(rest, 4).send(wire.connect("past-all", version=4)).refused_for(V311_UNAVAILABLE)
    for client in held:
        assert not client.until_ping(), "who was there before is served on"
    held.pop().leave()
    wait_until(lambda: place.daemon.json("status")["broker"]["connections"] == 11, what="room again")
    talk(rest).connect("now").leave()
    assert reached(place, "connections") - before == 3
    for client in held:
        client.close()


def test_a_message_past_the_limit_is_refused_with_a_reason(place, cam):
    before = reached(place, "message_bytes")
    client = talk(cam).connect("big")
    largest = client.connack.props["maximum_packet_size"]
    assert answer(client, "d/cam-1/big", LIMITS["message_bytes"]) == wire.SUCCESS
    assert answer(client, "d/cam-1/big", LIMITS["message_bytes"] + 1) == wire.QUOTA
    assert not client.until_ping(), "it stays"
    client.send(wire.publish("d/cam-1/big", b"x" * (LIMITS["message_bytes"] + 1)))
    client.closed_for(wire.TOO_LARGE)
    client = talk(cam).connect("bigger")
    client.send(wire.publish("d/cam-1/big", b"x" * largest, 1, 1))
    client.closed_for(wire.TOO_LARGE)
    old = talk(cam, 4).connect("big-old")
    old.send(wire.publish("d/cam-1/big", b"x" * (LIMITS["message_bytes"] + 1), 1, 1, version=4))
    old.closed_for()
    assert reached(place, "message_bytes") - before == 4


def test_publishes_past_the_rate_wait_at_qos_1_and_are_lost_at_qos_0(place, cam):
    before, count = reached(place, "publish_per_s"), 3 * LIMITS["publish_per_s"]
    client, reader = talk(cam).connect("fast"), talk(cam).connect("fast-reader")
    reader.subscribe("d/cam-1/fast/#", 0)
    client.send(*[wire.publish("d/cam-1/fast/1", b"", 1, n + 1) for n in range(count)])
    got = [client.expect(wire.PUBACK) for _ in range(count)]
    assert [g.packet_id for g in got] == list(range(1, count + 1)) and {g.reason for g in got} == {wire.SUCCESS}
    assert len(reader.until_ping()) == count, "slowed down, none lost"
    waited = reached(place, "publish_per_s")
    assert waited > before
    client.send(*[wire.publish("d/cam-1/fast/0", b"") for _ in range(count)])
    assert not client.until_ping(), "it stays"
    heard = len(reader.until_ping())
    assert heard < count
    assert reached(place, "publish_per_s") - waited == count - heard, "each that was lost is counted"
    client.close()
    reader.close()


def test_what_no_key_limits_is_counted_too(place, cam):
    before = place.daemon.json("status")["broker"]["limits"]["subscriptions"]["reached"]
    client = talk(cam).connect("greedy")
    for at in range(0, 1024, 128):
        client.send(wire.subscribe(1, *[(f"d/cam-1/{n}", 0) for n in range(at, at + 128)]))
        client.take(wire.SUBACK)
    client.send(wire.subscribe(2, ("d/cam-1/more", 0), ("d/cam-1/most", 0)))
    client.expect(wire.SUBACK, reasons=[wire.QUOTA] * 2)
    client.close()
    now = place.daemon.json("status")["broker"]["limits"]["subscriptions"]
    assert now == {"max": 1024, "reached": before + 2}
    assert metric(place, "subscriptions") == before + 2


def test_the_figures_are_shown_everywhere(place, cam):
    for limit in LIMITS:
        assert reached(place, limit) == metric(place, limit) > 0, f"{limit} was reached above"
        assert f"limit {limit} = {LIMITS[limit]} was reached" in place.daemon.cordon("status").stdout
    place.daemon.cordon("grant", "cam-1", "$SYS/#", "sub")
    watcher = talk(cam).connect("watcher")
    for limit in LIMITS:
        watcher.subscribe(f"$SYS/broker/limits/{limit}", 0)
    shown = {}
    wait_until(lambda: shown.update({p.topic.split("/")[-1]: int(p.payload) for p in watcher.until_ping()
                                     if p.type == wire.PUBLISH})
               or shown == {limit: reached(place, limit) for limit in LIMITS}, 30, "$SYS follows")
    watcher.close()
