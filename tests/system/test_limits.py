# SPDX-License-Identifier: GPL-2.0-only
"""Each limit of the configuration: enforced, told in the protocol's own words, counted and shown."""

import pytest

import lab as site
import wire
from conftest import finish
from lab import wait_until

KEPT = {"session_expiry": 3600}


@pytest.fixture(scope="module")
def place():
    """A site without a cloud, so that only local subscribers can take a message, and small queues."""
    lab = site.Lab(uplink=False)
    try:
        lab.daemon.configure(limits={"queued_bytes": 20000})
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
