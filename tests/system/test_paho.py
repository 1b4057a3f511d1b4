# SPDX-License-Identifier: GPL-2.0-only
"""Paho for Python in both versions of the protocol: wills, retained messages, and what waits for who is away."""

import itertools
import queue
import socket
import struct
import threading
import time

import paho.mqtt.client as paho
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

import wire
from lab import GATEWAY4, Failed, wait_until
from wire import PATIENCE

V3, V5 = paho.MQTTv311, paho.MQTTv5
BOTH = pytest.mark.parametrize("version", [pytest.param(V3, id="3.1.1"), pytest.param(V5, id="5")])
names = itertools.count()


def properties(kind, **values):
    out = Properties(kind)
    for name, value in values.items():
        setattr(out, name, value)
    return out


class Phone:
    """A Paho client of a device, connected; what it gets waits in `inbox`."""

    def __init__(self, device, version, name=None, expiry=0, will=None, will_properties=None):
        self.version, self.inbox, self.up = version, queue.Queue(), threading.Event()
        self.suback, self.granted = threading.Event(), None
        kept = {"clean_session": not expiry} if version == V3 else {}
        self.paho = paho.Client(name or f"phone-{next(names)}", protocol=version, **kept)
        self.paho.tls_set_context(wire.tls_context(device))
        self.paho.on_message = lambda _, __, message: self.inbox.put(message)
        self.paho.on_connect = self.on_connect
        self.paho.on_subscribe = self.on_subscribe
        self.paho.max_inflight_messages_set(50)
        if will:
            topic, payload, qos, retain = will
            more = {"properties": will_properties} if will_properties else {}
            self.paho.will_set(topic, payload, qos, retain, **more)
        start = {} if version == V3 else {
            "clean_start": not expiry, "properties": properties(PacketTypes.CONNECT, SessionExpiryInterval=expiry)}
        with wire.inside(device):
            self.paho.connect(GATEWAY4, 8883, **start)
        self.paho.loop_start()
        assert self.up.wait(PATIENCE), "no CONNACK"

    def on_connect(self, _, __, flags, reason, ___=None):
        self.present, self.reason = bool(flags["session present"]), reason
        self.up.set()

    def on_subscribe(self, _, __, ___, granted, ____=None):
        self.granted = [int(str(g)) if isinstance(g, int) else g.value for g in granted]
        self.suback.set()

    def subscribe(self, topic, qos=0, **options):
        self.suback.clear()
        if self.version == V3:
            self.paho.subscribe(topic, qos)
        else:
            self.paho.subscribe(topic, options=SubscribeOptions(qos, **options))
        assert self.suback.wait(PATIENCE), "no SUBACK"
        assert self.granted == [qos]
        return self

    def publish(self, topic, payload=b"", qos=1, retain=False, **values):
        more = {"properties": properties(PacketTypes.PUBLISH, **values)} if values else {}
        self.paho.publish(topic, payload, qos, retain, **more).wait_for_publish(PATIENCE)

    def next(self):
        try:
            return self.inbox.get(timeout=PATIENCE)
        except queue.Empty:
            raise Failed("no message came") from None

    def rest(self, end):
        """Payloads until that of `end`, which another publishes now. Paho hands a message of QoS 2 over when it is
        released, so only those of one QoS are in order."""
        return [p.decode() for p in iter(lambda: self.next().payload, end)]

    def leave(self):
        self.paho.disconnect()
        self.paho.loop_stop()

    def drop(self):
        """Gone without a word, and not to come again by itself."""
        self.paho.on_disconnect = None
        self.paho._thread_terminate = True
        sock = self.paho.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.paho._thread.join(PATIENCE)
        sock.close()


@pytest.fixture(scope="module")
def cam(house):
    return house.enrolled("cam-1")


@pytest.fixture(scope="module")
def hub(house):
    """A device that may hear and speak in the other's space."""
    device = house.enrolled("hub-1")
    house.daemon.cordon("grant", "hub-1", "d/cam-1/#", "pubsub")
    return device


@pytest.fixture
def place():
    return f"d/cam-1/{next(names)}"


@pytest.fixture
def phones():
    """Phone, and the end of all that were made."""
    made = []

    def make(*args, **kw):
        made.append(Phone(*args, **kw))
        return made[-1]

    yield make
    for phone in made:
        phone.paho.disconnect()
        phone.paho.loop_stop()


# -- wills --


@BOTH
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_will_speaks_when_the_line_breaks(cam, hub, place, phones, version, qos):
    watcher = phones(hub, version).subscribe(place, 2)
    phones(cam, version, will=(place, b"gone", qos, True)).drop()
    got = watcher.next()
    assert (got.payload, got.qos, got.retain) == (b"gone", qos, False)
    late = phones(hub, version).subscribe(place, 2).next()
    assert (late.payload, late.qos, late.retain) == (b"gone", qos, True)


@BOTH
def test_a_will_is_silent_after_a_good_bye(cam, hub, place, phones, version):
    watcher = phones(hub, version).subscribe(place, 1)
    phones(cam, version, will=(place, b"gone", 1, True)).leave()
    phones(cam, version).publish(place, b"end")
    assert watcher.rest(b"end") == []


def test_a_will_waits_and_keeps_its_properties(cam, hub, place, phones):
    watcher = phones(hub, V5).subscribe(place, 1)
    words = properties(PacketTypes.WILLMESSAGE, WillDelayInterval=1, ContentType="text/plain",
                       ResponseTopic="d/cam-1/x", CorrelationData=b"\0\1",
                       UserProperty=[("a", "1"), ("b", "2"), ("a", "3")])
    lost = phones(cam, V5, expiry=60, will=(place, b"gone", 1, False), will_properties=words)
    start = time.monotonic()
    lost.drop()
    got = watcher.next()
    assert time.monotonic() - start >= 1
    assert got.payload == b"gone" and got.properties.ContentType == "text/plain"
    assert got.properties.ResponseTopic == "d/cam-1/x" and got.properties.CorrelationData == b"\0\1"
    assert got.properties.UserProperty == [("a", "1"), ("b", "2"), ("a", "3")]


def test_who_is_back_in_time_is_not_mourned(cam, hub, place, phones):
    watcher = phones(hub, V5).subscribe(place, 1)
    delay = properties(PacketTypes.WILLMESSAGE, WillDelayInterval=30)
    name = f"phone-{next(names)}"
    phones(cam, V5, name, expiry=60, will=(place, b"gone", 1, False), will_properties=delay).drop()
    back = phones(cam, V5, name, expiry=60)
    assert back.present
    back.publish(place, b"end")
    assert watcher.rest(b"end") == []


# -- retained messages --


@BOTH
def test_a_retained_message_is_kept_replaced_and_cleared(cam, hub, place, phones, version):
    pub = phones(cam, version)
    for n, qos in enumerate((1, 0, 2)):
        for rest in "ab":
            pub.publish(f"{place}/{rest}", f"{rest}{n}", qos, True)
        pub.publish(f"{place}/a/b", b"so that the others are there, whatever their QoS")
        sub = phones(hub, version).subscribe(f"{place}/+", 2)
        got = sorted((m.topic, m.payload, m.retain, m.qos) for m in (sub.next(), sub.next()))
        assert got == [(f"{place}/{rest}", f"{rest}{n}".encode(), True, qos) for rest in "ab"]
    pub.publish(f"{place}/a", b"", 1, True)
    late = phones(hub, version).subscribe(f"{place}/+", 2)
    pub.publish(f"{place}/end", b"end", 2)
    assert late.rest(b"end") == ["b2"]


def test_retain_handling_and_retain_as_published(cam, hub, place, phones):
    pub, sub = phones(cam, V5), phones(hub, V5)
    pub.publish(place, b"kept", 1, True)
    sub.subscribe(place, 1, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND)
    sub.subscribe(place, 1, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB)
    sub.subscribe(place, 1, retainAsPublished=True)
    assert sub.next().retain  # the last of the three asked for it
    pub.publish(place, b"live", 1, True)
    assert sub.next().retain
    sub.subscribe(place, 1, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND)
    pub.publish(place, b"live", 1, True)
    assert not sub.next().retain
    assert sub.inbox.empty()


def test_a_retained_message_expires(cam, hub, place, phones):
    pub = phones(cam, V5)
    pub.publish(f"{place}/soon", b"old", 1, True, MessageExpiryInterval=1)
    pub.publish(f"{place}/later", b"new", 1, True, MessageExpiryInterval=100)
    time.sleep(1.2)
    sub = phones(hub, V5).subscribe(f"{place}/+", 1)
    got = sub.next()
    assert got.payload == b"new" and 50 <= got.properties.MessageExpiryInterval <= 99
    pub.publish(f"{place}/end", b"end")
    assert sub.rest(b"end") == []


# -- who is away --

COUNT = 200


@BOTH
@pytest.mark.parametrize("polite", [True, False])
def test_what_is_published_meanwhile_waits_in_order(cam, hub, place, phones, version, polite):
    name = f"phone-{next(names)}"
    first = phones(hub, version, name, expiry=3600)
    assert not first.present
    first.subscribe(f"{place}/#", 2)
    first.leave() if polite else first.drop()
    pub = phones(cam, version)
    for n in range(COUNT):
        pub.paho.publish(f"{place}/{n % 5}", f"{n}", n % 3)  # one in three is of QoS 0, and nobody waits for it
    pub.publish(f"{place}/last", b"last", 2)
    back = phones(hub, version, name, expiry=3600)
    assert back.present
    got = back.rest(b"last")
    for qos in (1, 2):
        assert [n for n in got if int(n) % 3 == qos] == [f"{n}" for n in range(qos, COUNT, 3)]
    assert len(got) == len(set(got)) == sum(n % 3 > 0 for n in range(COUNT))
    pub.publish(f"{place}/live", b"live", 0)
    assert back.next().payload == b"live"
    assert back.inbox.empty()


@BOTH
def test_a_clean_start_is_one(cam, hub, place, phones, version):
    name = f"phone-{next(names)}"
    phones(hub, version, name, expiry=3600).subscribe(place, 1).leave()
    pub = phones(cam, version)
    pub.publish(place, b"for nobody", 2)
    assert not phones(hub, version, name).present
    again = phones(hub, version, name, expiry=3600)
    assert not again.present
    again.subscribe(place, 1)
    pub.publish(place, b"end")
    assert again.rest(b"end") == []


@BOTH
def test_one_name_has_one_connection(cam, hub, place, phones, version):
    name, gone = f"phone-{next(names)}", threading.Event()
    old = phones(hub, version, name, expiry=3600).subscribe(place, 1)
    old.paho.on_disconnect = lambda *_: (old.paho.disconnect(), gone.set())
    new = phones(hub, version, name, expiry=3600)
    assert gone.wait(PATIENCE) and new.present
    phones(cam, version).publish(place, b"for the new one")
    assert new.next().payload == b"for the new one" and old.inbox.empty()


def test_a_session_and_a_message_expire(cam, hub, place, phones):
    short, long = f"phone-{next(names)}", f"phone-{next(names)}"
    phones(hub, V5, short, expiry=1).subscribe(place, 1).leave()
    phones(hub, V5, long, expiry=3600).subscribe(place, 1).leave()
    pub = phones(cam, V5)
    pub.publish(place, b"old", 1, MessageExpiryInterval=1)
    pub.publish(place, b"new", 1)
    time.sleep(1.5)
    assert not phones(hub, V5, short, expiry=60).present
    back = phones(hub, V5, long, expiry=60)
    assert back.present and back.next().payload == b"new" and back.inbox.empty()


# -- between the versions --


@pytest.mark.parametrize("there, back", [(V3, V5), (V5, V3)], ids=["3.1.1 to 5", "5 to 3.1.1"])
def test_a_session_is_gone_on_with_in_the_other_version(cam, hub, place, phones, there, back):
    """A device gets new software, and nothing that waited for it is lost."""
    name = f"phone-{next(names)}"
    phones(hub, there, name, expiry=3600).subscribe(place, 2).drop()
    pub = phones(cam, there)
    for n in range(20):
        pub.publish(place, f"{n}", 1 + n % 2)
    again = phones(hub, back, name, expiry=3600)
    pub.publish(place, b"end", 2)
    assert again.present
    got = again.rest(b"end")
    for odd in (0, 1):
        assert [n for n in got if int(n) % 2 == odd] == [f"{n}" for n in range(odd, 20, 2)]


def test_the_versions_hear_each_other(cam, hub, place, phones):
    three, five = phones(hub, V3).subscribe(place, 2), phones(hub, V5).subscribe(place, 2)
    phones(cam, V5).publish(place, b"from 5", 2, ContentType="text/plain", UserProperty=[("k", "v")])
    assert three.next().payload == b"from 5"
    got = five.next()
    assert got.properties.ContentType == "text/plain" and got.properties.UserProperty == [("k", "v")]
    phones(cam, V3).publish(place, b"from 3.1.1", 2)
    assert three.next().payload == b"from 3.1.1"
    got = five.next()
    assert got.payload == b"from 3.1.1" and not hasattr(got.properties, "ContentType")


@BOTH
def test_a_refusal_is_told(cam, place, phones, version):
    """MQTT 5 says why and goes on; 3.1.1 has no word for it, and the connection ends."""
    phone = phones(cam, version)
    seen = []
    phone.paho.on_disconnect = lambda *args: (seen.append(args[2]), phone.paho.disconnect())
    phone.suback.clear()
    phone.paho.subscribe("d/another/#", 1)
    assert phone.suback.wait(PATIENCE) and phone.granted[0] == (0x80 if version == V3 else 0x87)
    sent = phone.paho.publish("d/another/x", b"no", 1)
    if version == V3:
        wait_until(lambda: seen, PATIENCE, "the end of the connection")
    else:
        sent.wait_for_publish(PATIENCE)
        assert not seen and phone.paho.is_connected()
