# SPDX-License-Identifier: GPL-2.0-only
"""Wills outlive the gateway: kill -9 at any moment swallows none, and sends none twice or wrongly."""

import time

import pytest

import wire
from lab import wait_until

KEPT = {"session_expiry": 3600}
KILLS = ("kill_worker", "kill_both")


@pytest.fixture
def cam(lab):
    lab.daemon.start()
    return lab.enrolled("cam-1")


def kill(lab, how):
    getattr(lab.daemon, how)()
    if how == "kill_both":
        lab.daemon.start()
    lab.daemon.wait_ready()


def talk(device, name, clean=False, **kw):
    """A connection, once the gateway answers again."""
    found = []

    def answered():
        try:
            found.append(wire.Client(device).connect(name, clean=clean, **kw))
        except (OSError, wire.Failed):
            return False
        return True

    wait_until(answered, what="an answer", seconds=30)
    return found[0]


def watch(cam, topic):
    watcher = talk(cam, "watcher", properties=KEPT)
    watcher.subscribe(topic, 1)
    return watcher


def settled():
    """So long that what was begun is on disk: a session's change leaves within 0.2 s."""
    time.sleep(0.5)


@pytest.mark.parametrize("how", KILLS)
def test_the_will_of_a_connected_client(lab, cam, how):
    topic = "d/cam-1/will"
    watch(cam, topic)
    properties = {"content_type": "text/plain", "user": [("a", "1"), ("b", "2")]}
    lost = talk(cam, "lost", clean=True, will=wire.Will(topic, b"gone", qos=1, properties=properties))
    settled()
    kill(lab, how)
    lost.close()
    watcher = talk(cam, "watcher", properties=KEPT)
    got = watcher.receive(topic)
    assert got.payload == b"gone" and got.props["content_type"] == "text/plain"
    assert got.props["user"] == properties["user"]
    watcher.until_ping()
    settled()
    kill(lab, how)
    again = talk(cam, "watcher", properties=KEPT)
    again.until_ping()  # nothing more: it was published once


@pytest.mark.parametrize("how", KILLS)
def test_a_will_that_waits_for_its_delay(lab, cam, how):
    topic = "d/cam-1/delayed"
    watch(cam, topic)
    lost = talk(cam, "lost", will=wire.Will(topic, b"late", qos=1, properties={"will_delay": 4}), properties=KEPT)
    lost.drop()
    settled()
    kill(lab, how)
    watcher = talk(cam, "watcher", properties=KEPT)
    watcher.until_ping()  # not before its time
    assert watcher.receive(topic).payload == b"late"


def test_a_will_whose_session_was_prolonged_at_the_end(lab, cam):
    """Its delay was longer than the session's expiry in CONNECT, and is not in DISCONNECT."""
    topic = "d/cam-1/prolonged"
    watch(cam, topic)
    will = wire.Will(topic, b"late", qos=1, properties={"will_delay": 8})
    lost = talk(cam, "lost", will=will, properties={"session_expiry": 1})
    lost.leave(wire.WITH_WILL, KEPT)
    left = time.monotonic()
    settled()
    kill(lab, "kill_worker")
    watcher = talk(cam, "watcher", properties=KEPT)
    assert watcher.receive(topic).payload == b"late"
    assert time.monotonic() - left > 7


@pytest.mark.parametrize("how", KILLS)
def test_a_client_that_is_back_in_time(lab, cam, how):
    topic = "d/cam-1/back"
    watch(cam, topic)
    lost = talk(cam, "lost", will=wire.Will(topic, b"never", qos=1, properties={"will_delay": 5}), properties=KEPT)
    settled()
    kill(lab, how)
    lost.close()
    back = talk(cam, "lost", properties=KEPT)
    assert back.connack.session_present
    settled()
    kill(lab, how)
    watcher = talk(cam, "watcher", properties=KEPT)
    time.sleep(6)
    watcher.until_ping()


def test_a_client_that_took_leave(lab, cam):
    topic = "d/cam-1/leave"
    watch(cam, topic)
    talk(cam, "lost", clean=True, will=wire.Will(topic, b"never", qos=1)).leave()
    settled()
    kill(lab, "kill_both")
    talk(cam, "watcher", properties=KEPT).until_ping()


def test_an_orderly_end_is_no_reason_to_speak_before_the_delay(lab, cam):
    topic = "d/cam-1/restart"
    watch(cam, topic)
    for name, delay in (("connected", 60), ("gone", 60), ("never back", 6)):
        will = wire.Will(topic, name, qos=1, properties={"will_delay": delay})
        client = talk(cam, name, will=will, properties=KEPT)
        if name == "gone":
            client.drop()
    settled()
    lab.daemon.stop()
    lab.daemon.start()
    for name in ("connected", "gone"):
        assert talk(cam, name, properties=KEPT).connack.session_present
    watcher = talk(cam, "watcher", properties=KEPT)
    assert watcher.receive(topic).payload == b"never back"
    assert not watcher.until_ping()


def test_an_orderly_end_publishes_once(lab, cam):
    topic = "d/cam-1/stop"
    watch(cam, topic)
    talk(cam, "lost", clean=True, will=wire.Will(topic, b"stopped", qos=1, retain=True))
    lab.daemon.stop()
    lab.daemon.start()
    watcher = talk(cam, "watcher", properties=KEPT)
    assert watcher.receive(topic).payload == b"stopped"
    watcher.until_ping()

