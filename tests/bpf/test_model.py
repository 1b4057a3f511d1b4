# SPDX-License-Identifier: GPL-2.0-only
"""The kernel programs beside the model, on frames by the thousand. `--frames N --seed S` for more, or others."""

import random

import pytest

from decisions import Decisions
from frames import Frames
from oracle import Case, explain

OF_ONE_CASE = 100


def cases(frames, decisions, count):
    """Half the frames as scapy makes them, half of those once more and damaged."""
    for _ in range(0, count, OF_ONE_CASE):
        whole = [frames.one() for _ in range(OF_ONE_CASE // 2)]
        yield Case(decisions.one(), whole + [frames.damaged(frame) for frame in whole])


def test_kernel_and_model_agree(oracle, pytestconfig):
    seed = pytestconfig.getoption("seed")
    frames = Frames(random.Random(seed))
    for case in cases(frames, Decisions(frames), pytestconfig.getoption("frames")):
        if any(case.run(oracle)):
            pytest.fail(f"seed {seed}:{explain(oracle, case)}", pytrace=False)
