#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Writes commands for bpf_oracle and the answers that the model expects, for a machine without Python.

script.py [--frames N] [--seed S] COMMANDS EXPECTED
"""

import argparse
import random

import model
from decisions import Decisions
from frames import Frames
from oracle import PROGRAMS, obey
from test_model import cases

ONE_PAGE = 3000  # above it not every kernel runs programs, and where an IP header is cut none for tc


def runs_everywhere(program, frame):
    if not 14 <= len(frame) <= ONE_PAGE:
        return False
    least = {b"\x08\x00": 34, b"\x86\xdd": 54}.get(frame[12:14], 14)
    return program == "xdp" or len(frame) >= least


def script(case):
    world = model.World()
    yield "reset", "ok"
    for command in case.decided:
        if command.endswith(" 0.05"):  # no time passes between lines
            continue
        obey(world, command)
        yield command, "ok"
    for frame in case.frames:
        for program in PROGRAMS:
            if runs_everywhere(program, frame):
                yield f"frame {program} {frame.hex()}", "pass" if world.judge(frame, program == "out").passes else "drop"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("commands")
    parser.add_argument("expected")
    args = parser.parse_args()
    frames = Frames(random.Random(args.seed))
    with open(args.commands, "w") as commands, open(args.expected, "w") as expected:
        for case in cases(frames, Decisions(frames), args.frames):
            for command, answer in script(case):
                commands.write(command + "\n")
                expected.write(answer + "\n")


if __name__ == "__main__":
    main()
