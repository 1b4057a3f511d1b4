# SPDX-License-Identifier: GPL-2.0-only
"""QoS 2 is exactly once across kill -9 of the gateway at every step of both handshakes: from a device to the
cloud and to a durable subscriber at the gateway. The cloud's reader drops repeats of a sequence, as
INTERFACE.md says; nothing else is forgiven."""

import collections
import random
import time

import pytest

import wire
from envelope_reader import Reader
from lab import wait_until
from wire import PUBCOMP, PUBLISH, PUBREC, PUBREL

TOPIC = "d/cam-1/once"
VICTIMS = ("worker", "enforcer", "both")
FOREVER = {"session_expiry": 0xFFFFFFFF}


def kill(lab, victim):
    if victim == "worker":
        lab.daemon.kill_worker()
        return
    lab.daemon.kill_both() if victim == "both" else lab.daemon.kill_enforcer()
    wait_until(lambda: lab.daemon.start(), 30, "a new start")


class End:
    """One end of a durable session: its connection goes with the gateway, its state does not."""

    def __init__(self, device, name, version):
        self.device, self.name, self.version, self.wire = device, name, version, None

    def connect(self):
        """Once the gateway answers; True when it knew the session."""
        def answered():
            try:
                client = wire.Client(self.device, self.version)
                self.wire = client.connect(self.name, clean=False, properties=FOREVER if self.version == 5 else ())
            except (OSError, wire.Failed):
                return False
            return True
        wait_until(answered, 40, "the gateway to answer")
        return self.wire.connack.session_present

    def send(self, *packets):
        """Into the void, if it must be."""
        try:
            self.wire.send(*packets)
        except OSError:
            pass

    def poll(self, seconds):
        """The next packet, or None when there is none or the gateway is gone."""
        try:
            return self.wire.next(seconds)
        except (OSError, wire.Failed):
            return None


class Sender(End):
    """Publishes at QoS 2 and repeats what the specification wants repeated, in the order of sending."""

    def __init__(self, *args):
        super().__init__(*args)
        self.open = collections.OrderedDict()  # packet id: payload, or None once only its release is due
        self.free = collections.deque(range(1, 40))  # few, so that each is used again at once
        self.done = 0

    def connect(self):
        known = super().connect()
        for packet_id, payload in self.open.items():
            assert known, "the session was lost"
            self.send(wire.ack(PUBREL, packet_id) if payload is None else self.packet(packet_id, payload, True))

    def packet(self, packet_id, payload, dup=False):
        return wire.publish(TOPIC, payload, 2, packet_id, dup=dup, version=self.version)

    def publish(self, payload):
        packet_id = self.free.popleft()
        self.open[packet_id] = payload
        self.send(self.packet(packet_id, payload))

    def received(self, packet_id):
        """PUBREC came: from now on only the release is repeated, behind all that was released before."""
        self.open[packet_id] = None

    def react(self, got):
        if got.type == PUBREC:
            assert got.reason in (0, wire.NO_SUBSCRIBERS), got
            self.received(got.packet_id)
            self.send(wire.ack(PUBREL, got.packet_id))
        elif got.type == PUBCOMP:
            assert got.reason in (0, wire.ID_NOT_FOUND), got
            del self.open[got.packet_id]
            self.free.appendleft(got.packet_id)
            self.done += 1
        else:
            raise wire.Failed(f"to a sender: {got}")

    def wait(self, kind):
        got = self.wire.take(kind)
        return got.packet_id

    def finish(self, seconds=60):
        end = time.monotonic() + seconds
        while self.open:
            assert time.monotonic() < end, f"not acknowledged: {self.open}"
            got = self.poll(1)
            if got:
                self.react(got)
            elif self.wire.eof:
                self.connect()


class Receiver(End):
    """A durable QoS 2 subscriber that keeps packet identifiers until they are released."""

    def __init__(self, *args):
        super().__init__(*args)
        self.held, self.got = set(), []

    def subscribe(self):
        self.wire.subscribe(TOPIC, 2)

    def take_in(self, got):
        assert got.qos == 2, got
        if got.packet_id not in self.held:
            self.held.add(got.packet_id)
            self.got.append(got.payload)

    def release(self, packet_id):
        self.held.discard(packet_id)

    def react(self, got):
        if got.type == PUBLISH:
            self.take_in(got)
            self.send(wire.ack(PUBREC, got.packet_id))
        elif got.type == PUBREL:
            self.release(got.packet_id)
            self.send(wire.ack(PUBCOMP, got.packet_id))
        else:
            raise wire.Failed(f"to a receiver: {got}")

    def rest(self, seconds=0.4):
        """Until nothing has come for so long, and everything is released."""
        end = time.monotonic() + 60
        quiet = time.monotonic()
        while self.held or time.monotonic() < quiet + seconds:
            assert time.monotonic() < end, f"never released: {self.held}"
            got = self.poll(0.1)
            if got:
                self.react(got)
                quiet = time.monotonic()
            elif self.wire.eof:
                self.connect()


class Site:
    def __init__(self, lab, version=5):
        self.lab = lab
        lab.daemon.start()
        self.cloud = lab.cloud.collect()
        cam = lab.enrolled("cam-1")
        self.sender, self.receiver = Sender(cam, "sender", version), Receiver(cam, "receiver", version)
        self.sender.connect()
        self.receiver.connect()
        self.receiver.subscribe()
        self.sent = []

    def payload(self):
        self.sent.append(b"%d" % len(self.sent))
        return self.sent[-1]

    def reconnect(self):
        self.sender.connect()
        self.receiver.connect()

    def kill(self, victim):
        kill(self.lab, victim)
        self.reconnect()

    def opened(self):
        """Payloads at the cloud, repeats of a sequence dropped."""
        by_sequence = {}
        for m in Reader(self.lab.pki.recipient.read_bytes()).everything(self.cloud.messages()):
            if m.topic == TOPIC:
                assert by_sequence.setdefault(m.sequence, m.payload) == m.payload, f"{m.sequence} was used twice"
        return list(by_sequence.values())

    def judge(self):
        self.sender.finish()
        self.receiver.rest()
        wrong = {p: n for p, n in collections.Counter(self.receiver.got).items() if n != 1}
        assert not wrong, f"more than once at the subscriber: {wrong}"
        assert set(self.receiver.got) == set(self.sent), f"lost here: {set(self.sent) - set(self.receiver.got)}"
        wait_until(lambda: set(self.opened()) >= set(self.sent), 60,
                   lambda: f"at the cloud: {set(self.sent) - set(self.opened())}")
        time.sleep(0.5)
        wrong = {p: n for p, n in collections.Counter(self.opened()).items() if n != 1}
        assert not wrong, f"more than once at the cloud: {wrong}"


# -- from the device: the gateway dies when the device has … --


def publish_sent(site):
    site.sender.publish(site.payload())


def publish_sent_and_taken(site):
    """… and the gateway has it, and has not answered or the answer is lost."""
    site.sender.publish(site.payload())
    time.sleep(0.003)


def pubrec_lost(site):
    site.sender.publish(site.payload())
    site.sender.wait(PUBREC)


def pubrec_received(site):
    site.sender.publish(site.payload())
    site.sender.received(site.sender.wait(PUBREC))


def pubrel_sent(site):
    pubrec_received(site)
    site.sender.send(*(wire.ack(PUBREL, i) for i, p in site.sender.open.items() if p is None))


def pubcomp_lost(site):
    pubrel_sent(site)
    site.sender.wait(PUBCOMP)


# -- to the subscriber: the gateway dies when the subscriber has … --


def delivered(site):
    """A message, of which the subscriber knows nothing yet."""
    site.sender.publish(site.payload())
    site.sender.finish()


def message_lost(site):
    delivered(site)
    site.receiver.wire.take(PUBLISH)


def message_received(site):
    delivered(site)
    site.receiver.take_in(site.receiver.wire.take(PUBLISH))


def pubrec_sent(site):
    delivered(site)
    got = site.receiver.wire.take(PUBLISH)
    site.receiver.take_in(got)
    site.receiver.send(wire.ack(PUBREC, got.packet_id))
    return got.packet_id


def pubrel_lost(site):
    pubrec_sent(site)
    site.receiver.wire.take(PUBREL)


def pubrel_received(site):
    packet_id = pubrec_sent(site)
    site.receiver.wire.take(PUBREL)
    site.receiver.release(packet_id)
    return packet_id


def pubcomp_sent(site):
    site.receiver.send(wire.ack(PUBCOMP, pubrel_received(site)))


STEPS = (publish_sent, publish_sent_and_taken, pubrec_lost, pubrec_received, pubrel_sent, pubcomp_lost, delivered,
         message_lost, message_received, pubrec_sent, pubrel_lost, pubrel_received, pubcomp_sent)


@pytest.mark.parametrize("version, victim", [(5, "worker"), (5, "enforcer"), (5, "both"), (4, "both")])
def test_every_step(lab, version, victim):
    site = Site(lab, version)
    for step in STEPS:
        step(site)
        site.kill(victim)
        site.sender.finish()
        site.receiver.rest(0.1)
    site.judge()


def test_every_moment_after_a_publish(lab):
    """The two disks are written within a few milliseconds: all of them are tried."""
    site = Site(lab)
    for n in range(24):
        site.sender.publish(site.payload())
        time.sleep(n / 3000)
        site.kill("both")
    site.judge()


def test_every_moment_after_a_release(lab):
    site = Site(lab)
    for n in range(12):
        pubrel_sent(site)
        time.sleep(n / 4000)
        site.kill("both")
    site.judge()


@pytest.mark.parametrize("version", (4, 5))
def test_under_load(lab, version):
    """Both ends in full swing, kills at random moments, now with and now without the cloud."""
    site, rng = Site(lab, version), random.Random(version)
    ends = (site.sender, site.receiver)
    for n in range(10):
        die_at = time.monotonic() + rng.uniform(0.02, 0.5)
        if n == 4:
            lab.cut_uplink()
        if n == 7:
            lab.restore_uplink()
        while time.monotonic() < die_at:
            while site.sender.free and len(site.sender.open) < 30:
                site.sender.publish(site.payload())
            for end in ends:
                got = end.poll(0.001)
                if got:
                    end.react(got)
        site.kill(rng.choice(VICTIMS))
    site.judge()
    assert len(site.sent) > 200


def test_with_nowhere_to_send(lab):
    """Without a broker the receipt alone tells what was taken."""
    lab.daemon.configure(uplink={"brokers": [], "recipients": []})
    site = Site(lab)
    for step in STEPS:
        step(site)
        site.kill("both")
        site.sender.finish()
        site.receiver.rest(0.1)
    assert collections.Counter(site.receiver.got) == collections.Counter(site.sent)


def test_what_the_subscriber_missed_while_it_was_away(lab):
    site = Site(lab)
    site.receiver.wire.drop()
    for _ in range(50):
        while not site.sender.free:
            site.sender.react(site.sender.wire.next())
        site.sender.publish(site.payload())
    site.sender.finish()
    for n in range(6):
        kill(lab, "both")
        site.reconnect()
        for _ in range(8 * n):
            got = site.receiver.poll(0.2)
            if got:
                site.receiver.react(got)
    site.judge()


def test_two_connections_and_one_message(lab):
    """Taken over while its message is on the way to the disks: the second connection gets the answer, and nobody
    gets the message twice."""
    site = Site(lab)
    for _ in range(20):
        payload = site.payload()
        site.sender.publish(payload)
        site.sender.connect()
        site.sender.finish()
    site.judge()
