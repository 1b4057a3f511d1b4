# SPDX-License-Identifier: GPL-2.0-only
"""The admin port's HTTP against those who do not play by its rules, and while the worker dies."""

import json
import re

import pytest

from lab import CORDON, GATEWAY4, PYTHON, wait_until

# Sends one request as it is (hex on stdin) and prints all that comes back, until the end or silence.
TALK = r"""
import socket, ssl, sys
host, wait = sys.argv[1], float(sys.argv[2])
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
s = context.wrap_socket(socket.create_connection((host, 443), timeout=10))
s.settimeout(wait)
try:
    s.sendall(bytes.fromhex(sys.stdin.read()))
    while part := s.recv(65536):
        print(part.decode("ascii", "replace"), end="")
except OSError:
    pass
"""

# Holds so many connections at once, each at a request that never ends.
HOLD = r"""
import socket, ssl, sys, time
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
held, refused = [], 0
for i in range(int(sys.argv[2])):
    try:
        s = context.wrap_socket(socket.create_connection((sys.argv[1], 443), timeout=10))
        s.sendall(b"GET /api/v1/session HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        held.append(s)
    except OSError:
        refused += 1
print("held", len(held), "refused", refused, flush=True)
time.sleep(600)
"""

HOST = b"Host: gateway\r\n"
JSON = b"Content-Type: application/json\r\n"


def post(path, body, *headers):
    return b"POST " + path + b" HTTP/1.1\r\n" + HOST + JSON + b"".join(headers) + \
        b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def get(path, *headers, method=b"GET"):
    return method + b" " + path + b" HTTP/1.1\r\n" + HOST + b"".join(headers) + b"Connection: close\r\n\r\n"


REQUESTS = [
    ("no Host", b"GET /api/v1/session HTTP/1.1\r\nConnection: close\r\n\r\n", {400}),
    ("a way out of the page's folder", get(b"/assets/../../../etc/passwd"), {404}),
    ("the same, escaped", get(b"/assets/%2e%2e/%2e%2e/etc/passwd"), {404}),
    ("the same, escaped twice", get(b"/assets/%252e%252e%252fetc%252fpasswd"), {404}),
    ("a zero in the path", get(b"/api/v1/devices/cam%00-1"), {400}),
    ("half an escape", get(b"/api/v1/devices/cam%2"), {400}),
    ("a method of nobody's", get(b"/api/v1/status", method=b"PATCH"), {405}),
    ("an echo", get(b"/api/v1/status", method=b"TRACE"), {405}),
    ("a method that is not this call's", get(b"/api/v1/status", method=b"DELETE"), {405}),
    ("another version", b"GET /api/v1/session HTTP/9.9\r\n" + HOST + b"\r\n", {400, 505}),
    ("a length that is no number", b"POST /api/v1/login HTTP/1.1\r\n" + HOST + JSON + b"Content-Length: ten\r\n\r\n{}", {400, 413}),
    ("a negative length", b"POST /api/v1/login HTTP/1.1\r\n" + HOST + JSON + b"Content-Length: -1\r\n\r\n{}", {400, 413}),
    ("a body longer than is allowed", post(b"/api/v1/login", b" " * 300_000), {413}),
    ("a length that lies", b"POST /api/v1/login HTTP/1.1\r\n" + HOST + JSON + b"Content-Length: 99999999999999\r\n\r\n{}", {413}),
    ("deep JSON", post(b"/api/v1/login", b"[" * 100_000), {400}),
    ("deep JSON that is closed", post(b"/api/v1/login", b'{"user":' + b"[" * 5000 + b"]" * 5000 + b"}"), {400}),
    ("a member twice", post(b"/api/v1/login", b'{"user":"a","user":"b","password":"c"}'), {400}),
    ("a zero in a text", post(b"/api/v1/login", b'{"user":"a\\u0000b","password":"c"}'), {400}),
    ("broken UTF-8", post(b"/api/v1/login", b'{"user":"\xff\xfe","password":"c"}'), {400}),
    ("no JSON type", get(b"/api/v1/login", b"Content-Type: text/plain\r\nContent-Length: 0\r\n", method=b"POST"), {415}),
    ("a page of another site", post(b"/api/v1/login", b"{}", b"Origin: https://evil.example\r\n"), {403}),
    ("a page without an origin", post(b"/api/v1/login", b"{}", b"Origin: null\r\n"), {403}),
    ("a page of another port", post(b"/api/v1/login", b"{}", b"Origin: https://gateway:8443\r\n"), {403}),
    ("a cookie of rubbish", get(b"/api/v1/status", b"Cookie: cordon_session=" + b"f" * 5000 + b"\r\n"), {401}),
    ("a key of rubbish", get(b"/api/v1/status", b"Authorization: Bearer " + b"\xc3\x28" * 500 + b"\r\n"), {400, 401}),
    ("headers without end", b"GET / HTTP/1.1\r\n" + HOST + b"X-A: " + b"a" * 200_000 + b"\r\n\r\n", {400, 413, 431, None}),
    ("a path without end", get(b"/" + b"a" * 200_000), {400, 404, 413, 414, 431, None}),
    ("plain HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 404, 405, 505, None}),
]


def talk(device, request, wait=2):
    """The statuses of all answers, and their text."""
    got = device.run(PYTHON, "-c", TALK, GATEWAY4, wait, stdin=request.hex()).stdout
    return [int(status) for status in re.findall(r"HTTP/1\.1 (\d{3}) ", got)], got


@pytest.fixture(scope="module")
def stranger(house):
    return house.device("stranger")


@pytest.mark.parametrize("name,request_,allowed", REQUESTS, ids=[r[0] for r in REQUESTS])
def test_a_wrong_request_is_refused_and_harms_nobody(house, stranger, name, request_, allowed):
    worker = house.daemon.worker
    statuses, text = talk(stranger, request_)
    assert (statuses[0] if statuses else None) in allowed, text[:500]
    assert "root:" not in text
    assert house.daemon.worker == worker, "the worker died"
    house.daemon.json("status")


def test_two_lengths_are_one_request_at_most(house, stranger):
    """What a proxy and a server could read in two ways is not read as a second request."""
    inner = b"GET /api/v1/status HTTP/1.1\r\nHost: x\r\n\r\n"
    head = b"POST /api/v1/login HTTP/1.1\r\n" + HOST + JSON
    for framing in (b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                    b"Content-Length: 0\r\nContent-Length: %d\r\n\r\n" % len(inner)):
        statuses, text = talk(stranger, head + framing + inner)
        assert statuses == [400], text


def test_pipelined_requests_are_answered_in_order(house, stranger):
    one = b"GET /api/v1/%s HTTP/1.1\r\n" + HOST + b"\r\n"
    statuses, _ = talk(stranger, one % b"session" + one % b"nothing" + one % b"session" + get(b"/"))
    assert statuses == [401, 404, 401, 200]


def test_a_crowd_of_slow_clients_locks_nobody_out(house, stranger):
    """More connections than are served, each at a request that it does not finish."""
    crowd = stranger.watch(PYTHON, "-uc", HOLD, GATEWAY4, 300)
    crowd.wait("held", 60)
    house.daemon.json("status")
    assert talk(house.device("other"), get(b"/"))[0] == [200], "somebody else gets a place meanwhile"
    crowd.proc.kill()


def test_the_worker_dies_under_its_requests(lab):
    """Whoever waits for an answer gets the end of the connection; the next worker serves anew."""
    lab.daemon.start()
    cam = lab.device("cam-1")
    stream = lab.gateway.watch("curl", "-sSN", "--unix-socket", lab.daemon.socket, "http://x/api/v1/events/stream")
    follow = lab.gateway.watch(CORDON, "--socket", lab.daemon.socket, "events", "--follow", env=lab.daemon.env())
    wait_until(lambda: stream.text() and follow.text(), 10, "both to be open")
    lab.daemon.kill_worker()
    stream.proc.wait(10)
    lab.daemon.wait_ready()
    lab.daemon.cordon("quarantine", "198.51.100.7", "--reason", "after the death")
    follow.wait("after the death")
    assert talk(cam, get(b"/api/v1/session"))[0] == [401]
    assert json.loads(lab.daemon.cordon("status", "--json").stdout)["isolation"]["state"] == "enforcing"
