# SPDX-License-Identifier: GPL-2.0-only
"""RFC 6455 §5.5.1 and §7: how a connection ends."""

import pytest

import wire
import ws
from wire import statement
from ws import BAD_DATA, BINARY, CLOSE, PING, PROTOCOL, TEXT, fails, frame


@pytest.fixture
def peer(desk):
    return ws.client(desk)


@statement("§5.5.1-1")
def test_half_a_code_is_refused(peer):
    fails(peer, PROTOCOL, frame(CLOSE, b"\x03"))


@statement("§5.5.1-2")
def test_a_close_without_code_is_answered(peer):
    peer.sock.raw(frame(CLOSE))
    last = peer.sock.ended()
    assert [f.kind for f in last] == [CLOSE] and last[0].body == b""


@statement("§5.5.1-3")
@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999])
def test_a_close_is_answered_with_its_code(peer, code):
    peer.sock.raw(frame(CLOSE, code.to_bytes(2, "big") + "adiós".encode()))
    last = peer.sock.ended()
    assert [(f.kind, f.code) for f in last] == [(CLOSE, code)]


@statement("§5.5.1-4")
def test_what_follows_a_close_is_not_read(desk, peer):
    other = desk.client(device=desk.two)
    other.subscribe(desk.topic())
    peer.sock.raw(frame(CLOSE, b"\x03\xe8"), frame(BINARY, wire.publish(desk.topic(), b"too late")), frame(PING, b"?"))
    assert [f.kind for f in peer.sock.ended()] == [CLOSE]
    assert not other.until_ping()


@statement("§5.5.1-5")
def test_after_its_close_the_server_says_nothing(desk, peer):
    peer.subscribe(desk.topic(), 1)
    other = desk.client(device=desk.two)
    peer.sock.raw(frame(TEXT, b"x"))
    other.publish(desk.topic(), b"after", 1)
    assert peer.sock.ended()[-1].kind == CLOSE


@statement("§5.5.1-6")
@pytest.mark.parametrize("reason", [b"\xff", b"\xc3", b"ok\xed\xa0\x80"])
def test_a_reason_that_is_not_utf_8_is_refused(peer, reason):
    fails(peer, (PROTOCOL, BAD_DATA), frame(CLOSE, b"\x03\xe8" + reason))


@statement("§7.1.1-1")
def test_the_server_ends_tls_and_tcp_after_both_closes(peer):
    peer.sock.raw(frame(CLOSE, b"\x03\xe8"))
    assert peer.sock.next().kind == CLOSE
    assert peer.sock.sock.recv(1) == b""  # close_notify: a bare end would raise


@statement("§7.1.1-2")
def test_a_peer_that_does_not_answer_a_close_is_left(peer):
    peer.send(wire.disconnect())
    last = peer.sock.ended()  # nothing is answered
    assert [f.kind for f in last] == [CLOSE] and last[0].code == 1000


@statement("§7.1.5-1")
def test_the_first_close_counts(peer):
    peer.sock.raw(frame(CLOSE, b"\x0f\xa0"), frame(CLOSE, b"\x03\xe8"))
    assert [f.code for f in peer.sock.ended()] == [4000]


@statement("§7.1.7-1")
def test_after_a_fault_nothing_is_read(desk, peer):
    other = desk.client(device=desk.two)
    other.subscribe(desk.topic())
    fails(peer, PROTOCOL, frame(BINARY, b"", rsv=4), frame(BINARY, wire.publish(desk.topic(), b"too late")))
    assert not other.until_ping()


@statement("§7.4.1-1")
def test_an_end_in_order_is_1000(peer):
    peer.send(wire.disconnect())
    assert peer.sock.ended()[-1].code == 1000


@statement("§7.4.1-2")
def test_a_malformed_packet_is_1002_after_mqtts_own_word(peer):
    peer.send(b"\xc1\x00")
    *said, last = peer.sock.ended()
    assert last.code == PROTOCOL
    assert b"".join(f.body for f in said)[:1] == bytes([wire.DISCONNECT << 4])


@statement("§7.4.1-3")
@pytest.mark.parametrize("code", [1005, 1006, 1015])
def test_codes_that_are_never_sent_are_refused(peer, code):
    fails(peer, PROTOCOL, frame(CLOSE, code.to_bytes(2, "big")))


@statement("§7.4.2-1")
@pytest.mark.parametrize("code", [0, 1, 999, 1004, 1016, 1100, 2999, 5000, 65535])
def test_codes_that_nobody_defined_are_refused(peer, code):
    fails(peer, PROTOCOL, frame(CLOSE, code.to_bytes(2, "big")))


def in_parts(data, each):
    return [data[n:n + 1] for n in range(len(data))] if each else [data]


@statement("§5.5.1-7")
@pytest.mark.parametrize("each", [False, True])
@pytest.mark.parametrize("reason, code", [("bye", 1000), ("Grüße", 1000), ("\u20ac\U0001f600" * 17, 1000),
                                          (b"\xff\xfe", BAD_DATA), (b"\xed\xa0\x80", BAD_DATA), (b"ok\x80", BAD_DATA)])
def test_a_reason_is_judged_however_it_is_cut(peer, reason, code, each):
    for part in in_parts(frame(CLOSE, b"\x03\xe8" + wire.raw(reason)), each):
        peer.sock.raw(part)
    assert [(f.kind, f.code) for f in peer.sock.ended()] == [(CLOSE, code)]


@statement("§10.7-2")
def test_what_came_before_a_fault_counts(desk, peer):
    other = desk.client(device=desk.two)
    other.subscribe(desk.topic())
    fails(peer, PROTOCOL, frame(BINARY, wire.publish(desk.topic(), b"before")), frame(BINARY, b"", rsv=1))
    assert other.receive().payload == b"before"


@statement("§7.2.1-2")
@pytest.mark.parametrize("how", [1000, 1001, "reset"])
def test_an_end_without_mqtts_disconnect_publishes_the_will(desk, how):
    other = desk.client(device=desk.two)
    other.subscribe(desk.topic("will"), 1)
    gone = ws.client(desk, "will", will=wire.Will(desk.topic("will"), b"gone", 1))
    if how == "reset":
        gone.sock.sock.close()
    else:
        gone.sock.raw(frame(CLOSE, how.to_bytes(2, "big")))
    assert other.receive().payload == b"gone"


@statement("§7.2.1-2")
def test_a_session_outlives_its_websocket(desk):
    stays = {"clean": False, "properties": {"session_expiry": 60}}
    first = ws.client(desk, "kept", **stays)
    first.subscribe(desk.topic(), 2)
    first.sock.raw(frame(CLOSE, b"\x03\xe8"))
    first.sock.ended()
    other = desk.client(device=desk.two)
    for qos in (1, 2):
        other.publish(desk.topic(), b"%d" % qos, qos)
    again = ws.client(desk, "kept", **stays)
    assert again.connack.session_present
    assert [again.receive().payload for _ in range(2)] == [b"1", b"2"]


@statement("§7.4.1-4")
def test_who_is_taken_over_is_told_why(desk):
    first = ws.client(desk, "same")
    ws.client(desk, "same")
    assert [p.reason for p in first.ended()] == [wire.TAKEN_OVER]
    assert first.sock.close_code == 1001
