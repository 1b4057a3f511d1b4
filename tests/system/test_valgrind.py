# SPDX-License-Identifier: GPL-2.0-only
"""The main path under valgrind, enforcer and worker alike: no wrong access, nothing lost at the end.
Needs programs without sanitizers: CORDON_PLAIN_BUILD, or build/release."""

import os
import re
from pathlib import Path

import pytest

from lab import GATEWAY4, REPO, wait_until

PLAIN = Path(os.environ.get("CORDON_PLAIN_BUILD", REPO / "build" / "release")).resolve()
VALGRIND = ["valgrind", "-q", "--vgdb=no", "--trace-children=yes", "--error-exitcode=99", "--leak-check=full",
            "--errors-for-leak-kinds=definite,possible", f"--suppressions={REPO}/tests/system/valgrind.supp"]
FAULT = re.compile(r"^==\d+== \S.*", re.M)


def say(lab, *args):
    """The command under valgrind: what it printed."""
    return lab.gateway.run(*VALGRIND, PLAIN / "cordon", "--socket", lab.daemon.socket, *args, timeout=60).stdout


def main_path(lab):
    cam = lab.enrolled("cam-1")
    for version in ("mqttv311", "mqttv5"):
        cam.publish("d/cam-1/x", "hello", "-V", version, timeout=60)
    got = cam.subscribe("d/cam-1/#", "-V", "mqttv5")
    cam.publish("d/cam-1/y", "x" * 50_000, "-r", timeout=60)
    got.wait("d/cam-1/y", 60)
    cam.run("curl", "-sS", "-o", "/dev/null", "-k", f"https://{GATEWAY4}/", timeout=60)
    cam.publish("d/other/x", "refused", "-V", "mqttv5", check=False, timeout=60)
    say(lab, "quarantine", "cam-1", "--reason", "test")
    wait_until(lambda: not cam.ping(GATEWAY4), 30, "the cut")
    say(lab, "release", "cam-1")
    wait_until(lambda: cam.ping(GATEWAY4), 30, "the way back")
    lab.daemon.reload()
    assert "cam-1" in say(lab, "devices")
    wait_until(lambda: lab.daemon.json("status")["uplink"]["acknowledged"] >= 3, 60, "the cloud's acknowledgements")


@pytest.mark.skipif(not (PLAIN / "cordond").exists(), reason=f"{PLAIN} is not built")
def test_the_main_path_under_valgrind(lab):
    lab.daemon.program = [*VALGRIND, PLAIN / "cordond"]
    lab.daemon.start(wait=False)
    lab.daemon.wait_ready(120)
    main_path(lab)
    lab.daemon.stop(90)
    text = lab.daemon.log.read_text(errors="replace")
    assert not FAULT.findall(text), text[-4000:]
