/* SPDX-License-Identifier: GPL-2.0-only */
/* Where an address may be: one verdict on one address per row, seen or not. */
#include <criterion/criterion.h>

#include "harness.h"

#define MAC "02:00:00:00:00:01"
#define IP4 "192.0.2.10"
#define IP6 "2001:db8::10"

enum { ETH_IP = 0x800, ETH_ARP = 0x806, ETH_IP6 = 0x86dd, ETH_VLAN = 0x8100, ETH_QINQ = 0x88a8 };
enum { TCP = 6, UDP = 17, HOP = 0, ROUTING = 43, FRAGMENT = 44, AH = 51, ICMP6 = 58, OPTS = 60 };

static struct gw_kernel k;

static void setup(void)
{
    harness_open(&k, 256);
    own_addresses(&k);
}

static void teardown(void)
{
    gw_kernel_close(&k);
}

TestSuite(frames, .init = setup, .fini = teardown);

/* `from` speaks to `to`; the claims inside are the row's. */
typedef void builder(struct frame *f, enum who from, enum who to);

static void plain4(struct frame *f, enum who from, enum who to)
{
    eth(f, from, to, ETH_IP);
    ipv4(f, from, to, UDP);
    ports(f, 1000, 2000);
}

/* The link address is somebody else's: only the network address tells. */
static void routed4(struct frame *f, enum who from, enum who to)
{
    eth(f, GATEWAY, GATEWAY, ETH_IP);
    ipv4(f, from, to, UDP);
    ports(f, 1000, 2000);
}

static void options4(struct frame *f, enum who from, enum who to)
{
    eth(f, GATEWAY, GATEWAY, ETH_IP);
    ipv4_options(f, from, to, TCP);
    ports(f, 1000, 2000);
}

static void fragment4(struct frame *f, enum who from, enum who to)
{
    eth(f, GATEWAY, GATEWAY, ETH_IP);
    ipv4_fragment(f, from, to, UDP, 185);
    filler(f, 32);
}

static void tagged4(struct frame *f, enum who from, enum who to)
{
    eth(f, GATEWAY, GATEWAY, ETH_VLAN);
    tag(f, ETH_IP);
    ipv4(f, from, to, UDP);
    ports(f, 1000, 2000);
}

static void double_tagged4(struct frame *f, enum who from, enum who to)
{
    eth(f, GATEWAY, GATEWAY, ETH_QINQ);
    tag(f, ETH_VLAN);
    tag(f, ETH_IP);
    ipv4(f, from, to, UDP);
    ports(f, 1000, 2000);
}

static void plain6(struct frame *f, enum who from, enum who to)
{
    eth(f, GATEWAY, GATEWAY, ETH_IP6);
    ipv6(f, from, to, UDP);
    ports(f, 1000, 2000);
}

static void double_tagged6(struct frame *f, enum who from, enum who to)
{
    eth(f, GATEWAY, GATEWAY, ETH_VLAN);
    tag(f, ETH_VLAN);
    tag(f, ETH_IP6);
    ipv6(f, from, to, TCP);
    ports(f, 1000, 2000);
}

static void extensions6(struct frame *f, enum who from, enum who to)
{
    eth(f, GATEWAY, GATEWAY, ETH_IP6);
    ipv6(f, from, to, HOP);
    extension(f, ROUTING, 0);
    extension(f, OPTS, 2);
    extension(f, UDP, 1);
    ports(f, 1000, 2000);
}

static void fragment6(struct frame *f, enum who from, enum who to)
{
    eth(f, GATEWAY, GATEWAY, ETH_IP6);
    ipv6(f, from, to, FRAGMENT);
    fragment(f, UDP, 100);
    filler(f, 64);
}

static void endless_chain6(struct frame *f, enum who from, enum who to)
{
    eth(f, GATEWAY, GATEWAY, ETH_IP6);
    ipv6(f, from, to, OPTS);
    for (int i = 0; i < 20; i++)
        extension(f, OPTS, 0);
}

static void other_kind(struct frame *f, enum who from, enum who to)
{
    eth(f, from, to, 0x88cc); /* LLDP */
    filler(f, 46);
}

static void length_field(struct frame *f, enum who from, enum who to)
{
    eth(f, from, to, 46); /* IEEE 802.3 with LLC */
    filler(f, 46);
}

static void three_tags(struct frame *f, enum who from, enum who to)
{
    eth(f, from, to, ETH_VLAN);
    tag(f, ETH_VLAN);
    tag(f, ETH_VLAN);
    tag(f, ETH_IP);
    ipv4(f, from, to, UDP);
    ports(f, 1000, 2000);
}

static void arp_ask(struct frame *f, enum who from, enum who to)
{
    eth(f, OTHER, ALL, ETH_ARP);
    arp(f, 1, OTHER, from, NOBODY, to);
}

static void arp_ask_mac(struct frame *f, enum who from, enum who to)
{
    eth(f, OTHER, GATEWAY, ETH_ARP);
    arp(f, 2, from, OTHER, to, GATEWAY);
}

static void arp_probe(struct frame *f, enum who from, enum who to)
{
    (void)to;
    eth(f, OTHER, ALL, ETH_ARP);
    arp(f, 1, OTHER, NOBODY, NOBODY, from);
}

static void tagged_arp(struct frame *f, enum who from, enum who to)
{
    eth(f, OTHER, ALL, ETH_VLAN);
    tag(f, ETH_ARP);
    arp(f, 1, OTHER, from, NOBODY, to);
}

static void advert(struct frame *f, enum who from, enum who to)
{
    (void)to;
    eth(f, OTHER, GATEWAY, ETH_IP6);
    ipv6(f, OTHER, GATEWAY, ICMP6);
    discovery(f, 136, from, 0, NOBODY);
}

static void advert_behind_options(struct frame *f, enum who from, enum who to)
{
    (void)to;
    eth(f, OTHER, GATEWAY, ETH_IP6);
    ipv6(f, OTHER, GATEWAY, HOP);
    extension(f, ICMP6, 0);
    discovery(f, 136, from, 0, NOBODY);
}

static void advert_mac(struct frame *f, enum who from, enum who to)
{
    (void)to;
    eth(f, OTHER, GATEWAY, ETH_IP6);
    ipv6(f, OTHER, GATEWAY, ICMP6);
    discovery(f, 136, OTHER, 2, from);
}

static void solicit_duplicate(struct frame *f, enum who from, enum who to)
{
    (void)to;
    eth(f, OTHER, ALL, ETH_IP6);
    ipv6(f, NOBODY, ALL, ICMP6);
    discovery(f, 135, from, 0, NOBODY);
}

static void solicit_for(struct frame *f, enum who from, enum who to)
{
    eth(f, OTHER, ALL, ETH_IP6);
    ipv6(f, OTHER, ALL, ICMP6);
    discovery(f, 135, from == DEVICE ? from : to, 0, NOBODY);
}

static void multicast(struct frame *f, enum who from, enum who to)
{
    (void)to;
    eth(f, from, ALL, ETH_IP);
    ipv4(f, from, ALL, UDP);
    ports(f, 5353, 5353);
}

struct row {
    const char *name;
    builder *build;
    const char *verdict;
    bool in, out; /* dropped coming from the device, going to it */
};

static const struct row rows[] = {
    {"plain IPv4 by MAC", plain4, MAC, true, true},
    {"plain IPv4 by IPv4", plain4, IP4, true, true},
    {"plain IPv4 by somebody's IPv6", plain4, IP6, false, false},
    {"IPv4 behind a router", routed4, IP4, true, true},
    {"IPv4 behind a router by MAC", routed4, MAC, false, false},
    {"IPv4 by prefix", routed4, "192.0.2.8/29", true, true},
    {"IPv4 by another prefix", routed4, "192.0.2.16/28", false, false},
    {"IPv4 with options", options4, IP4, true, true},
    {"IPv4 later fragment", fragment4, IP4, true, true},
    {"IPv4 in one tag", tagged4, IP4, true, true},
    {"IPv4 in two tags", double_tagged4, IP4, true, true},
    {"IPv4 in two tags by prefix", double_tagged4, "192.0.2.10/31", true, true},
    {"IPv6", plain6, IP6, true, true},
    {"IPv6 by prefix", plain6, "2001:db8::10/127", true, true},
    {"IPv6 by another prefix", plain6, "2001:db8::12/127", false, false},
    {"IPv6 in two tags", double_tagged6, IP6, true, true},
    {"IPv6 behind extension headers", extensions6, IP6, true, true},
    {"IPv6 later fragment", fragment6, IP6, true, true},
    {"IPv6 with an endless chain", endless_chain6, IP6, true, true},
    {"another kind by MAC", other_kind, MAC, true, true},
    {"another kind by IPv4", other_kind, IP4, false, false},
    {"802.3 length by MAC", length_field, MAC, true, true},
    {"three tags by MAC", three_tags, MAC, true, true},
    {"three tags by IPv4", three_tags, IP4, false, false},
    {"broadcast by MAC", multicast, MAC, true, false},
    {"broadcast by IPv4", multicast, IP4, true, false},
    {"ARP request: sender, target", arp_ask, IP4, true, true},
    {"ARP request by prefix", arp_ask, "192.0.2.10/31", true, true},
    {"ARP request in a tag", tagged_arp, IP4, true, true},
    {"ARP with a borrowed link address", arp_ask_mac, MAC, true, true},
    {"ARP probe claims its target", arp_probe, IP4, true, false},
    {"advertisement claims its target", advert, IP6, true, false},
    {"advertisement by prefix", advert, "2001:db8::10/128", true, false},
    {"advertisement behind options", advert_behind_options, IP6, true, false},
    {"advertisement with a borrowed link address", advert_mac, MAC, true, false},
    {"duplicate detection claims its target", solicit_duplicate, IP6, true, false},
    {"solicitation asks toward the port", solicit_for, IP6, false, true},
};

static void expect(const struct row *r, enum program where, bool dropped)
{
    struct frame f = {0};
    bool out = where == AT_TC_OUT;

    r->build(&f, out ? OTHER : DEVICE, out ? DEVICE : OTHER);
    cr_expect_eq(passes(&k, where, &f), !dropped, "%s, program %d", r->name, where);
}

static void expect_everywhere(const struct row *r, bool in, bool out)
{
    expect(r, AT_XDP, in);
    expect(r, AT_TC_IN, in);
    expect(r, AT_TC_OUT, out);
}

Test(frames, every_place_of_an_address_is_judged)
{
    for (size_t i = 0; i < GW_COUNT(rows); i++) {
        const struct row *r = &rows[i];

        expect_everywhere(r, false, false);
        cr_assert_eq(judge(&k, r->verdict, GW_MODE_ISOLATE), 0, "%s", r->name);
        expect_everywhere(r, r->in, r->out);
        cr_assert_eq(judge(&k, r->verdict, GW_MODE_NONE), 0, "%s", r->name);
        expect_everywhere(r, false, false);
    }
}

/* Judged by MAC from the first 14 bytes on, by IP once the fixed header is whole. */
static void cut(const struct row *r, enum program where, bool by_mac)
{
    struct frame whole = {0};
    bool out = where == AT_TC_OUT;

    r->build(&whole, out ? OTHER : DEVICE, out ? DEVICE : OTHER);
    for (size_t len = 14; len <= whole.len; len++) {
        struct frame f = whole;

        f.len = len;
        if (!can_run(where, &f))
            continue;
        cr_expect_eq(passes(&k, where, &f), !(by_mac || len >= whole.ip_end),
                     "%s cut at %zu, program %d", r->name, len, where);
    }
}

Test(frames, cut_at_every_byte)
{
    for (size_t i = 0; i < GW_COUNT(rows); i++) {
        const struct row *r = &rows[i];
        bool by_mac = strcmp(r->verdict, MAC) == 0;

        if (by_mac && (r->build == arp_ask_mac || r->build == advert_mac))
            by_mac = false;
        cr_assert_eq(judge(&k, r->verdict, GW_MODE_ISOLATE), 0);
        if (r->in)
            cut(r, AT_XDP, by_mac);
        if (r->in)
            cut(r, AT_TC_IN, by_mac);
        if (r->out)
            cut(r, AT_TC_OUT, by_mac);
        cr_assert_eq(judge(&k, r->verdict, GW_MODE_NONE), 0);
    }
}

/* Nothing inside a frame may stop or break the programs. */
Test(frames, random_bytes_pass_without_a_verdict)
{
    static const uint16_t types[] = {ETH_IP, ETH_IP6, ETH_ARP, ETH_VLAN, 0x1234};

    cr_assert_eq(judge(&k, "198.51.100.77", GW_MODE_ISOLATE), 0);
    srandom(1);
    for (int i = 0; i < 20000; i++) {
        struct frame f = {0};

        eth(&f, DEVICE, OTHER, types[(size_t)random() % GW_COUNT(types)]);
        for (long left = random() % 120; left > 0; left--)
            f.bytes[f.len++] = (uint8_t)random();
        if (can_run((enum program)(i % 3), &f))
            cr_assert(passes(&k, (enum program)(i % 3), &f), "frame %d", i);
    }
}
