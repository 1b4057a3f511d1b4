# SPDX-License-Identifier: GPL-2.0-only
"""What a kernel or a port lacks is said once and replaced by the next best, and still cuts off."""

import time

import pytest

from lab import GATEWAY4, run, wait_until

# Fails the attachments that an older kernel does not know, at libbpf's own door.
SHIM = """
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
int bpf_link_create(int program, int target, int type, const void *options);
int bpf_link_create(int program, int target, int type, const void *options)
{
    int (*real)(int, int, int, const void *) = dlsym(RTLD_NEXT, "bpf_link_create");
    const char *missing = getenv("MISSING");
    int native = options && (((const unsigned *)options)[2] & 4); /* flags: XDP_FLAGS_DRV_MODE */

    if ((type == 46 || type == 47) && strstr(missing, "tcx"))
        return -(errno = EINVAL);
    if (type == 37 && (strstr(missing, "xdp") || (native && strstr(missing, "native"))))
        return -(errno = EOPNOTSUPP);
    return real(program, target, type, options);
}

int bpf_object__load_skeleton(void *skeleton);
int bpf_object__load_skeleton(void *skeleton)
{
    int (*real)(void *) = dlsym(RTLD_NEXT, "bpf_object__load_skeleton");

    return strstr(getenv("MISSING"), "bpf") ? -(errno = EPERM) : real(skeleton);
}
"""

PASS_ALL = """
__attribute__((section("xdp"), used)) int pass_all(void *ctx) { return 2; }
char _license[] __attribute__((section("license"), used)) = "GPL";
"""


@pytest.fixture
def shim(lab):
    source, library = lab.dir / "shim.c", lab.dir / "shim.so"
    source.write_text(SHIM)
    run(["gcc", "-D_GNU_SOURCE", "-shared", "-fPIC", "-o", library, source])

    def mask(missing):
        plain = lab.daemon.env
        lab.daemon.env = lambda: {**plain(), "LD_PRELOAD": str(library), "MISSING": missing}
    return mask


def port_of(lab, device):
    ports = {p["name"]: p for p in lab.daemon.json("status")["isolation"]["interfaces"]}
    return ports[device.port]


def check_isolation(lab, bad):
    wait_until(lambda: bad.ping(GATEWAY4) and lab.gateway.ping(bad.ip4), 10, "open ways")
    lab.daemon.cordon("quarantine", bad.mac)
    time.sleep(0.1)
    assert not bad.ping(GATEWAY4) and not lab.gateway.ping(bad.ip4)
    lab.daemon.cordon("release", bad.mac)
    wait_until(lambda: bad.ping(GATEWAY4), 10, "released")


@pytest.mark.parametrize("missing, ingress, egress, word", [
    ("tcx", "native", "clsact", "tcx"),
    ("native", "generic", "tcx", "no native XDP"),
    ("xdp tcx", "tc", "clsact", "XDP"),
])
def test_the_next_best_hook_cuts_off_too(lab, shim, missing, ingress, egress, word):
    bad = lab.device("bad-1")
    shim(missing)
    lab.daemon.start()
    port = port_of(lab, bad)
    assert (port["ingress"], port["egress"]) == (ingress, egress)
    assert word in port["reason"]
    check_isolation(lab, bad)


def test_a_stranger_s_xdp_program_stays_and_is_worked_beside(lab):
    bad = lab.device("bad-1")
    source, program = lab.dir / "pass.c", lab.dir / "pass.o"
    source.write_text(PASS_ALL)
    run(["clang", "-target", "bpf", "-O2", "-c", source, "-o", program])
    lab.gateway.run("ip", "link", "set", bad.port, "xdpdrv", "obj", program, "sec", "xdp")
    lab.daemon.start()
    port = port_of(lab, bad)
    assert port["ingress"] == "tc" and "another XDP program" in port["reason"]
    check_isolation(lab, bad)
    assert "xdp" in lab.gateway.run("ip", "link", "show", "dev", bad.port).stdout


def test_without_bpf_the_daemon_serves_and_says_that_it_cannot_isolate(lab, shim):
    shim("bpf")
    lab.daemon.start()
    assert lab.daemon.json("status")["isolation"]["state"] == "off"
    assert lab.daemon.log.read_text().count("isolation") >= 1
    lab.enrolled("cam-1").publish("d/cam-1/x", "served all the same")
