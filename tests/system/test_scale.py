# SPDX-License-Identifier: GPL-2.0-only
"""1,000 connections held at once, and served."""

import subprocess

from lab import GATEWAY4, PYTHON, wait_until

HOLDER = r"""
import resource, select, socket, ssl, struct, sys, time
host, ca, cert, key, count, device = *sys.argv[1:5], int(sys.argv[5]), sys.argv[6]
resource.setrlimit(resource.RLIMIT_NOFILE, (8192, 8192))
context = ssl.create_default_context(cafile=ca)
context.check_hostname = False
context.load_cert_chain(cert, key)
def field(b): return struct.pack(">H", len(b)) + b
held = []
for i in range(count):
    s = context.wrap_socket(socket.create_connection((host, 8883), timeout=30), server_hostname=host)
    body = field(b"MQTT") + b"\x04\x02" + struct.pack(">H", 600) + field(b"c%d" % i)
    s.sendall(b"\x10" + bytes([len(body)]) + body)
    assert s.recv(4) == b"\x20\x02\x00\x00", i
    held.append(s)
print("held", len(held), flush=True)
sys.stdin.readline()
alive = 0
for s in held:
    s.sendall(b"\xc0\x00")
    alive += s.recv(2) == b"\xd0\x00"
print("alive", alive, flush=True)
sys.stdin.readline()
"""


def test_a_thousand_tls_connections_are_held_and_answer(lab):
    lab.daemon.configure(limits={"connections": 1200})
    lab.daemon.start()
    cams = [lab.enrolled(f"cam-{n}") for n in range(4)]
    readers = []
    for cam in cams:
        readers.append(cam.watch(PYTHON, "-uc", HOLDER, GATEWAY4, cam.ca, cam.cert, cam.key, "250", cam.id,
                                 stdin=subprocess.PIPE))
    for reader in readers:
        reader.wait("held 250", 120)
    other = lab.enrolled("other-1")
    other.publish("d/other-1/x", "served among a thousand")
    for reader in readers:
        reader.proc.stdin.write(b"\n")
        reader.proc.stdin.flush()
    for reader in readers:
        reader.wait("alive 250", 60)
    assert lab.daemon.json("status")["devices"]["online"] >= 4


def test_connections_past_the_limit_are_refused_and_the_rest_served(lab):
    lab.daemon.configure(limits={"connections": 20})
    lab.daemon.start()
    cam = lab.enrolled("cam-1")
    reader = cam.watch(PYTHON, "-uc", HOLDER, GATEWAY4, cam.ca, cam.cert, cam.key, "100", cam.id, stdin=subprocess.PIPE)
    wait_until(lambda: reader.proc.poll() is not None, 60, "a refusal")
    assert "held 100" not in reader.text()
    wait_until(lambda: cam.publish("d/cam-1/x", "served again", check=False).returncode == 0, 20, "room again")
