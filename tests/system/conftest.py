# SPDX-License-Identifier: GPL-2.0-only
"""Fixtures: a whole site for one test (`lab`) or for one file of tests (`house`)."""

import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))

import lab as site  # noqa: E402
import wire  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line("markers", "statement(*numbers): which of the standard's statements a test checks")


def pytest_sessionstart(session):
    if os.geteuid() != 0:
        pytest.exit("these tests make network namespaces: run them as root", 2)
    for program in (site.CORDOND, site.CORDON):
        if not program.exists():
            pytest.exit(f"{program} is not built; CORDON_BUILD names the build directory", 2)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test shows what the daemon said."""
    report = (yield).get_result()
    place = item.funcargs.get("lab") or item.funcargs.get("house") or item.funcargs.get("broker")
    if report.failed and place and place.daemon.log.exists():
        report.sections.append(("cordond said", place.daemon.tail(120)))


def finish(place):
    """Orderly end of the daemon, nothing left behind, and no sanitizer's report."""
    try:
        place.daemon.stop()
    finally:
        reports = place.daemon.reports()
        place.close()
    assert not reports, "a sanitizer reported:\n" + reports[0]


@pytest.fixture
def lab():
    """A site of its own; the daemon is configured and not yet started."""
    place = site.Lab()
    yield place
    finish(place)


@pytest.fixture(scope="module")
def house():
    """A running site that the tests of one file share; each uses devices of its own."""
    place = site.Lab()
    try:
        place.daemon.start()
    except BaseException:
        finish(place)
        raise
    yield place
    finish(place)


@pytest.fixture(scope="session")
def broker():
    """A running site for the protocol suites: two devices that hear each other, `one` and `two`, and no
    quarantine, for hardly a packet of theirs is right."""
    place = site.Lab()
    try:
        place.daemon.configure(uplink={"brokers": [place.cloud.url], "ca_file": place.pki.ca,
                                       "recipients": [place.pki.recipient_pub]},
                               quarantine={"auto": False})
        place.daemon.start()
        place.one, place.two = place.enrolled("one"), place.enrolled("two")
        for device in ("one", "two"):
            for topic in ("d/one/#", "d/two/#"):
                place.daemon.cordon("grant", device, topic, "pubsub")
        place.daemon.cordon("grant", "two", "$SYS/#", "sub")
        place.daemon.cordon("grant", "two", "#", "sub")
    except BaseException:
        finish(place)
        raise
    yield place
    finish(place)


class Desk:
    """What a protocol test works with: topics of its own and connections that end with it."""

    def __init__(self, broker, name, version=5):
        self.broker, self.one, self.two = broker, broker.one, broker.two
        self.name, self.version, self.clients = name, version, []

    def topic(self, rest="t"):
        """A topic of device `one` that no other test uses; `two` may use it as well."""
        return f"d/one/{self.name}/{rest}"

    def open(self, device=None, version=None):
        """A connection without a CONNECT."""
        client = wire.Client(device or self.one, version or self.version)
        self.clients.append(client)
        return client

    def client(self, client_id="", device=None, version=None, **kw):
        """A connection that was accepted. Client identifiers are the test's own."""
        return self.open(device, version).connect(client_id and f"{self.name}-{client_id}", **kw)

    def pair(self, options=2, rest="t", **properties):
        """A publisher and a subscriber to one topic."""
        sub = self.client(device=self.two)
        sub.subscribe(self.topic(rest), options, **properties)
        return self.client(), sub

    def keeper(self, client_id="keeper", clean=False, expiry=3600, device=None, **properties):
        """A client whose session outlives its connection."""
        if self.version < 5:
            return self.client(client_id, device, clean=clean)
        return self.client(client_id, device, clean=clean, properties={"session_expiry": expiry, **properties})


def work(broker, request, version):
    number = request.config.stash.setdefault(DESKS, iter(range(10**6)))
    place = Desk(broker, f"t{next(number)}", version)
    yield place
    for client in place.clients:
        client.close()


@pytest.fixture
def desk(broker, request):
    yield from work(broker, request, 5)


@pytest.fixture
def desk3(broker, request):
    """One whose clients speak 3.1.1."""
    yield from work(broker, request, 4)


DESKS = pytest.StashKey()
