# SPDX-License-Identifier: GPL-2.0-only
"""What bash offers behind "cordon …", asked of the real command, with a list of devices made up."""

import os
import subprocess
from pathlib import Path

import pytest

import lab as labs

REPO = Path(__file__).resolve().parents[2]
IDS = ["cam-1", "lamp", "mac-020000000009"]
VERBS = ["show", "learn", "report", "enforce", "off", "forget", "export", "import"]

ROWS = [
    ("qua", ["quarantine"]),
    ("profile ", IDS),
    ("profile c", ["cam-1"]),
    ("limit ", IDS),
    ("quarantine --mode observe ", IDS),
    ("--json release ", IDS),
    ("--socket /run/x release l", ["lamp"]),
    ("quarantine cam-1 --mode ", ["isolate", "remediate", "observe"]),
    ("quarantine cam-1 --mode o", ["observe"]),
    ("quarantine cam-1 --reason ", []),
    ("quarantine --f", ["--file", "--for"]),
    ("quarantine --file o", ["one.json", "other"]),
    ("profile cam-1 ", VERBS),
    ("profile cam-1 e", ["enforce", "export"]),
    ("profile cam-1 learn --for ", ["5m", "1h", "1d"]),
    ("profile cam-1 export --out o", ["one.json", "other"]),
    ("profile cam-1 import o", ["one.json", "other"]),
    ("profile cam-1 enforce ", []),
    ("limit cam-1 --p", ["--packets"]),
    ("limit cam-1 --packets ", []),
    ("isolation ", ["test"]),
    ("grant cam-1 ", []),
    ("grant cam-1 a/# ", ["pub", "sub", "pubsub"]),
    ("envelope open o", ["one.json", "other"]),
]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with two files, and a "cordon" that knows three devices."""
    path = tmp_path_factory.mktemp("completion")
    (path / "bin").mkdir()
    stub = path / "bin" / "cordon"
    table = "\n".join(["ID STATE", *(f"{i} approved" for i in IDS)])
    stub.write_text(f'#!/bin/sh\n[ "$1" = devices ] && exec printf "%s\\n" "{table}"\nexec {labs.CORDON} "$@"\n')
    stub.chmod(0o755)
    (path / "one.json").touch()
    (path / "other").mkdir()
    return path


@pytest.mark.parametrize("line,want", ROWS, ids=[line for line, _ in ROWS])
def test_offers(world, line, want):
    script = f'. {REPO}/packaging/cordon.bash-completion\nCOMP_WORDS=(cordon "$@")\nCOMP_CWORD=$#\n_cordon\n' \
             'printf "%s\\n" "${COMPREPLY[@]}"\n'
    words = line.split(" ")
    done = subprocess.run(["bash", "-c", script, "bash", *words], cwd=world, capture_output=True, text=True, check=True,
                          env={**os.environ, "PATH": f"{world}/bin:{os.environ['PATH']}"})
    assert done.stderr == ""
    assert [w for w in done.stdout.split("\n") if w] == want
