/* SPDX-License-Identifier: GPL-2.0-only */
/* A buffer that is many packets yet: limits and counters know how many. */
#include <bpf/bpf.h>
#include <criterion/criterion.h>
#include <linux/bpf.h>

#include "enforcer/policy.h"
#include "harness.h"

enum { ETH_IP = 0x800, TCP = 6 };
#define SEGMENTS 40

static struct gw_kernel k;

static void setup(void)
{
    harness_open(&k, 256);
    known(&k, DEVICE);
}

static void teardown(void)
{
    gw_kernel_close(&k);
}

TestSuite(segments, .init = setup, .fini = teardown);

static void limit(uint32_t packets_per_s, uint64_t bytes_per_s)
{
    struct gw_policy p = {.number = 1, .packets_per_s = packets_per_s, .bytes_per_s = bytes_per_s};
    struct gw_verdict_record v = {.address = gw_hwaddr_mac(mac_of_who[DEVICE]), .policy = 1};

    cr_assert_eq(gw_policy_set(&k, &p, 1), 0);
    cr_assert_eq(gw_verdict_set(&k, &v, 1), 0);
}

/* A frame of DEVICE's, or to it, as segmentation offload has it. */
static bool large_passes(enum program at)
{
    struct __sk_buff ctx = {.gso_segs = SEGMENTS, .gso_size = 25};
    struct frame f = {0};
    LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = f.bytes, .ctx_in = &ctx,
                .ctx_size_in = sizeof(ctx), .repeat = 1);

    eth(&f, at == AT_TC_OUT ? OTHER : DEVICE, at == AT_TC_OUT ? DEVICE : OTHER, ETH_IP);
    ipv4(&f, at == AT_TC_OUT ? OTHER : DEVICE, at == AT_TC_OUT ? DEVICE : OTHER, TCP);
    ports(&f, 4000, 443);
    filler(&f, 1000 - f.len);
    opts.data_size_in = (uint32_t)f.len;
    cr_assert_eq(bpf_prog_test_run_opts(program_fd(&k, at), &opts), 0);
    return opts.retval == 0xffffffff;
}

Test(segments, each_takes_from_the_limit)
{
    for (enum program at = AT_TC_IN; at <= AT_TC_OUT; at++) {
        struct gw_hwaddr mac = gw_hwaddr_mac(mac_of_who[DEVICE]);
        struct gw_traffic before, t;
        uint32_t slot;

        limit(SEGMENTS + 10, 0); /* so the second leaves 30 to make up for */
        slot = gw_table_find(&k.table, &mac);
        cr_assert_neq(slot, GW_SLOT_NONE);
        gw_table_traffic(&k.table, slot, &before);
        cr_expect(large_passes(at), "%d", at);
        cr_expect(large_passes(at), "%d: some are left", at);
        for (int i = 0; i < 5; i++)
            cr_expect_not(large_passes(at), "%d", at);
        gw_table_traffic(&k.table, slot, &t);
        cr_expect_eq(t.rx_packets + t.tx_packets - before.rx_packets - before.tx_packets,
                     2 * SEGMENTS);
        cr_expect_eq(t.dropped_packets - before.dropped_packets, 5 * SEGMENTS);
        cr_expect_eq(t.dropped_bytes - before.dropped_bytes, 5 * 1000);
    }
}

Test(segments, its_bytes_are_taken_from_the_limit_once)
{
    limit(0, 3500);
    for (int i = 0; i < 4; i++)
        cr_expect(large_passes(AT_TC_IN), "%d", i);
    cr_expect_not(large_passes(AT_TC_IN));
}
