/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * Finding an address's slot, reading its verdict, counting. Kernel side only.
 */
#pragma once

#include "cordon_parse.h"

/* Set before load, so that the verifier folds them. */
const volatile __u64 cordon_factor_a = 1, cordon_factor_b = 1;
const volatile __u32 cordon_bucket_mask, cordon_bucket_shift = 63;
const volatile __u32 cordon_cpus = 1;

/* Changes while the programs run. */
volatile struct cordon_live cordon_live = {};

#define SHARED_ARRAY(name, value_type, entries)                                                    \
    struct {                                                                                       \
        __uint(type, BPF_MAP_TYPE_ARRAY);                                                          \
        __uint(map_flags, BPF_F_MMAPABLE);                                                         \
        __uint(max_entries, entries);                                                              \
        __type(key, __u32);                                                                        \
        __type(value, value_type);                                                                 \
    } name SEC(".maps")

/* Sized by the daemon before load. */
SHARED_ARRAY(cordon_slots, struct cordon_slot, 1);
SHARED_ARRAY(cordon_buckets, struct cordon_bucket, 1);
SHARED_ARRAY(cordon_filters, struct cordon_filter, 1);
SHARED_ARRAY(cordon_counters, struct cordon_counter, 1);
SHARED_ARRAY(cordon_ports, struct cordon_port, 1);
SHARED_ARRAY(cordon_state, struct cordon_state, 1);
SHARED_ARRAY(cordon_ends, __s64, 1); /* the daemon's alone: each verdict's end in wall time */

struct {
    __uint(type, BPF_MAP_TYPE_LPM_TRIE);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, CORDON_PREFIXES);
    __type(key, struct cordon_lpm4);
    __type(value, __u32);
} cordon_lpm4 SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_LPM_TRIE);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, CORDON_PREFIXES);
    __type(key, struct cordon_lpm6);
    __type(value, __u32);
} cordon_lpm6 SEC(".maps");

struct found {
    struct cordon_slot *slot; /* NULL: not in the tables */
    __u32 index;
};

CORDON_INLINE struct found slot_at(__u32 index)
{
    return (struct found){bpf_map_lookup_elem(&cordon_slots, &index), index};
}

CORDON_INLINE struct found bucket_find(__u32 bucket, __u32 tag, __u64 a, __u64 b)
{
    struct cordon_bucket *in = bpf_map_lookup_elem(&cordon_buckets, &bucket);
    struct found f = {};

    if (!in)
        return f;
#pragma unroll
    for (int i = 0; i < CORDON_BUCKET_WAYS; i++) {
        __u64 entry = *(volatile __u64 *)&in->entry[i];

        if (entry >> 32 == tag) {
            f = slot_at((__u32)entry);
            if (f.slot && f.slot->a == a && f.slot->b == b)
                return f;
        }
    }
    f.slot = 0;
    return f;
}

/* Rare: the bucket overflowed once, so the address may be in one of the next. A slot, or -1. */
__attribute__((noinline)) __s64 cordon_find_spilled(__u64 hash, __u64 a, __u64 b, __u32 kind)
{
    for (__u32 i = 1; i < CORDON_BUCKET_HOPS; i++) {
        struct found f =
            bucket_find((cordon_bucket_of(hash, cordon_bucket_shift) + i) & cordon_bucket_mask,
                        cordon_tag(hash, kind), a, b);

        if (f.slot)
            return f.index;
    }
    return -1;
}

/*
 * The slot whose number is there, if it is this host's. Asked for where it stands, which is quicker
 * than by way of the stack; another CPU may write there, so what was found says itself which it is.
 */
CORDON_INLINE struct found guess(const __u32 *index, struct claim c)
{
    struct cordon_slot *slot = bpf_map_lookup_elem(&cordon_slots, index);

    if (!slot || slot->a != c.a || slot->b != c.b || slot->host != cordon_host(c.kind))
        return (struct found){};
    return (struct found){slot, slot->self & CORDON_SELF_SLOT};
}

CORDON_INLINE struct found find(struct claim c)
{
    __u64 hash = cordon_hash(cordon_factor_a, cordon_factor_b, c.kind, c.a, c.b);
    __u32 bucket = cordon_bucket_of(hash, cordon_bucket_shift);
    struct cordon_filter *filter = bpf_map_lookup_elem(&cordon_filters, &bucket);
    struct found f = {};
    __s64 spilled;

    if (!filter || !(filter->bits & cordon_filter_bit(hash)))
        return f;
    f = guess(&filter->hint, c);
    if (f.slot)
        return f;
    f = bucket_find(bucket, cordon_tag(hash, c.kind), c.a, c.b);
    if (!f.slot && filter->spilled) {
        spilled = cordon_find_spilled(hash, c.a, c.b, c.kind);
        if (spilled >= 0)
            f = slot_at((__u32)spilled);
    }
    if (f.slot)
        filter->hint = f.index;
    return f;
}

/* Of a MAC, most often the address that it used last. */
CORDON_INLINE struct found find_near(struct found mac, struct claim c, enum direction direction)
{
    __u32 *used;
    struct found f;

    CHECK_AGAIN(mac.slot);
    if (!mac.slot)
        return find(c);
    used = &mac.slot->used[c.kind == CORDON_IPV6];
    f = guess(used, c);
    if (f.slot)
        return f;
    f = find(c);
    if (f.slot && direction == INGRESS) /* what is sent to it says nothing of what it uses */
        *used = f.index;
    return f;
}

/* The same out of line, for the slow path. A slot, or CORDON_NO_OWNER. */
__attribute__((noinline)) __u32 cordon_find(__u64 a, __u64 b, __u32 kind)
{
    struct found f = find((struct claim){a, b, kind});

    return f.slot ? f.index : CORDON_NO_OWNER;
}

/* The mode in force now: the clock is read only for a verdict that has an end. */
CORDON_INLINE __u32 mode_of(const struct cordon_slot *slot)
{
    __u64 verdict = *(const volatile __u64 *)&slot->verdict;
    __u64 end = verdict & CORDON_FOREVER;

    if (verdict == 0 || (end != CORDON_FOREVER && bpf_ktime_get_boot_ns() >= end))
        return CORDON_PASS;
    return verdict & 3;
}

/* How strict it is, and whose verdict that is: a slot, or CORDON_NO_OWNER. One word. */
#define JUDGED(mode, by) ((__u64)(mode) << 32 | (__u32)(by))
#define MODE_OF(judged) ((__u32)((judged) >> 32))
#define BY_OF(judged) ((__u32)(judged))
#define UNJUDGED JUDGED(CORDON_PASS, CORDON_NO_OWNER)

/* The stricter of two: isolate, remediate, observe, none; the first, when they are alike. */
CORDON_INLINE __u64 stricter(__u64 one, __u64 other)
{
    return MODE_OF(other) - 1 < MODE_OF(one) - 1 ? other : one;
}

CORDON_INLINE __u64 judged_by(struct found f)
{
    CHECK_AGAIN(f.slot);
    return f.slot ? JUDGED(mode_of(f.slot), f.index) : UNJUDGED;
}

/* The strictest of all prefixes that hold the address, of equally strict ones the longest. */
__attribute__((noinline)) __u64 cordon_judge_prefix(__u64 a, __u64 b, __u32 kind)
{
    struct cordon_lpm4 key4 = {32, {}};
    struct cordon_lpm6 key6 = {128, {}};
    __u64 judged = UNJUDGED;

    *(__u32 *)(void *)key4.bytes = (__u32)a;
    ((__u32 *)(void *)key6.bytes)[0] = (__u32)a;
    ((__u32 *)(void *)key6.bytes)[1] = (__u32)(a >> 32);
    ((__u32 *)(void *)key6.bytes)[2] = (__u32)b;
    ((__u32 *)(void *)key6.bytes)[3] = (__u32)(b >> 32);
    /* 64 bits: of fewer, once on the stack, 5.15 does not know that they grow */
    for (__u64 i = 0; i < CORDON_PREFIX_LENGTHS && MODE_OF(judged) != CORDON_ISOLATE; i++) {
        __u32 *index = kind == CORDON_IPV4 ? bpf_map_lookup_elem(&cordon_lpm4, &key4)
                                           : bpf_map_lookup_elem(&cordon_lpm6, &key6);
        struct found f;

        if (!index)
            break;
        f = slot_at(*index);
        if (!f.slot)
            break;
        judged = stricter(judged, judged_by(f));
        if (f.slot->prefix_len == 0)
            break;
        key4.prefix_len = key6.prefix_len = f.slot->prefix_len - 1;
    }
    return judged;
}

/* Stricter than before by the verdict on a network address, or on a prefix that holds it? */
CORDON_INLINE __u64 judge_ip(__u64 judged, struct claim c, struct found ip)
{
    CHECK_AGAIN(ip.slot);
    if (ip.slot && ip.slot->verdict)
        judged = stricter(judged, judged_by(ip));
    if (cordon_live.prefixes[c.kind == CORDON_IPV6] && MODE_OF(judged) != CORDON_ISOLATE)
        judged = stricter(judged, cordon_judge_prefix(c.a, c.b, c.kind));
    return judged;
}

/* One CPU's counter of a slot. */
CORDON_INLINE void count(__u32 index, __u32 cpu, enum cordon_count what, __u64 packets, __u64 bytes)
{
    __u32 i = index * cordon_cpus + cpu;
    struct cordon_counter *c = bpf_map_lookup_elem(&cordon_counters, &i);

    if (c) {
        c->at[what].packets += packets;
        c->at[what].bytes += bytes;
    }
}

/* The address was heard: at most one clock reading and one write a tick. */
CORDON_INLINE void touch(struct found f, __u32 tick)
{
    if (f.slot && f.slot->tick != tick) {
        f.slot->tick = tick;
        f.slot->seen_ns = bpf_ktime_get_coarse_ns();
    }
}

CORDON_INLINE struct cordon_port *port_of(__u32 ifindex, __u32 cpu)
{
    __u32 i = (ifindex & (CORDON_PORTS - 1)) * cordon_cpus + cpu;
    struct cordon_port *port = bpf_map_lookup_elem(&cordon_ports, &i);

    return port && port->ifindex == ifindex ? port : 0;
}
