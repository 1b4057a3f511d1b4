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
    eth(f, OTHER, OTHER, ETH_IP);
    ipv4(f, from, to, UDP);
    ports(f, 1000, 2000);
}

static void options4(struct frame *f, enum who from, enum who to)
{
    eth(f, OTHER, OTHER, ETH_IP);
    ipv4_options(f, from, to, TCP);
    ports(f, 1000, 2000);
}

static void fragment4(struct frame *f, enum who from, enum who to)
{
    eth(f, OTHER, OTHER, ETH_IP);
    ipv4_fragment(f, from, to, UDP, 185);
    filler(f, 32);
}

static void tagged4(struct frame *f, enum who from, enum who to)
{
    eth(f, OTHER, OTHER, ETH_VLAN);
    tag(f, ETH_IP);
    ipv4(f, from, to, UDP);
    ports(f, 1000, 2000);
}

static void double_tagged4(struct frame *f, enum who from, enum who to)
{
    eth(f, OTHER, OTHER, ETH_QINQ);
    tag(f, ETH_VLAN);
    tag(f, ETH_IP);
    ipv4(f, from, to, UDP);
    ports(f, 1000, 2000);
}

static void plain6(struct frame *f, enum who from, enum who to)
{
    eth(f, OTHER, OTHER, ETH_IP6);
    ipv6(f, from, to, UDP);
    ports(f, 1000, 2000);
}

static void double_tagged6(struct frame *f, enum who from, enum who to)
{
    eth(f, OTHER, OTHER, ETH_VLAN);
    tag(f, ETH_VLAN);
    tag(f, ETH_IP6);
    ipv6(f, from, to, TCP);
    ports(f, 1000, 2000);
}

static void extensions6(struct frame *f, enum who from, enum who to)
{
    eth(f, OTHER, OTHER, ETH_IP6);
    ipv6(f, from, to, HOP);
    extension(f, ROUTING, 0);
    extension(f, OPTS, 2);
    extension(f, UDP, 1);
    ports(f, 1000, 2000);
}

static void fragment6(struct frame *f, enum who from, enum who to)
{
    eth(f, OTHER, OTHER, ETH_IP6);
    ipv6(f, from, to, FRAGMENT);
    fragment(f, UDP, 100);
    filler(f, 64);
}

static void endless_chain6(struct frame *f, enum who from, enum who to)
{
    eth(f, OTHER, OTHER, ETH_IP6);
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

static void provider_tagged4(struct frame *f, enum who from, enum who to)
{
    eth(f, OTHER, OTHER, ETH_QINQ);
    tag(f, ETH_IP);
    ipv4(f, from, to, UDP);
    ports(f, 1000, 2000);
}

static void first_fragment4(struct frame *f, enum who from, enum who to)
{
    eth(f, OTHER, OTHER, ETH_IP);
    ipv4_fragment(f, from, to, UDP, 0x2000);
    ports(f, 1000, 2000);
}

static void first_fragment6(struct frame *f, enum who from, enum who to)
{
    eth(f, OTHER, OTHER, ETH_IP6);
    ipv6(f, from, to, FRAGMENT);
    fragment(f, UDP, 0);
    ports(f, 1000, 2000);
}

static void authenticated6(struct frame *f, enum who from, enum who to)
{
    eth(f, OTHER, OTHER, ETH_IP6);
    ipv6(f, from, to, AH);
    authentication(f, UDP, 6);
    ports(f, 1000, 2000);
}

static void unknown6(struct frame *f, enum who from, enum who to)
{
    eth(f, OTHER, OTHER, ETH_IP6);
    ipv6(f, from, to, OPTS);
    extension(f, 253, 0); /* RFC 3692: nobody's */
    filler(f, 40);
}

static void double_tagged_arp(struct frame *f, enum who from, enum who to)
{
    eth(f, OTHER, ALL, ETH_QINQ);
    tag(f, ETH_VLAN);
    tag(f, ETH_ARP);
    arp(f, 1, OTHER, from, NOBODY, to);
}

/* ARP that calls the hardware IEEE 802 instead of Ethernet: hosts take it (RFC 1042). */
static void arp_ieee802(struct frame *f, enum who from, enum who to)
{
    arp_ask(f, from, to);
    f->bytes[15] = 6;
}

static void tagged_advert(struct frame *f, enum who from, enum who to)
{
    (void)to;
    eth(f, OTHER, GATEWAY, ETH_VLAN);
    tag(f, ETH_IP6);
    ipv6(f, OTHER, GATEWAY, ICMP6);
    discovery(f, 136, from, 0, NOBODY);
}

static void advert_behind_everything(struct frame *f, enum who from, enum who to)
{
    (void)to;
    eth(f, OTHER, GATEWAY, ETH_IP6);
    ipv6(f, OTHER, GATEWAY, HOP);
    extension(f, OPTS, 0);
    extension(f, ROUTING, 0);
    extension(f, FRAGMENT, 3);
    fragment(f, AH, 0);
    authentication(f, OPTS, 6);
    extension(f, ICMP6, 1);
    discovery(f, 136, from, 0, NOBODY);
}

static void advert_behind(struct frame *f, enum who from, int headers)
{
    eth(f, OTHER, GATEWAY, ETH_IP6);
    ipv6(f, OTHER, GATEWAY, OPTS);
    for (int i = 1; i <= headers; i++)
        extension(f, i < headers ? OPTS : ICMP6, 0);
    discovery(f, 136, from, 0, NOBODY);
}

static void advert_behind_seven(struct frame *f, enum who from, enum who to)
{
    (void)to;
    advert_behind(f, from, 7);
}

/* Longer than anybody honest makes it: the source is judged, what is inside is not found. */
static void advert_behind_eight(struct frame *f, enum who from, enum who to)
{
    (void)to;
    advert_behind(f, from, 8);
}

static void advert_behind_unknown(struct frame *f, enum who from, enum who to)
{
    (void)to;
    eth(f, OTHER, GATEWAY, ETH_IP6);
    ipv6(f, OTHER, GATEWAY, 253);
    extension(f, ICMP6, 0);
    discovery(f, 136, from, 0, NOBODY);
}

static void advert_fragment(struct frame *f, enum who from, enum who to)
{
    (void)to;
    eth(f, OTHER, GATEWAY, ETH_IP6);
    ipv6(f, OTHER, GATEWAY, FRAGMENT);
    fragment(f, ICMP6, 1);
    discovery(f, 136, from, 0, NOBODY);
}

/* A receiver takes the target's option from an advertisement, wherever the other one is. */
static void advert_decoy(struct frame *f, enum who from, enum who to)
{
    (void)to;
    eth(f, OTHER, GATEWAY, ETH_IP6);
    ipv6(f, OTHER, GATEWAY, ICMP6);
    discovery(f, 136, OTHER, 1, OTHER);
    link_option(f, 2, from);
}

static void message_mac(struct frame *f, uint8_t type, size_t len, uint8_t option, enum who mac)
{
    eth(f, OTHER, ALL, ETH_IP6);
    ipv6(f, OTHER, ALL, ICMP6);
    discovery_head(f, type, len);
    link_option(f, option, mac);
}

static void router_solicit_mac(struct frame *f, enum who from, enum who to)
{
    (void)to;
    message_mac(f, 133, 8, 1, from);
}

static void router_advert_mac(struct frame *f, enum who from, enum who to)
{
    (void)to;
    eth(f, OTHER, ALL, ETH_IP6);
    ipv6(f, OTHER, ALL, ICMP6);
    discovery_head(f, 134, 16);
    for (int i = 0; i < 5; i++)
        link_option(f, 5, OTHER); /* an MTU, or what looks like one */
    link_option(f, 1, from);
}

static void solicit_mac(struct frame *f, enum who from, enum who to)
{
    (void)to;
    message_mac(f, 135, 24, 1, from);
}

static void redirect_mac(struct frame *f, enum who from, enum who to)
{
    (void)to;
    message_mac(f, 137, 40, 2, from);
}

struct row {
    const char *name;
    builder *build;
    const char *verdict;
    bool in, out;  /* dropped coming from the device, going to it */
    bool borrowed; /* the address is inside only: its owner was not heard */
};

static const struct row rows[] = {
    {"plain IPv4 by MAC", plain4, MAC, true, true, false},
    {"plain IPv4 by IPv4", plain4, IP4, true, true, false},
    {"plain IPv4 by somebody's IPv6", plain4, IP6, false, false, false},
    {"IPv4 behind a router", routed4, IP4, true, true, false},
    {"IPv4 behind a router by MAC", routed4, MAC, false, false, false},
    {"IPv4 by prefix", routed4, "192.0.2.8/29", true, true, false},
    {"IPv4 by another prefix", routed4, "192.0.2.16/28", false, false, false},
    {"IPv4 with options", options4, IP4, true, true, false},
    {"IPv4 later fragment", fragment4, IP4, true, true, false},
    {"IPv4 in one tag", tagged4, IP4, true, true, false},
    {"IPv4 in two tags", double_tagged4, IP4, true, true, false},
    {"IPv4 in two tags by prefix", double_tagged4, "192.0.2.10/31", true, true, false},
    {"IPv6", plain6, IP6, true, true, false},
    {"IPv6 by prefix", plain6, "2001:db8::10/127", true, true, false},
    {"IPv6 by another prefix", plain6, "2001:db8::12/127", false, false, false},
    {"IPv6 in two tags", double_tagged6, IP6, true, true, false},
    {"IPv6 behind extension headers", extensions6, IP6, true, true, false},
    {"IPv6 later fragment", fragment6, IP6, true, true, false},
    {"IPv6 with an endless chain", endless_chain6, IP6, true, true, false},
    {"another kind by MAC", other_kind, MAC, true, true, false},
    {"another kind by IPv4", other_kind, IP4, false, false, false},
    {"802.3 length by MAC", length_field, MAC, true, true, false},
    {"three tags by MAC", three_tags, MAC, true, true, false},
    {"three tags by IPv4", three_tags, IP4, false, false, false},
    {"broadcast by MAC", multicast, MAC, true, false, false},
    {"broadcast by IPv4", multicast, IP4, true, false, false},
    {"ARP request: sender, target", arp_ask, IP4, true, true, false},
    {"ARP request by prefix", arp_ask, "192.0.2.10/31", true, true, false},
    {"ARP request in a tag", tagged_arp, IP4, true, true, false},
    {"ARP with a borrowed link address", arp_ask_mac, MAC, true, true, true},
    {"ARP probe claims its target", arp_probe, IP4, true, false, false},
    {"advertisement claims its target", advert, IP6, true, false, false},
    {"advertisement by prefix", advert, "2001:db8::10/128", true, false, false},
    {"advertisement behind options", advert_behind_options, IP6, true, false, false},
    {"advertisement with a borrowed link address", advert_mac, MAC, true, false, true},
    {"duplicate detection claims its target", solicit_duplicate, IP6, true, false, false},
    {"solicitation asks toward the port", solicit_for, IP6, false, true, false},
    {"IPv4 in a provider's tag", provider_tagged4, IP4, true, true, false},
    {"IPv4 in two tags by prefix", double_tagged4, "192.0.0.0/16", true, true, false},
    {"first fragment by IPv4", first_fragment4, IP4, true, true, false},
    {"first fragment by IPv6", first_fragment6, IP6, true, true, false},
    {"IPv6 behind authentication", authenticated6, IP6, true, true, false},
    {"IPv6 behind an unknown header", unknown6, IP6, true, true, false},
    {"ARP in two tags", double_tagged_arp, IP4, true, true, false},
    {"ARP of IEEE 802 hardware", arp_ieee802, IP4, true, true, false},
    {"advertisement in a tag", tagged_advert, IP6, true, false, false},
    {"advertisement behind every header", advert_behind_everything, IP6, true, false, false},
    {"advertisement behind seven headers", advert_behind_seven, IP6, true, false, false},
    {"advertisement behind eight headers", advert_behind_eight, IP6, false, false, false},
    {"advertisement behind an unknown header", advert_behind_unknown, IP6, false, false, false},
    {"advertisement in a later fragment", advert_fragment, IP6, false, false, false},
    {"advertisement with a decoy in front", advert_decoy, MAC, true, false, true},
    {"router solicitation with a borrowed link address", router_solicit_mac, MAC, true, false,
     true},
    {"router advertisement with one", router_advert_mac, MAC, true, false, true},
    {"solicitation with one", solicit_mac, MAC, true, false, true},
    {"redirect to one", redirect_mac, MAC, true, false, true},
};

static bool is_host(const struct row *r)
{
    struct gw_hwaddr a = address(r->verdict);

    return a.prefix_len == (a.kind == GW_ADDR_MAC ? 48 : a.kind == GW_ADDR_IPV4 ? 32 : 128);
}

static struct frame made(const struct row *r, enum program where)
{
    struct frame f = {0};
    bool out = where == AT_TC_OUT;

    r->build(&f, out ? OTHER : DEVICE, out ? DEVICE : OTHER);
    return f;
}

/* What the tables hold on the row's address, which is forgotten to have been seen. */
static struct gw_traffic figures(const struct row *r, bool forget)
{
    struct gw_hwaddr a = address(r->verdict);
    uint32_t slot = gw_table_find(&k.table, &a);
    struct gw_traffic t = {0};

    if (slot == GW_SLOT_NONE)
        return t;
    gw_table_traffic(&k.table, slot, &t);
    if (forget)
        k.table.slots[slot].seen_ns = k.table.slots[slot].tick = 0;
    return t;
}

/* What one frame adds to them. */
struct added {
    bool rx, tx, dropped, seen;
};

static void expect_figures(const struct row *r, enum program where, const struct frame *f,
                           bool passed, struct added want)
{
    struct gw_traffic was = figures(r, true), is;

    cr_expect_eq(passes(&k, where, f), passed, "%s of %zu, program %d", r->name, f->len, where);
    is = figures(r, false);
    cr_expect(is.rx_packets - was.rx_packets == want.rx &&
                  is.rx_bytes - was.rx_bytes == want.rx * f->len,
              "%s of %zu, program %d: received", r->name, f->len, where);
    cr_expect(is.tx_packets - was.tx_packets == want.tx &&
                  is.tx_bytes - was.tx_bytes == want.tx * f->len,
              "%s of %zu, program %d: sent", r->name, f->len, where);
    cr_expect(is.dropped_packets - was.dropped_packets == want.dropped &&
                  is.dropped_bytes - was.dropped_bytes == want.dropped * f->len,
              "%s of %zu, program %d: dropped", r->name, f->len, where);
    cr_expect_eq(is.last_seen_ms != 0, want.seen, "%s of %zu, program %d: seen", r->name, f->len,
                 where);
}

/* The row's address alone is judged: what drops is counted for it, and nothing else is. */
static void expect_frame(const struct row *r, enum program where, const struct frame *f,
                         bool dropped)
{
    bool seen = dropped && where != AT_TC_OUT && is_host(r) && !r->borrowed;

    expect_figures(r, where, f, !dropped, (struct added){.dropped = dropped, .seen = seen});
}

static void expect(const struct row *r, enum program where, bool dropped)
{
    struct frame f = made(r, where);

    expect_frame(r, where, &f, dropped);
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

/* Known and not judged: counted for whom it is about, and heard from whom it comes. */
/* The gateway's own are always known. */
static bool is_link_known(const uint8_t *mac, bool device_known)
{
    return memcmp(mac, mac_of_who[GATEWAY], 6) == 0 ||
           (device_known && memcmp(mac, mac_of_who[DEVICE], 6) == 0);
}

/* What passes is counted once: for the link address or, if nobody knows that, the network one. */
static void expect_counted(bool mac_known)
{
    for (size_t i = 0; i < GW_COUNT(rows); i++) {
        const struct row *r = &rows[i];
        struct frame in = made(r, AT_XDP), out = made(r, AT_TC_OUT);
        bool heard = r->in && !r->borrowed, to_all = out.bytes[0] & 1;
        bool mac = address(r->verdict).kind == GW_ADDR_MAC;
        bool from_known = is_link_known(in.bytes + 6, mac_known);
        bool to_known = is_link_known(out.bytes, mac_known);
        struct added from = {.rx = heard && mac == from_known, .seen = heard};
        struct added to = {.tx = r->out && mac == to_known && !r->borrowed && !to_all};

        if (!is_host(r) || (!mac_known && mac))
            continue;
        expect_figures(r, AT_XDP, &in, true, from);
        expect_figures(r, AT_TC_IN, &in, true, from);
        expect_figures(r, AT_TC_OUT, &out, true, to);
    }
}

Test(frames, what_passes_is_counted_for_its_link_address)
{
    known(&k, DEVICE);
    expect_counted(true);
}

Test(frames, what_passes_is_counted_for_its_network_address_alone)
{
    struct gw_hwaddr mac = gw_hwaddr_mac(mac_of_who[DEVICE]);

    known(&k, DEVICE);
    gw_table_remove(&k.table, gw_table_find(&k.table, &mac));
    expect_counted(false);
}

/* Judged by MAC from the first 14 bytes on, by IP once the fixed header is whole. */
static void cut(const struct row *r, enum program where, bool by_mac)
{
    struct frame whole = made(r, where);

    for (size_t len = 14; len <= whole.len; len++) {
        struct frame f = whole;

        f.len = len;
        if (!can_run(where, &f))
            continue;
        expect_frame(r, where, &f, by_mac || len >= whole.ip_end);
    }
}

Test(frames, cut_at_every_byte)
{
    for (size_t i = 0; i < GW_COUNT(rows); i++) {
        const struct row *r = &rows[i];
        bool by_mac = strcmp(r->verdict, MAC) == 0 && !r->borrowed;

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
