# SPDX-License-Identifier: GPL-2.0-only
import pytest


def pytest_addoption(parser):
    parser.addoption("--frames", type=int, default=20000, help="how many frames kernel and model are compared on")
    parser.addoption("--seed", type=int, default=1, help="which frames")
    parser.addoption("--seconds", type=float, default=10, help="how long the programs are fuzzed")


@pytest.fixture
def oracle():
    from oracle import Oracle
    o = Oracle()
    yield o
    o.close()
