/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The isolation of Cordon: on every LAN port an XDP program (or a tc program where XDP cannot be)
 * judges what comes from it, and a tc program what goes toward it.
 */
#include "cordon_parse.h"
#include "cordon_remediate.h"
#include "cordon_table.h"

#define TCX_NEXT (-1) /* the next program decides; TC_ACT_UNSPEC for older kernels */
#define TC_DROP 2
#define FRAGS_FROM 1024 /* a frame that begins with less is in one piece */
#define PULL_BYTES 256  /* enough for every header that is judged */

const volatile __u8 cordon_has_frags; /* the kernel knows packets in several buffers */

SHARED_ARRAY(cordon_told, struct cordon_told, CORDON_TOLD);

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 256 * 1024);
} cordon_sightings SEC(".maps");

struct packet {
    struct cursor data;
    __u32 ifindex;
    __u32 packets;
    __u64 bytes;
};

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

CORDON_INLINE __u32 told_window(void)
{
    return bpf_jiffies64() >> CORDON_TOLD_SHIFT;
}

/* Where it is remembered that this sighting was told, and how it is known there. */
CORDON_INLINE struct cordon_told *told_at(__u64 mac, struct claim ip, __u32 ifindex, __u32 *out_tag)
{
    __u64 hash = cordon_hash(cordon_factor_b, cordon_factor_a, ifindex, mac ^ ip.a, ip.b);
    __u32 i = cordon_bucket_of(hash, 64 - CORDON_TOLD_BITS);

    *out_tag = hash >> 16;
    return bpf_map_lookup_elem(&cordon_told, &i);
}

/* A first line of defence for the daemon: few sightings per port, CPU and window. */
CORDON_INLINE int within_quota(__u32 ifindex, __u32 window)
{
    struct cordon_port *port = port_of(ifindex);

    if (!port)
        return 0;
    if (port->window != window) {
        port->window = window;
        port->told = 0;
    }
    if (port->told >= CORDON_TOLD_MAX)
        return 0;
    port->told++;
    return 1;
}

/*
 * Tell the daemon about a pair or a place that it does not know, and remember that it was told.
 * `mac` and `ip` are slots or CORDON_NO_OWNER.
 */
__attribute__((noinline)) int cordon_sight(struct cordon_sighting *s, __u32 mac, __u32 ip)
{
    __u32 tag, window = told_window();
    struct cordon_told *told;
    struct found by, used;
    struct claim c;

    if (!s || is_group(s->mac) || s->mac == 0)
        return 0;
    c = (struct claim){s->a, s->b, s->kind};
    told = told_at(s->mac, c, s->ifindex, &tag);
    if (!told || !within_quota(s->ifindex, window))
        return 0;
    told->tag = tag;
    told->window = window;
    if (!is_host(c))
        s->kind = 0;
    if (bpf_ringbuf_output(&cordon_sightings, s, sizeof(*s), 0))
        return 0;
    by = slot_at(mac);
    used = slot_at(ip);
    if (by.slot) {
        by.slot->owner = s->ifindex;
        if (used.slot && s->kind)
            used.slot->owner = by.slot->self;
    }
    return 0;
}

/* Nothing new: the pair is known, at this port. */
CORDON_INLINE int is_known(struct found mac, struct found ip, struct claim c, __u32 ifindex)
{
    if (!mac.slot || mac.slot->owner != ifindex)
        return 0;
    return !c.kind || (ip.slot && ip.slot->owner == mac.slot->self);
}

CORDON_INLINE void sight(__u64 mac_address, struct found mac, struct claim c, struct found ip,
                         __u32 ifindex)
{
    struct cordon_sighting s = {mac_address, c.a, c.b, c.kind, ifindex};
    struct cordon_told *told;
    __u32 tag;

    if (is_known(mac, ip, c, ifindex))
        return;
    told = told_at(mac_address, c, ifindex, &tag);
    if (told && told->tag == tag && told->window == told_window())
        return;
    (void)cordon_sight(&s, mac.slot ? mac.index : CORDON_NO_OWNER,
                       ip.slot ? ip.index : CORDON_NO_OWNER);
}

#define DATA_OF(ctx) ((struct cursor){(void *)(long)(ctx)->data, (void *)(long)(ctx)->data_end})

/* The slow parts are functions of their own, so that the verifier sees each path once. */
CORDON_INLINE void read_inner(struct cursor data, enum direction direction, struct inner *out)
{
    struct frame f = {.direction = direction};

    if (!out || parse_link(&f, data) < 0)
        return;
    parse_network(&f);
    parse_inner(&f, out);
}

CORDON_INLINE int remediable(struct cursor data, enum direction direction)
{
    struct frame f = {.direction = direction};

    return parse_link(&f, data) == 0 && may_pass(&f, data);
}

#define SLOW_PARTS(name, context, direction)                                                       \
    __attribute__((noinline)) int cordon_inner_##name(context *ctx, struct inner *out)             \
    {                                                                                              \
        read_inner(DATA_OF(ctx), direction, out);                                                  \
        return 0;                                                                                  \
    }                                                                                              \
    __attribute__((noinline)) int cordon_remediable_##name(context *ctx)                           \
    {                                                                                              \
        return remediable(DATA_OF(ctx), direction);                                                \
    }

SLOW_PARTS(xdp, struct xdp_md, INGRESS)
SLOW_PARTS(in, struct __sk_buff, INGRESS)
SLOW_PARTS(out, struct __sk_buff, EGRESS)

/* The verdicts on what ARP and neighbour discovery carry. */
__attribute__((noinline)) __u64 cordon_judge_inner(const struct inner *inner)
{
    __u64 judged = UNJUDGED;

    if (!inner)
        return judged;
    if (inner->ip.kind)
        judged = judge_ip(inner->ip, find(inner->ip));
    if (inner->mac)
        judged = stricter(judged, judged_by(slot_at(cordon_find(inner->mac, 0, CORDON_MAC))));
    return judged;
}

CORDON_INLINE int drop(const struct packet *p, enum direction direction, __u32 by)
{
    __u32 cpu = bpf_get_smp_processor_id();
    struct cordon_port *port = port_of(p->ifindex);

    if (by != CORDON_NO_OWNER)
        count(by, cpu, direction == EGRESS ? CORDON_TX_DROPPED : CORDON_RX_DROPPED, p->packets,
              p->bytes);
    if (port) {
        port->dropped_packets += p->packets;
        port->dropped_bytes += p->bytes;
    }
    return 0;
}

CORDON_INLINE int pass(const struct frame *f, const struct packet *p, struct found mac,
                       struct found ip)
{
    enum cordon_count what = f->direction == EGRESS ? CORDON_TX_PASSED : CORDON_RX_PASSED;
    __u32 cpu = bpf_get_smp_processor_id();

    if (mac.slot)
        count(mac.index, cpu, what, p->packets, p->bytes);
    /* What goes to everybody is not counted for the one it asks for. */
    if (ip.slot && (f->direction == INGRESS || !is_group(f->mac)))
        count(ip.index, cpu, what, p->packets, p->bytes);
    return 1;
}

/* 1: pass, 0: drop. */
CORDON_INLINE int judge(struct packet *p, enum direction direction, void *ctx,
                        int (*read)(void *ctx, struct inner *out), int (*may)(void *ctx))
{
    struct frame f = {.direction = direction};
    struct found mac, ip = {};
    __u32 tick = 0;
    __u64 judged;

    if (parse_link(&f, p->data) < 0)
        return 1;
    mac = find((struct claim){f.mac, 0, CORDON_MAC});
    if (direction == INGRESS) {
        tick = bpf_jiffies64();
        touch(mac, tick);
    }
    judged = judged_by(mac);
    if (MODE_OF(judged) == CORDON_ISOLATE)
        return drop(p, direction, mac.index);
    if (!mac.slot && direction == INGRESS)
        judged = JUDGED(cordon_live.unknown_mode, CORDON_NO_OWNER);

    parse_network(&f);
    if (f.ip.kind) {
        ip = find(f.ip);
        judged = stricter(judged, judge_ip(f.ip, ip));
    }
    if (f.deep) {
        struct inner inner = {};

        (void)read(ctx, &inner);
        judged = stricter(judged, cordon_judge_inner(&inner));
        if (inner.ip.kind) { /* who it is about, rather than who says it */
            f.ip = inner.ip;
            ip = slot_at(cordon_find(inner.ip.a, inner.ip.b, inner.ip.kind));
        }
    }
    if (direction == INGRESS) {
        touch(ip, tick);
        sight(f.mac, mac, f.ip, ip, p->ifindex);
    }
    if (MODE_OF(judged) == CORDON_ISOLATE || (MODE_OF(judged) == CORDON_REMEDIATE && !may(ctx)))
        return drop(p, direction, BY_OF(judged));
    return pass(&f, p, mac, ip);
}

#define FN(function) ((void *)(function)) /* inlined: a plain call */

SEC("xdp")
int cordon_xdp(struct xdp_md *ctx)
{
    struct packet p = {
        .data = DATA_OF(ctx),
        .ifindex = ctx->ingress_ifindex,
        .packets = 1,
        .bytes = ctx->data_end - ctx->data,
    };

    if (cordon_has_frags && p.bytes >= FRAGS_FROM)
        p.bytes = bpf_xdp_get_buff_len(ctx);
    return judge(&p, INGRESS, ctx, FN(cordon_inner_xdp), FN(cordon_remediable_xdp)) ? XDP_PASS
                                                                                    : XDP_DROP;
}

/* The headers may lie outside of the linear part of a buffer: fetch them. */
CORDON_INLINE struct packet packet_of(struct __sk_buff *skb)
{
    if (skb->data_end - skb->data < PULL_BYTES && skb->data_end - skb->data < skb->len)
        (void)bpf_skb_pull_data(skb, skb->len < PULL_BYTES ? skb->len : PULL_BYTES);
    return (struct packet){
        .data = DATA_OF(skb),
        .ifindex = skb->ifindex,
        .packets = skb->gso_segs ? skb->gso_segs : 1,
        .bytes = skb->len,
    };
}

SEC("tc")
int cordon_in(struct __sk_buff *skb)
{
    struct packet p = packet_of(skb);

    return judge(&p, INGRESS, skb, FN(cordon_inner_in), FN(cordon_remediable_in)) ? TCX_NEXT
                                                                                  : TC_DROP;
}

SEC("tc")
int cordon_out(struct __sk_buff *skb)
{
    struct packet p = packet_of(skb);

    return judge(&p, EGRESS, skb, FN(cordon_inner_out), FN(cordon_remediable_out)) ? TCX_NEXT
                                                                                   : TC_DROP;
}

char LICENSE[] SEC("license") = "GPL";
