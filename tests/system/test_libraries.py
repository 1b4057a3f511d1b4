# SPDX-License-Identifier: GPL-2.0-only
"""QoS 2 as libmosquitto and Paho for C do it, over TLS with the device's certificate: each message exactly once
and in order, though the subscriber's connection is cut again and again."""

import contextlib
import itertools
import random
import socket
import struct
import subprocess
import threading

import pytest

from lab import BUILD, GATEWAY4, Reader, wait_until
from wire import inside

COUNT = 150


@pytest.fixture(scope="module")
def cam(house):
    return house.enrolled("cam-1")


class Line:
    """The way from a device to the gateway through a port of its own. Each connection is cut after a number of
    bytes, wherever in a packet or a record that is; the last one is left alone. A cut resets the gateway's side and
    ends the device's, where what is still written vanishes: libmosquitto forgets a message when it fails to write
    its PUBCOMP."""

    def __init__(self, device, cuts, seed):
        self.dice, self.cuts, self.made = random.Random(seed), cuts, 0
        self.device, self.open = device, []
        with inside(device):
            self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        with inside(self.device), contextlib.suppress(OSError):
            while True:
                near = self.listener.accept()[0]
                far = socket.create_connection((GATEWAY4, 8883))
                self.open += [near, far]
                budget = [self.dice.randrange(18_000, 40_000) if self.made < self.cuts else 1 << 40]
                self.made += 1
                for way in ((near, far, near, far), (far, near, near, far)):
                    threading.Thread(target=self.carry, args=(*way, budget), daemon=True).start()

    def carry(self, source, to, near, far, budget):
        with contextlib.suppress(OSError):
            while budget[0] > 0 and (part := source.recv(1400)):
                part = part[:max(budget[0], 0)]
                budget[0] -= len(part)
                to.sendall(part)
        budget[0] = 0
        with contextlib.suppress(OSError):
            far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            far.shutdown(socket.SHUT_RDWR)
        far.close()
        with contextlib.suppress(OSError):
            near.shutdown(socket.SHUT_WR)
            while source is near and near.recv(65536):
                pass

    def close(self):
        for s in (self.listener, *self.open):
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)
            s.close()


@pytest.fixture
def line(cam):
    """line(cuts): a Line of which the first so many connections are cut."""
    made, seeds = [], itertools.count(1)

    def make(cuts):
        made.append(Line(cam, cuts, next(seeds)))
        return made[-1]
    yield make
    for each in made:
        each.close()


def client(device, library, version, name, role, topic, way=None, count=COUNT):
    to = ("127.0.0.1", way.port) if way else (GATEWAY4, 8883)
    program = BUILD / "tests" / f"client_{library}"
    return Reader(device.popen(program, *to, device.ca, device.cert, device.key, name, version, role, topic, count,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT))


def ended(reader, seconds=60):
    """What it said until all was done."""
    with contextlib.suppress(AssertionError):
        wait_until(lambda: reader.proc.poll() is not None, seconds)
    assert reader.proc.poll() == 0, f"it did not end well:\n{reader.text()[-3000:]}"
    return reader.lines()


def received(lines):
    return [ln for ln in lines if ln.startswith(("got", "spoiled"))]


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("library", ["mosquitto", "paho"])
@pytest.mark.parametrize("cut_pub, cut_sub", [(0, 0), (0, 3)], ids=["uncut", "subscriber"])
def test_qos_2_is_exactly_once(cam, line, library, version, cut_pub, cut_sub):
    topic = f"d/cam-1/{library}/{version}/{cut_pub}/{cut_sub}"
    name, ways = topic.replace("/", "-"), (line(cut_pub), line(cut_sub))
    sub = client(cam, library, version, f"{name}-sub", "sub", topic, ways[1])
    sub.wait("^subscribed 2$")
    pub = ended(client(cam, library, version, f"{name}-pub", "pub", topic, ways[0]))
    assert [ln for ln in pub if ln.startswith("done")] == ["done 0"] * COUNT
    assert received(ended(sub)) == [f"got {n}" for n in range(COUNT)]
    # libmosquitto with MQTT 5 counts a repeated message twice and then breaks connections by itself.
    assert all(way.made > cuts for way, cuts in zip(ways, (cut_pub, cut_sub))), "not all cuts came to pass"


@pytest.mark.parametrize("library, other", [("mosquitto", "paho"), ("paho", "mosquitto")])
def test_a_session_of_one_library_is_gone_on_with_by_the_other(cam, library, other):
    """The session is the gateway's: what one client left is what the next finds, in another version, too."""
    topic, name = f"d/cam-1/handed/{library}", f"handed-{library}"
    first = client(cam, library, 4, name, "sub", topic)
    first.wait("^subscribed 2$")
    first.proc.kill()
    ended(client(cam, other, 5, f"{name}-pub", "pub", topic, count=20))
    assert received(ended(client(cam, other, 5, name, "sub", topic, count=20))) == [f"got {n}" for n in range(20)]
