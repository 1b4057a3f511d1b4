# SPDX-License-Identifier: GPL-2.0-only
"""The main path under valgrind, enforcer and worker alike: no wrong access, nothing lost at the end.
Needs programs without sanitizers: CORDON_PLAIN_BUILD, or build/release."""

import json
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


def call(device, method, path, body, *extra):
    """The API over HTTPS, with a cookie jar: the status."""
    jar = device.dir / "jar"
    return device.run("curl", "-sS", "-k", "-X", method, "-b", jar, "-c", jar, "-o", "/dev/null", "-w", "%{http_code}",
                      "--data-binary", json.dumps(body), "-H", "content-type: application/json", *extra,
                      f"https://{GATEWAY4}/api/v1/{path}", timeout=60).stdout


def page_path(lab, laptop):
    """What a person does in the browser, right and wrong."""
    code = say(lab, "setup-code").strip()
    user = {"user": "admin", "password": "long enough"}
    assert call(laptop, "POST", "setup", {**user, "code": "AAAA-AAAA-AAAA"}) in ("401", "403")
    assert call(laptop, "POST", "setup", {**user, "code": code}) == "204"
    assert call(laptop, "POST", "login", {**user, "password": "wrong"}) == "401"
    assert call(laptop, "POST", "login", user) == "204"
    assert call(laptop, "POST", "devices/cam-1/approve", {"name": "Camera", "class": "camera"}) in ("200", "204")
    laptop.run("curl", "-sk", "-b", laptop.dir / "jar", "--max-time", "2", f"https://{GATEWAY4}/api/v1/events/stream",
               check=False)
    assert call(laptop, "POST", "logout", {}) == "204"


def cloud_path(lab, collected):
    """The cloud's side of the command, on what arrived."""
    place = lab.dir / "opened"
    place.mkdir()
    for name, part in (("keys", "/key/"), ("message", "/up/d/cam-1/x")):
        (place / name).write_bytes(next(p for t, p, _ in collected.messages() if part in t))
    (place / "garbage").write_bytes(b"\xd0" * 100)
    envelope = [*VALGRIND, PLAIN / "cordon", "envelope"]
    key = ["--key", lab.pki.recipient, "--keys"]
    assert "hello" in lab.cloud.run(*envelope, "open", *key, place / "keys", place / "message", timeout=60).stdout
    for bad in ([*key, place / "keys", place / "garbage"], [*key, place / "garbage", place / "message"]):
        assert lab.cloud.run(*envelope, "open", *bad, check=False, timeout=60).returncode == 1
    lab.cloud.run(*envelope, "keygen", "--out", place / "pair", timeout=60)


def main_path(lab):
    collected = lab.cloud.collect()
    cam = lab.enrolled("cam-1")
    for version in ("mqttv311", "mqttv5"):
        cam.publish("d/cam-1/x", "hello", "-V", version, timeout=60)
    got = cam.subscribe("d/cam-1/#", "-V", "mqttv5")
    cam.publish("d/cam-1/y", "x" * 50_000, "-r", timeout=60)
    got.wait("d/cam-1/y", 60)
    cam.run("curl", "-sS", "-o", "/dev/null", "-k", f"https://{GATEWAY4}/", timeout=60)
    assert cam.est("AAAA-AAAA")[0] == 401
    page_path(lab, lab.device("laptop"))
    cam.publish("d/other/x", "refused", "-V", "mqttv5", check=False, timeout=60)
    say(lab, "quarantine", "cam-1", "--reason", "test")
    wait_until(lambda: not cam.ping(GATEWAY4), 30, "the cut")
    say(lab, "release", "cam-1")
    wait_until(lambda: cam.ping(GATEWAY4), 30, "the way back")
    lab.daemon.reload()
    assert "cam-1" in say(lab, "devices")
    wait_until(lambda: lab.daemon.json("status")["uplink"]["acknowledged"] >= 3, 60, "the cloud's acknowledgements")
    cloud_path(lab, collected)


@pytest.mark.skipif(not (PLAIN / "cordond").exists(), reason=f"{PLAIN} is not built")
def test_the_main_path_under_valgrind(lab):
    lab.daemon.program = [*VALGRIND, PLAIN / "cordond"]
    lab.daemon.start(wait=False)
    lab.daemon.wait_ready(120)
    main_path(lab)
    lab.daemon.stop(90)
    text = lab.daemon.log.read_text(errors="replace")
    assert not FAULT.findall(text), text[-4000:]
