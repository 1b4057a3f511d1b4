# SPDX-License-Identifier: GPL-2.0-only
"""Garbage on each port: nobody falls over, and the others are served on."""


import pytest

from lab import GATEWAY4, PYTHON

# Sends each of the blobs on a connection of its own: raw, and inside TLS with a device's certificate.
SENDER = r"""
import random, socket, ssl, sys
host, port, ca, cert, key = sys.argv[1], int(sys.argv[2]), *sys.argv[3:6]
r = random.Random(7)
noise = lambda n: bytes(r.randrange(256) for _ in range(n))
blobs = [b"\x00", noise(1), noise(64), noise(5000), b"\x16\x03\x01\xff\xff" + noise(300),
         b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03", b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 70000,
         b"\x10\xff\xff\xff\xff\x7f", b"\x10\xff\xff\xff\x7f" + noise(4096), b"\x10\x00", b"\x30\x02\x00\x05",
         b"\x10\x0c\x00\x04MQTT\x05\x02\x00\x0a\xff\x00", b"\xe0\x00\xe0\x00", b"\x82\x03\x00\x00\x00",
         b"POST /.well-known/est/simpleenroll HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n",
         b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20000 + b"\r\n"]
context = ssl.create_default_context(cafile=ca)
context.check_hostname = False
context.load_cert_chain(cert, key)
sent = 0
for tls in (False, True):
    for blob in blobs:
        try:
            s = socket.create_connection((host, port), timeout=5)
            if tls:
                s = context.wrap_socket(s, server_hostname=host)
            s.settimeout(0.4)
            s.sendall(blob)
            try:
                while s.recv(65536):
                    pass
            except OSError:
                pass
            s.close()
        except OSError as e:
            pass
        sent += 1
print("sent", sent)
"""


@pytest.mark.parametrize("port", [8883, 8443, 443])
def test_garbage_on_a_port_harms_nobody(house, port):
    # A device of its own each time: so much garbage may well get it quarantined.
    bad = house.enrolled(f"noisy-{port}")
    good = house.enrolled(f"good-{port}")
    worker = house.daemon.worker
    got = bad.run(PYTHON, "-c", SENDER, GATEWAY4, port, bad.ca, bad.cert, bad.key, timeout=120)
    assert "sent 36" in got.stdout, got
    good.publish(f"d/good-{port}/x", "still served")
    assert house.daemon.worker == worker, "the worker died"
    house.daemon.json("status")


def test_half_open_handshakes_are_cut(lab):
    """Connections that never say a word do not stay."""
    lab.daemon.start()
    cam = lab.enrolled("cam-1")
    silent = cam.watch(PYTHON, "-uc",
                       "import socket, sys, time\n"
                       f"l = [socket.create_connection(({GATEWAY4!r}, 8883)) for _ in range(50)]\n"
                       "print('open', flush=True)\n"
                       "n = 0\n"
                       "for s in l:\n"
                       "    s.settimeout(60)\n"
                       "    try:\n"
                       "        n += s.recv(1) == b''\n"
                       "    except ConnectionResetError:\n"
                       "        n += 1\n"
                       "print('closed', n, flush=True)\n")
    silent.wait("open")
    cam.publish("d/cam-1/x", "in between")
    silent.wait("closed 50", 70)


@pytest.mark.parametrize("port", [8883, 8443])
def test_one_silent_host_shuts_nobody_out(lab, port):
    """It may hold its share of what is not known yet, and no more."""
    lab.daemon.configure(limits={"connections": 20})
    lab.daemon.start()
    cam, rogue = lab.enrolled("cam-1"), lab.device("rogue")
    holder = rogue.watch(PYTHON, "-uc",
                         "import socket, sys, time\n"
                         "l = []\n"
                         f"for _ in range(60):\n"
                         f"    l.append(socket.create_connection(({GATEWAY4!r}, {port})))\n"
                         "print('open', flush=True)\n"
                         "time.sleep(600)\n")
    holder.wait("open")
    for n in range(3):
        cam.publish("d/cam-1/x", f"in between {n}", timeout=5)
        cam.fetch_ca()
    assert holder.proc.poll() is None
