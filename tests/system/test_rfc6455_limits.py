# SPDX-License-Identifier: GPL-2.0-only
"""RFC 6455 §10.4: what a client may not make grow, and that nobody else feels it."""

import pytest

import wire
import ws
from wire import PINGRESP, PUBACK, PUBLISH, statement
from ws import BINARY, CONTINUATION, PING, PONG, TOO_BIG, fails, frame


@pytest.fixture
def peer(desk):
    return ws.client(desk)


def still_served(desk):
    sub = desk.client(device=desk.two)
    sub.subscribe(desk.topic("fair"), 1)
    desk.client().publish(desk.topic("fair"), b"x", 1)
    assert sub.receive().payload == b"x"


@statement("§10.4-2")
@pytest.mark.parametrize("size", [1 << 31, 1 << 40, (1 << 63) - 1])
def test_a_frame_that_will_never_end_is_too_big(peer, size):
    fails(peer, TOO_BIG, frame(BINARY, wire.pingreq(), length=size, form=64))


@statement("§10.4-2")
def test_a_message_in_fragments_without_end_needs_no_memory(peer):
    peer.sock.raw(frame(BINARY, b"", fin=False))
    for _ in range(100):
        peer.sock.raw(frame(CONTINUATION, wire.pingreq() * 500, fin=False))
        assert [peer.next().type for _ in range(500)] == [PINGRESP] * 500


@statement("§10.4-3")
def test_pings_of_a_client_that_never_reads_harm_nobody(desk, peer):
    burst = frame(PING, bytes(125)) * 100
    peer.sock.settimeout(3)
    with pytest.raises(OSError):  # it reads no more, or it has ended the connection
        for _ in range(4000):
            peer.sock.raw(burst)
    still_served(desk)


@statement("§10.4-3")
def test_a_subscriber_that_never_reads_harms_nobody(desk, peer):
    peer.subscribe(desk.topic("much"), 0)
    other = desk.client(device=desk.two)
    for _ in range(60):
        other.publish(desk.topic("much"), bytes(100_000))
    still_served(desk)


@statement("§5.5.2-2")
def test_a_burst_of_pings_is_answered_in_order(peer):
    peer.sock.raw(*(frame(PING, b"%d" % n) for n in range(2000)))
    for n in range(2000):
        got = peer.sock.next()
        assert (got.kind, got.body) == (PONG, b"%d" % n)


def a_byte_a_frame(data):
    return [b"".join(frame(BINARY, data[n:n + 1]) for n in range(len(data)))]


def a_byte_a_record(data):
    every = frame(BINARY, data)
    return [every[n:n + 1] for n in range(len(every))]


def torn(data):
    """Frames of five bytes in records of seven."""
    every = b"".join(frame(BINARY, data[n:n + 5]) for n in range(0, len(data), 5))
    return [every[n:n + 7] for n in range(0, len(every), 7)]


def with_pongs(data):
    """A fragment a byte, and something of no matter behind each."""
    last = len(data) - 1
    return [b"".join(frame(CONTINUATION if n else BINARY, data[n:n + 1], n == last) + frame(PONG, bytes(n % 126))
                     for n in range(len(data)))]


@statement("§6.2-2")
@pytest.mark.parametrize("cut", [a_byte_a_frame, a_byte_a_record, torn, with_pongs])
def test_packets_of_every_qos_come_however_they_are_cut(desk, peer, cut):
    peer.sock.sendall = lambda data: [peer.sock.raw(part) for part in cut(data)]
    peer.subscribe(desk.topic(), 2)
    for qos in (0, 1, 2):
        peer.publish(desk.topic(), b"%d" % qos * 40, qos)
        one, two = (wire.publish(desk.topic("other"), b"x", 1, n) for n in (90, 91))
        peer.send(one + wire.pingreq() + two)
        assert peer.take(PUBACK, packet_id=90) and peer.take(PINGRESP) and peer.take(PUBACK, packet_id=91)
    assert [peer.take(PUBLISH).payload for _ in range(3)] == [b"%d" % q * 40 for q in (0, 1, 2)]
