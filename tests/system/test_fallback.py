# SPDX-License-Identifier: GPL-2.0-only
"""What a kernel or a port lacks is said once and replaced by the next best, and still cuts off."""

import time

import pytest

from lab import GATEWAY4, run, wait_until

# Refuses what an older kernel does not know: attachments at libbpf's own door, flags of a program at the kernel's.
SHIM = """
#include <dlfcn.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

static int is_missing(const char *what)
{
    return strstr(getenv("MISSING"), what) != 0;
}

int bpf_link_create(int program, int target, int type, const void *options);
int bpf_link_create(int program, int target, int type, const void *options)
{
    int (*real)(int, int, int, const void *) = dlsym(RTLD_NEXT, "bpf_link_create");
    int native = options && (((const unsigned *)options)[2] & 4); /* flags: XDP_FLAGS_DRV_MODE */

    if ((type == 46 || type == 47) && is_missing("tcx"))
        return -(errno = EINVAL);
    if (type == 37 && (is_missing("xdp") || (native && is_missing("native"))))
        return -(errno = EOPNOTSUPP);
    return real(program, target, type, options);
}

int bpf_object__load_skeleton(void *skeleton);
int bpf_object__load_skeleton(void *skeleton)
{
    int (*real)(void *) = dlsym(RTLD_NEXT, "bpf_object__load_skeleton");

    return is_missing("bpf") ? -(errno = EPERM) : real(skeleton);
}

int bpf_tc_hook_create(void *hook);
int bpf_tc_hook_create(void *hook)
{
    int (*real)(void *) = dlsym(RTLD_NEXT, "bpf_tc_hook_create");

    return is_missing("clsact") ? -(errno = ENOENT) : real(hook);
}

long syscall(long number, ...)
{
    long (*real)(long, ...) = dlsym(RTLD_NEXT, "syscall");
    long a[6];
    va_list args;

    va_start(args, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(args, long);
    va_end(args);
    if (number == SYS_bpf && a[0] == BPF_PROG_LOAD && is_missing("frags") &&
        ((const union bpf_attr *)a[1])->prog_flags & 32) { /* BPF_F_XDP_HAS_FRAGS */
        errno = EINVAL;
        return -1;
    }
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
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
    ("native tcx", "generic", "clsact", "no native XDP"),  # Wi-Fi before 6.6
    ("xdp", "tc", "tcx", "XDP"),
    ("xdp tcx", "tc", "clsact", "XDP"),
    ("frags", "native", "tcx", ""),  # before 5.18
    ("frags tcx", "native", "clsact", "tcx"),  # 5.15
    ("frags native tcx", "generic", "clsact", "tcx"),
])
def test_the_next_best_hook_cuts_off_too(lab, shim, missing, ingress, egress, word):
    bad = lab.device("bad-1")
    shim(missing)
    lab.daemon.start()
    port = port_of(lab, bad)
    assert (port["ingress"], port["egress"]) == (ingress, egress)
    assert word in port.get("reason", "")
    check_isolation(lab, bad)


@pytest.mark.parametrize("missing, ingress, egress, words", [
    ("tcx clsact", "native", "none", ["no tc egress"]),
    ("xdp tcx clsact", "none", "none", ["no native XDP", "no generic XDP"]),
])
def test_what_no_hook_covers_is_called_degraded(lab, shim, missing, ingress, egress, words):
    bad = lab.device("bad-1")
    shim(missing)
    lab.daemon.start()
    port = port_of(lab, bad)
    assert (port["ingress"], port["egress"]) == (ingress, egress)
    assert all(word in port["reason"] for word in words)
    assert lab.daemon.json("status")["isolation"]["state"] != "enforcing"
    assert bad.ping(GATEWAY4), "a gateway all the same"


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
