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
#define PULL_BYTES 256 /* enough for every header that is judged */

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

/* A first line of defence for the daemon: each sighting once a window, and few of them. */
CORDON_INLINE int may_tell(const struct cordon_sighting *s, __u64 jiffies)
{
    __u64 hash = cordon_hash(cordon_seed, s->kind, s->mac ^ s->a, s->b + s->ifindex);
    __u32 i = (__u32)hash & (CORDON_TOLD - 1), tag = hash >> 32;
    __u32 window = jiffies >> CORDON_TOLD_SHIFT;
    struct cordon_told *told = bpf_map_lookup_elem(&cordon_told, &i);
    struct cordon_port *port = port_of(s->ifindex);

    if (!told || !port || (told->tag == tag && told->window == window))
        return 0;
    if (port->window != window) {
        port->window = window;
        port->told = 0;
    }
    if (port->told >= CORDON_TOLD_MAX)
        return 0;
    port->told++;
    told->tag = tag;
    told->window = window;
    return 1;
}

/*
 * Tell the daemon about a pair or a place that it does not know, and remember that it was told.
 * `mac` and `ip` are slots or CORDON_NO_OWNER.
 */
__attribute__((noinline)) int cordon_sight(const struct cordon_sighting *s, __u32 mac, __u32 ip)
{
    struct found by, used;

    if (!s || is_group(s->mac) || s->mac == 0 || !may_tell(s, bpf_jiffies64()))
        return 0;
    if (bpf_ringbuf_output(&cordon_sightings, (void *)s, sizeof(*s), 0))
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

CORDON_INLINE void sight(const struct frame *f, const struct packet *p, struct found mac,
                         const struct judged *j)
{
    struct cordon_sighting s = {.mac = f->mac, .ifindex = p->ifindex};
    int known = mac.slot && mac.slot->owner == p->ifindex;

    if (is_host((struct claim){j->a, j->b, j->kind})) {
        struct found ip = slot_at(j->ip);

        known = known && ip.slot && ip.slot->owner == mac.slot->self;
        s.a = j->a;
        s.b = j->b;
        s.kind = j->kind;
    }
    if (!known)
        (void)cordon_sight(&s, mac.slot ? mac.index : CORDON_NO_OWNER, j->ip);
}

/* The verdict on one more network address, by itself or by a prefix that holds it. */
CORDON_INLINE void judge_ip(struct claim c, struct found ip, struct judged *j)
{
    __u32 zero = 0;
    struct cordon_state *state = bpf_map_lookup_elem(&cordon_state, &zero);

    j->a = c.a;
    j->b = c.b;
    j->kind = c.kind;
    j->ip = ip.slot ? ip.index : CORDON_NO_OWNER;
    if (ip.slot)
        judge_by(j, mode_of(ip.slot), ip.index);
    if (state && state->prefixes[c.kind == CORDON_IPV6])
        (void)cordon_judge_prefix(c.a, c.b, c.kind, j);
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
__attribute__((noinline)) int cordon_judge_inner(const struct inner *inner, struct judged *j)
{
    struct found found;

    if (!inner || !j)
        return 0;
    if (inner->ip.kind) {
        found = find(inner->ip);
        judge_ip(inner->ip, found, j);
    }
    if (inner->mac) {
        found = slot_at(cordon_find(inner->mac, 0, CORDON_MAC));
        if (found.slot)
            judge_by(j, mode_of(found.slot), found.index);
    }
    return 0;
}

CORDON_INLINE int drop(const struct frame *f, const struct packet *p, __u32 by)
{
    struct cordon_port *port = port_of(p->ifindex);

    count(by, f->direction == EGRESS ? CORDON_TX_DROPPED : CORDON_RX_DROPPED, p->packets, p->bytes);
    if (port) {
        port->dropped_packets += p->packets;
        port->dropped_bytes += p->bytes;
    }
    return 0;
}

CORDON_INLINE int pass(const struct frame *f, const struct packet *p, __u32 mac, __u32 ip)
{
    enum cordon_count what = f->direction == EGRESS ? CORDON_TX_PASSED : CORDON_RX_PASSED;

    count(mac, what, p->packets, p->bytes);
    /* What goes to everybody is not counted for the one it asks for. */
    if (f->direction == INGRESS || !is_group(f->mac))
        count(ip, what, p->packets, p->bytes);
    return 1;
}

CORDON_INLINE __u32 unknown_mode(enum direction direction)
{
    __u32 zero = 0;
    struct cordon_state *state = bpf_map_lookup_elem(&cordon_state, &zero);

    return state && direction == INGRESS ? state->unknown_mode : CORDON_PASS;
}

/* 1: pass, 0: drop. */
CORDON_INLINE int judge(struct packet *p, enum direction direction, void *ctx,
                        int (*read)(void *ctx, struct inner *out), int (*may)(void *ctx))
{
    struct frame f = {.direction = direction};
    struct judged j = {.ip = CORDON_NO_OWNER, .by = CORDON_NO_OWNER};
    struct found mac, ip = {};
    __u32 tick = 0;

    if (parse_link(&f, p->data) < 0)
        return 1;
    mac = find((struct claim){f.mac, 0, CORDON_MAC});
    if (direction == INGRESS) {
        tick = bpf_jiffies64();
        touch(mac, tick);
    }
    if (mac.slot) {
        j.mode = mode_of(mac.slot);
        j.by = mac.index;
        if (j.mode == CORDON_ISOLATE)
            return drop(&f, p, mac.index);
    } else {
        j.mode = unknown_mode(direction);
    }

    parse_network(&f);
    if (f.ip.kind) {
        ip = find(f.ip);
        judge_ip(f.ip, ip, &j);
    }
    if (f.deep) {
        struct inner inner = {};

        (void)read(ctx, &inner);
        (void)cordon_judge_inner(&inner, &j);
    }
    if (direction == INGRESS) {
        touch(slot_at(j.ip), tick);
        sight(&f, p, mac, &j);
    }
    if (j.mode == CORDON_REMEDIATE && !may(ctx))
        j.mode = CORDON_ISOLATE;
    if (j.mode == CORDON_ISOLATE)
        return drop(&f, p, j.by);
    return pass(&f, p, mac.slot ? mac.index : CORDON_NO_OWNER, j.ip);
}

#define FN(function) ((void *)(function)) /* inlined: a plain call */

SEC("xdp.frags")
int cordon_xdp(struct xdp_md *ctx)
{
    struct packet p = {
        .data = DATA_OF(ctx),
        .ifindex = ctx->ingress_ifindex,
        .packets = 1,
        .bytes = ctx->data_end - ctx->data,
    };

    if (cordon_has_frags)
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
