# SPDX-License-Identifier: GPL-2.0-only
"""The copies of verdicts and policies for a reboot: each is written when it changes, and there when a command returns."""

import struct

from lab import CLOUD4, wait_until
from test_profile import LATER4, WEB, dns, fetches, learn, profile, resolves, site  # noqa: F401

ENFORCE = 4


def versions(lab):
    """When each file was written."""
    return [(lab.daemon.state / name).stat().st_mtime_ns for name in ("verdicts", "policies")]


def flags_kept(lab):
    """{number: flags} in the copy."""
    data, at, found = (lab.daemon.state / "policies").read_bytes(), 24, {}
    while at < len(data):
        length, number, flags = struct.unpack_from("=III", data, at)
        found[number] = flags
        at += 4 + length
    return found


def test_only_what_changed_is_written(site):  # noqa: F811
    lab = site
    server = dns(lab, CLOUD4)
    wait_until(lambda: resolves(lab) == CLOUD4, 10, "DNS")
    learn(lab, lambda: resolves(lab) == CLOUD4, lambda: fetches(lab.cam, WEB))
    wait_until(lambda: any(c["name"] == "www.maker.example" for c in profile(lab)["learned"]["conversations"]), 10, "the name")
    lab.daemon.cordon("profile", "cam", "enforce")
    assert flags_kept(lab)[profile(lab)["policy"]] & ENFORCE, "on disk once it is said to be in force"
    before = versions(lab)
    lab.daemon.cordon("quarantine", "203.0.113.9")
    after = versions(lab)
    assert after[0] != before[0] and after[1] == before[1], "a verdict is no policy"
    # An address that a name leads to is learned again anyway: nobody waits for its copy.
    assert resolves(lab) == CLOUD4 and fetches(lab.cam, WEB)
    lab.daemon.cordon("limit", "cam", "--packets", "100000")
    before = versions(lab)
    server.terminate()
    server.wait(10)
    dns(lab, LATER4)
    wait_until(lambda: resolves(lab) == LATER4, 10, "the new answer")
    wait_until(lambda: fetches(lab.cam, WEB, LATER4), 5, "the new address to be let through")
    assert versions(lab) == before
    lab.daemon.cordon("limit", "cam", "--packets", "200000")
    assert versions(lab)[1] != before[1], "what was asked for does not wait"
    before = versions(lab)
    lab.daemon.cordon("profile", "cam", "off")
    assert versions(lab)[1] != before[1]
