/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * What a policy does to a device's packets: limits, learning, an access control list (RFC 8519,
 * RFC 8520). Constant time: an address finds the rules that it is the other end of as one word of
 * bits. Kernel side only.
 */
#pragma once

#include "cordon_remediate.h"
#include "cordon_watch.h"

#define SECOND 1000000000ULL
#define IGMP 2
#define PAE_GROUP cordon_pair(bpf_htonl(0x0180c200), bpf_htons(0x0003))

/* Sized by the daemon before load; policies has two banks of each number. */
SHARED_ARRAY(cordon_policies, struct cordon_policy, 2);
SHARED_ARRAY(cordon_meters, struct cordon_meter, 1);

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, CORDON_PEERS);
    __type(key, struct cordon_peer);
    __type(value, __u64);
} cordon_peers SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_LPM_TRIE);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, CORDON_NETS);
    __type(key, struct cordon_net);
    __type(value, __u64);
} cordon_nets SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, CORDON_LEARNED);
    __type(key, struct cordon_learned_key);
    __type(value, struct cordon_learned);
} cordon_learned SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 64 * 1024);
} cordon_copies SEC(".maps");

/* Questions to name servers that are not answered yet; the oldest are forgotten first. */
struct asked {
    __u64 mac, a, b; /* who asked, and whom */
    __u16 port, id;
    __u32 kind;
};

struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, 4096);
    __type(key, struct asked);
    __type(value, __u64);
} cordon_asked SEC(".maps");

struct policy {
    struct cordon_policy *list;
    struct cordon_meter *meter;
    __u32 number, bank, changes;
};

/*
 * The bank is chosen once a packet, by the count of changes, and told: what follows sees the same
 * policy, and whoever decided by one that changed meanwhile decides again.
 */
#define BANK_NOW 0xffffffffU

CORDON_INLINE int policy_at(__u32 number, __u32 bank, struct policy *out)
{
    __u32 i = number;

    out->meter = bpf_map_lookup_elem(&cordon_meters, &i);
    if (!out->meter)
        return 0;
    out->number = number;
    out->changes = bank == BANK_NOW ? *(volatile __u32 *)&out->meter->bank : bank;
    out->bank = out->changes & 1;
    i = number * 2 + out->bank;
    out->list = bpf_map_lookup_elem(&cordon_policies, &i);
    return out->list != 0;
}

/* ---- limits ---- */

#define MICRO 1000000LL /* a bucket's unit is a millionth: no fraction is lost */

CORDON_INLINE __s64 filled(__s64 left, __u64 per_s, __u64 elapsed_us)
{
    __s64 more = left + (__s64)(per_s * elapsed_us), most = (__s64)per_s * MICRO;

    return more > most ? most : more;
}

/*
 * Two token buckets that hold a second's worth: 0 when one is empty. Two CPUs that fill or take at
 * once may let one packet more through each, no more.
 */
CORDON_INLINE int within_limits(struct policy *p, enum direction direction, __u64 packets,
                                __u64 bytes)
{
    const struct cordon_policy *l = p->list;
    int way = direction == EGRESS;
    __u64 filled_ns, elapsed_us;
    __s64 elapsed_ns;

    if (l->packets_per_s == 0 && l->bytes_per_s == 0)
        return 1;
    filled_ns = *(volatile __u64 *)&p->meter->at[way].filled_ns; /* read once: CPUs race here */
    elapsed_ns = bpf_ktime_get_coarse_ns() - filled_ns;
    if (elapsed_ns >= 1000) { /* another CPU's tick may be ahead */
        elapsed_us = (__u64)elapsed_ns / 1000;
        p->meter->at[way].filled_ns = filled_ns + elapsed_us * 1000;
        if (elapsed_us > MICRO)
            elapsed_us = MICRO;
        p->meter->at[way].packets = filled(p->meter->at[way].packets, l->packets_per_s, elapsed_us);
        p->meter->at[way].bytes = filled(p->meter->at[way].bytes, l->bytes_per_s, elapsed_us);
    }
    if ((l->packets_per_s && p->meter->at[way].packets <= 0) ||
        (l->bytes_per_s && p->meter->at[way].bytes <= 0))
        return 0;
    /* What has no limit runs up no debt, which a limit set later would find. */
    if (l->packets_per_s)
        __sync_fetch_and_add(&p->meter->at[way].packets, -(__s64)(packets * MICRO));
    if (l->bytes_per_s)
        __sync_fetch_and_add(&p->meter->at[way].bytes, -(__s64)(bytes * MICRO));
    return 1;
}

/* ---- rules ---- */

/* The networks of a scope that hold the address, as bits; the daemon adds up what lies in one. */
CORDON_INLINE __u64 nets_of(__u32 scope, struct claim c)
{
    struct cordon_net key = {
        .prefix_len = c.kind == CORDON_IPV6 ? 32 + 128 : 32 + 32,
        .scope = scope,
        .words = {(__u32)c.a, (__u32)(c.a >> 32), (__u32)c.b, (__u32)(c.b >> 32)},
    };
    __u64 *rules = bpf_map_lookup_elem(&cordon_nets, &key);

    return rules ? *rules : 0;
}

/* Multicast and broadcast stay on the link; so does what the LAN ports' networks hold. */
CORDON_INLINE int is_local(struct claim c)
{
    __u8 first = bpf_ntohl((__u32)c.a) >> 24;

    if (c.kind == CORDON_IPV6 ? first == 0xff : first >> 4 == 14 || (__u32)c.a == 0xffffffff)
        return 1;
    return nets_of(CORDON_SCOPE(0, 0, c.kind), c) != 0;
}

/* The rules that this other end is named in, as bits. */
CORDON_INLINE __u64 rules_for(const struct policy *p, struct claim peer)
{
    __u32 scope = CORDON_SCOPE(p->number, p->bank, peer.kind);
    struct cordon_peer key = {peer.a, peer.b, scope, 0};
    __u64 *host = bpf_map_lookup_elem(&cordon_peers, &key);
    __u64 rules = p->list->any | (host ? *host : 0) | nets_of(scope, peer);

    if (p->list->local && is_local(peer))
        rules |= p->list->local;
    if (p->list->gateway && is_ours(peer))
        rules |= p->list->gateway;
    return rules;
}

CORDON_INLINE int has_ports(int protocol)
{
    return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_ICMP ||
           protocol == NEXT_ICMPV6;
}

CORDON_INLINE int ports_match(const struct cordon_rule *r, const struct talk *t)
{
    if (has_ports(t->protocol))
        return t->blind || (t->own >= r->own_min && t->own <= r->own_max &&
                            t->other >= r->peer_min && t->other <= r->peer_max);
    return r->own_min == 0 && r->own_max == 0xffff && r->peer_min == 0 && r->peer_max == 0xffff;
}

CORDON_INLINE int rule_holds(const struct cordon_rule *r, const struct talk *t,
                             enum direction direction)
{
    if (r->egress != (direction == EGRESS) || (r->family && r->family != t->peer.kind) ||
        (r->protocol && r->protocol != t->protocol) || (r->no_open && t->opens))
        return 0;
    return ports_match(r, t);
}

/* A function of its own: the verifier sees the walk over the rules once. */
__attribute__((noinline)) int cordon_allows(__u32 number, __u32 bank, const struct talk *t,
                                            __u32 direction)
{
    struct policy p;
    __u64 rules;

    if (!t || !t->peer.kind || !policy_at(number, bank, &p))
        return 0;
    rules = rules_for(&p, t->peer);
    for (int i = 0; i < CORDON_RULES && rules; i++, rules >>= 1) {
        if (rules & 1 && rule_holds(&p.list->rules[i], t, direction))
            return 1;
    }
    return 0;
}

/* Who listens to which group, and who is where: RFC 2236, RFC 2710, RFC 3810, RFC 4861 */
CORDON_INLINE int is_of_link(const struct talk *t)
{
    if (t->peer.kind == CORDON_IPV4)
        return t->protocol == IGMP;
    return t->protocol == NEXT_ICMPV6 &&
           ((t->own >= ICMPV6_MGM_QUERY && t->own <= ND_REDIRECT) || t->own == ICMPV6_MLD2_REPORT);
}

/*
 * What every network needs, toward those who may need it: errors of whom some rule leads to, and of
 * anybody on the way there (RFC 4890 §4.3.1: without them nothing large arrives); the link's own
 * business on the link.
 */
__attribute__((noinline)) int cordon_housekeeping(__u32 number, __u32 bank, const struct talk *t)
{
    struct policy p;

    if (!t || !policy_at(number, bank, &p))
        return 0;
    if (t->arp)
        return 1;
    if (t->eapol) /* to whom 802.1X is between (IEEE 802.1X-2020 §11.1.1), or whose keys it has */
        return t->to == PAE_GROUP || is_ours((struct claim){t->to, 0, CORDON_MAC}) ||
               is_ours((struct claim){t->from, 0, CORDON_MAC});
    if (!t->peer.kind || t->blind)
        return 0;
    if (is_error(t))
        return rules_for(&p, t->peer) || (t->quoted.kind && rules_for(&p, t->quoted));
    return is_of_link(t) && is_local(t->peer);
}

/* ---- learning ---- */

/* How fast it goes in its busiest second. */
CORDON_INLINE void measure(struct cordon_meter *m, __u64 packets, __u64 bytes)
{
    __u64 now_ns = bpf_ktime_get_coarse_ns();

    if ((__s64)(now_ns - m->second_ns) >= (__s64)SECOND) {
        m->second_ns = now_ns;
        m->packets = m->bytes = 0;
    }
    m->packets += packets;
    m->bytes += bytes;
    if (m->packets > m->peak_packets)
        m->peak_packets = m->packets;
    if (m->bytes > m->peak_bytes)
        m->peak_bytes = m->bytes;
}

CORDON_INLINE int counted(const struct cordon_learned_key *key, __u64 packets, __u64 bytes)
{
    struct cordon_learned *l = bpf_map_lookup_elem(&cordon_learned, key);

    if (!l)
        return 0;
    __sync_fetch_and_add(&l->packets, packets);
    __sync_fetch_and_add(&l->bytes, bytes);
    l->last_ns = bpf_ktime_get_boot_ns();
    return 1;
}

/* Who called whom: TCP says it; else the lower port is the service, or the first packet calls. */
CORDON_INLINE int device_called(const struct talk *t, enum direction direction)
{
    if (t->opens || !has_ports(t->protocol) || t->own == t->other ||
        (t->protocol != IPPROTO_TCP && t->protocol != IPPROTO_UDP))
        return direction == INGRESS;
    return t->other < t->own;
}

__attribute__((noinline)) int cordon_learn(__u32 number, const struct talk *t, __u32 direction,
                                           __u64 packets, __u64 bytes)
{
    struct policy at = {}, *p = &at;
    struct cordon_learned_key key = {};
    struct cordon_learned fresh = {packets, bytes, 0, 0};
    int ports;

    if (!t || !policy_at(number, BANK_NOW, p) || !t->peer.kind || t->protocol < 0)
        return 0;
    ports = t->protocol == IPPROTO_TCP || t->protocol == IPPROTO_UDP;
    if (t->blind && ports)
        return 0;
    measure(p->meter, packets, bytes);
    key.a = t->peer.a;
    key.b = t->peer.b;
    key.scope = CORDON_SCOPE(number, 0, t->peer.kind);
    key.port = ports ? t->other : t->own;
    key.protocol = t->protocol;
    key.egress = ports ? 0 : direction == EGRESS;
    if (!t->opens || direction == INGRESS) {
        if (counted(&key, packets, bytes))
            return 0;
    }
    if (ports) {
        key.port = t->own;
        key.egress = 1;
        if (!(t->opens && direction == INGRESS) && counted(&key, packets, bytes))
            return 0;
        if (device_called(t, direction)) {
            key.port = t->other;
            key.egress = 0;
        }
    }
    if (p->meter->learned >= CORDON_LEARNED_MAX) {
        __sync_fetch_and_add(&p->meter->missed, 1);
        return 0;
    }
    fresh.first_ns = fresh.last_ns = bpf_ktime_get_boot_ns();
    if (bpf_map_update_elem(&cordon_learned, &key, &fresh, BPF_NOEXIST) == 0)
        __sync_fetch_and_add(&p->meter->learned, 1);
    else
        __sync_fetch_and_add(&p->meter->missed, 1);
    return 0;
}
