# SPDX-License-Identifier: GPL-2.0-only
"""`cordon isolation test`: it passes where the isolation holds, fails where it does not, says both where
people look, and leaves nothing behind."""

import json

import pytest

from lab import wait_until


@pytest.fixture
def pair(lab):
    lab.daemon.start()
    lab.bad, lab.good = lab.device("bad"), lab.device("good")
    wait_until(lambda: lab.bad.ping(lab.good.ip4), 15, "open ways")
    return lab


def test_all_checks_pass(pair):
    got = pair.daemon.cordon("isolation", "test", check=False)
    print(got.stdout, got.stderr, pair.daemon.tail())
    assert got.returncode == 0
