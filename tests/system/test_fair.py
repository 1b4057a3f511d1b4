# SPDX-License-Identifier: GPL-2.0-only
"""Whoever floods, does not read, or never finishes: the other devices are served meanwhile. Nothing is
measured against a clock: what the others do has to end while the trouble goes on."""

import contextlib
import socket
import threading
import time

import pytest

import lab as site
import wire
from conftest import finish
from lab import GATEWAY4, wait_until

ROUNDS = 20
OUTPUT_MAX = 4 << 20   # bytes that the gateway queues to one client that does not read
SLACK = 24 << 20       # of memory: allocator, what the kernel's sockets have given up
QUEUED = 1 << 20       # limits.queued_bytes


@pytest.fixture(scope="module")
def place():
    lab = site.Lab(uplink=False)
    try:
        lab.daemon.configure(limits={"connections": 400}, quarantine={"auto": False})
        lab.daemon.start()
        lab.good, lab.bad = lab.enrolled("good-1"), lab.enrolled("bad-1")
        yield lab
    finally:
        finish(lab)


class Trouble(threading.Thread):
    """Does `once` again and again until the end of the block; must be at it all the time."""

    def __init__(self, once):
        super().__init__(daemon=True)
        self.once, self.count, self.over, self.error = once, 0, False, None

    def run(self):
        try:
            while not self.over:
                self.once()
                self.count += 1
        except Exception as error:  # pylint: disable=broad-except
            self.error = error

    def __enter__(self):
        self.start()
        wait_until(lambda: self.count > 2 or self.error, what="the trouble to begin")
        return self

    def __exit__(self, *_):
        self.over = True
        self.join(60)

    def goes_on(self):
        """It is not over, and it did more since it was asked last."""
        before = self.count
        wait_until(lambda: self.count > before or self.error, 60, "more of the trouble")
        assert self.error is None, self.error


def rounds(device, trouble):
    """Round trips of a device that does nothing wrong, each with the trouble going on."""
    sender, reader = wire.Client(device).connect("sender"), wire.Client(device).connect("reader")
    topic = f"d/{device.id}/round"
    reader.subscribe(topic, 1)
    trouble.goes_on()
    for n in range(ROUNDS):
        sender.publish(topic, str(n), 1)
        assert reader.receive(topic).payload == str(n).encode()
    trouble.goes_on()
    sender.leave()
    reader.leave()


def resident(place):
    with open(f"/proc/{place.daemon.worker}/statm", encoding="ascii") as f:
        return int(f.read().split()[1]) * 4096


def sanitized(place):
    """AddressSanitizer keeps what was freed, so that resident memory says nothing."""
    with open(f"/proc/{place.daemon.worker}/maps", encoding="ascii") as f:
        return "libasan" in f.read()


@pytest.mark.parametrize("qos", [0, 1])
def test_a_flood_of_publishes(place, qos):
    flooder = wire.Client(place.bad).connect("flooder")

    def once():
        flooder.send(*[wire.publish("d/bad-1/flood", b"x" * 200, qos, n + 1 if qos else None) for n in range(200)])
        while qos:  # an honest client's window, always full
            if flooder.take(wire.PUBACK).packet_id == 200:
                break

    with Trouble(once) as trouble:
        rounds(place.good, trouble)
    flooder.close()


def test_a_subscriber_that_never_reads(place):
    """It gets what its queue holds and no more: neither the publisher nor others nor memory suffer."""
    worker, before = place.daemon.worker, resident(place)
    deaf = wire.Client(place.bad).connect("deaf")
    deaf.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    deaf.subscribe("d/bad-1/much/#", 0)
    talker = wire.Client(place.bad).connect("talker")
    payload = b"x" * 100000

    def once():
        talker.publish("d/bad-1/much/0", payload)

    with Trouble(once) as trouble:
        rounds(place.good, trouble)
        wait_until(lambda: trouble.count > 150 or trouble.error, 120, "15 MB of it")
        assert 0 < place.daemon.json("status")["broker"]["queued_bytes"] <= 2 * QUEUED, "its own, and those in flight"
        assert sanitized(place) or resident(place) - before < OUTPUT_MAX + QUEUED + SLACK
        rounds(place.good, trouble)
    assert place.daemon.worker == worker
    talker.close()
    deaf.close()


def test_a_slow_subscriber_is_not_waited_for(place):
    """One of two subscribers reads nothing; the other gets all of it meanwhile, at QoS 1."""
    slow = wire.Client(place.bad).connect("slow")
    quick = wire.Client(place.bad).connect("quick")
    for client in (slow, quick):
        client.subscribe("d/bad-1/news", 1)
    talker = wire.Client(place.bad).connect("talker-1")
    for n in range(300):
        talker.publish("d/bad-1/news", b"%d " % n + b"x" * 10000, 1)
        assert quick.receive("d/bad-1/news").payload.startswith(b"%d " % n)
    got = [p for p in slow.until_ping() if p.type == wire.PUBLISH]
    assert got[0].payload.startswith(b"0 "), "and the slow one finds its own in order"
    for client in (slow, quick, talker):
        client.close()


def test_a_slow_subscriber_keeps_its_connection(place):
    """It reads, though more comes than it can, and pings in time: silence is no reason to end it."""
    slow = wire.Client(place.bad).connect("slow", keep_alive=1)
    slow.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.subscribe("d/bad-1/flow", 0)
    talker = wire.Client(place.bad).connect("talker-2")

    with Trouble(lambda: talker.publish("d/bad-1/flow", b"x" * 20000)) as trouble:
        for _ in range(20):
            trouble.goes_on()
            slow.send(wire.pingreq())
            time.sleep(0.4)
            assert slow.sock.recv(8192), "the server ended it"
    talker.close()
    slow.close()


def test_a_storm_of_full_handshakes(place):
    def once():
        wire.tls_to(place.bad).close()

    storms = [Trouble(once) for _ in range(4)]
    with contextlib.ExitStack() as stack:
        for storm in storms:
            stack.enter_context(storm)
        rounds(place.good, storms[0])
        for storm in storms:
            storm.goes_on()


def test_a_storm_of_connections_that_never_speak(place):
    held = []

    def once():
        with wire.inside(place.bad):
            held.append(socket.create_connection((GATEWAY4, 8883), 30))
        if len(held) > 600:
            held.pop(0).close()

    with Trouble(once) as trouble:
        wait_until(lambda: trouble.count > 500 or trouble.error, 60, "500 of them")
        rounds(place.good, trouble)
        place.good.fetch_ca()
    for sock in held:
        sock.close()


def test_a_handshake_that_stops_half_way(place):
    """Half a ClientHello, many times; and connections that are let in and never say CONNECT."""
    held = []

    def once():
        with wire.inside(place.bad):
            sock = socket.create_connection((GATEWAY4, 8883), 30)
        held.append(sock)
        with contextlib.suppress(OSError):  # it may well be turned away at the door
            sock.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
            held.append(wire.tls_to(place.bad))
        while len(held) > 300:
            held.pop(0).close()

    with Trouble(once) as trouble:
        wait_until(lambda: trouble.count > 150 or trouble.error, 120, "300 of them")
        rounds(place.good, trouble)
    for sock in held:
        sock.close()
