/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file
 * From the bytes of a frame to the addresses it claims. Kernel side only. Every read is behind a
 * bounds check; what is cut off or of another kind leaves its part of the frame empty.
 */
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "cordon_map.h"

#define CORDON_TAGS_MAX 2       /* 802.1Q and 802.1ad */
#define CORDON_EXTENSIONS_MAX 8 /* IPv6 headers looked at: 7 extensions and what they carry */
#define CORDON_OPTIONS_MAX 8    /* neighbour discovery options walked */

enum direction { INGRESS, EGRESS }; /* from the port, toward the port */

struct cursor {
    void *at, *end;
};

/* An address that a frame claims or asks for; kind 0: none. */
struct claim {
    __u64 a, b;
    __u32 kind;
};

struct frame {
    enum direction direction;
    struct cursor l3;
    __u16 type;      /* EtherType behind the tags, host order; 0: none */
    int deep;        /* more addresses may be inside: see parse_inner() */
    __u64 mac;       /* the judged side's */
    struct claim ip; /* the judged side's */
};

/* What ARP and neighbour discovery carry. */
struct inner {
    struct claim ip;
    __u64 mac; /* 0: none */
    int probe; /* asks whether anybody has the address: uses it not yet */
};

/* One packet of a conversation, as the judged side has it. */
struct talk {
    struct claim peer;   /* the other end; ARP: who is asked for; kind 0: no IP packet */
    struct claim quoted; /* whom the packet of ours went to that an error is about; kind 0: none */
    __u64 to, from;      /* the link addresses */
    int protocol;        /* -1: hidden */
    __u16 own, other;    /* ports, host order; ICMP: own is its type */
    __u8 blind;          /* a later fragment: no ports */
    __u8 opens;          /* the first packet of a TCP connection */
    __u8 arp;            /* ARP, not only by its EtherType */
    __u8 eapol;          /* IEEE 802.1X, which Wi-Fi has its keys by */
    __u16 id;            /* of a DNS message */
};

struct ethernet {
    __u8 to[6], from[6];
    __be16 type;
};

struct arp {
    __be16 hardware, protocol;
    __u8 hardware_len, protocol_len;
    __be16 operation;
    __u8 from_mac[6], from_ip[4], to_mac[6], to_ip[4];
};

struct ipv4 {
    __u8 version_ihl, tos;
    __be16 len, id, fragment;
    __u8 ttl, protocol;
    __be16 checksum;
    __u8 from[4], to[4];
};

struct ipv6 {
    __u8 version, flow[3];
    __be16 len;
    __u8 next, hops;
    __u8 from[16], to[16];
};

struct ports {
    __be16 from, to;
};

struct discovery {
    __u8 type, code;
    __be16 checksum;
    __u8 flags[4];
    __u8 target[16];
};

struct option {
    __u8 type, units;
    __u8 mac[6];
};

/* IPv6 next headers that <linux/in.h> does not have (RFC 8200 §4) */
#define NEXT_HOPOPTS 0
#define NEXT_ROUTING 43
#define NEXT_FRAGMENT 44
#define NEXT_ICMPV6 58
#define NEXT_DSTOPTS 60

/* Messages of ICMP and ICMPv6 (RFC 792, RFC 4443, RFC 2710, RFC 3810, RFC 4861) */
#define ICMP_DEST_UNREACH 3
#define ICMP_ECHO 8
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETERPROB 12
#define ICMPV6_DEST_UNREACH 1
#define ICMPV6_PARAMPROB 4
#define ICMPV6_ECHO_REQUEST 128
#define ICMPV6_MGM_QUERY 130
#define ICMPV6_MLD2_REPORT 143
#define ND_ROUTER_SOLICIT 133
#define ND_ROUTER_ADVERT 134
#define ND_NEIGHBOUR_SOLICIT 135
#define ND_NEIGHBOUR_ADVERT 136
#define ND_REDIRECT 137
#define PORT_DNS 53

#define TCP_FLAGS 13 /* where they are, RFC 9293 §3.1 */
#define TCP_SYN 2
#define TCP_ACK 16

#define ND_OPTION_SOURCE_MAC 1
#define ND_OPTION_TARGET_MAC 2

/* The next bytes as a header, which the cursor skips; NULL when they are not there. */
#define TAKE(c, type)                                                                              \
    ({                                                                                             \
        type *took_ = (c)->at;                                                                     \
        if ((void *)(took_ + 1) > (c)->end)                                                        \
            took_ = 0;                                                                             \
        else                                                                                       \
            (c)->at = took_ + 1;                                                                   \
        took_;                                                                                     \
    })

CORDON_INLINE __u32 load32(const __u8 *p)
{
    return *(const __u32 *)(const void *)p;
}

/* Wide load first for a source, which sits on 8 bytes behind the 2 of alignment, else second. */
CORDON_INLINE __u64 mac_of(const __u8 *p)
{
    return cordon_pair(load32(p), *(const __u16 *)(const void *)(p + 4));
}

CORDON_INLINE struct claim ipv4_of(const __u8 *p)
{
    return (struct claim){load32(p), 0, CORDON_IPV4};
}

CORDON_INLINE struct claim ipv6_of(const __u8 *p)
{
    return (struct claim){cordon_pair(load32(p), load32(p + 4)),
                          cordon_pair(load32(p + 8), load32(p + 12)), CORDON_IPV6};
}

CORDON_INLINE int is_tag(__be16 type)
{
    return type == bpf_htons(ETH_P_8021Q) || type == bpf_htons(ETH_P_8021AD);
}

/* Of IPv4 over MACs. The kind of hardware tells nothing: hosts take 6 (IEEE 802) for 1 (RFC 1042).
 */
CORDON_INLINE int is_arp(const struct arp *arp)
{
    return arp->protocol == bpf_htons(ETH_P_IP) && arp->hardware_len == 6 && arp->protocol_len == 4;
}

CORDON_INLINE void parse_arp(const struct frame *f, struct inner *out)
{
    struct cursor c = f->l3;
    struct arp *arp = TAKE(&c, struct arp);

    if (!arp || !is_arp(arp))
        return;
    if (f->direction == EGRESS) {
        out->mac = mac_of(arp->to_mac);
        out->ip = ipv4_of(arp->to_ip);
        return;
    }
    out->mac = mac_of(arp->from_mac);
    out->ip = ipv4_of(arp->from_ip);
    if (out->ip.a == 0) { /* a probe claims its target (RFC 5227 §2.1.1) */
        out->ip = ipv4_of(arp->to_ip);
        out->probe = 1;
    }
}

#define EXTENSION_NONE 0  /* not an extension header: the transport */
#define EXTENSION_BLIND 1 /* a later fragment: no transport header follows */

/*
 * The bytes of one extension header, or one of the two above. A function of its own: to the
 * verifier its result is any number, so that a chain is one path and not one per kind of header.
 */
__attribute__((noinline)) __u32 cordon_extension(__u32 next, __u32 units, __u32 fragment)
{
    switch (next) {
    case NEXT_HOPOPTS:
    case NEXT_ROUTING:
    case NEXT_DSTOPTS:
        return (units + 1) * 8;
    case IPPROTO_AH:
        return (units + 2) * 4;
    case NEXT_FRAGMENT:
        return fragment & bpf_htons(0xfff8) ? EXTENSION_BLIND : 8;
    default:
        return EXTENSION_NONE;
    }
}

/*
 * Walk to the transport header; its protocol, or -1 for a later fragment, a chain that is cut off,
 * or one that is longer than anybody honest makes it. `out_blind` gets what a later fragment is a
 * piece of; -1: no such.
 */
CORDON_INLINE int walk_extensions(struct cursor *c, __u8 next, int *out_blind)
{
    *out_blind = -1;
    for (int i = 0; i < CORDON_EXTENSIONS_MAX; i++) {
        struct {
            __u8 next, units;
            __be16 fragment;
            __u32 rest;
        } *ext = c->at;
        __u32 len;

        if ((void *)(ext + 1) > c->end) /* the shortest transport has 8 bytes too */
            return -1;
        len = cordon_extension(next, ext->units, ext->fragment);
        if (len == EXTENSION_NONE)
            return next;
        if (len == EXTENSION_BLIND) {
            *out_blind = ext->next;
            return -1;
        }
        next = ext->next;
        c->at += len & 0xfff;
    }
    return -1;
}

CORDON_INLINE int skip_extensions(struct cursor *c, __u8 next)
{
    int blind;

    return walk_extensions(c, next, &blind);
}

/*
 * Where a message's options begin, and above that the option whose link address its receiver takes
 * (RFC 4861 §4); 0: none. A function of its own for the reason that cordon_extension() is.
 */
__attribute__((noinline)) __u32 cordon_discovery(__u32 type)
{
    switch (type) {
    case ND_ROUTER_SOLICIT:
        return 8 | ND_OPTION_SOURCE_MAC << 8;
    case ND_ROUTER_ADVERT:
        return 16 | ND_OPTION_SOURCE_MAC << 8;
    case ND_NEIGHBOUR_SOLICIT:
        return 24 | ND_OPTION_SOURCE_MAC << 8;
    case ND_NEIGHBOUR_ADVERT:
        return 24 | ND_OPTION_TARGET_MAC << 8;
    case ND_REDIRECT:
        return 40 | ND_OPTION_TARGET_MAC << 8;
    default:
        return 0;
    }
}

#define MAC_HIDDEN 0x00ffffffffffffffULL /* nobody's: behind more options than are walked */

/* The link address that a message of neighbour discovery carries; 0: none. */
CORDON_INLINE __u64 discovery_mac(struct cursor c, __u8 type)
{
    __u32 where = cordon_discovery(type);

    if (where == 0)
        return 0;
    c.at += where & 0x3f;
    for (int i = 0; i < CORDON_OPTIONS_MAX; i++) {
        struct option *o = c.at;

        if ((void *)(o + 1) > c.end || o->units == 0)
            return 0;
        if (o->type == where >> 8)
            return mac_of(o->mac);
        c.at += o->units * 8;
        if (c.at > c.end)
            return 0;
    }
    return MAC_HIDDEN;
}

/*
 * The target is claimed by an advertisement, and by a solicitation without a source, which detects
 * duplicates (RFC 4862 §5.4.2); toward a port it is the one who is asked for.
 */
CORDON_INLINE int is_target_claimed(const struct frame *f, __u8 type)
{
    if (f->direction == EGRESS)
        return type == ND_NEIGHBOUR_SOLICIT;
    return type == ND_NEIGHBOUR_ADVERT ||
           (type == ND_NEIGHBOUR_SOLICIT && f->ip.a == 0 && f->ip.b == 0);
}

CORDON_INLINE void parse_discovery(const struct frame *f, struct inner *out)
{
    struct cursor c = f->l3;
    struct ipv6 *ip = TAKE(&c, struct ipv6);
    struct discovery *nd;

    if (!ip || skip_extensions(&c, ip->next) != NEXT_ICMPV6)
        return;
    nd = c.at;
    if ((void *)&nd->target > c.end)
        return;
    if ((void *)(nd + 1) <= c.end && is_target_claimed(f, nd->type)) {
        out->ip = ipv6_of(nd->target);
        out->probe = f->direction == INGRESS && nd->type == ND_NEIGHBOUR_SOLICIT;
    }
    if (f->direction == INGRESS)
        out->mac = discovery_mac(c, nd->type);
}

CORDON_INLINE void parse_inner(const struct frame *f, struct inner *out)
{
    if (f->type == ETH_P_ARP)
        parse_arp(f, out);
    else if (f->type == ETH_P_IPV6)
        parse_discovery(f, out);
}

/* Ethernet and up to two tags; -1 when not even the addresses are there. */
CORDON_INLINE int parse_link(struct frame *f, struct cursor c)
{
    struct ethernet *eth = TAKE(&c, struct ethernet);
    __be16 type;

    if (!eth)
        return -1;
    f->mac = f->direction == EGRESS ? mac_of(eth->to) : mac_of(eth->from);
    type = eth->type;
    for (int i = 0; i < CORDON_TAGS_MAX && is_tag(type); i++) {
        struct {
            __be16 tag, type;
        } *vlan = c.at;

        if ((void *)(vlan + 1) > c.end)
            return 0;
        c.at = vlan + 1;
        type = vlan->type;
    }
    f->type = bpf_ntohs(type);
    f->l3 = c;
    return 0;
}

/* The address of the judged side in the fixed header, which nothing behind it can hide; 0: none. */
CORDON_INLINE int parse_ipv4(struct frame *f)
{
    struct cursor c = f->l3;
    struct ipv4 *ip = TAKE(&c, struct ipv4);

    if (!ip || ip->version_ihl >> 4 != 4)
        return 0;
    f->ip = ipv4_of(f->direction == EGRESS ? ip->to : ip->from);
    return 1;
}

CORDON_INLINE int parse_ipv6(struct frame *f)
{
    struct cursor c = f->l3;
    struct ipv6 *ip = TAKE(&c, struct ipv6);

    if (!ip || ip->version >> 4 != 6)
        return 0;
    f->ip = ipv6_of(f->direction == EGRESS ? ip->to : ip->from);
    f->deep = ip->next != IPPROTO_TCP && ip->next != IPPROTO_UDP;
    return 1;
}

CORDON_INLINE void parse_network(struct frame *f)
{
    if (f->type == ETH_P_IP)
        (void)parse_ipv4(f);
    else if (f->type == ETH_P_IPV6)
        (void)parse_ipv6(f);
    else
        f->deep = f->type == ETH_P_ARP;
}

/* Ports and flags of what follows the network headers, as far as they are there. */
CORDON_INLINE void parse_transport(struct talk *t, enum direction direction, struct cursor c)
{
    struct {
        __be16 from, to;
        __u8 sequence[8], offset, flags;
    } *tcp = c.at;
    __u8 *type = c.at;
    struct ports *p;

    if (t->protocol == IPPROTO_ICMP || t->protocol == NEXT_ICMPV6) {
        if ((void *)(type + 1) > c.end)
            t->protocol = -1;
        else
            t->own = *type;
        return;
    }
    if (t->protocol != IPPROTO_TCP && t->protocol != IPPROTO_UDP)
        return;
    p = TAKE(&c, struct ports);
    if (!p) {
        t->protocol = -1; /* cut off: tells nothing */
        return;
    }
    t->own = bpf_ntohs(direction == EGRESS ? p->to : p->from);
    t->other = bpf_ntohs(direction == EGRESS ? p->from : p->to);
    if (t->protocol == IPPROTO_UDP && t->other == PORT_DNS && c.at + 6 <= c.end)
        t->id = *(__u16 *)(c.at + 4); /* behind length and checksum */
    if (t->protocol == IPPROTO_TCP)   /* what hides its flags may be any (RFC 3128 §3) */
        t->opens = (void *)(tcp + 1) > c.end || (tcp->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

/* Did it go wrong on the way? RFC 792, RFC 4443 §2.1 */
CORDON_INLINE int is_error(const struct talk *t)
{
    if (t->peer.kind == CORDON_IPV4)
        return t->protocol == IPPROTO_ICMP &&
               (t->own == ICMP_DEST_UNREACH || t->own == ICMP_TIME_EXCEEDED ||
                t->own == ICMP_PARAMETERPROB);
    return t->protocol == NEXT_ICMPV6 && t->own >= ICMPV6_DEST_UNREACH &&
           t->own <= ICMPV6_PARAMPROB;
}

/* An error begins with 8 bytes of its own (RFC 792, RFC 4443 §3), then quotes what went wrong. */
CORDON_INLINE void parse_quoted(const struct frame *f, struct cursor c, struct talk *out)
{
    if (f->direction != EGRESS || !is_error(out))
        return;
    c.at += 8;
    if (out->peer.kind == CORDON_IPV4) {
        struct ipv4 *ip = TAKE(&c, struct ipv4);

        if (ip && ip->version_ihl >> 4 == 4 && ipv4_of(ip->from).a == f->ip.a)
            out->quoted = ipv4_of(ip->to);
    } else {
        struct ipv6 *ip = TAKE(&c, struct ipv6);

        if (ip && ip->version >> 4 == 6 && ipv6_of(ip->from).a == f->ip.a &&
            ipv6_of(ip->from).b == f->ip.b)
            out->quoted = ipv6_of(ip->to);
    }
}

CORDON_INLINE void parse_talk_ipv4(const struct frame *f, struct talk *out)
{
    struct cursor c = f->l3;
    struct ipv4 *ip = TAKE(&c, struct ipv4);

    if (!ip || ip->version_ihl >> 4 != 4)
        return;
    out->peer = ipv4_of(f->direction == EGRESS ? ip->from : ip->to);
    c.at = (void *)ip + (ip->version_ihl & 15) * 4;
    if (ip->version_ihl < 0x45 || c.at > c.end)
        return;
    out->protocol = ip->protocol;
    out->blind = (ip->fragment & bpf_htons(0x1fff)) != 0;
    if (out->blind)
        return;
    parse_transport(out, f->direction, c);
    parse_quoted(f, c, out);
}

CORDON_INLINE void parse_talk_ipv6(const struct frame *f, struct talk *out)
{
    struct cursor c = f->l3;
    struct ipv6 *ip = TAKE(&c, struct ipv6);
    int blind;

    if (!ip || ip->version >> 4 != 6)
        return;
    out->peer = ipv6_of(f->direction == EGRESS ? ip->from : ip->to);
    out->protocol = walk_extensions(&c, ip->next, &blind);
    if (blind >= 0) {
        out->protocol = blind;
        out->blind = 1;
        return;
    }
    parse_transport(out, f->direction, c);
    parse_quoted(f, c, out);
}

/* Only a question names its peer; who answers is asked for himself. */
CORDON_INLINE void parse_talk_arp(const struct frame *f, struct talk *out)
{
    struct cursor c = f->l3;
    struct arp *arp = TAKE(&c, struct arp);

    if (!arp || !is_arp(arp))
        return;
    out->arp = 1;
    if (arp->operation == bpf_htons(1) && f->direction == INGRESS)
        out->peer = ipv4_of(arp->to_ip);
}

CORDON_INLINE void parse_talk(const struct frame *f, struct cursor whole, struct talk *out)
{
    struct ethernet *eth = TAKE(&whole, struct ethernet);

    out->protocol = -1;
    out->eapol = f->type == ETH_P_PAE;
    if (eth) {
        out->to = mac_of(eth->to);
        out->from = mac_of(eth->from);
    }
    if (f->type == ETH_P_ARP)
        parse_talk_arp(f, out);
    else if (f->type == ETH_P_IP)
        parse_talk_ipv4(f, out);
    else if (f->type == ETH_P_IPV6)
        parse_talk_ipv6(f, out);
}
