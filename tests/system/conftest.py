# SPDX-License-Identifier: GPL-2.0-only
"""Fixtures: a whole site for one test (`lab`) or for one file of tests (`house`)."""

import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))

import lab as site  # noqa: E402


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
    place = item.funcargs.get("lab") or item.funcargs.get("house")
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
