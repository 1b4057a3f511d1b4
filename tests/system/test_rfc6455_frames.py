# SPDX-License-Identifier: GPL-2.0-only
"""RFC 6455 §5 and §6: frames, one rule a test, against a session of MQTT that is open."""

import contextlib
import ssl

import pytest

import wire
import ws
from wire import PINGRESP, PUBACK, PUBLISH, statement
from ws import BINARY, CLOSE, CONTINUATION, PING, PONG, PROTOCOL, TEXT, TOO_BIG, UNSUPPORTED, fails, frame


@pytest.fixture
def peer(desk):
    return ws.client(desk)


@statement("§5.1-1")
@pytest.mark.parametrize("kind", [BINARY, PING, CLOSE])
def test_a_frame_that_is_not_masked_is_refused(peer, kind):
    fails(peer, PROTOCOL, frame(kind, b"", masked=False))


@statement("§5.1-2")
def test_the_servers_frames_are_not_masked(peer):
    peer.until_ping()  # ws.Stream looks at each frame
    assert peer.sock.kinds


@statement("§5.2-1")
@pytest.mark.parametrize("rsv", [1, 2, 4, 7])
@pytest.mark.parametrize("kind", [BINARY, PING])
def test_a_reserved_bit_is_refused(peer, rsv, kind):
    fails(peer, PROTOCOL, frame(kind, wire.pingreq() if kind == BINARY else b"", rsv=rsv))


@statement("§5.2-2")
@pytest.mark.parametrize("kind", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
def test_an_unknown_opcode_is_refused(peer, kind):
    fails(peer, PROTOCOL, frame(kind, b"x"))


@statement("§5.2-3")
@pytest.mark.parametrize("length, form", [(2, 16), (125, 16), (2, 64), (65535, 64)])
def test_a_length_longer_than_needed_is_refused(peer, length, form):
    fails(peer, PROTOCOL, frame(BINARY, b"\0" * length, form=form))


@statement("§5.2-4")
def test_a_length_of_64_bits_is_refused(peer):
    fails(peer, PROTOCOL, frame(BINARY, b"", length=1 << 63, form=64))


@statement("§5.2-5")
@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 70000])
def test_frames_of_every_size(desk, peer, size):
    head = wire.publish(desk.topic(), b"", 1, 1)
    overhead = len(wire.publish(desk.topic(), b"x" * 70000, 1, 1)) - 70000
    if size < overhead:  # the packet is cut, and its first piece has this size
        peer.sock.raw(frame(BINARY, head[:size]), frame(BINARY, head[size:]))
    else:
        body = wire.publish(desk.topic(), b"x" * (size - overhead), 1, 1)
        body += b"".join([wire.pingreq()] * ((size - len(body)) // 2))
        peer.sock.raw(frame(BINARY, body), frame(BINARY, b""))
    assert peer.take(PUBACK, packet_id=1).reason in (wire.SUCCESS, wire.NO_SUBSCRIBERS)


@statement("§5.2-6")
def test_the_servers_lengths_are_in_their_shortest_form(desk, peer):
    peer.subscribe(desk.topic())
    for size in (1, 60, 125, 126, 300, 65535, 65536, 90000):
        peer.send(wire.publish(desk.topic(), b"x" * size))  # ws.Stream looks at each frame
        assert len(peer.take(PUBLISH).payload) == size


@statement("§5.4-1")
@pytest.mark.parametrize("cuts", [1, 2, 50])
def test_fragments_make_one_message(desk, peer, cuts):
    whole = wire.publish(desk.topic(), b"x" * 1000, 1, 7)
    size = len(whole) // cuts + 1
    parts = [whole[n:n + size] for n in range(0, len(whole), size)]
    for n, part in enumerate(parts):
        peer.sock.raw(frame(CONTINUATION if n else BINARY, part, fin=n == len(parts) - 1))
    assert peer.take(PUBACK).packet_id == 7


@statement("§5.4-2")
def test_fragments_may_be_empty(peer):
    peer.sock.raw(frame(BINARY, b"", fin=False), frame(CONTINUATION, b"", fin=False),
                  frame(CONTINUATION, wire.pingreq(), fin=False), frame(CONTINUATION, b""))
    peer.expect(PINGRESP)


@statement("§5.4-3")
def test_control_frames_come_between_fragments(peer):
    ping = wire.pingreq()
    peer.sock.raw(frame(BINARY, ping[:1], fin=False), frame(PING, b"between"), frame(PONG, b"unasked"))
    got = peer.sock.next()
    assert (got.kind, got.body) == (PONG, b"between"), "answered before the message is complete"
    peer.sock.raw(frame(CONTINUATION, ping[1:]))
    peer.expect(PINGRESP)


@statement("§5.4-4")
def test_a_new_message_inside_another_is_refused(peer):
    fails(peer, PROTOCOL, frame(BINARY, b"\xc0", fin=False), frame(BINARY, b"\0"))


@statement("§5.4-5")
@pytest.mark.parametrize("fin", [True, False])
def test_a_continuation_of_nothing_is_refused(peer, fin):
    fails(peer, PROTOCOL, frame(CONTINUATION, wire.pingreq(), fin=fin))


@statement("§5.4-6")
def test_after_the_last_fragment_a_new_message_begins(peer):
    peer.sock.raw(frame(BINARY, wire.pingreq(), fin=False), frame(CONTINUATION, b""), frame(BINARY, wire.pingreq()))
    peer.expect(PINGRESP)
    peer.expect(PINGRESP)
    fails(peer, PROTOCOL, frame(CONTINUATION, wire.pingreq()))


@statement("§5.5-1")
@pytest.mark.parametrize("kind", [PING, PONG, CLOSE])
def test_a_long_control_frame_is_refused(peer, kind):
    fails(peer, PROTOCOL, frame(kind, b"\x03\xe8" + b"x" * 124))


@statement("§5.5-2")
@pytest.mark.parametrize("kind", [PING, PONG, CLOSE])
def test_a_fragmented_control_frame_is_refused(peer, kind):
    fails(peer, PROTOCOL, frame(kind, b"", fin=False))


@statement("§5.5.2-1")
@pytest.mark.parametrize("data", [b"", b"x", b"\0\xff" * 62, b"y" * 125])
def test_a_ping_is_answered_with_the_same_data(peer, data):
    peer.sock.raw(frame(PING, data))
    got = peer.sock.next()
    assert (got.kind, got.body) == (PONG, data)


@statement("§5.5.3-1")
def test_a_pong_that_nobody_asked_for_is_ignored(peer):
    peer.sock.raw(frame(PONG, b"hello"), frame(PONG))
    assert not peer.until_ping()


@statement("§5.5.3-2")
def test_pings_in_a_row_are_answered_in_order(peer):
    peer.sock.raw(*[frame(PING, bytes([n])) for n in range(20)])
    assert [peer.sock.next().body for _ in range(20)] == [bytes([n]) for n in range(20)]


@statement("§5.6-1")
@pytest.mark.parametrize("data", [b"", b"hello", b"\xff\xfe"])
def test_a_text_message_is_refused(peer, data):
    fails(peer, UNSUPPORTED, frame(TEXT, data))


@statement("§6.1-1")
def test_what_the_server_says_is_binary(desk, peer):
    peer.subscribe(desk.topic())
    for n in range(20):
        peer.send(wire.publish(desk.topic(), b"x" * 5000 * n))
    for _ in range(20):
        peer.take(PUBLISH)
    assert set(peer.sock.kinds) == {BINARY}


@statement("§6.2-1")
def test_a_frame_may_be_cut_anywhere_on_its_way(desk, peer):
    for byte in frame(BINARY, wire.publish(desk.topic(), b"x" * 200, 1, 1)) + frame(PING, b"slow"):
        peer.sock.raw(bytes([byte]))
    assert peer.expect(PUBACK).packet_id == 1
    while PONG not in peer.sock.kinds:  # it may have come before
        peer.sock.next()


@statement("§10.4-1")
@pytest.mark.parametrize("cuts", [1, 40])
def test_more_than_the_limit_is_refused(desk, peer, cuts):
    head = bytes([0x30]) + wire.varint(200_000_000) + wire.text(desk.topic()) + b"\0"
    size = 1 << 22
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        peer.sock.raw(frame(BINARY, head, fin=cuts == 1, length=size if cuts == 1 else None))
        for _ in range(cuts):
            peer.sock.raw(frame(CONTINUATION, bytes(size // cuts), fin=False) if cuts > 1 else bytes(size))
    last = peer.sock.ended()
    assert last[-1].code == TOO_BIG, last
