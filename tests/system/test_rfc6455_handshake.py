# SPDX-License-Identifier: GPL-2.0-only
"""RFC 6455 §4 and §9: the opening handshake, from the server's side."""

import base64
import contextlib
import hashlib
import os
import socket
import ssl

import pytest

import wire
import ws
from lab import GATEWAY4
from wire import statement


def opened(desk, **changes):
    """The answer to a handshake that succeeds; an MQTT session can begin behind it."""
    sock, answer = ws.ask(desk.one, **changes)
    assert answer.status == 101, answer.fields
    sock.sendall(ws.frame(ws.BINARY, wire.connect()))
    assert sock.recv(1)[0] == 0x80 | ws.BINARY
    sock.close()
    return answer


def refusal(desk, request="GET /mqtt HTTP/1.1", **changes):
    sock, answer = ws.ask(desk.one, request, **changes)
    sock.close()
    assert answer.status >= 400, answer.fields
    return answer


@statement("§4.2.1-1")
@pytest.mark.parametrize("request_line, status", [
    ("POST /mqtt HTTP/1.1", 405), ("HEAD /mqtt HTTP/1.1", 426), ("GET /mqtt HTTP/1.0", 426),
])
def test_only_a_get_of_http_1_1_opens(desk, request_line, status):
    assert refusal(desk, request_line).status == status


@statement("§4.2.1-2")
def test_a_request_without_host_is_refused(desk):
    assert refusal(desk, Host=None).status == 400


@statement("§4.2.1-3")
def test_upgrade_names_websocket_in_any_case(desk):
    for value in ("websocket", "WebSocket", "h2c, WEBSOCKET"):
        opened(desk, Upgrade=value)
    for value in (None, "web socket", "websockets", "h2c"):
        assert refusal(desk, Upgrade=value).status == 426


@statement("§4.2.1-4")
def test_connection_names_upgrade_in_any_case(desk):
    for value in ("upgrade", "keep-alive, Upgrade", "UPGRADE,keep-alive"):
        opened(desk, Connection=value)
    for value in (None, "keep-alive", "upgraded"):
        assert refusal(desk, Connection=value).status == 426


@statement("§4.2.1-5")
@pytest.mark.parametrize("key", [None, "", "dGhlIHNhbXBsZQ==", "dGhlIHNhbXBsZSBub25jZSE=", "dGhlIHNhbXBsZSBub25jZQ",
                                 "????IHNhbXBsZSBub25jZQ=="])
def test_the_key_is_16_bytes_in_base64(desk, key):
    assert refusal(desk, Sec_WebSocket_Key=key).status == 400


@statement("§4.2.1-6")
@pytest.mark.parametrize("version", [None, "", "8", "14", "013", "13.0", "13, 8"])
def test_the_version_is_13(desk, version):
    answer = refusal(desk, Sec_WebSocket_Version=version)
    assert answer.status == 426 and answer.get("Sec-WebSocket-Version") == "13"


@statement("§4.2.1-7")
def test_origin_and_unknown_fields_are_no_obstacle(desk):
    opened(desk, Origin="https://somewhere.example", Cookie="a=b", X_Something="else")


@statement("§4.2.2-1")
def test_without_tls_there_is_no_answer(desk):
    with wire.inside(desk.one):
        plain = socket.create_connection((GATEWAY4, 8443), wire.PATIENCE)
    plain.sendall(b"GET /mqtt HTTP/1.1\r\nHost: x\r\n\r\n")
    with contextlib.suppress(ConnectionError):
        got = plain.recv(4096)
        assert not got.startswith(b"HTTP"), got
    plain.close()


@statement("§4.2.2-3")
def test_a_client_of_another_version_can_try_again(desk):
    sock, answer = ws.ask(desk.one, Sec_WebSocket_Version="8")
    assert answer.status == 426 and answer.get("Sec-WebSocket-Version") == "13"
    sock.recv(int(answer.get("Content-Length")))
    sock, answer = ws.ask(desk.one, sock=sock)  # on the same connection
    assert answer.status == 101
    sock.close()


@statement("§4.2.2-4")
def test_a_resource_that_is_not_there_is_refused(desk):
    for path in ("/", "/mqtt/", "/MQTT", "/chat"):
        assert refusal(desk, f"GET {path} HTTP/1.1").status == 404


@statement("§4.2.2-5")
def test_the_answer_proves_that_the_key_was_read(desk):
    answer = opened(desk)
    assert answer.version == "HTTP/1.1" and answer.status == 101
    assert answer.get("Upgrade").lower() == "websocket" and answer.get("Connection").lower() == "upgrade"
    assert answer.get("Sec-WebSocket-Accept") == ws.ACCEPT
    key = base64.b64encode(os.urandom(16)).decode()
    digest = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
    assert opened(desk, Sec_WebSocket_Key=key).get("Sec-WebSocket-Accept") == base64.b64encode(digest).decode()


@statement("§4.2.2-6")
def test_the_subprotocol_chosen_was_offered(desk):
    assert opened(desk, Sec_WebSocket_Protocol="chat, mqtt").get("Sec-WebSocket-Protocol") == "mqtt"
    assert refusal(desk, Sec_WebSocket_Protocol="mqttv3.1, MQTT").status == 400


@statement("§4.3-1")
def test_a_list_may_be_written_in_several_lines(desk):
    opened(desk, Sec_WebSocket_Protocol=["chat", "mqtt"])


@statement("§4.4-1")
def test_a_refused_version_hears_those_that_are_spoken(desk):
    assert refusal(desk, Sec_WebSocket_Version="0").get("Sec-WebSocket-Version") == "13"


@statement("§9.1-1")
def test_no_extension_is_taken(desk):
    for offer in ("permessage-deflate; client_max_window_bits", "x-webkit-deflate-frame"):
        assert opened(desk, Sec_WebSocket_Extensions=offer).get("Sec-WebSocket-Extensions") is None
    assert opened(desk).get("Sec-WebSocket-Extensions") is None


@statement("§10.5-1")
def test_who_has_no_certificate_is_refused(desk):
    context = ssl.create_default_context(cafile=str(desk.one.ca))
    context.check_hostname = False
    with wire.inside(desk.one):
        plain = socket.create_connection((GATEWAY4, 8443), wire.PATIENCE)
    sock, answer = ws.ask(desk.one, sock=context.wrap_socket(plain))
    assert answer.status == 403
    sock.close()


@statement("§10.7-1")
def test_a_handshake_without_end_is_refused(desk):
    assert refusal(desk, X_Long="x" * 100_000).status in (400, 413, 414, 431)


@statement("§4.3-2")
def test_upgrade_and_connection_may_be_written_in_several_lines(desk):
    opened(desk, Upgrade=["h2c", "websocket"], Connection=["keep-alive", "Upgrade"])


@statement("§4.3-3")
def test_names_of_a_list_are_parted_by_commas_only(desk):
    opened(desk, Sec_WebSocket_Protocol="chat\t,\tmqtt ,x", Connection="keep-alive ,\tUpgrade ", Upgrade=" websocket ")
    assert refusal(desk, Upgrade="h2c websocket").status == 426
    assert refusal(desk, Connection="keep-alive Upgrade").status == 426
    assert refusal(desk, Sec_WebSocket_Protocol="chat mqtt").status == 400


@statement("§11.3.1-1")
def test_a_second_key_is_refused(desk):
    assert refusal(desk, Sec_WebSocket_Key=[ws.KEY, "AAAAAAAAAAAAAAAAAAAAAA=="]).status == 400
    opened(desk, Sec_WebSocket_Key=f"  {ws.KEY}  ")


@statement("§11.3.5-1")
def test_a_second_version_is_refused(desk):
    assert refusal(desk, Sec_WebSocket_Version=["13", "13"]).status == 426


@statement("§11.3.4-1")
@pytest.mark.parametrize("length", range(1014, 1026))
def test_a_subprotocol_that_is_too_far_out_is_not_half_read(desk, length):
    assert refusal(desk, Sec_WebSocket_Protocol="x" * length + ",mqttv3.1").status == 400


@statement("§9.1-2")
@pytest.mark.parametrize("offered", ["; a", "nonsense;;;", "a; =b", "a; b=", 'a; b="c', 'a; b="c d"', "a b", "a/b"])
def test_extensions_outside_their_grammar_are_refused(desk, offered):
    assert refusal(desk, Sec_WebSocket_Extensions=offered).status == 400


@statement("§9.1-3")
@pytest.mark.parametrize("offered", ["permessage-deflate; client_max_window_bits", 'a; b=c; d="e", x-f', ["a", "b"]])
def test_extensions_in_their_grammar_are_ignored(desk, offered):
    assert opened(desk, Sec_WebSocket_Extensions=offered).get("Sec-WebSocket-Extensions") is None
