/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the isolation benches need in the kernel: programs that do nothing (the floor), the simplest
 * filters that one would write (by source, nothing but a count), and the sender that gives every
 * frame another source address.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "bench_map.h"

#define INLINE static inline __attribute__((always_inline))

#define FILTER_MAP(name, map_type, map_flags_, key_type)                                           \
    struct {                                                                                       \
        __uint(type, map_type);                                                                    \
        __uint(map_flags, map_flags_);                                                             \
        __uint(max_entries, 1);                                                                    \
        __type(key, key_type);                                                                     \
        __type(value, __u64);                                                                      \
    } name SEC(".maps")

FILTER_MAP(bench_mac, BPF_MAP_TYPE_HASH, 0, struct bench_mac_key);
FILTER_MAP(bench_ipv4, BPF_MAP_TYPE_HASH, 0, struct bench_ipv4_key);
FILTER_MAP(bench_ipv6, BPF_MAP_TYPE_HASH, 0, struct bench_ipv6_key);
FILTER_MAP(bench_lpm4, BPF_MAP_TYPE_LPM_TRIE, BPF_F_NO_PREALLOC, struct bench_ipv4_key);
FILTER_MAP(bench_lpm6, BPF_MAP_TYPE_LPM_TRIE, BPF_F_NO_PREALLOC, struct bench_ipv6_key);

SEC("xdp")
int bench_drop(struct xdp_md *ctx)
{
    (void)ctx;
    return XDP_DROP;
}

SEC("xdp")
int bench_pass(struct xdp_md *ctx)
{
    (void)ctx;
    return XDP_PASS;
}

/* ---- floors ---- */

/* 1 when the map has the key, and counted. */
INLINE int is_listed(void *map, const void *key)
{
    __u64 *hits = bpf_map_lookup_elem(map, key);

    if (!hits)
        return 0;
    *hits += 1;
    return 1;
}

INLINE int is_mac_listed(const struct ethhdr *eth)
{
    struct bench_mac_key key = {};

    __builtin_memcpy(key.bytes, eth->h_source, sizeof(eth->h_source));
    return is_listed(&bench_mac, &key);
}

INLINE int is_source_listed(const struct ethhdr *eth, const void *end, void *map4, void *map6)
{
    const struct iphdr *four = (const void *)(eth + 1);
    const struct ipv6hdr *six = (const void *)(eth + 1);

    if (eth->h_proto == bpf_htons(ETH_P_IP) && (const void *)(four + 1) <= end) {
        struct bench_ipv4_key key = {32, {}};

        __builtin_memcpy(key.bytes, &four->saddr, sizeof(key.bytes));
        return is_listed(map4, &key);
    }
    if (eth->h_proto == bpf_htons(ETH_P_IPV6) && (const void *)(six + 1) <= end) {
        struct bench_ipv6_key key = {128, {}};

        __builtin_memcpy(key.bytes, &six->saddr, sizeof(key.bytes));
        return is_listed(map6, &key);
    }
    return 0;
}

INLINE int filter(const struct xdp_md *ctx, void *map4, void *map6)
{
    const struct ethhdr *eth = (const void *)(long)ctx->data;
    const void *end = (const void *)(long)ctx->data_end;

    if ((const void *)(eth + 1) > end)
        return XDP_PASS;
    if (is_mac_listed(eth) || is_source_listed(eth, end, map4, map6))
        return XDP_DROP;
    return XDP_PASS;
}

SEC("xdp")
int bench_hash(struct xdp_md *ctx)
{
    return filter(ctx, &bench_ipv4, &bench_ipv6);
}

SEC("xdp")
int bench_lpm(struct xdp_md *ctx)
{
    return filter(ctx, &bench_lpm4, &bench_lpm6);
}

/* ---- the sender ---- */

const volatile __u32 send_kind;   /* enum bench_kind: which address changes */
const volatile __u32 send_base;   /* IPv4: the address of number 0 */
const volatile __u32 send_count;  /* how many there are */
const volatile __u32 send_stride; /* from one to the next, without a common divisor */
__u32 send_next;
__u64 send_head[BENCH_HEAD_WORDS]; /* how a frame begins */

/* The next number; one CPU sends. */
INLINE __u32 next_number(void)
{
    __u32 n = send_next;
    __u32 after = n + send_stride;

    send_next = after >= send_count ? after - send_count : after;
    return n;
}

/* The identification takes up what the source adds to the header's sum: see put_ipv4_sum(). */
INLINE void set_ipv4(struct iphdr *ip, __u32 source)
{
    __u32 sum = (source >> 16) + (source & 0xffff);

    ip->saddr = bpf_htonl(source);
    ip->id = bpf_htons((__u16) ~((sum & 0xffff) + (sum >> 16)));
}

/* Buffers come back as the last one left them: with a router's addresses and its count of hops. */
INLINE void set_head(__u64 *frame)
{
#pragma unroll
    for (int i = 0; i < BENCH_HEAD_WORDS; i++)
        frame[i] = send_head[i];
}

SEC("xdp")
int bench_send(struct xdp_md *ctx)
{
    struct ethhdr *eth = (void *)(long)ctx->data;
    void *end = (void *)(long)ctx->data_end;
    struct ipv6hdr *six = (void *)(eth + 1);
    struct iphdr *four = (void *)(eth + 1);

    if ((void *)eth + sizeof(send_head) > end)
        return XDP_DROP;
    set_head((void *)eth);
    if (send_kind == BENCH_MAC)
        *(__be32 *)&eth->h_source[2] = bpf_htonl(next_number());
    else if (send_kind == BENCH_IPV4)
        set_ipv4(four, send_base + next_number());
    else
        six->saddr.in6_u.u6_addr32[3] = bpf_htonl(next_number());
    return XDP_TX;
}

char LICENSE[] SEC("license") = "GPL";
