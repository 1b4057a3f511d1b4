/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The isolation of Cordon: on every LAN port an XDP program (or a tc program where XDP cannot be)
 * judges what comes from it, and a tc program what goes toward it.
 */
#include "cordon_look.h"

#define TCX_NEXT (-1) /* the next program decides; TC_ACT_UNSPEC for older kernels */
#define TC_DROP 2
#define FRAGS_FROM 1024 /* a frame that begins with less is in one piece */
#define PULL_BYTES 256  /* enough for every header that is judged */

const volatile __u8 cordon_has_frags; /* the kernel knows packets in several buffers */

struct packet {
    struct cursor data;
    __u32 ifindex;
    __u32 packets;
    __u64 bytes;
};

/* ---- the quick look; direction and kind are constants, so that each is code of its own ---- */

/* Secret factors: nobody can choose addresses and ports so that host after host looks the same. */
CORDON_INLINE __u32 conversation(__u64 peer_a, __u64 peer_b, __u32 ports)
{
    return (peer_a * cordon_factor_a + peer_b * cordon_factor_b +
            ports * (cordon_factor_a ^ cordon_factor_b)) >>
           32;
}

/*
 * May this packet begin a conversation that its MAC's last packet was not of? TCP says so itself,
 * if it can be read at a glance; of UDP it is what is unlike the one before. Of a MAC that is not
 * known (NULL) only DHCP's answers are news.
 */
CORDON_INLINE int begins(const struct frame *f, __u32 kind, struct cordon_slot *mac)
{
    struct cursor c = f->l3; /* the fixed header is there: an address of this kind was read */
    struct claim peer;
    __u8 protocol;
    __u32 key;

    if (kind == CORDON_IPV4) {
        struct ipv4 *ip = c.at;

        if (ip->fragment & bpf_htons(0x1fff)) /* its first one was looked at */
            return 0;
        if (ip->version_ihl != 0x45)
            return 1;
        protocol = ip->protocol;
        peer = ipv4_of(ip->to);
        c.at = ip + 1;
    } else {
        struct ipv6 *ip = c.at;

        protocol = ip->next;
        peer = ipv6_of(ip->to);
        c.at = ip + 1;
    }
    if (protocol == IPPROTO_TCP) {
        __u8 *flags = c.at + TCP_FLAGS;

        return mac && ((void *)(flags + 1) > c.end || (*flags & (TCP_SYN | TCP_ACK)) == TCP_SYN);
    }
    if (protocol != IPPROTO_UDP)
        return mac && protocol == IPPROTO_ICMP;
    if (c.at + 4 > c.end)
        return 0;
    if (*(__be16 *)c.at == bpf_htons(PORT_DHCP_SERVER) ||
        *(__be16 *)c.at == bpf_htons(PORT_DHCPV6_SERVER)) /* each of its answers */
        return 1;
    if (!mac)
        return 0;
    key = conversation(peer.a, peer.b, *(__u32 *)c.at);
    if (mac->last == key)
        return 0;
    mac->last = key;
    return 1;
}

CORDON_INLINE int drop(const struct packet *p, enum direction direction, __u32 by)
{
    __u32 cpu = bpf_get_smp_processor_id();
    struct cordon_port *port = port_of(p->ifindex, cpu);

    if (by != CORDON_NO_OWNER)
        count(by, cpu, direction == EGRESS ? CORDON_TX_DROPPED : CORDON_RX_DROPPED, p->packets,
              p->bytes);
    if (port) {
        port->dropped_packets += p->packets;
        port->dropped_bytes += p->bytes;
    }
    return 0;
}

/* Counted once: for the link address or, if nobody knows that, for the network address. */
CORDON_INLINE int pass(const struct packet *p, enum direction direction, __u64 mac_address,
                       struct found mac, struct found ip)
{
    enum cordon_count what = direction == EGRESS ? CORDON_TX_PASSED : CORDON_RX_PASSED;
    __u32 cpu = bpf_get_smp_processor_id();

    CHECK_AGAIN(mac.slot);
    CHECK_AGAIN(ip.slot);
    if (mac.slot)
        count(mac.index, cpu, what, p->packets, p->bytes);
    else if (ip.slot && (direction == INGRESS || !is_group(mac_address)))
        count(ip.index, cpu, what, p->packets, p->bytes);
    return 1;
}

/* Once a tick. */
CORDON_INLINE void pace(const struct packet *p, struct found mac, __u32 tick)
{
    CHECK_AGAIN(mac.slot);
    if (!mac.slot || mac.slot->tick == tick)
        return;
    touch(mac, tick);
    if (cordon_live.limits.packets_per_s)
        (void)cordon_paced(mac.index, p->ifindex);
}

/*
 * Is it more than one more packet of somebody known? `known`: the pair is, at this port, so that
 * the address is its own.
 */
CORDON_INLINE int needs_look(const struct frame *f, __u32 kind, struct found mac, struct found ip,
                             __u64 judged, int known)
{
    CHECK_AGAIN(mac.slot);
    CHECK_AGAIN(ip.slot);
    if (MODE_OF(judged) == CORDON_REMEDIATE || (ip.slot && ip.slot->policy))
        return 1;
    if (f->direction == INGRESS && !known &&
        ((ip.slot && ip.slot->flags & CORDON_CLAIMED) ||
         (mac.slot && mac.slot->flags & CORDON_OWN)))
        return 1;
    return (mac.slot && mac.slot->policy) ||
           (f->direction == INGRESS && kind && begins(f, kind, mac.slot));
}

/* Who looks thoroughly, at what, and what came of it. */
struct looker {
    void *ctx;
    __u64 (*look_at)(void *ctx, struct glance *g);
    int answers;
};

/* The thorough look, or (not `looks`) only the news of a pair. JUDGED(ISOLATE, by) drops. */
CORDON_INLINE __u64 attend(const struct packet *p, const struct frame *f, struct claim c,
                           struct found mac, struct found *ip, __u64 judged, __u32 tick, int looks,
                           struct looker *by)
{
    __u32 zero = 0;
    struct glance *g = bpf_map_lookup_elem(&cordon_glance, &zero);

    if (!g)
        return JUDGED(CORDON_ISOLATE, CORDON_NO_OWNER);
    __builtin_memset(g, 0, sizeof(*g)); /* in place: it has no room on the stack */
    g->ip = c;
    g->mac = f->mac;
    g->judged = judged;
    g->bytes = p->bytes;
    g->mac_slot = SLOT_OF(mac);
    g->ip_slot = SLOT_OF(*ip);
    g->ifindex = p->ifindex;
    g->packets = p->packets;
    g->tick = tick;
    g->direction = f->direction;
    if (looks)
        judged = by->look_at(by->ctx, g);
    else
        (void)cordon_sight(g);
    by->answers = g->answers;
    *ip = slot_at(g->ip_slot); /* it may be another one inside */
    return judged;
}

/* What is left when its link address decides nothing. `kind` is of its network address; 0: none. */
CORDON_INLINE int judge_network(const struct packet *p, const struct frame *f, __u32 kind,
                                struct found mac, __u64 judged, __u32 tick, struct looker *by)
{
    struct claim c = {f->ip.a, kind == CORDON_IPV6 ? f->ip.b : 0, kind};
    struct found ip = {};
    int known = 0, looks;

    if (kind) {
        ip = find_near(mac, c, f->direction);
        judged = judge_ip(judged, c, ip);
    }
    if (f->direction == INGRESS)
        known = is_known(mac, ip, c, p->ifindex);
    looks = f->deep ||
            (MODE_OF(judged) != CORDON_ISOLATE && needs_look(f, kind, mac, ip, judged, known));
    if (f->direction == INGRESS && !looks)
        touch(ip, tick);
    if (looks || (f->direction == INGRESS && !known && !was_told(f->mac, c, p->ifindex)))
        judged = attend(p, f, c, mac, &ip, judged, tick, looks, by);
    if (MODE_OF(judged) == CORDON_ISOLATE)
        return drop(p, f->direction, BY_OF(judged));
    return pass(p, f->direction, f->mac, mac, ip);
}

/* 1: pass, 0: drop. */
CORDON_INLINE int judge(const struct packet *p, enum direction direction, struct looker *by)
{
    struct frame f = {.direction = direction};
    struct found mac;
    __u32 tick = 0;
    __u64 judged;

    if (parse_link(&f, p->data) < 0)
        return 1;
    mac = find((struct claim){f.mac, 0, CORDON_MAC});
    if (direction == INGRESS) {
        tick = bpf_jiffies64();
        pace(p, mac, tick);
    }
    judged = judged_by(mac);
    if (MODE_OF(judged) == CORDON_ISOLATE)
        return drop(p, direction, mac.index);
    if (direction == INGRESS && !mac.slot)
        judged = JUDGED(cordon_live.unknown_mode, CORDON_NO_OWNER);

    if (f.type == ETH_P_IP && parse_ipv4(&f))
        return judge_network(p, &f, CORDON_IPV4, mac, judged, tick, by);
    if (f.type == ETH_P_IPV6 && parse_ipv6(&f))
        return judge_network(p, &f, CORDON_IPV6, mac, judged, tick, by);
    f.deep = f.type == ETH_P_ARP;
    return judge_network(p, &f, 0, mac, judged, tick, by);
}

SEC("xdp")
int cordon_xdp(struct xdp_md *ctx)
{
    struct packet p = {
        .data = DATA_OF(ctx),
        .ifindex = ctx->ingress_ifindex,
        .packets = 1,
        .bytes = ctx->data_end - ctx->data,
    };

    struct looker by = {ctx, FN(cordon_look_xdp), 0};

    if (cordon_has_frags && p.bytes >= FRAGS_FROM)
        p.bytes = bpf_xdp_get_buff_len(ctx);
    return judge(&p, INGRESS, &by) ? XDP_PASS : XDP_DROP;
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
    struct looker by = {skb, FN(cordon_look_in), 0};

    return judge(&p, INGRESS, &by) ? TCX_NEXT : TC_DROP;
}

/*
 * A DNS answer, for the worker, which alone reads what others wrote; what does not fit is cut.
 * Answers have neither options nor extension headers; one in odd dress is none to us.
 */
__attribute__((noinline)) int cordon_copy(struct __sk_buff *skb)
{
    struct cursor whole = DATA_OF(skb);
    struct frame f = {.direction = EGRESS};
    struct cordon_copy *copy;
    __u32 at, len;

    if (parse_link(&f, whole) < 0)
        return 0;
    at = (__u32)(f.l3.at - whole.at) + (f.type == ETH_P_IPV6 ? 40 : 20) + 8;
    if (skb->len <= at)
        return 0;
    len = skb->len - at;
    if (len > CORDON_COPY_BYTES)
        len = CORDON_COPY_BYTES;
    CHECK_AGAIN(len); /* 1 to CORDON_COPY_BYTES it is: so that 5.15 knows it, too */
    len = ((len - 1) & (CORDON_COPY_BYTES - 1)) + 1;
    copy = bpf_ringbuf_reserve(&cordon_copies, sizeof(*copy), 0);
    if (!copy)
        return 0;
    copy->mac = f.mac;
    copy->len = len;
    copy->pad = 0;
    if (bpf_skb_load_bytes(skb, at, copy->bytes, len) != 0)
        bpf_ringbuf_discard(copy, 0);
    else
        bpf_ringbuf_submit(copy, 0);
    return 0;
}

SEC("tc")
int cordon_out(struct __sk_buff *skb)
{
    struct packet p = packet_of(skb);
    struct looker by = {skb, FN(cordon_look_out), 0};

    if (!judge(&p, EGRESS, &by))
        return TC_DROP;
    if (by.answers)
        (void)cordon_copy(skb);
    return TCX_NEXT;
}

char LICENSE[] SEC("license") = "GPL";
