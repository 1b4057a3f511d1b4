# SPDX-License-Identifier: GPL-2.0-only
"""Frames that nobody would send, through the kernel programs. Their coverage cannot be seen from here, so frames of
every kind are damaged, spliced and stretched where their structure is. `--seconds 3600 --seed S` for an hour of it.

Whatever is sent: the kernel runs the program and gets a verdict that is pass or drop (the oracle ends otherwise);
nothing decided passes everything; an isolated MAC passes nothing; XDP and tc agree; and the model agrees.
"""

import random
import time

import pytest

from decisions import Decisions
from frames import DEVICE_MACS, Frames
from oracle import Case, explain, key_of

POOL = 400  # frames that others are made of
FRESH = 20  # of them replaced in each round
ROUND = 300  # frames
VICTIM = DEVICE_MACS[0]


class Fuzzer:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.frames = Frames(self.random)
        self.pool = [self.frames.one() for _ in range(POOL)]

    def round(self):
        for _ in range(FRESH):
            self.pool[int(self.random.random() * POOL)] = self.frames.one()
        return [self.frame() for _ in range(ROUND)]

    def frame(self):
        f = self.frames
        frame = f.pick(self.pool)
        for _ in range(f.pick([1, 1, 2, 3])):
            frame = f.pick([f.damaged, f.damaged, self.spliced, self.stretched, self.relabelled])(frame) or b"\0"
        return frame[:f.pick([9014, 1514])]

    def spliced(self, frame):
        """The beginning of one and the end of another, at the same depth or not."""
        other, at = self.frames.pick(self.pool), int(self.random.random() * min(len(frame), 96))
        return frame[:at] + other[at if self.frames.odds(0.7) else int(self.random.random() * 64):]

    def stretched(self, frame):
        """A piece once more, often: a chain of headers, options or tags that does not end."""
        start = self.frames.pick([12, 14, 18, 22, 54, 62, 70, 78, 94]) if self.frames.odds(0.7) else int(
            self.random.random() * (len(frame) + 1))
        piece = frame[start:start + self.frames.pick([1, 4, 8, 8, 8, 16, 24, 40])]
        return frame[:start] + piece * self.frames.pick([2, 3, 8, 9, 40]) + frame[start:]

    def relabelled(self, frame):
        """Under the type of another kind."""
        return frame[:12] + self.frames.pick(self.pool)[12:14] + frame[14:]


def from_victim(frame):
    """Both ways the victim is the one to be judged."""
    return key_of(VICTIM) * 2 + frame[12:]


def check_all(oracle, decided, frames, want):
    oracle.say(["reset"] + decided)
    commands = [f"frame {program} {frame.hex()}" for frame in frames for program in ("xdp", "in", "out")]
    for command, answer in zip(commands, oracle.ask(commands)):
        assert answer in (want, "skip"), f"{decided}: {answer}: {command}"


def check_hooks_agree(oracle, decided, frames):
    oracle.say(["reset"] + decided)
    for frame in frames:
        xdp, tc = oracle.ask([f"frame {program} {frame.hex()}" for program in ("xdp", "in")])
        assert tc in (xdp, "skip"), f"{decided}: xdp {xdp}, tc {tc}: {frame.hex()}"


def test_fuzzed_frames(oracle, pytestconfig):
    seed, end = pytestconfig.getoption("seed"), time.monotonic() + pytestconfig.getoption("seconds")
    fuzzer = Fuzzer(seed)
    decisions, count = Decisions(fuzzer.frames), 0
    while time.monotonic() < end:
        frames, decided = fuzzer.round(), decisions.one()
        check_all(oracle, [], frames, "pass")
        check_all(oracle, [f"verdict {VICTIM} isolate"], [from_victim(f) for f in frames if len(f) >= 14], "drop")
        check_hooks_agree(oracle, decided, frames)
        case = Case(decided, frames)
        if any(case.run(oracle)):
            pytest.fail(f"seed {seed}, after {count} frames:{explain(oracle, case)}", pytrace=False)
        count += len(frames)
    assert count > 0
    print(f"{count} frames, seed {seed}")
