# SPDX-License-Identifier: GPL-2.0-only
"""A certificate that is revoked: every live connection ends at once with its protocol's own word, whatever
the transport; nothing is resumed, and no new handshake comes through."""

import contextlib
import socket
import ssl
import types

import pytest

import wire
from lab import GATEWAY4
from ws import Stream
from test_resume import VERSIONS, Visitor
from wire import CONNACK, NOT_AUTHORIZED

AT_ONCE = 5  # seconds; with the sanitizers and a busy machine
POLICY_VIOLATION = 1008  # RFC 6455 §7.4.1
REQUEST = f"GET /.well-known/est/cacerts HTTP/1.1\r\nHost: {GATEWAY4}:8443\r\n\r\n".encode()

_numbers = iter(range(1000))


def by_command(house, device):
    house.daemon.cordon("revoke", device)


def by_api(house, device):
    house.daemon.api("POST", f"/api/v1/devices/{device}/revoke", {})


@pytest.fixture
def cam(house):
    return house.enrolled(f"cam-{next(_numbers)}")


@pytest.fixture(params=[by_command, by_api], ids=lambda how: how.__name__)
def revoke(request, house):
    return lambda device: request.param(house, device.id)


@pytest.fixture(scope="module")
def elsewhere(house):
    """Another machine, which nobody cut off: what the gateway says to a stolen key is heard there."""
    return house.device("elsewhere")


def carried_off(device, elsewhere):
    """The device's certificate and key, used from there."""
    return types.SimpleNamespace(id=device.id, ca=device.ca, cert=device.cert, key=device.key,
                                 holder=elsewhere.holder)


def refused(ask):
    """An alert, or the end, and no answer before it."""
    try:
        said = ask()
    except TimeoutError:
        raise
    except (ConnectionError, ssl.SSLError):
        return
    assert not said, said


def shut_out(thief, port, alpn=None):
    def ask():
        sock = wire.tls_to(thief, port=port, alpn=alpn)
        sock.settimeout(wire.PATIENCE)
        sock.sendall(REQUEST if port == 8443 else wire.connect("again"))
        return sock.recv(65536)
    refused(ask)


def answer(sock):
    """One HTTP answer with a body of known length; b"" when the connection ended."""
    data = b""
    with contextlib.suppress(ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
        while b"\r\n\r\n" not in data:
            part = sock.recv(65536)
            if not part:
                return data
            data += part
        head, _, body = data.partition(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length:")[2].split()[0])
        while len(body) < size:
            body += sock.recv(65536)
    return data


@pytest.mark.parametrize("version", (4, 5))
def test_live_over_tls(cam, elsewhere, revoke, version):
    client = wire.Client(cam, version).connect("live")
    revoke(cam)
    client.closed_for(NOT_AUTHORIZED, seconds=AT_ONCE)
    shut_out(carried_off(cam, elsewhere), 8883)


def test_every_connection_of_it_and_nobody_elses(house, cam, revoke):
    other = house.enrolled(f"{cam.id}-other")
    bystander = wire.Client(other).connect("bystander")
    clients = [wire.Client(cam).connect(f"live-{n}") for n in range(3)]
    revoke(cam)
    for client in clients:
        client.closed_for(NOT_AUTHORIZED, seconds=AT_ONCE)
    bystander.publish(f"d/{other.id}/x", b"still here", 1)
    bystander.leave()


@pytest.mark.parametrize("version", (4, 5))
def test_live_over_websocket(cam, elsewhere, revoke, version):
    stream = Stream(cam)
    client = wire.Client(cam, version, stream).connect("live")
    revoke(cam)
    client.closed_for(NOT_AUTHORIZED, seconds=AT_ONCE)
    assert stream.close_code == POLICY_VIOLATION
    shut_out(carried_off(cam, elsewhere), 8443, ["http/1.1"])


@pytest.mark.parametrize("opened", (wire.Client, lambda cam: wire.Client(cam, 5, Stream(cam))),
                         ids=("tls", "websocket"))
def test_between_the_handshake_and_connect(cam, revoke, opened):
    """It came in as somebody who may, and says CONNECT as one who may no more."""
    client = opened(cam)
    revoke(cam)
    with contextlib.suppress(OSError):
        client.send(wire.connect("late"))
    last = client.ended(AT_ONCE)
    assert not last or (last[0].type, last[0].reason) == (CONNACK, NOT_AUTHORIZED), last


def test_live_over_https(cam, elsewhere, revoke):
    sock = wire.tls_to(cam, port=8443, alpn=["http/1.1"])
    sock.sendall(REQUEST)
    assert answer(sock).startswith(b"HTTP/1.1 200"), "a certificate of ours, and kept open"
    revoke(cam)
    sock.settimeout(AT_ONCE)
    assert sock.recv(1) == b"", "an end in order, without another request"
    shut_out(carried_off(cam, elsewhere), 8443, ["http/1.1"])


def test_in_the_middle_of_a_request(cam, revoke):
    """Its request for a new certificate is under way when it is revoked: it gets none."""
    sock = wire.tls_to(cam, port=8443, alpn=["http/1.1"])
    body = cam.request().encode()
    sock.sendall(b"POST /.well-known/est/simplereenroll HTTP/1.1\r\nHost: x\r\nContent-Type: application/pkcs10\r\n"
                 b"Content-Length: %d\r\n\r\n" % len(body) + body[:100])
    revoke(cam)
    sock.settimeout(AT_ONCE)
    with contextlib.suppress(OSError):
        sock.sendall(body[100:])
    with contextlib.suppress(ConnectionError, ssl.SSLEOFError):
        assert b" 200 " not in answer(sock)[:20]


@pytest.mark.parametrize("version", VERSIONS, ids=lambda v: v.name)
@pytest.mark.parametrize("port", (8883, 8443))
def test_a_ticket_is_worth_nothing(cam, elsewhere, revoke, version, port):
    """Neither is the ticket of the other port."""
    visitor = Visitor(cam, version)

    def exchange():
        client = visitor.visit(8883)
        client.connect("c")
        visitor.keep(client)
        return client

    exchange().close()
    again = exchange()
    assert again.sock.session_reused, "else this test shows nothing"
    again.close()
    revoke(cam)
    visitor.device = carried_off(cam, elsewhere)

    def ask():
        client = visitor.visit(port)
        client.sock.sendall(REQUEST if port == 8443 else wire.connect("c"))
        return client.sock.recv(65536)
    refused(ask)


def test_an_unfinished_handshake_comes_to_nothing(cam, revoke):
    """The client's last flight is held back until its certificate is revoked."""
    context = ssl.create_default_context(cafile=str(cam.ca))
    context.check_hostname = False
    context.load_cert_chain(str(cam.cert), str(cam.key))
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(into, out)
    with wire.inside(cam):
        plain = socket.create_connection((GATEWAY4, 8883), wire.PATIENCE)
    flights = 0
    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            plain.sendall(out.read())
            flights += 1
            into.write(plain.recv(65536))
    assert flights
    revoke(cam)
    tls.write(wire.connect("late"))
    plain.settimeout(AT_ONCE)
    said = b""
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        plain.sendall(out.read())
        while part := plain.recv(65536):
            into.write(part)
            with contextlib.suppress(ssl.SSLWantReadError):
                said += tls.read(65536)
    assert not said or (said[0] >> 4, said[3]) == (CONNACK, NOT_AUTHORIZED), said.hex()
