/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * What bench.bpf.c and the tools share: the kinds of addresses and the keys of the simple
 * filters.
 */
#pragma once

#include <linux/types.h>

/* As enum gw_addr_kind. */
enum bench_kind { BENCH_MAC = 1, BENCH_IPV4 = 2, BENCH_IPV6 = 3, BENCH_KINDS = 4 };

#define BENCH_HEAD_WORDS 7 /* of 8 bytes: past the fixed network header */

struct bench_mac_key {
    __u8 bytes[8]; /* the last two are 0 */
};

/* Hash maps take the length along, which costs them nothing. */
struct bench_ipv4_key {
    __u32 prefix_len;
    __u8 bytes[4];
};

struct bench_ipv6_key {
    __u32 prefix_len;
    __u8 bytes[16];
};

_Static_assert(sizeof(struct bench_mac_key) == 8, "layout");
_Static_assert(sizeof(struct bench_ipv4_key) == 8, "layout");
_Static_assert(sizeof(struct bench_ipv6_key) == 20, "layout");
