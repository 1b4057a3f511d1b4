/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * What is noticed on the wire: who is where, who uses whose address, who calls whom. Each CPU and
 * port tells little in a window, so that no flood drowns the daemon. Kernel side only.
 */
#pragma once

#include "cordon_table.h"

#define MS 1000000ULL

SHARED_ARRAY(cordon_told, struct cordon_told, CORDON_TOLD);
SHARED_ARRAY(cordon_watches, struct cordon_watch, 1); /* sized by the daemon */

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 256 * 1024);
} cordon_events SEC(".maps");

/* Neither multicast, nor nobody, nor the loopback: somebody's own address. */
CORDON_INLINE int is_host(struct claim c)
{
    __u8 first = bpf_ntohl((__u32)c.a) >> 24;

    if (c.kind == CORDON_IPV6)
        return first != 0xff && c.a != 0;
    return c.kind == CORDON_IPV4 && first != 0 && first != 127 && first < 224;
}

/* Broadcast and multicast link addresses have the lowest bit of their first byte set. */
CORDON_INLINE int is_group(__u64 mac)
{
    return *(const __u8 *)&mac & 1;
}

/* ---- telling ---- */

CORDON_INLINE __u32 told_window(void)
{
    return bpf_jiffies64() >> CORDON_TOLD_SHIFT;
}

/* Where it is remembered that this was told, and how it is known there. */
CORDON_INLINE struct cordon_told *told_at(__u64 mac, struct claim ip, __u32 what, __u32 *out_tag)
{
    __u64 hash = cordon_hash(cordon_factor_b, cordon_factor_a, what, mac ^ ip.a, ip.b);
    __u32 i = cordon_bucket_of(hash, 64 - CORDON_TOLD_BITS);

    *out_tag = hash >> 16;
    return bpf_map_lookup_elem(&cordon_told, &i);
}

/* A first line of defence for the daemon. Sightings cannot use up what other events have. */
CORDON_INLINE int within_quota(__u32 ifindex, __u32 window, int sighting)
{
    struct cordon_port *port = port_of(ifindex, bpf_get_smp_processor_id());

    if (!port)
        return 0;
    if (port->window != window) {
        port->window = window;
        port->told = port->noticed = 0;
    }
    if (sighting)
        return port->told < CORDON_TOLD_MAX && ++port->told;
    return port->noticed < CORDON_NOTICED_MAX && ++port->noticed;
}

/* Once a window for each port, MAC, address and kind of event. */
__attribute__((noinline)) int cordon_tell(struct cordon_event *e)
{
    __u32 tag, window = told_window();
    struct cordon_told *told;
    struct claim c;

    if (!e || is_group(e->mac) || e->mac == 0)
        return 0;
    c = (struct claim){e->a, e->b, e->kind};
    told = told_at(e->mac, c, e->ifindex << CORDON_WHAT_BITS | e->what, &tag);
    if (!told || (told->tag == tag && told->window == window) ||
        !within_quota(e->ifindex, window, e->what == CORDON_SIGHTING))
        return 0;
    told->tag = tag;
    told->window = window;
    if (!is_host(c))
        e->kind = 0;
    return bpf_ringbuf_output(&cordon_events, e, sizeof(*e), 0) == 0;
}

/* ---- who was where ---- */

CORDON_INLINE struct cordon_watch *watch_of(struct found mac)
{
    __u32 i = mac.index;

    return bpf_map_lookup_elem(&cordon_watches, &i);
}

/* The watch, begun anew when its window is over, or for the slot's new MAC. */
CORDON_INLINE struct cordon_watch *watch_now(struct found mac, __u64 now_ns)
{
    struct cordon_watch *w = watch_of(mac);

    if (!w || !mac.slot)
        return 0;
    if (w->self != mac.slot->self ||
        (__s64)(now_ns - w->since_ns) >= (__s64)(cordon_live.limits.window_ms * MS)) {
        w->since_ns = now_ns;
        w->hosts[0] = w->hosts[1] = w->ports[0] = w->ports[1] = w->neighbours = 0;
        w->told = 0;
        w->moves = 0;
        if (w->self != mac.slot->self)
            w->paced_ms = 0;
        w->self = mac.slot->self;
    }
    return w;
}

/* How many bits are set (Hacker's Delight §5-1). */
CORDON_INLINE __u32 bits_of(__u64 v)
{
    v -= v >> 1 & 0x5555555555555555ULL;
    v = (v & 0x3333333333333333ULL) + (v >> 2 & 0x3333333333333333ULL);
    return ((v + (v >> 4)) & 0x0f0f0f0f0f0f0f0fULL) * 0x0101010101010101ULL >> 56;
}

/* Once for each kind in the window. */
CORDON_INLINE void notice(struct cordon_watch *w, struct cordon_event *e, enum cordon_noticed kind,
                          __u32 count, __u32 limit)
{
    if (limit == 0 || count < limit || w->told >> kind & 1)
        return;
    e->what = CORDON_WIRE + kind;
    e->count = count;
    e->window_ms = cordon_live.limits.window_ms;
    if (cordon_tell(e))
        w->told |= 1 << kind;
}

/* The port that a MAC was heard on is not the one before. */
__attribute__((noinline)) int cordon_moved(struct cordon_event *e, __u32 mac_slot)
{
    struct found mac = slot_at(mac_slot);
    struct cordon_watch *w = watch_now(mac, bpf_ktime_get_coarse_ns());

    if (!e || !w || w->moves == 0xff)
        return 0;
    w->moves++;
    notice(w, e, NOTICED_MOVES, w->moves, cordon_live.limits.moves);
    return 0;
}

/* True when the bit was not set yet. */
CORDON_INLINE int set_bit(__u64 *word, __u32 bit)
{
    __u64 mask = 1ULL << (bit & 63);

    if (*word & mask)
        return 0;
    *word |= mask;
    return 1;
}

/*
 * A scan's addresses and ports follow each other, which multiply-shift maps to a progression: with
 * unlucky factors to few of its upper bits. Here every bit counts for every other (MurmurHash3's
 * last step).
 */
CORDON_INLINE __u64 scattered(__u64 hash)
{
    hash = (hash ^ hash >> 33) * 0xff51afd7ed558ccdULL;
    hash = (hash ^ hash >> 33) * 0xc4ceb9fe1a85ec53ULL;
    return hash ^ hash >> 33;
}

/* A conversation begins. `neighbour`: with another device of this LAN. */
__attribute__((noinline)) int cordon_called(struct cordon_event *e, __u32 mac_slot,
                                            __u32 counts_port, __u32 neighbour)
{
    struct cordon_watch *w = watch_now(slot_at(mac_slot), bpf_ktime_get_coarse_ns());
    __u64 host, port;

    if (!e || !w)
        return 0;
    host = scattered(
        cordon_hash(cordon_factor_a, cordon_factor_b, e->peer_kind, e->peer_a, e->peer_b));
    if (set_bit(&w->hosts[host >> 63], host >> 57))
        notice(w, e, NOTICED_HOSTS, bits_of(w->hosts[0]) + bits_of(w->hosts[1]),
               cordon_live.limits.hosts);
    port = scattered(cordon_hash(cordon_factor_b, cordon_factor_a, e->protocol, e->port, 0));
    if (counts_port && set_bit(&w->ports[port >> 63], port >> 57))
        notice(w, e, NOTICED_PORTS, bits_of(w->ports[0]) + bits_of(w->ports[1]),
               cordon_live.limits.ports);
    if (neighbour && set_bit(&w->neighbours, host >> 40))
        notice(w, e, NOTICED_NEIGHBOURS, bits_of(w->neighbours), cordon_live.limits.neighbours);
    return 0;
}

/* Of all CPUs: a card spreads what one device sends over them. */
CORDON_INLINE __u32 packets_from(__u32 mac_slot)
{
    __u32 packets = 0;

    for (__u32 cpu = 0; cpu < cordon_cpus && cpu < CORDON_CPUS; cpu++) {
        __u32 i = mac_slot * cordon_cpus + cpu;
        struct cordon_counter *c = bpf_map_lookup_elem(&cordon_counters, &i);

        if (c)
            packets += c->at[CORDON_RX_PASSED].packets + c->at[CORDON_RX_DROPPED].packets;
    }
    return packets;
}

/* Asked once a tick: how many packets did it send since a second ago? */
__attribute__((noinline)) int cordon_paced(__u32 mac_slot, __u32 ifindex)
{
    struct cordon_event e = {.ifindex = ifindex};
    struct found mac = slot_at(mac_slot);
    struct cordon_watch *w;
    __u32 ms, passed_ms, packets;

    if (!mac.slot)
        return 0;
    e.mac = mac.slot->a;
    w = watch_now(mac, mac.slot->seen_ns);
    if (!w)
        return 0;
    ms = mac.slot->seen_ns / MS;
    passed_ms = ms - w->paced_ms;
    if (w->paced_ms != 0 && passed_ms < 1000)
        return 0;
    packets = packets_from(mac_slot);
    if (w->paced_ms != 0 && passed_ms < 2000)
        notice(w, &e, NOTICED_FLOOD, (packets - w->paced_packets) * 1000ULL / passed_ms,
               cordon_live.limits.packets_per_s);
    w->paced_ms = ms;
    w->paced_packets = packets;
    return 0;
}
