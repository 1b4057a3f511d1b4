/* SPDX-License-Identifier: GPL-2.0-only */
/* A port stays guarded while its programs are put on, replaced and mended. */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <criterion/criterion.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/if_packet.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/own.h"
#include "harness.h"

#define PINS "/sys/fs/bpf/cordon"

enum { PROBE = 0x88b5 }; /* EtherType for experiments */

static struct gw_kernel k;
static struct gw_hooks h = {.ingress_link = -1, .egress_link = -1, .bridging_link = -1};
static uint32_t port;

/* ---- a port and pins of this test's own, which end with it ---- */

static void setup(void)
{
    char why[GW_WHY_MAX];

    cr_assert_eq(unshare(CLONE_NEWNS | CLONE_NEWNET), 0);
    cr_assert_eq(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
    cr_assert_eq(mount("bpf", "/sys/fs/bpf", "bpf", 0, NULL), 0);
    cr_assert_eq(system("ip link add here type veth peer name there && ip link set here up && "
                        "ip link set there up"),
                 0);
    port = if_nametoindex("here");
    gw_kernel_quiet();
    cr_assert_eq(gw_kernel_open(&k, PINS, 256, why), 0, "%s", why);
}

static void teardown(void)
{
    gw_close_fd(&h.ingress_link);
    gw_close_fd(&h.egress_link);
    gw_kernel_close(&k);
}

TestSuite(hooks, .init = setup, .fini = teardown);

static const char *pin_of(const char *hook)
{
    static char path[128];

    (void)snprintf(path, sizeof(path), PINS "/links/%u_%s", port, hook);
    return path;
}

static uint32_t id_of(int fd)
{
    struct bpf_link_info info = {0};
    uint32_t len = sizeof(info);

    cr_assert_eq(bpf_obj_get_info_by_fd(fd, &info, &len), 0);
    return info.id;
}

static void expect_held(const char *name)
{
    char why[GW_CHECK_DETAIL] = "";

    cr_expect(gw_hooks_held(&k, port, &h, false, why), "%s: %s", name, why);
    cr_expect(gw_hooks_held(&k, port, &h, true, why), "%s: %s", name, why);
}

/* ---- what somebody did to them ---- */

Test(hooks, a_link_that_lost_its_pin_goes_on_and_is_pinned_again)
{
    for (int out = 0; out < 2; out++) {
        const char *name = out ? "out" : "xdp";
        uint32_t in_id, out_id;
        char why[GW_CHECK_DETAIL];

        gw_kernel_attach(&k, port, &h);
        expect_held(name);
        in_id = id_of(h.ingress_link);
        out_id = id_of(h.egress_link);
        cr_assert_eq(unlink(pin_of(name)), 0);
        cr_expect_not(gw_hooks_held(&k, port, &h, out, why), "%s", name);
        gw_kernel_attach(&k, port, &h);
        expect_held(name);
        cr_expect_eq(id_of(h.ingress_link), in_id, "%s", name);
        cr_expect_eq(id_of(h.egress_link), out_id, "%s", name);
    }
}

Test(hooks, a_pin_of_something_else_is_replaced)
{
    char why[GW_CHECK_DETAIL];
    uint32_t id;

    gw_kernel_attach(&k, port, &h);
    id = id_of(h.ingress_link);
    cr_assert_eq(unlink(pin_of("xdp")), 0);
    cr_assert_eq(bpf_obj_pin(h.egress_link, pin_of("xdp")), 0);
    cr_expect_not(gw_hooks_held(&k, port, &h, false, why));
    gw_kernel_attach(&k, port, &h);
    expect_held("mended");
    cr_expect_eq(id_of(h.ingress_link), id);
}

Test(hooks, a_side_that_was_not_covered_is_tried_again)
{
    char why[GW_CHECK_DETAIL];
    uint32_t id;

    gw_kernel_attach(&k, port, &h);
    id = id_of(h.ingress_link);
    cr_assert_eq(unlink(pin_of("out")), 0);
    gw_close_fd(&h.egress_link);
    h.egress = GW_EGRESS_NONE;
    cr_expect_not(gw_hooks_held(&k, port, &h, true, why));
    gw_kernel_attach(&k, port, &h);
    expect_held("again");
    cr_expect_eq(id_of(h.ingress_link), id, "the other one is not touched");
}

Test(hooks, a_pin_that_was_not_put_in_place_is_swept)
{
    char fresh[160];

    gw_kernel_attach(&k, port, &h);
    (void)snprintf(fresh, sizeof(fresh), "%s+", pin_of("xdp"));
    cr_assert_eq(bpf_obj_pin(h.ingress_link, fresh), 0);
    gw_kernel_sweep(&k);
    cr_expect_neq(access(fresh, F_OK), 0);
    expect_held("swept");
}

/* ---- while a device floods ---- */

static bool stop;

static void *flood(void *frame)
{
    const struct frame *f = frame;
    GW_CLEANUP(gw_close_fd) int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex("there")};

    while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE))
        (void)!sendto(fd, f->bytes, f->len, 0, (struct sockaddr *)&to, sizeof(to));
    return NULL;
}

/* Behind both places where a program can catch a frame. */
static int listen_behind(void)
{
    struct sockaddr_ll at = {
        .sll_family = AF_PACKET, .sll_protocol = htons(PROBE), .sll_ifindex = (int)port};
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    cr_assert_eq(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    return fd;
}

static unsigned come_through(int fd)
{
    unsigned count = 0;
    char byte;

    while (recv(fd, &byte, 1, 0) >= 0)
        count++;
    return count;
}

/* Drops everything; as a version before might have loaded it, for no certain place. */
static void pin_program_before(void)
{
    struct bpf_insn code[] = {{.code = 0xb7, .imm = 1}, {.code = 0x95}};
    int program, link;

    program = bpf_prog_load(BPF_PROG_TYPE_XDP, "before", "GPL", code, GW_COUNT(code), NULL);
    cr_assert_geq(program, 0);
    link = bpf_link_create(program, (int)port, BPF_XDP, NULL);
    cr_assert_geq(link, 0);
    cr_assert_eq(bpf_obj_pin(link, pin_of("xdp")), 0);
    (void)close(program);
    (void)close(link);
}

Test(hooks, a_link_that_does_not_take_our_program_is_replaced_without_a_gap)
{
    struct frame f = {0};
    pthread_t sender;
    int behind;

    eth(&f, DEVICE, ALL, PROBE);
    filler(&f, 46);
    cr_assert_eq(judge(&k, "02:00:00:00:00:01", GW_MODE_ISOLATE), 0);
    for (int i = 0; i < 20; i++) {
        gw_kernel_detach(&k, port, &h);
        pin_program_before();
        behind = listen_behind();
        stop = false;
        cr_assert_eq(pthread_create(&sender, NULL, flood, &f), 0);
        (void)usleep(2000);
        gw_kernel_attach(&k, port, &h);
        (void)usleep(2000);
        __atomic_store_n(&stop, true, __ATOMIC_RELEASE);
        (void)pthread_join(sender, NULL);
        cr_expect_eq(come_through(behind), 0U, "in round %d", i);
        expect_held("ours");
        (void)close(behind);
    }
}
