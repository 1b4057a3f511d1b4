/* SPDX-License-Identifier: GPL-2.0-only */
/* Who takes part in a self-test, and their frames. No I/O but the kernel's random numbers. */
#include "enforcer/selftest.h"

#include <errno.h>
#include <linux/if_ether.h>
#include <netinet/in.h>
#include <sys/random.h>

/* IPv6 next headers and ICMPv6 types that the C library does not name in one place. */
#define NEXT_FRAGMENT 44
#define ND_SOLICIT 135
#define ND_ADVERT 136
#define ND_SOURCE_MAC 1
#define ND_TARGET_MAC 2
#define LLC_BYTES 3

/* ---- who ---- */

static void set_group(struct gw_cast *c, enum gw_who who, const char *mac, const char *ipv4,
                      const char *ipv6)
{
    memcpy(c->mac[who], mac, 6);
    memcpy(c->ipv4[who], ipv4, 4);
    memcpy(c->ipv6[who], ipv6, 16);
}

/* 192.0.2.0/24 (RFC 5737), one number for each, the prefix's in a /30 that is nobody else's. */
static void set_ipv4(struct gw_cast *c, uint32_t random)
{
    for (unsigned who = 0; who < GW_WHOS; who++) {
        uint8_t host = (uint8_t)(1 + (random + who * 8) % 127);
        const uint8_t ip[4] = {192, 0, 2,
                               who == GW_WHO_NET4 ? (uint8_t)(128 + random % 120) : host};

        memcpy(c->ipv4[who], ip, sizeof(ip));
    }
}

int gw_cast_draw(struct gw_cast *c)
{
    static const uint8_t documentation[4] = {0x20, 0x01, 0x0d, 0xb8}; /* RFC 3849 */
    uint32_t random;

    if (getrandom(c->mac, sizeof(c->mac), 0) != sizeof(c->mac) ||
        getrandom(c->ipv6, sizeof(c->ipv6), 0) != sizeof(c->ipv6) ||
        getrandom(&random, sizeof(random), 0) != sizeof(random) ||
        getrandom(&c->run, sizeof(c->run), 0) != sizeof(c->run))
        return -EIO;
    set_ipv4(c, random);
    for (unsigned who = 0; who < GW_WHOS; who++) {
        c->mac[who][0] = (uint8_t)((c->mac[who][0] & 0xfc) | 2); /* local, and of one station */
        memcpy(c->ipv6[who], documentation, sizeof(documentation));
    }
    for (unsigned who = GW_WHO_BAD4; who <= GW_WHO_NET6; who++)
        memcpy(c->mac[who], c->mac[GW_WHO_KNOWN], 6);
    set_group(c, GW_WHO_ALL, "\xff\xff\xff\xff\xff\xff", "\xff\xff\xff\xff",
              "\xff\x02\0\0\0\0\0\0\0\0\0\0\0\1\0\2");
    set_group(c, GW_WHO_GROUP, "\x33\x33\0\0\0\xfb", "\xe0\0\0\xfb",
              "\xff\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\xfb");
    return 0;
}

/* ---- layers ---- */

static void put(struct gw_probe *p, const void *bytes, size_t len)
{
    if (p->len + len > sizeof(p->bytes))
        return; /* the rows are ours, and their unit test sees each of them whole */
    memcpy(p->bytes + p->len, bytes, len);
    p->len += len;
}

static void put8(struct gw_probe *p, uint8_t v)
{
    put(p, &v, sizeof(v));
}

static void put16(struct gw_probe *p, size_t v)
{
    const uint8_t bytes[2] = {(uint8_t)(v >> 8), (uint8_t)v};

    put(p, bytes, sizeof(bytes));
}

static void put_zero(struct gw_probe *p, size_t len)
{
    static const uint8_t zero[32];

    put(p, zero, len);
}

/* Bytes of the layer itself, for the length fields of those before it. */
static size_t size_of(const struct gw_layer *l)
{
    switch ((enum gw_part)l->part) {
    case GW_PART_TAG:
        return 4;
    case GW_PART_IPV4:
    case GW_PART_LATER4:
    case GW_PART_TCP:
        return 20;
    case GW_PART_OPTIONS:
        return 24;
    case GW_PART_IPV6:
        return 40;
    case GW_PART_HOPS:
    case GW_PART_DEST:
    case GW_PART_LATER6:
    case GW_PART_UDP:
        return 8;
    case GW_PART_CLAIM:
    case GW_PART_ASK:
        return 28;
    case GW_PART_SOLICIT:
    case GW_PART_ADVERT:
        return 32;
    case GW_PART_LLC:
        return LLC_BYTES;
    case GW_PART_PPPOE:
        return 8;
    case GW_PART_LINK:
        return 14;
    case GW_PART_CUT4:
    case GW_PART_CUT6:
    case GW_PART_END:
        break;
    }
    return 0;
}

/* From this layer to the end of the frame. */
static size_t size_from(const struct gw_layer *l)
{
    size_t size = GW_MARK_BYTES;

    for (; l->part != GW_PART_END; l++)
        size += size_of(l);
    return size;
}

/* What the layer before says that this one is; LLC has its length there. */
static size_t ethertype(const struct gw_layer *l)
{
    switch ((enum gw_part)l->part) {
    case GW_PART_TAG:
        return l->a;
    case GW_PART_IPV4:
    case GW_PART_OPTIONS:
    case GW_PART_LATER4:
    case GW_PART_CUT4:
        return ETH_P_IP;
    case GW_PART_IPV6:
    case GW_PART_CUT6:
        return ETH_P_IPV6;
    case GW_PART_CLAIM:
    case GW_PART_ASK:
        return ETH_P_ARP;
    case GW_PART_PPPOE:
        return ETH_P_PPP_SES;
    case GW_PART_LLC:
        return size_from(l);
    case GW_PART_LINK:
    case GW_PART_HOPS:
    case GW_PART_DEST:
    case GW_PART_LATER6:
    case GW_PART_UDP:
    case GW_PART_TCP:
    case GW_PART_SOLICIT:
    case GW_PART_ADVERT:
    case GW_PART_END:
        break; /* never directly behind a link header */
    }
    return 0;
}

static uint8_t protocol(const struct gw_layer *l)
{
    switch ((enum gw_part)l->part) {
    case GW_PART_HOPS:
        return IPPROTO_HOPOPTS;
    case GW_PART_DEST:
        return IPPROTO_DSTOPTS;
    case GW_PART_LATER6:
        return NEXT_FRAGMENT;
    case GW_PART_TCP:
        return IPPROTO_TCP;
    case GW_PART_SOLICIT:
    case GW_PART_ADVERT:
        return IPPROTO_ICMPV6;
    case GW_PART_UDP:
    case GW_PART_END: /* what a later fragment goes on with */
    case GW_PART_LINK:
    case GW_PART_TAG:
    case GW_PART_IPV4:
    case GW_PART_OPTIONS:
    case GW_PART_LATER4:
    case GW_PART_IPV6:
    case GW_PART_CLAIM:
    case GW_PART_ASK:
    case GW_PART_LLC:
    case GW_PART_PPPOE:
    case GW_PART_CUT4:
    case GW_PART_CUT6:
        break;
    }
    return IPPROTO_UDP;
}

static void put_link(struct gw_probe *p, const struct gw_cast *c, const struct gw_layer *l)
{
    put(p, c->mac[l->to], 6);
    put(p, c->mac[l->from], 6);
    put16(p, ethertype(l + 1));
}

/* The checksum stays 0: who judges does not look, and nobody else gets the frame. */
static void put_ipv4(struct gw_probe *p, const struct gw_cast *c, const struct gw_layer *l)
{
    bool options = l->part == GW_PART_OPTIONS;

    put8(p, options ? 0x46 : 0x45);
    put8(p, 0);
    put16(p, size_from(l));
    put16(p, 1);                                  /* identification */
    put16(p, l->part == GW_PART_LATER4 ? 16 : 0); /* offset, in units of 8 bytes */
    put8(p, 64);
    put8(p, protocol(l + 1));
    put16(p, 0);
    put(p, c->ipv4[l->from], 4);
    put(p, c->ipv4[l->to], 4);
    if (options)
        put(p, "\1\1\1\0", 4); /* no operation, end of list */
}

static void put_ipv6(struct gw_probe *p, const struct gw_cast *c, const struct gw_layer *l)
{
    put(p, "\x60\0\0\0", 4);
    put16(p, size_from(l + 1));
    put8(p, protocol(l + 1));
    put8(p, 255); /* RFC 4861 §7.1 */
    put(p, c->ipv6[l->from], 16);
    put(p, c->ipv6[l->to], 16);
}

/* Eight bytes: padding behind an options header, else the offset of a fragment. */
static void put_extension(struct gw_probe *p, const struct gw_layer *l)
{
    put8(p, protocol(l + 1));
    put8(p, 0);
    if (l->part == GW_PART_LATER6) {
        put16(p, 16 << 3);
        put_zero(p, 4);
    } else {
        put(p, "\1\4\0\0\0\0", 6); /* PadN */
    }
}

static void put_ports(struct gw_probe *p, const struct gw_layer *l)
{
    put16(p, l->a);
    put16(p, l->b);
    if (l->part == GW_PART_UDP) {
        put16(p, size_from(l));
        put_zero(p, 2);
        return;
    }
    put_zero(p, 8);
    put16(p, 0x5002); /* five words; SYN */
    put_zero(p, 6);
}

static void put_arp(struct gw_probe *p, const struct gw_cast *c, const struct gw_layer *l)
{
    const uint8_t *mac = c->mac[l->from], *ip = c->ipv4[l->to];
    bool claim = l->part == GW_PART_CLAIM;

    put(p, "\0\1\x08\0\6\4\0\1", 8);
    put(p, claim ? mac : c->mac[GW_WHO_ROUTER], 6);
    put(p, claim ? ip : c->ipv4[GW_WHO_ROUTER], 4);
    put(p, claim ? c->mac[GW_WHO_ROUTER] : mac, 6);
    put(p, claim ? c->ipv4[GW_WHO_ROUTER] : ip, 4);
}

static void put_discovery(struct gw_probe *p, const struct gw_cast *c, const struct gw_layer *l)
{
    bool advert = l->part == GW_PART_ADVERT;

    put8(p, advert ? ND_ADVERT : ND_SOLICIT);
    put_zero(p, 7);
    put(p, c->ipv6[l->to], 16);
    put8(p, advert ? ND_TARGET_MAC : ND_SOURCE_MAC);
    put8(p, 1);
    put(p, c->mac[l->from], 6);
}

static void put_layer(struct gw_probe *p, const struct gw_cast *c, const struct gw_layer *l)
{
    switch ((enum gw_part)l->part) {
    case GW_PART_LINK:
        put_link(p, c, l);
        break;
    case GW_PART_TAG:
        put16(p, 0x0123); /* any VLAN but 0 */
        put16(p, ethertype(l + 1));
        break;
    case GW_PART_IPV4:
    case GW_PART_OPTIONS:
    case GW_PART_LATER4:
        put_ipv4(p, c, l);
        break;
    case GW_PART_IPV6:
        put_ipv6(p, c, l);
        break;
    case GW_PART_HOPS:
    case GW_PART_DEST:
    case GW_PART_LATER6:
        put_extension(p, l);
        break;
    case GW_PART_UDP:
    case GW_PART_TCP:
        put_ports(p, l);
        break;
    case GW_PART_CLAIM:
    case GW_PART_ASK:
        put_arp(p, c, l);
        break;
    case GW_PART_SOLICIT:
    case GW_PART_ADVERT:
        put_discovery(p, c, l);
        break;
    case GW_PART_LLC:
        put(p, "\x42\x42\3", LLC_BYTES); /* as spanning tree has it */
        break;
    case GW_PART_PPPOE:
        put(p, "\x11\0\0\1\0\x0a\0\x21", 8); /* session 1, IPv4 inside */
        break;
    case GW_PART_CUT4:
    case GW_PART_CUT6:
    case GW_PART_END:
        break; /* what follows is the mark alone */
    }
}

void gw_probe_build(struct gw_probe *p, const struct gw_cast *c, const struct gw_layer *layers,
                    uint32_t sequence)
{
    *p = (struct gw_probe){.len = 0};
    for (size_t i = 0; i < GW_LAYERS_MAX && layers[i].part != GW_PART_END; i++)
        put_layer(p, c, &layers[i]);
    put(p, &c->run, sizeof(c->run));
    put(p, &sequence, sizeof(sequence));
}

uint32_t gw_probe_sequence(const struct gw_cast *c, const uint8_t *frame, size_t len)
{
    uint32_t run, sequence;

    if (len < GW_MARK_BYTES)
        return 0;
    memcpy(&run, frame + len - GW_MARK_BYTES, sizeof(run));
    memcpy(&sequence, frame + len - sizeof(sequence), sizeof(sequence));
    return run == c->run ? sequence : 0;
}
