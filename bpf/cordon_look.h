/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * The thorough look at a packet: everything that is not decided at a glance. What it claims, whose
 * that is, what is noticed, what its device's policy says. Kernel side only.
 */
#pragma once

#include "cordon_policy.h"

#define EPHEMERAL_PORTS 32768    /* from here on, as Linux and others have it */
#define ANSWER_NS 10000000000ULL /* a name server's answer comes sooner */

/* What the quick look at a packet found, for the thorough one. */
struct glance {
    struct claim ip;
    __u64 mac;
    __u64 judged;
    __u64 bytes;
    __u32 mac_slot, ip_slot; /* or CORDON_NO_OWNER */
    __u32 ifindex, packets;
    __u32 tick;
    __u32 direction;
    __u32 policy, by; /* whose: a slot */
    __u32 bank;       /* how often the policy had changed */
    __u32 answers;    /* a DNS answer to a device with a policy */
    struct inner inner;
    struct talk talk;
};

/* One packet is looked at on a CPU at a time; the stack is small. */
struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct glance);
} cordon_glance SEC(".maps");

#define DATA_OF(ctx) ((struct cursor){(void *)(long)(ctx)->data, (void *)(long)(ctx)->data_end})
#define SLOT_OF(found) ((found).slot ? (found).index : CORDON_NO_OWNER)

/* ---- who is where ---- */

/* Nothing new: the pair is known, at this port. */
CORDON_INLINE int is_known(struct found mac, struct found ip, struct claim c, __u32 ifindex)
{
    CHECK_AGAIN(mac.slot);
    CHECK_AGAIN(ip.slot);
    if (!mac.slot || mac.slot->owner != ifindex)
        return 0;
    return !c.kind || (ip.slot && ip.slot->owner == mac.slot->self);
}

/* The daemon was, lately. */
CORDON_INLINE int was_told(__u64 mac_address, struct claim c, __u32 ifindex)
{
    __u32 tag;
    struct cordon_told *told = told_at(mac_address, c, ifindex << 4 | CORDON_SIGHTING, &tag);

    return told && told->tag == tag && told->window == told_window();
}

/*
 * Tell the daemon about a pair or a place that it does not know, and remember that it was told. An
 * address that is somebody's changes hands by its word only.
 */
__attribute__((noinline)) int cordon_sight(const struct glance *g)
{
    struct cordon_event e = {};
    struct found mac, ip;

    if (!g)
        return 0;
    mac = slot_at(g->mac_slot);
    ip = slot_at(g->ip_slot);
    if (mac.slot && mac.slot->flags & CORDON_OWN) /* nobody is there by that name */
        return 0;
    e.mac = g->mac;
    e.a = g->ip.a;
    e.b = g->ip.b;
    e.kind = g->ip.kind;
    e.ifindex = g->ifindex;
    if (mac.slot && mac.slot->owner != CORDON_NO_OWNER && mac.slot->owner != g->ifindex)
        (void)cordon_moved(&e, g->mac_slot);
    e.what = CORDON_SIGHTING;
    if (!cordon_tell(&e) || !mac.slot)
        return 0;
    mac.slot->owner = e.ifindex;
    if (ip.slot && e.kind && !(ip.slot->flags & CORDON_CLAIMED))
        ip.slot->owner = mac.slot->self;
    return 0;
}

/* The owner went on to another IPv4 address: nobody has two, as a rule; of IPv6 everybody has. */
CORDON_INLINE int has_moved_on(struct found owner, struct found ip)
{
    struct found now;

    if (ip.slot->kind != CORDON_IPV4 || owner.slot->used[0] == ip.index)
        return 0;
    now = slot_at(owner.slot->used[0]);
    return now.slot && now.slot->kind == CORDON_IPV4;
}

/*
 * The address is kept for somebody else: the gateway, its router, or an owner that is still heard.
 * `inner` is the link address that ARP or discovery gives for it; 0: none.
 */
CORDON_INLINE int is_taken(struct found ip, struct found mac, __u64 inner, __u64 now_ns)
{
    struct found owner;

    if (!ip.slot || !(ip.slot->flags & CORDON_CLAIMED))
        return 0;
    if (ip.slot->flags & (CORDON_OWN | CORDON_ROUTER))
        return 1;
    owner = slot_at(ip.slot->owner & CORDON_SELF_SLOT);
    if (!owner.slot || owner.slot->self != ip.slot->owner)
        return 0;
    if (mac.slot && ip.slot->owner == mac.slot->self && (!inner || inner == owner.slot->a))
        return 0;
    return now_ns - owner.slot->seen_ns < CORDON_BOUND_NS && !has_moved_on(owner, ip);
}

/* ---- the thorough look ---- */

CORDON_INLINE void fill_event(struct cordon_event *e, const struct glance *g)
{
    const struct talk *t = &g->talk;

    *e = (struct cordon_event){
        .mac = g->mac,
        .a = g->ip.a,
        .b = g->ip.b,
        .kind = g->ip.kind,
        .peer_a = t->peer.a,
        .peer_b = t->peer.b,
        .peer_kind = t->peer.kind,
        .ifindex = g->ifindex,
        .count = 1,
        .port = g->direction == EGRESS ? t->own : t->other,
        .protocol = t->protocol < 0 ? 0 : t->protocol,
        .egress = g->direction == EGRESS,
    };
}

/* Whose address that is, and that somebody else used it. */
__attribute__((noinline)) int cordon_forged(const struct glance *g, __u32 inner)
{
    struct cordon_event e = {};
    struct found used, owner;

    if (!g)
        return 0;
    used = slot_at(g->ip_slot);
    owner = slot_at(used.slot ? used.slot->owner & CORDON_SELF_SLOT : 0);
    e.mac = g->mac;
    e.a = g->ip.a;
    e.b = g->ip.b;
    e.kind = g->ip.kind;
    e.ifindex = g->ifindex;
    e.count = 1;
    e.dropped = 1;
    e.what = CORDON_WIRE + (inner ? NOTICED_SPOOFED : NOTICED_FORGED);
    if (used.slot && used.slot->flags & CORDON_BOUND && owner.slot) {
        e.peer_a = owner.slot->a;
        e.peer_kind = CORDON_MAC;
    }
    return cordon_tell(&e);
}

/*
 * Nobody on a LAN port has the gateway's own link address. What a switch or an access point sends
 * back of ours goes to groups, and is no news.
 */
__attribute__((noinline)) int cordon_impostor(struct glance *g)
{
    struct found mac;

    if (!g || MODE_OF(g->judged) == CORDON_ISOLATE)
        return 0;
    mac = slot_at(g->mac_slot);
    if (!mac.slot || !(mac.slot->flags & CORDON_OWN))
        return 0;
    g->judged = JUDGED(CORDON_ISOLATE, g->mac_slot);
    if (!is_group(g->talk.to) || (g->inner.mac && g->inner.mac != g->mac))
        (void)cordon_forged(g, g->inner.mac != 0);
    return 1;
}

/* Serves addresses or routes, though nobody asked it to. */
__attribute__((noinline)) int cordon_rogue(const struct glance *g)
{
    const struct talk *t;
    struct cordon_event e;
    struct found mac, ip;
    int dhcp, router;

    if (!g)
        return 0;
    t = &g->talk;
    dhcp = t->protocol == IPPROTO_UDP && !t->blind &&
           t->own == (t->peer.kind == CORDON_IPV4 ? PORT_DHCP_SERVER : PORT_DHCPV6_SERVER);
    router = t->protocol == NEXT_ICMPV6 && t->own == ND_ROUTER_ADVERT;
    if (!dhcp && !router)
        return 0;
    mac = slot_at(g->mac_slot);
    ip = slot_at(g->ip_slot);
    if (mac.slot &&
        (mac.slot->flags & CORDON_SERVER ||
         (ip.slot && ip.slot->flags & CORDON_SERVER && ip.slot->owner == mac.slot->self)))
        return 0;
    fill_event(&e, g);
    e.what = CORDON_WIRE + (dhcp ? NOTICED_DHCP : NOTICED_ROUTER);
    return cordon_tell(&e);
}

/* Is it a question, rather than an answer, or part of something that began before? */
CORDON_INLINE int is_call(const struct glance *g)
{
    const struct talk *t = &g->talk;

    if (t->arp)
        return !g->inner.probe && t->peer.a != g->ip.a; /* its own: an announcement (RFC 5227 §3) */
    if (t->blind)
        return 0;
    switch (t->protocol) {
    case IPPROTO_TCP:
        return t->opens;
    case IPPROTO_UDP: /* an answer comes from the service's port, which is the lower one */
        return t->own >= t->other || t->own >= EPHEMERAL_PORTS;
    case IPPROTO_ICMP:
        return t->own == ICMP_ECHO;
    case NEXT_ICMPV6:
        return t->own == ICMPV6_ECHO_REQUEST;
    default:
        return 0;
    }
}

/* Another device of this LAN, not the gateway or what it routes to. */
CORDON_INLINE int is_neighbour(const struct glance *g)
{
    const struct talk *t = &g->talk;
    struct found to, peer;

    if (t->arp || is_group(t->to))
        return 0;
    to = slot_at(cordon_find(t->to, 0, CORDON_MAC));
    peer = slot_at(cordon_find(t->peer.a, t->peer.b, t->peer.kind));
    return to.slot && peer.slot && peer.slot->owner == to.slot->self &&
           !(to.slot->flags & (CORDON_OWN | CORDON_ROUTER)) && to.index != g->mac_slot;
}

/* A device calls somebody: which hosts, ports and neighbours does it call lately? */
__attribute__((noinline)) int cordon_call(const struct glance *g)
{
    const struct talk *t;
    struct cordon_event e;

    if (!g)
        return 0;
    t = &g->talk;
    if (!is_host(t->peer) || !is_call(g))
        return 0;
    fill_event(&e, g);
    return cordon_called(&e, g->mac_slot, t->protocol == IPPROTO_TCP || t->protocol == IPPROTO_UDP,
                         is_neighbour(g));
}

/* What a packet claims inside counts, too: who it is about, rather than who says it. */
__attribute__((noinline)) int cordon_weigh(struct glance *g)
{
    const struct inner *inner;

    if (!g)
        return 0;
    inner = &g->inner;
    if (inner->ip.kind) {
        g->ip = inner->ip;
        g->ip_slot = cordon_find(inner->ip.a, inner->ip.b, inner->ip.kind);
        g->judged = judge_ip(g->judged, inner->ip, slot_at(g->ip_slot));
    }
    if (inner->mac)
        g->judged = stricter(g->judged, judged_by(slot_at(cordon_find(inner->mac, 0, CORDON_MAC))));
    return 0;
}

/* The address that it sends from, or (`inner`) speaks of, is somebody else's: told, and dropped. */
__attribute__((noinline)) int cordon_claim(struct glance *g, __u32 inner)
{
    if (!g || MODE_OF(g->judged) == CORDON_ISOLATE ||
        !is_taken(slot_at(g->ip_slot), slot_at(g->mac_slot), inner ? g->inner.mac : 0,
                  bpf_ktime_get_coarse_ns()))
        return 0;
    (void)cordon_forged(g, inner);
    g->judged = JUDGED(CORDON_ISOLATE, g->mac_slot);
    return 1;
}

/* Heard now; 1: it is news that the two belong together. */
__attribute__((noinline)) int cordon_hear(struct glance *g)
{
    struct found ip;

    if (!g)
        return 0;
    ip = slot_at(g->ip_slot);
    touch(ip, g->tick);
    return !is_known(slot_at(g->mac_slot), ip, g->ip, g->ifindex) &&
           !was_told(g->mac, g->ip, g->ifindex);
}

#define POLICY_TRIES 4 /* while it changes: nobody changes one so often on purpose */

#define POLICY_PASS 0
#define POLICY_DROP 1   /* over a limit */
#define POLICY_DEPART 2 /* no rule allows it */

__attribute__((noinline)) int cordon_policy(struct glance *g)
{
    const struct talk *t;
    struct policy p;

    if (!g || !policy_at(g->policy, BANK_NOW, &p))
        return POLICY_PASS;
    t = &g->talk;
    g->bank = p.changes;
    if (!within_limits(&p, g->direction, g->packets, g->bytes) &&
        MODE_OF(g->judged) != CORDON_OBSERVE)
        return POLICY_DROP;
    if (p.list->flags & CORDON_LEARN)
        (void)cordon_learn(g->policy, t, g->direction, g->packets, g->bytes);
    if (!(p.list->flags & (CORDON_REPORT | CORDON_ENFORCE)) ||
        cordon_housekeeping(g->policy, p.changes, t) ||
        cordon_allows(g->policy, p.changes, t, g->direction))
        return POLICY_PASS;
    return POLICY_DEPART;
}

/* Another bank is in force than the one that this packet was held against. */
CORDON_INLINE int has_changed(const struct glance *g)
{
    __u32 i = g->policy;
    struct cordon_meter *m = bpf_map_lookup_elem(&cordon_meters, &i);

    return m && *(volatile __u32 *)&m->bank != g->bank;
}

/* It is told, and dropped (1) if the policy is enforced. */
__attribute__((noinline)) int cordon_depart(const struct glance *g)
{
    struct cordon_event e;
    struct policy p;

    if (!g || !policy_at(g->policy, g->bank, &p))
        return 0;
    fill_event(&e, g);
    e.what = CORDON_WIRE + NOTICED_DEPARTURE;
    e.dropped = p.list->flags & CORDON_ENFORCE && MODE_OF(g->judged) != CORDON_OBSERVE;
    (void)cordon_tell(&e);
    return e.dropped;
}

/*
 * Whose policy holds: the link address's or, if that has none, the network address's, unless
 * somebody only asks for that.
 */
CORDON_INLINE void find_policy(struct glance *g)
{
    struct found mac = slot_at(g->mac_slot), ip = slot_at(g->ip_slot);

    g->by = g->mac_slot;
    g->policy = mac.slot ? mac.slot->policy : 0;
    if (!g->policy && ip.slot && !g->inner.probe) {
        g->by = g->ip_slot;
        g->policy = ip.slot->policy;
    }
}

/* A question to a name server, or the answer to one: 1 for the latter, once. */
__attribute__((noinline)) int cordon_names(const struct glance *g)
{
    struct asked key = {};
    const struct talk *t;
    __u64 now_ns = bpf_ktime_get_coarse_ns(), *then;
    int fresh;

    if (!g)
        return 0;
    t = &g->talk;
    key.mac = g->mac;
    key.a = t->peer.a;
    key.b = t->peer.b;
    key.kind = t->peer.kind;
    key.port = t->own;
    key.id = t->id;
    if (g->direction == INGRESS) {
        (void)bpf_map_update_elem(&cordon_asked, &key, &now_ns, BPF_ANY);
        return 0;
    }
    then = bpf_map_lookup_elem(&cordon_asked, &key);
    if (!then)
        return 0;
    fresh = now_ns - *then < ANSWER_NS;
    (void)bpf_map_delete_elem(&cordon_asked, &key);
    return fresh;
}

/* Only reads the packet: what is found goes on as plain memory, which costs the verifier little. */
CORDON_INLINE void read_packet(struct cursor whole, struct glance *g, enum direction direction)
{
    struct frame f = {.direction = direction};

    if (parse_link(&f, whole) < 0)
        return;
    parse_network(&f);
    if (f.deep)
        parse_inner(&f, &g->inner);
    parse_talk(&f, whole, &g->talk);
}

CORDON_INLINE int is_remediable(struct cursor whole, enum direction direction)
{
    struct frame f = {.direction = direction};

    return parse_link(&f, whole) == 0 && may_pass(&f, whole);
}

/* From a port only: who is where, what does it serve, whom does it call? */
CORDON_INLINE void watch(struct glance *g)
{
    if (cordon_hear(g))
        (void)cordon_sight(g);
    (void)cordon_rogue(g);
    if (g->mac_slot != CORDON_NO_OWNER)
        (void)cordon_call(g);
}

/* It is heard, but not with that address. */
CORDON_INLINE void disown(struct glance *g)
{
    g->ip.kind = 0;
    g->ip_slot = CORDON_NO_OWNER;
}

/* What it claims, outside and inside; 0: somebody else's address. */
CORDON_INLINE int weigh(struct glance *g)
{
    if (g->direction == INGRESS && cordon_claim(g, 0))
        return 0;
    (void)cordon_weigh(g);
    return g->direction == EGRESS || !g->inner.ip.kind || g->inner.probe || !cordon_claim(g, 1);
}

/*
 * Everything that is not decided at a glance. JUDGED(ISOLATE, by) drops, anything else passes.
 */
CORDON_INLINE __u64 look(void *ctx, struct glance *g, int (*read)(void *ctx, struct glance *g),
                         int (*remediable)(void *ctx))
{
    const struct talk *t = &g->talk;
    int verdict = POLICY_PASS;

    (void)read(ctx, g);
    if (g->direction == INGRESS && cordon_impostor(g))
        return g->judged;
    if (!weigh(g))
        disown(g);
    if (g->direction == INGRESS)
        watch(g);
    if (MODE_OF(g->judged) == CORDON_ISOLATE)
        return g->judged;
    if (MODE_OF(g->judged) == CORDON_REMEDIATE && !remediable(ctx))
        return JUDGED(CORDON_ISOLATE, BY_OF(g->judged));
    find_policy(g);
    if (!g->policy)
        return UNJUDGED;
    for (int i = 0; i < POLICY_TRIES; i++) {
        verdict = cordon_policy(g);
        if (!has_changed(g))
            break;
    }
    if (verdict == POLICY_DROP ||
        (verdict == POLICY_DEPART && !remediable(ctx) && cordon_depart(g)))
        return JUDGED(CORDON_ISOLATE, g->by);
    g->answers =
        g->direction == EGRESS && t->protocol == IPPROTO_UDP && !t->blind && t->other == PORT_DNS;
    return UNJUDGED;
}

#define FN(function) ((void *)(function)) /* inlined: a plain call */

/* Functions of their own for each kind of packet, which the verifier sees once. */
#define THOROUGH_LOOK(name, context, direction)                                                    \
    __attribute__((noinline)) int cordon_read_##name(context *ctx, struct glance *g)               \
    {                                                                                              \
        if (g)                                                                                     \
            read_packet(DATA_OF(ctx), g, direction);                                               \
        return 0;                                                                                  \
    }                                                                                              \
    __attribute__((noinline)) int cordon_remediable_##name(context *ctx)                           \
    {                                                                                              \
        return is_remediable(DATA_OF(ctx), direction);                                             \
    }                                                                                              \
    __attribute__((noinline)) __u64 cordon_look_##name(context *ctx, struct glance *g)             \
    {                                                                                              \
        return g ? look(ctx, g, FN(cordon_read_##name), FN(cordon_remediable_##name)) : UNJUDGED;  \
    }

THOROUGH_LOOK(xdp, struct xdp_md, INGRESS)
THOROUGH_LOOK(in, struct __sk_buff, INGRESS)
THOROUGH_LOOK(out, struct __sk_buff, EGRESS)
